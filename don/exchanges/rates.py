"""How exchanges count requests: windows, limits, weights, priorities; a table. Pure.

A request costs weight and new orders. Every pool of an exchange counts one of the two, for one
address or one API key, in windows of wall time. The limits are the published ones of 2025; an
exchange that lists its own (`exchangeInfo`) overrides them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Protocol


class Priority(float, Enum):
    """Share of the budget that a kind of request may use up: what is below leaves room above."""

    CANCEL = 1.0
    REDUCE = 0.95
    OPEN = 0.85
    POLL = 0.6  # the account's own state
    DATA = 0.5  # market data: snapshots, repair, backfill


class Counts(StrEnum):
    """What a pool counts."""

    WEIGHT = "weight"
    ORDERS = "orders"


class Scope(StrEnum):
    """Whose requests share a pool."""

    IP = "ip"
    KEY = "key"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """One count of an exchange."""

    name: str
    counts: Counts
    scope: Scope
    length_ms: int
    limit: int
    sliding: bool = False  # counts the last `length_ms` at any time, not windows of the clock
    header: str = ""  # of answers, upper case: what was used; "" where the exchange does not say

    def __post_init__(self) -> None:
        if self.length_ms <= 0 or self.limit <= 0:
            raise ValueError(
                f"pool {self.name}: length_ms and limit must be positive, were "
                f"{self.length_ms} and {self.limit}"
            )

    @property
    def usable(self) -> int:
        """What may be used within one window of the clock.

        Any span of a sliding window's length meets two windows of the clock: half in each is safe.
        """
        return max(1, self.limit // 2) if self.sliding else self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """What a call costs; the first step (limit, weight) that covers the `limit` asked for."""

    base: int = 1
    steps: tuple[tuple[int, int], ...] = ()
    default_limit: int = 500
    all_symbols: int = 0  # without a symbol; 0: as with one
    orders: int = 0

    def of(self, params: Mapping[str, object]) -> int:
        """Weight with these parameters."""
        if self.all_symbols and not params.get("symbol"):
            return self.all_symbols
        if not self.steps:
            return self.base
        limit = int(str(params.get("limit", self.default_limit)))
        return next((cost for top, cost in self.steps if limit <= top), self.steps[-1][1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLimits:
    """All pools of an exchange, and what calls cost there."""

    exchange: str  # cryptofeed's name
    pools: tuple[PoolSpec, ...]
    weights: Mapping[str, Weight]
    unit: float = 1.0  # weight of one unit of ccxt's own cost table

    def weight(self, endpoint: str, params: Mapping[str, object]) -> int:
        """Weight of a call; 1 for calls that the table does not name."""
        known = self.weights.get(endpoint)
        return 1 if known is None else known.of(params)


class RateGate(Protocol):
    """Lets requests of one client leave within the budget. Implemented locally and by a lease."""

    async def acquire(self, weight: int, orders: int, priority: Priority) -> None:
        """Return when the request may leave; it is counted then."""
        ...

    async def take(self, weight: int, orders: int, priority: Priority) -> int:
        """Count a request that leaves now and give 0, or give the ms to wait."""
        ...

    def observe(self, headers: Mapping[str, str]) -> None:
        """Take in what an answer says about the counts."""
        ...

    def pause(self, seconds: float, counts: Counts, reason: str) -> None:
        """The exchange turned us away: let nothing leave that the pools of `counts` count."""
        ...

    def set_limits(self, rows: list[Mapping[str, object]]) -> None:
        """Take the limits over that the exchange lists (`rateLimits` of `exchangeInfo`)."""
        ...

    def use(self) -> float:
        """Fraction of the weight used in the running window, as far as known here."""
        ...

    async def close(self) -> None:
        """Give back what is not used."""
        ...


def _pool(
    name: str,
    limit: int,
    seconds: float,
    *,
    counts: Counts = Counts.WEIGHT,
    scope: Scope = Scope.IP,
    sliding: bool = True,
    header: str = "",
) -> PoolSpec:
    return PoolSpec(
        name=name,
        counts=counts,
        scope=scope,
        length_ms=round(seconds * 1_000),
        limit=limit,
        sliding=sliding,
        header=header,
    )


def _orders(limit: int, seconds: float, header: str = "", *, sliding: bool = False) -> PoolSpec:
    return _pool(
        f"orders_{seconds:g}s",
        limit,
        seconds,
        counts=Counts.ORDERS,
        scope=Scope.KEY,
        sliding=sliding,
        header=header,
    )


def _binance_weight(limit: int) -> PoolSpec:
    return _pool("weight_60s", limit, 60, sliding=False, header="X-MBX-USED-WEIGHT-1M")


_KLINES = Weight(steps=((99, 1), (499, 2), (1_000, 5), (10_000, 10)))
_FUTURES = {
    "time": Weight(),
    "exchangeInfo": Weight(),
    "depth": Weight(steps=((50, 2), (100, 5), (500, 10), (1_000, 20))),
    "trades": Weight(base=5),
    "historicalTrades": Weight(base=20),
    "aggTrades": Weight(base=20),
    "klines": _KLINES,
    "markPriceKlines": _KLINES,
    "indexPriceKlines": _KLINES,
    "premiumIndex": Weight(all_symbols=10),
    "fundingRate": Weight(),
    "openInterest": Weight(),
    "openInterestHist": Weight(base=0),
    "ticker/bookTicker": Weight(base=2, all_symbols=5),
}
_SPOT = {
    "time": Weight(),
    "exchangeInfo": Weight(base=20),
    "depth": Weight(steps=((100, 5), (500, 25), (1_000, 50), (5_000, 250)), default_limit=100),
    "trades": Weight(base=25),
    "historicalTrades": Weight(base=25),
    "aggTrades": Weight(base=4),
    "klines": Weight(base=2),
    "ticker/bookTicker": Weight(base=2, all_symbols=4),
}
_ORDER_10S, _ORDER_1M = "X-MBX-ORDER-COUNT-10S", "X-MBX-ORDER-COUNT-1M"


def _table(
    exchange: str,
    *pools: PoolSpec,
    weights: Mapping[str, Weight] | None = None,
    unit: float = 1.0,
) -> tuple[str, ExchangeLimits]:
    return exchange, ExchangeLimits(
        exchange=exchange, pools=pools, weights=weights or {}, unit=unit
    )


LIMITS: dict[str, ExchangeLimits] = dict(
    (
        _table(
            "BINANCE_FUTURES",
            _binance_weight(2_400),
            _orders(300, 10, _ORDER_10S),
            _orders(1_200, 60, _ORDER_1M),
            weights=_FUTURES,
        ),
        _table(
            "BINANCE_DELIVERY",
            _binance_weight(2_400),
            _orders(1_200, 60, _ORDER_1M),
            weights=_FUTURES,
        ),
        _table(
            "BINANCE",
            _binance_weight(6_000),
            _orders(100, 10, _ORDER_10S),
            weights=_SPOT,
            unit=5.0,
        ),
        _table("BYBIT", _pool("requests", 600, 5), _orders(10, 1, sliding=True)),
        _table("OKX", _pool("requests", 20, 2), _orders(60, 2, sliding=True)),
        _table("KRAKEN", _pool("requests", 15, 15), _orders(60, 60, sliding=True)),
        _table("KRAKEN_FUTURES", _pool("requests", 500, 10), _orders(100, 10, sliding=True)),
        _table("COINBASE", _pool("requests", 10, 1), _orders(15, 1, sliding=True)),
        _table("BITFINEX", _pool("requests", 30, 60), _orders(90, 60, sliding=True)),
        _table("BITMEX", _pool("requests", 30, 60), _orders(10, 1, sliding=True)),
        _table("BITSTAMP", _pool("requests", 400, 1), _pool("long", 10_000, 600)),
        _table("DERIBIT", _pool("requests", 20, 1), _orders(5, 1, sliding=True)),
        _table("GATEIO", _pool("requests", 200, 10), _orders(10, 1, sliding=True)),
        _table("GEMINI", _pool("requests", 120, 60), _orders(600, 60, sliding=True)),
        _table("HUOBI", _pool("requests", 100, 10), _orders(50, 2, sliding=True)),
        _table("KUCOIN", _pool("requests", 500, 30), _orders(45, 3, sliding=True)),
        _table("PHEMEX", _pool("requests", 100, 60), _orders(500, 60, sliding=True)),
        _table("POLONIEX", _pool("requests", 10, 1), _orders(10, 1, sliding=True)),
        _table("UPBIT", _pool("requests", 10, 1), _orders(8, 1, sliding=True)),
    )
)


def limits_of(exchange: str, *, spacing_ms: float = 0.0) -> ExchangeLimits:
    """Limits of an exchange.

    Args:
        exchange: cryptofeed's name.
        spacing_ms: for exchanges that the table does not list: time between two calls that a
            client library (ccxt's `rateLimit`) holds to be allowed.

    Raises:
        KeyError: if it is not in the table and no spacing is given.
    """
    found = LIMITS.get(exchange)
    if found is not None:
        return found
    if spacing_ms <= 0:
        raise KeyError(exchange)
    window_ms = max(2_000, round(8 * spacing_ms))
    limit = max(2, int(window_ms / spacing_ms))
    pools = (_pool("requests", limit, window_ms / 1_000),)
    return ExchangeLimits(exchange=exchange, pools=pools, weights={})


def pool_id(exchange: str, spec: PoolSpec, *, address: str, key: str) -> str:
    """Cluster-wide name of a pool; the API key appears as a fingerprint.

    Args:
        exchange: cryptofeed's name.
        spec: the pool.
        address: name of the address that the exchange sees, shared by a cluster behind one.
        key: API key; "" without one.
    """
    if spec.scope is Scope.IP:
        return f"{exchange}/{address}/{spec.name}"
    fingerprint = hashlib.sha256(key.encode()).hexdigest()[:8] if key else "nokey"
    return f"{exchange}/{fingerprint}/{spec.name}"

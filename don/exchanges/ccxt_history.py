"""A connection to any exchange's public history through ccxt, within the request budget. Does I/O.

ccxt's own pacing is replaced by ours, which the whole cluster shares; ccxt itself is unmodified.
"""

import contextvars
import logging
import math
import random
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import ccxt.async_support as ccxt
from pydantic import Field, field_validator

from don.clock import NS_PER_MS, NS_PER_S, Clock
from don.errors import (
    DonError,
    ExchangeRefused,
    ExchangeUnavailable,
    RateLimited,
    UsageError,
)
from don.exchanges.binance_errors import Answer, counted_as, retry_after_s
from don.exchanges.ccxt_names import ccxt_id, exchange_name, symbol_table
from don.exchanges.clock_offset import ClockOffset, Comparison, Reading
from don.exchanges.rates import ExchangeLimits, Priority, RateGate, limits_of
from don.exchanges.wallet import LoneBudget, Wallet, WalletConfig
from don.model.section import Section

_answer: contextvars.ContextVar[Answer | None] = contextvars.ContextVar("history", default=None)


class HistoryConfig(Section):
    """Where history is asked for."""

    rest_url: str = ""  # replaces scheme and host of every address, e.g. of a paper exchange
    timeout_s: float = Field(default=20.0, gt=0)
    page: int = Field(default=1_000, gt=0)  # rows asked for at once
    clock_samples: int = Field(default=3, gt=0)

    @field_validator("rest_url")
    @classmethod
    def _address(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError(f"must be like http://127.0.0.1:8900, was {value!r}")
        return value


class CcxtHistory:
    """One exchange, public calls only.

    Args:
        exchange: cryptofeed's name or ccxt's id.
        config: addresses and sizes.
        clock: wall time.
        make_gate: makes the gate to the request budget from the exchange's limits; by default one
            of this object's own.
        rng: spreads waiters.
    """

    def __init__(
        self,
        exchange: str,
        config: HistoryConfig,
        clock: Clock,
        *,
        make_gate: Callable[[ExchangeLimits], RateGate | None] = lambda limits: None,
        rng: random.Random | None = None,
    ) -> None:
        self.exchange = exchange_name(exchange)
        self.id = ccxt_id(exchange, ccxt.exchanges)
        self.config = config
        self._clock = clock
        self.ccxt = _client(self.id, config)
        self.limits = limits_of(self.exchange, spacing_ms=float(self.ccxt.rateLimit or 1_000))
        rng = rng or random.Random()
        self.gate: RateGate = make_gate(self.limits) or _own_gate(self.limits, clock, rng)
        self.ccxt.throttle = self._throttle
        self.listed: dict[str, str] = {}  # Don's symbol -> ccxt's
        self.offset = ClockOffset()

    async def symbols(self) -> list[str]:
        """All instruments, canonical names.

        Raises:
            DependencyError: if the exchange cannot be asked.
        """
        if not self.listed:
            await self.call(self.ccxt.load_markets)
            self.listed = symbol_table(self.ccxt.markets)
        return sorted(self.listed)

    def has(self, what: str) -> bool:
        """Whether ccxt can do this there, e.g. `fetchOHLCV`."""
        return bool(self.ccxt.has.get(what))

    def timeframe(self, interval_ns: int) -> str:
        """The exchange's name of an interval.

        Raises:
            UsageError: if it does not have it.
        """
        offered = self.ccxt.timeframes or {}
        for name in offered:
            if self.ccxt.parse_timeframe(name) * NS_PER_S == interval_ns:
                return str(name)
        raise UsageError(
            f"{self.exchange} has no interval of {interval_ns // NS_PER_S} s; "
            f"it has {', '.join(offered)}"
        )

    async def compare_clocks(self) -> Reading | None:
        """How our clock stands to the exchange's; None where it does not tell its time."""
        if not self.has("fetchTime"):
            return None
        comparisons = []
        for _ in range(self.config.clock_samples):
            before, began = self._clock.now_ns(), self._clock.monotonic_ns()
            server_ms = await self.call(self.ccxt.fetch_time)
            comparisons.append(
                Comparison(
                    sent_ns=before,
                    round_trip_ns=self._clock.monotonic_ns() - began,
                    server_ns=int(server_ms) * NS_PER_MS + NS_PER_MS // 2,
                )
            )
        return self.offset.add(comparisons, self._clock.monotonic_ns())

    async def close(self) -> None:
        """Close the session and give the unused budget back."""
        await self.ccxt.close()
        await self.gate.close()

    async def _throttle(self, cost: float | None = None) -> None:
        """In place of ccxt's own pacing, which knows of one process only."""
        weight = math.ceil((1.0 if cost is None else float(cost)) * self.limits.unit)
        if weight > 0:
            await self.gate.acquire(weight, 0, Priority.DATA)

    async def call(self, call: Any, *arguments: Any) -> Any:
        """The answer of one of ccxt's methods; its errors translated, without its long texts.

        Raises:
            RateLimited, ExchangeUnavailable: ask again later.
            ExchangeRefused, UsageError: asking again does not help.
        """
        answer = Answer()
        token = _answer.set(answer)
        try:
            return await call(*arguments)
        except ccxt.BaseError as error:
            raise self._translated(error, answer) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExchangeUnavailable(
                f"{self.exchange}: the answer is not understood: {error!r}"
            ) from error
        finally:
            _answer.reset(token)
            self.gate.observe(answer.headers)

    def _translated(self, error: ccxt.BaseError, answer: Answer) -> DonError:
        text = " ".join(str(error).split())[:300]
        if isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection) or answer.status in (
            418,
            429,
        ):
            seconds = retry_after_s(answer)
            self.gate.pause(seconds, counted_as(answer), text)
            return RateLimited(f"{self.exchange}: {text}", seconds)
        if isinstance(error, ccxt.NetworkError):
            return ExchangeUnavailable(f"{self.exchange}: {text}")
        if isinstance(error, ccxt.NotSupported | ccxt.BadSymbol):
            return UsageError(f"{self.exchange}: {text}")
        return ExchangeRefused(-answer.status, f"{self.exchange}: {text}")


def _client(name: str, config: HistoryConfig) -> Any:
    """Ccxt's exchange; its response hook notes what came back for the running request."""
    base = getattr(ccxt, name)

    def on_rest_response(
        self: Any,
        code: int,
        reason: str,
        url: str,
        method: str,
        headers: Any,
        body: str,
        *rest: Any,
    ) -> Any:
        answer = _answer.get()
        if answer is not None:
            answer.status, answer.headers, answer.body = code, headers, body
        return base.on_rest_response(self, code, reason, url, method, headers, body, *rest)

    made = type(f"Don{name}", (base,), {"on_rest_response": on_rest_response})(
        {
            "enableRateLimit": True,  # calls `throttle`, which is ours
            "timeout": int(config.timeout_s * 1_000),
            "options": {"fetchCurrencies": False, "fetchMargins": False},
        }
    )
    made.logger = logging.getLogger("don.exchanges.history")
    made.logger.setLevel(logging.WARNING)
    if config.rest_url:
        root = config.rest_url.rstrip("/")
        made.urls["api"] = _moved(made.urls["api"], root)
    return made


def _moved(urls: Any, root: str) -> Any:
    if isinstance(urls, Mapping):
        return {name: _moved(url, root) for name, url in urls.items()}
    return root + urlsplit(urls).path if isinstance(urls, str) else urls


def _own_gate(limits: ExchangeLimits, clock: Clock, rng: random.Random) -> RateGate:
    """A budget of this process alone, where no cluster's is at hand."""
    return Wallet(
        LoneBudget(clock),
        limits,
        key="",
        lessee="history",
        clock=clock,
        rng=rng,
        config=WalletConfig(),
    )

"""A completeness ledger in memory, and one that looks like weeks of collection."""

from collections.abc import Sequence
from random import Random

from support.world_views import costs

from don.clock import parse_iso
from don.errors import DependencyError
from don.execution.tca import OrderCost
from don.market.coverage import MINUTE_NS, Range, State, by_stream, overlay
from don.observe.sample import Sample, sample
from don.storage.market.coverage import StreamSpan
from serve.coverage import told
from serve.ports import CoverageAsked, CoverageTold, DataAsked, DataTold

END = parse_iso("2025-06-14T12:00:00Z")
DAY = 1_440


class MemoryLedger:
    """The reads of `CoverageLedger`."""

    def __init__(self, ranges: Sequence[Range] = ()) -> None:
        self.known = {key: overlay([], claims) for key, claims in by_stream(ranges).items()}

    def streams(
        self,
        exchange: str | None = None,
        channel: str | None = None,
        symbols: Sequence[str] | None = None,
    ) -> list[StreamSpan]:
        return [
            StreamSpan(
                exchange=key.exchange,
                channel=key.channel,
                symbol=key.symbol,
                start=self.known[key][0].start,
                end=self.known[key][-1].end,
            )
            for key in sorted(self.known)
            if exchange in (None, key.exchange)
            and channel in (None, key.channel)
            and (symbols is None or key.symbol in symbols)
        ]

    def read(
        self,
        exchange: str | None = None,
        channel: str | None = None,
        symbols: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> list[Range]:
        return [
            each
            for span in self.streams(exchange, channel, symbols)
            for key in [next(k for k in self.known if k.symbol == span.symbol
                             and k.channel == span.channel and k.exchange == span.exchange)]
            for each in self.known[key]
            if (start is None or each.end > start) and (end is None or each.start < end)
        ]  # fmt: skip


class StoredReads:
    """The part of `Reader` about what was collected: a ledger in memory, no market data."""

    ledger: MemoryLedger
    database_away: str

    def _need(self) -> None:
        if self.database_away:
            raise DependencyError(self.database_away)

    async def coverage(self, asked: CoverageAsked) -> CoverageTold:
        self._need()
        return told(self.ledger, asked)

    async def metrics(self) -> Sequence[Sample]:
        self._need()
        return [sample("storage_rows", 7, channel="bars")]

    async def costs(self, session: str) -> list[OrderCost]:
        self._need()
        return costs()

    async def data(self, asked: DataAsked) -> DataTold:
        raise DependencyError("this world stores no market data")


def collected(seed: int = 3) -> MemoryLedger:
    """Thirty days of two exchanges: reconnects, a maintenance, repairs, a symbol added later."""
    rng = Random(seed)
    ranges: list[Range] = []
    begin = END - 30 * DAY * MINUTE_NS
    outages = [(rng.randrange(30 * DAY), rng.randrange(1, 40)) for _ in range(40)]
    for exchange, symbols in (
        ("BINANCE_FUTURES", ("BTC-USDT-PERP", "ETH-USDT-PERP", "SOL-USDT-PERP", "XRP-USDT-PERP")),
        ("OKX", ("BTC-USDT-PERP", "ETH-USDT-PERP")),
    ):
        for channel in ("bars:1m", "books", "funding", "liquidations", "quotes", "trades"):
            for symbol in symbols:

                def add(
                    start: int,
                    length: int,
                    state: State,
                    why: str = "",
                    names: tuple[str, str, str] = (exchange, channel, symbol),
                ) -> None:
                    low = begin + start * MINUTE_NS
                    high = min(END, low + length * MINUTE_NS)
                    if low < high:
                        ranges.append(
                            Range(exchange=names[0], channel=names[1], symbol=names[2],
                                  start=low, end=high, state=state, reason=why)
                        )  # fmt: skip

                late = 12 * DAY if symbol.startswith("XRP") else 0
                add(late, 30 * DAY, State.COMPLETE)
                for at, length in outages:
                    if at < late or (exchange == "OKX") == bool(at % 3):
                        continue
                    add(at, length, State.GAP, "disconnected: no close frame received or sent")
                    if channel in ("bars:1m", "trades"):
                        add(at, length, State.FILLED, "fetched from history")
                if exchange == "OKX":
                    add(17 * DAY + 300, 140, State.GAP, "disconnected: maintenance")
                    add(17 * DAY + 300, 140, State.DOWN, "the exchange was down for maintenance")
                if channel == "bars:1m" and symbol.startswith("SOL"):
                    add(29 * DAY + 20, 600, State.GAP, "600 bars missing")
                if channel == "funding" and symbol.startswith("ETH"):
                    add(4 * DAY, 3 * DAY, State.GAP, "silent")
                    add(4 * DAY, 3 * DAY, State.SYNTHETIC, "interpolated")
    return MemoryLedger(ranges)

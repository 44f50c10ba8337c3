"""The heat map of completeness, read from the ledger. Does I/O; holds no handles."""

from typing import Protocol

from don.market.coverage import Range, State, StreamKey, by_stream, ceil_minute
from don.market.coverage_grid import grid
from don.storage.market.coverage import StreamSpan
from serve.ports import CoverageAsked, CoverageTold


class Ledger(Protocol):
    """As `don.storage.market.coverage.CoverageLedger`."""

    def streams(
        self,
        exchange: str | None = None,
        channel: str | None = None,
        symbols: list[str] | None = None,
    ) -> list[StreamSpan]:
        """The streams of which something is known."""
        ...  # fmt: skip

    def read(
        self,
        exchange: str | None = None,
        channel: str | None = None,
        symbols: list[str] | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> list[Range]:
        """What is known of them."""
        ...  # fmt: skip


def told(ledger: Ledger, asked: CoverageAsked) -> CoverageTold:
    """What was asked for. Streams of which nothing is known in that time are shown all the same."""
    symbols = [asked.symbol] if asked.symbol is not None else None
    known = ledger.streams(asked.exchange, asked.channel, symbols)
    end = asked.end if asked.end is not None else max((span.end for span in known), default=0)
    end = max(ceil_minute(end), asked.span_ns)
    start = end - asked.span_ns
    keys = [StreamKey(span.exchange, span.channel, span.symbol) for span in known]
    ranges = ledger.read(asked.exchange, asked.channel, symbols, start, end) if known else []
    gaps = [each for each in ranges if each.state in (State.GAP, State.DOWN)]
    gaps.sort(key=lambda each: (-each.end, each.exchange, each.channel, each.symbol))
    drawn = grid(keys[: asked.limit], by_stream(ranges), start, end, asked.columns)
    return CoverageTold(grid=drawn, streams=len(keys), gaps=gaps[: asked.gaps])

"""The queries of the bench of storage, through `MarketStore`, and how they are timed. Does I/O."""

import time
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from don.bench.storage_data import DAY_NS, EXCHANGE, HOUR_NS, MINUTE_NS, SYMBOLS
from don.bench.storage_peers import Query
from don.storage.market.reads import MarketStore

LAST = 1_000
MONTH_NS = 30 * DAY_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """How long a query took, over many runs with other symbols each."""

    ms: tuple[float, ...]
    rows: int  # of an answer, the last one

    def at(self, percent: float) -> float:
        """A percentile, ms."""
        return float(np.percentile(self.ms, percent))


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a query is asked for: how many symbols, and the end of the data and its length."""

    symbols: int
    channel: str
    span_ns: int  # up to so much of the newest data, beginning at a whole day where there are some


ASKED = {
    "last_1000_bars": Asked(symbols=1, channel="bars", span_ns=LAST * MINUTE_NS),
    "day_of_trades": Asked(symbols=1, channel="trades", span_ns=DAY_NS),
    "month_10_symbols": Asked(symbols=10, channel="bars", span_ns=MONTH_NS),
    "resample_50_symbols": Asked(symbols=len(SYMBOLS), channel="bars", span_ns=MONTH_NS),
    "latest_all": Asked(symbols=len(SYMBOLS), channel="bars", span_ns=MINUTE_NS),
}


def our_queries(store: MarketStore) -> dict[str, Query]:
    """The queries through Don's reads; every value of an answer is touched."""

    def names(symbols: list[tuple[str, str]]) -> list[str]:
        return [symbol for _, symbol in symbols]

    def last(count: int) -> Query:
        return lambda symbols, start, end: touched(
            store.read("bars", names(symbols), exchange=EXCHANGE, interval=MINUTE_NS, last=count)
        )

    return {
        "last_1000_bars": last(LAST),
        "day_of_trades": lambda symbols, start, end: touched(
            store.read("trades", names(symbols), start, end, exchange=EXCHANGE)
        ),
        "month_10_symbols": lambda symbols, start, end: touched(
            store.read("bars", names(symbols), start, end, exchange=EXCHANGE, interval=MINUTE_NS)
        ),
        "resample_50_symbols": lambda symbols, start, end: touched(
            store.bars(names(symbols), HOUR_NS, start, end, exchange=EXCHANGE)
        ),
        "latest_all": last(1),
    }


def touched(table: pa.Table) -> int:
    """Rows, after a look at every number: what is only mapped from a file must come in first."""
    for column in table.itercolumns():
        if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
            pc.sum(column)
    return int(table.num_rows)


def timed(
    name: str, query: Query, ends: dict[str, tuple[int, int]], runs: int, *, warm: int = 3
) -> Timed:
    """Run a query with random symbols, and trades on a random day.

    Args:
        name: of `ASKED`.
        query: answers with the number of rows.
        ends: by channel, first and last time of the data.
        runs: how many are timed.
        warm: runs before, not timed.

    Raises:
        RuntimeError: if an answer is empty.
    """
    asked = ASKED[name]
    rng = np.random.default_rng(3)
    first, end = ends[asked.channel]
    days = max(1, (end - first) // DAY_NS)
    taken: list[float] = []
    rows = 0
    for number in range(-warm, runs):
        chosen = rng.choice(len(SYMBOLS), asked.symbols, replace=False)
        symbols = sorted((EXCHANGE, SYMBOLS[place]) for place in chosen)
        if asked.channel == "trades":
            start = first + int(rng.integers(0, days)) * DAY_NS
            stop = min(start + DAY_NS, end)
        else:
            stop = end
            start = max(first, end - asked.span_ns)
        began = time.perf_counter()
        rows = query(symbols, start, stop)
        if number >= 0:
            taken.append((time.perf_counter() - began) * 1e3)
        if not rows:
            raise RuntimeError(f"{name} found nothing for {symbols[0]}")
    return Timed(ms=tuple(taken), rows=rows)

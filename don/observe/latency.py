"""How long events take from the exchange to us, as a histogram. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.observe.sample import Sample, sample

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REPLAYED_S = 3_600.0  # an event that arrives so late is replayed or fetched: it says nothing
TIMED = ("trades", "quotes", "books", "funding", "liquidations")  # a bar's time is its close


class Latency:
    """Counts by channel; arrivals before the event (clocks that differ) count as zero."""

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._bounds = np.array(BOUNDS_S) * NS_PER_S
        self._counts: dict[str, NDArray[np.int64]] = defaultdict(
            lambda: np.zeros(len(BOUNDS_S) + 1, np.int64)
        )
        self._sums: dict[str, float] = defaultdict(float)

    def observe(self, tables: Mapping[str, pa.Table]) -> None:
        """Take in the rows of a feed's batch."""
        for channel in TIMED:
            table = tables.get(channel)
            if table is None or not table.num_rows:
                continue
            late = table["ts_recv"].to_numpy() - table["ts_event"].to_numpy()
            late = np.maximum(late[late < REPLAYED_S * NS_PER_S], 0)
            at = np.searchsorted(self._bounds, late, side="left")
            if not len(late):
                continue
            self._counts[channel] += np.bincount(at, minlength=len(BOUNDS_S) + 1)
            self._sums[channel] += float(late.sum()) / NS_PER_S

    def samples(self) -> Iterator[Sample]:
        """The histogram so far."""
        name = "feed_latency_seconds"
        for channel, counts in self._counts.items():
            own = {"exchange": self._exchange, "channel": channel}
            for bound, count in zip((*BOUNDS_S, "+Inf"), np.cumsum(counts).tolist(), strict=True):
                yield sample(f"{name}_bucket", count, le=str(bound), **own)
            yield sample(f"{name}_sum", self._sums[channel], **own)
            yield sample(f"{name}_count", int(counts.sum()), **own)

"""What the database tells monitors, read at most every few seconds. Does I/O; holds no handles."""

import threading
from collections.abc import Sequence

from don.clock import NS_PER_S, Clock
from don.market.coverage import StreamKey
from don.observe.parts import coverage_samples, storage_samples
from don.observe.sample import Sample
from don.storage.database import Database
from don.storage.market.coverage import CoverageLedger
from don.storage.market.stats import storage_stats

FRESH_S = 15
DAY_NS = 86_400 * NS_PER_S


class Measures:
    """Samples of storage and completeness; a second scraper costs nothing."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._ledger = CoverageLedger(db)
        self._clock = clock
        self._lock = threading.Lock()
        self._read_ns = -FRESH_S * NS_PER_S
        self._samples: tuple[Sample, ...] = ()

    def __call__(self) -> Sequence[Sample]:
        """The samples, at most `FRESH_S` old.

        Raises:
            DatabaseError: if the database is away.
        """
        with self._lock:
            now = self._clock.monotonic_ns()
            if now - self._read_ns >= FRESH_S * NS_PER_S:
                self._samples = tuple(measure(self._db, self._ledger))
                self._read_ns = now
            return self._samples


def measure(db: Database, ledger: CoverageLedger) -> list[Sample]:
    """Storage and completeness, now."""
    spans = ledger.streams()
    ends = {StreamKey(s.exchange, s.channel, s.symbol): s.end for s in spans}
    newest = max(ends.values(), default=0)
    ranges = ledger.read(start=newest - DAY_NS, end=newest) if ends else []
    return [*storage_samples(storage_stats(db, statements=0)), *coverage_samples(ranges, ends)]

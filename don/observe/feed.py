"""What a feed's batches tell about it: latency, quality, its counters. Logs what looks wrong."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog

from don.market.watch import QualityWatch
from don.model.schema import MarketBatch
from don.observe.latency import Latency
from don.observe.parts import feed_samples
from don.observe.sample import Sample, sample

if TYPE_CHECKING:
    from don.feeds.health import FeedHealth

log = structlog.get_logger(__name__)


class FeedWatch:
    """Looks at every batch on its way; cheap enough to look at all of them.

    Args:
        exchange: under which the feed's data are known.
    """

    def __init__(self, exchange: str) -> None:
        self._exchange = exchange
        self._latency = Latency(exchange)
        self._quality = QualityWatch()
        self._issues = 0

    def observe(self, batch: MarketBatch) -> None:
        """Take in a batch; values that can hardly be true are logged, ever more rarely."""
        self._latency.observe(batch.tables)
        for issue in self._quality.observe(batch.tables):
            self._issues += 1
            if self._issues & (self._issues - 1) == 0:
                log.warning(
                    "market data look wrong", symbol=issue.symbol, channel=issue.channel,
                    kind=str(issue.kind), detail=issue.detail, count=self._issues,
                )  # fmt: skip

    def samples(self, health: "FeedHealth") -> Iterator[Sample]:
        """All that monitors are told of the feed."""
        yield from feed_samples(health, self._exchange)
        yield from self._latency.samples()
        for (channel, kind), count in sorted(self._quality.counts.items()):
            yield sample(
                "feed_quality_issues_total", count, exchange=self._exchange, channel=channel,
                kind=kind,
            )  # fmt: skip

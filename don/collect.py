"""What `don data collect` is told: sources, storing, keeping. Pure composition of sections."""

from typing import Self

from pydantic import Field, model_validator

from don.clock import interval_ns
from don.feeds.config import FeedConfig
from don.model.section import Section
from don.storage.market.config import IngestConfig


class CollectConfig(Section):
    """Collection for months: many exchanges in, one database. What is old goes to the lake."""

    feeds: tuple[FeedConfig, ...] = ()  # one a source; empty: Don's own paper exchange
    names: tuple[str, ...] = ()  # under which each feed is stored; empty: the exchanges' names
    batch_age_ms: float = Field(default=200.0, gt=0)  # a batch of rows is stored at least so often
    batch_rows: int = Field(default=4_096, ge=1)
    window: int = Field(default=32, ge=1)  # batches of a feed under way to the database at once
    ingest: IngestConfig = IngestConfig()

    maintain_every_s: float = Field(default=600.0, gt=0)
    repair_every_s: float = Field(default=60.0, gt=0)  # gaps that REST can fill are filled
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)  # Prometheus; None: not served

    @model_validator(mode="after")
    def _sources(self) -> Self:
        names = self.names or tuple(feed.exchange for feed in self.feeds)
        if len(names) != len(self.feeds):
            raise ValueError(
                f"names must be one for each of {len(self.feeds)} feeds, were {len(names)}"
            )
        if len(set(names)) != len(names):
            raise ValueError(f"feeds must be stored under names that differ, were {names}")
        return self


def source_names(config: CollectConfig) -> tuple[str, ...]:
    """Under which exchange each feed's data are stored."""
    return config.names or tuple(feed.exchange for feed in config.feeds)


def interval_of(feed: FeedConfig) -> int:
    """Length of a feed's bars, ns."""
    return interval_ns(feed.interval)

"""What an actor is built from, first start and every restart alike. Values only."""

from dataclasses import dataclass
from pathlib import Path

from don.collect import CollectConfig
from don.config import DonConfig
from don.exchanges.config import GatewayConfig
from don.feeds.config import FeedConfig
from don.security.secrets import Secret
from don.storage.lake.config import LakeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpec:
    """One session of one account on one exchange; the same object goes to every actor of it."""

    home: Path
    database_url: Secret
    session: str
    account: str
    symbols: tuple[str, ...]
    interval_ns: int
    config: DonConfig
    gateway: GatewayConfig
    feed: FeedConfig
    live_confirmed: bool = False  # the second switch for hosts beyond this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSpec:
    """Collection from some sources into one database; the same object goes to every actor of it."""

    home: Path
    database_url: Secret
    config: CollectConfig
    sources: tuple[tuple[str, FeedConfig], ...]  # name under which it is stored, what is collected
    lake: str  # root
    lake_config: LakeConfig
    level: str = "info"

    def source(self, name: str) -> FeedConfig:
        """What is collected under a name."""
        return dict(self.sources)[name]

"""What an actor is built from, first start and every restart alike. Values only."""

from dataclasses import dataclass
from pathlib import Path

from don.config import DonConfig
from don.exchanges.config import GatewayConfig
from don.feeds.config import FeedConfig
from don.security.secrets import Secret


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

"""The market data of the state folder, opened for a command."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from don.home import home_dir

if TYPE_CHECKING:
    from don.storage.database import Database
    from don.storage.lake.config import LakeConfig
    from don.storage.lake.lake import Lake
    from don.storage.market.reads import MarketStore


def market_database() -> "AbstractContextManager[Database]":
    """The database, for commands that load whole files: no statement is cut short."""
    from don.storage.opened import open_database  # half of what starting `don` would cost

    return open_database(pool_size=8, statement_timeout_s=0.0)


def lake_of(root: str | None = None) -> "tuple[Lake, LakeConfig]":
    """The lake that is configured, or another one that the command line names.

    Raises:
        ConfigError: if its address is not understood.
    """
    from don.config import load_config
    from don.storage.lake.lake import Lake

    home = home_dir()
    config = load_config(home).lake
    return Lake(root or config.root or str(home / "lake")), config


def open_store(db: "Database", lake: str | None = None) -> "MarketStore":
    """Reads over database, lake and the copies for fast reads of the state folder.

    Args:
        db: its database.
        lake: root of another lake than the one that is configured.

    Raises:
        ConfigError: if the lake's address is not understood.
    """
    from don.storage.market import opened

    return opened.open_store(db, home_dir(), lake_of(lake)[0])


def time_ns(text: str, what: str) -> int:
    """A time of the command line: ISO-8601, UTC unless it says otherwise.

    Raises:
        UsageError: naming the option.
    """
    from don.clock import parse_iso
    from don.errors import UsageError

    try:
        return parse_iso(text)
    except ValueError as error:
        raise UsageError(f"{what} {str(error).removeprefix('time ')}") from error

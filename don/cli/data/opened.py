"""The market data of the state folder, opened for a command: database, migrated, and lake."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from don.home import DATABASE_USE, SharedUse, home_dir
from don.storage.database import Database, external_url
from don.storage.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from don.storage.lake.config import LakeConfig
    from don.storage.lake.lake import Lake
    from don.storage.market.reads import MarketStore


@contextmanager
def market_database(*, pool_size: int = 8, statement_timeout_s: float = 0.0) -> Iterator[Database]:
    """The database; an embedded one is made and started if need be, and stopped by its last user.

    Args:
        pool_size: most connections.
        statement_timeout_s: longest statement; 0: no limit, for loads of whole files.

    Raises:
        DependencyError: if it cannot be reached.
    """
    url = external_url(os.environ)
    server = use = None
    if url is None:
        home = home_dir()
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        use = SharedUse(home, DATABASE_USE)
        server = EmbeddedPostgres(home)
    try:
        text = url if url is not None else server.start()  # type: ignore[union-attr]
        with Database(text, pool_size=pool_size, statement_timeout_s=statement_timeout_s) as db:
            db.wait(10.0)
            db.migrate()
            yield db
    finally:
        if server is not None and use is not None:
            if use.last():
                server.stop()
            use.close()


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


def open_store(db: Database, lake: str | None = None) -> "MarketStore":
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
        raise UsageError(
            f"{what} must be a time such as 2025-05-04 or 2025-05-04T15:30, was {text!r}"
        ) from error

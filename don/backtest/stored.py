"""Bars of a state folder's market database and lake as a tape. Does I/O."""

from collections.abc import Sequence
from pathlib import Path

from don.config import load_config
from don.home import home_dir
from don.storage.lake.lake import Lake
from don.storage.market.opened import open_store
from don.storage.market.tapes import write_tape
from don.storage.opened import open_database

TAPES = "tapes"  # folder of the state folder


def stored_tape(
    symbols: Sequence[str], interval_ns: int, start: int, end: int, *,
    exchange: str | None = None, home: Path | None = None,
) -> Path:  # fmt: skip
    """Write stored bars as a tape, see `write_tape`; the database is started for it if need be.

    Args:
        symbols: canonical names.
        interval_ns: of the bars.
        start: ns, open time of the first bar.
        end: ns, exclusive, of the last bar's close.
        exchange: as stored; None: the only one that has them.
        home: the state folder; None: as `DON_HOME` says.

    Raises:
        DataError: if they are not stored, or not of one exchange.
        DependencyError: if the database or the lake cannot be reached.
    """
    place = home_dir() if home is None else home
    with open_database(home, statement_timeout_s=0.0) as db:
        lake = Lake(load_config(place).lake.root or str(place / "lake"))
        return write_tape(
            open_store(db, place, lake), place / TAPES, symbols, interval_ns, start, end,
            exchange=exchange,
        )  # fmt: skip

"""Blocks: copies of sealed spans on the local disk, by columns, ready to be mapped. Does I/O.

A cache: every row is in the database, and a block counts only while its span's seal, which any load
into the span breaks, is there. Reading a month of minute bars from blocks takes no work on the
server; bars of an hour are kept beside the smaller ones that they were made of.
"""

import json
import os
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from don.clock import NS_PER_S
from don.errors import DatabaseError
from don.market.resample import resample_bars
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.storage.database import Connection, Database
from don.storage.market.hotreads import Ask, Pair, bounds_of, hot_rows, pair_at
from don.storage.market.seals import SPAN_NS, seal, sealed, starts_within

HOUR_NS = 3_600 * NS_PER_S
_OPEN = 4_096  # blocks kept mapped
_AT_ONCE = 128  # spans sealed in one go
_WHOLE = ".whole"  # in the names of files of hours; `.hours` had unfinished ones among them

Key = tuple[str, str, int]  # exchange, symbol, interval (0 where there is none)


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of all series in one span, sorted, and where each series is."""

    batch: pa.RecordBatch
    places: dict[Key, tuple[int, int]]  # first row, rows


class Blocks:
    """The blocks of one database in a folder; safe to share between threads and processes."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db = db
        self._folder = folder
        self._opened: OrderedDict[Path, Block] = OrderedDict()
        self._lock = threading.Lock()

    def held(self, connection: Connection, channel: str, start: int, end: int,
             *, hours: bool = False) -> dict[int, Block]:  # fmt: skip
        """The blocks that are good now, of spans that touch [start, end), by start.

        Args:
            connection: on which the rest of the answer is read.
            channel: its name.
            start: ns.
            end: exclusive, ns.
            hours: the whole bars of an hour made of each smaller interval, instead of the rows;
                their place is that of the smaller interval.
        """
        found = {}
        for first, token in sealed(connection, channel, start, end).items():
            block = self._open(self._path(channel, first, token, hours=hours))
            if block is not None:
                found[first] = block
        return found

    def build(self, channel: str, start: int, end: int) -> int:
        """Copy the spans in [start, end) that have no good block; returns how many.

        Raises:
            DatabaseError: if it is away, or loads never paused; repeat it.
        """
        made = 0
        with self._db.errors(), self._db.connect() as connection:
            missing = set(starts_within(channel, start, end))
            good = set(self.held(connection, channel, start, end))
            if channel == "bars":
                good &= set(self.held(connection, channel, start, end, hours=True))
            missing -= good
            todo = sorted(missing)
            for at in range(0, len(todo), _AT_ONCE):
                tokens = {first: secrets.randbits(62) for first in todo[at : at + _AT_ONCE]}
                try:
                    seal(connection, channel, tokens)
                except psycopg.errors.LockNotAvailable:
                    raise DatabaseError(f"loads of {channel} never paused; try again") from None
                names = _names(connection)
                for first, token in tokens.items():
                    self._copy(connection, channel, names, first, token)
                    made += 1
        return made

    def sweep(self, channel: str) -> int:
        """Delete the files whose seals are broken, or of an older kind; returns how many."""
        folder = self._folder / channel
        with self._db.connection() as connection:
            live = {(first, token) for first, token in connection.execute(
                "SELECT start_ns, token FROM market_seal WHERE channel = %s", (channel,)
            ).fetchall()}  # fmt: skip
        gone = 0
        for path in folder.glob("*.arrow") if folder.exists() else ():
            name, _, kind = path.name.removesuffix(".arrow").partition(".")
            first, token = name.rsplit("-", 1)
            if (int(first), int(token)) not in live or f".{kind}" not in (".", _WHOLE):
                path.unlink(missing_ok=True)
                gone += 1
        return gone

    # ---- inside ---------------------------------------------------------------------------------

    def _path(self, channel: str, first: int, token: int, *, hours: bool = False) -> Path:
        return self._folder / channel / f"{first}-{token}{_WHOLE if hours else ''}.arrow"

    def _open(self, path: Path) -> Block | None:
        with self._lock:
            known = self._opened.get(path)
            if known is not None:
                self._opened.move_to_end(path)
                return known
        try:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            places = json.loads(file.schema.metadata[b"places"])
            batch = file.get_batch(0)
        except (OSError, pa.ArrowException):  # not there (yet), or cut off by a crash
            return None
        block = Block(
            batch.replace_schema_metadata(None),
            {(exchange, symbol, interval): (low, rows)
             for exchange, symbol, interval, low, rows in places},
        )  # fmt: skip
        with self._lock:
            self._opened[path] = block
            if len(self._opened) > _OPEN:
                self._opened.popitem(last=False)
        return block

    def _copy(
        self, connection: Connection, channel: str, names: dict[int, Pair], first: int, token: int
    ) -> None:
        ask = Ask(channel=channel, columns=tuple(CHANNELS[channel].schema.names),
                  start=first, end=first + SPAN_NS)  # fmt: skip
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            parts = hot_rows(connection, ask, names, sorted(names, key=names.__getitem__))
        table = ordered(pa.concat_tables(parts), CHANNELS[channel])
        if channel == "bars":
            self._write(self._path(channel, first, token, hours=True), *_hours(table))
        self._write(self._path(channel, first, token), table, _places(table))

    def _write(self, path: Path, table: pa.Table, places: list[list[object]]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        passing = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        about = table.combine_chunks().replace_schema_metadata({"places": json.dumps(places)})
        with pa.OSFile(str(passing), "wb") as sink, pa.ipc.new_file(sink, about.schema) as writer:
            # one batch, even of no row: what is sliced most cheaply
            writer.write_batch(
                about.to_batches()[0]
                if about.num_rows
                else pa.RecordBatch.from_pylist([], schema=about.schema)
            )
        passing.replace(path)


def _names(connection: Connection) -> dict[int, Pair]:
    rows = connection.execute("SELECT id, exchange, symbol FROM series").fetchall()
    return {number: (exchange, symbol) for number, exchange, symbol in rows}


def _places(table: pa.Table) -> list[list[object]]:
    """Where each series, and each interval of bars, is in a table in the channel's order."""
    found: list[list[object]] = []
    for low, high in bounds_of(table, inner="interval_ns"):
        interval = table["interval_ns"][low].as_py() if "interval_ns" in table.column_names else 0
        found.append([*pair_at(table, low), interval, low, high - low])
    return found


def _hours(table: pa.Table) -> tuple[pa.Table, list[list[object]]]:
    """Whole bars of an hour of every smaller interval, placed under that interval."""
    made, places, rows = [table.schema.empty_table()], [], 0
    for interval in sorted(pc.unique(table["interval_ns"]).to_pylist()):
        if interval >= HOUR_NS or HOUR_NS % interval:
            continue
        bars = resample_bars(
            table.filter(pc.equal(table["interval_ns"], interval)), HOUR_NS, whole=True
        )
        for low, high in bounds_of(bars):
            places.append([*pair_at(bars, low), interval, rows + low, high - low])
        made.append(bars)
        rows += bars.num_rows
    return pa.concat_tables(made), places

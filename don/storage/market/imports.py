"""Import of files: each is one transaction, so nothing is ever half imported. Does I/O.

A file is read, checked and copied in pieces, whatever its size; its rows become visible together
when the last one was good. Rows that are stored already are passed over if they are the same, and
refused, or kept as they are stored, if they are not; be it in the database or in the lake.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from don.clock import iso
from don.errors import DatabaseError, DataError
from don.model.channels import CHANNELS
from don.storage.database import Connection, Database
from don.storage.lake.lake import Lake
from don.storage.market.archived import Archived
from don.storage.market.convert import Converter
from don.storage.market.hot import MarketTables
from don.storage.market.mapping import ImportMapping
from don.storage.market.readers import batches, count_rows
from don.storage.market.tables import LAYOUTS, SERIES


class Overlap(StrEnum):
    """What becomes of rows whose key is stored already with other values."""

    REFUSE = "refuse"
    KEEP = "keep"  # what is stored


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did, or with `dry_run` would do."""

    file: str
    channel: str
    rows: int
    inserted: int  # new; the others were stored already
    series: dict[str, int]  # "exchange symbol" -> rows
    first_ns: int
    last_ns: int
    dry_run: bool


class Importer:
    """Loads files into the market tables.

    Args:
        db: the database, migrated.
        lake: where archived rows are; without one, an import into archived time is refused.
        overlap: what becomes of rows that contradict stored ones.
        sorted_: refuse files in which a series' time goes back.
        progress: told (file, rows so far, rows of the file if known).
    """

    def __init__(
        self,
        db: Database,
        lake: Lake | None = None,
        *,
        overlap: Overlap = Overlap.REFUSE,
        sorted_: bool = True,
        progress: Callable[[str, int, int | None], None] = lambda file, rows, of: None,
    ) -> None:
        self._db = db
        self._lake = lake
        self._tables = MarketTables(db)
        self._overlap = overlap
        self._sorted = sorted_
        self._progress = progress

    def load(self, path: Path, mapping: ImportMapping) -> Imported:
        """Import one file: all of it or nothing.

        Raises:
            DataError: the file cannot be read, or a row is not valid or contradicts what is stored.
            DatabaseError: the database is away or its disk is full.
        """
        try:
            with self._db.errors(), self._db.connect(autocommit=False) as connection:
                try:
                    done = self._load(connection, path, mapping)
                    connection.commit()
                    return done
                except BaseException:
                    if not connection.closed:
                        connection.rollback()
                    raise
        except DatabaseError as error:
            raise DatabaseError(f"{path.name}: nothing of it was imported: {error}") from None

    def _load(self, connection: Connection, path: Path, mapping: ImportMapping) -> Imported:
        tally, of = Tally(), count_rows(path)
        archived = Archived(connection, self._lake, mapping.channel)
        for table in convert(path, mapping, sorted_=self._sorted):
            new = archived.without(
                table, path.name, tally.rows, refuse=self._overlap is Overlap.REFUSE
            )
            loaded = self._tables.load_within(connection, mapping.channel, new)
            if loaded.duplicates and self._overlap is Overlap.REFUSE:
                check_same(connection, mapping.channel, table, path.name, tally.rows)
            tally.add(table, loaded.inserted)
            self._progress(path.name, tally.rows, of)
        return tally.result(path, mapping, dry_run=False)


class Tally:
    """Counts what went by."""

    def __init__(self) -> None:
        self.rows = 0
        self._inserted = 0
        self._series: Counter[str] = Counter()
        self._first, self._last = 0, 0

    def add(self, table: pa.Table, inserted: int) -> None:
        """Count a converted table."""
        if not table.num_rows:
            return
        found = table.group_by(["exchange", "symbol"]).aggregate([([], "count_all")])
        for row in found.to_pylist():
            self._series[f"{row['exchange']} {row['symbol']}"] += row["count_all"]
        bounds = pc.min_max(table["ts_event"]).as_py()
        self._first = min(self._first, bounds["min"]) if self.rows else bounds["min"]
        self._last = max(self._last, bounds["max"])
        self.rows += table.num_rows
        self._inserted += inserted

    def result(self, path: Path, mapping: ImportMapping, *, dry_run: bool) -> Imported:
        """The counts of a whole file."""
        return Imported(
            file=str(path),
            channel=mapping.channel,
            rows=self.rows,
            inserted=self._inserted,
            series=dict(sorted(self._series.items())),
            first_ns=self._first,
            last_ns=self._last,
            dry_run=dry_run,
        )


def convert(path: Path, mapping: ImportMapping, *, sorted_: bool = True) -> Iterable[pa.Table]:
    """The file's rows as conforming tables.

    Raises:
        DataError: naming file, row and column.
    """
    converter = Converter(mapping, path.name, sorted_=sorted_)
    for piece in batches(path, mapping.needed(), header=mapping.header):
        yield converter.convert(piece)
    converter.finish()


def try_out(
    path: Path, mapping: ImportMapping, *, sorted_: bool = True
) -> tuple[Imported, pa.Table]:
    """Read and check a whole file without a database: (what it holds, its first rows).

    Raises:
        DataError: as `Importer.load`.
    """
    tally, head = Tally(), CHANNELS[mapping.channel].schema.empty_table()
    for table in convert(path, mapping, sorted_=sorted_):
        if not head.num_rows:
            head = table.slice(0, 3)
        tally.add(table, 0)
    return tally.result(path, mapping, dry_run=True), head


def check_same(
    connection: Connection, channel: str, table: pa.Table, where: str, offset: int
) -> None:
    """Refuse a table just loaded if a row of it contradicts the stored row of the same key.

    Columns that may be unknown, when it was received and where it came from do not count.

    Raises:
        DataError: naming file, row and column.
    """
    layout = LAYOUTS[channel]
    loose = {"ts_recv", "origin", *layout.channel.defaults}
    key = set(layout.key)
    values = [c for c in layout.columns if c.name not in key and c.source not in loose]
    if not values:
        return
    same = sql.SQL(" AND ").join(
        sql.SQL("m.{0} = s.{0}").format(sql.Identifier(name)) for name in layout.key
    )
    others = sql.SQL(" OR ").join(
        sql.SQL("m.{0} IS DISTINCT FROM s.{0}").format(sql.Identifier(c.name)) for c in values
    )
    shown = sql.SQL(", ").join(
        sql.SQL("m.{0}, s.{0}").format(sql.Identifier(c.name)) for c in values
    )
    query = sql.SQL(
        "SELECT n.exchange, n.symbol, s.ts_event, {} FROM {} AS s JOIN {} AS m ON {} "
        "JOIN series AS n ON n.id = s.{} WHERE {} ORDER BY s.ts_event LIMIT 1"
    ).format(
        shown,
        sql.Identifier(f"stage_{channel}"),
        sql.Identifier(layout.table),
        same,
        sql.Identifier(SERIES),
        others,
    )
    row = connection.execute(query).fetchone()
    if row is None:
        return
    exchange, symbol, ts_event, *pairs = row
    at = next(i for i in range(len(values)) if pairs[2 * i] != pairs[2 * i + 1])
    mask = pc.and_(
        pc.and_(pc.equal(table["exchange"], exchange), pc.equal(table["symbol"], symbol)),
        pc.equal(table["ts_event"], ts_event),
    )
    raise DataError(
        f"{where}: row {offset + pc.index(mask, True).as_py()}, column {values[at].source}: is "
        f"{pairs[2 * at + 1]}, but {pairs[2 * at]} is stored for {symbol} at {exchange}, "
        f"{iso(ts_event)}: keep what is stored with --on-overlap keep"
    )

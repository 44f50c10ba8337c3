"""Market data of any age: one read over the database and the lake. Does I/O; changes nothing.

A read asks the manifest what the lake has before it takes what the database has, and again after:
rows that moved meanwhile, to the lake or back, are in a file that one of the answers names. Where
both hold rows of one time (late rows, rows that moved), each natural key counts once.
"""

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from don.clock import iso
from don.errors import DataError
from don.market.rows import ordered
from don.model.channels import CHANNELS
from don.model.channels import channel as channel_of
from don.storage.database import Connection, Cursor, Database
from don.storage.lake import manifest
from don.storage.lake.files import LakeFile
from don.storage.lake.lake import Lake
from don.storage.market.absent import unknown
from don.storage.market.barreads import given_bars
from don.storage.market.blocks import Blocks
from don.storage.market.hotreads import (
    FIRST,
    LAST,
    PAGE,
    Ask,
    Pair,
    bounds_of,
    hot_rows,
    intervals_of,
    newest_rows,
    pages,
    rows_of,
)
from don.storage.market.merged import from_blocks
from don.storage.market.tables import LAYOUTS
from don.storage.market.zones import by_time, merged, newest, within, zones


class MarketStore:
    """Reads of market data; safe to share between threads.

    Args:
        db: the database, migrated.
        lake: where archived partitions are; without one, reads that need it are refused.
        threads: lake files read at once.
        blocks: copies of spans that no longer change, which make long reads fast.
    """

    def __init__(
        self,
        db: Database,
        lake: Lake | None = None,
        *,
        threads: int = 2,
        blocks: Blocks | None = None,
    ) -> None:
        self.database = db
        self._lake = lake
        self._blocks = blocks
        self._threads = threads
        self._names: dict[int, Pair] = {}

    def read(
        self,
        channel: str,
        symbols: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        exchange: str | None = None,
        interval: int | None = None,
        last: int | None = None,
    ) -> pa.Table:
        """Rows in [start, end), sorted by exchange, symbol and time.

        Args:
            channel: name of the channel.
            symbols: canonical; all if None.
            start: ns UTC, inclusive; from the first row if None.
            end: ns UTC, exclusive; to the last row if None.
            columns: of the channel; all if None.
            exchange: of this exchange only.
            interval: of bars, ns; all intervals if None.
            last: only the newest so many rows of each series.

        Returns:
            The chosen columns, in the channel's order.

        Raises:
            DataError: an unknown channel, column, exchange or symbol, or an empty range; or a file
                of the lake is missing or damaged.
            DatabaseError: if the database is away.
        """
        ask = self._ask(channel, columns, start, end, interval)
        if last is not None and last < 1:
            raise DataError(f"last must be at least 1, was {last}")
        with self.database.statements() as connection:
            series = self._series(connection, symbols, exchange)
            if last is None:
                before = self._files(connection, ask, series)
                hot = self._hot(connection, _with_key(ask), series)
                after = self._files(connection, ask, series)
            else:
                before, hot, after = self._last(connection, ask, series, last)
        files = manifest.either(before, after)
        cold = self._cold(ask, files, last, hot) if files else []
        return _finish(ask, cold, hot, last)

    def scan(
        self,
        channel: str,
        symbols: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        columns: Sequence[str] | None = None,
        *,
        exchange: str | None = None,
        interval: int | None = None,
        batch_rows: int = PAGE,
        resume: tuple[str, str, int] | None = None,
    ) -> Generator[pa.RecordBatch]:
        """As `read`, a batch at a time, in bounded memory; one state of the data throughout.

        It holds a connection until its end: close it where you may stop before.

        Arguments and errors as for `read`; batches have at most `batch_rows` rows.
        `resume`, an (exchange, symbol, time), leaves out what comes before it.
        """
        if batch_rows < 1:
            raise DataError(f"batch_rows must be at least 1, was {batch_rows}")
        ask = self._ask(channel, columns, start, end, interval)
        with self.database.errors(), self.database.connect(autocommit=False) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            # Before the snapshot: from here on nothing is archived away under this scan.
            connection.execute(f"LOCK TABLE ONLY {LAYOUTS[channel].table} IN ACCESS SHARE MODE")
            series = self._series(connection, symbols, exchange)
            files = self._files(connection, ask, series)
            for number, pair in series.items():
                if resume is not None and pair < resume[:2]:
                    continue
                rest = ask
                if resume is not None and pair == resume[:2]:
                    rest = replace(ask, start=max(ask.start, resume[2]))
                own = [file for file in files if (file.exchange, file.symbol) == pair
                       and file.end > rest.start]  # fmt: skip
                for table in self._one(connection, rest, number, own):
                    part = table.select(ask.columns).combine_chunks()
                    yield from part.to_batches(max_chunksize=batch_rows)

    def series(self) -> list[Pair]:
        """Every (exchange, symbol) known to the database, sorted."""
        with self.database.statements() as connection:
            return sorted(self._series(connection, None, None).values())

    def bars(
        self,
        symbols: Sequence[str] | None,
        interval: int,
        start: int,
        end: int,
        *,
        exchange: str | None = None,
    ) -> pa.Table:
        """Closed bars of any interval that close in [start, end), sorted.

        Stored ones where there are; where one is missing, resampled from stored bars of the
        smallest interval that has all its parts, or else made of trades that cover its time.

        Arguments and errors as for `read`; `interval` in ns.
        """
        return given_bars(self, symbols, interval, start, end, exchange).table

    def intervals(self, pairs: Sequence[Pair]) -> dict[Pair, tuple[int, ...]]:
        """The bar intervals (ns) stored for each series, smallest first."""
        found: dict[Pair, set[int]] = {pair: set() for pair in pairs}
        with self.database.statements() as connection:
            before = manifest.listed(connection, "bars", series=pairs)
            for pair, interval in intervals_of(connection, pairs):
                found[pair].add(interval)
            for file in (*before, *manifest.listed(connection, "bars", series=pairs)):
                found[file.exchange, file.symbol].update(file.intervals)
        return {pair: tuple(sorted(intervals)) for pair, intervals in found.items()}

    def chosen(self, symbols: Sequence[str] | None, exchange: str | None) -> list[Pair]:
        """The series that a read of these would give, sorted; errors as for `read`."""
        with self.database.statements() as connection:
            return list(self._series(connection, symbols, exchange).values())

    # ---- asking ---------------------------------------------------------------------------------

    def _ask(
        self,
        name: str,
        columns: Sequence[str] | None,
        start: int | None,
        end: int | None,
        interval: int | None,
    ) -> Ask:
        channel = channel_of(name)
        names = channel.schema.names
        for column in columns or ():
            if column not in names:
                raise DataError(f"column must be one of {', '.join(names)}, was {column!r}")
        if columns is not None and not columns:
            raise DataError(f"columns must name at least one of {', '.join(names)}")
        if interval is not None and "interval_ns" not in names:
            raise DataError(f"interval is for bars, channel was {name!r}")
        low, high = FIRST if start is None else start, LAST if end is None else end
        for what, ns in (("start", low), ("end", high)):
            if not FIRST <= ns <= LAST:
                raise DataError(f"{what} must be a time from 1677 to 2262, was {ns} ns")
        if low >= high:
            raise DataError(f"end must be after start, was {iso(high)}, start {iso(low)}")
        chosen = tuple(n for n in names if columns is None or n in columns)
        return Ask(channel=name, columns=chosen, start=low, end=high, interval_ns=interval)

    def _series(
        self, connection: Connection, symbols: Sequence[str] | None, exchange: str | None
    ) -> dict[int, Pair]:
        """Numbers and names of the series asked for, sorted by name."""
        if isinstance(symbols, str):
            raise DataError(f"symbols must be a list of symbols, was {symbols!r}")
        found = self._match(symbols, exchange)
        full = symbols is not None and {pair[1] for pair in found.values()} == set(symbols)
        # another exchange may have begun to have the symbol
        if not full or (exchange is None and _last_series(connection) > max(self._names)):
            self._names = {
                number: (text, symbol)
                for number, text, symbol in connection.execute(
                    "SELECT id, exchange, symbol FROM series", prepare=True
                ).fetchall()
            }
            found = self._match(symbols, exchange)
        every = self._names.values()
        if exchange is not None and exchange not in {pair[0] for pair in every}:
            raise unknown("exchange", exchange, {pair[0] for pair in every})
        for symbol in symbols or ():
            if symbol not in {pair[1] for pair in found.values()}:
                known = {pair[1] for pair in self._match(None, exchange).values()}
                raise unknown("symbol", symbol, known)
        return dict(sorted(found.items(), key=lambda item: item[1]))

    def _match(self, symbols: Sequence[str] | None, exchange: str | None) -> dict[int, Pair]:
        wanted = None if symbols is None else set(symbols)
        return {
            number: pair
            for number, pair in self._names.items()
            if (wanted is None or pair[1] in wanted) and (exchange is None or pair[0] == exchange)
        }

    def _files(self, connection: Connection, ask: Ask, series: dict[int, Pair]) -> list[LakeFile]:
        return self._allowed(ask, manifest.answered(_asked(connection, ask, series)))

    def _allowed(self, ask: Ask, files: list[LakeFile]) -> list[LakeFile]:
        if ask.interval_ns is not None:
            files = [file for file in files if ask.interval_ns in file.intervals]
        if files and self._lake is None:
            raise DataError(
                f"{len(files)} archived files of {ask.channel} are in the range: name the lake"
            )
        return files

    # ---- reading --------------------------------------------------------------------------------

    def _last(
        self, connection: Connection, ask: Ask, series: dict[int, Pair], last: int
    ) -> tuple[list[LakeFile], list[pa.Table], list[LakeFile]]:
        """The newest rows of the database, and the files before and after: on one way there."""
        with connection.pipeline():
            before = _asked(connection, ask, series)
            rows = newest_rows(connection, _with_key(ask), self._names, list(series), last)
            after = _asked(connection, ask, series)
        first, second = (self._allowed(ask, manifest.answered(c)) for c in (before, after))
        return first, [one.table() for one in rows], second

    def _hot(self, connection: Connection, ask: Ask, series: dict[int, Pair]) -> list[pa.Table]:
        """What the database has, from blocks as far as there are good ones."""
        single = ask.interval_ns is not None or CHANNELS[ask.channel].sort[2] == "ts_event"
        if self._blocks is None or not single:
            return hot_rows(connection, ask, self._names, list(series))
        held = self._blocks.held(connection, ask.channel, ask.start, ask.end)
        return [from_blocks(connection, ask, series, held)]

    def hours(
        self, symbols: Sequence[str], exchange: str, source: int, start: int, end: int
    ) -> pa.Table | None:
        """Whole bars of an hour made of bars of `source`, from blocks; None if there are none, or
        if the lake has a part: then resample what `read` gives.
        """
        if self._blocks is None:
            return None
        ask = self._ask("bars", None, start, end, source)
        with self.database.statements() as connection:
            series = self._series(connection, symbols, exchange)
            held = self._blocks.held(connection, "bars", start, end, hours=True)
            if not held or self._files(connection, ask, series):
                return None
            bars = from_blocks(connection, ask, series, held, hours=True)
            return None if self._files(connection, ask, series) else bars

    def _cold(
        self, ask: Ask, files: list[LakeFile], last: int | None, hot: list[pa.Table]
    ) -> list[pa.Table]:
        lake = self._required()
        limits: dict[str, Any] = {"columns": _with_key(ask).columns, "start": ask.start,
                                  "end": ask.end, "interval_ns": ask.interval_ns}  # fmt: skip
        if last is not None:
            return newest(lake, files, last, limits, hot)
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda file: lake.read(file, **limits), files))

    def _one(
        self, connection: Connection, ask: Ask, number: int, files: list[LakeFile]
    ) -> Iterator[pa.Table]:
        """One series of both tiers in time order, in parts."""
        keyed, at = _with_key(ask), ask.start
        for start, end, group in zones(files):
            if at < start:
                yield from pages(connection, replace(keyed, start=at, end=start),
                                 self._names, number)  # fmt: skip
            at = max(at, end)
            yield from self._zone(connection, within(keyed, start, end), number, group)
        if at < ask.end:
            yield from pages(connection, replace(keyed, start=at), self._names, number)

    def _zone(
        self, connection: Connection, ask: Ask, number: int, files: list[LakeFile]
    ) -> Iterator[pa.Table]:
        """A period that the lake covers, with the rows of it that the database has besides."""
        lake = self._required()
        late = rows_of(connection, ask, self._names, [number], 1).table()
        sources = [source for file in files for source in by_time(lake, file, ask)]
        if late.num_rows:
            sources.append(pages(connection, ask, self._names, number))
        if len(sources) == 1:
            yield from sources[0]
        else:
            yield from merged(sources, CHANNELS[ask.channel], by_time=ask.by_time)

    def _required(self) -> Lake:
        assert self._lake is not None  # `_files` refused otherwise
        return self._lake


# ---- private -------------------------------------------------------------------------------------


def _asked(connection: Connection, ask: Ask, series: dict[int, Pair]) -> Cursor:
    pairs = list(series.values())
    return manifest.asked(connection, ask.channel, start=ask.start, end=ask.end, series=pairs)


def _with_key(ask: Ask) -> Ask:
    """The ask with the columns that tell rows apart."""
    channel = CHANNELS[ask.channel]
    wanted = {*ask.columns, *channel.key}
    return replace(ask, columns=tuple(n for n in channel.schema.names if n in wanted))


def _finish(ask: Ask, cold: list[pa.Table], hot: list[pa.Table], last: int | None) -> pa.Table:
    """One table of both tiers' rows; where they hold the same key, the lake's counts."""
    filled = [table for table in (*cold, *hot) if table.num_rows] or hot[:1]
    table = filled[0]
    if len(filled) > 1:
        table = ordered(pa.concat_tables(filled), CHANNELS[ask.channel], by_time=ask.by_time)
    if last is not None and cold:
        places = [np.arange(max(low, high - last), high) for low, high in bounds_of(table)]
        table = table.take(pa.array(np.concatenate(places))) if places else table
    return table.select(ask.columns)


def _last_series(connection: Connection) -> int:
    row = connection.execute("SELECT max(id) FROM series", prepare=True).fetchone()
    return 0 if row is None else int(row[0])

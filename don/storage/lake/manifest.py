"""The manifest: which files make up the lake, and what each must hold. Reads and writes PostgreSQL.

A file that is not listed does not exist for readers, so a crash leaves at most files nobody sees.
A file that others have replaced is retired, and deleted only when no reader can still need it; so
is one that is noted, but was not listed before a crash.
"""

from collections.abc import Iterable, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from don.storage.database import Connection, Cursor
from don.storage.lake.files import LakeFile
from don.storage.tables import metadata

lake_file = sa.Table(
    "lake_file",
    metadata,
    sa.Column("path", sa.Text, primary_key=True),
    *(sa.Column(name, sa.Text, nullable=False) for name in ("channel", "exchange", "symbol")),
    *(
        sa.Column(name, sa.BigInteger, nullable=False)
        for name in ("start_ns", "end_ns", "rows", "size")
    ),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("intervals", ARRAY(sa.BigInteger), nullable=False),
    sa.Column("ts_written", sa.BigInteger, nullable=False),
    sa.Column("ts_retired", sa.BigInteger),
    sa.Index("lake_file_series", "channel", "exchange", "symbol", "start_ns"),
)

_COLUMNS = "path, channel, exchange, symbol, start_ns, end_ns, rows, size, hash, intervals"


def listed(
    connection: Connection,
    channel: str | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    series: Sequence[tuple[str, str]] | None = None,
) -> list[LakeFile]:
    """The live files that may hold rows in [start, end), by series and time.

    Args:
        connection: to ask on; within a transaction the answer fits what else it sees.
        channel: of one channel; of all if None.
        start: ns.
        end: exclusive, ns.
        series: of these (exchange, symbol) only.
    """
    return answered(asked(connection, channel, start=start, end=end, series=series))


def asked(
    connection: Connection,
    channel: str | None = None,
    *,
    start: int | None = None,
    end: int | None = None,
    series: Sequence[tuple[str, str]] | None = None,
) -> Cursor:
    """The statement of `listed`: in a pipeline its answer comes later, see `answered`."""
    exchanges = symbols = None
    if series is not None:
        exchanges, symbols = [pair[0] for pair in series], [pair[1] for pair in series]
    return connection.execute(
        f"SELECT {_COLUMNS} FROM lake_file WHERE ts_retired IS NULL "
        "AND (%(channel)s::text IS NULL OR channel = %(channel)s) "
        "AND (%(start)s::int8 IS NULL OR end_ns > %(start)s) "
        "AND (%(end)s::int8 IS NULL OR start_ns < %(end)s) "
        "AND (%(exchanges)s::text[] IS NULL OR (exchange, symbol) IN "
        "(SELECT * FROM unnest(%(exchanges)s::text[], %(symbols)s::text[]))) "
        "ORDER BY channel, exchange, symbol, start_ns, path",
        {"channel": channel, "start": start, "end": end, "exchanges": exchanges,
         "symbols": symbols},
        prepare=True,
    )  # fmt: skip


def answered(cursor: Cursor) -> list[LakeFile]:
    """What `asked` asked for."""
    return [_file(row) for row in cursor.fetchall()]


def either(before: list[LakeFile], after: list[LakeFile]) -> list[LakeFile]:
    """The files of two answers; one that was replaced in between stays for the grace."""
    return list({file.path: file for file in (*before, *after)}.values())


def add(connection: Connection, files: Iterable[LakeFile], now_ns: int) -> None:
    """List files; one that was retired lives again, its content being the same."""
    with connection.cursor() as cursor:
        cursor.executemany(
            f"INSERT INTO lake_file ({_COLUMNS}, ts_written) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (path) DO UPDATE SET ts_retired = NULL, start_ns = excluded.start_ns, "
            "end_ns = excluded.end_ns, size = excluded.size",
            [(*_values(file), now_ns) for file in files],
        )


def note(connection: Connection, file: LakeFile, now_ns: int) -> None:
    """Know of a file that is about to be written: until it is listed it counts as replaced."""
    connection.execute(
        f"INSERT INTO lake_file ({_COLUMNS}, ts_written, ts_retired) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (path) DO UPDATE SET ts_retired = excluded.ts_retired "
        "WHERE lake_file.ts_retired IS NOT NULL",
        (*_values(file), now_ns, now_ns),
    )


def retire(connection: Connection, files: Iterable[LakeFile], now_ns: int) -> None:
    """Hide files from new readers."""
    connection.execute(
        "UPDATE lake_file SET ts_retired = %s WHERE path = ANY(%s) AND ts_retired IS NULL",
        (now_ns, [file.path for file in files]),
    )


def retired(connection: Connection, before_ns: int) -> list[str]:
    """Files retired before a time: no reader holds on to them any more."""
    rows = connection.execute(
        "SELECT path FROM lake_file WHERE ts_retired < %s ORDER BY path", (before_ns,)
    ).fetchall()
    return [row[0] for row in rows]


def known(connection: Connection) -> set[str]:
    """Every file listed, live or retired."""
    return {row[0] for row in connection.execute("SELECT path FROM lake_file").fetchall()}


def forget(connection: Connection, paths: Sequence[str]) -> None:
    """Strike retired files off, after they were deleted."""
    connection.execute(
        "DELETE FROM lake_file WHERE path = ANY(%s) AND ts_retired IS NOT NULL", (list(paths),)
    )


def _values(file: LakeFile) -> tuple[object, ...]:
    return (
        file.path, file.channel, file.exchange, file.symbol, file.start, file.end, file.rows,
        file.size, file.hash, list(file.intervals),
    )  # fmt: skip


def _file(row: tuple[object, ...]) -> LakeFile:
    path, channel, exchange, symbol, start, end, rows, size, digest, intervals = row
    return LakeFile(
        path=str(path),
        channel=str(channel),
        exchange=str(exchange),
        symbol=str(symbol),
        start=int(start),  # type: ignore[call-overload]
        end=int(end),  # type: ignore[call-overload]
        rows=int(rows),  # type: ignore[call-overload]
        size=int(size),  # type: ignore[call-overload]
        hash=str(digest),
        intervals=tuple(intervals),  # type: ignore[arg-type]
    )

"""Seals: which spans of a channel have not changed since they were copied. Reads and writes
PostgreSQL.

A seal is a row. Whoever loads rows of its span deletes it in the same transaction, after its rows;
whoever seals inserts it, then waits until the loads under way have ended, and only then looks at
the rows. So as long as a seal is there, what was copied under it is all there is.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from don.clock import NS_PER_S
from don.storage.database import Connection
from don.storage.market.tables import LAYOUTS
from don.storage.tables import metadata

SPAN_NS = 6 * 3_600 * NS_PER_S

market_seal = sa.Table(
    "market_seal",
    metadata,
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("start_ns", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("token", sa.BigInteger, nullable=False),
)


def offset(channel: str) -> int:
    """Bars are stamped with their close: those that close at a span's end belong to it."""
    return 1 if channel == "bars" else 0


def starts_of(channel: str, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The starts of the spans that times fall into, each once."""
    shift = offset(channel)
    return np.unique((times - shift) // SPAN_NS) * SPAN_NS + shift


def starts_within(channel: str, start: int, end: int) -> range:
    """The starts of the spans that lie in [start, end) as a whole."""
    shift = offset(channel)
    first = -(-(start - shift) // SPAN_NS) * SPAN_NS + shift
    return range(first, end - SPAN_NS + 1, SPAN_NS)


def unseal(connection: Connection, channel: str, times: npt.NDArray[np.int64]) -> None:
    """Break the seals of the spans that times fall into; after the rows were written."""
    starts = starts_of(channel, times).tolist()
    connection.execute(
        "DELETE FROM market_seal WHERE channel = %s AND start_ns = ANY(%s::int8[])",
        (channel, starts),
        prepare=True,
    )


def unseal_range(connection: Connection, channel: str, start: int, end: int) -> None:
    """Break the seals of all spans that touch [start, end)."""
    connection.execute(
        "DELETE FROM market_seal WHERE channel = %s AND start_ns > %s AND start_ns < %s",
        (channel, start - SPAN_NS, end),
    )


def seal(connection: Connection, channel: str, tokens: Mapping[int, int]) -> None:
    """Seal spans, and return when every load that may have missed it has ended.

    Args:
        connection: in autocommit, of the caller's own.
        channel: of the spans.
        tokens: by start; what names the copy that is to be made.

    Raises:
        psycopg.errors.LockNotAvailable: if loads go on for too long; the seals are of no harm.
    """
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO market_seal VALUES (%s, %s, %s) "
            "ON CONFLICT (channel, start_ns) DO UPDATE SET token = excluded.token",
            [(channel, start, token) for start, token in tokens.items()],
        )
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '2s'")
        connection.execute(f"LOCK TABLE ONLY {LAYOUTS[channel].table} IN SHARE MODE")


def sealed(connection: Connection, channel: str, start: int, end: int) -> dict[int, int]:
    """Tokens of the seals of the spans that touch [start, end), by start."""
    rows = connection.execute(
        "SELECT start_ns, token FROM market_seal "
        "WHERE channel = %s AND start_ns > %s AND start_ns < %s ORDER BY start_ns",
        (channel, max(start, -(2**62)) - SPAN_NS, end),
        prepare=True,
    ).fetchall()
    return dict(rows)

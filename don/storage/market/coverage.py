"""The completeness ledger in PostgreSQL: what is known of every minute of every stream. Does I/O.

Ranges of a stream never overlap; claims are settled by `don.market.coverage` while one lock is
held, so that several collectors and an audit may write at once and a claim made twice is harmless.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from psycopg import Connection

from don.clock import iso
from don.errors import UsageError
from don.market.coverage import (
    Range,
    Shares,
    State,
    StreamKey,
    by_stream,
    ceil_minute,
    floor_minute,
    overlay,
    shares_of,
)
from don.storage.database import Database
from don.storage.tables import metadata

_LOCK = 0x646F6E05  # advisory lock of the ledger's writers
_BATCH = 10_000  # rows a statement

coverage = sa.Table(
    "coverage",
    metadata,
    sa.Column("exchange", sa.Text, primary_key=True),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("ts_start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("ts_end", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

# Ranges of a stream that overlap or touch [low, high].
_AROUND = """
    SELECT c.exchange, c.channel, c.symbol, c.ts_start, c.ts_end, c.state, c.reason
    FROM unnest(%s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])
        AS asked (exchange, channel, symbol, low, high)
    JOIN coverage c USING (exchange, channel, symbol)
    WHERE c.ts_end >= asked.low AND c.ts_start <= asked.high
    ORDER BY c.exchange, c.channel, c.symbol, c.ts_start
"""
_PUT = """
    INSERT INTO coverage (exchange, channel, symbol, ts_start, ts_end, state, reason)
    SELECT * FROM unnest(
        %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::text[]
    )
    ON CONFLICT (exchange, channel, symbol, ts_start) DO UPDATE
    SET ts_end = excluded.ts_end, state = excluded.state, reason = excluded.reason
"""
_DROP = """
    DELETE FROM coverage c
    USING unnest(%s::text[], %s::text[], %s::text[], %s::bigint[])
        AS gone (exchange, channel, symbol, ts_start)
    WHERE (c.exchange, c.channel, c.symbol, c.ts_start)
        = (gone.exchange, gone.channel, gone.symbol, gone.ts_start)
"""
_Row = tuple[str, str, str, int, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpan:
    """A stream that the ledger knows, and from when to when."""

    exchange: str
    channel: str
    symbol: str
    start: int  # ns, of its first minute
    end: int  # ns, end of its last minute


class CoverageLedger:
    """Claims in, ranges and shares out. Every method may raise `DatabaseError`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # ---- claims ---------------------------------------------------------------------------------

    def add(self, ranges: Iterable[Range], *, anew: bool = False) -> int:
        """Settle claims with what is known, all of them in one transaction.

        Args:
            ranges: of any streams; of one stream, the later in the order is the later knowledge.
            anew: the claims were read from the stored rows: they replace what was known of their
                minutes (see `don.market.coverage.overlay`).

        Returns:
            How many rows of the ledger changed; 0 if nothing new was said.
        """
        claims = by_stream(ranges)
        if not claims:
            return 0
        with self._db.connection() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            known = self._around(connection, claims)
            put: list[Range] = []
            gone: list[Range] = []
            for stream, claimed in claims.items():
                before = known.get(stream, [])
                after = overlay(before, claimed, anew=anew)
                kept, starts = set(before), {each.start for each in after}
                put += [each for each in after if each not in kept]
                gone += [each for each in before if each.start not in starts]
            _in_batches(connection, _DROP, [_row(each)[:4] for each in gone])
            _in_batches(connection, _PUT, [_row(each) for each in put])
        return len(put) + len(gone)

    def forget(
        self, exchange: str, channel: str | None = None, symbols: Sequence[str] | None = None
    ) -> int:
        """Drop all that is known of some streams; how many ranges that were."""
        where = _where(exchange, channel, symbols, None, None)
        with self._db.connection() as lent:
            lent.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            done = lent.execute(_sql("DELETE FROM coverage", where), where[1])
        return done.rowcount

    # ---- reads ----------------------------------------------------------------------------------

    def read(
        self,
        exchange: str | None = None,
        channel: str | None = None,
        symbols: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        *,
        states: Sequence[State] | None = None,
        limit: int | None = None,
    ) -> list[Range]:
        """Ranges that overlap [start, end), cut to its minutes, by stream and time.

        Args:
            exchange: None: of all.
            channel: "trades", "bars:1m" ...; None: all. "bars" stands for bars of any interval.
            symbols: None: all.
            start: ns; None: from the beginning.
            end: ns, exclusive; None: to the end.
            states: None: all.
            limit: at most so many.
        """
        where = _where(exchange, channel, symbols, start, end)
        if states is not None:
            where[0].append("state = ANY(%s)")
            where[1].append([str(state) for state in states])
        tail = " ORDER BY exchange, channel, symbol, ts_start"
        if limit is not None:
            tail += " LIMIT %s"
            where[1].append(limit)
        columns = "SELECT exchange, channel, symbol, ts_start, ts_end, state, reason FROM coverage"
        with self._db.connection() as lent:
            rows: list[Any] = lent.execute(_sql(columns, where) + tail, where[1]).fetchall()
        found = (_range(row, start, end) for row in rows)
        return [each for each in found if each is not None]

    def streams(
        self,
        exchange: str | None = None,
        channel: str | None = None,
        symbols: Sequence[str] | None = None,
    ) -> list[StreamSpan]:
        """The streams of which something is known, in order."""
        where = _where(exchange, channel, symbols, None, None)
        columns = "SELECT exchange, channel, symbol, min(ts_start), max(ts_end) FROM coverage"
        tail = " GROUP BY exchange, channel, symbol ORDER BY exchange, channel, symbol"
        with self._db.connection() as lent:
            rows: list[Any] = lent.execute(_sql(columns, where) + tail, where[1]).fetchall()
        return [
            StreamSpan(exchange=row[0], channel=row[1], symbol=row[2], start=row[3], end=row[4])
            for row in rows
        ]

    def shares(
        self, exchange: str, channel: str, symbols: Sequence[str], start: int, end: int
    ) -> Shares:
        """Share of each state among the minutes of [start, end) of the symbols, together.

        What a backtest or a training run states about the data that it used.

        Raises:
            UsageError: if no symbol or no time is asked for, or `bars` without an interval.
        """
        if not symbols or start >= end:
            raise UsageError(
                f"shares need symbols and start < end, were {len(symbols)} symbols, "
                f"{iso(start)} and {iso(end)}"
            )
        if channel == "bars":
            raise UsageError("shares of bars need their interval, such as bars:1m, was 'bars'")
        distinct = sorted(set(symbols))
        ranges = self.read(exchange, channel, distinct, start, end)
        return shares_of(ranges, start, end, len(distinct))

    # ---- inside ---------------------------------------------------------------------------------

    def _around(
        self, connection: Connection, claims: dict[StreamKey, list[Range]]
    ) -> dict[StreamKey, list[Range]]:
        asked = [
            (
                stream.exchange,
                stream.channel,
                stream.symbol,
                min(each.start for each in claimed),
                max(each.end for each in claimed),
            )
            for stream, claimed in claims.items()
        ]
        rows: list[Any] = []
        for first in range(0, len(asked), _BATCH):
            part = asked[first : first + _BATCH]
            rows += connection.execute(_AROUND, [list(c) for c in zip(*part, strict=True)])
        return by_stream(each for row in rows if (each := _range(row, None, None)) is not None)


_Where = tuple[list[str], list[Any]]


def _where(
    exchange: str | None,
    channel: str | None,
    symbols: Sequence[str] | None,
    start: int | None,
    end: int | None,
) -> _Where:
    terms: list[str] = []
    values: list[Any] = []
    for term, value in (
        ("exchange = %s", exchange),
        ("symbol = ANY(%s)", list(symbols) if symbols is not None else None),
        ("ts_end > %s", start),
        ("ts_start < %s", end),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    if channel == "bars":
        terms.append("starts_with(channel, 'bars:')")
    elif channel is not None:
        terms.append("channel = %s")
        values.append(channel)
    return terms, values


def _sql(head: str, where: _Where) -> Any:
    """Only our own words go into the text; values are parameters."""
    return head + (f" WHERE {' AND '.join(where[0])}" if where[0] else "")


def _row(each: Range) -> _Row:
    return (
        each.exchange,
        each.channel,
        each.symbol,
        each.start,
        each.end,
        str(each.state),
        each.reason,
    )


def _range(row: Any, start: int | None, end: int | None) -> Range | None:
    low = row[3] if start is None else max(row[3], floor_minute(start))
    high = row[4] if end is None else min(row[4], ceil_minute(end))
    if low >= high:
        return None
    return Range(
        exchange=row[0],
        channel=row[1],
        symbol=row[2],
        start=low,
        end=high,
        state=State(row[5]),
        reason=row[6],
    )


def _in_batches(connection: Connection, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
    for first in range(0, len(rows), _BATCH):
        part = rows[first : first + _BATCH]
        connection.execute(statement, [list(column) for column in zip(*part, strict=True)])

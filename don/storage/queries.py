"""What the API, the console and the command line read. Does I/O; changes nothing.

Every list is bounded and ordered by journal number, so that `before=<seq of the last row>` is the
next page and no row is missed among equal times.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

import sqlalchemy as sa

from don.model.messages import PaymentKind
from don.storage import book_tables as books
from don.storage import tables as t
from don.storage.database import Database
from don.storage.rows import (
    BarRow,
    BookPointRow,
    Counts,
    DecisionRow,
    DenialRow,
    DifferenceRow,
    EquityRow,
    FillRow,
    FundingRow,
    Latency,
    OrderRow,
    SessionRow,
)

R = TypeVar("R")
OPEN_STATES = ("intended", "open")
_NS_PER_MS = 1e6


class Queries:
    """Reads of one database. Every method may raise `DatabaseError`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # ---- sessions -------------------------------------------------------------------------------

    def sessions(self, limit: int = 50, *, account: str | None = None) -> list[SessionRow]:
        """Sessions, newest first."""
        query = sa.select(t.session).order_by(t.session.c.ts_start.desc(), t.session.c.id.desc())
        if account is not None:
            query = query.where(t.session.c.account == account)
        return [_session(row) for row in self._rows(query.limit(limit))]

    def session(self, session: str) -> SessionRow | None:
        """One session; None if there is none of that id."""
        rows = self._rows(sa.select(t.session).where(t.session.c.id == session))
        return _session(rows[0]) if rows else None

    def counts(self, session: str) -> Counts:
        """What happened in a session."""

        def of(table: sa.Table, what: sa.ColumnElement[Any] | None = None) -> Any:
            value = sa.func.count() if what is None else sa.func.coalesce(what, 0)
            return sa.select(value).where(table.c.session == session).scalar_subquery()

        total = sa.func.sum

        def paid(kind: PaymentKind) -> Any:
            table = t.funding_payments
            chosen = (table.c.session == session) & (table.c.kind == kind.value)
            value = sa.func.coalesce(total(table.c.amount), 0)
            return sa.select(value).where(chosen).scalar_subquery()

        query = sa.select(
            of(t.orders).label("orders"),
            of(t.fills).label("fills"),
            of(t.decisions).label("decisions"),
            of(t.denials).label("denials"),
            of(t.differences).label("differences"),
            of(t.market_batch, total(t.market_batch.c.gaps)).label("gaps"),
            of(t.market_batch).label("batches"),
            of(t.bar).label("bars"),
            of(t.fills, total(t.fills.c.fee)).label("fees"),
            paid(PaymentKind.FUNDING).label("funding"),
            paid(PaymentKind.LIQUIDATION).label("liquidation"),
        )
        return _as(Counts, self._rows(query)[0])

    # ---- trading --------------------------------------------------------------------------------

    def orders(
        self,
        *,
        session: str | None = None,
        account: str | None = None,
        symbol: str | None = None,
        open_only: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> list[OrderRow]:
        """Orders with their last known status, newest first."""
        query = _page(t.orders, session, account, symbol, before, limit)
        if open_only:
            query = query.where(t.orders.c.status.in_(OPEN_STATES))
        return [_as(OrderRow, row) for row in self._rows(query)]

    def fills(
        self,
        *,
        session: str | None = None,
        account: str | None = None,
        symbol: str | None = None,
        order: str | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[FillRow]:
        """Fills, newest first; of one order if asked."""
        query = _page(t.fills, session, account, symbol, before, limit)
        if order is not None:
            query = query.where(t.fills.c.client_order_id == order)
        return [_as(FillRow, row) for row in self._rows(query)]

    def funding(self, session: str, limit: int = 1_000) -> list[FundingRow]:
        """Funding payments and those of liquidations, newest first."""
        table = t.funding_payments
        query = sa.select(table).where(table.c.session == session)
        query = query.order_by(table.c.ts_event.desc(), table.c.key.desc()).limit(limit)
        return [_as(FundingRow, row) for row in self._rows(query)]

    def books(self, session: str, *, limit: int = 10_000) -> list[BookPointRow]:
        """What each virtual book was worth over the session, oldest first; the newest rows."""
        table = books.book_points
        query = sa.select(table).where(table.c.session == session)
        query = query.order_by(table.c.seq.desc(), table.c.book, table.c.mode).limit(limit)
        return [_as(BookPointRow, row) for row in self._rows(query)][::-1]

    def equity(
        self,
        session: str,
        *,
        start: int | None = None,
        end: int | None = None,
        max_points: int = 10_000,
    ) -> list[EquityRow]:
        """The equity curve with ts_event in [start, end), oldest first.

        Thinned evenly to at most `max_points` (at least 2); the first and last points stay.
        """
        table = t.equity
        query = sa.select(table).where(table.c.session == session)
        query = _between(query, table.c.ts_event, start, end)
        number = sa.func.row_number().over(order_by=table.c.seq) - 1
        every = query.add_columns(number.label("number"), sa.func.count().over().label("n"))
        numbered = every.subquery()
        c, steps = numbered.c, max(max_points, 2) - 1
        gaps = sa.func.greatest(c.n - 1, 1)
        slot = c.number * steps / gaps  # 0 ... steps, in whole numbers
        before = (c.number - 1) * steps / gaps
        kept = sa.or_(c.n <= max_points, c.number == 0, _floor(slot) != _floor(before))
        rows = self._rows(sa.select(numbered).where(kept).order_by(c.seq))
        return [_as(EquityRow, row) for row in rows]

    def decisions(
        self, session: str, *, before: int | None = None, limit: int = 50
    ) -> list[DecisionRow]:
        """Decisions with their reasons and refusals, newest first."""
        rows = self._rows(_page(t.decisions, session, None, None, before, limit))
        refused: dict[int, list[DenialRow]] = defaultdict(list)
        if rows:
            numbers = [row["seq"] for row in rows]
            query = sa.select(t.denials).where(
                t.denials.c.session == session, t.denials.c.seq.in_(numbers)
            )
            for row in self._rows(query.order_by(t.denials.c.seq, t.denials.c.index)):
                refused[row["seq"]].append(_as(DenialRow, row))
        return [_decision(row, refused[row["seq"]]) for row in rows]

    def denials(
        self, session: str, *, before: int | None = None, limit: int = 100
    ) -> list[DenialRow]:
        """Refusals by risk, newest first."""
        query = _page(t.denials, session, None, None, before, limit)
        return [_as(DenialRow, row) for row in self._rows(query)]

    def denial_counts(self, session: str) -> dict[str, int]:
        """How many refusals of each code."""
        table = t.denials
        query = sa.select(table.c.code, sa.func.count().label("n")).group_by(table.c.code)
        rows = self._rows(query.where(table.c.session == session).order_by(table.c.code))
        return {row["code"]: row["n"] for row in rows}

    def differences(self, session: str, limit: int = 100) -> list[DifferenceRow]:
        """Where ledger and exchange disagreed, newest first."""
        query = _page(t.differences, session, None, None, None, limit)
        return [_as(DifferenceRow, row) for row in self._rows(query)]

    # ---- market ---------------------------------------------------------------------------------

    def bars(
        self,
        symbol: str,
        interval_ns: int,
        *,
        session: str | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 1_000,
    ) -> list[BarRow]:
        """The newest `limit` closed bars that open in [start, end), oldest first.

        Without a session, those of the newest session that has any of the symbol.
        """
        table = t.bar
        matching = sa.and_(table.c.symbol == symbol, table.c.interval_ns == interval_ns)
        if session is None:
            newest = (
                sa.select(t.session.c.id)
                .where(sa.exists().where(table.c.session == t.session.c.id, matching))
                .order_by(t.session.c.ts_start.desc(), t.session.c.id.desc())
                .limit(1)
            )
            chosen = table.c.session == newest.scalar_subquery()
        else:
            chosen = table.c.session == session
        opened = (table.c.ts_event - interval_ns).label("ts_open")
        query = sa.select(table, opened).where(chosen, matching)
        query = _between(query, opened, start, end)
        rows = self._rows(query.order_by(table.c.ts_event.desc()).limit(limit))
        return [_as(BarRow, row) for row in reversed(rows)]

    def gaps(self, session: str) -> int:
        """How many gaps the feeds reported."""
        total = sa.func.coalesce(sa.func.sum(t.market_batch.c.gaps), 0)
        query = sa.select(total.label("gaps")).where(t.market_batch.c.session == session)
        return int(self._rows(query)[0]["gaps"])

    # ---- latency --------------------------------------------------------------------------------

    def decision_latency(self, session: str) -> Latency:
        """Market event at the feed → decision journalled, of decisions that a snapshot caused."""
        made = t.decisions
        delay = (made.c.ts_recv - t.journal.c.ts_recv) / _NS_PER_MS
        return self._latency(_joined(sa.select(delay.label("ms")), session))

    def order_latency(self, session: str) -> Latency:
        """Market event at the feed → order leaving for the exchange, of orders known as sent."""
        delay = (t.orders.c.ts_sent - t.journal.c.ts_recv) / _NS_PER_MS
        query = _joined(sa.select(delay.label("ms")), session)
        query = query.join(
            t.orders,
            sa.and_(
                t.orders.c.account == t.decisions.c.account,
                t.orders.c.session == t.decisions.c.session,
                t.orders.c.client_order_id == sa.any_(t.decisions.c.orders),
            ),
        )
        return self._latency(query.where(t.orders.c.ts_sent > 0))

    def _latency(self, delays: sa.Select[Any]) -> Latency:
        ms = delays.subquery().c.ms

        def at(share: float) -> sa.ColumnElement[Any]:
            return sa.func.percentile_cont(share).within_group(ms)

        query = sa.select(
            sa.func.count(ms).label("n"),
            sa.func.min(ms).label("min"),
            at(0.5).label("p50"),
            at(0.99).label("p99"),
            sa.func.max(ms).label("max"),
        )
        return _as(Latency, self._rows(query)[0])

    def _rows(self, query: sa.Executable) -> Sequence[sa.RowMapping]:
        with self._db.errors(), self._db.engine.connect() as connection:
            return connection.execute(query).mappings().all()


def _joined(query: sa.Select[Any], session: str) -> sa.Select[Any]:
    """Decisions of a session beside the journalled snapshots that caused them."""
    made, entry = t.decisions, t.journal
    key = sa.func.concat("snapshot:", made.c.session, ":", made.c.snapshot)
    same = sa.and_(entry.c.account == made.c.account, entry.c.key == key)
    joined = query.select_from(made).join(entry, same)
    return joined.where(made.c.session == session, made.c.snapshot > 0)


def _page(
    table: sa.Table,
    session: str | None,
    account: str | None,
    symbol: str | None,
    before: int | None,
    limit: int,
) -> sa.Select[Any]:
    query = sa.select(table).order_by(table.c.seq.desc()).limit(limit)
    for name, value in (("session", session), ("account", account), ("symbol", symbol)):
        if value is not None:
            query = query.where(table.c[name] == value)
    return query if before is None else query.where(table.c.seq < before)


def _between(
    query: sa.Select[Any], column: sa.ColumnElement[Any], start: int | None, end: int | None
) -> sa.Select[Any]:
    expression = column.element if isinstance(column, sa.Label) else column
    if start is not None:
        query = query.where(expression >= start)
    return query if end is None else query.where(expression < end)


def _floor(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.floor(value)


def _as(cls: type[R], row: sa.RowMapping) -> R:
    """A row as one of our dataclasses; columns that it does not name are left out."""
    return cls(**{field.name: row[field.name] for field in fields(cls)})  # type: ignore[arg-type]


def _session(row: sa.RowMapping) -> SessionRow:
    values = dict(row) | {"session": row["id"], "symbols": tuple(row["symbols"])}
    del values["id"]
    return SessionRow(**values)


def _decision(row: sa.RowMapping, denials: Sequence[DenialRow]) -> DecisionRow:
    symbols = row["symbols"]
    values = {name: row[name] for name in ("session", "seq", "decision", "snapshot", "policy")}
    return DecisionRow(
        **values,
        status=row["status"],
        weights=dict(zip(symbols, row["weights"], strict=False)),
        forecast=dict(zip(symbols, row["forecast"], strict=False)),
        reasons=tuple(row["reasons"]),
        denials=tuple(denials),
        orders=tuple(row["orders"]),
        ts_event=row["ts_event"],
        ts_recv=row["ts_recv"],
    )

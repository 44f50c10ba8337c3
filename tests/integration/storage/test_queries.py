"""What readers see of a session that was journalled: the read models, their pages and figures."""

from decimal import Decimal

import numpy as np
import pytest

from don.model.messages import (
    CancelOrder,
    Decision,
    Difference,
    Equity,
    FeatureSnapshot,
    FillReport,
    FundingReport,
    OrderReport,
    SessionStart,
    SubmitOrder,
)
from don.model.order import (
    Denial,
    DenialCode,
    Fill,
    Order,
    OrderStatus,
    OrderType,
    Side,
    client_order_id,
)
from don.storage.database import Database
from don.storage.journal import Journal, Record
from don.storage.projections import Place, project
from don.storage.queries import Queries
from don.storage.sessions import end_session, interrupt_sessions

pytestmark = pytest.mark.postgres
BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"
MS = 1_000_000
T0 = 1_746_000_000_000_000_000


def start(session: str = "s1", ts: int = T0) -> SessionStart:
    return SessionStart(
        key=f"start:{session}", session=session, account="paper", policy="momentum",
        symbols=(BTC, ETH), instruments=(), interval_ns=60_000_000_000, feature_set="f",
        config='{"risk": {"daily_loss": "0.05"}}', state="", ts_recv=ts,
    )  # fmt: skip


def snapshot(version: int) -> FeatureSnapshot:
    return FeatureSnapshot(
        key=f"snapshot:s1:{version}", version=version, ts_event=version, ts_recv=T0 + version * MS,
        feature_set="f", symbols=(BTC, ETH), names=("x",), values=np.zeros((2, 1)),
        close=np.ones(2), mark=np.ones(2), stale=(),
    )  # fmt: skip


def order(decision: int, index: int = 0, symbol: str = BTC) -> Order:
    return Order(
        client_order_id=client_order_id("s1", decision, index), decision=decision, index=index,
        symbol=symbol, side=Side.BUY, type=OrderType.LIMIT, size=Decimal("0.010"),
        price=Decimal("94000.10"), ts_event=decision, reason="rebalance",
    )  # fmt: skip


def report(of: Order, status: OrderStatus, filled: str = "0", sent: int = 0) -> OrderReport:
    return OrderReport(
        key=f"order:{of.client_order_id}:{status}:{filled}", client_order_id=of.client_order_id,
        exchange_order_id="77", symbol=of.symbol, status=status, filled=Decimal(filled),
        detail="", ts_event=of.ts_event + 1, ts_recv=T0, ts_sent=sent,
    )  # fmt: skip


def fill(of: Order, trade: str, size: str) -> FillReport:
    made = Fill(
        trade_id=trade, client_order_id=of.client_order_id, exchange_order_id="77",
        symbol=of.symbol, side=of.side, price=Decimal("94000.1"), size=Decimal(size),
        fee=Decimal("0.01234567"), realized_pnl=None, maker=True, ts_event=of.ts_event,
    )  # fmt: skip
    return FillReport(key=f"fill:{of.symbol}:{trade}", fill=made, ts_recv=T0)


def decision(number: int, orders: tuple[str, ...] = (), denials: int = 0) -> Decision:
    refused = Denial(code=DenialCode.PRICE_COLLAR, symbol=ETH, detail="too far")
    return Decision(
        decision=number, ts_event=number, snapshot=number, policy="momentum", symbols=(BTC, ETH),
        forecast=np.array([0.5, np.nan]), weights=np.array([0.25, -0.1]), status="optimal",
        reasons=("trend up", "cost small"), denials=(refused,) * denials, orders=orders,
    )  # fmt: skip


class Book:
    """Journals messages, inputs one by one with what they caused."""

    def __init__(self, database: Database) -> None:
        self.db = database
        self.journal = Journal(database, "paper", "s1")
        self.journal.acquire()

    def put(self, *messages: object, ts: int = T0) -> None:
        first, *caused = messages
        records = [Record.of(first, key=getattr(first, "key", f"k{self.journal.head().seq}"),
                             ts_recv=getattr(first, "ts_recv", ts))]  # fmt: skip
        assert self.journal.append(records + [Record.of(m, ts_recv=ts) for m in caused])


@pytest.fixture
def book(database: Database) -> Book:
    book = Book(database)
    book.put(start())
    return book


@pytest.fixture
def queries(database: Database) -> Queries:
    return Queries(database)


def test_order_follows_its_reports(book: Book, queries: Queries) -> None:
    one, two = order(1), order(1, 1, ETH)
    book.put(snapshot(1), SubmitOrder(order=one), SubmitOrder(order=two))
    assert [row.status for row in queries.orders(session="s1")] == ["intended", "intended"]
    book.put(report(one, OrderStatus.OPEN, sent=T0 + 5 * MS))
    book.put(report(one, OrderStatus.FILLED, "0.010", sent=T0 + 9 * MS))
    book.put(report(one, OrderStatus.OPEN, "0.004"))  # overtaken on the way
    found = queries.orders(account="paper", symbol=BTC)[0]
    assert (found.status, found.filled, found.ts_sent) == ("filled", one.size, T0 + 5 * MS)
    assert (found.size, found.price, found.exchange_order_id) == (one.size, one.price, "77")
    assert str(found.price) == "94000.10"
    assert [row.symbol for row in queries.orders(session="s1", open_only=True)] == [ETH]
    book.put(report(two, OrderStatus.LOST))
    book.put(report(two, OrderStatus.FILLED, "0.010"))  # taken for lost too early
    assert queries.orders(symbol=ETH)[0].status == "filled"


def test_pages_miss_nothing(book: Book, queries: Queries) -> None:
    made = [order(1, index) for index in range(7)]
    book.put(snapshot(1), *(SubmitOrder(order=one) for one in made))
    book.put(CancelOrder(client_order_id=made[2].client_order_id, symbol=BTC, reason="stale"))
    seen: list[str] = []
    before = None
    while page := queries.orders(session="s1", limit=3, before=before):
        seen += [row.client_order_id for row in page]
        before = page[-1].seq
    assert seen == [one.client_order_id for one in reversed(made)]
    assert queries.orders(session="s1")[4].cancel_reason == "stale"


def test_fills_fees_funding_and_counts(book: Book, queries: Queries) -> None:
    one = order(1)
    book.put(snapshot(1), SubmitOrder(order=one), decision(1, (one.client_order_id,), denials=2))
    book.put(fill(one, "1", "0.004"))
    book.put(fill(one, "2", "0.006"))
    book.put(FundingReport(key="funding:1", symbol=BTC, amount=Decimal("-0.5"), ts_event=1,
                           ts_recv=T0))  # fmt: skip
    book.put(Difference(what="balance", ledger="1.0", exchange="1.1", ts_event=3))
    rows = queries.fills(session="s1", order=one.client_order_id)
    assert [row.trade_id for row in rows] == ["2", "1"]
    assert sum(row.size for row in rows) == one.size and rows[0].realized_pnl is None
    counts = queries.counts("s1")
    assert (counts.orders, counts.fills, counts.decisions, counts.denials) == (1, 2, 1, 2)
    assert (counts.differences, counts.gaps, counts.batches) == (1, 0, 0)
    assert (counts.fees, counts.funding) == (Decimal("0.02469134"), Decimal("-0.5"))
    assert queries.denial_counts("s1") == {"PRICE_COLLAR": 2}
    assert queries.differences("s1")[0].exchange == "1.1"
    assert queries.funding("s1")[0].amount == Decimal("-0.5")
    assert queries.counts("none").fees == 0


def test_decisions_carry_reasons_and_refusals(book: Book, queries: Queries) -> None:
    for number in (1, 2, 3):
        book.put(snapshot(number), decision(number, denials=number - 1))
    newest, *_ = found = queries.decisions("s1", limit=2)
    assert [row.decision for row in found] == [3, 2]
    assert newest.weights == {BTC: 0.25, ETH: -0.1}
    assert np.isnan(newest.forecast[ETH]) and newest.reasons == ("trend up", "cost small")
    assert [denial.code for denial in newest.denials] == ["PRICE_COLLAR"] * 2
    assert [row.decision for row in queries.decisions("s1", before=found[-1].seq)] == [1]


def test_latencies_come_from_the_journal(book: Book, queries: Queries) -> None:
    assert queries.decision_latency("s1").n == 0 and queries.decision_latency("s1").p50 is None
    for number in range(1, 101):
        one = order(number)
        made = (SubmitOrder(order=one), decision(number, (one.client_order_id,)))
        book.put(snapshot(number), *made, ts=T0 + 2 * number * MS)  # `number` ms after the event
        book.put(report(one, OrderStatus.OPEN, sent=T0 + (number + 4) * MS))
    found = queries.decision_latency("s1")
    assert (found.n, found.p50, found.max) == (100, 50.5, 100.0)
    assert found.p99 == pytest.approx(99.01)
    sent = queries.order_latency("s1")
    assert (sent.n, sent.p50, sent.max) == (100, 4.0, 4.0)


@pytest.mark.parametrize("max_points", [2, 3, 10, 49, 50, 1_000])
def test_equity_is_thinned_evenly_and_keeps_its_ends(
    book: Book, queries: Queries, max_points: int
) -> None:
    points = [
        Equity(ts_event=n, equity=Decimal(n), balance=Decimal(n), unrealized=Decimal(0))
        for n in range(50)
    ]
    book.put(*points)
    rows = [int(row.equity) for row in queries.equity("s1", max_points=max_points)]
    assert len(rows) == min(max_points, 50) and rows[0] == 0 and rows[-1] == 49
    assert rows == sorted(rows)
    steps = np.diff(rows)
    assert steps.max() - steps.min() <= 1
    part = queries.equity("s1", start=10, end=20)
    assert [row.ts_event for row in part] == list(range(10, 20))


def test_sessions_begin_by_journal_and_end_once(book: Book, queries: Queries) -> None:
    found = queries.session("s1")
    assert found is not None and queries.session("none") is None
    assert (found.status, found.symbols, found.ts_start) == ("running", (BTC, ETH), T0)
    assert found.config == {"risk": {"daily_loss": "0.05"}}
    assert end_session(book.db, "s1", ts_end=T0 + 1, status="ended", summary={"orders": 3})
    assert not end_session(book.db, "s1", ts_end=T0 + 2, status="failed", summary={})
    second = Journal(book.db, "paper", "s2")
    second.acquire()
    second.append([Record.of(start("s2", T0 + 5))])
    assert interrupt_sessions(book.db, "paper", ts_end=T0 + 9, keep="s2") == []
    assert interrupt_sessions(book.db, "paper", ts_end=T0 + 9) == ["s2"]
    rows = queries.sessions(account="paper")
    assert [(row.session, row.status) for row in rows] == [("s2", "interrupted"), ("s1", "ended")]
    assert rows[1].summary == {"orders": 3}


def test_projecting_the_journal_again_changes_nothing(book: Book, database: Database) -> None:
    one = order(1)
    book.put(snapshot(1), SubmitOrder(order=one), decision(1, (one.client_order_id,), denials=1))
    book.put(report(one, OrderStatus.OPEN, sent=T0))
    book.put(fill(one, "1", "0.010"))
    book.put(report(one, OrderStatus.FILLED, "0.010"))
    book.put(Equity(ts_event=1, equity=Decimal(1), balance=Decimal(1), unrealized=Decimal(0)))
    tables = ("session", "orders", "fills", "equity", "decisions", "denials")

    def everything() -> list[str]:
        with database.connection() as connection:
            return [
                repr(connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall())
                for table in tables
            ]

    def again() -> None:
        with database.connection() as connection:
            for entry in book.journal.read():
                place = Place(account=entry.account, session=entry.session, seq=entry.seq,
                              ts_recv=entry.ts_recv)  # fmt: skip
                for statement, values in project(place, entry.message()):
                    connection.execute(statement, values)

    before = everything()
    again()
    assert everything() == before
    with database.connection() as connection:
        for table in tables:
            connection.execute(f"DELETE FROM {table}")
    again()
    assert everything() == before

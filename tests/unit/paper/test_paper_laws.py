"""Laws of the paper exchange that hold after every step of any history."""

from collections import defaultdict
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import book, exchange, mark
from market_moves import HISTORIES, REQUESTS, TAPE, orders

from don.errors import ExchangeRefused
from don.model.codec import decode_as, encode
from don.model.order import Side
from don.paper.algo import AlgoStatus
from don.paper.events import (
    AccountUpdate,
    AlgoUpdate,
    BookTicker,
    DepthDiff,
    Execution,
    Kline,
    OrderUpdate,
    Premium,
    PublicTrade,
)
from don.paper.types import ExchangeState, IncomeKind, Status


class Reader:
    """What a client knows that started with a snapshot and follows the streams."""

    def __init__(self, ex):
        self.books = {}
        self.tickers = {}
        self.orders = {}
        self.loosest = {}  # the price most generous to others that an order ever had
        self.algos = {}
        self.wallets = {}
        for symbol in ex.instruments:
            depth = ex.depth(symbol, 1000)
            self.books[symbol] = (depth.last_update_id, dict(depth.bids), dict(depth.asks))
            self.tickers[symbol] = ex.ticker(symbol)

    def follow(self, events):
        for event in events:
            match event:
                case DepthDiff():
                    last, bids, asks = self.books[event.symbol]
                    assert event.previous_final_id == last
                    assert event.first_id == last + 1
                    assert event.final_id >= event.first_id
                    for levels, changes in ((bids, event.bids), (asks, event.asks)):
                        for price, size in changes:
                            assert levels.get(price, D(0)) != size, "a change that is none"
                            levels[price] = size
                            if not size:
                                del levels[price]
                    self.books[event.symbol] = (event.final_id, bids, asks)
                case BookTicker():
                    self.tickers[event.symbol] = event
                case OrderUpdate():
                    self.on_order(event)
                case AlgoUpdate():
                    self.on_algo(event)
                case AccountUpdate():
                    self.wallets[event.account] = event.wallet

    def on_algo(self, event):
        algo, before = event.algo, self.algos.get(event.algo.algo_id)
        if before is None:
            assert algo.status is AlgoStatus.NEW
        else:
            assert not before.status.final, "a final conditional order changed"
            assert algo.status is not AlgoStatus.NEW
        if event.order is not None:
            assert event.order == self.orders[algo.order_id]
        self.algos[algo.algo_id] = algo

    def on_order(self, event):
        order, before = event.order, self.orders.get(event.order.order_id)
        if before is None:
            assert event.execution is Execution.NEW
        else:
            assert not before.status.final, "a final order changed"
            assert order.filled >= before.filled
            amended = event.execution is Execution.AMENDMENT
            assert amended or (order.size, order.price) == (before.size, before.price)
        assert (event.trade is None) == (order.filled == (before.filled if before else 0))
        assert order.status.final == (
            event.execution in (Execution.CANCELED, Execution.EXPIRED) or order.left == 0
        )
        self.orders[order.order_id] = order
        pick = max if order.side is Side.BUY else min
        loosest = self.loosest.get(order.order_id, order.price)
        self.loosest[order.order_id] = pick(loosest, order.price)


class Store:
    """A database that takes dirty rows, as the server keeps it."""

    def __init__(self):
        self.rows = defaultdict(dict)
        self.counters = None

    def save(self, dirty):
        self.counters = dirty.counters
        for name, key in (
            ("wallets", lambda r: r.account),
            ("positions", lambda r: (r.account, r.symbol)),
            ("orders", lambda r: r.order_id),
            ("trades", lambda r: r.id),
            ("incomes", lambda r: r.tran_id),
            ("markets", lambda r: r.symbol),
            ("algos", lambda r: r.algo_id),
        ):
            for row in getattr(dirty, name):
                assert name not in ("trades", "incomes") or key(row) not in self.rows[name]
                self.rows[name][key(row)] = row

    def state(self):
        rows = {name: tuple(table.values()) for name, table in self.rows.items()}
        return ExchangeState(counters=self.counters, **rows)


def check_books(ex, reader):
    for symbol in ex.instruments:
        depth, ticker = ex.depth(symbol, 1000), ex.ticker(symbol)
        last, bids, asks = reader.books[symbol]
        assert (last, bids, asks) == (depth.last_update_id, dict(depth.bids), dict(depth.asks))
        assert list(depth.bids) == sorted(bids.items(), reverse=True)
        assert list(depth.asks) == sorted(asks.items())
        if bids and asks:
            assert max(bids) < min(asks), "crossed"
        seen = reader.tickers[symbol]
        best = (seen.bid, seen.bid_size, seen.ask, seen.ask_size)
        assert best == (ticker.bid, ticker.bid_size, ticker.ask, ticker.ask_size)
        assert best[:2] == (depth.bids[0] if depth.bids else (0, 0))
        assert best[2:] == (depth.asks[0] if depth.asks else (0, 0))


def check_orders(ex, account, reader):
    trades = ex.trades(None, limit=10**6, account=account)
    resting = defaultdict(D)
    for symbol in ex.instruments:
        for order in ex.all_orders(symbol, limit=10**6, account=account):
            assert reader.orders[order.order_id] == order
            fills = [t for t in trades if t.order_id == order.order_id]
            assert order.filled == sum((t.size for t in fills), D(0)) <= order.size
            assert order.quote == sum((t.quote for t in fills), D(0))
            if order.price and order.filled:  # never worse than asked for
                sign = order.side.sign
                worst = reader.loosest[order.order_id]
                assert all(t.price * sign <= worst * sign for t in fills)
            if order.filled == order.size:
                assert order.status is Status.FILLED
            elif not order.status.final:
                resting[symbol, order.side, order.price] += order.left
        opened = ex.open_orders(symbol, account=account)
        assert len({o.client_order_id for o in opened}) == len(opened)
        size = next(p.size for p in ex.account(account).positions if p.symbol == symbol)
        for order in opened:
            if order.reduce_only:
                assert order.left <= max(D(0), -size * order.side.sign)
    return resting


def check_algos(ex, account, reader):
    for symbol in ex.instruments:
        for algo in ex.all_algos(symbol, limit=10**6, account=account):
            seen = reader.algos[algo.algo_id]
            assert (seen.status, seen.order_id) == (algo.status, algo.order_id)
            order = ex.order_of(algo)
            assert (order is not None) == (
                algo.status in (AlgoStatus.TRIGGERED, AlgoStatus.FINISHED)
            )
            if order is not None:
                assert order.status.final == (algo.status is AlgoStatus.FINISHED)
                assert order.origin == algo.kind and order.filled <= (algo.size or order.size)
            elif algo.status is AlgoStatus.NEW:
                assert not algo.good_till or algo.good_till > ex.now
    for order in ex.open_orders(account=account):
        assert not order.good_till or order.good_till > ex.now


def check_money(ex, account, reader):
    state = ex.account(account)
    trades = ex.trades(None, limit=10**6, account=account)
    incomes = ex.income(limit=10**6, account=account)
    assert [t.id for t in trades] == sorted({t.id for t in trades})
    assert [i.tran_id for i in incomes] == sorted({i.tran_id for i in incomes})
    total = defaultdict(D)
    for income in incomes:
        total[income.kind] += income.amount
    assert state.wallet == sum(total.values(), D(0))
    assert reader.wallets.get(account, state.wallet) == state.wallet
    assert total[IncomeKind.COMMISSION] == -sum((t.fee for t in trades), D(0))
    assert total[IncomeKind.REALIZED_PNL] == sum((t.realized for t in trades), D(0))
    # cash: what was paid and received says what the account is worth, without position arithmetic
    worth = D(0)
    for position in state.positions:
        own = [t for t in trades if t.symbol == position.symbol]
        signed = [(t.side.sign * t.size, t.price) for t in own]
        assert position.size == sum((z for z, _ in signed), D(0))
        worth += position.size * position.mark - sum((z * p for z, p in signed), D(0))
        assert position.realized == sum((t.realized for t in own), D(0))
    other = sum((total[k] for k in total if k is not IncomeKind.REALIZED_PNL), D(0))
    assert state.margin_balance == other + worth
    # margins, recomputed from scratch
    for p in state.positions:
        opened = [o for o in ex.open_orders(p.symbol, account=account) if not o.reduce_only]
        buys = sum((o.left * o.price for o in opened if o.side is Side.BUY), D(0))
        sells = sum((o.left * o.price for o in opened if o.side is Side.SELL), D(0))
        worst = max(abs(p.notional), abs(p.notional + buys), abs(p.notional - sells))
        assert abs(p.initial_margin - worst / p.leverage) < D("1e-7")
    if any(p.size for p in state.positions):
        assert state.margin_balance >= state.maintenance_margin, "should have been liquidated"
    else:
        assert state.wallet >= 0


def fresh(state=None):
    return exchange(state=state, deposit=D(3000), default_leverage=100)


def start(*, marked=True):
    ex = fresh()
    for symbol in ex.instruments if marked else ():
        mark(ex, 1000, symbol=symbol)
        ladder = [(n, 20) for n in range(1, 40)]
        bids, asks = ([(1000 + sign * n, z) for n, z in ladder] for sign in (-1, 1))
        book(ex, bids, asks, symbol=symbol)
    store = Store()
    store.save(ex.take_dirty())
    return ex, Reader(ex), store


@settings(max_examples=30, deadline=None)
@given(HISTORIES, st.booleans())
def test_laws_hold_after_every_step(history, marked):
    ex, reader, store = start(marked=marked)
    for step in history:
        try:
            events = step(ex)
        except ExchangeRefused:
            assert not ex.take_dirty().urgent, "a refusal changed something"
            continue
        reader.follow(events)
        store.save(ex.take_dirty())
        check_books(ex, reader)
        resting = defaultdict(D)
        for account in "abc":
            for key, size in check_orders(ex, account, reader).items():
                resting[key] += size
            check_money(ex, account, reader)
            check_algos(ex, account, reader)
        for (symbol, side, price), size in resting.items():
            depth = ex.depth(symbol, 1000)
            levels = dict(depth.bids if side is Side.BUY else depth.asks)
            assert levels[price] >= size, "an open order is missing from the book"


@settings(max_examples=30, deadline=None)
@given(st.lists(orders(), min_size=5, max_size=40))
def test_users_among_themselves_only_pay_fees(requests):
    """Without a house every fill has two sides: positions cancel out and only fees leave."""
    ex = exchange(deposit=D(10**7))
    for symbol in ex.instruments:
        mark(ex, 1000, symbol=symbol)
    for request in requests:
        try:
            ex.place(request)
        except ExchangeRefused:
            continue
        states = [ex.account(name) for name in "abc"]
        trades = [t for name in "abc" for t in ex.trades(None, limit=10**6, account=name)]
        assert sum(t.side.sign * t.size for t in trades) == 0
        assert sum((p.size for s in states for p in s.positions), D(0)) == 0
        fees = sum((t.fee for t in trades), D(0))
        assert sum(s.margin_balance for s in states) == 3 * D(10**7) - fees


@settings(max_examples=25, deadline=None)
@given(HISTORIES, HISTORIES)
def test_restart_from_saved_rows(history, more):
    """Rows saved step by step give back accounts, orders and ids; a dump the books as well."""
    ex, reader, store = start()
    for step in history:
        try:
            reader.follow(step(ex))
        except ExchangeRefused:
            continue
        store.save(ex.take_dirty())
    whole = ex.dump()
    assert decode_as(ExchangeState, encode(whole)) == whole
    crashed, stopped = fresh(store.state()), fresh(whole)
    assert stopped.dump() == whole
    for again in (crashed, stopped):
        assert not again.take_dirty().urgent
        for account in "abc":
            assert again.account(account) == ex.account(account)
            assert again.open_orders(account=account) == ex.open_orders(account=account)
            assert again.open_algos(account=account) == ex.open_algos(account=account)
            assert again.income(limit=10**6, account=account) == ex.income(
                limit=10**6, account=account
            )
        assert again.dump().counters == whole.counters
    for symbol in ex.instruments:
        assert stopped.depth(symbol, 1000) == ex.depth(symbol, 1000)
        assert crashed.depth(symbol, 1).last_update_id > ex.depth(symbol, 1).last_update_id
    known, reader = reader, Reader(stopped)  # and it lives on by the same laws
    reader.orders, reader.loosest = dict(known.orders), dict(known.loosest)
    reader.algos = {a.algo_id: a for a in whole.algos}
    for step in more:
        try:
            reader.follow(step(stopped))
        except ExchangeRefused:
            continue
        check_books(stopped, reader)
        for account in "abc":
            check_orders(stopped, account, reader)
            check_money(stopped, account, reader)
            check_algos(stopped, account, reader)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.booleans(), TAPE, REQUESTS), min_size=10, max_size=40))
def test_the_tape_is_the_same_with_and_without_users(history):
    """What users do shows in depth and best prices, never in trades, bars or marks."""
    busy, calm = start()[0], start()[0]
    for is_tape, tape, request in history:
        if is_tape:
            public = [
                [e for e in tape(ex) if isinstance(e, PublicTrade | Kline | Premium)]
                for ex in (busy, calm)
            ]
            assert public[0] == public[1]
        else:
            try:
                request(busy)
            except ExchangeRefused:
                continue
    for ex in (busy, calm):  # a snapshot restores everything that users took
        for symbol in ex.instruments:
            for account in "abc":
                ex.cancel_all(symbol, account=account)
            book(ex, [(990, 7)], [(1010, 7)], symbol=symbol, snapshot=True)
    for symbol in busy.instruments:
        levels = [(d.bids, d.asks) for d in (ex.depth(symbol, 99) for ex in (busy, calm))]
        assert levels[0] == levels[1]

"""The exchange's state to rows and back, whole or only what changed. Pure."""

from collections.abc import Mapping, Sequence

from don.errors import DataError
from don.model.instrument import Instrument
from don.model.order import Side
from don.paper.accounts import Account
from don.paper.clearing import Clearing
from don.paper.config import PaperConfig
from don.paper.events import UpdateReason
from don.paper.market import Market
from don.paper.matching import ANY_PRICE, ASK, BID
from don.paper.records import Records
from don.paper.types import (
    BookLevels,
    Counters,
    Dirty,
    ExchangeState,
    FormingBar,
    IncomeKind,
    MarketRow,
    OrderState,
)


def build(
    instruments: Mapping[str, Instrument], config: PaperConfig, state: ExchangeState | None
) -> Clearing:
    """The exchange's parts, fresh or as they were; accounts that are new get their deposit.

    Users' open orders go to the back of their queues, in the order in which they were placed.

    Raises:
        DataError: if the state does not fit the instruments.
    """
    markets = {symbol: Market(instrument, config) for symbol, instrument in instruments.items()}
    records = Records(config.history, state)
    stored = {row.account: row for row in state.wallets} if state else {}
    names = dict.fromkeys((*config.accounts, *stored))
    accounts = {name: Account(name, config, instruments) for name in names}
    clearing = Clearing(config, markets, accounts, records)
    if state is not None:
        _load(clearing, state)
    for name in names:
        if name in stored:
            accounts[name].credit(stored[name].wallet)
        elif config.deposit:
            clearing.credit(
                accounts[name], IncomeKind.TRANSFER, config.deposit, UpdateReason.DEPOSIT
            )
        else:
            clearing.changed_wallets[name] = None
    clearing.events.clear()  # nobody listens yet
    return clearing


def _load(clearing: Clearing, state: ExchangeState) -> None:
    markets, accounts = clearing.markets, clearing.accounts
    clearing.now = state.counters.now
    wanted = {row.symbol for row in state.positions if row.size}
    wanted |= {order.symbol for order in state.orders if not order.status.final}
    wanted |= {algo.symbol for algo in state.algos if not algo.status.final}
    if missing := sorted(wanted - set(markets)):
        raise DataError(
            f"stored orders or positions are in {', '.join(missing)}, but the tape lists only "
            f"{', '.join(markets)}: use the tape that this state belongs to, or a fresh state"
        )
    for row in state.markets:
        if row.symbol in markets:
            markets[row.symbol].load(row)
    opened = clearing.records.all_open()
    books = [book for book in state.books if book.symbol in markets]
    for book in books:
        market = markets[book.symbol]
        clearing.display(market, _levels(market, book, opened), True)
    for bar in state.bars:
        if bar.symbol in markets:
            markets[bar.symbol].bars.load(bar)
    for position in state.positions:
        if position.symbol in markets:
            accounts[position.account].load(position)
    for order in opened:
        if not order.waiting:
            accounts[order.account].track(None, order)
            clearing.rest(order)
    clearing.delay.load(state.waiting)
    clearing.algos.load(state.algos, state.counters.algo_id)
    for order in opened:
        if order.good_till:
            clearing.expiries.add(order.good_till, order_id=order.order_id)
    for algo in clearing.algos.all_open():
        if algo.good_till and not algo.waiting:
            clearing.expiries.add(algo.good_till, algo_id=algo.algo_id)
    whole = {book.symbol for book in books}
    for symbol, market in markets.items():
        market.settle_restart(whole=symbol in whole)


def _levels(
    market: Market, book: BookLevels, orders: Sequence[OrderState]
) -> list[tuple[int, int, int]]:
    """A stored book without the levels that users' orders have met: nothing trades by restarting.

    Such levels are in a book that was brought forward without users; the next update of the tape
    that names them meets the orders in the ordinary way.
    """
    own = [
        (o.side, market.ticks(o.price))
        for o in orders
        if o.symbol == market.symbol and not o.waiting
    ]
    highest_bid = max((price for side, price in own if side is Side.BUY), default=0)
    lowest_ask = min((price for side, price in own if side is Side.SELL), default=ANY_PRICE)
    return [
        *((BID, price, size) for price, size in book.bids if price < lowest_ask),
        *((ASK, price, size) for price, size in book.asks if price > highest_bid),
    ]


def display(
    clearing: Clearing,
) -> tuple[tuple[MarketRow, ...], tuple[BookLevels, ...], tuple[FormingBar, ...]]:
    """What follows from the tape alone: markets, books and forming bars."""
    markets = clearing.markets.values()
    return (
        tuple(market.row() for market in markets),
        tuple(market.house() for market in markets),
        tuple(bar for market in markets for bar in market.bars.dump()),
    )


def dump(clearing: Clearing, position: int) -> ExchangeState:
    """Everything, as rows."""
    orders, trades, incomes = clearing.records.dump()
    markets, books, bars = display(clearing)
    accounts = clearing.accounts.values()
    return ExchangeState(
        counters=_counters(clearing, position),
        wallets=tuple(account.wallet_row() for account in accounts),
        positions=tuple(
            account.position_row(symbol) for account in accounts for symbol in clearing.markets
        ),
        orders=orders,
        trades=trades,
        incomes=incomes,
        markets=markets,
        books=books,
        bars=bars,
        waiting=clearing.delay.row(),
        algos=clearing.algos.dump(),
    )


def take_dirty(clearing: Clearing, position: int) -> Dirty:
    """Rows changed since the last call; after it nothing is."""
    orders, trades, incomes = clearing.records.take_new()
    markets = [market for market in clearing.markets.values() if market.changed]
    dirty = Dirty(
        counters=_counters(clearing, position),
        wallets=tuple(clearing.accounts[name].wallet_row() for name in clearing.changed_wallets),
        positions=tuple(
            clearing.accounts[name].position_row(symbol)
            for name, symbol in clearing.changed_positions
        ),
        orders=orders,
        trades=trades,
        incomes=incomes,
        markets=tuple(market.row() for market in markets),
        waiting=clearing.delay.row() if clearing.delay.changed else None,
        algos=clearing.algos.take_new(),
    )
    clearing.delay.changed = False
    clearing.changed_wallets.clear()
    clearing.changed_positions.clear()
    for market in markets:
        market.changed = False
    return dirty


def _counters(clearing: Clearing, position: int) -> Counters:
    records = clearing.records
    return Counters(
        order_id=records.order_id,
        trade_id=records.trade_id,
        tran_id=records.tran_id,
        algo_id=clearing.algos.algo_id,
        now=clearing.now,
        position=position,
    )

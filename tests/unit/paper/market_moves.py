"""Anything that may happen at a paper exchange, as hypothesis draws it: steps that give events."""

from decimal import Decimal as D

from hypothesis import strategies as st
from market_kit import BTC, ETH, SECOND, book, funding, limit, mark, market, trade

from don.errors import ExchangeRefused
from don.model.order import Side, TimeInForce
from don.paper.algo import AlgoKind, NewAlgo, Working

ACCOUNTS = st.sampled_from("aabc")
SYMBOLS = st.sampled_from([BTC, BTC, ETH])
SIDES = st.sampled_from(["buy", "sell"])
PRICES = st.integers(985, 1015).map(lambda n: D(n) / 10 * 10)  # around 1000, on the tick
SIZES = st.sampled_from(["0.5", "2.5", "10", "30", "60", "60"])
DATES = st.integers(601, 640).map(lambda s: s * SECOND)  # tape time starts at 0
LEVELS = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(["0", "0.7", "3", "20"])))


@st.composite
def orders(draw):
    kind = draw(st.sampled_from(["GTC", "GTC", "GTC", "GTD", "IOC", "FOK", "GTX", "market"]))
    common = {
        "symbol": draw(SYMBOLS),
        "account": draw(ACCOUNTS),
        "reduce_only": draw(st.sampled_from([False, False, False, True])),
        "client_order_id": draw(st.sampled_from([None, None, "x", "y"])),
    }
    side, size = draw(SIDES), draw(SIZES)
    if kind == "market":
        return market(side, size, **common)
    if kind == "GTD":
        common["good_till"] = draw(DATES)
    return limit(side, size, draw(PRICES), tif=kind, **common)


@st.composite
def conditionals(draw):
    kind, close = draw(st.sampled_from(list(AlgoKind))), draw(st.booleans())
    close = close and kind in (AlgoKind.STOP_MARKET, AlgoKind.TAKE_PROFIT_MARKET)
    trailing = kind is AlgoKind.TRAILING_STOP_MARKET
    dated = draw(st.booleans())
    return NewAlgo(
        symbol=draw(SYMBOLS),
        account=draw(ACCOUNTS),
        side=Side(draw(SIDES)),
        kind=kind,
        size=None if close else D(draw(SIZES)),
        trigger=None if trailing else draw(PRICES),
        price=draw(PRICES) if kind.limit else None,
        time_in_force=TimeInForce.GTD if dated else TimeInForce.GTC,
        good_till=draw(DATES) if dated else 0,
        working=draw(st.sampled_from(list(Working))),
        reduce_only=not close and draw(st.booleans()),
        close_position=close,
        callback=D(1) if trailing else None,
        client_algo_id=draw(st.sampled_from([None, None, "x", "y"])),
    )


def displays(symbol, middle, bids, asks, snapshot):
    def step(ex):
        return book(
            ex,
            {D(middle) - n - 1: z for n, z in bids}.items(),
            {D(middle) + n: z for n, z in asks}.items(),
            symbol=symbol,
            snapshot=snapshot,
            ts=ex.now + 1,
        )

    return step


def amends(ex, symbol, account, which, size, price):
    opened = ex.open_orders(symbol, account=account)
    if not opened:
        raise ExchangeRefused(-2013, "nothing to amend")
    order = opened[which % len(opened)]
    return ex.amend(symbol, D(size), price, order_id=order.order_id, account=account)[1]


PLACES = orders().map(lambda request: lambda ex: ex.place(request)[1])
TAPE = st.one_of(
    st.tuples(SYMBOLS, PRICES, SIZES, st.booleans()).map(
        lambda t: lambda ex: trade(ex, t[1], t[2], buy=t[3], symbol=t[0], ts=ex.now + 1)
    ),
    st.builds(displays, SYMBOLS, st.integers(990, 1010), LEVELS, LEVELS, st.booleans()),
    st.builds(displays, SYMBOLS, st.integers(990, 1010), LEVELS, LEVELS, st.booleans()),
    st.tuples(SYMBOLS, st.integers(900, 1100)).map(
        lambda t: lambda ex: mark(ex, t[1], symbol=t[0], ts=ex.now + 1)
    ),
    st.tuples(SYMBOLS, st.sampled_from(["0.0013", "-0.00037"])).map(
        lambda t: lambda ex: funding(ex, t[1], symbol=t[0], ts=ex.now + 1)
    ),
    st.tuples(SYMBOLS, st.integers(1, 620)).map(  # time passes, dates come
        lambda t: lambda ex: mark(ex, 1000, symbol=t[0], ts=ex.now + t[1] * SECOND)
    ),
)
REQUESTS = st.one_of(
    PLACES,
    PLACES,
    PLACES,
    conditionals().map(lambda request: lambda ex: ex.place_algo(request)[1]),
    conditionals().map(lambda request: lambda ex: ex.place_algo(request)[1]),
    st.tuples(ACCOUNTS, st.integers(1, 20)).map(
        lambda t: lambda ex: ex.cancel_algo(algo_id=t[1], account=t[0])[1]
    ),
    st.tuples(SYMBOLS, ACCOUNTS, st.integers(0, 5), SIZES, PRICES).map(
        lambda t: lambda ex: amends(ex, *t)
    ),
    st.tuples(SYMBOLS, ACCOUNTS, st.integers(1, 60)).map(
        lambda t: lambda ex: ex.cancel(t[0], order_id=t[2], account=t[1])[1]
    ),
    st.tuples(SYMBOLS, ACCOUNTS).map(lambda t: lambda ex: ex.cancel_all(t[0], account=t[1])),
    st.tuples(SYMBOLS, ACCOUNTS, st.integers(1, 110)).map(
        lambda t: lambda ex: ex.set_leverage(t[0], t[2], account=t[1])
    ),
    st.tuples(ACCOUNTS, st.sampled_from([D(-4000), D("123.45")])).map(
        lambda t: lambda ex: ex.transfer(t[1], account=t[0])
    ),
)
STEPS = st.one_of(TAPE, REQUESTS)
HISTORIES = st.lists(STEPS, min_size=15, max_size=50)

"""A small paper exchange to drive: two symbols, three accounts, short-hands."""

from decimal import Decimal as D

from don.model.instrument import Instrument
from don.model.order import Side, TimeInForce
from don.paper.config import PaperConfig
from don.paper.events import BookUpdate, FundingRate, MarkPrice, TradePrint
from don.paper.exchange import PaperExchange
from don.paper.types import NewOrder, OrderKind

BTC, ETH = "BTCUSDT", "ETHUSDT"
SECOND = 1_000_000_000


def instrument(base, **changes):
    values = {
        "symbol": f"{base}-USDT-PERP",
        "exchange": "BINANCE_FUTURES",
        "exchange_symbol": f"{base}USDT",
        "base": base,
        "quote": "USDT",
        "tick_size": D("0.10"),
        "lot_size": D("0.001"),
        "min_size": D("0.001"),
        "max_size": D("1000"),
        "min_notional": D(5),
        "max_leverage": 100,
        "maker_fee": D("0.0002"),
        "taker_fee": D("0.0005"),
    }
    return Instrument(**{**values, **changes})


def config(**changes):
    return PaperConfig(**{"accounts": ("a", "b", "c"), "deposit": D(10_000), **changes})


def exchange(*instruments, state=None, **changes):
    return PaperExchange(
        instruments or (instrument("BTC"), instrument("ETH")), config(**changes), state
    )


def ticks(price):
    return int(D(str(price)) * 10)


def lots(size):
    return int(D(str(size)) * 1000)


def book(ex, bids=(), asks=(), *, symbol=BTC, snapshot=False, ts=None):
    """Set the tape's levels: (price, size) pairs in plain numbers."""
    sides = (tuple((ticks(p), lots(z)) for p, z in side) for side in (bids, asks))
    b, a = sides
    return ex.apply(BookUpdate(symbol=symbol, ts=ts or ex.now, bids=b, asks=a, snapshot=snapshot))


def trade(ex, price, size, *, buy, symbol=BTC, ts=None, ident=1):
    return ex.apply(
        TradePrint(
            symbol=symbol, ts=ts or ex.now, id=ident, price=ticks(price), size=lots(size), buy=buy
        )
    )


def mark(ex, price, *, symbol=BTC, ts=None):
    price = D(str(price))
    return ex.apply(
        MarkPrice(
            symbol=symbol, ts=ts or ex.now, mark=price, index=price, rate=D(0), next_funding_ts=0
        )
    )


def funding(ex, rate, *, symbol=BTC, ts=None):
    return ex.apply(FundingRate(symbol=symbol, ts=ts or ex.now, rate=D(str(rate))))


def limit(side, size, price, *, tif="GTC", symbol=BTC, **more):
    return NewOrder(
        symbol=symbol,
        side=Side(side),
        kind=OrderKind.LIMIT,
        size=D(str(size)),
        price=D(str(price)),
        time_in_force=TimeInForce(tif),
        **more,
    )


def market(side, size, *, symbol=BTC, **more):
    return NewOrder(
        symbol=symbol, side=Side(side), kind=OrderKind.MARKET, size=D(str(size)), **more
    )


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]

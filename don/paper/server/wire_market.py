"""Instruments and market events as the exchange writes them in JSON. Pure.

Every function gives plain dictionaries, with the exchange's own field names.
"""

from decimal import Decimal
from typing import Any

from don.model.instrument import Instrument
from don.paper.algo import AlgoKind
from don.paper.config import PaperConfig
from don.paper.events import BookTicker, DepthDiff, ForceOrder, Kline, Premium, PublicTrade
from don.paper.server.text import average, decimals, ms, number
from don.paper.types import DepthSnapshot

Json = dict[str, Any]
_NEVER = 4_133_404_800_000  # delivery date of a perpetual
_ONBOARD = 1_569_398_400_000
_MAX_PRICE = Decimal(10_000_000)


def symbol_info(instrument: Instrument, config: PaperConfig) -> Json:
    """An entry of `exchangeInfo`. The price filter comes first: clients take it by place."""
    lots = {
        "minQty": number(instrument.min_size),
        "maxQty": number(instrument.max_size),
        "stepSize": number(instrument.lot_size),
    }
    price = {
        "minPrice": number(instrument.tick_size),
        "maxPrice": number(_MAX_PRICE),
        "tickSize": number(instrument.tick_size),
    }
    percent = {
        "multiplierUp": number(config.percent_up),
        "multiplierDown": number(config.percent_down),
        "multiplierDecimal": "4",
    }
    return {
        "symbol": instrument.exchange_symbol,
        "pair": instrument.exchange_symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER,
        "onboardDate": _ONBOARD,
        "status": "TRADING",
        "maintMarginPercent": number(config.maintenance_rate * 100),
        "requiredMarginPercent": number(Decimal(100) / instrument.max_leverage),
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "marginAsset": config.asset,
        "pricePrecision": decimals(instrument.tick_size),
        "quantityPrecision": decimals(instrument.lot_size),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.0500",
        "liquidationFee": number(config.liquidation_fee),
        "marketTakeBound": number(config.percent_up - 1),
        "maxMoveOrderLimit": 10_000,
        "filters": [
            {"filterType": "PRICE_FILTER", **price},
            {"filterType": "LOT_SIZE", **lots},
            {"filterType": "MARKET_LOT_SIZE", **lots},
            {"filterType": "MAX_NUM_ORDERS", "limit": config.max_open_orders},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": config.max_algo_orders},
            {"filterType": "MIN_NOTIONAL", "notional": number(instrument.min_notional)},
            {"filterType": "PERCENT_PRICE", **percent},
        ],
        "orderTypes": ["LIMIT", "MARKET", *(kind.value for kind in AlgoKind)],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _levels(side: tuple[tuple[Decimal, Decimal], ...]) -> list[tuple[str, str]]:
    plain = [(str(price), str(size)) for price, size in side]  # a hundred thousand a second
    if any("E" in price or "E" in size for price, size in plain):
        return [(number(price), number(size)) for price, size in side]
    return plain


def depth(book: DepthSnapshot) -> Json:
    """Answer of `depth`."""
    return {
        "lastUpdateId": book.last_update_id,
        "E": ms(book.ts),
        "T": ms(book.ts),
        "bids": _levels(book.bids),
        "asks": _levels(book.asks),
    }


def depth_update(diff: DepthDiff) -> Json:
    """Message of a `depth` stream."""
    return {
        "e": "depthUpdate",
        "E": ms(diff.ts),
        "T": ms(diff.ts),
        "s": diff.symbol,
        "U": diff.first_id,
        "u": diff.final_id,
        "pu": diff.previous_final_id,
        "b": _levels(diff.bids),
        "a": _levels(diff.asks),
    }


def trade_event(trade: PublicTrade) -> Json:
    """Message of an `aggTrade` stream."""
    return {"e": "aggTrade", "E": ms(trade.ts), "s": trade.symbol, **_trade(trade)}


def _trade(trade: PublicTrade) -> Json:
    return {
        "a": trade.id,
        "p": number(trade.price),
        "q": number(trade.size),
        "f": trade.id,
        "l": trade.id,
        "T": ms(trade.ts),
        "m": not trade.buy,
    }


def agg_trade(trade: PublicTrade) -> Json:
    """An entry of `aggTrades`. Single trades have no ids here: the aggregate's stands in."""
    return _trade(trade)


def recent_trade(trade: PublicTrade) -> Json:
    """An entry of `trades`."""
    return {
        "id": trade.id,
        "price": number(trade.price),
        "qty": number(trade.size),
        "quoteQty": number(trade.price * trade.size),
        "time": ms(trade.ts),
        "isBuyerMaker": not trade.buy,
    }


def book_ticker_event(ticker: BookTicker) -> Json:
    """Message of a `bookTicker` stream."""
    return {
        "e": "bookTicker",
        "u": ticker.update_id,
        "s": ticker.symbol,
        "b": number(ticker.bid),
        "B": number(ticker.bid_size),
        "a": number(ticker.ask),
        "A": number(ticker.ask_size),
        "T": ms(ticker.ts),
        "E": ms(ticker.ts),
    }


def book_ticker(ticker: BookTicker) -> Json:
    """An entry of `ticker/bookTicker`."""
    return {
        "lastUpdateId": ticker.update_id,
        "symbol": ticker.symbol,
        "bidPrice": number(ticker.bid),
        "bidQty": number(ticker.bid_size),
        "askPrice": number(ticker.ask),
        "askQty": number(ticker.ask_size),
        "time": ms(ticker.ts),
    }


def kline_event(bar: Kline) -> Json:
    """Message of a `kline` stream. The first and last trade ids are not modelled."""
    return {
        "e": "kline",
        "E": ms(bar.ts),
        "s": bar.symbol,
        "k": {
            "t": ms(bar.open_time),
            "T": ms(bar.close_time) - 1,
            "s": bar.symbol,
            "i": bar.interval,
            "f": -1,
            "L": -1,
            "o": number(bar.open),
            "c": number(bar.close),
            "h": number(bar.high),
            "l": number(bar.low),
            "v": number(bar.volume),
            "n": bar.trades,
            "x": bar.closed,
            "q": number(bar.quote_volume),
            "V": number(bar.buy_volume),
            "Q": number(bar.buy_quote_volume),
            "B": "0",
        },
    }


def kline(bar: Kline) -> list[Any]:
    """An entry of `klines`."""
    return [
        ms(bar.open_time),
        number(bar.open),
        number(bar.high),
        number(bar.low),
        number(bar.close),
        number(bar.volume),
        ms(bar.close_time) - 1,
        number(bar.quote_volume),
        bar.trades,
        number(bar.buy_volume),
        number(bar.buy_quote_volume),
        "0",
    ]


def mark_event(premium: Premium) -> Json:
    """Message of a `markPrice` stream."""
    return {
        "e": "markPriceUpdate",
        "E": ms(premium.ts),
        "s": premium.symbol,
        "p": number(premium.mark),
        "i": number(premium.index),
        "P": number(premium.mark),
        "r": number(premium.rate),
        "T": ms(premium.next_funding_ts),
    }


def premium_index(premium: Premium) -> Json:
    """An entry of `premiumIndex`."""
    return {
        "symbol": premium.symbol,
        "markPrice": number(premium.mark),
        "indexPrice": number(premium.index),
        "estimatedSettlePrice": number(premium.mark),
        "lastFundingRate": number(premium.rate),
        "interestRate": "0.00010000",
        "nextFundingTime": ms(premium.next_funding_ts),
        "time": ms(premium.ts),
    }


def force_order(event: ForceOrder) -> Json:
    """Message of a `forceOrder` stream."""
    order = event.order
    mean = average(order.average)
    return {
        "e": "forceOrder",
        "E": ms(event.ts),
        "o": {
            "s": order.symbol,
            "S": order.side.name,
            "o": "LIMIT",
            "f": "IOC",
            "q": number(order.size),
            "p": number(order.price) if order.price else mean,
            "ap": mean,
            "X": order.status.value,
            "l": number(order.filled),
            "z": number(order.filled),
            "T": ms(event.ts),
        },
    }

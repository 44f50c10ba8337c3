"""Binance USD-M futures on the wire: raw rows to Don's messages and back. Pure; amounts stay text.

The exchange sends amounts as JSON strings; they become `Decimal` without passing through floats.
Times on the wire are milliseconds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from don.clock import NS_PER_MS
from don.exchanges.base import FundingDue, StreamEvent
from don.model.instrument import Instrument, perpetual_symbol
from don.model.messages import (
    AccountReport,
    FillReport,
    FundingReport,
    OrderReport,
    PaymentKind,
)
from don.model.order import Fill, Order, OrderStatus, OrderType, Side
from don.model.portfolio import ZERO, Position

Row = Mapping[str, Any]

EXCHANGE = "BINANCE_FUTURES"
FUNDING, LIQUIDATION = "FUNDING_FEE", "INSURANCE_CLEAR"  # incomes that are no trade's

_STATUS = {
    "NEW": OrderStatus.OPEN,
    "PARTIALLY_FILLED": OrderStatus.OPEN,
    "NEW_INSURANCE": OrderStatus.OPEN,
    "NEW_ADL": OrderStatus.OPEN,
    "FILLED": OrderStatus.FILLED,
    "CANCELED": OrderStatus.CANCELLED,
    "REJECTED": OrderStatus.REJECTED,
    "EXPIRED": OrderStatus.EXPIRED,
    "EXPIRED_IN_MATCH": OrderStatus.EXPIRED,
}


class WireError(ValueError):
    """An answer does not have the form that the exchange documents."""


class Symbols:
    """Names of instruments, ours and the exchange's."""

    def __init__(self, instruments: list[Instrument]) -> None:
        self._theirs = {item.symbol: item.exchange_symbol for item in instruments}
        self._ours = {item.exchange_symbol: item.symbol for item in instruments}

    def theirs(self, symbol: str) -> str:
        """`BTCUSDT` of `BTC-USDT-PERP`; KeyError if it is not listed."""
        return self._theirs[symbol]

    def ours(self, symbol: str) -> str | None:
        """`BTC-USDT-PERP` of `BTCUSDT`; None for contracts that Don does not know."""
        return self._ours.get(symbol)


def plain(amount: Decimal) -> str:
    """An amount as the exchange reads it: no exponent, nothing rounded."""
    return f"{amount:f}"


def order_request(order: Order, symbol: str) -> dict[str, str]:
    """Parameters of a new order."""
    request = {
        "symbol": symbol,
        "side": order.side.value.upper(),
        "type": order.type.value.upper(),
        "quantity": plain(order.size),
        "newClientOrderId": order.client_order_id,
        "newOrderRespType": "RESULT",
    }
    if order.type is OrderType.LIMIT and order.price is not None:
        request["price"] = plain(order.price)
        request["timeInForce"] = order.time_in_force.value
    if order.good_till:
        request["goodTillDate"] = str(order.good_till // NS_PER_MS)
    if order.reduce_only:
        request["reduceOnly"] = "true"
    return request


def order_key(client_order_id: str, status: OrderStatus, filled: Decimal) -> str:
    """Idempotency key of an order report; the same amount always gives the same text."""
    return f"order:{client_order_id}:{status}:{plain(filled.normalize() if filled else ZERO)}"


def order_report(
    *,
    client_order_id: str,
    symbol: str,
    status: OrderStatus,
    filled: Decimal,
    ts_event: int,
    ts_recv: int,
    exchange_order_id: str = "",
    detail: str = "",
    ts_sent: int = 0,
) -> OrderReport:
    """An order report with its key."""
    return OrderReport(
        key=order_key(client_order_id, status, filled),
        client_order_id=client_order_id,
        exchange_order_id=exchange_order_id,
        symbol=symbol,
        status=status,
        filled=filled,
        detail=detail,
        ts_event=ts_event,
        ts_recv=ts_recv,
        ts_sent=ts_sent,
    )


def renamed(report: OrderReport, client_order_id: str) -> OrderReport:
    """The same report about an order of another name."""
    return replace(
        report,
        client_order_id=client_order_id,
        key=order_key(client_order_id, report.status, report.filled),
    )


def order_from_rest(row: Row, symbol: str, ts_recv: int, ts_sent: int = 0) -> OrderReport:
    """An order report of a REST order row."""
    return order_report(
        client_order_id=str(row["clientOrderId"]),
        exchange_order_id=str(row["orderId"]),
        symbol=symbol,
        status=_status(row["status"]),
        filled=Decimal(row["executedQty"]),
        detail=str(row.get("rm", "")),
        ts_event=int(row["updateTime"]) * NS_PER_MS,
        ts_recv=ts_recv,
        ts_sent=ts_sent,
    )


def fill_from_rest(
    row: Row, symbol: str, quote: str, client_order_id: str, ts_recv: int
) -> FillReport:
    """A fill report of a `userTrades` row; the row itself does not name the client order id."""
    return _fill_report(
        Fill(
            trade_id=str(row["id"]),
            client_order_id=client_order_id,
            exchange_order_id=str(row["orderId"]),
            symbol=symbol,
            side=_side(row["side"]),
            price=Decimal(row["price"]),
            size=Decimal(row["qty"]),
            fee=_fee(row["commission"], row["commissionAsset"], quote),
            realized_pnl=Decimal(row["realizedPnl"]),
            maker=_flag(row["maker"]),
            ts_event=int(row["time"]) * NS_PER_MS,
        ),
        ts_recv,
    )


def funding_from_rest(row: Row, symbol: str, ts_recv: int) -> FundingReport:
    """A funding report of an `income` row; also of what a liquidation cost beside its fills."""
    liquidation = row.get("incomeType") == LIQUIDATION
    return FundingReport(
        key=f"funding:{row['tranId']}",
        symbol=symbol,
        amount=Decimal(row["income"]),
        ts_event=int(row["time"]) * NS_PER_MS,
        ts_recv=ts_recv,
        kind=PaymentKind.LIQUIDATION if liquidation else PaymentKind.FUNDING,
    )


def payments_from_rest(
    rows: Iterable[Row], symbols: Symbols, asset: str, ts_recv: int
) -> list[FundingReport]:
    """The payments of `income` rows in the margin asset and in contracts that Don knows.

    A row without a symbol is the whole account's: what a liquidation cost.
    """
    found = []
    for row in rows:
        symbol = symbols.ours(row["symbol"]) if row["symbol"] else ""
        if row["asset"] == asset and symbol is not None:
            found.append(funding_from_rest(row, symbol, ts_recv))
    return found


def account_from_rest(row: Row, symbols: Symbols, asset: str, ts_recv: int) -> AccountReport:
    """An account report of an `account` (v3) answer.

    `notional` and `unrealizedProfit` stand in one answer at one mark price, so their difference is
    the position's cost: exact where the exchange sends them unrounded, else within 1e-8.

    Raises:
        WireError: if the margin asset is missing, or a position is in a contract Don does not know
            or in hedge mode: then the books could never be equal.
    """
    assets = [item for item in row["assets"] if item["asset"] == asset]
    if not assets:
        raise WireError(f"account has no asset {asset}")
    positions = []
    times = [int(assets[0].get("updateTime", 0))]
    for item in row["positions"]:
        times.append(int(item.get("updateTime", 0)))
        size = Decimal(item["positionAmt"])
        if not size:
            continue
        symbol = symbols.ours(str(item["symbol"]))
        if symbol is None or item.get("positionSide", "BOTH") != "BOTH":
            raise WireError(
                f"position {item['symbol']} ({item.get('positionSide')}) is none of Don's: it "
                "needs one-way mode and listed perpetuals"
            )
        cost = Decimal(item["notional"]) - Decimal(item["unrealizedProfit"])
        positions.append(Position(symbol=symbol, size=size, cost=cost))
    ts_event = max(times) * NS_PER_MS
    return AccountReport(
        key=f"account:{ts_event}:{ts_recv}",
        balance=Decimal(assets[0]["walletBalance"]),
        positions=tuple(sorted(positions, key=lambda position: position.symbol)),
        open_orders=(),
        final=False,
        ts_event=ts_event,
        ts_recv=ts_recv,
    )


def instrument_from_rest(
    row: Row, *, max_leverage: int, maker_fee: Decimal, taker_fee: Decimal
) -> Instrument:
    """An instrument of an `exchangeInfo` row; the row does not tell fees or leverage."""
    filters = {item["filterType"]: item for item in row["filters"]}
    lot = filters["LOT_SIZE"]
    return Instrument(
        symbol=perpetual_symbol(row["baseAsset"], row["quoteAsset"]),
        exchange=EXCHANGE,
        exchange_symbol=row["symbol"],
        base=row["baseAsset"],
        quote=row["quoteAsset"],
        tick_size=Decimal(filters["PRICE_FILTER"]["tickSize"]),
        lot_size=Decimal(lot["stepSize"]),
        min_size=Decimal(lot["minQty"]),
        max_size=Decimal(lot["maxQty"]),
        min_notional=Decimal(filters["MIN_NOTIONAL"]["notional"]),
        max_leverage=max_leverage,
        maker_fee=maker_fee,
        taker_fee=taker_fee,
    )


def user_event(event: Row, symbols: Symbols, quote: str, ts_recv: int) -> list[StreamEvent]:
    """What a user-data event tells: the fill first, then the order's state. Others tell nothing.

    Example: {"e":"ORDER_TRADE_UPDATE","E":1568879465651,"T":1568879465650,"o":{"s":"BTCUSDT",
    "c":"don-a-1-0","S":"SELL","x":"TRADE","X":"FILLED","i":8886774,"l":"0.2","z":"0.2","L":"6000",
    "N":"USDT","n":"0.48","T":1568879465650,"t":12,"m":false,"rp":"1.5", ...}}
    """
    kind = event.get("e")
    if kind == "ACCOUNT_UPDATE" and event["a"].get("m") in (FUNDING, LIQUIDATION):
        return [FundingDue(ts_event=int(event["T"]) * NS_PER_MS, ts_recv=ts_recv)]
    if kind != "ORDER_TRADE_UPDATE":
        return []
    row = event["o"]
    symbol = symbols.ours(str(row["s"]))
    if symbol is None:
        return []
    found: list[StreamEvent] = []
    last = Decimal(row.get("l", "0"))
    if last > 0 and int(row.get("t", 0)) > 0:
        fill = Fill(
            trade_id=str(row["t"]),
            client_order_id=str(row["c"]),
            exchange_order_id=str(row["i"]),
            symbol=symbol,
            side=_side(row["S"]),
            price=Decimal(row["L"]),
            size=last,
            fee=_fee(row.get("n", "0"), row.get("N") or quote, quote),
            realized_pnl=Decimal(row["rp"]),
            maker=_flag(row["m"]),
            ts_event=int(row["T"]) * NS_PER_MS,
        )
        found.append(_fill_report(fill, ts_recv))
    found.append(
        order_report(
            client_order_id=str(row["c"]),
            exchange_order_id=str(row["i"]),
            symbol=symbol,
            status=_status(row["X"]),
            filled=Decimal(row["z"]),
            detail=str(row.get("rm", "")),
            ts_event=int(row["T"]) * NS_PER_MS,
            ts_recv=ts_recv,
        )
    )
    return found


def _fill_report(fill: Fill, ts_recv: int) -> FillReport:
    return FillReport(key=f"fill:{fill.symbol}:{fill.trade_id}", fill=fill, ts_recv=ts_recv)


def _status(text: str) -> OrderStatus:
    try:
        return _STATUS[text]
    except KeyError:
        raise WireError(f"order status {text!r} is not one that the exchange documents") from None


def _side(text: str) -> Side:
    return Side(text.lower())


def _flag(value: object) -> bool:
    return value is True or value == "true"


def _fee(amount: str, asset: str, quote: str) -> Decimal:
    """The fee in the quote currency: nothing where another asset paid it, as the wallet shows."""
    return Decimal(amount) if asset == quote else ZERO

"""The account of a tiny exchange for tests: exact books, immediate fills, no network."""

from dataclasses import dataclass, field
from decimal import Decimal

from don.model.order import Side
from don.model.portfolio import ZERO, Position, apply_fill, money

DEPOSIT = Decimal("10000")
FEE = Decimal("0.0005")
START_MS = 1_700_000_000_000
PRICES = {"BTCUSDT": Decimal("50000.1"), "ETHUSDT": Decimal("3000.07")}


class Refusal(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(code, message)
        self.code, self.message = code, message


@dataclass(slots=True)
class VenueOrder:
    id: int
    client_id: str
    symbol: str
    side: Side
    kind: str
    price: Decimal
    size: Decimal
    ms: int
    filled: Decimal = ZERO
    status: str = "NEW"

    def row(self) -> dict[str, object]:
        return {
            "orderId": self.id,
            "symbol": self.symbol,
            "clientOrderId": self.client_id,
            "status": self.status,
            "executedQty": str(self.filled),
            "origQty": str(self.size),
            "price": str(self.price),
            "updateTime": self.ms,
            "side": self.side.name,
        }


@dataclass(slots=True)
class Book:
    """Orders, trades, payments and positions; `events` collects the user-data events to send."""

    now_ms: int = START_MS
    balance: Decimal = DEPOSIT
    orders: list[VenueOrder] = field(default_factory=list)
    trades: list[dict[str, object]] = field(default_factory=list)
    payments: list[dict[str, object]] = field(default_factory=list)
    positions: dict[str, Position] = field(
        default_factory=lambda: {name: Position(symbol=name) for name in PRICES}
    )
    events: list[dict[str, object]] = field(default_factory=list)

    def place(self, params: dict[str, str]) -> VenueOrder:
        self.now_ms += 7
        symbol, size = params["symbol"], Decimal(params["quantity"])
        if symbol not in PRICES:
            raise Refusal(-1121, "Invalid symbol.")
        if size % Decimal("0.001"):
            raise Refusal(-4014, "Quantity not increased by step size.")
        if self.open(params["newClientOrderId"]) is not None:
            raise Refusal(-4116, "ClientOrderId is duplicated.")
        side = Side(params["side"].lower())
        held = self.positions[symbol].size
        if params.get("reduceOnly") == "true" and held * side.sign >= 0:
            raise Refusal(-2022, "ReduceOnly Order is rejected.")
        order = VenueOrder(
            id=1000 + len(self.orders),
            client_id=params["newClientOrderId"],
            symbol=symbol,
            side=side,
            kind=params["type"],
            price=Decimal(params.get("price", "0")),
            size=size,
            ms=self.now_ms,
        )
        self.orders.append(order)
        self._tell(order, "NEW")
        market = PRICES[symbol]
        crosses = (order.price - market) * side.sign >= 0
        if order.kind == "MARKET" or crosses:
            first = (size / 2).quantize(Decimal("0.001")) or size
            self.fill(order, first)
            if first != size:
                self.fill(order, size - first)
        return order

    def fill(self, order: VenueOrder, size: Decimal) -> None:
        self.now_ms += 3
        price = order.price if order.kind == "LIMIT" else PRICES[order.symbol]
        price += Decimal(len(self.trades) % 7) / 10
        fee = money(price * size * FEE)
        position, realized = apply_fill(self.positions[order.symbol], order.side, price, size)
        self.positions[order.symbol] = position
        self.balance += realized - fee
        order.filled += size
        order.ms = self.now_ms
        order.status = "FILLED" if order.filled == order.size else "PARTIALLY_FILLED"
        trade: dict[str, object] = {
            "id": 1 + len(self.trades),
            "orderId": order.id,
            "symbol": order.symbol,
            "side": order.side.name,
            "price": str(price),
            "qty": str(size),
            "realizedPnl": str(realized),
            "commission": str(fee),
            "commissionAsset": "USDT",
            "time": self.now_ms,
            "maker": order.kind == "LIMIT",
        }
        self.trades.append(trade)
        self._tell(order, "TRADE", trade)

    def cancel(self, order: VenueOrder) -> None:
        if order.status not in ("NEW", "PARTIALLY_FILLED"):
            raise Refusal(-2011, "Unknown order sent.")
        self.now_ms += 1
        order.status, order.ms = "CANCELED", self.now_ms
        self._tell(order, "CANCELED")

    def fund(self, rate: Decimal = Decimal("0.0001")) -> None:
        self.now_ms += 11
        for symbol, position in self.positions.items():
            if not position.size:
                continue
            amount = -money(position.size * PRICES[symbol] * rate)
            self.balance += amount
            self.payments.append(
                {
                    "symbol": symbol,
                    "incomeType": "FUNDING_FEE",
                    "income": str(amount),
                    "asset": "USDT",
                    "time": self.now_ms,
                    "tranId": 9000 + len(self.payments),
                }
            )
        self.events.append({"e": "ACCOUNT_UPDATE", "T": self.now_ms, "a": {"m": "FUNDING_FEE"}})

    def find(self, symbol: str, order_id: str | None, client_id: str | None) -> VenueOrder | None:
        for order in reversed(self.orders):
            if order.symbol == symbol and (
                str(order.id) == order_id if order_id else order.client_id == client_id
            ):
                return order
        return None

    def open(self, client_id: str | None = None) -> VenueOrder | None:
        for order in self.resting():
            if order.client_id == client_id:
                return order
        return None

    def resting(self) -> list[VenueOrder]:
        return [order for order in self.orders if order.status in ("NEW", "PARTIALLY_FILLED")]

    def account(self) -> dict[str, object]:
        rows = []
        for symbol, position in self.positions.items():
            mark = PRICES[symbol] + Decimal("0.3333")
            rows.append(
                {
                    "symbol": symbol,
                    "positionSide": "BOTH",
                    "positionAmt": str(position.size),
                    "notional": str(position.size * mark),
                    "unrealizedProfit": str(position.unrealized(mark)),
                    "updateTime": self.now_ms,
                }
            )
        asset = {"asset": "USDT", "walletBalance": str(self.balance), "updateTime": self.now_ms}
        return {"assets": [asset], "positions": rows}

    def _tell(self, order: VenueOrder, what: str, trade: dict[str, object] | None = None) -> None:
        row: dict[str, object] = {
            "s": order.symbol,
            "c": order.client_id,
            "S": order.side.name,
            "i": order.id,
            "x": what,
            "X": order.status,
            "z": str(order.filled),
            "T": self.now_ms,
            "l": "0",
            "L": "0",
            "t": 0,
            "m": False,
            "rp": "0",
        }
        if trade is not None:
            row |= {
                "l": trade["qty"],
                "L": trade["price"],
                "t": trade["id"],
                "m": trade["maker"],
                "rp": trade["realizedPnl"],
                "n": trade["commission"],
                "N": "USDT",
            }
        self.events.append(
            {"e": "ORDER_TRADE_UPDATE", "E": self.now_ms, "T": self.now_ms, "o": row}
        )

"""Orders, their states, fills and typed refusals. Pure; all amounts are exact decimals."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum


class Side(StrEnum):
    """Direction of an order or fill."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for buy, -1 for sell."""
        return 1 if self is Side.BUY else -1


class OrderType(StrEnum):
    """Order types that Don sends."""

    MARKET = "market"
    LIMIT = "limit"
    STOP_MARKET = "stop_market"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT_MARKET = "take_profit_market"
    TAKE_PROFIT_LIMIT = "take_profit_limit"
    TRAILING_STOP = "trailing_stop"  # becomes a market order

    @property
    def conditional(self) -> bool:
        """True if it waits for a price before it becomes a market or limit order."""
        return self not in (OrderType.MARKET, OrderType.LIMIT)

    @property
    def priced(self) -> bool:
        """True if it has a limit price, at once or when it is set off."""
        return self in (OrderType.LIMIT, OrderType.STOP_LIMIT, OrderType.TAKE_PROFIT_LIMIT)


class TriggerPrice(StrEnum):
    """Which price sets a conditional order off."""

    LAST = "last"
    MARK = "mark"


class TimeInForce(StrEnum):
    """How long an order lives; GTX is post-only, GTD ends at a stated exchange time."""

    GTC = "GTC"
    GTD = "GTD"
    IOC = "IOC"
    FOK = "FOK"
    GTX = "GTX"


class OrderStatus(StrEnum):
    """Where an order is in its life. The last five are final."""

    INTENDED = "intended"  # journalled, not known to have reached the exchange
    OPEN = "open"  # acknowledged by the exchange, perhaps partly filled
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"  # the exchange refused it
    EXPIRED = "expired"  # IOC/FOK/GTX remainder, or ended by the exchange
    LOST = "lost"  # proven never to have reached the exchange

    @property
    def final(self) -> bool:
        """True if nothing more can happen to the order."""
        return self not in (OrderStatus.INTENDED, OrderStatus.OPEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as intended: what was decided and journalled before it leaves."""

    client_order_id: str  # deterministic, see `client_order_id()`
    decision: int
    index: int
    symbol: str
    side: Side
    type: OrderType
    size: Decimal  # base, > 0; 0 with close_position, which closes whatever there is then
    price: Decimal | None = None  # quote per base; None for orders that are or become market orders
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    ts_event: int  # exchange time of the decision, ns
    reason: str = ""
    trigger: Decimal | None = None  # price that sets a conditional order off; None if it trails
    trigger_by: TriggerPrice = TriggerPrice.LAST
    callback: Decimal | None = None  # part of the price by which it must turn; of trailing stops
    activate: Decimal | None = None  # price from which a trailing stop follows; None: at once
    close_position: bool = False  # of stop_market and take_profit_market
    good_till: int = 0  # exchange time at which a GTD order ends, ns
    parent: str = ""  # id of the order that this one is a part of; `reason` then says which part

    @property
    def protective(self) -> bool:
        """True if it waits at the exchange to close a position, whether Don runs or not."""
        return self.type.conditional and (self.reduce_only or self.close_position)

    def __post_init__(self) -> None:
        if self.size <= 0 and not (self.close_position and not self.size):
            raise ValueError(f"order size must be positive, was {self.size}")
        if self.close_position and (self.size or self.type not in _CLOSING or self.reduce_only):
            raise ValueError(
                f"close_position is for {' and '.join(_CLOSING)} orders of size 0 without "
                f"reduce_only, was {self.type} of {self.size}"
            )
        if (self.price is None) == self.type.priced:
            raise ValueError(
                f"a {self.type} order with price {self.price}: limit needs one, market has none"
            )
        trailing = self.type is OrderType.TRAILING_STOP
        for name, value, wanted in (
            ("trigger", self.trigger, self.type.conditional and not trailing),
            ("callback", self.callback, trailing),
        ):
            if (value is not None) != wanted:
                raise ValueError(
                    f"a {self.type} order {'needs a' if wanted else 'has no'} {name}, was {value}"
                )
        if self.activate is not None and not trailing:
            raise ValueError(f"only trailing stops are activated, was {self.type}")
        if (self.time_in_force is TimeInForce.GTD) != bool(self.good_till):
            raise ValueError(
                f"good_till belongs to GTD orders and them alone, was {self.good_till} with "
                f"{self.time_in_force}"
            )


_CLOSING = (OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One execution as the exchange reported it; amounts are exact."""

    trade_id: str  # the exchange's, unique per symbol: the idempotency key
    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: Side
    price: Decimal  # quote per base
    size: Decimal  # base, > 0
    fee: Decimal  # quote, negative is a rebate
    realized_pnl: Decimal | None  # as the exchange reported it, before fee; None if it did not say
    maker: bool
    ts_event: int  # ns, exchange clock

    def __post_init__(self) -> None:
        if self.size <= 0:
            raise ValueError(f"fill size must be positive, was {self.size}")


class DenialCode(StrEnum):
    """Why risk refused an order or a target. Stable: scripts and the audit trail rely on them."""

    ORDER_NOTIONAL = "ORDER_NOTIONAL"
    MIN_NOTIONAL = "MIN_NOTIONAL"
    ORDER_SIZE = "ORDER_SIZE"
    POSITION_NOTIONAL = "POSITION_NOTIONAL"
    GROSS_LEVERAGE = "GROSS_LEVERAGE"
    PRICE_COLLAR = "PRICE_COLLAR"
    STALE_DATA = "STALE_DATA"
    DAILY_LOSS = "DAILY_LOSS"
    ORDER_RATE = "ORDER_RATE"
    HALTED = "HALTED"
    UNRECONCILED = "UNRECONCILED"
    REDUCING = "REDUCING"
    NET_LEVERAGE = "NET_LEVERAGE"
    CONCENTRATION = "CONCENTRATION"
    GROUP_EXPOSURE = "GROUP_EXPOSURE"
    OPEN_ORDERS = "OPEN_ORDERS"
    SLIPPAGE = "SLIPPAGE"
    MARGIN = "MARGIN"
    LIQUIDATION_DISTANCE = "LIQUIDATION_DISTANCE"
    DRAWDOWN = "DRAWDOWN"
    LOSS_STREAK = "LOSS_STREAK"
    VAR = "VAR"
    CVAR = "CVAR"
    STRESS_LOSS = "STRESS_LOSS"
    CORRELATION_BREAK = "CORRELATION_BREAK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """A refusal as a value: what was refused, the limit and the figure that broke it."""

    code: DenialCode
    symbol: str  # empty when the whole target was refused
    detail: str


def client_order_id(session: str, decision: int, index: int) -> str:
    """The id of one order: a pure function of (session, decision, order index), at most 36
    characters.
    """
    text = f"don-{session}-{decision}-{index}"
    if len(text) > 36:
        raise ValueError(f"client order id is limited to 36 characters, was {text!r}")
    return text

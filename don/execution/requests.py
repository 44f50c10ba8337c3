"""What can be asked of Don's orders: one value for every type, by hand or by the planner. Pure.

An `OrderRequest` becomes a parent (`don.execution.parents`): native types get one child of the same
type, the others are carried out by the conditional-order engine or by an execution algorithm.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum

from don.errors import UsageError
from don.model import codec
from don.model.instrument import Instrument
from don.model.order import OrderType, Side, TimeInForce, TriggerPrice
from don.model.portfolio import ZERO


class OrderKind(StrEnum):
    """Every type of order."""

    MARKET = "market"
    LIMIT = "limit"
    STOP_MARKET = "stop_market"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT_MARKET = "take_profit_market"
    TAKE_PROFIT_LIMIT = "take_profit_limit"
    TRAILING_STOP = "trailing_stop"
    ICEBERG = "iceberg"  # a limit order that shows only a part of itself
    OCO = "oco"  # a limit at `take` and a stop at `stop`: one cancels the other
    BRACKET = "bracket"  # an entry (at `price`, or at market) with an OCO around what it filled
    TWAP = "twap"  # evenly over time
    VWAP = "vwap"  # as the market's usual volume of each hour
    POV = "pov"  # a part of what the market trades
    SHORTFALL = "shortfall"  # Almgren-Chriss: fast against risk, slow against impact
    CHASE = "chase"  # post-only, joins the market and follows it within a limit

    @property
    def native(self) -> OrderType | None:
        """The exchange's type of the same name; None for what Don carries out itself."""
        return _NATIVE.get(self.value)

    @property
    def algorithm(self) -> bool:
        """True for execution algorithms: they work a size over time."""
        return self in _ALGORITHMS


_NATIVE = {kind.value: kind for kind in OrderType}
_ALGORITHMS = (
    OrderKind.TWAP,
    OrderKind.VWAP,
    OrderKind.POV,
    OrderKind.SHORTFALL,
    OrderKind.CHASE,
)
_NEEDS: dict[OrderKind, tuple[str, ...]] = {
    OrderKind.LIMIT: ("price",),
    OrderKind.STOP_MARKET: ("trigger",),
    OrderKind.STOP_LIMIT: ("price", "trigger"),
    OrderKind.TAKE_PROFIT_MARKET: ("trigger",),
    OrderKind.TAKE_PROFIT_LIMIT: ("price", "trigger"),
    OrderKind.TRAILING_STOP: ("callback",),
    OrderKind.ICEBERG: ("price", "shown"),
    OrderKind.OCO: ("stop", "take"),
    OrderKind.BRACKET: ("stop", "take"),
    OrderKind.TWAP: ("duration_s",),
    OrderKind.VWAP: ("duration_s",),
    OrderKind.POV: ("participation",),
    OrderKind.SHORTFALL: ("duration_s",),
    OrderKind.CHASE: (),
}
_TAKES: dict[str, tuple[OrderKind, ...]] = {
    "price": (*(k for k, n in _NEEDS.items() if "price" in n), OrderKind.BRACKET, *_ALGORITHMS),
    "trigger": tuple(k for k, n in _NEEDS.items() if "trigger" in n),
    "callback": (OrderKind.TRAILING_STOP,),
    "activate": (OrderKind.TRAILING_STOP,),
    "stop": (OrderKind.OCO, OrderKind.BRACKET),
    "take": (OrderKind.OCO, OrderKind.BRACKET),
    "shown": (OrderKind.ICEBERG,),
    "participation": (OrderKind.POV,),
    "duration_s": _ALGORITHMS,
}
_FORCES = (
    OrderKind.LIMIT,
    OrderKind.STOP_LIMIT,
    OrderKind.TAKE_PROFIT_LIMIT,
)
_CLOSES = (OrderKind.STOP_MARKET, OrderKind.TAKE_PROFIT_MARKET)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRequest:
    """An order of any type. Which fields a type needs and takes is checked on making one.

    Raises:
        UsageError: naming the field, its value and what is allowed.
    """

    kind: OrderKind
    symbol: str
    side: Side
    size: Decimal = ZERO  # base; 0 only with `close_position`
    price: Decimal | None = None  # limit; of algorithms: the worst price they may trade at
    trigger: Decimal | None = None
    trigger_by: TriggerPrice = TriggerPrice.LAST
    callback: Decimal | None = None  # part of the price by which it must turn
    activate: Decimal | None = None
    stop: Decimal | None = None  # trigger of the losing side of an OCO or bracket
    take: Decimal | None = None  # limit price of its winning side
    shown: Decimal | None = None  # of an iceberg, base
    time_in_force: TimeInForce = TimeInForce.GTC
    good_till_s: int = 0  # seconds of exchange time that it lives; 0: until cancelled
    reduce_only: bool = False
    close_position: bool = False
    duration_s: float = 0.0  # of an algorithm; exchange time
    participation: float = 0.0  # of POV: part of the market's volume
    urgency: float = 2.0  # of SHORTFALL: kappa * T, see `schedule`
    finish: bool = True  # an algorithm crosses the spread for what is left at its end

    def __post_init__(self) -> None:
        kind = self.kind
        for name in _NEEDS.get(kind, ()):
            if not getattr(self, name):
                raise UsageError(f"a {kind} order needs {name}, was {getattr(self, name)}")
        for name, kinds in _TAKES.items():
            if getattr(self, name) and kind not in kinds:
                raise UsageError(
                    f"{name} belongs to {', '.join(dict.fromkeys(kinds))} orders, "
                    f"was {getattr(self, name)} with {kind}"
                )
        if self.close_position != (not self.size):
            raise UsageError(
                f"size must be positive, or 0 with close_position, was {self.size} with "
                f"close_position {str(self.close_position).lower()}"
            )
        if self.close_position and (kind not in _CLOSES or self.reduce_only):
            raise UsageError(
                f"close_position is for {' and '.join(_CLOSES)} without reduce_only, was {kind}"
            )
        for name in ("size", "price", "trigger", "activate", "stop", "take", "shown"):
            value = getattr(self, name)
            if value is not None and (not value.is_finite() or value < 0):
                raise UsageError(f"{name} must be a positive number, was {value}")
        if self.callback is not None and not Decimal("0.001") <= self.callback <= Decimal("0.1"):
            raise UsageError(f"callback must be 0.001 to 0.1 of the price, was {self.callback}")
        if not 0 <= self.participation <= 1:
            raise UsageError(f"participation must be in 0 to 1, was {self.participation}")
        if not math.isfinite(self.duration_s) or self.duration_s < 0:
            raise UsageError(f"duration_s must be zero or more, was {self.duration_s}")
        if not 0 <= self.urgency <= 50:
            raise UsageError(f"urgency must be in 0 to 50, was {self.urgency}")
        if self.good_till_s < 0:
            raise UsageError(f"good_till_s must be zero or more, was {self.good_till_s}")
        if self.time_in_force is not TimeInForce.GTC and kind not in _FORCES:
            raise UsageError(
                f"time_in_force {self.time_in_force} is for {', '.join(_FORCES)}, was {kind}"
            )
        if (self.time_in_force is TimeInForce.GTD) and not self.good_till_s:
            raise UsageError("a GTD order needs good_till_s, was 0")
        if self.shown is not None and self.shown > self.size:
            raise UsageError(f"shown must be at most size {self.size}, was {self.shown}")
        self._check_sides()

    def _check_sides(self) -> None:
        """An OCO's or a bracket's prices must lie on their sides of each other."""
        stop, take = self.stop, self.take
        if stop is None or take is None:
            return
        # a bracket leaves by the other side than it came
        sign = self.side.sign if self.kind is OrderKind.OCO else -self.side.sign
        if (take - stop) * sign >= 0:
            word = "above" if sign < 0 else "below"
            raise UsageError(
                f"take must be {word} stop for a {self.side} {self.kind}, was {take} with stop "
                f"{stop}"
            )
        if self.kind is OrderKind.BRACKET and self.price is not None:
            low, high = min(stop, take), max(stop, take)
            if not low < self.price < high:
                raise UsageError(f"price must be between {low} and {high}, was {self.price}")

    def checked(self, instrument: Instrument) -> "OrderRequest":
        """The request, if the instrument's steps allow it.

        Raises:
            UsageError: naming field, value and step.
        """
        for name in ("price", "trigger", "activate", "stop", "take"):
            value = getattr(self, name)
            if value is not None and value % instrument.tick_size:
                raise UsageError(
                    f"{name} must be a multiple of {instrument.tick_size} for {self.symbol}, "
                    f"was {value}"
                )
        for name in ("size", "shown"):
            value = getattr(self, name)
            if not value:
                continue
            if value % instrument.lot_size:
                raise UsageError(
                    f"{name} must be a multiple of {instrument.lot_size} for {self.symbol}, "
                    f"was {value}"
                )
            if value < instrument.min_size:
                raise UsageError(
                    f"{name} must be at least {instrument.min_size} for {self.symbol}, was {value}"
                )
        return self


class OrderAction(StrEnum):
    """What a command of kind ORDER does."""

    PLACE = "place"
    AMEND = "amend"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCommand:
    """The payload of `Command(kind=ORDER)`."""

    action: OrderAction
    request: OrderRequest | None = None  # of PLACE
    parent: str = ""  # of AMEND and CANCEL: the id; "all" cancels every one
    size: Decimal | None = None  # of AMEND: the whole order's new size, base
    price: Decimal | None = None
    trigger: Decimal | None = None

    def __post_init__(self) -> None:
        if (self.request is not None) != (self.action is OrderAction.PLACE):
            raise UsageError(f"only {OrderAction.PLACE} has a request, was {self.action}")
        if (self.action is not OrderAction.PLACE) != bool(self.parent):
            raise UsageError(f"{self.action} must name an order, was {self.parent!r}")
        changes = (self.size, self.price, self.trigger)
        if (self.action is OrderAction.AMEND) != any(c is not None for c in changes):
            raise UsageError("amend changes size, price or trigger, and nothing else does")

    def payload(self) -> str:
        """As it travels in a command."""
        return codec.encode(self).decode()


def read_command(payload: str) -> OrderCommand:
    """An order command from its payload.

    Raises:
        UsageError: naming what is wrong in it.
    """
    try:
        return codec.decode_as(OrderCommand, payload)
    except UsageError:
        raise
    except ValueError as error:
        raise UsageError(f"order command cannot be read: {error}") from error


def amended(request: OrderRequest, change: OrderCommand) -> OrderRequest:
    """A request with what an AMEND changes.

    Raises:
        UsageError: if it has no such field, or the outcome is no order.
    """
    given = {
        name: getattr(change, name)
        for name in ("size", "price", "trigger")
        if getattr(change, name) is not None
    }
    return replace(request, **given)


def manual_id(key: str) -> str:
    """The id of an order given by hand: a function of its command's idempotency key."""
    return "m" + hashlib.blake2s(key.encode(), digest_size=5).hexdigest()

"""Orders by hand as the API takes them: one flat body for place, amend and cancel. Pure."""

from dataclasses import fields
from decimal import Decimal
from typing import Any

from pydantic import Field

from don.errors import UsageError
from don.execution.requests import OrderAction, OrderCommand, OrderKind, OrderRequest
from don.model.order import Side, TimeInForce, TriggerPrice
from serve.responses import CommandRequest, CommandResponse
from serve.schemas import Money


class OrderBody(CommandRequest):
    """An order of any type, or what is to become of one. Amounts are text, exact."""

    action: OrderAction = OrderAction.PLACE
    order: str = Field(default="", max_length=64, description="id, to amend or cancel; or `all`")
    kind: OrderKind | None = None
    symbol: str = Field(default="", max_length=32, examples=["BTC-USDT-PERP"])
    side: Side | None = None
    size: Money | None = Field(default=None, description="base; of an amendment the whole order's")
    price: Money | None = None
    trigger: Money | None = None
    trigger_by: TriggerPrice | None = None
    callback: Money | None = None
    activate: Money | None = None
    stop: Money | None = None
    take: Money | None = None
    shown: Money | None = None
    time_in_force: TimeInForce | None = None
    good_till_s: int | None = Field(default=None, ge=0)
    reduce_only: bool | None = None
    close_position: bool | None = None
    duration_s: float | None = None
    participation: float | None = None
    urgency: float | None = None
    finish: bool | None = None

    def command(self) -> OrderCommand:
        """The command that the desk takes.

        Raises:
            UsageError: if a field is missing, does not belong, or has no such value.
        """
        given = {name: getattr(self, name) for name in _FIELDS if getattr(self, name) is not None}
        given = {k: Decimal(v) if k in _MONEY else v for k, v in given.items()}
        if self.action is OrderAction.PLACE:
            if self.order:
                raise UsageError(f"order is for amend and cancel, was {self.order!r} with place")
            for name in ("kind", "symbol", "side"):
                if not given.get(name):
                    raise UsageError(f"place needs {name}, was {getattr(self, name)!r}")
            return OrderCommand(action=self.action, request=OrderRequest(**given))
        given.pop("symbol", None) if not self.symbol else None
        changes: dict[str, Any] = {
            k: given.pop(k) for k in ("size", "price", "trigger") if k in given
        }
        if given:
            raise UsageError(f"{self.action} has no {', '.join(given)}")
        return OrderCommand(action=self.action, parent=self.order, **changes)


_FIELDS = tuple(f.name for f in fields(OrderRequest))
_MONEY = frozenset(("size", "price", "trigger", "callback", "activate", "stop", "take", "shown"))


class OrderResponse(CommandResponse):
    """The desk has journalled the command; the order is known by `order`."""

    order: str = Field(examples=["m1f0c5e2a9b"])

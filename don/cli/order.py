"""`don order buy|sell|amend|cancel|list`: orders by hand to a Don that runs."""

from decimal import Decimal, InvalidOperation
from typing import Any

import typer

from don.cli import client
from don.cli.control import JSON
from don.cli.output import out, print_json, table
from don.errors import UsageError
from don.execution.requests import OrderAction, OrderCommand, OrderKind, OrderRequest, manual_id
from don.home import home_dir
from don.model.messages import CommandKind
from don.model.order import Side, TimeInForce, TriggerPrice

WHY = typer.Option("", "--reason", help="Why; kept in the journal.")
SYMBOL = typer.Argument(..., help="Such as BTC-USDT-PERP.")
SIZE = typer.Argument("0", help="Base units; left out with --close-position.")
KIND = typer.Option(OrderKind.MARKET, "--type", help="Which type; see docs/orders.md.")
PRICE = typer.Option(None, help="Limit; of an algorithm the worst price.")
TRIGGER = typer.Option(None, help="Price that sets a stop or take-profit off.")
BY = typer.Option(TriggerPrice.LAST, "--trigger-by", help="last or mark.")
CALLBACK = typer.Option(None, help="Of a trailing stop: 0.01 is one percent.")
ACTIVATE = typer.Option(None, help="Price from which a trailing stop follows.")
STOP = typer.Option(None, help="Of oco and bracket: where to give up.")
TAKE = typer.Option(None, help="Of oco and bracket: where to take the profit.")
SHOWN = typer.Option(None, help="Of an iceberg: the part that is seen.")
FORCE = typer.Option(TimeInForce.GTC, "--tif", help="GTC, GTD, IOC, FOK or GTX (post-only).")
TILL = typer.Option(0, "--good-till", help="Seconds of exchange time that it lives; 0: no end.")
REDUCE = typer.Option(False, "--reduce-only", help="Never open or enlarge a position.")
CLOSE = typer.Option(False, "--close-position", help="Close whatever there is then.")
OVER = typer.Option(0.0, "--over", help="Seconds of exchange time that an algorithm works.")
PART = typer.Option(0.0, "--participation", help="Of pov: 0.05 is 5 percent of the volume.")
URGENCY = typer.Option(2.0, help="Of shortfall: 0 is twap, more trades earlier.")
FINISH = typer.Option(True, help="Cross the spread for what an algorithm leaves at its end.")
KEY = typer.Option(None, "--key", help="Idempotency key: repeated, nothing happens twice.")


def register(app: typer.Typer) -> None:
    """Add this group's commands."""
    group = typer.Typer(help="Orders by hand.", no_args_is_help=True)
    group.command()(buy)
    group.command()(sell)
    group.command()(amend)
    group.command()(cancel)
    group.command(name="list")(list_orders)
    app.add_typer(group, name="order")


def buy(
    symbol: str = SYMBOL, size: str = SIZE, kind: OrderKind = KIND, price: str = PRICE,
    trigger: str = TRIGGER, trigger_by: TriggerPrice = BY, callback: str = CALLBACK,
    activate: str = ACTIVATE, stop: str = STOP, take: str = TAKE, shown: str = SHOWN,
    time_in_force: TimeInForce = FORCE, good_till_s: int = TILL, reduce_only: bool = REDUCE,
    close_position: bool = CLOSE, duration_s: float = OVER, participation: float = PART,
    urgency: float = URGENCY, finish: bool = FINISH, reason: str = WHY, key: str = KEY,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Buy, by an order of any type."""
    _place(Side.BUY, locals())


def sell(
    symbol: str = SYMBOL, size: str = SIZE, kind: OrderKind = KIND, price: str = PRICE,
    trigger: str = TRIGGER, trigger_by: TriggerPrice = BY, callback: str = CALLBACK,
    activate: str = ACTIVATE, stop: str = STOP, take: str = TAKE, shown: str = SHOWN,
    time_in_force: TimeInForce = FORCE, good_till_s: int = TILL, reduce_only: bool = REDUCE,
    close_position: bool = CLOSE, duration_s: float = OVER, participation: float = PART,
    urgency: float = URGENCY, finish: bool = FINISH, reason: str = WHY, key: str = KEY,
    as_json: bool = JSON,
) -> None:  # fmt: skip
    """Sell, by an order of any type."""
    _place(Side.SELL, locals())


def amend(
    order: str = typer.Argument(..., help="Its id, see `don order list`."),
    size: str = typer.Option(None, help="The whole order's new size, base units."),
    price: str = PRICE,
    trigger: str = TRIGGER,
    reason: str = WHY,
    as_json: bool = JSON,
) -> None:
    """Give an order another size, price or trigger: its children are cancelled and sent anew."""
    changes = {"size": size, "price": price, "trigger": trigger}
    given: dict[str, Any] = {
        name: _exact(name, text) for name, text in changes.items() if text is not None
    }
    told = OrderCommand(action=OrderAction.AMEND, parent=order, **given)
    body = {"action": "amend", "order": order, **{k: str(v) for k, v in given.items()}}
    _send(told, body, reason, order, as_json)


def cancel(
    order: str = typer.Argument(..., help="Its id, or a client order id; `all` for all by hand."),
    reason: str = WHY,
    as_json: bool = JSON,
) -> None:
    """Cancel an order and all its children."""
    told = OrderCommand(action=OrderAction.CANCEL, parent=order)
    _send(told, {"action": "cancel", "order": order}, reason, order, as_json)


def list_orders(as_json: bool = JSON) -> None:
    """Show orders under way, and those that ended last."""
    desk = client.get(home_dir(), "/v1/status").get("desk") or {}
    parents = desk.get("parents") or []
    if as_json:
        print_json({"orders": parents, "open": desk.get("open_orders") or []})
        return
    columns = ("parent", "kind", "symbol", "side", "size#", "filled#", "average#", "status", "by")
    rows = [
        [*(p.get(c.rstrip("#")) for c in columns[:-1]), p.get("actor") or "policy"] for p in parents
    ]
    out.print(table(columns, rows, "orders"))
    named = ("parent", "reason", "symbol", "side", "size#", "price#", "trigger#", "status")
    live = [[row.get(c.rstrip("#")) for c in named] for row in desk.get("open_orders") or []]
    out.print(table(named, live, "open at the exchange"))


def _place(side: Side, given: dict[str, Any]) -> None:
    as_json, reason, key = (given.pop(name) for name in ("as_json", "reason", "key"))
    exact = ("size", "price", "trigger", "callback", "activate", "stop", "take", "shown")
    fields: dict[str, Any] = {
        name: _exact(name, value) if name in exact and value is not None else value
        for name, value in given.items()
    }
    request = OrderRequest(side=side, **fields)
    body = {name: str(v) if name in exact else v for name, v in fields.items() if v is not None}
    told = OrderCommand(action=OrderAction.PLACE, request=request)
    more = {"side": str(side), **body, **({"key": key} if key else {})}
    _send(told, more, reason, "", as_json)


def _send(told: OrderCommand, body: dict[str, Any], reason: str, order: str, as_json: bool) -> None:
    more = {**body, "payload": told.payload()}
    answer = client.command(home_dir(), CommandKind.ORDER, reason, more)
    name = answer.get("order") or order or manual_id(answer["key"])
    if as_json:
        print_json({**answer, "order": name})
    else:
        out.print(f"{told.action} {name}: taken into the journal; see `don order list`")


def _exact(name: str, text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise UsageError(f"{name} must be a number such as 0.5, was {text!r}") from None

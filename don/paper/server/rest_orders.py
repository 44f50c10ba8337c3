"""Orders over REST: place, amend, cancel, list; singly and in batches. No awaiting."""

from collections.abc import Callable
from functools import partial
from typing import Any

from don.errors import ExchangeRefused
from don.paper.filters import refuse
from don.paper.server import codes, wire_account
from don.paper.server.deadman import DeadMan
from don.paper.server.order_params import new_order
from don.paper.server.params import Params
from don.paper.server.routes import Call, Route, Security, by_symbol
from don.paper.server.service import ExchangeService

Json = dict[str, Any]
MAX_PLACED, MAX_CANCELLED = 5, 10  # orders of one batch


class OrderCalls:
    """Signed calls about orders, and the countdown that cancels them."""

    def __init__(self, service: ExchangeService, deadman: DeadMan) -> None:
        self._service = service
        self._exchange = service.exchange
        self._deadman = deadman

    def routes(self) -> list[Route]:
        """All calls about orders."""
        signed = partial(Route, security=Security.SIGNED)
        v1 = "/fapi/v1/"
        batch = v1 + "batchOrders"
        return [
            signed(method="POST", path=v1 + "order", run=self._place, weight=0, orders=1),
            signed(method="PUT", path=v1 + "order", run=self._amend, orders=1),
            signed(method="GET", path=v1 + "order", run=self._order),
            signed(method="DELETE", path=v1 + "order", run=self._cancel),
            signed(method="DELETE", path=v1 + "allOpenOrders", run=self._cancel_all),
            signed(method="GET", path=v1 + "openOrder", run=self._open_order),
            signed(
                method="GET", path=v1 + "openOrders", run=self._open_orders, weigh=by_symbol(1, 40)
            ),
            signed(method="GET", path=v1 + "allOrders", run=self._all_orders, weight=5),
            signed(method="POST", path=batch, run=self._place_batch, weight=5, count=_batch_size),
            signed(method="PUT", path=batch, run=self._amend_batch, weight=5, count=_batch_size),
            signed(method="DELETE", path=batch, run=self._cancel_batch),
            signed(method="POST", path=v1 + "countdownCancelAll", run=self._countdown, weight=10),
        ]

    def _symbol(self, params: Params) -> str:
        symbol = params.text("symbol")
        if symbol not in self._exchange.instruments:
            raise codes.bad_symbol()
        return symbol

    def _place(self, call: Call) -> Json:
        return self._place_one(call.params, call.account)

    def _place_one(self, params: Params, account: str) -> Json:
        request = new_order(params, self._symbol(params), account)
        result = params.choice("newOrderRespType", ("ACK", "RESULT"), "ACK") == "RESULT"
        state = self._service.change(lambda: self._exchange.place(request))
        return wire_account.placed(state, result=result)

    def _order(self, call: Call) -> Json:
        return wire_account.order(
            self._exchange.order(self._symbol(call.params), **_which(call.params, call.account))
        )

    def _open_order(self, call: Call) -> Json:
        state = self._exchange.order(self._symbol(call.params), **_which(call.params, call.account))
        if state.status.final:
            raise ExchangeRefused(-2013, "Order does not exist.")
        return wire_account.order(state)

    def _cancel(self, call: Call) -> Json:
        return self._cancel_one(call.params, call.account)

    def _cancel_all(self, call: Call) -> Json:
        symbol = self._symbol(call.params)
        self._service.change(
            lambda: (None, self._exchange.cancel_all(symbol, account=call.account))
        )
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _open_orders(self, call: Call) -> list[Json]:
        symbol = self._symbol(call.params) if "symbol" in call.params else None
        found = self._exchange.open_orders(symbol, account=call.account)
        return [wire_account.order(state) for state in found]

    def _all_orders(self, call: Call) -> list[Json]:
        start, end = call.span()
        found = self._exchange.all_orders(
            self._symbol(call.params),
            from_id=call.params.optional_integer("orderId"),
            start=start,
            end=end,
            limit=call.params.limit(500, 1000),
            account=call.account,
        )
        return [wire_account.order(state) for state in found]

    def _amend(self, call: Call) -> Json:
        return self._amend_one(call.params, call.account)

    def _amend_one(self, params: Params, account: str) -> Json:
        symbol, which = self._symbol(params), _which(params, account)
        size, price = params.decimal("quantity"), params.decimal("price")
        if size is None or price is None:
            raise codes.missing("quantity" if size is None else "price")
        state = self._exchange.order(symbol, **which)
        if params.text("side") != state.side.name:
            raise codes.invalid("side")
        changed = self._service.change(lambda: self._exchange.amend(symbol, size, price, **which))
        return wire_account.placed(changed, result=True)

    # ---- batches ---------------------------------------------------------------------------------

    def _place_batch(self, call: Call) -> list[Json]:
        return self._each(_batch(call.params), call.account, self._place_one)

    def _amend_batch(self, call: Call) -> list[Json]:
        return self._each(_batch(call.params), call.account, self._amend_one)

    def _cancel_batch(self, call: Call) -> list[Json]:
        symbol = self._symbol(call.params)
        names = [
            {"symbol": symbol, field: str(value)}
            for field, source in (
                ("orderId", "orderIdList"),
                ("orderId", "orderidlist"),  # as client libraries write it
                ("origClientOrderId", "origClientOrderIdList"),
                ("origClientOrderId", "origclientorderidlist"),
            )
            if source in call.params
            for value in call.params.items(source)
        ]
        if not 1 <= len(names) <= MAX_CANCELLED:
            refuse(-4083, "Invalid number of batch cancel orders.")
        return self._each([Params(name) for name in names], call.account, self._cancel_one)

    def _cancel_one(self, params: Params, account: str) -> Json:
        symbol, which = self._symbol(params), _which(params, account)
        state = self._service.change(lambda: self._exchange.cancel(symbol, **which))
        return wire_account.placed(state, result=True)

    def _each(
        self, items: list[Params], account: str, run: Callable[[Params, str], Json]
    ) -> list[Json]:
        """One answer an item; a refused one does not keep the others back."""
        answers: list[Json] = []
        for item in items:
            try:
                answers.append(run(item, account))
            except ExchangeRefused as refused:
                answers.append({"code": refused.code, "msg": refused.message})
        return answers

    # ---- the dead man's timer --------------------------------------------------------------------

    def _countdown(self, call: Call) -> Json:
        symbol, time_ms = self._symbol(call.params), call.params.integer("countdownTime")
        self._deadman.arm(call.account, symbol, time_ms)
        return {"symbol": symbol, "countdownTime": str(time_ms)}


def _which(params: Params, account: str) -> dict[str, Any]:
    """Which order is meant."""
    order_id = params.optional_integer("orderId")
    name = params.text("origClientOrderId", "") or None
    if order_id is None and name is None:
        raise ExchangeRefused(
            codes.MISSING_PARAMETER,
            "Either 'orderId' or 'origClientOrderId' must be sent.",
        )
    if order_id is not None:
        name = None  # as the exchange: the id wins
    return {"order_id": order_id, "client_order_id": name, "account": account}


def _batch(params: Params) -> list[Params]:
    items = params.items("batchOrders")
    if not 1 <= len(items) <= MAX_PLACED:
        refuse(-4082, "Invalid number of batch place orders.")
    return [Params.of(item, "batchOrders") for item in items]


def _batch_size(params: Params) -> int:
    return len(params.items("batchOrders"))

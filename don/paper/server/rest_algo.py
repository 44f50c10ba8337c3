"""Conditional orders over REST, as the exchange's Algo Service takes them. No awaiting."""

from functools import partial
from typing import Any

from don.paper.algo import AlgoState
from don.paper.server import codes, wire_algo
from don.paper.server.order_params import new_algo
from don.paper.server.routes import Call, Route, Security, by_symbol
from don.paper.server.service import ExchangeService

Json = dict[str, Any]


class AlgoCalls:
    """Signed calls about conditional orders."""

    def __init__(self, service: ExchangeService) -> None:
        self._service = service
        self._exchange = service.exchange

    def routes(self) -> list[Route]:
        """All calls about conditional orders."""
        signed = partial(Route, security=Security.SIGNED)
        v1 = "/fapi/v1/"
        return [
            signed(method="POST", path=v1 + "algoOrder", run=self._place, weight=0, orders=1),
            signed(method="GET", path=v1 + "algoOrder", run=self._query),
            signed(method="DELETE", path=v1 + "algoOrder", run=self._cancel),
            signed(method="DELETE", path=v1 + "algoOpenOrders", run=self._cancel_all),
            signed(
                method="GET", path=v1 + "openAlgoOrders", run=self._open, weigh=by_symbol(1, 40)
            ),
            signed(method="GET", path=v1 + "allAlgoOrders", run=self._all, weight=5),
        ]

    def _symbol(self, call: Call) -> str:
        symbol = call.params.text("symbol")
        if symbol not in self._exchange.instruments:
            raise codes.bad_symbol()
        return symbol

    def _written(self, state: AlgoState) -> Json:
        return wire_algo.algo(state, self._exchange.order_of(state))

    def _which(self, call: Call) -> dict[str, Any]:
        ident = call.params.optional_integer("algoId")
        name = call.params.text("clientAlgoId", "") or None
        return {"algo_id": ident, "client_algo_id": name, "account": call.account}

    def _place(self, call: Call) -> Json:
        request = new_algo(call.params, self._symbol(call), call.account)
        return self._written(self._service.change(lambda: self._exchange.place_algo(request)))

    def _query(self, call: Call) -> Json:
        return self._written(self._exchange.algo(**self._which(call)))

    def _cancel(self, call: Call) -> Json:
        which = self._which(call)
        state = self._service.change(lambda: self._exchange.cancel_algo(**which))
        return wire_algo.cancelled(state)

    def _cancel_all(self, call: Call) -> Json:
        symbol = self._symbol(call)
        self._service.change(
            lambda: (None, self._exchange.cancel_all_algos(symbol, account=call.account))
        )
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _open(self, call: Call) -> list[Json]:
        symbol = self._symbol(call) if "symbol" in call.params else None
        found = self._exchange.open_algos(symbol, account=call.account)
        wanted = call.params.optional_integer("algoId")
        return [self._written(state) for state in found if wanted in (None, state.algo_id)]

    def _all(self, call: Call) -> list[Json]:
        start, end = call.span()
        found = self._exchange.all_algos(
            self._symbol(call),
            from_id=call.params.optional_integer("algoId"),
            start=start,
            end=end,
            limit=call.params.limit(500, 1000),
            account=call.account,
        )
        return [self._written(state) for state in found]

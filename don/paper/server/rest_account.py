"""Private calls of the REST interface: trades, account, listen key. No awaiting."""

from functools import partial
from typing import Any

from don.errors import ExchangeRefused
from don.paper.server import codes, wire_account
from don.paper.server.listen_keys import ListenKeys
from don.paper.server.routes import Call, Route, Security
from don.paper.server.service import ExchangeService
from don.paper.types import IncomeKind, PositionState

Json = dict[str, Any]


class AccountCalls:
    """Signed calls and the listen key."""

    def __init__(self, service: ExchangeService, keys: ListenKeys) -> None:
        self._service = service
        self._exchange = service.exchange
        self._keys = keys

    def routes(self) -> list[Route]:
        """All private calls."""
        signed = partial(Route, security=Security.SIGNED)
        v1 = "/fapi/v1/"
        routes = [
            signed(method="GET", path=v1 + "userTrades", run=self._trades, weight=5),
            signed(method="GET", path=v1 + "income", run=self._income, weight=30),
            signed(method="POST", path=v1 + "leverage", run=self._set_leverage),
            signed(method="GET", path=v1 + "leverageBracket", run=self._brackets),
            signed(method="GET", path=v1 + "commissionRate", run=self._commission, weight=20),
            signed(method="GET", path=v1 + "symbolConfig", run=self._symbol_config, weight=5),
            signed(method="GET", path=v1 + "accountConfig", run=self._account_config, weight=5),
            signed(method="GET", path=v1 + "positionSide/dual", run=_one_way, weight=30),
            signed(method="POST", path=v1 + "positionSide/dual", run=_keep_one_way),
            signed(method="GET", path=v1 + "multiAssetsMargin", run=_single_asset, weight=30),
            signed(method="POST", path=v1 + "marginType", run=self._keep_cross),
        ]
        for method, run in (
            ("POST", self._create_key),
            ("PUT", self._extend_key),
            ("DELETE", self._close_key),
        ):
            routes.append(
                Route(method=method, path=v1 + "listenKey", run=run, security=Security.KEY)
            )
        for version in ("v2", "v3"):
            old = version == "v2"
            for name, call in (
                ("account", partial(self._account, v2=old)),
                ("balance", self._balance),
                ("positionRisk", partial(self._position_risk, v2=old)),
            ):
                path = f"/fapi/{version}/{name}"
                routes.append(signed(method="GET", path=path, run=call, weight=5))
        return routes

    def _symbol(self, call: Call) -> str:
        symbol = call.params.text("symbol")
        if symbol not in self._exchange.instruments:
            raise codes.bad_symbol()
        return symbol

    def _optional_symbol(self, call: Call) -> str | None:
        return self._symbol(call) if "symbol" in call.params else None

    # ---- trades and account ----------------------------------------------------------------------

    def _trades(self, call: Call) -> list[Json]:
        start, end = call.span()
        found = self._exchange.trades(
            self._symbol(call),
            order_id=call.params.optional_integer("orderId"),
            from_id=call.params.optional_integer("fromId"),
            start=start,
            end=end,
            limit=call.params.limit(500, 1000),
            account=call.account,
        )
        return [wire_account.trade(fill) for fill in found]

    def _income(self, call: Call) -> list[Json]:
        start, end = call.span()
        kinds = tuple(kind.value for kind in IncomeKind)
        kind = call.params.choice("incomeType", (*kinds, ""), "")
        found = self._exchange.income(
            symbol=self._optional_symbol(call),
            kind=IncomeKind(kind) if kind else None,
            start=start,
            end=end,
            limit=call.params.limit(100, 1000),
            account=call.account,
        )
        return [wire_account.income(row) for row in found]

    def _account(self, call: Call, *, v2: bool) -> Json:
        return wire_account.account(self._exchange.account(call.account), v2=v2)

    def _balance(self, call: Call) -> list[Json]:
        return [wire_account.balance(self._exchange.account(call.account))]

    def _positions(self, call: Call) -> list[PositionState]:
        symbol = self._optional_symbol(call)
        state = self._exchange.account(call.account)
        return [p for p in state.positions if symbol is None or p.symbol == symbol]

    def _position_risk(self, call: Call, *, v2: bool) -> list[Json]:
        asset = self._exchange.config.asset
        shown = [p for p in self._positions(call) if v2 or p.size or p.order_margin]
        return [wire_account.position_risk(p, asset, v2=v2) for p in shown]

    def _set_leverage(self, call: Call) -> Json:
        symbol, leverage = self._symbol(call), call.params.integer("leverage")
        self._service.change(
            lambda: (None, self._exchange.set_leverage(symbol, leverage, account=call.account))
        )
        return {
            "symbol": symbol,
            "leverage": leverage,
            "maxNotionalValue": wire_account.UNBOUNDED,
        }

    def _brackets(self, call: Call) -> Json | list[Json]:
        config, symbol = self._exchange.config, self._optional_symbol(call)
        found = [
            wire_account.leverage_bracket(instrument, config)
            for name, instrument in self._exchange.instruments.items()
            if symbol in (None, name)
        ]
        return found if symbol is None else found[0]

    def _commission(self, call: Call) -> Json:
        return wire_account.commission_rate(self._exchange.instruments[self._symbol(call)])

    def _symbol_config(self, call: Call) -> list[Json]:
        return [wire_account.symbol_config(p) for p in self._positions(call)]

    def _account_config(self, call: Call) -> Json:
        return {
            "feeTier": 0,
            "canTrade": True,
            "canDeposit": True,
            "canWithdraw": True,
            "dualSidePosition": False,
            "updateTime": 0,
            "multiAssetsMargin": False,
            "tradeGroupId": -1,
        }

    def _keep_cross(self, call: Call) -> Json:
        self._symbol(call)
        if call.params.choice("marginType", ("CROSSED", "ISOLATED")) == "ISOLATED":
            raise ExchangeRefused(
                -4048, "Margin type cannot be changed: this exchange has cross margin only."
            )
        raise ExchangeRefused(codes.NO_CHANGE_MARGIN_TYPE, "No need to change margin type.")

    # ---- listen key ----------------------------------------------------------------------------

    def _create_key(self, call: Call) -> Json:
        return {"listenKey": self._keys.create(call.account)}

    def _extend_key(self, call: Call) -> Json:
        return {"listenKey": self._keys.extend(call.account)}

    def _close_key(self, call: Call) -> Json:
        self._keys.close(call.account)
        return {}


def _one_way(call: Call) -> Json:
    return {"dualSidePosition": False}


def _keep_one_way(call: Call) -> Json:
    if call.params.flag("dualSidePosition"):
        raise ExchangeRefused(
            -4068, "Position side cannot be changed: this exchange has one-way positions only."
        )
    raise ExchangeRefused(codes.NO_CHANGE_POSITION_SIDE, "No need to change position side.")


def _single_asset(call: Call) -> Json:
    return {"multiAssetsMargin": False}

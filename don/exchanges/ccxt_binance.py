"""The gateway to Binance USD-M futures (and everything that speaks its protocol). Does I/O."""

import difflib
import random
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

import structlog

from don.clock import NS_PER_MS, Clock
from don.errors import ConfigError, ExchangeRefused, ExchangeUnavailable, RateLimited, UsageError
from don.exchanges import binance_wire as wire
from don.exchanges.base import StreamEvent, SubmitUnknown
from don.exchanges.binance_errors import DUPLICATE_ORDER_ID, NO_SUCH_ORDER
from don.exchanges.ccxt_client import CcxtClient, Endpoint
from don.exchanges.clock_offset import Reading
from don.exchanges.config import GatewayConfig
from don.exchanges.rates import Priority, RateGate
from don.exchanges.user_stream import UserStream
from don.model.instrument import Instrument
from don.model.messages import AccountReport, FillReport, FundingReport, OrderReport
from don.model.order import Order, OrderStatus
from don.model.portfolio import ZERO

_log = structlog.get_logger(__name__)
T = TypeVar("T")

EXCHANGE_INFO = Endpoint(name="fapiPublicGetExchangeInfo", weight=1)
BRACKETS = Endpoint(name="fapiPrivateGetLeverageBracket", weight=1)
NEW_ORDER = Endpoint(name="fapiPrivatePostOrder", weight=1, orders=1)
CANCEL_ORDER = Endpoint(name="fapiPrivateDeleteOrder", weight=1)
GET_ORDER = Endpoint(name="fapiPrivateGetOrder", weight=1)
OPEN_ORDERS = Endpoint(name="fapiPrivateGetOpenOrders", weight=40)
USER_TRADES = Endpoint(name="fapiPrivateGetUserTrades", weight=5)
INCOME = Endpoint(name="fapiPrivateGetIncome", weight=30)
ACCOUNT = Endpoint(name="fapiPrivateV3GetAccount", weight=5)
COMMISSION = Endpoint(name="fapiPrivateGetCommissionRate", weight=20)
LEVERAGE = Endpoint(name="fapiPrivatePostLeverage", weight=1)

PAGE = 1_000
MAX_IDS = 50_000  # exchange order id -> client order id, the oldest are asked for again


class BinanceGateway:
    """One account at Binance USD-M futures; implements `don.exchanges.base.Gateway`."""

    def __init__(
        self,
        config: GatewayConfig,
        clock: Clock,
        *,
        live_confirmed: bool = False,
        rng: random.Random | None = None,
        gate: RateGate | None = None,
    ) -> None:
        """A gateway; it connects at the first call.

        Args:
            config: addresses and keys.
            clock: stamps `ts_recv` and `ts_sent`.
            live_confirmed: second switch for hosts beyond this machine (`DON_ALLOW_LIVE=1`).
            rng: spreads retries; a fresh one by default.
            gate: the cluster's request budget; by default one of this gateway's own.

        Raises:
            ConfigError: if an address is not loopback and live trading was not turned on twice.
        """
        rng = rng if rng is not None else random.Random()
        self.recv_window_ms = config.recv_window_ms
        self._config = config
        self._clock = clock
        self._client = CcxtClient(config, clock, rng, live_confirmed=live_confirmed, gate=gate)
        self._stream = UserStream(self._client, config, clock, rng, self._event)
        self._instruments: dict[str, Instrument] = {}
        self._symbols = wire.Symbols([])
        self._ids: OrderedDict[tuple[str, str], str] = OrderedDict()

    async def instruments(self) -> list[Instrument]:
        """Tradable perpetuals of the margin asset, by symbol. Also compares the clocks.

        Returns:
            The configured symbols with the account's own fees, or all with the configured fees.

        Raises:
            ConfigError: if a configured symbol is not listed.
        """
        await self._client.sync_time()
        info = await self._client.call(EXCHANGE_INFO, {})
        brackets = await self._client.call(BRACKETS, {})
        listed = self._understood(EXCHANGE_INFO, lambda: self._listed(info, brackets))
        if not self._config.symbols:
            return listed
        by_symbol = {item.symbol: item for item in listed}
        unknown = sorted(set(self._config.symbols) - set(by_symbol))
        if unknown:
            near = difflib.get_close_matches(unknown[0], by_symbol, n=3)
            raise ConfigError(
                f"symbol {unknown[0]!r} is not listed at the exchange; "
                f"near: {', '.join(near or sorted(by_symbol)[:10])}"
            )
        return [await self._with_fees(by_symbol[name]) for name in sorted(self._config.symbols)]

    async def submit(self, order: Order) -> OrderReport:
        """Send a new order once; see `Gateway.submit`."""
        symbol = await self._theirs(order.symbol)
        priority = Priority.REDUCE if order.reduce_only else Priority.OPEN
        ts_sent, sent_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        try:
            row = await self._client.call_now(
                NEW_ORDER, wire.order_request(order, symbol), priority
            )
            return self._understood(
                NEW_ORDER, lambda: self._order(row, order.symbol, ts_sent=ts_sent)
            )
        except ExchangeRefused as refused:
            if refused.code == DUPLICATE_ORDER_ID:  # an earlier send of this very order got through
                raise SubmitUnknown(str(refused), ts_sent, sent_ns) from refused
            return wire.order_report(
                client_order_id=order.client_order_id,
                symbol=order.symbol,
                status=OrderStatus.REJECTED,
                filled=ZERO,
                detail=f"{refused.code} {refused.message}",
                ts_event=order.ts_event,
                ts_recv=self._clock.now_ns(),
                ts_sent=ts_sent,
            )
        except RateLimited:
            raise
        except ExchangeUnavailable as error:
            raise SubmitUnknown(str(error), ts_sent, sent_ns) from error

    async def cancel(self, symbol: str, client_order_id: str) -> OrderReport:
        """Cancel an order; see `Gateway.cancel`."""
        theirs = await self._theirs(symbol)
        params = {"symbol": theirs, "origClientOrderId": client_order_id}
        row = await self._client.call(CANCEL_ORDER, params, Priority.CANCEL)
        return self._understood(CANCEL_ORDER, lambda: self._order(row, symbol))

    async def order(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """State of an order; None if the exchange does not know it."""
        row = await self._order_row(symbol, {"origClientOrderId": client_order_id})
        if row is None:
            return None
        return self._understood(GET_ORDER, lambda: self._order(row, symbol))

    async def open_orders(self) -> list[OrderReport]:
        """All resting orders in contracts that Don knows."""
        await self._ready()
        rows = await self._client.call(OPEN_ORDERS, {})
        return self._understood(
            OPEN_ORDERS,
            lambda: [
                self._order(row, symbol)
                for row in rows
                if (symbol := self._symbols.ours(row["symbol"])) is not None
            ],
        )

    async def fills_since(self, symbol: str, trade_id: str | None) -> list[FillReport]:
        """Every fill after a trade id, in trade order, over as many pages as it takes."""
        start = 0 if trade_id is None else int(trade_id) + 1
        found: list[FillReport] = []
        while True:
            rows = await self._trades(symbol, {"fromId": start, "limit": PAGE})
            found += [await self._fill(row, symbol) for row in rows]
            if len(rows) < PAGE:
                return found
            start = int(rows[-1]["id"]) + 1

    async def fills_of(self, symbol: str, exchange_order_id: str) -> list[FillReport]:
        """Every fill of one order, in trade order."""
        rows = await self._trades(symbol, {"orderId": exchange_order_id, "limit": PAGE})
        return [await self._fill(row, symbol) for row in rows]

    async def funding_since(self, ts_ns: int) -> list[FundingReport]:
        """Funding payments at or after an exchange time, in time order."""
        await self._ready()
        found: dict[str, FundingReport] = {}
        start_ms = ts_ns // NS_PER_MS
        while True:
            params: dict[str, Any] = {"incomeType": "FUNDING_FEE", "limit": PAGE}
            if start_ms > 0:
                params["startTime"] = start_ms
            rows = await self._client.call(INCOME, params)
            page = self._payments(rows)
            fresh = [report for report in page if report.key not in found]
            found.update((report.key, report) for report in fresh)
            if len(rows) < PAGE or not fresh:
                return sorted(found.values(), key=lambda report: (report.ts_event, report.key))
            start_ms = max(report.ts_event for report in fresh) // NS_PER_MS

    async def account(self) -> AccountReport:
        """Balance and positions from one answer, so that they belong together."""
        await self._ready()
        row = await self._client.call(ACCOUNT, {})
        return self._understood(
            ACCOUNT,
            lambda: wire.account_from_rest(
                row, self._symbols, self._config.asset, self._clock.now_ns()
            ),
        )

    async def set_leverage(self, symbol: str, leverage: int) -> None:
        """Set the leverage that bounds a position's size in one contract.

        Raises:
            ExchangeRefused: if the exchange does not allow it.
        """
        theirs = await self._theirs(symbol)
        await self._client.call(LEVERAGE, {"symbol": theirs, "leverage": leverage}, Priority.OPEN)

    async def stream(self) -> AsyncGenerator[StreamEvent]:
        """User-data events in the exchange's order; reconnects for ever."""
        await self._ready()
        async with aclosing(self._stream.events()) as events:
            async for event in events:
                yield event

    def rate_use(self) -> float:
        """Fraction of the weight budget used in the running minute."""
        return self._client.limiter.use()

    def clock(self) -> Reading | None:
        """How our clock stands to the exchange's; None before the first comparison."""
        return self._client.offset.reading

    async def close(self) -> None:
        """Close the session."""
        await self._client.close()

    async def _with_fees(self, item: Instrument) -> Instrument:
        row = await self._client.call(COMMISSION, {"symbol": item.exchange_symbol})
        return self._understood(
            COMMISSION,
            lambda: replace(
                item,
                maker_fee=Decimal(row["makerCommissionRate"]),
                taker_fee=Decimal(row["takerCommissionRate"]),
            ),
        )

    def _listed(self, info: Any, brackets: Any) -> list[Instrument]:
        self._client.limiter.set_limits(info["rateLimits"])
        leverage = {
            row["symbol"]: max(int(step["initialLeverage"]) for step in row["brackets"])
            for row in brackets
        }
        listed = [
            wire.instrument_from_rest(
                row,
                max_leverage=leverage[row["symbol"]],
                maker_fee=self._config.maker_fee,
                taker_fee=self._config.taker_fee,
            )
            for row in info["symbols"]
            if row["contractType"] == "PERPETUAL"
            and row["status"] == "TRADING"
            and row["quoteAsset"] == self._config.asset
        ]
        listed.sort(key=lambda item: item.symbol)
        self._instruments = {item.symbol: item for item in listed}
        self._symbols = wire.Symbols(listed)
        return listed

    async def _ready(self) -> None:
        if not self._instruments:
            await self.instruments()

    async def _theirs(self, symbol: str) -> str:
        await self._ready()
        try:
            return self._symbols.theirs(symbol)
        except KeyError:
            raise UsageError(
                f"symbol {symbol!r} is not a tradable {self._config.asset} perpetual here"
            ) from None

    def _event(self, event: Mapping[str, Any], ts_recv: int) -> list[StreamEvent]:
        found = wire.user_event(event, self._symbols, self._config.asset, ts_recv)
        for item in found:
            if isinstance(item, OrderReport):
                self._remember(item)
        return found

    def _order(self, row: Mapping[str, Any], symbol: str, ts_sent: int = 0) -> OrderReport:
        report = wire.order_from_rest(row, symbol, self._clock.now_ns(), ts_sent)
        self._remember(report)
        return report

    def _remember(self, report: OrderReport) -> None:
        self._ids[report.symbol, report.exchange_order_id] = report.client_order_id
        while len(self._ids) > MAX_IDS:
            self._ids.popitem(last=False)

    async def _order_row(self, symbol: str, which: Mapping[str, str]) -> Mapping[str, Any] | None:
        theirs = await self._theirs(symbol)
        try:
            row: Mapping[str, Any] = await self._client.call(
                GET_ORDER, {"symbol": theirs, **which}, Priority.REDUCE
            )
        except ExchangeRefused as refused:
            if refused.code == NO_SUCH_ORDER:
                return None
            raise
        return row

    async def _trades(self, symbol: str, which: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        theirs = await self._theirs(symbol)
        rows = await self._client.call(USER_TRADES, {"symbol": theirs, **which})
        return self._understood(USER_TRADES, lambda: sorted(rows, key=lambda row: int(row["id"])))

    async def _fill(self, row: Mapping[str, Any], symbol: str) -> FillReport:
        # trades name only the exchange's order id
        order_id = str(row["orderId"])
        client_order_id = self._ids.get((symbol, order_id))
        if client_order_id is None:
            order = await self._order_row(symbol, {"orderId": order_id})
            client_order_id = "" if order is None else str(order["clientOrderId"])
            if order is not None:
                self._understood(GET_ORDER, lambda: self._order(order, symbol))
        return self._understood(
            USER_TRADES,
            lambda: wire.fill_from_rest(
                row, symbol, self._config.asset, client_order_id, self._clock.now_ns()
            ),
        )

    def _payments(self, rows: list[Mapping[str, Any]]) -> list[FundingReport]:
        return self._understood(
            INCOME,
            lambda: [
                wire.funding_from_rest(row, symbol, self._clock.now_ns())
                for row in rows
                if row["asset"] == self._config.asset
                and (symbol := self._symbols.ours(row["symbol"])) is not None
            ],
        )

    def _understood(self, endpoint: Endpoint, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ExchangeUnavailable(
                f"{endpoint.name}: the answer is not understood: {error!r}"
            ) from error

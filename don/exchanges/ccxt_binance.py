"""The gateway to Binance USD-M futures (and everything that speaks its protocol). Does I/O."""

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

import structlog

from don.clock import NS_PER_MS, Clock
from don.errors import ExchangeRefused, ExchangeUnavailable, RateLimited, UsageError
from don.exchanges import binance_wire as wire
from don.exchanges import listing
from don.exchanges.base import StreamEvent, SubmitUnknown
from don.exchanges.binance_algo import actual_order, algo_event, algo_from_rest, algo_request
from don.exchanges.binance_errors import DUPLICATE_ORDER_ID, NO_SUCH_ORDER, UNKNOWN_ORDER
from don.exchanges.ccxt_algo import GET_ALGO, NEW_ALGO, AlgoCalls
from don.exchanges.ccxt_client import CcxtClient, Endpoint
from don.exchanges.clock_offset import Reading
from don.exchanges.config import GatewayConfig
from don.exchanges.order_ids import Names
from don.exchanges.rates import Priority, RateGate
from don.exchanges.user_stream import UserStream
from don.model.instrument import Instrument
from don.model.messages import AccountReport, FillReport, FundingReport, OrderReport
from don.model.order import Order, OrderStatus, Side
from don.model.portfolio import ZERO

_log = structlog.get_logger(__name__)
T = TypeVar("T")

EXCHANGE_INFO = Endpoint(name="fapiPublicGetExchangeInfo", weight=1)
BRACKETS = Endpoint(name="fapiPrivateGetLeverageBracket", weight=1)
NEW_ORDER = Endpoint(name="fapiPrivatePostOrder", weight=1, orders=1)
CANCEL_ORDER = Endpoint(name="fapiPrivateDeleteOrder", weight=1)
AMEND_ORDER = Endpoint(name="fapiPrivatePutOrder", weight=1, orders=1)
COUNTDOWN = Endpoint(name="fapiPrivatePostCountdownCancelAll", weight=10)
GET_ORDER = Endpoint(name="fapiPrivateGetOrder", weight=1)
OPEN_ORDERS = Endpoint(name="fapiPrivateGetOpenOrders", weight=40)
USER_TRADES = Endpoint(name="fapiPrivateGetUserTrades", weight=5)
INCOME = Endpoint(name="fapiPrivateGetIncome", weight=30)
ACCOUNT = Endpoint(name="fapiPrivateV3GetAccount", weight=5)
COMMISSION = Endpoint(name="fapiPrivateGetCommissionRate", weight=20)
LEVERAGE = Endpoint(name="fapiPrivatePostLeverage", weight=1)

PAGE = 1_000


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
        self._names = Names()
        self._algos = AlgoCalls(self._client)
        self._liquidated = True  # a liquidation may have cost something that was not told yet

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
        listed = self._understood(EXCHANGE_INFO, lambda: listing.read(info, brackets, self._config))
        self._client.limiter.set_limits(info["rateLimits"])
        self._instruments = {item.symbol: item for item in listed}
        self._symbols = wire.Symbols(listed)
        chosen = listing.choose(listed, self._config.symbols)
        return [await self._with_fees(item) for item in chosen] if self._config.symbols else chosen

    async def submit(self, order: Order) -> OrderReport:
        """Send a new order once; see `Gateway.submit`."""
        symbol, conditional = await self._theirs(order.symbol), order.type.conditional
        reduces = order.reduce_only or order.close_position
        priority = Priority.REDUCE if reduces else Priority.OPEN
        ts_sent, sent_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        endpoint = NEW_ALGO if conditional else NEW_ORDER
        read = self._algo if conditional else self._order
        write = algo_request if conditional else wire.order_request
        try:
            row = await self._client.call_now(endpoint, write(order, symbol), priority)
            return self._understood(endpoint, lambda: read(row, order.symbol, ts_sent=ts_sent))
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
        first, second = self._cancel_order, self._cancel_algo
        if client_order_id in self._algos:
            first, second = second, first
        try:
            return await first(symbol, client_order_id)
        except ExchangeRefused as refused:
            if refused.code != UNKNOWN_ORDER:
                raise
        return await second(symbol, client_order_id)

    async def _cancel_order(self, symbol: str, client_order_id: str) -> OrderReport:
        theirs = await self._theirs(symbol)
        params = {"symbol": theirs, "origClientOrderId": client_order_id}
        row = await self._client.call(CANCEL_ORDER, params, Priority.CANCEL)
        return self._understood(CANCEL_ORDER, lambda: self._order(row, symbol))

    async def _cancel_algo(self, symbol: str, client_order_id: str) -> OrderReport:
        row = await self._algos.cancel(client_order_id)
        report = await self._became(row, symbol, client_order_id)
        if report is None:
            raise ExchangeUnavailable("a cancelled conditional order cannot be found")
        return report

    async def amend(
        self, symbol: str, client_order_id: str, side: Side, size: Decimal, price: Decimal
    ) -> OrderReport:
        """Give an open limit order another size and price; see `Gateway.amend`."""
        params = {
            "symbol": await self._theirs(symbol),
            "origClientOrderId": client_order_id,
            "side": side.value.upper(),
            "quantity": wire.plain(size),
            "price": wire.plain(price),
        }
        row = await self._client.call(AMEND_ORDER, params, Priority.OPEN)
        return self._understood(AMEND_ORDER, lambda: self._order(row, symbol))

    async def arm_dead_man(self, symbol: str, timeout_s: float) -> None:
        """Have the exchange cancel our open orders in a symbol after a while; 0: do not.

        Called again before that, it starts anew. Conditional orders stay: they protect.
        """
        params = {
            "symbol": await self._theirs(symbol),
            "countdownTime": str(round(timeout_s * 1_000)),
        }
        await self._client.call(COUNTDOWN, params, Priority.CANCEL)

    async def order(self, symbol: str, client_order_id: str) -> OrderReport | None:
        """State of an order; None if the exchange does not know it."""
        row = await self._order_row(symbol, {"origClientOrderId": client_order_id})
        if row is not None:
            return self._understood(GET_ORDER, lambda: self._order(row, symbol))
        return await self._became(await self._algos.find(client_order_id), symbol, client_order_id)

    async def _became(
        self, row: Mapping[str, Any] | None, symbol: str, client_order_id: str
    ) -> OrderReport | None:
        """State of a conditional order, or of the order that it became."""
        if row is None:
            return None
        actual = actual_order(row)
        if not actual:
            return self._understood(GET_ALGO, lambda: self._algo(row, symbol))
        self._names.became(symbol, actual, client_order_id)
        order = await self._order_row(symbol, {"orderId": actual})
        if order is None:
            return None
        return self._understood(GET_ORDER, lambda: self._order(order, symbol))

    async def open_orders(self) -> list[OrderReport]:
        """All resting orders in contracts that Don knows, conditional ones too."""
        await self._ready()
        rows = await self._client.call(OPEN_ORDERS, {})
        algos = await self._algos.open()
        return self._understood(
            OPEN_ORDERS,
            lambda: [
                read(row, symbol)
                for read, found in ((self._order, rows), (self._algo, algos))
                for row in found
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
        found = await self._incomes(wire.FUNDING, ts_ns)
        if self._liquidated:
            found += await self._incomes(wire.LIQUIDATION, ts_ns)
            self._liquidated = False
        return sorted(found, key=lambda report: (report.ts_event, report.key))

    async def _incomes(self, kind: str, ts_ns: int) -> list[FundingReport]:
        found: dict[str, FundingReport] = {}
        start_ms = ts_ns // NS_PER_MS
        while True:
            params: dict[str, Any] = {"incomeType": kind, "limit": PAGE}
            if start_ms > 0:
                params["startTime"] = start_ms
            rows = await self._client.call(INCOME, params)
            page = self._payments(rows)
            fresh = [report for report in page if report.key not in found]
            found.update((report.key, report) for report in fresh)
            if len(rows) < PAGE or not fresh:
                return list(found.values())
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
        kind = event.get("e")
        if kind == "ALGO_UPDATE":
            reports = algo_event(event, self._symbols, ts_recv)
            for report in reports:
                self._note_algo(report)
            return [*reports]
        if kind == "ACCOUNT_UPDATE" and event["a"].get("m") == wire.LIQUIDATION:
            self._liquidated = True
        found = wire.user_event(event, self._symbols, self._config.asset, ts_recv)
        return [self._names.own(item) for item in found]

    def _algo(self, row: Mapping[str, Any], symbol: str, ts_sent: int = 0) -> OrderReport:
        report = algo_from_rest(row, symbol, self._clock.now_ns(), ts_sent)
        self._note_algo(report)
        return report

    def _note_algo(self, report: OrderReport) -> None:
        became = not report.exchange_order_id.startswith("algo-")
        if became:
            self._names.became(report.symbol, report.exchange_order_id, report.client_order_id)
        symbol = self._symbols.theirs(report.symbol)
        self._algos.note(report.client_order_id, symbol, final=report.status.final or became)

    def _order(self, row: Mapping[str, Any], symbol: str, ts_sent: int = 0) -> OrderReport:
        report = wire.order_from_rest(row, symbol, self._clock.now_ns(), ts_sent)
        return self._names.order(report)

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
        client_order_id = self._names.get(symbol, order_id)
        if client_order_id is None:
            order = await self._order_row(symbol, {"orderId": order_id})
            client_order_id = ""
            if order is not None:
                report = self._understood(GET_ORDER, lambda: self._order(order, symbol))
                client_order_id = report.client_order_id
        return self._understood(
            USER_TRADES,
            lambda: wire.fill_from_rest(
                row, symbol, self._config.asset, client_order_id, self._clock.now_ns()
            ),
        )

    def _payments(self, rows: list[Mapping[str, Any]]) -> list[FundingReport]:
        now, asset = self._clock.now_ns(), self._config.asset
        return self._understood(
            INCOME, lambda: wire.payments_from_rest(rows, self._symbols, asset, now)
        )

    def _understood(self, endpoint: Endpoint, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise ExchangeUnavailable(
                f"{endpoint.name}: the answer is not understood: {error!r}"
            ) from error

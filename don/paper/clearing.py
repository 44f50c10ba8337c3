"""Matching with consequences: fills become trades, incomes, positions and events. Pure.

One fill of a user's order is settled before the next is looked for, because it may cut or end other
orders (reduce-only) that the same aggressor would otherwise meet.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from don.model.evolve import evolve
from don.model.order import Side, TimeInForce
from don.model.portfolio import ZERO, money
from don.paper.accounts import Account
from don.paper.algo import AlgoState
from don.paper.algo_records import AlgoRecords
from don.paper.config import PaperConfig
from don.paper.delay import Delay
from don.paper.events import AccountUpdate, Event, Execution, OrderUpdate, UpdateReason
from don.paper.expiry import Expiries
from don.paper.market import Market, book_side
from don.paper.matching import Fill
from don.paper.records import Records
from don.paper.types import AccountTrade, IncomeKind, OrderKind, OrderState, Status


class Marks(Mapping[str, Decimal]):
    """Mark prices of all markets, always the present ones."""

    def __init__(self, markets: Mapping[str, Market]) -> None:
        self._markets = markets

    def __getitem__(self, symbol: str) -> Decimal:
        return self._markets[symbol].mark

    def __iter__(self) -> Iterator[str]:
        return iter(self._markets)

    def __len__(self) -> int:
        return len(self._markets)


class Clearing:
    """Shared by requests, tape and liquidations; `events` collects what is to be published."""

    def __init__(
        self,
        config: PaperConfig,
        markets: Mapping[str, Market],
        accounts: Mapping[str, Account],
        records: Records,
    ) -> None:
        self.config = config
        self.markets = markets
        self.accounts = accounts
        self.records = records
        self.marks = Marks(markets)
        self.delay = Delay(config)
        self.expiries = Expiries()
        self.algos = AlgoRecords(config.history)
        self.now = 0
        self.listened = True  # market data and positions are told; see `PaperExchange`
        self.revalued = True  # accounts may be worth less than when they were last looked at
        self.events: list[Event] = []
        self.changed_wallets: dict[str, None] = {}
        self.changed_positions: dict[tuple[str, str], None] = {}

    # ---- orders ----------------------------------------------------------------------------------

    def open(
        self,
        account: str,
        symbol: str,
        *,
        side: Side,
        kind: OrderKind,
        time_in_force: TimeInForce,
        reduce_only: bool,
        price: Decimal,
        size: Decimal,
        client_order_id: str | None,
        due: int | None = None,
        good_till: int = 0,
        algo: AlgoState | None = None,
    ) -> OrderState:
        """Accept an order: it gets its id and is announced, but neither matched nor queued yet.

        With `due` it waits until that time and is announced then; see `enter`. `algo` is the
        conditional order that it was, if any.
        """
        order_id = self.records.next_order_id()
        prefix = "autoclose" if kind is OrderKind.LIQUIDATION else "paper"
        order = OrderState(
            account=account,
            symbol=symbol,
            order_id=order_id,
            client_order_id=client_order_id or f"{prefix}-{order_id}",
            side=side,
            kind=kind,
            time_in_force=time_in_force,
            reduce_only=reduce_only,
            price=price,
            size=size,
            filled=ZERO,
            quote=ZERO,
            status=Status.NEW,
            ts_created=self.now if due is None else due,
            ts_updated=self.now if due is None else due,
            waiting=due is not None,
            good_till=good_till,
            origin=algo.kind.value if algo is not None else "",
            close_position=algo is not None and algo.close_position,
        )
        self._store(None, order)
        if good_till:
            self.expiries.add(good_till, order_id=order_id)
        if due is None:
            self._announce(order, Execution.NEW)
        return order

    def enter(self, order: OrderState, size: Decimal, price: Decimal) -> OrderState:
        """Let an order that waited take effect, with what the checks made of its size and price."""
        entered = evolve(order, size=size, price=price, ts_updated=self.now, waiting=False)
        self._store(order, entered)
        self._announce(entered, Execution.NEW)
        return entered

    def match(self, order: OrderState, limit: int) -> OrderState:
        """Let an accepted order take liquidity up to a limit in ticks; its state after that."""
        market = self.markets[order.symbol]
        side = book_side(order.side)
        while not order.status.final and order.left > 0:
            fills, _ = market.book.take(side, limit, market.lots(order.left))
            if not fills:
                break
            for fill in fills:
                order = self._settle(market, order, fill)
        return order

    def _settle(self, market: Market, taker: OrderState, fill: Fill) -> OrderState:
        """Settle both sides of a match; the taker's state after that.

        The maker comes first. Only when an account meets its own reduce-only order that order comes
        last, or the position would look smaller in between than it is.
        """
        maker = self.records.get(fill.maker) if fill.maker else None
        last = maker is not None and maker.reduce_only and maker.account == taker.account
        if not last:
            self.fill_maker(market, fill)
        self.fill(taker, market.price(fill.price), market.size(fill.size))
        if last:
            self.fill_maker(market, fill)
        return self.records.get(taker.order_id)

    def rest(self, order: OrderState) -> None:
        """Queue what is left of an order."""
        market = self.markets[order.symbol]
        market.book.add(
            order.order_id,
            book_side(order.side),
            market.ticks(order.price),
            market.lots(order.left),
        )

    def end(self, order: OrderState, status: Status, reason: str = "") -> OrderState:
        """Cancel, expire or reject an order, in the book or not."""
        self.markets[order.symbol].book.cancel(order.order_id)
        ended = evolve(order, status=status, ts_updated=self.now, waiting=False, reason=reason)
        self._store(order, ended)
        self._announce(ended, Execution(status.value))
        return ended

    def amended(self, order: OrderState, changed: OrderState) -> None:
        """Keep and announce an order with another price or size; the book is the caller's."""
        self._store(order, changed)
        self._announce(changed, Execution.AMENDMENT)

    # ---- the tape --------------------------------------------------------------------------------

    def sweep(self, market: Market, side: int, price: int, size: int) -> None:
        """Let a print of the tape fill users' orders."""
        while size > 0:
            fills, size = market.book.sweep(side, price, size)
            if not fills:
                break
            for fill in fills:
                self.fill_maker(market, fill)

    def display(self, market: Market, rows: list[tuple[int, int, int]], snapshot: bool) -> None:
        """Set the tape's levels; users' orders that they cross are filled as makers."""
        update = market.book.display(rows, snapshot=snapshot)
        for side, price, left in update:
            while left > 0:
                fills, left = market.book.take(side, price, left)
                if not fills:
                    break
                for fill in fills:
                    self.fill_maker(market, fill)
            update.settle(left)

    def revalue(self, symbol: str) -> None:
        """The mark price of a symbol may have changed: look at the accounts that hold it."""
        if self.revalued:
            return
        for account in self.accounts.values():
            if account.holds(symbol):
                self.revalued = True
                return

    # ---- fills -----------------------------------------------------------------------------------

    def fill_maker(self, market: Market, fill: Fill) -> None:
        """Settle the resting side of a match; nothing to do for the house."""
        if fill.maker:
            order = self.records.get(fill.maker)
            self.fill(order, market.price(fill.price), market.size(fill.size), maker=True)

    def fill(
        self,
        order: OrderState,
        price: Decimal,
        size: Decimal,
        *,
        maker: bool = False,
        execution: Execution = Execution.TRADE,
    ) -> OrderState:
        """Settle one fill of an order; its state after that.

        The fee is money(price * size * rate). The account's reduce-only orders follow its position.
        """
        records, market = self.records, self.markets[order.symbol]
        instrument = market.instrument
        account = self.accounts[order.account]
        order = records.get(order.order_id)
        quote = price * size
        fee = money(quote * (instrument.maker_fee if maker else instrument.taker_fee))
        realized = account.fill(order.symbol, order.side, price, size, fee, self.now)
        records.trade_id += 1
        trade = AccountTrade(
            account=order.account,
            symbol=order.symbol,
            id=records.trade_id,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            side=order.side,
            price=price,
            size=size,
            quote=quote,
            fee=fee,
            fee_asset=self.config.asset,
            realized=realized,
            maker=maker,
            ts=self.now,
        )
        records.add_trade(trade)
        for kind, amount in ((IncomeKind.REALIZED_PNL, realized), (IncomeKind.COMMISSION, -fee)):
            if amount:
                self._income(account, kind, amount, order.symbol, trade.id)
        filled = order.filled + size
        done = filled == order.size
        after = evolve(
            order,
            filled=filled,
            quote=order.quote + quote,
            status=Status.FILLED if done else Status.PARTIALLY_FILLED,
            ts_updated=self.now,
        )
        self._store(order, after)
        self.changed_positions[order.account, order.symbol] = None
        self.changed_wallets[order.account] = None
        self.revalued = True
        market.on_fill(price)
        self.events.append(
            OrderUpdate(
                account=order.account, ts=self.now, execution=execution, order=after, trade=trade
            )
        )
        self.announce_account(account, UpdateReason.ORDER, ZERO, [order.symbol])
        self._trim(account, order.symbol)
        return records.get(order.order_id)

    def _trim(self, account: Account, symbol: str) -> None:
        """Cut reduce-only orders to the position that is left; end those with nothing to reduce."""
        for order in self.records.open_orders(account.name, symbol):
            if not order.reduce_only or order.waiting:
                continue
            closable = account.closable(symbol, order.side)
            if order.left <= closable:
                continue
            if not closable:
                self.end(order, Status.EXPIRED)
                continue
            market = self.markets[symbol]
            market.book.reduce(order.order_id, market.lots(closable))
            cut = evolve(order, size=order.filled + closable, ts_updated=self.now)
            self.amended(order, cut)

    # ---- money without fills ---------------------------------------------------------------------

    def credit(
        self,
        account: Account,
        kind: IncomeKind,
        amount: Decimal,
        reason: UpdateReason,
        *,
        symbol: str = "",
        info: str = "",
    ) -> None:
        """Change a wallet, with its income row and its announcement."""
        account.credit(amount)
        self.revalued = True
        self._income(account, kind, amount, symbol, None, info)
        self.announce_account(account, reason, amount, [])

    def fund(self, symbol: str, rate: Decimal, mark: Decimal) -> None:
        """Settle funding: a position of size s pays s * mark * rate, rounded to 1e-8."""
        for account in self.accounts.values():
            if not account.holds(symbol):
                continue
            amount = money(-account.size(symbol) * mark * rate)
            if amount:
                self.credit(
                    account,
                    IncomeKind.FUNDING_FEE,
                    amount,
                    UpdateReason.FUNDING_FEE,
                    symbol=symbol,
                )

    def _income(
        self,
        account: Account,
        kind: IncomeKind,
        amount: Decimal,
        symbol: str,
        trade_id: int | None,
        info: str = "",
    ) -> None:
        self.records.add_income(
            account.name,
            kind,
            amount,
            self.now,
            asset=self.config.asset,
            symbol=symbol,
            trade_id=trade_id,
            info=info,
        )
        self.changed_wallets[account.name] = None

    # ---- announcements ---------------------------------------------------------------------------

    def announce_account(
        self, account: Account, reason: UpdateReason, change: Decimal, symbols: list[str]
    ) -> None:
        """Publish a wallet and the positions that changed with it."""
        self.events.append(
            AccountUpdate(
                account=account.name,
                ts=self.now,
                reason=reason,
                asset=self.config.asset,
                wallet=account.wallet,
                change=change,
                positions=account.states(symbols, self.marks) if self.listened else (),
            )
        )

    def _announce(self, order: OrderState, execution: Execution) -> None:
        self.events.append(
            OrderUpdate(account=order.account, ts=self.now, execution=execution, order=order)
        )

    def _store(self, old: OrderState | None, new: OrderState) -> None:
        if new.origin and new.status.final:
            self.algos.order_ended(new.order_id)
        self.accounts[new.account].track(old, new)
        self.records.put(new)

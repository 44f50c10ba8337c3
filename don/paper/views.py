"""What can be asked of the paper exchange: accounts, orders, books. Pure; changes nothing."""

from collections.abc import Mapping
from decimal import Decimal

from don.model.instrument import Instrument
from don.paper.accounts import Account
from don.paper.algo import AlgoState
from don.paper.clearing import Clearing
from don.paper.config import PaperConfig
from don.paper.events import BookTicker, Kline, Premium
from don.paper.filters import refuse
from don.paper.market import Market
from don.paper.records import Records, page
from don.paper.types import (
    AccountState,
    AccountTrade,
    DepthSnapshot,
    Income,
    IncomeKind,
    OrderState,
)


class Views:
    """The reading half of `PaperExchange`."""

    config: PaperConfig
    instruments: Mapping[str, Instrument]
    _clearing: Clearing

    @property
    def now(self) -> int:
        """Tape time, ns."""
        return self._clearing.now

    # ---- queries: accounts -----------------------------------------------------------------------

    def order(
        self,
        symbol: str,
        *,
        order_id: int | None = None,
        client_order_id: str | None = None,
        account: str | None = None,
    ) -> OrderState:
        """An order by either id; a client order id means its latest order. -2013 when unknown."""
        name = self._account(account).name
        self._market(symbol)
        order = self._records.find(name, symbol, order_id, client_order_id)
        if order is None:
            refuse(-2013, "Order does not exist.")
        return order

    def open_orders(
        self, symbol: str | None = None, *, account: str | None = None
    ) -> list[OrderState]:
        """Open orders of a symbol or of all, oldest first."""
        if symbol is not None:
            self._market(symbol)
        return self._records.open_orders(self._account(account).name, symbol)

    def all_orders(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
        account: str | None = None,
    ) -> list[OrderState]:
        """Orders, ascending: the first `limit` from an order id or start on, else the latest."""
        name = self._account(account).name
        self._market(symbol)
        return self._records.orders(name, symbol, from_id, start, end, limit)

    def trades(
        self,
        symbol: str | None,
        *,
        order_id: int | None = None,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
        account: str | None = None,
    ) -> list[AccountTrade]:
        """Fills, ascending: the first `limit` from a trade id or start on, else the latest."""
        name = self._account(account).name
        if symbol is not None:
            self._market(symbol)
        return self._records.trades(name, symbol, order_id, from_id, start, end, limit)

    def income(
        self,
        *,
        symbol: str | None = None,
        kind: IncomeKind | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 100,
        account: str | None = None,
    ) -> list[Income]:
        """Balance changes, ascending: the first `limit` from a start on, else the latest."""
        name = self._account(account).name
        return self._records.incomes(name, symbol, kind, start, end, limit)

    def account(self, account: str | None = None) -> AccountState:
        """Wallet, margins and all positions at the present mark prices."""
        return self._account(account).state(self._clearing.marks, self.now)

    # ---- queries: conditional orders -------------------------------------------------------------

    def algo(
        self,
        *,
        algo_id: int | None = None,
        client_algo_id: str | None = None,
        account: str | None = None,
    ) -> AlgoState:
        """A conditional order by either id. -2013 when unknown."""
        algo = self._clearing.algos.find(self._account(account).name, algo_id, client_algo_id)
        if algo is None:
            refuse(-2013, "Order does not exist.")
        return algo

    def open_algos(
        self, symbol: str | None = None, *, account: str | None = None
    ) -> list[AlgoState]:
        """Conditional orders that were not set off, of a symbol or of all, oldest first."""
        if symbol is not None:
            self._market(symbol)
        return self._clearing.algos.open(self._account(account).name, symbol)

    def all_algos(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
        account: str | None = None,
    ) -> list[AlgoState]:
        """Conditional orders: the first `limit` from an id or start on, else the latest."""
        known = self._clearing.algos.known(self._account(account).name, self._market(symbol).symbol)
        rows = [a for a in known if from_id is None or a.algo_id >= from_id]
        times = [a.ts_created for a in rows]
        return page(rows, times, start, end, limit, from_id is not None)

    def order_of(self, algo: AlgoState) -> OrderState | None:
        """What a conditional order became, if it was set off and is remembered."""
        return self._records.peek(algo.order_id) if algo.order_id else None

    # ---- queries: markets ------------------------------------------------------------------------

    def depth(self, symbol: str, limit: int) -> DepthSnapshot:
        """The book down to `limit` levels a side, as of the last published diff."""
        return self._market(symbol).depth(limit, self.now)

    def ticker(self, symbol: str) -> BookTicker:
        """Best bid and ask."""
        return self._market(symbol).ticker(self.now)

    def premium(self, symbol: str) -> Premium:
        """Mark price, index price and funding rate."""
        return self._market(symbol).premium(self.now)

    def last_price(self, symbol: str) -> Decimal:
        """Price of the tape's last print, 0 before the first."""
        market = self._market(symbol)
        return market.price(market.last)

    def forming(self, symbol: str, interval: str) -> Kline | None:
        """The unfinished bar, None before its first print. Closed bars come from the tape."""
        return self._market(symbol).bars.forming(interval, self.now)

    # ---- inside ----------------------------------------------------------------------------------

    @property
    def _records(self) -> Records:
        return self._clearing.records

    def _account(self, name: str | None) -> Account:
        accounts = self._clearing.accounts
        if name is None:
            return accounts[self.config.accounts[0]]
        if name not in accounts:
            refuse(-2015, "Invalid API-key, IP, or permissions for action.")
        return accounts[name]

    def _market(self, symbol: str) -> Market:
        market = self._clearing.markets.get(symbol)
        if market is None:
            refuse(-1121, "Invalid symbol.")
        return market

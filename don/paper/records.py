"""Orders, trades and incomes with their ids: what is remembered, and what is unsaved. Pure."""

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import TypeVar

from don.errors import ExchangeRefused
from don.paper.types import AccountTrade, ExchangeState, Income, IncomeKind, OrderState

T = TypeVar("T")
R = TypeVar("R", AccountTrade, Income)
Key = tuple[str, str]  # account, symbol


class Records:
    """Keeps all open orders and the last `history` finished orders, trades and incomes each."""

    def __init__(self, history: int, state: ExchangeState | None = None) -> None:
        self._history = history
        self.order_id = self.trade_id = self.tran_id = 0  # last ones given out
        self._orders: dict[int, OrderState] = {}
        self._open: dict[Key, dict[int, None]] = defaultdict(dict)  # ids, oldest first
        self._known: dict[Key, dict[int, None]] = defaultdict(dict)
        self._by_client: dict[Key, int] = {}  # (account, client order id) -> its latest order
        self._finished: deque[int] = deque()
        self._trades: deque[AccountTrade] = deque(maxlen=history)
        self._incomes: deque[Income] = deque(maxlen=history)
        self._new_orders: dict[int, OrderState] = {}
        self._new_trades: list[AccountTrade] = []
        self._new_incomes: list[Income] = []
        if state is not None:
            self._load(state)

    def _load(self, state: ExchangeState) -> None:
        counters = state.counters
        self.order_id, self.trade_id = counters.order_id, counters.trade_id
        self.tran_id = counters.tran_id
        # finished ones in the order in which they ended: the oldest are forgotten first
        ended = sorted((o for o in state.orders if o.status.final), key=lambda o: o.ts_updated)
        for order in (*ended, *(o for o in state.orders if not o.status.final)):
            self.put(order)
        for ids in (*self._known.values(), *self._open.values()):
            ordered = sorted(ids)
            ids.clear()
            ids.update(dict.fromkeys(ordered))
        for order_id in sorted(self._orders):
            order = self._orders[order_id]
            self._by_client[order.account, order.client_order_id] = order_id
        self._trades.extend(sorted(state.trades, key=lambda trade: trade.id))
        self._incomes.extend(sorted(state.incomes, key=lambda income: income.tran_id))
        self.take_new()

    # ---- writing ---------------------------------------------------------------------------------

    def next_order_id(self) -> int:
        """A fresh order id."""
        self.order_id += 1
        return self.order_id

    def put(self, order: OrderState) -> None:
        """Keep the newest state of an order."""
        key, ident = (order.account, order.symbol), order.order_id
        if ident not in self._orders:
            self._known[key][ident] = None
            self._by_client[order.account, order.client_order_id] = ident
        self._orders[ident] = order
        self._new_orders[ident] = order
        if not order.status.final:
            self._open[key][ident] = None
            return
        self._open[key].pop(ident, None)
        self._finished.append(ident)
        if len(self._finished) > self._history:
            self._forget(self._finished.popleft())

    def _forget(self, ident: int) -> None:
        order = self._orders.pop(ident)
        self._known[order.account, order.symbol].pop(ident)
        client = (order.account, order.client_order_id)
        if self._by_client.get(client) == ident:
            del self._by_client[client]

    def add_trade(self, trade: AccountTrade) -> None:
        """Append a fill; its id is `trade_id`, advanced by the caller."""
        self._trades.append(trade)
        self._new_trades.append(trade)

    def add_income(
        self,
        account: str,
        kind: IncomeKind,
        amount: Decimal,
        ts: int,
        *,
        asset: str,
        symbol: str = "",
        trade_id: int | None = None,
        info: str = "",
    ) -> None:
        """Append a balance change under a fresh transaction id."""
        self.tran_id += 1
        row = Income(
            account=account,
            symbol=symbol,
            kind=kind,
            amount=amount,
            asset=asset,
            ts=ts,
            tran_id=self.tran_id,
            trade_id=trade_id,
            info=info,
        )
        self._incomes.append(row)
        self._new_incomes.append(row)

    # ---- reading ---------------------------------------------------------------------------------

    def get(self, order_id: int) -> OrderState:
        """An order by id; KeyError when it is not known."""
        return self._orders[order_id]

    def peek(self, order_id: int) -> OrderState | None:
        """An order by id, None when it is not known (any more)."""
        return self._orders.get(order_id)

    def find(
        self, account: str, symbol: str, order_id: int | None, client_order_id: str | None
    ) -> OrderState | None:
        """An account's order in a symbol; the order id wins, a client id means its latest order.

        Raises:
            ExchangeRefused: -1102 if neither id is given.
        """
        if order_id is None:
            if not client_order_id:
                raise ExchangeRefused(
                    -1102,
                    "Param 'origClientOrderId' or 'orderId' must be sent, "
                    "but both were empty/null!",
                )
            order_id = self._by_client.get((account, client_order_id))
        order = self._orders.get(order_id) if order_id is not None else None
        if order is None or (order.account, order.symbol) != (account, symbol):
            return None
        return order

    def open_with_client_id(self, account: str, client_order_id: str) -> bool:
        """True if an open order of the account carries this client order id."""
        ident = self._by_client.get((account, client_order_id))
        return ident is not None and not self._orders[ident].status.final

    def open_orders(self, account: str, symbol: str | None = None) -> list[OrderState]:
        """Open orders, oldest first."""
        keys = [(account, symbol)] if symbol else [k for k in self._open if k[0] == account]
        ids = sorted(i for key in keys for i in self._open.get(key, ()))
        return [self._orders[ident] for ident in ids]

    def all_open(self) -> list[OrderState]:
        """Open orders of all accounts, oldest first."""
        return [self._orders[i] for i in sorted(i for ids in self._open.values() for i in ids)]

    def orders(
        self,
        account: str,
        symbol: str,
        from_id: int | None,
        start: int | None,
        end: int | None,
        limit: int,
    ) -> list[OrderState]:
        """Known orders by creation, see `page`."""
        rows = [self._orders[i] for i in self._known.get((account, symbol), ())]
        rows = [o for o in rows if from_id is None or o.order_id >= from_id]
        return page(rows, [o.ts_created for o in rows], start, end, limit, from_id is not None)

    def trades(
        self,
        account: str,
        symbol: str | None,
        order_id: int | None,
        from_id: int | None,
        start: int | None,
        end: int | None,
        limit: int,
    ) -> list[AccountTrade]:
        """Fills by id, see `page`."""
        rows = [
            t
            for t in _since(self._trades, start)
            if t.account == account
            and (symbol is None or t.symbol == symbol)
            and (order_id is None or t.order_id == order_id)
            and (from_id is None or t.id >= from_id)
        ]
        return page(rows, [t.ts for t in rows], start, end, limit, from_id is not None)

    def incomes(
        self,
        account: str,
        symbol: str | None,
        kind: IncomeKind | None,
        start: int | None,
        end: int | None,
        limit: int,
    ) -> list[Income]:
        """Balance changes by transaction id, see `page`."""
        rows = [
            i
            for i in _since(self._incomes, start)
            if i.account == account
            and (symbol is None or i.symbol == symbol)
            and (kind is None or i.kind is kind)
        ]
        return page(rows, [i.ts for i in rows], start, end, limit, False)

    # ---- saving ----------------------------------------------------------------------------------

    def take_new(
        self,
    ) -> tuple[tuple[OrderState, ...], tuple[AccountTrade, ...], tuple[Income, ...]]:
        """Orders changed, trades and incomes added since the last call."""
        new = (
            tuple(self._new_orders.values()),
            tuple(self._new_trades),
            tuple(self._new_incomes),
        )
        self._new_orders, self._new_trades, self._new_incomes = {}, [], []
        return new

    def dump(self) -> tuple[tuple[OrderState, ...], tuple[AccountTrade, ...], tuple[Income, ...]]:
        """All rows in memory."""
        orders = tuple(self._orders[i] for i in sorted(self._orders))
        return orders, tuple(self._trades), tuple(self._incomes)


def _since(rows: deque[R], start: int | None) -> Iterable[R]:
    """Rows at or after a time; rows lie in the order of time, so the old ones are not looked at."""
    if start is None:
        return rows
    found: list[R] = []
    for row in reversed(rows):
        if row.ts < start:
            break
        found.append(row)
    found.reverse()
    return found


def page(
    rows: Sequence[T],
    times: Sequence[int],
    start: int | None,
    end: int | None,
    limit: int,
    first: bool,
) -> list[T]:
    """Rows in [start, end], ascending: the first `limit` from a start or id on, else the latest."""
    kept = [
        row
        for row, ts in zip(rows, times, strict=True)
        if (start is None or ts >= start) and (end is None or ts <= end)
    ]
    return kept[:limit] if first or start is not None else kept[max(0, len(kept) - limit) :]

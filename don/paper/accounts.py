"""One cross-margined account: wallet, one-way positions, leverage, margins. Pure, exact decimals.

The wallet changes only through `fill` and `credit`, and the caller writes an income row for each
change, so the wallet is the sum of its incomes at any moment.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from don.model.instrument import Instrument
from don.model.order import Side
from don.model.portfolio import ZERO, Position, apply_fill
from don.paper.config import PaperConfig
from don.paper.margin import liquidation_price, maintenance_margin, order_margin, position_margin
from don.paper.types import (
    AccountState,
    OrderState,
    PositionRow,
    PositionState,
    WalletRow,
)

Marks = Mapping[str, Decimal]  # mark price by exchange symbol


class Account:
    """State of one account. It decides nothing: checks and orders are the exchange's."""

    def __init__(
        self, name: str, config: PaperConfig, instruments: Mapping[str, Instrument]
    ) -> None:
        self.name = name
        self.wallet = ZERO
        self._config = config
        self._positions = {symbol: Position(symbol=symbol) for symbol in instruments}
        self._held: dict[str, None] = {}  # symbols with a position
        self._leverage = {
            symbol: min(config.default_leverage, instrument.max_leverage)
            for symbol, instrument in instruments.items()
        }
        self._realized = dict.fromkeys(instruments, ZERO)
        self._updated = dict.fromkeys(instruments, 0)
        self._pending = {symbol: {Side.BUY: ZERO, Side.SELL: ZERO} for symbol in instruments}
        self._valued: dict[str, tuple[Decimal, Decimal, Decimal]] = {}  # see `_value`
        self._profit = self._required = ZERO  # sums of what `_valued` holds
        # mark, initial margin by symbol, for as long as position, orders and leverage are the same
        self._bound: dict[str, tuple[Decimal, Decimal]] = {}
        self._ordered: dict[str, None] = {}  # symbols with open orders that bind margin

    # ---- changes ---------------------------------------------------------------------------------

    def fill(
        self, symbol: str, side: Side, price: Decimal, size: Decimal, fee: Decimal, ts: int
    ) -> Decimal:
        """Book a fill; the profit that it realised, before the fee."""
        position, realized = apply_fill(self._positions[symbol], side, price, size)
        self._hold(position)
        self._realized[symbol] += realized
        self._updated[symbol] = ts
        self.wallet += realized - fee
        return realized

    def _hold(self, position: Position) -> None:
        self._bound.pop(position.symbol, None)
        self._unvalue(position.symbol)
        self._positions[position.symbol] = position
        if position.size:
            self._held[position.symbol] = None
        else:
            self._held.pop(position.symbol, None)

    def credit(self, amount: Decimal) -> None:
        """Add to the wallet, or take from it."""
        self.wallet += amount

    def set_leverage(self, symbol: str, leverage: int) -> None:
        """Change a symbol's leverage; the caller has checked it."""
        self._leverage[symbol] = leverage
        self._bound.pop(symbol, None)

    def track(self, old: OrderState | None, new: OrderState) -> None:
        """Keep the notional of open orders, which margins need, as an order changes."""
        for order, sign in ((old, -1), (new, 1)):
            if order is None or order.status.final or order.waiting:
                continue
            if order.reduce_only:
                continue
            symbol = order.symbol
            sides = self._pending[symbol]
            sides[order.side] += sign * order.left * order.price
            self._bound.pop(symbol, None)
            if sides[Side.BUY] or sides[Side.SELL]:
                self._ordered[symbol] = None
            else:
                self._ordered.pop(symbol, None)

    # ---- views -----------------------------------------------------------------------------------

    def size(self, symbol: str) -> Decimal:
        """Signed position size."""
        return self._positions[symbol].size

    def holds(self, symbol: str) -> bool:
        """Whether there is a position in a symbol."""
        return symbol in self._held

    def position(self, symbol: str) -> Position:
        """The position in a symbol, flat if there is none."""
        return self._positions[symbol]

    def leverage(self, symbol: str) -> int:
        """The leverage set for a symbol."""
        return self._leverage[symbol]

    def held(self) -> list[str]:
        """Symbols with a position, by name."""
        return sorted(self._held)

    def closable(self, symbol: str, side: Side) -> Decimal:
        """How much an order of a side could reduce the position by."""
        size = self._positions[symbol].size
        return abs(size) if size * side.sign < 0 else ZERO

    def unrealized(self, marks: Marks) -> Decimal:
        """Sum of unrealised profits."""
        self._value(marks)
        return self._profit

    def margin_balance(self, marks: Marks) -> Decimal:
        """Wallet plus unrealised profit."""
        return self.wallet + self.unrealized(marks)

    def maintenance(self, marks: Marks) -> Decimal:
        """Maintenance margin of all positions."""
        self._value(marks)
        return self._required

    def _value(self, marks: Marks) -> None:
        """Bring the sums up to date: only positions whose mark is another are valued again.

        `_valued` has mark, profit and maintenance margin by symbol, and nothing of a position that
        has changed since. Sums of decimals are exact, so taking out and putting in leaves no trace.
        """
        rate = self._config.maintenance_rate
        for symbol in self._held:
            mark = marks[symbol]
            known = self._valued.get(symbol)
            if known is not None:
                if known[0] == mark:
                    continue
                self._unvalue(symbol)
            position = self._positions[symbol]
            profit = position.unrealized(mark)
            required = maintenance_margin(position.size * mark, rate)
            self._valued[symbol] = (mark, profit, required)
            self._profit += profit
            self._required += required

    def _unvalue(self, symbol: str) -> None:
        known = self._valued.pop(symbol, None)
        if known is not None:
            self._profit -= known[1]
            self._required -= known[2]

    def initial_margin(
        self,
        symbol: str,
        mark: Decimal,
        *,
        side: Side = Side.BUY,
        extra: Decimal = ZERO,
        leverage: int | None = None,
    ) -> tuple[Decimal, Decimal]:
        """(position margin, order margin) of a symbol, as if `extra` notional were ordered too."""
        notional = self._positions[symbol].size * mark
        pending = self._pending[symbol]
        buys = pending[Side.BUY] + (extra if side is Side.BUY else ZERO)
        sells = pending[Side.SELL] + (extra if side is Side.SELL else ZERO)
        leverage = leverage or self._leverage[symbol]
        return (
            position_margin(notional, leverage),
            order_margin(notional, buys, sells, leverage),
        )

    def free(self, marks: Marks) -> Decimal:
        """Margin balance minus initial margins; negative when losses ate into them."""
        used = ZERO
        for symbol in self._held.keys() | self._ordered.keys():
            mark = marks[symbol]
            known = self._bound.get(symbol)
            if known is None or known[0] != mark:
                position, orders = self.initial_margin(symbol, mark)
                known = self._bound[symbol] = mark, position + orders
            used += known[1]
        return self.margin_balance(marks) - used

    def state(self, marks: Marks, ts: int) -> AccountState:
        """The account as the exchange reports it."""
        positions = self.states(self._positions, marks)
        return AccountState(
            account=self.name,
            asset=self._config.asset,
            ts=ts,
            wallet=self.wallet,
            unrealized=sum((p.unrealized for p in positions), ZERO),
            position_margin=sum((p.position_margin for p in positions), ZERO),
            order_margin=sum((p.order_margin for p in positions), ZERO),
            maintenance_margin=sum((p.maintenance_margin for p in positions), ZERO),
            positions=positions,
        )

    def states(self, symbols: Iterable[str], marks: Marks) -> tuple[PositionState, ...]:
        """Positions as the exchange reports them."""
        symbols = list(symbols)
        if not symbols:
            return ()
        spare = self.margin_balance(marks) - self.maintenance(marks)
        return tuple(self._state(symbol, marks[symbol], spare) for symbol in symbols)

    def _state(self, symbol: str, mark: Decimal, spare: Decimal) -> PositionState:
        position, rate = self._positions[symbol], self._config.maintenance_rate
        notional, unrealized = position.size * mark, position.unrealized(mark)
        maintenance = maintenance_margin(notional, rate)
        margin, orders = self.initial_margin(symbol, mark)
        return PositionState(
            account=self.name,
            symbol=symbol,
            size=position.size,
            cost=position.cost,
            entry_price=position.entry_price,
            mark=mark,
            notional=notional,
            unrealized=unrealized,
            realized=self._realized[symbol],
            leverage=self._leverage[symbol],
            position_margin=margin,
            order_margin=orders,
            maintenance_margin=maintenance,
            liquidation_price=liquidation_price(position, spare - unrealized + maintenance, rate),
            ts_updated=self._updated[symbol],
        )

    # ---- rows ------------------------------------------------------------------------------------

    def wallet_row(self) -> WalletRow:
        """What a restart needs of the wallet."""
        return WalletRow(account=self.name, wallet=self.wallet)

    def position_row(self, symbol: str) -> PositionRow:
        """What a restart needs of a position."""
        position = self._positions[symbol]
        return PositionRow(
            account=self.name,
            symbol=symbol,
            size=position.size,
            cost=position.cost,
            realized=self._realized[symbol],
            leverage=self._leverage[symbol],
            ts_updated=self._updated[symbol],
        )

    def load(self, row: PositionRow) -> None:
        """Take a stored position back."""
        symbol = row.symbol
        self._hold(Position(symbol=symbol, size=row.size, cost=row.cost))
        self._leverage[symbol] = row.leverage
        self._realized[symbol] = row.realized
        self._updated[symbol] = row.ts_updated

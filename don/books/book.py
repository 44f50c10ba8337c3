"""One virtual book: positions and cash of one policy's part of the account. Exact. Pure.

Its arithmetic is the ledger's own, fill by fill, so the books of an account always sum to it:
positions, and cash after everything held is paid for (`cash`), both to the last digit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from don.model.order import Side
from don.model.portfolio import ZERO, Position, apply_fill

RETURNS_KEPT = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BookState:
    """Everything in a book, plain and serialisable."""

    name: str
    capital: Decimal = ZERO  # put in less taken out
    realized: Decimal = ZERO  # before fees
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    liquidation: Decimal = ZERO
    positions: tuple[Position, ...] = ()
    traded: Decimal = ZERO  # notional at the exchange
    crossed: Decimal = ZERO  # notional with other books
    share: Decimal = ZERO  # of equity, as it was allocated last
    target: dict[str, float] = field(default_factory=dict)  # last accepted weights
    returns: tuple[float, ...] = ()  # of equity, one a decision, oldest first
    since: Decimal | None = None  # equity at the last return, capital moved since included
    growth: float = 1.0  # of one unit, over all returns
    peak: float = 1.0


class Book:
    """A book that is written to. `balance` is never stored: it follows from the entries."""

    def __init__(self, state: BookState) -> None:
        self.name = state.name
        self.capital = state.capital
        self.realized = state.realized
        self.fees = state.fees
        self.funding = state.funding
        self.liquidation = state.liquidation
        self.positions: dict[str, Position] = {p.symbol: p for p in state.positions}
        self.traded, self.crossed = state.traded, state.crossed
        self.share = state.share
        self.target = dict(state.target)
        self.returns = list(state.returns)
        self.growth, self.peak = state.growth, state.peak
        self._since = state.since

    @property
    def balance(self) -> Decimal:
        """Wallet balance of the book, quote."""
        return self.capital + self.realized - self.fees + self.funding + self.liquidation

    @property
    def cash(self) -> Decimal:
        """Balance after everything held is paid for at its cost, quote."""
        return self.balance - sum((p.cost for p in self.positions.values()), ZERO)

    def size(self, symbol: str) -> Decimal:
        """Signed position in a symbol, base."""
        held = self.positions.get(symbol)
        return held.size if held is not None else ZERO

    def unrealized(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Unrealised profit at marks, quote; a position without a mark counts as zero."""
        total = ZERO
        for symbol, position in self.positions.items():
            if symbol in marks:
                total += position.unrealized(marks[symbol])
        return total

    def equity(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Balance plus unrealised profit, quote."""
        return self.balance + self.unrealized(marks)

    def pnl(self, marks: Mapping[str, Decimal]) -> Decimal:
        """Profit of the book: equity less the capital put in."""
        return self.equity(marks) - self.capital

    @property
    def drawdown(self) -> float:
        """Fall from the best growth so far, as of the last return; 0 to 1."""
        return 1.0 - self.growth / self.peak if self.peak > 0 else 0.0

    def trade(
        self, symbol: str, side: Side, price: Decimal, size: Decimal, fee: Decimal, *, cross: bool
    ) -> None:
        """Take a part of a fill, or a cross with other books."""
        held = self.positions.get(symbol) or Position(symbol=symbol)
        position, realized = apply_fill(held, side, price, size)
        self.hold(position)
        self.realized += realized
        self.fees += fee
        if cross:
            self.crossed += price * size
        else:
            self.traded += price * size

    def hold(self, position: Position) -> None:
        """Take a position as it is."""
        if position.size:
            self.positions[position.symbol] = position
        else:
            self.positions.pop(position.symbol, None)

    def move(self, amount: Decimal) -> None:
        """Put capital in, or take it out."""
        self.capital += amount
        if self._since is not None:
            self._since += amount

    def mark(self, marks: Mapping[str, Decimal]) -> None:
        """Note the return since the last mark; capital moved between is no return."""
        equity = self.equity(marks)
        if self._since is not None and self._since > 0:
            gained = float((equity - self._since) / self._since)
            self.returns.append(gained)
            del self.returns[:-RETURNS_KEPT]
            self.growth *= 1.0 + gained
            self.peak = max(self.peak, self.growth)
        self._since = equity

    def rebase(self) -> None:
        """Somebody has seen the losses: drawdown counts from here."""
        self.peak = self.growth

    def dump(self) -> BookState:
        """The book as a plain value; `Book(dump())` goes on exactly from here."""
        return BookState(
            name=self.name,
            capital=self.capital,
            realized=self.realized,
            fees=self.fees,
            funding=self.funding,
            liquidation=self.liquidation,
            positions=tuple(self.positions[s] for s in sorted(self.positions)),
            traded=self.traded,
            crossed=self.crossed,
            share=self.share,
            target=dict(self.target),
            returns=tuple(self.returns),
            since=self._since,
            growth=self.growth,
            peak=self.peak,
        )

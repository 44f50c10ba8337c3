"""The course of one slot's book beside its twin's on paper, kept point by point. Pure.

Growth is the book's own (`don.books.book`): capital moved in or out is neither gain nor loss. What
is kept does not grow with the number of points.
"""

from dataclasses import dataclass

from don.books.book import BookState
from don.books.rules import Breach, DemotionConfig
from don.risk.states import TradingState


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a book was worth at a decision."""

    equity: float
    pnl: float  # equity less the capital put in


class Grown:
    """Growth of one unit in a book, and its peak.

    Args:
        state: of the book when the session before ended; None: it begins with its first point.
    """

    def __init__(self, state: BookState | None = None) -> None:
        self.growth = self.peak = 1.0
        self._before: Worth | None = None
        if state is not None:
            self.growth, self.peak = state.growth, state.peak
            if state.since is not None:  # equity then, with the capital that was moved since
                equity = float(state.since)
                self._before = Worth(equity=equity, pnl=equity - float(state.capital))

    @property
    def drawdown(self) -> float:
        """Fall from the peak, 0 to 1."""
        return 1.0 - self.growth / self.peak if self.peak > 0 else 0.0

    def add(self, now: Worth) -> None:
        """Take the next point."""
        before, self._before = self._before, now
        if before is None:
            return
        moved = (now.equity - now.pnl) - (before.equity - before.pnl)
        base = before.equity + moved
        if base > 0:
            self.growth *= 1.0 + (now.equity - base) / base
            self.peak = max(self.peak, self.growth)


class Trail:
    """A slot's book and its twin.

    Args:
        book: as the session before left it; None: it is new.
        twin: likewise.
        state: of the slot when the session began.
    """

    def __init__(self, book: BookState | None, twin: BookState | None, state: TradingState) -> None:
        self._book, self._twin = Grown(book), Grown(twin)
        self._fall = self._book.drawdown  # greatest since the session began or a person looked
        self._state = state
        self._begin: tuple[float, float] | None = None  # growths from where drift is counted
        self._points = 0  # since then
        self._returns: tuple[tuple[float, ...], tuple[float, ...]] = ((), ())
        if book is not None and twin is not None and state is TradingState.ACTIVE:
            self._returns = (book.returns, twin.returns)
            self.only(min(len(book.returns), len(twin.returns)))

    def only(self, decisions: int) -> None:
        """Of the sessions before, count drift over no more than the last decisions."""
        count = min(decisions, *(len(own) for own in self._returns))
        self._begin, self._points = None, 0
        if count > 0:
            self._begin = (
                self._book.growth / _over(self._returns[0][-count:]),
                self._twin.growth / _over(self._returns[1][-count:]),
            )
            self._points = count + 1

    def stand(self, state: TradingState) -> None:
        """The slot's state changes. Whoever sets it going again has seen what was lost."""
        if TradingState.HALTED in (state, self._state) or state is TradingState.ACTIVE:
            self._rebase()
        self._state = state
        self._begin, self._points = None, 0

    def add(self, book: Worth, twin: Worth | None) -> None:
        """Take a moment; `twin` is None if there was none."""
        self._book.add(book)
        self._fall = max(self._fall, self._book.drawdown)
        if twin is not None:
            self._twin.add(twin)
        if self._state is TradingState.HALTED:
            self._rebase()
        if twin is None or self._state is not TradingState.ACTIVE:
            self._begin, self._points = None, 0  # they do not do the same
            return
        if self._begin is None:
            self._begin = (self._book.growth, self._twin.growth)
        self._points += 1

    def breaches(self, slot: str, config: DemotionConfig) -> list[Breach]:
        """Rules that are broken; none while it is halted."""
        if self._state is TradingState.HALTED:
            return []
        found = []
        limit = config.max_drawdown
        if limit is not None and self._fall > limit:
            found.append(Breach(slot=slot, rule="drawdown", value=self._fall, limit=limit))
        limit = config.max_drift
        if limit is not None and self._begin is not None and self._points >= config.min_points:
            own, paper = self._begin
            drift = abs(
                (self._book.growth / own if own > 0 else 0.0)
                - (self._twin.growth / paper if paper > 0 else 0.0)
            )
            if drift > limit:
                found.append(Breach(slot=slot, rule="drift", value=drift, limit=limit))
        return found

    def _rebase(self) -> None:
        self._book.peak, self._fall = self._book.growth, 0.0


def _over(returns: tuple[float, ...]) -> float:
    """Growth over returns; 1 if all was lost, so that nothing is divided by 0."""
    grown = 1.0
    for gained in returns:
        grown *= 1.0 + gained
    return grown if grown > 0 else 1.0

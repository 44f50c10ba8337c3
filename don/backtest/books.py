"""What each policy of a run with several brought: curves and exact sums by virtual book. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.engine.books import Keeper
from don.model.messages import BookPoint
from don.model.portfolio import ZERO

COLUMNS = (
    "book", "mode", "policy", "realised", "unrealised", "fees", "funding", "liquidation", "profit",
    "equity", "traded", "crossed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BookResult:
    """One virtual book at the end, and its way there. All but shadows sum to the account."""

    book: str
    mode: str  # live | canary | shadow | desk | closing
    policy: str  # "" of books without a slot
    ts: np.ndarray  # [point] int64, bars on which was decided
    equity: np.ndarray  # [point] float64, quote
    capital: np.ndarray  # [point] float64, put in so far
    final: Decimal  # equity, quote
    put_in: Decimal
    realized: Decimal
    unrealized: Decimal
    fees: Decimal
    funding: Decimal
    liquidation: Decimal
    traded: Decimal  # notional at the exchange
    crossed: Decimal  # notional with other books

    @property
    def pnl(self) -> Decimal:
        """Profit: equity less the capital put in."""
        return self.final - self.put_in


def book_results(keeper: Keeper | None, points: Sequence[BookPoint]) -> tuple[BookResult, ...]:
    """The books of a run that is over; none where one policy had the account.

    Args:
        keeper: the engine's, at the end.
        points: what the books were worth, in order.
    """
    if keeper is None:
        return ()
    curves: dict[tuple[str, bool], list[tuple[int, float, float]]] = {}
    for point in points:
        for one in point.values:
            row = (point.ts_event, float(one.equity), float(one.capital))
            curves.setdefault((one.book, one.mode == "shadow"), []).append(row)
    policies = {(slot.name, slot.shadow): slot.config.policy for slot in keeper.slots}
    found = []
    for value in keeper.values():
        key = (value.book, value.mode == "shadow")
        rows = curves.get(key, [])
        book = keeper.books.book(value.book, shadow=key[1])
        spent = book.realized - book.fees + book.funding + book.liquidation
        found.append(
            BookResult(
                book=value.book,
                mode=value.mode,
                policy=policies.get(key, ""),
                ts=np.array([row[0] for row in rows], np.int64),
                equity=np.array([row[1] for row in rows], np.float64),
                capital=np.array([row[2] for row in rows], np.float64),
                final=value.equity,
                put_in=value.capital,
                realized=book.realized,
                unrealized=value.equity - value.capital - spent,
                fees=book.fees,
                funding=book.funding,
                liquidation=book.liquidation,
                traded=book.traded,
                crossed=book.crossed,
            )
        )
    return tuple(found)


def real_pnl(books: Sequence[BookResult]) -> Decimal:
    """Profit of the account: shadows are on paper."""
    return sum((one.pnl for one in books if one.mode != "shadow"), ZERO)


def row(one: BookResult, money: Callable[[Decimal], str]) -> list[str]:
    """A book as cells under `COLUMNS`; `money` writes amounts that have a sign."""
    return [
        one.book, one.mode, one.policy, money(one.realized), money(one.unrealized),
        money(-one.fees), money(one.funding), money(one.liquidation), money(one.pnl),
        f"{float(one.final):,.0f}", f"{float(one.traded):,.0f}", f"{float(one.crossed):,.0f}",
    ]  # fmt: skip

"""Statements that keep the read models of virtual books. Pure: gives statements back."""

from collections.abc import Sequence
from typing import Any

from don.model.messages import BookEntry, BookPoint

_ENTRY = """
INSERT INTO book_entries (account, seq, session, kind, key, book, shadow, symbol, size, price, fee,
    amount, ts_event)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (account, seq) DO NOTHING
"""

_POINT = """
INSERT INTO book_points (account, seq, book, mode, session, equity, pnl, capital, share, ts_event)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (account, seq, book, mode) DO NOTHING
"""


def entry(account: str, session: str, seq: int, made: BookEntry) -> tuple[str, Sequence[Any]]:
    """The row of an entry."""
    return _ENTRY, (
        account, seq, session, made.kind.value, made.key, made.book, made.shadow, made.symbol,
        made.size, made.price, made.fee, made.amount, made.ts_event,
    )  # fmt: skip


def point(account: str, session: str, seq: int, made: BookPoint) -> list[tuple[str, Sequence[Any]]]:
    """The rows of a point, one a book."""
    return [
        (
            _POINT,
            (
                account, seq, one.book, one.mode, session, one.equity, one.pnl, one.capital,
                one.share, made.ts_event,
            ),
        )
        for one in made.values
    ]  # fmt: skip

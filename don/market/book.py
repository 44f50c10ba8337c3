"""A level-2 order book kept from diffs, and the state machine that resynchronises it. Pure.

Prices and sizes are float64: a price text always gives the same float, so floats are safe keys, and
books feed estimates only. What is owed is computed from reports, never from here.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

Level = tuple[float, float]  # price, size


class SequenceRule(StrEnum):
    """How diffs are numbered: `U` first id, `u` last id, `pu` last id of the diff before."""

    FUTURES = "futures"  # Binance USD-M: `pu` of a diff equals `u` of the one before
    SPOT = "spot"  # Binance spot: `U` of a diff equals `u` of the one before plus one


class Verdict(StrEnum):
    """What became of a diff."""

    APPLIED = "applied"
    OLD = "old"  # all of it is known already: ignored
    GAP = "gap"  # something before it is missing: the book can no longer be trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """One change of a book as the exchange sent it; size 0 removes a level."""

    first: int  # U
    last: int  # u
    previous: int  # pu; ignored by the spot rule
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Top:
    """Best levels of both sides, best first; shorter than asked where the book is."""

    bid_prices: list[float]
    bid_sizes: list[float]
    ask_prices: list[float]
    ask_sizes: list[float]


class _Side:
    """One side: sizes by price, and the prices in order, best last: the busy end is cheap."""

    __slots__ = ("keys", "sign", "sizes")

    def __init__(self, sign: float) -> None:
        self.sign = sign  # +1 bids, -1 asks: `keys` holds sign * price, ascending
        self.keys: list[float] = []
        self.sizes: dict[float, float] = {}

    def load(self, levels: Iterable[Level]) -> None:
        self.sizes = {self.sign * price: size for price, size in levels if size > 0.0}
        self.keys = sorted(self.sizes)

    def apply(self, levels: Iterable[Level]) -> None:
        sign, sizes, keys = self.sign, self.sizes, self.keys
        for price, size in levels:
            key = sign * price
            if size > 0.0:
                if key not in sizes:
                    keys.insert(bisect_left(keys, key), key)
                sizes[key] = size
            elif key in sizes:
                del sizes[key]
                del keys[bisect_left(keys, key)]

    def top(self, depth: int) -> tuple[list[float], list[float]]:
        best = self.keys[: -depth - 1 : -1]
        return [self.sign * key for key in best], [self.sizes[key] for key in best]


class Book:
    """An order book that knows when it has missed something.

    `load` a snapshot, then `apply` every diff. After `Verdict.GAP` the book is left as it was and
    must be loaded anew. Levels beyond the snapshot's depth are learnt as diffs name them.
    """

    __slots__ = ("_asks", "_bids", "_bridged", "rule", "update_id")

    def __init__(self, rule: SequenceRule) -> None:
        self.rule = rule
        self.update_id = -1  # last id contained; -1 before the first snapshot
        self._bids = _Side(1.0)
        self._asks = _Side(-1.0)
        self._bridged = False  # a diff has connected to the snapshot

    def load(self, update_id: int, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Replace everything by a snapshot that contains all changes up to `update_id`."""
        self.update_id = update_id
        self._bids.load(bids)
        self._asks.load(asks)
        self._bridged = False

    def check(self, first: int, last: int, previous: int) -> Verdict:
        """Where a diff with these ids stands; changes nothing."""
        known = self.update_id
        if last <= known:
            return Verdict.OLD
        if self.rule is SequenceRule.SPOT:
            follows = first == known + 1 or (not self._bridged and first <= known + 1)
        else:
            follows = previous == known or (not self._bridged and first <= known)
        return Verdict.APPLIED if follows and known >= 0 else Verdict.GAP

    def apply(
        self, first: int, last: int, previous: int, bids: Iterable[Level], asks: Iterable[Level]
    ) -> Verdict:
        """Take in one diff; the book changes only if the verdict is APPLIED."""
        verdict = self.check(first, last, previous)
        if verdict is Verdict.APPLIED:
            self._bids.apply(bids)
            self._asks.apply(asks)
            self.update_id = last
            self._bridged = True
        return verdict

    @property
    def best_bid(self) -> float | None:
        """Highest bid, None if that side is empty."""
        return self._bids.keys[-1] if self._bids.keys else None

    @property
    def best_ask(self) -> float | None:
        """Lowest ask, None if that side is empty."""
        return -self._asks.keys[-1] if self._asks.keys else None

    @property
    def crossed(self) -> bool:
        """True if the best bid is at or above the best ask: impossible in a book that is right."""
        bids, asks = self._bids.keys, self._asks.keys
        return bool(bids and asks and bids[-1] >= -asks[-1])

    def top(self, depth: int) -> Top:
        """The best `depth` levels of both sides."""
        bid_prices, bid_sizes = self._bids.top(depth)
        ask_prices, ask_sizes = self._asks.top(depth)
        return Top(
            bid_prices=bid_prices,
            bid_sizes=bid_sizes,
            ask_prices=ask_prices,
            ask_sizes=ask_sizes,
        )


class SyncState(StrEnum):
    """Whether a synchronised book may be believed."""

    WAITING = "waiting"  # diffs are kept until a snapshot arrives
    LIVE = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Why a book stopped being believed."""

    reason: str  # for people: which ids are missing, or that it crossed


class BookSync:
    """One symbol's book from subscription on: buffer, snapshot, live, and again after a gap.

    The caller feeds diffs as they arrive and fetches a snapshot whenever `wants_snapshot`; the
    subscription comes first, so that no change falls between the two.
    """

    __slots__ = ("_buffer", "_limit", "book", "state")

    def __init__(self, rule: SequenceRule, max_buffer: int = 4096) -> None:
        if max_buffer < 1:
            raise ValueError(f"max_buffer must be at least 1, was {max_buffer}")
        self.book = Book(rule)
        self.state = SyncState.WAITING
        self._buffer: list[Diff] = []
        self._limit = max_buffer

    def reset(self) -> None:
        """Forget everything: the connection was lost."""
        self.state = SyncState.WAITING
        self._buffer = []

    def on_diff(
        self, first: int, last: int, previous: int, bids: Iterable[Level], asks: Iterable[Level]
    ) -> Lost | None:
        """Take in one diff; returns `Lost` if it shows that the live book is wrong.

        While waiting, diffs are kept, the newest `max_buffer` of them: an older one that is dropped
        shows as a gap against the snapshot, which is then fetched again.
        """
        if self.state is SyncState.WAITING:
            self._keep(first, last, previous, bids, asks)
            return None
        book = self.book
        verdict = book.apply(first, last, previous, bids, asks)
        if verdict is Verdict.GAP:
            reason = f"book ids after {book.update_id} before {first} missing"
            self.state = SyncState.WAITING
            self._keep(first, last, previous, bids, asks)
            return Lost(reason=reason)
        if verdict is Verdict.APPLIED and book.crossed:
            reason = f"book crossed: bid {book.best_bid} at or above ask {book.best_ask}"
            self.reset()
            return Lost(reason=reason)
        return None

    def on_snapshot(self, update_id: int, bids: Iterable[Level], asks: Iterable[Level]) -> bool:
        """Take in a snapshot and what was buffered; False if it does not fit and another is needed.

        A snapshot older than the first buffered diff does not fit: what lies between is in neither.
        """
        if self.state is SyncState.LIVE:
            return True
        self.book.load(update_id, bids, asks)
        for index, diff in enumerate(self._buffer):
            verdict = self.book.apply(diff.first, diff.last, diff.previous, diff.bids, diff.asks)
            if verdict is Verdict.GAP:
                # What is before a hole in the buffer is of no more use; what follows still is.
                if self.book.update_id > update_id:
                    self._buffer = self._buffer[index:]
                return False
        if self.book.crossed:
            self._buffer = []
            return False
        self._buffer = []
        self.state = SyncState.LIVE
        return True

    def _keep(
        self, first: int, last: int, previous: int, bids: Iterable[Level], asks: Iterable[Level]
    ) -> None:
        if len(self._buffer) >= self._limit:
            del self._buffer[: self._limit // 2]  # in bulk: dropping one by one would be quadratic
        self._buffer.append(
            Diff(first=first, last=last, previous=previous, bids=tuple(bids), asks=tuple(asks))
        )

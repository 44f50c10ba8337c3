"""Book diffs that come before those they follow, because two connections bring them. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from don.market.book import BookSync, Level, SequenceRule, SyncState, Verdict

MOST = 512


class DepthDiff(NamedTuple):
    """A diff with its times, as a connection brought it."""

    ts_event: int
    ts_recv: int
    first: int
    last: int
    previous: int
    bids: Sequence[Level]
    asks: Sequence[Level]


class EarlyDiffs:
    """Holds back one symbol's diffs that do not connect yet; the slower connection may bring what
    is between. What waits for too long is let go, and shows as a gap.
    """

    __slots__ = ("_held", "_late_ns")

    def __init__(self, late_ns: int) -> None:
        self._late_ns = late_ns
        self._held: list[DepthDiff] = []

    def offer(self, sync: BookSync, diff: DepthDiff) -> list[DepthDiff]:
        """The diffs to apply now, in order."""
        held = self._held
        if sync.state is not SyncState.LIVE:
            self._held = []
            return [*sorted(held, key=_order), diff]
        if sync.book.check(diff.first, diff.last, diff.previous) is Verdict.GAP:
            waited = diff.ts_recv - held[0].ts_recv if held else 0
            if len(held) < MOST and waited <= self._late_ns:
                held.append(diff)
                return []
            self._held = []
            return sorted([*held, diff], key=_order)
        ready, known = [diff], max(diff.last, sync.book.update_id)
        self._held = []
        for early in sorted(held, key=_order):
            if early.last <= known:
                continue
            if _follows(sync.book.rule, early, known):
                ready.append(early)
                known = early.last
            else:
                self._held.append(early)
        self._held.sort(key=lambda early: early.ts_recv)
        return ready


def _order(diff: DepthDiff) -> int:
    return diff.first


def _follows(rule: SequenceRule, diff: DepthDiff, known: int) -> bool:
    return diff.first == known + 1 if rule is SequenceRule.SPOT else diff.previous == known

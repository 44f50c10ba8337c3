"""The exchange's reports in the order of exchange time, seen from the bars. Pure.

Reports and bars reach the desk by different ways, so either may come first. Without a rule, whether
a payment at 08:00 counts in the decision on the bar that closes at 08:00 would depend on which
socket was faster, and no backtest could repeat it. The rule: a decision on the bar that closes at T
knows every report stamped before T and none stamped at or after T. A report from beyond the next
close waits for that bar, one that comes while a decision waits for its target waits for the target.
None waits longer than `hold_s` of wall time: being up to date comes before being repeatable.
"""

from collections import deque

from don.model.messages import FillReport, FundingReport, OrderReport

Fact = OrderReport | FillReport | FundingReport


def stamp(fact: Fact) -> int:
    """Exchange time of a report, ns."""
    return fact.fill.ts_event if isinstance(fact, FillReport) else fact.ts_event


class Sequencer:
    """Reports that wait for their turn, in the order in which they came."""

    def __init__(self, interval_ns: int, hold_ns: int) -> None:
        self._interval, self._hold = interval_ns, hold_ns
        self._waiting: deque[tuple[Fact, int]] = deque()  # and the wall time at which it came
        # of all that came since nothing waited: what is stamped first, what came first
        self._least = self._eldest = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, fact: Fact, wall: int) -> None:
        """Queue a report that came at a wall time."""
        ts = stamp(fact)
        if not self._waiting:
            self._least, self._eldest = ts, wall
        self._least = min(self._least, ts)
        self._eldest = min(self._eldest, wall)
        self._waiting.append((fact, wall))

    def take(self, bar_ts: int | None, wall: int, *, deciding: bool) -> Fact | None:
        """The next report whose turn it is, or None; none holds up one stamped before it.

        Args:
            bar_ts: close time of the last bar taken in; None before the first.
            wall: now.
            deciding: a decision on that bar waits for its target.
        """
        if not self._waiting:
            return None
        bound = None
        if bar_ts is not None:
            bound = bar_ts if deciding else bar_ts + self._interval
            if self._least >= bound and wall - self._eldest < self._hold:
                return None
        for place, (fact, since) in enumerate(self._waiting):
            # one that waits holds none up that is stamped before it: an answer to a request that
            # takes effect in the next bar may come before the news of this one, or after it
            if bound is None or stamp(fact) < bound or wall - since >= self._hold:
                del self._waiting[place]
                return fact
        return None

    def pop(self) -> Fact | None:
        """The next report, whether it is its turn or not; None if there is none."""
        return self._waiting.popleft()[0] if self._waiting else None

    def overdue(self, wall: int) -> bool:
        """True if the first report has waited for too long."""
        return bool(self._waiting) and wall - self._waiting[0][1] >= self._hold

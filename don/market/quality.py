"""Checks of market data: stale, crossed, out of line. Pure: what is seen in, issues out.

A check never changes or drops data; it says what is wrong, and the caller decides.
"""

import math
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from statistics import median

from don.clock import NS_PER_S


class IssueKind(StrEnum):
    """What can be wrong with market data."""

    STALE = "stale"
    CROSSED = "crossed"
    OUTLIER = "outlier"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One thing found wrong."""

    kind: IssueKind
    symbol: str
    ts_event: int  # exchange time of what was checked, ns
    detail: str
    channel: str = ""  # filled in by whoever knows it


def check_fresh(symbol: str, last_ns: int, now_ns: int, limit_ns: int) -> Issue | None:
    """STALE if the last event is more than `limit_ns` before now; both on one clock."""
    silent_ns = now_ns - last_ns
    if silent_ns <= limit_ns:
        return None
    detail = f"silent for {silent_ns / NS_PER_S:.1f} s, allowed {limit_ns / NS_PER_S:.1f} s"
    return Issue(kind=IssueKind.STALE, symbol=symbol, ts_event=last_ns, detail=detail)


def check_quote(symbol: str, bid: float, ask: float, ts_event: int) -> Issue | None:
    """INVALID if a price is not positive and finite, CROSSED if bid is at or above ask."""
    if not (0.0 < bid < math.inf and 0.0 < ask < math.inf):
        detail = f"quote prices must be positive and finite, were {bid} and {ask}"
        return Issue(kind=IssueKind.INVALID, symbol=symbol, ts_event=ts_event, detail=detail)
    if bid >= ask:
        detail = f"bid {bid} at or above ask {ask}"
        return Issue(kind=IssueKind.CROSSED, symbol=symbol, ts_event=ts_event, detail=detail)
    return None


class PriceCheck:
    """Flags prices far from the recent ones of one symbol, by median and median deviation.

    A price is an outlier if its log distance from the window's median exceeds both `floor` and
    `k` robust standard deviations (1.4826 x the median absolute deviation, Hampel's identifier).
    Outliers stay out of the window; but `accept_after` of them in a row are a new price level, not
    errors, and start the window afresh. Nothing is flagged until the window is half full.
    """

    def __init__(
        self,
        symbol: str,
        *,
        window: int = 31,
        k: float = 8.0,
        floor: float = 0.02,
        accept_after: int = 5,
    ) -> None:
        if window < 3 or k <= 0 or floor <= 0 or accept_after < 1:
            raise ValueError(
                "need window >= 3, k > 0, floor > 0 and accept_after >= 1, "
                f"were {window}, {k}, {floor} and {accept_after}"
            )
        self._symbol = symbol
        self._window = window
        self._k = k
        self._floor = floor
        self._accept_after = accept_after
        self._logs: deque[float] = deque(maxlen=window)
        self._suspects: list[float] = []

    def check(self, price: float, ts_event: int) -> Issue | None:
        """The issue with this price, if any; the price joins the window if there is none."""
        if not 0.0 < price < math.inf:
            detail = f"price must be positive and finite, was {price}"
            return Issue(
                kind=IssueKind.INVALID, symbol=self._symbol, ts_event=ts_event, detail=detail
            )
        log = math.log(price)
        if 2 * len(self._logs) < self._window:
            self._logs.append(log)
            return None
        middle = median(self._logs)
        scale = 1.4826 * median(abs(x - middle) for x in self._logs)
        allowed = max(self._floor, self._k * scale)
        if abs(log - middle) <= allowed:
            self._logs.append(log)
            self._suspects.clear()
            return None
        self._suspects.append(log)
        if len(self._suspects) >= self._accept_after:
            self._logs.clear()
            self._logs.extend(self._suspects)
            self._suspects.clear()
        detail = (
            f"price {price} is {math.expm1(log - middle):+.2%} from the recent median, "
            f"allowed {math.expm1(allowed):.2%}"
        )
        return Issue(kind=IssueKind.OUTLIER, symbol=self._symbol, ts_event=ts_event, detail=detail)

"""What the engine knows of the market: prices, marks, freshness, covariance. Pure, moved by
snapshots.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from don.clock import NS_PER_S
from don.execution.planner import exact
from don.model.messages import FeatureSnapshot, History
from don.portfolio.config import CovarianceConfig
from don.portfolio.risk_models import CovarianceState, EwmaCovariance, half_life_of
from don.risk.measures import CloseWindow


class MarketView:
    """Prices of a session's symbols, in the session's own order."""

    def __init__(
        self,
        symbols: Sequence[str],
        interval_ns: int,
        config: CovarianceConfig,
        *,
        marks: Mapping[str, Decimal] | None = None,
        covariance: CovarianceState | None = None,
        window_bars: int = 500,
    ) -> None:
        self.symbols = tuple(symbols)
        self.covariance = EwmaCovariance(self.symbols, half_life_of(config), covariance)
        self.closes = CloseWindow(len(self.symbols), window_bars)
        self.marks: dict[str, Decimal] = dict(marks or {})  # also of symbols held from before
        self.lasts: dict[str, Decimal] = {}
        self.moves = 0  # how often marks changed
        self.version = 0
        self.ts_event = 0  # exchange time of the last bar close
        self.ts_market = 0  # wall time at which its data arrived
        self.stale: frozenset[str] = frozenset(self.symbols)  # nothing is known yet
        self.silent = False  # no snapshot for too long
        self._interval = interval_ns

    def on_history(self, history: History) -> None:
        """Warm the covariance up. Rows that it knows already are passed over.

        If there is a hole between what is known and the first new row, the estimate starts anew
        from the history: a return across the hole would count as one bar's.
        """
        order = self._order(history.symbols)
        if order is None or not len(history.ts):
            return
        known = self.covariance.ts
        new = history.ts > known
        if known >= 0 and new.any() and int(history.ts[new][0]) - known > self._interval:
            self.covariance.reset()
        for row in range(len(history.ts)):
            self.covariance.update(int(history.ts[row]), history.close[row][order])
        seen = self.closes.ts
        later = history.ts > seen
        if seen >= 0 and later.any() and int(history.ts[later][0]) - seen > self._interval:
            self.closes.reset()
        self.closes.update_many(history.ts, history.close[:, order])

    def on_snapshot(self, snapshot: FeatureSnapshot) -> bool:
        """Take in prices. False if the snapshot is not newer than the last one.

        Raises:
            ValueError: if it lacks a symbol of the session.
        """
        if snapshot.version <= self.version:
            return False
        order = self._order(snapshot.symbols)
        if order is None:
            raise ValueError(
                f"snapshot must have the symbols {', '.join(self.symbols)}, "
                f"had {', '.join(snapshot.symbols)}"
            )
        self.version = snapshot.version
        self.moves += 1
        self.ts_event = snapshot.ts_event
        self.ts_market = snapshot.ts_recv
        self.silent = False
        close, mark = snapshot.close[order], snapshot.mark[order]
        stale = set(snapshot.stale)
        for symbol, last, price in zip(self.symbols, close.tolist(), mark.tolist(), strict=True):
            if 0 < last < math.inf:
                self.lasts[symbol] = exact(last)
            else:
                stale.add(symbol)
            if price == last and symbol not in stale:  # so where the mark is the last trade
                self.marks[symbol] = self.lasts[symbol]
            elif 0 < price < math.inf:
                self.marks[symbol] = exact(price)
            else:
                stale.add(symbol)
        self.stale = frozenset(stale & set(self.symbols))
        fresh = np.array([s not in stale for s in self.symbols])
        known = np.where(fresh, close, np.nan)
        self.covariance.update(snapshot.ts_event, known)
        self.closes.update(snapshot.ts_event, known)
        return True

    def on_marks(self, marks: Mapping[str, Decimal]) -> None:
        """Take in marks that came between bars."""
        self.marks.update(marks)
        self.moves += 1

    def observe(self, ts: np.ndarray, close: np.ndarray, present: np.ndarray, wall: int) -> None:
        """Take in bars [bar, symbol] at once, as their snapshots would one by one.

        `close` are last known prices, `present` says which bars are the symbols' own.
        """
        self.version += len(ts)
        self.moves += 1
        self.ts_event, self.ts_market, self.silent = int(ts[-1]), wall, False
        priced = np.isfinite(close[-1]) & (close[-1] > 0)
        last = close[-1].tolist()
        for i in np.flatnonzero(priced).tolist():
            self.marks[self.symbols[i]] = self.lasts[self.symbols[i]] = exact(last[i])
        fresh = present[-1] & priced
        if fresh.all():
            self.stale = frozenset()
        else:
            there = fresh.tolist()
            self.stale = frozenset(s for s, ok in zip(self.symbols, there, strict=True) if not ok)
        known = np.where(present, close, np.nan)
        self.covariance.update_many(ts, known)
        self.closes.update_many(ts, known)

    def features(self, snapshot: FeatureSnapshot, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Values [symbol] by name, in the session's order of symbols."""
        order = self._order(snapshot.symbols)
        columns = {name: i for i, name in enumerate(snapshot.names)}
        return {name: snapshot.values[order, columns[name]] for name in names}

    def stale_now(self) -> frozenset[str]:
        """Symbols that must not be traded for want of a fresh price."""
        return frozenset(self.symbols) if self.silent else self.stale

    def age_s(self, wall: int) -> float:
        """Wall seconds since the data of the last snapshot arrived."""
        return (wall - self.ts_market) / NS_PER_S

    def tradable(self) -> np.ndarray:
        """[symbol] bool."""
        stale = self.stale_now()
        return np.array([s not in stale for s in self.symbols], dtype=bool)

    def _order(self, symbols: Sequence[str]) -> list[int] | slice | None:
        if tuple(symbols) == self.symbols:
            return slice(None)
        where = {symbol: i for i, symbol in enumerate(symbols)}
        if any(symbol not in where for symbol in self.symbols):
            return None
        return [where[symbol] for symbol in self.symbols]

"""The feature cache: market batches in, feature snapshots out, by exchange time alone. Pure.

The same batches in the same order give the same snapshots, to the bit. Features are fed one bar a
symbol and set: where a symbol's bar is missing while others have theirs, a flat one at its last
close with no volume (TA-Lib takes no NaN), and the symbol is called stale. A symbol that has had
no bar yet stays NaN. Repaired bars (`origin` repair) and bars during which trades or quotes were
missed have no micro-structure.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from don.errors import DataError
from don.features.barsets import BarSet, BarSets
from don.features.checkpoint import Checkpoint, freeze, thaw
from don.features.columns import COLUMNS, MICRO_AT, PLACE, PRICE, TIME, Floats, widened
from don.features.config import BarSource, FeatureConfig
from don.features.sets import FeatureEngine, FeatureSet
from don.market.bars import MICRO, STANDING, BarSums, floats, ints
from don.model.messages import FeatureSnapshot, History
from don.model.schema import SCHEMAS, MarketBatch

BAR_SCHEMA = pa.schema([*SCHEMAS["bars"], *((name, pa.float64()) for name in MICRO)])
_VALUES = (*PRICE, "trades")
_OBSERVED = [i for i in range(len(MICRO)) if not STANDING.start <= i < STANDING.stop]
_NEEDED = {"bars", "books", "quotes"}  # a symbol with one of these stale is stale
_WATCHED = {"trades", "quotes", "books"}  # their gaps leave a bar without micro-structure
# not stored
_REBUILT = {"_config", "_session", "symbols", "features", "_engine", "_unsaved", "_told"}
_CLOSE, _MARK, _TIME = (PLACE[name] for name in ("close", "mark", TIME))
_HIGH, _LOW, _VOLUME = (PLACE[name] for name in ("high", "low", "volume"))
_GIVEN = set(MICRO[:12])  # bars stored by older versions have these alone


class FeatureCache:
    """Bars, features and last prices of N symbols."""

    def __init__(self, config: FeatureConfig, symbols: Sequence[str], session: str) -> None:
        if not symbols or len(set(symbols)) != len(symbols):
            raise DataError(f"symbols must be one or more different names, were {list(symbols)}")
        self._config, self._session = config, session
        self.symbols = tuple(symbols)
        self.features = FeatureSet(config.names, config.interval_ns, config.modules)
        self.warm = False  # whether history has been taken in
        N = len(self.symbols)
        self._engine = FeatureEngine(self.features, N)
        self._sums = BarSums(self.symbols, config.interval_ns)
        self._sets = BarSets(N, config.interval_ns, config.grace_ns)
        self._seen: dict[str, int] = {}  # source -> last batch number
        self._now = 0  # newest exchange time
        self._recv = 0  # wall time of the event that closed the last set
        self._version = 0
        self._known = np.zeros(N, np.bool_)  # has had a bar
        self._ring = np.full((config.history, N, len(COLUMNS)), np.nan)
        self._ring_ts = np.zeros(config.history, np.int64)
        self._fed = 0  # sets fed to the features
        self._bad: dict[tuple[str, str], str] = {}  # (symbol, channel) -> why it is stale
        self._gaps: set[tuple[int, int]] = set()  # (close, symbol) whose events were missed
        self._stale: tuple[str, ...] = ()
        self._closed: deque[tuple[BarSet, Floats]] = deque(maxlen=config.history)  # not fetched yet
        self._told: deque[Floats] = deque(maxlen=config.rows)  # features of the warm-up's last bars
        self._unsaved: list[tuple[Floats, np.ndarray]] = []  # fed since the last checkpoint

    # ---- in --------------------------------------------------------------------------------------

    def warm_up(self, bars: pa.Table) -> None:
        """Take in closed bars from before the session: no snapshots come of them.

        Begins where all symbols that are there have bars, ends at the last complete set; what is
        left over waits for the bars that complete it. Columns of micro-structure are used if given,
        so that a cache warmed by `closed_bars` goes on exactly as the one that closed them.

        Args:
            bars: rows of `SCHEMAS["bars"]` in any order, or of `BAR_SCHEMA`.
        """
        self._add_bars(bars)
        self.warm = True
        code, close = self._sums.codes(bars), ints(bars, "ts_event")
        own = [close[code == n] for n in range(len(self.symbols)) if (code == n).any()]
        if not own:
            return
        begin, end = max(int(c.min()) for c in own), min(int(c.max()) for c in own)
        self._sets.start(begin - self._config.interval_ns)
        while (due := self._sets.due(end + self._config.grace_ns)) is not None:
            self._told.append(self._feed(due[0])[0])
        self._sums.skip(end)

    def on_batch(self, batch: MarketBatch) -> list[FeatureSnapshot]:
        """Take in a batch, once by (source, seq); the snapshots of the sets that it closes."""
        if batch.seq <= self._seen.get(batch.source, 0):
            return []
        self._seen[batch.source] = batch.seq
        for channel, table in batch.tables.items():
            if table.num_rows and channel != "status":
                self._now = max(self._now, int(ints(table, "ts_event").max()))
                self._sums.add(channel, table)
        if "bars" in batch.tables and self._config.bars is BarSource.EXCHANGE:
            self._add_bars(batch.tables["bars"])
        if "status" in batch.tables:
            self._add_status(batch.tables["status"])
        if self._config.bars is BarSource.TRADES:
            self._add_trade_bars()
        snapshots = []
        while (due := self._sets.due(self._now)) is not None:
            closed, complete = due
            waited = not complete or self._config.bars is BarSource.TRADES
            recv = self._recv_at(batch, closed.close_ns) if waited else closed.last_recv
            self._recv = max(self._recv, recv)
            values, micro = self._feed(closed)
            self._closed.append((closed, micro))
            snapshots.append(self._snapshot(closed, values))
        if self._sets.last_close is None:  # no bar yet: keep only the sums that may still be needed
            self._sums.skip(self._now - 2 * self._config.interval_ns)
        # Several sets at once are a backlog: only the last one is the present.
        return [replace(one, superseded=True) for one in snapshots[:-1]] + snapshots[-1:]

    def _add_bars(self, table: pa.Table) -> None:
        code, close, recv = (
            self._sums.codes(table),
            ints(table, "ts_event"),
            ints(table, "ts_recv"),
        )
        values = np.stack([floats(table, name) for name in _VALUES], axis=1)
        origin = table["origin"].to_pylist()
        micro = None
        if set(table.column_names) >= _GIVEN:
            lacking = np.full(table.num_rows, np.nan)
            present = set(table.column_names)
            given = (floats(table, name) if name in present else lacking for name in MICRO)
            micro = np.stack(list(given), axis=1)
        for i in np.flatnonzero(code >= 0).tolist():
            self._sets.add(
                int(code[i]),
                int(close[i]),
                values[i],
                origin[i],
                int(recv[i]),
                None if micro is None else micro[i],
            )

    def _add_trade_bars(self) -> None:
        """Make the bars that are over, grace included, from their trades."""
        for close in self._sums.closes(self._now - self._config.grace_ns):
            if self._sets.last_close is None:  # the first bar was not seen from its beginning
                self._sets.start(close)
                self._sums.skip(close)
                continue
            bars = self._sums.trade_bar(close)
            for n in np.flatnonzero(np.isfinite(bars[:, 0])).tolist():
                self._sets.add(n, close, bars[n], "trades", self._recv)

    def _add_status(self, table: pa.Table) -> None:
        step = self._config.interval_ns
        for row in table.to_pylist():
            key = (row["symbol"], row["channel"])
            if row["state"] == "live":
                self._bad.pop(key, None)
            elif row["state"] == "stale":
                self._bad[key] = row["detail"]
            seen = row["symbol"] in self.symbols and row["channel"] in _WATCHED
            if row["state"] not in ("live", "repaired") and seen:
                close = (row["ts_event"] // step + 1) * step
                if close > (self._sets.last_close or 0):
                    self._gaps.add((close, self.symbols.index(row["symbol"])))

    def _recv_at(self, batch: MarketBatch, close_ns: int) -> int:
        """When the event that ended a set's grace reached the feed."""
        end = close_ns + self._config.grace_ns
        found = [self._recv]
        for channel, table in batch.tables.items():
            if channel != "status" and table.num_rows:
                late = ints(table, "ts_event") >= end
                if late.any():
                    found.append(int(ints(table, "ts_recv")[late].min()))
        return max(found)

    # ---- a set closes ----------------------------------------------------------------------------

    def _feed(self, closed: BarSet) -> tuple[Floats, Floats]:
        """Feed a closed set to the features: their values, and columns `MICRO`, [symbol, ...]."""
        micro = self._sums.finish(closed.close_ns)
        for n in range(len(self.symbols)):
            if n in closed.extra:
                micro[n] = closed.extra[n]
                self._sums.stand(n, *micro[n, STANDING].tolist())
            elif closed.origin[n] not in ("stream", "trades") or (closed.close_ns, n) in self._gaps:
                micro[n, _OBSERVED] = np.nan
        self._gaps = {gap for gap in self._gaps if gap[0] > closed.close_ns}
        before = self._ring[(self._fed - 1) % len(self._ring), :, _CLOSE]
        row = self._ring[self._fed % len(self._ring)]
        flat = np.stack([before] * 4 + [np.zeros_like(before)], axis=1)
        bars = np.where(closed.present[:, None], closed.values[:, : len(PRICE)], flat)
        row[:, : len(PRICE)], row[:, MICRO_AT] = bars, micro
        row[:, _TIME] = closed.close_ns / 1e9
        self._ring_ts[self._fed % len(self._ring)] = closed.close_ns
        self._fed += 1
        self._known |= closed.present
        self._unsaved.append((row.copy(), self._known.copy()))
        return self._engine.update(row, self._known.tolist()), micro

    def _snapshot(self, closed: BarSet, values: Floats) -> FeatureSnapshot:
        row = self._ring[(self._fed - 1) % len(self._ring)]
        bad = {symbol for symbol, channel in self._bad if channel in _NEEDED}
        everywhere = "" in bad
        self._stale = tuple(
            symbol
            for n, symbol in enumerate(self.symbols)
            if everywhere or symbol in bad or not closed.present[n]
        )
        self._version += 1
        return FeatureSnapshot(
            key=f"snapshot:{self._session}:{self._version}",
            version=self._version,
            ts_event=closed.close_ns,
            ts_recv=self._recv,
            feature_set=self.features.hash,
            symbols=self.symbols,
            names=self.features.names,
            values=values,
            close=row[:, _CLOSE].copy(),
            mark=row[:, _MARK].copy(),
            stale=self._stale,
            high=row[:, _HIGH].copy(),
            low=row[:, _LOW].copy(),
            volume=row[:, _VOLUME].copy(),
        )

    # ---- restarts --------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """What has come since the last checkpoint, to be stored; begins a new one."""
        rows, known = [row for row, _ in self._unsaved], [mask for _, mask in self._unsaved]
        N = len(self.symbols)
        kept = {name: value for name, value in vars(self).items() if name not in _REBUILT}
        made = Checkpoint(
            version=self._version,
            fed=np.stack(rows) if rows else np.empty((0, N, len(COLUMNS))),
            known=np.stack(known) if known else np.empty((0, N), np.bool_),
            state=freeze(kept),
        )
        self._unsaved = []
        return made

    def restore(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Go on where the last of these was made; all of the session's, in order, on a new cache.

        Raises:
            DataError: if the cache is not new, or the stored state cannot be read.
        """
        if self._fed or self._seen:
            raise DataError("only a new feature cache can be restored")
        last = None
        for last in checkpoints:
            self._engine.advance(widened(last.fed), last.known)
        if last is not None:
            vars(self).update(thaw(last.state))
            self._widen()

    def _widen(self) -> None:
        """Give state that an older version stored the columns that came since, unknown."""
        self._ring = widened(self._ring)

        def wide(micro: Floats) -> Floats:
            missing = [(0, 0)] * (micro.ndim - 1) + [(0, len(MICRO) - micro.shape[-1])]
            return np.pad(micro, missing, constant_values=np.nan)

        self._closed = deque(((one, wide(micro)) for one, micro in self._closed),
                             maxlen=self._closed.maxlen)  # fmt: skip
        self._sets.widen(wide)

    @property
    def version(self) -> int:
        """Number of the last snapshot."""
        return self._version

    # ---- out -------------------------------------------------------------------------------------

    def closed_bars(self) -> pa.Table:
        """Bars of the sets closed since the last call, in `BAR_SCHEMA`, without missing ones."""
        rows: list[dict[str, Any]] = []
        for closed, micro in self._closed:
            for n in np.flatnonzero(closed.present).tolist():
                values = dict(zip(_VALUES, closed.values[n].tolist(), strict=True))
                trades = values.pop("trades")
                rows.append(
                    {
                        "symbol": self.symbols[n],
                        "ts_event": closed.close_ns,
                        "ts_recv": int(closed.recv[n]),
                        **values,
                        "trades": int(trades) if np.isfinite(trades) else None,
                        "origin": closed.origin[n],
                        **dict(zip(MICRO, micro[n].tolist(), strict=True)),
                    }
                )
        self._closed.clear()
        return pa.Table.from_pylist(rows, BAR_SCHEMA)

    def history(self) -> History:
        """Closes known so far, oldest first, from where every symbol has one; at most the ring."""
        size = min(self._fed, len(self._ring))
        places = np.arange(self._fed - size, self._fed) % len(self._ring)
        close = self._ring[places][:, :, _CLOSE]
        known = np.isfinite(close).all(axis=1)
        return History(
            key=f"history:{self._session}",
            symbols=self.symbols,
            ts=self._ring_ts[places][known],
            close=close[known],
            ts_recv=self._recv,
            names=self.features.names if self._told else (),
            values=np.stack(self._told) if self._told else None,
        )

    def view(self) -> dict[str, Any]:
        """Forming and closed bars and last prices, for readers; see `serve.schemas.MarketView`."""
        step = self._config.interval_ns
        last = self._ring[(self._fed - 1) % len(self._ring)]
        opened = int(self._ring_ts[(self._fed - 1) % len(self._ring)]) - step
        keys = ("open", "high", "low", "close", "volume")
        forming = {
            self.symbols[n]: {"ts_open": ts, **dict(zip(keys, values, strict=True))}
            for n, ts, *values in self._sums.forming()
        }
        closed = {
            symbol: {"ts_open": opened, **dict(zip(keys, last[n, :5].tolist(), strict=True))}
            for n, symbol in enumerate(self.symbols)
            if self._known[n]
        }
        both = zip(self.symbols, self._sums.quotes().tolist(), strict=True)
        marks = self._sums.marks().tolist()
        return {
            "ts_event": self._now,
            "interval_ns": step,
            "bars": forming,
            "closed": closed,
            "quotes": {s: {"bid": b, "ask": a} for s, (b, a) in both if b > 0},
            "marks": {s: m for s, m in zip(self.symbols, marks, strict=True) if m == m},
            "stale": self._stale,
            "version": self._version,
            "late": self._sums.late,
            "repeated": self._sets.repeated,
            "refused": self._sets.refused,
        }

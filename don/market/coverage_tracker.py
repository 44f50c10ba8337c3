"""From what a live feed sends to claims about minutes: a fold over its batches. Pure.

What proves that nothing was missed: trade ids that follow each other, bars that follow each other,
and for all else a connection that lived, told by the feed's status rows. Exchange time moves with
every row of the feed and with `heartbeat`, so a stream on which nothing happened is complete.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.market.coverage import COUNTED_IDS, Range, State, bar_channel
from don.market.coverage_lines import BarLine, Line, PlainLine, TradeLine
from don.model.channels import FEED_CHANNELS
from don.model.schema import MarketBatch

SILENCE_S = 30.0  # as `FeedConfig.silence_s`
TRADES_SILENCE_S = 300.0  # as `FeedConfig.stale_after_s["trades"]`
_ABSENT = re.compile(r"\d+ bars closing (\d+) to (\d+) do not exist")
_MARKET = "side is empty"  # a quote stream that is stale for this reason missed nothing

Key = tuple[str, str]  # the ledger's channel, symbol
_Status = tuple[int, int, str, str, int]  # ts_event, ts_recv, state, detail, since


class CoverageTracker:
    """Folds the batches of one feed into claims; `take` hands them to the ledger.

    Args:
        exchange: as cryptofeed names it.
        interval: of the feed's bars, such as `1m`.
        interval_ns: the same in ns.
        counted_ids: trade ids of a symbol rise by one on this exchange, so that a hole in them is a
            hole in the data, and none proves that nothing was missed; None: if the exchange is one
            of `COUNTED_IDS`.
        silence_s: a connection that is silent for so long is ended by the feed: none that is lost
            has been dead for twice as long.
        trades_silence_s: a stream of trades alone may have been dead for so long unnoticed.
        known: end of what the ledger knows of a stream, ns: what lies between it and the
            beginning of this feed was not collected. What was claimed of its last `2 * silence_s`
            rests on the word of other connections and is in doubt, but for bars; of trades, of its
            last `trades_silence_s`.
    """

    def __init__(
        self,
        exchange: str,
        *,
        interval: str,
        interval_ns: int,
        counted_ids: bool | None = None,
        silence_s: float = SILENCE_S,
        trades_silence_s: float = TRADES_SILENCE_S,
        known: Mapping[Key, int] | None = None,
    ) -> None:
        self._exchange = exchange
        self._bars = bar_channel(interval)
        self._interval_ns = interval_ns
        self._counted = exchange in COUNTED_IDS if counted_ids is None else counted_ids
        self._silence_ns = int(silence_s * NS_PER_S)
        self._trades_ns = int(trades_silence_s * NS_PER_S)
        self._known = dict(known or {})
        self._lines: dict[Key, Line] = {}
        self._now = 0  # exchange time
        self._explicit: list[Range] = []
        self._alive: dict[str, int] = {}  # of this batch: see `_ends`

    # ---- what happens ---------------------------------------------------------------------------

    def observe(self, batch: MarketBatch) -> None:
        """Take in a batch, its tables in the order of arrival."""
        statuses = _statuses(batch.tables.get("status"))
        self._alive = _ends(statuses)
        for (channel, symbol), rows in list(statuses.items()):
            if channel == "books" and self._has_deltas(symbol, batch):
                statuses["book_deltas", symbol] = rows
        now = self._now
        heard: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []  # arrival, exchange time
        for channel, table in batch.tables.items():
            if channel in ("status", "repaired_trades") or not table.num_rows:
                continue
            times = table["ts_event"].to_numpy()
            fresh = np.ones(len(times), bool)
            if channel == "bars":
                fresh = np.asarray(table["origin"].to_pylist()) == "stream"
            if fresh.any():
                heard.append((table["ts_recv"].to_numpy()[fresh], times[fresh]))
                now = max(now, int(times[fresh].max()))
            for symbol, part in _by_symbol(table):
                self._rows(self._line(channel, symbol), part, statuses.pop((channel, symbol), []))
        for (channel, symbol), rows in statuses.items():
            line = self._line(channel, symbol)
            for row in rows:
                self._status(line, row)
        repaired = batch.tables.get("repaired_trades")
        if repaired is not None and repaired.num_rows:
            for symbol, part in _by_symbol(repaired):
                line = self._line("trades", symbol)
                line.repaired(part["ts_event"].to_numpy(), part["id"].to_numpy())
        self._now = now
        for line in self._lines.values():
            if line.resumed is not None:
                after = [times[arrived > line.resumed] for arrived, times in heard]
                first = min((int(t.min()) for t in after if len(t)), default=0)
                line.evidence(first)

    def heartbeat(self, now_ns: int) -> None:
        """Every live connection is known to have told all that happened until this exchange time.

        For exchanges that may be silent as a whole: wall time less the offset, less the silence
        that a connection is allowed.
        """
        self._now = max(self._now, now_ns)

    def mark(
        self, channel: str, symbol: str, start: int, end: int, state: State, why: str
    ) -> list[Range]:
        """Claim what somebody else knows: a repair, an outage, rows that were refused.

        Args:
            channel: of the ledger (`bars:1m`).
            symbol: canonical.
            start: ns; the claim spreads to every minute that it touches.
            end: ns.
            state: what is claimed.
            why: for people.

        Returns:
            The claims, which `take` will give too.
        """
        line = self._lines.get((channel, symbol)) or PlainLine(self._exchange, channel, symbol)
        claims = line.spread(start, max(end, start + 1), state, why)
        self._explicit += claims
        if state is State.GAP:
            line.spoil(start, max(end, start + 1))
        return claims

    # ---- what is claimed ------------------------------------------------------------------------

    def take(self) -> list[Range]:
        """Claims since the last call, in the order in which they became known."""
        claims: list[Range] = []
        for line in self._lines.values():
            line.advance(self._now)
            claims += line.take()
        claims += self._explicit
        self._explicit = []
        return claims

    # ---- inside ---------------------------------------------------------------------------------

    def _line(self, channel: str, symbol: str) -> Line:
        name = FEED_CHANNELS.get(channel, channel)
        if name == "bars":
            name = self._bars
        key = (name, symbol)
        line = self._lines.get(key)
        if line is None:
            if channel == "bars":
                line = BarLine(self._exchange, name, symbol, self._interval_ns)
            elif channel == "trades" and self._counted:
                line = TradeLine(self._exchange, name, symbol)
            else:
                line = PlainLine(self._exchange, name, symbol)
            until = self._known.get(key)
            if until is not None:
                # Its connection may have been dead already when others proved the last minutes:
                # all but bars, which prove themselves, are in doubt from then on.
                back = 0 if isinstance(line, BarLine) else 2 * self._silence_ns
                if channel == "trades":
                    back = max(back, self._trades_ns)
                line.doubt(until - back, "not collected")
            self._lines[key] = line
        return line

    def _rows(self, line: Line, table: pa.Table, statuses: Iterable[_Status]) -> None:
        """Rows and status rows of one stream, merged by their time of arrival."""
        times: NDArray[np.int64] = table["ts_event"].to_numpy()
        extra = _extra(line, table)
        at = 0
        for status in statuses:
            arrived = table["ts_recv"].to_numpy()
            to = max(at, int(np.searchsorted(arrived, status[1], side="right")))
            if to > at:
                line.rows(times[at:to], extra[at:to])
                at = to
            self._status(line, status)
        if at < len(times):
            line.rows(times[at:], extra[at:])

    def _has_deltas(self, symbol: str, batch: MarketBatch) -> bool:
        return ("book_deltas", symbol) in self._lines or "book_deltas" in batch.tables

    def _status(self, line: Line, row: _Status) -> None:
        ts, recv, state, detail, since = row
        match state:
            case "live":
                line.live(recv)
            case "stale" if not detail.endswith(_MARKET):
                begun = since
                if detail.startswith("resynchronising") and line.newest:
                    begun = min(since, line.newest)
                elif detail.startswith("disconnected"):
                    begun = max(since, self._alive.get(detail, 0), ts - 2 * self._silence_ns)
                line.doubt(min(begun, ts) or ts, detail)
            case "gap":
                absent = _ABSENT.search(detail)
                if absent is not None:
                    line.absent(int(absent[1]), int(absent[2]), detail)
                else:
                    # Something lies between the newest row and what showed the hole.
                    begun = min(since or ts, line.newest or ts, ts)
                    line.lost(ts if detail.startswith("refused") else begun, ts, detail)
            case "repaired":
                line.mended(since or ts, ts, detail)


def _extra(line: Line, table: pa.Table) -> Any:
    if isinstance(line, TradeLine):
        return table["id"].to_numpy()
    if isinstance(line, BarLine):
        return np.asarray(table["origin"].to_pylist())
    return np.zeros(table.num_rows, np.int8)


def _statuses(table: pa.Table | None) -> dict[Key, list[_Status]]:
    found: dict[Key, list[_Status]] = {}
    if table is None:
        return found
    for row in table.to_pylist():
        key = (row["channel"], row["symbol"])
        told = (row["ts_event"], row["ts_recv"], row["state"], row["detail"], row["since"])
        found.setdefault(key, []).append(told)
    return found


def _ends(statuses: Mapping[Key, Iterable[_Status]]) -> dict[str, int]:
    """Streams that go stale together for one reason share a connection, which lived for as long as
    any of them did: detail -> the latest exchange time heard.
    """
    ends: dict[str, int] = {}
    for rows in statuses.values():
        for _, _, state, detail, since in rows:
            if state == "stale" and detail.startswith("disconnected"):
                ends[detail] = max(ends.get(detail, 0), since)
    return ends


def _by_symbol(table: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    coded = table["symbol"].combine_chunks().dictionary_encode()
    names = coded.dictionary.to_pylist()
    if len(names) == 1:
        return [(names[0], table)]
    codes = coded.indices.to_numpy()
    return [(name, table.take(np.flatnonzero(codes == n))) for n, name in enumerate(names)]

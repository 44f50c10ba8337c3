"""Bars of one series made of its stored trades, where these cover a bar's whole time. Does I/O."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from don.clock import NS_PER_S
from don.market.coverage import COUNTED_IDS, StreamKey
from don.market.resample import bars_from_trades
from don.market.trade_holes import TradeHoles, touched
from don.model.channels import CHANNELS
from don.storage.market.coverage import CoverageLedger

if TYPE_CHECKING:
    from don.storage.market.reads import MarketStore

_CHUNK_NS = 86_400 * NS_PER_S  # of trades read at once
_EDGE = 64  # trades looked at beside the stretch: ids may be a little out of order
_NEAR_NS = 60 * NS_PER_S  # behind the stretch they are looked for so far at first

Ints = NDArray[np.int64]


def traded(
    store: "MarketStore", exchange: str, symbol: str, interval: int, closes: Ints
) -> tuple[pa.Table, Ints]:
    """Bars at some closes, of trades that are all there.

    Args:
        store: what is read.
        exchange: of the series.
        symbol: of the series.
        interval: ns, of the bars.
        closes: wanted, on the grid, ascending, close enough to read all between.

    Returns:
        The bars; and the closes in whose time, as the trades before and behind it say, nothing
        was traded.
    """
    nothing = CHANNELS["bars"].schema.empty_table(), closes[:0]
    begin, end = int(closes[0]) - interval, int(closes[-1])
    newest = store.read("trades", [symbol], begin, end, ["ts_event"], exchange=exchange, last=1)
    if not newest.num_rows:
        return nothing
    until = (newest["ts_event"][0].as_py() // interval + 1) * interval
    step = max(interval, _CHUNK_NS // interval * interval)
    if until - begin > step:
        begin = max(begin, _oldest(store, exchange, symbol, begin, until) // interval * interval)
    holes = TradeHoles(StreamKey(exchange, "trades", symbol), counted=exchange in COUNTED_IDS)

    def note(trades: pa.Table) -> None:
        holes.add(trades["ts_event"].to_numpy(), trades["id"].to_numpy())

    beside = ["ts_event", "id"]
    note(store.read("trades", [symbol], None, begin, beside, exchange=exchange, last=_EDGE))
    made = [nothing[0]]
    for low in range(begin, until, step):
        trades = store.read("trades", [symbol], low, min(low + step, until), exchange=exchange)
        note(trades)
        made.append(bars_from_trades(trades, interval))
    note(_behind(store, exchange, symbol, end, beside))
    ledger = CoverageLedger(store.database).read(exchange, "trades", [symbol], begin, end)
    wanted = closes[closes > begin]
    whole = wanted[~touched(wanted - interval, wanted, holes.found(ledger, begin, end))]
    bars = pa.concat_tables(made)
    bars = bars.filter(pc.is_in(bars["ts_event"], pa.array(whole)))
    # That there was no trade is believed only between two that are stored: else rows may be lost.
    between = whole[(whole - interval >= holes.first) & (whole <= holes.last)]
    return bars, np.setdiff1d(between, bars["ts_event"].to_numpy())


def _behind(
    store: "MarketStore", exchange: str, symbol: str, start: int, columns: list[str]
) -> pa.Table:
    """A few of the next trades, none if there are none."""
    newest = store.read("trades", [symbol], start, None, columns, exchange=exchange, last=1)
    low, reach = start, _NEAR_NS
    until = int(newest["ts_event"][0].as_py()) + 1 if newest.num_rows else start
    while low < until:
        high = min(low + reach, until)
        found = store.read("trades", [symbol], low, high, columns, exchange=exchange)
        if found.num_rows:
            return found.slice(0, _EDGE)
        low, reach = high, reach * 8
    return newest


def _oldest(store: "MarketStore", exchange: str, symbol: str, start: int, end: int) -> int:
    """Time of the first trade in the range; its end if there is none any more."""
    for batch in store.scan(
        "trades", [symbol], start, end, ["ts_event"], exchange=exchange, batch_rows=1
    ):
        return int(pc.min(batch["ts_event"]).as_py())
    return end

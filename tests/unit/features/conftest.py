"""A replayed market as the batches a feed would make of it."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice

import pyarrow as pa
import pytest

from don.features.cache import BAR_SCHEMA
from don.model.schema import DEPTH, SCHEMAS, MarketBatch
from don.paper.events import BarClose, BookUpdate, MarkPrice, TradePrint
from don.paper.tape import Tape, open_tape

RECV = 10**18  # receive times are offset from exchange times, so that the two cannot be mixed up


@pytest.fixture(scope="session")
def tape() -> Tape:
    return open_tape(seed=3)


def bar_row(tape: Tape, bar: BarClose, origin: str = "stream") -> dict:
    instrument = {i.exchange_symbol: i for i in tape.instruments()}[bar.symbol]
    prices = {k: float(getattr(bar, k) * instrument.tick_size) for k in ("open", "high", "low")}
    return {
        "symbol": instrument.symbol,
        "ts_event": bar.ts,
        "ts_recv": bar.ts + RECV,
        **prices,
        "close": float(bar.close * instrument.tick_size),
        "volume": float(bar.volume * instrument.lot_size),
        "trades": bar.trades,
        "origin": origin,
    }


@pytest.fixture(scope="session")
def history(tape: Tape) -> pa.Table:
    """200 bars a symbol before the tape's start, symbol by symbol."""
    end = tape.time_of(tape.start)
    rows = [
        bar_row(tape, bar, "history")
        for symbol in tape.symbols
        for bar in tape.history(symbol, tape.interval, end, 200)
    ]
    return pa.Table.from_pylist(rows, SCHEMAS["bars"])


@pytest.fixture(scope="session")
def batches(tape: Tape) -> Callable[..., list[MarketBatch]]:
    """`batches(events, size)`: the tape's first events as batches of `size` events."""

    def make(events: int, size: int, source: str = "X:1") -> list[MarketBatch]:
        return list(_batches(tape, events, size, source))

    return make


def _batches(tape: Tape, events: int, size: int, source: str) -> Iterator[MarketBatch]:
    names = {i.exchange_symbol: i for i in tape.instruments()}
    books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
    stream = islice(tape.events(), events)
    seq = 0
    while chunk := list(islice(stream, size)):
        rows: dict[str, list[dict]] = defaultdict(list)
        for _, event in chunk:
            instrument = names[event.symbol]
            tick, lot = instrument.tick_size, instrument.lot_size
            head = {"symbol": instrument.symbol, "ts_event": event.ts, "ts_recv": event.ts + RECV}
            if isinstance(event, TradePrint):
                values = {"id": event.id, "buy": event.buy}
                price, amount = float(event.price * tick), float(event.size * lot)
                rows["trades"].append({**head, **values, "price": price, "size": amount})
            elif isinstance(event, BookUpdate):
                if event.snapshot:
                    books[event.symbol] = ({}, {})
                for side, changes in zip(
                    books[event.symbol], (event.bids, event.asks), strict=True
                ):
                    side.update(changes)
                    for gone in [p for p, q in side.items() if not q]:
                        del side[gone]
                bids = sorted(books[event.symbol][0].items(), reverse=True)[:DEPTH]
                asks = sorted(books[event.symbol][1].items())[:DEPTH]
                rows["quotes"].append(
                    {
                        **head,
                        "bid": float(bids[0][0] * tick),
                        "bid_size": float(bids[0][1] * lot),
                        "ask": float(asks[0][0] * tick),
                        "ask_size": float(asks[0][1] * lot),
                    }
                )
                rows["books"].append(
                    {
                        **head,
                        "bid_prices": [float(p * tick) for p, _ in bids],
                        "bid_sizes": [float(q * lot) for _, q in bids],
                        "ask_prices": [float(p * tick) for p, _ in asks],
                        "ask_sizes": [float(q * lot) for _, q in asks],
                    }
                )
            elif isinstance(event, MarkPrice):
                values = {"mark": float(event.mark), "rate": float(event.rate)}
                rows["funding"].append({**head, **values, "next_ts": event.next_funding_ts})
            elif isinstance(event, BarClose):
                rows["bars"].append(bar_row(tape, event))
        seq += 1
        tables = {k: pa.Table.from_pylist(v, SCHEMAS[k]) for k, v in rows.items()}
        yield MarketBatch(source=source, seq=seq, tables=tables)


@pytest.fixture(scope="session")
def concat() -> Callable[..., pa.Table]:
    return lambda tables: pa.concat_tables([t.cast(BAR_SCHEMA) for t in tables])

"""A tape over recorded bars reproduces each bar exactly, in order, from any position."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from don.paper.events import BarClose, BookUpdate, FundingRate, MarkPrice, TapeEvent, TradePrint
from don.paper.funding import load_funding
from don.paper.tape import Tape, open_tape
from don.paper.tape_data import exchange_symbol

SHARED = Path(__file__).parents[4] / "shared" / "data"
SHARED_BARS = (
    "binance_usdm_ohlcv_1m_2025spring.parquet",
    "binance_spot_ohlcv_1h.parquet",
    "binance_usdm_ohlcv_1h.parquet",
    "spot_usd_ohlcv_30m_2017_2019.parquet",
)
START = datetime(2024, 1, 1, tzinfo=UTC)


def events_of(tape: Tape, position: int | None = None) -> list[tuple[int, TapeEvent]]:
    """All events without the standing books and marks at the head."""
    begin = tape.start if position is None else position
    return [(at, event) for at, event in tape.events(position) if at != begin]


def check_bars(tape: Tape, events: list[TapeEvent]) -> int:
    """Trades since the last close rebuild each closed bar; returns how many had trades."""
    trades: dict[str, list[TradePrint]] = defaultdict(list)
    values = {i.exchange_symbol: i.tick_size * i.lot_size for i in tape.instruments()}
    ids: dict[str, int] = {}
    traded, last = 0, 0
    for event in events:
        assert event.ts >= last
        last = event.ts
        if isinstance(event, TradePrint):
            assert event.id == ids.get(event.symbol, event.id - 1) + 1
            ids[event.symbol] = event.id
            assert event.ts % 1_000_000 == 0
            trades[event.symbol].append(event)
        elif isinstance(event, BarClose):
            own = trades.pop(event.symbol, [])
            assert event.trades == len(own)
            assert event.volume == sum(t.size for t in own)
            assert event.buy_volume == sum(t.size for t in own if t.buy)
            value = values[event.symbol]
            assert event.quote_volume == sum(t.price * t.size for t in own) * value
            assert event.buy_quote_volume == sum(t.price * t.size for t in own if t.buy) * value
            if own:
                traded += 1
                prices = [t.price for t in own]
                assert (event.open, event.close) == (prices[0], prices[-1])
                assert (event.high, event.low) == (max(prices), min(prices))
                assert all(t.size > 0 for t in own)
                assert all(event.ts - tape.interval_ns <= t.ts < event.ts for t in own)
            else:
                assert event.open == event.high == event.low == event.close
    return traded


def check_books(events: list[TapeEvent]) -> None:
    """Books are never crossed, and every trade happens at the best price of its side."""
    books: dict[str, tuple[dict[int, int], dict[int, int]]] = {}
    for event in events:
        if isinstance(event, BookUpdate):
            if event.snapshot:
                books[event.symbol] = ({}, {})
            for side, changes in zip(books[event.symbol], (event.bids, event.asks), strict=True):
                for price, size in changes:
                    assert price > 0 and size >= 0
                    if size:
                        side[price] = size
                    else:
                        del side[price]
            bids, asks = books[event.symbol]
            assert asks and max(bids, default=0) < min(asks)
            assert len(asks) == 10
        elif isinstance(event, TradePrint):
            bids, asks = books[event.symbol]
            assert event.price == (min(asks) if event.buy else max(bids))


bar_values = st.tuples(
    st.integers(1, 400),  # low
    st.integers(0, 60),  # range
    st.floats(0, 1),
    st.floats(0, 1),
    st.one_of(st.integers(0, 30), st.integers(0, 10**9)),
    st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(bars=st.lists(bar_values, min_size=4, max_size=12), seed=st.integers(0, 2**32))
def test_random_bars_are_reproduced_exactly(
    write_bars, tmp_path_factory: pytest.TempPathFactory, bars: list[tuple], seed: int
) -> None:
    rows, expected = [], {}
    for slot, (low, span, a, b, lots, missing) in enumerate(bars):
        if missing and 1 < slot < len(bars) - 1:  # two neighbours tell the interval
            continue
        o, c, h = low + round(a * span), low + round(b * span), low + span
        row = tuple(round(x / 100, 2) for x in (o, h, low, c))
        rows.append(("BTCUSD", slot, *row, lots / 10))
        expected[slot] = (o, h, low, c, lots)
    path = write_bars(tmp_path_factory.mktemp("bars") / "bars.parquet", rows)
    tape = open_tape(path, seed=seed, start_ns=int(START.timestamp()) * 10**9)
    (instrument,) = tape.instruments()
    # one odd price among few is taken for noise: then bars are rounded to a coarser tick
    assume(instrument.tick_size <= Decimal("0.01"))
    events = [event for _, event in tape.events()]
    check_bars(tape, events)
    check_books(events[2:])
    closes = [e for e in events if isinstance(e, BarClose)]
    assert [c.ts for c in closes] == sorted({c.ts for c in closes})
    assert len(closes) == len(expected)  # of what is missing nothing is told
    for close in closes:
        slot = (close.ts - tape.interval_ns) // 10**9 - int(START.timestamp())
        assert slot % 60 == 0
        o, h, low, c, lots = expected[slot // 60]
        hundred = 100 * instrument.tick_size
        found = [getattr(close, k) * hundred for k in ("open", "high", "low", "close")]
        assert found == [o, h, low, c]
        volume = close.volume * instrument.lot_size * 10
        if volume != lots:  # more than recorded only where the prices need more trades
            assert volume > lots and close.volume <= 4


@pytest.mark.parametrize("name", SHARED_BARS)
def test_recorded_bars_are_reproduced_exactly(name: str) -> None:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"no recorded data at ../shared/data/{name}")
    table = pq.read_table(path).to_pandas()
    symbols = list(table["symbol"].cat.categories[:4])
    tape = open_tape(path, symbols)
    events = [event for _, event in islice(tape.events(), 40_000)]
    assert check_bars(tape, events) > 400
    check_books(events)
    exact = total = 0
    for symbol, instrument in zip(symbols, tape.instruments(), strict=True):
        own = table[table["symbol"] == symbol].set_index("timestamp")
        assert instrument.exchange_symbol == exchange_symbol(symbol)
        for event in events:
            if not isinstance(event, BarClose) or event.symbol != instrument.exchange_symbol:
                continue
            opened = np.datetime64(event.ts - tape.interval_ns, "ns")
            bar = own.loc[own.index.tz_localize(None) == opened].iloc[0]
            for field in ("open", "high", "low", "close"):
                price = float(getattr(event, field) * instrument.tick_size)
                assert abs(price - bar[field]) <= float(instrument.tick_size) / 2 * 1.000001
                exact += price == bar[field]
                total += 1
            size = float(event.volume * instrument.lot_size)
            assert abs(size - bar["volume"]) <= float(instrument.lot_size) / 2 * 1.000001
    assert exact >= (0.99 if name.startswith("binance_usdm") else 0.7) * total


def test_restart_anywhere_gives_the_same_suffix(sample: Tape) -> None:
    whole = list(islice(events_of_iter(sample), 3_000))
    rng = np.random.default_rng(5)
    for at in rng.integers(0, 2_500, 25):
        position = whole[at][0]
        again = open_tape(seed=7) if at % 5 == 0 else sample
        rest = events_of_iter(again, position)
        assert list(islice(rest, 400)) == whole[at + 1 : at + 401]


def events_of_iter(tape: Tape, position: int | None = None):
    begin = tape.start if position is None else position
    return ((at, event) for at, event in tape.events(position) if at != begin)


def test_restart_begins_with_the_books_as_they_stand(sample: Tape) -> None:
    whole = list(islice(sample.events(), 2_000))
    books: dict[str, list[dict[int, int]]] = {}
    marks: dict[str, Decimal] = {}
    for at, event in whole:
        if isinstance(event, BookUpdate):
            if event.snapshot:
                books[event.symbol] = [{}, {}]
            for side, changes in zip(books[event.symbol], (event.bids, event.asks), strict=True):
                side.update(changes)
        if isinstance(event, MarkPrice):
            marks[event.symbol] = event.mark
        if at % 97 == 3 and isinstance(event, TradePrint):
            head = [e for p, e in islice(sample.events(at), 10) if p == at]
            assert len(head) == 10
            for standing in head:
                if isinstance(standing, BookUpdate):
                    assert standing.snapshot
                    bids, asks = books[standing.symbol]
                    assert dict(standing.bids) == {p: q for p, q in bids.items() if q}
                    assert dict(standing.asks) == {p: q for p, q in asks.items() if q}


def test_seed_changes_trades_but_not_bars(sample: Tape) -> None:
    other = open_tape(seed=8)
    ours = [e for _, e in islice(sample.events(), 4_000)]
    theirs = [e for _, e in islice(other.events(), 4_500)]
    bars = [
        [
            (e.symbol, e.ts, e.open, e.high, e.low, e.close, e.volume)
            for e in events
            if isinstance(e, BarClose)
        ]
        for events in (ours, theirs)
    ]
    size = min(map(len, bars))
    assert size > 50 and bars[0][:size] == bars[1][:size]
    prints = [[e for e in events if isinstance(e, TradePrint)] for events in (ours, theirs)]
    assert prints[0][:100] != prints[1][:100]


def test_symbols_close_together_and_in_order(sample: Tape) -> None:
    closes = [e for _, e in islice(sample.events(), 3_000) if isinstance(e, BarClose)]
    for i in range(0, len(closes) - 5, 5):
        assert tuple(e.symbol for e in closes[i : i + 5]) == sample.symbols
        assert len({e.ts for e in closes[i : i + 5]}) == 1


def test_history_equals_what_was_replayed(sample: Tape) -> None:
    closes = [e for _, e in islice(sample.events(), 6_000) if isinstance(e, BarClose)]
    end = closes[-1].ts
    for symbol in sample.symbols:
        own = [e for e in closes if e.symbol == symbol]
        assert sample.history(symbol, "30m", end, len(own)) == own
    before = sample.history("BTCUSDT", "30m", sample.time_of(sample.start))
    assert len(before) == 499  # one of the 500 before the start was not recorded
    assert {b.ts - a.ts for a, b in pairwise(before)} == {1800 * 10**9, 3600 * 10**9}


def test_larger_bars_are_complete_and_consistent(sample: Tape) -> None:
    end = sample.time_of(sample.start) + 17 * sample.interval_ns
    small = sample.history("XRP-USDT-PERP", "30m", end, 200)
    large = sample.history("XRP-USDT-PERP", "4h", end, 10)
    assert len(large) == 10 and large[-1].ts <= end
    for bar in large:
        parts = [b for b in small if bar.ts - 4 * 3600 * 10**9 < b.ts <= bar.ts]
        assert len(parts) == 8 and bar.ts % (4 * 3600 * 10**9) == 0
        assert (bar.open, bar.close) == (parts[0].open, parts[-1].close)
        assert bar.high == max(b.high for b in parts) and bar.low == min(b.low for b in parts)
        for field in ("volume", "trades", "quote_volume", "buy_volume", "buy_quote_volume"):
            assert getattr(bar, field) == sum(getattr(b, field) for b in parts)


def test_quiet_bars_are_told_flat_and_missing_ones_not_at_all(write_bars, tmp_path: Path) -> None:
    rows = [("BTCUSDT", s, 10.0, 11.0, 9.0, 10.5, 3.0) for s in (0, 1, 4, 5)]
    rows += [("BTCUSDT", 3, 10.5, 10.5, 10.5, 10.5, 0.0)]
    rows += [("ETHUSDT", s, 1.0, 1.1, 0.9, 1.0, 5.0) for s in range(6)]
    tape = open_tape(
        write_bars(tmp_path / "b.parquet", rows), start_ns=int(START.timestamp()) * 10**9
    )
    events = [e for _, e in tape.events()]
    assert check_bars(tape, events) == 10
    own = [e for e in events if isinstance(e, BarClose) and e.symbol == "BTCUSDT"]
    assert [(e.ts - tape.first_ns) // tape.interval_ns - 1 for e in own] == [0, 1, 3, 4, 5]
    assert (own[2].open, own[2].close, own[2].volume, own[2].trades) == (105, 105, 0, 0)
    marks = [e for e in events if isinstance(e, MarkPrice) and e.symbol == "BTCUSDT"]
    assert {e.ts // tape.interval_ns for e in marks} >= {tape.first_ns // tape.interval_ns + 2}
    assert tape.history("BTCUSDT", tape.interval, tape.end_ns) == own


def test_default_funding_is_paid_every_eight_hours(sample: Tape) -> None:
    events = [e for _, e in islice(sample.events(), 8_000)]
    paid = [e for e in events if isinstance(e, FundingRate)]
    assert paid and all(e.rate == Decimal("0.0001") for e in paid)
    assert all(e.ts % (8 * 3600 * 10**9) == 0 for e in paid)
    for event in events:
        if isinstance(event, MarkPrice):
            assert event.ts <= event.next_funding_ts <= event.ts + 8 * 3600 * 10**9


def test_a_rate_is_told_once_it_is_paid_and_not_before(write_bars, tmp_path: Path) -> None:
    begin = int(START.timestamp()) * 10**9
    rows = [("BTCUSDT", s, 10.0, 11.0, 9.0, 10.5, 3.0) for s in range(40)]
    tape_file = write_bars(tmp_path / "x_ohlcv_1m.parquet", rows)
    paid_at = [START + timedelta(minutes=m) for m in (7, 19, 31)]
    table = {"symbol": ["BTCUSDT"] * 3, "timestamp": paid_at, "funding_rate": [3e-4, -2e-4, 5e-4]}
    pq.write_table(pa.table(table), tmp_path / "x_funding.parquet")
    tape = open_tape(tape_file, start_ns=begin)
    known, seen = Decimal("0.0001"), set()
    for _, event in tape.events():
        if isinstance(event, FundingRate):
            known = event.rate
        elif isinstance(event, MarkPrice):
            assert event.rate == known and event.next_funding_ts >= event.ts
            seen.add(event.rate)
    assert seen == {Decimal(text) for text in ("0.0001", "0.0003", "-0.0002", "0.0005")}
    (schedule,) = load_funding(tmp_path / "x_funding.parquet", ["BTCUSDT"])
    times = np.arange(-(10**9), 12 * 3600 * 10**9, 30 * 10**9) + begin
    rates = [*schedule.rates, Decimal("0.0001")]
    assert [rates[n] for n in schedule.known_at(times)] == [schedule.known(ts) for ts in times]


def test_recorded_funding_is_used() -> None:
    path = SHARED / "binance_usdm_ohlcv_1m_2025spring.parquet"
    if not path.exists():
        pytest.skip("no recorded data at ../shared/data")
    rates = pq.read_table(SHARED / "binance_usdm_funding_2025spring.parquet").to_pandas()
    begin = int(datetime(2025, 5, 6, 7, 50, tzinfo=UTC).timestamp()) * 10**9
    tape = open_tape(path, ["ENAUSDT", "BTCUSDT"], start_ns=begin)
    paid = [e for _, e in islice(tape.events(), 3_000) if isinstance(e, FundingRate)]
    assert [e.symbol for e in paid] == ["ENAUSDT", "BTCUSDT"]
    for event in paid:
        own = rates[rates["symbol"] == event.symbol]
        at = own[own["timestamp"].dt.round("h") == datetime(2025, 5, 6, 8, tzinfo=UTC)]
        assert float(event.rate) == pytest.approx(at["funding_rate"].iloc[0], abs=1e-8)

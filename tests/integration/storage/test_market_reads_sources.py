"""Every bar that some source has whole is given, no other, and shares count that source."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.stored import DAY, MINUTE, T0

from don.clock import interval_text
from don.market.coverage import Range, State, StreamKey, by_stream, shares_of
from don.model.channels import complete, conform
from don.storage.database import Database
from don.storage.market.audit import rebuild
from don.storage.market.blocks import Blocks
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.shares import known, shares

pytestmark = pytest.mark.postgres
HOUR = 60 * MINUTE
SECOND = MINUTE // 60
BINANCE, KRAKEN, BTC = "BINANCE_FUTURES", "KRAKEN", "BTC-USDT-PERP"
HOURS = 12
# of a bar: what it was made of can be told by the volume of an hour (60, 24, 12, 10, 7)
VOLUME = {MINUTE: 1.0, 5 * MINUTE: 2.0, 15 * MINUTE: 3.0, 30 * MINUTE: 5.0, HOUR: 7.0}
EVERY = 20 * SECOND  # of trades of size 0.001


def bars(symbol: str, step: int, closes: Iterable[int], exchange: str = BINANCE) -> pa.Table:
    times = np.array(list(closes), np.int64)
    price, count = np.full(len(times), 100.0), len(times)
    table = pa.table(
        {
            "symbol": [symbol] * count, "ts_event": times, "interval_ns": np.full(count, step),
            "open": price, "high": price, "low": price, "close": price,
            "volume": np.full(count, VOLUME[step]),
        }
    )  # fmt: skip
    return conform("bars", complete("bars", table, exchange=exchange), where="test")


def trades(symbol: str, times: np.ndarray, ids: np.ndarray, exchange: str = BINANCE) -> pa.Table:
    count = len(times)
    table = pa.table(
        {
            "symbol": [symbol] * count, "ts_event": times, "id": ids,
            "price": np.full(count, 100.0), "size": np.full(count, 0.001), "buy": [True] * count,
        }
    )  # fmt: skip
    return conform("trades", complete("trades", table, exchange=exchange), where="test")


def hours_of(table: pa.Table) -> dict[str, dict[int, float]]:
    """By symbol: volume by hour."""
    found: dict[str, dict[int, float]] = {}
    for row in table.to_pylist():
        assert row["interval_ns"] == HOUR
        found.setdefault(row["symbol"], {})[row["ts_event"]] = round(row["volume"], 6)
    return found


def mixture(rng: np.random.Generator, symbol: str) -> tuple[list[pa.Table], dict[int, float]]:
    """Bars of some intervals and perhaps trades, with holes; and the hours that are whole."""
    tables, parts = [], {}
    for step in VOLUME:
        if rng.random() < 0.4:
            continue
        per = HOUR // step
        kept: list[int] = []
        for hour in range(HOURS):
            closes = T0 + hour * HOUR + (np.arange(per) + 1) * step
            fate = rng.random()
            if fate < 0.4:
                kept += closes.tolist()
            elif fate < 0.8:
                lost = rng.random(per) < rng.choice([0.05, 0.5, 0.95])
                kept += closes[~lost].tolist()
        tables.append(bars(symbol, step, kept))
        parts[step] = set(kept)
    times = T0 + np.arange(EVERY // 2, HOURS * HOUR, EVERY)
    present = np.zeros(len(times), bool)
    if rng.random() < 0.7:
        low, high = sorted(rng.integers(0, len(times), 2).tolist())
        present[low:high] = True
        for _ in range(rng.integers(0, 3)):
            at = int(rng.integers(0, len(times)))
            present[at : at + int(rng.integers(1, 300))] = False
    if present.any():
        tables.append(trades(symbol, times[present], np.arange(len(times))[present] + 1_000))
    expected: dict[int, float] = {}
    for hour in range(HOURS):
        low, close = T0 + hour * HOUR, T0 + (hour + 1) * HOUR
        sources = [HOUR, *(step for step in VOLUME if step != HOUR)]
        for step in sources:
            if step in parts and all(t in parts[step] for t in range(low + step, close + 1, step)):
                expected[close] = round(VOLUME[step] * (HOUR // step), 6)
                break
        else:  # the trades of its time, and those next to it on both sides
            around = present[(times >= low - EVERY) & (times < close + EVERY)]
            if len(around) == HOUR // EVERY + 2 and around.all():
                expected[close] = round(0.001 * (HOUR // EVERY), 6)
    return tables, expected


def test_any_mixture_of_sources_gives_all_whole_bars_and_shares_count_them(
    database: Database, tmp_path: Path
) -> None:
    rng = np.random.default_rng(5)
    symbols = [f"S{number}-USDT-PERP" for number in range(24)]
    made = {symbol: mixture(rng, symbol) for symbol in symbols}
    tables = MarketTables(database)
    for channel in ("bars", "trades"):
        tables.load(channel, pa.concat_tables(
            [t for found, _ in made.values() for t in found
             if ("interval_ns" in t.column_names) == (channel == "bars")]
        ))  # fmt: skip
    plain = MarketStore(database)
    rebuild(plain, CoverageLedger(database))
    end = T0 + HOURS * HOUR
    wanted = {symbol: expected for symbol, (_, expected) in made.items() if expected}
    volumes = {volume for expected in wanted.values() for volume in expected.values()}
    assert volumes == {60.0, 24.0, 12.0, 10.0, 7.0, 0.18}, "every source is tried"
    stored = [symbol for symbol in symbols if made[symbol][0]]
    assert hours_of(plain.bars(stored, HOUR, T0 + 1, end + 1)) == wanted
    blocks = Blocks(database, tmp_path / "blocks")
    fast = MarketStore(database, blocks=blocks)
    assert blocks.build("bars", T0, end + 1) == 2
    assert hours_of(fast.bars(stored, HOUR, T0 + 1, end + 1)) == wanted
    # a range from before there was anything asks of the same bars
    few = {symbol: wanted[symbol] for symbol in list(wanted)[:4]}
    assert hours_of(fast.bars(list(few), HOUR, T0 - 90 * DAY, end + 90 * DAY)) == few
    four: dict[str, set[int]] = {symbol: set() for symbol in stored}
    for row in fast.bars(stored, 4 * HOUR, T0, end + 1).to_pylist():
        four[row["symbol"]].add(row["ts_event"])
    for symbol, closes in four.items():
        assert closes <= {T0 + n * 4 * HOUR for n in (1, 2, 3)}
        lacking = {t for t in range(T0 + HOUR, end + 1, HOUR)} - wanted.get(symbol, {}).keys()
        assert not {-(-t // (4 * HOUR)) * 4 * HOUR for t in lacking} & closes
    ranges = by_stream(known(fast, BINANCE, "bars:1h", stored, T0, end))
    for symbol in stored:
        own = ranges[StreamKey(BINANCE, "bars:1h", symbol)]
        whole = shares_of(own, T0, end).share(State.COMPLETE)
        assert whole == pytest.approx(len(wanted.get(symbol, {})) / HOURS), symbol
        for each in own:
            closes = range(-(-(each.start + 1) // HOUR) * HOUR, each.end + HOUR, HOUR)
            given = {close in wanted.get(symbol, {}) for close in closes}
            assert given == {each.state is State.COMPLETE}, each


def test_history_of_large_bars_is_not_hidden_by_small_ones(database: Database) -> None:
    tables, store, end = MarketTables(database), MarketStore(database), T0 + 10 * DAY
    tables.load("bars", bars(BTC, 30 * MINUTE, range(T0 + 30 * MINUTE, end + 1, 30 * MINUTE)))
    tables.load("bars", bars(BTC, MINUTE, range(end - DAY + MINUTE, end + 1, MINUTE)))
    rebuild(store, CoverageLedger(database))
    (found,) = hours_of(store.bars([BTC], HOUR, T0 + 1, end + 1)).values()
    assert len(found) == 240 and sorted(found.values()) == [10.0] * 216 + [60.0] * 24
    assert shares(store, BINANCE, "bars:1h", [BTC], T0, end)["complete"] == 1.0
    # the ledger alone makes nothing complete, nor does a part of an hour
    claim = Range(exchange=BINANCE, channel="bars:1h", symbol=BTC, start=end, end=end + 2 * HOUR,
                  state=State.COMPLETE)  # fmt: skip
    CoverageLedger(database).add([claim])
    tables.load("bars", bars(BTC, MINUTE, [end + MINUTE, end + HOUR + 3 * MINUTE]))
    assert store.bars([BTC], HOUR, end + 1, end + DAY).num_rows == 0
    told = shares(store, BINANCE, "bars:1h", [BTC], end, end + 4 * HOUR)
    assert (told["complete"], told["gap"], told["unknown"]) == (0.0, 0.5, 0.5)
    # of an hour that is not over yet it says what is known of the parts so far
    late = shares(store, BINANCE, "bars:1h", [BTC], end - HOUR, end - HOUR + 10 * MINUTE)
    assert late["complete"] == 1.0
    nobody = shares(store, BINANCE, "bars:1h", ["NOT-USDT-PERP"], T0, end)
    assert nobody["unknown"] == 1.0


def test_trades_make_only_bars_that_they_cover(database: Database) -> None:
    tables, store, ledger = MarketTables(database), MarketStore(database), CoverageLedger(database)
    # thin trades from 0:30 to 5:10, silent from 2:10 to 3:50; then nothing
    minutes = np.r_[30, 70, 110, 130, 230, 250, 290, 310]
    times = T0 + minutes * MINUTE

    def given(exchange: str, state: Mapping[str, object] | None = None) -> list[int]:
        for each in [state] if state else []:
            ledger.add([Range(exchange=exchange, channel="trades", symbol=BTC, **each)])
        table = store.bars([BTC], HOUR, T0, T0 + DAY, exchange=exchange)
        return [(close - T0) // HOUR for close in table["ts_event"].to_pylist()]

    # ids that follow prove that a silence is one
    tables.load("trades", trades(BTC, times, np.arange(8)))
    assert given(BINANCE) == [2, 3, 4, 5]
    # elsewhere a silence of more than an hour may be a hole
    tables.load("trades", trades(BTC, times, np.arange(8), KRAKEN))
    assert given(KRAKEN) == [2, 5]
    sure = {"state": State.COMPLETE, "start": T0, "end": T0 + 8 * HOUR}
    assert given(KRAKEN, sure) == [1, 2, 3, 4, 5, 6]
    told = shares(store, KRAKEN, "bars:1h", [BTC], T0, T0 + 7 * HOUR)
    # nothing is stored behind 5:10: that an hour had no trade cannot be told from lost rows
    assert told["complete"] == pytest.approx(6 / 7) and told["gap"] == pytest.approx(1 / 7)
    gap = {"state": State.GAP, "start": T0 + 80 * MINUTE, "end": T0 + 81 * MINUTE}
    assert given(KRAKEN, gap) == [1, 3, 4, 5, 6]
    # ten seconds without a trade between two that have some are no gap
    seconds = np.arange(5, 320, 20)
    tables.load("trades", trades(BTC, T0 + DAY + seconds * SECOND, seconds // 20 + 8))
    rebuild(store, ledger, exchange=BINANCE)
    start, end = T0 + DAY, T0 + DAY + 5 * MINUTE
    ten = store.bars([BTC], 10 * SECOND, start + 1, end + 1, exchange=BINANCE)
    assert ((ten["ts_event"].to_numpy() - start) // SECOND).tolist() == list(range(10, 300, 20))
    channel = f"bars:{interval_text(10 * SECOND)}"
    assert shares(store, BINANCE, channel, [BTC], start, end)["complete"] == 1.0


def test_copies_with_unfinished_hours_are_made_anew(database: Database, tmp_path: Path) -> None:
    MarketTables(database).load("bars", bars(BTC, MINUTE, range(T0 + MINUTE, T0 + DAY, MINUTE)))
    blocks = Blocks(database, tmp_path)
    assert blocks.build("bars", T0, T0 + DAY + 1) == 4
    for path in list((tmp_path / "bars").glob("*.whole.arrow")):  # as an older Don left them
        path.rename(path.with_name(path.name.replace(".whole", ".hours")))
    fresh = Blocks(database, tmp_path)
    store = MarketStore(database, blocks=fresh)
    assert store.bars([BTC], HOUR, T0 + 1, T0 + DAY + 1).num_rows == 23
    assert fresh.build("bars", T0, T0 + DAY + 1) == 4
    assert store.bars([BTC], HOUR, T0 + 1, T0 + DAY + 1).num_rows == 23
    assert fresh.sweep("bars") == 8

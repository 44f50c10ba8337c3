"""Builds on disk: equal to one batch, extended, rebuilt where data changed, bounded in memory."""

import resource
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from don.errors import DataError, DonError, UsageError
from don.features.columns import PRICE, TIME
from don.features.proof import made_up_bars, same
from don.features.sets import FeatureSet
from don.storage.features.build import Plan, compute_symbol, feed, finish, wanted
from don.storage.features.files import FeatureFiles
from don.storage.features.source import BarSource, ParquetBars

STEP = 60 * 10**9
BEGIN = 1_600_000_020 * 10**9 // STEP * STEP
NAMES = (
    "log_return_1", "return_48", "rank_48", "beta_96", "rsi_14", "obv", "vwap_ratio", "zscore_24",
    "rsi_14@5m", "hour_sin", "hurst_128",
)  # fmt: skip


class Bars:
    """Two symbols of made-up minutes; the second begins later and has holes."""

    symbols = ("A", "B")
    interval_ns = STEP

    def __init__(self, length: int, changed_at: int | None = None) -> None:
        self.length = length
        self._columns = {s: made_up_bars(n, 6_000) for n, s in enumerate(self.symbols)}
        if changed_at is not None:
            self._columns["A"]["volume"][changed_at] += 1.0

    def span(self) -> tuple[int, int]:
        return BEGIN, BEGIN + (self.length - 1) * STEP

    def bars(self, symbol: str, start: int, end: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        low, high = max((start - BEGIN) // STEP, 0), min((end - BEGIN) // STEP, self.length)
        at = np.arange(low, max(high, low))
        if symbol == "B":
            at = at[(at >= 70) & (at % 13 != 5)]
        return BEGIN + at * STEP, {name: self._columns[symbol][name][at] for name in PRICE}


def build(root: Path, bars: BarSource, chunk: int, names: tuple[str, ...] = NAMES) -> Plan:
    files = FeatureFiles(root)
    plan = feed(bars, FeatureSet(names), files, chunk_bars=chunk)
    for symbol in bars.symbols:
        compute_symbol(root, plan, symbol)
    finish(files, plan)
    return plan


def values(root: Path, plan: Plan) -> np.ndarray:
    return FeatureFiles(root).open(plan.about.key).values()


def test_a_build_in_parts_is_one_batch(tmp_path: Path) -> None:
    bars = Bars(900)
    plan = build(tmp_path, bars, 128)
    assert len(plan.about.parts) > 6
    found = values(tmp_path, plan)
    matrix = FeatureFiles(tmp_path).open(plan.about.key)
    own = {name: matrix.column("A", name) for name in (*PRICE, TIME)}
    for place, feature in FeatureSet(NAMES).features:
        assert same(found[:, 0, place], feature.batch(own))
        late = {name: matrix.column("B", name)[71:] for name in (*PRICE, TIME)}
        assert same(found[71:, 1, place], feature.batch(late))
        assert np.isnan(found[:71, 1, place]).all()
    for place, of, cross in FeatureSet(NAMES).cross:
        assert same(found[:, :, place], cross.across(found[:, :, of]))
    assert (matrix.times() == BEGIN + np.arange(900) * STEP).all()


def test_new_bars_extend_a_build_and_changed_ones_renew_it(tmp_path: Path) -> None:
    build(tmp_path / "a", Bars(700), 256)
    plan = build(tmp_path / "a", Bars(900), 256)
    assert plan.new_sets == 200
    whole = values(tmp_path / "b", build(tmp_path / "b", Bars(900), 256))
    assert same(values(tmp_path / "a", plan), whole)
    assert build(tmp_path / "a", Bars(900), 256).new_sets == 0
    changed = build(tmp_path / "a", Bars(900, changed_at=300), 256)
    assert 600 <= changed.new_sets < 900  # what came before the change is kept
    fresh = values(tmp_path / "c", build(tmp_path / "c", Bars(900, changed_at=300), 256))
    assert same(values(tmp_path / "a", changed), fresh)
    assert not same(fresh, whole)


def test_a_build_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    files, bars = FeatureFiles(tmp_path), Bars(700)
    plan = feed(bars, FeatureSet(NAMES), files, chunk_bars=256)
    compute_symbol(tmp_path, plan, "A")  # and then it died
    again = feed(bars, FeatureSet(NAMES), files, chunk_bars=256)
    assert compute_symbol(tmp_path, again, "A") == 0  # finished parts are not computed again
    compute_symbol(tmp_path, again, "B")
    finish(files, again)
    assert same(values(tmp_path, again), values(tmp_path / "x", build(tmp_path / "x", bars, 256)))


def test_memory_does_not_grow_with_the_history(tmp_path: Path) -> None:
    names = ("log_return_1", "beta_96", "zscore_24", "hurst_128")
    build(tmp_path / "warm", Bars(600), 256, names)
    chunk, peaks = 1_000, []
    for length in (1_500, 6_000):
        bars = Bars(length)
        tracemalloc.start()
        build(tmp_path / str(length), bars, chunk, names)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 200_000
    budget = 8 * chunk * (8 * len(Bars.symbols) + 3 * len(names) + 100)  # as the docs state it
    assert peaks[1] < budget


def test_reading_a_file_takes_the_memory_of_a_span_not_of_the_file(tmp_path: Path) -> None:
    minute, lengths = 60 * 10**9, (250_000, 500_000)
    for count in lengths:  # one row group each, as files are written by default
        table = {"symbol": ["A"] * count,
                 "timestamp": pa.array(np.arange(count) * minute, pa.timestamp("ns")),
                 **{name: np.arange(1.0, count + 1.0) for name in PRICE}}  # fmt: skip
        pq.write_table(pa.table(table), tmp_path / f"{count}.parquet")
    usual, pool, peaks = pa.default_memory_pool(), pa.system_memory_pool(), []
    pa.set_memory_pool(pool)  # it counts what Arrow holds, from here on
    try:
        for count in lengths:
            source = ParquetBars(tmp_path / f"{count}.parquet")
            times, columns = source.bars("A", (count - 500) * minute, (count + 1) * minute)
            assert len(times) == 501 and columns["close"][0] == count - 500
            peaks.append(pool.max_memory())
    finally:
        pa.set_memory_pool(usual)
    assert peaks[1] < 1.1 * peaks[0]


def test_funding_of_a_file_is_what_was_known_when_the_bar_closed(tmp_path: Path) -> None:
    hour = 3_600 * 10**9
    stamps = pa.array([n * 3_600_000 for n in range(48)], pa.timestamp("ms"))
    paid = [n * 8 * 3_600_000 for n in range(6)]

    def rates(last: float) -> list[float]:
        pq.write_table(pa.table({"symbol": ["BTCUSDT"] * 48, "timestamp": stamps,
                                 **{name: np.full(48, 100.0) for name in PRICE}}),
                       tmp_path / "bars.parquet")  # fmt: skip
        pq.write_table(pa.table({"symbol": ["BTCUSDT"] * 6,
                                 "timestamp": pa.array(paid, pa.timestamp("ms")),
                                 "funding_rate": [*(n * 1e-3 for n in range(1, 6)), last]}),
                       tmp_path / "funding.parquet")  # fmt: skip
        source = ParquetBars(tmp_path / "bars.parquet", funding=tmp_path / "funding.parquet")
        _, columns = source.bars("BTCUSDT", 0, 100 * hour)
        assert "mark" not in columns  # nobody recorded one
        return columns["rate"].tolist()

    known = rates(6e-3)
    assert known[0:8] == [1e-3] * 8  # bars that close from one o'clock to eight
    assert known[8:16] == [2e-3] * 8
    other = rates(9e-3)  # of a payment at 40 h: no bar that closes until then knows of it
    assert other[:40] == known[:40] and other[40:] == [9e-3] * 8


def test_two_builders_do_not_meet(tmp_path: Path) -> None:
    files, bars = FeatureFiles(tmp_path), Bars(300)
    same_one = wanted(bars, FeatureSet(NAMES), chunk_bars=256)
    with files.alone(same_one):
        with pytest.raises(UsageError, match=r"is being built by another process: wait"):
            with files.alone(same_one):
                pass
        with files.alone(wanted(bars, FeatureSet(("obv",)), chunk_bars=256)):
            pass  # another build is another folder
    left = tmp_path / same_one.key / "123-abc.A.arrow.99.tmp"
    left.write_bytes(b"of a builder that was killed")
    build(tmp_path, bars, 256)
    assert not left.exists() and not list(tmp_path.glob("*/*.tmp"))


def test_a_disk_that_is_full_keeps_what_is_built(tmp_path: Path) -> None:
    build(tmp_path, Bars(300), 256, ("obv", "zscore_24"))
    before = {path: path.read_bytes() for path in tmp_path.glob("*/*.*")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # a write fails half way, as it does
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DonError, match=r"arrow cannot be written: File too large; what is"):
            build(tmp_path, Bars(700), 256, ("obv", "zscore_24"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path: path.read_bytes() for path in before} == before
    assert not list(tmp_path.glob("*/*.tmp"))
    plan = build(tmp_path, Bars(700), 256, ("obv", "zscore_24"))
    fresh = build(tmp_path / "x", Bars(700), 256, ("obv", "zscore_24"))
    assert same(values(tmp_path, plan), values(tmp_path / "x", fresh))


def test_bad_prices_and_damaged_files_are_named(tmp_path: Path) -> None:
    bars = Bars(300)
    bars._columns["A"]["close"][40] = np.nan
    with pytest.raises(DataError, match=r"bar of A that closes at .* finite positive prices"):
        build(tmp_path, bars, 256)
    with pytest.raises(DataError, match="no build 'nothing'"):
        FeatureFiles(tmp_path).open("nothing")
    plan = build(tmp_path / "b", Bars(300), 256)
    file = next((tmp_path / "b" / plan.about.key).glob("*.A.arrow"))
    file.write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read"):
        values(tmp_path / "b", plan)
    build(tmp_path / "b", Bars(300), 256)  # what is damaged is made anew
    assert same(
        values(tmp_path / "b", plan), values(tmp_path / "d", build(tmp_path / "d", Bars(300), 256))
    )
    (tmp_path / "b" / plan.about.key / "build.json").write_text("{")
    with pytest.raises(DataError, match=r"no description of a build: .* remove the folder"):
        build(tmp_path / "b", Bars(300), 256)
    assert FeatureFiles(tmp_path / "b").keys() == (plan.about.key,)


def test_files_of_bars_are_read_as_they_are_or_refused(tmp_path: Path) -> None:
    path, stamp = tmp_path / "bars.parquet", pa.timestamp("ms")
    good = {
        "symbol": ["BTC/USDT"] * 40 + ["../ETH"] * 30,
        "timestamp": pa.array([*range(0, 40 * 60_000, 60_000), *range(0, 30 * 60_000, 60_000)],
                              stamp),
        **{name: [float(n + 1) for n in range(70)] for name in PRICE},
    }  # fmt: skip

    def refused(message: str, symbols: tuple[str, ...] = (), step: int | None = None,
                **changes: object) -> None:  # fmt: skip
        pq.write_table(pa.table({**good, **changes}), path)
        with pytest.raises(DataError, match=message):
            build(tmp_path, ParquetBars(path, symbols, step), 16, ("obv",))

    refused("timestamp of bars .* must be a timestamp, was int64",
            timestamp=[int(n) for n in range(70)])  # fmt: skip
    refused("close of bars .* must be numbers, was string", close=["1"] * 70)
    refused(r"bars of BTC/USDT .* must be sorted by timestamp, each once",
            timestamp=pa.array([0] * 70, stamp))  # fmt: skip
    refused("symbol and timestamp .* must be known", symbol=[None] * 70)
    refused("has no SOL; it has ../ETH, BTC/USDT", symbols=("SOL",))
    refused("symbols must be different, were BTC/USDT twice", symbols=("BTC/USDT",) * 2)
    refused("interval must be that of the bars: .* every 60 s, was 3600 s", step=3600 * 10**9)
    # too short, a bar would be known before it has closed
    refused("interval must be that of the bars: .* every 60 s, was 30 s", step=30 * 10**9)
    refused("must have finite positive prices", volume=[-1.0] * 70)
    sparse = pa.array([*range(0, 80 * 60_000, 120_000), *range(0, 30 * 60_000, 60_000)], stamp)
    pq.write_table(pa.table({**good, "timestamp": sparse}), path)
    assert ParquetBars(path).interval_ns == 60 * 10**9  # of all symbols, not the first one's
    pq.write_table(pa.table(good).slice(0, 0), path)
    with pytest.raises(DataError, match="has no bars"):
        ParquetBars(path)
    pq.write_table(pa.table(good), path)
    plan = build(tmp_path, ParquetBars(path), 10**12, ("obv", "return_12"))
    assert values(tmp_path, plan).shape == (40, 2, 2)
    assert {p.parent.name for p in tmp_path.rglob("*.arrow")} == {plan.about.key}

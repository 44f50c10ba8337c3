"""Features of one's own, larger timeframes, certificates, and state of older versions."""

import importlib
import math
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numba import njit

from don.errors import ConfigError
from don.features.base import Feature, Spec
from don.features.columns import COLUMNS, FIRST, PRICE, TIME, rows
from don.features.config import DEFAULT_FEATURES, FeatureConfig
from don.features.custom import feature
from don.features.plugins import load_modules
from don.features.proof import made_up_bars, same
from don.features.registry import forget, kinds, make, register
from don.features.sets import FeatureEngine, FeatureSet
from don.features.verify import batch_of, certify
from don.market.bars import BarSums
from don.market.resample import resample_bars
from don.model.channels import complete


def test_the_default_set_is_what_sessions_were_recorded_with() -> None:
    assert FeatureSet(DEFAULT_FEATURES).hash == "cdcc7ac84d0290e3"
    assert COLUMNS[: len(FIRST)] == FIRST and len(FIRST) == 17


def test_a_decorated_function_is_a_feature() -> None:
    @feature("test_up_close", inputs=("close", "open"), defaults=(8,), units="fraction")
    def up_close(close, opened, n):
        """Share of n bars that closed above their open."""
        return (close > opened).sum() / n

    try:
        bars = made_up_bars(1, 60)
        found = make("test_up_close_8")
        up = (bars["close"] > bars["open"]).astype(float)
        expected = np.convolve(up, np.ones(8), "valid") / 8
        assert np.allclose(found.batch(bars)[7:], expected) and found.compiled
        assert kinds()["test_up_close_8"].startswith("Share of n bars")
    finally:
        forget("test_up_close")


def test_what_numba_cannot_compile_runs_as_python() -> None:
    @feature("test_python", inputs=("close",), window=3)
    def text(close):
        """Length of the price written out."""
        return float(len(f"{close[-1]:.6g}".strip()))

    try:
        assert not make("test_python").compiled
        assert make("test_python").batch(made_up_bars(1, 20))[2] > 0
    finally:
        forget("test_python")


REMEMBERED: dict = {}


class Ahead(Feature):
    """The next close and other things that are not to be had."""

    def __init__(self, spec: Spec, how: str) -> None:
        self.spec, self.inputs, self.warm_up, self._how = spec, ("close", "spread"), 0, how
        self._seen, self._first, self._sum = 0, 0.0, 0.0

    def fresh(self) -> "Ahead":
        return Ahead(self.spec, self._how)

    def batch(self, columns):
        close = columns["close"]
        match self._how:
            case "next":
                return np.append(close[1:], close[-1])
            case "scaled":
                return close / close.max()
            case "writes":
                close[:] = 1.0
            case "dear" if close[0] > 1_000:
                return np.append(close[1:], close[-1])
            case "late" if len(close) > 1_000:
                return np.append(close[:1_000], np.append(close[1_001:], 0.0))
            case "hidden":  # a hole shows what comes after it
                spread = columns["spread"]
                return np.where(np.isnan(spread), np.append(close[1:], 0.0), close)
            case "learns":
                known = max(REMEMBERED.get(close[0], close), close, key=len)
                REMEMBERED[close[0]] = known.copy()
                return np.append(known[1:], 0.0)[: len(close)]
            case "counts":
                REMEMBERED["calls"] = REMEMBERED.get("calls", 0) + 1
                return close + REMEMBERED["calls"]
            case "draws":
                return np.random.default_rng().normal(size=len(close))
            case "fails":
                raise KeyError("nothing of the kind")
            case "short":
                return close[1:]
            case "forgets":
                return np.cumsum(close)
        return close.copy()

    def update(self, bar) -> float:
        close = float(bar[COLUMNS.index("close")])
        self._seen += 1
        match self._how:
            case "unlike":
                return close + 1.0
            case "base":  # a bar may be part of a history
                return close if bar.base is None else float(bar.base[-1][COLUMNS.index("close")])
            case "learns":
                self._first = self._first or close
                known = REMEMBERED.get(self._first)
                return close if known is None else float(np.append(known[1:], 0.0)[self._seen - 1])
            case "forgets":
                self._sum += close
                return self._sum
        return close

    def reopen(self, columns) -> None:
        few = 10 if self._how == "forgets" else 100_000
        self.advance({name: values[-few:] for name, values in columns.items()})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("next", "looks ahead: bars after bar"),
        ("scaled", "looks ahead"),
        ("late", "looks ahead: bars after bar 3500"),
        ("dear", "looks ahead"),
        ("hidden", "must give bar by bar what it gives in batch"),
        ("base", "must give from many bars at once"),
        ("learns", "must give bar by bar what it gives in batch"),
        ("writes", "changes the bars"),
        ("unlike", "must give bar by bar what it gives in batch"),
        ("counts", "other values for the same bars"),
        ("draws", "other values for the same bars"),
        ("fails", "fails on made-up bars: KeyError: 'nothing of the kind'"),
        ("short", "must give one value a bar, gave 239 for 240"),
        ("forgets", "must give after a restart at bar 120"),
    ],
)
def test_what_fails_its_proof_is_not_registered(how: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        register("test_ahead")(lambda spec: Ahead(spec, how))
    assert "test_ahead" not in kinds()


def changing(close):
    close -= close.mean()
    return close[-1]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (changing, "must give after a restart .* or changes its window"),
        (lambda close: close[3], "IndexError: index is out of bounds"),
        (lambda close: close[-4], "IndexError: index is out of bounds"),
        (lambda close: None, "fails on made-up bars: TypeError"),
        (lambda close: time.perf_counter(), "other values for the same bars"),
    ],
)
def test_a_window_is_all_that_a_function_has(function, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        feature("test_window", inputs=("close",), window=3)(function)
    assert "test_window" not in kinds()


SHARE = 0.5


def test_what_a_function_uses_is_part_of_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def helped(close):
        return float(f"{close[-1] * SHARE:.6g}")  # nothing for numba, which takes its time

    def made(times: float) -> str:
        @feature("test_share", inputs=("close",), window=2)
        def share(close):
            """A share of the close."""
            return helped(close) * times

        told = FeatureSet(("test_share",)).hash
        forget("test_share")
        return told

    first = made(1.0)
    assert made(1.0) == first and made(2.0) != first
    monkeypatch.setitem(globals(), "SHARE", 0.25)
    assert made(1.0) != first


def test_what_a_function_uses_is_followed_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another module of the folder, in a class, in a dictionary, behind a partial or a cache."""
    (tmp_path / "maths_of_mine.py").write_text(
        "import functools\nALPHA = 2.0\nTABLE = {'a': 1.0}\nclass Known:\n    k = 1.0\n"
        "@functools.lru_cache\ndef scaled(x):\n    return x * 2.0\n"
        "half = functools.partial(scaled, 3.0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    maths = importlib.import_module("maths_of_mine")

    def told() -> str:
        @feature("test_uses", inputs=("close",), window=2)
        def uses(close):
            """What all of them make of it."""
            known = f"{maths.ALPHA} {maths.TABLE['a']} {maths.Known.k} {maths.half()}"
            return maths.scaled(close[-1]) + len(known)

        found = FeatureSet(("test_uses",)).hash
        forget("test_uses")
        return found

    first = told()
    assert told() == first
    changes = {
        "ALPHA": 3.0,
        "TABLE": {"a": 2.0},
        "half": partial(maths.scaled, 4.0),
        "Known": type("Known", (), {"k": 2.0, "__module__": "maths_of_mine"}),
        "scaled": eval("lambda x: x * 5.0"),
    }
    hashes = [first]
    for name, value in changes.items():
        monkeypatch.setattr(maths, name, value)
        hashes.append(told())
    assert len(set(hashes)) == len(changes) + 1
    monkeypatch.setattr(maths, "ALPHA", maths.Known())
    with pytest.raises(ConfigError, match=r"'test_uses' uses maths.ALPHA, a Known, of which"):
        told()


def test_it_is_proven_with_the_parameters_that_it_is_used_with() -> None:
    @njit
    def of_twenty(close):  # whatever the window is; compiled code of others checks no bounds
        total = 0.0
        for i in range(20):
            total += close[i]
        return total / 20.0

    @feature("test_peek", inputs=("close",), defaults=(20,))
    def peek(close, n):
        """Mean of the window, it thinks."""
        return of_twenty(close)

    try:
        FeatureSet(("test_peek_20",))
        with pytest.raises(ConfigError, match=r"'test_peek_10' (looks|must give|gives)"):
            FeatureSet(("log_return_1", "test_peek_10"))
    finally:
        forget("test_peek")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "fails when it is loaded: ZeroDivisionError: division by zero"),
        ("def f(:", "fails when it is loaded: SyntaxError"),
        ("import nothing_of_the_kind", "cannot be loaded: No module named"),
    ],
)
def test_a_module_that_fails_is_named(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_own_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=f"'test_own_module' {message}"):
        load_modules(["test_own_module"])


@pytest.mark.parametrize("name", ["rsi_²", "rsi_٣", "rsi_" + "9" * 5_000, "rsi_-3", "rsi_1.5"])
def test_a_parameter_is_a_number_as_one_writes_it(name: str) -> None:
    with pytest.raises(ConfigError, match=r"is unknown|must have 1 parameters"):
        make(name)


@pytest.mark.parametrize("name", ["rsi_14", "zscore_24", "obv", "parkinson_4"])
def test_larger_timeframes_are_resampled_bars_once_closed(name: str) -> None:
    bars = made_up_bars(4, 900)
    holes = np.random.default_rng(0).random(900) < 0.1
    bars = {key: values[~holes] for key, values in bars.items()}
    small = {"symbol": ["A"] * len(bars["close"]), "exchange": ["X"] * len(bars["close"])}
    stamps = (bars[TIME] * 1e9).astype(np.int64)
    prices = {key: bars[key] for key in PRICE}
    table = complete("bars", pa.table({**small, "ts_event": stamps, **prices}),
                     interval_ns=60 * 10**9)  # fmt: skip
    large = resample_bars(table, 900 * 10**9)
    closes = large["ts_event"].to_numpy()
    inner = make(name).batch({key: large[key].to_numpy() for key in PRICE})
    found = make(f"{name}@15m").batch(bars)
    for t, now in enumerate(stamps.tolist()):
        # over by now: its close has come, and a bar at or after the close was seen
        over = np.flatnonzero(closes <= now)
        expected = inner[over[-1]] if len(over) else math.nan
        assert found[t] == pytest.approx(expected, rel=1e-9, nan_ok=True)


def test_timeframes_must_fit_the_bars() -> None:
    with pytest.raises(ValueError, match="larger multiple of the bars' interval"):
        FeatureConfig(interval="1h", names=("rsi_14@90m",))
    with pytest.raises(ConfigError, match="timeframe of feature 'rsi_14@x'"):
        make("rsi_14@x")
    with pytest.raises(ConfigError, match="compares symbols"):
        make("rank_48@1h")
    assert FeatureSet(("rsi_14@1h",), 30 * 60 * 10**9).warm_up == 29


def test_many_bars_at_once_leave_the_same_state() -> None:
    names = ("rsi_14", "obv", "zscore_24", "hurst_128", "rsi_14@5m", "beta_32", "log_return_1")
    panel = np.stack([rows(made_up_bars(seed, 400)) for seed in range(3)], axis=1)
    plain, quick = (FeatureEngine(FeatureSet(names), 3) for _ in range(2))
    expected = np.stack([plain.update(bars) for bars in panel])
    cuts = np.split(panel, [7, 150, 151, 390])
    assert same(np.concatenate([quick.advance(part) for part in cuts]), expected)
    more = rows(made_up_bars(9, 3))[:, None, :].repeat(3, axis=1)
    assert same(
        np.stack([quick.update(b) for b in more]), np.stack([plain.update(b) for b in more])
    )


def test_certificates_count_every_vector() -> None:
    features = FeatureSet(("rsi_14", "zscore_24"))
    fed = np.stack([rows(made_up_bars(seed, 80)) for seed in range(2)], axis=1)
    engine = FeatureEngine(features, 2)
    live = [engine.update(bars) for bars in fed]
    batch = batch_of(features, fed[:, :, :17], np.ones((80, 2), bool))  # rows of an older version
    served = {version: live[29 + version] for version in range(1, 51)}
    told = certify(features, batch, served, 50)
    assert told.certified and told.share == 1.0 and told.vectors == 100
    served[7] = served[7] + [[0.0, 1e-12], [0.0, 0.0]]
    told = certify(features, batch, served, 50)
    assert not told.certified and told.equal == 99 and told.differences == {"zscore_24": 1}


def test_sums_of_an_older_version_are_read() -> None:
    sums = BarSums(("A",), 10**9)
    state = {**vars(sums), "_slots": {5: np.zeros((1, 24))}}
    old = BarSums.__new__(BarSums)
    old.__setstate__(state)
    found = old.finish(6 * 10**9)
    assert found.shape == (1, 19) and np.isnan(np.delete(found[0], [10, 11])).all()

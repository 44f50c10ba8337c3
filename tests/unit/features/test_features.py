"""Every registered feature: stream = batch to the bit, no look into the future, sane values."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from don.errors import ConfigError
from don.features.base import CrossFeature, Feature, Spec
from don.features.columns import COLUMNS, TIME, rows
from don.features.kernel import KernelFeature
from don.features.proof import made_up_bars, prove_kind, same
from don.features.registry import Kind, catalogue, kinds, make, register
from don.features.sets import FeatureEngine, FeatureSet

ROOT = Path(__file__).parents[3]
NAMES = [name for name in kinds() if isinstance(make(name), Feature)]


def real(symbol: str = "BTCUSD", length: int = 1500) -> dict[str, np.ndarray]:
    table = pq.read_table(ROOT / "don/paper/sample/spot_usd_30m.parquet").to_pandas()
    own = table[table["symbol"] == symbol].iloc[2000 : 2000 + length]
    bars = {name: own[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    return {**bars, TIME: 1.5e9 + 1800.0 * np.arange(length)}


def synthetic(seed: int, length: int, tick: float = 0.01) -> dict[str, np.ndarray]:
    return made_up_bars(seed, length, tick)


def stream(feature: Feature, columns: dict[str, np.ndarray]) -> np.ndarray:
    live = feature.fresh()
    return np.array([live.update(bar) for bar in rows(columns)])


@pytest.mark.parametrize("name", NAMES)
def test_stream_equals_batch_on_real_bars(name: str) -> None:
    columns = real()
    feature = make(name)
    batch = feature.batch(columns)
    assert same(stream(feature, columns), batch)
    if set(feature.inputs) <= {"open", "high", "low", "close", "volume", TIME}:
        assert np.isnan(batch[: feature.warm_up]).all()
        assert np.isfinite(batch[feature.warm_up :]).all()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(1, 150), tick=st.sampled_from([0.01, 1.0]))
def test_stream_equals_batch_on_odd_bars(name: str, seed: int, length: int, tick: float) -> None:
    columns = synthetic(seed, length, tick)
    feature = make(name)
    assert same(stream(feature, columns), feature.batch(columns))


@pytest.mark.parametrize("entry", catalogue(), ids=lambda entry: entry.kind)
def test_every_kind_is_proven(entry: Kind) -> None:
    prove_kind(entry)
    assert entry.doc and entry.formula and entry.units and entry.family


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("rsi_14", lambda d: talib.RSI(d["close"], 14) / 100),
        ("sma_ratio_20", lambda d: d["close"] / talib.SMA(d["close"], 20) - 1),
        ("macd_hist", lambda d: talib.MACD(d["close"])[2] / d["close"]),
        ("atr_14", lambda d: talib.ATR(d["high"], d["low"], d["close"], 14) / d["close"]),
        ("adx_14", lambda d: talib.ADX(d["high"], d["low"], d["close"], 14) / 100),
        ("return_12", lambda d: shifted(d["close"], 12) - 1),
        ("log_return_3", lambda d: np.log(shifted(d["close"], 3))),
        ("zscore_24", lambda d: windows(d["close"], 24, lambda w: (w[-1] - w.mean()) / w.std())),
        (
            "volatility_48",
            lambda d: windows(d["close"], 49, lambda w: np.sqrt((np.diff(np.log(w)) ** 2).mean())),
        ),
        (
            "parkinson_24",
            lambda d: windows(
                np.log(d["high"] / d["low"]),
                24,
                lambda w: np.sqrt((w**2).mean() / (4 * np.log(2))),
            ),
        ),
    ],
)
def test_values_agree_with_the_formula(name: str, reference) -> None:
    columns = real()
    expected = reference(columns)
    assert np.allclose(make(name).batch(columns), expected, rtol=1e-9, atol=1e-14, equal_nan=True)


def shifted(values: np.ndarray, n: int) -> np.ndarray:
    out = np.full(len(values), np.nan)
    out[n:] = values[n:] / values[:-n]
    return out


def windows(values: np.ndarray, n: int, function) -> np.ndarray:
    out = np.full(len(values), np.nan)
    for t in range(n - 1, len(values)):
        out[t] = function(values[t + 1 - n : t + 1])
    return out


def test_micro_structure_features_skip_what_was_not_seen() -> None:
    columns = real(length=4)
    columns["buy_volume"] = np.array([3.0, np.nan, 1.0, np.nan])
    columns["sell_volume"] = np.array([1.0, np.nan, 3.0, np.nan])
    found = make("trade_imbalance_2").batch(columns)
    assert same(found, np.array([np.nan, 0.5, -0.5, -0.5]))
    assert same(make("trade_imbalance").batch(columns), np.array([0.5, np.nan, -0.5, np.nan]))
    assert np.isnan(make("spread").batch(columns)).all()


@given(
    st.lists(
        st.one_of(st.just(float("nan")), st.integers(-3, 3).map(float)), min_size=1, max_size=8
    )
)
def test_ranks_are_centred_ordered_and_blind_to_the_unknown(values: list[float]) -> None:
    rank = make("rank_48")
    assert isinstance(rank, CrossFeature)
    given_values = np.array(values)
    found = rank.across(given_values)
    known = np.isfinite(given_values)
    assert (np.isnan(found) == ~known).all()
    if known.any():
        assert abs(found[known].sum()) < 1e-9
        assert (np.abs(found[known]) <= 0.5).all()
        order = np.argsort(given_values[known], kind="stable")
        assert (np.diff(found[known][order]) >= 0).all()
    assert same(rank.across(given_values[None, :])[0], found)


def test_a_set_streams_what_it_computes_in_batch() -> None:
    names = ("return_48", "rank_48", "rsi_14", "zscore_24", "ofi", "funding", "kyle_lambda")
    features = FeatureSet(names)
    panel = [synthetic(seed, 200) for seed in range(4)]
    columns = {name: np.stack([p[name] for p in panel], axis=1) for name in COLUMNS}
    batch = features.batch(columns)
    engine = FeatureEngine(features, 4)
    bars = np.stack([rows(p) for p in panel], axis=1)
    live = np.stack([engine.update(bar) for bar in bars])
    assert same(live, batch)


def test_the_hash_tells_sets_apart() -> None:
    base = FeatureSet(("rsi_14", "zscore_24"))
    assert base.hash == FeatureSet(("rsi_14", "zscore_24")).hash
    others = [("zscore_24", "rsi_14"), ("rsi_15", "zscore_24"), ("rsi_14",)]
    assert len({base.hash, *(FeatureSet(names).hash for names in others)}) == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "rsy_21",
            r"^feature 'rsy_21' is unknown; did you mean rsi_21\?; see `don features list`, "
            r"and name the module of one of your own in `modules`$",
        ),
        ("RSI14", "did you mean rsi_14"),
        ("macd_hist_3", "must have 3 parameters"),
        ("mcd_hist_3", r"did you mean macd_hist_12_26_9\?"),
        ("qqqqqq", "feature 'qqqqqq' is unknown; see `don features list`"),
        ("rsi_14_2", "must have 1 parameters from 2 to 10000, as in rsi_14"),
        ("rsi_1", "must have 1 parameters from 2"),
        ("funding_3", "must have 0 parameters"),
    ],
)
def test_bad_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeatureSet((name,))


def test_bad_sets_are_refused() -> None:
    with pytest.raises(ConfigError, match="different names"):
        FeatureSet(("rsi_14", "rsi_14"))
    with pytest.raises(ConfigError, match="'rank_48' compares 'return_48': add it"):
        FeatureSet(("rank_48",))


@njit
def _gap(state: np.ndarray, row: np.ndarray, at: np.ndarray) -> float:
    before, state[2] = state[2], row[at[1]]
    return row[at[0]] / before - 1.0 if before > 0.0 else np.nan


def test_a_custom_feature_is_a_decorated_function() -> None:
    @register("test_gap")
    def gap(spec: Spec) -> Feature:
        """Open over the close before, less 1."""
        return KernelFeature(spec, _gap, ("open", "close"), warm_up=1)

    assert kinds()["test_gap"].startswith("Open over")
    columns = real(length=50)
    expected = np.append(np.nan, columns["open"][1:] / columns["close"][:-1] - 1.0)
    assert same(make("test_gap").batch(columns), expected)
    assert same(stream(make("test_gap"), columns), expected)
    assert FeatureSet(("test_gap",)).hash != FeatureSet(("rsi_14",)).hash
    with pytest.raises(ValueError, match="must be new"):
        register("test_gap")(gap)

"""Bench of the features: ten indicators over a history, and bar by bar. CPU time of one thread.

The set is the one that indicator libraries are compared by: SMA 20, EMA 20, RSI 14, MACD,
Bollinger 20, ATR 14, ADX 14, stochastic 14/3, OBV, VWAP. Ours also divides prices by the close, as
features do.
"""

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import talib

from don.features.base import Feature
from don.features.columns import Floats
from don.features.columns import rows as bar_rows
from don.features.registry import make
from don.features.sets import FeatureEngine, FeatureSet

NAMES = (
    "sma_ratio_20",
    "ema_ratio_20",
    "rsi_14",
    "macd_hist",
    "bollinger_20",
    "atr_14",
    "adx_14",
    "stoch_14_3",
    "obv",
    "vwap_ratio",
)
RUNS = 5
WINDOW = 500  # bars that a caller without streams computes anew each bar


def rows(full: bool) -> list[dict[str, Any]]:
    """The rows `features.batch`, `features.batch_pandas`, `features.stream10_us`.

    `features.batch` is beside TA-Lib's own functions on the same set, which do less: they neither
    divide by the close nor know of VWAP as a ratio.
    """
    features = [made for name in NAMES if isinstance(made := make(name), Feature)]
    count = 1_000_000 if full else 200_000
    data = _bars(count)
    columns = {name: data[:, i].copy() for i, name in enumerate(("open", "high", "low", "close"))}
    columns["volume"] = data[:, 4].copy()
    pandas: Any = importlib.import_module("pandas")  # comes with Gradio
    frame = pandas.DataFrame(columns)
    ours = lambda: [feature.batch(columns) for feature in features]  # noqa: E731
    bare = _row("features.batch", count, ours, "TA-Lib functions", count, lambda: _bare(columns))
    slow = _row(
        "features.batch_pandas",
        count,
        ours,
        "pandas, rolling and ewm",
        count,
        lambda: _pandas(pandas, frame),
    )
    bars = bar_rows(columns)[: 100_000 if full else 20_000]
    name, peer_count, peer = _stream_peer(columns)
    stream = _row("features.stream10_us", len(bars), lambda: _stream(bars), name, peer_count, peer)
    return [bare, slow, _per_bar(stream)]


def _row(
    name: str,
    count: int,
    ours: Callable[[], Any],
    peer: str,
    peer_count: int,
    theirs: Callable[[], Any],
) -> dict[str, Any]:
    ours()  # compile, and warm the caches
    theirs()
    mine, other = [], []
    for _ in range(RUNS):  # in turns, so that both see the same load of the machine
        mine.append(count / _seconds(ours))
        other.append(peer_count / _seconds(theirs))
    value, peer_value = statistics.median(mine), statistics.median(other)
    return {
        "area": "features",
        "name": name,
        "value": value,
        "unit": "bars/s",
        "n": count,
        "min": min(mine),
        "max": max(mine),
        "peer": peer,
        "peer_value": peer_value,
        "ratio": value / peer_value,
    }


def _per_bar(row: dict[str, Any]) -> dict[str, Any]:
    """A row of bars per second as microseconds a bar; the ratio stays: above 1 is better."""
    return {
        **row,
        "unit": "us/bar",
        "value": 1e6 / row["value"],
        "min": 1e6 / row["max"],
        "max": 1e6 / row["min"],
        "peer_value": 1e6 / row["peer_value"],
    }


def _seconds(work: Callable[[], Any]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _bars(count: int) -> Floats:
    """Synthetic minute bars, [count, 5] open, high, low, close, volume; seeded."""
    rng = np.random.default_rng(0)
    path = 30_000 * np.exp(np.cumsum(rng.normal(0, 4e-4, count * 4))).reshape(count, 4)
    opened = np.concatenate([[30_000.0], path[:-1, 3]])
    high, low = np.maximum(path.max(axis=1), opened), np.minimum(path.min(axis=1), opened)
    return np.stack([opened, high, low, path[:, 3], rng.lognormal(2, 0.7, count)], axis=1)


def _stream(bars: Floats) -> None:
    engine = FeatureEngine(FeatureSet(NAMES), 1)  # as the live cache holds it
    for bar in bars[:, None, :]:
        engine.update(bar)


def _pandas(pandas: Any, frame: Any) -> list[Any]:
    h, low, c, v = frame["high"], frame["low"], frame["close"], frame["volume"]
    change, before = c.diff(), c.shift()
    up, down = change.clip(lower=0), -change.clip(upper=0)
    wilder = {"alpha": 1 / 14, "adjust": False}
    middle, deviation = c.rolling(20).mean(), c.rolling(20).std(ddof=0)
    ranges = pandas.concat([h - low, (h - before).abs(), (low - before).abs()], axis=1).max(axis=1)
    atr = ranges.ewm(**wilder).mean()
    rise, fall = h.diff(), -low.diff()
    plus = rise.where((rise > fall) & (rise > 0), 0.0).ewm(**wilder).mean() / atr
    minus = fall.where((fall > rise) & (fall > 0), 0.0).ewm(**wilder).mean() / atr
    macd = c.ewm(span=12, adjust=False).mean() - c.ewm(span=26, adjust=False).mean()
    lowest = low.rolling(14).min()
    typical = (h + low + c) / 3 * v
    return [
        c / middle - 1,
        c / c.ewm(span=20, adjust=False).mean() - 1,
        up.ewm(**wilder).mean() / (up.ewm(**wilder).mean() + down.ewm(**wilder).mean()),
        (macd - macd.ewm(span=9, adjust=False).mean()) / c,
        (c - middle + 2 * deviation) / (4 * deviation),
        atr / c,
        ((plus - minus).abs() / (plus + minus)).ewm(**wilder).mean(),
        ((c - lowest) / (h.rolling(14).max() - lowest)).rolling(3).mean(),
        (np.sign(change).fillna(0.0) * v).cumsum(),
        c / (typical.cumsum() / v.cumsum()) - 1,
    ]


def _stream_peer(columns: dict[str, Floats]) -> tuple[str, int, Callable[[], Any]]:
    count = 1_000
    if importlib.util.find_spec("talipp") is not None:
        return "talipp", count, lambda: _talipp(columns, count)
    name = f"talib batch over trailing {WINDOW} bars"
    return name, count, lambda: _trailing(columns, count)


def _trailing(columns: dict[str, Floats], count: int) -> None:
    for begin in range(count):
        _window({key: values[begin : begin + WINDOW] for key, values in columns.items()})


def _window(columns: dict[str, Floats]) -> None:
    _bare(columns)


def _bare(columns: dict[str, Floats]) -> list[Any]:
    """The set by TA-Lib alone, raw outputs."""
    h, low, c, v = (columns[key] for key in ("high", "low", "close", "volume"))
    return [
        talib.SMA(c, 20),
        talib.EMA(c, 20),
        talib.RSI(c, 14),
        talib.MACD(c),
        talib.BBANDS(c, 20),
        talib.ATR(h, low, c, 14),
        talib.ADX(h, low, c, 14),
        talib.STOCH(h, low, c, 14, 3, 0, 3, 0),
        talib.OBV(c, v),
        talib.VWAP(h, low, c, v),
    ]


def _talipp(columns: dict[str, Floats], count: int) -> None:
    indicators = importlib.import_module("talipp.indicators")
    OHLCV = importlib.import_module("talipp.ohlcv").OHLCV
    closes = [
        indicators.SMA(20),
        indicators.EMA(20),
        indicators.RSI(14),
        indicators.MACD(12, 26, 9),
        indicators.BB(20, 2),
    ]
    whole = [
        indicators.ATR(14),
        indicators.ADX(14, 14),
        indicators.Stoch(14, 3),
        indicators.OBV(),
        indicators.VWAP(),
    ]
    keys = ("open", "high", "low", "close", "volume")
    for values in zip(*(columns[key][:count].tolist() for key in keys), strict=True):
        for one in closes:
            one.add(values[3])
        bar = OHLCV(*values)
        for one in whole:
            one.add(bar)

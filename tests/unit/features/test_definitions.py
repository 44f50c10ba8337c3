"""Our own kernels agree with definitions written out in plain Python."""

import itertools
import math
import statistics
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest

from don.features.base import Feature
from don.features.columns import rows
from don.features.proof import made_up_bars
from don.features.registry import make

LENGTH = 150
BARS = made_up_bars(5, LENGTH)
Window = dict[str, list[float]]


def logs(x: list[float]) -> list[float]:
    return [math.log(b / a) for a, b in itertools.pairwise(x)]


def known(x: list[float]) -> list[float]:
    return [v for v in x if not math.isnan(v)]


def mean(x: list[float]) -> float:
    return statistics.fmean(x) if x else math.nan


def pearson(x: list[float], y: list[float]) -> float:
    return statistics.correlation(x, y) if len(set(x)) > 1 and len(set(y)) > 1 else 0.0


def standard(x: list[float]) -> list[float]:
    centre, spread = mean(x), statistics.pstdev(x)
    return [(v - centre) / spread for v in x]


def last_score(x: list[float]) -> float:
    if math.isnan(x[-1]):
        return math.nan
    centre, spread = mean(known(x)), statistics.pstdev(known(x))
    return (x[-1] - centre) / spread if spread > 1e-12 * abs(centre) else 0.0


def rms(x: list[float]) -> float:
    return math.sqrt(mean([v * v for v in x]))


def ohlc(w: Window) -> list[tuple[float, float, float, float]]:
    return list(zip(w["open"], w["high"], w["low"], w["close"], strict=True))


def rs(w: Window) -> float:
    return mean([math.log(h / c) * math.log(h / o) + math.log(low / c) * math.log(low / o)
                 for o, h, low, c in ohlc(w)])  # fmt: skip


def yang_zhang(w: Window) -> float:
    n = len(w["close"]) - 1
    gaps = [math.log(o / c) for o, c in zip(w["open"][1:], w["close"], strict=False)]
    moves = [math.log(c / o) for o, c in zip(w["open"][1:], w["close"][1:], strict=True)]
    k = 0.34 / (1.34 + (n + 1) / (n - 1))
    inner = rs({name: values[1:] for name, values in w.items()})
    total = statistics.variance(gaps) + k * statistics.variance(moves) + (1 - k) * inner
    return math.sqrt(max(total, 0.0))


def trend_t(w: Window) -> float:
    y = [math.log(c) for c in w["close"]]
    x = list(range(len(y)))
    line = statistics.linear_regression(x, y)
    rest = sum((b - line.intercept - line.slope * a) ** 2 for a, b in zip(x, y, strict=True))
    spread = sum((a - mean(x)) ** 2 for a in x)
    return line.slope / math.sqrt(rest / (len(x) - 2) / spread)


def hurst(w: Window) -> float:
    x, lags, spreads, lag = [math.log(c) for c in w["close"]], [], [], 1
    while lag <= len(x) // 4:
        gaps = [b - a for a, b in zip(x, x[lag:], strict=False)]
        lags.append(math.log(lag))
        spreads.append(math.log(statistics.pstdev(gaps)))
        lag *= 2
    return statistics.linear_regression(lags, spreads).slope


def variance_ratio(w: Window) -> float:
    r = logs(w["close"])
    long = [sum(r[i : i + 4]) for i in range(len(r) - 3)]
    return mean([(x - 4 * mean(r)) ** 2 for x in long]) / (4 * statistics.pvariance(r)) - 1


def choppiness(w: Window) -> float:
    ranges = [
        (max(h, c), min(low, c))
        for h, low, c in zip(w["high"][1:], w["low"][1:], w["close"], strict=False)
    ]
    top, bottom = max(h for h, _ in ranges), min(low for _, low in ranges)
    return math.log(sum(h - low for h, low in ranges) / (top - bottom)) / math.log(len(ranges))


def entropy(w: Window) -> float:
    signs = [(b > a) - (b < a) for a, b in zip(w["close"], w["close"][1:], strict=False)]
    shares = [signs.count(s) / len(signs) for s in set(signs)]
    return -sum(p * math.log(p) for p in shares) / math.log(3)


def typical(w: Window) -> float:
    worth = sum(
        (h + low + c) / 3 * v
        for h, low, c, v in zip(w["high"], w["low"], w["close"], w["volume"], strict=True)
    )
    return worth / sum(w["volume"])


def profile(w: Window, bins: int) -> tuple[list[float], float, float]:
    low, high = min(w["low"]), max(w["high"])
    width, held = (high - low) / bins, [0.0] * bins
    for bottom, top, v in zip(w["low"], w["high"], w["volume"], strict=True):
        for k in range(bins):
            left, right = low + k * width, low + (k + 1) * width
            if top > bottom:
                held[k] += v * max(min(top, right) - max(bottom, left), 0.0) / (top - bottom)
            elif left <= bottom < right or (k == bins - 1 and bottom >= right):
                held[k] += v
    return held, low, width


def profile_below(w: Window) -> float:
    held, low, width = profile(w, 24)
    under = sum(v * min(max((w["close"][-1] - low - k * width) / width, 0), 1)
                for k, v in enumerate(held))  # fmt: skip
    return under / sum(held)


def profile_point(w: Window) -> float:
    held, low, width = profile(w, 24)
    return w["close"][-1] / (low + (held.index(max(held)) + 0.5) * width) - 1


def vpin(w: Window) -> float:
    bars = [(b, s) for b, s in zip(w["buy_volume"], w["sell_volume"], strict=True)
            if not math.isnan(b + s)]  # fmt: skip
    total = sum(b + s for b, s in bars)
    edges, at = [total * k / 12 for k in range(13)], 0.0
    gaps = [0.0] * 12
    for b, s in bars:
        for k in range(12):
            inside = max(min(at + b + s, edges[k + 1]) - max(at, edges[k]), 0.0)
            gaps[k] += (b - s) * inside / (b + s)
        at += b + s
    return sum(map(abs, gaps)) / total


def pairs(w: Window, *names: str) -> list[tuple[float, ...]]:
    return [row for row in zip(*(w[n] for n in names), strict=True) if not math.isnan(sum(row))]


def roll(w: Window) -> float:
    seen = [(c, n) for c, n in pairs(w, "trade_cov", "trade_count") if n > 2]
    if not seen:
        return math.nan
    return 2 * math.sqrt(max(-sum(c for c, _ in seen) / sum(n - 2 for _, n in seen), 0.0))


def summed(w: Window, above: str, below: str) -> float:
    seen = pairs(w, above, below)
    return sum(a for a, _ in seen) / sum(b for _, b in seen) if seen else math.nan


def signature(w: Window) -> float:
    seen = pairs(w, "open", "close", "trade_var")
    return math.sqrt(sum(math.log(c / o) ** 2 for o, c, _ in seen) / sum(v for *_, v in seen))


def trade_size(w: Window) -> float:
    seen = [(v, n) for v, n in pairs(w, "volume", "trade_count") if n > 0]
    if math.isnan(w["trade_count"][-1]):
        return math.nan
    usual = sum(v for v, _ in seen) / sum(n for _, n in seen)
    return w["volume"][-1] / w["trade_count"][-1] / usual - 1


def amihud(w: Window) -> float:
    rows = zip(logs(w["close"]), w["close"][1:], w["volume"][1:], strict=True)
    return mean([abs(r) / (c * v * 1e-6) for r, c, v in rows if v > 0])


def force(w: Window) -> float:
    return sum(r * v for r, v in zip(logs(w["close"]), w["volume"][1:], strict=True)) / sum(
        w["volume"][1:]
    )


def basis(w: Window) -> list[float]:
    return [m / c - 1 for m, c in zip(w["mark"], w["close"], strict=True)]


def jumps(w: Window) -> float:
    r = logs(w["close"])
    n, bipower = len(r), sum(abs(a) * abs(b) for a, b in itertools.pairwise(r))
    return max(1 - math.pi / 2 * n / (n - 1) * bipower / sum(x * x for x in r), 0.0)


def tick_jumps(w: Window) -> float:
    return max(1 - math.pi / 2 / summed(w, "trade_var", "trade_bipower"), 0.0)


def shares_up(w: Window) -> float:
    return mean([float(b > a) for a, b in zip(w["close"], w["close"][1:], strict=False)])


def week_place(seconds: float) -> float:
    at = datetime.fromtimestamp(seconds, UTC)
    return (at.weekday() + (at.hour * 3_600 + at.minute * 60 + at.second) / 86_400) / 7


# name -> (bars in the window, definition)
DEFINED: dict[str, tuple[int, Callable[[Window], float]]] = {
    "acceleration_24": (49, lambda w: math.log(
        w["close"][48] * w["close"][0] / w["close"][24] ** 2)),
    "return_quality_48": (49, lambda w: mean(
        logs(w["close"])) / statistics.pstdev(logs(w["close"]))),
    "up_share_24": (25, shares_up),
    "drawdown_96": (96, lambda w: w["close"][-1] / max(w["close"]) - 1),
    "run_up_96": (96, lambda w: w["close"][-1] / min(w["close"]) - 1),
    "trend_t_48": (48, trend_t),
    "trend_fit_48": (48, lambda w: pearson(
        list(range(48)), [math.log(c) for c in w["close"]]) ** 2),
    "rogers_satchell_24": (24, lambda w: math.sqrt(max(rs(w), 0.0))),
    "yang_zhang_24": (25, yang_zhang),
    "downside_48": (49, lambda w: rms([min(r, 0.0) for r in logs(w["close"])])),
    "volatility_ratio_12_96": (97, lambda w: rms(logs(w["close"])[-12:]) / rms(logs(w["close"]))),
    "volatility_signature_96_8": (97, lambda w: math.sqrt(
        mean([math.log(b / a) ** 2 for a, b in zip(w["close"], w["close"][8:], strict=False)]) / 8
    ) / rms(logs(w["close"]))),
    "jump_share_48": (49, jumps),
    "largest_move_48": (49, lambda w: max(logs(w["close"]), key=abs)),
    "choppiness_14": (15, choppiness),
    "return_zscore_48": (49, lambda w: standard(logs(w["close"]))[-1]),
    "skew_96": (97, lambda w: mean([z**3 for z in standard(logs(w["close"]))])),
    "kurtosis_96": (97, lambda w: mean([z**4 for z in standard(logs(w["close"]))]) - 3),
    "autocorrelation_96_1": (98, lambda w: pearson(logs(w["close"])[1:], logs(w["close"])[:-1])),
    "variance_ratio_96_4": (97, variance_ratio),
    "hurst_128": (128, hurst),
    "entropy_48": (49, entropy),
    "median_distance_48": (48, lambda w: w["close"][-1] / statistics.median(w["close"]) - 1),
    "vwap_distance_48": (48, lambda w: w["close"][-1] / typical(w) - 1),
    "force_13": (14, force),
    "amihud_48": (49, amihud),
    "price_volume_48": (49, lambda w: pearson([abs(r) for r in logs(w["close"])], w["volume"][1:])),
    "profile_below_96_24": (96, profile_below),
    "profile_point_96_24": (96, profile_point),
    "vpin_48_12": (48, vpin),
    "roll_spread_12": (12, roll),
    "tick_volatility_12": (12, lambda w: math.sqrt(mean(known(w["trade_var"])))),
    "quote_volatility_12": (12, lambda w: math.sqrt(mean(known(w["mid_var"])))),
    "tick_signature_24": (24, signature),
    "tick_noise_24": (24, lambda w: summed(w, "trade_var", "mid_var")),
    "tick_jumps_24": (24, tick_jumps),
    "quotes_per_trade_12": (12, lambda w: summed(w, "quote_count", "trade_count")),
    "trade_rate_48": (48, lambda w: last_score(w["trade_count"])),
    "quote_rate_48": (48, lambda w: last_score(w["quote_count"])),
    "spread_zscore_48": (48, lambda w: last_score(w["spread"])),
    "trade_size_48": (48, trade_size),
    "book_depth_48": (48, lambda w: w["book_depth"][-1] / mean(known(w["book_depth"])) - 1),
    "best_depth_48": (48, lambda w: w["best_depth"][-1] / mean(known(w["best_depth"])) - 1),
    "funding_mean_72": (72, lambda w: mean(known(w["rate"]))),
    "funding_zscore_100": (100, lambda w: last_score(w["rate"])),
    "carry_72": (73, lambda w: mean(known(w["rate"])) / rms(logs(w["close"]))),
    "basis_mean_72": (72, lambda w: mean(known(basis(w)))),
    "basis_zscore_100": (100, lambda w: last_score(basis(w))),
    "zscore_24": (24, lambda w: last_score(w["close"])),
    "volume_zscore_48": (48, lambda w: last_score(w["volume"])),
    "volatility_48": (49, lambda w: rms(logs(w["close"]))),
    "parkinson_24": (24, lambda w: math.sqrt(mean(
        [math.log(h / low) ** 2 for _, h, low, _ in ohlc(w)]) / (4 * math.log(2)))),
    "garman_klass_24": (24, lambda w: math.sqrt(max(mean([
        math.log(h / low) ** 2 / 2 - (2 * math.log(2) - 1) * math.log(c / o) ** 2
        for o, h, low, c in ohlc(w)]), 0.0))),
    "spread_12": (12, lambda w: mean(known(w["spread"]))),
    "trade_imbalance_12": (12, lambda w: sum(
        b - s for b, s in pairs(w, "buy_volume", "sell_volume"))
                           / sum(b + s for b, s in pairs(w, "buy_volume", "sell_volume"))),
    "kyle_lambda_12": (12, lambda w: summed(w, "impact_xy", "impact_xx")),
    "log_return_3": (4, lambda w: math.log(w["close"][-1] / w["close"][0])),
    "funding_place_8": (1, lambda w: (w["time_s"][-1] / 28_800) % 1.0),
    "hour_sin": (1, lambda w: math.sin(2 * math.pi * (w["time_s"][-1] % 86_400) / 86_400)),
    "hour_cos": (1, lambda w: math.cos(2 * math.pi * (w["time_s"][-1] % 86_400) / 86_400)),
    "weekday_sin": (1, lambda w: math.sin(2 * math.pi * week_place(w["time_s"][-1]))),
    "weekday_cos": (1, lambda w: math.cos(2 * math.pi * week_place(w["time_s"][-1]))),
    "season_sin": (1, lambda w: math.sin(2 * math.pi * w["time_s"][-1] / (365.25 * 86_400))),
    "season_cos": (1, lambda w: math.cos(2 * math.pi * w["time_s"][-1] / (365.25 * 86_400))),
    "funding": (1, lambda w: w["rate"][-1]),
    "volume_flow_24": (25, lambda w: sum(
        ((b > a) - (b < a)) * v
        for a, b, v in zip(w["close"], w["close"][1:], w["volume"][1:], strict=False)
    ) / sum(w["volume"][1:])),
    **{f"{name}_3": (3, lambda w, name=name: mean(known(w[name])))
       for name in ("microprice", "quote_imbalance", "book_imbalance", "ofi")},
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINED)
def test_kernels_agree_with_their_definitions(name: str) -> None:
    size, definition = DEFINED[name]
    found = make(name).batch(BARS)
    assert np.isnan(found[: size - 1]).all()
    for t in range(size - 1, LENGTH):
        window = {k: v[t - size + 1 : t + 1].tolist() for k, v in BARS.items()}
        assert found[t] == pytest.approx(definition(window), rel=1e-9, abs=1e-11, nan_ok=True)


def test_weighted_volatility_by_its_recursion() -> None:
    returns = logs(BARS["close"].tolist())
    value, decay = mean([r * r for r in returns[:32]]), 0.5 ** (1 / 32)
    expected = [math.nan] * 32 + [math.sqrt(value)]
    for r in returns[32:]:
        value = decay * value + (1 - decay) * r * r
        expected.append(math.sqrt(value))
    assert np.allclose(make("ewma_volatility_32").batch(BARS), expected, rtol=1e-9, equal_nan=True)


def test_the_price_since_the_stream_began_by_its_sum() -> None:
    traded = spent = 0.0
    expected = []
    for h, low, c, v in zip(*(BARS[n] for n in ("high", "low", "close", "volume")), strict=True):
        traded, spent = traded + v, spent + (h + low + c) / 3 * v
        expected.append(c / (spent / traded) - 1 if traded else math.nan)
    found = make("vwap_ratio").batch(BARS)
    assert np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True)


def test_before_anything_was_traded_no_price_is_above_another() -> None:
    quiet = {name: values[:40].copy() for name, values in BARS.items()}
    quiet["volume"][:30] = 0.0
    since = make("vwap_ratio").batch(quiet)
    assert not since[:30].any()
    assert since[-1] != 0.0
    window = make("vwma_ratio_20")  # twenty bars without volume have no weighted mean
    assert isinstance(window, Feature)
    assert np.isnan(window.batch(quiet)[19:30]).all()
    live = [window.update(bar) for bar in rows(quiet)]
    assert np.array_equal(live, window.batch(quiet), equal_nan=True)


def test_calendar_days_begin_at_midnight() -> None:
    hour = 3_600.0
    saturday = 1_704_499_200.0  # 2024-01-06 00:00 UTC
    times = {"time_s": np.array([saturday, saturday + hour, saturday + 48 * hour,
                                 saturday + 49 * hour, saturday + 62 * hour])}  # fmt: skip
    times |= {name: np.ones(5) for name in ("open", "high", "low", "close", "volume")}
    assert make("weekend").batch(times).tolist() == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert make("us_session").batch(times).tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]


def market_of(rows: list[list[float]]) -> list[float]:
    return [mean(known(row)) for row in rows]


def test_cross_sections_by_their_definitions() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0, 0.01, (40, 4))
    rows = values.tolist()
    m = market_of(rows)[-24:]
    for i in range(4):
        own = [row[i] for row in rows][-24:]
        line = statistics.linear_regression(m, own)
        rest = [r - line.slope * x for r, x in zip(own, m, strict=True)]
        path = list(np.cumsum([r - x for r, x in zip(own, m, strict=True)]))
        others = [pearson(own, [row[j] for row in rows][-24:]) for j in range(4) if j != i]
        expected = {
            "beta_24": line.slope,
            "market_correlation_24": pearson(own, m),
            "mean_correlation_24": mean(others),
            "residual_volatility_24": statistics.pstdev(rest),
            "residual_momentum_24": sum(rest),
            "market_spread_24": last_score(path),
            "relative_score_24": standard(rows[-1])[i],
            "relative_return_24": rows[-1][i] - mean(rows[-1]),
            "dispersion_24": statistics.pstdev(rows[-1]),
            "breadth_24": mean([float(x > 0) for x in rows[-1]]),
            "rank_24": sum(x < own[-1] for x in rows[-1]) / 3 - 0.5,
        }
        for name, value in expected.items():
            assert make(name).across(values)[-1, i] == pytest.approx(value, rel=1e-9, abs=1e-12)

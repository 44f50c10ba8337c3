"""Kinds: momentum, oscillators. Pure."""

from don.features import kernels, stats
from don.features.base import Feature, Spec
from don.features.builtin.tables import HLC, OHLC, Family
from don.features.standard import TalibFeature, from_bottom, percent, plain

_m, _o = Family("momentum"), Family("oscillator")

_m.talib(
    "return", (12,), "simple return over n bars", "ROCP", plain, formula="close / close[-n] - 1"
)
_m.step(
    "log_return",
    (1,),
    "log return over n bars",
    kernels.log_return,
    ("close",),
    before=0,
    formula="log(close / close[-n])",
)
_m.window(
    "acceleration",
    (24,),
    "log return over n bars less that of the n before",
    stats.acceleration,
    bars=lambda p: 2 * p[0] + 1,
    formula="log(c / c[-n]) - log(c[-n] / c[-2n])",
)
_m.window(
    "return_quality",
    (48,),
    "mean over standard deviation of n log returns",
    stats.return_quality,
    more=1,
    formula="mean(r) / std(r)",
    units="ratio, a bar",
    source="Sharpe 1966",
    smallest=2,
)
_m.window(
    "up_share",
    (24,),
    "share of n bars that closed higher",
    stats.up_share,
    more=1,
    formula="count(close > close[-1]) / n",
)
_m.window(
    "drawdown",
    (96,),
    "close over the highest of n closes, less 1",
    stats.drawdown,
    formula="close / max(close, n) - 1",
)
_m.window(
    "run_up",
    (96,),
    "close over the lowest of n closes, less 1",
    stats.run_up,
    formula="close / min(close, n) - 1",
)
_m.talib(
    "ppo",
    (12, 26),
    "percentage price oscillator",
    "PPO",
    percent,
    extra=(1,),
    formula="EMA(close, f) / EMA(close, l) - 1",
    source="Appel",
)
_m.talib(
    "trix",
    (15,),
    "change of the triple smoothed close a bar",
    "TRIX",
    percent,
    formula="EMA3 / EMA3[-1] - 1",
    source="Hutson 1983",
)
_m.talib(
    "tsi",
    (25, 13),
    "true strength index, -1 to 1",
    "TSI",
    percent,
    formula="EMA(EMA(dc, r), s) / EMA(EMA(|dc|, r), s)",
    source="Blau 1991",
)

_o.talib(
    "rsi",
    (14,),
    "relative strength index, 0 to 1",
    "RSI",
    percent,
    formula="up / (up + down), Wilder means of rises and falls",
    source="Wilder 1978",
)
_o.talib(
    "cmo",
    (14,),
    "Chande momentum oscillator, -1 to 1",
    "CMO",
    percent,
    formula="(up - down) / (up + down)",
    source="Chande 1994",
)
_o.talib(
    "cci",
    (20,),
    "commodity channel index over 100",
    "CCI",
    percent,
    HLC,
    formula="(tp - mean tp) / (1.5 mean deviation), tp = (h + l + c) / 3",
    units="ratio",
    source="Lambert 1980",
)
_o.talib(
    "willr",
    (14,),
    "Williams' %R from 0 at the low to 1 at the high",
    "WILLR",
    from_bottom,
    HLC,
    formula="(close - min low) / (max high - min low)",
    source="Williams",
)
_o.talib(
    "ultosc",
    (7, 14, 28),
    "ultimate oscillator, 0 to 1",
    "ULTOSC",
    percent,
    HLC,
    formula="(4 bp/tr(a) + 2 bp/tr(b) + bp/tr(c)) / 7",
    source="Williams 1976",
)
_o.talib(
    "stoch_rsi",
    (14, 5, 3),
    "stochastic of the RSI, %K, 0 to 1",
    "STOCHRSI",
    percent,
    extra=(0,),
    formula="(rsi - min rsi) / (max rsi - min rsi)",
    source="Chande, Kroll 1994",
)
_o.talib(
    "imi",
    (14,),
    "intraday momentum index, 0 to 1",
    "IMI",
    percent,
    ("open", "close"),
    formula="sum gains / (sum gains + sum losses), close - open",
    source="Chande 1994",
)
_o.talib(
    "bop",
    (),
    "balance of power, -1 to 1",
    "BOP",
    plain,
    OHLC,
    formula="(close - open) / (high - low)",
    source="Livshin 2001",
)
_o.talib(
    "percent_rank",
    (100,),
    "share of n closes that are below this one",
    "PERCENTRANK",
    percent,
    formula="count(close[-k] < close, k = 1..n) / n",
)
_o.talib(
    "rvi",
    (14, 10),
    "relative volatility index, 0 to 1",
    "RVI",
    percent,
    formula="RSI's means over std(close, m) of rising and falling bars",
    source="Dorsey 1993",
)


def _stoch(spec: Spec) -> Feature:
    k, smooth = spec.params
    return TalibFeature(spec, "STOCH", HLC, (k, smooth, 0, smooth, 0), percent)


_o.add(
    "stoch",
    (14, 3),
    "Slow stochastic %K: n bars, smoothed over m; 0 to 1.",
    _stoch,
    "mean((c - min l) / (max h - min l), m)",
    "fraction",
    "TA-Lib STOCH; Lane 1984",
    2,
)

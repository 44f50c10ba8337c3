"""Kinds: trend. Pure."""

from don.features import stats
from don.features.builtin.tables import HLC, Family
from don.features.standard import band_place, difference, part_of_close, percent, plain, ratio

_t = Family("trend")
_OVER = "close / {} - 1"

_t.talib(
    "sma_ratio",
    (20,),
    "close over its simple moving average, less 1",
    "SMA",
    ratio,
    formula=_OVER.format("mean(close, n)"),
)
_t.talib(
    "ema_ratio",
    (20,),
    "close over its exponential moving average, less 1",
    "EMA",
    ratio,
    formula=_OVER.format("EMA(close, n), alpha = 2 / (n + 1)"),
)
_t.talib(
    "dema_ratio",
    (20,),
    "close over its double exponential moving average, less 1",
    "DEMA",
    ratio,
    formula=_OVER.format("(2 EMA - EMA(EMA))"),
    source="Mulloy 1994",
)
_t.talib(
    "tema_ratio",
    (20,),
    "close over its triple exponential moving average, less 1",
    "TEMA",
    ratio,
    formula=_OVER.format("(3 EMA - 3 EMA2 + EMA3)"),
    source="Mulloy 1994",
)
_t.talib(
    "hma_ratio",
    (20,),
    "close over its Hull moving average, less 1",
    "HMA",
    ratio,
    formula=_OVER.format("WMA(2 WMA(n/2) - WMA(n), sqrt n)"),
    source="Hull 2005",
)
_t.talib(
    "kama_ratio",
    (30,),
    "close over Kaufman's adaptive moving average, less 1",
    "KAMA",
    ratio,
    formula=_OVER.format("KAMA(close, n)"),
    source="Kaufman 1998",
)
_t.talib(
    "sar_ratio",
    (),
    "close over the parabolic stop, less 1",
    "SAR",
    ratio,
    ("high", "low"),
    formula=_OVER.format("SAR(0.02, 0.2)"),
    source="Wilder 1978",
    extra=(0.02, 0.2),
)
_t.talib(
    "supertrend",
    (10,),
    "close over the supertrend line at three ranges, less 1",
    "SUPERTREND",
    ratio,
    HLC,
    formula=_OVER.format("supertrend(n, 3 ATR)"),
    source="Seban",
    extra=(3.0,),
)
_t.talib(
    "macd_hist",
    (12, 26, 9),
    "MACD histogram over close",
    "MACD",
    part_of_close,
    outputs=(2,),
    formula="(MACD - EMA(MACD, s)) / close, MACD = EMA(close, f) - EMA(close, l)",
    source="Appel 1979",
)
_t.talib(
    "adx",
    (14,),
    "average directional index, 0 to 1",
    "ADX",
    percent,
    HLC,
    formula="Wilder mean(|+DI - -DI| / (+DI + -DI), n)",
    source="Wilder 1978",
)
_t.talib(
    "aroon",
    (25,),
    "Aroon oscillator, -1 to 1",
    "AROONOSC",
    percent,
    ("high", "low"),
    formula="(bars since low - bars since high) / n",
    source="Chande 1995",
)
_t.talib(
    "vortex",
    (14,),
    "positive less negative vortex indicator",
    "VORTEX",
    difference,
    HLC,
    formula="(sum|h - l[-1]| - sum|l - h[-1]|) / sum TR, n bars",
    outputs=(0, 1),
    source="Botes, Siepman 2010",
)
_t.talib(
    "donchian",
    (20,),
    "place in the channel of n bars: 0 at its low, 1 at its high",
    "DONCHIAN",
    band_place,
    ("high", "low"),
    outputs=(0, 1, 2),
    formula="(close - min low) / (max high - min low)",
    source="Donchian",
)
_t.talib(
    "keltner",
    (20, 10),
    "place in the Keltner channel: 0 at its bottom, 1 at its top",
    "KC",
    band_place,
    HLC,
    outputs=(0, 1, 2),
    extra=(2.0,),
    formula="(close - lower) / (upper - lower), EMA(n) +- 2 ATR(m)",
    source="Keltner 1960, Raschke",
)
_t.talib(
    "trend_slope",
    (20,),
    "slope of the least-squares line a bar, over close",
    "LINEARREG_SLOPE",
    part_of_close,
    formula="slope(close on time, n) / close",
)
_t.talib(
    "efficiency",
    (20,),
    "net move over the path walked, 0 to 1",
    "ER",
    plain,
    formula="|close - close[-n]| / sum|close - close[-1]|",
    source="Kaufman 1998",
)
_t.window(
    "trend_t",
    (48,),
    "t statistic of the slope of log close over time",
    stats.trend_t,
    formula="b / se(b), log close = a + b t, n bars",
    units="standard errors",
    source="ordinary least squares",
    smallest=4,
)
_t.window(
    "trend_fit",
    (48,),
    "how much of log close a straight line explains, 0 to 1",
    stats.trend_fit,
    formula="corr(t, log close)^2, n bars",
    smallest=3,
    source="ordinary least squares",
)

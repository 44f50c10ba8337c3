"""Kinds: volatility, statistics. Pure."""

from don.features import kernels, stats
from don.features.builtin.tables import HLC, OHLC, Family
from don.features.standard import band_place, band_width, part_of_close, plain

_v, _s = Family("volatility"), Family("statistics")
_BAR = "log return, a bar"

_v.talib(
    "bollinger",
    (20,),
    "place between the bands at two deviations: 0 lower, 1 upper",
    "BBANDS",
    band_place,
    extra=(2.0, 2.0, 0),
    outputs=(0, 1, 2),
    formula="(close - lower) / (upper - lower), mean +- 2 std",
    source="Bollinger",
)
_v.talib(
    "bollinger_width",
    (20,),
    "width of the bands at two deviations over their middle",
    "BBANDS",
    band_width,
    extra=(2.0, 2.0, 0),
    outputs=(0, 1, 2),
    formula="4 std(close, n) / mean(close, n)",
    source="Bollinger",
)
_v.talib(
    "atr",
    (14,),
    "average true range over close",
    "ATR",
    part_of_close,
    HLC,
    formula="Wilder mean(TR, n) / close",
    source="Wilder 1978",
)
_v.talib(
    "true_range",
    (),
    "true range over close",
    "TRANGE",
    part_of_close,
    HLC,
    formula="(max(h, c[-1]) - min(l, c[-1])) / c",
    source="Wilder 1978",
)
_v.talib(
    "mean_deviation",
    (14,),
    "mean absolute deviation over close",
    "AVGDEV",
    part_of_close,
    formula="mean|close - mean(close, n)| / close",
)
_v.talib(
    "mass_index",
    (9, 25),
    "mass index over its neutral value",
    "MASSI",
    plain,
    ("high", "low"),
    formula="sum(EMA(h - l, f) / EMA(EMA(h - l, f), f), n)",
    units="bars",
    source="Dorsey 1992",
)
_v.step(
    "volatility",
    (48,),
    "root mean square of n log returns, per bar",
    kernels.volatility,
    ("close",),
    before=0,
    formula="sqrt(mean(r^2, n))",
    units=_BAR,
)
_v.step(
    "ewma_volatility",
    (32,),
    "exponentially weighted root mean square of log returns",
    kernels.ewma_volatility,
    ("close",),
    before=0,
    rings=0,
    formula="sqrt(v), v = a v + (1 - a) r^2, a = 0.5^(1 / n)",
    units=_BAR,
    source="RiskMetrics 1996, n bars half-life",
)
_v.step(
    "parkinson",
    (24,),
    "volatility per bar from high and low, n bars",
    kernels.parkinson,
    ("high", "low"),
    formula="sqrt(mean(log(h / l)^2) / (4 log 2))",
    units=_BAR,
    source="Parkinson 1980",
)
_v.step(
    "garman_klass",
    (24,),
    "volatility per bar from open, high, low, close, n bars",
    kernels.garman_klass,
    OHLC,
    units=_BAR,
    source="Garman, Klass 1980",
    formula="sqrt(mean(log(h/l)^2 / 2 - (2 log 2 - 1) log(c/o)^2))",
)
_v.window(
    "rogers_satchell",
    (24,),
    "drift-free volatility per bar from open, high, low, close",
    stats.rogers_satchell,
    OHLC,
    units=_BAR,
    source="Rogers, Satchell 1991",
    formula="sqrt(mean(log(h/c) log(h/o) + log(l/c) log(l/o)))",
)
_v.window(
    "yang_zhang",
    (24,),
    "volatility per bar with the jumps between bars",
    stats.yang_zhang,
    OHLC,
    more=1,
    units=_BAR,
    source="Yang, Zhang 2000",
    smallest=2,
    formula="sqrt(var(o/c[-1]) + k var(c/o) + (1 - k) RS), k = .34/(1.34+(n+1)/(n-1))",
)
_v.window(
    "downside",
    (48,),
    "root mean square of the falling log returns",
    stats.downside,
    more=1,
    formula="sqrt(mean(min(r, 0)^2, n))",
    units=_BAR,
    source="Sortino 1994",
)
_v.window(
    "volatility_ratio",
    (12, 96),
    "volatility of n bars over that of m",
    stats.volatility_ratio,
    bars=lambda p: max(p) + 1,
    formula="sqrt(mean(r^2, n) / mean(r^2, m))",
    units="ratio",
)
_v.window(
    "volatility_signature",
    (96, 8),
    "volatility seen at m bars over that seen at one",
    stats.volatility_signature,
    bars=lambda p: max(p[0], p[1]) + 1,
    formula="sqrt(mean(log(c / c[-m])^2) / (m mean(r^2)))",
    units="ratio",
    source="Andersen, Bollerslev, Diebold, Labys 2000",
)
_v.window(
    "jump_share",
    (48,),
    "part of the realised variance that came in jumps, 0 to 1",
    stats.jump_share,
    more=1,
    smallest=2,
    source="Barndorff-Nielsen, Shephard 2004",
    formula="max(1 - (pi/2) n/(n-1) sum|r||r[-1]| / sum r^2, 0)",
)
_v.window(
    "largest_move",
    (48,),
    "log return of the greatest size in n bars, signed",
    stats.largest_move,
    more=1,
    formula="r with max|r|, n bars",
    units=_BAR,
    source="after Bali, Cakici, Whitelaw 2011",
)
_v.window(
    "choppiness",
    (14,),
    "choppiness index, 0 in a trend to 1",
    stats.choppiness,
    HLC,
    more=1,
    formula="log(sum TR / (max h - min l)) / log n",
    smallest=2,
    source="Dreiss 1993",
)

_s.step(
    "zscore",
    (24,),
    "close less its mean over n bars, in standard deviations",
    kernels.zscore,
    ("close",),
    smallest=2,
    formula="(close - mean) / std, n bars",
    units="standard deviations",
)
_s.window(
    "return_zscore",
    (48,),
    "log return less its mean over n bars, in standard deviations",
    stats.return_zscore,
    more=1,
    smallest=2,
    formula="(r - mean) / std, n bars",
    units="standard deviations",
)
_s.window(
    "skew",
    (96,),
    "skewness of n log returns",
    stats.skew,
    more=1,
    smallest=3,
    formula="mean(((r - mean) / std)^3)",
    units="none",
)
_s.window(
    "kurtosis",
    (96,),
    "excess kurtosis of n log returns",
    stats.kurtosis,
    more=1,
    smallest=4,
    formula="mean(((r - mean) / std)^4) - 3",
    units="none",
)
_s.window(
    "autocorrelation",
    (96, 1),
    "correlation of log returns with those m bars before",
    stats.autocorrelation,
    bars=lambda p: p[0] + p[1] + 1,
    units="correlation",
    formula="corr(r, r[-m]), n pairs",
)
_s.window(
    "variance_ratio",
    (96, 4),
    "variance ratio of m bars, less 1: above 0 trends",
    stats.variance_ratio,
    bars=lambda p: max(p[0], p[1]) + 1,
    units="ratio",
    formula="var(sum of m r) / (m var(r)) - 1, n bars",
    source="Lo, MacKinlay 1988",
)
_s.window(
    "hurst",
    (128,),
    "Hurst exponent: above 0.5 trends, below reverts",
    stats.hurst,
    formula="slope of log std(x - x[-k]) on log k, x = log close, k = 1, 2, 4 .. n/4",
    units="exponent",
    source="Mandelbrot, van Ness 1968; Di Matteo 2007",
    smallest=8,
)
_s.window(
    "entropy",
    (48,),
    "entropy of up, flat and down bars, 0 to 1",
    stats.entropy,
    more=1,
    formula="-sum p log p / log 3",
    source="Shannon 1948",
)
_s.window(
    "median_distance",
    (48,),
    "close over its median of n bars, less 1",
    stats.median_distance,
    formula="close / median(close, n) - 1",
)

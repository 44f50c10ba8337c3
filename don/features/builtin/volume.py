"""Kinds: volume. Pure."""

from don.features import flow, kernels
from don.features.builtin.tables import HLCV, Family
from don.features.standard import percent, plain, ratio, ratio_or_none

_v = Family("volume")

_v.talib(
    "obv",
    (),
    "on-balance volume since the stream began, base units",
    "OBV",
    plain,
    ("close", "volume"),
    formula="sum sign(close - close[-1]) volume",
    units="base units",
    source="Granville 1963",
    endless=True,
)
_v.talib(
    "adosc",
    (3, 10),
    "Chaikin oscillator: fast less slow mean of accumulation",
    "ADOSC",
    plain,
    HLCV,
    formula="EMA(AD, f) - EMA(AD, l), AD = sum ((c - l) - (h - c)) / (h - l) v",
    units="base units",
    source="Chaikin",
)
_v.talib(
    "cmf",
    (20,),
    "Chaikin money flow, -1 to 1",
    "CMF",
    plain,
    HLCV,
    formula="sum(((c - l) - (h - c)) / (h - l) v, n) / sum(v, n)",
    source="Chaikin",
)
_v.talib(
    "mfi",
    (14,),
    "money flow index, 0 to 1",
    "MFI",
    percent,
    HLCV,
    formula="rising / (rising + falling) of typical price * volume",
    source="Quong, Soudack 1989",
)
_v.talib(
    "vwma_ratio",
    (20,),
    "close over its volume-weighted mean, less 1",
    "VWMA",
    ratio,
    ("close", "volume"),
    formula="close / (sum close v / sum v) - 1, n bars",
)
_v.talib(
    "relative_volume",
    (20,),
    "volume over its mean of n bars",
    "RVOL",
    plain,
    ("volume",),
    formula="volume / mean(volume, n)",
    units="ratio",
)
_v.step(
    "volume_zscore",
    (48,),
    "volume less its mean over n bars, in standard deviations",
    kernels.zscore,
    ("volume",),
    smallest=2,
    formula="(v - mean) / std, n bars",
    units="standard deviations",
)
_v.step(
    "volume_flow",
    (24,),
    "volume of rising less falling bars over all volume, n bars",
    kernels.volume_flow,
    ("close", "volume"),
    rings=2,
    before=0,
    formula="sum(sign(close - close[-1]) v) / sum v",
)
_v.talib(
    "vwap_ratio",
    (),
    "close over the volume-weighted price since the stream began, less 1",
    "VWAP",
    ratio_or_none,
    HLCV,
    formula="close / (sum (h + l + c) / 3 v / sum v) - 1",
    version=2,  # rounded as TA-Lib does
    endless=True,
)
_v.window(
    "vwap_distance",
    (48,),
    "close over the volume-weighted price of n bars, less 1",
    flow.vwap_distance,
    HLCV,
    formula="close / (sum (h + l + c) / 3 v / sum v) - 1",
)
_v.window(
    "force",
    (13,),
    "volume-weighted log return of n bars",
    flow.force,
    ("close", "volume"),
    more=1,
    formula="sum(r v) / sum v",
    units="log return, a bar",
    source="after Elder 1993",
)
_v.window(
    "amihud",
    (48,),
    "illiquidity: |log return| per million of quote traded",
    flow.amihud,
    ("close", "volume"),
    more=1,
    formula="mean(|r| / (close v / 1e6), n)",
    units="log return per million quote",
    source="Amihud 2002",
)
_v.window(
    "price_volume",
    (48,),
    "correlation of |log return| with volume, n bars",
    flow.price_volume,
    ("close", "volume"),
    more=1,
    formula="corr(|r|, v)",
    smallest=2,
    units="correlation",
    source="Karpoff 1987",
)
_v.window(
    "profile_point",
    (96, 24),
    "close over the price with most volume, less 1",
    flow.profile_point,
    HLCV,
    bars=lambda p: p[0],
    smallest=2,
    formula="close / middle of the fullest of m bins - 1, v spread over [l, h]",
    source="market profile, Steidlmayer 1984",
)
_v.window(
    "profile_below",
    (96, 24),
    "share of the volume traded below the close",
    flow.profile_below,
    HLCV,
    bars=lambda p: p[0],
    smallest=2,
    formula="volume in bins under the close / volume, m bins",
    source="market profile, Steidlmayer 1984",
)

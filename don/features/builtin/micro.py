"""Kinds: microstructure, from the sums that `don.market.bars` keeps of trades, quotes, books. Pure.

All are NaN where nothing was seen, so over bars without recorded trades and quotes as well.
"""

from don.features import flow, kernels
from don.features.builtin.tables import Family

_m = Family("microstructure")
_HASBROUCK = "Hasbrouck 2007"

_m.step(
    "spread",
    (1,),
    "mean relative bid-ask spread, n bars",
    kernels.mean,
    ("spread",),
    formula="mean((ask - bid) / mid)",
    units="fraction of mid",
)
_m.step(
    "microprice",
    (1,),
    "mean distance of the microprice from mid, relative, n bars",
    kernels.mean,
    ("microprice",),
    units="fraction of mid",
    source="Stoikov 2018",
    formula="mean(((bid az + ask bz) / (bz + az) - mid) / mid)",
)
_m.step(
    "quote_imbalance",
    (1,),
    "size at best bid less ask over both, n bars",
    kernels.mean,
    ("quote_imbalance",),
    formula="mean((bz - az) / (bz + az))",
)
_m.step(
    "book_imbalance",
    (1,),
    "notional of bids less asks over both, n bars",
    kernels.mean,
    ("book_imbalance",),
    formula="mean((bids - asks) / (bids + asks)), 20 levels",
)
_m.step(
    "ofi",
    (1,),
    "order-flow imbalance of best quotes over mean size there, n bars",
    kernels.mean,
    ("ofi",),
    formula="sum e / mean best size",
    units="mean best sizes",
    source="Cont, Kukanov, Stoikov 2014",
)
_m.step(
    "trade_imbalance",
    (1,),
    "volume bought less sold by aggressors over both, n bars",
    kernels.imbalance,
    ("buy_volume", "sell_volume"),
    rings=2,
    formula="(buy - sell) / (buy + sell)",
)
_m.step(
    "kyle_lambda",
    (12,),
    "log return per million of signed traded quote, n bars",
    kernels.quotient,
    ("impact_xy", "impact_xx"),
    rings=2,
    source="Kyle 1985",
    formula="sum r x / sum x^2, x signed notional of a trade",
    units="log return per million quote",
)
_m.window(
    "vpin",
    (48, 12),
    "imbalance of m buckets of equal volume over n bars",
    flow.vpin,
    ("buy_volume", "sell_volume"),
    bars=lambda p: p[0],
    formula="sum|buy - sell| over buckets / volume",
    source="Easley, Lopez de Prado, O'Hara 2012",
)
_m.window(
    "roll_spread",
    (12,),
    "effective spread from the bounce of trades",
    flow.roll_spread,
    ("trade_cov", "trade_count"),
    formula="2 sqrt(-cov(r, r[-1])), r trade by trade",
    units="fraction of price",
    source="Roll 1984",
)
_m.window(
    "tick_volatility",
    (12,),
    "volatility a bar from trade to trade, n bars",
    flow.root_mean,
    ("trade_var",),
    formula="sqrt(mean(sum r^2)), r trade by trade",
    units="log return, a bar",
    source="Andersen, Bollerslev 1998",
)
_m.window(
    "quote_volatility",
    (12,),
    "volatility a bar from mid to mid, n bars",
    flow.root_mean,
    ("mid_var",),
    formula="sqrt(mean(sum r^2)), r quote by quote",
    units="log return, a bar",
)
_m.window(
    "tick_signature",
    (24,),
    "volatility of bars over that of their trades",
    flow.tick_signature,
    ("open", "close", "trade_var"),
    units="ratio",
    formula="sqrt(sum log(c/o)^2 / sum sum r^2)",
    source="volatility signature, Andersen et al. 2000",
)
_m.window(
    "tick_noise",
    (24,),
    "variance of trades over that of mids: 1 without bounce",
    flow.summed_ratio,
    ("trade_var", "mid_var"),
    formula="sum trade_var / sum mid_var",
    units="ratio",
    source=_HASBROUCK,
)
_m.window(
    "tick_jumps",
    (24,),
    "part of the trades' variance that came in jumps, 0 to 1",
    flow.tick_jumps,
    ("trade_var", "trade_bipower"),
    formula="max(1 - (pi/2) sum|r||r[-1]| / sum r^2, 0)",
    source="Barndorff-Nielsen, Shephard 2004",
)
_m.window(
    "trade_rate",
    (48,),
    "trades a bar less their mean, in standard deviations",
    flow.zscore,
    ("trade_count",),
    formula="(count - mean) / std, n bars",
    smallest=2,
    units="standard deviations",
)
_m.window(
    "quote_rate",
    (48,),
    "quotes a bar less their mean, in standard deviations",
    flow.zscore,
    ("quote_count",),
    formula="(count - mean) / std, n bars",
    smallest=2,
    units="standard deviations",
)
_m.window(
    "quotes_per_trade",
    (12,),
    "quotes for each trade, n bars",
    flow.summed_ratio,
    ("quote_count", "trade_count"),
    formula="sum quotes / sum trades",
    units="ratio",
    source="Hendershott, Jones, Menkveld 2011",
)
_m.window(
    "trade_size",
    (48,),
    "size of a trade over that of n bars, less 1",
    flow.trade_size,
    ("volume", "trade_count"),
    formula="(v / count) / (sum v / sum count) - 1",
)
_m.window(
    "book_depth",
    (48,),
    "depth of the book over its mean of n bars, less 1",
    flow.last_ratio,
    ("book_depth",),
    formula="depth / mean(depth, n) - 1",
)
_m.window(
    "best_depth",
    (48,),
    "depth at the best quotes over its mean of n bars, less 1",
    flow.last_ratio,
    ("best_depth",),
    formula="depth / mean(depth, n) - 1",
)
_m.window(
    "spread_zscore",
    (48,),
    "spread less its mean, in standard deviations",
    flow.zscore,
    ("spread",),
    formula="(spread - mean) / std, n bars",
    smallest=2,
    units="standard deviations",
)

"""Kinds: cross-sectional. Pure."""

from collections.abc import Callable
from typing import Any

from don.features import cross
from don.features.base import CrossFeature, Spec
from don.features.builtin.tables import Family

_c = Family("cross-section")
_MARKET = "the market being the mean of the symbols' log returns"


def _rank(kind: str, defaults: tuple[int, ...], doc: str, of: str) -> None:
    def make(spec: Spec) -> CrossFeature:
        return cross.Rank(spec, "_".join([of, *map(str, spec.params)]))

    formula = f"(count below + ties / 2) / (symbols - 1) - 0.5, of {of}"
    _c.add(kind, defaults, doc, make, formula, "-0.5 to 0.5", "")


def _bar(kind: str, doc: str, function: Callable[..., Any], formula: str, units: str) -> None:
    def make(spec: Spec) -> CrossFeature:
        return cross.Across(spec, f"return_{spec.params[0]}", function)

    _c.add(kind, (48,), doc, make, formula, units, "")


def _rolling(
    kind: str, doc: str, function: Callable[..., Any], formula: str, units: str, source: str = ""
) -> None:
    def make(spec: Spec) -> CrossFeature:
        return cross.RollingCross(spec, "log_return_1", function, spec.params[0])

    _c.add(kind, (96,), doc, make, f"{formula}; {_MARKET}", units, source, 2)


_rank(
    "rank",
    (48,),
    "Rank of the return over n bars among the symbols, -0.5 to 0.5; needs return_n in the set.",
    "return",
)
_rank("rank_volatility", (48,), "rank of volatility_n among the symbols", "volatility")
_rank("rank_volume", (48,), "rank of volume_zscore_n among the symbols", "volume_zscore")
_rank("rank_funding", (), "rank of the funding rate among the symbols", "funding")
_bar(
    "relative_score",
    "return_n less the symbols' mean, in their standard deviations",
    cross.score,
    "(return - mean) / std over symbols",
    "standard deviations",
)
_bar(
    "relative_return",
    "return_n less the mean of the symbols",
    cross.excess,
    "return - mean over symbols",
    "fraction",
)
_bar(
    "dispersion",
    "standard deviation of return_n over the symbols",
    cross.dispersion,
    "std over symbols",
    "fraction",
)
_bar(
    "breadth",
    "share of the symbols whose return_n is above 0",
    cross.breadth,
    "count(return > 0) / symbols",
    "fraction",
)
_rolling(
    "beta",
    "slope of the log returns on the market's, n bars",
    cross.beta,
    "cov(r, m) / var(m)",
    "ratio",
    "Sharpe 1964",
)
_rolling(
    "market_correlation",
    "correlation of the log returns with the market's, n bars",
    cross.market_correlation,
    "corr(r, m)",
    "correlation",
)
_rolling(
    "mean_correlation",
    "mean correlation of the log returns with the others', n bars",
    cross.mean_correlation,
    "mean corr(r, r of each other)",
    "correlation",
)
_rolling(
    "residual_volatility",
    "volatility a bar that the market does not explain",
    cross.residual_volatility,
    "sqrt(var(r) - cov(r, m)^2 / var(m))",
    "log return, a bar",
    "after Ang, Hodrick, Xing, Zhang 2006",
)
_rolling(
    "residual_momentum",
    "log return of n bars that the market does not explain",
    cross.residual_momentum,
    "sum(r - beta m)",
    "log return",
    "after Blitz, Huij, Martens 2011",
)
_rolling(
    "market_spread",
    "log price against the market's, in standard deviations, n bars",
    cross.market_spread,
    "zscore(sum(r - m)), n bars",
    "standard deviations",
    "after Gatev, Goetzmann, Rouwenhorst 2006",
)

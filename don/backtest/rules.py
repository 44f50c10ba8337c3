"""Rules from past prices to weights, for the vector mode. Pure.

Weights come at the bars that are decided on, from closes up to and at that bar, for all symbols and
decisions at once. They are plain on purpose: what a sweep finds is then run through the engine,
with its optimizer and its costs.
"""

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from don.model.section import Section

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_LEAST_SHARE = 0.5  # of the volatility window that must be there


class RuleKind(StrEnum):
    """What weights follow."""

    EQUAL = "equal"
    INVERSE_VOLATILITY = "inverse_volatility"
    TREND = "trend"  # tanh(return / its deviation) / volatility: Moskowitz, Ooi & Pedersen (2012)
    REVERSAL = "reversal"  # the same with the sign turned


class RuleConfig(Section):
    """A weight rule."""

    kind: RuleKind = RuleKind.TREND
    lookback: int = Field(default=168, ge=1)  # bars of the return
    volatility_bars: int = Field(default=336, ge=2)
    gross: float = Field(default=1.0, gt=0)  # sum of |w| with every symbol at full strength
    max_weight: float = Field(default=0.3, gt=0)  # |w| of one symbol
    allow_short: bool = True


def weights(rule: RuleConfig, close: Floats, at: Ints) -> Floats:
    """Weights wanted.

    Args:
        rule: which, and its parameters.
        close: [S, N] last known prices, NaN where a symbol is not listed.
        at: [D] slots decided on.

    Returns:
        [D, N] fractions of equity; NaN where too little is known of a symbol to say.
    """
    known = np.isfinite(close[at])
    if rule.kind is RuleKind.EQUAL:
        count = np.maximum(known.sum(axis=1, keepdims=True), 1)
        return _limited(rule, np.where(known, rule.gross / count, np.nan))
    sigma = _volatility(close, at, rule.volatility_bars)
    usable = known & np.isfinite(sigma) & (sigma > 0)
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=usable)
    total = inverse.sum(axis=1, keepdims=True)
    share = np.divide(inverse, total, out=np.zeros_like(inverse), where=total > 0)
    strength = np.ones_like(share)
    if rule.kind is not RuleKind.INVERSE_VOLATILITY:
        before = at - rule.lookback
        past = np.where((before >= 0)[:, None], close[np.maximum(before, 0)], np.nan)
        move = np.log(close[at] / past)
        usable &= np.isfinite(move)
        deviation = np.where(usable, sigma * np.sqrt(rule.lookback), 1.0)
        strength = np.tanh(np.where(usable, move, 0.0) / deviation)
        if rule.kind is RuleKind.REVERSAL:
            strength = -strength
    return _limited(rule, np.where(usable, rule.gross * share * strength, np.nan))


def _limited(rule: RuleConfig, w: Floats) -> Floats:
    low = -rule.max_weight if rule.allow_short else 0.0
    return np.clip(w, low, rule.max_weight)


def _volatility(close: Floats, at: Ints, window: int) -> Floats:
    """[D, N] deviation of the last log returns; NaN where fewer than half of them are known."""
    r = np.diff(np.log(close), axis=0, prepend=np.full((1, close.shape[1]), np.nan))
    known = np.isfinite(r)
    r = np.where(known, r, 0.0)
    sums = [
        np.concatenate([np.zeros((1, close.shape[1])), np.cumsum(x, axis=0)])
        for x in (known.astype(float), r, r * r)
    ]
    begin = np.maximum(at + 1 - window, 0)
    count, first, second = (x[at + 1] - x[begin] for x in sums)
    safe = np.maximum(count, 1.0)
    variance = np.maximum(second / safe - (first / safe) ** 2, 0.0)
    return np.where(count >= max(2.0, window * _LEAST_SHARE), np.sqrt(variance), np.nan)

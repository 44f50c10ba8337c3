"""What a portfolio could lose in a bar: VaR, CVaR and breaks of correlation. Pure.

Losses are fractions of equity, positive. Sources: VaR and CVaR as in Rockafellar & Uryasev,
"Conditional value-at-risk for general loss distributions" (2002); filtered historical simulation:
Barone-Adesi, Giannopoulos & Vosper, "VaR without correlations" (1999), with exponentially weighted
volatilities (Hull & White 1998).
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from don.market.waiting import WaitingCloses
from don.risk.config import RiskConfig, VarMethod

LEAST = 30  # returns below which nothing is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Value at risk and the mean loss beyond it, per bar, fractions of equity, at least zero."""

    var: float
    cvar: float


def tail(weights: np.ndarray, returns: np.ndarray, config: RiskConfig) -> Tail | None:
    """VaR and CVaR of a portfolio by the configured method.

    Args:
        weights: [symbol] fractions of equity.
        returns: [time, symbol] per bar, oldest first, finite.
        config: level and method.

    Returns:
        None while there are fewer than 30 returns: then nothing can be said.
    """
    if len(returns) < LEAST:
        return None
    level = config.var_level
    match config.var_method:
        case VarMethod.PARAMETRIC:
            centred = returns - returns.mean(axis=0)
            Sigma = centred.T @ centred / (len(returns) - 1)
            deviation = float(np.sqrt(max(weights @ Sigma @ weights, 0.0)))
            mean = float(returns.mean(axis=0) @ weights)
            normal = NormalDist()
            z = normal.inv_cdf(level)
            beyond = normal.pdf(z) / (1.0 - level)
            return _tail(deviation * z - mean, deviation * beyond - mean)
        case VarMethod.FILTERED:
            losses = -(filtered(returns, config.var_half_life) @ weights)
        case _:
            losses = -(returns @ weights)
    return empirical(losses, level)


def empirical(losses: np.ndarray, level: float) -> Tail:
    """VaR and CVaR of equally likely losses, exact for the discrete distribution.

    VaR is the smallest loss that a share of at least `level` does not exceed; CVaR the mean of the
    worst 1 - level, the loss at VaR counted in part.
    """
    ordered = np.sort(losses)
    n = len(ordered)
    at = min(int(np.ceil(level * n - 1e-9)), n) - 1
    var = float(ordered[at])
    mass = 1.0 - level
    part = (at + 1) / n - level  # of the atom at VaR that belongs to the tail
    cvar = (float(ordered[at + 1 :].sum()) / n + part * var) / mass
    return _tail(var, max(cvar, var))


def filtered(returns: np.ndarray, half_life: float) -> np.ndarray:
    """[time, symbol] returns, each scaled from the volatility of its time to that of the end.

    The volatility before a return is the exponentially weighted one of the returns before it; the
    first LEAST // 2 returns only warm it up and are left out.
    """
    decay = 0.5 ** (1.0 / half_life)
    warm = LEAST // 2
    variance = (returns[:warm] ** 2).mean(axis=0)
    scaled = np.empty((len(returns) - warm, returns.shape[1]))
    for t in range(warm, len(returns)):
        scale = np.sqrt(variance)
        scaled[t - warm] = np.divide(returns[t], scale, out=np.zeros_like(scale), where=scale > 0)
        variance = decay * variance + (1.0 - decay) * returns[t] ** 2
    return np.asarray(scaled * np.sqrt(variance))


def correlation_break(returns: np.ndarray, short: int) -> float | None:
    """How far correlations have moved: mean over pairs of |rho of the last `short` bars - rho of
    the bars before|. 0: as ever; 2: every pair turned over.

    Returns:
        None with fewer than two symbols, or fewer than LEAST bars before the short window.
    """
    if returns.shape[1] < 2 or len(returns) - short < LEAST:
        return None
    now, before = _correlation(returns[-short:]), _correlation(returns[:-short])
    upper = np.triu_indices(returns.shape[1], 1)
    return float(np.abs(now[upper] - before[upper]).mean())


def _correlation(returns: np.ndarray) -> np.ndarray:
    """Correlation about the mean; zero for a symbol that did not move."""
    centred = returns - returns.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    unit = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    return np.asarray(unit.T @ unit)


def _tail(var: float, cvar: float) -> Tail:
    return Tail(var=max(var, 0.0), cvar=max(cvar, 0.0))


class CloseWindow:
    """The last closes [time, symbol] of a session; returns are made when they are asked for.

    Rows wait until then: most sessions never ask.
    """

    def __init__(self, symbols: int, returns: int) -> None:
        self._waiting = WaitingCloses()
        self._rows = np.full((returns + 1, symbols), np.nan)
        self._next = 0
        self._count = 0

    @property
    def ts(self) -> int:
        """Close time of the last row, ns; -1 before the first."""
        return self._waiting.ts

    def reset(self) -> None:
        """Forget everything."""
        self._waiting = WaitingCloses()
        self._rows[:] = np.nan
        self._next = self._count = 0

    def resize(self, returns: int) -> None:
        """Keep that many returns from now on; the newest of what is there stay."""
        kept = self._ordered()[-(returns + 1) :]
        self._rows = np.full((returns + 1, self._rows.shape[1]), np.nan)
        self._rows[: len(kept)] = kept
        self._count = len(kept)
        self._next = len(kept) % len(self._rows)

    def update(self, ts: int, close: np.ndarray) -> None:
        """Take in closes later than all before; earlier ones are ignored. NaN counts as unchanged.

        Args:
            ts: bar close time, ns.
            close: [symbol] prices.
        """
        if self._waiting.add(ts, close):
            self._take_in()

    def update_many(self, ts: np.ndarray, close: np.ndarray) -> None:
        """`update` with rows of closes [bar, symbol] at rising times; only the last ones count."""
        if self._waiting.add_many(ts, close):
            self._take_in()

    def _take_in(self) -> None:
        """Take in the rows that wait."""
        close = self._waiting.take()
        if close is None:
            return
        last = self._rows[self._next - 1] if self._count else np.full(close.shape[1], np.nan)
        filled = np.vstack([last, np.where(np.isfinite(close) & (close > 0), close, np.nan)])
        known = np.where(np.isfinite(filled), np.arange(len(filled))[:, None], 0)
        filled = np.take_along_axis(filled, np.maximum.accumulate(known, axis=0), axis=0)[1:]
        filled = filled[-len(self._rows) :]
        places = (self._next + np.arange(len(filled))) % len(self._rows)
        self._rows[places] = filled
        self._next = (self._next + len(filled)) % len(self._rows)
        self._count = min(self._count + len(filled), len(self._rows))

    def returns(self) -> np.ndarray:
        """[time, symbol] simple returns, oldest first; zero where a symbol had no price yet."""
        rows = self._ordered()
        if len(rows) < 2:
            return np.empty((0, self._rows.shape[1]))
        made = rows[1:] / rows[:-1] - 1.0
        return np.nan_to_num(made, copy=False, nan=0.0, posinf=0.0, neginf=0.0)

    def _ordered(self) -> np.ndarray:
        self._take_in()
        if self._count < len(self._rows):
            return self._rows[: self._count].copy()
        return np.roll(self._rows, -self._next, axis=0)

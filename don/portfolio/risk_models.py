"""Return covariance for portfolio choice. Pure: arrays in, arrays out.

The engine's fold must give the same bits on every run: elementwise arithmetic, no BLAS call, but
for the models that need eigenvectors (`factor`, `denoised`), which run LAPACK on one thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from don.market.waiting import WaitingCloses
from don.portfolio.config import CovarianceConfig, RiskModelKind
from don.portfolio.estimators import denoised_cov, factor_cov, ledoit_wolf, oas
from don.portfolio.ewma import changes, roll

ENDLESS = 1e15  # bars: a half-life at which no weight fades within any session


def half_life_of(config: CovarianceConfig) -> float:
    """The half-life to make an `EwmaCovariance` with: `sample` forgets nothing."""
    return ENDLESS if config.model is RiskModelKind.SAMPLE else config.half_life


def ewma_cov(returns: np.ndarray, half_life: float) -> np.ndarray:
    """Exponentially weighted covariance about zero, in one batch.

    Args:
        returns: (T, N) simple returns per bar, oldest first, finite.
        half_life: bars after which an observation counts half, > 0.

    Returns:
        (N, N) symmetric positive semidefinite, in squared return per bar.

    Raises:
        ValueError: if T < 1 or half_life <= 0.

    Source: RiskMetrics Technical Document, 4th ed. (1996), ch. 5.
    """
    T, _ = returns.shape
    if T < 1 or half_life <= 0:
        raise ValueError(f"need T >= 1 and half_life > 0, were {T} and {half_life}")
    decay = 0.5 ** (np.arange(T - 1, -1, -1) / half_life)
    scaled = returns * np.sqrt(decay / decay.sum())[:, None]
    return np.asarray(scaled.T @ scaled)


def shrink_to_constant_correlation(Sigma: np.ndarray, weight: float) -> np.ndarray:
    """Pull the correlations of a covariance toward their mean; variances stay as they are.

    Args:
        Sigma: (N, N) covariance.
        weight: of the target, 0 (nothing) to 1 (all correlations equal).

    Returns:
        (N, N) covariance. Names without variance keep zero covariance.

    Source: Ledoit & Wolf, "Honey, I shrunk the sample covariance matrix" (2003); the weight is
    given here, not estimated.
    """
    N = Sigma.shape[0]
    if N < 2 or weight <= 0:
        return Sigma.copy()
    sigma = np.sqrt(np.maximum(np.diag(Sigma), 0.0))
    scale = np.outer(sigma, sigma)
    live = scale > 0
    rho = np.divide(Sigma, scale, out=np.zeros_like(Sigma), where=live)
    off = live & ~np.eye(N, dtype=bool)
    mean = float(rho[off].mean()) if off.any() else 0.0
    target = np.where(off, mean * scale, Sigma)
    return (1.0 - weight) * Sigma + weight * target


@dataclass(frozen=True, slots=True, kw_only=True)
class CovarianceState:
    """An `EwmaCovariance` between two updates, serialisable."""

    symbols: tuple[str, ...]
    half_life: float
    total: np.ndarray  # [symbol, symbol] sum of decayed outer products
    weight: float  # sum of the decayed weights
    count: int  # returns seen
    close: np.ndarray  # [symbol] last close, NaN before the first
    ts: int  # close time of the last row, -1 before the first
    fourth: float = 0.0  # sum of decayed |r|^4
    squares: float = 0.0  # sum of the squared weights


class EwmaCovariance:
    """`ewma_cov`, one row at a time: after any rows, equal to the batch over them.

    Rows wait until somebody asks, and are then taken in at once.
    """

    def __init__(
        self, symbols: Sequence[str], half_life: float, state: CovarianceState | None = None
    ) -> None:
        self.symbols = tuple(symbols)
        self.half_life = half_life
        self._decay = 0.5 ** (1.0 / half_life)
        if state is not None and state.symbols == self.symbols and state.half_life == half_life:
            self._total, self._weight = state.total.copy(), state.weight
            self._count, self._close = state.count, state.close.copy()
            self._waiting = WaitingCloses(state.ts)
            self._fourth, self._squares = state.fourth, state.squares
        else:
            self.reset()

    def reset(self) -> None:
        """Forget everything."""
        N = len(self.symbols)
        self._total = np.zeros((N, N))
        self._weight = 0.0
        self._fourth = self._squares = 0.0
        self._close = np.full(N, np.nan)
        self._count = 0
        self._waiting = WaitingCloses()

    @property
    def ts(self) -> int:
        """Close time of the last row, ns; -1 before the first."""
        return self._waiting.ts

    def update(self, ts: int, close: np.ndarray) -> None:
        """Take in the closes at a bar close time later than all before; earlier ones are ignored.

        A close that is NaN or not positive counts as unchanged: the return shows up in full when
        the next price does.

        Args:
            ts: bar close time, ns.
            close: [symbol] prices.
        """
        if self._waiting.add(ts, close):
            self._take_in()

    def update_many(self, ts: np.ndarray, close: np.ndarray) -> None:
        """`update` with rows of closes [bar, symbol] at rising times, to the same bits."""
        if self._waiting.add_many(ts, close):
            self._take_in()

    def _take_in(self) -> None:
        """Take in the rows that wait."""
        close = self._waiting.take()
        if close is None:
            return
        r, counted = np.empty_like(close), np.zeros(len(close), dtype=bool)
        last, total = self._close.copy(), self._total.copy()
        changes(close, last, r, counted)
        roll(total, r, counted, self._decay)
        squares = (r * r).sum(axis=1)
        self._total, self._close = total, last
        for square in squares[counted].tolist():
            self._weight = self._decay * self._weight + 1.0
            self._fourth = self._decay * self._fourth + square**2
            self._squares = self._decay * self._decay * self._squares + 1.0
        self._count += int(counted.sum())

    @property
    def count(self) -> int:
        """Returns seen."""
        self._take_in()
        return self._count

    def Sigma(self) -> np.ndarray:
        """(N, N) covariance of returns per bar; zeros before the first return."""
        self._take_in()
        if self._weight == 0.0:
            return np.zeros_like(self._total)
        return np.asarray(self._total / self._weight)

    @property
    def effective(self) -> float:
        """How many equally weighted returns would say as much; 0 before the first."""
        self._take_in()
        # a state saved before these sums were kept has none: then the limit of many returns
        if self._squares <= 0.0:
            return (1.0 + self._decay) / (1.0 - self._decay) if self._count else 0.0
        return self._weight**2 / self._squares

    def estimate(self, config: "CovarianceConfig") -> np.ndarray:
        """(N, N) covariance by the configured model; zeros before the first return.

        For `sample` the object must have been made with `half_life_of(config)`.
        """
        S = self.Sigma()
        if self._weight == 0.0:
            return S
        match config.model:
            case RiskModelKind.LEDOIT_WOLF:
                return ledoit_wolf(S, self._fourth / self._weight, self.effective)
            case RiskModelKind.OAS:
                return oas(S, self.effective)
            case RiskModelKind.FACTOR:
                return factor_cov(S, config.factors)
            case RiskModelKind.DENOISED:
                return denoised_cov(S, self.effective)
            case _:
                return shrink_to_constant_correlation(S, config.shrinkage)

    def dump(self) -> CovarianceState:
        """The state; a new object made from it goes on exactly from here."""
        self._take_in()
        return CovarianceState(
            symbols=self.symbols,
            half_life=self.half_life,
            total=self._total,
            weight=self._weight,
            count=self._count,
            close=self._close,
            ts=self.ts,
            fourth=self._fourth,
            squares=self._squares,
        )

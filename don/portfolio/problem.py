"""One portfolio decision as numbers: what is wanted, at what risk and cost, inside what. Pure.

Symbols that cannot move are taken out, exactly: what they contribute to risk and limits becomes a
constant. So a solver only sees symbols that are free.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from don.model.messages import OptimizeRequest, PortfolioInputs
from don.portfolio.limits import Limits
from don.portfolio.linalg import factorise, is_psd, one_thread, positive_part
from don.portfolio.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A named limit: low <= on_w'w + on_size'|w| <= high."""

    name: str
    low: float
    high: float
    on_w: np.ndarray | None = None  # [symbol]
    on_size: np.ndarray | None = None  # [symbol] >= 0, with an upper limit only


@dataclass(frozen=True, slots=True, kw_only=True)
class Risk:
    """A covariance, whole or as factors with a diagonal rest, and its pinned part's pull."""

    Sigma: np.ndarray  # [symbol, symbol]
    pull: np.ndarray  # [symbol] Sigma w of what is pinned
    fixed: float  # w'Sigma w of what is pinned
    F: np.ndarray | None = None  # [factor, symbol]; None: use Sigma
    rest: np.ndarray | None = None  # [symbol] standard deviations

    def variance(self, w: np.ndarray) -> float:
        """W'Sigma w, pinned weights included."""
        with one_thread():
            if self.F is None or self.rest is None:
                own = float(w @ self.Sigma @ w)
            else:
                own = float(((self.F @ w) ** 2).sum() + ((self.rest * w) ** 2).sum())
            return own + 2.0 * float(self.pull @ w) + self.fixed


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A decision over the symbols that are free to move, n of them."""

    symbols: tuple[str, ...]
    mu: np.ndarray  # [symbol] expected return per bar, carry taken off
    risk: Risk
    cost: np.ndarray  # [symbol] per unit of turnover, >= 0
    impact: np.ndarray | None  # [symbol] c of c |z|^1.5
    w_now: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    gross: float
    turnover: float
    rows: tuple[Row, ...]
    scenarios: np.ndarray | None = None  # [time, symbol]
    pinned_path: np.ndarray | None = None  # [time] returns of what is pinned
    mu_error: np.ndarray | None = None

    @property
    def n(self) -> int:
        """How many symbols are free."""
        return len(self.symbols)

    @property
    def signed(self) -> bool:
        """Whether a weight may be negative, so that |w| is not w."""
        return bool((self.lower < 0).any())

    def excess(self, w: np.ndarray) -> float:
        """By how much weights break a limit at worst; 0 or less if they keep all of them."""
        size = np.abs(w)
        worst = max(
            float((self.lower - w).max()),
            float((w - self.upper).max()),
            float(size.sum()) - self.gross,
            float(np.abs(w - self.w_now).sum()) - self.turnover,
        )
        for row in self.rows:
            used = 0.0 if row.on_w is None else float(row.on_w @ w)
            used += 0.0 if row.on_size is None else float(row.on_size @ size)
            worst = max(worst, row.low - used, used - row.high)
        return worst


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a program holds weights, sizes of trades, and sizes of weights."""

    w: slice
    trade: slice
    size: slice


@dataclass(slots=True)
class RiskModel:
    """Turns covariances into what a program takes, remembering the last: most do not change."""

    max_factors: int
    _last: np.ndarray | None = field(default=None, init=False)
    _made: tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool] | None = field(
        default=None, init=False
    )

    def prepare(
        self, Sigma: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool]:
        """(Sigma, F, rest, repaired): positive semidefinite, with factors if it is large."""
        if self._made is None or self._last is None or not np.array_equal(self._last, Sigma):
            self._last = Sigma.copy()
            symmetric = 0.5 * (Sigma + Sigma.T)
            repaired = not is_psd(symmetric)
            whole = positive_part(symmetric) if repaired else symmetric
            if len(whole) > self.max_factors:
                F, rest = factorise(whole, self.max_factors)
                self._made = (whole, F, rest, repaired)
            else:
                self._made = (whole, None, None, repaired)
        return self._made


def reduce(
    *,
    request: OptimizeRequest,
    mu: np.ndarray,
    prepared: tuple[np.ndarray, np.ndarray | None, np.ndarray | None, bool],
    limits: Limits,
    rows: Sequence[Row],
    free: np.ndarray,
) -> Problem:
    """The problem over the free symbols.

    Args:
        request: what the desk asked, checked for shapes and finite numbers.
        mu: [symbol] expected return per bar, carry taken off.
        prepared: of `RiskModel.prepare`.
        limits: over all symbols.
        rows: over all symbols.
        free: [symbol] bool.
    """
    inputs = request.inputs or PortfolioInputs()
    Sigma, F, rest, _ = prepared
    w_now = np.asarray(request.w_now, dtype=float)
    held = np.where(free, 0.0, np.where(limits.lower == limits.upper, limits.lower, w_now))
    if free.all():
        risk = Risk(Sigma=Sigma, pull=np.zeros(len(free)), fixed=0.0, F=F, rest=rest)
    else:
        if F is None or rest is None:
            pull = Sigma @ held
        else:
            pull = F.T @ (F @ held)
        fixed = float(pull @ held) + (0.0 if rest is None else float(((rest * held) ** 2).sum()))
        risk = Risk(
            Sigma=Sigma[np.ix_(free, free)],
            pull=pull[free],
            fixed=fixed,
            F=None if F is None else F[:, free],
            rest=None if rest is None else rest[free],
        )
    moved = float(np.abs(held - w_now)[~free].sum())
    scenarios = inputs.scenarios
    return Problem(
        symbols=tuple(s for s, ok in zip(request.symbols, free, strict=True) if ok),
        mu=mu[free],
        risk=risk,
        cost=np.maximum(request.cost, 0.0)[free],
        impact=None if inputs.impact is None else np.maximum(inputs.impact, 0.0)[free],
        w_now=w_now[free],
        lower=limits.lower[free],
        upper=limits.upper[free],
        gross=limits.gross - float(np.abs(held).sum()),
        turnover=limits.turnover - moved,
        rows=tuple(_reduced(row, held, free) for row in rows),
        scenarios=None if scenarios is None else np.asarray(scenarios, dtype=float)[:, free],
        pinned_path=None if scenarios is None else np.asarray(scenarios, dtype=float) @ held,
        mu_error=None if inputs.mu_error is None else np.asarray(inputs.mu_error)[free],
    )


def _reduced(row: Row, held: np.ndarray, free: np.ndarray) -> Row:
    used = 0.0
    if row.on_w is not None:
        used += float(row.on_w @ held)
    if row.on_size is not None:
        used += float(row.on_size @ np.abs(held))
    return replace(
        row,
        low=row.low - used,
        high=row.high - used,
        on_w=None if row.on_w is None else row.on_w[free],
        on_size=None if row.on_size is None else row.on_size[free],
    )


def place(program: Program, problem: Problem, before: slice | None = None) -> Placed:
    """Put weights and all limits into a program.

    Args:
        program: to add to.
        problem: whose limits.
        before: where the weights before the trade are, in a plan of several periods; None: w_now.
    """
    n = problem.n
    w = program.variable(n, problem.lower, problem.upper)
    trade = program.variable(n, 0.0)
    if before is None:
        start: list[tuple[slice, float]] = []
        level = problem.w_now
    else:
        start, level = [(before, -1.0)], np.zeros(n)
    program.rows("_buy", n, [(w, 1.0), (trade, -1.0), *start], -np.inf, level)
    program.rows("_sell", n, [(w, 1.0), (trade, 1.0), *start], level, np.inf)
    size = w
    if problem.signed:
        size = program.variable(n, 0.0)
        program.rows("_long", n, [(w, 1.0), (size, -1.0)], -np.inf, 0.0)
        program.rows("_short", n, [(w, 1.0), (size, 1.0)], 0.0, np.inf)
    ones = np.ones((1, n))
    program.rows("max_turnover", 1, [(trade, ones)], -np.inf, problem.turnover)
    program.rows("max_gross", 1, [(size, ones)], -np.inf, problem.gross)
    for row in problem.rows:
        parts: list[tuple[slice, np.ndarray | float]] = []
        if row.on_w is not None and row.on_size is not None and size == w:
            parts.append((w, (row.on_w + row.on_size)[None, :]))
        else:
            if row.on_w is not None:
                parts.append((w, row.on_w[None, :]))
            if row.on_size is not None:
                parts.append((size, row.on_size[None, :]))
        program.rows(row.name, 1, parts, row.low, row.high)
    return Placed(w=w, trade=trade, size=size)

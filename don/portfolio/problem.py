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
    on_size: np.ndarray | None = None  # [symbol] >= 0, and then no lower limit


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
    shown: dict[str, tuple[float, float]]  # limits by name, before anything pinned was taken off
    scenarios: np.ndarray | None = None  # [time, symbol]
    pinned_path: np.ndarray | None = None  # [time] returns of what is pinned
    mu_error: np.ndarray | None = None

    @property
    def n(self) -> int:
        """How many symbols are free."""
        return len(self.symbols)

    @property
    def signed(self) -> bool:
        """Whether a trade may carry a weight through zero."""
        return bool((self.lower < 0).any() or (self.w_now < 0).any())

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
    """Where a program holds weights, and what adds up to sizes of trades and of weights.

    A trade is cut in three: away from zero, toward zero, and beyond zero to the other side. Each
    part is a variable >= 0, so |w - w_now| and |w| are sums with fixed signs: fewer rows than two
    inequalities an absolute value, and solved in half the time.
    """

    w: slice
    trade: tuple[slice, ...]  # |w - w_now| is their sum
    size: tuple[tuple[slice, np.ndarray], ...]  # |w| is the sum of number times part, and `base`
    base: np.ndarray  # [symbol]


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
        pull, fixed = np.zeros(len(free)), 0.0
        if held.any():  # mostly what is pinned is not held
            with one_thread():
                pull = Sigma @ held if F is None else F.T @ (F @ held)
            fixed = float(pull @ held)
            fixed += 0.0 if rest is None else float(((rest * held) ** 2).sum())
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
        shown={
            "max_gross": (-np.inf, limits.gross),
            "max_turnover": (-np.inf, limits.turnover),
            **{row.name: (row.low, row.high) for row in rows},
        },
        scenarios=None if scenarios is None else np.asarray(scenarios, dtype=float)[:, free],
        pinned_path=None if scenarios is None else _path(np.asarray(scenarios, dtype=float), held),
        mu_error=None if inputs.mu_error is None else np.asarray(inputs.mu_error)[free],
    )


def _path(scenarios: np.ndarray, held: np.ndarray) -> np.ndarray:
    with one_thread():
        return np.asarray(scenarios @ held)


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


AT_ZERO = 1e-9  # of a weight: held less than that counts as nothing held


def place(program: Program, problem: Problem, before: slice | None = None) -> Placed:
    """Put weights and all limits into a program.

    Args:
        program: to add to.
        problem: whose limits.
        before: where the weights before the trade are, in a plan of several periods; None: w_now.
    """
    n = problem.n
    w = program.variable(n, problem.lower, problem.upper)
    placed = _split(program, problem, w) if before is None else _plain(program, n, w, before)
    ones = np.ones((1, n))
    turnover: list[tuple[slice, np.ndarray | float]] = [(part, ones) for part in placed.trade]
    program.rows("max_turnover", 1, turnover, -np.inf, problem.turnover)
    _size_row(program, placed, "max_gross", None, np.ones(n), -np.inf, problem.gross)
    for row in problem.rows:
        _size_row(program, placed, row.name, row.on_w, row.on_size, row.low, row.high)
    return placed


def _split(program: Program, problem: Problem, w: slice) -> Placed:
    n = problem.n
    held = np.abs(problem.w_now)
    none = held < AT_ZERO
    sign = np.where(problem.w_now < 0, -1.0, 1.0)
    away = program.variable(n, 0.0)
    # from nothing held, every way is away from zero
    toward = program.variable(n, 0.0, np.where(none, np.inf, held))
    parts = [away, toward]
    moves: list[tuple[slice, np.ndarray | float]] = [(w, 1.0), (away, -sign), (toward, sign)]
    size = [(away, np.ones(n)), (toward, np.where(none, 1.0, -1.0))]
    if problem.signed:
        beyond = program.variable(n, 0.0)
        parts.append(beyond)
        moves.append((beyond, sign))
        size.append((beyond, np.ones(n)))
    program.rows("_split", n, moves, problem.w_now, problem.w_now)
    return Placed(w=w, trade=tuple(parts), size=tuple(size), base=np.where(none, 0.0, held))


def _plain(program: Program, n: int, w: slice, before: slice) -> Placed:
    """Where the weights before are themselves to be chosen: ups and downs, long and short."""
    up, down = program.variable(n, 0.0), program.variable(n, 0.0)
    long, short = program.variable(n, 0.0), program.variable(n, 0.0)
    program.rows("_move", n, [(w, 1.0), (before, -1.0), (up, -1.0), (down, 1.0)], 0.0, 0.0)
    program.rows("_sides", n, [(w, 1.0), (long, -1.0), (short, 1.0)], 0.0, 0.0)
    ones = np.ones(n)
    return Placed(w=w, trade=(up, down), size=((long, ones), (short, ones)), base=np.zeros(n))


def _size_row(
    program: Program,
    placed: Placed,
    name: str,
    on_w: np.ndarray | None,
    on_size: np.ndarray | None,
    low: float,
    high: float,
) -> None:
    parts: list[tuple[slice, np.ndarray | float]] = []
    if on_w is not None:
        parts.append((placed.w, on_w[None, :]))
    if on_size is not None:
        parts += [(part, (on_size * factor)[None, :]) for part, factor in placed.size]
        used = float((on_size * placed.base).sum())
        low, high = low - used, high - used
    program.rows(name, 1, parts, low, high)

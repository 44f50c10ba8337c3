"""Convex programs with named rows, solved bare by PIQP or Clarabel. Pure: numbers in, numbers out.

Every solve is cold, single-threaded and without a time limit: the answer depends on the program
alone. What is compiled once and kept is only the sparsity of a program's matrices (`Patterns`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import clarabel
import numpy as np
import piqp
from scipy import sparse

from don.errors import SolverError

PIQP_OPTIONS: dict[str, float] = {"num_threads": 1, "max_iter": 250}
CLARABEL_OPTIONS: dict[str, object] = {
    "verbose": False,
    "max_threads": 1,
    "direct_solve_method": "qdldl",
    "max_iter": 200,
}
INFINITE = np.inf
Triplets = tuple[np.ndarray, np.ndarray, np.ndarray]  # rows, columns, values


class Infeasible(SolverError):
    """No point keeps all rows."""


@dataclass(frozen=True, slots=True)
class Cone:
    """`h - G x` in a cone: "soc" (one of the size of its rows) or "pow" (rows in threes)."""

    kind: str
    triplets: Triplets
    h: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An optimum. Prices are what the optimum would fall by per unit that a limit gives way."""

    x: np.ndarray
    lower_price: np.ndarray  # [row] >= 0
    upper_price: np.ndarray  # [row] >= 0
    low_bound_price: np.ndarray  # [variable] >= 0
    high_bound_price: np.ndarray  # [variable] >= 0
    objective: float
    iterations: int
    solver: str


class Patterns:
    """How triplets of a kind of program fall into compressed columns: worked out once a kind.

    Not for threads: a kept matrix is filled anew for every program of its kind.
    """

    KEPT = 128

    def __init__(self) -> None:
        self._kept: dict[object, tuple[np.ndarray, sparse.csc_matrix]] = {}

    def compressed(
        self,
        key: object,
        shape: tuple[int, int],
        triplets: Triplets,
        chosen: np.ndarray | None = None,
    ) -> "sparse.csc_matrix":
        """The matrix of triplets, good until the next one of the same pattern is asked for.

        Args:
            key: what stands for the pattern.
            shape: of all rows and columns.
            triplets: each (row, column) at most once.
            chosen: [row] bool, the rows to take; None: all.
        """
        rows, columns, values = triplets
        made = self._kept.get(key)
        if made is None:
            while len(self._kept) >= self.KEPT:
                del self._kept[next(iter(self._kept))]
            made = self._kept[key] = _pattern(shape, rows, columns, chosen)
        order, matrix = made
        matrix.data = values[order]
        return matrix


def _pattern(
    shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, chosen: np.ndarray | None
) -> tuple[np.ndarray, "sparse.csc_matrix"]:
    order = np.lexsort((rows, columns))
    height, place = shape[0], np.arange(shape[0])
    if chosen is not None:
        order = order[chosen[rows[order]]]
        height, place = int(chosen.sum()), np.cumsum(chosen) - 1
    indptr = np.concatenate([[0], np.cumsum(np.bincount(columns[order], minlength=shape[1]))])
    matrix = sparse.csc_matrix(
        (np.zeros(len(order)), place[rows[order]].astype(np.int32), indptr.astype(np.int32)),
        shape=(height, shape[1]),
    )
    return order, matrix


class Program:
    """minimise 1/2 x'P x + q'x  with  low <= G x <= high,  bounds on x, and cones."""

    def __init__(self) -> None:
        self.size = 0
        self.count = 0  # rows
        self.names: list[tuple[str, int]] = []  # of row blocks: name and how many
        self._lower: list[np.ndarray] = []
        self._upper: list[np.ndarray] = []
        self._linear: list[tuple[int, np.ndarray]] = []
        self._square: list[Triplets] = []
        self._rows: list[Triplets] = []
        self._low: list[np.ndarray] = []
        self._high: list[np.ndarray] = []
        self._cones: list[Cone] = []

    def variable(
        self, n: int, lower: np.ndarray | float = -INFINITE, upper: np.ndarray | float = INFINITE
    ) -> slice:
        """Add n variables; where they are."""
        self._lower.append(_column(lower, n))
        self._upper.append(_column(upper, n))
        self.size += n
        return slice(self.size - n, self.size)

    def linear(self, at: slice, q: np.ndarray) -> None:
        """Add q'x[at] to the goal."""
        self._linear.append((at.start, np.asarray(q, dtype=float)))

    def diagonal(self, at: slice, d: np.ndarray) -> None:
        """Add 1/2 sum d x[at]^2 to the goal; d >= 0."""
        i = np.arange(at.start, at.stop)
        self._square.append((i, i, np.asarray(d, dtype=float)))

    def quadratic(self, at: slice, P: np.ndarray) -> None:
        """Add 1/2 x[at]'P x[at] to the goal; P symmetric positive semidefinite."""
        i, j = upper_triangle(P.shape[0])
        self._square.append((i + at.start, j + at.start, P[i, j]))

    def rows(
        self,
        name: str,
        n: int,
        parts: Sequence[tuple[slice, np.ndarray | float]],
        low: np.ndarray | float,
        high: np.ndarray | float,
    ) -> None:
        """Add n rows `low <= sum_k M_k x[at_k] <= high`.

        Args:
            name: of the block, for reports.
            n: how many rows.
            parts: (at, M): M a number (times the identity), n numbers (a diagonal), or a full
                (n, len(at)) matrix.
            low: [row] or one for all; -inf for none.
            high: [row] or one for all.
        """
        for at, M in parts:
            if isinstance(M, np.ndarray) and M.ndim == 2:
                width = at.stop - at.start
                r = np.repeat(np.arange(self.count, self.count + n), width)
                c = np.tile(np.arange(at.start, at.stop), n)
                self._rows.append((r, c, M.reshape(-1)))
            else:
                r = np.arange(self.count, self.count + n)
                self._rows.append((r, r + (at.start - self.count), _column(M, n)))
        self._low.append(_column(low, n))
        self._high.append(_column(high, n))
        self.names.append((name, n))
        self.count += n

    def cone(self, kind: str, triplets: Triplets, h: np.ndarray) -> None:
        """Add a cone: `h - G x` in it, G from triplets with rows counted from 0."""
        self._cones.append(Cone(kind, triplets, h))

    def limits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(low, high) of the rows, (lower, upper) of the variables."""
        return _flat(self._low), _flat(self._high), _flat(self._lower), _flat(self._upper)

    def homogeneous(self) -> tuple["Program", slice]:
        """The rows and bounds of this program, scaled by one more variable, k >= 0.

        For every x inside this program and k > 0, (k x, k) is inside the other. This program must
        have no cones.

        Returns:
            The other program without a goal, with x first, and where k is in it. Its rows are those
            with an upper limit, in order, then those with a lower one, then upper and lower bounds
            likewise, then equations.
        """
        other = Program()
        other.variable(self.size)
        k = other.variable(1, 0.0)
        low, high, lower, upper = self.limits()
        G = sparse.coo_matrix(_swap(_joined(self._rows)), shape=(self.count, self.size)).tocsr()
        unit = sparse.identity(self.size, format="csr")
        for name, M, side, sign in (
            ("high", G, high, 1.0),
            ("low", G, low, -1.0),
            ("upper", unit, upper, 1.0),
            ("lower", unit, lower, -1.0),
        ):
            there = np.isfinite(side)
            if name in ("high", "low"):
                there &= low != high
            other._append(name, M[there] * sign, side[there] * sign, k, -np.inf)
        fixed = low == high
        other._append("equal", G[fixed], high[fixed], k, 0.0)
        return other, k

    def _append(
        self, name: str, M: "sparse.csr_matrix", side: np.ndarray, k: slice, low: float
    ) -> None:
        """Add rows low <= M x - side k <= 0."""
        n = M.shape[0]
        if n == 0:
            return
        made = M.tocoo()
        self._rows.append((made.row + self.count, made.col, made.data))
        used = np.flatnonzero(side)
        self._rows.append((used + self.count, np.full(len(used), k.start), -side[used]))
        self._low.append(np.full(n, low))
        self._high.append(np.zeros(n))
        self.names.append((name, n))
        self.count += n

    def solve(self, patterns: Patterns | None = None, key: object = None) -> Answer:
        """The optimum.

        Args:
            patterns: where the sparsity of programs like this one is kept.
            key: what all programs of the same sparsity share.

        Raises:
            Infeasible: if the solver proved that no point keeps all rows.
            SolverError: if it ended without an optimum.
        """
        kept = patterns if patterns is not None else Patterns()
        q = np.zeros(self.size)
        for start, values in self._linear:
            q[start : start + len(values)] += values
        P = kept.compressed((key, "P"), (self.size, self.size), _joined(self._square))
        low, high, lower, upper = self.limits()
        rows, shape = _joined(self._rows), (self.count, self.size)
        # equal sides are equations: an interior point needs room between two inequalities
        fixed = low == high
        which = fixed.tobytes()
        A = kept.compressed((key, "A", which), shape, rows, fixed)
        G = kept.compressed((key, "G", which), shape, rows, ~fixed)
        sides = _Sides(fixed, low, high, lower, upper)
        if self._cones:
            return _by_clarabel(P, q, A, G, sides, self._cones)
        return _by_piqp(P, q, A, G, sides)


@dataclass(frozen=True, slots=True)
class _Sides:
    """The right-hand sides of a program."""

    fixed: np.ndarray  # [row] bool: an equation
    low: np.ndarray  # [row]
    high: np.ndarray
    lower: np.ndarray  # [variable]
    upper: np.ndarray


_TRIANGLES: dict[int, tuple[np.ndarray, np.ndarray]] = {}


def upper_triangle(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the upper triangle; kept for sizes asked for before, because they are slow."""
    if n not in _TRIANGLES:
        if len(_TRIANGLES) >= 64:
            _TRIANGLES.clear()
        _TRIANGLES[n] = np.triu_indices(n)
    return _TRIANGLES[n]


def _column(value: np.ndarray | float, n: int) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.full(n, float(value))


def _flat(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0)


def _joined(parts: list[Triplets]) -> Triplets:
    if not parts:
        return np.zeros(0, int), np.zeros(0, int), np.zeros(0)
    r, c, v = zip(*parts, strict=True)
    return np.concatenate(r), np.concatenate(c), np.concatenate(v)


def _swap(triplets: Triplets) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    rows, columns, values = triplets
    return values, (rows, columns)


def _by_piqp(
    P: "sparse.csc_matrix",
    q: np.ndarray,
    A: "sparse.csc_matrix",
    G: "sparse.csc_matrix",
    sides: _Sides,
) -> Answer:
    solver = piqp.SparseSolver()
    for name, value in PIQP_OPTIONS.items():
        setattr(solver.settings, name, value)
    fixed, open_ = sides.fixed, ~sides.fixed
    solver.setup(
        P, q, A, sides.low[fixed], G, sides.low[open_], sides.high[open_], sides.lower, sides.upper
    )
    status = solver.solve()
    result = solver.result
    if status.name == "PIQP_PRIMAL_INFEASIBLE":
        raise Infeasible("no portfolio keeps all limits")
    if status.name != "PIQP_SOLVED":
        raise SolverError(f"PIQP ended with {status.name.removeprefix('PIQP_').lower()}")
    low_price, high_price = np.zeros(len(fixed)), np.zeros(len(fixed))
    y = np.asarray(result.y)
    low_price[fixed], high_price[fixed] = np.maximum(-y, 0.0), np.maximum(y, 0.0)
    low_price[open_], high_price[open_] = result.z_l, result.z_u
    return Answer(
        x=np.array(result.x),
        lower_price=low_price,
        upper_price=high_price,
        low_bound_price=np.array(result.z_bl),
        high_bound_price=np.array(result.z_bu),
        objective=float(result.info.primal_obj),
        iterations=int(result.info.iter),
        solver="piqp",
    )


def _by_clarabel(
    P: "sparse.csc_matrix",
    q: np.ndarray,
    A: "sparse.csc_matrix",
    G: "sparse.csc_matrix",
    sides: _Sides,
    cones: list[Cone],
) -> Answer:
    n, fixed = len(q), sides.fixed
    low, high = sides.low[~fixed], sides.high[~fixed]
    below, above = np.isfinite(low), np.isfinite(high)
    floor, ceiling = np.isfinite(sides.lower), np.isfinite(sides.upper)
    unit = sparse.identity(n, format="csr")
    H = G.tocsr()
    blocks = [A.tocsr(), -H[below], H[above], -unit[floor], unit[ceiling]]
    right = [
        sides.low[fixed], -low[below], high[above], -sides.lower[floor], sides.upper[ceiling]
    ]  # fmt: skip
    kinds = [clarabel.ZeroConeT(int(fixed.sum()))] if fixed.any() else []
    kinds.append(clarabel.NonnegativeConeT(sum(len(side) for side in right[1:])))
    for cone in cones:
        rows, cols, values = cone.triplets
        blocks.append(sparse.coo_matrix((values, (rows, cols)), shape=(len(cone.h), n)).tocsr())
        right.append(cone.h)
        if cone.kind == "soc":
            kinds.append(clarabel.SecondOrderConeT(len(cone.h)))
        else:
            kinds += [clarabel.PowerConeT(2.0 / 3.0)] * (len(cone.h) // 3)
    settings = clarabel.DefaultSettings()
    for name, value in CLARABEL_OPTIONS.items():
        setattr(settings, name, value)
    stacked = sparse.vstack(blocks, format="csc")
    solution = clarabel.DefaultSolver(P, q, stacked, np.concatenate(right), kinds, settings).solve()
    status = str(solution.status)
    if status in ("PrimalInfeasible", "AlmostPrimalInfeasible"):
        raise Infeasible("no portfolio keeps all limits")
    if status not in ("Solved", "AlmostSolved"):
        raise SolverError(f"Clarabel ended with {status}")
    cuts = np.split(np.array(solution.z), np.cumsum([len(side) for side in right[:5]]))
    low_price, high_price = np.zeros(len(fixed)), np.zeros(len(fixed))
    low_price[fixed], high_price[fixed] = np.maximum(-cuts[0], 0), np.maximum(cuts[0], 0)
    open_ = np.flatnonzero(~fixed)
    low_price[open_[below]], high_price[open_[above]] = cuts[1], cuts[2]
    low_bound, high_bound = np.zeros(n), np.zeros(n)
    low_bound[floor], high_bound[ceiling] = cuts[3], cuts[4]
    return Answer(
        x=np.array(solution.x),
        lower_price=low_price,
        upper_price=high_price,
        low_bound_price=low_bound,
        high_bound_price=high_bound,
        objective=float(solution.obj_val),
        iterations=int(solution.iterations),
        solver="clarabel",
    )

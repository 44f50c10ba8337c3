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
    """How triplets of a kind of program fall into compressed columns: worked out once a kind."""

    KEPT = 64

    def __init__(self) -> None:
        self._kept: dict[object, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = {}

    def compressed(
        self, key: object, shape: tuple[int, int], rows: np.ndarray, cols: np.ndarray, v: np.ndarray
    ) -> "sparse.csc_matrix":
        """The matrix of triplets, each (row, column) at most once; `key` stands for the pattern."""
        if key not in self._kept:
            while len(self._kept) >= self.KEPT:
                del self._kept[next(iter(self._kept))]
            order = np.lexsort((rows, cols))
            counts = np.bincount(cols, minlength=shape[1])
            indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
            self._kept[key] = (order, rows[order].astype(np.int32), indptr, cols[order])
        order, indices, indptr, _ = self._kept[key]
        made = sparse.csc_matrix(shape)
        # set directly: the constructor checks and copies for longer than a small solve takes
        made.data, made.indices, made.indptr = v[order], indices, indptr
        made.has_sorted_indices = made.has_canonical_format = True
        return made


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
        self.constant = 0.0

    def variable(
        self, n: int, lower: np.ndarray | float = -INFINITE, upper: np.ndarray | float = INFINITE
    ) -> slice:
        """Add n variables; where they are."""
        self._lower.append(np.broadcast_to(np.asarray(lower, dtype=float), (n,)))
        self._upper.append(np.broadcast_to(np.asarray(upper, dtype=float), (n,)))
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
            parts: (at, M): M a number (times the identity), or a full (n, len(at)) matrix.
            low: [row] or one for all; -inf for none.
            high: [row] or one for all.
        """
        for at, M in parts:
            if isinstance(M, np.ndarray):
                width = at.stop - at.start
                r = np.repeat(np.arange(n), width)
                c = np.tile(np.arange(at.start, at.stop), n)
                self._rows.append((r + self.count, c, M.reshape(-1)))
            else:
                r = np.arange(n)
                self._rows.append((r + self.count, r + at.start, np.full(n, float(M))))
        self._low.append(np.broadcast_to(np.asarray(low, dtype=float), (n,)))
        self._high.append(np.broadcast_to(np.asarray(high, dtype=float), (n,)))
        self.names.append((name, n))
        self.count += n

    def cone(self, kind: str, triplets: Triplets, h: np.ndarray) -> None:
        """Add a cone: `h - G x` in it, G from triplets with rows counted from 0."""
        self._cones.append(Cone(kind, triplets, h))

    def limits(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(low, high) of the rows, (lower, upper) of the variables."""
        return _flat(self._low), _flat(self._high), _flat(self._lower), _flat(self._upper)

    def homogeneous(self) -> tuple["Program", slice, slice]:
        """The rows and bounds of this program, scaled by one more variable, k >= 0.

        For every x inside this program and k > 0, (k x, k) is inside the other. This program must
        have no cones.

        Returns:
            The other program without a goal, where x is in it, and where k is. Its first rows are
            those with an upper limit, in order, then those with a lower one, then upper and lower
            bounds likewise.
        """
        other = Program()
        x, k = other.variable(self.size), other.variable(1, 0.0)
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
        return other, x, k

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
        P = kept.compressed((key, "P"), (self.size, self.size), *_joined(self._square))
        G = kept.compressed((key, "G"), (self.count, self.size), *_joined(self._rows))
        low, high, lower, upper = self.limits()
        if self._cones:
            return _by_clarabel(P, q, G, low, high, lower, upper, self._cones, self.constant)
        return _by_piqp(P, q, G, low, high, lower, upper, self.constant)


_TRIANGLES: dict[int, tuple[np.ndarray, np.ndarray]] = {}


def upper_triangle(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the upper triangle; kept for sizes asked for before, because they are slow."""
    if n not in _TRIANGLES:
        if len(_TRIANGLES) >= 64:
            _TRIANGLES.clear()
        _TRIANGLES[n] = np.triu_indices(n)
    return _TRIANGLES[n]


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
    G: "sparse.csc_matrix",
    low: np.ndarray,
    high: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    constant: float,
) -> Answer:
    solver = piqp.SparseSolver()
    for name, value in PIQP_OPTIONS.items():
        setattr(solver.settings, name, value)
    # equal bounds are equations: an interior-point method needs room between two inequalities
    fixed = low == high
    if fixed.any():
        A, b, H = G[fixed], low[fixed], G[~fixed]
        solver.setup(P, q, A.tocsc(), b, H.tocsc(), low[~fixed], high[~fixed], lower, upper)
    else:
        solver.setup(P, q, None, None, G, low, high, lower, upper)
    status = solver.solve()
    result = solver.result
    if status.name == "PIQP_PRIMAL_INFEASIBLE":
        raise Infeasible("no portfolio keeps all limits")
    if status.name != "PIQP_SOLVED":
        raise SolverError(f"PIQP ended with {status.name.removeprefix('PIQP_').lower()}")
    low_price, high_price = np.zeros(len(low)), np.zeros(len(low))
    if fixed.any():
        y = np.asarray(result.y)
        low_price[fixed], high_price[fixed] = np.maximum(-y, 0.0), np.maximum(y, 0.0)
        low_price[~fixed], high_price[~fixed] = result.z_l, result.z_u
    else:
        low_price, high_price = np.array(result.z_l), np.array(result.z_u)
    return Answer(
        x=np.array(result.x),
        lower_price=low_price,
        upper_price=high_price,
        low_bound_price=np.array(result.z_bl),
        high_bound_price=np.array(result.z_bu),
        objective=float(result.info.primal_obj) + constant,
        iterations=int(result.info.iter),
        solver="piqp",
    )


def _by_clarabel(
    P: "sparse.csc_matrix",
    q: np.ndarray,
    G: "sparse.csc_matrix",
    low: np.ndarray,
    high: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    cones: list[Cone],
    constant: float,
) -> Answer:
    n = len(q)
    fixed = low == high
    below, above = np.isfinite(low) & ~fixed, np.isfinite(high) & ~fixed
    floor, ceiling = np.isfinite(lower), np.isfinite(upper)
    unit = sparse.identity(n, format="csr")
    H = G.tocsr()
    blocks = [H[fixed], -H[below], H[above], -unit[floor], unit[ceiling]]
    sides = [low[fixed], -low[below], high[above], -lower[floor], upper[ceiling]]
    kinds = [clarabel.ZeroConeT(int(fixed.sum()))] if fixed.any() else []
    kinds.append(clarabel.NonnegativeConeT(sum(len(side) for side in sides[1:])))
    for cone in cones:
        rows, cols, values = cone.triplets
        blocks.append(sparse.coo_matrix((values, (rows, cols)), shape=(len(cone.h), n)).tocsr())
        sides.append(cone.h)
        if cone.kind == "soc":
            kinds.append(clarabel.SecondOrderConeT(len(cone.h)))
        else:
            kinds += [clarabel.PowerConeT(2.0 / 3.0)] * (len(cone.h) // 3)
    settings = clarabel.DefaultSettings()
    for name, value in CLARABEL_OPTIONS.items():
        setattr(settings, name, value)
    A = sparse.vstack(blocks, format="csc")
    solution = clarabel.DefaultSolver(P, q, A, np.concatenate(sides), kinds, settings).solve()
    status = str(solution.status)
    if status in ("PrimalInfeasible", "AlmostPrimalInfeasible"):
        raise Infeasible("no portfolio keeps all limits")
    if status not in ("Solved", "AlmostSolved"):
        raise SolverError(f"Clarabel ended with {status}")
    z = np.array(solution.z)
    cuts = np.split(z, np.cumsum([len(side) for side in sides[:5]]))
    prices = {name: np.zeros(len(low)) for name in ("low", "high")}
    prices["low"][fixed], prices["high"][fixed] = np.maximum(-cuts[0], 0), np.maximum(cuts[0], 0)
    prices["low"][below], prices["high"][above] = cuts[1], cuts[2]
    bound = {name: np.zeros(n) for name in ("low", "high")}
    bound["low"][floor], bound["high"][ceiling] = cuts[3], cuts[4]
    return Answer(
        x=np.array(solution.x),
        lower_price=prices["low"],
        upper_price=prices["high"],
        low_bound_price=bound["low"],
        high_bound_price=bound["high"],
        objective=float(solution.obj_val) + constant,
        iterations=int(solution.iterations),
        solver="clarabel",
    )

"""Convex programs with named rows, built from blocks. Pure: numbers in, numbers out.

What is compiled once and kept is the sparsity of a program's matrices (`Patterns`); it changes no
answer. Programs without cones go to PIQP, the others to Clarabel (`don.portfolio.solvers`).
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from scipy import sparse

from don.portfolio.solvers import Answer, Cone, Sides, Triplets, by_clarabel, by_piqp

INFINITE = np.inf
# entries of a matrix, and where they are: asked only when a pattern is new
_Part = tuple[np.ndarray, Callable[[], tuple[np.ndarray, np.ndarray]]]


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
        parts: "list[_Part]",
        chosen: np.ndarray | None = None,
    ) -> "sparse.csc_matrix":
        """The matrix of triplets, good until the next one of the same pattern is asked for.

        Args:
            key: what stands for the pattern.
            shape: of all rows and columns.
            parts: the entries, each (row, column) at most once.
            chosen: [row] bool, the rows to take; None: all.
        """
        made = self._kept.get(key)
        if made is None:
            while len(self._kept) >= self.KEPT:
                del self._kept[next(iter(self._kept))]
            made = self._kept[key] = _pattern(shape, *_where(parts), chosen)
        order, matrix = made
        matrix.data = _values(parts)[order]
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
        self._square: list[_Part] = []
        self._rows: list[_Part] = []
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
        self._square.append((np.asarray(d, dtype=float), lambda: _diagonal(at.start, at)))

    def quadratic(self, at: slice, P: np.ndarray) -> None:
        """Add 1/2 x[at]'P x[at] to the goal; P symmetric positive semidefinite."""
        i, j = upper_triangle(P.shape[0])
        self._square.append((P[i, j], lambda: (i + at.start, j + at.start)))

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
                self._rows.append((M.reshape(-1), partial(_dense, self.count, n, at)))
            else:
                self._rows.append((_column(M, n), partial(_diagonal, self.count, at)))
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
        G = sparse.coo_matrix(
            (_values(self._rows), _where(self._rows)), shape=(self.count, self.size)
        ).tocsr()
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
        start, used = self.count, np.flatnonzero(side)
        self._rows.append((made.data, lambda: (made.row + start, made.col)))
        self._rows.append((-side[used], lambda: (used + start, np.full(len(used), k.start))))
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
        P = kept.compressed((key, "P"), (self.size, self.size), self._square)
        low, high, lower, upper = self.limits()
        shape = self.count, self.size
        # equal sides are equations: an interior point needs room between two inequalities
        fixed = low == high
        which = fixed.tobytes()
        A = kept.compressed((key, "A", which), shape, self._rows, fixed)
        G = kept.compressed((key, "G", which), shape, self._rows, ~fixed)
        sides = Sides(fixed, low, high, lower, upper)
        if self._cones:
            return by_clarabel(P, q, A, G, sides, self._cones)
        return by_piqp(P, q, A, G, sides)


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


def _dense(start: int, n: int, at: slice) -> tuple[np.ndarray, np.ndarray]:
    rows = np.repeat(np.arange(start, start + n), at.stop - at.start)
    return rows, np.tile(np.arange(at.start, at.stop), n)


def _diagonal(start: int, at: slice) -> tuple[np.ndarray, np.ndarray]:
    columns = np.arange(at.start, at.stop)
    return columns + (start - at.start), columns


def _values(parts: list[_Part]) -> np.ndarray:
    return np.concatenate([values for values, _ in parts]) if parts else np.zeros(0)


def _where(parts: list[_Part]) -> tuple[np.ndarray, np.ndarray]:
    if not parts:
        return np.zeros(0, int), np.zeros(0, int)
    rows, columns = zip(*(where() for _, where in parts), strict=True)
    return np.concatenate(rows), np.concatenate(columns)

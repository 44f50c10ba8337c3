"""Bare solvers: PIQP for quadratic programs, Clarabel for cones. Pure: numbers in, numbers out.

Every solve is cold, single-threaded and without a time limit: the answer depends on the program
alone. PIQP was the fastest of PIQP, OSQP, DAQP and Clarabel on problems with turnover and leverage.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Sides:
    """The right-hand sides of a program."""

    fixed: np.ndarray  # [row] bool: an equation
    low: np.ndarray  # [row]
    high: np.ndarray
    lower: np.ndarray  # [variable]
    upper: np.ndarray


def by_piqp(
    P: "sparse.csc_matrix",
    q: np.ndarray,
    A: "sparse.csc_matrix",
    G: "sparse.csc_matrix",
    sides: Sides,
) -> Answer:
    """Solve a quadratic program.

    Args:
        P: (n, n) upper triangle.
        q: (n,).
        A: equations.
        G: rows with two sides.
        sides: of both, and of the variables.

    Raises:
        Infeasible: if no point keeps all rows.
        SolverError: if it ended without an optimum.
    """
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


def by_clarabel(
    P: "sparse.csc_matrix",
    q: np.ndarray,
    A: "sparse.csc_matrix",
    G: "sparse.csc_matrix",
    sides: Sides,
    cones: list[Cone],
) -> Answer:
    """Solve a program with cones; other arguments and errors as in `by_piqp`."""
    import clarabel  # only cones need it

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

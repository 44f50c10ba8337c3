"""Portfolios that share risk out and need no forecast: risk parity and hierarchical parity. Pure.

Sources: Spinu, "An algorithm for computing risk parity weights" (2013); Lopez de Prado, "Building
diversified portfolios that outperform out of sample" (2016).
"""

import numpy as np

from don.errors import SolverError
from don.portfolio.linalg import one_thread

NEWTON_STEPS = 100
NEWTON_TOLERANCE = 1e-12


def risk_parity(Sigma: np.ndarray, budgets: np.ndarray, total: float) -> np.ndarray:
    """Weights > 0 whose shares of variance, w_i (Sigma w)_i, are as the budgets; sum = total.

    Newton's method on the convex 1/2 x'Sigma x - sum b log x, damped while far from the optimum.

    Args:
        Sigma: (N, N) positive definite.
        budgets: (N,) > 0.
        total: sum of the weights.

    Raises:
        SolverError: if Sigma is singular, or Newton's method does not end.
    """
    sigma = np.sqrt(np.diag(Sigma))
    if not (sigma > 0).all():
        raise SolverError("risk parity: a tradable symbol has no variance")
    C = Sigma / np.outer(sigma, sigma)
    b = budgets / budgets.sum()
    x = np.full(len(b), 1.0 / np.sqrt(C.sum()))
    with one_thread():
        for _ in range(NEWTON_STEPS):
            gradient = C @ x - b / x
            hessian = C + np.diag(b / x**2)
            try:
                step = np.linalg.solve(hessian, gradient)
            except np.linalg.LinAlgError as error:
                raise SolverError("risk parity: the covariance is singular") from error
            decrement = float(np.sqrt(max(gradient @ step, 0.0)))
            if decrement < NEWTON_TOLERANCE:
                break
            # self-concordant for b = 1: with smaller b the damping shrinks by its root
            slow = float(np.abs(step / x).max())
            x = x - step / (1.0 + slow) if slow > 0.5 else x - step
        else:
            raise SolverError(f"risk parity: no end after {NEWTON_STEPS} steps")
    w = x / sigma
    return np.asarray(w * (total / w.sum()))


def hrp(Sigma: np.ndarray, total: float) -> np.ndarray:
    """Hierarchical risk parity: single linkage, then halving by inverse variance; sum = total.

    Args:
        Sigma: (N, N), variances > 0.
        total: sum of the weights, all positive.

    Raises:
        SolverError: if a variance is not positive.
    """
    # slow to load, and only this objective needs it
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    N = len(Sigma)
    sigma = np.sqrt(np.maximum(np.diag(Sigma), 0.0))
    if not (sigma > 0).all():
        raise SolverError("hrp: a tradable symbol has no variance")
    if N == 1:
        return np.array([total])
    rho = np.clip(Sigma / np.outer(sigma, sigma), -1.0, 1.0)
    distance = np.sqrt(0.5 * (1.0 - rho))
    np.fill_diagonal(distance, 0.0)
    links = hierarchy.linkage(squareform(distance, checks=False), method="single")
    order = hierarchy.leaves_list(links)
    w = np.full(N, total)
    parts = [order]
    while parts:
        halves: list[np.ndarray] = []
        for part in parts:
            if len(part) < 2:
                continue
            left, right = part[: len(part) // 2], part[len(part) // 2 :]
            a, b = _inverse_variance_risk(Sigma, left), _inverse_variance_risk(Sigma, right)
            w[left] *= b / (a + b)
            w[right] *= a / (a + b)
            halves += [left, right]
        parts = halves
    return w


def _inverse_variance_risk(Sigma: np.ndarray, members: np.ndarray) -> float:
    """Variance of the members held in proportion to their inverse variances."""
    own = Sigma[np.ix_(members, members)]
    weights = 1.0 / np.diag(own)
    weights = weights / weights.sum()
    return float(weights @ own @ weights)

"""Covariance matrices as solvers want them. Pure; every LAPACK call runs on one thread.

With several threads the order of sums, and so the last bits of the answer, would depend on how
many cores a machine has.
"""

from functools import cache
from typing import Any

import numpy as np
import threadpoolctl

RELATIVE = 1e-10  # of the mean variance: negative eigenvalues up to that are rounding


@cache
def _pools() -> Any:
    return threadpoolctl.ThreadpoolController()


def one_thread() -> Any:
    """A context in which linear algebra runs on one thread."""
    return _pools().limit(limits=1, user_api="blas")


def is_psd(Sigma: np.ndarray) -> bool:
    """Whether a symmetric matrix has no eigenvalue below rounding."""
    n = Sigma.shape[0]
    if n == 0:
        return True
    shift = max(RELATIVE * float(np.trace(Sigma)) / n, 1e-300)
    shifted = Sigma.copy()
    shifted.flat[:: n + 1] += shift
    try:
        # not on one thread: that costs as much as this, and only whether it fails is asked
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    return True


def positive_part(Sigma: np.ndarray) -> np.ndarray:
    """The nearest positive semidefinite matrix: negative eigenvalues cut to zero.

    Source: Higham, "Computing a nearest symmetric positive semidefinite matrix" (1988).
    """
    with one_thread():
        values, vectors = np.linalg.eigh(0.5 * (Sigma + Sigma.T))
        made = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return np.asarray(0.5 * (made + made.T))


def factorise(Sigma: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A covariance as `F'F + diag(rest^2)` of its k leading eigenvectors; exact when k = N.

    Negative eigenvalues (a matrix that is not quite positive semidefinite) are cut to zero.

    Args:
        Sigma: (N, N), made symmetric here.
        k: number of factors, 1 to N.

    Returns:
        F (k, N), and rest (N,) standard deviations that keep the variances right.
    """
    with one_thread():
        values, vectors = np.linalg.eigh(0.5 * (Sigma + Sigma.T))
    values, vectors = np.maximum(values[-k:], 0.0), vectors[:, -k:]
    F = (vectors * np.sqrt(values)).T
    if k == Sigma.shape[0]:
        return F, np.zeros(k)
    rest = np.sqrt(np.maximum(np.diag(Sigma) - (F * F).sum(axis=0), 0.0))
    return F, rest

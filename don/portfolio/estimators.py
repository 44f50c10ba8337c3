"""Covariance estimators: shrinkage, factors, denoising; from moments, which can be online. Pure.

Sources: Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices"
(2004); Chen, Wiesel, Eldar & Hero, "Shrinkage algorithms for MMSE covariance estimation" (2010);
Laloux, Cizeau, Bouchaud & Potters, "Noise dressing of financial correlation matrices" (1999).
"""

import numpy as np

from don.errors import DataError
from don.portfolio.linalg import factorise, one_thread


def sample_cov(returns: np.ndarray) -> np.ndarray:
    """The unbiased covariance about the mean.

    Args:
        returns: (T, N), finite, T >= 2.

    Raises:
        DataError: if there are fewer than two rows, or a number is not finite.
    """
    X = _centred(returns)
    with one_thread():
        return np.asarray(X.T @ X / (len(X) - 1))


def ledoit_wolf_cov(returns: np.ndarray) -> np.ndarray:
    """Shrunk toward a multiple of the identity by the weight that Ledoit and Wolf derive.

    Arguments and errors as in `sample_cov`; the moments are divided by T.
    """
    X = _centred(returns)
    T = len(X)
    with one_thread():
        S = X.T @ X / T
    fourth = float(((X * X).sum(axis=1) ** 2).sum()) / T
    return ledoit_wolf(S, fourth, float(T))


def oas_cov(returns: np.ndarray) -> np.ndarray:
    """Shrunk toward a multiple of the identity, oracle-approximating for normal returns.

    Arguments and errors as in `sample_cov`; the moments are divided by T.
    """
    X = _centred(returns)
    with one_thread():
        S = X.T @ X / len(X)
    return oas(S, float(len(X)))


def ledoit_wolf(S: np.ndarray, fourth: float, count: float) -> np.ndarray:
    """Ledoit-Wolf from moments.

    Args:
        S: (N, N) second moment of returns.
        fourth: mean of |r|^4 over the same rows with the same weights.
        count: rows, or 1 / sum of squared weights where rows have weights.

    Returns:
        (N, N) positive definite if S has any variance.
    """
    N = len(S)
    mean = float(np.diag(S).sum()) / N
    square = float((S * S).sum())
    delta = (square - N * mean * mean) / N
    if delta <= 0:
        return S.copy()
    beta = min(max(fourth - square, 0.0) / (N * count), delta)
    return _to_identity(S, beta / delta, mean)


def oas(S: np.ndarray, count: float) -> np.ndarray:
    """Oracle-approximating shrinkage from moments; arguments as in `ledoit_wolf`."""
    N = len(S)
    mean = float(np.diag(S).sum()) / N
    alpha = float((S * S).sum()) / (N * N)
    denominator = (count + 1.0) * (alpha - mean * mean / N)
    if denominator <= 0:
        return _to_identity(S, 1.0, mean)
    return _to_identity(S, min((alpha + mean * mean) / denominator, 1.0), mean)


def factor_cov(S: np.ndarray, factors: int) -> np.ndarray:
    """What the leading principal factors explain, and each symbol's own variance beside it.

    Args:
        S: (N, N) covariance.
        factors: how many, >= 1; N or more leaves S as it is.
    """
    if factors >= len(S):
        return S.copy()
    F, rest = factorise(S, factors)
    with one_thread():
        return np.asarray(F.T @ F + np.diag(rest**2))


def denoised_cov(S: np.ndarray, count: float) -> np.ndarray:
    """Eigenvalues of the correlation that noise alone explains are replaced by their mean.

    Noise reaches up to s (1 + sqrt(N / T))^2 (Marchenko & Pastur 1967), s being the variance that
    is left when the eigenvalues above are taken away; both are found together by iteration.

    Args:
        S: (N, N) covariance; symbols without variance keep zero covariance.
        count: rows behind it, > 0.

    Returns:
        (N, N) of the same variances.
    """
    sigma = np.sqrt(np.maximum(np.diag(S), 0.0))
    live = np.flatnonzero(sigma > 0)
    N = len(live)
    if N < 2:
        return S.copy()
    scale = np.outer(sigma[live], sigma[live])
    with one_thread():
        values, vectors = np.linalg.eigh(S[np.ix_(live, live)] / scale)
    edge = (1.0 + np.sqrt(N / count)) ** 2
    noise = N
    while True:
        below = int((values <= float(values[:noise].mean()) * edge).sum())
        if below >= noise or below == 0:
            break
        noise = below
    kept = values.copy()
    kept[:noise] = values[:noise].mean()
    with one_thread():
        C = (vectors * kept) @ vectors.T
    root = np.sqrt(np.diag(C))
    made = np.zeros_like(S)
    made[np.ix_(live, live)] = 0.5 * (C + C.T) / np.outer(root, root) * scale
    return made


def _to_identity(S: np.ndarray, weight: float, mean: float) -> np.ndarray:
    made = (1.0 - weight) * S
    made.flat[:: len(S) + 1] += weight * mean
    return made


def _centred(returns: np.ndarray) -> np.ndarray:
    X = np.asarray(returns, dtype=float)
    if X.ndim != 2 or len(X) < 2:
        raise DataError(f"returns must be (T, N) with T >= 2, was {X.shape}")
    if not np.isfinite(X).all():
        t, i = (int(k) for k in np.argwhere(~np.isfinite(X))[0])
        raise DataError(f"returns must be finite, was {X[t, i]} at row {t}, column {i}")
    return np.asarray(X - X.mean(axis=0))

"""Black-Litterman: views of a policy blended with what a market in balance would expect. Pure.

Sources: Black & Litterman, "Global portfolio optimization" (1992); He & Litterman (1999); views
without a stated error by confidence as in Idzorek (2005): their variance is (1 / c - 1) of the
balance's own.
"""

from dataclasses import dataclass

import numpy as np

from don.errors import SolverError
from don.portfolio.linalg import one_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """What is expected after the views."""

    mu: np.ndarray  # (N,) per bar
    Sigma: np.ndarray  # (N, N): of returns, the uncertainty of mu included


def blend(
    *,
    Sigma: np.ndarray,
    reference: np.ndarray,
    aversion: float,
    tau: float,
    views: np.ndarray,
    view_mu: np.ndarray,
    view_error: np.ndarray | None,
    confidence: float,
) -> Posterior:
    """The posterior mean and covariance.

    Args:
        Sigma: (N, N) positive semidefinite, per bar.
        reference: (N,) weights of the market in balance: it expects gamma Sigma w of each.
        aversion: gamma.
        tau: how uncertain the balance is, as a part of Sigma.
        views: (K, N) portfolios.
        view_mu: (K,) their expected returns per bar.
        view_error: (K,) standard errors > 0; None: from `confidence`.
        confidence: 0 to 1, exclusive.

    Raises:
        SolverError: if the views contradict each other without error, so nothing fits them.
    """
    with one_thread():
        balance = aversion * (Sigma @ reference)
        prior = tau * Sigma
        spread = views @ prior @ views.T
        if view_error is None:
            Omega = np.diag(np.diag(spread) * (1.0 / confidence - 1.0))
        else:
            Omega = np.diag(np.asarray(view_error, dtype=float) ** 2)
        try:
            K = np.linalg.solve(spread + Omega, views @ prior).T
        except np.linalg.LinAlgError as error:
            raise SolverError("views contradict each other and have no error") from error
        mu = balance + K @ (view_mu - views @ balance)
        M = prior - K @ views @ prior
    if not np.isfinite(mu).all():
        raise SolverError("views leave no finite expectation")
    return Posterior(mu=mu, Sigma=Sigma + 0.5 * (M + M.T))

"""Covariance estimators of skfolio for research, off the trading path. Pure; needs skfolio.

skfolio and scikit-learn cost seconds to import and milliseconds a call, so nothing that decides bar
by bar uses them; what decides is in `don.portfolio.estimators`.
"""

import importlib
import importlib.util
from typing import Any

import numpy as np

from don.errors import UsageError
from don.portfolio.linalg import one_thread

ESTIMATORS = (
    "DenoiseCovariance",
    "DetoneCovariance",
    "EWCovariance",
    "EmpiricalCovariance",
    "GerberCovariance",
    "GraphicalLassoCV",
    "LedoitWolf",
    "OAS",
    "ShrunkCovariance",
)


def skfolio_cov(returns: np.ndarray, estimator: str, **options: Any) -> np.ndarray:
    """The covariance by one of skfolio's estimators.

    Args:
        returns: (T, N), finite.
        estimator: one of `ESTIMATORS`.
        options: of the estimator's constructor.

    Returns:
        (N, N).

    Raises:
        UsageError: if there is no such estimator, or skfolio is not installed.
    """
    if estimator not in ESTIMATORS:
        raise UsageError(f"estimator must be one of {', '.join(ESTIMATORS)}, was {estimator!r}")
    if importlib.util.find_spec("skfolio") is None:
        raise UsageError("estimators of skfolio need it installed: pip install 'don[research]'")
    moments = importlib.import_module("skfolio.moments")
    with one_thread():
        fitted = getattr(moments, estimator)(**options).fit(np.asarray(returns, dtype=float))
    return np.asarray(fitted.covariance_)

"""Don's answers beside PyPortfolioOpt, skfolio and Riskfolio-Lib on the same inputs, to 1e-4.

The peers are the optional extra `peers`; without it these tests are skipped.
"""

import importlib
import warnings
from typing import Any

import numpy as np
import pytest

from don.model.messages import OptimizeRequest, PortfolioInputs, TargetStatus
from don.portfolio.config import PortfolioConfig
from don.portfolio.estimators import denoised_cov, ledoit_wolf_cov, oas_cov, sample_cov
from don.portfolio.optimizer import PortfolioOptimizer, Solution
from don.portfolio.tail import cdar_of, cvar_of

N, T, CAP = 12, 300, 0.3
SYMBOLS = tuple(f"S{i}-USDT-PERP" for i in range(N))


def peer(name: str) -> Any:
    if importlib.util.find_spec(name.split(".")[0]) is None:
        pytest.skip(f"{name} is not installed: pip install 'don[peers]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


def history() -> np.ndarray:
    """Daily-like returns of three factors and own noise."""
    rng = np.random.default_rng(5)
    loadings = rng.normal(0, 0.01, (3, N)) + np.array([[0.012], [0.0], [0.0]])
    own = rng.normal(0, 0.012, (T, N)) * rng.uniform(0.7, 1.5, N)
    return np.asarray(rng.normal(6e-4, 4e-4, N) + rng.normal(size=(T, 3)) @ loadings + own)


R = history()
MU, SIGMA = R.mean(axis=0), sample_cov(R)


def ours(mu: np.ndarray = MU, Sigma: np.ndarray = SIGMA, **options: Any) -> Solution:
    fields = {"cost", "w_now", "inputs"}
    given = {k: options.pop(k) for k in list(options) if k in fields}
    config = PortfolioConfig(
        **{
            "max_weight": CAP,
            "max_turnover": 5.0,
            "allow_short": False,
            "horizon_bars": 1.0,
            "max_factors": 200,
            **options,
        }
    )
    zeros = np.zeros(N)
    solution = PortfolioOptimizer(config).solve(
        OptimizeRequest(
            decision=1,
            ts_event=0,
            symbols=SYMBOLS,
            mu=mu,
            Sigma=Sigma,
            w_now=given.get("w_now", zeros),
            w_last=zeros,
            cost=given.get("cost", zeros),
            tradable=np.ones(N, dtype=bool),
            inputs=given.get("inputs"),
        )
    )
    assert solution.status is TargetStatus.OPTIMAL, solution.detail
    return solution


def close(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a, b, atol=1e-4)


def frontier(**options: Any) -> Any:
    return peer("pypfopt").EfficientFrontier(
        MU, SIGMA, weight_bounds=(0, CAP), solver="CLARABEL", **options
    )


def array(weights: Any) -> np.ndarray:
    return np.array(list(weights.values()))


def test_pypfopt_min_variance() -> None:
    """Its solver sees variances of 1e-4 unscaled and stops early: compare what was minimised."""
    theirs, mine = array(frontier().min_volatility()), ours(objective="min_variance").weights
    assert mine @ SIGMA @ mine == pytest.approx(theirs @ SIGMA @ theirs, rel=1e-4)
    assert mine @ SIGMA @ mine <= theirs @ SIGMA @ theirs


def test_pypfopt_quadratic_utility_with_costs() -> None:
    w_now = np.full(N, 1.0 / N)
    model = frontier()
    costs = peer("pypfopt.objective_functions").transaction_cost
    model.add_objective(costs, w_prev=w_now, k=2e-4)
    theirs = array(model.max_quadratic_utility(risk_aversion=8.0))
    mine = ours(risk_aversion=8.0, invested=1.0, w_now=w_now, cost=np.full(N, 2e-4))
    close(mine.weights, theirs)


def test_pypfopt_max_sharpe() -> None:
    model = frontier()
    theirs = array(model.max_sharpe(risk_free_rate=0.0))
    mine = ours(objective="max_sharpe", invested=1.0)
    close(mine.weights, theirs)
    assert mine.objective == pytest.approx(MU @ theirs / np.sqrt(theirs @ SIGMA @ theirs), abs=1e-4)


def test_pypfopt_black_litterman() -> None:
    bl = peer("pypfopt.black_litterman")
    reference = np.full(N, 1.0 / N)
    views = np.zeros((2, N))
    views[0, 0], views[1, 3], views[1, 5] = 1.0, 1.0, -1.0
    view_mu, error = np.array([2e-3, 5e-4]), np.array([1e-3, 2e-3])
    model = bl.BlackLittermanModel(
        SIGMA, pi=6.0 * SIGMA @ reference, P=views, Q=view_mu, omega=np.diag(error**2), tau=0.05
    )
    theirs = peer("pypfopt").EfficientFrontier(
        model.bl_returns().to_numpy(), model.bl_cov().to_numpy(), weight_bounds=(0, CAP)
    )
    inputs = PortfolioInputs(reference=reference, views=views, view_mu=view_mu, view_error=error)
    mine = ours(objective="black_litterman", invested=1.0, inputs=inputs)
    close(mine.weights, array(theirs.max_quadratic_utility(risk_aversion=6.0)))


def test_pypfopt_hrp() -> None:
    pd = peer("pandas")
    theirs = peer("pypfopt").HRPOpt(pd.DataFrame(R, columns=SYMBOLS)).optimize()
    mine = ours(objective="hrp", max_weight=1.0).weights
    close(mine, np.array([theirs[s] for s in SYMBOLS]))


def skfolio(name: str, **options: Any) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = getattr(peer("skfolio.optimization"), name)(**options)
        return np.asarray(model.fit(R).weights_)


def test_skfolio_max_diversification() -> None:
    theirs = skfolio("MaximumDiversification", max_weights=CAP)
    close(ours(objective="max_diversification").weights, theirs)


def test_skfolio_risk_parity() -> None:
    measure = peer("skfolio").RiskMeasure.VARIANCE
    theirs = skfolio("RiskBudgeting", risk_measure=measure)
    close(ours(objective="risk_parity", max_weight=1.0).weights, theirs)


def test_skfolio_cvar() -> None:
    theirs = skfolio("MeanRisk", risk_measure=peer("skfolio").RiskMeasure.CVAR, max_weights=CAP)
    mine = ours(
        np.zeros(N), objective="cvar", invested=1.0, inputs=PortfolioInputs(scenarios=R)
    ).weights
    assert cvar_of(R @ mine, 0.95) == pytest.approx(cvar_of(R @ theirs, 0.95), abs=1e-6)
    close(mine, theirs)


def test_skfolio_cdar() -> None:
    theirs = skfolio("MeanRisk", risk_measure=peer("skfolio").RiskMeasure.CDAR, max_weights=CAP)
    mine = ours(
        np.zeros(N), objective="cdar", invested=1.0, inputs=PortfolioInputs(scenarios=R)
    ).weights
    assert cdar_of(R @ mine, 0.95) <= cdar_of(R @ theirs, 0.95) + 1e-6
    close(mine, theirs)


def test_skfolio_robust() -> None:
    """Its ellipsoid of half the width: |diag(e) w| <= 1, e the standard error of each mean."""
    error = np.sqrt(np.diag(SIGMA) / T)
    prior = peer("skfolio.uncertainty_set")
    base = peer("skfolio").RiskMeasure

    class Given(prior.BaseMuUncertaintySet):  # type: ignore[misc, name-defined]
        def __init__(self, prior_estimator: Any = None) -> None:
            super().__init__(prior_estimator=prior_estimator)

        def fit(self, X: Any, y: Any = None, **_: Any) -> "Given":
            self.uncertainty_set_ = prior.UncertaintySet(1.0, np.diag(error), 2)
            return self

    theirs = skfolio(
        "MeanRisk",
        objective_function=peer("skfolio.optimization").ObjectiveFunction.MAXIMIZE_UTILITY,
        risk_measure=base.VARIANCE,
        risk_aversion=4.0,
        max_weights=CAP,
        mu_uncertainty_set_estimator=Given(),
    )
    mine = ours(
        objective="robust",
        risk_aversion=8.0,
        invested=1.0,
        inputs=PortfolioInputs(mu_error=error),
    )
    close(mine.weights, theirs)


@pytest.mark.parametrize(("rm", "objective"), [("MV", "min_variance"), ("CVaR", "cvar")])
def test_riskfolio(rm: str, objective: str) -> None:
    pd, package = peer("pandas"), peer("riskfolio")
    model = package.Portfolio(returns=pd.DataFrame(R, columns=SYMBOLS))
    model.solvers, model.upperlng = ["CLARABEL"], CAP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.assets_stats(method_mu="hist", method_cov="hist")
        theirs = model.optimization(model="Classic", rm=rm, obj="MinRisk", rf=0, l=0, hist=True)
    inputs = PortfolioInputs(scenarios=R)
    close(
        ours(np.zeros(N), objective=objective, invested=1.0, inputs=inputs).weights,
        theirs.to_numpy().ravel(),
    )


@pytest.mark.parametrize(
    ("mine", "name"),
    [(sample_cov, "EmpiricalCovariance"), (ledoit_wolf_cov, "LedoitWolf"), (oas_cov, "OAS")],
)
def test_skfolio_covariance(mine: Any, name: str) -> None:
    peer("skfolio")
    from don.portfolio.offline import skfolio_cov

    np.testing.assert_allclose(mine(R), skfolio_cov(R, name), rtol=1e-9, atol=1e-15)


def test_skfolio_denoised_covariance() -> None:
    """Its noise level comes from a fitted density, ours from iteration: clear factors both keep."""
    peer("skfolio")
    from don.portfolio.offline import skfolio_cov

    rng = np.random.default_rng(1)
    clear = rng.normal(size=(400, 2)) @ rng.choice([-1.0, 1.0], (2, 40))
    clear = 0.01 * (clear + rng.normal(size=(400, 40)))
    np.testing.assert_allclose(
        denoised_cov(sample_cov(clear), 400), skfolio_cov(clear, "DenoiseCovariance"), atol=1e-9
    )

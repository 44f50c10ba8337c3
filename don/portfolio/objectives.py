"""From a configured objective to weights of the free symbols. Pure.

Every objective obeys the same limits; those that solve no program of their own (risk parity, HRP)
are moved inside them at the least tracking error.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from don.errors import SolverError
from don.model.messages import PortfolioInputs
from don.portfolio.config import Objective, PortfolioConfig
from don.portfolio.following import cut
from don.portfolio.limits import Limits
from don.portfolio.linalg import one_thread
from don.portfolio.parity import hrp, risk_parity
from don.portfolio.problem import Problem
from don.portfolio.program import Patterns
from don.portfolio.quadratic import Optimum, mean_variance, multi_period
from don.portfolio.ratio import best_ratio
from don.portfolio.tail import cdar, cvar

INSIDE = 1e-7  # of a weight: less excess needs no projection


@dataclass(slots=True)
class Chooser:
    """Solves problems for one configuration; keeps nothing but compiled sparsity."""

    config: PortfolioConfig
    patterns: Patterns = field(default_factory=Patterns)

    def choose(self, problem: Problem, inputs: PortfolioInputs, free: np.ndarray) -> Optimum:
        """The optimum.

        Args:
            problem: over the free symbols.
            inputs: of the request, over all symbols.
            free: [symbol] bool, which of those the problem is about.

        Raises:
            SolverError: if there is none; `Infeasible` if no weights keep the limits.
        """
        config = self.config
        H, gamma = config.horizon_bars, config.risk_aversion
        match config.objective:
            case Objective.MEAN_VARIANCE | Objective.BLACK_LITTERMAN:
                return mean_variance(problem, self.patterns, horizon=H, aversion=gamma)
            case Objective.MIN_VARIANCE:
                blind = replace(problem, mu=np.zeros(problem.n))
                return mean_variance(blind, self.patterns, horizon=H, aversion=gamma)
            case Objective.ROBUST:
                return mean_variance(
                    problem,
                    self.patterns,
                    horizon=H,
                    aversion=gamma,
                    uncertainty=config.uncertainty * self._error(problem),
                )
            case Objective.MULTI_PERIOD:
                return self._plan(problem, inputs, free)
            case Objective.MAX_SHARPE:
                return best_ratio(problem, reward=problem.mu, horizon=H, what="Sharpe ratio")
            case Objective.MAX_DIVERSIFICATION:
                return best_ratio(
                    problem,
                    reward=np.sqrt(np.diag(problem.risk.Sigma)),
                    horizon=np.inf,
                    what="diversification ratio",
                )
            case Objective.CVAR | Objective.CDAR:
                solve = cvar if config.objective is Objective.CVAR else cdar
                return solve(
                    problem,
                    self.patterns,
                    horizon=H,
                    aversion=config.tail_aversion,
                    tail=config.tail,
                )
            case Objective.RISK_PARITY | Objective.HRP:
                return self._shared(problem)
        raise AssertionError(f"objective {config.objective} has no solver")

    def follow(self, problem: Problem, wanted: np.ndarray) -> Optimum:
        """The weights that a policy wants, inside the limits; what trading costs it has weighed.

        Bounds, gross and turnover cut them as they cut any target, so nothing is held that is not
        wanted. Where that breaks a row (net, a group, margin, neutrality), the weights inside with
        the least tracking error are taken.

        Raises:
            SolverError: if there are none; `Infeasible` if no weights keep the limits.
        """
        limits = Limits(
            lower=problem.lower,
            upper=problem.upper,
            gross=problem.gross,
            turnover=problem.turnover,
        )
        inside, note = cut(wanted, problem.w_now, np.ones(problem.n, dtype=bool), limits)
        if problem.excess(inside) <= INSIDE:
            return Optimum(w=inside, note=note)
        moved = self.project(problem, wanted)
        return replace(moved, note="weights wanted were moved inside the limits")

    def _error(self, problem: Problem) -> np.ndarray:
        if problem.mu_error is not None:
            return problem.mu_error
        return np.asarray(np.sqrt(np.diag(problem.risk.Sigma) / self.config.observations))

    def _plan(self, problem: Problem, inputs: PortfolioInputs, free: np.ndarray) -> Optimum:
        config = self.config
        if inputs.mu_path is not None:
            carry = np.zeros(problem.n) if inputs.carry is None else inputs.carry[free]
            mu_path = np.asarray(inputs.mu_path, dtype=float)[:, free] - carry
        else:
            mu_path = problem.mu * (config.decay ** np.arange(config.periods))[:, None]
        P = len(mu_path)
        if inputs.cost_path is None:
            cost_path = np.tile(problem.cost, (P, 1))
        else:
            cost_path = np.maximum(np.asarray(inputs.cost_path, dtype=float)[:, free], 0.0)
            if len(cost_path) != P:
                raise SolverError(f"cost_path must have {P} periods, was {len(cost_path)}")
        return multi_period(
            problem,
            self.patterns,
            horizon=config.horizon_bars,
            aversion=config.risk_aversion,
            mu_path=mu_path,
            cost_path=cost_path,
        )

    def _shared(self, problem: Problem) -> Optimum:
        """Risk parity or HRP of the free symbols, moved inside the limits."""
        config = self.config
        total = next(row.high for row in problem.rows if row.name == "invested")
        if total <= 0:
            raise SolverError("what cannot be traded takes the whole budget")
        if config.objective is Objective.HRP:
            wanted = hrp(problem.risk.Sigma, total)
        else:
            given = {budget.symbol: budget.budget for budget in config.risk_budgets}
            budgets = np.array([given.get(symbol, 1.0) for symbol in problem.symbols])
            wanted = risk_parity(problem.risk.Sigma, budgets, total)
        if problem.excess(wanted) <= INSIDE:
            return Optimum(w=wanted)
        moved = self.project(problem, wanted)
        return replace(moved, note=f"{config.objective} moved inside the limits")

    def project(self, problem: Problem, wanted: np.ndarray) -> Optimum:
        """The weights inside the limits with the least tracking error to those wanted."""
        still = replace(problem.risk, pull=np.zeros(problem.n), fixed=0.0)
        with one_thread():
            pull = still.Sigma @ wanted
        free = replace(problem, mu=pull, cost=np.zeros(problem.n), impact=None, risk=still)
        return mean_variance(free, self.patterns, horizon=1.0, aversion=1.0)

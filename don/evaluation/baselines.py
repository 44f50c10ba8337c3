"""What anybody could have done: hold, equal weight, inverse volatility, momentum, mean-variance.

Pure. They see closes up to the bar they decide on, and trade through the agents' dynamics and
costs. None of them has a parameter that was chosen on data. Between the bars on which they decide
they keep what they have, whatever it is worth.

*Hold* buys equal parts once, of what it has or of as much as the agents may hold, if that is less;
never on credit. What a bar's volume does not fill it goes on buying until it has those lots. On
spot nothing is ever sold. A perpetual takes its funding, and the fees of its purchase, out of the
account: hold pays them out of its positions. It sells, of all of them in proportion, what brings
its cash back to what it was, once 1 % of its equity is missing, so it never owes more than that;
prices alone make it sell nothing. Funding that it is paid stays cash.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from don.backtest.rules import RuleConfig, RuleKind, weights
from don.clock import NS_PER_S
from don.envs.config import ActionKind, EnvConfig, ObservationConfig, Part, Scaling
from don.envs.core import AGENTS, BatchEnv
from don.envs.layout import CLOSE, EQUITY, LOT, LOTS, TICK, Bools, Floats, Ints
from don.envs.market import EnvMarket
from don.envs.observe import Observation
from don.evaluation.config import BaselineConfig
from don.evaluation.costs import together
from don.evaluation.course import Course, out_of_sample, play
from don.portfolio.estimators import ledoit_wolf_cov

HOLD, EQUAL, INVERSE = "hold", "equal weight", "inverse volatility"
MOMENTUM, MEAN_VARIANCE = "momentum", "mean-variance"
NAMES = (HOLD, EQUAL, INVERSE, MOMENTUM, MEAN_VARIANCE)
_DAY_NS = 86_400 * NS_PER_S
_NUDGE = 1.0 + 1e-12  # that a position asked for again is not one lot less by rounding
_ROOM = 1e6  # gross exposure that is asked for at most: what is held is kept at any exposure
HOLD_BAND = 0.01  # part of its equity that hold may owe before it sells
_BOUGHT = 0.99  # part of an order that completes it: what is left may be less than can be ordered


def run_baselines(
    market: EnvMarket, config: EnvConfig, begin: int, baselines: BaselineConfig, *,
    history: EnvMarket | None = None, able: Bools | None = None,
) -> dict[str, Course]:  # fmt: skip
    """Courses of all baselines from a bar to the end of a market.

    Args:
        market: bars.
        config: of the agents that they are compared with: costs, capital, margin; of several, what
            `don.evaluation.costs.together` makes of them.
        begin: bar at whose close is first decided.
        baselines: parameters.
        history: bars that `market` is the end of, so that estimates have a past; None: `market`.
        able: [T] bars of `market` at which the agents can decide; elsewhere nobody does; None: all.

    Raises:
        DataError: if nothing can be decided at `begin`.
    """
    whole = market if history is None else history
    shift = int(np.searchsorted(whole.close_ns, market.close_ns[0]))
    spot = config.costs.spot
    test = out_of_sample(together([config], market), market)
    own = test.model_copy(
        update={
            "action": test.action.model_copy(
                update={"kind": ActionKind.LONG_SHORT, "gross": _ROOM, "band": 0.0, "every": 1}
            ),
            "observation": ObservationConfig(
                features=("hour_sin",), scaling=Scaling.NONE, parts=(Part.ACCOUNT,)
            ),  # known at once: they must not wait where agents need not
        }
    )
    env = BatchEnv(market, own, len(NAMES))
    at = np.arange(len(market.close_ns)) + shift
    due = market.close_ns % max(round(baselines.rebalance_hours * 3600) * NS_PER_S, 1) == 0
    due[begin] = True
    wanted = targets(whole.close(), at[due], whole.interval_ns, baselines, short=not spot)
    rows = np.cumsum(due) - 1
    share = min(1.0, config.action.gross / baselines.gross, 1.0 / baselines.gross)
    wanted[HOLD] = wanted[HOLD] * share
    holding, cash = NAMES.index(HOLD), 0.0  # of its equity, where it began
    bought = _Buying(np.zeros(len(market.symbols)), np.ones(len(market.symbols)))
    owed = np.zeros(len(NAMES), np.bool_)  # what falls due in a hole is done behind it

    def decide(
        seen: Mapping[str, Observation], env: BatchEnv, fresh: NDArray[np.bool_]
    ) -> dict[str, Floats]:
        nonlocal cash, bought, owed
        t = int(env.bar_of.max())
        now = _now(env, t)  # what is held already: asks for no trade
        if not spot:
            part = _kept(now[holding], cash, env.dynamics.money[holding])
            now[holding] *= part
            bought.lots *= part
        owed = owed | fresh | due[t]
        for n, name in enumerate(NAMES):
            if fresh[n] or (owed[n] and name != HOLD):
                now[n] = wanted[name][rows[t]]
        owed = owed & (not env.observer.acts[t])
        d, equity = env.dynamics, float(env.dynamics.money[holding, EQUITY])
        lot = d.bars[t, :, CLOSE] * d.spec[:, TICK] * d.spec[:, LOT] / max(equity, 1e-12)
        if fresh[holding]:
            cash = (1.0 - float(now[holding].sum())) * equity
            bought = _Buying(now[holding], lot)
        else:
            now[holding] = bought.asked(now[holding], lot)
        return {AGENTS: now[:, None, :] / _ROOM}

    courses = play(env, decide, NAMES, begin, able=able)
    return {course.name: course for course in courses}


def _now(env: BatchEnv, t: int) -> Floats:
    """[B, N] weights held at the close of bar t."""
    d = env.dynamics
    worth = d.bars[t, :, CLOSE] * d.spec[:, TICK] * d.spec[:, LOT]
    equity = np.maximum(d.money[:, EQUITY], 1e-12)[:, None]
    return np.asarray(d.book[:, :, LOTS] * worth / equity * _NUDGE)


class _Buying:
    """What hold bought at its first decision, until it has it: a bar fills a part of its volume.

    Args:
        wanted: [N] weights.
        lot: [N] weight of a lot then; 0 where there is none.
    """

    def __init__(self, wanted: Floats, lot: Floats) -> None:
        self.lots, self._room = np.zeros(len(wanted)), float(wanted.sum())
        np.divide(wanted, lot, out=self.lots, where=lot > 0)
        self._open = self.lots > 0

    def asked(self, now: Floats, lot: Floats) -> Floats:
        """[N] weights to ask for: what is held, and the rest of what was bought.

        Args:
            now: [N] weights held.
            lot: [N] weight of a lot.
        """
        self._open &= now < _BOUGHT * self.lots * lot
        rest = np.where(self._open, self.lots * lot - now, 0.0)
        room = max(self._room - float(now.sum()), 0.0)  # prices rose meanwhile: never with debt
        return now + rest * min(1.0, room / max(float(rest.sum()), 1e-12))


def _kept(now: Floats, cash: float, money: Floats) -> float:
    """Part of its positions that hold keeps, so that it has as much cash as it began with.

    Args:
        now: [N] weights held, none negative.
        cash: that it began with, quote.
        money: of its account.
    """
    equity, held = float(money[EQUITY]), float(now.sum())
    least = cash / max(equity, 1e-12)
    if held <= 0.0 or 1.0 - held >= least - HOLD_BAND:
        return 1.0
    return min(max((1.0 - least) / held, 0.0), 1.0)


def targets(
    close: Floats, at: Ints, interval_ns: int, config: BaselineConfig, *, short: bool
) -> dict[str, Floats]:
    """[D, N] weights of each baseline at the bars decided on; 0 where too little is known.

    Args:
        close: [T, N] quote, NaN where not listed.
        at: [D] bars.
        interval_ns: length of a bar.
        config: parameters.
        short: whether weights may be negative.
    """

    def bars(days: float) -> int:
        return max(round(days * _DAY_NS / interval_ns), 2)

    def rule(kind: RuleKind, lookback: int = 2) -> Floats:
        made = RuleConfig(
            kind=kind, lookback=lookback, volatility_bars=bars(config.volatility_days),
            gross=config.gross, max_weight=config.gross, allow_short=short,
        )  # fmt: skip
        return np.nan_to_num(weights(made, close, at), nan=0.0)

    equal = rule(RuleKind.EQUAL)
    return {
        HOLD: equal,
        EQUAL: equal,
        INVERSE: rule(RuleKind.INVERSE_VOLATILITY),
        MOMENTUM: rule(RuleKind.TREND, bars(config.momentum_days)),
        MEAN_VARIANCE: mean_variance(
            close, at, bars(config.moments_days), config, interval_ns, short=short
        ),
    }


def mean_variance(
    close: Floats, at: Sequence[int] | Ints, window: int, config: BaselineConfig,
    interval_ns: int, *, short: bool,
) -> Floats:  # fmt: skip
    """[D, N] weights Sigma^-1 mu / risk aversion, scaled down to `gross`; without shorts the
    negative ones are left out.

    mu is the mean and Sigma the shrunk covariance of daily-scaled returns over the last `window`
    bars, of symbols that were listed for all of them.

    Sources: Markowitz, "Portfolio selection", Journal of Finance 7(1), 1952; covariance of Ledoit &
    Wolf, Journal of Multivariate Analysis 88(2), 2004.
    """
    daily = _DAY_NS / interval_ns
    r = np.diff(close, axis=0) / close[:-1]
    out = np.zeros((len(at), close.shape[1]))
    for row, t in enumerate(np.asarray(at).tolist()):
        past = r[max(t - window, 0) : t]
        if len(past) < max(window // 2, 8):
            continue
        known = np.isfinite(past).all(axis=0)
        past = past[:, known]
        if not past.shape[1] or not (past.std(axis=0) > 0).all():
            continue
        sigma = ledoit_wolf_cov(past) * daily
        w = np.linalg.solve(sigma, past.mean(axis=0) * daily) / config.risk_aversion
        w = w if short else np.maximum(w, 0.0)
        out[row, known] = w * min(1.0, config.gross / max(float(np.abs(w).sum()), 1e-12))
    return out

"""Rewards: what a step was worth to an agent. Pure: state is in the reward objects.

Every reward sees only what a step did (`StepView`) and what it saw before, one row an agent. Costs
are in equity, so every reward of equity has them in it. `don.envs.custom.reward` adds one's own.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from don.envs.config import RewardConfig, RewardTerm
from don.envs.layout import Bools, Floats
from don.errors import ConfigError
from don.features.plugins import load_modules
from don.model.complaint import near

_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """R agents' rows of one step; quote where not said otherwise."""

    before: Floats  # [R] equity when it was decided, with deposits
    after: Floats  # [R] equity at the close
    start: Floats  # [R] equity when the episode began
    costs: Floats  # [R] fees and slippage
    funding: Floats  # [R] paid
    turnover: Floats  # [R]
    active: Bools  # [R] what stepped; of all other rows, nothing here is of this step
    weights: Callable[[], Floats]  # [R, n] signed notional over equity at the close; when asked for

    @property
    def exposure(self) -> Floats:
        """[R] sum of |weights|."""
        return np.asarray(np.abs(self.weights()).sum(axis=1))

    @property
    def inventory(self) -> Floats:
        """[R] sum of squared weights."""
        return np.asarray((self.weights() ** 2).sum(axis=1))

    @property
    def simple_return(self) -> Floats:
        """[R] change of equity over equity; -1 at most."""
        return np.asarray((self.after - self.before) / np.maximum(self.before, _TINY))

    @property
    def log_return(self) -> Floats:
        """[R] log of the growth; bounded below by a loss of all but a millionth."""
        growth = self.after / np.maximum(self.before, _TINY)
        return np.asarray(np.log(np.maximum(growth, 1e-6)))


class Reward(ABC):
    """A reward with its state, [R] rows.

    Args:
        rows: R.
        term: its parameters.
    """

    defaults: ClassVar[Mapping[str, float]] = {}  # of one's own: its parameters

    def __init__(self, rows: int, term: RewardTerm) -> None:
        self.rows, self.term = rows, term
        self.params = {**self.defaults, **term.params}
        self.reset(np.ones(rows, np.bool_))

    def reset(self, which: Bools) -> None:  # noqa: B027 - most have no state
        """Forget what was seen of these rows: a new episode begins."""

    @abstractmethod
    def __call__(self, view: StepView) -> Floats:
        """[R] rewards of a step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A registered reward."""

    make: Callable[[int, RewardTerm], Callable[[StepView], Floats]]  # [R] rows -> a reward
    doc: str
    code: int | None = None  # of one's own: what its code depends on, as a number


_KINDS: dict[str, Kind] = {}


def enter(name: str, kind: Kind) -> None:
    """Add a reward under a name.

    Raises:
        ConfigError: if the name is taken.
    """
    if name in _KINDS:
        whose = "Don's" if _KINDS[name].code is None else "registered already"
        raise ConfigError(f"reward {name!r} is {whose}: choose another name")
    _KINDS[name] = kind


def forget(name: str) -> None:
    """Take a reward of one's own out again; unknown ones are passed over.

    Raises:
        ConfigError: if it is one of Don's.
    """
    if name in _KINDS and _KINDS[name].code is None:
        raise ConfigError(f"reward {name!r} is Don's: it cannot be taken out")
    _KINDS.pop(name, None)


def kinds() -> dict[str, str]:
    """Name -> what it is."""
    return {name: kind.doc for name, kind in sorted(_KINDS.items())}


def code_hash(config: RewardConfig) -> str:
    """Of the code of the rewards of one's own that are used; none: an empty text.

    Raises:
        ConfigError: if a module cannot be loaded, or a name is unknown.
    """
    found = {term.name: _found(config, term).code for term in config.terms}
    own = sorted((name, code) for name, code in found.items() if code is not None)
    return hashlib.sha256(json.dumps(own).encode()).hexdigest()[:16] if own else ""


def _found(config: RewardConfig, term: RewardTerm) -> Kind:
    load_modules(config.modules, "reward.modules")
    if term.name in _KINDS:
        return _KINDS[term.name]
    raise ConfigError(
        f"reward {term.name!r} is unknown; known: {', '.join(kinds())}"
        f"{near(term.name, list(_KINDS))}; name the module of one of your own in `reward.modules`"
    )


def _register(name: str) -> Callable[[type[Reward]], type[Reward]]:
    def add(made: type[Reward]) -> type[Reward]:
        def make(rows: int, term: RewardTerm) -> Reward:
            if term.params:
                raise ConfigError(
                    f"params of reward {name!r} must be left out, were {term.params}: they are for "
                    "rewards of one's own; Don's have scale, rate and level"
                )
            return made(rows, term)

        enter(name, Kind(make=make, doc=(made.__doc__ or "").strip().split("\n")[0]))
        return made

    return add


@_register("log_return")
class LogReturn(Reward):
    """Log of the growth of equity. Source: Kelly, Bell System Technical Journal 35(4), 1956."""

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        return view.log_return


@_register("pnl")
class Pnl(Reward):
    """Change of equity over the equity that the episode began with."""

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        return np.asarray((view.after - view.before) / np.maximum(view.start, _TINY))


@_register("differential_sharpe")
class DifferentialSharpe(Reward):
    """How much a return adds to the moving Sharpe ratio.

    D = (B dA - A dB / 2) / (B - A^2)^(3/2), dA = R - A, dB = R^2 - B; then A += rate dA,
    B += rate dB. Zero in the first step. Source: Moody & Saffell, "Learning to trade via direct
    reinforcement", IEEE Trans. Neural Networks 12(4), 2001, eq. 13.
    """

    def reset(self, which: Bools) -> None:
        """Forget."""
        if not hasattr(self, "_a"):
            self._a, self._b, self._n = (np.zeros(self.rows) for _ in range(3))
        self._a[which] = self._b[which] = self._n[which] = 0.0

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        r, a, b = view.simple_return, self._a, self._b
        change_a, change_b = r - a, r * r - b
        spread = b - a * a
        safe = np.maximum(spread, _TINY)
        out = np.where(spread > _TINY, (b * change_a - 0.5 * a * change_b) / safe**1.5, 0.0)
        # a plain average at first, so that the beginning does not weigh too much
        self._n += 1.0
        rate = np.maximum(self.term.rate, 1.0 / self._n)
        self._a, self._b = a + rate * change_a, b + rate * change_b
        return np.asarray(np.clip(out, -10.0, 10.0))


@_register("differential_sortino")
class DifferentialSortino(Reward):
    """How much a return adds to the moving downside deviation ratio.

    With A the mean return and D the root of the mean squared loss: (R - A/2) / D for R > 0, else
    (D^2 (R - A/2) - A R^2 / 2) / D^3. Source: Moody & Saffell, 2001, eq. 17-18.
    """

    def reset(self, which: Bools) -> None:
        """Forget."""
        if not hasattr(self, "_a"):
            self._a, self._d, self._n = (np.zeros(self.rows) for _ in range(3))
        self._a[which] = self._d[which] = self._n[which] = 0.0

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        r, a, d2 = view.simple_return, self._a, self._d
        d = np.sqrt(np.maximum(d2, _TINY))
        gain = (r - 0.5 * a) / d
        loss = (d2 * (r - 0.5 * a) - 0.5 * a * r * r) / d**3
        out = np.where(d2 > _TINY, np.where(r > 0, gain, loss), 0.0)
        self._n += 1.0
        rate = np.maximum(self.term.rate, 1.0 / self._n)
        self._a = a + rate * (r - a)
        self._d = d2 + rate * (np.minimum(r, 0.0) ** 2 - d2)
        return np.asarray(np.clip(out, -10.0, 10.0))


@_register("drawdown")
class Drawdown(Reward):
    """Minus `scale` times the increase of the drawdown from the episode's peak.

    The sum over an episode is minus the last drawdown's rises: falls that are made good count too.
    Source: Chekhlov, Uryasev & Zabarankin, "Drawdown measure in portfolio optimization", 2005.
    """

    def reset(self, which: Bools) -> None:
        """Forget."""
        if not hasattr(self, "_peak"):
            self._wealth, self._peak, self._fall = (np.ones(self.rows) for _ in range(3))
        self._wealth[which] = self._peak[which] = 1.0
        self._fall[which] = 0.0

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        self._wealth = self._wealth * np.maximum(1.0 + view.simple_return, 0.0)
        self._peak = np.maximum(self._peak, self._wealth)
        fall = 1.0 - self._wealth / self._peak
        out = -self.term.scale * np.maximum(fall - self._fall, 0.0)
        self._fall = fall
        return np.asarray(out)


@_register("cvar")
class Cvar(Reward):
    """Minus `scale` times max(0, loss - q) / level, q the moving quantile of losses.

    The mean of q + max(0, loss - q) / level is the expected shortfall at `level`. q moves by
    stochastic approximation in units of the moving mean absolute return. Sources: Rockafellar &
    Uryasev, Journal of Risk 2(3), 2000; Bardou, Frikha & Pages, Monte Carlo Methods 15(3), 2009.
    """

    def reset(self, which: Bools) -> None:
        """Forget."""
        if not hasattr(self, "_q"):
            self._q, self._size, self._n = (np.zeros(self.rows) for _ in range(3))
        self._q[which] = self._size[which] = self._n[which] = 0.0

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        loss = -view.simple_return
        out = -self.term.scale * np.maximum(loss - self._q, 0.0) / self.term.level
        self._n += 1.0
        rate = np.maximum(self.term.rate, 1.0 / self._n)
        self._size = self._size + rate * (np.abs(loss) - self._size)
        step = self.term.rate * self._size
        self._q = self._q + step * ((loss > self._q) - self.term.level) / self.term.level
        return np.asarray(out)


@_register("inventory")
class Inventory(Reward):
    """Minus `scale` times the sum of squared weights held at the close.

    Source: the running inventory penalty of Cartea, Jaimungal & Penalva, "Algorithmic and
    high-frequency trading", 2015, ch. 10.
    """

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        return np.asarray(-self.term.scale * view.inventory)


@_register("cost")
class Cost(Reward):
    """Minus `scale` times fees and slippage over equity: beyond what equity has paid already.

    Source: the turnover penalty of Garleanu & Pedersen, Journal of Finance 68(6), 2013.
    """

    def __call__(self, view: StepView) -> Floats:
        """[R]."""
        return np.asarray(-self.term.scale * view.costs / np.maximum(view.before, _TINY))


class Rewards:
    """A weighted sum of rewards, and of callables given beside them.

    Args:
        config: terms.
        rows: R.
        extra: (weight, reward) besides.

    Raises:
        ConfigError: if a name is unknown, parameters do not fit, or a module cannot be loaded.
    """

    def __init__(
        self,
        config: RewardConfig,
        rows: int,
        extra: Sequence[tuple[float, Callable[[StepView], Floats]]] = (),
    ) -> None:
        # weight, the name of what is not Don's and so is checked, reward
        self._terms: list[tuple[float, str, Callable[[StepView], Floats]]] = []
        for term in config.terms:
            kind = _found(config, term)
            whose = "" if kind.code is None else repr(term.name)
            self._terms.append((term.weight, whose, kind.make(rows, term)))
        self._terms += [(weight, f"rewards[{n}]", each) for n, (weight, each) in enumerate(extra)]
        self._rows = rows

    @property
    def plain(self) -> float | None:
        """Weight of the log return, if there is nothing but that: it needs no state and no view."""
        if len(self._terms) != 1 or type(self._terms[0][2]) is not LogReturn:
            return None
        return self._terms[0][0]

    def reset(self, which: Bools) -> None:
        """A new episode begins in these rows."""
        for _, _, each in self._terms:
            begin = getattr(each, "reset", None)
            if begin is not None:
                begin(which)

    def __call__(self, view: StepView) -> Floats:
        """[R].

        Raises:
            ConfigError: if what is not Don's gives another shape, or what is no finite number.
        """
        total = np.zeros(self._rows)
        for weight, name, each in self._terms:
            value = checked(name, each(view), view) if name else each(view)
            total += weight * value
        return total


def checked(name: str, given: Any, view: StepView) -> Floats:
    """What a reward of one's own gave; 0 for rows that took no step, or had nothing left to lose.

    Raises:
        ConfigError: naming the reward, if it is not [R] finite numbers.
    """
    rows = view.before.shape
    try:
        value = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(
            f"reward {name} must give [{rows[0]}] numbers, was {type(given).__name__}"
        ) from None
    if value.shape != rows:
        raise ConfigError(
            f"reward {name} must give [{rows[0]}] numbers, one a row, was of shape {value.shape}"
        )
    counts = view.active & (view.before > 0.0)
    bad = np.flatnonzero(counts & ~np.isfinite(value))
    if len(bad):
        row = int(bad[0])
        raise ConfigError(
            f"reward {name} must give finite numbers, was {value[row]} in row {row}, with equity "
            f"{view.before[row]:.6g} before the step and {view.after[row]:.6g} after it"
        )
    return np.where(counts, value, 0.0)

"""Rewards of one's own: a decorated function of a step, or a class that remembers. Pure.

    @reward("idle")
    def idle(view, *, limit=0.5):
        '''Minus what is held beyond a limit.'''
        return -np.maximum(view.exposure - limit, 0.0)

What comes after the `*` are parameters, numbers that `reward.terms` may set. A class derives from
`don.envs.rewards.Reward`, says its parameters in `defaults` and reads them in `self.params`. Either
is proven before it is registered (see `don.envs.reward_proof`).
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from don.envs.config import RewardTerm
from don.envs.layout import Floats
from don.envs.reward_proof import prove
from don.envs.rewards import Kind, Reward, StepView, enter, forget
from don.errors import ConfigError
from don.features.fingerprint import fingerprint
from don.model.complaint import near

Made = TypeVar("Made", bound=Callable[..., Any])
Make = Callable[[int, RewardTerm], Callable[[StepView], Floats]]


def reward(name: str, *, version: int | None = None) -> Callable[[Made], Made]:
    """Register a function of a step, or a class of `Reward`, as a reward.

    Args:
        name: its name in `reward.terms`: lower-case letters, digits and underscores.
        version: of its code; None: follows from its source text and from what it uses (see
            `don.features.fingerprint`), so that a training goes on with the code that it was
            begun with.

    Raises:
        ConfigError: if the name is none or taken, parameters are no numbers, it fails its proof, or
            it uses what cannot be told to have changed.
    """
    if not name.isidentifier() or name != name.lower():
        raise ConfigError(
            f"reward must have a name of lower-case letters, digits and underscores, was {name!r}"
        )

    def add(made: Made) -> Made:
        told, build = _of_class(name, made) if inspect.isclass(made) else _of_function(name, made)
        defaults = _numbers(name, told)
        code = version
        if code is None:
            code = fingerprint(name, getattr(made, "py_func", made), "reward")
        proven: set[tuple[tuple[str, float], ...]] = set()

        def make(rows: int, term: RewardTerm) -> Callable[[StepView], Floats]:
            _check(name, defaults, term)
            params = tuple(sorted({**defaults, **term.params}.items()))
            if params not in proven:
                prove(name, lambda R: build(R, term))
                proven.add(params)
            return _Told(name, build(rows, term))

        doc = (made.__doc__ or "").strip().split("\n")[0]
        enter(name, Kind(make=make, doc=doc, code=code))
        try:
            make(1, RewardTerm(name=name))
        except BaseException:
            forget(name)
            raise
        return made

    return add


class _Told:
    """A reward of one's own, named in what goes wrong in it."""

    def __init__(self, name: str, inner: Callable[[StepView], Floats]) -> None:
        self._name, self._inner = name, inner
        self.reset = getattr(inner, "reset", _nothing)

    def __call__(self, view: StepView) -> Floats:
        try:
            return self._inner(view)
        except Exception as error:  # of the user's own code
            raise ConfigError(
                f"reward {self._name!r} fails: {type(error).__name__}: {error}"
            ) from error


def _nothing(which: Any) -> None:
    """A function remembers nothing."""


def _of_class(name: str, made: Any) -> tuple[Mapping[str, Any], Make]:
    if not issubclass(made, Reward):
        raise ConfigError(
            f"reward {name!r} must be a function, or a class derived from don.envs.rewards.Reward"
        )
    return made.defaults, made


def _of_function(name: str, made: Any) -> tuple[Mapping[str, Any], Make]:
    given = list(inspect.signature(getattr(made, "py_func", made)).parameters.values())
    further = given[1:]
    if (
        not given
        or given[0].kind not in (given[0].POSITIONAL_ONLY, given[0].POSITIONAL_OR_KEYWORD)
        or any(each.kind is not each.KEYWORD_ONLY or each.default is each.empty for each in further)
    ):
        raise ConfigError(
            f"reward {name!r} must be a function of one step, with parameters after a * that have "
            f"defaults, such as def {name}(view, *, limit=0.5); was of "
            f"({', '.join(map(str, given))})"
        )

    def build(rows: int, term: RewardTerm) -> Callable[[StepView], Floats]:
        return partial(made, **term.params)

    return {each.name: each.default for each in further}, build


def _numbers(name: str, told: Mapping[str, Any]) -> dict[str, float]:
    odd = [key for key, value in told.items() if not isinstance(value, int | float)]
    if odd:
        raise ConfigError(
            f"parameter {odd[0]} of reward {name!r} must be a number, was {told[odd[0]]!r}"
        )
    return {key: float(value) for key, value in told.items()}


def _check(name: str, defaults: Mapping[str, float], term: RewardTerm) -> None:
    """Make sure that a term says of a reward what it can be told."""
    for key in term.params:
        if key not in defaults:
            raise ConfigError(
                f"params of reward {name!r} were {term.params}: {key} is none of "
                f"{', '.join(defaults) or '(it has none)'}{near(key, list(defaults))}"
            )
    plain = RewardTerm()
    for key in ("scale", "rate", "level"):
        if getattr(term, key) != getattr(plain, key):
            raise ConfigError(
                f"{key} of reward {name!r} must be left out, was {getattr(term, key)}: it is for "
                "Don's rewards; one of your own is told by params and weight"
            )

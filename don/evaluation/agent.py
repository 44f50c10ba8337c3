"""Courses of trained agents over bars that they have not seen. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from don.clock import NS_PER_S, between, iso
from don.envs.config import CostConfig, EnvConfig, Scaling
from don.envs.core import BatchEnv
from don.envs.layout import Bools
from don.envs.market import EnvMarket
from don.envs.normalize import NormalizerState
from don.envs.observe import Observation
from don.errors import ConfigError, DataError
from don.evaluation.costs import charged, dearest
from don.evaluation.course import Course, out_of_sample, play
from don.learning.card import ModelCard


class Acting(Protocol):
    """What is evaluated: `don.learning.Model`, or anything that acts like it."""

    @property
    def card(self) -> ModelCard:
        """What it needs."""
        ...

    @property
    def states(self) -> Sequence[NormalizerState]:
        """Of the environment's normalisers where training ended."""
        ...

    def act(
        self, observations: Any, state: Any = None, *, rng: np.random.Generator | None = None
    ) -> tuple[dict[str, NDArray[np.generic]], Any]:
        """Actions by group, and the state after; see `don.learning.Model.act`."""
        ...


def check_market(card: ModelCard, market: EnvMarket) -> None:
    """Make sure that a model can act in a market.

    Raises:
        ConfigError: if symbols or interval are not those it was trained on.
    """
    if market.symbols != card.symbols:
        raise ConfigError(
            f"model {card.name} trades {', '.join(card.symbols)}; the data have "
            f"{', '.join(market.symbols)}: give the same symbols in the same order"
        )
    if market.interval_ns != card.interval_ns:
        raise ConfigError(
            f"model {card.name} was trained on bars of {card.interval_ns // NS_PER_S} s; the data "
            f"have {market.interval_ns // NS_PER_S} s"
        )


def history_needed(card: ModelCard) -> int:
    """Bars before the first decision that features, windows and frames look back over."""
    seen = card.env.observation
    warm = seen.feature_set(card.interval_ns).warm_up
    needed = warm + seen.window + 1
    for length in seen.frames:
        needed = max(needed, (warm + seen.frame_window + 2) * length)
    return needed


def window(
    market: EnvMarket, card: ModelCard, start_ns: int | None, end_ns: int | None
) -> tuple[EnvMarket, int]:
    """The bars that a test needs, and the bar among them at whose close is first decided.

    Decided is from the last close at or before the start, so that every bar that closes after it,
    up to the end, is traded. Bars before it are only looked at.

    Raises:
        DataError: if there are no bars in the window.
    """
    closes = market.close_ns
    first = 0 if start_ns is None else int(np.searchsorted(closes, start_ns, "right")) - 1
    last = len(closes) if end_ns is None else int(np.searchsorted(closes, end_ns, "right"))
    first = max(first, 0)
    if last - first < 2:
        raise DataError(
            f"no bar closes {between(start_ns, end_ns)}: they close from "
            f"{iso(int(closes[0]))} to {iso(int(closes[-1]))}"
        )
    low = max(first - history_needed(card), 0)
    part = market.part(int(closes[low]) - 1, int(closes[last - 1]))
    return part, int(np.searchsorted(part.close_ns, closes[first]))


def decidable(config: EnvConfig, market: EnvMarket) -> Bools:
    """[T] bars at which an environment's agents can decide: all that they look at is there.

    Raises:
        DataError: if there is none: how much history is needed.
    """
    seen = config.observation.model_copy(update={"scaling": Scaling.NONE})  # needs no state
    tested = out_of_sample(config.model_copy(update={"observation": seen}), market)
    return BatchEnv(market, tested).observer.ready


def all_decidable(cards: Sequence[ModelCard], market: EnvMarket) -> Bools:
    """[T] bars at which every one of several agents can decide."""
    alike = {(card.env.observation, card.env.form): card.env for card in cards}
    return np.asarray(np.all([decidable(env, market) for env in alike.values()], axis=0))


def run_agent(
    model: Acting, market: EnvMarket, begin: int, *, name: str, drawn: Sequence[int] = (),
    costs: CostConfig | None = None, able: Bools | None = None, wait: bool = False,
) -> list[Course]:  # fmt: skip
    """The course of an agent that always does the likeliest, then one a seed with drawn actions.

    Args:
        model: who acts.
        market: bars, see `window`.
        begin: bar at whose close is first decided, see `play`.
        name: of the course.
        drawn: seeds of further courses.
        costs: of all that it is compared with, which it pays where they are dearer than its own.
        able: see `play`.
        wait: see `play`.

    Raises:
        ConfigError: if the market is not the model's.
        DataError: if nothing can be observed, or not at `begin`.
    """
    check_market(model.card, market)
    config = out_of_sample(model.card.env, market)
    if costs is not None:
        both = dearest([config.costs, charged(costs, market)])
        config = config.model_copy(update={"costs": both})
    rngs = [None, *(np.random.default_rng(seed) for seed in drawn)]
    names = [name, *(f"{name}, drawn {seed}" for seed in drawn)]
    courses: list[Course] = []
    for one, rng in zip(names, rngs, strict=True):
        courses += _courses(model, market, config, begin, [one], rng, able, wait)
    return courses


def _courses(
    model: Acting, market: EnvMarket, config: Any, begin: int, names: list[str],
    rng: np.random.Generator | None, able: Bools | None, wait: bool,
) -> list[Course]:  # fmt: skip
    every = config.action.every
    action = config.action.model_copy(update={"every": 1})  # courses tell of each bar
    env = BatchEnv(
        market, config.model_copy(update={"action": action}), len(names), states=model.states
    )
    memory: Any = None
    actions: dict[str, NDArray[np.generic]] = {}
    age = 0  # bars since it was decided

    def decide(
        seen: Mapping[str, Observation], env: BatchEnv, fresh: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.generic]]:
        nonlocal memory, actions, age
        if fresh.any() or age >= every:
            memory = None if fresh.any() else memory
            actions, after = model.act(seen, memory, rng=rng)
            # a desk is not asked in a hole and until its window is full behind it: nor remembers it
            memory = after if env.acting[~env.done].any() else memory
            age = 0
        age += 1
        return actions

    return play(env, decide, names, begin, able=able, wait=wait)

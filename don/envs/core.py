"""A batch of episodes as arrays: the environment that all views are views of. Pure after loading.

B episodes, A agents. `step` takes actions [B, A, ...] and gives observations, rewards and ends of
all of them; nothing resets itself. An episode's course depends on its own seed and actions alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from don.envs.actions import Actions
from don.envs.allocate import Allocator
from don.envs.config import EnvConfig
from don.envs.draws import uniforms
from don.envs.forms import ALLOCATOR, roles
from don.envs.layout import (
    AFTER_EQUITY,
    BEFORE,
    BOOK,
    EQUITY,
    FLOW,
    MONEY,
    PEAK,
    SHARE,
    START,
    WALLET,
    Bools,
    Dynamics,
    Floats,
    Ints,
    aligned,
)  # fmt: skip
from don.envs.market import EnvMarket
from don.envs.normalize import NormalizerState
from don.envs.observe import Floats32, Observation, Observer
from don.envs.rewards import Rewards, StepView
from don.envs.rules import DRAWN, draw_rules
from don.envs.starts import possible_starts
from don.envs.views import agents_view, total_view
from don.envs.whole import GIVEN, Whole
from don.errors import UsageError

AGENTS = "agents"
ActionArray = NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Agents with equal spaces."""

    name: str
    agents: tuple[str, ...]
    observation_space: gym.Space[object]
    action_space: gym.Space[object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a step gave, by group; arrays of observations are new in each step."""

    observations: dict[str, Observation]  # [B, A, ...]; empty if not asked for
    rewards: dict[str, Floats]  # [B, A]
    terminated: dict[str, Bools]  # [B, A] the agent's account is ruined or was liquidated
    truncated: Bools  # [B] the episode's time is over
    done: Bools  # [B] truncated, or no agent is left: reset before the next step


class BatchEnv:
    """Runs B episodes side by side.

    Args:
        market: bars.
        config: of the environment.
        batch: B.
        states: of the normalisers to go on from.
        rewards: (weight, callable) beside the configured terms; see `don.envs.rewards`.
    """

    def __init__(
        self,
        market: EnvMarket,
        config: EnvConfig,
        batch: int = 1,
        *,
        states: Sequence[NormalizerState] = (),
        rewards: Sequence[tuple[float, Callable[[StepView], Floats]]] = (),
    ) -> None:
        if batch < 1:
            raise UsageError(f"batch must be 1 or more, was {batch}")
        self.market, self.config, self.batch = market, config, batch
        self.began_with, self.own_rewards = tuple(states), len(rewards)  # for the record
        self.roles = roles(config, market.symbols)
        own = self.roles
        self.observer = Observer(market, config.observation, own.seen, own.owner, own.mine, states)
        self.observer.check()
        K, n = own.columns.shape
        self._M, A = batch * K, len(own.agents)
        self.dynamics = Dynamics(
            bars=market.bars,
            spec=market.spec,
            columns=own.columns,
            rules=draw_rules(config, np.full((batch, DRAWN), 0.5)),
            money=aligned((self._M, MONEY)),
            book=aligned((self._M, n, BOOK)),
            flow=aligned((self._M, FLOW)),
            share=aligned((self._M, n, SHARE)),
        )
        each = own.seen.shape[1]
        unit = config.action.gross / n
        self._actions = Actions(config.action, each, unit, spot=config.costs.spot)
        self.groups = {
            AGENTS: Group(
                name=AGENTS,
                agents=own.agents,
                observation_space=self.observer.space(),
                action_space=self._actions.space,
            )
        }
        self._allocator: Allocator | None = None
        if own.allocator:
            self._allocator = Allocator(config, batch, K)
            self.groups[ALLOCATOR] = Group(
                name=ALLOCATOR,
                agents=(ALLOCATOR,),
                observation_space=self._allocator.observation_space,
                action_space=self._allocator.action_space,
            )
            self._upper = Rewards(config.reward, batch, ())
        self._each = not config.reward.shared and A > K  # each agent gets its own symbol's reward
        self._rewards = Rewards(config.reward, batch * A if self._each else self._M, rewards)
        self.plain = None if self._each else self._rewards.plain
        # public to the view of one episode, which steps without arrays around it
        self.whole = Whole(config, self.dynamics, self.observer, own, self._actions)
        self.bar_of = np.zeros(batch, np.int64)
        self._begin, self._end = self.whole.begin, self.whole.end
        self._dead, self.done = self.whole.dead, self.whole.done
        self._seeds = config.seed + np.arange(batch, dtype=np.int64)
        self.episode = np.zeros(batch, np.int64)
        self._starts, self._stops = possible_starts(
            market.segments, self.observer.ready, config.episode.length
        )

    @property
    def seeds(self) -> Ints:
        """[B] what slots draw from, with the numbers of their episodes."""
        return self._seeds.copy()

    @property
    def acting(self) -> Bools:
        """[B] whether what is asked for now is carried out; not so in and just behind a hole."""
        return np.asarray(self.observer.acts[self.bar_of])

    @property
    def starts(self) -> Ints:
        """[n] bars at which an episode can begin, rising."""
        return self._starts.copy()

    # ---- beginnings ------------------------------------------------------------------------------

    def reset(
        self, seed: int | None = None, which: Bools | None = None, starts: Ints | None = None
    ) -> dict[str, Observation]:
        """Begin episodes anew.

        Args:
            seed: slot b draws from seed + b from its first episode on; None: go on drawing.
            which: [B] slots that begin; None: all.
            starts: [B] bars to begin at, instead of drawn ones.

        Returns:
            Observations of all slots, by group.

        Raises:
            UsageError: if a start is not possible.
        """
        chosen = np.ones(self.batch, np.bool_) if which is None else np.asarray(which, np.bool_)
        if seed is not None:
            if seed < 0:
                raise UsageError(f"seed must not be negative, was {seed}")
            self._seeds = seed + np.arange(self.batch, dtype=np.int64)
            self.episode[:] = 0
        self.episode[chosen] += 1
        drawn = uniforms(self._seeds, self.episode, DRAWN + 1)
        episode = self.config.episode
        at = (drawn[:, 0] * len(self._starts)).astype(np.int64)
        if not episode.random_start:
            at[:] = 0
        if starts is not None:
            at = np.searchsorted(self._starts, starts)
            wrong = (at == len(self._starts)) | (self._starts[at % len(self._starts)] != starts)
            if (wrong & chosen).any():
                bad = int(np.asarray(starts)[wrong & chosen][0])
                raise UsageError(
                    f"start must be a bar that can be observed with the episode after it, from "
                    f"{self._starts[0]} to {self._starts[-1]}, was {bad}"
                )
        begin = self._starts[at]
        end = self._stops[at] if episode.length is None else begin + episode.length
        self.bar_of[chosen], self._begin[chosen] = begin[chosen], begin[chosen]
        self._end[chosen] = end[chosen]
        self.dynamics.rules[chosen] = draw_rules(self.config, drawn[:, 1:])[chosen]
        K = len(self.roles.columns)
        rows = np.repeat(chosen, K)
        money = self.dynamics.money
        money[rows] = 0.0
        for column in (WALLET, EQUITY, PEAK, START):
            money[rows, column] = episode.capital
        for values in (self.dynamics.book, self.dynamics.flow, self.dynamics.share):
            values[rows] = 0.0
        self._dead[rows] = False
        self.done[chosen] = False
        self._rewards.reset(np.repeat(chosen, len(self.roles.agents)) if self._each else rows)
        if self._allocator is not None:
            self._allocator.reset(chosen)
            self._upper.reset(chosen)
        return self.observe()

    # ---- steps -----------------------------------------------------------------------------------

    def step(
        self, actions: ActionArray | Mapping[str, ActionArray], *, observe: bool = True
    ) -> Step:
        """Let all episodes that are not done take one step, of `action.every` bars.

        An episode that ends inside a step ends there.

        Args:
            actions: [B, A, ...] of each group; of the only group alone, too.
            observe: whether to copy observations out; else `bar_of` says where episodes stand.

        Raises:
            UsageError: if an action is not in its space, or every episode is done.
        """
        given = actions if isinstance(actions, Mapping) else {AGENTS: actions}
        if len(given) != len(self.groups) or any(name not in given for name in self.groups):
            raise UsageError(f"actions must be of {sorted(self.groups)}, were of {sorted(given)}")
        if self.done.all():
            raise UsageError("every episode is done: reset before stepping on")
        kind = self._ask(np.asarray(given[AGENTS]))
        if self._allocator is not None:
            self.whole.deposits[:] = self._allocator.deposits(
                np.asarray(given[ALLOCATOR]), self.dynamics, self.bar_of - self._begin, ~self.done,
                self._dead, self.bar_of,
            )  # fmt: skip
        every = self.config.action.every
        told = self._told(kind, observe and every == 1)
        return told if every == 1 else self._went_on(told, every - 1, observe)

    def _ask(self, actions: ActionArray) -> int:
        """Hand actions to the compiled step, as they are or as orders."""
        kind = GIVEN if self._allocator is not None else self.whole.ask(actions)
        if kind == GIVEN:
            self._actions.fill(
                actions, self.dynamics, self.bar_of, self.roles.owner, self.roles.places,
                self.whole.orders,
            )  # fmt: skip
        return kind

    def _went_on(self, told: Step, bars: int, observe: bool) -> Step:
        """Further bars of the same step: what they give is added to what the first one gave.

        `dynamics.flow` and `dynamics.share` are those of all bars then.
        """
        dynamics, K = self.dynamics, len(self.roles.columns)
        rewards, flow = dict(told.rewards), dynamics.flow.copy()
        share, truncated = dynamics.share.copy(), told.truncated.copy()
        for _ in range(bars):
            if self.done.all():
                break
            told = self._told(GIVEN, False)
            rows = np.repeat(self.whole.active, K)
            before = flow[rows, BEFORE]
            flow[rows] += dynamics.flow[rows]
            flow[rows, BEFORE] = before
            flow[rows, AFTER_EQUITY] = dynamics.flow[rows, AFTER_EQUITY]
            share[rows] += dynamics.share[rows]
            rewards = {name: rewards[name] + each for name, each in told.rewards.items()}
            truncated |= told.truncated
        dynamics.flow[:], dynamics.share[:] = flow, share
        return replace(
            told,
            observations=self.observe() if observe else {},
            rewards=rewards,
            truncated=truncated,
        )

    def bar(self, kind: int, observe: bool) -> tuple[Floats, Bools, Bools, Floats32 | None]:
        """Carry out what is asked for over the next bar, without the allocator's part.

        Args:
            kind: what `Whole.ask` gave.
            observe: whether to see.

        Returns:
            Rewards [B, A], who is out [B, A], whose time is over [B], what is seen [B, A, D], None
            if nothing was asked to be, or must be by `observe`.

        Raises:
            UsageError: if an action is not possible; then nothing has changed.
        """
        whole = self.whole
        # who kept where episodes stood keeps it
        self.bar_of = self.bar_of.copy()
        ends, truncated, seen = whole.carry(self.bar_of, kind, observe)
        if self.plain is not None:
            value = np.log(whole.growth)
            value *= self.plain
            value += 0.0  # no negative zeros
            value = value.reshape(self.batch, -1)
            return value if whole.straight else value[:, self.roles.owner], ends, truncated, seen
        value = self._rewards(self.view()).reshape(self.batch, -1)
        if not self._each:
            value = np.where(whole.was_dead.reshape(self.batch, -1), 0.0, value)
            value = value[:, self.roles.owner]
        value = np.where(whole.active[:, None], value, 0.0)
        return np.asarray(value, np.float64), ends, truncated, seen

    def _told(self, kind: int, observe: bool) -> Step:
        value, ends, truncated, seen = self.bar(kind, observe)
        rewards, terminated = {AGENTS: value}, {AGENTS: ends}
        if self._allocator is not None:
            active = self.whole.active
            upper = self._upper(total_view(self.dynamics, self.bar_of, active))
            rewards[ALLOCATOR] = np.where(active, upper, 0.0)[:, None]
            dead = self._dead.reshape(self.batch, -1).all(axis=1)
            terminated[ALLOCATOR] = np.asarray(dead, np.bool_)[:, None]
        observations: dict[str, Observation] = {}
        if observe:
            observations = self._shown(seen)
        return Step(
            observations=observations,
            rewards=rewards,
            terminated=terminated,
            truncated=truncated,
            done=self.done.copy(),
        )

    # ---- views -----------------------------------------------------------------------------------

    def observe(self) -> dict[str, Observation]:
        """Observations of where all episodes stand, by group; new arrays."""
        return self._shown(None)

    def _shown(self, seen: Floats32 | None) -> dict[str, Observation]:
        left = None
        if seen is None:
            left = (self._end - self.bar_of) / np.maximum(self._end - self._begin, 1)
            seen = np.empty((self.batch, len(self.roles.agents), self.observer.size), np.float32)
            self.observer.fill(self.dynamics, self.bar_of, left, seen)
        found: dict[str, Observation] = {AGENTS: self.observer.shaped(seen)}
        if self._allocator is not None:
            if left is None:
                left = (self._end - self.bar_of) / np.maximum(self._end - self._begin, 1)
            found[ALLOCATOR] = self._allocator.observe(self.dynamics, left)
        return found

    def view(self) -> StepView:
        """What the last step did, as rewards see it; R = M, or B * A with rewards by symbol."""
        return agents_view(self.dynamics, self.bar_of, self._each, self.whole.active)

    @property
    def equity(self) -> Floats:
        """[B, K] equity of accounts at the last close."""
        return self.dynamics.money[:, EQUITY].reshape(self.batch, -1).copy()

    @property
    def states(self) -> tuple[NormalizerState, ...]:
        """Of the normalisers after the last bar: to be saved with a model."""
        return tuple(block.state for block in self.observer.blocks)

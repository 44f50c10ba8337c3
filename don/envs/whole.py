"""The compiled whole of a step: what is asked, the bar, who is out, what is seen. Pure.

`BatchEnv` and the Gymnasium views step through it, so that a batch and an episode alone go the same
way, to the bit. What is not common (tickets, softmax, frames, the book's image, rewards but the log
return) stays in arrays around it.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from don.envs.actions import Actions, whole
from don.envs.config import ActionKind, EnvConfig, Form, Part
from don.envs.dynamics import step_episode
from don.envs.forms import Roles
from don.envs.gather import account, copy
from don.envs.layout import (
    AFTER_EQUITY,
    BEFORE,
    HOLD,
    KIND,
    LIQUIDATED,
    ORDER,
    SIZE,
    START,
    TARGET,
    Bools,
    Dynamics,
    Ints,
    aligned,
)  # fmt: skip
from don.envs.observe import Floats32, Observer
from don.errors import UsageError

GIVEN, NUMBERS, CHOICES = 0, 1, 2  # orders are there; are made of numbers, of places in `levels`
_TINY, _LEAST = 1e-12, 1e-6  # see `don.envs.rewards.StepView.log_return`


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def step_whole(  # type: ignore[no-untyped-def]
    bar_of, values, terminated, truncated, out,
    kind, seeing, F, width, window_at, account_at, unit, spot, ruin, broke, liquidation,
    bars, spec, columns, rules, money, book, flow, share,
    begin, end, done, active, dead, was_dead, growth,
    numbers, choices, levels, owner, places, seen, mine, orders, deposits, scratch, row_of, acts,
):  # fmt: skip
    """Carry out a bar of all episodes that are not done.

    Args:
        bar_of: [B] the bar on whose close was decided; moves on.
        values: [N, R * F] features of the market's own bars.
        terminated: [B, A] overwritten: agents whose account is out.
        truncated: [B] overwritten: episodes whose time is over with this bar.
        out: [B, A, D], overwritten where something is seen.
        kind: `GIVEN`, `NUMBERS` or `CHOICES`.
        seeing: whether to fill `out`.
        F: features.
        width: numbers of a symbol's window.
        window_at: place of the window in an observation, -1: none.
        account_at: place of the account, -1: none.
        unit: exposure that an action of 1 asks for.
        spot: whether exposures below 0 mean none.
        ruin: part of the first equity below which an account is out.
        broke: whether only who has nothing left is out.
        liquidation: whether who was liquidated is out.
        bars: of `Dynamics`.
        spec: of `Dynamics`.
        columns: of `Dynamics`.
        rules: of `Dynamics`.
        money: of `Dynamics`.
        book: of `Dynamics`.
        flow: of `Dynamics`.
        share: of `Dynamics`.
        begin: [B] first bars of episodes.
        end: [B] their last bars.
        done: [B] changes.
        active: [B] overwritten: who stepped.
        dead: [M] changes.
        was_dead: [M] overwritten: before this bar.
        growth: [M] overwritten: of equity, 1 where nothing stepped or was dead.
        numbers: [B * A * n] of actions.
        choices: [B * A * n] of actions.
        levels: exposures of choices.
        owner: [A] account of each agent.
        places: [A, n] places of its symbols in the account.
        seen: [A, n] its symbols.
        mine: [A] see `gather.account`.
        orders: [M, n, ORDER] overwritten but with `GIVEN`.
        deposits: [M].
        scratch: [6, n].
        row_of: [T] rows of `values`.
        acts: [T] see `Observer.acts`; empty: everywhere.

    Returns:
        -1, or the place of an action that is not possible: then nothing has changed.
    """
    if kind == NUMBERS:
        for i in range(len(numbers)):
            if not np.isfinite(numbers[i]):
                return i
    elif kind == CHOICES:
        for i in range(len(choices)):
            if choices[i] < 0 or choices[i] >= len(levels):
                return i
    d = Dynamics(bars, spec, columns, rules, money, book, flow, share)
    K, A, each = len(columns), len(owner), places.shape[1]
    i = 0
    for b in range(len(bar_of)):
        base = b * K
        if kind != GIVEN:
            for a in range(A):
                m = base + owner[a]
                for j in range(each):
                    x = levels[choices[i]] if kind == CHOICES else min(max(numbers[i], -1.0), 1.0)
                    x *= unit
                    if spot and x < 0:
                        x = 0.0
                    orders[m, places[a, j], SIZE] = x
                    orders[m, places[a, j], KIND] = TARGET
                    i += 1
        held = len(acts) > 0 and not acts[bar_of[b]]
        for m in range(base, base + K):
            if held:
                orders[m, :, KIND] = HOLD
            was_dead[m] = dead[m]
            if dead[m]:  # an account that is out only closes what it holds
                orders[m, :, :] = 0.0
                orders[m, :, KIND] = TARGET
        live = not done[b]
        active[b] = live
        if live:
            step_episode(d, b, bar_of[b], orders, deposits, scratch, False)
            bar_of[b] += 1
        if held:  # what stays asked for over several bars is carried out behind the hole
            orders[base : base + K, :, KIND] = TARGET
        left = K
        for m in range(base, base + K):
            growth[m] = 1.0
            if live:
                after = flow[m, AFTER_EQUITY]
                if not was_dead[m]:
                    growth[m] = max(after / max(flow[m, BEFORE], _TINY), _LEAST)
                gone = after <= 0.0 if broke else after < ruin * money[m, START]
                if gone or (liquidation and flow[m, LIQUIDATED] > 0):
                    dead[m] = True
            if dead[m]:
                left -= 1
        for a in range(A):
            terminated[b, a] = dead[base + owner[a]]
        truncated[b] = live and bar_of[b] >= end[b]
        done[b] = done[b] or truncated[b] or left == 0
        if not seeing:
            continue
        t = bar_of[b]
        stretch = end[b] - begin[b]
        stop = (row_of[t] + 1) * F
        remains = (end[b] - t) / (stretch if stretch > 1 else 1)
        for a in range(A):
            if window_at >= 0:
                copy(values, stop, seen[a], width, out[b, a], window_at)
            if account_at >= 0:
                account(bars[t], spec, money, book, base + owner[a], columns[owner[a]], mine[a],
                        remains, out[b, a], account_at)  # fmt: skip
    return -1


class Whole:
    """The compiled step with its arrays at hand; what the last one left is in its attributes.

    Args:
        config: of the environment.
        dynamics: accounts.
        observer: of the agents.
        roles: of the agents.
        actions: what they may ask for.
    """

    def __init__(
        self, config: EnvConfig, dynamics: Dynamics, observer: Observer, roles: Roles,
        actions: Actions,
    ) -> None:  # fmt: skip
        d, B = dynamics, len(dynamics.rules)
        M, n = d.book.shape[:2]
        A, each = roles.places.shape
        self.begin, self.end = np.zeros(B, np.int64), np.zeros(B, np.int64)
        self.done, self.active = np.ones(B, np.bool_), np.zeros(B, np.bool_)
        self.dead, self.was_dead = np.zeros(M, np.bool_), np.zeros(M, np.bool_)
        self.growth, self.deposits = np.ones(M), np.zeros(M)
        self.orders = aligned((M, n, ORDER))
        self.straight = np.array_equal(
            roles.owner, np.arange(len(d.columns))
        )  # an agent an account
        self._numbers, self._choices = np.zeros(B * A * each), np.zeros(B * A * each, np.int64)
        self._actions = actions
        self._shape = (B, A, *(actions.space.shape or ()))
        self.kind = {
            ActionKind.CONTINUOUS: NUMBERS,
            ActionKind.DISCRETE: CHOICES,
            ActionKind.MULTI_DISCRETE: CHOICES,
        }.get(config.action.kind, GIVEN)
        places = {slot.name: slot.start for slot in observer.slots}
        # what has other parts is filled by the observer
        self.sees = set(places) <= {Part.WINDOW, Part.ACCOUNT}
        self._size, self._nothing = (B, A, observer.size), np.zeros((0, 0, 0), np.float32)
        self._out, self._over = np.empty((B, A), np.bool_), np.empty(B, np.bool_)
        self._most = len(actions.levels) - 1 if actions.space.shape == () else -1
        window = observer.blocks[0]
        N, R, F = window.values.shape
        self._values = window.values.reshape(N, R * F)
        episode, allocated = config.episode, config.form is Form.ALLOCATED
        self._settings = (
            F, config.observation.window * F, places.get(Part.WINDOW, -1),
            places.get(Part.ACCOUNT, -1), actions.unit, config.costs.spot, episode.ruin,
            allocated,  # capital comes and goes: only what cannot trade is ruined
            episode.end_on_liquidation,
        )  # fmt: skip
        self._arrays = (
            *d, self.begin, self.end, self.done, self.active, self.dead, self.was_dead, self.growth,
            self._numbers, self._choices, actions.levels, roles.owner, roles.places, roles.seen,
            roles.mine, self.orders, self.deposits, np.zeros((6, n)), window.row_of,
            observer.acts if observer.holed else np.zeros(0, np.bool_),
        )  # fmt: skip

    def ask(self, actions: NDArray[np.generic]) -> int:
        """Take in actions [B, A, ...], if they are of a kind that is compiled; what they are.

        Raises:
            UsageError: if their shape is wrong or they are no choices.
        """
        if self.kind == GIVEN:
            return GIVEN
        if actions.shape != self._shape:
            raise UsageError(f"actions must be {self._shape}, were {actions.shape}")
        if self.kind == NUMBERS:
            self._numbers[:] = actions.reshape(-1)
        elif actions.dtype.kind in "iu":
            self._choices[:] = actions.reshape(-1)
        else:
            self._choices[:] = whole(actions, len(self._actions.levels), "action").reshape(-1)
        return self.kind

    def alone(self, bar_of: Ints, action: object) -> tuple[float, bool, bool, Floats32]:
        """A bar of a batch of one agent, with as little around the compiled step as can be.

        Only if `sees` and `kind` is not `GIVEN`.

        Args:
            bar_of: [1] moves on.
            action: of the agent.

        Returns:
            Growth of equity, whether the account is out, whether time is over, what is seen [D].

        Raises:
            UsageError: if the action is not possible; then nothing has changed.
        """
        kind = self.kind
        if kind == CHOICES and type(action) is int and 0 <= action <= self._most:
            self._choices[0] = action
        else:
            self.ask(np.asarray(action)[None, None])
        out = np.empty(self._size, np.float32)
        wrong = step_whole(
            bar_of, self._values, self._out, self._over, out, kind, True, *self._settings,
            *self._arrays,
        )  # fmt: skip
        if wrong >= 0:
            self._refuse(kind)
        return self.growth.item(), self._out.item(), self._over.item(), out[0, 0]

    def carry(self, bar_of: Ints, kind: int, observe: bool) -> tuple[Bools, Bools, Floats32 | None]:
        """Carry out a bar; see `step_whole`.

        Args:
            bar_of: [B] moves on.
            kind: what `ask` gave; `GIVEN`: `orders` are written.
            observe: whether to see.

        Returns:
            Who is out [B, A], whose time is over [B], what is seen or None.

        Raises:
            UsageError: if an action is not possible; then nothing has changed.
        """
        B, A, _ = self._size
        terminated, truncated = np.empty((B, A), np.bool_), np.empty(B, np.bool_)
        sees = observe and self.sees
        out = np.empty(self._size, np.float32) if sees else self._nothing
        wrong = step_whole(
            bar_of, self._values, terminated, truncated, out, kind, sees, *self._settings,
            *self._arrays,
        )  # fmt: skip
        if wrong >= 0:
            self._refuse(kind)
        return terminated, truncated, out if sees else None

    def _refuse(self, kind: int) -> None:
        asked = self._numbers if kind == NUMBERS else self._choices
        self._actions.weights(asked.reshape(self._shape))
        raise AssertionError("weights must refuse what the compiled step does")

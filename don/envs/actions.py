"""Actions of agents as orders of accounts. Pure: fills the arrays that it is given."""

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from don.envs.config import ActionConfig, ActionKind
from don.envs.layout import (
    CLOSE,
    EQUITY,
    KIND,
    LIMIT,
    LOT,
    LOTS,
    MARKET,
    POST_ONLY,
    PRICE,
    SIZE,
    TARGET,
    TICK,
    Dynamics,
    Floats,
    Ints,
)  # fmt: skip
from don.errors import UsageError

LOGIT = 10.0  # bound of softmax inputs
_TYPES = np.array([MARKET, LIMIT, POST_ONLY])


class Actions:
    """Turns actions [B, A, ...] of agents with n symbols each into orders.

    Args:
        config: what actions mean.
        symbols: n, of an agent.
        unit: exposure that an action of 1 asks of a symbol, fraction of equity.
        spot: shorts are not possible: negative exposures mean none.
    """

    def __init__(self, config: ActionConfig, symbols: int, unit: float, *, spot: bool) -> None:
        self._config, self._n, self._spot = config, symbols, spot
        self.unit = unit
        if config.kind is ActionKind.DISCRETE and symbols != 1:
            raise UsageError(
                f"action.kind 'discrete' needs agents with one symbol, was {symbols}: "
                "use 'multi_discrete'"
            )
        self.levels = np.array(config.levels)
        self._offsets, self._sizes = np.array(config.offsets), np.array(config.sizes)
        self.space = self._space()

    def _space(self) -> gym.Space[object]:
        config, n = self._config, self._n
        match config.kind:
            case ActionKind.DISCRETE:
                return gym.spaces.Discrete(len(config.levels))
            case ActionKind.MULTI_DISCRETE:
                return gym.spaces.MultiDiscrete([len(config.levels)] * n)
            case ActionKind.SIMPLEX:
                return gym.spaces.Box(-LOGIT, LOGIT, (n + 1,), np.float32)
            case ActionKind.TICKET:
                one = [3, len(config.offsets), len(config.sizes), 3]
                return gym.spaces.MultiDiscrete(one * n)
            case _:
                low = 0.0 if self._spot else -1.0
                return gym.spaces.Box(low, 1.0, (n,), np.float32)

    def weights(self, actions: NDArray[np.generic]) -> Floats:
        """[B, A, n] target exposures, fractions of equity.

        Raises:
            UsageError: if an action is not in the space; numbers beyond a box's bounds are cut.
        """
        config = self._config
        shape = (*actions.shape[:2], *(self.space.shape or ()))
        if actions.shape != shape:
            raise UsageError(f"actions must be {shape}, were {actions.shape}")
        if config.kind in (ActionKind.DISCRETE, ActionKind.MULTI_DISCRETE):
            index = whole(actions, len(config.levels), "action")
            out = self.levels[index].reshape(*actions.shape[:2], self._n) * self.unit
        elif config.kind is ActionKind.SIMPLEX:
            out = softmax(actions)[..., :-1] * config.gross
        else:
            box = np.clip(finite(actions), -1.0, 1.0)
            if config.kind is ActionKind.LONG_SHORT:
                total = np.abs(box).sum(axis=-1, keepdims=True)
                out = config.gross * box / np.maximum(total, 1.0)
            else:
                out = self.unit * box
        return np.maximum(out, 0.0) if self._spot else out

    def tickets(
        self, actions: NDArray[np.generic], dynamics: Dynamics, bar_of: Ints, accounts: Ints,
        places: Ints, out: Floats,
    ) -> None:  # fmt: skip
        """Write order tickets: side, offset, size, type of each symbol.

        A ticket's size is a part of the greatest exposure; one that would pass it is cut.

        Args:
            actions: [B, A, 4 n].
            dynamics: accounts.
            bar_of: [B].
            accounts: [A] account of each agent, in an episode.
            places: [A, n] places of its symbols in the account.
            out: [M, n, ORDER].
        """
        B, A = actions.shape[:2]
        parts = np.asarray(actions).reshape(B, A, self._n, 4)
        side = whole(parts[..., 0], 3, "ticket side")
        offset = self._offsets[whole(parts[..., 1], len(self._offsets), "ticket offset")]
        size = self._sizes[whole(parts[..., 2], len(self._sizes), "ticket size")]
        kind = _TYPES[whole(parts[..., 3], 3, "ticket type")]
        K = len(dynamics.columns)
        rows = np.arange(B)[:, None] * K + accounts[None, :]  # [B, A]
        symbols = dynamics.columns[accounts[:, None], places]  # [A, n]
        close = dynamics.bars[bar_of[:, None, None], symbols[None], CLOSE]
        value = close * (dynamics.spec[symbols, TICK] * dynamics.spec[symbols, LOT])[None]
        equity = np.maximum(dynamics.money[rows, EQUITY], 0.0)[..., None]
        held = dynamics.book[rows[..., None], places[None], LOTS]
        sign = np.where(side == 1, 1.0, np.where(side == 2, -1.0, 0.0))
        most = np.floor(self.unit * equity / np.maximum(value, 1e-12))
        lots = np.floor(size * self.unit * equity / np.maximum(value, 1e-12))
        room = np.maximum(most - held * sign, 0.0)
        lots = np.minimum(lots, room)
        price = close * (1.0 - sign * offset)
        price = np.where(sign > 0, np.floor(price), np.ceil(price))
        out[rows[..., None], places[None], SIZE] = sign * lots
        out[rows[..., None], places[None], PRICE] = np.where(kind == MARKET, 0.0, price)
        out[rows[..., None], places[None], KIND] = kind

    def fill(
        self, actions: NDArray[np.generic], dynamics: Dynamics, bar_of: Ints, accounts: Ints,
        places: Ints, out: Floats,
    ) -> None:  # fmt: skip
        """Write the orders of actions; see `tickets`."""
        if self._config.kind is ActionKind.TICKET:
            self.tickets(actions, dynamics, bar_of, accounts, places, out)
            return
        weights = self.weights(actions)
        K = len(dynamics.columns)
        if len(accounts) == K and places.shape[1] == out.shape[1]:  # an agent an account
            out[:, :, SIZE] = weights.reshape(out.shape[:2])
            out[:, :, KIND] = TARGET
            return
        rows = np.arange(len(weights))[:, None] * K + accounts[None, :]
        out[rows[..., None], places[None], SIZE] = weights
        out[rows[..., None], places[None], KIND] = TARGET


def finite(actions: NDArray[np.generic]) -> Floats:
    """Actions as numbers.

    Raises:
        UsageError: if one is NaN or infinite: a policy that diverged must not trade.
    """
    values = np.asarray(actions, np.float64)
    if not np.isfinite(values).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise UsageError(f"actions must be finite, was {values[at]} at {at}")
    return values


def whole(actions: NDArray[np.generic], count: int, name: str) -> Ints:
    """Actions as indices.

    Raises:
        UsageError: if one is none of 0 to count - 1.
    """
    values = np.asarray(actions)
    if values.dtype.kind not in "iu":
        rounded = values.astype(np.int64)
        if not np.array_equal(rounded, values):
            raise UsageError(f"{name} must be whole numbers, was {values.reshape(-1)[:4]}")
        values = rounded
    if values.size and (values.min() < 0 or values.max() >= count):
        raise UsageError(f"{name} must be 0 to {count - 1}, was {values.min()} to {values.max()}")
    return np.asarray(values, np.int64)


def softmax(actions: NDArray[np.generic]) -> Floats:
    """Shares that sum to 1 along the last axis; inputs are cut to [-10, 10]."""
    logits = np.clip(finite(actions), -LOGIT, LOGIT)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))

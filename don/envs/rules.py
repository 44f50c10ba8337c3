"""Rules of episodes: costs and margins from configuration, and what is drawn anew. Pure."""

import numpy as np

from don.backtest.config import BarFills
from don.envs.config import EnvConfig
from don.envs.layout import (
    AFTER,
    BAND,
    CASH,
    DOWN,
    FUNDING_X,
    GROSS,
    HALF,
    LEVELS,
    MAINTENANCE,
    MAKER_X,
    PART,
    PATH,
    PATH_OPEN,
    PATH_PATH,
    PATH_PESSIMISTIC,
    PENALTY,
    RULE,
    STEP,
    TAKER_X,
    UP,
    Floats,
)  # fmt: skip

DRAWN = 6  # numbers drawn for an episode
_PATHS = {
    BarFills.PESSIMISTIC: PATH_PESSIMISTIC,
    BarFills.PATH: PATH_PATH,
    BarFills.OPEN: PATH_OPEN,
}
_LAST = 0.99  # of a bar: orders that arrive later belong to the next one


def draw_rules(config: EnvConfig, drawn: Floats) -> Floats:
    """[B, RULE] rules of episodes.

    Args:
        config: of the environment.
        drawn: [B, DRAWN] numbers from 0 to 1.
    """
    costs, fills, random = config.costs, config.costs.fills, config.random
    ranges = (
        random.taker, random.maker, random.spread, random.depth, random.funding, random.latency,
    )  # fmt: skip
    taker, maker, spread, depth, funding, latency = (
        low + (high - low) * drawn[:, i] for i, (low, high) in enumerate(ranges)
    )
    out = np.zeros((len(drawn), RULE))
    out[:, MAKER_X] = costs.maker * maker
    out[:, TAKER_X] = costs.taker * taker
    out[:, HALF] = fills.half_spread * spread
    out[:, STEP] = fills.step * spread
    out[:, PART] = np.minimum(fills.participation * depth, 1.0)
    out[:, AFTER] = np.minimum(fills.after + latency, _LAST)
    out[:, LEVELS] = fills.levels
    out[:, PATH] = _PATHS[fills.price]
    out[:, MAINTENANCE] = 0.0 if costs.spot else costs.maintenance
    out[:, PENALTY] = costs.liquidation_fee
    out[:, UP], out[:, DOWN] = costs.percent_up, costs.percent_down
    out[:, FUNDING_X] = 0.0 if costs.spot else costs.funding * funding
    out[:, BAND], out[:, GROSS] = config.action.band, config.action.gross
    out[:, CASH] = float(costs.spot)
    return out

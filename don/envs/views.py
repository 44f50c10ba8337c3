"""What a step did, in the form that rewards see. Pure."""

import numpy as np

from don.envs.layout import (
    AFTER_EQUITY,
    BEFORE,
    CLOSE,
    DEPOSIT,
    EQUITY,
    FEES,
    FUNDING,
    GAIN,
    LOT,
    LOTS,
    SLIPPAGE,
    SPENT,
    START,
    TICK,
    TURNOVER,
    Bools,
    Dynamics,
    Floats,
    Ints,
)  # fmt: skip
from don.envs.rewards import StepView

_LEAST = 1e-9  # equity below which there is nothing to weigh with


def weights(dynamics: Dynamics, bar_of: Ints) -> Floats:
    """[M, n] signed notional of positions at the last close over equity; 0 without equity."""
    d = dynamics
    columns = np.tile(d.columns, (len(bar_of), 1))
    rows = np.repeat(bar_of, len(d.columns))
    close = d.bars[rows[:, None], columns, CLOSE]
    worth = d.book[:, :, LOTS] * close * (d.spec[columns, TICK] * d.spec[columns, LOT])
    equity = d.money[:, EQUITY, None]
    return np.asarray(np.where(equity > _LEAST, worth / np.maximum(equity, _LEAST), 0.0))


def agents_view(dynamics: Dynamics, bar_of: Ints, each: bool, active: Bools) -> StepView:
    """Of accounts (R = M), or of each symbol of shared accounts (R = M * n); `active` is [B]."""
    d, flow = dynamics, dynamics.flow
    rows = np.repeat(active, len(d.columns))
    if not each:
        return StepView(
            before=flow[:, BEFORE],
            after=flow[:, AFTER_EQUITY],
            start=d.money[:, START],
            costs=flow[:, FEES] + flow[:, SLIPPAGE],
            funding=flow[:, FUNDING],
            turnover=flow[:, TURNOVER],
            active=rows,
            weights=lambda: weights(d, bar_of),
        )
    n = d.columns.shape[1]
    before = np.repeat(flow[:, BEFORE], n)
    return StepView(
        before=before,
        after=before + d.share[:, :, GAIN].reshape(-1),
        start=np.repeat(d.money[:, START], n),
        costs=d.share[:, :, SPENT].reshape(-1),
        funding=np.repeat(flow[:, FUNDING] / n, n),
        turnover=np.repeat(flow[:, TURNOVER] / n, n),
        active=np.repeat(rows, n),
        weights=lambda: weights(d, bar_of).reshape(-1, 1),
    )


def total_view(dynamics: Dynamics, bar_of: Ints, active: Bools) -> StepView:
    """Of all accounts of each episode together: what an allocator answers for (R = B)."""
    d, flow = dynamics, dynamics.flow
    B, K = len(bar_of), len(d.columns)

    def add(values: Floats) -> Floats:
        return np.asarray(values.reshape(B, K).sum(axis=1))

    def net() -> Floats:
        total = np.maximum(add(flow[:, AFTER_EQUITY]), _LEAST)
        worth = weights(d, bar_of) * d.money[:, EQUITY, None]
        return np.asarray(worth.reshape(B, K, -1).sum(axis=1) / total[:, None])

    return StepView(
        before=add(flow[:, BEFORE] - flow[:, DEPOSIT]),
        after=add(flow[:, AFTER_EQUITY]),
        start=add(d.money[:, START]),
        costs=add(flow[:, FEES] + flow[:, SLIPPAGE]),
        funding=add(flow[:, FUNDING]),
        turnover=add(flow[:, TURNOVER]),
        active=active,
        weights=net,
    )

"""Bars on which the desk has nothing to do, many at once. Pure, over the engine's core.

For backtests. Taking bars in this way leaves the engine in the state in which stepping through
their snapshots one by one would have left it; only the points of the equity curve between are not
told one by one. `quiet` says for how many bars that holds, and is careful where floats cannot say.
"""

import numpy as np

from don.engine.core import Core
from don.model.portfolio import ZERO
from don.risk.engine import DAY_NS

_CAREFUL = 1e-6  # of equity: nearer than this to a limit, exact numbers decide


def equities(core: Core, close: np.ndarray) -> np.ndarray:
    """[bar] equity in floats at closes [bar, symbol], with the positions as they are."""
    ledger = core.ledger
    if not ledger.positions:
        return np.full(len(close), float(ledger.balance))
    held = [i for i, s in enumerate(core.symbols) if s in ledger.positions]
    positions = [ledger.positions[core.symbols[i]] for i in held]
    size = np.array([float(p.size) for p in positions])
    cost = sum((p.cost for p in positions), ZERO)
    return np.asarray(close[:, held] @ size + float(ledger.balance - cost))


def quiet(core: Core, ts: np.ndarray, close: np.ndarray, decide_every_ns: int) -> int:
    """How many of the next bars need no step: not the first of a day, none to decide on, none near
    a loss that halts or reduces, none near a new peak where drawdown is limited.

    Args:
        core: the engine's state.
        ts: [bar] close times, rising.
        close: [bar, symbol] last known prices, finite for symbols that are held.
        decide_every_ns: bars whose close is a multiple of this are decided on.
    """
    # before two bars have come the desk cannot know their pace, and a timer may be due between
    if not core.ledger.adopted or core.market.version < 2:
        return 0
    if core.halted and (core.ledger.positions or core.orders.live):
        return 0  # what is left is tried again to close
    stop = (ts % decide_every_ns == 0) | (ts // DAY_NS > core.risk.day.day)
    if core.ledger.positions and core.risk.day.reference > 0:
        curve, config = equities(core, close), core.config.risk
        reference = float(core.risk.day.reference)
        loss = (reference - curve) / reference
        nearest = min(config.max_daily_loss, config.reduce_at_daily_loss or config.max_daily_loss)
        stop |= ~(loss < float(nearest) - _CAREFUL)
        if core.risk.losses.tracks_peak:
            peak = float(core.risk.losses.peak)
            limits = [x for x in (config.max_drawdown, config.reduce_at_drawdown) if x is not None]
            stop |= ~(curve < peak * (1.0 - _CAREFUL))  # a new peak is kept exactly
            stop |= ~(peak - curve < (float(min(limits)) - _CAREFUL) * peak)
    return int(np.argmax(stop)) if stop.any() else len(ts)


def observe(
    core: Core, ts: np.ndarray, close: np.ndarray, present: np.ndarray, wall: np.ndarray
) -> None:
    """Take quiet bars in.

    Args:
        core: the engine's state.
        ts: [bar] close times, rising, one bar apart.
        close: [bar, symbol] last known prices.
        present: [bar, symbol] bool: the symbol had a bar of its own.
        wall: [bar] wall time at which each bar came.
    """
    if not len(ts):
        return
    before = core.market.ts_event
    core.pass_time(int(wall[-1]))
    core.market.observe(ts, close, present, int(wall[-1]))
    core.settle_time(core.market.ts_event - before)


def pace(wall: np.ndarray, heard: int, interval_ns: int) -> int:
    """Wall time between the last two of these bars, at most a bar's length."""
    last = int(wall[-1]) - (int(wall[-2]) if len(wall) > 1 else heard)
    return min(last, interval_ns)

"""Bars on which the desk has nothing to do, many at once. Pure, over the engine's core.

For backtests. Taking bars in this way leaves the engine in the state in which stepping through
their snapshots one by one would have left it; only the points of the equity curve between are not
told one by one. `quiet` says for how many bars that holds, and is careful where floats cannot say.
"""

from collections.abc import Sequence
from decimal import Decimal
from operator import mul

import numpy as np

from don.engine.core import Core
from don.execution.planner import exact
from don.model.portfolio import ZERO, Position
from don.risk.engine import DAY_NS

_CAREFUL = 1e-6  # of equity: nearer than this to a limit, exact numbers decide


class Valuer:
    """The equity curve of quiet bars: exact, many points at once.

    Sums are whole numbers of a common unit, so each point is the float that stepping would tell.
    What follows from positions alone is worked out once for as long as they stay.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._place = {symbol: i for i, symbol in enumerate(core.symbols)}
        self._moves = -1  # of the ledger, when the rest was worked out
        self._held: list[Position] = []
        self._columns: list[int] = []
        self._scale = np.ones(0)  # [held] ten to the decimals of a price
        self._digits = 0  # decimals that are enough for every worth
        self._sizes: list[int] = []  # by which ticks become worths
        self._cost = ZERO

    def curve(self, close: np.ndarray) -> np.ndarray:
        """[bar] exact equity, as floats, at closes [bar, symbol] with the positions as they are."""
        core, ledger = self._core, self._core.ledger
        if not ledger.positions or not len(close):
            return np.full(len(close), float(ledger.balance))
        if self._moves != ledger.moves:
            self._look()
        rest = ledger.balance - self._cost
        for symbol, position in ledger.positions.items():
            if symbol not in self._place and symbol in core.market.marks:
                rest += position.unrealized(core.market.marks[symbol])
        prices = close[:, self._columns]
        ticks = np.rint(prices * self._scale)
        # a decimal of at most 15 digits that reads as the float is the one that the float prints as
        if not ((ticks / self._scale == prices) & (np.abs(ticks) < 1e15)).all():
            return np.array([self._one(rest, row) for row in prices.tolist()])
        more = max(_decimals(rest) - self._digits, 0)
        sizes = [size * 10**more for size in self._sizes] if more else self._sizes
        unit = self._digits + more
        whole, one = int(rest.scaleb(unit)), 10**unit
        rows = ticks.astype(np.int64).tolist()
        return np.array([(whole + sum(map(mul, row, sizes))) / one for row in rows])

    def _look(self) -> None:
        core, ledger = self._core, self._core.ledger
        self._moves = ledger.moves
        self._held = [p for p in ledger.positions.values() if p.symbol in self._place]
        self._columns = [self._place[p.symbol] for p in self._held]
        steps = [_decimals(core.instruments[p.symbol].tick_size) for p in self._held]
        self._scale = 10.0 ** np.array(steps)
        pairs = list(zip(self._held, steps, strict=True))
        self._digits = max((_decimals(p.size) + step for p, step in pairs), default=0)
        self._sizes = [int(p.size.scaleb(self._digits - step)) for p, step in pairs]
        self._cost = sum((p.cost for p in self._held), ZERO)

    def _one(self, rest: Decimal, prices: Sequence[float]) -> float:
        pairs = zip(self._held, prices, strict=True)
        return float(rest + sum((p.size * exact(price) for p, price in pairs), ZERO))


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _near(core: Core, close: np.ndarray) -> np.ndarray:
    """The curve of a `Valuer` to rounding, without the care."""
    ledger = core.ledger
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
    if core.ledger.unvalued:
        return 0  # the first price of what was taken over is what profit counts from
    if core.halted and (core.ledger.positions or core.orders.live):
        return 0  # what is left is tried again to close
    stop = (ts % decide_every_ns == 0) | (ts // DAY_NS > core.risk.day.day)
    if core.ledger.positions and core.risk.day.reference > 0:
        curve, config = _near(core, close), core.config.risk
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

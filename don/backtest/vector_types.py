"""What the compiled loop of the vector mode takes, and the places in its arrays. Pure."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# account
CASH, WALLET, FEES, FUNDING, REALIZED, TRADED, DAY, DAY_START, HALTED, CLEARED = range(10)
AMOUNTS = 10
# counts
FILLS, ORDERS, DENIED, REFUSED, LIQUIDATIONS, HALT_SLOT = range(6)
COUNTS = 6


class Bars(NamedTuple):
    """[slot, symbol] in ticks and lots."""

    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    present: NDArray[np.bool_]


class Symbols(NamedTuple):
    """[symbol] what the exchange lists."""

    unit: Floats  # quote of one lot at one tick
    fee: Floats  # taker
    cap: Ints  # greatest order, ticks times lots
    least: Ints  # least notional, likewise
    min_lots: Ints
    leverage: Floats


class Rules(NamedTuple):
    """Planner, risk, fills and exchange."""

    band: float
    market: bool
    max_slices: int
    max_orders: int
    max_position: float
    max_gross: float
    max_loss: float
    slip: int  # over `slip_den`: how far from mark a limit is
    slip_den: int
    part: float
    levels: int
    half_spread: float
    step: float
    kind: int  # 0 pessimistic, 1 path, 2 open
    after: float
    up: float
    down: float
    deposit: float
    maintenance: float
    liquidation_fee: float


class Sides(NamedTuple):
    """A drawn book."""

    bids: Ints  # [level] ticks
    asks: Ints
    left: Ints  # [2, level] lots, of bids and of asks


class Account(NamedTuple):
    """What changes; see the names of places above."""

    pos: Ints  # [symbol] lots
    cost: Floats  # [symbol] quote
    acc: Floats
    counts: Ints
    flows: Floats  # [symbol] quote that came in, less what went out
    log: Ints  # [fill, 4] slot, symbol, signed lots, ticks

"""Columns of the arrays that the compiled dynamics share. Pure.

B episodes, K accounts an episode, M = B * K accounts in all (account k of episode b is row
b * K + k), n symbols an account, N symbols of the market, T bars. Prices are ticks and sizes lots,
both whole numbers held as float64 (exact up to 2**53); money is quote.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

# bars [T, N, BAR]: one cache line a bar
# RATE: paid in the bar; TOLD: of the last payment before its close, which features read; NaN: none
OPEN, HIGH, LOW, CLOSE, VOLUME, STATE, RATE, TOLD = range(8)
BAR = 8
UNLISTED, ABSENT, PRESENT = 0.0, 1.0, 2.0  # values of STATE; absent: a flat bar, nobody trades

# spec [N, SPEC]: what the exchange lists
TICK, LOT, MIN_LOTS, MAX_LOTS, MIN_NOTIONAL, LEVERAGE, MAKER, TAKER = range(8)
SPEC = 8

# rules [B, RULE]: costs and margins of an episode
(
    MAKER_X, TAKER_X, HALF, STEP, PART, AFTER, LEVELS, PATH, MAINTENANCE, PENALTY, UP, DOWN,
    FUNDING_X, BAND, GROSS, CASH,
) = range(16)  # fmt: skip
RULE = 16
PATH_PESSIMISTIC, PATH_PATH, PATH_OPEN = 0.0, 1.0, 2.0

# orders [M, n, ORDER]: what an account asks of a symbol
SIZE, PRICE, KIND = 0, 1, 2  # signed lots (or weight), limit in ticks, kind
ORDER = 3
TARGET, MARKET, LIMIT, POST_ONLY, HOLD = 0.0, 1.0, 2.0, 3.0, 4.0  # values of KIND; hold: nothing

# money [M, MONEY]: state of an account
WALLET, EQUITY, PEAK, START = range(4)
MONEY = 4

# book [M, n, BOOK]: positions
LOTS, COST = 0, 1
BOOK = 2

# flow [M, FLOW]: what a step did to an account
(
    BEFORE, AFTER_EQUITY, PNL, FEES, SLIPPAGE, FUNDING, LIQUIDATION, TURNOVER, DENIED, FILLS,
    LIQUIDATED, DEPOSIT,
) = range(12)  # fmt: skip
FLOW = 12


# share [M, n, SHARE]: the last step by symbol
GAIN, SPENT = 0, 1  # profit after costs; fees and slippage
SHARE = 2


_LINE = 64  # bytes of a cache line


def aligned(shape: tuple[int, ...]) -> Floats:
    """Zeros that begin where a cache line does, so that a row of 8 lies in one."""
    size = int(np.prod(shape))
    room = np.zeros(size + _LINE // 8)
    first = -room.ctypes.data % _LINE // 8
    return room[first : first + size].reshape(shape)


class Dynamics(NamedTuple):
    """Arrays that the compiled step reads and changes."""

    bars: Floats  # [T, N, BAR]
    spec: Floats  # [N, SPEC]
    columns: Ints  # [K, n] symbols of each account, -1: none
    rules: Floats  # [B, RULE]
    money: Floats  # [M, MONEY]
    book: Floats  # [M, n, BOOK]
    flow: Floats  # [M, FLOW]
    share: Floats  # [M, n, SHARE]

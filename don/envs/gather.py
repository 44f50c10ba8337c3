"""Compiled copies of windows and account states into observations. Pure: they fill their output."""

import numpy as np
from numba import njit

from don.envs.layout import CLOSE, COST, EQUITY, LEVERAGE, LOT, LOTS, PEAK, START, TICK, WALLET

ACCOUNT = 5  # numbers of an account, besides two a symbol


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def windows(values, row_of, bar_of, columns, width, out, at):  # type: ignore[no-untyped-def]
    """Copy the last `width` rows of each agent's symbols.

    Args:
        values: [N, R, F].
        row_of: [T].
        bar_of: [B] bar that each episode stands at.
        columns: [A, n] symbols of each agent; -1: none.
        width: rows.
        out: [B, A, D]; filled from place `at` with n windows [width, F], oldest row first.
        at: place.
    """
    A, n = columns.shape
    F = values.shape[2]
    for b in range(len(bar_of)):
        last = row_of[bar_of[b]]
        for a in range(A):
            place = at
            for j in range(n):
                s = columns[a, j]
                if s >= 0:
                    for w in range(last - width + 1, last + 1):
                        for f in range(F):
                            out[b, a, place + f] = values[s, w, f]
                        place += F
                else:
                    for w in range(width * F):
                        out[b, a, place + w] = 0.0
                    place += width * F


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def accounts(bars, spec, money, book, bar_of, left, columns, owner, mine, out, at):  # type: ignore[no-untyped-def]
    """Write each agent's account: two numbers a symbol, then five of the account.

    Args:
        bars: of the market.
        spec: of the symbols.
        money: [M, MONEY].
        book: [M, n, BOOK].
        bar_of: [B].
        left: [B] part of the episode that is left.
        columns: [K, n] symbols of the accounts.
        owner: [A] account of each agent.
        mine: [A] place of the agent's only symbol in its account, -1: all.
        out: [B, A, D].
        at: place.
    """
    K, n = columns.shape
    for b in range(len(bar_of)):
        t = bar_of[b]
        for a in range(len(owner)):
            k = owner[a]
            m = b * K + k
            equity = money[m, EQUITY]
            # an account without equity has nothing to weigh positions with
            over = 1.0 / equity if equity > 1e-9 else 0.0
            place = at
            gross = 0.0
            used = 0.0
            for j in range(n):
                s = columns[k, j]
                worth = 0.0
                gain = 0.0
                if s >= 0 and book[m, j, LOTS] != 0:
                    worth = book[m, j, LOTS] * bars[t, s, CLOSE] * (spec[s, TICK] * spec[s, LOT])
                    gain = worth - book[m, j, COST]
                    gross += abs(worth)
                    used += abs(worth) / spec[s, LEVERAGE]
                if mine[a] < 0 or mine[a] == j:
                    out[b, a, place] = worth * over
                    out[b, a, place + 1] = gain * over
                    place += 2
            out[b, a, place] = equity / money[m, START] - 1.0 if money[m, START] > 0 else 0.0
            peak = money[m, PEAK]
            out[b, a, place + 1] = 1.0 - equity / peak if peak > 0 else 0.0
            out[b, a, place + 2] = gross * over
            out[b, a, place + 3] = used * over
            out[b, a, place + 4] = left[b]


def account_size(symbols: int) -> int:
    """Numbers of an account's part that tells of so many symbols."""
    return 2 * symbols + ACCOUNT


def book_image(
    bars: np.ndarray, spec: np.ndarray, rules: np.ndarray, bar_of: np.ndarray,
    columns: np.ndarray, levels: int, equity: np.ndarray, out: np.ndarray, at: int,
) -> None:  # fmt: skip
    """Write the book that the bar model draws around the last close: sides, levels, 2.

    Each level has its distance from the close in thousandths, the bid side negative, and the log of
    one plus its notional over the account's equity. It tells what trading costs and how much fits.

    Args:
        bars: of the market.
        spec: of the symbols.
        rules: [B, RULE].
        bar_of: [B].
        columns: [A, n].
        levels: shown.
        equity: [B, A].
        out: [B, A, D].
        at: place.
    """
    from don.envs.layout import HALF, LEVELS, PART, PRESENT, STATE, STEP, VOLUME

    A, n = columns.shape
    safe = np.maximum(columns, 0)
    bar = bars[bar_of][:, safe]  # [B, A, n, BAR]
    rule = rules[:, None, None, :]
    close = np.maximum(bar[..., CLOSE], 1.0)
    there = (bar[..., STATE] == PRESENT) & (columns >= 0)
    total = np.floor(bar[..., VOLUME] * rule[..., PART])
    lots = np.floor(total / rule[..., LEVELS])
    count = np.where(lots > 0, rule[..., LEVELS], np.minimum(total, rule[..., LEVELS])) * there
    half = np.maximum(1.0, np.rint(close * rule[..., HALF]))
    step = np.maximum(1.0, np.rint(close * rule[..., STEP]))
    k = np.arange(levels)
    offset = half[..., None] + k * step[..., None]  # [B, A, n, levels]
    shown = k < count[..., None]
    value = (spec[safe, TICK] * spec[safe, LOT])[None] * np.maximum(lots, 1.0) * close
    size = np.log1p(value / np.maximum(equity, 1e-9)[..., None])[..., None] * shown
    away = offset / close[..., None] * 1000.0 * shown
    image = np.stack([np.stack([-away, size], -1), np.stack([away, size], -1)], axis=3)
    out[:, :, at : at + n * 4 * levels] = image.reshape(len(bar_of), A, -1)


__all__ = ["ACCOUNT", "WALLET", "account_size", "accounts", "book_image", "windows"]

"""Compiled copies of windows and account states into observations. Pure: they fill their output."""

import numpy as np
from numba import njit

from don.envs.layout import CLOSE, COST, EQUITY, LEVERAGE, LOT, LOTS, PEAK, START, TICK, WALLET

ACCOUNT = 5  # numbers of an account, besides two a symbol


@njit(cache=True, _nrt=False, error_model="numpy", forceinline=True)
def copy(values, stop, symbols, width, out, at):  # type: ignore[no-untyped-def]
    """Copy the window that ends before number `stop` of each symbol into an agent's numbers.

    Args:
        values: [N, R * F].
        stop: F times the row after the last one.
        symbols: [n]; -1: none, zeros are written.
        width: numbers of a window, rows times F.
        out: [D], filled from place `at`, oldest row first.
        at: place.
    """
    for j in range(len(symbols)):
        s = symbols[j]
        into = out[at + j * width : at + (j + 1) * width]
        if s < 0:
            for i in range(width):
                into[i] = 0.0
        elif stop >= width:
            told = values[s, stop - width : stop]  # one stretch: copied as fast as memory goes
            for i in range(width):
                into[i] = told[i]
        else:  # of a bar that nothing is decided on
            for i in range(width):
                into[i] = values[s, stop - width + i]


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
    N, R, F = values.shape
    flat = values.reshape((N, R * F))
    for b in range(len(bar_of)):
        stop = (row_of[bar_of[b]] + 1) * F
        for a in range(len(columns)):
            copy(flat, stop, columns[a], width * F, out[b, a], at)


@njit(cache=True, _nrt=False, error_model="numpy", forceinline=True)
def account(bars, spec, money, book, m, symbols, mine, left, out, at):  # type: ignore[no-untyped-def]
    """Write account m as an agent sees it: two numbers a symbol, then five of the account.

    Args:
        bars: [N, BAR] of the bar that it stands at.
        spec: of the symbols.
        money: [M, MONEY].
        book: [M, n, BOOK].
        m: the account.
        symbols: [n] of the account.
        mine: place of the agent's only symbol in its account, -1: all.
        left: part of the episode that is left.
        out: [D].
        at: place.
    """
    equity = money[m, EQUITY]
    # an account without equity has nothing to weigh positions with
    over = 1.0 / equity if equity > 1e-9 else 0.0
    gross = 0.0
    used = 0.0
    for j in range(len(symbols)):
        s = symbols[j]
        worth = 0.0
        gain = 0.0
        if s >= 0 and book[m, j, LOTS] != 0:
            worth = book[m, j, LOTS] * bars[s, CLOSE] * (spec[s, TICK] * spec[s, LOT])
            gain = worth - book[m, j, COST]
            gross += abs(worth)
            used += abs(worth) / spec[s, LEVERAGE]
        if mine < 0 or mine == j:
            out[at] = worth * over
            out[at + 1] = gain * over
            at += 2
    out[at] = equity / money[m, START] - 1.0 if money[m, START] > 0 else 0.0
    peak = money[m, PEAK]
    out[at + 1] = 1.0 - equity / peak if peak > 0 else 0.0
    out[at + 2] = gross * over
    out[at + 3] = used * over
    out[at + 4] = left


@njit(cache=True, nogil=True, _nrt=False, error_model="numpy")
def accounts(bars, spec, money, book, bar_of, left, columns, owner, mine, out, at):  # type: ignore[no-untyped-def]
    """Write each agent's account; see `account`.

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
    K = len(columns)
    for b in range(len(bar_of)):
        for a in range(len(owner)):
            k = owner[a]
            account(bars[bar_of[b]], spec, money, book, b * K + k, columns[k], mine[a], left[b],
                    out[b, a], at)  # fmt: skip


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

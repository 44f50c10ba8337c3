"""What is known of the minutes that a market's bars cover. Reads what lies beside their tape."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from don.backtest.provenance import shares_beside
from don.backtest.result import DataShares
from don.backtest.summary import shares_told
from don.envs.layout import ABSENT, STATE
from don.envs.market import EnvMarket

WEAK = ("missing", "gap", "unknown", "synthetic", "repaired", "down")  # what is worth a word


def completeness(market: EnvMarket) -> dict[str, Any]:
    """Source of a market's bars, and the share of their minutes in each state.

    Of files that were not made from the store nothing is known but the bars that they lack: then
    `source` is `file` and the other key `missing`.

    Raises:
        DataError: if what lies beside the tape cannot be read.
    """
    found: dict[str, DataShares] = {}
    for part in market.segments if market.tape is not None else ():
        start = int(market.close_ns[part.start]) - market.interval_ns
        end = int(market.close_ns[part.stop - 1])
        for one in shares_beside([market.tape], market.symbols, start, end):  # type: ignore[list-item]
            known = found.get(one.symbol)
            found[one.symbol] = one if known is None else replace(
                known, minutes=known.minutes + one.minutes,
                by_state=dict(Counter(known.by_state) + Counter(one.by_state)),
            )  # fmt: skip
    if found:
        return shares_told(list(found.values()))
    rows = np.concatenate([market.bars[s.start : s.stop, :, STATE] for s in market.segments])
    listed = market.listed
    count = sum(int(listed[s.start : s.stop].sum()) for s in market.segments)
    return {"source": "file", "missing": float((rows == ABSENT).sum()) / count if count else None}


def weak(told: Mapping[str, Any]) -> str:
    """What of it is less than complete, for people; "" if nothing is."""
    parts = [f"{told[state]:.3%} {state}" for state in WEAK if told.get(state)]
    return ", ".join(parts)


def told_in_words(source: str, shares: Mapping[str, Any]) -> str:
    """Where bars came from and how complete they were, for people."""
    parts = [f"{share:.3%} {name}" for name, share in shares.items() if share]
    return f"{source or 'unknown'}{': ' if parts else ''}{', '.join(parts)}"

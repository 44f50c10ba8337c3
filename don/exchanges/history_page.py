"""What is asked of an exchange's history and what it answers; ccxt's rows made ours. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from don.clock import NS_PER_MS
from don.errors import DataError
from don.model.trade_ids import trade_id, unnamed_trade_id

NAN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What to fetch: a channel of a symbol."""

    channel: str
    symbol: str  # canonical
    interval_ns: int = 0  # of bars, marks and open interest; 0 for the others


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """From where to go on."""

    cursor_ns: int  # everything before it is known
    after_id: int | None = None  # of the last trade, where the exchange pages by id


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer."""

    table: pa.Table  # in the channel's schema; may be empty
    place: Place
    done: bool  # the end was reached, or there is nothing newer yet
    notes: tuple[str, ...] = field(default=())  # what may be missing
    # [from, to) of which the exchange surely told all: nothing if they are equal. An answer proves
    # where it came from only if it overlaps what was asked; many exchanges tell their newest rows
    # whatever they are asked.
    proven_from: int = 0
    proven_to: int = 0


def ms_of(ns: int) -> int:
    """Whole ms of a time in ns."""
    return ns // NS_PER_MS


def number(value: Any) -> float:
    """A float; NaN for what the exchange leaves out (refused later where it must be known)."""
    return NAN if value is None else float(value)


def numbered(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows by time, each with its `number`: the one that the stream gives it too."""
    counts: Counter[Any] = Counter()
    made = []
    for row in rows:
        if row["id"]:
            named = trade_id(row["id"])
        else:
            ts = int(row["timestamp"]) * NS_PER_MS
            same = (number(row["price"]), number(row["amount"]), row["side"] == "buy")
            counts[ts, same] += 1
            named = unnamed_trade_id(ts, *same, counts[ts, same])
        made.append({**row, "number": named})
    return sorted(made, key=lambda row: (row["timestamp"], row["number"]))


def buys(row: Mapping[str, Any], exchange: str) -> bool:
    """Whether the aggressor bought.

    Raises:
        DataError: if the exchange does not say.
    """
    if row["side"] not in ("buy", "sell"):
        raise DataError(f"{exchange}: trade {row['id']} does not say who was the aggressor")
    return bool(row["side"] == "buy")

"""The columns of a bar that features read, and their places in a row. Pure.

A bar is a float64 row over `COLUMNS`; a history is one array a column. Prices and volume are
finite and positive (volume may be zero): a missing bar is fed flat at the last close. The micro-
structure columns of `don.market.bars` may be NaN. `time_s` is the bar's close, seconds since the
epoch UTC. Columns are only ever added at the end: stored rows of older versions have fewer.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from don.errors import DataError
from don.market.bars import MICRO

PRICE = ("open", "high", "low", "close", "volume")
TIME = "time_s"
FIRST = (*PRICE, *MICRO[:12])  # the columns of the first version, whose hashes leave them out
COLUMNS = (*FIRST, TIME, *MICRO[12:])
PLACE = {name: i for i, name in enumerate(COLUMNS)}

MICRO_AT = [PLACE[name] for name in MICRO]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def rows(columns: Mapping[str, Floats]) -> Floats:
    """Columns [time] as bars' rows [time, column]; a column that is not there is NaN.

    Raises:
        ValueError: if there is no column, or they differ in length.
    """
    return np.ascontiguousarray(stacked(columns, COLUMNS).T)


def stacked(columns: Mapping[str, Floats], names: tuple[str, ...]) -> Floats:
    """Columns [time] one above the other [name, time]; a column that is not there is NaN.

    Raises:
        ValueError: if there is no column, or they differ in length.
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(
            f"columns must be one or more, equally long; were {', '.join(columns) or 'none'} "
            f"of lengths {sorted(lengths)}"
        )
    out = np.empty((len(names), lengths.pop()))
    for i, name in enumerate(names):
        out[i] = columns.get(name, np.nan)
    return out


def widened(stored: Floats) -> Floats:
    """Rows [..., column] of an older version with the columns that it did not have, NaN."""
    missing = len(COLUMNS) - stored.shape[-1]
    if missing <= 0:
        return stored
    return np.pad(stored, [(0, 0)] * (stored.ndim - 1) + [(0, missing)], constant_values=np.nan)


def close_times(columns: Mapping[str, Floats], asker: str) -> Floats:
    """The column of close times, which some features cannot do without.

    Raises:
        DataError: if it is not there, naming who asked.
    """
    if TIME not in columns:
        raise DataError(f"feature {asker!r} needs the bars' close times: give column {TIME!r}")
    return columns[TIME]

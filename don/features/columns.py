"""The columns of a bar that features read, and their places in a row. Pure.

A bar is a float64 row over `COLUMNS`; a history is one array a column. Prices and volume are
finite and positive (volume may be zero): a missing bar is fed flat at the last close. The micro-
structure columns of `don.market.bars` may be NaN.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from don.market.bars import MICRO

PRICE = ("open", "high", "low", "close", "volume")
COLUMNS = (*PRICE, *MICRO)
PLACE = {name: i for i, name in enumerate(COLUMNS)}

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def rows(columns: Mapping[str, Floats], names: tuple[str, ...] = COLUMNS) -> Floats:
    """Columns [time] as rows [time, name]; a column that is not there is NaN.

    Raises:
        ValueError: if there is no column, or they differ in length.
    """
    lengths = {len(values) for values in columns.values()}
    if len(lengths) != 1:
        raise ValueError(
            f"columns must be one or more, equally long; were {', '.join(columns) or 'none'} "
            f"of lengths {sorted(lengths)}"
        )
    out = np.full((lengths.pop(), len(names)), np.nan)
    for i, name in enumerate(names):
        if name in columns:
            out[:, i] = columns[name]
    return out

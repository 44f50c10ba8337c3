"""What a feature cache must keep so that another goes on exactly from there. Pure.

The streams of the features hold handles that cannot be stored, so the bars they were fed are kept,
bit for bit, and fed again; everything else in the cache is plain data and kept as it is.
"""

import importlib
import io
import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np

from don.errors import DataError
from don.features.columns import Floats

# The only names that stored state may refer to: plain arrays and our own values.
_ALLOWED = {
    ("collections", "deque"),
    ("don.features.barsets", "BarSet"),
    ("don.features.barsets", "BarSets"),
    ("don.market.bars", "BarSums"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("pyarrow.lib", "StringArray"),
    ("pyarrow.lib", "_restore_array"),
    ("pyarrow.lib", "type_for_alias"),
    ("pyarrow.lib", "py_buffer"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A cache's state after a snapshot; `fed` holds only what came since the checkpoint before."""

    version: int  # of the last snapshot
    fed: Floats  # [set, symbol, column] rows that the features were fed
    known: np.ndarray  # [set, symbol] bool: symbols that had a history then
    state: bytes


def freeze(values: dict[str, Any]) -> bytes:
    """Plain state as bytes."""
    return pickle.dumps(values, protocol=5)


def thaw(data: bytes) -> dict[str, Any]:
    """State from bytes.

    Raises:
        DataError: if the bytes are damaged or refer to anything that state never holds.
    """
    try:
        found = _Reader(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"stored feature state cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"stored feature state must be a dictionary, was {type(found).__name__}")
    return found


class _Reader(pickle.Unpickler):
    """Refuses every name that is not expected, so that stored bytes cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not part of feature state")
        return getattr(importlib.import_module(module), name)

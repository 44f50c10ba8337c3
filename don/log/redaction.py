"""Plain values for a log line, with secrets masked by their type. Pure."""

import dataclasses
import math
from collections.abc import Mapping, Sequence, Set
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel, SecretBytes, SecretStr

from don.security.secrets import MASK, Secret

_MAX_DEPTH = 8
_MAX_ITEMS = 1_000
_MAX_TEXT = 32_768  # characters


def plain(value: Any, depth: int = 0) -> Any:
    """A JSON value of anything: secrets as `***`, however deep; too much is cut and says so."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (Secret, SecretStr, SecretBytes)):
        return MASK
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if isinstance(value, str):
        return (
            value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}… ({len(value)} characters)"
        )
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, (Decimal, date, timedelta, PurePath)):
        return str(value)
    return _compound(value, depth)


def _compound(value: Any, depth: int) -> Any:
    if isinstance(value, np.generic):
        return plain(value.item(), depth)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if depth >= _MAX_DEPTH:
        return f"… ({type(value).__name__})"
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        pairs = list(value.items())[:_MAX_ITEMS]
        found: dict[str, Any] = {_name(key): plain(item, depth + 1) for key, item in pairs}
        if len(value) > _MAX_ITEMS:
            found["…"] = f"{len(value)} items"
        return found
    if isinstance(value, (Sequence, Set)) and not isinstance(value, (bytes, bytearray)):
        items = [plain(item, depth + 1) for item in list(value)[:_MAX_ITEMS]]
        return items if len(value) <= _MAX_ITEMS else [*items, f"… ({len(value)} items)"]
    return plain(_shown(value), depth)


def _name(key: object) -> str:
    simple = plain(key)
    return simple if isinstance(simple, str) else _shown(simple)


def _shown(value: object) -> str:
    """The representation of an object of any class; a secret inside it masks itself there."""
    try:
        return repr(value)
    except Exception as error:  # a broken __repr__ must not break the log
        return f"<{type(value).__name__} without representation: {type(error).__name__}>"

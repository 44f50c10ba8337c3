"""Rows out of PostgreSQL by columns: one binary array a column, never a Python object a row. Pure.

`COPY TO` hands its rows one at a time to the client library; aggregated into arrays the same rows
arrive as one value a column, four times as fast, from a prepared statement. Lists and texts come as
one long string of bytes with the length of each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from don.clock import NS_PER_S
from don.model.rules import ORIGINS
from don.storage.market.tables import INTERVAL, ORIGIN, SERIES, HotColumn, Layout

_DTYPES = {"int8": ">i8", "float8": ">f8", "int4": ">i4", "int2": ">i2", "bool": "u1"}
_ARRAY_HEAD = 20  # bytes: dimensions, null flag, element type, length, lower bound
_LIST_HEAD = 20  # of a stored list, 12 if it is empty
_BYTEWISE = ' COLLATE "C"'
_ELEMENT = 12  # bytes of a list's element: length and float8


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What one statement fetches; the same selection is the same prepared statement.

    Parameters: `ids` (int4[]), `start`, `end` (ns), `most` rows a series, `interval` (s) if asked.
    Rows come series by series in the order of `ids`, by time within one.
    """

    layout: Layout
    columns: tuple[str, ...]  # of the channel; without exchange and symbol
    interval: bool  # only bars of one interval
    newest: bool  # the newest rows, newest first

    @property
    def hot(self) -> tuple[HotColumn, ...]:
        """The columns fetched: `series` and what was asked for."""
        return tuple(
            column
            for column in self.layout.columns
            if column.name == SERIES or column.source in self.columns
        )

    @property
    def sql(self) -> str:
        """The statement."""
        inner = ", ".join(f'"{column.name}"' for column in self.hot)
        outer = ", ".join(_aggregate(column) for column in self.hot)
        interval = f"AND {INTERVAL} = %(interval)s " if self.interval else ""
        return (
            f"SELECT {outer} FROM unnest(%(ids)s::int4[]) AS s(id) CROSS JOIN LATERAL ("
            f"SELECT {inner} FROM {self.layout.table} WHERE {SERIES} = s.id {interval}"
            "AND ts_event >= %(start)s AND ts_event < %(end)s "
            f"ORDER BY {self._order} LIMIT %(most)s) AS r"
        )

    @property
    def _order(self) -> str:
        """Forward, the time: a reader sees to it that no time is cut in two. Backward, the whole
        key, so that among rows of one time the same ones are always the newest.
        """
        if not self.newest:
            return "ts_event"
        told = (SERIES, INTERVAL) if self.interval else (SERIES,)
        kinds = {column.name: column.kind for column in self.layout.columns}
        rest = [name for name in self.layout.key if name not in (*told, "ts_event")]
        return ", ".join(
            f'"{name}"{_BYTEWISE if kinds[name] == "text" else ""} DESC'
            for name in ("ts_event", *rest)
        )

    def decode(self, values: Sequence[bytes | None]) -> dict[str, Any]:
        """Columns of the channel, and `series`: numpy arrays; texts and lists as Arrow arrays.

        Args:
            values: the one row that the statement answers with, in binary.
        """
        parts = iter(values)
        made: dict[str, Any] = {}
        for column in self.hot:
            if column.kind in _DTYPES:
                made[column.source] = _restored(column, _array(next(parts), column.kind))
            else:
                lengths = _array(next(parts), "int4").astype(np.int64)
                decoded = _texts if column.kind == "text" else _lists
                made[column.source] = decoded(lengths, next(parts) or b"")
        made[SERIES] = made.pop("symbol")
        return made


def _aggregate(column: HotColumn) -> str:
    name = f'r."{column.name}"'
    if column.kind == "text":
        return f"array_agg(octet_length({name})), string_agg(convert_to({name}, 'UTF8'), '')"
    if column.kind == "float8[]":
        return f"array_agg(cardinality({name})), string_agg(array_send({name}), '')"
    return f"array_agg({name})"


def _array(data: bytes | None, kind: str) -> npt.NDArray[Any]:
    """A one-dimensional array without nulls as PostgreSQL sends it; none at all for no row."""
    dtype = np.dtype([("length", ">i4"), ("value", _DTYPES[kind])])
    if data is None:
        return np.empty(0, dtype["value"].newbyteorder("="))
    raw = np.frombuffer(data, dtype, offset=_ARRAY_HEAD)["value"]
    return raw.astype(raw.dtype.newbyteorder("="))


def _restored(column: HotColumn, values: npt.NDArray[Any]) -> Any:
    if column.name == INTERVAL:
        return values.astype(np.int64) * NS_PER_S
    if column.name == ORIGIN:
        return pa.array(ORIGINS).take(pa.array(values))
    if column.kind == "bool":
        return values.astype(bool)
    return values if column.name == SERIES or column.kind != "int4" else values.astype(np.int64)


def _texts(lengths: npt.NDArray[np.int64], data: bytes) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(data))


def _lists(lengths: npt.NDArray[np.int64], data: bytes) -> pa.Array:
    """Lists of float8, each as the database sends an array: a head, then length and value of each
    element.
    """
    sizes = np.where(lengths > 0, _LIST_HEAD + _ELEMENT * lengths, 12)
    heads = np.cumsum(sizes) - sizes
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    first = np.repeat(heads + _LIST_HEAD + 4 - offsets[:-1] * np.int64(_ELEMENT), lengths)
    at = first + np.arange(offsets[-1]) * np.int64(_ELEMENT)
    raw = np.frombuffer(data, np.uint8)
    values = raw[at[:, None] + np.arange(8)].reshape(-1).view(">f8").astype("<f8")
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))

"""Rows of a channel in their natural order, each once, and a hash of what they say. Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from don.model.channels import Channel

Ints = NDArray[np.int64]


def ordered(table: pa.Table, channel: Channel, *, by_time: bool = False) -> pa.Table:
    """The rows in the channel's order, of equal natural keys the first only.

    Args:
        table: at least the channel's key columns; rows to prefer come first.
        channel: whose key and order.
        by_time: order by (exchange, symbol, time) first, whatever else the key has: what readers
            of several intervals at once expect.
    """
    if table.num_rows < 2:
        return table
    names = list(channel.sort)
    if by_time and names.index(channel.time) > 2:
        names.remove(channel.time)
        names.insert(2, channel.time)
    keys = [ranks(table, name) for name in names]
    ascending, distinct = examine(keys)
    if not ascending:
        order = np.lexsort(keys[::-1])
        table, keys = table.take(pa.array(order)), [key[order] for key in keys]
        _, distinct = examine(keys)
    if not distinct.all():
        table = table.filter(pa.array(np.append(True, distinct)))
    return table


def ranks(table: pa.Table, name: str) -> NDArray[Any]:
    """A column as numbers in the same order; text becomes its place among the sorted texts."""
    column = table[name]
    if not (pa.types.is_string(column.type) or pa.types.is_boolean(column.type)):
        return column.to_numpy()
    if pa.types.is_boolean(column.type):
        return column.to_numpy().astype(np.int8)
    code = _encoded(column)
    texts = code.dictionary.to_pylist()
    if len(texts) < 2:
        return np.zeros(len(column), np.int8)
    place = np.empty(len(texts), np.int64)
    place[sorted(range(len(texts)), key=texts.__getitem__)] = np.arange(len(texts))
    return place[code.indices.to_numpy()]


def examine(keys: Sequence[NDArray[Any]]) -> tuple[bool, NDArray[np.bool_]]:
    """Whether rows are in the order of the keys (major first), and which differ from the one
    before.
    """
    tied = np.ones(max(len(keys[0]) - 1, 0), bool)
    ascending = True
    for key in keys:
        if not tied.any():
            break
        less, more = key[1:] < key[:-1], key[1:] > key[:-1]
        ascending = ascending and not (less & tied).any()
        tied &= ~(less | more)
    return ascending, ~tied


def content_hash(table: pa.Table) -> str:
    """SHA-256, in hex, of every value in order; the same for any chunking and any file format.

    Args:
        table: columns of bool, int64, float64, text and lists of float64, no nulls. Floats count
            by their bits, so NaN equals NaN.
    """
    digest = hashlib.sha256(f"{table.num_rows}".encode())
    for name in sorted(table.column_names):
        column = table[name]
        digest.update(f"|{name}:{column.type}|".encode())
        for part in _parts(column):
            digest.update(part)
    return digest.hexdigest()


def _parts(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_string(kind):
        code = _encoded(column)
        texts = code.dictionary.to_pylist()
        return ["\0".join(texts).encode(), code.indices.to_numpy().astype("<i4").data]
    if pa.types.is_list(kind):
        flat = column.combine_chunks()
        lengths = pc.list_value_length(column).to_numpy().astype("<i4")
        return [lengths.data, np.ascontiguousarray(pc.list_flatten(flat).to_numpy()).data]
    values = column.to_numpy()
    return [np.ascontiguousarray(values.astype(np.uint8) if values.dtype == bool else values).data]


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    code = pc.dictionary_encode(column).unify_dictionaries().combine_chunks()
    if isinstance(code, pa.ChunkedArray):  # of no chunk, or of one that could not be joined
        code = code.chunk(0) if code.num_chunks else pa.array([], pa.string()).dictionary_encode()
    return code

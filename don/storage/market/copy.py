"""Arrow to PostgreSQL's binary COPY format, by columns and never by rows. Pure.

The fixed part of a row is one numpy record, filled a column at a time; texts and lists, which vary,
are scattered behind it. Rows leave in chunks, so that memory stays bounded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from don.clock import NS_PER_S
from don.model.rules import ORIGINS
from don.storage.market.tables import SERIES, Layout

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_CHUNK_BYTES = 4 * 2**20  # of output; varying parts need several times that while they are made
_FLOAT8_OID = 701
_DTYPES = {"int8": ">i8", "float8": ">f8", "int4": ">i4", "int2": ">i2", "bool": "u1"}
_LIST_HEAD = 20  # dimensions, null flag, element type, length, lower bound; 12 if it is empty
_ELEMENT = np.dtype([("length", ">i4"), ("value", ">f8")])

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Names:
    """The distinct (exchange, symbol) pairs of a table, and which of them each row has."""

    pairs: tuple[tuple[str, str], ...]
    codes: Ints  # [row], into pairs


def names_of(table: pa.Table) -> Names:
    """Each row's (exchange, symbol)."""
    exchanges = table["exchange"].combine_chunks().dictionary_encode()
    symbols = table["symbol"].combine_chunks().dictionary_encode()
    left, right = exchanges.dictionary.to_pylist(), symbols.dictionary.to_pylist()
    codes = exchanges.indices.to_numpy().astype(np.int64) * len(right) + symbols.indices.to_numpy()
    used = np.flatnonzero(np.bincount(codes, minlength=len(left) * len(right)))
    place = np.zeros(len(left) * len(right) or 1, np.int64)
    place[used] = np.arange(len(used))
    pairs = tuple((left[code // len(right)], right[code % len(right)]) for code in used.tolist())
    return Names(pairs, place[codes])


def hot_columns(layout: Layout, table: pa.Table, series: Ints) -> dict[str, Any]:
    """The columns of the database's table: numpy arrays; texts and lists as Arrow arrays.

    Args:
        layout: of the channel.
        table: conforming.
        series: [row] series numbers.
    """
    made: dict[str, Any] = {SERIES: series}
    for column in layout.columns:
        if column.name == SERIES:
            continue
        values = table[column.source]
        match column.kind:
            case "int2":
                made[column.name] = pc.index_in(values, pa.array(ORIGINS)).to_numpy()
            case "int4":
                numbers = values.to_numpy()
                scale = NS_PER_S if column.source == "interval_ns" else 1
                made[column.name] = numbers // scale
            case "text" | "float8[]":
                made[column.name] = values.combine_chunks()
            case _:
                made[column.name] = values.to_numpy()
    return made


def encode(layout: Layout, columns: Mapping[str, Any], rows: Ints | slice) -> Iterator[bytes]:
    """Binary COPY data of chosen rows, columns in the layout's order: header, chunks, trailer.

    Args:
        layout: of the channel.
        columns: from `hot_columns`.
        rows: which, in which order.
    """
    fixed = [column for column in layout.columns if column.kind in _DTYPES]
    varying = [column for column in layout.columns if column.kind not in _DTYPES]
    record = [("fields", ">i2")]
    for column in fixed:
        record += [(f"{column.name} length", ">i4"), (column.name, _DTYPES[column.kind])]
    dtype = np.dtype(record)
    template = np.zeros(1, dtype)
    template["fields"] = len(layout.columns)
    for column in fixed:
        template[f"{column.name} length"] = np.dtype(_DTYPES[column.kind]).itemsize
    chosen = {name: _take(values, rows) for name, values in columns.items()}
    total = len(chosen[SERIES])
    step = max(1, _CHUNK_BYTES // dtype.itemsize // (16 if varying else 1))
    yield HEADER
    for start in range(0, total, step):
        part = slice(start, min(start + step, total))
        block = np.repeat(template, part.stop - part.start)
        for column in fixed:
            block[column.name] = chosen[column.name][part]
        if varying:
            yield _with_varying(block, [chosen[c.name][part.start : part.stop] for c in varying])
        else:
            yield block.tobytes()
    yield TRAILER


# ---- rows of varying length ----------------------------------------------------------------------


def _take(values: Any, rows: Ints | slice) -> Any:
    if isinstance(rows, slice):
        return values[rows]
    return values.take(pa.array(rows)) if isinstance(values, pa.Array) else values[rows]


def _with_varying(block: npt.NDArray[Any], values: list[pa.Array]) -> bytes:
    fields = [_text(v) if pa.types.is_string(v.type) else _list(v) for v in values]
    width, rows = block.dtype.itemsize, len(block)
    lengths: Ints = np.full(rows, width, np.int64)
    for field in fields:
        lengths = lengths + field.lengths
    out = np.empty(int(lengths.sum()), np.uint8)
    at: Ints = np.cumsum(lengths) - lengths
    out[_spread(at, np.full(rows, width))] = block.view(np.uint8)
    at = at + width
    for field in fields:
        out[_spread(at, np.full(rows, 4))] = (field.lengths - 4).astype(">i4").view(np.uint8)
        inside = at + 4
        for lengths_of, data in field.parts:
            out[_spread(inside, lengths_of)] = data
            inside = inside + lengths_of
        at = at + field.lengths
    return out.tobytes()


@dataclass(frozen=True, slots=True)
class _Field:
    """A column of varying length: what each row's field takes, and its parts in order."""

    lengths: Ints  # [row] bytes, with the four of the length itself
    parts: tuple[tuple[Ints, Bytes], ...]  # each: [row] bytes, and all rows' bytes one by one


def _text(values: pa.Array) -> _Field:
    offsets = np.frombuffer(values.buffers()[1], np.int32)[values.offset :][: len(values) + 1]
    lengths = np.diff(offsets).astype(np.int64)
    data = np.frombuffer(values.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    return _Field(lengths + 4, ((lengths, data),))


def _list(values: pa.Array) -> _Field:
    counts = pc.list_value_length(values).to_numpy(zero_copy_only=False).astype(np.int64)
    head = np.zeros((len(counts), 5), ">i4")
    head[:, 0] = counts > 0
    head[:, 2] = _FLOAT8_OID
    head[:, 3] = counts
    head[:, 4] = 1
    head_lengths = np.where(counts > 0, _LIST_HEAD, 12)
    kept = np.arange(_LIST_HEAD) < head_lengths[:, None]
    elements = np.empty(int(counts.sum()), _ELEMENT)
    elements["length"] = 8
    elements["value"] = pc.list_flatten(values).to_numpy(zero_copy_only=False)
    sizes = counts * _ELEMENT.itemsize
    return _Field(
        4 + head_lengths + sizes,
        ((head_lengths, head.view(np.uint8)[kept]), (sizes, elements.view(np.uint8))),
    )


def _spread(starts: Ints, lengths: Ints) -> Ints:
    """Positions of runs: starts[0], starts[0] + 1, ... for lengths[0], then those of the next."""
    total = int(lengths.sum())
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(total)

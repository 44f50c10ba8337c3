"""From a file's rows to a channel's: names, times, numbers, sides. Pure.

Every message names the file, the row (counted from 0 over the whole file) and the file's own
column.
"""

import difflib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from don.clock import NS_PER_S, interval_ns, iso
from don.errors import DataError
from don.model.channels import channel, complete, problems, shape
from don.model.rules import EARLIEST_NS, LATEST_NS
from don.storage.market.bar_steps import BarSteps
from don.storage.market.mapping import ImportMapping, Label, canonical

Times: TypeAlias = npt.NDArray[np.int64]
_SCALES = {"s": NS_PER_S, "ms": 10**6, "us": 10**3, "ns": 1}
_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Converter:
    """Turns the batches of one file into conforming tables; remembers where each series was.

    Args:
        mapping: how to read it.
        where: the file, for messages.
        sorted_: refuse a series whose time goes back.

    Raises:
        DataError: if the mapping cannot be complete.
    """

    def __init__(self, mapping: ImportMapping, where: str, *, sorted_: bool = True) -> None:
        self._mapping = mapping
        self._where = where
        self._sorted = sorted_
        self._row = 0
        self._unit = mapping.time_unit
        self._latest: dict[tuple[str, str], int] = {}
        self._names: dict[tuple[str, str], str] = {}
        if not (mapping.exchange or mapping.exchange_column):
            raise DataError(f"{where}: the exchange is not known: give --exchange")
        self._shift_ns = 0
        self._interval_ns = 0
        self._steps: BarSteps | None = None
        if mapping.channel in ("bars", "marks") and mapping.interval:
            self._interval_ns = interval_ns(mapping.interval)
            self._shift_ns = self._interval_ns if mapping.label is Label.OPEN else 0
            if mapping.channel == "bars" and "interval_ns" not in mapping.columns and sorted_:
                self._steps = BarSteps(self._interval_ns)
        elif mapping.channel == "bars" and "interval_ns" not in mapping.columns:
            raise DataError(f"{where}: the interval of the bars is not known: give --interval")

    @property
    def rows(self) -> int:
        """Rows converted so far."""
        return self._row

    def convert(self, batch: pa.Table) -> pa.Table:
        """The batch in the channel's schema, every row valid.

        Raises:
            DataError: naming file, row and column.
        """
        mapping = self._mapping
        lacking = [name for name in mapping.needed() if name not in batch.column_names]
        if lacking:
            near = difflib.get_close_matches(lacking[0], batch.column_names, n=2)
            raise DataError(
                f"{self._where}: has no column {lacking[0]!r}; it has "
                f"{', '.join(batch.column_names)}"
                + (f"; perhaps --column NAME={near[0]}" if near else "")
            )
        exchange, symbol = self._names_of(batch)
        made: dict[str, Any] = {"exchange": exchange, "symbol": symbol}
        times = self._times(batch[mapping.time_column])
        made["ts_event"] = pa.array(times + self._shift_ns)
        for ours, theirs in mapping.sources().items():
            made[ours] = self._values(ours, theirs, batch[theirs])
        for ours, theirs in mapping.columns.items():
            if not theirs:
                made[ours] = pa.array(np.full(batch.num_rows, np.nan))
        if mapping.channel == "bars" and "interval_ns" not in made:
            made["interval_ns"] = pa.array(np.full(batch.num_rows, self._interval_ns))
        constants = {} if "origin" in made else {"origin": mapping.origin}
        table = complete(mapping.channel, pa.table(made), **constants)
        table = shape(mapping.channel, table, where=self._where)
        for problem in problems(mapping.channel, table):
            theirs = mapping.sources().get(problem.column, "")
            if problem.column == "ts_event":
                theirs = mapping.time_column
            also = f" (here {problem.column})" if theirs != problem.column else ""
            raise self._error(
                problem.row, theirs or problem.column, f"{problem.says}, was {problem.value}{also}"
            )
        if self._sorted:
            self._check_order(table)
        self._row += batch.num_rows
        return table

    def finish(self) -> None:
        """Judge the whole, once its last row was converted.

        Raises:
            DataError: if its bars cannot have the interval that they are said to have.
        """
        if self._steps is not None and (wrong := self._steps.result()):
            raise DataError(f"{self._where}: {wrong}")

    # ---- inside ---------------------------------------------------------------------------------

    def _error(self, row: int, column: str, says: str) -> DataError:
        return DataError(f"{self._where}: row {self._row + row}, column {column}: {says}")

    def _names_of(self, batch: pa.Table) -> tuple[pa.Array, pa.Array]:
        """(exchange, symbol) of each row, as plain text arrays."""
        mapping, rows = self._mapping, batch.num_rows
        if mapping.exchange_column:
            theirs = self._texts(mapping.exchange_column, batch[mapping.exchange_column])
            exchanges = self._renamed(theirs, mapping.exchange_column, self._exchange)
        else:
            exchanges = pa.repeat(pa.scalar(mapping.exchange), rows)
        if mapping.symbol:
            return exchanges, pa.repeat(pa.scalar(mapping.symbol), rows)
        theirs = self._texts(mapping.symbol_column, batch[mapping.symbol_column])
        if not mapping.quotes:
            quote = mapping.quotes.get(mapping.exchange, mapping.quote)
            return exchanges, self._renamed(
                theirs, mapping.symbol_column, lambda name: self._symbol(name, quote)
            )
        joined = pc.binary_join_element_wise(exchanges, theirs, "\n")
        return exchanges, self._renamed(joined, mapping.symbol_column, self._symbol_at)

    def _renamed(self, theirs: pa.Array, column: str, rename: Any) -> pa.Array:
        """Each text through `rename`, which is asked once a distinct text; None: not known."""
        encoded = theirs.dictionary_encode()
        ours = [rename(name) for name in encoded.dictionary.to_pylist()]
        for code, name in enumerate(ours):
            if name is None:
                row = pc.index(encoded.indices, pa.scalar(code, encoded.indices.type)).as_py()
                shown = encoded.dictionary[code].as_py().split("\n")[-1]
                raise self._error(
                    row,
                    column,
                    f"unknown symbol {shown!r}: give its name with --symbol-map {shown}=BASE-QUOTE"
                    "-PERP, or another --symbol-rule"
                    if column == self._mapping.symbol_column
                    else f"unknown exchange {shown!r}; known are "
                    f"{', '.join(self._mapping.exchanges)}",
                )
        return pa.array(ours, pa.string()).take(encoded.indices)

    def _exchange(self, name: str) -> str | None:
        return self._mapping.exchanges.get(name) if self._mapping.exchanges else name

    def _symbol_at(self, joined: str) -> str | None:
        exchange, name = joined.split("\n")
        return self._symbol(name, self._mapping.quotes.get(exchange, self._mapping.quote))

    def _symbol(self, name: str, quote: str) -> str | None:
        if name in self._mapping.symbols:
            return self._mapping.symbols[name]
        return canonical(name, self._mapping.symbol_rule, quote)

    def _texts(self, column: str, values: pa.ChunkedArray) -> pa.Array:
        self._check_null(column, values)
        return values.cast(pa.string()).combine_chunks()

    def _check_null(self, column: str, values: pa.ChunkedArray) -> None:
        if values.null_count:
            row = pc.index(pc.is_null(values), True).as_py()
            raise self._error(row, column, "is empty")

    def _whole(self, column: str, values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
        """Times in another type; the first one that does not fit is named."""
        try:
            return values.cast(kind)
        except pa.ArrowInvalid:
            for row, value in enumerate(values):
                try:
                    value.cast(kind)
                except pa.ArrowInvalid:
                    raise self._error(
                        row, column, f"is no time from 1677 to 2262: {value}"
                    ) from None
            raise

    def _times(self, values: pa.ChunkedArray) -> Times:
        column = self._mapping.time_column
        self._check_null(column, values)
        if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
            trimmed = pc.utf8_trim_whitespace(values)
            if not pc.all(pc.match_substring_regex(trimmed, r"^\d+(\.0+)?$")).as_py():
                return self._iso_times(column, trimmed)
            digits = pc.replace_substring_regex(trimmed, r"\.0+$", "")
            values = self._whole(column, digits, pa.int64())
        if pa.types.is_timestamp(values.type):
            ns = self._whole(column, values, pa.timestamp("ns", values.type.tz))
            return np.asarray(ns.cast(pa.int64()).to_numpy())
        if pa.types.is_date(values.type):
            return np.asarray(values.cast(pa.timestamp("ns")).cast(pa.int64()).to_numpy())
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise self._error(0, column, f"must be a time, was {values.type}")
        numbers = values.to_numpy()
        if len(numbers) == 0:
            return np.zeros(0, np.int64)
        if self._unit == "auto":
            self._unit = _plausible(float(numbers[0])) or ""
            if not self._unit:
                raise self._error(
                    0, column, f"{numbers[0]} is no time between 2009 and 2100 in any unit"
                )
        scale = _SCALES[self._unit]
        bad = (numbers < EARLIEST_NS / scale) | (numbers >= LATEST_NS / scale)
        if bad.any():
            row = int(np.argmax(bad))
            other = _plausible(float(numbers[row]))
            raise self._error(
                row,
                column,
                f"{numbers[row]} is no time between 2009 and 2100 in {self._unit}"
                + (f", but would be one in {other}: give --time-unit {other}" if other else ""),
            )
        if numbers.dtype.kind == "f":
            return np.round(numbers * scale).astype(np.int64)
        return numbers.astype(np.int64) * scale

    def _iso_times(
        self, column: str, values: pa.ChunkedArray
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        for target in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
            try:
                return np.asarray(values.cast(target).cast(pa.int64()).to_numpy())
            except pa.ArrowInvalid:
                continue
        for row, text in enumerate(values.to_pylist()):
            try:
                pa.scalar(text).cast(pa.timestamp("ns", "UTC"))
            except pa.ArrowInvalid:
                try:
                    pa.scalar(text).cast(pa.timestamp("ns"))
                except pa.ArrowInvalid:
                    raise self._error(row, column, f"{text!r} is no ISO-8601 time") from None
        raise self._error(0, column, "has times with and without a zone: write them alike")

    def _values(self, ours: str, theirs: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        kind = channel(self._mapping.channel).schema.field(ours).type
        if pa.types.is_boolean(kind):
            return self._sides(theirs, values)
        optional = ours in channel(self._mapping.channel).defaults
        if not optional:
            self._check_null(theirs, values)
        text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
        if text and not pa.types.is_string(kind):
            fine = pc.match_substring_regex(values, _NUMBER)
            empty = pc.equal(pc.utf8_trim_whitespace(values), "")
            if optional:
                fine = pc.or_(fine, empty)
            if not pc.all(fine, min_count=0).as_py():
                row = pc.index(fine, False).as_py()
                raise self._error(row, theirs, f"{values[row].as_py()!r} is no number")
            values = pc.utf8_trim_whitespace(
                pc.if_else(empty, "nan", values) if optional else values
            )
        try:
            values = values.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise self._error(0, theirs, f"must be {kind}, was {values.type}: {error}") from None
        if values.null_count and pa.types.is_floating(kind):
            return values.fill_null(float("nan"))
        return values

    def _sides(self, column: str, values: pa.ChunkedArray) -> pa.Array:
        self._check_null(column, values)
        encoded = pc.utf8_lower(values.cast(pa.string())).combine_chunks().dictionary_encode()
        buys = []
        for code, text in enumerate(encoded.dictionary.to_pylist()):
            if text not in self._mapping.buys and text not in self._mapping.sells:
                row = pc.index(encoded.indices, pa.scalar(code, encoded.indices.type)).as_py()
                allowed = ", ".join((*self._mapping.buys, *self._mapping.sells))
                raise self._error(row, column, f"{text!r} is no side; sides are {allowed}")
            buys.append(text in self._mapping.buys)
        return pa.array(buys, pa.bool_()).take(encoded.indices)

    def _check_order(self, table: pa.Table) -> None:
        times = table["ts_event"].to_numpy()
        joined = pc.binary_join_element_wise(table["exchange"], table["symbol"], "\n")
        encoded = joined.combine_chunks().dictionary_encode()
        codes = encoded.indices.to_numpy()
        for code, name in enumerate(encoded.dictionary.to_pylist()):
            rows = np.flatnonzero(codes == code)
            exchange, symbol = name.split("\n")
            key = (exchange, symbol)
            mine = np.concatenate([[self._latest.get(key, 0)], times[rows]])
            back = np.flatnonzero(np.diff(mine) < 0)
            if len(back):
                at = int(back[0])
                raise self._error(
                    int(rows[at]),
                    self._mapping.time_column,
                    f"time goes back for {symbol} at {exchange}, from {iso(int(mine[at]))} to "
                    f"{iso(int(mine[at + 1]))}: sort the file, or allow it with --unsorted",
                )
            self._latest[key] = int(mine[-1])
            if self._steps is not None and (wrong := self._steps.add(name, times[rows])):
                at, says = wrong
                raise self._error(int(rows[at]), self._mapping.time_column, says)


def _plausible(value: float) -> str | None:
    """The unit in which a number is a time between 2009 and 2100: there is at most one."""
    for unit, scale in _SCALES.items():
        if EARLIEST_NS <= value * scale < LATEST_NS:
            return unit
    return None

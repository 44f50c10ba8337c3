"""What a column of stored market data must hold. Pure: tables in, masks of bad rows out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from don.clock import NS_PER_S

ORIGINS = ("stream", "repair", "history", "import", "synthetic")  # their place is their code
EARLIEST_NS = 1_230_768_000 * NS_PER_S  # 2009-01-01: nothing was traded before
LATEST_NS = 4_102_444_800 * NS_PER_S  # 2100-01-01

Mask: TypeAlias = pa.ChunkedArray | pa.Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a column must hold; `broken` marks the rows that do not."""

    column: str
    says: str  # "must be positive and finite"
    broken: Callable[[pa.Table], Mask]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The first bad row of a column, and how many there are."""

    row: int  # from 0
    column: str
    says: str
    value: str
    rows: int

    def __str__(self) -> str:
        more = f" (and {self.rows - 1} more rows)" if self.rows > 1 else ""
        return f"row {self.row}, column {self.column}: {self.says}, was {self.value}{more}"


def find_problems(rules: Sequence[Rule], table: pa.Table) -> tuple[Problem, ...]:
    """One problem a broken rule, in the order of the rules."""
    found = []
    for rule in rules if table.num_rows else ():
        bad = rule.broken(table)
        count = pc.sum(bad).as_py()
        if count:
            row = pc.index(bad, True).as_py()
            value = table[rule.column][row].as_py()
            shown = _shown(value) + (_unit(value) if rule.column.startswith("ts_") else "")
            found.append(
                Problem(row=row, column=rule.column, says=rule.says, value=shown, rows=count)
            )
    return tuple(found)


def positive(column: str) -> Rule:
    """Above zero and finite."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        return pc.invert(pc.and_(pc.is_finite(values), pc.greater(values, 0.0)))

    return Rule(column=column, says="must be positive and finite", broken=broken)


def not_negative(column: str, *, unknown: bool = False) -> Rule:
    """Zero or more and finite; with `unknown`, NaN too."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        fine = pc.and_(pc.is_finite(values), pc.greater_equal(values, 0.0))
        return pc.invert(pc.or_(fine, pc.is_nan(values)) if unknown else fine)

    says = "must be finite and not negative" + (", or NaN if unknown" if unknown else "")
    return Rule(column=column, says=says, broken=broken)


def finite(column: str, *, unknown: bool = False) -> Rule:
    """Finite; with `unknown`, NaN too."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        return pc.is_inf(values) if unknown else pc.invert(pc.is_finite(values))

    says = "must be finite" + (", or NaN if unknown" if unknown else "")
    return Rule(column=column, says=says, broken=broken)


def price_or_nan(column: str) -> Rule:
    """Above zero and finite, or NaN."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        fine = pc.and_(pc.is_finite(values), pc.greater(values, 0.0))
        return pc.invert(pc.or_(fine, pc.is_nan(values)))

    return Rule(column=column, says="must be positive, or NaN if unknown", broken=broken)


def time(column: str, *, unknown: bool = False) -> Rule:
    """A plausible time in ns; with `unknown`, 0 too."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        fine = pc.and_(pc.greater_equal(values, EARLIEST_NS), pc.less(values, LATEST_NS))
        return pc.invert(pc.or_(fine, pc.equal(values, 0)) if unknown else fine)

    says = "must be nanoseconds since 1970 UTC between 2009 and 2100"
    return Rule(column=column, says=says + (", or 0" if unknown else ""), broken=broken)


def within(column: str, least: int, most: int) -> Rule:
    """An integer from `least` to `most`."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        return pc.or_(pc.less(values, least), pc.greater(values, most))

    return Rule(column=column, says=f"must be from {least} to {most}", broken=broken)


def between_low_and_high(column: str) -> Rule:
    """Within the bar's range."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        return pc.or_(pc.greater(values, table["high"]), pc.less(values, table["low"]))

    return Rule(column=column, says="must lie between low and high", broken=broken)


def whole_seconds(column: str) -> Rule:
    """A bar interval in ns: whole seconds, of which 2^31 are too many."""

    def broken(table: pa.Table) -> Mask:
        values = table[column]
        whole = pc.equal(pc.multiply(pc.divide(values, NS_PER_S), NS_PER_S), values)
        most = (2**31 - 1) * NS_PER_S
        return pc.invert(pc.and_(pc.and_(whole, pc.greater(values, 0)), pc.less(values, most)))

    return Rule(column=column, says="must be whole seconds, in ns, above 0", broken=broken)


# Whatever exchanges call things, but for what cannot be seen or parts a path. In a folder's name
# a byte may become three characters (percent-encoded), and that holds 255.
_NAME = r"^[^\p{C}\p{Z}/\\.-][^\p{C}\p{Z}/\\]{0,63}$"
_NAME_BYTES = 80


def name(column: str) -> Rule:
    """An exchange, a symbol, a hash: what may also name a folder."""
    return Rule(
        column=column,
        says="must be 1 to 64 letters, digits and other visible characters (80 bytes), without "
        "spaces, / and \\, and not begin with . or -",
        broken=lambda table: _among(table[column], _named),
    )


_good: set[str] = set()  # names found good: the pattern takes a millisecond to compile, each time
_GOOD_MOST = 20_000


def _named(texts: pa.Array) -> pa.Array:
    """Which texts are names."""
    new = [text for text in texts.to_pylist() if text not in _good]
    if not new:
        return pa.array(np.ones(len(texts), np.bool_))
    fine = pc.and_(
        pc.match_substring_regex(texts, _NAME),
        pc.less_equal(pc.binary_length(texts), _NAME_BYTES),
    )
    if len(_good) + len(new) <= _GOOD_MOST:
        _good.update(texts.filter(fine).to_pylist())
    return fine


def one_of(column: str, allowed: tuple[str, ...]) -> Rule:
    """One of a few texts."""
    return Rule(
        column=column,
        says=f"must be one of {', '.join(allowed)}",
        broken=lambda table: _among(
            table[column], lambda texts: pc.is_in(texts, pa.array(allowed))
        ),
    )


def elements(column: str, *, above: bool) -> Rule:
    """A list without nulls whose values are finite and not negative (with `above`, positive)."""

    def broken(table: pa.Table) -> Mask:
        lists = table[column].combine_chunks()
        flat = pc.list_flatten(lists)
        limit = pc.greater(flat, 0.0) if above else pc.greater_equal(flat, 0.0)
        bad = pc.invert(pc.fill_null(pc.and_(pc.is_finite(flat), limit), False))
        mask = np.zeros(len(lists), np.bool_)
        mask[pc.list_parent_indices(lists).filter(bad).to_numpy(zero_copy_only=False)] = True
        return pa.array(mask)

    says = "every level must be finite and " + ("positive" if above else "not negative")
    return Rule(column=column, says=says, broken=broken)


def as_long_as(column: str, other: str) -> Rule:
    """A list as long as another column's."""
    return Rule(
        column=column,
        says=f"must have as many levels as {other}",
        broken=lambda table: pc.not_equal(
            pc.list_value_length(table[column]), pc.list_value_length(table[other])
        ),
    )


def _among(values: pa.ChunkedArray, fine: Callable[[pa.Array], pa.Array]) -> Mask:
    """Rows whose text is not fine, judged once a distinct text."""
    texts = pc.unique(values)
    bad = texts.filter(pc.invert(fine(texts)))
    return pc.is_in(values, bad) if len(bad) else pa.nulls(len(values), pa.bool_()).fill_null(False)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _unit(value: int) -> str:
    for unit, scale in (("seconds", NS_PER_S), ("milliseconds", 10**6), ("microseconds", 10**3)):
        if EARLIEST_NS <= value * scale < LATEST_NS:
            return f" (plausible as {unit}: multiply it by {scale})"
    return ""

"""Building features of a history: feed, one job a symbol, what compares symbols. Does I/O.

    with files.alone(wanted(source, FeatureSet(names))):    # one builder at a time
        plan = feed(source, FeatureSet(names), files)       # reads bars, keeps what did not change
        for symbol in plan.about.symbols:                   # in any order, in any process
            compute_symbol(files.root, plan, symbol)
        finish(files, plan)

Bars are fed as the live cache feeds them: a set is a close time at which any symbol has a bar; a
symbol that lacks it, and had one before, gets a flat one. What is built is bit for bit what
`FeatureSet.batch` gives over the whole history, and what the live stream gives bar by bar. Memory
is bounded by the span of a part (`chunk_bars`), whatever the length of the history: at most
8 bytes x chunk_bars x (8 symbols + 3 features + 100).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from don.errors import DataError
from don.features.columns import COLUMNS, PRICE, TIME, Floats, Ints
from don.features.sets import FeatureSet
from don.storage.features.files import (
    KNOWN,
    PRESENT,
    Description,
    FeatureFiles,
    Part,
    fed_of,
    symbol_of,
    times_of,
)
from don.storage.features.source import BarSource

CHUNK_BARS = 200_000
_CLOSE = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be built; plain, so that it can be sent to other processes."""

    about: Description  # with every part, those to be built too
    first: int  # number of the first part that is to be built
    keep: int  # sets at the beginning of that part whose values are had already
    kept_from: str  # name of the part that they are copied from; "" if there are none
    new_sets: int


def wanted(source: BarSource, features: FeatureSet, *, chunk_bars: int = CHUNK_BARS) -> Description:
    """What `feed` begins or goes on with; see there.

    Raises:
        DataError: if `chunk_bars` is no number of bars, or a symbol is named twice.
    """
    if chunk_bars < 1:
        raise DataError(f"chunk_bars must be at least 1, was {chunk_bars}")
    twice = sorted({name for name in source.symbols if source.symbols.count(name) > 1})
    if twice:
        raise DataError(f"symbols must be different, were {', '.join(twice)} twice")
    needed = {name for _, feature in features.features for name in feature.inputs}
    return Description(
        feature_set=features.hash,
        names=features.names,
        symbols=source.symbols,
        interval_ns=source.interval_ns,
        inputs=tuple(name for name in COLUMNS if name in needed | {*PRICE, TIME}),
        chunk_bars=chunk_bars,
    )


def feed(
    source: BarSource,
    features: FeatureSet,
    files: FeatureFiles,
    *,
    chunk_bars: int = CHUNK_BARS,
    progress: Callable[[float], None] = lambda done: None,
) -> Plan:
    """Read the bars and write down what the features are to be fed.

    Args:
        source: of the bars.
        features: the set to be built.
        files: where.
        chunk_bars: bars a part spans.
        progress: told the share that is done.

    Raises:
        DataError: if there is no bar, or a price is not finite and positive; see `wanted`.
    """
    known = files.begin(wanted(source, features, chunk_bars=chunk_bars))
    inputs = known.inputs
    first_close, last_close = source.span()
    width = chunk_bars * source.interval_ns
    made: list[Part] = []
    first, keep, kept_from, before = -1, 0, "", ""
    carry = {symbol: float("nan") for symbol in source.symbols}
    for start in range(first_close // width * width, last_close + 1, width):
        end = min(start + width, last_close + source.interval_ns)
        span = _Span(source, inputs, start, end, carry)
        progress((min(start + width, last_close) - first_close) / max(last_close - first_close, 1))
        if not len(span.times):
            continue
        index = len(made)
        old = known.parts[index] if first < 0 and index < len(known.parts) else None
        data = span.digest(before, len(span.times))
        whole = old is not None and not files.torn(known, old)
        if old is not None and old.data == data and whole:
            made.append(old)
        else:
            if first < 0:
                first = index
                if old is not None and whole and old.start == start and (
                    old.sets <= len(span.times)
                ):  # fmt: skip
                    same = span.digest(before, old.sets) == old.data
                    keep, kept_from = (old.sets, old.name) if same else (0, "")
            name = f"{start}-{data[:16]}"
            made.append(Part(start=start, end=start + width, first=int(span.times[0]),
                             last=int(span.times[-1]), sets=len(span.times), data=data,
                             name=name))  # fmt: skip
            span.write(files, known, made[-1])
            files.remove(known, files.torn(known, made[-1]))  # else they would count as computed
        before, carry = data, span.carry
    if not made:
        raise DataError(f"there is no bar of {', '.join(source.symbols)} to build features of")
    first = len(made) if first < 0 else first
    new = sum(part.sets for part in made[first:]) - keep
    about = replace(known, parts=tuple(made))
    return Plan(about=about, first=first, keep=keep, kept_from=kept_from, new_sets=new)


def compute_symbol(
    root: Path, plan: Plan, symbol: str, progress: Callable[[int], None] = lambda sets: None
) -> int:
    """Compute what compares no symbols, for one of them; sets computed.

    Parts that an earlier call finished are not computed again.
    """
    files, about = FeatureFiles(root), plan.about
    features = FeatureSet(about.names)
    if features.hash != about.feature_set:
        raise DataError(
            f"build {about.key} is of feature set {about.feature_set}, here they make "
            f"{features.hash}: another version of Don, or features of one's own that are not loaded"
        )
    streams = [(about.names[place], one.fresh()) for place, one in features.features]
    open_until, done = 0, 0  # parts that the streams have taken in
    for index in range(plan.first, len(about.parts)):
        part = about.parts[index]
        name = symbol_of(part.name, symbol)
        if (files.folder(about) / name).exists():
            continue
        for earlier in range(open_until, index):
            fed, begin = _fed(files, about, about.parts[earlier], symbol)
            for _, stream in streams:
                stream.reopen({c: values[begin:] for c, values in fed.items()})
        fed, begin = _fed(files, about, part, symbol)
        keep = plan.keep if index == plan.first else 0
        old = files.table(about, symbol_of(plan.kept_from, symbol)) if keep else None
        columns: dict[str, Floats] = {}
        for own, stream in streams:
            values = np.full(part.sets, np.nan)
            cut = max(keep, begin)
            if old is not None:
                values[:keep] = old[own].to_numpy()
                stream.reopen({c: v[begin:cut] for c, v in fed.items()})
            values[cut:] = stream.advance({c: v[cut:] for c, v in fed.items()})
            columns[own] = values
        files.write(about, name, pa.table({k: pa.array(v) for k, v in columns.items()}))
        open_until, done = index + 1, done + part.sets - keep
        progress(done)
    return done


def finish(files: FeatureFiles, plan: Plan) -> Description:
    """Compute what compares symbols, publish the new parts, remove what they replace."""
    about = plan.about
    features = FeatureSet(about.names)
    streams = [(place, about.names[of], one.fresh()) for place, of, one in features.cross]
    for place, of, stream in streams:
        begin = max(sum(part.sets for part in about.parts[: plan.first]) - stream.warm_up, 0)
        passed = 0
        for index, part in enumerate(about.parts):
            tables = [files.table(about, symbol_of(part.name, symbol)) for symbol in about.symbols]
            if passed + part.sets > begin or index >= plan.first:
                given = np.stack([table[of].to_numpy() for table in tables], axis=1)
                out = np.stack([stream.update(row) for row in given[max(begin - passed, 0) :]])
                if index >= plan.first:
                    _add_cross(files, about, part, about.names[place], out, tables)
            passed += part.sets
    files.save(about)
    files.sweep(about)
    return about


def _add_cross(
    files: FeatureFiles, about: Description, part: Part, name: str, out: Floats,
    tables: list[pa.Table],
) -> None:  # fmt: skip
    for n, symbol in enumerate(about.symbols):
        table = tables[n]
        if name in table.column_names:
            table = table.drop_columns([name])
        column = np.ascontiguousarray(out[:, n])
        files.write(
            about, symbol_of(part.name, symbol), table.append_column(name, pa.array(column))
        )


def _fed(
    files: FeatureFiles, about: Description, part: Part, symbol: str
) -> tuple[dict[str, Floats], int]:
    """Columns that a symbol is fed in a part, and the first set from which it is."""
    table = files.table(about, fed_of(part, symbol))
    known = np.asarray(table[KNOWN].to_numpy(zero_copy_only=False))
    begin = int(np.argmax(known)) if known.any() else part.sets
    return {name: table[name].to_numpy() for name in about.inputs}, begin


class _Span:
    """The sets of a span of time, as the features are fed them."""

    def __init__(
        self,
        source: BarSource,
        inputs: tuple[str, ...],
        start: int,
        end: int,
        carry: dict[str, float],
    ) -> None:
        self._symbols, self._inputs, self._start = source.symbols, inputs, start
        given = {symbol: source.bars(symbol, start, end) for symbol in source.symbols}
        closes = [times for times, _ in given.values() if len(times)]
        self.times: Ints = np.unique(np.concatenate(closes)) if closes else np.empty(0, np.int64)
        self.carry = dict(carry)
        self._given, self._before = given, carry
        self._fed: dict[str, tuple[dict[str, Floats], np.ndarray, np.ndarray]] = {}
        for symbol in source.symbols:
            self._fed[symbol] = self._rows(symbol)

    def _rows(self, symbol: str) -> tuple[dict[str, Floats], np.ndarray, np.ndarray]:
        closes, given = self._given.pop(symbol)
        T = len(self.times)
        at = np.searchsorted(self.times, closes)
        present = np.zeros(T, np.bool_)
        present[at] = True
        columns = {name: np.full(T, np.nan) for name in self._inputs}
        for name in self._inputs:
            if name in given:
                columns[name][at] = given[name]
        columns[TIME] = self.times / 1e9
        prices = np.stack([given[name] for name in PRICE]) if len(closes) else np.ones((5, 1))
        good = np.isfinite(prices).all(0) & (prices[:4] > 0).all(0) & (prices[4] >= 0)
        if not good.all():
            bad = closes[int(np.argmin(good))]
            raise DataError(
                f"bar of {symbol} that closes at {bad} ns must have finite positive prices and a "
                "finite volume: repair the data first"
            )
        # flat at the last close where others have a bar and this one lacks it
        last = np.where(present, np.arange(T), -1)
        last = np.maximum.accumulate(last) if T else last
        close = np.where(last >= 0, columns[_CLOSE][last], self.carry[symbol])
        for name in PRICE[:4]:
            columns[name] = np.where(present, columns[name], close)
        columns["volume"] = np.where(present, columns["volume"],
                                     np.where(np.isfinite(close), 0.0, np.nan))  # fmt: skip
        for name in ("mark", "rate"):
            if name in columns and T:
                seen = np.maximum.accumulate(np.where(np.isfinite(columns[name]), np.arange(T), -1))
                kept = self.carry.get(f"{symbol} {name}", float("nan"))
                columns[name] = np.where(seen >= 0, columns[name][seen], kept)
                self.carry[f"{symbol} {name}"] = float(columns[name][-1])
        if T:
            self.carry[symbol] = float(close[-1])
        return columns, present, np.isfinite(close)

    def digest(self, before: str, sets: int) -> str:
        """Hash of the first sets and of all that came before them."""
        found = hashlib.sha256(before.encode())
        found.update(self.times[:sets].tobytes())
        for symbol in self._symbols:
            columns, present, _ = self._fed[symbol]
            found.update(present[:sets].tobytes())
            for name in self._inputs:
                found.update(np.ascontiguousarray(columns[name][:sets]).tobytes())
        return found.hexdigest()

    def write(self, files: FeatureFiles, about: Description, part: Part) -> None:
        """Write the close times and what each symbol is fed."""
        files.write(about, times_of(part), pa.table({"ts_event": pa.array(self.times)}))
        for symbol in self._symbols:
            columns, present, known = self._fed.pop(symbol)
            flags = {PRESENT: present, KNOWN: known}
            files.write(about, fed_of(part, symbol), pa.table(
                {name: pa.array(values) for name, values in {**columns, **flags}.items()}
            ))  # fmt: skip

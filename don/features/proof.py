"""What a feature must keep, checked on made-up bars before it is registered. Pure.

Bars after t change nothing up to t; a history cut off at t gives the same values as the whole one;
bar by bar gives bit for bit what a batch gives, also after a restart; the same bars give the same
values; what is handed over is left as it was. The stream comes first, on bars that the feature has
never seen: whatever it may keep between calls, it cannot know what follows.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from don.errors import ConfigError
from don.features.base import CrossFeature, Feature
from don.features.columns import COLUMNS, TIME, Floats, rows
from don.features.kinds import Kind, build

_LONGEST = 4_000  # bars
_SYMBOLS = 5
_STEP_S = 60.0
_OTHER_LEVEL = 30_000.0  # price


def made_up_bars(
    seed: int, length: int, tick: float = 0.01, level: float = 100.0
) -> dict[str, Floats]:
    """Minute bars of a random walk on a grid of prices: ties, flat bars, no volume, holes.

    Args:
        seed: of all that is drawn.
        length: bars.
        tick: of the grid.
        level: price that it begins near.

    Returns:
        One array [time] for each of `COLUMNS`.
    """
    rng = np.random.default_rng(seed)
    path = level * np.exp(np.cumsum(rng.normal(0, 0.002, (length, 4)).ravel())).reshape(length, 4)
    path = np.maximum(np.round(path / tick), 1.0) * tick
    opened = np.concatenate([path[:1, 0], path[:-1, 3]])
    flat = rng.random(length) < 0.1
    columns = {
        "open": opened,
        "high": np.maximum(path.max(axis=1), opened),
        "low": np.minimum(path.min(axis=1), opened),
        "close": path[:, 3],
        "volume": np.round(rng.lognormal(2, 1, length), 3),
    }
    for name in ("open", "high", "low"):
        columns[name] = np.where(flat, columns["close"], columns[name])
    columns["volume"][flat] = 0.0
    for name in COLUMNS[5:]:
        values = rng.normal(0, 1, length)
        if name not in ("impact_xy", "microprice", "quote_imbalance", "ofi", "book_imbalance",
                        "rate", "trade_cov"):  # fmt: skip
            values = np.abs(values)
        values[rng.random(length) < 0.15] = np.nan
        columns[name] = values
    begin = int(rng.integers(20_000_000, 29_000_000))  # minutes since the epoch
    columns[TIME] = (begin + np.arange(length)) * _STEP_S
    return columns


def same(a: Floats, b: Floats) -> bool:
    """Equal to the bit, any NaN like any other."""
    return np.array_equal(a, b, equal_nan=True) and bool(
        (np.signbit(a) == np.signbit(b))[a == a].all()
    )


def prove_kind(entry: Kind, params: tuple[int, ...] | None = None) -> None:
    """Check a kind with some parameters; None: with its defaults.

    Raises:
        ConfigError: naming the kind, what it breaks and where.
    """
    params = entry.defaults if params is None else params
    name = "_".join([entry.kind, *map(str, params)])
    try:
        made = build(name, entry, params)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"feature {name!r} cannot be made: {_shown(error)}") from error
    prove(made)


def prove(made: Feature | CrossFeature, seed: int = 1) -> None:
    """Check one feature; see the module.

    Raises:
        ConfigError: if it breaks one of the rules, or fails.
    """
    length = min(max(240, 2 * made.warm_up + 120), _LONGEST)
    try:
        if isinstance(made, Feature):
            _prove_one(made, seed, length)
        else:
            _prove_cross(made, seed, length)
    except ConfigError:
        raise
    except Exception as error:  # of the feature's own code
        raise ConfigError(
            f"feature {made.name!r} fails on made-up bars: {_shown(error)}"
        ) from error


def _prove_one(made: Feature, seed: int, length: int) -> None:
    columns, other = made_up_bars(seed, length), made_up_bars(seed + 1, length)
    bars = rows(columns)
    live = made.fresh()
    told = np.array([live.update(bar.copy()) for bar in bars])
    kept = {key: values.copy() for key, values in columns.items()}
    batch = made.batch(columns)
    if any(not same(values, columns[key]) for key, values in kept.items()):
        raise ConfigError(f"feature {made.name!r} changes the bars that it is given")
    _repeats(made.name, batch, made.batch(columns))
    _check(made.name, length, lambda end, changed: made.batch(_spliced(
        columns, other, end, changed)))  # fmt: skip
    _equal(made.name, told, batch)
    for end in (length // 2, length - 9):  # a stream that is opened again from the bars before
        cut, then = _spliced(columns, other, end, False), bars[end : end + 9]
        opened, advanced = made.fresh(), made.fresh()
        opened.reopen({key: values.copy() for key, values in cut.items()})
        _equal(made.name, advanced.advance(cut), told[:end], "from many bars at once")
        for again in (opened, advanced):
            after = np.array([again.update(bar.copy()) for bar in then])
            _equal(made.name, after, told[end : end + 9], f"after a restart at bar {end}")
    # what begins to cheat later, or at other prices
    long = made_up_bars(seed + 2, _LONGEST, level=_OTHER_LEVEL)
    _check(made.name, _LONGEST, lambda end, changed: made.batch(_spliced(
        long, long, end, changed)), (_LONGEST - 500,), (False,))  # fmt: skip


def _prove_cross(made: CrossFeature, seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    panel = {"values": _panel(rng, length)}
    others = {"values": _panel(rng, length)}
    stream = made.fresh()
    told = np.stack([stream.update(row.copy()) for row in panel["values"]])
    kept = panel["values"].copy()
    across = made.across(panel["values"])
    if not same(kept, panel["values"]):
        raise ConfigError(f"feature {made.name!r} changes the values that it is given")
    _repeats(made.name, across, made.across(panel["values"]))
    _check(made.name, length, lambda end, changed: made.across(_spliced(
        panel, others, end, changed)["values"]))  # fmt: skip
    _equal(made.name, told, across)
    begin = length // 2  # whoever goes on from `warm_up` rows before must not tell the difference
    again = made.fresh()
    given = panel["values"][max(begin - made.warm_up, 0) :]
    after = np.stack([again.update(row.copy()) for row in given])[-(length - begin) :]
    _equal(made.name, after, told[begin:], f"after a restart at row {begin}")


def _shown(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _panel(rng: np.random.Generator, length: int) -> Floats:
    values = np.round(rng.normal(0, 1, (length, _SYMBOLS)), 2)
    values[rng.random(values.shape) < 0.05] = np.nan
    values[: length // 5, 0] = np.nan  # listed later
    return values


def _spliced(
    columns: Mapping[str, Floats], other: Mapping[str, Floats], end: int, changed: bool
) -> dict[str, Floats]:
    """The columns up to `end`: cut off there, or (changed) going on with other values."""
    return {
        name: np.concatenate([values[:end], other[name][end:]]) if changed and name != TIME
        else values.copy() if changed else values[:end].copy()
        for name, values in columns.items()
    }  # fmt: skip


def _check(
    name: str,
    length: int,
    values_of: Callable[[int, bool], Floats],
    ends: Sequence[int] = (),
    ways: Sequence[bool] = (True, False),
) -> None:
    whole = values_of(length, True)
    if len(whole) != length:
        raise ConfigError(
            f"feature {name!r} must give one value a bar, gave {len(whole)} for {length}"
        )
    for end in ends or (1, length // 3, length // 2, length - 7, length - 1):
        for changed in ways:
            found = values_of(end, changed)[:end]
            if not same(found, whole[:end]):
                first = int(np.flatnonzero(~_like(found, whole[:end]))[0])
                raise ConfigError(
                    f"feature {name!r} looks ahead: bars after bar {end} change its value at "
                    f"bar {first}"
                )


def _like(a: Floats, b: Floats) -> np.ndarray:
    equal = (a == b) | (np.isnan(a) & np.isnan(b))
    return equal if equal.ndim == 1 else equal.all(axis=1)


def _repeats(name: str, first: Floats, again: Floats) -> None:
    if not same(first, again):
        raise ConfigError(
            f"feature {name!r} gives other values for the same bars: it must not draw numbers, "
            "read a clock or keep anything between calls"
        )


def _equal(name: str, live: Floats, batch: Floats, when: str = "") -> None:
    """Hold a stream to what it must give; `when` says which stream, if not that of all bars."""
    if not same(live, batch):
        first = np.flatnonzero(~_like(live, batch))
        where = f"bar {int(first[0])}" if len(first) else "a zero of another sign"
        if not when:
            raise ConfigError(
                f"feature {name!r} must give bar by bar what it gives in batch; they differ at "
                f"{where}"
            )
        raise ConfigError(
            f"feature {name!r} must give {when} what it gives without; they differ at {where} of "
            "these: it keeps something that the bars before do not tell, or changes its window"
        )

"""What a feature must keep, checked on made-up bars before it is registered. Pure.

Bars after t change nothing up to t; a history cut off at t gives the same values as the whole one;
bar by bar gives bit for bit what a batch gives; what is handed over is left as it was.
"""

from collections.abc import Callable, Mapping

import numpy as np

from don.errors import ConfigError
from don.features.base import CrossFeature, Feature
from don.features.columns import COLUMNS, TIME, Floats, rows
from don.features.kinds import Kind, build

_LONGEST = 4_000  # bars
_SYMBOLS = 5
_STEP_S = 60.0


def made_up_bars(seed: int, length: int, tick: float = 0.01) -> dict[str, Floats]:
    """Minute bars of a random walk on a grid of prices: ties, flat bars, no volume, holes.

    Returns:
        One array [time] for each of `COLUMNS`.
    """
    rng = np.random.default_rng(seed)
    path = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, (length, 4)).ravel())).reshape(length, 4)
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


def prove_kind(entry: Kind) -> None:
    """Check a kind with its default parameters.

    Raises:
        ConfigError: naming the kind, what it breaks and where.
    """
    prove(build(entry.name, entry, entry.defaults))


def prove(made: Feature | CrossFeature, seed: int = 1) -> None:
    """Check one feature; see the module.

    Raises:
        ConfigError: if it breaks one of the rules.
    """
    length = min(max(240, 2 * made.warm_up + 120), _LONGEST)
    if isinstance(made, Feature):
        columns, other = made_up_bars(seed, length), made_up_bars(seed + 1, length)
        _check(made.name, length, lambda end, changed: made.batch(_spliced(
            columns, other, end, changed)))  # fmt: skip
        kept = {key: values.copy() for key, values in columns.items()}
        made.batch(columns)
        if any(not same(values, columns[key]) for key, values in kept.items()):
            raise ConfigError(f"feature {made.name!r} changes the bars that it is given")
        live = made.fresh()
        _equal(made.name, np.array([live.update(bar) for bar in rows(columns)]),
               made.batch(columns))  # fmt: skip
        return
    rng = np.random.default_rng(seed)
    panel = {"values": _panel(rng, length)}
    others = {"values": _panel(rng, length)}
    _check(made.name, length, lambda end, changed: made.across(_spliced(
        panel, others, end, changed)["values"]))  # fmt: skip
    stream = made.fresh()
    _equal(made.name, np.stack([stream.update(row) for row in panel["values"]]),
           made.across(panel["values"]))  # fmt: skip


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
) -> None:
    whole = values_of(length, True)
    if len(whole) != length:
        raise ConfigError(
            f"feature {name!r} must give one value a bar, gave {len(whole)} for {length}"
        )
    for end in (1, length // 3, length // 2, length - 7, length - 1):
        for changed in (True, False):
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


def _equal(name: str, live: Floats, batch: Floats) -> None:
    if not same(live, batch):
        first = np.flatnonzero(~_like(live, batch))
        raise ConfigError(
            f"feature {name!r} must give bar by bar what it gives in batch; they differ at "
            f"bar {int(first[0]) if len(first) else 'of another sign of zero'}"
        )

"""Streams written into one function give what each of them gives, to the bit."""

import math

import numpy as np

from don.features.columns import COLUMNS
from don.features.joined import Stream, join
from don.features.standard import band_place, part_of_close, plain

HALF = 0.5


def steps(first: float, second: float, close: float) -> float:
    """More than an expression."""
    spread = first - second
    return spread / close


def outer(value: float, close: float) -> float:
    """Reads what it was not given."""
    return value * HALF


def test_each_value_is_the_streams_own() -> None:
    unseen: dict = {}
    exec("def unseen(value, close):\n    return value - close", unseen)  # no source is kept of it
    three = lambda c: (c + 2.0, c, c - 1.0)  # noqa: E731
    cases = [
        (lambda h, low: h - low, (1, 2), (), part_of_close.py_func),
        (three, (3,), (0, 1, 2), band_place.py_func),
        (three, (3,), (2, 0), steps),
        (lambda c, v: c * v, (3, 4), (), plain.py_func),
        (lambda o: o / 3.0, (0,), (), outer),
        (lambda o: o / 7.0, (0,), (), unseen["unseen"]),
    ]
    row = np.arange(1.0, len(COLUMNS) + 1)
    prices = [10.1, 12.3, 9.7, 11.9, 1e3]
    streams = [(place, Stream(*case)) for place, case in enumerate(cases)]
    joined = join(8, streams, [(7, lambda bar: bar[5] * 2.0)])
    found = joined(row, *prices)
    for value, (update, places, outputs, finish) in zip(found, cases, strict=False):
        told = update(*(prices[p] for p in places))
        given = [told[i] for i in outputs] if outputs else [told]
        assert value == finish(*given, prices[3])
    assert math.isnan(found[6]) and found[7] == row[5] * 2.0

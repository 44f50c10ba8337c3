"""What a sweep as a whole came to: spread, luck, and whether its best is any good afterwards."""

import json
import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from don.clock import iso
from don.storage.research_ratios import Ratio
from experiments.swept import said, swept

DAY_NS = 86_400 * 10**9
NAMES = ["rule.lookback"]


def rows_of(table: Any, days: int = 90, step: int | None = None) -> list[dict[str, Any]]:
    """One a job: ratios [configuration, window]."""
    return [
        {
            "rule.lookback": n, "start": iso(w * (step or days) * DAY_NS),
            "end": iso((w * (step or days) + days) * DAY_NS), "sharpe": float(value),
        }
        for n, row in enumerate(table)
        for w, value in enumerate(row)
    ]  # fmt: skip


def test_the_best_of_many_lucky_configurations_is_not_sure() -> None:
    table = np.random.default_rng(3).normal(0.0, 2.0, (40, 4))  # what luck gives in 90 days
    told = swept(rows_of(table), NAMES, trials=7)
    mean = table.mean(axis=1)
    assert (told["configurations"], told["windows"], told["days"]) == (40, 4, 360.0)
    assert told["trials"] == 40  # never fewer than were run here
    assert told["spread"][0] == mean.min() and told["spread"][4] == told["best_sharpe"]
    assert told["spread"][2] == pytest.approx(np.median(mean))
    assert told["above_zero"] == (mean > 0).sum() and told["best"] == {NAMES[0]: mean.argmax()}
    assert told["best_sharpe"] > 1.5 and told["deflated"] < 0.9
    more = swept(rows_of(table), NAMES, trials=400)
    assert more["best_of_luck"] > told["best_of_luck"] and more["deflated"] < told["deflated"]
    lines = " ".join(said(told))
    assert "40 configurations: Sharpe ratio a year, mean of 4 windows, from -" in lines
    assert f"(rule.lookback {mean.argmax()}) has" in lines and "40 lucky trials over 360" in lines
    assert "(PBO, 6 ways)" in lines
    assert Ratio.of(told) is None  # the ledger takes no ratio of it: its trials are no records


def test_the_choice_among_windows_is_that_of_the_plain_definition() -> None:
    table = np.random.default_rng(4).normal(0.0, 1.0, (5, 7))
    last = table[:, 1:]  # an even number of them
    bad = []
    for chosen in combinations(range(6), 3):
        others = [n for n in range(6) if n not in chosen]
        best = last[:, chosen].mean(axis=1).argmax()
        after = last[:, others].mean(axis=1)
        bad.append((after < after[best]).sum() + 1 <= 3)  # its rank of five
    told = swept(rows_of(table), NAMES, trials=5)
    assert (told["pbo"], told["ways"]) == (sum(bad) / 20, 20)
    skilled = table + 9.0 * np.arange(5)[:, None]
    assert swept(rows_of(skilled), NAMES, trials=5)["pbo"] == 0.0


def test_nothing_is_told_that_cannot_be_said() -> None:
    table = np.array([[0.5, 1.0, 0.2, 0.1], [0.1, 0.0, math.nan, 0.3]])
    rows = rows_of(table)
    told = swept(rows, NAMES, trials=2)  # one that never traded in a window has no ratio
    assert told["configurations"] == 2 and told["spread"] == [pytest.approx(0.45)] * 5
    assert "pbo" not in told and json.dumps(told, allow_nan=False)
    overlapping = swept(rows_of(np.ones((3, 4)), 90, step=30), NAMES, trials=3)
    assert overlapping["days"] == 180.0 and "pbo" not in overlapping
    assert "spread" not in swept(rows[4:], NAMES, trials=1) and said(swept([], NAMES, 0)) == []
    # one window is missing yet: it is not compared with those that have all
    assert swept([*rows[:4], *rows[4:6]], NAMES, trials=2)["above_zero"] == 1

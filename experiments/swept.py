"""What a sweep as a whole came to: the spread of its configurations, and how far luck goes. Pure.

Whoever runs a sweep takes the best of it. What that is worth is not said by its own figures, but by
how many were tried, how wide they spread, and whether the best in some windows was any good in the
others.
"""

import json
import math
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from don.clock import parse_iso
from don.evaluation.luck import luck_variance
from don.evaluation.sharpe import Moments, deflated, expected_best
from don.performance import DAY_NS, YEAR_NS
from don.storage.research_ratios import Ratio
from don.words import amount

DAYS_A_YEAR = YEAR_NS / DAY_NS
LEAST_WINDOWS, MOST_WINDOWS = 4, 12
Row = Mapping[str, Any]


def swept(rows: Sequence[Row], names: Sequence[str], trials: int) -> dict[str, Any]:
    """Figures of a sweep.

    The Sharpe ratio of a configuration is the mean of those of its windows, annual. Luck is
    reckoned as for an evaluation, of returns by day that are taken as normal and independent: a
    sweep keeps figures, no returns. PBO is by CSCV with the windows as blocks.

    Args:
        rows: one a job that is done.
        names: of the grid.
        trials: configurations that were tried of these data, those of before included.

    Returns:
        `configurations`, `windows`, `days` of all windows, `trials`; and of the configurations that
        are done in every window and traded: `spread` of their ratios (least, quartiles, greatest),
        `above_zero` (how many), `best` (its point), `best_sharpe`, `best_of_luck`, `deflated`;
        `pbo` and `ways` where there are at least 4 windows that do not overlap. Nothing that cannot
        be said.

    Sources: Bailey & López de Prado, "The deflated Sharpe ratio", JPM 40(5), 2014; Bailey, Borwein,
    López de Prado & Zhu, "The probability of backtest overfitting", JCF 20(4), 2016.
    """
    spans = sorted({(parse_iso(row["start"]), parse_iso(row["end"])) for row in rows})
    points: dict[str, dict[tuple[int, int], float]] = {}
    for row in rows:
        point = json.dumps({name: row[name] for name in names}, default=str)
        at = parse_iso(row["start"]), parse_iso(row["end"])
        points.setdefault(point, {})[at] = float(row["sharpe"])
    days = _covered(spans) / DAY_NS
    told: dict[str, Any] = {
        "configurations": len(points), "windows": len(spans), "days": days,
        "trials": max(trials, len(points)),
    }  # fmt: skip
    whole = {point: own for point, own in points.items() if own.keys() == set(spans)}
    done = {point: [own[span] for span in spans] for point, own in whole.items()}
    known = {point: own for point, own in done.items() if all(map(math.isfinite, own))}
    if not known:
        return told
    table = np.array(list(known.values()))  # [configuration, window]
    mean = table.mean(axis=1)
    best = int(mean.argmax())
    told |= {
        "spread": [float(v) for v in np.quantile(mean, (0.0, 0.25, 0.5, 0.75, 1.0))],
        "above_zero": int((mean > 0).sum()), "best": json.loads(list(known)[best]),
        "best_sharpe": float(mean[best]),
    }  # fmt: skip
    steps = round(days)
    if steps > 2:
        ratios = [Ratio(sharpe=float(v), returns=steps, days=days) for v in mean]
        variance = luck_variance(ratios, told["trials"], steps, 1.0, DAYS_A_YEAR)
        root = math.sqrt(DAYS_A_YEAR)
        own = Moments(count=steps, sharpe=float(mean[best]) / root, skew=0.0, kurtosis=3.0)
        told["best_of_luck"] = expected_best(told["trials"], variance) * root
        told["deflated"] = deflated(own, told["trials"], variance)
    apart = all(one[1] <= other[0] for one, other in pairwise(spans))
    if apart and len(spans) >= LEAST_WINDOWS and len(table) > 1:
        told["pbo"], told["ways"] = _pbo(table)
    return told


def said(told: Mapping[str, Any]) -> list[str]:
    """The same as lines for people."""
    if "spread" not in told:
        return []
    low, lower, middle, upper, high = told["spread"]
    windows = f", mean of {amount(told['windows'], 'window')}" if told["windows"] > 1 else ""
    lines = [
        f"{amount(told['configurations'], 'configuration')}: Sharpe ratio a year{windows}, from "
        f"{low:.2f} to {high:.2f}, the middle half from {lower:.2f} to {upper:.2f}, median "
        f"{middle:.2f}; {told['above_zero']} above zero"
    ]
    point = ", ".join(f"{name} {value}" for name, value in told["best"].items())
    best = f"the best{f' ({point})' if point else ''} has {told['best_sharpe']:.2f}"
    if "deflated" in told:
        best += (
            f"; the best of {amount(told['trials'], 'lucky trial')} over {told['days']:,.0f} days "
            f"would be expected at {told['best_of_luck']:.2f}. Probability that its true ratio is "
            f"above zero, knowing of the trials: {told['deflated']:.1%} (deflated)"
        )
    lines.append(best)
    if "pbo" in told:
        lines.append(
            "choosing the best by half of the windows: it lies in the lower half in the others "
            f"with probability {told['pbo']:.1%} (PBO, {amount(told['ways'], 'way')})"
        )
    return lines


def _pbo(table: NDArray[np.float64]) -> tuple[float, int]:
    """Of ratios [configuration, window]; the last windows, an even number of them."""
    count, size = min(table.shape[1] // 2 * 2, MOST_WINDOWS), len(table)
    blocks, lower = table[:, -count:], 0
    ways = list(combinations(range(count), count // 2))
    for chosen in ways:
        inside = blocks[:, list(chosen)].mean(axis=1)
        outside = blocks[:, [n for n in range(count) if n not in chosen]].mean(axis=1)
        own = outside[inside.argmax()]
        # mean rank of equals, from 1 for the worst to N for the best
        rank = (outside < own).sum() + ((outside == own).sum() + 1) / 2
        lower += bool(rank / (size + 1) <= 0.5)
    return lower / len(ways), len(ways)


def _covered(spans: Sequence[tuple[int, int]]) -> int:
    """Time inside at least one window, ns."""
    total, reached = 0, -(2**63)
    for start, end in spans:
        total += max(end - max(start, reached), 0)
        reached = max(reached, end)
    return total

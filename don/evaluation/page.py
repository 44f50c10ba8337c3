"""The result of an evaluation: one HTML file, one JSON document, plain text. Pure but for the style
of `don.backtest.page`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from don.backtest.charts import COLORS, GREY, thin
from don.backtest.page import Page, preformatted
from don.clock import NS_PER_MS, NS_PER_S, iso
from don.evaluation.assess import Assessment
from don.evaluation.course import Course
from don.evaluation.verdict import Grade, grade, ratios_of, relative, wealth, words, years_told
from don.performance import COMPOUNDED, too_short
from don.words import amount

RATES = ("total_return", "annual_return", "annual_volatility", "max_drawdown", "fees", "slippage",
         "funding", "gross")  # fmt: skip
TITLES = {
    "total_return": "total return", "annual_return": "CAGR", "annual_volatility": "volatility",
    "sharpe": "Sharpe", "sortino": "Sortino", "max_drawdown": "max drawdown", "calmar": "Calmar",
    "turnover": "turnover", "fees": "fees", "slippage": "slippage", "funding": "funding paid",
    "gross": "gross exposure", "fills": "fills", "liquidations": "liquidations",
}  # fmt: skip
_YEARLY = ("turnover", "fees", "slippage", "funding")
_POINTS = 2_000


def document(
    a: Assessment, about: Mapping[str, Any], windows: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Everything as JSON takes it; what is not finite is null."""
    told = {"grade": str(grade(a)), "verdict": list(words(a)), **asdict(a)}
    for beside in told["against"].values():  # "growth" there is of logs
        beside["relative_growth"] = wealth(beside["growth"])
        beside["relative_growth_interval"] = [wealth(b) for b in beside["growth_interval"]]
    told["start"], told["end"] = iso(told.pop("start_ns")), iso(told.pop("end_ns"))
    told["interval_s"] = told.pop("interval_ns") / NS_PER_S
    told["ratios"] = ratios_of(a)
    told["about"] = dict(about)
    if windows:
        told["windows"] = [dict(window) for window in windows]
    found: dict[str, Any] = json.loads(json.dumps(_finite(told), default=str))
    return found


def text(a: Assessment) -> str:
    """For a terminal."""
    lines = [f"{a.strategy}, {iso(a.start_ns)[:16]} to {iso(a.end_ns)[:16]}", ""]
    lines += [("» " if n == 0 else "  ") + line for n, line in enumerate(words(a))]
    said = [*a.cautions, *_brief(a)]
    lines += ["", *(f"! {line}" for line in said)] if said else []
    names = list(a.figures)
    wide = [max(len(name), 10) for name in names]
    lines += ["", " " * 20 + "  ".join(n.rjust(w) for n, w in zip(names, wide, strict=True))]
    for figure, title in _titles(a).items():
        cells = [_cell(figure, _told(a, figure, a.figures[name][figure])) for name in names]
        row = "  ".join(c.rjust(w) for c, w in zip(cells, wide, strict=True))
        lines.append(f"{title:<20}{row}")
    lines += ["", f"Volatility, Sharpe and Sortino are {ratios_of(a)}."]
    return "\n".join(lines) + "\n"


def page(
    a: Assessment, courses: Sequence[Course], about: Mapping[str, Any],
    windows: Sequence[Mapping[str, Any]] = (),
) -> str:  # fmt: skip
    """The result page; it loads nothing from anywhere."""
    made = Page(f"Evaluation of {a.strategy}")
    bar = a.interval_ns // NS_PER_S
    made.title(
        f"Evaluation: {a.strategy}",
        [f"out of sample, {iso(a.start_ns)} to {iso(a.end_ns)}, bars of {bar:,} s, costs on"],
    )
    answer, *more = words(a)
    if grade(a) is Grade.BETTER:
        made.heading(answer)
    else:
        made.warnings([answer])
    made.table(["", ""], [[str(n), line] for n, line in enumerate(more, 1)], kind="text")
    made.warnings([*a.cautions, *_brief(a)])
    c, own = a.certainty, a.figures[a.strategy]
    made.tiles(
        [
            ("total return", _cell("total_return", own["total_return"]), "after all costs"),
            ("Sharpe", f"{own['sharpe']:.2f}", f"{_span(a, 'sharpe')}; {ratios_of(a)}"),
            ("deflated", _share(c.deflated), f"{amount(c.trials, 'trial')}; best of luck "
             f"{c.best_of_luck:.2f}"),
            ("probabilistic", _share(c.probabilistic), "one trial only"),
            ("above holding's ratio", _share(c.above_hold), "probability"),
            ("max drawdown", _cell("max_drawdown", own["max_drawdown"]), ""),
        ]
    )  # fmt: skip
    made.heading("Growth of 1", "logarithmic; agents and baselines over the same bars and costs")
    made.figure("growth", _growth(courses, a))
    made.heading(
        "Figures",
        f"volatility, Sharpe and Sortino {ratios_of(a)}; 95 % intervals by stationary block "
        "bootstrap in brackets",
    )
    rows = []
    for figure, title in _titles(a).items():
        cells = []
        for name, values in a.figures.items():
            told = _told(a, figure, values[figure])
            bounds = a.intervals.get(name, {}).get(figure) if math.isfinite(told) else None
            cells.append(_cell(figure, told) + _bounds(figure, bounds))
        rows.append([title, *cells])
    made.table(["", *a.figures], rows)
    made.heading(
        f"{a.strategy} beside each baseline",
        f"growth relative to it {years_told(a)[1]}: what one's wealth became over what the other's "
        "did, less 1; Sharpe a year; 95 % intervals by paired block bootstrap in brackets",
    )
    rows = []
    for name, b in a.against.items():
        grown, interval = relative(a, b)
        growth = _cell("total_return", grown) + _bounds("total_return", interval)
        ratio = f"{b.sharpe:+.2f}{_bounds('sharpe', b.sharpe_interval)}"
        rows.append([name, growth, ratio, _share(b.better)])
    made.table(["", "growth relative to it", "Sharpe beyond it", "draws ahead"], rows)
    if windows:
        made.heading("Windows")
        keys = list(windows[0])
        made.table(keys, [[str(w.get(k, "")) for k in keys] for w in windows])
    made.heading("What it rests on")
    made.folded("About", preformatted(json.dumps(_finite(dict(about)), indent=1, default=str)))
    return made.html()


def _growth(courses: Sequence[Course], a: Assessment) -> dict[str, Any]:
    data = []
    for n, course in enumerate(courses):
        values = course.equity / course.equity[0]
        at = thin(values, _POINTS)
        own = course.name == a.strategy
        shown = course.name in a.against or own
        data.append(
            {
                "type": "scatter", "mode": "lines", "name": course.name,
                "x": [int(t) // NS_PER_MS for t in course.ts[at]],
                "y": [float(v) if v > 0 else None for v in np.round(values[at], 6)],
                "line": {"color": COLORS[n % len(COLORS)] if shown else GREY,
                         "width": 2.5 if own else 1.2},
                "opacity": 1.0 if shown else 0.6,
            }
        )  # fmt: skip
    layout = {
        "height": 440, "margin": {"l": 60, "r": 20, "t": 16, "b": 36},
        "yaxis": {"type": "log", "title": {"text": "growth of 1"}}, "xaxis": {"type": "date"},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"}, "hovermode": "x unified",
    }  # fmt: skip
    return {"data": data, "layout": layout}


def _brief(a: Assessment) -> list[str]:
    note = too_short(a.end_ns - a.start_ns)
    return [note] if note else []


def _titles(a: Assessment) -> dict[str, str]:
    per = " in the run" if _brief(a) else " a year"
    return {n: title + (per if n in _YEARLY else "") for n, title in TITLES.items()}


def _told(a: Assessment, figure: str, value: float) -> float:
    """A figure of a run as it is told: too short a run has no year."""
    if figure in COMPOUNDED and _brief(a):
        return math.nan
    return value * (years_told(a)[0] if figure in _YEARLY else 1.0)


def _cell(figure: str, value: float) -> str:
    if not math.isfinite(value):
        return "–"
    if figure in RATES:
        return f"{value * 100:,.1f} %"
    if figure in ("fills", "liquidations"):
        return f"{value:,.0f}"
    return f"{value:,.2f}"


def _bounds(figure: str, bounds: tuple[float, float] | None) -> str:
    if bounds is None or not math.isfinite(bounds[0]):
        return ""
    return f"\n[{_cell(figure, bounds[0])}, {_cell(figure, bounds[1])}]"


def _span(a: Assessment, figure: str) -> str:
    bounds = _bounds(figure, a.intervals[a.strategy].get(figure))
    return f"95 % {bounds.strip()}" if bounds else "–"


def _share(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value * 100:.1f} %"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value

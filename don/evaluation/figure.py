"""The growth of courses as one static picture (SVG), for pages that cannot run a script. Pure."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import numpy as np

from don.backtest.charts import COLORS, GREY, thin
from don.evaluation.course import Course

WIDTH, HEIGHT = 900, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 170, 14, 30
_POINTS = 300
_NICE = (1.0, 2.0, 5.0)
_LEAST = 1e-3  # of the axis: who lost more ends at its foot


def growth_svg(courses: Sequence[Course], strategy: str, named: Sequence[str]) -> str:
    """Growth of 1 on a logarithmic axis.

    Args:
        courses: of the same span of time, two points each at least.
        strategy: name of the course that is drawn bold.
        named: names of courses with a colour; the others, seeds, are thin and grey.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if not courses or any(len(course.ts) < 2 for course in courses):
        raise ValueError("need one course or more, of two points or more each")
    curves = {c.name: np.maximum(c.equity / c.equity[0], _LEAST) for c in courses}
    low = min(float(v.min()) for v in curves.values())
    high = max(float(v.max()) for v in curves.values())
    bottom, top = math.log(low) - 0.03, math.log(high) + 0.03
    begin, end = int(courses[0].ts[0]), int(courses[0].ts[-1])

    def x(ts: int) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (ts - begin) / (end - begin)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (top - math.log(value)) / (top - bottom)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" fill="#23303c">',
        f"<title>Growth of 1: {escape(strategy)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    for value in _values(math.exp(bottom), math.exp(top)):
        at = y(value)
        out.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e3e7ea"/>')
        out.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    for ts, words in _times(begin, end):
        at = x(ts)
        out.append(f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e3e7ea"/>')
        out.append(f'<text x="{at:.1f}" y="{HEIGHT - 10}" text-anchor="middle">{words}</text>')
    colors = {name: COLORS[n % len(COLORS)] for n, name in enumerate([strategy, *named])}
    ends = []
    for course in sorted(courses, key=lambda c: (c.name in colors, c.name == strategy)):
        curve = curves[course.name]
        kept = thin(curve, _POINTS)
        points = " ".join(
            f"{x(int(course.ts[k])):.1f},{y(float(curve[k])):.1f}" for k in kept.tolist()
        )
        color = colors.get(course.name, GREY)
        wide = 2.6 if course.name == strategy else 1.3 if course.name in colors else 0.8
        out.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{wide}"/>'
        )
        if course.name in colors:
            ends.append((y(float(curve[-1])), course.name, float(curve[-1]), color))
    place = -math.inf
    for at, name, value, color in sorted(ends):  # labels beside their ends, one below the other
        place = max(at, place + 15)
        out.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{place + 4:.1f}" fill="{color}">'
            f"{escape(name)} {value:.2f}</text>"
        )
    return "\n".join([*out, "</svg>", ""])


def _values(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [f * 10.0**k for k in range(first, last + 1) for f in _NICE]
    inside = [v for v in found if low <= v <= high]
    if len(inside) < 3:  # little happened: even steps
        step = 10.0 ** math.floor(math.log10(high - low))
        inside = [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [float(f"{v:.6g}") for v in inside]


def _times(begin: int, end: int) -> list[tuple[int, str]]:
    """Beginnings of years, or of months where there are few years."""
    first, last = (datetime.fromtimestamp(t / 1e9, UTC) for t in (begin, end))
    span = (last.year - first.year) * 12 + last.month - first.month
    step = 12 if span > 24 else 3 if span > 8 else 1
    found = []
    for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
        if month % step:
            continue
        at = datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC)
        ts = int(at.timestamp()) * 10**9
        if begin <= ts <= end:
            found.append((ts, f"{at:%Y}" if step == 12 else f"{at:%Y-%m}"))
    return found

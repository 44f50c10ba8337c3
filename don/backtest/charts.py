"""Charts of a backtest as Plotly figures in plain dictionaries. Pure.

Long series are thinned to what a screen can show; the least and the greatest of each stretch stay,
so that no drawdown disappears.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from don.backtest.books import BookResult
from don.backtest.metrics import Metrics, weights
from don.backtest.result import BacktestResult
from don.backtest.summary import benchmarks, equity_at_bars
from don.clock import NS_PER_MS

Floats = NDArray[np.float64]
Figure = dict[str, Any]
POINTS = 4_000  # of a line
PRICE_POINTS = 1_500
MARKERS = 250  # of a side and symbol; beyond, trades of one stretch are shown as one
AREAS = 10  # symbols with an area of their own
COLORS = (
    "#1f5fbf", "#d9822b", "#2e8b57", "#8e44ad", "#c0392b", "#16a0a0", "#7f6b3a", "#e377c2",
    "#5d6d7e", "#a3b12c", "#3b3b98",
)  # fmt: skip
GREY = "#8a939b"
BUY, SELL = "#1a9850", "#d73027"
_LAYOUT: Figure = {
    "margin": {"l": 60, "r": 20, "t": 16, "b": 36},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, sans-serif", "size": 12, "color": "#23303c"},
    "hovermode": "x unified",
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
}


def thin(values: Floats, most: int = POINTS) -> NDArray[np.int64]:
    """Indices of a thinned series: of each stretch its least and its greatest value, and both ends.

    Args:
        values: [point], NaN allowed.
        most: points to keep, about.
    """
    n = len(values)
    if n <= most:
        return np.arange(n)
    edges = np.linspace(0, n, most // 2 + 1).astype(int)
    begin, end = edges[:-1, None], edges[1:, None]
    # stretches differ in length by one: the last point of a shorter one stands there twice
    at = np.minimum(begin + np.arange(int((end - begin).max())), end - 1)
    part = values[at]
    some = np.isfinite(part).any(axis=1)
    rows = np.flatnonzero(some)
    low = np.argmin(np.where(np.isnan(part), np.inf, part), axis=1)
    high = np.argmax(np.where(np.isnan(part), -np.inf, part), axis=1)
    return np.unique(np.concatenate([[0, n - 1], at[rows, low[rows]], at[rows, high[rows]]]))


def equity(results: Sequence[tuple[str, BacktestResult]], *, columns: bool) -> Figure:
    """Growth of each result from 1, and its drawdown below; `columns` adds the benchmarks."""
    traces: list[Figure] = []
    for n, (name, result) in enumerate(results):
        curve = equity_at_bars(result)
        if not len(curve):
            continue
        traces += _growth(name, result.closes_ts, curve, COLORS[n], 2.0)
        if columns:
            others = benchmarks(result)
            for k, (other, line) in enumerate(others.items()):
                pair = _growth(other, result.closes_ts, line, COLORS[k + 1], 1.0)
                traces += [pair[0], pair[1] | {"visible": "legendonly"}]
                for one in pair:
                    one["opacity"] = 0.75
    return {
        "data": traces,
        "layout": _LAYOUT
        | {
            "height": 520,
            "yaxis": _axis("growth of 1", type="log", domain=[0.36, 1]),
            "yaxis2": _axis("drawdown", tickformat=".0%", domain=[0, 0.3]),
            "xaxis": _time(anchor="y2"),
        },
    }


def _growth(name: str, ts: NDArray[np.int64], curve: Floats, color: str, width: float) -> list[Any]:
    grown = curve / curve[0]
    at = thin(grown)
    # a log axis has no place for what is worth nothing
    shown = np.where(grown > 0, grown, np.nan)
    fall = grown / np.maximum.accumulate(grown) - 1.0
    low = thin(fall)
    line = {"color": color, "width": width}
    common = {"type": "scatter", "mode": "lines", "legendgroup": name, "name": name}
    return [
        common | {"x": _x(ts[at]), "y": _y(shown[at], 5), "line": line},
        common
        | {
            "x": _x(ts[low]),
            "y": _y(fall[low], 5),
            "yaxis": "y2",
            "showlegend": False,
            "line": {"color": color, "width": width / 2},
            "fill": "tozeroy" if width > 1 else "none",
        },
    ]


def exposures(result: BacktestResult) -> Figure:
    """Weights over time: the largest symbols as areas, longs up and shorts down; net as a line."""
    curve = equity_at_bars(result)
    w = weights(result, curve)
    gross, _ = _means(np.abs(w).sum(axis=1)[:, None], result.closes_ts, POINTS // 8)
    w, ts = _means(w, result.closes_ts, POINTS // 8)
    size = np.abs(w).mean(axis=0) if len(w) else np.zeros(len(result.symbols))
    order = np.argsort(-size, kind="stable")
    x = _x(ts)
    traces: list[Figure] = []
    parts = [(result.symbols[n], w[:, n]) for n in order[:AREAS].tolist() if size[n] > 0]
    rest = order[AREAS:]
    if len(rest) and size[rest].any():
        parts.append((f"{int((size[rest] > 0).sum())} others", w[:, rest].sum(axis=1)))
    for k, (name, own) in enumerate(parts):
        color = COLORS[k % len(COLORS)]
        for side, values in (("long", np.maximum(own, 0)), ("short", np.minimum(own, 0))):
            if not values.any():
                continue
            traces.append(
                {
                    "type": "scatter", "mode": "lines", "x": x, "y": _y(values, 4),
                    "stackgroup": side, "name": name, "legendgroup": name,
                    "showlegend": side == "long" or not np.maximum(own, 0).any(),
                    "line": {"width": 0, "color": color}, "hoverinfo": "skip",
                }
            )  # fmt: skip
    for name, values, dash in (
        ("gross", gross[:, 0], "dot"),
        ("net", w.sum(axis=1), "solid"),
    ):
        traces.append(
            {
                "type": "scatter", "mode": "lines", "x": x, "y": _y(values, 4), "name": name,
                "line": {"color": "#23303c", "width": 1.2, "dash": dash},
            }
        )  # fmt: skip
    return {
        "data": traces,
        "layout": _LAYOUT
        | {"height": 380, "yaxis": _axis("of equity", tickformat=".0%"), "xaxis": _time()},
    }


def prices(result: BacktestResult) -> dict[str, Figure]:
    """The price of each symbol that was traded, with its fills; most traded first."""
    fills: dict[str, list[tuple[int, float, float, int]]] = {}
    for fill in result.fills:
        fills.setdefault(fill.symbol, []).append(
            (fill.ts_event, float(fill.price), float(fill.size), fill.side.sign)
        )
    worth = {s: sum(price * size for _, price, size, _ in own) for s, own in fills.items()}
    found: dict[str, Figure] = {}
    for symbol in sorted(worth, key=lambda s: -worth[s]):
        close = result.closes[:, result.symbols.index(symbol)]
        at = thin(close, PRICE_POINTS)
        traces: list[Figure] = [
            {
                "type": "scatter", "mode": "lines", "x": _x(result.closes_ts[at]),
                "y": _y(close[at], 8), "name": symbol, "line": {"color": GREY, "width": 1},
            }
        ]  # fmt: skip
        rows = np.array(fills[symbol])
        for sign, name, mark, color in (
            (1, "bought", "triangle-up", BUY),
            (-1, "sold", "triangle-down", SELL),
        ):
            own = rows[rows[:, 3] == sign]
            if len(own):
                traces.append(_markers(own, name, mark, color, result))
        found[symbol] = {
            "data": traces,
            "layout": _LAYOUT
            | {"height": 420, "yaxis": _axis("price"), "xaxis": _time(), "hovermode": "closest"},
        }
    return found


def _markers(own: Floats, name: str, mark: str, color: str, result: BacktestResult) -> Figure:
    """Trades of one side; where there are too many, one marker for all of a stretch of time."""
    ts, price, size = own[:, 0], own[:, 1], own[:, 2]
    count = np.ones(len(own))
    if len(own) > MARKERS:
        span = (result.end_ns - result.start_ns) / MARKERS
        stretch = ((ts - result.start_ns) // span).astype(int)
        group = np.unique(stretch, return_inverse=True)[1]
        amount = np.bincount(group, size)
        price = np.bincount(group, price * size) / amount
        ts = np.bincount(group, ts * size) / amount
        size = np.asarray(amount, np.float64)
        count = np.asarray(np.bincount(group), np.float64)
    notional = price * size
    area = 5.0 + 9.0 * np.sqrt(notional / notional.max())
    said = [f"{s:.6g} in {c:.0f} fill(s)" for s, c in zip(size, count, strict=True)]
    return {
        "type": "scatter", "mode": "markers", "x": _x(ts.astype(np.int64)), "y": _y(price, 8),
        "text": said, "name": name,
        "marker": {"symbol": mark, "color": color, "size": _y(area, 3), "opacity": 0.8},
    }  # fmt: skip


def costs(found: Metrics) -> Figure:
    """From what prices brought to what was left."""
    own = found.costs
    parts = [
        ("realised", float(own.realized)), ("unrealised", float(own.unrealized)),
        ("fees", -float(own.fees)), ("funding", float(own.funding)),
    ]  # fmt: skip
    if own.liquidation:
        parts.append(("liquidation", float(own.liquidation)))
    return {
        "data": [
            {
                "type": "waterfall",
                "x": [name for name, _ in parts] + ["profit"],
                "y": [round(amount, 2) for _, amount in parts] + [None],
                "measure": ["relative"] * len(parts) + ["total"],
                "text": [f"{amount:,.0f}" for _, amount in parts] + [f"{float(own.pnl):,.0f}"],
                "textposition": "auto",
                "cliponaxis": False,
                "increasing": {"marker": {"color": BUY}},
                "decreasing": {"marker": {"color": SELL}},
                "totals": {"marker": {"color": COLORS[0]}},
                "connector": {"line": {"color": GREY, "width": 1}},
            }
        ],
        "layout": _LAYOUT
        | {"height": 340, "yaxis": _axis("quote"), "showlegend": False, "hovermode": "closest"},
    }


def books(found: Sequence[BookResult]) -> Figure:
    """Profit of each virtual book over time; shadows dotted."""
    lines = []
    for n, one in enumerate(found):
        if not len(one.ts):
            continue
        profit = one.equity - one.capital
        kept = thin(profit)
        lines.append(
            {
                "type": "scatter", "mode": "lines", "name": f"{one.book} ({one.mode})",
                "x": _x(one.ts[kept]), "y": _y(profit[kept], 2),
                "line": {
                    "color": COLORS[n % len(COLORS)], "width": 1.5,
                    "dash": "dot" if one.mode == "shadow" else "solid",
                },
            }
        )  # fmt: skip
    return {
        "data": lines,
        "layout": {**_LAYOUT, "height": 320, "xaxis": _time(), "yaxis": _axis("profit, quote")},
    }


def symbols(found: Metrics) -> Figure:
    """What each symbol brought, split in price, fees and funding."""
    rows = sorted(found.attribution, key=lambda one: one.pnl)
    rows = [one for one in rows if one.traded or one.pnl]
    names = [one.symbol or "account" for one in rows]
    parts = (
        ("price", [float(one.realized + one.unrealized) for one in rows], COLORS[0]),
        ("fees", [-float(one.fees) for one in rows], COLORS[1]),
        ("funding", [float(one.funding) for one in rows], COLORS[3]),
    )
    data: list[Figure] = [
        {
            "type": "bar", "orientation": "h", "y": names, "x": [round(v, 2) for v in values],
            "name": name, "marker": {"color": color},
        }
        for name, values, color in parts
    ]  # fmt: skip
    data.append(
        {
            "type": "scatter", "mode": "markers", "y": names,
            "x": [round(float(one.pnl), 2) for one in rows], "name": "profit",
            "marker": {"symbol": "diamond", "color": "#23303c", "size": 7},
        }
    )  # fmt: skip
    margin = {"l": 150, "r": 20, "t": 16, "b": 36}
    return {
        "data": data,
        "layout": _LAYOUT
        | {
            "height": 130 + 24 * len(rows), "barmode": "relative", "margin": margin,
            "xaxis": {"title": {"text": "quote"}, "gridcolor": "#e3e8ec", "zerolinecolor": GREY},
            "hovermode": "y unified",
        },
    }  # fmt: skip


def _means(values: Floats, ts: NDArray[np.int64], most: int) -> tuple[Floats, NDArray[np.int64]]:
    """Means [stretch, column] of rows, and the last time of each stretch."""
    if len(values) <= most:
        return values, ts
    edges = np.linspace(0, len(values), most + 1).astype(int)
    sums = np.add.reduceat(values, edges[:-1], axis=0)
    return sums / np.diff(edges)[:, None], ts[edges[1:] - 1]


def _x(ts: NDArray[np.int64]) -> list[int]:
    return [int(value) for value in np.asarray(ts) // NS_PER_MS]  # Plotly dates: ms, UTC


def _y(values: Floats, digits: int) -> list[float | None]:
    return [float(f"{v:.{digits}g}") if np.isfinite(v) else None for v in values.tolist()]


def _axis(title: str, **more: Any) -> Figure:
    return {"title": {"text": title}, "gridcolor": "#e3e8ec", "zerolinecolor": GREY, **more}


def _time(**more: Any) -> Figure:
    return {"type": "date", "gridcolor": "#e3e8ec", **more}

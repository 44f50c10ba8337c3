"""The report of a backtest, and two side by side, as one HTML file each. Pure but for `page`."""

import json
import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from don.backtest import charts
from don.backtest.books import COLUMNS, row
from don.backtest.data_section import data_cautions, data_section
from don.backtest.metrics import Metrics, metrics
from don.backtest.page import Page, preformatted, table
from don.backtest.result import BacktestResult
from don.backtest.summary import FIGURES, halted
from don.backtest.trips import RoundTrip
from don.backtest.yearly import Told, as_told
from don.clock import NS_PER_S, iso
from don.words import amount

TRIPS = 15  # best and worst told
TITLES = {
    "total_return": "total return", "annual_return": "CAGR", "annual_volatility": "volatility",
    "sharpe": "Sharpe", "sortino": "Sortino", "max_drawdown": "max drawdown", "calmar": "Calmar",
}  # fmt: skip
_RATES = ("total_return", "annual_return", "annual_volatility", "max_drawdown")
_DRAWN = (
    "growth of 1 on a logarithmic scale, equity at bar closes; benchmarks pay trading costs but no "
    "funding and hold no leverage; long lines are thinned, the least and the greatest point of "
    "each stretch stay"
)


def report(result: BacktestResult, *, draws: int = 1_000, seed: int = 0) -> str:
    """The report as HTML.

    Args:
        result: of a run that began without positions.
        draws: of the bootstrap behind the confidence intervals.
        seed: of the bootstrap.
    """
    told = as_told([result], [metrics(result, draws=draws, seed=seed)])
    found = told.found[0]
    page = Page(f"Backtest {result.policy} {_day(result.start_ns)} to {_day(result.end_ns)}")
    page.title(f"Backtest: {result.policy}", _under(result))
    page.warnings([*cautions(result, found), *told.notes])
    page.tiles(_tiles(result, found, told))
    page.heading("Equity and drawdown", _DRAWN)
    page.figure("equity", charts.equity([(result.policy, result)], columns=True))
    page.heading("Figures")
    _columns(page, found)
    page.heading("Returns by month", "percent of the equity at the month's begin, UTC")
    _months(page, found)
    page.heading(
        "Positions", "value at mark over equity, mean of each stretch; longs up, shorts down"
    )
    page.figure("exposure", charts.exposures(result))
    page.heading("Trades", "size of a marker: notional; hover for sizes")
    page.choice("price", charts.prices(result))
    page.heading("Where the profit came from")
    page.figure("costs", charts.costs(found))
    if result.virtual:
        page.heading("By policy", "virtual books; all but shadows sum to the account, exactly")
        page.figure("books", charts.books(result.virtual))
        page.table(COLUMNS, [row(one, _money) for one in result.virtual], kind="signed")
    page.heading("By symbol", "the parts sum to the profit, exactly")
    page.figure("symbols", charts.symbols(found))
    page.folded("Table", _attribution(found))
    page.heading("Drawdowns")
    _drawdowns(page, found)
    page.heading("Round trips", "from flat to flat, profit after fees and funding")
    _trips(page, found)
    page.heading("Data")
    data_section(page, result)
    page.heading("What this rests on")
    page.table(["", ""], [[one.topic, one.text] for one in result.assumptions], kind="text")
    page.heading("Reproduce")
    page.table(
        ["", ""],
        [
            ["configuration", result.config_hash], ["data", result.data_hash],
            ["features", result.feature_set], ["result", result.digest],
        ],
        kind="text",
    )  # fmt: skip
    page.folded("Configuration", preformatted(_pretty(result.config)))
    return page.html()


def compare(first: BacktestResult, second: BacktestResult, *, draws: int = 1_000) -> str:
    """Two runs side by side, as HTML."""
    names = [f"A: {first.policy}", f"B: {second.policy}"]
    results = [first, second]
    told = as_told(results, [metrics(one, draws=draws) for one in results])
    both = told.found
    page = Page(f"Backtests {names[0]} and {names[1]}")
    page.title(f"{names[0]} beside {names[1]}", [])
    for name, one, found in zip(names, results, both, strict=True):
        page.warnings([f"{name}: {text}" for text in cautions(one, found)])
    page.warnings(told.notes)
    if first.data_hash != second.data_hash or (first.start_ns, first.end_ns) != (
        second.start_ns, second.end_ns,
    ):  # fmt: skip
        page.warnings(
            ["The two ran over different data or times: figures do not compare directly."]
        )
    page.heading("Equity and drawdown")
    page.figure("equity", charts.equity(list(zip(names, results, strict=True)), columns=False))
    page.heading("Figures", "95 % confidence intervals by block bootstrap in brackets")
    rows = []
    for name in FIGURES:
        values = [f.columns[r.policy][name] for f, r in zip(both, results, strict=True)]
        cells = [_figure(name, v) + _bounds(f, name) for v, f in zip(values, both, strict=True)]
        rows.append([TITLES[name], *cells, _difference(name, values)])
    for title, values, form in _more(results, told):
        rows.append([title, *(form.format(v) for v in values), form.format(values[1] - values[0])])
    page.table(["", *names, "B less A"], rows)
    page.heading("By symbol", "profit after fees and funding, quote")
    profits = [{one.symbol: one.pnl for one in found.attribution} for found in both]
    known = sorted({*profits[0], *profits[1]})
    zero = Decimal(0)
    page.table(
        ["symbol", *names, "B less A"],
        [
            [s or "account", *(_money(p.get(s, zero)) for p in profits),
             _money(profits[1].get(s, zero) - profits[0].get(s, zero))]
            for s in known
        ],
        kind="signed",
    )  # fmt: skip
    page.heading("Returns by month")
    for name, found in zip(names, both, strict=True):
        page.heading(name)
        _months(page, found)
    page.heading("Configuration", "what differs")
    page.table(["", *names], _differing(first, second), kind="text")
    return page.html()


def cautions(result: BacktestResult, found: Metrics) -> list[str]:
    """What a reader must know before believing a figure."""
    said = []
    if told := halted(result):
        said.append(
            f"The desk halted at {told}. Ratios over the whole run count the time after it as flat."
        )
    forced = [f for f in result.fills if f.client_order_id.startswith("autoclose")]
    if forced:
        said.append(f"The account was liquidated: {len(forced)} forced fills.")
    if result.differences:
        said.append(
            f"Books and exchange disagreed {len(result.differences)} times: the result is wrong."
        )
    if not (result.equity > 0).all():
        said.append("Equity was not positive throughout: ratios are not defined.")
    low, high = found.intervals["sharpe"]
    if low < 0 < high:
        said.append(
            f"The Sharpe ratio's 95 % interval, {low:.2f} to {high:.2f}, contains zero: this run "
            "alone does not show that the policy earns anything."
        )
    said += data_cautions(result)
    return said


def _under(result: BacktestResult) -> list[str]:
    bar = result.interval_ns // NS_PER_S
    count = len(result.symbols)
    shown = ", ".join(s.removesuffix("-PERP") for s in result.symbols[:8])
    return [
        f"{iso(result.start_ns)} to {iso(result.end_ns)}, {result.bars:,} bars of {bar:,} s",
        f"{count} symbol{'s' if count > 1 else ''}: {shown}{' …' if count > 8 else ''}",
        f"replayed in detail: {result.detail}; {len(result.decisions):,} decisions, "
        f"{amount(len(result.orders), 'order')}, {amount(len(result.fills), 'fill')}",
    ]


def _tiles(result: BacktestResult, found: Metrics, told: Told) -> list[tuple[str, str, str]]:
    own = found.columns[result.policy]
    deep = found.drawdowns[0] if found.drawdowns else None
    when = ""
    if deep is not None:
        end = _day(deep.recovered_ns) if deep.recovered_ns else "not recovered"
        when = f"{_day(deep.peak_ns)} → {_day(deep.trough_ns)} → {end}"
    yearly = told.instead or "95 %" + _bounds(found, "annual_return")
    cost, trips, held, room = found.costs, found.trips, found.exposure, found.capacity
    return [
        ("total return", _rate(own["total_return"]), f"profit {_money(cost.pnl)}"),
        ("CAGR", _rate(own["annual_return"]), yearly),
        ("Sharpe", f"{own['sharpe']:.2f}", "95 %" + _bounds(found, "sharpe")),
        ("max drawdown", _rate(own["max_drawdown"]), when),
        ("volatility", _rate(own["annual_volatility"]), "a year"),
        ("Sortino / Calmar", " / ".join(_figure(n, own[n]) for n in ("sortino", "calmar")), ""),
        ("turnover", f"{found.turnover:,.1f}×", f"traded notional over mean equity, {told.per}"),
        ("fees", f"{cost.fees:,.2f}", f"{_rate(cost.fee_drag)} of mean equity {told.per}"),
        ("funding", _money(cost.funding), f"{_rate(cost.funding_drag)} {told.per}; − is paid"),
        ("hit rate", _rate(trips.hit_rate), f"{trips.count:,} trips, profit factor "
         f"{trips.profit_factor:.2f}"),
        ("exposure", _rate(held.mean_gross), f"gross, mean; max {_rate(held.max_gross)}, net "
         f"{_rate(held.mean_net)}"),
        ("in the market", _rate(held.in_market), "of the bars"),
        ("mean holding", _span(trips.mean_holding_s), "of a round trip"),
        ("capacity", _large(room.half), f"halves the profit; {_large(room.break_even)} takes all"),
    ]  # fmt: skip


def _columns(page: Page, found: Metrics) -> None:
    names = list(found.columns)
    rows = []
    for name in FIGURES:
        cells = [_figure(name, found.columns[column][name]) for column in names]
        rows.append([TITLES[name], cells[0], _bounds(found, name).strip(), *cells[1:]])
    page.table(["", names[0], "95 % interval", *names[1:]], rows)
    days = f"{found.block:.0f} bars" if math.isfinite(found.block) else "too few bars to say"
    page.table(
        [""],
        [[f"intervals: stationary block bootstrap, mean block {days}; a single run's intervals say "
          "nothing of how many policies were tried before"]],
        kind="text",
    )  # fmt: skip


def _months(page: Page, found: Metrics) -> None:
    totals = {
        year: float(np.prod(1.0 + row[np.isfinite(row)]) - 1.0)
        for year, row in found.months.items()
    }
    page.months({year: row.tolist() for year, row in found.months.items()}, totals)


def _attribution(found: Metrics) -> str:
    rows = [
        [
            one.symbol or "account", _money(one.realized), _money(one.unrealized),
            _money(-one.fees), _money(one.funding), _money(one.liquidation), _money(one.pnl),
            f"{float(one.traded):,.0f}",
        ]
        for one in sorted(found.attribution, key=lambda one: -one.pnl)
        if one.traded or one.pnl
    ]  # fmt: skip
    columns = [
        "symbol", "realised", "unrealised", "fees", "funding", "liquidation", "profit", "traded",
    ]  # fmt: skip
    return table(columns, rows, kind="signed")


def _drawdowns(page: Page, found: Metrics) -> None:
    rows = []
    for one in found.drawdowns:
        back = one.recovered_ns
        length = ((back or one.trough_ns) - one.peak_ns) / NS_PER_S
        rows.append(
            [_day(one.peak_ns), _day(one.trough_ns), _day(back) if back else "not recovered",
             _rate(one.depth), _span(length) if back else f"over {_span(length)}"]
        )  # fmt: skip
    page.table(["peak", "lowest", "recovered", "depth", "length"], rows)


def _trips(page: Page, found: Metrics) -> None:
    ended = sorted((t for t in found.round_trips if t.closed_ns), key=lambda t: -t.pnl)
    still = [t for t in found.round_trips if not t.closed_ns]
    page.folded(f"Best {min(TRIPS, len(ended))}", _trip_table(ended[:TRIPS]))
    page.folded(f"Worst {min(TRIPS, len(ended))}", _trip_table(ended[::-1][:TRIPS]))
    if still:
        page.folded(f"Still open: {len(still)}", _trip_table(still))


def _trip_table(trips: Sequence[RoundTrip]) -> str:
    rows = [
        [
            trip.symbol, "long" if trip.side.sign > 0 else "short", iso(trip.opened_ns)[:16],
            iso(trip.closed_ns)[:16] if trip.closed_ns else "open", f"{trip.size:f}",
            f"{float(trip.entry):.6g}", f"{float(trip.exit):.6g}" if trip.closed_size else "",
            _money(trip.realized), _money(-trip.fees), _money(trip.funding), _money(trip.pnl),
        ]
        for trip in trips
    ]  # fmt: skip
    columns = ["symbol", "", "opened", "closed", "size", "entry", "exit", "realised", "fees",
               "funding", "profit"]  # fmt: skip
    return table(columns, rows, kind="signed")


def _more(results: Sequence[BacktestResult], told: Told) -> list[tuple[str, list[float], str]]:
    both = told.found
    return [
        ("profit", [float(one.books.pnl) for one in results], "{:,.2f}"),
        ("fees", [float(f.costs.fees) for f in both], "{:,.2f}"),
        ("funding", [float(f.costs.funding) for f in both], "{:,.2f}"),
        (f"turnover {told.per}", [f.turnover for f in both], "{:,.2f}"),
        ("gross exposure", [f.exposure.mean_gross for f in both], "{:.2%}"),
        ("hit rate", [f.trips.hit_rate for f in both], "{:.2%}"),
        ("round trips", [float(f.trips.count) for f in both], "{:,.0f}"),
        ("fills", [float(len(one.fills)) for one in results], "{:,.0f}"),
        ("capacity (half)", [f.capacity.half for f in both], "{:,.0f}"),
    ]


def _differing(first: BacktestResult, second: BacktestResult) -> list[list[str]]:
    left, right = _flat(json.loads(first.config)), _flat(json.loads(second.config))
    names = sorted({*left, *right})
    rows = [[n, left.get(n, ""), right.get(n, "")] for n in names if left.get(n) != right.get(n)]
    rows += [
        [name, str(a), str(b)]
        for name, a, b in (
            ("data", first.data_hash, second.data_hash),
            ("symbols", ", ".join(first.symbols), ", ".join(second.symbols)),
        )
        if a != b
    ]
    return rows or [["nothing", "", ""]]


def _flat(value: object, path: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found |= _flat(inner, f"{path}.{key}" if path else str(key))
        return found
    return {path: json.dumps(value)}


def _figure(name: str, value: float) -> str:
    return _rate(value) if name in _RATES else f"{value:.2f}".replace("nan", "–")


def _difference(name: str, values: Sequence[float]) -> str:
    return _figure(name, values[1] - values[0])


def _bounds(found: Metrics, name: str) -> str:
    if name not in found.intervals:
        return ""
    low, high = found.intervals[name]
    return f" [{_figure(name, low)}, {_figure(name, high)}]" if math.isfinite(low) else ""


def _rate(value: float) -> str:
    return "–" if not math.isfinite(value) else f"{value * 100:,.1f} %".replace("-", "−")


def _money(amount: Decimal) -> str:
    return f"{float(amount):+,.2f}".replace("-", "−")


def _large(value: float) -> str:
    if not math.isfinite(value):
        return "not known"
    for unit, size in (("bn", 1e9), ("m", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def _day(ts: int) -> str:
    return iso(ts)[:10]


def _span(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "–"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=2)

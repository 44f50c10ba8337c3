"""A backtest's figures beside simple portfolios of the same symbols over the same time. Pure."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numba import njit

from don.backtest.result import BacktestResult, DataShares
from don.clock import iso
from don.execution.forced import forced_by
from don.market.coverage import KEPT
from don.model.messages import PaymentKind
from don.performance import DAY_NS, Performance, measure, resample

VOLATILITY_BARS = 96  # returns that the inverse-volatility column looks back on
REBALANCE_COST = 0.0006  # of what is traded, for the columns that trade: taker fee, half spread
FIGURES = (
    "total_return", "annual_return", "annual_volatility", "sharpe", "sortino", "max_drawdown",
    "calmar",
)  # fmt: skip


def equity_at_bars(result: BacktestResult) -> np.ndarray:
    """[bar] equity when each bar had closed; empty without bars."""
    if not len(result.equity) or not len(result.closes_ts):
        return np.empty(0)
    at = np.searchsorted(result.equity_ts, result.closes_ts, side="right") - 1
    return np.asarray(result.equity[np.maximum(at, 0)])


def benchmarks(result: BacktestResult) -> dict[str, np.ndarray]:
    """Curves [bar] that begin at 1: `hold` buys equal parts once, `equal_weight` brings them back
    to equal at each bar, `inverse_volatility` to 1 / volatility of the last bars.

    A symbol takes part from its first price on. Columns that trade pay `REBALANCE_COST`; `hold`
    pays it once. None pays or gets funding.
    """
    closes = result.closes
    T, N = closes.shape
    if T < 2:
        return {}
    r = np.zeros((T, N))
    known = np.isfinite(closes)
    paired = known[1:] & known[:-1]
    ratio = np.divide(closes[1:], closes[:-1], out=np.ones((T - 1, N)), where=paired)
    r[1:] = ratio - 1.0
    return {
        f"{name} (benchmark)" if name == result.policy else name: _curve(
            np.ascontiguousarray(r), known, kind, VOLATILITY_BARS, REBALANCE_COST
        )
        for kind, name in enumerate(("hold", "equal_weight", "inverse_volatility"))
    }


@njit(cache=True)
def _curve(r: np.ndarray, known: np.ndarray, kind: int, window: int, cost: float) -> np.ndarray:
    """[bar] growth of 1 with returns [bar, symbol]; kind 0 holds, 1 equal, 2 inverse volatility."""
    T, N = r.shape
    curve, w = np.ones(T), np.zeros(N)
    target, sums, squares = np.zeros(N), np.zeros(N), np.zeros(N)
    count = 0
    for t in range(T):
        gain = 0.0
        for n in range(N):
            gain += w[n] * r[t, n]
            past = r[t - window, n] if t >= window else 0.0
            sums[n] += r[t, n] - past
            squares[n] += r[t, n] ** 2 - past**2
        if t:
            curve[t] = curve[t - 1] * (1.0 + gain)
        same, listed = True, 0
        for n in range(N):
            w[n] = w[n] * (1.0 + r[t, n]) / (1.0 + gain) if gain > -1.0 else 0.0
            listed += known[t, n]
            if known[t, n] != (known[t - 1, n] if t else False):
                same = False
        if kind == 0 and same:
            continue
        count = max(listed, 1)
        total = 0.0
        for n in range(N):
            target[n] = 0.0
            if kind == 2 and t + 1 >= window and known[t, n]:
                mean = sums[n] / window
                variance = squares[n] / window - mean * mean
                # sums leave dust where a price stood still
                if variance > 1e-14:
                    target[n] = 1.0 / np.sqrt(variance)
                    total += target[n]
        traded = 0.0
        for n in range(N):
            if total > 0.0:
                target[n] /= total
            else:
                target[n] = (1.0 if known[t, n] else 0.0) / count
            traded += abs(target[n] - w[n])
            w[n] = target[n]
        curve[t] *= 1.0 - cost * traded
    return curve


def figures(equity: np.ndarray, interval_ns: int) -> dict[str, float]:
    """Performance of a curve by name; NaN where it is too short or not positive throughout."""
    if len(equity) < 2 or not (equity > 0).all():
        return dict.fromkeys(FIGURES, float("nan"))
    found: Performance = measure(equity, interval_ns)
    return {name: value for name, value in asdict(found).items() if name in FIGURES}


def columns(result: BacktestResult) -> dict[str, dict[str, float]]:
    """Figures of the run, then those of each benchmark."""
    curves = {result.policy: equity_at_bars(result), **benchmarks(result)}
    return {name: figures(curve, result.interval_ns) for name, curve in curves.items()}


def halted(result: BacktestResult) -> str:
    """When and why the desk halted first; "" if it did not.

    A person ends a halt; in a backtest there is none, so it lasts to the end.
    """
    halts = [one for one in result.decisions if one.status == "halt"]
    if not halts:
        return ""
    why = halts[0].reasons[0] if halts[0].reasons else "no reason on record"
    span = max(result.end_ns - result.start_ns, 1)
    rest = (result.end_ns - halts[0].ts_event) / span
    return f"{iso(halts[0].ts_event)}, with {rest:.1%} of the time still to come: {why}"


def data_shares(result: BacktestResult) -> dict[str, Any]:
    """Where the data came from and the share of its minutes in each state, all symbols together.

    Of files that were not made from the store nothing is known but the bars that they lack.
    """
    if not result.shares:
        own, lacking = (
            sum(getattr(one, name) for one in result.recorded) for name in ("bars", "missing")
        )
        return {"source": "file", "missing": lacking / (own + lacking) if own else None}
    return shares_told(result.shares)


def shares_told(shares: Sequence[DataShares]) -> dict[str, Any]:
    """Source, and the share of all symbols' minutes in each state."""
    minutes = sum(one.minutes for one in shares)
    counts = {str(state): 0 for state in KEPT} | {"unknown": 0}
    for one in shares:
        for state, count in {**one.by_state, "unknown": one.unknown}.items():
            counts[state] += count
    return {
        "source": shares[0].source,
        **{state: count / minutes for state, count in counts.items() if minutes},
    }


def summary(result: BacktestResult) -> dict[str, Any]:
    """Everything that `don backtest` prints; JSON-able."""
    books = result.books
    step = result.interval_ns
    traded = sum((fill.price * fill.size for fill in result.fills), start=books.fees * 0)
    # the opening balance may be stamped with tape time 0, before anything was played: even steps
    # from there on would be half a century of them
    begun = result.equity_ts >= result.start_ns
    even = resample(result.equity_ts[begun], result.equity[begun], step)
    mean = float(even.mean()) if len(even) else float("nan")
    closing = [fill.realized_pnl for fill in result.fills if fill.realized_pnl]
    won = sum(1 for pnl in closing if pnl > 0)
    denied: dict[str, int] = {}
    for denial in result.denials:
        denied[str(denial.code)] = denied.get(str(denial.code), 0) + 1
    ended: dict[str, int] = {}
    for outcome in result.orders:
        ended[str(outcome.status)] = ended.get(str(outcome.status), 0) + 1
    return {
        "session": result.session,
        "policy": result.policy,
        "detail": result.detail,
        "symbols": list(result.symbols),
        "start": iso(result.start_ns),
        "end": iso(result.end_ns),
        "days": (result.end_ns - result.start_ns) / DAY_NS,
        "bars": result.bars,
        "decisions": len(result.decisions),
        "orders": len(result.orders),
        "orders_by_status": ended,
        "fills": len(result.fills),
        "denials": denied,
        "halted": halted(result),
        "funding_payments": sum(p.kind is PaymentKind.FUNDING for p in result.funding),
        "forced_fills": sum(bool(forced_by(f.client_order_id)) for f in result.fills),
        "equity": str(books.equity),
        "pnl": str(books.pnl),
        "realized": str(books.realized),
        "unrealized": str(books.unrealized),
        "fees": str(books.fees),
        "funding": str(books.funding),
        "liquidation": str(books.liquidation),
        "turnover": float(traded) / mean if mean else float("nan"),
        "hit_rate": won / len(closing) if closing else float("nan"),
        "books_equal": not result.differences,
        "policies": [
            {
                "book": one.book,
                "mode": one.mode,
                "policy": one.policy,
                "pnl": str(one.pnl),
                "equity": str(one.final),
                "fees": str(one.fees),
                "funding": str(one.funding),
                "traded": str(one.traded),
                "crossed": str(one.crossed),
            }
            for one in result.virtual
        ],
        "data": data_shares(result),
        "performance": columns(result),
        "assumptions": {one.topic: one.text for one in result.assumptions},
        "config_hash": result.config_hash,
        "data_hash": result.data_hash,
        "digest": result.digest,
    }

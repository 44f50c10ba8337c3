"""A backtest's figures beside simple portfolios of the same symbols over the same time. Pure."""

from dataclasses import asdict
from typing import Any

import numpy as np

from don.backtest.result import BacktestResult
from don.clock import iso
from don.performance import Performance, measure, resample

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
    curves = {name: np.ones(T) for name in ("hold", "equal_weight", "inverse_volatility")}
    for name, curve in curves.items():
        w = np.zeros(N)
        listed = np.zeros(N, bool)
        for t in range(T):
            gain = float(w @ r[t])
            if t:
                curve[t] = curve[t - 1] * (1.0 + gain)
            drifted = w * (1.0 + r[t]) / (1.0 + gain) if gain > -1 else np.zeros(N)
            if name == "hold" and (known[t] == listed).all():
                w = drifted
                continue
            listed = known[t]
            target = _target(name, r[: t + 1], listed)
            curve[t] *= 1.0 - REBALANCE_COST * float(np.abs(target - drifted).sum())
            w = target
    return curves


def _target(name: str, r: np.ndarray, listed: np.ndarray) -> np.ndarray:
    count = max(int(listed.sum()), 1)
    equal = listed / count
    if name != "inverse_volatility" or len(r) < VOLATILITY_BARS:
        return np.asarray(equal)
    sigma = r[-VOLATILITY_BARS:].std(axis=0)
    usable = listed & (sigma > 0)
    inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=usable)
    total = float(inverse.sum())
    return np.asarray(inverse / total if total > 0 else equal)


def figures(equity: np.ndarray, interval_ns: int) -> dict[str, float]:
    """Performance of a curve by name; NaN where it is too short or not positive throughout."""
    if len(equity) < 2 or not (equity > 0).all():
        return dict.fromkeys(FIGURES, float("nan"))
    found: Performance = measure(equity, interval_ns)
    return {name: value for name, value in asdict(found).items() if name in FIGURES}


def summary(result: BacktestResult) -> dict[str, Any]:
    """Everything that `don backtest` prints; JSON-able."""
    books = result.books
    step = result.interval_ns
    columns = {result.policy: figures(equity_at_bars(result), step)}
    columns |= {name: figures(curve, step) for name, curve in benchmarks(result).items()}
    traded = sum((fill.price * fill.size for fill in result.fills), start=books.fees * 0)
    even = resample(result.equity_ts, result.equity, step)
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
        "bars": result.bars,
        "decisions": len(result.decisions),
        "orders": len(result.orders),
        "orders_by_status": ended,
        "fills": len(result.fills),
        "denials": denied,
        "funding_payments": len(result.funding),
        "equity": str(books.equity),
        "pnl": str(books.pnl),
        "realized": str(books.realized),
        "unrealized": str(books.unrealized),
        "fees": str(books.fees),
        "funding": str(books.funding),
        "turnover": float(traded) / mean if mean else float("nan"),
        "hit_rate": won / len(closing) if closing else float("nan"),
        "books_equal": not result.differences,
        "performance": columns,
        "assumptions": {one.topic: one.text for one in result.assumptions},
        "config_hash": result.config_hash,
        "data_hash": result.data_hash,
        "digest": result.digest,
    }

"""Bench of the decision path in one process: a snapshot in, checked orders out; and the optimizer.

CPU time of one thread, so that other load on the machine does not count. A decision is all that the
desk does for it: prices, equity, covariance, forecast, request; then the answer, risk, planning, a
check of each order and the record. The optimizer's own time is the other row.
"""

import importlib
import importlib.util
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from don.bench.portfolio import built_anew
from don.clock import NS_PER_S
from don.engine import Engine, EngineConfig
from don.model.instrument import Instrument
from don.model.messages import (
    AccountReport,
    FeatureSnapshot,
    FillReport,
    OptimizeRequest,
    OrderReport,
    SessionStart,
    SubmitOrder,
    Target,
    TargetStatus,
)
from don.model.order import Fill, Order, OrderStatus
from don.portfolio.config import PortfolioConfig
from don.portfolio.limits import limits_for, violation
from don.portfolio.optimizer import PortfolioOptimizer
from don.risk.config import RiskConfig

N = 5
BAR_NS = 60 * NS_PER_S
FEATURES = ("return_48", "return_192", "zscore_24")
RUNS = 5


def rows(full: bool) -> list[dict[str, Any]]:
    """The rows `desk.decision_us` and `desk.optimizer_ms`."""
    return [_decisions(2_000 if full else 400), _solves(50, 60 if full else 20)]


# ---- the decision path --------------------------------------------------------------------------


def _decisions(count: int) -> dict[str, Any]:
    ours = [statistics.median(_session(count, seed)) for seed in range(RUNS)]
    peers = [statistics.median(_bare(count, seed)) for seed in range(RUNS)]
    value, peer = statistics.median(ours), statistics.median(peers)
    return {
        "area": "desk",
        "name": "desk.decision_us",
        "value": value,
        "unit": "us",
        "n": count * RUNS,
        "min": min(ours),
        "max": max(ours),
        "peer": "bare numpy rebalance: no books, risk, costs or record",
        "peer_value": peer,
        "ratio": peer / value,
    }


def _instruments() -> tuple[Instrument, ...]:
    return tuple(
        Instrument(
            symbol=f"C{i}-USDT-PERP",
            exchange="BINANCE_FUTURES",
            exchange_symbol=f"C{i}USDT",
            base=f"C{i}",
            quote="USDT",
            tick_size=Decimal("0.01"),
            lot_size=Decimal("0.001"),
            min_size=Decimal("0.001"),
            max_size=Decimal(1_000_000),
            min_notional=Decimal(5),
            max_leverage=20,
            maker_fee=Decimal("0.0002"),
            taker_fee=Decimal("0.0004"),
        )
        for i in range(N)
    )


def _market(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Closes [time, symbol] and target weights [time, symbol] that change on every bar."""
    rng = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.002, (count, N)), axis=0)), 2)
    return closes, rng.uniform(-0.2, 0.2, (count, N))


def _session(count: int, seed: int) -> list[float]:
    """CPU microseconds of each decision; fills are handed back between decisions, untimed."""
    symbols = tuple(i.symbol for i in _instruments())
    # wall time moves a bar at a time, so that the order rate is not what is measured
    engine = Engine(
        SessionStart(
            key="start",
            session="bench",
            account="bench",
            policy="momentum",
            symbols=symbols,
            instruments=_instruments(),
            interval_ns=BAR_NS,
            feature_set="bench",
            config=EngineConfig(risk=RiskConfig(max_daily_loss=Decimal(1))).model_dump_json(),
            state="",
            ts_recv=0,
            features=FEATURES,
        )
    )
    engine.step(
        AccountReport(
            key="account",
            balance=Decimal(100_000),
            positions=(),
            open_orders=(),
            final=False,
            ts_event=0,
            ts_recv=0,
        )
    )
    warm = 30
    closes, weights = _market(count + warm, seed)
    rng = np.random.default_rng(seed)
    spent = []
    for t in range(len(closes)):
        now = (t + 1) * BAR_NS
        snapshot = FeatureSnapshot(
            key=f"snapshot:{t}",
            version=t + 1,
            ts_event=now,
            ts_recv=now,
            feature_set="bench",
            symbols=symbols,
            names=FEATURES,
            values=rng.normal(0, 0.02, (N, len(FEATURES))),
            close=closes[t],
            mark=closes[t],
            stale=(),
            ts_taken=now,
        )
        start = time.process_time_ns()
        outputs = engine.step(snapshot)
        taken = time.process_time_ns() - start
        requests = [o for o in outputs if isinstance(o, OptimizeRequest)]
        if not requests:
            continue
        target = Target(
            key=f"target:{t}",
            decision=requests[0].decision,
            symbols=symbols,
            weights=weights[t],
            status=TargetStatus.OPTIMAL,
            detail="",
            solve_ms=0.0,
            ts_recv=now,
        )
        start = time.process_time_ns()
        outputs = engine.step(target)
        taken += time.process_time_ns() - start
        orders = [o.order for o in outputs if isinstance(o, SubmitOrder)]
        if not orders:
            raise AssertionError(f"every decision of the bench must trade, this did not: {outputs}")
        spent.append(taken / 1e3)
        for order in orders:
            _fill(engine, order, now)
    return spent


def _fill(engine: Engine, order: Order, now: int) -> None:
    """The exchange's word that an order is filled at its price."""
    price = order.price or Decimal(1)
    fill = Fill(
        trade_id=f"{now}{order.index}",
        client_order_id=order.client_order_id,
        exchange_order_id="1",
        symbol=order.symbol,
        side=order.side,
        price=price,
        size=order.size,
        fee=Decimal(0),
        realized_pnl=None,
        maker=False,
        ts_event=now,
    )
    engine.step(FillReport(key=f"fill:{order.client_order_id}", fill=fill, ts_recv=now))
    engine.step(
        OrderReport(
            key=f"order:{order.client_order_id}",
            client_order_id=order.client_order_id,
            exchange_order_id="1",
            symbol=order.symbol,
            status=OrderStatus.FILLED,
            filled=order.size,
            detail="",
            ts_event=now,
            ts_recv=now,
        )
    )


def _bare(count: int, seed: int) -> list[float]:
    """The least that could be called a decision: weights to rounded sizes in float64."""
    closes, weights = _market(count, seed)
    held, lot, equity = np.zeros(N), 0.001, 100_000.0
    spent = []
    for t in range(count):
        start = time.process_time_ns()
        delta = np.trunc((weights[t] * equity / closes[t] - held) / lot) * lot
        orders = [(i, size, closes[t, i]) for i, size in enumerate(delta) if size]
        spent.append((time.process_time_ns() - start) / 1e3)
        for i, size, _ in orders:
            held[i] += size
    return spent


# ---- the optimizer ------------------------------------------------------------------------------


def _solves(n: int, count: int) -> dict[str, Any]:
    config = PortfolioConfig(max_weight=0.1)
    optimizer = PortfolioOptimizer(config)
    optimizer.warm(n)
    peer_name, peer_solve = _peer(config)
    ours, peers = [], []
    for request in (_request(n, seed) for seed in range(count)):
        ours.append(_timed(lambda r: optimizer.solve(r).weights, request, config))
        peers.append(_timed(peer_solve, request, config))
    value, peer = statistics.median(ours), statistics.median(peers)
    return {
        "area": "desk",
        "name": "desk.optimizer_ms",
        "value": value,
        "unit": f"ms at {n} symbols",
        "n": count,
        "min": min(ours),
        "max": max(ours),
        "peer": peer_name,
        "peer_value": peer,
        "ratio": peer / value,
    }


def _timed(
    solve: Callable[[OptimizeRequest], np.ndarray],
    request: OptimizeRequest,
    config: PortfolioConfig,
) -> float:
    start = time.process_time_ns()
    weights = solve(request)
    spent = (time.process_time_ns() - start) / 1e6
    excess = violation(weights, request.w_now, limits_for(config, request.w_now, request.tradable))
    if excess > 1e-3:
        raise AssertionError(f"the answer must keep the limits, was {excess:.1e} beyond them")
    return spent


def _request(n: int, seed: int) -> OptimizeRequest:
    rng = np.random.default_rng(seed)
    X = rng.normal(0, 0.006, (4 * n, n)) + rng.normal(0, 0.006, (4 * n, 1))
    return OptimizeRequest(
        decision=1,
        ts_event=0,
        symbols=tuple(f"C{i}-USDT-PERP" for i in range(n)),
        mu=rng.normal(0, 2e-4, n),
        Sigma=X.T @ X / len(X),
        w_now=rng.normal(0, 0.5 / n, n),
        w_last=np.zeros(n),
        cost=np.full(n, 5e-4),
        tradable=np.ones(n, dtype=bool),
    )


def _peer(config: PortfolioConfig) -> tuple[str, Callable[[OptimizeRequest], np.ndarray]]:
    """PyPortfolioOpt with the same goal and limits, or the problem in cvxpy on every call."""
    if importlib.util.find_spec("pypfopt") is None:
        return "cvxpy, problem built anew", built_anew(config)
    package: Any = importlib.import_module("pypfopt")
    cp: Any = importlib.import_module("cvxpy")

    def solve(request: OptimizeRequest) -> np.ndarray:
        H, w_now = config.horizon_bars, request.w_now
        frontier = package.EfficientFrontier(
            H * request.mu,
            H * request.Sigma,
            weight_bounds=(-config.max_weight, config.max_weight),
            solver="CLARABEL",
        )

        def cost(w: Any) -> Any:
            return float(request.cost[0]) * cp.norm1(w - w_now)

        def gross(w: Any) -> Any:
            return cp.norm1(w) <= config.max_gross

        def turnover(w: Any) -> Any:
            return cp.norm1(w - w_now) <= config.max_turnover

        frontier.add_objective(cost)
        frontier.add_constraint(gross)
        frontier.add_constraint(turnover)
        # its quadratic utility always adds up to one; ours is free to hold cash
        frontier.max_quadratic_utility(risk_aversion=config.risk_aversion, market_neutral=True)
        return np.array(list(frontier.weights))

    return f"PyPortfolioOpt {package.__version__}", solve

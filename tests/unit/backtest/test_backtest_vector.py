"""The vector mode against the engine over closed bars: the same weights give the same fills."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from don.backtest import BacktestConfig, BacktestResult, run
from don.backtest.panel import Market, open_market, span
from don.backtest.summary import equity_at_bars
from don.backtest.vector import VectorResult, prepare, simulate
from don.errors import ConfigError

BARS = 700
HOLES = (*range(310, 314), 450)  # that no symbol has; a day begins in the first


def made(path: Path, *, thin: bool = False, crash: bool = False) -> Path:
    rng = np.random.default_rng(21)
    frames = []
    for n, (symbol, price, digits) in enumerate(
        (("ADAUSDT", 0.4, 4), ("BTCUSDT", 40_000, 1), ("ETHUSDT", 2_000, 2), ("XRPUSDT", 0.6, 4))
    ):
        close = price * np.exp(np.cumsum(rng.normal(0.0002, 0.006, BARS)))
        if crash and n == 1:
            close[500:] *= 0.4
        before = np.concatenate([close[:1], close[:-1]])
        reach = np.abs(rng.normal(0, 0.003, (2, BARS)))
        worth = rng.uniform(5e4, 5e5, BARS) if thin else rng.uniform(5e6, 5e7, BARS)
        frame = pd.DataFrame(
            {
                "symbol": symbol,
                "timestamp": pd.date_range("2024-01-01", periods=BARS, freq="1h", tz="UTC"),
                "open": before,
                "high": np.maximum(before, close) * (1 + reach[0]),
                "low": np.minimum(before, close) * (1 - reach[1]),
                "close": close,
                "volume": np.round(worth / close, 3 if price > 100 else 0),
            }
        )
        frame[["open", "high", "low", "close"]] = frame[["open", "high", "low", "close"]].round(
            digits
        )
        frame = frame.drop(index=list(HOLES))
        frames.append(frame.loc[350:].drop(index=[400, 401]) if n == 3 else frame)
    pd.concat(frames).to_parquet(path)
    return path


def both(tape: Path, **changes: Any) -> tuple[BacktestResult, VectorResult, Market, BacktestConfig]:
    base = {"tape": str(tape), "detail": "bars", "policy": "momentum", "history_bars": 200}
    config = BacktestConfig.model_validate({**base, **changes})
    result, market = run(config), open_market(config)
    begin, stop = span(config, market, None, None)
    decided = [d for d in result.decisions if (d.snapshot and d.weights.any()) or d.orders]
    decided = [d for d in decided if d.status not in ("halt", "flatten", "skipped")]
    at = np.searchsorted(market.close_ns, [d.ts_event for d in decided])
    weights = np.array([d.weights for d in decided])
    return result, simulate(prepare(market), config, begin, stop, at, weights), market, config


def fills_of(result: BacktestResult, market: Market) -> list[tuple[int, int, int]]:
    listed = market.panel.instruments
    place = {one.symbol: n for n, one in enumerate(listed)}
    return [
        (n := place[f.symbol], int(f.size / listed[n].lot_size) * f.side.sign,
         int(f.price / listed[n].tick_size))
        for f in result.fills
    ]  # fmt: skip


def check(result: BacktestResult, found: VectorResult, market: Market, least: int = 50) -> None:
    assert result.differences == ()
    exact, ours = fills_of(result, market), [tuple(row[1:]) for row in found.fills.tolist()]
    assert ours[: len(exact)] == exact[: len(ours)] and len(ours) == len(exact) > least
    books = result.books
    for name in ("equity", "fees", "funding", "liquidation", "realized"):
        assert_allclose(getattr(found, name), float(getattr(books, name)), rtol=1e-9, atol=1e-4)
    assert_allclose(found.curve, equity_at_bars(result), rtol=1e-9, atol=1e-7)
    brought = float(books.pnl - books.liquidation)
    assert_allclose(found.flows.sum(), brought, rtol=1e-9, atol=1e-4)
    assert found.denied == len(result.denials)
    if not found.liquidations:  # the engine may try to close what is being taken from it
        assert found.orders == len(result.orders)


@pytest.mark.warm
@pytest.mark.parametrize(
    "changes",
    [
        {"engine": {"decide_every": 1, "planner": {"band": "0.001"}}},
        {"engine": {"planner": {"band": "0.001", "style": "market"}, "decide_every": 4},
         "fills": {"price": "path", "after": 0.6}},
        {"engine": {"risk": {"max_order_notional": "2500", "max_orders": 9}, "decide_every": 6},
         "fills": {"price": "open"}, "fees": {"taker": "0.0003"}},
    ],
    ids=["limits", "market", "slices"],
)  # fmt: skip
def test_fills_are_the_engines(tmp_path: Path, changes: dict[str, Any]) -> None:
    result, found, market, _ = both(made(tmp_path / "bars.parquet"), **changes)
    check(result, found, market)
    assert result.funding


def test_thin_books_leave_the_same_rests(tmp_path: Path) -> None:
    engine = {"decide_every": 3, "planner": {"band": "0.001"}}
    tape = made(tmp_path / "bars.parquet", thin=True)
    result, found, market, _ = both(tape, engine=engine)
    check(result, found, market)
    assert any(order.filled < order.order.size for order in result.orders)


def test_leverage_is_refused_and_liquidated_alike(tmp_path: Path) -> None:
    engine = {
        "decide_every": 24, "planner": {"band": "0.001", "max_slices": 60},
        "policies": {"hold": {"gross": 8.0}},
        "portfolio": {"max_gross": 8.0, "max_weight": 4.0, "max_turnover": 8.0},
        "risk": {"max_gross_leverage": "9", "max_position_notional": "2000000",
                 "max_daily_loss": "1", "max_order_notional": "500000"},
    }  # fmt: skip
    tape = made(tmp_path / "bars.parquet", crash=True)
    result, found, market, _ = both(tape, policy="hold", engine=engine)
    assert found.liquidations >= 1 and any("autoclose" in f.client_order_id for f in result.fills)
    check(result, found, market, least=20)


def test_a_daily_loss_halts_alike(tmp_path: Path) -> None:
    engine = {"decide_every": 4, "risk": {"max_daily_loss": "0.01"}}
    result, found, market, _ = both(made(tmp_path / "bars.parquet"), engine=engine)
    halts = [d for d in result.decisions if d.status == "halt"]
    assert halts and market.close_ns[found.halted] == halts[0].ts_event
    assert not found.positions.any()
    check(result, found, market, least=10)


def test_rules_that_it_does_not_keep_are_refused(tmp_path: Path) -> None:
    tape = made(tmp_path / "bars.parquet")
    config = BacktestConfig.model_validate({"tape": str(tape), "detail": "bars"})
    data = prepare(open_market(config))
    at, w = np.array([300]), np.zeros((1, 4))
    for engine, field in (
        ({"planner": {"style": "passive"}}, "style"),
        ({"risk": {"max_drawdown": "0.2"}}, "max_drawdown"),
    ):
        wrong = BacktestConfig.model_validate({"tape": str(tape), "engine": engine})
        with pytest.raises(ConfigError, match=field):
            simulate(data, wrong, 200, 500, at, w)
    with pytest.raises(ValueError, match="targets"):
        simulate(data, config, 200, 500, at, np.zeros((2, 4)))

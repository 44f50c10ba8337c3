"""The exchange liquidates the account: its forced fills and fees are booked, books agree after."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from don.backtest import BacktestConfig, run
from don.backtest.summary import summary
from don.execution.forced import forced_by
from don.model.messages import PaymentKind
from don.model.portfolio import ZERO

BARS, CRASH = 120, 90
WILD = {
    "decide_every": 16,
    "policies": {"hold": {"gross": 8.0}},
    "portfolio": {"max_weight": 8.0, "max_gross": 8.0, "max_turnover": 16.0},
    "covariance": {"min_bars": 20},
    "risk": {
        "max_gross_leverage": "9", "max_position_notional": "900000",
        "max_order_notional": "900000", "max_daily_loss": "1",
    },
}  # fmt: skip


def crashing(path: Path) -> Path:
    """Two symbols of half-hour bars that grow; then the first loses two fifths in one bar."""
    rng = np.random.default_rng(5)
    frames = []
    for n, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0.0005, 0.004, BARS))), 2)
        if n == 0:
            close[CRASH:] = np.round(close[CRASH:] * 0.6, 2)
        before = np.concatenate([close[:1], close[:-1]])
        frames.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "timestamp": pd.date_range("2024-01-01", periods=BARS, freq="30min", tz="UTC"),
                    "open": before,
                    "high": np.round(np.maximum(before, close) * 1.001, 2),
                    "low": np.round(np.minimum(before, close) * 0.999, 2),
                    "close": close,
                    "volume": np.round(rng.uniform(50_000, 100_000, BARS), 3),
                }
            )
        )
    pd.concat(frames).to_parquet(path)
    return path


@pytest.mark.parametrize("detail", ["bars", "exchange"])
def test_liquidation_is_booked_as_what_it_is(tmp_path: Path, detail: str) -> None:
    config = BacktestConfig.model_validate(
        {
            "tape": str(crashing(tmp_path / "bars.parquet")), "detail": detail, "policy": "hold",
            "history_bars": 60, "engine": WILD, "fills": {"participation": 1.0},
            "features": {"names": ["log_return_1"]},
        }
    )  # fmt: skip
    result = run(config)
    assert result.differences == ()  # what the exchange did is a fact, and the books agree with it
    forced = [f for f in result.fills if forced_by(f.client_order_id) == "liquidation"]
    said = [d for d in result.decisions if d.status == "forced"]
    assert forced and len(said) == len(forced)
    assert "liquidation by the exchange: sell" in said[0].reasons[0]

    books = result.books
    paid = {
        kind: sum((p.amount for p in result.funding if p.kind is kind), ZERO)
        for kind in PaymentKind
    }
    assert books.liquidation == paid[PaymentKind.LIQUIDATION] != 0
    assert books.funding == paid[PaymentKind.FUNDING]
    earned = books.realized - books.fees + books.funding + books.liquidation
    assert books.balance == books.deposits + earned
    told = summary(result)
    assert told["forced_fills"] == len(forced) and told["books_equal"] is True

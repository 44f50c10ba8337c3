"""A backtest of several policies: its books sum to the account, and the report shows each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from don.backtest import BacktestConfig, BacktestResult, run
from don.backtest.books import real_pnl
from don.backtest.parity import compare
from don.backtest.report import report
from don.backtest.session import course_of
from don.backtest.summary import summary
from don.backtest.trips import attribution
from don.errors import ConfigError
from don.model.portfolio import ZERO

HOURS = 420
SLOTS = [
    {"name": "trend", "policy": "momentum"},
    {"name": "even", "policy": "hold", "share": 0.3},
    {"name": "idea", "policy": "inverse_volatility", "mode": "shadow"},
]


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slots") / "bars.parquet"
    rng = np.random.default_rng(5)
    frames = []
    for symbol in ("BTCUSDT", "ETHUSDT"):
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0.0005, 0.004, HOURS))), 2)
        before = np.concatenate([close[:1], close[:-1]])
        frames.append(
            pd.DataFrame(
                {
                    "symbol": symbol,
                    "timestamp": pd.date_range("2024-01-01", periods=HOURS, freq="30min", tz="UTC"),
                    "open": before,
                    "high": np.round(np.maximum(before, close) * 1.001, 2),
                    "low": np.round(np.minimum(before, close) * 0.999, 2),
                    "close": close,
                    "volume": np.round(rng.uniform(500, 5000, HOURS), 3),
                }
            )
        )
    pd.concat(frames).to_parquet(path)
    return path


def config(tape: Path) -> BacktestConfig:
    engine = {
        "decide_every": 4,
        "planner": {"band": "0.001"},
        "slots": SLOTS,
        "allocation": {"every": 10, "min_history": 8},
    }
    return BacktestConfig.model_validate(
        {"tape": str(tape), "detail": "bars", "history_bars": 240, "engine": engine}
    )


@pytest.fixture(scope="module")
def result(tape: Path) -> BacktestResult:
    return run(config(tape))


def test_books_sum_to_the_account(result: BacktestResult) -> None:
    assert result.policy == "trend+even" and result.fills and result.differences == ()
    modes = {one.book: one.mode for one in result.virtual}
    assert modes == {"desk": "desk", "trend": "live", "even": "live", "idea": "shadow"}
    real = [one for one in result.virtual if one.mode != "shadow"]
    assert sum((one.final for one in real), ZERO) == result.books.equity
    assert real_pnl(result.virtual) == result.books.pnl
    assert sum((one.fees for one in real), ZERO) == result.books.fees
    assert sum((one.funding for one in real), ZERO) == result.books.funding
    for one in result.virtual:
        parts = one.realized + one.unrealized - one.fees + one.funding + one.liquidation
        assert parts == one.pnl
    assert sum((part.pnl for part in attribution(result)), ZERO) == result.books.pnl
    trend = next(one for one in result.virtual if one.book == "trend")
    assert len(trend.ts) == len(trend.equity) > 20 and (np.diff(trend.ts) > 0).all()


def test_the_same_run_again_is_equal(result: BacktestResult, tape: Path) -> None:
    assert run(config(tape)).digest == result.digest


def test_books_are_compared_to_the_last_digit(result: BacktestResult) -> None:
    one = course_of(result)
    found = compare(one, one)
    assert found.equal and found.books[2] == len(result.entries) + sum(
        len(book.ts) for book in result.virtual
    )
    fee = next(n for n, entry in enumerate(result.entries) if entry.fee)
    moved = list(result.entries)
    moved[fee] = replace(moved[fee], book="even" if moved[fee].book == "trend" else "trend")
    found = compare(one, replace(one, entries=moved))
    assert not found.equal and moved[fee].symbol in found.first_difference
    assert found.books[2] == found.books[0] - 1 and found.fills[0] == found.fills[2]


def test_report_and_summary_show_each_policy(result: BacktestResult) -> None:
    page = report(result, draws=50)
    assert "By policy" in page and "idea" in page
    told = {one["book"]: one for one in summary(result)["policies"]}
    assert set(told) == {"desk", "trend", "even", "idea"} and told["idea"]["mode"] == "shadow"


def test_the_vector_mode_refuses_slots(tape: Path) -> None:
    from don.backtest.vector import check

    with pytest.raises(ConfigError, match="vector mode has one policy"):
        check(config(tape))

"""A backtest over every event: exact, repeatable, saved and loaded, honest about bad input."""

import json
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from don.backtest import BacktestConfig, BacktestResult, run
from don.backtest.files import load, save
from don.backtest.parity import Cause, compare
from don.backtest.session import course_of
from don.backtest.summary import summary
from don.errors import DataError, UsageError
from don.model.portfolio import ZERO

SPAN = {"start": "2018-12-01T00:00:00Z", "end": "2018-12-01T12:00:00Z"}
RULES = {"order_latency": 0.25}


def config(**changes: object) -> BacktestConfig:
    return BacktestConfig.model_validate({**SPAN, "exchange": RULES, **changes})


@pytest.fixture(scope="module")
def result() -> BacktestResult:
    return run(config())


def test_books_are_the_sum_of_what_happened(result: BacktestResult) -> None:
    books = result.books
    assert result.fills and result.decisions
    assert result.differences == ()
    assert books.fees == sum((fill.fee for fill in result.fills), ZERO)
    assert books.funding == sum((paid.amount for paid in result.funding), ZERO)
    assert books.balance == books.deposits + books.realized - books.fees + books.funding
    assert books.equity == books.balance + books.unrealized


def test_requests_take_effect_at_their_point_of_the_bar(result: BacktestResult) -> None:
    step = result.interval_ns
    assert {fill.ts_event % step for fill in result.fills} == {step // 4}


def test_another_process_finds_the_same_bytes(result: BacktestResult) -> None:
    program = (
        "import sys, json; from don.backtest import BacktestConfig, run;"
        "print(run(BacktestConfig.model_validate_json(sys.argv[1])).digest)"
    )
    text = config().model_dump_json()
    done = subprocess.run(
        [sys.executable, "-c", program, text], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == result.digest


def test_saved_and_loaded_it_is_the_same(result: BacktestResult, tmp_path: Path) -> None:
    save(result, tmp_path / "run", tables=True)
    assert load(tmp_path / "run").digest == result.digest
    names = {path.name for path in (tmp_path / "run").glob("*.parquet")}
    assert {"fills.parquet", "orders.parquet", "equity.parquet"} <= names
    with pytest.raises(DataError, match="does not exist"):
        load(tmp_path / "none")


def test_summary_has_benchmarks_and_states_assumptions(result: BacktestResult) -> None:
    told = json.loads(json.dumps(summary(result)))
    assert set(told["performance"]) == {"momentum", "hold", "equal_weight", "inverse_volatility"}
    assert {"fills", "latency", "fees", "funding", "margin"} <= set(told["assumptions"])
    assert told["books_equal"] is True


def test_a_summary_takes_memory_for_the_span_alone(result: BacktestResult) -> None:
    """The opening balance is stamped before the tape begins: nothing is laid out from there."""
    assert result.equity_ts[0] < result.start_ns
    tracemalloc.start()
    told = summary(replace(result, interval_ns=10**9))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert told["turnover"] == pytest.approx(summary(result)["turnover"], rel=0.01)


def test_equal_to_itself_and_differences_are_split_to_the_last_digit(
    result: BacktestResult,
) -> None:
    same = compare(course_of(result), course_of(result))
    assert same.equal and same.difference == 0
    assert same.fills == (len(result.fills),) * 3
    for changes, cause in (
        ({"exchange": {"order_latency": 0.75}}, Cause.LATENCY),
        ({"fees": {"taker": "0.001"}}, Cause.FEE),
        ({"seed": 7}, Cause.FILL_PRICE),
    ):
        found = compare(course_of(result), course_of(run(config(**changes))))
        assert not found.equal and found.first_difference
        assert sum(found.parts.values(), ZERO) == found.difference
        assert found.parts[cause] != 0


def test_drawn_latency_delays_fills_and_is_seeded() -> None:
    slow = {"exchange": {}, "latency": {"measured_ms": [1000.0, 2500.0]}, "end": SPAN["start"]}
    slow["end"] = "2018-12-01T03:00:00Z"
    one, again = run(config(**slow)), run(config(**slow))
    assert one.fills and one.digest == again.digest
    assert run(config(**slow, seed=1)).digest != one.digest


def test_rebates_and_fee_tiers_reach_the_books() -> None:
    free = run(config(end="2018-12-01T03:00:00Z", fees={"taker": "0", "maker": "0"}))
    assert free.fills and free.books.fees == Decimal(0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"end": "2018-11-01"}, "end must be after the start"),
        ({"start": "soon"}, "start must be an ISO-8601 time"),
        ({"tape": "nowhere.parquet"}, "does not exist"),
        ({"symbols": ["DOGE-USDT-PERP"]}, "has no symbol"),
        ({"detail": "bars", "start": "2030-01-01"}, "there was none between 2030-01-01T00"),
        ({"start": "3000-01-01"}, "start must be an ISO-8601 time from 1677-09-22 to 2262-04-11"),
    ],
)
def test_bad_input_is_named(changes: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run(config(**changes))

"""Recorded depth of two symbols, real and busy: steps at once make the backtest of single steps."""

from pathlib import Path

import pytest

from don.backtest import BacktestConfig
from don.backtest.run import run_tape
from don.clock import iso
from don.paper.merged import Merged
from don.paper.recorded import RecordedTape
from don.paper.tape import open_tape

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600)]

FOLDER = Path(__file__).resolve().parents[3] / "shared/data/raw/binance_depth"
FILES = [FOLDER / f"usdm_{name}_20240808.gz" for name in ("btcusdt", "ethusdt")]
SECONDS = 30
SECOND = 10**9


@pytest.mark.parametrize("style", ["passive", "limit_ioc"])
def test_several_symbols_at_once_are_their_events(style: str, tmp_path: Path) -> None:
    if not all(file.exists() for file in FILES):
        pytest.skip("no recordings at ../shared/data/raw/binance_depth")
    results = []
    for whole in (True, False):
        tape = open_tape(FILES, interval="1s", kept=tmp_path)
        assert isinstance(tape, RecordedTape) and isinstance(tape.columns, Merged)
        if not whole:
            tape.columns = None
        engine = {
            "decide_every": 2,
            "portfolio": {"objective": "risk_parity"},
            "planner": {"style": style, "passive_offset": "0.00001"},
        }
        config = BacktestConfig.model_validate(
            {
                "policy": "inverse_volatility",
                "end": iso(tape.time_of(tape.start) + SECONDS * SECOND),
                "engine": {**engine, "covariance": {"min_bars": 5}},
                "latency": {"constant_ms": 40},
                "history_bars": 5,
            }
        )
        results.append(run_tape(config, tape))
    first, second = results
    assert first.fills and first.orders
    assert first.digest == second.digest

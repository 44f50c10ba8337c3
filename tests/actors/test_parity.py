"""A session on real sockets and actors, and its backtest: equal to the last digit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.desk_run import DeskRun, don
from support.stepped import SteppedMarket

from don.storage.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(600)]

DATA = Path(__file__).resolve().parents[3] / "shared/data"
MINUTES = DATA / "binance_usdm_ohlcv_1m_2025spring.parquet"
SYMBOLS = "BTC-USDT-PERP,ETH-USDT-PERP,XRP-USDT-PERP,ADA-USDT-PERP,SOL-USDT-PERP"
BARS = 90  # of each of five symbols: 450 forecasts, weights and plans in 90 decisions
LATENCY = 0.5
CONFIG = f"""
policy = "mean_reversion"

[paper.exchange]
order_latency = {LATENCY}

[engine.planner]
band = "0.002"

[engine.policies.mean_reversion]
entry = 0.5
information = 0.3
"""


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    (don_home / "don.toml").write_text(CONFIG)
    yield don_home
    EmbeddedPostgres(don_home).stop()


def test_session_and_backtest_are_equal_to_the_last_digit(home: Path) -> None:
    """Over a funding payment: minute bars of five symbols from 07:00 UTC, or the sample."""
    market = ["--tape", str(MINUTES), "--symbols", SYMBOLS, "--start", "2025-05-12T07:00:00Z"]
    run = DeskRun(home, "--no-console", "--speed", "max", *(market if MINUTES.exists() else []))
    try:
        stepped = SteppedMarket(run)
        stepped.history_came()
        status = stepped.call("GET", "status")
        interval = 60 if status["interval"] == "1m" else 1800
        interval_ns = interval * 10**9
        begin = status["tapeTime"] * 1_000_000 // interval_ns * interval_ns
        for bar in range(1, BARS + 1):
            stepped.bar(begin + bar * interval_ns, interval_ns, LATENCY)
        stepped.close()
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0
    assert summary["fills"] > 50

    compared = don(home, "session", "parity", summary["session"], "--json")
    assert compared.returncode == 0, compared.stdout[-4000:] + compared.stderr[-2000:]
    found = json.loads(compared.stdout)
    assert found["equal"] is True
    assert found["decisions"]["equal"] >= BARS
    for what in ("decisions", "orders", "fills"):
        assert len(set(found[what].values())) == 1, found
    assert found["first_difference"] == ""
    assert {float(part) for part in found["parts"].values()} == {0.0}

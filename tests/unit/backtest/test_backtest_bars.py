"""A backtest over closed bars: blocks of quiet bars change nothing, limits hold inside them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from don.backtest import BacktestConfig, BacktestResult, bars, run

HOURS = 900
HOLES = (*range(334, 338), 520)  # that no symbol has; a day begins in the first
INTERVAL = "30m"


def made(path: Path, late: int = 0, crash: bool = False) -> Path:
    """Two symbols of half-hour bars; the second may be listed later, the first may crash."""
    rng = np.random.default_rng(5)
    frames = []
    for n, symbol in enumerate(("BTCUSDT", "ETHUSDT")):
        close = np.round(100 * np.exp(np.cumsum(rng.normal(0.0005, 0.004, HOURS))), 2)
        if crash and n == 0:
            close[700:] = np.round(close[700:] * 0.6, 2)
        before = np.concatenate([close[:1], close[:-1]])
        frame = pd.DataFrame(
            {
                "symbol": symbol,
                "timestamp": pd.date_range("2024-01-01", periods=HOURS, freq="30min", tz="UTC"),
                "open": before,
                "high": np.round(np.maximum(before, close) * 1.001, 2),
                "low": np.round(np.minimum(before, close) * 0.999, 2),
                "close": close,
                "volume": np.round(rng.uniform(500, 5000, HOURS) * (20 if crash else 1), 3),
            }
        )
        frames.append(frame.iloc[late if n else 0 :].drop(index=list(HOLES), errors="ignore"))
    pd.concat(frames).to_parquet(path)
    return path


def config(tape: Path, **changes: object) -> BacktestConfig:
    base = {
        "tape": str(tape), "detail": "bars", "policy": "momentum", "history_bars": 240,
        "engine": {"decide_every": 8, "planner": {"band": "0.001"}},
    }  # fmt: skip
    return BacktestConfig.model_validate({**base, **changes})


def course(result: BacktestResult) -> list[str]:
    return [repr(one) for one in (*result.decisions, *result.orders, *result.fills)]


@pytest.mark.parametrize("style", ["limit_ioc", "market", "passive"])
def test_quiet_bars_in_blocks_are_bars_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    tape = made(tmp_path / "bars.parquet")
    engine = {"decide_every": 8, "planner": {"style": style, "band": "0.001"}}
    whole = run(config(tape, engine=engine))
    monkeypatch.setattr(bars._Run, "_quiet", lambda self, slot: 0)
    single = run(config(tape, engine=engine))
    assert whole.fills and whole.funding and whole.differences == single.differences == ()
    assert course(whole) == course(single)
    assert whole.digest == single.digest  # books, payments and every point of equity as well


def paid(path: Path, seed: int) -> Path:
    """Payments every hour, four or eight hours, some of them nothing, one so large that it hurts;
    the second symbol begins and ends in the middle.
    """
    rng = np.random.default_rng(seed)
    frames = []
    for symbol, begin, end in (("BTCUSDT", 0, HOURS // 2), ("ETHUSDT", 90, 380)):
        hours = np.arange(begin, end, int(rng.choice([1, 4, 8])))
        rates = np.round(rng.normal(0.0, 0.002, len(hours)), 8) * (rng.random(len(hours)) < 0.8)
        rates[len(rates) // 2] = 0.05
        times = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h")
        frames.append(pd.DataFrame({"symbol": symbol, "timestamp": times, "funding_rate": rates}))
    pd.concat(frames).to_parquet(path)
    return path


@pytest.mark.parametrize("seed", range(4))
def test_payments_inside_blocks_are_payments_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    tape, funding = made(tmp_path / "bars.parquet"), paid(tmp_path / "funding.parquet", seed)
    engine = {
        "decide_every": int(np.random.default_rng(seed).choice([16, 48, 96])),
        "planner": {"band": "0.001"}, "risk": {"max_daily_loss": "0.04"},
    }  # fmt: skip
    settings = config(tape, engine=engine, funding=str(funding))
    whole = run(settings)
    monkeypatch.setattr(bars._Run, "_quiet", lambda self, slot: 0)
    single = run(settings)
    assert len(whole.funding) > 40 and whole.differences == ()
    assert whole.funding == single.funding and whole.books == single.books
    assert np.array_equal(whole.equity_ts, single.equity_ts)
    assert np.array_equal(whole.equity, single.equity)
    assert whole.digest == single.digest


def test_a_symbol_is_not_traded_before_it_is_listed(tmp_path: Path) -> None:
    result = run(config(made(tmp_path / "bars.parquet", late=500), policy="hold"))
    listed = pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta("30min") * 500
    late = [fill.ts_event for fill in result.fills if fill.symbol == "ETH-USDT-PERP"]
    assert late and min(late) > listed.value
    assert np.isnan(result.closes[:200, result.symbols.index("ETH-USDT-PERP")]).all()


def test_a_crash_inside_a_block_liquidates(tmp_path: Path) -> None:
    tape = made(tmp_path / "bars.parquet", crash=True)
    wild = {
        "decide_every": 400,
        "policies": {"hold": {"gross": 8.0}},
        "portfolio": {"max_weight": 8.0, "max_gross": 8.0, "max_turnover": 16.0},
        "risk": {
            "max_gross_leverage": "9", "max_position_notional": "900000",
            "max_order_notional": "900000", "max_daily_loss": "1",
        },
    }  # fmt: skip
    settings = config(tape, policy="hold", engine=wild, fills={"participation": 1.0})
    result = run(settings)
    forced = [f for f in result.fills if not f.client_order_id.startswith("don-")]
    assert forced
    assert result.books.balance == 0  # what the insurance fund made up is booked too


def test_order_arrives_at_its_part_of_the_next_bar_at_a_worse_price(tmp_path: Path) -> None:
    tape = made(tmp_path / "bars.parquet")
    hard = run(config(tape, fills={"half_spread": 0.003}))
    soft = run(config(tape, fills={"price": "open", "half_spread": 0.0}))
    step = hard.interval_ns
    assert {fill.ts_event % step for fill in hard.fills} == {step // 4}
    one, other = hard.fills[0], soft.fills[0]
    assert one.client_order_id == other.client_order_id
    assert one.side.sign * (one.price - other.price) > 0

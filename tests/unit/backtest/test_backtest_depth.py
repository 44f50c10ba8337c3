"""A backtest over a recording of depth: many steps at once, or one by one, it is the same."""

from decimal import Decimal

import numpy as np
import pytest

from don.backtest import BacktestConfig
from don.backtest.run import run_tape
from don.clock import iso
from don.paper.events import BookUpdate
from don.paper.funding import load_funding
from don.paper.recorded import RecordedTape, Recording
from don.paper.tape_data import make_instrument

SYMBOL = "BTCUSDT"
SECOND = 10**9
SECONDS = 50
BEGIN = 1_735_689_600 * SECOND


def recording(seconds: int, symbol: str = SYMBOL, seed: int = 5) -> Recording:
    """A book of twenty levels a side that swings, ten changes a second, and a trade after each."""
    rng = np.random.default_rng(seed)
    turns = np.rint(15 * np.sin(np.arange(10 * seconds) / 20)).astype(np.int64)
    middle = 600_000 + turns + rng.integers(-2, 3, 10 * seconds)
    books, trades = [], []
    known: dict[int, int] = {}
    for n, at in enumerate(middle.tolist()):
        ts = BEGIN + n * SECOND // 10
        sides = {p: int(rng.integers(1, 900)) for p in range(at - 20, at + 20)}
        gone = {p: 0 for p in known if p not in sides}
        known, rows = sides, {**gone, **sides}
        bids = tuple((p, z) for p, z in rows.items() if p < at)
        asks = tuple((p, z) for p, z in rows.items() if p >= at)
        books.append(BookUpdate(symbol=symbol, ts=ts, bids=bids, asks=asks, snapshot=n == 0))
        buy = bool(rng.integers(0, 2))
        trades.append((ts + 1, at if buy else at - 1, int(rng.integers(1, 700)), buy))
    ts, price, lots, buys = (np.array(column) for column in zip(*trades, strict=True))
    order = np.arange(len(trades), dtype=np.int64)
    return Recording(
        instrument=make_instrument(symbol, Decimal("0.1"), Decimal("0.001")),
        ts=ts, arrival=2 * order + 1, id=order + 1, price=price, lots=lots, buy=buys,
        count=np.ones(len(ts), np.int64), books=tuple(books), book_arrival=2 * order,
        begin_ns=BEGIN,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("style", "symbols", "changes"),
    [
        ("passive", (SYMBOL,), {"exchange": {"order_latency": 0.3}}),
        ("passive", (SYMBOL, "ETHUSDT"), {"latency": {"constant_ms": 70}}),
        ("limit_ioc", (SYMBOL, "ETHUSDT"), {"latency": {"constant_ms": 120}, "speed": 3.0}),
    ],
)
def test_steps_at_once_make_the_same_backtest(
    style: str, symbols: tuple[str, ...], changes: dict
) -> None:
    engine = {"decide_every": 2, "portfolio": {"objective": "risk_parity"}}
    engine["planner"] = {"style": style}
    config = BacktestConfig.model_validate(
        {"interval": "1s", "policy": "inverse_volatility", "end": iso(BEGIN + SECONDS * SECOND),
         "engine": engine, **changes}
    )  # fmt: skip
    recordings = [recording(SECONDS + 2, symbol, seed) for seed, symbol in enumerate(symbols, 5)]
    results = []
    for whole in (True, False):
        funding = load_funding(None, symbols)
        tape = RecordedTape("test", recordings, SECOND, funding, start_ns=BEGIN)
        assert tape.columns is not None
        if not whole:
            tape.columns = None
        results.append(run_tape(config, tape))
    first, second = results
    assert first.orders and (first.fills or style == "passive")
    assert first.digest == second.digest

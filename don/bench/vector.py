"""Bench of the vector mode, and what peers make of the same bars. Reads only a timer.

Peers are optional: where one is not installed or does not run, its row says why.
"""

import statistics
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from don.backtest import BacktestConfig
from don.backtest.panel import Market, open_market, span
from don.backtest.vector import prepare, simulate

DECIDE_EVERY = 240  # bars: every four hours
TURN_EVERY = 60  # bars, of the engine's peer
REPEAT = 5
RUNS = 3
PEER_BARS = 10_000  # of a symbol, of which two


def rows(tape: Path) -> list[dict[str, Any]]:
    """The row `backtest.bars_vector`: bars, over all symbols, per second of one core's own time.

    Rebalances to weights given every four hours of minute bars, with fees, funding, margin and a
    drawn book; vectorbt orders to the same weights, with fees and slippage alone.
    """
    config = BacktestConfig.model_validate(
        {"tape": str(tape), "detail": "bars", "engine": {"risk": {"max_daily_loss": "1"}}}
    )
    market = open_market(config)
    begin, stop = span(config, market, None, None)
    data, count = prepare(market), (stop - begin) * len(market.panel.instruments)
    at = np.arange(begin, stop, DECIDE_EVERY)
    rng = np.random.default_rng(2)
    w = rng.normal(0, 0.3, (len(at), len(market.panel.instruments)))
    w /= np.abs(w).sum(axis=1, keepdims=True)
    found = simulate(data, config, begin, stop, at, w)  # compiles
    if not len(found.fills) or found.refused or found.denied:
        raise AssertionError("the course must trade as its weights say")

    def again() -> None:
        for _ in range(REPEAT):
            simulate(data, config, begin, stop, at, w)

    rates = [_rate(again, count * REPEAT) for _ in range(RUNS)]
    peer, why = _peer("vectorbt", lambda lib: _vectorbt(lib, market, begin, stop, at, w))
    value = statistics.median(rates)
    return [
        {
            "area": "backtest", "name": "backtest.bars_vector", "value": value, "unit": "bars/s",
            "n": count, "min": min(rates), "max": max(rates),
            **peer_columns(value, peer, why),
        }
    ]  # fmt: skip


def engine_peer(tape: Path) -> tuple[tuple[str, float | None], str]:
    """What backtesting.py makes of the same bars: a strategy that turns its position once an hour,
    symbol after symbol, without funding, margin, lots or a book; and why it is not there.
    """
    market = open_market(BacktestConfig.model_validate({"tape": str(tape), "detail": "bars"}))
    return _peer("backtesting", lambda lib: _backtesting(lib, market))


def peer_columns(value: float, peer: tuple[str, float | None], why: str) -> dict[str, Any]:
    """A row's columns of its peer."""
    name, rate = peer
    if rate is None:
        return {"peer": None, "peer_value": None, "ratio": None, "note": f"{name}: {why}"}
    return {"peer": name, "peer_value": rate, "ratio": value / rate}


# ---- peers ---------------------------------------------------------------------------------------


def _backtesting(lib: Any, market: Market) -> float:
    pd: Any = import_module("pandas")

    class Turns(lib.Strategy):  # type: ignore[misc,unused-ignore]
        def init(self) -> None:
            self.bar = 0

        def next(self) -> None:
            self.bar += 1
            if self.bar % TURN_EVERY == 0:
                up = self.data.Close[-1] > self.data.Close[-TURN_EVERY]
                self.position.close()
                (self.buy if up else self.sell)(size=0.1)

    inner: Any = import_module("backtesting.backtesting")
    inner._tqdm = lambda steps, **_: steps  # no progress bar
    panel, S = market.panel, min(market.panel.slots, PEER_BARS)
    frames = []
    for n in range(2):
        tick = float(panel.instruments[n].tick_size)
        frames.append(
            pd.DataFrame(
                {
                    "Open": panel.open[:S, n] * tick, "High": panel.high[:S, n] * tick,
                    "Low": panel.low[:S, n] * tick, "Close": panel.close[:S, n] * tick,
                    "Volume": panel.volume[:S, n],
                },
                index=pd.to_datetime(market.close_ns[:S]),
            )
        )  # fmt: skip

    def course() -> None:
        for frame in frames:
            lib.Backtest(frame, Turns, cash=1e7, commission=0.0005, finalize_trades=True).run()

    return statistics.median(_rate(course, S * len(frames)) for _ in range(RUNS))


def _vectorbt(
    lib: Any, market: Market, begin: int, stop: int, at: np.ndarray, w: np.ndarray
) -> float:
    pd: Any = import_module("pandas")

    close = pd.DataFrame(market.close[begin:stop])
    size = np.full(close.shape, np.nan)
    size[at - begin] = w

    def course() -> None:
        made = lib.Portfolio.from_orders(
            close, size=size, size_type="targetpercent", fees=0.0005, slippage=0.0002,
            init_cash=100_000.0, group_by=True, cash_sharing=True, freq="1min",
        )  # fmt: skip
        made.value()

    course()  # compiles
    return statistics.median(_rate(course, close.size) for _ in range(RUNS))


def _peer(name: str, measure: Callable[[Any], float]) -> tuple[tuple[str, float | None], str]:
    """Peer and rate; no rate, and why, where it is not installed or does not run."""
    try:
        lib = import_module(name)
        return (name, measure(lib)), ""
    except Exception as error:  # a peer that fails in any way is no peer: say how
        return (name, None), f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"


def _rate(act: Callable[[], object], count: int) -> float:
    start = time.process_time()
    act()
    return count / (time.process_time() - start)

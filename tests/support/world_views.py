"""The unmoving parts of the test world: recorded bars, and views that no trading changes."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from don.execution.tca import OrderCost
from don.observe.sample import sample

SAMPLE = Path(__file__).parents[2] / "don" / "paper" / "sample" / "spot_usd_30m.parquet"
SESSION = "k7f3q"
INTERVAL_NS = 1_800_000_000_000
TICKS = 8  # market updates a bar
DIGITS = {"BTC": (1, 4), "ETH": (2, 3), "LTC": (2, 3), "XRP": (5, 1), "EOS": (4, 1)}
FEE = Decimal("0.0005")


def symbol_of(base: str) -> str:
    return f"{base}-USDT-PERP"


def load_bars(history: int, length: int) -> dict[str, list[dict[str, Any]]]:
    """Bars by symbol; `history` of them lie before the session."""
    table = pq.read_table(SAMPLE)
    found: dict[str, list[dict[str, Any]]] = {}
    rows = table.to_pylist()
    for base in DIGITS:
        own = [row for row in rows if row["symbol"].startswith(base)][2_000 : 2_000 + length]
        found[symbol_of(base)] = [
            {
                "ts_open": int(row["timestamp"].timestamp()) * 1_000_000_000,
                **{key: row[key] for key in ("open", "high", "low", "close", "volume")},
            }
            for row in own
        ]
    assert history < length
    return found


def session_view(symbols: Sequence[str]) -> dict[str, Any]:
    """As the driver puts it."""
    return {
        "session": SESSION,
        "account": "paper",
        "policy": "momentum",
        "exchange": "BINANCE_FUTURES",
        "mode": "paper",
        "symbols": list(symbols),
        "interval_ns": INTERVAL_NS,
        "speed": 1800.0,
        "ts_start": 1_746_372_780_000_000_000,
        "instruments": [
            {
                "symbol": symbol_of(base),
                "exchange": "BINANCE_FUTURES",
                "exchange_symbol": f"{base}USDT",
                "base": base,
                "quote": "USDT",
                "tick_size": Decimal(1).scaleb(-ticks),
                "lot_size": Decimal(1).scaleb(-lots),
                "max_leverage": 20,
                "maker_fee": Decimal("0.0002"),
                "taker_fee": FEE,
            }
            for base, (ticks, lots) in DIGITS.items()
        ],
    }


def health_views(
    symbols: Sequence[str], ts: int, bars: int, fills: int
) -> dict[str, dict[str, Any]]:
    """As every part puts its own."""
    channels = ("trades", "quotes", "books", "bars", "funding")
    streams = [
        {"stream": f"{c} {s}", "state": "live", "ts_event": ts, "events": 40 * bars}
        for s in symbols
        for c in channels
    ]
    return {
        "feed": {"detail": "1,240 events/s", "streams": streams},
        "cache": {"detail": f"{bars} bar sets"},
        "desk": {"detail": "decision 1.9 ms"},
        "optimizer": {"detail": "solve 3.1 ms"},
        "execution": {
            "detail": "round trip 1.2 ms",
            "streams": [{"stream": "user data", "events": fills}],
            "metrics": [
                sample("exchange_clock_ahead_seconds", 0.0021, exchange="BINANCE_FUTURES"),
                sample("exchange_clock_error_seconds", 0.0004, exchange="BINANCE_FUTURES"),
            ],
        },
        "exchange": {"detail": "paper, 1800x"},
        "database": {"detail": "embedded, 0.8 ms"},
        "supervisor": {"detail": "8 parts watched"},
    }


def forming(bar: Mapping[str, Any], tick: int) -> dict[str, Any]:
    """The bar of now after `tick` of its ticks: a path from open over its extremes to close."""
    up = bar["close"] >= bar["open"]
    turn = (bar["low"], bar["high"]) if up else (bar["high"], bar["low"])
    path = (bar["open"], turn[0], turn[1], bar["close"])
    where = tick / (TICKS - 1) * 3
    leg = min(2, math.floor(where))
    price = path[leg] + (path[leg + 1] - path[leg]) * (where - leg)
    seen = [*path[: leg + 1], price]
    return {
        "ts_open": bar["ts_open"],
        "open": bar["open"],
        "high": max(seen),
        "low": min(seen),
        "close": price,
        "volume": bar["volume"] * (tick + 1) / TICKS,
    }


def costs() -> list[OrderCost]:
    """What one order by hand cost."""
    return [
        OrderCost(
            order="m1",
            symbol="BTC-USDT-PERP",
            side="buy",
            kind="twap",
            actor="cli",
            decision=1,
            ts_event=1,
            ts_done=2,
            children=2,
            fills=2,
            size=Decimal(2),
            filled=Decimal(2),
            average=Decimal(101),
            fees=Decimal("0.08"),
            maker=0.5,
            arrival=100.0,
            vwap=100.5,
            close=102.0,
            arrival_bps=100.0,
            vwap_bps=49.75,
            close_bps=-98.04,
            fee_bps=4.0,
            missed=None,
        )
    ]

"""The paper exchange on real recordings of trades and books, as its clients see them."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.paper import SYMBOL, raw, served, stream

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
DEPTH = DATA / "raw" / "binance_depth" / "usdm_btcusdt_20240808.gz"
TRADES = DATA / "binance_usdm_aggtrades_apeusdt_20241018.parquet"


def needs(path: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not path.exists(), reason=f"{path.name} is not here: recorded data")


@needs(DEPTH)
async def test_a_recorded_book_is_rebuilt_from_its_stream(tmp_path: Path) -> None:
    async with (
        served(tmp_path, tape=DEPTH, speed="20") as ready,
        raw(ready) as rest,
        stream(ready, "/ws/btcusdt@depth@0ms/btcusdt@aggTrade") as socket,
    ):
        seen = [await socket.receive_json() for _ in range(500)]
        await rest("POST", "/paper/v1/pause")
        _, first, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        await rest("POST", "/paper/v1/resume")
        seen += [await socket.receive_json() for _ in range(2_000)]
        await rest("POST", "/paper/v1/pause")
        _, last, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        while max(e["u"] for e in seen if e["e"] == "depthUpdate") < last["lastUpdateId"]:
            seen.append(await socket.receive_json())
    diffs = [e for e in seen if e["e"] == "depthUpdate" and e["u"] > first["lastUpdateId"]]
    assert len(diffs) > 100
    for short, side in (("b", "bids"), ("a", "asks")):
        levels = dict(map(tuple, first[side]))
        for diff in diffs:
            levels.update(map(tuple, diff[short]))
        live = {price: size for price, size in levels.items() if Decimal(size)}
        best = sorted(live.items(), key=lambda level: Decimal(level[0]), reverse=side == "bids")
        # a snapshot of 1000 levels cannot follow what lies deeper, so the far end is left out
        assert best[:200] == [tuple(level) for level in last[side]][:200]
    trades = [e["a"] for e in seen if e["e"] == "aggTrade"]
    assert trades == list(range(trades[0], trades[0] + len(trades)))


@needs(TRADES)
async def test_recorded_trades_make_minute_bars(tmp_path: Path) -> None:
    async with (
        served(tmp_path, tape=TRADES, speed="20bar") as ready,
        raw(ready) as rest,
        stream(ready, "/ws/apeusdt@kline_1m/apeusdt@aggTrade") as socket,
    ):
        trades: list[dict[str, Any]] = []
        closed: list[dict[str, Any]] = []
        while len(closed) < 3:
            event = await socket.receive_json()
            if event["e"] == "aggTrade":
                trades.append(event)
            elif event["k"]["x"]:
                closed.append(event["k"])
        bar = closed[-1]
        within = [t for t in trades if bar["t"] <= t["T"] <= bar["T"]]
        assert sum(Decimal(t["q"]) for t in within) == Decimal(bar["v"])
        assert Decimal(within[-1]["p"]) == Decimal(bar["c"])
        _, info, _ = await rest("GET", "/fapi/v1/exchangeInfo")
        assert [s["symbol"] for s in info["symbols"]] == ["APEUSDT"]

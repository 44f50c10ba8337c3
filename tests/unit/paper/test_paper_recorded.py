"""A recorded market through the paper exchange: what it publishes is what was recorded."""

import gzip
import json
from decimal import Decimal as D
from itertools import islice
from pathlib import Path

import pytest
from market_kit import exchange, instrument, lots, market, ticks

from don.paper.events import BookUpdate, DepthDiff, PublicTrade, TradePrint
from don.paper.types import Status

RECORDING = Path(__file__).parents[4] / "shared/data/raw/binance_depth/usdm_btcusdt_20240808.gz"
SYMBOL = "BTCUSDT"


def messages(count):
    """The first messages after the snapshot: ("book", bids, asks, whole) and ("trade", ...)."""
    with gzip.open(RECORDING, "rt") as lines:
        known = None
        for line in islice(lines, count):
            _, text = line.split(" ", 1)
            message = json.loads(text)
            if "lastUpdateId" in message:
                known = message["lastUpdateId"]
                yield "book", message["bids"], message["asks"], True
                continue
            data = message["data"]
            if known is None:
                continue
            if data["e"] == "depthUpdate" and data["u"] > known:
                yield "book", data["b"], data["a"], False
            elif data["e"] == "trade" and data.get("X", "MARKET") == "MARKET":
                yield "trade", data["p"], data["q"], not data["m"]


@pytest.mark.skipif(not RECORDING.exists(), reason="recorded depth (shared/data) is not here")
def test_the_published_book_is_the_recorded_one():
    ex = exchange(instrument("BTC"), deposit=D(10**7))
    recorded, published = ({}, {}), ({}, {})
    trades = prints = diffs = 0
    for number, (kind, *what) in enumerate(messages(12_000)):
        if kind == "trade":
            price, size, buy = what
            event = TradePrint(
                symbol=SYMBOL,
                ts=number,
                id=number,
                price=ticks(price),
                size=lots(size),
                buy=buy,
            )
            prints += 1
        else:
            bids, asks, whole = what
            for side, changes in zip(recorded, (bids, asks), strict=True):
                if whole:
                    side.clear()
                for price, size in changes:
                    side[D(price)] = D(size)
                    if not D(size):
                        del side[D(price)]
            sides = (tuple((ticks(p), lots(z)) for p, z in side) for side in (bids, asks))
            b, a = sides
            event = BookUpdate(symbol=SYMBOL, ts=number, bids=b, asks=a, snapshot=whole)
            diffs += 1
        for out in ex.apply(event):
            if isinstance(out, PublicTrade):
                trades += 1
            elif isinstance(out, DepthDiff):
                for side, changes in zip(published, (out.bids, out.asks), strict=True):
                    side.update(changes)
                    for price, size in changes:
                        if not size:
                            del side[price]
        assert number % 50 or published == recorded
    assert published == recorded
    assert trades == prints > 100
    assert diffs > 100
    order, _ = ex.place(market("buy", 20))
    assert order.status is Status.FILLED
    assert order.average > max(recorded[0])

"""Unmodified cryptofeed BinanceFutures against the paper exchange: only endpoints overridden."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from cryptofeed import FeedHandler
from cryptofeed.defines import (
    CANDLES,
    FUNDING,
    L2_BOOK,
    LIQUIDATIONS,
    TICKER,
    TRADES,
)
from cryptofeed.exchanges import BinanceFutures
from cryptofeed.symbols import Symbols
from support.paper import SYMBOL, Rest, raw, served, trusting, until

from don.paper.server.config import Ready

NAME = "BTC-USDT-PERP"
NAMES = [NAME, "ETH-USDT-PERP"]
CHANNELS = [TRADES, L2_BOOK, TICKER, CANDLES, FUNDING, LIQUIDATIONS]


class Seen:
    """What the callbacks were given."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = defaultdict(list)
        self.books: dict[str, dict[int, tuple[Any, Any]]] = defaultdict(dict)
        self.snapshots = 0  # a second one of a symbol would mean a gap in the sequence

    def callbacks(self) -> dict[str, Any]:
        def keep(channel: str) -> Any:
            async def callback(row: Any, received: float) -> None:
                self.rows[channel].append(row)

            return callback

        return {c: keep(c) for c in CHANNELS if c != L2_BOOK} | {L2_BOOK: self.book}

    async def book(self, book: Any, received: float) -> None:
        self.rows[L2_BOOK].append(book.sequence_number)
        self.snapshots += book.delta is None
        levels = (book.book.bids.to_dict(), book.book.asks.to_dict())
        self.books[book.symbol][book.sequence_number] = levels


@contextlib.asynccontextmanager
async def listening(ready: Ready, channels: list[str]) -> AsyncIterator[Seen]:
    """cryptofeed, connected, in this event loop."""
    Symbols.clear()
    local = type("Local", (BinanceFutures,), {})
    (socket,), (rest,) = BinanceFutures.websocket_endpoints, BinanceFutures.rest_endpoints
    options = {"ssl": trusting(ready), "compression": None}
    local.websocket_endpoints = [replace(socket, address=ready.stream_url, options=options)]
    local.rest_endpoints = [replace(rest, address=ready.rest_url)]
    seen = Seen()

    def build() -> Any:  # fetches the symbols with blocking HTTP
        return local(
            symbols=NAMES,
            channels=channels,
            callbacks=seen.callbacks(),
            candle_interval="30m",
            candle_closed_only=False,
        )

    handler = FeedHandler(config={"uvloop": False, "log": {"disabled": True}})
    handler.add_feed(await asyncio.to_thread(build))
    handler.run(start_loop=False, install_signal_handlers=False)
    try:
        yield seen
    finally:
        await handler.stop_async(asyncio.get_running_loop())
        Symbols.clear()


async def book_of(rest: Rest) -> tuple[int, dict[Decimal, Decimal], dict[Decimal, Decimal]]:
    """(last update id, bids, asks) of the depth call."""
    _, depth, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
    bids, asks = ({Decimal(p): Decimal(q) for p, q in depth[side]} for side in ("bids", "asks"))
    return depth["lastUpdateId"], bids, asks


async def test_every_callback_is_fed(tmp_path: Path) -> None:
    # so near the liquidation margin that the opening costs already call it
    rules = {"deposit": 1000, "maintenance_rate": "0.0499", "default_leverage": 20}
    async with (
        served(tmp_path, speed="5bar", exchange=rules) as ready,
        raw(ready) as rest,
        listening(ready, CHANNELS) as seen,
    ):
        wanted = [c for c in CHANNELS if c != LIQUIDATIONS]
        await until(lambda: all(len(seen.rows[c]) > 3 for c in wanted), "five kinds of callback")
        _, book, _ = await rest("GET", "/fapi/v1/ticker/bookTicker", symbol=SYMBOL)
        size = (Decimal(980) * 20 / Decimal(book["askPrice"])).quantize(Decimal("0.01"))
        status, answer, _ = await rest(
            "POST",
            "/fapi/v1/order",
            signed=True,
            symbol=SYMBOL,
            side="BUY",
            type="MARKET",
            quantity=size,
            timestamp=await wall(rest),
        )
        assert status == 200, answer
        await until(lambda: seen.rows[LIQUIDATIONS], "a liquidation")
        await until(lambda: any(c.closed for c in seen.rows[CANDLES]), "a closed candle")

    (first, *_) = seen.rows[LIQUIDATIONS]
    assert (first.symbol, first.side) == (NAME, "sell")
    ids = [int(t.id) for t in seen.rows[TRADES] if t.symbol == NAME]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert {t.symbol for t in seen.rows[TRADES]} == set(NAMES)
    assert all(t.bid < t.ask for t in seen.rows[TICKER])
    assert all(f.next_funding_time > f.timestamp - 1 for f in seen.rows[FUNDING])
    for candle in seen.rows[CANDLES]:
        assert candle.low <= min(candle.open, candle.close)
        assert max(candle.open, candle.close) <= candle.high


async def test_the_rebuilt_book_is_the_exchange_s(tmp_path: Path) -> None:
    async with (
        served(tmp_path, speed="20bar") as ready,
        raw(ready) as rest,
        listening(ready, [L2_BOOK, TRADES]) as seen,
    ):
        for _ in range(5):
            known = len(seen.rows[L2_BOOK])
            await until(lambda known=known: len(seen.rows[L2_BOOK]) > known + 50, "book updates")
            await rest("POST", "/paper/v1/pause")
            last, bids, asks = await book_of(rest)
            await until(lambda last=last: last in seen.books[NAME], f"book update {last}")
            assert seen.books[NAME][last] == (bids, asks)
            await rest("POST", "/paper/v1/resume")
        assert seen.snapshots == len(NAMES)


async def wall(rest: Rest) -> int:
    """The exchange's wall clock, ms."""
    return (await rest("GET", "/fapi/v1/time"))[1]["serverTime"]

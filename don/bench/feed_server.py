"""A loopback exchange that sends prepared messages as fast as they are read. Its own process.

Run as `python -m don.bench.feed_server FOLDER MESSAGES`; prints one line of JSON when it listens.
Every connection to the streams gets the same messages: first and last a liquidation of the first
symbol, between them the mix of a real USD-M recording, at plausible sizes.
"""

import asyncio
import base64
import hashlib
import json
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from don.paper.server.identity import ensure_certificate

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "LTCUSDT")
START_MS = 1_700_000_040_000
FIRST_ID = 1_000
LEVELS = 10  # changed levels a side and diff
CHUNK = 1 << 16
CLOSE = 0x88  # first byte of the frame that ends a connection
# quotes, trades, diffs, forming klines, mark prices: shares of a recorded market
MIX = (0.62, 0.25, 0.10, 0.02, 0.01)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def messages(count: int, seed: int = 7) -> Iterator[tuple[str, dict[str, Any]]]:
    """(stream name, data) of each message."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(len(MIX), count, p=MIX)
    which = rng.integers(0, len(SYMBOLS), count)
    sizes = rng.integers(1, 5_000, (count, 2 * LEVELS))
    update = dict.fromkeys(SYMBOLS, FIRST_ID)
    trade = dict.fromkeys(SYMBOLS, 0)
    yield _liquidation(START_MS)
    for i in range(count):
        symbol, now = SYMBOLS[which[i]], START_MS + i // 20
        middle = 6_000_000 + int(rng.integers(-50, 50)) * 10  # hundredths
        size = [f"{n / 1000:.3f}" for n in sizes[i]]
        name = symbol.lower()
        if kinds[i] == 0:
            yield f"{name}@bookTicker", {
                "e": "bookTicker", "u": i, "s": symbol, "b": _price(middle - 1), "B": size[0],
                "a": _price(middle + 1), "A": size[1], "T": now, "E": now,
            }  # fmt: skip
        elif kinds[i] == 1:
            trade[symbol] += 1
            yield f"{name}@aggTrade", {
                "e": "aggTrade", "E": now, "s": symbol, "a": trade[symbol], "p": _price(middle),
                "q": size[0], "f": i, "l": i, "T": now, "m": bool(i % 2),
            }  # fmt: skip
        elif kinds[i] == 2:
            previous, update[symbol] = update[symbol], update[symbol] + 7
            yield f"{name}@depth@100ms", {
                "e": "depthUpdate", "E": now, "T": now, "s": symbol, "U": previous + 1,
                "u": update[symbol], "pu": previous,
                "b": [[_price(5_999_000 - 10 * k), size[k]] for k in range(LEVELS)],
                "a": [[_price(6_001_000 + 10 * k), size[LEVELS + k]] for k in range(LEVELS)],
            }  # fmt: skip
        elif kinds[i] == 3:
            yield f"{name}@kline_1m", {
                "e": "kline", "E": now, "s": symbol,
                "k": {
                    "t": START_MS, "T": START_MS + 59_999, "s": symbol, "i": "1m", "f": 1, "L": 2,
                    "o": "60000", "c": "60000", "h": "60001", "l": "59999", "v": "10", "n": 5,
                    "x": False, "q": "1", "V": "1", "Q": "1", "B": "0",
                },
            }  # fmt: skip
        else:
            yield f"{name}@markPrice", {
                "e": "markPriceUpdate", "E": now, "s": symbol, "p": _price(middle),
                "i": _price(middle), "P": _price(middle), "r": "0.00010000", "T": now + 1000,
            }  # fmt: skip
    yield _liquidation(START_MS + count)


def _price(hundredths: int) -> str:
    return f"{hundredths // 100}.{hundredths % 100:02d}"


def _liquidation(now: int) -> tuple[str, dict[str, Any]]:
    order = {
        "s": SYMBOLS[0], "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "0.5", "p": "60000",
        "ap": "60000", "X": "FILLED", "l": "0.5", "z": "0.5", "T": now,
    }  # fmt: skip
    return f"{SYMBOLS[0].lower()}@forceOrder", {"e": "forceOrder", "E": now, "o": order}


def frame(text: bytes) -> bytes:
    """A server's WebSocket text frame."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    return bytes((0x81, 126)) + size.to_bytes(2, "big") + text


async def serve(folder: Path, count: int) -> None:
    """Listen until standard input ends."""
    prepared = b"".join(
        frame(json.dumps({"stream": name, "data": data}, separators=(",", ":")).encode())
        for name, data in messages(count)
    )

    async def stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
            writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            for start in range(0, len(prepared), CHUNK):
                writer.write(prepared[start : start + CHUNK])
                await writer.drain()
            while (data := await reader.read(CHUNK)) and data[0] != CLOSE:
                continue  # a ping
        except (ConnectionError, asyncio.IncompleteReadError):
            print("reader hung up", file=sys.stderr)
        finally:
            writer.close()

    certificate = ensure_certificate(folder, datetime.now(UTC))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate, certificate.private_key)
    sockets = await asyncio.start_server(stream, "127.0.0.1", 0, ssl=tls)
    app = web.Application()
    app.router.add_get("/fapi/v1/exchangeInfo", _info)
    app.router.add_get("/fapi/v1/depth", _depth)
    app.router.add_get("/fapi/v1/klines", _klines)
    runner = web.AppRunner(app)
    await runner.setup()
    rest = web.TCPSite(runner, "127.0.0.1", 0)
    await rest.start()
    listening = {
        "rest": runner.addresses[0][1],
        "streams": sockets.sockets[0].getsockname()[1],
        "ca_file": str(certificate.certificate),
        "bytes": len(prepared),
    }
    print(json.dumps(listening), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


async def _info(request: web.Request) -> web.Response:
    listed = [
        {
            "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING",
            "baseAsset": symbol[:-4], "quoteAsset": "USDT", "marginAsset": "USDT",
            "filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.01"}],
        }
        for symbol in SYMBOLS
    ]  # fmt: skip
    return web.json_response({"symbols": listed})


async def _depth(request: web.Request) -> web.Response:
    bids = [[_price(5_999_000 - 10 * k), "1"] for k in range(500)]
    asks = [[_price(6_001_000 + 10 * k), "1"] for k in range(500)]
    body = {"lastUpdateId": FIRST_ID, "E": START_MS, "T": START_MS, "bids": bids, "asks": asks}
    return web.json_response(body)


async def _klines(request: web.Request) -> web.Response:
    rows = []
    for n in range(-20, 0):
        start = START_MS + n * 60_000
        end = start + 59_999
        rows.append([start, "1", "2", "0.5", "1.5", "10", end, "15", 3, "5", "7", "0"])
    return web.json_response(rows)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))

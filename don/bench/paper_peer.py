"""The paper exchange's peer in the bench: a bare aiohttp server of constants. Its own process.

Run as `python -m don.bench.paper_peer FOLDER`; prints one line of JSON when it listens. Over TLS it
sends one constant message after the other to whoever connects; over HTTP it answers every request
with a constant, nothing checked, nothing stored.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from don.paper.server.identity import ensure_certificate, server_context

MESSAGE = json.dumps(
    {
        "stream": "btcusdt@bookTicker",
        "data": {
            "e": "bookTicker", "u": 1587, "s": "BTCUSDT", "b": "6275.6", "B": "18.2832",
            "a": "6275.7", "A": "14.7192", "T": 1539259603551, "E": 1539259603551,
        },
    }
)  # fmt: skip
ANSWER = json.dumps(
    {
        "orderId": 1, "symbol": "BTCUSDT", "status": "NEW", "clientOrderId": "n1",
        "price": "6275.6", "avgPrice": "0", "origQty": "0.1000", "executedQty": "0",
        "cumQuote": "0", "timeInForce": "GTX", "type": "LIMIT", "reduceOnly": False,
        "side": "BUY", "positionSide": "BOTH", "updateTime": 1539259603551, "cumQty": "0",
    }
).encode()  # fmt: skip


async def send_for_ever(request: web.Request) -> web.WebSocketResponse:
    """The constant message, as fast as the socket takes it, until the client closes."""
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)

    async def send() -> None:
        while True:
            await socket.send_str(MESSAGE)

    sender = asyncio.create_task(send())
    async for _ in socket:
        pass  # clients say nothing here but that they go
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)
    return socket


async def answer(request: web.Request) -> web.Response:
    """The constant answer."""
    await request.read()
    return web.Response(body=ANSWER, content_type="application/json")


async def serve(folder: Path) -> None:
    """Serve until standard input ends."""
    files = ensure_certificate(folder, datetime.now(UTC))
    streams, rest = web.Application(), web.Application()
    streams.router.add_get("/stream", send_for_ever)
    rest.router.add_post("/fapi/v1/order", answer)
    ports = []
    for app, context in ((rest, None), (streams, server_context(files))):
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        ports.append(runner.addresses[0][1])
    ready = {
        "rest_url": f"http://127.0.0.1:{ports[0]}",
        "stream_url": f"wss://localhost:{ports[1]}",
        "certificate": str(files.certificate),
    }
    print(json.dumps(ready), flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))

"""The paper exchange's streams: sequences, subscriptions, the user-data stream, slow readers."""

import asyncio
import json
import socket as sockets
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.paper import SYMBOL, Rest, raw, served, stream, trusting

BOOK = {"b": "bids", "a": "asks"}


async def events(socket: aiohttp.ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    """The next messages, at most two minutes waited for."""
    async with asyncio.timeout(120):
        return [await socket.receive_json() for _ in range(count)]


async def order(rest: Rest, **fields: Any) -> dict[str, Any]:
    """Place an order and return the answer."""
    now = (await rest("GET", "/fapi/v1/time"))[1]["serverTime"]
    sent = {"symbol": SYMBOL, "newOrderRespType": "RESULT", "timestamp": now, **fields}
    status, answer, _ = await rest("POST", "/fapi/v1/order", signed=True, **sent)
    assert status == 200, answer
    return answer


@pytest.mark.parametrize("speed", ["@0ms", "@100ms", "", "@500ms"])
async def test_depth_diffs_chain_and_rebuild_the_book(tmp_path: Path, speed: str) -> None:
    name = f"btcusdt@depth{speed}"
    async with (
        served(tmp_path, speed="20bar") as ready,
        raw(ready) as rest,
        stream(ready, f"/stream?streams={name}") as socket,
    ):
        first = await events(socket, 20)
        assert {m["stream"] for m in first} == {name}
        await rest("POST", "/paper/v1/pause")
        _, depth, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        diffs = [m["data"] for m in first]
        while diffs[-1]["u"] < depth["lastUpdateId"]:
            diffs.append((await events(socket, 1))[0]["data"])
        await rest("POST", "/paper/v1/resume")
        diffs += [m["data"] for m in await events(socket, 30)]
        await rest("POST", "/paper/v1/pause")
        _, last, _ = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL, limit=1000)
        while diffs[-1]["u"] < last["lastUpdateId"]:
            diffs.append((await events(socket, 1))[0]["data"])
    for before, after in pairwise(diffs):
        assert after["pu"] == before["u"] < after["U"] <= after["u"]
        assert after["E"] >= before["E"]
    book = {side: dict(map(tuple, depth[side])) for side in BOOK.values()}
    for diff in diffs:
        if diff["u"] > depth["lastUpdateId"]:
            for short, side in BOOK.items():
                book[side].update(map(tuple, diff[short]))
    rebuilt = {side: {p: q for p, q in rows.items() if Decimal(q)} for side, rows in book.items()}
    assert rebuilt == {side: dict(map(tuple, last[side])) for side in BOOK.values()}


async def test_bars_of_the_stream_are_those_of_the_rest_call(tmp_path: Path) -> None:
    names = ["btcusdt@kline_30m", "btcusdt@kline_2h"]
    async with (
        served(tmp_path, speed="40bar") as ready,
        raw(ready) as rest,
        stream(ready, "/stream?streams=" + "/".join(names)) as socket,
    ):
        closed: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
        while len(closed[names[1]]) < 3:
            (message,) = await events(socket, 1)
            bar = message["data"]["k"]
            assert bar["T"] - bar["t"] + 1 == {"30m": 1_800_000, "2h": 7_200_000}[bar["i"]]
            if bar["x"]:
                closed[message["stream"]].append(bar)
        await rest("POST", "/paper/v1/pause")
        for name, bars in closed.items():
            _, rows, _ = await rest(
                "GET",
                "/fapi/v1/klines",
                symbol=SYMBOL,
                interval=name.split("_")[1],
                startTime=bars[0]["t"],
                limit=len(bars),
            )
            told = [[b[f] for f in ("t", "o", "h", "l", "c", "v", "T", "q", "n")] for b in bars]
            kept = [row[:9] for row in rows]
            assert [[_exact(v) for v in row] for row in told] == [
                [_exact(v) for v in row] for row in kept
            ]


def _exact(value: Any) -> Any:
    return Decimal(value) if isinstance(value, str) else value


async def test_streams_can_be_changed_while_connected(tmp_path: Path) -> None:
    async with served(tmp_path, speed="20bar") as ready, stream(ready, "/ws") as socket:
        commands = [
            {"method": "SUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 1},
            {"method": "LIST_SUBSCRIPTIONS", "id": 2},
            {"method": "SUBSCRIBE", "params": ["btcusdt@nothing"], "id": 3},
            {"method": "SUBSCRIBE", "params": ["nopeusdt@depth"], "id": 4},
            {"method": "UNSUBSCRIBE", "params": ["btcusdt@aggTrade"], "id": 5},
        ]
        answers: dict[Any, dict[str, Any]] = {}
        for command in commands:
            await socket.send_str(json.dumps(command))
            while command["id"] not in answers:
                (message,) = await events(socket, 1)
                if "id" in message:
                    answers[message["id"]] = message
                else:
                    assert message["e"] == "aggTrade"
        await socket.send_str("{")
        assert "error" in (await events(socket, 1))[0]
    assert answers[1]["result"] is None
    assert answers[2]["result"] == ["btcusdt@aggTrade"]
    assert "aggTrade" in answers[3]["error"]["msg"]
    assert "NOPEUSDT" in answers[4]["error"]["msg"]


@pytest.mark.parametrize(
    "path",
    ["/stream?streams=btcusdt@depth/what", "/ws/nopeusdt@aggTrade", "/other", "/ws/" + "k" * 64],
)
async def test_unknown_streams_are_refused_at_the_door(tmp_path: Path, path: str) -> None:
    async with served(tmp_path) as ready:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with stream(ready, path):
                pass
        assert refused.value.status == 400


async def test_the_tape_waits_for_its_first_reader(tmp_path: Path) -> None:
    async with served(tmp_path, speed="max") as ready, raw(ready) as rest:
        _, before, _ = await rest("GET", "/paper/v1/status")
        key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
        async with stream(ready, f"/ws/{key}"):
            _, during, _ = await rest("GET", "/paper/v1/status")
            assert (during["state"], during["position"]) == ("held", before["position"])
            async with stream(ready, "/ws/ethusdt@aggTrade") as socket:
                (trade,) = await events(socket, 1)
        _, rows, _ = await rest("GET", "/fapi/v1/aggTrades", symbol="ETHUSDT", limit=1000)
    assert rows[0]["a"] == trade["a"]


async def test_the_user_stream_tells_orders_and_balances(tmp_path: Path) -> None:
    async with served(tmp_path) as ready, raw(ready) as rest:
        key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
        assert (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"] == key
        assert (await rest("PUT", "/fapi/v1/listenKey"))[0] == 200
        async with stream(ready, f"/ws/{key}") as socket:
            placed = await order(
                rest, side="BUY", type="MARKET", quantity="0.3", newClientOrderId="don-1"
            )
            told = []
            while not told or told[-1]["e"] != "ACCOUNT_UPDATE" or len(told) < 3:
                told += await events(socket, 1)
            updates = [e["o"] for e in told if e["e"] == "ORDER_TRADE_UPDATE"]
            assert updates[0]["x"] == "NEW"
            assert {u["x"] for u in updates[1:]} == {"TRADE"}
            assert updates[-1]["X"] == "FILLED" == placed["status"]
            assert {u["c"] for u in updates} == {"don-1"}
            fees = sum(Decimal(u["n"]) for u in updates[1:])
            account = [e["a"] for e in told if e["e"] == "ACCOUNT_UPDATE"][-1]
            assert Decimal(account["B"][0]["wb"]) == 100_000 - fees
            assert (account["m"], account["P"][0]["pa"]) == ("ORDER", "0.3000")
            assert (await rest("DELETE", "/fapi/v1/listenKey"))[0] == 200
            assert (await rest("PUT", "/fapi/v1/listenKey"))[1]["code"] == -1125


async def test_an_acknowledgement_tells_nothing_of_the_fill(tmp_path: Path) -> None:
    async with served(tmp_path) as ready, raw(ready) as rest:
        answer = await order(
            rest, side="BUY", type="MARKET", quantity="0.3", newOrderRespType="ACK"
        )
        assert (answer["status"], answer["executedQty"]) == ("NEW", "0")


async def test_a_reader_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    """Nobody else suffers, and memory stays bounded."""
    limits = {"max_buffer": 200_000}
    async with served(tmp_path, speed="300bar", streams=limits) as ready, raw(ready) as rest:
        symbols = [s.lower() for s in ready.symbols]
        names = [f"{s}@{c}" for s in symbols for c in ("depth@0ms", "aggTrade", "bookTicker")]
        path = f"/stream?streams={'/'.join(names)}"
        port = int(ready.stream_url.rsplit(":", 1)[1])
        plain = sockets.socket()
        plain.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        plain.setblocking(False)
        await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(
            sock=plain, ssl=trusting(ready), server_hostname="localhost", limit=4096
        )
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        assert b"101" in await reader.readuntil(b"\r\n\r\n")
        async with stream(ready, "/ws/btcusdt@aggTrade") as healthy:
            seen: list[dict[str, Any]] = []

            async def cut() -> bool:
                return (await rest("GET", "/paper/v1/status"))[1]["connections"] == 1

            async with asyncio.timeout(120):
                while not await cut():
                    seen += await events(healthy, 20)
            seen += await events(healthy, 20)
        ids = [e["a"] for e in seen]
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        writer.close()


async def test_the_end_of_the_tape_is_told_and_the_exchange_stays(tmp_path: Path) -> None:
    start = "2019-09-30T00:00:00"
    async with served(tmp_path, speed="max", start=start, hold=False) as ready, raw(ready) as rest:
        status: dict[str, Any] = {}

        async def ended() -> None:
            nonlocal status
            while not status.get("endOfTape"):
                _, status, _ = await rest("GET", "/paper/v1/status")

        await asyncio.wait_for(ended(), 120)
        assert (status["state"], status["tapeTime"]) == ("ended", status["tapeEnd"])
        answer = await order(rest, side="BUY", type="MARKET", quantity="0.3")
        assert answer["status"] == "FILLED"
    async with served(tmp_path, speed="max", start=start, hold=False) as ready, raw(ready) as rest:
        assert (await rest("GET", "/paper/v1/status"))[1]["state"] == "ended"

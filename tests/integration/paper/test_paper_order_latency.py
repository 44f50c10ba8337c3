"""Order latency as a client sees it: an answer at once, the outcome at a fixed tape time."""

import asyncio
import json
from pathlib import Path
from typing import Any

from support.paper import SYMBOL, UNIFIED, Rest, ccxt_client, raw, served, stream

from don.clock import NS_PER_MS, iso
from don.paper.tape import open_tape

LATENCY = 0.25
SETTINGS: dict[str, Any] = {"speed": "10bar", "exchange": {"order_latency": LATENCY}}
BAR_MS = 1_800_000


async def place(rest: Rest, side: str, name: str) -> Any:
    now = (await rest("GET", "/fapi/v1/time"))[1]["serverTime"]
    order = {"symbol": SYMBOL, "side": side, "type": "MARKET", "quantity": "0.5"}
    more = {"newOrderRespType": "RESULT", "newClientOrderId": name, "timestamp": now}
    status, body, _ = await rest("POST", "/fapi/v1/order", signed=True, **order, **more)
    assert status == 200
    return body


async def test_orders_fill_a_part_of_a_bar_after_its_begin(tmp_path: Path) -> None:
    async with served(tmp_path, **SETTINGS) as ready, raw(ready) as rest:
        key = (await rest("POST", "/fapi/v1/listenKey"))[1]["listenKey"]
        async with stream(ready, f"/ws/{key}") as socket, asyncio.timeout(120):
            await rest("POST", "/paper/v1/resume")
            for number in range(3):
                answer = await place(rest, "BUY" if number % 2 else "SELL", f"don-{number}")
                assert (answer["status"], answer["executedQty"]) == ("NEW", "0")
                states: list[str] = []
                while "FILLED" not in states:
                    event = json.loads((await socket.receive()).data)
                    if event["e"] == "ORDER_TRADE_UPDATE":
                        assert event["T"] % BAR_MS == BAR_MS * LATENCY
                        assert event["T"] == answer["updateTime"]
                        states.append(event["o"]["X"])
                assert states[0] == "NEW"


async def test_what_waits_survives_a_restart_and_the_end_of_the_tape(tmp_path: Path) -> None:
    near_the_end = SETTINGS | {"start": iso(open_tape().end_ns - 5 * BAR_MS * NS_PER_MS)}
    async with served(tmp_path, **near_the_end) as ready, raw(ready) as rest:  # the tape is held
        await place(rest, "BUY", "don-a")
    async with served(tmp_path, **near_the_end | {"speed": "max"}) as ready, raw(ready) as rest:
        client = ccxt_client(ready)
        try:
            await client.load_markets()
            waiting = await client.fetch_order(None, UNIFIED, {"clientOrderId": "don-a"})
            assert (waiting["status"], waiting["filled"]) == ("open", 0)
            await rest("POST", "/paper/v1/resume")
            status = {"endOfTape": False}
            async with asyncio.timeout(120):
                while not status["endOfTape"]:
                    status = (await rest("GET", "/paper/v1/status"))[1]
            assert (await client.fetch_order(waiting["id"], UNIFIED))["status"] == "closed"
            await place(rest, "SELL", "don-b")  # nothing moves time any more
            last = await client.fetch_order(None, UNIFIED, {"clientOrderId": "don-b"})
            assert (last["status"], last["filled"]) == ("closed", 0.5)
            assert last["info"]["updateTime"] > status["tapeEnd"]
        finally:
            await client.close()

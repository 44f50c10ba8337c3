"""Who may do what at the paper exchange's REST interface, and what it says to the others."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.paper import SYMBOL, Rest, api_key, raw, served

from don.paper.server.config import Ready
from don.paper.server.signing import sign

ACCOUNT = "/fapi/v3/account"
ORDER = "/fapi/v1/order"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
async def ready(tmp_path: Path) -> AsyncIterator[Ready]:
    async with served(tmp_path) as ready:
        yield ready


@pytest.fixture
async def rest(ready: Ready) -> AsyncIterator[Rest]:
    async with raw(ready) as rest:
        yield rest


@pytest.mark.warm
async def test_a_right_signature_opens_the_account(rest: Rest) -> None:
    status, answer, headers = await rest("GET", ACCOUNT, signed=True, timestamp=now_ms())
    assert (status, answer["totalWalletBalance"]) == (200, "100000")
    assert headers["X-MBX-USED-WEIGHT-1M"] == "5"
    assert "X-MBX-ORDER-COUNT-10S" not in headers


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"key": ""}, 401, -2014),
        ({"key": "f" * 64}, 401, -2015),
        ({"secret": "f" * 64}, 400, -1022),
        ({"signature": "0" * 64}, 400, -1022),
        ({"signature": "not hex at all \u00e4"}, 400, -1022),
        ({"signed": False}, 400, -1102),
        ({"timestamp": None}, 400, -1102),
        ({"timestamp": "soon"}, 400, -1100),
        ({"timestamp": -6_000}, 400, -1021),
        ({"timestamp": 2_000}, 400, -1021),
        ({"timestamp": -6_000, "recvWindow": 10_000}, 200, None),
        ({"recvWindow": 60_001}, 400, -1131),
        ({"recvWindow": 0}, 400, -1131),
    ],
)
async def test_each_flaw_has_its_code(
    rest: Rest, changes: dict[str, Any], status: int, code: int | None
) -> None:
    call: dict[str, Any] = {"signed": True, "timestamp": 0, **changes}
    shift = call.pop("timestamp")
    if shift is not None:
        call["timestamp"] = now_ms() + shift if isinstance(shift, int) else shift
    got, answer, _ = await rest("GET", ACCOUNT, **call)
    assert got == status
    assert answer.get("code") == code


async def test_what_was_signed_cannot_be_changed(ready: Ready, rest: Rest) -> None:
    good = f"symbol={SYMBOL}&leverage=5&timestamp={now_ms()}"
    signature = sign(api_key(ready).secret, good)
    status, answer, _ = await rest(
        "POST",
        "/fapi/v1/leverage",
        signed=True,
        signature=signature,
        symbol=SYMBOL,
        leverage=20,
        timestamp=now_ms(),
    )
    assert (status, answer["code"]) == (400, -1022)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NOPEUSDT"}, -1121),
        ({"symbol": None}, -1102),
        ({"side": "HOLD"}, -1117),
        ({"type": "ICEBERG"}, -1116),
        ({"type": "STOP"}, -4120),
        ({"timeInForce": "DAY"}, -1115),
        ({"timeInForce": None}, -1102),
        ({"quantity": None}, -1102),
        ({"quantity": "-1"}, -1100),
        ({"quantity": "1e3"}, -1100),
        ({"quantity": "0"}, -4003),
        ({"price": None}, -1102),
        ({"price": "0"}, -4001),
        ({"price": "1.234567891"}, -1111),
        ({"quantity": "0.123456789"}, -1111),
        ({"quantity": "0.0001"}, -4164),
        ({"positionSide": "LONG"}, -4061),
        ({"stopPrice": "100"}, -1106),
        ({"closePosition": "true"}, -1106),
        ({"newOrderRespType": "FULL"}, -1130),
        ({"newClientOrderId": "not allowed!"}, -4015),
        ({"reduceOnly": "true"}, -2022),
    ],
)
async def test_bad_orders_are_refused_and_change_nothing(
    rest: Rest, changes: dict[str, Any], code: int
) -> None:
    _, book, _ = await rest("GET", "/fapi/v1/ticker/bookTicker", symbol=SYMBOL)
    order = {
        "symbol": SYMBOL,
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.1",
        "price": book["bidPrice"],
        **changes,
    }
    sent = {name: value for name, value in order.items() if value is not None}
    status, answer, _ = await rest("POST", ORDER, signed=True, timestamp=now_ms(), **sent)
    assert (status, answer["code"]) == (400, code), answer
    _, orders, _ = await rest(
        "GET", "/fapi/v1/allOrders", signed=True, symbol=SYMBOL, timestamp=now_ms()
    )
    assert orders == []


async def test_unknown_paths_and_doubled_parameters(rest: Rest) -> None:
    status, answer, _ = await rest("GET", "/fapi/v1/nothing")
    assert (status, answer["code"]) == (404, -5000)
    status, answer, _ = await rest("DELETE", "/fapi/v1/ping")
    assert (status, answer["code"]) == (404, -5000)
    status, answer, _ = await rest("GET", f"/fapi/v1/depth?symbol={SYMBOL}&symbol=ETHUSDT")
    assert (status, answer["code"]) == (400, -1101)
    status, answer, _ = await rest("GET", "/fapi/v1/klines", symbol=SYMBOL, interval="7m")
    assert (status, answer["code"]) == (400, -1120)


async def test_the_control_calls_need_the_key(rest: Rest) -> None:
    assert (await rest("POST", "/paper/v1/pause", key="f" * 64))[0] == 401
    assert (await rest("GET", "/paper/v1/status"))[1]["state"] == "held"
    assert (await rest("POST", "/paper/v1/pause"))[1]["state"] == "held"
    assert (await rest("POST", "/paper/v1/resume"))[1]["state"] == "running"
    assert (await rest("POST", "/paper/v1/pause"))[1]["state"] == "paused"


async def test_over_the_limit_one_is_turned_away(tmp_path: Path) -> None:
    limits = {"weight_per_minute": 100, "orders_per_10s": 3}
    async with served(tmp_path, limits=limits) as ready, raw(ready) as rest:
        answers = []
        for n in range(8):
            _, book, _ = await rest("GET", "/fapi/v1/ticker/bookTicker", symbol=SYMBOL)
            if "code" in book:
                break
            order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "timeInForce": "GTX"}
            answers.append(
                await rest(
                    "POST",
                    ORDER,
                    signed=True,
                    timestamp=now_ms(),
                    quantity="0.1",
                    price=book["bidPrice"],
                    newClientOrderId=f"n{n}",
                    **order,
                )
            )
        counts = [int(h["X-MBX-ORDER-COUNT-10S"]) for _, _, h in answers]
        refused = [(s, a["code"], h) for s, a, h in answers if s != 200]
        assert max(counts) == 3
        assert refused
        for status, code, headers in refused:
            assert (status, code) == (429, -1015)
            assert 1 <= int(headers["Retry-After"]) <= 10
        for _ in range(60):
            status, answer, headers = await rest("GET", "/fapi/v1/depth", symbol=SYMBOL)
            if status != 200:
                break
        assert (status, answer["code"]) == (429, -1003)
        assert 1 <= int(headers["Retry-After"]) <= 60


async def test_secrets_are_private_and_shown_nowhere(ready: Ready) -> None:
    folder = Path(ready.state_dir)
    for name in ("api-keys.json", "exchange-key.pem"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600
    key = api_key(ready)
    assert key.secret not in repr(key)
    assert key.secret not in repr(ready)

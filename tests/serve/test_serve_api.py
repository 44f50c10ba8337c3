"""The API over real sockets: answers, errors that name the field, commands, guards, the stream."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from typing import Any

import httpx
import numpy as np
import pytest
import websockets
from support.serving import PATIENCE_S, TOKEN, bearer, serving
from support.world import World
from support.world_views import SESSION

from don.clock import parse_iso
from don.policies import POLICIES, PoliciesConfig, PolicyInput, make_policy
from serve.auth import command_token

BTC = "BTC-USDT-PERP"


@pytest.fixture(scope="module")
def world() -> World:
    return World(history=60, length=200)


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with serving(world, lambda: world.run(0.2, ahead=40), command_timeout_s=0.5) as address:
        with httpx.Client(base_url=address, timeout=PATIENCE_S) as client:
            until(lambda: client.get("/v1/fills").json()["fills"])
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as opened:
        yield opened


def until(condition: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end, "condition not met in time"
        time.sleep(0.02)
    return found


def test_every_read_answers_with_its_schema(client: httpx.Client) -> None:
    health = client.get("/v1/health").json()
    assert health["ok"] and health["state"] == "running"
    assert {part["part"] for part in health["parts"]} >= {"feed", "desk", "execution"}
    status = client.get("/v1/status").json()
    assert status["session"] == SESSION and status["desk"]["counts"]["decisions"] >= 40
    assert status["health"]["feed"]["streams"][0]["stream"].startswith("trades")
    (clock,) = client.get("/v1/clocks").json()["clocks"]  # told by a part, and shown with it
    assert (clock["exchange"], clock["ahead_s"]) == ("BINANCE_FUTURES", 0.0021)
    assert status["health"][clock["source"]]["clocks"][0]["error_s"] == 0.0004
    assert client.get("/v1/instruments").json()[0]["symbol"] == BTC
    assert client.get("/v1/sessions").json()[0]["session"] == SESSION
    assert client.get("/v1/decisions?limit=1").json()["decisions"][0]["reasons"]
    assert "positions" in client.get("/v1/positions").json()


def test_books_of_several_policies_sum_to_the_account(client: httpx.Client) -> None:
    told = client.get("/v1/books").json()
    assert told["session"] == SESSION
    assert [(one["book"], one["mode"]) for one in told["books"]] == [
        ("trend", "live"),
        ("desk", "desk"),
    ]
    assert sum(Decimal(one["equity"]) for one in told["books"]) == Decimal(told["equity"])
    assert Decimal(told["books"][0]["pnl"]) == Decimal(told["equity"]) - 10_000


def test_money_is_text_and_time_is_iso(client: httpx.Client) -> None:
    portfolio = client.get("/v1/portfolio").json()
    for field in ("equity", "balance", "unrealized", "pnl", "fees"):
        assert isinstance(portfolio[field], str) and "E" not in portfolio[field], field
    assert portfolio["ts_event"].endswith("Z") and parse_iso(portfolio["ts_event"])
    fill = client.get("/v1/fills?limit=1").json()["fills"][0]
    assert isinstance(fill["price"], str) and isinstance(fill["fee"], str)


def test_bars_merge_into_longer_intervals(client: httpx.Client) -> None:
    end = {"end": "2018-11-12T12:00:00Z"}
    fine = client.get("/v1/market/bars", params={"symbol": BTC, "limit": 16, **end}).json()["bars"]
    coarse = client.get(
        "/v1/market/bars", params={"symbol": BTC, "interval": "2h", "limit": 4, **end}
    ).json()["bars"]
    assert len(fine) == 16 and len(coarse) == 4
    for n, bar in enumerate(coarse):
        part = fine[4 * n : 4 * n + 4]
        assert bar["ts_open"] == part[0]["ts_open"]
        assert bar["open"] == part[0]["open"] and bar["close"] == part[-1]["close"]
        assert bar["high"] == max(row["high"] for row in part)
        assert bar["volume"] == pytest.approx(sum(row["volume"] for row in part))


def test_pages_follow_each_other(client: httpx.Client, world: World) -> None:
    seen: list[str] = []
    before = None
    for _ in range(200):
        params = {"limit": "7", **({"before": before} if before else {})}
        page = client.get("/v1/orders", params=params).json()
        seen += [row["client_order_id"] for row in page["orders"]]
        before = page["before"]
        if before is None:
            break
    assert len(seen) == len(set(seen)) >= 40
    assert seen[-1] == world.order_rows[0]["client_order_id"]


def test_equity_is_thinned_without_losing_its_extremes(client: httpx.Client) -> None:
    whole = client.get("/v1/equity", params={"points": 10_000, "end": "2018-11-13T10:00:00Z"})
    few = client.get("/v1/equity", params={"points": 8, "end": "2018-11-13T10:00:00Z"})
    values = [float(point["equity"]) for point in whole.json()["points"]]
    kept = [float(point["equity"]) for point in few.json()["points"]]
    assert len(kept) <= 8 < len(values)
    assert (min(kept), max(kept)) == (min(values), max(values))


@pytest.mark.parametrize(
    ("path", "status", "field", "detail"),
    [
        ("/v1/market/bars", 422, "query.symbol", "is required"),
        ("/v1/market/bars?symbol=DOGE", 404, "query.symbol", "must be one of: BTC-USDT-PERP"),
        (f"/v1/market/bars?symbol={BTC}&interval=7m", 422, "query.interval", "multiple of"),
        (f"/v1/market/bars?symbol={BTC}&interval=fast", 422, "query.interval", "like 1m, 30m"),
        (f"/v1/market/bars?symbol={BTC}&limit=0", 422, "query.limit", "greater than or equal to 1"),
        ("/v1/equity?start=yesterday", 422, "query.start", "ISO-8601"),
        ("/v1/equity?start=2020-01-02&end=2020-01-01", 422, "query.end", "after start"),
        ("/v1/orders?symbol=NO-SUCH-PERP", 404, "query.symbol", "must be one of"),
        ("/v1/orders?limit=many", 422, "query.limit", "'many'"),
        ("/v1/nothing", 404, "", "nothing at /v1/nothing"),
        (f"/v1/orders?before={2**63}", 422, "query.before", "less than or equal to"),
        ("/v1/orders/a%00b", 422, "path", "must not contain the character NUL"),
    ],
)
def test_wrong_requests_are_told_what_is_allowed(
    client: httpx.Client, path: str, status: int, field: str, detail: str
) -> None:
    answer = client.get(path)
    body = answer.json()
    assert (answer.status_code, body["field"]) == (status, field)
    assert detail in body["detail"]
    assert body["error"] in ("invalid", "not_found")


def test_policies_act_as_the_desk_would(client: httpx.Client) -> None:
    listed = {row["name"]: row for row in client.get("/v1/policies").json()}
    features = listed["momentum"]["features"]
    assert set(listed) == set(POLICIES) and features and listed["momentum"]["summary"]
    body = {
        "features": {BTC: dict.fromkeys(features, 0.02), "ETH-USDT-PERP": dict.fromkeys(features)},
        "volatility": {BTC: 0.004, "ETH-USDT-PERP": 0.005},
    }
    act = client.post("/v1/policies/momentum/act", json=body).json()
    policy = make_policy("momentum", PoliciesConfig())
    seen = PolicyInput(
        symbols=(BTC, "ETH-USDT-PERP"),
        features={name: np.array([0.02, np.nan]) for name in features},
        Sigma=np.diag([0.004**2, 0.005**2]),
        tradable=np.array([True, True]),
    )
    assert list(act["forecast"].values()) == policy.forecast(seen).mu.tolist()
    assert act["usable"] == {BTC: True, "ETH-USDT-PERP": False}
    held = client.post("/v1/policies/hold/act", json=body).json()
    assert held["weights"] == {BTC: 0.5, "ETH-USDT-PERP": 0.5}


def test_observations_that_lack_something_are_refused(client: httpx.Client) -> None:
    body = {"features": {BTC: {"rsi": 1.0}}, "volatility": {BTC: 0.004}}
    missing = client.post("/v1/policies/momentum/act", json=body)
    needed = make_policy("momentum", PoliciesConfig()).features
    assert missing.status_code == 422
    assert missing.json()["detail"].endswith(f"policy momentum needs {', '.join(needed)}")
    unsure = client.post("/v1/policies/hold/act", json=body | {"volatility": {}})
    assert unsure.json()["detail"] == f"volatility of {BTC} is missing"
    absent = client.post("/v1/policies/none/act", json=body)
    assert absent.status_code == 404 and "must be one of: hold" in absent.json()["detail"]
    broken = client.post("/v1/policies/momentum/act", content=b"{nope")
    assert (broken.status_code, broken.json()["field"]) == (422, "body")


def test_commands_need_the_token(client: httpx.Client, world: World) -> None:
    before = list(world.commands)
    for headers in ({}, bearer("wrong"), {"Authorization": TOKEN}, bearer("x" * 2_000)):
        answer = client.post("/v1/commands/halt", headers=headers)
        assert answer.status_code == 401 and answer.json()["field"] == "header.Authorization"
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text
    assert world.commands == before


def test_halt_and_resume_are_idempotent(client: httpx.Client, world: World) -> None:
    key = "a-key-of-this-test"
    for _ in range(3):
        answer = client.post(
            "/v1/commands/halt",
            headers=bearer() | {"Idempotency-Key": key},
            json={"reason": "test", "client": "console"},
        )
        assert answer.status_code == 202
        assert answer.json() == {"key": key, "kind": "halt", "accepted": True}
    assert world.commands.count(("halt", "console", "test", f"command:halt:{key}")) == 1
    assert client.get("/v1/status").json()["state"] == "halted"
    assert client.get("/v1/positions").json()["positions"] == []
    # the same key for another command is another command
    resumed = client.post("/v1/commands/resume", headers=bearer(), json={"key": key})
    assert resumed.status_code == 202
    assert client.get("/v1/status").json()["desk"]["halted"] is False


def test_a_command_without_answer_can_be_repeated(client: httpx.Client, world: World) -> None:
    world.hang = True
    try:
        answer = client.post(
            "/v1/commands/resume", headers=bearer() | {"Idempotency-Key": "hang-hang"}
        )
    finally:
        world.hang = False
    assert answer.status_code == 503
    assert "not known" in answer.json()["detail"] and "'hang-hang'" in answer.json()["detail"]
    conflict = client.post(
        "/v1/commands/resume",
        headers=bearer() | {"Idempotency-Key": "key-key-1"},
        json={"key": "key-key-2"},
    )
    assert (conflict.status_code, conflict.json()["field"]) == (422, "body.key")
    bad = client.post("/v1/commands/resume", headers=bearer(), json={"key": "no spaces!"})
    assert (bad.status_code, bad.json()["field"]) == (422, "body.key")
    unknown = client.post("/v1/commands/resume", headers=bearer(), json={"raeson": ""})
    assert (unknown.status_code, unknown.json()["field"]) == (422, "body.raeson")


def test_foreign_hosts_and_origins_are_refused(client: httpx.Client, url: str) -> None:
    rebound = client.get("/v1/status", headers={"Host": "evil.example:80"})
    assert rebound.status_code == 421 and rebound.json()["field"] == "header.Host"
    assert client.get("/v1/status", headers={"Host": "localhost:1"}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
        crossed = client.post("/v1/commands/halt", headers=bearer() | {"Origin": origin})
        assert crossed.status_code == 403 and crossed.json()["field"] == "header.Origin"
    same = client.post("/v1/commands/resume", headers=bearer() | {"Origin": url})
    assert same.status_code == 202


def test_large_bodies_are_refused_announced_or_not(client: httpx.Client) -> None:
    large = b"x" * 1_200_000

    def chunks() -> Iterator[bytes]:
        for _ in range(12):
            yield b"x" * 100_000

    for content in (large, chunks()):
        answer = client.post("/v1/policies/momentum/act", content=content)
        assert answer.status_code == 413 and answer.json()["error"] == "too_large"


def test_what_depends_on_something_away_says_so(client: httpx.Client, world: World) -> None:
    world.database_away = "the database does not answer"
    try:
        fills, health = client.get("/v1/fills"), client.get("/v1/health")
        assert client.get("/v1/positions").status_code == 200  # needs only the board
    finally:
        world.database_away = ""
    assert fills.status_code == 503 and fills.json()["detail"] == "the database does not answer"
    assert fills.headers["retry-after"] == "1"
    assert health.status_code == 503 and health.json()["database"] != "ok"


def test_the_description_is_complete(client: httpx.Client) -> None:
    spec = client.get("/openapi.json").json()
    posts = {path for path, item in spec["paths"].items() if "post" in item}
    kinds = ("adopt", "halt", "limits", "order", "resume", "state")
    assert posts == {
        *(f"/v1/commands/{kind}" for kind in kinds),
        *(f"/v1/policies/{{name}}/{what}" for what in ("act", "load", "unload")),
    }
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            answers = operation["responses"]
            good = answers.get("200") or answers["202"]
            assert good["content"]["application/json"]["schema"], (method, path)
            assert operation["description"], (method, path)
    docs = client.get("/docs").text
    assert "http://" not in docs and "https://" not in docs


async def test_requests_over_the_rate_wait_but_halts_get_through() -> None:
    world = World(history=20, length=40)
    with serving(world, world.start, rate_per_s=0.01, rate_burst=3) as address:
        async with httpx.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
            codes = [(await client.get("/v1/status")).status_code for _ in range(5)]
            assert codes == [200, 200, 200, 429, 429]
            refused = await client.get("/v1/status")
            assert int(refused.headers["retry-after"]) >= 1
            halted = await client.post("/v1/commands/halt", headers=bearer())
            assert halted.status_code == 202


# ---- the stream ----------------------------------------------------------------------------------


@pytest.fixture
async def stream(url: str) -> AsyncIterator[Any]:
    async with websockets.connect(
        url.replace("http", "ws") + "/v1/stream", open_timeout=PATIENCE_S
    ) as opened:
        yield opened


async def message(stream: Any, accept: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    async with asyncio.timeout(120):
        while True:
            told: dict[str, Any] = json.loads(await stream.recv())
            if accept(told):
                return told


async def test_stream_starts_with_a_snapshot_and_goes_on(stream: Any, world: World) -> None:
    first = json.loads(await asyncio.wait_for(stream.recv(), 120))
    assert first["type"] == "snapshot"
    assert first["session"]["session"] == SESSION
    order = [fill["seq"] for fill in first["fills"]]
    assert order == sorted(order)
    assert first["equity"] and first["decisions"] and first["health"]
    update = await message(stream, lambda told: "market" in told)
    assert update["seq"] >= first["seq"]
    assert update["market"]["bars"][BTC]["close"] > 0
    decided = await message(stream, lambda told: "decisions" in told)
    assert decided["decisions"][0]["decision"] >= first["decisions"][-1]["decision"]
    healthy = await message(stream, lambda told: "health" in told)
    assert healthy["ages"]["desk"] < 10 and healthy["state"] in ("running", "halted")


async def test_stream_says_when_the_board_is_away(stream: Any, world: World) -> None:
    await message(stream, lambda told: told["type"] == "snapshot")
    world.away = "the board does not answer"
    try:
        away = await message(stream, lambda told: told["type"] == "away")
    finally:
        world.away = ""
    assert away["detail"] == "the board does not answer"
    await message(stream, lambda told: "market" in told)


async def test_stream_repeats_a_snapshot_that_had_holes(
    url: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.hub.RETRY_SNAPSHOT_S", 0.05)
    world.database_away = "the database does not answer"
    try:
        async with websockets.connect(
            url.replace("http", "ws") + "/v1/stream", open_timeout=PATIENCE_S
        ) as opened:
            first = await message(opened, lambda told: told["type"] == "snapshot")
            assert len(first["missing"]) == 3 and first["desk"]
            world.database_away = ""
            again = await message(opened, lambda told: told["type"] == "snapshot" and told["fills"])
            assert again["missing"] == []
    finally:
        world.database_away = ""


async def test_stream_refuses_foreign_origins(url: str) -> None:
    address = url.replace("http", "ws") + "/v1/stream"
    with pytest.raises(websockets.exceptions.InvalidStatus) as refused:
        await websockets.connect(address, origin="http://evil.example", open_timeout=PATIENCE_S)  # type: ignore[arg-type]
    assert refused.value.response.status_code == 403
    async with websockets.connect(address, origin=url, open_timeout=PATIENCE_S):  # type: ignore[arg-type]
        pass


# ---- the token -----------------------------------------------------------------------------------


def test_the_token_is_made_once_and_kept_private(tmp_path: Any) -> None:
    token, made = command_token(tmp_path)
    again, remade = command_token(tmp_path)
    assert made and not remade and again == token
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert token.reveal() not in repr(token)

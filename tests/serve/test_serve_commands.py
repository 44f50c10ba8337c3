"""Commands of the API that carry more than a reason: limits, states, orders; what orders cost."""

import json
from collections.abc import Iterator

import httpx
import pytest
from support.serving import bearer, opened
from support.world import World

from don.execution.requests import manual_id, read_command


@pytest.fixture(scope="module")
def world() -> World:
    return World(history=60, length=200)


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with opened(world, lambda: world.run(0.2, ahead=40), command_timeout_s=0.5) as found:
        yield found


def test_limits_and_states_change_by_command(client: httpx.Client, world: World) -> None:
    told = client.post(
        "/v1/commands/limits",
        headers=bearer(),
        json={"limits": {"max_gross_leverage": "2", "max_var": None}, "reason": "calmer"},
    )
    assert told.status_code == 202
    assert json.loads(world.payloads[-1]) == {"max_gross_leverage": "2", "max_var": None}
    assert world.commands[-1][:3] == ("limits", "api", "calmer")
    unknown = client.post("/v1/commands/limits", headers=bearer(), json={"limits": {"gross": 2}})
    assert unknown.status_code == 422 and "max_gross_leverage" in unknown.json()["detail"]
    told = client.post(
        "/v1/commands/state", headers=bearer(), json={"scope": "policy", "state": "reducing"}
    )
    assert told.status_code == 202
    assert json.loads(world.payloads[-1]) == {"scope": "policy", "state": "reducing"}
    for wrong in ({"state": "asleep"}, {"scope": "world", "state": "active"}):
        assert client.post("/v1/commands/state", headers=bearer(), json=wrong).status_code == 422
    shown = client.get("/v1/risk").json()
    assert shown["state"] in ("active", "halted") and shown["figures"]["var"] is None


def test_orders_by_hand_are_commands_with_an_id_that_can_be_known(
    client: httpx.Client, world: World
) -> None:
    body = {
        "kind": "oco", "symbol": "BTC-USDT-PERP", "side": "sell", "size": "0.5",
        "stop": "90", "take": "110", "reduce_only": True, "reason": "guard",
    }  # fmt: skip
    told = client.post(
        "/v1/commands/order", headers=bearer() | {"Idempotency-Key": "order-key-1"}, json=body
    )
    assert told.status_code == 202, told.text
    key = f"command:order:{told.json()['key']}"
    assert told.json()["order"] == manual_id(key) and world.commands[-1][3] == key
    placed = read_command(world.payloads[-1]).request
    assert placed is not None and str(placed.take) == "110" and placed.reduce_only
    gone = client.post(
        "/v1/commands/order", headers=bearer(), json={"action": "cancel", "order": "m1"}
    )
    assert gone.status_code == 202 and read_command(world.payloads[-1]).parent == "m1"
    for change, why in (
        ({"take": "80"}, "take must be above stop"),
        ({"kind": "limit", "stop": None, "take": None}, "a limit order needs price"),
        ({"size": "-1"}, "size must be a positive number, was -1"),
        ({"kind": "hidden"}, "kind"),
        (
            {"reason": "a\0b"},
            "'field': 'body.reason', 'detail': 'must not contain the character NUL'",
        ),
        ({"symbol": "BTC\0"}, "must not contain the character NUL"),
        ({"callback": "0.01"}, "callback belongs to trailing_stop orders"),
    ):
        wrong = client.post("/v1/commands/order", headers=bearer(), json={**body, **change})
        assert wrong.status_code == 422 and why in str(wrong.json()), wrong.text


def test_costs_of_orders_are_told(client: httpx.Client) -> None:
    told = client.get("/v1/tca").json()
    assert told["orders"][0]["arrival_bps"] == 100.0 and told["orders"][0]["filled"] == "2"
    assert told["total"]["traded"] == "202" and told["total"]["arrival_bps"] == 100.0

"""Trained models over HTTP: the actions of the environment and the desk, several versions, clear
refusals.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from support.envs import market
from support.flow import Flow
from support.models import loud
from support.serving import PATIENCE_S

from don.envs import BatchEnv, EnvConfig
from don.errors import DependencyError, UsageError
from don.learning.config import NetConfig
from don.learning.look import Look
from don.learning.model import Model
from don.learning.schema import schema_hash
from don.security.secrets import Secret
from serve.auth import Gate
from serve.local import running
from serve.models import LocalModels
from serve.policies import DeskPolicies
from serve.problems import install
from serve.routes import policies
from serve.shelf import Answered, Asked, Refused, Shelf

TOKEN = "test-token"
MARKET = market(60, 2, seed=4)


def exported(folder: Path, version: int, memory: int = 0) -> Model:
    config = EnvConfig.model_validate(
        {"observation": {"features": ["log_return_1", "zscore_8"], "window": 3},
         "action": {"kind": "long_short"}}
    )  # fmt: skip
    env = BatchEnv(MARKET, config, 5)
    net = NetConfig(hidden=(8,), memory=memory)
    made = loud(Model.untrained(env, net, name="trend", seed=version), version)
    made.save(folder / str(version))
    return made


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Model]]:
    folder = tmp_path_factory.mktemp("models")
    return folder, [exported(folder, 1), exported(folder, 2), exported(folder, 3, memory=4)]


def shelf_over(folder: Path) -> Shelf:
    def lookup(text: str) -> tuple[str, str, Path]:
        name, _, version = text.partition("@")
        if not (folder / version).exists():
            raise UsageError(f"{text} is not there")
        return name, version, folder / version

    return Shelf(lookup)


@pytest.fixture(scope="module")
def url(models: tuple[Path, list[Model]]) -> Iterator[str]:
    shelf = shelf_over(models[0])
    shelf.load("trend@1")
    app = FastAPI()
    install(app)
    app.include_router(policies.build(DeskPolicies(), LocalModels(shelf), Gate(Secret(TOKEN))))
    with running(app) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as opened:
        yield opened


def test_http_acts_like_environment_and_desk(
    client: httpx.Client, models: tuple[Path, list[Model]]
) -> None:
    model = models[1][0]
    env = BatchEnv(MARKET, model.card.env, 5)
    seen = env.reset(seed=3)["agents"]
    hashed = model.card.feature_hash
    body = {"observations": seen.tolist(), "feature_hash": hashed}
    many = client.post("/v1/policies/trend/act", json=body).json()
    wanted = model.act({"agents": seen})[0]["agents"]
    assert np.array_equal(np.array(many["actions"], np.float32), wanted)
    assert (many["model"], many["id"], many["state"]) == ("trend@1", model.id, None)
    env.step(np.array(many["actions"], np.float32))  # an action of the environment
    look = Look(model.card, model.states, _instruments())
    for row in range(5):  # alone it is answered as together; the desk turns it into these weights
        one = {"observations": seen[row : row + 1].tolist(), "feature_hash": hashed}
        alone = client.post("/v1/policies/trend@1/act", json=one).json()
        assert alone["actions"] == many["actions"][row : row + 1]
        desk = look.weights(np.array(alone["actions"], np.float32), None)
        assert desk.tolist() == alone["weights"][0][0] == many["weights"][row][0]


def _instruments() -> list[object]:
    from decimal import Decimal

    from don.paper.tape_data import make_instrument

    return [make_instrument(n, Decimal("0.01"), Decimal("0.001")) for n in ("AAAUSDT", "BBBUSDT")]


def test_what_does_not_fit_is_refused(
    client: httpx.Client, models: tuple[Path, list[Model]]
) -> None:
    card = models[1][0].card
    size = card.policies["agents"].observation.size
    good = {"observations": [[[0.0] * size]], "feature_hash": card.feature_hash}

    def refused(name: str, **changes: object) -> tuple[int, str]:
        answer = client.post(f"/v1/policies/{name}/act", json={**good, **changes})
        return answer.status_code, str(answer.json().get("detail"))

    status, detail = refused("trend", feature_hash="0123")
    assert status == 409 and card.feature_hash in detail and "0123" in detail
    status, detail = refused("trend", observations=[[[0.0] * (size - 1)]])
    assert status == 422 and f"must be [B, 1, {size}], were [1, 1, {size - 1}]" in detail
    assert refused("trend", group="others")[0] == 422
    assert refused("trend", feature_hash="0" * 100_000)[0] == 422
    assert refused("trend", observations=[[[1e300] * size]])[0] == 422  # more than it can be
    assert refused("trend", observations=[[[0.0] * size]] * 4097)[0] == 422
    for number in ("NaN", "-Infinity", "1e999", "9" * 400, "null"):
        sent = f'{{"feature_hash": "x", "observations": [[[{number}]]]}}'
        answer = client.post("/v1/policies/trend/act", content=sent)
        assert answer.status_code == 422, answer.text
    assert refused("trend", observations=[[[0.0], [0.0, 1.0]]])[0] == 422
    status, detail = refused("nope")
    assert status == 404 and "momentum" in detail and "trend" in detail
    assert refused("trend@9")[0] == 404
    status, detail = refused("momentum")
    assert status == 422 and "no trained model" in detail
    answer = client.post("/v1/policies/trend/act", json={"features": {"A": {}}, "volatility": {}})
    assert answer.status_code == 422 and "is a trained model" in answer.json()["detail"]
    told = client.get("/v1/policies/trend").json()
    assert told["groups"]["agents"]["size"] == size and told["model"] == "trend@1"
    assert client.get("/v1/policies/momentum").json()["features"] == ["return_48", "return_192"]
    listed = {one["name"]: one for one in client.get("/v1/policies").json()}
    assert listed["trend"]["features"] == ["log_return_1", "zscore_8"] and "momentum" in listed


def test_numbers_that_mean_something_else_are_refused(
    client: httpx.Client, models: tuple[Path, list[Model]]
) -> None:
    model = models[1][0]
    size = model.card.policies["agents"].observation.size
    told = client.get("/v1/policies/trend").json()
    assert told["schema_hash"] == model.schema_hash == Model.load(models[0] / "1").schema_hash
    assert told["schema"]["symbols"] == list(MARKET.symbols)
    body = {"observations": [[[0.0] * size]], "feature_hash": told["feature_hash"]}

    def asked(schema: str | None) -> httpx.Response:
        return client.post("/v1/policies/trend/act", json={**body, "schema_hash": schema})

    assert asked(None).status_code == asked(told["schema_hash"]).status_code == 200
    env = model.card.env

    def other(card: dict[str, object], part: str = "", **changes: object) -> str:
        if part:
            own = getattr(env, part).model_copy(update=changes)
            card = {"env": env.model_copy(update={part: own})}
        return schema_hash(model.card.model_copy(update=card), model.states)

    scaled = [replace(state, mean=state.mean + 1e-9) for state in model.states]
    others = [
        other({"symbols": tuple(reversed(MARKET.symbols))}),
        other({"feature_hash": "0123"}),
        other({}, "observation", window=4),
        other({}, "observation", parts=("account", "window")),
        other({}, "observation", scaling="none"),
        other({}, "action", gross=2.0),
        schema_hash(model.card, scaled),
    ]
    assert len({*others, model.schema_hash}) == len(others) + 1
    for schema in others:
        refused = asked(schema)
        detail = refused.json()["detail"]
        assert refused.status_code == 409 and refused.json()["field"] == "body.schema_hash"
        assert model.schema_hash in detail and schema in detail
        assert ", ".join(MARKET.symbols) in detail and "window 3" in detail
    assert asked("").status_code == 422


def test_a_name_means_another_version_when_it_is_loaded(client: httpx.Client) -> None:
    size = client.get("/v1/policies/trend").json()["groups"]["agents"]["size"]
    hashed = client.get("/v1/policies/trend").json()["feature_hash"]
    body = {"observations": [[[0.0] * size]], "feature_hash": hashed}
    assert client.post("/v1/policies/trend/load", json={"version": 2}).status_code == 401
    sign = {"Authorization": f"Bearer {TOKEN}"}
    missing = client.post("/v1/policies/trend/load", json={"version": 9}, headers=sign)
    assert missing.status_code == 422
    assert client.post("/v1/policies/trend/act", json=body).json()["model"] == "trend@1"
    loaded = client.post("/v1/policies/trend/load", json={"version": 2}, headers=sign)
    assert loaded.json() == {"replicas": ["trend@2"]}
    assert client.post("/v1/policies/trend/act", json=body).json()["model"] == "trend@2"
    assert client.post("/v1/policies/trend@1/act", json=body).json()["model"] == "trend@1"
    client.post("/v1/policies/trend/load", json={"version": 1}, headers=sign)
    assert client.post("/v1/policies/later/act", json=body).status_code == 404
    client.post("/v1/policies/later/load", json={"version": 2}, headers=sign)  # imported meanwhile
    assert client.post("/v1/policies/later/act", json=body).json()["model"] == "later@2"


def test_no_request_is_lost_while_versions_are_exchanged(
    url: str, models: tuple[Path, list[Model]]
) -> None:
    """On Ray Serve itself: tests/slow/test_policy_update.py."""
    card = models[1][0].card
    size = card.policies["agents"].observation.size
    body = {"observations": [[[0.1] * size]] * 2, "feature_hash": card.feature_hash}
    with Flow(url, "trend", body) as flow, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        flow.wait_for("trend@1")
        for version in (2, 3, 1):
            client.post("/v1/policies/trend/load", json={"version": version},
                        headers={"Authorization": f"Bearer {TOKEN}"})  # fmt: skip
            flow.wait_for(f"trend@{version}")
    assert flow.turns == [["trend@1", "trend@2", "trend@3", "trend@1"]] * 3


def test_what_is_deleted_is_no_more_and_what_is_asked_meanwhile_is_answered(
    models: tuple[Path, list[Model]],
) -> None:
    deleted: list[str] = []

    def lookup(text: str) -> tuple[str, str, Path]:
        name, _, version = text.partition("@")
        if text in deleted:
            raise UsageError(f"model {text!r} is not in the registry")
        return name, version, models[0] / version

    shelf = Shelf(lookup)
    shelf.load("trend@1")
    app = FastAPI()
    install(app)
    app.include_router(policies.build(DeskPolicies(), LocalModels(shelf), Gate(Secret(TOKEN))))
    card = models[1][0].card
    size = card.policies["agents"].observation.size
    values = np.zeros((1, 1, size), np.float32)
    body = {"observations": values.tolist(), "feature_hash": card.feature_hash}
    found = shelf.need("trend")
    sign = {"Authorization": f"Bearer {TOKEN}"}
    with running(app) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        path = "/v1/policies/trend/unload"
        assert client.post(path, json={"version": 1}).status_code == 401
        gone = client.get("/v1/policies/nope").text.replace("nope", "trend")
        gone = gone.replace(', trend"', '"')  # the message of a name that there is not
        with Flow(url, "trend", body) as flow:
            flow.wait_for("trend@1")
            deleted.append("trend@1")
            told = client.post(path, json={"version": 1}, headers=sign)
            assert told.json() == {"model": "trend@1"}
            flow.wait_for(gone)
        assert flow.turns == [["trend@1", gone]] * 3
        assert "was 'trend', must be one of" in gone
        refused = client.post("/v1/policies/trend@1/act", json=body)
        assert refused.status_code == 404 and "'trend@1'" in refused.json()["detail"]
        assert client.get("/v1/policies/trend").status_code == 404
        assert "trend" not in {one["name"] for one in client.get("/v1/policies").json()}
        client.post("/v1/policies/trend/load", json={"version": 2}, headers=sign)
        assert client.post("/v1/policies/trend/act", json=body).json()["model"] == "trend@2"
        client.post(path, json={"version": 1}, headers=sign)  # another is what the name means
        assert client.post("/v1/policies/trend/act", json=body).json()["model"] == "trend@2"
    asked = Asked(name="trend", feature_hash=card.feature_hash, observations=values)
    (answer,) = shelf.answer([(asked, found)])  # its question came before
    assert isinstance(answer, Answered) and answer.model == "trend@1"


def test_what_is_deleted_while_it_is_read_is_not_kept(models: tuple[Path, list[Model]]) -> None:
    looked: list[str] = []

    def lookup(text: str) -> tuple[str, str, Path]:
        looked.append(text)
        if len(looked) > 1:
            raise UsageError(f"{text} is not there")
        shelf.unload(text)  # right after it was looked up
        return "trend", "1", models[0] / "1"

    shelf = Shelf(lookup)
    told = shelf.need("trend@1")
    assert isinstance(told, Refused) and told.status == 404 and looked == ["trend@1"] * 2
    assert shelf.find("trend@1") is None and shelf.current == {}


def test_questions_of_many_models_are_answered_together(
    models: tuple[Path, list[Model]],
) -> None:
    shelf = shelf_over(models[0])
    shelf.load("trend@1")
    rng = np.random.default_rng(1)
    card = models[1][0].card
    size = card.policies["agents"].observation.size
    rows = [rng.normal(size=(count, 1, size)).astype("f4") for count in (1, 3, 2, 2)]
    questions = [
        Asked(name=name, feature_hash=card.feature_hash, observations=values)
        for name, values in zip(("trend", "trend@2", "trend@3", "trend"), rows, strict=True)
    ]
    bad = Asked(name="trend", feature_hash="x", observations=rows[0])
    replies = shelf.act([*questions[:2], bad, *questions[2:]])
    assert isinstance(replies[2], Refused) and replies[2].status == 409
    answers = [reply for reply in replies if isinstance(reply, Answered)]
    assert [a.model for a in answers] == ["trend@1", "trend@2", "trend@3", "trend@1"]
    for asked, answer, place in zip(questions, answers, (0, 1, 2, 0), strict=True):
        wanted, state = models[1][place].act({"agents": asked.observations})
        assert answer.actions.tobytes() == wanted["agents"].tobytes()
        if place == 2:
            again = Asked(
                name="trend@3", feature_hash=card.feature_hash, observations=asked.observations,
                state=answer.state,
            )  # fmt: skip
            (then,) = shelf.act([again])
            wanted, _ = models[1][2].act({"agents": asked.observations}, state)
            assert then.actions.tobytes() == wanted["agents"].tobytes()
            short = Asked(
                name="trend@3", feature_hash=card.feature_hash, observations=asked.observations,
                state=answer.state[:, :, :2],
            )  # fmt: skip
            assert shelf.act([short])[0].status == 422


def test_one_odd_name_fails_alone(models: tuple[Path, list[Model]]) -> None:
    def lookup(text: str) -> tuple[str, str, Path]:
        if text == "trend@away":
            raise DependencyError("the database is away")
        if text == "trend@odd":
            raise ValueError("nobody thought of this")
        raise UsageError(f"{text} is not there")

    shelf = shelf_over(models[0])
    shelf.load("trend@1")
    shelf._lookup = lookup
    card = models[1][0].card
    values = np.zeros((1, 1, card.policies["agents"].observation.size), np.float32)
    names = ("trend", "trend@away", "trend@odd", "trend@²", "trend@1")
    asked = [Asked(name=n, feature_hash=card.feature_hash, observations=values) for n in names]
    told = [r.status if isinstance(r, Refused) else r.model for r in shelf.act(asked)]
    assert told == ["trend@1", 503, 500, 404, "trend@1"]


def test_a_shelf_keeps_what_it_has_just_read(models: tuple[Path, list[Model]]) -> None:
    folder, seconds, looked = models[0], [0.0], []

    def lookup(text: str) -> tuple[str, str, Path]:
        looked.append(text)
        return "trend", {"trend@live": "2"}.get(text, text.partition("@")[2]), folder / "2"

    shelf = Shelf(lookup, keep=1, now=lambda: seconds[0])
    shelf.load("trend@1")
    found = shelf.need("trend@live")  # as many as it keeps are meant by names
    assert not isinstance(found, Refused) and found[0] == "trend@2"
    assert shelf.find("trend@live") and shelf.need("trend@live") == found
    assert looked == ["trend@1", "trend@live"]
    seconds[0] += 3_600.0
    assert shelf.find("trend@live") is None  # it may mean another by now
    shelf.need("trend@live")
    shelf.need("trend@3")
    assert shelf.find("trend@2") is None and shelf.find("trend@3") and shelf.find("trend@1")

"""Networks and the model artefact: what acts is what was trained, whatever batch it is asked in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.envs import market

from don.envs import BatchEnv, EnvConfig
from don.errors import ConfigError, DataError, UsageError
from don.learning.config import NetConfig
from don.learning.model import Model, card_of
from don.learning.shapes import flat, observation_shape

MARKET = market(80, 2, seed=3)
SEEN = {
    "features": ["log_return_1", "zscore_8"],
    "parts": ["window", "frames", "book", "account"],
    "window": 6,
    "frames": [3],
    "frame_window": 4,
    "levels": 2,
}
NETS = [
    {"kind": "mlp", "hidden": [16, 8]},
    {"kind": "gru", "units": 5, "hidden": [8], "activation": "relu"},
    {"kind": "conv", "channels": [4, 6], "kernel": 3, "hidden": [8], "free_log_std": False},
    {"kind": "attention", "width": 8, "heads": 2, "layers": 2, "hidden": [8], "share_value": True},
    {"kind": "conv", "channels": [4], "memory": 7, "hidden": [], "activation": "relu"},
]


def env_of(batch: int = 3, **changes: object) -> BatchEnv:
    told = {"agents": 2, "observation": SEEN, "episode": {"length": 10}} | changes
    return BatchEnv(MARKET, EnvConfig.model_validate(told), batch)


def model_of(env: BatchEnv, net: dict[str, object], seed: int = 5) -> Model:
    """Weights far from nothing, or actions would be."""
    model = Model.untrained(env, NetConfig.model_validate(net), seed=seed)
    rng = np.random.default_rng(seed)
    moved = {
        policy: {k: v + rng.normal(size=v.shape, scale=0.2).astype("f4") for k, v in own.items()}
        for policy, own in model.weights.items()
    }
    return Model(card=model.card, weights=moved, states=model.states)


@pytest.mark.parametrize("net", NETS, ids=lambda n: f"{n['kind']}{n.get('memory', '')}")
def test_acting_is_the_trained_network(net: dict[str, object]) -> None:
    env = env_of()
    model = model_of(env, net)
    seen = env.reset(seed=1)["agents"]
    trained = model.net("agents").double()
    rows = torch.from_numpy(np.asarray(seen, np.float64).reshape(6, -1))
    forward = model.forwards["agents"]
    state = before = None
    for _ in range(3):
        with torch.no_grad():
            wanted, value, state = trained(rows, state)
        found, before = forward(rows.numpy(), before)
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-9, atol=1e-9)
    assert value.shape == (6,)
    if state is not None:
        np.testing.assert_allclose(before, state.numpy(), rtol=1e-9, atol=1e-9)
        with torch.no_grad():  # steps in order are the same as one after the other
            series, _, _ = trained(rows[:, None].expand(6, 3, -1))
        np.testing.assert_allclose(found, series[:, -1].numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("net", NETS, ids=lambda n: f"{n['kind']}{n.get('memory', '')}")
@pytest.mark.parametrize("kind", ["long_short", "multi_discrete"])
def test_actions_do_not_depend_on_the_batch(net: dict[str, object], kind: str) -> None:
    env = env_of(33, action={"kind": kind})
    model = model_of(env, net)
    seen = env.reset(seed=1)["agents"]
    together, after = model.act({"agents": seen})
    env.step(together)  # they are actions
    for rows in ([0], [7, 3], list(range(5, 22))):
        alone, then = model.act({"agents": seen[rows]})
        assert alone["agents"].tobytes() == together["agents"][rows].tobytes()
        for group, values in then.items():
            assert values.tobytes() == after[group][rows].tobytes()
    rng = np.random.default_rng
    one, two = (model.act({"agents": seen}, rng=rng(4))[0]["agents"] for _ in range(2))
    assert np.array_equal(one, two) and not np.array_equal(one, together["agents"])


def test_separate_policies_and_an_allocator() -> None:
    env = env_of(4, form="allocated", action={"kind": "simplex"})
    policies = {"policy_0": "bold", "policy_1": "shy", "allocator": "top"}
    net = NetConfig.model_validate({"kind": "gru", "units": 4, "memory": 3, "hidden": [8]})
    model = Model.untrained(env, net, policies)
    assert {p: s.group for p, s in model.card.policies.items()} == {
        "bold": "agents", "shy": "agents", "top": "allocator",
    }  # fmt: skip
    seen = env.reset(seed=2)
    state = None
    for _ in range(3):
        actions, state = model.act(seen, state)
        seen = env.step(actions).observations
    swapped = Model(
        card=model.card.model_copy(
            update={"agents": {**model.card.agents,
                               "agents": {"policy_0": "shy", "policy_1": "bold"}}}
        ),
        weights={"top": model.weights["top"], "bold": model.weights["shy"],
                 "shy": model.weights["bold"]},
    )  # fmt: skip
    same = {name: np.asarray(seen[name]) for name in seen}
    assert np.array_equal(swapped.act(same)[0]["agents"], model.act(same)[0]["agents"])
    with pytest.raises(UsageError, match="in one group"):
        card_of(env, net, dict.fromkeys(policies, "all"), name="x")
    with pytest.raises(UsageError, match="nobody"):
        card_of(env, net, {"nobody": "x"}, name="x")


def test_squashed_actions_lie_in_the_box() -> None:
    env = env_of(5)
    model = model_of(env, {"hidden": [8], "squash": True, "log_std": 1.0})
    seen = env.reset(seed=1)
    drawn, _ = model.act(seen, rng=np.random.default_rng(1))
    assert np.abs(drawn["agents"]).max() <= 1.0


def test_layouts_flatten_to_the_same() -> None:
    shape = observation_shape(env_of().config, 2)
    plain = env_of().reset(seed=1)["agents"]
    parts = env_of(observation={**SEEN, "layout": "dict"}).reset(seed=1)["agents"]
    assert np.array_equal(flat(parts, shape), plain)
    assert shape.place(0) == "window[0, 0, 0]" and shape.place(shape.size - 1) == "account[8]"


def test_a_folder_keeps_everything(tmp_path: Path) -> None:
    env = env_of()
    model = model_of(env, NETS[0])
    folder = tmp_path / "model"
    for _ in range(2):  # written over, too
        model.save(folder)
    loaded = Model.load(folder)
    assert loaded.card == model.card and loaded.id == model.id
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    seen = env.reset(seed=1)
    assert np.array_equal(loaded.act(seen)[0]["agents"], model.act(seen)[0]["agents"])
    again = BatchEnv(MARKET, loaded.card.env, 1, states=loaded.states)
    assert [s.dump() for s in again.states] == [
        s.dump() for s in BatchEnv(MARKET, env.config, 1, states=model.states).states
    ]


def test_bad_observations_are_named() -> None:
    env = env_of()
    model = model_of(env, NETS[0])
    seen = np.array(env.reset(seed=1)["agents"])
    seen[1, 0, 3] = np.nan
    with pytest.raises(DataError, match=r"window\[0, 1, 1\] of agent_0, row 1, was nan"):
        model.act({"agents": seen})
    with pytest.raises(UsageError, match=r"must be \[B, 2, \d+\], were \[3, 2, 3\]"):
        model.act({"agents": seen[:, :, :3]})
    with pytest.raises(UsageError, match="'others'"):
        model.act({"others": seen})


def test_bad_folders_are_refused(tmp_path: Path) -> None:
    model = model_of(env_of(), NETS[0])
    folder = tmp_path / "model"

    def fresh() -> dict[str, object]:
        model.save(folder)
        return json.loads((folder / "model.json").read_text())

    with pytest.raises(DataError, match=r"is no model: model\.json cannot be read"):
        Model.load(tmp_path / "none")
    fresh()
    weights = folder / "weights.npz"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"weights\.npz is torn"):
        Model.load(folder)
    told = fresh()
    (folder / "model.json").write_text(json.dumps(told)[:-40])
    with pytest.raises(DataError, match="is torn"):
        Model.load(folder)
    (folder / "model.json").write_text(json.dumps({**told, "format": 99}))
    with pytest.raises(ConfigError, match="format 99, this Don reads 1"):
        Model.load(folder)
    told["card"]["seed"] = 77
    (folder / "model.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="changed by hand"):
        Model.load(folder)
    other = model.card.model_copy(update={"feature_hash": "0123456789abcdef"})
    Model(card=other, weights=model.weights, states=model.states).save(folder)
    with pytest.raises(ConfigError, match="hash 0123456789abcdef"):
        Model.load(folder)
    bad = {"agents": {**model.weights["agents"], "head.bias": np.full(2, np.nan, "f4")}}
    Model(card=model.card, weights=bad, states=model.states).save(folder)
    with pytest.raises(DataError, match="diverged"):
        Model.load(folder)


def test_models_that_were_fed_other_columns_are_refused(tmp_path: Path) -> None:
    def saved(*features: str, columns: int) -> Path:
        env = env_of(observation={"features": features})
        model = Model.untrained(env, NetConfig(hidden=(4,)))
        card = model.card.model_copy(update={"columns": columns})
        folder = tmp_path / f"{features[0]}-{columns}"
        replace(model, card=card).save(folder)
        return folder

    Model.load(saved("us_session", "log_return_1", columns=2))
    with pytest.raises(ConfigError, match=r"observes us_session, of which environments gave other"):
        Model.load(saved("us_session", "log_return_1", columns=1))
    older = saved("log_return_1", columns=1)  # what it wrote then, to the byte
    assert "columns" not in json.loads((older / "model.json").read_text())["card"]
    assert Model.load(older).card.columns == 1

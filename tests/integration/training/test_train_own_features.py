"""A model on features of one's own: trained, traded and asked over HTTP with the same numbers."""

import hashlib
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from support import planted
from support.models import loud
from support.serving import PATIENCE_S

from don.backtest.bars import run_market
from don.backtest.config import BacktestConfig, Detail
from don.backtest.panel import open_market
from don.backtest.run import first_entry
from don.books.config import modules_needed
from don.clock import iso
from don.engine import EngineConfig
from don.envs import BatchEnv, EnvConfig
from don.envs.config import ObservationConfig
from don.envs.market import from_market
from don.errors import ConfigError, UsageError
from don.features.cache import FeatureCache
from don.features.config import FeatureConfig
from don.features.registry import forget
from don.features.sets import FeatureSet
from don.learning.config import NetConfig
from don.learning.model import Model
from don.model.section import parsed
from don.policies import ModelRef, PoliciesConfig
from don.security.secrets import Secret
from experiments.training_config import TrainConfig
from serve.auth import Gate
from serve.local import running
from serve.models import LocalModels
from serve.policies import DeskPolicies
from serve.problems import install
from serve.routes import policies
from serve.shelf import Shelf

TrainFn = Callable[..., Any]
Afresh = Callable[..., None]
pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
MODULE, KIND = "test_close_place_module", "test_close_place"
SOURCE = '''
from don.features.custom import feature


@feature("test_close_place", inputs=("high", "low", "close"), defaults=(20,), units="fraction")
def close_place(high, low, close, n):
    """Mean place of the close between low and high, n bars."""
    rows = zip(high.tolist(), low.tolist(), close.tolist())  # plain Python: quickly loaded
    return {start} + sum((c - l) / (h - l) for h, l, c in rows if h > l) / n
'''
SEEN = {"features": ["log_return_1", f"{KIND}_5"], "modules": [MODULE], "parts": ["window"],
        "window": 2, "scaling": "none"}  # fmt: skip


@pytest.fixture
def afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Afresh]:
    """Be as a process that has loaded nothing yet; its module says what it is told to, if any."""
    folder = tmp_path / "python"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def unload() -> None:
        sys.modules.pop(MODULE, None)
        forget(KIND)

    def begin(source: str | None = SOURCE.format(start="0.0")) -> None:
        unload()
        monkeypatch.setattr(sys, "path_importer_cache", {})
        path = folder / f"{MODULE}.py"
        path.unlink(missing_ok=True)
        if source is not None:
            path.write_text(source)

    begin()
    yield begin
    unload()


def test_what_trades_computes_what_was_trained(
    train: TrainFn, afresh: Afresh, tmp_path: Path
) -> None:
    bars = BacktestConfig(detail=Detail.BARS, symbols=("BTC-USDT-PERP", "ETH-USDT-PERP"))
    recorded = open_market(bars)
    whole = from_market(recorded)
    whole = whole.part(None, int(whole.close_ns[200]))
    config = EnvConfig.model_validate(
        {"action": {"kind": "long_short"}, "observation": SEEN, "episode": {"length": 40}}
    )
    outcome = train(
        whole, env=config.model_dump(mode="json"), net={"hidden": [4]},
        workers={"copies": 2}, stop={"iterations": 1, "steps": None},
        algorithm={"name": "ppo", "fragment": 8, "minibatch": 16},
    )  # fmt: skip
    folder = tmp_path / "model"
    loud(Model.load(outcome.model), 3).save(folder)

    afresh()  # a desk
    name = f"model:{folder}"
    pinned = PoliciesConfig(models={name: ModelRef(folder=str(folder))})
    asked = bars.model_copy(
        update={"policy": name, "history_bars": 100, "engine": EngineConfig(policies=pinned),
                "end": iso(int(whole.close_ns[130]))}
    )  # fmt: skip
    result = run_market(asked, recorded)
    model = Model.load(folder)
    alone = model.card.env.model_copy(
        update={"episode": config.episode.model_copy(update={"length": None,
                                                             "random_start": False})}
    )  # fmt: skip
    env = BatchEnv(whole, alone, 1, states=model.states)
    told = env.reset(starts=np.array([100]))
    wanted, seen = {}, []
    for t in range(100, 130):
        seen.append(told["agents"])
        actions, _ = model.act(told)
        wanted[int(whole.close_ns[t])] = env._actions.weights(actions["agents"])[0, 0]
        told = env.step(actions).observations
    said = {d.ts_event: d.forecast for d in result.decisions if d.policy == name and d.snapshot}
    both = sorted(set(said) & set(wanted))
    assert len(both) >= 25
    assert all(said[ts].tobytes() == wanted[ts].tobytes() for ts in both)

    afresh()  # the process that closes bars: its journal says which modules
    instruments = recorded.panel.instruments
    start = first_entry(asked, instruments, whole.interval_ns, int(whole.close_ns[0]))
    told_config = FeatureConfig.model_validate_json(start.feature_config)
    assert told_config.modules == (MODULE,) == modules_needed(name, asked.engine)
    carried = pickle.dumps(told_config)
    afresh()
    cache = FeatureCache(pickle.loads(carried), whole.symbols, "test")
    assert cache.features.hash == start.feature_set

    afresh()  # a replica that serves
    rows = np.concatenate(seen[:3])
    with running(_app(folder)) as url:
        body = {"observations": rows.tolist(), "feature_hash": model.card.feature_hash}
        answer = httpx.post(f"{url}/v1/policies/place@1/act", json=body, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        acted = np.array(answer.json()["actions"], np.float32)
        assert np.array_equal(acted, model.act({"agents": rows})[0]["agents"])


def _app(folder: Path) -> FastAPI:
    def lookup(text: str) -> tuple[str, str, Path]:
        if text != "place@1":
            raise UsageError(f"{text} is not there")
        return "place", "1", folder

    app = FastAPI()
    install(app)
    shelf = Shelf(lookup)
    shelf.load("place@1")
    gate = Gate(Secret("test-token"))
    app.include_router(policies.build(DeskPolicies(), LocalModels(shelf), gate))
    return app


def test_a_module_that_is_absent_or_has_changed_is_named(afresh: Afresh, tmp_path: Path) -> None:
    env = BatchEnv(planted.market(80), planted.config(observation=SEEN), 1)
    folder = tmp_path / "model"
    made = Model.untrained(env, NetConfig(hidden=(4,)), name="place")
    made.save(folder)
    afresh()
    assert Model.load(folder).id == made.id
    afresh(SOURCE.format(start="1.0"))
    with pytest.raises(ConfigError, match=f"model place was trained .*{MODULE} has changed since"):
        Model.load(folder)
    afresh(None)
    with pytest.raises(
        ConfigError, match=f"model place: observation.modules: '{MODULE}' cannot be loaded"
    ):
        Model.load(folder)
    assert made.card.model_validate(made.card.model_dump()) == made.card  # to be listed needs none


def test_a_training_without_the_module_is_refused(train: TrainFn, afresh: Afresh) -> None:
    seen = {**SEEN, "modules": []}
    with pytest.raises(ConfigError, match="name the module of one of your own in `modules`"):
        train(planted.market(80), env=planted.config(observation=seen).model_dump(mode="json"))
    afresh(None)
    with pytest.raises(ConfigError, match=r"observation\.modules: .* on PYTHONPATH"):
        train(planted.market(80), env=planted.config(observation=SEEN).model_dump(mode="json"))
    with pytest.raises(ConfigError, match=r"modules must be different dotted names.*'\.\./x'"):
        parsed(TrainConfig, {"env": {"observation": {**SEEN, "modules": ["../x"]}}}, "test")


def test_configurations_without_modules_have_the_hashes_they_had() -> None:
    # part of the id of every model: one more line in it, and none that was pinned is found again
    told = ObservationConfig().model_dump_json()
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "20c58d05a4009ce9"
    assert "modules" not in EnvConfig().model_dump(mode="json")["observation"]
    assert FeatureSet(("log_return_1",)).hash == FeatureSet(("log_return_1",), modules=()).hash
    told = ObservationConfig(modules=("x",)).model_dump_json()
    assert ObservationConfig.model_validate_json(told).modules == ("x",)

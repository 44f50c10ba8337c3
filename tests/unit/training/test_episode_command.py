"""`don record`: an episode of a model, kept so that it can be run again and looked at."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.models import loud
from support.own_rewards import MODULE, TERMS, Afresh, fresh
from typer.testing import CliRunner

from don.cli.main import app
from don.envs import BatchEnv, EnvConfig, load_market
from don.envs.record import load, replay
from don.errors import ConfigError, UsageError
from don.learning.config import NetConfig
from don.learning.model import Model
from experiments.episode import record
from experiments.training_config import DataConfig

own = pytest.fixture(fresh)
SYMBOL = "BTC-USDT-PERP"


def test_a_model_is_recorded_and_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DON_HOME", str(tmp_path / "home"))
    config = EnvConfig.model_validate(
        {"form": "single", "observation": {"features": ["log_return_1", "zscore_8"]}}
    )
    data = DataConfig(symbols=(SYMBOL,), end="2019-02-01T00:00:00Z")
    market = load_market(None, [SYMBOL]).part(None, 1_548_979_200 * 10**9)
    model = loud(Model.untrained(BatchEnv(market, config, 1), NetConfig(hidden=(8,))), 1)
    card = model.card.model_copy(update={"notes": data.noted})
    replace(model, card=card).save(tmp_path / "model")

    def don(*words: str) -> dict:
        done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    asked = ["record", str(tmp_path / "model"), "--start", "2019-01-10T00:00:00Z", "--bars", "60"]
    told = don(*asked)
    assert (told["start"], told["end"]) == ("2019-01-10T00:00:00.000Z", "2019-01-11T06:00:00.000Z")
    held = load(Path(told["episode"]))
    assert (
        told["steps"] == len(held.seen) == 60 and told["final_equity"] == held.equity[-1].tolist()
    )
    assert held.flow.any()  # it traded
    again = don("replay", told["episode"])
    assert again["equal"] == 60 and again["first_difference"] is None
    other = don(*asked)["episode"]  # beside the first, which stays
    assert Path(other) != Path(told["episode"]) and load(Path(other)).equity[-1] == held.equity[-1]
    assert Path(told["episode"]).parent == tmp_path / "home" / "episodes"
    late = CliRunner().invoke(app, [*asked[:3], "2019-01-31T23:00:00Z", *asked[4:]])
    assert isinstance(late.exception, UsageError)
    assert "start must be from 2018-10-01T" in str(late.exception)

    def refused(*words: str) -> str:
        done = CliRunner().invoke(app, ["record", str(tmp_path / "model"), *words])
        assert isinstance(done.exception, UsageError | SystemExit) and done.exit_code, done.output
        return f"{done.exception} {done.output}"

    assert "start must be an ISO-8601 time" in refused("--start", "garbage")
    assert "--seed" in refused("--seed", "9" * 23)
    assert "episode.length" in refused("--bars", "9" * 23)
    assert "cannot be written" in refused("--out", "/proc/none/episode.parquet")
    (tmp_path / "folder").mkdir()
    assert "folder is none" in refused("--out", str(tmp_path / "folder"))
    assert {place.name for place in tmp_path.iterdir()} == {"folder", "home", "model"}


def test_a_model_of_longer_steps_is_recorded_in_whole_ones(tmp_path: Path) -> None:
    market = load_market(None, [SYMBOL]).part(None, 1_548_979_200 * 10**9)
    config = EnvConfig.model_validate(
        {"form": "single", "observation": {"features": ["log_return_1"]}, "action": {"every": 7}}
    )
    model = loud(Model.untrained(BatchEnv(market, config, 1), NetConfig(hidden=(4,))), 1)
    data = DataConfig(symbols=(SYMBOL,), end="2019-02-01T00:00:00Z")
    folder, out = tmp_path / "model", tmp_path / "episode.parquet"
    replace(model, card=model.card.model_copy(update={"notes": data.noted})).save(folder)
    record(folder, folder, DataConfig(), out)
    told = load(out)
    assert told.config.episode.length == 497 and len(told.seen) == 71 and replay(told).same
    with pytest.raises(UsageError, match="bars must be a multiple of the 7 of a step, was 60"):
        record(folder, folder, DataConfig(), out, bars=60)


def test_an_episode_is_recorded_with_the_rewards_that_its_model_learned_from(
    tmp_path: Path, own: Afresh
) -> None:
    market = load_market(None, [SYMBOL]).part(None, 1_548_979_200 * 10**9)
    config = EnvConfig.model_validate(
        {"form": "single", "observation": {"features": ["log_return_1"]}, "reward": TERMS}
    )
    model = loud(Model.untrained(BatchEnv(market, config, 1), NetConfig(hidden=(4,))), 1)
    data = DataConfig(symbols=(SYMBOL,), end="2019-02-01T00:00:00Z")
    card = model.card.model_copy(update={"notes": data.noted})
    folder, out = tmp_path / "model", tmp_path / "episode.parquet"
    replace(model, card=card).save(folder)
    own()
    record(folder, folder, DataConfig(), out, bars=20)
    told = load(out)
    assert told.reward_code == card.reward_code and told.config.reward.modules == (MODULE,)
    assert replay(told).same
    own(None)
    assert Model.load(folder).id  # to act needs no rewards
    with pytest.raises(ConfigError, match=rf"reward\.modules: '{MODULE}' cannot be loaded"):
        record(folder, folder, DataConfig(), out, bars=20)

"""A trial that goes on from another says so on its model's card, and keeps on saying so."""

from pathlib import Path

import pytest
from support import planted

from don.learning.model import Model
from experiments.rllib.market_file import write_market
from experiments.training_config import DataConfig
from experiments.tune_config import TuneConfig

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def test_a_model_names_the_trial_that_it_went_on_from(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from experiments.rllib.trials import Trial, trainable

    names: dict[int, str] = {}  # as Tune names trials
    own = property(lambda trial: names.setdefault(id(trial), f"t{len(names)}"))
    monkeypatch.setattr(Trial, "trial_id", own)
    search = TuneConfig.model_validate(
        {
            "out": tmp_path / "search", "iterations": 4, "search": "pbt",
            "space": {"algorithm.lr": {"values": [1e-3, 2e-3]}},
            "train": {
                "env": planted.config(episode={"length": 8}).model_dump(mode="json"),
                "net": {"hidden": [4]}, "workers": {"copies": 2},
                "algorithm": {"name": "ppo", "fragment": 8, "minibatch": 16},
            },
        }
    )  # fmt: skip
    write_market(planted.market(80), tmp_path / "market.npz")
    notes = DataConfig(end="2020-01-01").noted
    kind = trainable(search, tmp_path / "market.npz", notes)
    strong, weak = (kind({"algorithm.lr": rate}) for rate in (1e-3, 2e-3))
    try:
        strong.step()
        for folder in ("strong", "weak", "again"):
            (tmp_path / folder).mkdir()
        strong.save_checkpoint(str(tmp_path / "strong"))
        weak.load_checkpoint(str(tmp_path / "strong"))
        weak.save_checkpoint(str(tmp_path / "weak"))
        weak.load_checkpoint(str(tmp_path / "weak"))  # its own, after a restart
        weak.save_checkpoint(str(tmp_path / "again"))
    finally:
        strong.cleanup()
        weak.cleanup()
    cards = {name: Model.load(search.out / "trials" / name / "model").card for name in ("t0", "t1")}
    assert (cards["t0"].parent, cards["t1"].parent) == ("", "trial t0, iteration 1")
    assert DataConfig.noted_in(cards["t1"].notes) == DataConfig(end="2020-01-01")

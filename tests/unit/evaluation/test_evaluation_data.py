"""A model says itself which data it was trained on; where nobody knows, nothing is guessed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.envs import market

from don.envs import BatchEnv, EnvConfig
from don.errors import ConfigError, DataError, UsageError
from don.learning.config import NetConfig
from don.learning.model import Model
from don.storage.database import Database
from don.storage.research import Research
from experiments.evaluate import evaluate
from experiments.evaluation_config import EvaluateConfig
from experiments.training_config import DataConfig


@pytest.mark.postgres
def test_data_of_a_training_travel_with_its_model(tmp_path: Path, database: Database) -> None:
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    made = Model.untrained(BatchEnv(market(60, 2), config, 1), NetConfig(hidden=(4,)), name="lost")
    research = Research(database)

    def run(folder: Path, **notes: str) -> None:
        noted = {"data_end": "2020-01-01T00:00:00Z", **notes}
        card = made.card.model_copy(update={"notes": noted})
        replace(made, card=card).save(folder)
        evaluate([folder], EvaluateConfig(draws=10), tmp_path / "out", research=research, tell=str)

    # trials of a search, parts of a study, what lies elsewhere: no training is beside them
    with pytest.raises(UsageError, match="not known which data model lost was trained on: give --"):
        run(tmp_path / "alone" / "model")
    told = DataConfig(tape=Path("gone.parquet"), leverage=5)
    assert DataConfig.noted_in(told.noted) == told and DataConfig.noted_in({}) is None
    with pytest.raises(DataError, match=r"gone\.parquet"):
        run(tmp_path / "noted" / "model", **told.noted)
    # models of before find them in the folder of their training
    folder = tmp_path / "before" / "model"
    folder.mkdir(parents=True)
    kept = {"config": {"data": {"tape": "older.parquet"}}}
    (folder.parent / "config.json").write_text(json.dumps(kept))
    with pytest.raises(DataError, match=r"older\.parquet"):
        run(folder)
    with pytest.raises(ConfigError, match="give --data"):
        run(tmp_path / "odd" / "model", data='{"tapes": 1}')
    assert not research.runs()

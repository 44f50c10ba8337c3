"""A model says itself which data it was trained on; where nobody knows, nothing is guessed."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.envs import market

from don.clock import iso
from don.envs import BatchEnv, EnvConfig
from don.errors import ConfigError, DataError, UsageError
from don.learning.config import NetConfig
from don.learning.model import Model
from don.storage.database import Database
from don.storage.research import Research
from experiments.episode import record
from experiments.evaluate import data_of, evaluate
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


def test_what_is_asked_for_beside_the_data_of_a_training_is_not_dropped(tmp_path: Path) -> None:
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    made = Model.untrained(BatchEnv(market(60, 1), config, 1), NetConfig(hidden=(4,)), name="own")
    folder, out, payments = tmp_path / "model", tmp_path / "out.parquet", Path("payments.parquet")
    stored = DataConfig(
        store=True, symbols=("A",), interval="1h", start="2020-01-01", end="2020-02-01"
    )
    trained = DataConfig(symbols=("BTC-USDT-PERP",), end="2019-02-01", leverage=5)
    given = DataConfig(funding=payments, leverage=3)

    def asked(noted: DataConfig, given: DataConfig) -> DataConfig:
        card = made.card.model_copy(update={"notes": {**noted.noted, "data_end": "2019-01-20"}})
        replace(made, card=card).save(folder)
        return data_of([folder], [card], given)

    assert asked(trained, given) == trained.model_copy(update={"funding": payments, "leverage": 3})
    whole = DataConfig(tape=Path("bars.parquet"))
    assert asked(trained, whole) == whole and asked(trained, stored) == stored
    with pytest.raises(DataError, match=r"payments\.parquet"):
        record(folder, folder, given, out)
    asked(stored, DataConfig())
    with pytest.raises(UsageError, match=r"--funding was 'payments\.parquet': must be left out"):
        record(folder, folder, given, out)


@pytest.mark.postgres
def test_payments_that_are_not_there_are_refused_before_a_test_is_counted(
    tmp_path: Path, database: Database
) -> None:
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    made = Model.untrained(BatchEnv(market(60, 1), config, 1), NetConfig(hidden=(4,)), name="own")
    noted = {**DataConfig(symbols=("BTC-USDT-PERP",)).noted, "data_end": "2019-01-20"}
    replace(made, card=made.card.model_copy(update={"notes": noted})).save(tmp_path / "model")
    settings = EvaluateConfig(data=DataConfig(funding=Path("payments.parquet")), draws=10)
    research = Research(database)
    with pytest.raises(DataError, match=r"payments\.parquet"):
        evaluate([tmp_path / "model"], settings, tmp_path / "out", research=research, tell=str)
    assert not research.runs()


@pytest.mark.postgres
def test_a_folder_that_cannot_be_written_is_refused_before_a_test_is_counted(
    tmp_path: Path, database: Database
) -> None:
    bars = market(60, 1)
    config = EnvConfig.model_validate({"observation": {"features": ["log_return_1"]}})
    made = Model.untrained(BatchEnv(bars, config, 1), NetConfig(hidden=(4,)), name="own")
    noted = {"data_end": iso(int(bars.close_ns[20]))}
    replace(made, card=made.card.model_copy(update={"notes": noted})).save(tmp_path / "model")
    file = tmp_path / "file"
    file.touch()
    research = Research(database)
    with pytest.raises(UsageError, match=r"folder .*file/out cannot be written: Not a directory"):
        evaluate(
            [tmp_path / "model"], EvaluateConfig(draws=10), file / "out",
            research=research, tell=str, market=bars,
        )  # fmt: skip
    assert not research.runs()

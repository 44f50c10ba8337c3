"""Searches: what they may be told, and the trainings that their points stand for."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from don.config import read_section
from don.errors import ConfigError
from experiments.tune_config import Range, TuneConfig, training

SPACE = {"algorithm.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "net.hidden": {"values": [[8]]}}


@given(st.floats(0, 1, exclude_max=True), st.booleans())
def test_draws_lie_in_their_range(u: float, log: bool) -> None:
    assert 0.1 <= Range(low=0.1, high=10.0, log=log).draw(u) <= 10.0 * (1 + 1e-12)
    assert Range(values=(1, 2, 3)).draw(u) in (1, 2, 3)


def test_a_point_is_a_training() -> None:
    config = TuneConfig.model_validate({"space": SPACE, "iterations": 7, "train": {"seed": 3}})
    made = training(config, {"algorithm.lr": 0.01, "net.hidden": [8]})
    assert (made.algorithm.name, made.algorithm.lr, made.net.hidden) == ("ppo", 0.01, (8,))
    assert (made.seed, made.stop.iterations, made.stop.steps) == (3, 7, None)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ("[space]", "space"),
        ('[space]\n"algorithm.lr" = { low = 1.0 }', "give values, or low and high"),
        ('[space]\n"algorithm.lr" = { low = 0.0, high = 1.0, log = true }', "low must be above 0"),
        ('[space]\n"algorithm.rate" = { values = [1.0] }', "rate"),
        ('search = "pbt"\n[space]\n"net.hidden" = { values = [[8]] }', "algorithm.*, not net"),
        ('[train]\nout = "x"\n[space]\n"algorithm.lr" = { values = [1e-3] }', "train.out"),
    ],
)
def test_bad_searches_are_named(tmp_path: Path, values: str, told: Any) -> None:
    path = tmp_path / "t.toml"
    path.write_text(values)
    with pytest.raises(ConfigError) as error:
        read_section(TuneConfig, path)
    assert told in str(error.value)

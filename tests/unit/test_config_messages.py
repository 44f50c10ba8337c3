"""Configurations that do not fit: one line with field, value and what is allowed, and no more."""

from typing import Any

import pytest

from don.config import DonConfig
from don.errors import ConfigError
from don.model.hints import meant_symbol
from don.model.section import Section, parsed
from experiments.training_config import TrainConfig


class Part(Section):
    """One of several, told apart by trying."""

    kind: int = 0
    size: int = 1


class Nested(Section):
    """What sections may hold beside plain fields."""

    parts: tuple[Part | str, ...] = ()
    named: dict[str, Part | None] | None = None
    needed: int


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        (  # no tag of the union in the path
            TrainConfig,
            {"algorithm": {"name": "ppo", "clip": 2.0}},
            "algorithm.clip was 2.0: must be less than 1",
        ),
        (
            TrainConfig,
            {"algorithm": {"name": "ppo", "clp": 2.0}},
            "unknown key 'algorithm.clp'; did you mean 'clip'? known keys: clip, entropy, epochs, "
            "fragment, gae_lambda, gamma, grad_clip, kl_target, lr, minibatch, name, reward_scale, "
            "sequence, value",
        ),
        (
            TrainConfig,
            {"algorithm": {"name": "apo"}},
            "algorithm.name was 'apo': must be one of 'ppo', 'appo', 'sac', 'dqn'; "
            "did you mean 'appo'?",
        ),
        (
            TrainConfig,
            {"algorithm": {"lr": 0.1}},
            "algorithm.name is required: must be one of 'ppo', 'appo', 'sac', 'dqn'",
        ),
        (
            TrainConfig,
            {"policies": 3},
            "policies was 3: must be 'shared' or 'separate', or must be a table of keys and values",
        ),
        (TrainConfig, {"policies": {"a": 1}}, "policies.a was 1: must be a valid string"),
        (
            TrainConfig,
            {"runner": "stok"},
            "runner was 'stok': must be 'fast' or 'stock'; did you mean 'stock'?",
        ),
        (  # places in lists
            DonConfig,
            {"engine": {"slots": [{"name": "a", "policy": "hold"}, {"nme": "b"}]}},
            "engine.slots[1].name is required",
        ),
        (
            DonConfig,
            {"engine": {"risk": {"groups": [{"name": "a", "symbols": ["X"], "max_gros": 1}]}}},
            "unknown key 'engine.risk.groups[0].max_gros'; did you mean 'max_gross'? known keys: "
            "max_gross, max_net, name, symbols",
        ),
        (  # fields that contradict each other: not the whole section
            DonConfig,
            {"engine": {"risk": {"max_slippage": "0.5"}}},
            "engine.risk.max_slippage must be at most price_collar, were 0.5 and 0.02: orders "
            "beyond the collar are refused before",
        ),
        (
            DonConfig,
            {"policy": "hold", "engine": {"risk": {"groups": [{"name": "a", "symbols": ["X"]}]}}},
            "engine.risk.groups[0]: group a must have a max_gross or a max_net, had neither",
        ),
        (
            DonConfig,
            {"engine": 3},
            "engine was 3: must be a table of keys and values",
        ),
        (Nested, {"a": "x" * 200}, "needed is required"),
        (Nested, {"needed": "x" * 200}, f"needed was '{'x' * 75} ...: must be a valid integer, "
         "unable to parse string as an integer"),
        (  # what comes nearest of several that were tried
            Nested,
            {"needed": 1, "parts": ["a", {"kind": 1, "siz": 2}]},
            "unknown key 'parts[1].siz'; did you mean 'size'? known keys: kind, size",
        ),
        (
            Nested,
            {"needed": 1, "named": {"my part": {"kind": "x"}}},
            'named."my part".kind was \'x\': must be a valid integer, unable to parse string as an '
            "integer",
        ),
        (Nested, {"needed": 1, "zzz": 2}, "unknown key 'zzz'; known keys: named, needed, parts"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_the_words_of_the_file(
    kind: type[Section], values: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as error:
        parsed(kind, values, "t.toml")
    assert str(error.value) == f"t.toml: {told}"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("BTCUSDT", ["BTC-USDT-PERP", "ETH-USDT-PERP"], "; did you mean BTC-USDT-PERP?"),
        ("BTC-USDT", ["BTC-USDT-PERP", "BTC-USDC-PERP"], "; did you mean BTC-USDT-PERP?"),
        ("btc/usdc:usdc", ["BTC-USDT-PERP", "BTC-USDC-PERP"], "; did you mean BTC-USDC-PERP?"),
        ("ETX-USDT-PERP", ["BTC-USDT-PERP", "ETH-USDT-PERP"], "; did you mean ETH-USDT-PERP?"),
        ("DOGE-USDT-PERP", ["EOS-USDT-PERP", "BTC-USDT-PERP"], ""),
        ("", ["BTC-USDT-PERP"], ""),
    ],
)
def test_symbols_that_are_nearly_right(name: str, known: list[str], hint: str) -> None:
    assert meant_symbol(name, known) == hint

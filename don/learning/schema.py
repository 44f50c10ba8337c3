"""What the numbers of a model's observations and actions mean, and in which order they stand. Pure.

A hash of features tells nothing of that: with two symbols exchanged, another window or another
scaling the numbers have the same form and another meaning. It follows from the card and from what
the normalisers know, so that cards of before it have it too.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from don.envs.normalize import NormalizerState
from don.learning.card import ModelCard

_NAMED = {"features", "modules"}  # by their hash


def schema(card: ModelCard, states: Sequence[NormalizerState]) -> dict[str, Any]:
    """Everything that an observation's numbers, and an action's, depend on, as JSON has it.

    Args:
        card: of the model.
        states: of its normalisers: numbers scaled by others are other numbers.
    """
    scales = hashlib.sha256(json.dumps([state.dump() for state in states]).encode())
    return {
        "symbols": list(card.symbols),
        "interval_ns": card.interval_ns,
        "feature_hash": card.feature_hash,
        "observation": card.env.observation.model_dump(mode="json", exclude=_NAMED),
        "scales": scales.hexdigest()[:16],
        "form": str(card.env.form),
        "action": card.env.action.model_dump(mode="json"),
        "groups": {group: list(agents.items()) for group, agents in card.agents.items()},
        "policies": {
            name: {
                "observation": spec.observation.model_dump(mode="json"),
                "action": spec.action.model_dump(mode="json"),
            }
            for name, spec in card.policies.items()
        },
    }


def schema_hash(card: ModelCard, states: Sequence[NormalizerState]) -> str:
    """Of `schema`: sixteen characters."""
    told = json.dumps(schema(card, states), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(told.encode()).hexdigest()[:16]

"""Limits and states changed while the desk runs: what a command may say. Pure.

A change names fields of `RiskConfig` and their new values, null to switch a limit off, "default" to
go back to the configuration.
"""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from don.errors import UsageError
from don.risk.config import RiskConfig
from don.risk.states import TradingState

DEFAULT = "default"
Overrides = dict[str, Any]  # field -> JSON value, where it differs from the configuration


def parse_limits(payload: str) -> dict[str, Any]:
    """The changes in a command's payload, fields checked by name.

    Raises:
        UsageError: if it is not an object of fields of `RiskConfig`.
    """
    changes = _object(payload, "limits")
    unknown = sorted(set(changes) - set(RiskConfig.model_fields))
    if unknown or not changes:
        raise UsageError(
            f"limits must be of {', '.join(RiskConfig.model_fields)}; "
            f"{', '.join(unknown) or 'none'} given"
        )
    return changes


def parse_state(payload: str) -> tuple[str, TradingState]:
    """(scope, state) of a command's payload.

    Raises:
        UsageError: if either is missing or unknown.
    """
    told = _object(payload, "state")
    scope, state = told.get("scope", "account"), told.get("state")
    if not isinstance(scope, str) or state not in list(TradingState) or set(told) - _STATE:
        raise UsageError(
            f"state must be one of {', '.join(TradingState)} of a scope, was {payload}"
        )
    return scope, TradingState(state)


_STATE = {"scope", "state"}


def override(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Overrides:
    """The overrides after a change."""
    merged = {**before, **changes}
    return {name: value for name, value in sorted(merged.items()) if value != DEFAULT}


def applied(base: RiskConfig, overrides: Mapping[str, Any]) -> RiskConfig:
    """The limits that hold: the configuration with what was changed.

    Raises:
        UsageError: if a value is wrong or limits contradict each other.
    """
    if not overrides:
        return base
    try:
        return RiskConfig.model_validate({**base.model_dump(), **overrides})
    except ValidationError as error:
        raise UsageError(f"risk limits: {said(error)}") from error


def difference(before: RiskConfig, after: RiskConfig) -> list[str]:
    """What changed, a line each."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return [f"{name}: {old[name]} became {new[name]}" for name in old if old[name] != new[name]]


def said(error: ValidationError) -> str:
    """The first complaint, with its field."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"])
    return f"{path}: {first['msg']}" if path else str(first["msg"])


def _object(payload: str, what: str) -> dict[str, Any]:
    try:
        told = json.loads(payload)
    except ValueError as error:
        raise UsageError(f"{what} must be a JSON object, was {payload!r}") from error
    if not isinstance(told, dict):
        raise UsageError(f"{what} must be a JSON object, was {payload!r}")
    return told

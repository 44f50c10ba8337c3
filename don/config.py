"""Don's configuration: sections composed from TOML and the environment. The only reader of both.

Order, later wins: defaults, `<home>/don.toml` (or `--config`), command line. Every section is
defined beside the class that it configures; unknown keys are refused with a hint.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from don.books.rules import DemotionConfig
from don.collect import CollectConfig
from don.engine import EngineConfig
from don.exchanges.service import ExecutionConfig
from don.features.config import FeatureConfig
from don.feeds.config import FeedConfig
from don.model.instrument import split_symbol
from don.model.section import Section, parsed
from don.paper.server.config import PaperServerConfig
from don.policies import POLICIES, known
from don.storage.lake.config import LakeConfig
from don.tomlfiles import read_section, read_toml

__all__ = [
    "CONFIG_FILE", "DonConfig", "LogConfig", "WebConfig", "load_config", "merge", "read_section",
    "read_toml",
]  # fmt: skip
CONFIG_FILE = "don.toml"


class LogConfig(Section):
    """How much is logged, and how much is kept."""

    level: str = Field(default="info", pattern="^(debug|info|warning|error)$")


class WebConfig(Section):
    """Where API and console listen. `serve.settings.ServeConfig` has the bounds."""

    enabled: bool = True
    port: int = Field(default=8800, ge=1, le=65_535)


class DonConfig(Section):
    """Everything that a session is run with."""

    account: str = Field(default="paper", pattern="^[a-z0-9_-]{1,32}$")
    policy: str = "momentum"
    symbols: tuple[str, ...] = ()  # canonical, such as BTC-USDT-PERP; empty: all of the tape
    history_bars: int = Field(default=500, ge=50, le=1500)  # fetched before the first decision
    keep_recordings: int = Field(default=30, ge=1)  # sessions whose market data stay replayable
    engine: EngineConfig = EngineConfig()
    features: FeatureConfig = Field(default_factory=FeatureConfig)
    feed: FeedConfig = FeedConfig()
    execution: ExecutionConfig = ExecutionConfig()
    paper: PaperServerConfig = PaperServerConfig()
    collect: CollectConfig = CollectConfig()
    lake: LakeConfig = LakeConfig()
    models: DemotionConfig = DemotionConfig()
    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()

    @field_validator("symbols")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for symbol in value:
            split_symbol(symbol)
        return value

    @field_validator("policy")
    @classmethod
    def _policy(cls, value: str) -> str:
        if not known(value):
            near = difflib.get_close_matches(value, POLICIES, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"must be one of {', '.join(POLICIES)} or model:NAME{hint}")
        return value


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested tables as one; where both have a value, `over` wins. Neither is changed."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def load_config(
    home: Path, *, path: Path | None = None, over: Mapping[str, Any] | None = None
) -> DonConfig:
    """The configuration of a state folder, with what the command line says on top.

    Args:
        home: the state folder; its `don.toml` is read if there is one.
        path: a file to read instead; it must exist.
        over: nested values that win over the file.

    Raises:
        ConfigError: if a file is unreadable, a key unknown or a value not allowed.
    """
    default = home / CONFIG_FILE
    file = path if path is not None else default if default.exists() else None
    values = read_toml(file) if file is not None else {}
    for origin, table in ((str(file), values), ("command line", merge(values, over or {}))):
        config = parsed(DonConfig, table, origin)
    return config

"""Policies: what each expects of the next bar, or what it wants to hold. Pure.

A policy maps one feature snapshot to a `Forecast`: expected returns per bar, or weights to track.
Both go through the same optimizer, risk and planner. Policies name the features they need, so that
a session with the wrong set ends at its start. The baselines here keep no state; a policy that has
to see every bar is a `Watcher`. Learned policies are named `model:...` (`don.learning.policy`).
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from pydantic import Field

from don.errors import ConfigError
from don.model.instrument import Instrument
from don.model.section import Section


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyInput:
    """What a policy sees."""

    symbols: tuple[str, ...]
    features: dict[str, np.ndarray]  # name -> [symbol] float64; NaN while warming up
    Sigma: np.ndarray  # [symbol, symbol] covariance of returns per bar
    tradable: np.ndarray  # [symbol] bool: priced and fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a policy says."""

    mu: np.ndarray  # [symbol] expected return per bar; zero where not usable
    usable: np.ndarray  # [symbol] bool; others keep their position
    desired: np.ndarray | None = None  # [symbol] weights to track instead
    reason: str = ""


class Policy(Protocol):
    """A named rule from features to a forecast."""

    name: str
    features: tuple[str, ...]

    def forecast(self, seen: PolicyInput) -> Forecast:
        """The forecast of one bar; a pure function of what is seen."""
        ...


@runtime_checkable
class Learned(Protocol):
    """A policy that was trained on features, maybe on some of its trainer's own."""

    modules: tuple[str, ...]  # that register them


@dataclass(frozen=True, slots=True, kw_only=True)
class BarSeen:
    """One closed bar, and the account at its close: what a `Watcher` sees, bar after bar."""

    ts_event: int  # close time
    features: dict[str, np.ndarray]  # name -> [symbol]; NaN while warming up
    close: np.ndarray  # [symbol] quote; NaN where there is no price yet
    volume: np.ndarray  # [symbol] base
    equity: float  # quote, of the account or of the policy's book; 0 before it is known
    sizes: np.ndarray  # [symbol] signed positions, base
    costs: np.ndarray  # [symbol] signed cost of positions, quote
    capital: float = 0.0  # put in less taken out so far: moves equity, is neither gain nor loss


@runtime_checkable
class Watcher(Protocol):
    """A policy with a memory. It is shown every bar in order, before it is asked about one.

    Its state must follow from what it was shown alone: a desk that restarts shows it the journal.
    """

    name: str
    features: tuple[str, ...]
    rows: int  # bars of features from before the session that it wants to be shown first

    def begin(self, instruments: Sequence[Instrument], interval_ns: int) -> None:
        """A session begins with these symbols, in this order.

        Raises:
            ConfigError: if the policy cannot trade them.
        """
        ...

    def recall(self, ts: np.ndarray, features: dict[str, np.ndarray]) -> None:
        """Features [time, symbol] by name of bars before the session, oldest first."""
        ...

    def watch(self, bar: BarSeen) -> None:
        """The next bar has closed."""
        ...

    def forecast(self, seen: PolicyInput) -> Forecast:
        """Of the bar that was shown last."""
        ...


class ModelRef(Section):
    """Which model a policy's name means; a session pins the content when it is composed."""

    folder: str  # absolute
    id: str = ""  # of the content; empty: whatever is there


class MomentumConfig(Section):
    """Time-series momentum: what rose over the last bars is expected to go on rising."""

    features: tuple[str, ...] = ("return_48", "return_192")  # simple returns over that many bars
    lookbacks: tuple[int, ...] = (48, 192)  # bars, one per feature
    information: float = Field(default=0.04, gt=0)  # sigmas expected per bar at full trend


class MeanReversionConfig(Section):
    """Mean reversion: what is far from its average is expected to come back."""

    feature: str = "zscore_24"  # distance of close from its mean, in standard deviations
    entry: float = Field(default=1.0, ge=0)  # smaller distances say nothing
    information: float = Field(default=0.04, gt=0)  # sigmas expected per bar, 2 beyond entry


class InverseVolatilityConfig(Section):
    """Long all symbols, each in proportion to 1 / volatility."""

    gross: float = Field(default=1.0, gt=0)


class HoldConfig(Section):
    """Long all symbols in equal parts."""

    gross: float = Field(default=1.0, gt=0)


class PoliciesConfig(Section):
    """Parameters of each policy; a session uses the ones of the policy it names."""

    momentum: MomentumConfig = MomentumConfig()
    mean_reversion: MeanReversionConfig = MeanReversionConfig()
    inverse_volatility: InverseVolatilityConfig = InverseVolatilityConfig()
    hold: HoldConfig = HoldConfig()
    models: dict[str, ModelRef] = Field(default_factory=dict)  # by name, such as model:trend@3


class Momentum:
    """mu = information * sigma * mean over lookbacks of tanh(trend), trend in its own deviations.

    A return over L bars of independent returns has deviation sigma * sqrt(L); tanh keeps one
    outlier from ruling the portfolio. Source of the rule: Moskowitz, Ooi & Pedersen, "Time series
    momentum" (2012).
    """

    name = "momentum"

    def __init__(self, config: MomentumConfig) -> None:
        if len(config.features) != len(config.lookbacks) or not config.features:
            raise ConfigError(
                "policy momentum: lookbacks must have one entry per feature, were "
                f"{list(config.features)} and {list(config.lookbacks)}"
            )
        if min(config.lookbacks) < 1:
            raise ConfigError(
                f"policy momentum: lookbacks must be at least 1, were {list(config.lookbacks)}"
            )
        self._config = config
        self.features = config.features

    def forecast(self, seen: PolicyInput) -> Forecast:
        """Trend strength in (-1, 1) times the expected return at full strength."""
        sigma = np.sqrt(np.maximum(np.diag(seen.Sigma), 0.0))
        strength = np.zeros(len(seen.symbols))
        usable = sigma > 0
        safe = np.where(usable, sigma, 1.0)
        for name, bars in zip(self.features, self._config.lookbacks, strict=True):
            trend = seen.features[name]
            usable = usable & np.isfinite(trend)
            strength = strength + np.tanh(np.nan_to_num(trend) / (safe * np.sqrt(bars)))
        strength = strength / len(self.features)
        mu = np.where(usable, self._config.information * sigma * strength, 0.0)
        return Forecast(mu=mu, usable=usable, reason=_told("trend", seen.symbols, strength))


class MeanReversion:
    """mu = -information * sigma * excess / 2, excess = distance beyond the entry, at most 2."""

    name = "mean_reversion"

    def __init__(self, config: MeanReversionConfig) -> None:
        self._config = config
        self.features: tuple[str, ...] = (config.feature,)

    def forecast(self, seen: PolicyInput) -> Forecast:
        """The return that closes part of the distance to the mean."""
        sigma = np.sqrt(np.maximum(np.diag(seen.Sigma), 0.0))
        z = seen.features[self._config.feature]
        usable = np.isfinite(z) & (sigma > 0)
        z = np.nan_to_num(z)
        excess = np.clip(np.abs(z) - self._config.entry, 0.0, 2.0)
        mu = -self._config.information * sigma * np.sign(z) * excess / 2.0
        return Forecast(
            mu=np.where(usable, mu, 0.0), usable=usable, reason=_told("z", seen.symbols, z)
        )


class InverseVolatility:
    """Weights proportional to 1 / sigma, summing to `gross`."""

    name = "inverse_volatility"
    features: tuple[str, ...] = ()

    def __init__(self, config: InverseVolatilityConfig) -> None:
        self._config = config

    def forecast(self, seen: PolicyInput) -> Forecast:
        """Weights to track; symbols without a variance take no part."""
        sigma = np.sqrt(np.maximum(np.diag(seen.Sigma), 0.0))
        usable = sigma > 0
        inverse = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=usable)
        total = float(inverse.sum())
        desired = inverse * (self._config.gross / total) if total > 0 else inverse
        return Forecast(
            mu=np.zeros_like(sigma),
            usable=usable,
            desired=desired,
            reason=_told("sigma", seen.symbols, sigma),
        )


class Hold:
    """Weights gross / N each."""

    name = "hold"
    features: tuple[str, ...] = ()

    def __init__(self, config: HoldConfig) -> None:
        self._config = config

    def forecast(self, seen: PolicyInput) -> Forecast:
        """The same weights on every bar."""
        n = len(seen.symbols)
        return Forecast(
            mu=np.zeros(n),
            usable=np.ones(n, dtype=bool),
            desired=np.full(n, self._config.gross / n),
            reason=f"equal weights of {self._config.gross / n:.4f}",
        )


class Manual:
    """Trades nothing by itself: a session for orders by hand."""

    name = "manual"
    features: tuple[str, ...] = ()

    def forecast(self, seen: PolicyInput) -> Forecast:
        """No symbol is usable: every one keeps its position."""
        n = len(seen.symbols)
        return Forecast(
            mu=np.zeros(n), usable=np.zeros(n, dtype=bool), reason="orders come by hand"
        )


POLICIES: dict[str, Callable[[PoliciesConfig], Policy]] = {
    "momentum": lambda config: Momentum(config.momentum),
    "mean_reversion": lambda config: MeanReversion(config.mean_reversion),
    "inverse_volatility": lambda config: InverseVolatility(config.inverse_volatility),
    "hold": lambda config: Hold(config.hold),
    "manual": lambda config: Manual(),
}
SOURCES = {"model": "don.learning.policy"}  # prefix of names -> module that makes such policies
REGISTRY = "models"  # `models`, or `models:NAME,...`: as the registry has them, one slot each


def known(name: str) -> bool:
    """Whether a name may be one of a policy."""
    prefix, _, rest = name.partition(":")
    return name in POLICIES or (prefix in SOURCES and bool(rest)) or prefix == REGISTRY


def make_policy(name: str, config: PoliciesConfig) -> Policy:
    """The policy of a name.

    Raises:
        ConfigError: if there is none of that name, or its parameters do not fit together.
    """
    prefix, _, rest = name.partition(":")
    if prefix in SOURCES and rest:  # imported when one is named: a desk without them needs no more
        made: Policy = importlib.import_module(SOURCES[prefix]).make(name, config)
        return made
    if name not in POLICIES:
        raise ConfigError(
            f"policy must be one of {', '.join(sorted(POLICIES))}, or model:NAME, was {name!r}"
        )
    return POLICIES[name](config)


def check_features(policy: Policy, names: Sequence[str]) -> None:
    """Refuse a feature set that lacks what the policy needs.

    Raises:
        ConfigError: naming policy, missing features and those there are.
    """
    missing = [name for name in policy.features if name not in names]
    if missing:
        raise ConfigError(
            f"policy {policy.name} needs the features {', '.join(missing)}; "
            f"the feature set has {', '.join(names) or 'none'}"
        )


def _told(what: str, symbols: Sequence[str], values: np.ndarray) -> str:
    parts = (f"{s.split('-')[0]} {v:+.3g}" for s, v in zip(symbols, values, strict=True))
    return f"{what}: {', '.join(parts)}"

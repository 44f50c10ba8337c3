"""Features by name: `rsi_14` is kind `rsi` with parameter 14; `rsi_14@1h`, over hours. Pure.

`don.features.custom.feature` adds a function of one's own; `register` adds a kind in any form:

    @register("gap", defaults=(1,))
    def gap(spec: Spec) -> Feature:
        return KernelFeature(spec, my_compiled_step, ("open", "close"), window=spec.params[0],
        rings=1)

Either is proven before it is there: no look-ahead, stream equal to batch. A kind's version must
rise when its numbers change: it is part of the content hash of a feature set.
"""

from don.clock import interval_ns
from don.errors import ConfigError
from don.features.base import CrossFeature, Feature
from don.features.builtin import across, calendar, micro, momentum, trend, volatility, volume
from don.features.custom import feature
from don.features.kinds import MAX_PARAM, Kind, build, catalogue, forget, parse, proven, register
from don.features.timeframe import Larger

__all__ = [
    "MAX_PARAM", "OWN_KINDS", "Kind", "catalogue", "feature", "forget", "kinds", "make", "register",
]  # fmt: skip

OWN_KINDS = (trend, momentum, volatility, volume, calendar, micro, across)  # modules, imported


def kinds() -> dict[str, str]:
    """Name with default parameters -> what it is."""
    return {one.name: one.doc for one in sorted(catalogue(), key=lambda one: one.kind)}


def make(name: str) -> Feature | CrossFeature:
    """The feature of a name such as `rsi_14`, `macd_hist`, `macd_hist_12_26_9` or `rsi_14@1h`.

    Raises:
        ConfigError: if the kind is unknown, the parameters do not fit, or it has no such timeframe.
    """
    plain, at, timeframe = name.partition("@")
    entry, params = parse(plain)
    proven(entry, params)
    if not at:
        return build(name, entry, params)
    try:
        larger = interval_ns(timeframe)
    except ValueError as error:
        raise ConfigError(f"timeframe of feature {name!r}: {error}") from None
    inner = build(name, entry, params)
    if not isinstance(inner, Feature):
        raise ConfigError(f"feature {name!r} compares symbols: it has no larger timeframe")
    return Larger(inner, larger)

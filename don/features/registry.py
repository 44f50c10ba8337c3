"""Features by name: `rsi_14` is kind `rsi` with parameter 14. Pure.

`register` adds a kind; a custom feature is a decorated function that makes it from its spec:

    @register("gap", defaults=(1,))
    def gap(spec: Spec) -> Feature:
        return KernelFeature(spec, my_compiled_step, ("open", "close"), window=spec.params[0],
        rings=1)

A kind's version must rise when its numbers change: it is part of the content hash of a feature set.
"""

from collections.abc import Callable
from dataclasses import dataclass

from don.errors import ConfigError
from don.features import kernels
from don.features.base import CrossFeature, Feature, Spec
from don.features.cross import Rank
from don.features.kernel import KernelFeature
from don.features.standard import (
    TalibFeature,
    band_place,
    part_of_close,
    percent,
    plain,
    ratio,
)

Factory = Callable[[Spec], Feature | CrossFeature]
MAX_PARAM = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A registered kind of features."""

    make: Factory
    defaults: tuple[int, ...]
    version: int
    smallest: int  # least value of a parameter
    doc: str


_KINDS: dict[str, Kind] = {}


def register(
    kind: str, defaults: tuple[int, ...] = (), version: int = 1, smallest: int = 1
) -> Callable[[Factory], Factory]:
    """Add a kind of features under a name of lower-case letters and underscores.

    Raises:
        ValueError: if the name is taken or ends in a number.
    """

    def add(make: Factory) -> Factory:
        if kind in _KINDS or kind.rsplit("_", 1)[-1].isdigit():
            raise ValueError(f"feature kind must be new and not end in a number, was {kind!r}")
        doc = (make.__doc__ or "").strip().split("\n")[0]
        _KINDS[kind] = Kind(
            make=make, defaults=defaults, version=version, smallest=smallest, doc=doc
        )
        return make

    return add


def kinds() -> dict[str, str]:
    """Name with default parameters -> what it is."""
    return {"_".join([k, *map(str, v.defaults)]): v.doc for k, v in sorted(_KINDS.items())}


def make(name: str) -> Feature | CrossFeature:
    """The feature of a name such as `rsi_14`, `macd_hist` or `macd_hist_12_26_9`.

    Raises:
        ConfigError: if the kind is unknown or the parameters do not fit.
    """
    parts = name.split("_")
    end = len(parts)
    while end > 1 and parts[end - 1].isdigit():
        end -= 1
    kind, params = "_".join(parts[:end]), tuple(int(part) for part in parts[end:])
    if kind not in _KINDS:
        raise ConfigError(f"feature {name!r} is unknown; known: {', '.join(kinds())}")
    entry = _KINDS[kind]
    params = params or entry.defaults
    if len(params) != len(entry.defaults) or any(
        not entry.smallest <= value <= MAX_PARAM for value in params
    ):
        raise ConfigError(
            f"feature {name!r} must have {len(entry.defaults)} parameters from {entry.smallest} to "
            f"{MAX_PARAM}, as in {'_'.join([kind, *map(str, entry.defaults)])}"
        )
    return entry.make(Spec(name=name, kind=kind, params=params, version=entry.version))


def _talib(
    kind: str,
    defaults: tuple[int, ...],
    doc: str,
    function: str,
    finish: Callable[..., float],
    inputs: tuple[str, ...] = ("close",),
    outputs: tuple[int, ...] = (0,),
    extra: tuple[float, ...] = (),
) -> None:
    def build(spec: Spec) -> Feature:
        arguments = (*spec.params, *extra)
        return TalibFeature(spec, function, inputs, arguments, finish, outputs)

    build.__doc__ = doc
    register(kind, defaults, smallest=2 if defaults else 1)(build)


_HLC = ("high", "low", "close")
_talib("sma_ratio", (20,), "close over its simple moving average, less 1",
       function="SMA", finish=ratio)  # fmt: skip
_talib("ema_ratio", (20,), "close over its exponential moving average, less 1",
       function="EMA", finish=ratio)  # fmt: skip
_talib("rsi", (14,), "relative strength index, 0 to 1", function="RSI", finish=percent)
_talib("macd_hist", (12, 26, 9), "MACD histogram over close",
       function="MACD", finish=part_of_close, outputs=(2,))  # fmt: skip
_talib("bollinger", (20,), "place between the bands at two deviations: 0 lower, 1 upper",
       function="BBANDS", extra=(2.0, 2.0, 0), finish=band_place, outputs=(0, 1, 2))  # fmt: skip
_talib("atr", (14,), "average true range over close",
       function="ATR", inputs=_HLC, finish=part_of_close)  # fmt: skip
_talib("adx", (14,), "average directional index, 0 to 1",
       function="ADX", inputs=_HLC, finish=percent)  # fmt: skip
_talib("obv", (), "on-balance volume since the stream began, base units",
       function="OBV", inputs=("close", "volume"), finish=plain)  # fmt: skip
_talib("return", (12,), "simple return over n bars", function="ROCP", finish=plain)


@register("stoch", (14, 3), smallest=2)
def _stoch(spec: Spec) -> Feature:
    """Slow stochastic %K: n bars, smoothed over m; 0 to 1."""
    k, smooth = spec.params
    return TalibFeature(spec, "STOCH", _HLC, (k, smooth, 0, smooth, 0), percent)


def _kernel(
    kind: str,
    defaults: tuple[int, ...],
    doc: str,
    step: Callable[..., float],
    inputs: tuple[str, ...],
    rings: int = 1,
    before: int = -1,
    smallest: int = 1,
) -> None:
    def build(spec: Spec) -> Feature:
        window = spec.params[0] if spec.params else 1
        warm_up = max(window + before, 0)
        return KernelFeature(spec, step, inputs, window=window, rings=rings, warm_up=warm_up)

    build.__doc__ = doc
    register(kind, defaults, smallest=smallest)(build)


_kernel("log_return", (1,), "log return over n bars", kernels.log_return, ("close",), before=0)
_kernel("volatility", (48,), "root mean square of n log returns, per bar",
        kernels.volatility, ("close",), before=0)  # fmt: skip
_kernel("zscore", (24,), "close less its mean over n bars, in standard deviations",
        kernels.zscore, ("close",), smallest=2)  # fmt: skip
_kernel("volume_zscore", (48,), "volume less its mean over n bars, in standard deviations",
        kernels.zscore, ("volume",), smallest=2)  # fmt: skip
_kernel("parkinson", (24,), "volatility per bar from high and low, n bars",
        kernels.parkinson, ("high", "low"))  # fmt: skip
_kernel("garman_klass", (24,), "volatility per bar from open, high, low, close, n bars",
        kernels.garman_klass, ("open", "high", "low", "close"))  # fmt: skip
_kernel("volume_flow", (24,), "volume of rising less falling bars over all volume, n bars",
        kernels.volume_flow, ("close", "volume"), rings=2, before=0)  # fmt: skip
_kernel("vwap_ratio", (), "close over the volume-weighted price since the stream began, less 1",
        kernels.vwap, ("high", "low", "close", "volume"), rings=0)  # fmt: skip
_kernel("spread", (1,), "mean relative bid-ask spread, n bars", kernels.mean, ("spread",))
_kernel("microprice", (1,), "mean distance of the microprice from mid, relative, n bars",
        kernels.mean, ("microprice",))  # fmt: skip
_kernel("quote_imbalance", (1,), "size at best bid less ask over both, n bars",
        kernels.mean, ("quote_imbalance",))  # fmt: skip
_kernel("book_imbalance", (1,), "notional of bids less asks over both, n bars",
        kernels.mean, ("book_imbalance",))  # fmt: skip
_kernel("ofi", (1,), "order-flow imbalance of best quotes over mean size there, n bars",
        kernels.mean, ("ofi",))  # fmt: skip
_kernel("trade_imbalance", (1,), "volume bought less sold by aggressors over both, n bars",
        kernels.imbalance, ("buy_volume", "sell_volume"), rings=2)  # fmt: skip
_kernel("kyle_lambda", (12,), "log return per million of signed traded quote, n bars",
        kernels.quotient, ("impact_xy", "impact_xx"), rings=2)  # fmt: skip
_kernel("funding", (), "funding rate of the running period", kernels.last, ("rate",), rings=0)
_kernel("basis", (), "mark price over close, less 1", kernels.basis, ("mark", "close"), rings=0)


@register("rank", (48,))
def _rank(spec: Spec) -> CrossFeature:
    """Rank of the return over n bars among the symbols, -0.5 to 0.5; needs return_n in the set."""
    return Rank(spec, f"return_{spec.params[0]}")

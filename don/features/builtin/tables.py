"""How the tables of Don's own kinds are read: one call a kind. Pure."""

from collections.abc import Callable
from typing import Any

from don.features.base import CrossFeature, Feature, Spec
from don.features.kernel import KernelFeature
from don.features.kinds import register
from don.features.standard import Finish, TalibFeature, plain
from don.features.window import WindowFeature

HLC = ("high", "low", "close")
HLCV = (*HLC, "volume")
OHLC = ("open", *HLC)


class Family:
    """Registers the kinds of one family."""

    def __init__(self, name: str) -> None:
        self._name = name

    def add(
        self,
        kind: str,
        defaults: tuple[int, ...],
        doc: str,
        make: Callable[[Spec], Feature | CrossFeature],
        formula: str,
        units: str,
        source: str,
        smallest: int = 1,
        version: int = 1,
    ) -> None:
        """Any kind."""

        def build(spec: Spec) -> Feature | CrossFeature:
            return make(spec)

        build.__doc__ = doc
        register(
            kind,
            defaults,
            version,
            smallest,
            family=self._name,
            formula=formula,
            source=source,
            units=units,
            prove=False,
        )(build)

    def talib(
        self,
        kind: str,
        defaults: tuple[int, ...],
        doc: str,
        function: str,
        finish: Finish = plain,
        inputs: tuple[str, ...] = ("close",),
        *,
        formula: str,
        units: str = "fraction",
        source: str = "",
        outputs: tuple[int, ...] = (0,),
        extra: tuple[float, ...] = (),
        version: int = 1,
        endless: bool = False,
    ) -> None:
        """A function of TA-Lib and what is made of it."""

        def make(spec: Spec) -> Feature:
            arguments = (*spec.params, *extra)
            return TalibFeature(spec, function, inputs, arguments, finish, outputs, endless)

        source = f"TA-Lib {function}; {source}" if source else f"TA-Lib {function}"
        smallest = 2 if defaults else 1
        self.add(kind, defaults, doc, make, formula, units, source, smallest, version)

    def step(
        self,
        kind: str,
        defaults: tuple[int, ...],
        doc: str,
        step: Callable[..., float],
        inputs: tuple[str, ...],
        *,
        formula: str,
        units: str = "fraction",
        source: str = "",
        rings: int = 1,
        before: int = -1,
        smallest: int = 1,
        version: int = 1,
    ) -> None:
        """A compiled step over explicit state."""

        def make(spec: Spec) -> Feature:
            window = spec.params[0] if spec.params else 1
            warm_up = max(window + before, 0)
            return KernelFeature(spec, step, inputs, window=window, rings=rings, warm_up=warm_up)

        self.add(kind, defaults, doc, make, formula, units, source, smallest, version)

    def window(
        self,
        kind: str,
        defaults: tuple[int, ...],
        doc: str,
        kernel: Any,
        inputs: tuple[str, ...] = ("close",),
        *,
        formula: str,
        units: str = "fraction",
        source: str = "",
        more: int = 0,
        bars: Callable[[tuple[int, ...]], int] | None = None,
        params: tuple[int, ...] = (),
        smallest: int = 1,
        version: int = 1,
    ) -> None:
        """A kernel over the last n + `more` bars, n being the first parameter."""

        def make(spec: Spec) -> Feature:
            size = bars(spec.params) if bars is not None else (*spec.params, 1)[0] + more
            given = params or spec.params
            return WindowFeature(spec, kernel, inputs, window=size, params=given)

        self.add(kind, defaults, doc, make, formula, units, source, smallest, version)

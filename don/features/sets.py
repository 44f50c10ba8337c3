"""A feature set, its content hash, and the engine that streams it over symbols. Pure."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import talib
from numpy.typing import NDArray

from don.errors import ConfigError
from don.features.base import CrossFeature, Feature
from don.features.columns import COLUMNS, FIRST, PRICE, Floats
from don.features.joined import Joined, join
from don.features.plugins import load_modules
from don.features.registry import make
from don.features.standard import Live, TalibFeature
from don.features.timeframe import Larger

_FORMAT = 1  # rises when columns or conventions change


class FeatureSet:
    """Named features in a fixed order.

    Args:
        names: of the features.
        interval_ns: of the bars, if known: larger timeframes must be multiples of it.
        modules: Python modules that register features of one's own; imported where they are not.

    Raises:
        ConfigError: if a name is none, they do not fit together, or a module cannot be loaded.

    `hash` covers names, parameters and versions (of the features, of the columns, of TA-Lib): what
    was computed or learned with one set is refused by another.
    """

    def __init__(
        self, names: Sequence[str], interval_ns: int | None = None, modules: Sequence[str] = ()
    ) -> None:
        load_modules(modules)  # in whatever process this is
        if not names or len(set(names)) != len(names):
            raise ConfigError(f"features must be one or more different names, were {list(names)}")
        self.names = tuple(names)
        self.features: list[tuple[int, Feature]] = []  # place in the set, feature
        self.cross: list[tuple[int, int, CrossFeature]] = []  # place, place of what it compares
        for place, name in enumerate(self.names):
            built = make(name)
            if isinstance(built, Larger) and interval_ns is not None:
                if built.interval_ns % interval_ns or built.interval_ns == interval_ns:
                    raise ConfigError(
                        f"timeframe of feature {name!r} must be a larger multiple of the bars' "
                        f"interval, which is {interval_ns / 1e9:g} s"
                    )
                built.warm_up = built.warm_up_at(interval_ns)
            if isinstance(built, Feature):
                self.features.append((place, built))
            elif built.of in self.names:
                self.cross.append((place, self.names.index(built.of), built))
            else:
                raise ConfigError(f"feature {name!r} compares {built.of!r}: add it to the set")
        warm_ups = {name: 0 for name in self.names}
        warm_ups |= {one.name: one.warm_up for _, one in self.features}
        for _, of, one in self.cross:
            warm_ups[one.name] = warm_ups[self.names[of]] + one.warm_up
        self.warm_ups = warm_ups  # by name: bars without a value before the first one
        self.warm_up = max(warm_ups.values())
        self.hash = self._hash()

    def _hash(self) -> str:
        specs = [feature.spec for _, feature in self.features]
        specs += [feature.spec for _, _, feature in self.cross]
        content = {
            "format": _FORMAT,
            "talib": [talib.__version__, talib.__ta_version__.decode().split()[0]],
            "columns": FIRST,  # later columns are those of the features that read them
            "order": self.names,
            "features": sorted((s.name, s.kind, s.params, s.version) for s in specs),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def batch(self, columns: Mapping[str, Floats]) -> Floats:
        """Features of a history.

        Args:
            columns: name -> [time, symbol], oldest first; prices and volume finite.

        Returns:
            [time, symbol, feature]; NaN during warm-up.
        """
        T, N = np.asarray(columns["close"]).shape
        out = np.full((T, N, len(self.names)), np.nan)
        for n in range(N):
            own = {name: np.ascontiguousarray(values[:, n]) for name, values in columns.items()}
            for place, feature in self.features:
                out[:, n, place] = feature.batch(own)
        for place, of, cross in self.cross:
            out[:, :, place] = cross.across(out[:, :, of])
        return out


class FeatureEngine:
    """Streams a feature set over N symbols, bar by bar."""

    def __init__(self, features: FeatureSet, symbols: int) -> None:
        self._set = features
        self._streams = [
            [(place, feature.fresh()) for place, feature in features.features]
            for _ in range(symbols)
        ]
        # By symbol: those that take plain prices, which are made of the row once for all of them.
        self._lives: list[list[tuple[int, Live]]] = [[] for _ in range(symbols)]
        self._joined: list[Joined | None] = [None] * symbols  # of those whose streams are open
        self._updates = [[(p, f.update) for p, f in streams if not isinstance(f, TalibFeature)]
                         for streams in self._streams]  # fmt: skip
        self._nothing = [float("nan")] * len(features.names)
        for n in range(symbols):
            self._reconnect(n)
        self._cross = [(place, of, cross.fresh()) for place, of, cross in features.cross]

    def update(self, bars: Floats, present: Sequence[bool] | None = None) -> Floats:
        """Take in the bars that closed together.

        Args:
            bars: [symbol, column] over `COLUMNS`.
            present: symbols that have a history; the others are passed over and stay NaN.

        Returns:
            [symbol, feature], a new array.
        """
        values = np.empty((len(self._lives), len(self._nothing)))
        for n, joined in enumerate(self._joined):
            if present is not None and not present[n]:
                values[n] = self._nothing
                continue
            bar = bars[n]
            o, h, l, c, v = bar[: len(PRICE)].tolist()  # noqa: E741
            if joined is not None:
                values[n] = joined(bar, o, h, l, c, v)
                continue
            own = self._nothing.copy()
            for place, live in self._lives[n]:
                own[place] = live(o, h, l, c, v)
            for place, update in self._updates[n]:
                own[place] = update(bar)
            self._reconnect(n)
            values[n] = own
        for place, of, cross in self._cross:
            values[:, place] = cross.update(values[:, of])
        return values

    def _reconnect(self, n: int) -> None:
        """Go straight to the streams of TA-Lib that have opened; in the end all have."""
        priced = [(p, f) for p, f in self._streams[n] if isinstance(f, TalibFeature)]
        self._lives[n] = [(place, feature.live) for place, feature in priced]
        opened = [(place, f.stream) for place, f in priced if f.stream is not None]
        if self._joined[n] is None and len(opened) == len(priced):
            self._joined[n] = join(len(self._nothing), opened, self._updates[n])

    def advance(self, bars: Floats, present: NDArray[np.bool_] | None = None) -> Floats:
        """Take in many sets of bars at once, as `update` would one after the other.

        Args:
            bars: [time, symbol, column] over `COLUMNS`, oldest first.
            present: [time, symbol]; who has a history has one from then on.

        Returns:
            [time, symbol, feature].
        """
        T, N, _ = bars.shape
        out = np.full((T, N, len(self._set.names)), np.nan)
        if not T:
            return out
        for n, streams in enumerate(self._streams):
            first = 0 if present is None else int(np.argmax(present[:, n]))
            if present is not None and not present[first, n]:
                continue
            own = {c: np.ascontiguousarray(bars[first:, n, i]) for i, c in enumerate(COLUMNS)}
            for place, feature in streams:
                out[first:, n, place] = feature.advance(own)
        for place, of, cross in self._cross:
            out[:, :, place] = np.stack([cross.update(values) for values in out[:, :, of]])
        for n in range(len(self._streams)):
            self._reconnect(n)
        return out

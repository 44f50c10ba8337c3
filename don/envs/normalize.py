"""Causal normalisation of features, with a state that is saved beside a model. Pure.

The value at a bar is normalised with the mean and deviation of that bar and those before it, one
stream a symbol and feature. Over a history and bar by bar it gives the same bits, so a policy that
trades continues from the state in which training ended.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit

from don.envs.config import Scaling
from don.envs.layout import Floats
from don.errors import ConfigError
from don.model.section import Section, parsed

_SMALLEST = 1e-12  # deviation below which a feature counts as constant


@njit(cache=True)
def _scan(values, count, mean, var, alpha, fixed, clip, out):  # type: ignore[no-untyped-def]
    """Normalise [T, N, F] in order; `count`, `mean`, `var` [N, F] are the state and change.

    Mean and variance move by max(alpha, 1 / count): a plain average at first (always, if alpha is
    0), then an exponential one. Source: Welford, Technometrics 4(3), 1962; Finch, "Incremental
    calculation of weighted mean and variance", 2009.
    """
    T, N, F = values.shape
    for t in range(T):
        for n in range(N):
            for f in range(F):
                x = values[t, n, f]
                if not np.isfinite(x):
                    out[t, n, f] = np.nan
                    continue
                if not fixed:
                    count[n, f] += 1.0
                    a = max(alpha, 1.0 / count[n, f])
                    diff = x - mean[n, f]
                    mean[n, f] += a * diff
                    var[n, f] = (1.0 - a) * (var[n, f] + a * diff * diff)
                deviation = np.sqrt(var[n, f])
                if deviation > _SMALLEST:
                    out[t, n, f] = min(max((x - mean[n, f]) / deviation, -clip), clip)
                else:
                    out[t, n, f] = 0.0


@dataclass(frozen=True, kw_only=True)
class NormalizerState:
    """What a normaliser knows; to be saved with the model that was trained on its output."""

    scaling: Scaling
    features: tuple[str, ...]
    symbols: tuple[str, ...]
    count: Floats  # [N, F]
    mean: Floats
    var: Floats

    def dump(self) -> str:
        """JSON; floats keep every bit."""
        return json.dumps(
            {
                "scaling": self.scaling.value,
                "features": self.features,
                "symbols": self.symbols,
                **{name: getattr(self, name).tolist() for name in ("count", "mean", "var")},
            }
        )

    @classmethod
    def load(cls, text: str) -> Self:
        """From `dump`.

        Raises:
            ConfigError: if it is none.
        """
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"normaliser state is no JSON: {error}") from error
        held = parsed(_Dumped, told, "normaliser state")
        shape = (len(held.symbols), len(held.features))
        arrays = {}
        for name in ("count", "mean", "var"):
            rows = getattr(held, name)
            if len(rows) != shape[0] or any(len(row) != shape[1] for row in rows):
                raise ConfigError(f"normaliser state: {name} must be of shape {shape}")
            arrays[name] = np.array(rows, np.float64).reshape(shape)
        return cls(scaling=held.scaling, features=held.features, symbols=held.symbols, **arrays)


class _Dumped(Section):
    """What `NormalizerState.dump` writes."""

    scaling: Scaling
    features: tuple[str, ...]
    symbols: tuple[str, ...]
    count: tuple[tuple[float, ...], ...]
    mean: tuple[tuple[float, ...], ...]
    var: tuple[tuple[float, ...], ...]


class Normalizer:
    """Normalises F features of N symbols as they come.

    Args:
        scaling: how.
        features: their names.
        symbols: names.
        half_life: bars, of `ewma`.
        clip: greatest deviation handed on.
        state: to go on from; must be of the same features and symbols.

    Raises:
        ConfigError: if the state is another's, or `fitted` has none.
    """

    def __init__(
        self,
        scaling: Scaling,
        features: Sequence[str],
        symbols: Sequence[str],
        *,
        half_life: float = 1000.0,
        clip: float = 10.0,
        state: NormalizerState | None = None,
    ) -> None:
        self._scaling, self._clip = scaling, clip
        self._names = tuple(features), tuple(symbols)
        self._alpha = 1.0 - 0.5 ** (1.0 / half_life) if scaling is Scaling.EWMA else 0.0
        shape = (len(self._names[1]), len(self._names[0]))
        if state is not None and (state.features, state.symbols, state.scaling) != (
            *self._names,
            scaling,
        ):
            raise ConfigError(
                f"normaliser state must be of {scaling.value}, {self._names}; was of "
                f"{state.scaling.value}, {(state.features, state.symbols)}"
            )
        if state is None:
            self._count, self._mean, self._var = (np.zeros(shape) for _ in range(3))
        else:
            self._count, self._mean, self._var = (
                np.array(each) for each in (state.count, state.mean, state.var)
            )
        self._fitted = state is not None

    def batch(self, values: Floats) -> Floats:
        """[T, N, F] normalised in order; the state moves on."""
        if self._scaling is Scaling.NONE:
            return np.array(values)
        if self._scaling is Scaling.FITTED and not self._fitted:
            raise ConfigError("scaling 'fitted' needs a state: fit one with `fit`")
        out = np.empty_like(values)
        fixed = self._scaling is Scaling.FITTED
        rows = np.ascontiguousarray(values)
        _scan(rows, self._count, self._mean, self._var, self._alpha, fixed, self._clip, out)
        return out

    def update(self, row: Floats) -> Floats:
        """[N, F] of one bar."""
        return self.batch(row[None])[0]

    def state(self) -> NormalizerState:
        """A copy of what it knows now."""
        return NormalizerState(
            scaling=self._scaling,
            features=self._names[0],
            symbols=self._names[1],
            count=self._count.copy(),
            mean=self._mean.copy(),
            var=self._var.copy(),
        )


def fit(values: Floats, features: Sequence[str], symbols: Sequence[str]) -> NormalizerState:
    """The state for `fitted` from a range [T, N, F] that lies before what will be normalised."""
    one = Normalizer(Scaling.EXPANDING, features, symbols)
    one.batch(values)
    known = one.state()
    return NormalizerState(
        scaling=Scaling.FITTED,
        features=known.features,
        symbols=known.symbols,
        count=known.count,
        mean=known.mean,
        var=known.var,
    )

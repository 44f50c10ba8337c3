"""A saved network at work: observation to distribution inputs, without torch. Pure.

The same as `don.learning.nets.PolicyNet.forward` without the value, in float64, equal for any batch
to the last bit (see `don.learning.kernels`).
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from don.envs.layout import Floats
from don.errors import DataError
from don.learning import kernels
from don.learning.config import Activation, NetConfig, NetKind
from don.learning.shapes import ActionShape, ObservationShape

Weights = Mapping[str, NDArray[np.float32]]  # names and shapes of torch's state dict
LOG_STD = (-20.0, 2.0)  # as in `nets`


class Forward:
    """A network of given weights.

    Args:
        observation: what is read.
        action: what is said.
        config: of the network.
        weights: of `PolicyNet`; those of the value are not used.

    Raises:
        DataError: if a weight is missing, has another shape or is not finite.
    """

    def __init__(
        self,
        observation: ObservationShape,
        action: ActionShape,
        config: NetConfig,
        weights: Weights,
    ) -> None:
        self.observation, self.action, self.config = observation, action, config
        self._given = weights
        tanh = config.activation is Activation.TANH
        self._act = kernels.TANH if tanh else kernels.RELU
        size = self._encoder()
        if config.memory:
            self._memory = self._gru("memory", size, config.memory)
            size = config.memory
        self._trunk = []
        for i, width in enumerate(config.hidden):
            self._trunk.append(self._dense(f"trunk.{i}", size, width))
            size = width
        free = not action.parts and config.free_log_std
        outputs = len(action.low) if free else action.inputs
        self._head = self._dense("head", size, outputs)
        self._log_std = self._take("log_std", (outputs,)) if free else None

    # ---- weights ---------------------------------------------------------------------------------

    def _take(self, name: str, shape: tuple[int, ...]) -> Floats:
        if name not in self._given:
            raise DataError(f"model lacks the weights {name!r} of a {self.config.kind.value}")
        values = np.array(self._given[name], np.float64)
        if values.shape != shape:
            raise DataError(f"weights {name!r} must be {shape}, were {values.shape}")
        if not np.isfinite(values).all():
            raise DataError(f"weights {name!r} must be finite: the training diverged")
        return values

    def _dense(self, name: str, size: int, width: int) -> tuple[Floats, Floats]:
        weight = np.ascontiguousarray(self._take(f"{name}.weight", (width, size)).T)
        return weight, self._take(f"{name}.bias", (width,))

    def _gru(self, name: str, size: int, units: int) -> tuple[Floats, Floats, Floats, Floats]:
        w_in = np.ascontiguousarray(self._take(f"{name}.weight_ih_l0", (3 * units, size)).T)
        w_state = np.ascontiguousarray(self._take(f"{name}.weight_hh_l0", (3 * units, units)).T)
        b_in = self._take(f"{name}.bias_ih_l0", (3 * units,))
        return w_in, b_in, w_state, self._take(f"{name}.bias_hh_l0", (3 * units,))

    def _norm(self, name: str) -> tuple[Floats, Floats]:
        d = (self.config.width,)
        return self._take(f"{name}.weight", d), self._take(f"{name}.bias", d)

    def _encoder(self) -> int:
        """Take the encoder's weights; its size."""
        config, shape = self.config, self.observation
        match config.kind:
            case NetKind.MLP:
                return shape.size
            case NetKind.ATTENTION:
                size, common = 0, 0
                for slot in shape.slots:
                    if slot.name == "account":
                        common = slot.size - 2 * shape.symbols
                        size += 2
                    else:
                        size += slot.size // shape.symbols
                d = config.width
                self._embed = self._dense("encoder.embed", size + common, d)
                self._layers = [
                    (
                        self._norm(f"encoder.layers.{i}.norm"),
                        self._dense(f"encoder.layers.{i}.qkv", d, 3 * d),
                        self._dense(f"encoder.layers.{i}.out", d, d),
                        self._norm(f"encoder.layers.{i}.after"),
                        self._dense(f"encoder.layers.{i}.up", d, 2 * d),
                        self._dense(f"encoder.layers.{i}.down", 2 * d, d),
                    )
                    for i in range(config.layers)
                ]
                return shape.symbols * d + common
        series = [slot for slot in shape.slots if slot.is_series]
        own = 0
        self._grus: dict[str, tuple[Floats, Floats, Floats, Floats]] = {}
        self._convs: dict[str, list[tuple[Floats, Floats]]] = {}
        for slot in series:
            begin, F = f"encoder.series.{slot.name}", slot.shape[2]
            if config.kind is NetKind.GRU:
                self._grus[slot.name] = self._gru(f"{begin}.gru", F, config.units)
                own += slot.shape[0] * config.units
                continue
            widths = (F, *config.channels)
            self._convs[slot.name] = [
                (
                    np.ascontiguousarray(
                        self._take(
                            f"{begin}.convs.{i}.weight", (widths[i + 1], widths[i], config.kernel)
                        ).transpose(2, 1, 0)
                    ),
                    self._take(f"{begin}.convs.{i}.bias", (widths[i + 1],)),
                )
                for i in range(len(config.channels))
            ]
            own += slot.shape[0] * config.channels[-1]
        return own + sum(slot.size for slot in shape.slots if not slot.is_series)

    # ---- work ------------------------------------------------------------------------------------

    def __call__(self, rows: Floats, state: Floats | None) -> tuple[Floats, Floats | None]:
        """Distribution inputs [R, P] of rows [R, D], and the state [R, S] after them."""
        x = self._encode(rows)
        if self.config.memory:
            before = np.zeros((len(rows), self.config.memory)) if state is None else state
            state = x = kernels.gru(np.ascontiguousarray(x)[:, None], before, *self._memory)
        for layer in self._trunk:
            x = kernels.dense(x, *layer, self._act)
        out: Floats = kernels.dense(x, *self._head, kernels.NONE)
        if self._log_std is not None:
            out = np.concatenate([out, np.broadcast_to(self._log_std, out.shape)], axis=1)
        if not self.action.parts:
            half = out.shape[1] // 2
            out[:, half:] = np.clip(out[:, half:], *LOG_STD)
        return out, state if self.config.memory else None

    def _encode(self, rows: Floats) -> Floats:
        kind, shape, at = self.config.kind, self.observation, 0
        if kind is NetKind.MLP:
            return rows
        R, n = len(rows), shape.symbols
        own, common, parts = [], [], []
        for slot in shape.slots:
            piece = rows[:, at : at + slot.size]
            at += slot.size
            if kind is NetKind.ATTENTION:
                if slot.name == "account":
                    own.append(piece[:, : 2 * n].reshape(R * n, 2))
                    common.append(piece[:, 2 * n :])
                else:
                    own.append(piece.reshape(R * n, -1))
            elif slot.is_series:
                rows_of = piece.reshape(R * slot.shape[0], *slot.shape[1:])
                parts.append(self._series(slot.name, rows_of).reshape(R, -1))
            else:
                parts.append(piece)
        if kind is not NetKind.ATTENTION:
            return np.concatenate(parts, axis=1)
        spread = [np.repeat(each, n, axis=0) for each in common]
        h: Floats = kernels.dense(
            np.concatenate([*own, *spread], axis=1), *self._embed, kernels.NONE
        )
        for before, qkv, out, after, up, down in self._layers:
            mixed = kernels.attend(
                kernels.dense(kernels.norm(h, *before), *qkv, kernels.NONE), n, self.config.heads
            )
            h = h + kernels.dense(mixed, *out, kernels.NONE)
            wide = kernels.dense(kernels.norm(h, *after), *up, self._act)
            h = h + kernels.dense(wide, *down, kernels.NONE)
        return np.concatenate([h.reshape(R, -1), *common], axis=1)

    def _series(self, name: str, series: Floats) -> Floats:
        x = np.ascontiguousarray(series)
        if self.config.kind is NetKind.GRU:
            state = np.zeros((len(x), self.config.units))
            return np.asarray(kernels.gru(x, state, *self._grus[name]))
        for i, (weight, bias) in enumerate(self._convs[name]):
            x = kernels.conv(x, weight, bias, 2**i, self._act)
        return np.ascontiguousarray(x[:, -1])

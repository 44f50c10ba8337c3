"""Networks of policies for training. Pure; imports torch, so import it only where one trains.

`don.learning.forward` computes the same from the saved weights without torch; a test holds both to
each other.
"""

import gymnasium as gym
import torch
from torch import Tensor, nn

from don.envs.gather import ACCOUNT
from don.errors import ConfigError
from don.learning.config import Activation, NetConfig, NetKind
from don.learning.shapes import ActionShape, ObservationShape

LOG_STD = (-20.0, 2.0)  # bounds of the logarithm of deviations


def _act(kind: Activation) -> nn.Module:
    return nn.Tanh() if kind is Activation.TANH else nn.ReLU()


class Series(nn.Module):
    """Encodes each symbol's series [R, n, W, F] with shared weights: [R, n, E]."""

    def __init__(self, features: int, config: NetConfig) -> None:
        super().__init__()
        self.kind, self.kernel = config.kind, config.kernel
        self.act = _act(config.activation)
        if config.kind is NetKind.GRU:
            self.gru = nn.GRU(features, config.units, batch_first=True)
            self.size = config.units
            return
        widths = (features, *config.channels)
        self.convs = nn.ModuleList(
            nn.Conv1d(widths[i], widths[i + 1], config.kernel, dilation=2**i)
            for i in range(len(config.channels))
        )
        self.size = config.channels[-1]

    def forward(self, x: Tensor) -> Tensor:
        """The encoding at the last bar."""
        R, n, W, F = x.shape
        rows = x.reshape(R * n, W, F)
        if self.kind is NetKind.GRU:
            out = self.gru(rows)[1][0]
        else:
            channels = rows.transpose(1, 2)
            for i, conv in enumerate(self.convs):
                padded = nn.functional.pad(channels, ((self.kernel - 1) * 2**i, 0))
                channels = self.act(conv(padded))
            out = channels[:, :, -1]
        return out.reshape(R, n, self.size)


class AttentionLayer(nn.Module):
    """Self-attention between symbols, then a layer a symbol; both added to what came in.

    Source: Vaswani et al. (2017); normalised before, not after: Xiong et al., "On layer
    normalization in the transformer architecture" (2020).
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        d = config.width
        self.heads = config.heads
        self.norm = nn.LayerNorm(d)
        self.qkv = nn.Linear(d, 3 * d)
        self.out = nn.Linear(d, d)
        self.after = nn.LayerNorm(d)
        self.up = nn.Linear(d, 2 * d)
        self.down = nn.Linear(2 * d, d)
        self.act = _act(config.activation)

    def forward(self, h: Tensor) -> Tensor:
        """[R, n, d] to the same."""
        R, n, d = h.shape
        q, k, v = self.qkv(self.norm(h)).reshape(R, n, 3, self.heads, d // self.heads).unbind(2)
        q, k, v = (each.transpose(1, 2) for each in (q, k, v))  # [R, heads, n, d / heads]
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(R, n, d)
        h = h + self.out(mixed)
        return h + self.down(self.act(self.up(self.after(h))))


class Encoder(nn.Module):
    """An observation [R, D] to a vector [R, size]."""

    def __init__(self, shape: ObservationShape, config: NetConfig) -> None:
        super().__init__()
        self.shape, self.kind = shape, config.kind
        series = [slot for slot in shape.slots if slot.is_series]
        if config.kind in (NetKind.GRU, NetKind.CONV):
            if not series:
                raise ConfigError(
                    f"net.kind {config.kind.value} needs a window or frames in the observation, "
                    f"which has {[slot.name for slot in shape.slots]}"
                )
            self.series = nn.ModuleDict({s.name: Series(s.shape[2], config) for s in series})
            self.size = sum(
                s.shape[0] * self.series[s.name].size if s.is_series else s.size
                for s in shape.slots
            )
            return
        self.size = shape.size
        if config.kind is NetKind.ATTENTION:
            if shape.symbols < 1:
                raise ConfigError("net.kind attention needs an observation of symbols")
            n, own, common = shape.symbols, 0, 0
            for slot in shape.slots:
                if slot.name == "account":
                    own, common = own + 2, common + ACCOUNT
                else:
                    own += slot.size // n
            self.embed = nn.Linear(own + common, config.width)
            self.layers = nn.ModuleList(AttentionLayer(config) for _ in range(config.layers))
            self.size = n * config.width + common

    def forward(self, x: Tensor) -> Tensor:
        """[R, size]."""
        if self.kind is NetKind.MLP:
            return x
        R, n = len(x), self.shape.symbols
        own, common, parts, at = [], [], [], 0
        for slot in self.shape.slots:
            piece = x[:, at : at + slot.size]
            at += slot.size
            if self.kind is not NetKind.ATTENTION:
                if slot.is_series:
                    piece = self.series[slot.name](piece.reshape(R, *slot.shape)).reshape(R, -1)
                parts.append(piece)
            elif slot.name == "account":
                own.append(piece[:, : 2 * n].reshape(R, n, 2))
                common.append(piece[:, 2 * n :])
            else:
                own.append(piece.reshape(R, n, -1))
        if self.kind is not NetKind.ATTENTION:
            return torch.cat(parts, 1)
        spread = [each[:, None].expand(R, n, each.shape[1]) for each in common]
        h = self.embed(torch.cat([*own, *spread], 2))
        for layer in self.layers:
            h = layer(h)
        return torch.cat([h.reshape(R, -1), *common], 1)


class PolicyNet(nn.Module):
    """Observation to the inputs of an action distribution, a value, and the next state.

    Distribution inputs: logits of each part after one another (choices), or means and then
    logarithms of deviations (a box; the environment cuts actions to it).

    Args:
        observation: what is read.
        action: what is said: a space of the environment, or its shape.
        config: of the network.
        value: whether there is a value; without, forward gives zeros.
        generator: of the first weights; None: torch's own.
    """

    def __init__(
        self,
        observation: ObservationShape,
        action: gym.Space[object] | ActionShape,
        config: NetConfig,
        *,
        value: bool = True,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config, self.observation = config, observation
        self.action = action if isinstance(action, ActionShape) else ActionShape.of(action)
        self.has_value = value
        self.encoder = Encoder(observation, config)
        size = self.encoder.size
        self.state_size = config.memory  # S, 0: no state
        if config.memory:
            self.memory = nn.GRU(size, config.memory, batch_first=True)
            size = config.memory
        self.trunk, wide = self._layers(size)
        self.free = not self.action.parts and config.free_log_std
        outputs = len(self.action.low) if self.free else self.action.inputs
        self.head = nn.Linear(wide, outputs)
        if self.free:
            self.log_std = nn.Parameter(torch.full((outputs,), config.log_std))
        if value:
            if not config.share_value:
                if not config.memory:
                    self.value_encoder = Encoder(observation, config)
                self.value_trunk, wide = self._layers(size)
            self.value_head = nn.Linear(wide, 1)
        self._begin(generator)

    def _layers(self, size: int) -> tuple[nn.ModuleList, int]:
        widths = (size, *self.config.hidden)
        self.act = _act(self.config.activation)
        layers = nn.ModuleList(
            nn.Linear(widths[i], widths[i + 1]) for i in range(len(self.config.hidden))
        )
        return layers, widths[-1]

    def _begin(self, generator: torch.Generator | None) -> None:
        """Orthogonal weights, small at the policy's head, so that training begins near nothing."""
        for name, weight in self.named_parameters():
            if name == "log_std" or "norm." in name or "after." in name:
                continue
            if weight.dim() < 2:
                nn.init.zeros_(weight)
                continue
            gain = 0.01 if name == "head.weight" else 1.0 if name == "value_head.weight" else 2**0.5
            if "gru." in name or "memory." in name:
                gain = 1.0
            nn.init.orthogonal_(weight, gain, generator=generator)
        if not self.action.parts and not self.free:
            with torch.no_grad():
                self.head.bias[len(self.action.low) :] = self.config.log_std

    def initial_state(self, rows: int) -> Tensor | None:
        """[rows, S] at the beginning of episodes; None without memory."""
        return torch.zeros(rows, self.state_size) if self.state_size else None

    def forward(
        self, obs: Tensor, state: Tensor | None = None, *, value: bool = True
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Of one step of B rows, or of T steps in order.

        Args:
            obs: [B, D] or [B, T, D].
            state: [B, S] before the first step; None: the beginning of an episode.
            value: whether it is asked for; acting needs none.

        Returns:
            [B, (T,) P], [B, (T)], state [B, S] after the last step or None.
        """
        lead = obs.shape[:-1]
        rows = obs.reshape(-1, obs.shape[-1])
        x = self.encoder(rows)
        after = None
        if self.state_size:
            before = None if state is None else state[None].contiguous()
            steps = x.reshape(lead[0], -1, x.shape[1])
            x, after = self.memory(steps, before)
            x, after = x.reshape(len(rows), -1), after[0]
        h = x
        for layer in self.trunk:
            h = self.act(layer(h))
        out = self.head(h)
        if self.free:
            out = torch.cat([out, self.log_std.expand(len(out), -1)], 1)
        if not self.action.parts:
            mean, log_std = out.chunk(2, 1)
            out = torch.cat([mean, log_std.clamp(*LOG_STD)], 1)
        worth = self._value(rows, x, h) if value else rows.new_zeros(len(rows))
        return out.reshape(*lead, -1), worth.reshape(lead), after

    def _value(self, rows: Tensor, x: Tensor, h: Tensor) -> Tensor:
        if not self.has_value:
            return rows.new_zeros(len(rows))
        if not self.config.share_value:
            h = x if self.state_size else self.value_encoder(rows)
            for layer in self.value_trunk:
                h = self.act(layer(h))
        return self.value_head(h)[:, 0]

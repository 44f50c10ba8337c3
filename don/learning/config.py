"""Shape of a policy's network. Pure; imports nothing heavy."""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from don.model.section import Section


class NetKind(StrEnum):
    """How an observation is encoded before the hidden layers."""

    MLP = "mlp"  # not at all: the flat vector
    GRU = "gru"  # gated recurrent units along each symbol's window, oldest bar first
    CONV = "conv"  # causal dilated convolutions along each symbol's window
    ATTENTION = "attention"  # self-attention between symbols


class Activation(StrEnum):
    """Nonlinearity of hidden layers."""

    TANH = "tanh"
    RELU = "relu"


class NetConfig(Section):
    """A network from an observation to the inputs of an action distribution, and a value.

    Encoders see the window as bars and symbols; each symbol is encoded with the same weights. With
    `memory` the encoding then passes one more recurrent unit that remembers earlier steps of the
    episode: such a network has a state, all others are functions of the observation alone.
    """

    kind: NetKind = NetKind.MLP
    hidden: tuple[int, ...] = (64, 64)  # widths of the layers after the encoder
    activation: Activation = Activation.TANH
    share_value: bool = False  # whether the value is a head on the policy's layers
    memory: int = Field(default=0, ge=0, le=4096)  # units that remember earlier steps; 0: none
    units: int = Field(default=32, ge=1, le=4096)  # of `gru`, a symbol and part
    channels: tuple[int, ...] = Field(default=(16, 16), min_length=1)  # of `conv`, a layer each
    kernel: int = Field(default=3, ge=2, le=64)  # bars; layer i looks 2**i bars apart
    heads: int = Field(default=2, ge=1, le=64)  # of `attention`
    width: int = Field(default=32, ge=1, le=4096)  # of `attention`, a symbol
    layers: int = Field(default=1, ge=1, le=16)  # of `attention`
    log_std: float = Field(default=0.0, ge=-20, le=2)  # of continuous actions at the beginning
    free_log_std: bool = True  # a parameter; false: an output of the network
    squash: bool = False  # actions are tanh of a normal variable, scaled to the box (SAC)

    @model_validator(mode="after")
    def _sane(self) -> Self:
        if any(not 1 <= h <= 8192 for h in (*self.hidden, *self.channels)):
            raise ValueError(
                "hidden and channels must be widths from 1 to 8192, were "
                f"{self.hidden} and {self.channels}"
            )
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, was {self.width} / {self.heads}")
        return self

"""Messages to bytes and back, exactly: decimals as text, arrays as their raw bytes. Pure.

JSON by msgspec, because journal entries must be readable with `psql`, stable for hashing, and
typed when read back; msgspec validates while decoding and is the fastest of the well-kept
libraries for that.
"""

import base64
from typing import Any, TypeVar, get_args

import msgspec
import numpy as np

from don.model.messages import Input, Output

T = TypeVar("T")

KINDS: dict[str, type] = {cls.__name__: cls for cls in (*get_args(Input), *get_args(Output))}


def _enc(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {
            "dtype": value.dtype.str,
            "shape": value.shape,
            "data": base64.b64encode(np.ascontiguousarray(value).tobytes()).decode(),
        }
    if isinstance(value, np.generic):
        return value.item()
    raise NotImplementedError(f"no encoding for {type(value).__name__}")


def _dec(kind: type, value: Any) -> Any:
    if kind is np.ndarray:
        flat = np.frombuffer(base64.b64decode(value["data"]), dtype=np.dtype(value["dtype"]))
        return flat.reshape(value["shape"])
    raise NotImplementedError(f"no decoding for {kind.__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_enc)
_decoders: dict[str, msgspec.json.Decoder[Any]] = {
    name: msgspec.json.Decoder(cls, dec_hook=_dec) for name, cls in KINDS.items()
}


def encode(value: Any) -> bytes:
    """Bytes of any message or plain dataclass; the same value always gives the same bytes."""
    return _encoder.encode(value)


def decode(kind: str, data: bytes | str) -> Any:
    """The message of a kind (its class name) from its bytes.

    Raises:
        ValueError: if the kind is unknown or the bytes do not fit it.
    """
    if kind not in _decoders:
        raise ValueError(f"message kind must be one of {', '.join(sorted(KINDS))}, was {kind!r}")
    return _decoders[kind].decode(data)


def decode_as(cls: type[T], data: bytes | str) -> T:
    """An instance of any dataclass of ours from its bytes."""
    return msgspec.json.decode(data, type=cls, dec_hook=_dec)


def kind_of(message: Any) -> str:
    """The kind under which a message is journalled."""
    return type(message).__name__

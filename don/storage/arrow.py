"""Arrow tables to bytes and back, exactly. Pure.

Whole streams are compressed, not each buffer: batches are small, and their schemas repeat.
"""

from collections.abc import Mapping

import msgspec
import pyarrow as pa

from don.errors import DataError

_LEVEL = 3
_MAX_BYTES = 2**30
_HEAD = 8  # bytes of the uncompressed size, big-endian


def pack(tables: Mapping[str, pa.Table]) -> bytes:
    """Named tables as one compressed block of Arrow IPC streams."""
    streams: dict[str, bytes] = {}
    for name, table in tables.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table.combine_chunks())
        streams[name] = sink.getvalue().to_pybytes()
    plain = msgspec.msgpack.encode(streams)
    packed = pa.Codec("zstd", compression_level=_LEVEL).compress(plain, asbytes=True)
    return len(plain).to_bytes(_HEAD, "big") + packed


def unpack(data: bytes) -> dict[str, pa.Table]:
    """The named tables of a block.

    Raises:
        DataError: if it is none.
    """
    size = int.from_bytes(data[:_HEAD], "big")
    if not 0 < size <= _MAX_BYTES:
        raise DataError(f"recorded block claims {size} bytes: it is damaged")
    try:
        plain = pa.Codec("zstd").decompress(data[_HEAD:], decompressed_size=size, asbytes=True)
        streams = msgspec.msgpack.decode(plain, type=dict[str, bytes])
        return {name: pa.ipc.open_stream(stream).read_all() for name, stream in streams.items()}
    except (pa.ArrowException, OSError, msgspec.DecodeError) as error:
        raise DataError(f"recorded block cannot be read: {error}") from error

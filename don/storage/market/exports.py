"""Export of market data to a file: streamed, and there only when it is whole. Does I/O."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from don.errors import DataError, UsageError
from don.model.channels import channel as channel_of

ENDINGS = (".parquet", ".csv", ".feather", ".arrow")


def write_file(
    path: Path, channel: str, batches: Iterable[pa.RecordBatch], *, columns: list[str] | None = None
) -> int:
    """Write batches to a file, whose ending tells the format; gives the rows.

    Args:
        path: is replaced when the new file is complete, never before.
        channel: name of the channel.
        batches: rows in order.
        columns: that they have; all of the channel if None.

    Raises:
        UsageError: an ending that is not known, a folder that is not there.
        DataError: a column with lists cannot become CSV; or the disk is full.
    """
    if path.suffix not in ENDINGS:
        raise UsageError(f"--out must end in one of {', '.join(ENDINGS)}, was {path.name!r}")
    if not path.parent.is_dir():
        raise UsageError(f"--out: there is no folder {path.parent}")
    schema = channel_of(channel).schema
    if columns is not None:
        schema = pa.schema([schema.field(name) for name in columns])
    if path.suffix == ".csv" and any(pa.types.is_list(field.type) for field in schema):
        raise UsageError(f"{channel} has lists, which CSV cannot hold: export to .parquet")
    part = path.with_name(f".{path.name}.part")
    rows = 0
    try:
        with _writer(part, path.suffix, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema) if batch.schema != schema else batch)
                rows += batch.num_rows
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return rows


def _writer(path: Path, ending: str, schema: pa.Schema) -> Any:
    if ending == ".parquet":
        return pq.ParquetWriter(path, schema, compression="zstd")
    if ending == ".csv":
        return pa_csv.CSVWriter(str(path), schema)
    return pa.ipc.new_file(str(path), schema, options=pa.ipc.IpcWriteOptions(compression="zstd"))

"""Files of market data, a bounded piece at a time: Parquet, CSV, Feather. Does I/O."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from don.errors import DataError

BATCH_ROWS = 131_072
_CSV_BLOCK = 8 << 20
_KINDS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".gz": "csv", ".feather": "feather",
    ".arrow": "feather", ".ipc": "feather",
}  # fmt: skip
_BROKEN = (pa.ArrowInvalid, pa.ArrowException, OSError, ValueError)


def count_rows(path: Path) -> int | None:
    """Rows of a Parquet file by its footer; None where only reading tells."""
    if _KINDS.get(path.suffix.lower()) != "parquet" or not path.is_file():
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except _BROKEN as error:
        raise _unreadable(path, "Parquet", 0, error) from None


def columns_of(path: Path) -> list[str]:
    """Names of a file's columns, without reading its rows.

    Raises:
        DataError: as `batches`.
    """
    for piece in batches(path, (), rows=1):
        return list(piece.column_names)
    return []


def batches(
    path: Path,
    columns: Sequence[str],
    *,
    header: Sequence[str] = (),
    rows: int = BATCH_ROWS,
) -> Iterator[pa.Table]:
    """The file's rows, at most `rows` at once; of its columns at least those asked for, if there.

    Args:
        path: by its ending a Parquet, CSV (also .gz) or Feather (Arrow IPC) file.
        columns: that are needed.
        header: names of a CSV file's columns, if it has no line with them.
        rows: most rows of a piece.

    Raises:
        DataError: a file that is missing, of no known kind, or damaged; with the row reached.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise DataError(
            f"{path}: must end in one of {', '.join(_KINDS)}: the ending tells the format"
        )
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    read = {"parquet": _parquet, "csv": _csv, "feather": _feather}[kind]
    done = 0
    try:
        for piece in read(path, columns, header, rows):
            for start in range(0, piece.num_rows, rows):
                part = piece.slice(start, rows)
                yield part
                done += part.num_rows
    except _BROKEN as error:
        raise _unreadable(path, kind, done, error) from None


def _parquet(
    path: Path, columns: Sequence[str], header: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    with pq.ParquetFile(path, memory_map=True) as file:
        known = [name for name in columns if name in file.schema_arrow.names]
        # with a column missing the reader of the rows tells so, and what there is
        wanted = known if known and len(known) == len(set(columns)) else None
        for batch in file.iter_batches(batch_size=rows, columns=wanted):
            yield pa.Table.from_batches([batch])


def _csv(
    path: Path, columns: Sequence[str], header: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    with pa.input_stream(path, compression="detect") as peek:
        first = peek.read(65_536).split(b"\n", 1)[0].decode("utf-8-sig", "replace").strip()
    has_names = not header or first.split(",")[0].strip().strip('"') == header[0]
    names = [name.strip().strip('"') for name in first.split(",")] if has_names else list(header)
    # texts: so that a bad value is found with its row, not by the library without it
    convert = pa_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        strings_can_be_null=True,
        null_values=["", "null", "NULL", "None"],
        quoted_strings_can_be_null=True,
    )
    read = pa_csv.ReadOptions(
        use_threads=False,  # or a torn line is not named
        block_size=_CSV_BLOCK,
        column_names=names,
        skip_rows=1 if has_names else 0,
    )
    with pa.input_stream(path, compression="detect") as stream:
        for batch in pa_csv.open_csv(stream, read_options=read, convert_options=convert):
            yield pa.Table.from_batches([batch])


def _feather(
    path: Path, columns: Sequence[str], header: Sequence[str], rows: int
) -> Iterator[pa.Table]:
    with path.open("rb") as start:
        if start.read(4) == b"FEA1":
            raise DataError(f"{path}: Feather version 1 is no longer written: save it as version 2")
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as file:
        for number in range(file.num_record_batches):
            yield pa.Table.from_batches([file.get_batch(number)])


def _unreadable(path: Path, kind: str, row: int, error: BaseException) -> DataError:
    text = " ".join(str(error).split())
    return DataError(f"{path}: damaged or no {kind} file, from row {row} on: {text}")

"""The lake: market data for good, as Parquet files on a disk or in an S3-compatible store. I/O.

It writes whole files and reads parts of them; which files there are, the manifest says. On a disk
a file is complete and flushed before it has its name, in an object store it appears whole.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from don.errors import ConfigError, DataError, DependencyError
from don.market.rows import content_hash
from don.model.channels import CHANNELS
from don.storage.lake.config import check_root
from don.storage.lake.files import PARTED, Fault, LakeFile, describe, stored_schema

ROW_GROUP = 65_536  # rows; what a reader skips or takes as one
_MAGIC = b"PAR1"
LEVEL = 3  # zstd: higher ones gained 2 % here and took five times as long


class Lake:
    """Files below one root. Safe to share between threads.

    Args:
        root: a folder, or a URL that pyarrow understands: `s3://bucket/prefix?region=…`, with
            `endpoint_override=host:port&scheme=http` for other stores; keys come from the
            environment, never from the URL.

    Raises:
        ConfigError: if the URL is not understood or carries keys.
    """

    def __init__(self, root: str) -> None:
        try:
            check_root(root)
        except ValueError as error:
            raise ConfigError(f"lake URL {error}") from None
        if "://" not in root:
            self._fs: pafs.FileSystem = pafs.LocalFileSystem()
            self._base = str(Path(root).expanduser().absolute())
        else:
            try:
                self._fs, self._base = pafs.FileSystem.from_uri(root)
            except (pa.ArrowInvalid, OSError) as error:
                raise ConfigError(
                    f"lake must be a folder or a URL such as s3://bucket/prefix, was {root!r}: "
                    f"{error}"
                ) from None
        self.root = root

    def __repr__(self) -> str:
        return f"Lake({self.root})"

    @property
    def _local(self) -> bool:
        return isinstance(self._fs, pafs.LocalFileSystem)

    def _full(self, path: str) -> str:
        return f"{self._base}/{path}"

    # ---- writing --------------------------------------------------------------------------------

    def write(self, channel: str, table: pa.Table, start: int, end: int) -> LakeFile:
        """Store the rows of one series in a period; the same rows make the same file.

        Args:
            channel: of the rows.
            table: in the channel's schema and order, each key once.
            start: of the period, ns.
            end: of the period, exclusive, ns.

        Returns:
            The file, durable.

        Raises:
            DataError: if the rows are not one series' of that period.
            DependencyError: if the store does not take the file (full, away, refused).
        """
        made = describe(channel, table, start, end)
        inside = table.select(stored_schema(channel).names).cast(stored_schema(channel))
        about = {"channel": channel, "exchange": made.exchange, "symbol": made.symbol,
                 "start": str(start), "end": str(end), "rows": str(made.rows),
                 "hash": made.hash}  # fmt: skip
        inside = inside.replace_schema_metadata({f"don.{k}": v for k, v in about.items()})
        full = self._full(made.path)
        try:
            if not isinstance(self._fs, pafs.S3FileSystem):  # which has no folders
                self._fs.create_dir(full.rsplit("/", 1)[0], recursive=True)
            if not self._local:
                with self._fs.open_output_stream(full) as sink:
                    _write(channel, inside, sink)
            else:
                self._write_durably(channel, inside, Path(full))
            size = self._fs.get_file_info(full).size
        except OSError as error:
            raise DependencyError(f"lake file {made.path} cannot be written: {error}") from error
        return replace(made, size=size)

    def _write_durably(self, channel: str, table: pa.Table, path: Path) -> None:
        passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with passing.open("wb") as file:
                _write(channel, table, file)
                file.flush()
                os.fsync(file.fileno())
            passing.replace(path)
        except BaseException:
            passing.unlink(missing_ok=True)
            raise
        for folder in list(path.parents)[:5]:  # each may be new: date … channel, root
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def delete(self, path: str) -> None:
        """Remove a file; one that is gone already is fine.

        Raises:
            DependencyError: if an object store is away or refuses.
        """
        with contextlib.suppress(FileNotFoundError), _reaching(self.root):
            self._fs.delete_file(self._full(path))

    # ---- reading --------------------------------------------------------------------------------

    def batches(
        self,
        file: LakeFile,
        *,
        columns: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        interval_ns: int | None = None,
    ) -> Iterator[pa.Table]:
        """A file's rows in [start, end), a row group at a time, in the channel's order.

        Args:
            file: which.
            columns: of the channel; all if None.
            start: ns; from its beginning if None.
            end: exclusive, ns; to its end if None.
            interval_ns: bars of this interval only.

        Raises:
            DataError: if the file is missing or damaged; names it.
            DependencyError: if an object store is away or refuses.
        """
        schema = CHANNELS[file.channel].schema
        wanted = list(columns) if columns is not None else schema.names
        needed = {"ts_event", *(n for n in wanted if n not in PARTED)}
        needed |= {"interval_ns"} if interval_ns is not None else set()
        with self._opened(file) as parquet:
            places = {n: i for i, n in enumerate(parquet.schema_arrow.names)}
            limits = {"ts_event": (start, None if end is None else end - 1),
                      "interval_ns": (interval_ns, interval_ns)}  # fmt: skip
            limits = {name: limit for name, limit in limits.items() if name in places}
            for group in range(parquet.num_row_groups):
                about = parquet.metadata.row_group(group)
                if any(_apart(about.column(places[n]), limits[n]) for n in limits):
                    continue
                with _naming(file.path), _reaching(self.root):
                    rows = parquet.read_row_group(group, columns=sorted(needed))
                rows = _within(rows, limits)
                if rows.num_rows:
                    yield _with_series(rows, file, wanted, schema)

    def read(self, file: LakeFile, **limits: Any) -> pa.Table:
        """A file's rows at once; arguments as for `batches`."""
        columns = limits.get("columns")
        schema = CHANNELS[file.channel].schema
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns])
        return pa.concat_tables([schema.empty_table(), *self.batches(file, **limits)])

    def check(self, file: LakeFile) -> Fault | None:
        """What is wrong with a file, by its size, its count and the hash of its content."""
        with _reaching(self.root):
            info = self._fs.get_file_info(self._full(file.path))
        if info.type != pafs.FileType.File:
            return Fault(path=file.path, what="is missing")
        if info.size != file.size:
            return Fault(path=file.path, what=f"has {info.size} bytes, must have {file.size}")
        try:
            with _reaching(self.root), self._fs.open_input_file(self._full(file.path)) as source:
                if source.read(4) != _MAGIC:  # readers look at the end of a file only
                    return Fault(path=file.path, what="does not begin as a Parquet file does")
            table = self.read(file)
        except DataError as error:
            return Fault(path=file.path, what=str(error).removeprefix(f"lake file {file.path} "))
        if table.num_rows != file.rows:
            return Fault(path=file.path, what=f"has {table.num_rows} rows, must have {file.rows}")
        if content_hash(table) != file.hash:
            return Fault(path=file.path, what="holds other values than were written")
        return None

    def paths(self, channel: str | None = None) -> list[tuple[str, int]]:
        """All files that there are, known or not: (path, time of writing in ns)."""
        base = self._full(channel) if channel else self._base
        chosen = pafs.FileSelector(base, recursive=True, allow_not_found=True)
        with _reaching(self.root):
            found = self._fs.get_file_info(chosen)
        return [
            (info.path.removeprefix(self._base).lstrip("/"), info.mtime_ns or 0)
            for info in found
            if info.type == pafs.FileType.File
        ]

    @contextlib.contextmanager
    def _opened(self, file: LakeFile) -> Iterator[pq.ParquetFile]:
        with _naming(file.path), _reaching(self.root):
            source = self._fs.open_input_file(self._full(file.path))
        with source:
            with _naming(file.path), _reaching(self.root):
                parquet = pq.ParquetFile(source, pre_buffer=not self._local)
            yield parquet


def _write(channel: str, table: pa.Table, sink: Any) -> None:
    packed = [n for n in ("ts_event", "ts_recv", "id", "first_id", "last_id", "next_ts")
              if n in table.column_names]  # rising: differences are small  # fmt: skip
    others = [n for n in table.column_names if n not in packed]
    nested = {f"{n}.list.element" for n in others if pa.types.is_list(table.schema.field(n).type)}
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=[n for n in others if f"{n}.list.element" not in nested] + sorted(nested),
        column_encoding=dict.fromkeys(packed, "DELTA_BINARY_PACKED"),
        write_page_checksum=True,
        store_schema=False,
        sorting_columns=[
            pq.SortingColumn(table.column_names.index(name))
            for name in CHANNELS[channel].sort
            if name not in PARTED
        ],
    )


@contextlib.contextmanager
def _reaching(root: str) -> Iterator[None]:
    """An object store that is away or refuses says nothing about a file."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if "AWS Error" not in str(error):
            raise
        raise DependencyError(f"lake {root} does not answer or refuses: {error}") from error


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"lake file {path} is missing; see `don data verify`") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"lake file {path} is damaged: {error}") from error


def _apart(column: Any, limit: tuple[int | None, int | None]) -> bool:
    """Whether a row group cannot hold what is asked for."""
    known, (low, high) = column.statistics, limit
    if known is None or not known.has_min_max:
        return False
    return (low is not None and known.max < low) or (high is not None and known.min > high)


def _within(rows: pa.Table, limits: dict[str, tuple[int | None, int | None]]) -> pa.Table:
    keep: Any = None
    for name, (low, high) in limits.items():
        if low is None and high is None:
            continue
        values = rows[name].to_numpy()
        inside = values == values
        if low is not None:
            inside &= values >= low
        if high is not None:
            inside &= values <= high
        keep = inside if keep is None else keep & inside
    return rows if keep is None or keep.all() else rows.filter(pa.array(keep))


def _with_series(
    rows: pa.Table, file: LakeFile, wanted: Sequence[str], schema: pa.Schema
) -> pa.Table:
    said = {"exchange": file.exchange, "symbol": file.symbol}
    columns = [
        pa.repeat(pa.scalar(said[n]), rows.num_rows) if n in said
        else rows[n].cast(schema.field(n).type)
        for n in wanted
    ]  # fmt: skip
    return pa.table(columns, schema=pa.schema([schema.field(n) for n in wanted]))

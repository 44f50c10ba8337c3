"""Tables of market data to the screen, to stdout or into a file, streaming where it is long."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from rich.table import Table

from don.cli.output import console, out, table
from don.clock import SystemClock, interval_text, iso
from don.errors import UsageError

if TYPE_CHECKING:
    from don.storage.database import Connection, Database
    from don.storage.market.reads import MarketStore

FORMATS = ("table", "csv", "json", "arrow", "parquet")
_FETCH = 10_000  # rows of --sql at once
_WIDE = 240  # characters, where there is no screen to fit


def form_of(form: str | None, output: str | None) -> str:
    """The format to write in, refused before anything is read if it cannot be.

    Args:
        form: as asked; None: what the file's name ends in, a table without a file.
        output: the file, if any.

    Raises:
        UsageError: an unknown format, or one that needs a file.
    """
    if form is None:
        form = "table" if output is None else output.rpartition(".")[2].lower()
        if form not in FORMATS or (form == "table") != (output is None):
            raise UsageError(
                f"--output {output}: its name must end in .csv, .json, .arrow or .parquet, "
                "or say which with --format"
            )
    if form not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, was {form!r}")
    if form == "parquet" and output is None:
        raise UsageError("--format parquet needs --output FILE")
    if form == "table" and output is not None:
        raise UsageError(
            "--format table goes to the screen: with --output, use csv, json, arrow or parquet"
        )
    return form


def market(
    store: "MarketStore", channel: str, symbols: list[str] | None, ask: dict[str, Any],
    last: int | None, form: str, output: str | None, limit: int,
) -> None:  # fmt: skip
    """Answer a question about a channel."""
    interval = ask.get("interval")
    whole: pa.Table | None = None
    if channel == "bars" and interval is not None and last is None and ask["start"] is not None:
        columns = ask.pop("columns")
        end = SystemClock().now_ns() if ask["end"] is None else ask["end"]
        whole = store.bars(symbols, interval, ask["start"], end, exchange=ask["exchange"])
        if columns:
            store.read(channel, symbols, columns=columns, last=1, exchange=ask["exchange"])
            whole = whole.select(columns)
    elif last is not None or form == "table":
        # a screen shows the newest rows; never more than it is asked for
        most = last if last is not None else limit
        whole = store.read(channel, symbols, last=most, **ask)
    if form == "table":
        assert whole is not None
        _show(whole, limit)
        return
    if whole is not None:
        _write(whole.schema, iter(whole.to_batches(max_chunksize=65_536)), form, output)
        return
    with closing(store.scan(channel, symbols, **ask)) as batches:
        first = next(batches, None)
        schema = first.schema if first is not None else store.read(
            channel, symbols, last=1, **ask
        ).schema  # fmt: skip
        _write(schema, _chain(first, batches), form, output)


def rows(
    db: "Database", sql: str, timeout_s: float, form: str, output: str | None, limit: int
) -> None:
    """Answer one statement in a read-only transaction."""
    import psycopg

    def answer(connection: "Connection") -> None:
        connection.execute("SET TRANSACTION READ ONLY")
        with connection.cursor(name="query") as cursor:
            cursor.itersize = _FETCH
            # in parentheses it is one statement, whatever semicolons it has
            cursor.execute(f"SELECT * FROM (\n{sql.strip().rstrip(';')}\n) AS answer".encode())
            names = [column.name for column in cursor.description or ()]
            if form == "table":
                show(table(names, cursor.fetchmany(limit)))
                return
            first = cursor.fetchmany(_FETCH)
            head = _batch(names, first, None)
            _write(head.schema, _sql_batches(cursor, names, first, head), form, output)

    try:
        with db.errors(), db.connect(statement_timeout_s=timeout_s, autocommit=False) as connection:
            try:
                answer(connection)
            except psycopg.errors.QueryCanceled:
                raise UsageError(f"--sql took longer than --timeout {timeout_s:g} s") from None
    except psycopg.errors.SyntaxError as error:
        said = str(error).splitlines()[0]
        raise UsageError(f"--sql must be one SELECT (or WITH … SELECT): {said}") from None
    except (psycopg.Error, pa.ArrowException) as error:
        raise UsageError(f"--sql: {str(error).splitlines()[0]}") from None


def _sql_batches(
    cursor: Any, names: list[str], found: list[Any], head: pa.RecordBatch
) -> Iterator[pa.RecordBatch]:
    yield head
    while len(found) == _FETCH:
        found = cursor.fetchmany(_FETCH)
        yield _batch(names, found, head.schema)


def _batch(names: list[str], found: list[Any], schema: pa.Schema | None) -> pa.RecordBatch:
    columns = list(zip(*found, strict=True)) if found else [()] * len(names)
    kinds = [field.type for field in schema] if schema is not None else [None] * len(names)
    arrays = [pa.array(list(c), kind) for c, kind in zip(columns, kinds, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _chain(
    first: pa.RecordBatch | None, rest: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    if first is not None:
        yield first
    yield from rest


def plain_rows(batch: pa.RecordBatch | pa.Table) -> list[dict[str, Any]]:
    """Rows as JSON can say them: what is not a number is null."""
    for place, field in enumerate(batch.schema):
        if pa.types.is_floating(field.type):
            known = pc.if_else(pc.is_finite(batch[field.name]), batch[field.name], None)
            batch = batch.set_column(place, pa.field(field.name, field.type), known)
    found: list[dict[str, Any]] = batch.to_pylist()
    return found


def _flat(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Lists as JSON text: CSV has none."""
    columns = [
        pa.array([json.dumps(value) for value in column.to_pylist()], pa.string())
        if pa.types.is_list(column.type)
        else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def show(drawn: Table) -> None:
    """Print a table; where there is no screen to fit, without cutting anything off."""
    screen = out if out.is_terminal else console(_WIDE)
    screen.print(drawn)


def _show(found: pa.Table, limit: int) -> None:
    shown = found.slice(max(0, found.num_rows - limit))
    heads = [n if pa.types.is_string(shown.schema.field(n).type) else f"{n}#"
             for n in shown.column_names]  # fmt: skip
    lines = [[cell(n, v) for n, v in row.items()] for row in shown.to_pylist()]
    show(table(heads, lines))
    if shown.num_rows < found.num_rows:
        out.print(f"the newest {shown.num_rows} of {found.num_rows} rows; see --limit, --format")


def cell(name: str, value: Any) -> Any:
    """A value as people read it: times and intervals as text."""
    if name.startswith(("ts_", "next_ts")) and value:
        return iso(value)
    if name == "interval_ns":
        return interval_text(value)
    return f"{value:.10g}" if isinstance(value, float) else value


@contextmanager
def _sink(output: str | None) -> Iterator[Any]:
    """The place to write to; a file appears under its name when it is complete."""
    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(output)
    if not path.parent.is_dir():
        raise UsageError(f"--output: there is no folder {path.parent}")
    passing = path.with_name(f".{path.name}.part")
    try:
        with passing.open("wb") as file:
            yield file
        passing.replace(path)
    except OSError as error:
        raise UsageError(f"--output {output} cannot be written: {error}") from error
    finally:
        passing.unlink(missing_ok=True)


def _write(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], form: str, output: str | None
) -> None:
    with _sink(output) as sink:
        if form == "json":
            for batch in batches:
                for row in plain_rows(batch):
                    sink.write(json.dumps(row, default=str).encode() + b"\n")
            return
        if form == "csv":
            schema = pa.schema([pa.field(f.name, pa.string()) if pa.types.is_list(f.type) else f
                                for f in schema])  # fmt: skip
            batches = (_flat(batch, schema) for batch in batches)
        make = {
            "csv": pacsv.CSVWriter,
            "arrow": pa.ipc.new_stream,
            "parquet": lambda s, t: pq.ParquetWriter(s, t, compression="zstd"),
        }[form]
        with make(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

"""`don data query`, `archive`, `unarchive`, `compact` and `verify`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from don.cli.data.opened import lake_of, market_database, open_store, time_ns
from don.cli.output import err, out, print_json, table
from don.clock import SystemClock, interval_ns, iso
from don.errors import UsageError
from don.words import amount

if TYPE_CHECKING:
    from don.storage.database import Database
    from don.storage.lake.archive import Archiver
    from don.storage.lake.config import LakeConfig
    from don.storage.lake.files import Fault
    from don.storage.lake.lake import Lake

BROKEN = 3
LakeOption = typer.Option(None, "--lake", help="Folder or s3:// URL; default: [lake] root.")
Json = typer.Option(False, "--json", help="Print one JSON document.")


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
    for command in (query, archive, unarchive, compact, verify):
        app.command()(command)


def query(
    channel: str | None = typer.Argument(None, help="trades, bars, quotes ...; not with --sql."),
    symbols: list[str] | None = typer.Argument(None, help="Such as BTC-USDT-PERP. Default: all."),
    start: str | None = typer.Option(None, help="From this UTC time on, such as 2025-05-04T15:33."),
    end: str | None = typer.Option(None, help="Up to this UTC time, exclusive."),
    exchange: str | None = typer.Option(None, help="Only this exchange, such as BINANCE_FUTURES."),
    interval: str | None = typer.Option(None, help="Bars of this length; resampled if not stored."),
    columns: str | None = typer.Option(None, help="Only these, with commas between."),
    last: int | None = typer.Option(
        None, min=1, help="Only the newest so many rows of each symbol."
    ),
    asked: str | None = typer.Option(
        None, "--format", help="table, csv, json, arrow or parquet. Default: as OUTPUT is named."
    ),
    output: str | None = typer.Option(
        None, "--output", "-o", help="Into this file, not to stdout."
    ),
    limit: int = typer.Option(50, min=1, help="Most rows of a table on the screen."),
    sql: str | None = typer.Option(
        None, "--sql", help="One SELECT on the database's part, read only."
    ),
    timeout: float = typer.Option(60.0, min=0.1, help="Seconds that --sql may take."),
    lake: str | None = LakeOption,
) -> None:
    """Print market data of any age: from the database and the lake alike."""
    from don.cli.data import written

    if (channel is None) == (sql is None):
        raise UsageError("give either a channel or --sql")
    form = written.form_of(asked, output)
    with market_database() as db:
        if channel is None:
            assert sql is not None
            written.rows(db, sql, timeout, form, output, limit)
            return
        ask: dict[str, Any] = {
            "start": None if start is None else time_ns(start, "--start"),
            "end": None if end is None else time_ns(end, "--end"),
            "columns": [name.strip() for name in columns.split(",")] if columns else None,
            "exchange": exchange,
        }
        if interval is not None:
            ask["interval"] = _interval(interval)
        store = open_store(db, lake)
        written.market(store, channel, symbols or None, ask, last, form, output, limit)


def archive(
    channels: list[str] | None = typer.Argument(None, help="Default: all."),
    older_than: int | None = typer.Option(
        None, min=0, help="Days; default: [lake] retention_days."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only tell what would be moved."),
    lake: str | None = LakeOption,
    as_json: bool = Json,
) -> None:
    """Move partitions that are past their retention from the database to the lake."""
    from don.cli.data.written import show

    moved: list[dict[str, Any]] = []
    with _archiver(lake) as (db, archiver):
        del db
        for channel in _channels(channels):
            for part in archiver.due(channel, SystemClock().now_ns(), older_than):
                told = {
                    "channel": channel,
                    "start": iso(part.span.start),
                    "end": iso(part.span.end),
                }
                if dry_run:
                    moved.append({**told, "rows": part.rows, "files": 0, "hot_bytes": part.bytes,
                                  "lake_bytes": 0})  # fmt: skip
                    continue
                done = archiver.archive(part)
                if done is None:  # another archive was faster
                    continue
                figures = ("rows", "files", "hot_bytes", "lake_bytes")
                moved.append({**told, **{name: getattr(done, name) for name in figures}})
    if as_json:
        print_json(moved)
        return
    names = ("channel", "start", "end", "rows", "files", "hot_bytes", "lake_bytes")
    heads = [name if name in ("channel", "start", "end") else f"{name}#" for name in names]
    lines = [[row[name] for name in names] for row in moved]
    show(table(heads, lines))
    out.print(f"{'would move' if dry_run else 'moved'} {len(moved)} partitions")


def unarchive(
    channel: str = typer.Argument(..., help="Of which channel."),
    symbols: list[str] | None = typer.Argument(None, help="Default: all."),
    start: str = typer.Option(..., help="From this UTC time on."),
    end: str = typer.Option(..., help="Up to this UTC time, exclusive."),
    lake: str | None = LakeOption,
    as_json: bool = Json,
) -> None:
    """Bring archived data back into the database: whole files that touch the range.

    The next archive takes them again, unless the retention is longer by then.
    """
    low, high = time_ns(start, "--start"), time_ns(end, "--end")
    if low >= high:
        raise UsageError(f"--end must be after --start, were {end} and {start}")
    _channels([channel])
    with _archiver(lake) as (_, archiver):
        files, rows = archiver.restore(channel, low, high, symbols or None)
    told = {"files": files, "rows": rows}
    print_json(told) if as_json else out.print(
        f"brought back {amount(rows, 'row')} of {amount(files, 'file')}"
    )


def compact(
    channels: list[str] | None = typer.Argument(None, help="Default: all."),
    lake: str | None = LakeOption,
    as_json: bool = Json,
) -> None:
    """Join small files of the lake, and delete those that were replaced."""
    told: dict[str, dict[str, int]] = {}
    unlisted: dict[str, tuple[str, ...]] = {}
    with _archiver(lake) as (_, archiver):
        for channel in _channels(channels):
            done = archiver.compact(channel)
            told[channel] = {"joined": done.joined, "made": done.made, "deleted": done.deleted}
            unlisted[channel] = done.unlisted
    if as_json:
        print_json({name: {**row, "unlisted": unlisted[name]} for name, row in told.items()})
        return
    for path in (path for paths in unlisted.values() for path in paths):
        err.print(f"not in the manifest, left alone: {path}", style="yellow", soft_wrap=True)
    heads = ("channel", "joined#", "made#", "deleted#")
    out.print(table(heads, [[name, *row.values()] for name, row in told.items()]))


def verify(
    channels: list[str] | None = typer.Argument(None, help="Default: all."),
    lake: str | None = LakeOption,
    as_json: bool = Json,
) -> None:
    """Read every file of the lake and compare its size, count and hash; 3 if one is wrong."""
    files = 0
    faults: list[Fault] = []
    with _archiver(lake) as (_, archiver):
        for channel in _channels(channels):
            count, found = archiver.verify(channel)
            files, faults = files + count, [*faults, *found]
    if as_json:
        wrong = [{"path": fault.path, "what": fault.what} for fault in faults]
        print_json({"files": files, "faults": wrong})
    else:
        for fault in faults:
            out.print(f"{fault.path} {fault.what}", soft_wrap=True)
        out.print(f"{amount(files, 'file')}, {len(faults)} wrong")
    if faults:
        raise typer.Exit(BROKEN)


# ---- inside --------------------------------------------------------------------------------------


@contextmanager
def _opened(text: str | None) -> "Iterator[tuple[Database, Lake, LakeConfig]]":
    lake, config = lake_of(text)
    with market_database() as db:
        yield db, lake, config


@contextmanager
def _archiver(text: str | None) -> "Iterator[tuple[Database, Archiver]]":
    from don.storage.lake.archive import Archiver

    def step(what: str) -> None:
        if err.is_terminal:
            err.print(what, style="dim", soft_wrap=True)

    with _opened(text) as (db, lake, config):
        yield db, Archiver(db, lake, SystemClock(), config, step)


def _interval(text: str) -> int:
    try:
        return interval_ns(text)
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def _channels(names: list[str] | None) -> list[str]:
    from don.model.channels import CHANNELS, channel

    return [channel(name).name for name in names] if names else list(CHANNELS)

"""What `don data import` and `export` do."""

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from don.cli.data.opened import lake_of, market_database, open_store
from don.cli.data.written import cell
from don.cli.output import err, out, print_json
from don.clock import iso
from don.errors import DataError, Interrupted, UsageError
from don.storage.database import Database
from don.storage.market.audit import PROVEN
from don.storage.market.coverage import CoverageLedger
from don.storage.market.exports import write_file
from don.storage.market.history_claims import claim_history
from don.storage.market.imports import Imported, Importer, Overlap, try_out
from don.storage.market.mapping import ImportMapping, mapping_of
from don.storage.market.presets import own_export, preset_for
from don.storage.market.readers import columns_of
from don.words import amount


def run_import(
    files: Sequence[Path],
    preset: str,
    mapping: Path | None,
    given: Mapping[str, Any],
    *,
    on_overlap: str,
    sorted_: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import files in order; the first one that fails stops it, those before it are imported.

    Raises:
        UsageError: options that do not fit.
        DataError: a file or a row that is wrong.
        Interrupted: by Ctrl-C, in the middle of a file, of which nothing is kept.
    """
    if on_overlap not in list(Overlap):
        raise UsageError(f"--on-overlap must be refuse or keep, was {on_overlap!r}")
    chosen = [(path, file_mapping(path, preset, mapping, given)) for path in files]
    done: list[Imported] = []
    if dry_run:
        for path, how in chosen:
            told, head = try_out(path, how, sorted_=sorted_)
            done.append(told)
            if not as_json:
                out.print(f"{path.name}: {how.channel}, the first rows would be")
                for row in head.to_pylist():
                    shown = ", ".join(f"{name} {cell(name, value)}" for name, value in row.items())
                    out.print(f"  {shown}", soft_wrap=True)
    else:
        bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(),
            TimeRemainingColumn(), console=err, transient=True, disable=as_json,
        )  # fmt: skip
        with market_database() as db, bar:
            tasks: dict[str, Any] = {}

            def progress(file: str, rows: int, of: int | None) -> None:
                if file not in tasks:
                    tasks[file] = bar.add_task(file, total=of)
                bar.update(tasks[file], completed=rows)

            importer = Importer(
                db, lake_of(None)[0], overlap=Overlap(on_overlap), sorted_=sorted_,
                progress=progress,
            )  # fmt: skip
            for path, how in chosen:
                try:
                    done.append(importer.load(path, how))
                except KeyboardInterrupt as error:
                    raise Interrupted(
                        f"stopped: nothing of {path.name} is kept; {len(done)} of "
                        f"{amount(len(chosen), 'file')} imported"
                    ) from error
                _claim(db, done[-1])
    if as_json:
        print_json([asdict(told) for told in done])
        return
    for told in done:
        if not told.rows:
            out.print(f"{Path(told.file).name}: holds no rows", soft_wrap=True)
            continue
        what = "would be imported (dry run)" if told.dry_run else f"{told.inserted} of them new"
        out.print(
            f"{Path(told.file).name}: {amount(told.rows, 'row')} of {told.channel}, {what}, "
            f"{len(told.series)} series, {iso(told.first_ns)} to {iso(told.last_ns)}",
            soft_wrap=True,
        )


def _claim(db: Database, told: Imported) -> None:
    """Tell the completeness ledger what the file's rows prove; of other channels a file says
    nothing about what is not in it.
    """
    if told.channel not in PROVEN or not told.rows:
        return
    store, ledger = open_store(db), CoverageLedger(db)
    by_exchange: dict[str, list[str]] = {}
    for name in told.series:
        exchange, _, symbol = name.partition(" ")
        by_exchange.setdefault(exchange, []).append(symbol)
    for exchange, symbols in by_exchange.items():
        claim_history(
            store,
            ledger,
            exchange=exchange,
            channel=told.channel,
            symbols=symbols,
            start=told.first_ns,
            end=told.last_ns + 1,
            source=f"import of {Path(told.file).name}",
        )


def file_mapping(
    path: Path, preset: str, mapping: Path | None, given: Mapping[str, Any]
) -> ImportMapping:
    """How a file is read: a TOML mapping or a preset, changed by options; or options alone.

    Raises:
        DataError: naming the file or the key that is wrong.
    """
    if mapping is not None:
        try:
            base = tomllib.loads(mapping.read_text())
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise DataError(f"{mapping}: cannot be read: {error}") from error
        return mapping_of({**base, **given}, where=str(mapping))
    if preset == "auto" and "channel" in given:
        return mapping_of(given, where="options")
    own = own_export(columns_of(path)) if preset == "auto" and path.is_file() else None
    values = (own or preset_for(path, preset)).model_dump()
    values["columns"] = {**values["columns"], **given.get("columns", {})}
    values["symbols"] = {**values["symbols"], **given.get("symbols", {})}
    plain = {k: v for k, v in given.items() if k not in ("columns", "symbols")}
    return mapping_of({**values, **plain}, where=f"{path.name} with options")


def run_export(
    channel: str,
    path: Path,
    symbols: Sequence[str] | None,
    *,
    start: int | None,
    end: int | None,
    exchange: str | None,
    interval: int | None,
    columns: list[str] | None,
    lake: str | None,
    as_json: bool,
) -> None:
    """Write what is stored to a file.

    Raises:
        DataError, UsageError: as `MarketStore.scan` and `write_file`.
    """
    with market_database() as db:
        store = open_store(db, lake)
        found = store.scan(
            channel, symbols, start, end, columns, exchange=exchange, interval=interval
        )
        with closing(found) as batches:
            rows = write_file(path, channel, batches, columns=columns)
    if as_json:
        print_json({"file": str(path), "rows": rows, "bytes": path.stat().st_size})
    else:
        out.print(f"{amount(rows, 'row')} of {channel} written to {path}")

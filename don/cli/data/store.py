"""`don data stats`, `maintain`, `backup` and `restore`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from don.cli.data.opened import lake_of, market_database
from don.cli.output import err, out, print_json, print_pairs, table
from don.clock import SystemClock, iso
from don.home import home_dir
from don.words import amount

if TYPE_CHECKING:
    from don.storage.market.stats import StorageStats

Json = typer.Option(False, "--json", help="Print one JSON document.")

BLOCKS_S = 600.0  # spent on copies at most; the next call goes on


def register(app: typer.Typer) -> None:
    """Add this part's commands."""
    for command in (stats, maintain, backup, restore):
        app.command()(command)


def stats(
    top: int = typer.Option(10, min=0, help="Costliest statements to list."),
    slow: int = typer.Option(5, min=0, help="Newest slow statements to list, with their plans."),
    as_json: bool = Json,
) -> None:
    """Show sizes, rows, bloat and hit ratios of the database, and what its statements cost."""
    from don.storage.embedded import EmbeddedPostgres
    from don.storage.market.stats import slow_statements, storage_stats

    with market_database() as db:
        found = storage_stats(db, statements=top)
    data = EmbeddedPostgres(home_dir()).data  # a server of the user's own has its own log
    slowest = slow_statements(data, limit=slow) if data.exists() else []
    if as_json:
        print_json({**asdict(found), "slow": [asdict(one) for one in slowest]})
        return
    _print_stats(found)
    for one in slowest:
        out.print(f"\n{iso(one.ts)}  {one.ms:,.0f} ms  {one.query}", markup=False, soft_wrap=True)
        out.print(one.plan, markup=False, soft_wrap=True)


def maintain(
    archive: bool = typer.Option(
        True, "--archive/--no-archive", help="Move what is behind its retention to the lake."
    ),
    as_json: bool = Json,
) -> None:
    """Make partitions ahead, tidy those whose time is over, move old ones to the lake."""
    from don.storage.lake.archive import Archiver
    from don.storage.market.maintain import Maintenance
    from don.storage.market.opened import blocks_of, keep_blocks

    lake, config = lake_of()
    with market_database() as db:
        archiver = Archiver(db, lake, SystemClock(), config) if archive else None
        done = Maintenance(db, SystemClock(), archiver=archiver).run()
        made, gone = keep_blocks(db, blocks_of(db, home_dir()), SystemClock(), BLOCKS_S)
    if as_json:
        print_json({**asdict(done), "blocks_made": made, "blocks_deleted": gone})
        return
    for what, names in (
        ("made", done.made),
        ("vacuumed", done.vacuumed),
        ("reindexed", done.reindexed),
        ("in use, left for later", done.held_up),
    ):
        if names:
            out.print(f"{what}: {', '.join(names)}", soft_wrap=True)
    for moved in done.archived:
        out.print(f"archived: {moved.channel} from {iso(moved.start)}, {amount(moved.rows, 'row')}")
    out.print(f"freed by new indexes: {_mb(done.freed_bytes)}")
    out.print(f"copies for fast reads: {made} made, {gone} deleted")


def backup(
    folder: Path = typer.Argument(..., help="To make; it must not exist."),
    as_json: bool = Json,
) -> None:
    """Write the whole database into a new folder, with checksums; Don may run meanwhile."""
    from don.storage.backup import make_backup

    with market_database() as db:
        made = make_backup(db, folder.absolute(), SystemClock(), _progress)
    if as_json:
        print_json(asdict(made))
    else:
        out.print(
            f"{folder}: {amount(made.rows, 'row')} of {amount(len(made.tables), 'table')}, "
            f"{_mb(made.bytes)}"
        )


def restore(
    folder: Path = typer.Argument(..., help="What `don data backup` wrote."),
    as_json: bool = Json,
) -> None:
    """Fill an empty database from a backup and compare it; never overwrites anything."""
    from don.storage.backup import read_backup, restore_backup

    read_backup(folder.absolute())  # before a database is made for it
    with market_database() as db:
        made = restore_backup(db, folder.absolute())
    if as_json:
        print_json(asdict(made))
    else:
        out.print(
            f"restored {amount(made.rows, 'row')} of {amount(len(made.tables), 'table')}, "
            "as backed up"
        )


def _progress(step: str) -> None:
    if err.is_terminal:
        err.print(step, style="dim", soft_wrap=True)


def _print_stats(found: "StorageStats") -> None:
    print_pairs(
        {
            "size": _mb(found.bytes),
            "hit ratio": f"{found.hit_ratio:.3f}",
            "connections": f"{found.connections} of {found.max_connections}",
            "deadlocks": found.deadlocks,
            "temporary files": _mb(found.temp_bytes),
        }
    )
    columns = ("channel", "from", "rows#", "MiB#", "B/row#", "dead#", "loose#", "hits#")
    rows = [
        (
            one.channel,
            iso(one.start_ns)[:10],
            f"{one.rows:,}",
            f"{(one.heap_bytes + one.index_bytes) / 2**20:,.1f}",
            f"{one.bytes_per_row:.0f}",
            f"{one.dead_share:.1%}",
            f"{one.index_bloat:.0%}",
            f"{one.hit_ratio:.3f}",
        )
        for one in found.channels
        if one.rows
    ]
    out.print(table(columns, rows) if rows else "no market data yet")
    for cost in found.statements:
        head = f"{cost.total_ms:,.0f} ms in {cost.calls:,} calls, {cost.mean_ms:.2f} ms each"
        out.print(f"{head}  {cost.query[:160]}", markup=False, soft_wrap=True)


def _mb(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"

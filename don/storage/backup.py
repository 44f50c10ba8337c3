"""Backup and restore of the whole database with PostgreSQL's own programs, verified. Does I/O.

A backup is a folder: the dump (directory format) and `backup.json`, which says what every table
held in the very snapshot that was dumped, and the checksum of every file. It is made beside its
name and renamed when complete. No table and no partition goes while it is made. A restore goes into
an empty database only, in one transaction, and is compared with what was written down. Lake files
are not in it: they never change, copy them.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from don import __version__
from don.clock import Clock
from don.errors import ConfigError, DatabaseError, DataError, DifferenceError, UsageError
from don.storage.database import Connection, Database
from don.storage.lake.lock import unchanged
from don.storage.server_files import program_folder

_MANIFEST = "backup.json"
_DUMP = "dump"
_EXTENSION = "pg_stat_statements"  # the server's, not ours
_VIEWS = "market"  # schema of views for people
_JOBS = 2
_WAIT_S = 600.0  # for an archive that runs
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableContent:
    """What a table held."""

    table: str  # schema.name
    rows: int
    hash: str  # sum over the rows of a 64-bit hash of their text: in any order


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup is, as its `backup.json` says."""

    version: str  # of Don
    revision: str  # of the schema
    ts: int  # ns
    rows: int
    bytes: int  # on disk
    tables: tuple[TableContent, ...]
    files: dict[str, str]  # path inside the dump -> SHA-256


def make_backup(db: Database, folder: Path, clock: Clock, step: Step = lambda _: None) -> Backup:
    """Back the database up while it is in use.

    An archive that runs is waited for; one that begins meanwhile is told to wait.

    Args:
        db: the database, migrated.
        folder: to make; it must not exist.
        clock: says when.
        step: told each step before it is taken, for progress.

    Raises:
        UsageError: if the folder exists or cannot be made: nothing is overwritten.
        DependencyError: if an archive runs for too long.
        DatabaseError: if the database is away or the dump fails; no folder is left.
    """
    if folder.exists():
        raise UsageError(f"backup folder {folder} exists: choose a new one, nothing is overwritten")
    draft = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UsageError(f"backup folder {draft} cannot be made: {error.strerror}") from error
    try:
        revision = db.revision()
        if revision is None:
            raise UsageError("the database was never migrated: there is nothing to back up")
        step("wait for an archive that runs")
        with unchanged(db, _WAIT_S), db.connect(autocommit=False) as connection:
            tables = _tables(connection)
            connection.rollback()
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            connection.execute(f"SET LOCAL lock_timeout = {round(_WAIT_S * 1_000)}")
            # Before the snapshot: what it shows is there until the last row of it is counted.
            connection.execute(
                sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(", ").join(tables))
            )
            row = connection.execute("SELECT pg_export_snapshot()").fetchone()
            if row is None:
                raise DatabaseError("the server gives no snapshot")
            options = ["--format=directory", f"--jobs={_JOBS}", "--compress=gzip:1", "--no-owner"]
            options += ["--no-privileges", f"--exclude-extension={_EXTENSION}"]
            options += [f"--snapshot={row[0]}"]
            step("dump")
            _run(db, "pg_dump", [*options, f"--file={draft / _DUMP}"])
            step("count")
            contents = _contents(connection)
        step("check")
        _run(db, "pg_restore", ["--list", "--file=/dev/null", str(draft / _DUMP)], connect=False)
        files = _checksums(draft / _DUMP)
        made = Backup(
            version=__version__,
            revision=revision,
            ts=clock.now_ns(),
            rows=sum(table.rows for table in contents),
            bytes=sum(path.stat().st_size for path in (draft / _DUMP).iterdir()),
            tables=tuple(contents),
            files=files,
        )
        data = msgspec.json.format(msgspec.json.encode(made), indent=1)
        _write_synced(draft / _MANIFEST, data)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return made


def read_backup(folder: Path) -> Backup:
    """What a folder's backup is; every file is checked.

    Raises:
        DataError: if it is none, or damaged; names the file.
    """
    path = folder / _MANIFEST
    try:
        made = msgspec.json.decode(path.read_bytes(), type=Backup)
    except OSError as error:
        raise DataError(f"{folder} is no backup: {path.name} {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is damaged: {error}") from error
    found = _checksums(folder / _DUMP) if (folder / _DUMP).is_dir() else {}
    for name, checksum in made.files.items():
        if name not in found:
            raise DataError(f"backup {folder}: file {name} is missing")
        if found[name] != checksum:
            raise DataError(f"backup {folder}: file {name} is damaged")
    return made


def restore_backup(db: Database, folder: Path) -> Backup:
    """Fill an empty database from a backup, compare it, and bring its schema up to date.

    Args:
        db: a database without a single row of Don's; need not be migrated.
        folder: of the backup.

    Raises:
        DataError: if the backup is damaged.
        UsageError: if the database holds rows: nothing is overwritten.
        ConfigError: if the backup is of a newer Don.
        DifferenceError: if what was restored is not what was backed up; says how. The database
            holds what the dump held, and its schema is up to date.
        DatabaseError: if the database is away or refuses: it is as it was.
    """
    made = read_backup(folder)
    _refuse_newer(made)
    revision = db.revision()
    with db.errors(), db.connect(autocommit=False) as connection:
        held = next((table for table in _contents(connection, hashed=False) if table.rows), None)
        if held is not None:
            raise UsageError(
                f"database {db.target} is not empty ({held.table} has {held.rows} rows): restore "
                "into a new state folder (DON_HOME) or database, nothing is overwritten"
            )
        if revision not in (None, made.revision):
            _clear(connection)
        connection.commit()
    options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--single-transaction"]
    try:
        _run(db, "pg_restore", [*options, "--exit-on-error", str(folder / _DUMP)])
    except DatabaseError:
        if revision is not None:
            db.migrate()  # what was cleared
        raise
    with db.errors(), db.connect() as connection:
        differences = _differences(made.tables, _contents(connection))
    db.migrate()
    if differences:
        raise DifferenceError(
            f"database {db.target} was restored from {folder}, but is not what was backed up: "
            f"{'; '.join(differences)}. It holds all that the dump holds, and its schema is up to "
            "date. To start over, restore another backup into a new state folder (DON_HOME) or an "
            "empty database"
        )
    return made


# ---- inside --------------------------------------------------------------------------------------


def _refuse_newer(made: Backup) -> None:
    from don.storage.database import newest_revision

    if made.revision > newest_revision():
        raise ConfigError(
            f"the backup was made by Don {made.version} with schema {made.revision}, this one "
            f"knows {newest_revision()}: install the newer Don"
        )


def _clear(connection: Connection) -> None:
    """Drop Don's tables, which hold no row: the backup is of an older schema, and what came later
    would be in the way of bringing it up to date.
    """
    from don.storage.catalogue import metadata

    ours = {*metadata.tables, "alembic_version"}
    names = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relkind IN ('r', 'p') "
        "AND NOT c.relispartition AND c.relname = ANY(%s) AND pg_table_is_visible(c.oid)",
        (list(ours),),
    ).fetchall()
    tables = ", ".join(name for (name,) in names)
    connection.execute("SET LOCAL lock_timeout = '60s'")
    connection.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
    held = [table.table for table in _contents(connection, hashed=False) if table.rows]
    if held:
        raise UsageError(f"table {held[0]} got rows just now: stop what uses the database")
    functions = connection.execute(
        "SELECT DISTINCT tgfoid::regprocedure::text FROM pg_trigger "
        "WHERE NOT tgisinternal AND tgrelid::regclass::text = ANY(%s)",
        ([name for (name,) in names],),
    ).fetchall()
    connection.execute(f"DROP TABLE {tables} CASCADE")
    connection.execute(f"DROP SCHEMA IF EXISTS {_VIEWS} CASCADE")
    for (function,) in functions:
        connection.execute(f"DROP FUNCTION {function}")


def _tables(connection: Connection) -> list[sql.Identifier]:
    return [sql.Identifier(*names) for names in connection.execute(_TABLES).fetchall()]


def _differences(wanted: Sequence[TableContent], restored: Sequence[TableContent]) -> list[str]:
    """What a person should know of the tables that are not as they were."""
    found = {table.table: table for table in restored}
    told = []
    for table in wanted:
        got = found.pop(table.table, None)
        if got is None:
            told.append(f"{table.table} is missing, with {table.rows} rows")
        elif got.rows != table.rows:
            told.append(f"{table.table} has {got.rows} rows, not {table.rows}")
        elif got.hash != table.hash:
            told.append(f"{table.table} has other values in its {table.rows} rows")
    told += [f"{got.table} has {got.rows} rows, not none" for got in found.values() if got.rows]
    return told


def _contents(connection: Connection, *, hashed: bool = True) -> list[TableContent]:
    found = []
    for schema, name in connection.execute(_TABLES).fetchall():
        table = sql.Identifier(schema, name)
        query = sql.SQL("SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} AS t")
        if not hashed:
            query = sql.SQL("SELECT count(*), 0 FROM (SELECT FROM {} LIMIT 1) AS t")
        row = connection.execute(query.format(table)).fetchone()
        rows, digest = row or (0, None)
        found.append(TableContent(table=f"{schema}.{name}", rows=rows, hash=str(digest or 0)))
    return found


def _run(db: Database, program: str, options: list[str], *, connect: bool = True) -> None:
    """Run a program on the database; a password goes by the environment, never by arguments."""
    environment = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
    command = [str(program_folder() / program)]
    if connect:
        parts = conninfo_to_dict(db.url.reveal())
        password = parts.pop("password", None)
        if password:
            environment["PGPASSWORD"] = str(password)
        command += [f"--dbname={make_conninfo('', **parts)}"]
    done = subprocess.run(
        [*command, *options],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split())[:600]
        raise DatabaseError(f"{program} on {db.target} failed: {said}")


def _checksums(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            found[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# Partitions are counted with their table, what extensions own not at all.
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname <> 'alembic_version'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_t%'
    AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2
"""

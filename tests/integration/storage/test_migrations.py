"""Migrating from every released schema keeps the data that was in it."""

from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory

from don.storage.catalogue import metadata
from don.storage.database import Database, _alembic, newest_revision

pytestmark = pytest.mark.postgres

REVISIONS = [script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()]
_VALUES: dict[str, Any] = {
    "text": "running", "int8": 1, "int4": 1, "int2": 1, "bool": True, "float8": 1.5, "jsonb": "{}",
    "numeric": "2.5", "bytea": b"\1" * 32, "_text": ["a"], "_float8": [1.0], "_int8": [1],
}  # fmt: skip
_ALLOWED = {  # where not every value is
    ("coverage", "ts_start"): 0,
    ("coverage", "ts_end"): 60_000_000_000,
    ("coverage", "state"): "gap",
}


def migrate_to(url: str, revision: str) -> None:
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:", 1))
    config = _alembic()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def fill(url: str) -> dict[str, list[dict[str, Any]]]:
    """A row in every table there is, whatever its columns; returns all rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        names = [row[0] for row in connection.execute(_TABLES).fetchall()]
        for name in names:
            if name.startswith("md_"):
                connection.execute(
                    f"CREATE TABLE {name}_p1970 PARTITION OF {name} FOR VALUES FROM (0) TO (9)"
                )
            columns = connection.execute(_COLUMNS, (name,)).fetchall()
            marks = ", ".join(f"%s::{kind}" for _, kind in columns)
            listed = ", ".join(f'"{column}"' for column, _ in columns)
            connection.execute(
                f'INSERT INTO "{name}" ({listed}) VALUES ({marks})',
                [_ALLOWED.get((name, column), _VALUES[kind]) for column, kind in columns],
            )
    return content(url, names)


def content(url: str, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    with psycopg.connect(url) as connection:
        return {
            name: [r[0] for r in connection.execute(f'SELECT to_jsonb(t) FROM "{name}" AS t')]
            for name in names
        }


@pytest.mark.parametrize("revision", sorted(REVISIONS))
def test_data_of_every_revision_survive(empty_database_url: str, revision: str) -> None:
    migrate_to(empty_database_url, revision)
    before = fill(empty_database_url)
    assert all(len(rows) == 1 for rows in before.values())
    with Database(empty_database_url) as database:
        assert database.migrate() == newest_revision()
        with database.connection() as connection:
            made = {row[0] for row in connection.execute(_TABLES).fetchall()}
    assert made == set(metadata.tables)
    after = content(empty_database_url, list(before))  # later revisions may add columns
    kept = {
        name: [{key: row[key] for key in old} for old, row in zip(rows, after[name], strict=True)]
        for name, rows in before.items()
    }
    assert kept == before


def test_payments_of_before_get_the_kind_that_the_journal_tells(empty_database_url: str) -> None:
    migrate_to(empty_database_url, "0007")
    told = {"a": '{"kind":"liquidation"}', "b": '{"kind":"funding"}', "c": '{"amount":"1"}'}
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        for seq, (key, payload) in enumerate(told.items(), 1):
            connection.execute(
                "INSERT INTO journal VALUES ('x', %s, 's', 'FundingReport', %s, %s, 1, %s, %s)",
                (seq, key, payload, b"1" * 32, b"2" * 32),
            )
            connection.execute(
                "INSERT INTO funding_payments VALUES ('x', %s, 's', '', 1, 1, 1)", (key,)
            )
    with Database(empty_database_url) as database:
        database.migrate()
        with database.connection() as connection:
            rows = connection.execute("SELECT key, kind FROM funding_payments").fetchall()
    assert dict(rows) == {"a": "liquidation", "b": "funding", "c": "funding"}


_TABLES = """
SELECT c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relname <> 'alembic_version' ORDER BY 1
"""
_COLUMNS = """
SELECT column_name, udt_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = %s AND is_identity = 'NO' ORDER BY ordinal_position
"""

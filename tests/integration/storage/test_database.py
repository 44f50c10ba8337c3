"""Connections, migrations, and errors that keep the password."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from don.errors import ConfigError, DatabaseError
from don.storage.catalogue import metadata
from don.storage.database import Database, external_url, newest_revision

pytestmark = pytest.mark.postgres
PASSWORD = "s3cr3t-p@ss/word"


def test_migrating_twice_and_at_once_is_harmless(empty_database_url: str) -> None:
    def migrate(_: int) -> str:
        with Database(empty_database_url) as database:
            return database.migrate()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(migrate, range(4))) == {newest_revision()}
    with Database(empty_database_url) as database:
        assert database.migrate() == database.revision() == newest_revision()


def test_tables_are_what_the_migrations_make(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_schema_of_a_newer_don_is_refused(database: Database) -> None:
    with database.connection() as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="install the newer Don"):
        database.migrate()


def test_lost_connections_are_replaced(database: Database, database_url: str) -> None:
    with database.connection() as connection:
        connection.execute("SELECT 1")
    with psycopg.connect(database_url, autocommit=True) as killer:
        killer.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    with database.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with database.engine.connect() as session:
        assert session.execute(sa.select(sa.literal(2))).scalar() == 2


def test_pooled_statements_end_in_time(database_url: str) -> None:
    with Database(database_url, statement_timeout_s=0.1) as impatient:
        with pytest.raises(DatabaseError, match="statement timeout"):
            with impatient.connection() as connection:
                connection.execute("SELECT pg_sleep(30)")


def test_defects_are_not_called_operational(database: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), database.connection() as connection:
        connection.execute("SELECT 1 FROM nowhere")


@pytest.mark.parametrize("call", ["ping", "migrate", "revision", "wait", "connection"])
def test_server_that_is_down_is_named_without_its_password(call: str) -> None:
    quoted = PASSWORD.replace("@", "%40").replace("/", "%2F")
    database = Database(f"postgresql://me:{quoted}@127.0.0.1:1/books", pool_timeout_s=0.5)
    with database, pytest.raises(DatabaseError, match=r"books at 127\.0\.0\.1:1") as caught:
        match call:
            case "wait":
                database.wait(0.2)
            case "connection":
                with database.connection():
                    pass
            case _:
                getattr(database, call)()
    shown = f"{caught.value!r} {caught.value} {database!r} {database.url!r}"
    assert PASSWORD not in shown and quoted not in shown
    assert caught.value.exit_code == 4


def test_unreadable_url_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        Database("postgresql://me:hunter2@host:port:port/x?hunter2")
    assert "hunter2" not in str(caught.value)


def test_external_url_comes_from_the_environment() -> None:
    assert external_url({}) is None
    found = external_url({"DON_DATABASE_URL": "postgresql://a:b@c/d"})
    assert found is not None and found.reveal() == "postgresql://a:b@c/d"
    with pytest.raises(ConfigError, match="DON_DATABASE_URL must be like"):
        external_url({"DON_DATABASE_URL": "mysql://a:b@c/d"})

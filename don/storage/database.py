"""Connections to PostgreSQL, wherever it is: pool, engine, waiting, migrating. Does I/O.

One pool serves both psycopg and SQLAlchemy, so that one number bounds a process's connections.
Foreign errors become `DatabaseError` here, with the password masked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import quote

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from don.errors import ConfigError, DatabaseError
from don.security.secrets import MASK, Secret

Connection = psycopg.Connection[tuple[Any, ...]]
Cursor = psycopg.Cursor[tuple[Any, ...]]

ENV_URL = "DON_DATABASE_URL"
_MIGRATION_LOCK = 0x646F6E  # "don"
_FOREIGN = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
_TCP = {  # a silent network is noticed in seconds, not hours
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def external_url(environ: Mapping[str, str]) -> Secret | None:
    """The URL of a server of the user's own, None if there is none.

    Raises:
        ConfigError: if it is no PostgreSQL URL.
    """
    text = environ.get(ENV_URL, "").strip()
    if not text:
        return None
    if not text.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        raise ConfigError(f"{ENV_URL} must be like postgresql://user:password@host:5432/database")
    return Secret(text)


def patient(seconds: float) -> Retrying:
    """Bounded, jittered retries of an operation that found the database away."""
    return Retrying(
        retry=retry_if_exception_type(DatabaseError),
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        reraise=True,
    )


class Database:
    """One database, by URL. Cheap to make: connects on first use. Close it when done.

    Args:
        url: `postgresql://…`; may carry a password, and is never shown.
        name: what the server lists the connections under.
        pool_size: most connections in the pool, > 0.
        statement_timeout_s: longest a pooled statement may take; 0 sets no limit.
        pool_timeout_s: longest to wait for a connection from the pool.
    """

    def __init__(
        self,
        url: Secret | str,
        *,
        name: str = "don",
        pool_size: int = 4,
        statement_timeout_s: float = 15.0,
        pool_timeout_s: float = 5.0,
    ) -> None:
        text = Secret(url).reveal().replace("postgresql+psycopg://", "postgresql://", 1)
        try:
            self._parts: dict[str, Any] = conninfo_to_dict(text)
        except psycopg.ProgrammingError:
            raise ConfigError(
                "the database URL cannot be read: it must be like "
                "postgresql://user:password@host:5432/database"
            ) from None
        self.url = Secret(text)
        self._name = name
        self._pool_size = pool_size
        self._timeout_s = statement_timeout_s
        self._pool_timeout_s = pool_timeout_s

    def __repr__(self) -> str:
        return f"Database({self.target})"

    @property
    def target(self) -> str:
        """Where the database is, for people; no user, no password."""
        host = self._parts.get("host", "localhost")
        return f"{self._parts.get('dbname', '')} at {host}:{self._parts.get('port', 5432)}"

    @cached_property
    def pool(self) -> "ConnectionPool[Connection]":
        """Connections for short statements; each is checked before it is lent."""
        return ConnectionPool(
            self._conninfo(self._timeout_s),
            kwargs={"autocommit": False},
            min_size=0,
            max_size=self._pool_size,
            num_workers=1,
            timeout=self._pool_timeout_s,
            check=ConnectionPool.check_connection,
            close_returns=True,  # so that SQLAlchemy's close gives it back
            open=True,
            name=self._name,
        )

    @cached_property
    def engine(self) -> sa.Engine:
        """SQLAlchemy over the same pool; use it inside `errors()`."""
        return sa.create_engine(
            "postgresql+psycopg://",
            creator=self.pool.getconn,
            poolclass=sa.NullPool,
            use_native_hstore=False,
        )

    def connect(self, *, statement_timeout_s: float = 0.0, autocommit: bool = True) -> Connection:
        """A connection of the caller's own, for whoever holds one for long.

        Raises:
            DatabaseError: if the database does not answer.
        """
        with self.errors():
            return psycopg.connect(self._conninfo(statement_timeout_s), autocommit=autocommit)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A pooled connection in a transaction that commits at the end of the block.

        Raises:
            DatabaseError: if the database is away or refuses for an operational reason.
        """
        with self.errors(), self.pool.connection() as lent:
            yield lent

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """A pooled connection each of whose statements stands by itself: two round trips less.

        Raises:
            DatabaseError: if the database is away or refuses for an operational reason.
        """
        with self.connection() as lent:
            lent.autocommit = True
            try:
                yield lent
            finally:
                if not lent.closed:
                    lent.autocommit = False

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Translate what psycopg and SQLAlchemy raise for operational reasons.

        Raises:
            DatabaseError: in their place; defects (a wrong statement, a broken constraint) pass.
        """
        try:
            yield
        except sa.exc.DBAPIError as error:
            if not isinstance(error.orig, _FOREIGN):
                raise
            raise self._translated(error.orig) from None
        except _FOREIGN as error:
            raise self._translated(error) from None

    def ping(self) -> None:
        """Ask the server for a sign of life on a connection of its own.

        Raises:
            DatabaseError: if there is none.
        """
        with self.errors(), self.connect(statement_timeout_s=5.0) as connection:
            connection.execute("SELECT 1")

    def wait(self, timeout_s: float = 30.0) -> None:
        """Return as soon as the server answers.

        Raises:
            DatabaseError: if it does not within the time.
        """
        for attempt in patient(timeout_s):
            with attempt:
                self.ping()

    def migrate(self) -> str:
        """Bring the schema to the newest revision, and return it. Safe to repeat and to race.

        Raises:
            ConfigError: if the schema is newer than this installation.
            DatabaseError: if the database is away.
        """
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: self.connect(autocommit=False),
            poolclass=sa.NullPool,
            use_native_hstore=False,
        )
        config = _alembic()
        with self.errors(), engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL lock_timeout = '60s'"))
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise ConfigError(
                    f"database {self.target} has a schema that this version of Don does not know "
                    f"({error}): install the newer Don"
                ) from error
        return newest_revision()

    def revision(self) -> str | None:
        """The schema's revision, None if it was never migrated."""
        with self.errors(), self.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()

    def close(self) -> None:
        """Give all pooled connections back to the server."""
        if "pool" in self.__dict__:
            self.pool.close()
            self.__dict__.pop("engine", None)
            del self.__dict__["pool"]

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _conninfo(self, statement_timeout_s: float) -> str:
        options = f"{self._parts.get('options', '')} -c TimeZone=UTC"
        if statement_timeout_s:
            options += f" -c statement_timeout={round(statement_timeout_s * 1_000)}"
        mine = {**_TCP, "application_name": self._name} | self._parts
        return make_conninfo("", **{**mine, "options": options.strip()})

    def _translated(self, error: BaseException) -> DatabaseError:
        text = " ".join(str(error).split()) or type(error).__name__
        password = str(self._parts.get("password") or "")
        for form in {password, quote(password, safe="")} - {""}:
            text = text.replace(form, MASK)
        return DatabaseError(f"database {self.target}: {text}")


def newest_revision() -> str:
    """The revision that this installation migrates to."""
    head = ScriptDirectory.from_config(_alembic()).get_current_head()
    if head is None:
        raise ConfigError("this installation of Don lacks its database migrations: reinstall it")
    return head


def _alembic() -> Config:
    config = Config()
    folder = resources.files("don.storage") / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

"""The lake's lock: one changes it at a time, none while a backup is made. Reads PostgreSQL.

An advisory lock on a connection of its own: it goes when the process does.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from don.errors import DependencyError
from don.storage.database import Database

_LOCK = 0x6C616B65  # "lake"


@contextmanager
def changing(db: Database) -> Iterator[None]:
    """Be the only one who moves rows between database and lake.

    Raises:
        DependencyError: if another one is at it, or a backup is made.
        DatabaseError: if the database is away.
    """
    with db.errors(), db.connect() as connection:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
        if row is None or not row[0]:
            raise DependencyError(
                "another archive, restore or compaction runs, or a backup: wait for it"
            )
        try:
            yield
        finally:  # at once; the server may take a while to notice a closed connection
            if not connection.broken:
                connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


@contextmanager
def unchanged(db: Database, wait_s: float) -> Iterator[None]:
    """Keep rows where they are; several may do so at once.

    Args:
        db: the database.
        wait_s: how long to wait for who moves rows now.

    Raises:
        DependencyError: if that was not long enough.
        DatabaseError: if the database is away.
    """
    with db.errors(), db.connect() as connection:
        connection.execute(f"SET lock_timeout = {round(wait_s * 1_000)}")
        try:
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (_LOCK,))
        except psycopg.errors.LockNotAvailable:
            raise DependencyError(
                f"an archive, restore or compaction has run for {wait_s:g} s: wait for it"
            ) from None
        try:
            yield
        finally:
            if not connection.broken:
                connection.execute("SELECT pg_advisory_unlock_shared(%s)", (_LOCK,))

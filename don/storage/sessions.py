"""How a session ends and what is kept of it; its beginning is journalled. Does I/O."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from don.errors import UsageError
from don.storage.database import Database

ENDINGS = ("ended", "interrupted", "failed")


def end_session(
    db: Database, session: str, *, ts_end: int, status: str, summary: Mapping[str, Any]
) -> bool:
    """Write a session's end once.

    Args:
        db: the database.
        session: which one.
        ts_end: wall time, ns.
        status: one of `ENDINGS`.
        summary: plain JSON values; what `don up` prints at the end.

    Returns:
        False if the session had ended before (then nothing changes) or never began.

    Raises:
        UsageError: if the status is not allowed.
        DatabaseError: if the database is away.
    """
    if status not in ENDINGS:
        raise UsageError(f"session status must be one of {', '.join(ENDINGS)}, was {status!r}")
    with db.connection() as connection:
        done = connection.execute(
            "UPDATE session SET ts_end = %s, status = %s, summary = %s "
            "WHERE id = %s AND status = 'running'",
            (ts_end, status, Jsonb(dict(summary)), session),
        )
    return done.rowcount == 1


def interrupt_sessions(db: Database, account: str, *, ts_end: int, keep: str = "") -> list[str]:
    """Close what died without a word: sessions of the account that still claim to run.

    Args:
        db: the database.
        account: whose.
        ts_end: wall time, ns.
        keep: a session that does run.

    Returns:
        Their ids.

    Raises:
        DatabaseError: if the database is away.
    """
    with db.connection() as connection:
        rows = connection.execute(
            "UPDATE session SET ts_end = %s, status = 'interrupted' "
            "WHERE account = %s AND status = 'running' AND id <> %s RETURNING id",
            (ts_end, account, keep),
        ).fetchall()
    return sorted(row[0] for row in rows)


def forget_market(db: Database, *, keep: int) -> list[str]:
    """Drop the recorded market data of all but the newest sessions; journals are kept for ever.

    A session without its recording still replays from its journal; only its features cannot be
    recomputed any more.

    Args:
        db: the database.
        keep: how many sessions keep their recording, at least 1; running ones always do.

    Returns:
        Ids of the sessions that lost theirs.

    Raises:
        UsageError: if keep is less than 1.
        DatabaseError: if the database is away.
    """
    if keep < 1:
        raise UsageError(f"sessions to keep must be at least 1, was {keep}")
    with db.connection() as connection:
        connection.execute("SET LOCAL statement_timeout = 0")
        old = connection.execute(
            "SELECT id FROM session WHERE status <> 'running' AND id NOT IN "
            "(SELECT id FROM session ORDER BY ts_start DESC, id DESC LIMIT %s) "
            "AND EXISTS (SELECT 1 FROM market_batch AS m WHERE m.session = session.id)",
            (keep,),
        ).fetchall()
        names = sorted(row[0] for row in old)
        for table in ("market_batch", "bar_set", "feature_checkpoint"):
            connection.execute(f"DELETE FROM {table} WHERE session = ANY(%s)", (names,))
    return names

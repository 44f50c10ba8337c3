"""Checkpoints of a session's feature cache. Does I/O."""

from collections.abc import Iterator

import numpy as np

from don.features.checkpoint import Checkpoint
from don.storage.database import Database, patient

_CHUNK = 256


class FeatureCheckpoints:
    """Writes and reads the checkpoints of one session.

    Args:
        db: the database, migrated.
        session: whose.
        patience_s: how long a call bears a database that is away before it gives up.
    """

    def __init__(self, db: Database, session: str, *, patience_s: float = 30.0) -> None:
        self._db = db
        self._session = session
        self._patience_s = patience_s

    def save(self, made: Checkpoint) -> None:
        """Store a checkpoint; every batch recorded so far must have been applied. Repeats are
        harmless. Only the newest one keeps its state: the others hold what the features were fed.

        Raises:
            DatabaseError: if the database stays away.
        """
        shape = made.fed.shape
        values = (
            self._session, made.version, self._session, *shape,
            np.ascontiguousarray(made.fed).tobytes(), made.known.tobytes(), made.state,
        )  # fmt: skip
        for attempt in patient(self._patience_s):
            with attempt, self._db.connection() as connection, connection.transaction():
                connection.execute(_SAVE, values)
                connection.execute(_FORGET, (self._session, made.version))

    def read(self) -> tuple[list[Checkpoint], int]:
        """All checkpoints in order, and the ordinal of the last batch that they cover; 0 if none.

        Raises:
            DatabaseError: if the database stays away.
        """
        found, ordinal = [], 0
        for row in self._rows():
            version, ordinal, sets, symbols, columns, fed, known, state = row
            found.append(
                Checkpoint(
                    version=version,
                    fed=np.frombuffer(fed, np.float64).reshape(sets, symbols, columns),
                    known=np.frombuffer(known, np.bool_).reshape(sets, symbols),
                    state=bytes(state),
                )
            )
        return found, ordinal

    def _rows(self) -> Iterator[tuple[int, int, int, int, int, bytes, bytes, bytes]]:
        after = -1
        while True:
            rows: list[tuple[int, int, int, int, int, bytes, bytes, bytes]] = []
            for attempt in patient(self._patience_s):
                with attempt, self._db.connection() as connection:
                    rows = connection.execute(
                        _READ, (self._session, after, _CHUNK), binary=True
                    ).fetchall()
            yield from rows
            if len(rows) < _CHUNK:
                return
            after = rows[-1][0]


_SAVE = """
INSERT INTO feature_checkpoint
    (session, version, ordinal, sets, symbols, columns, fed, known, state)
VALUES (%s, %s, (SELECT coalesce(max(ordinal), 0) FROM market_batch WHERE session = %s),
    %s, %s, %s, %s, %s, %s)
ON CONFLICT (session, version) DO NOTHING
"""
_FORGET = (
    "UPDATE feature_checkpoint SET state = '' WHERE session = %s AND version < %s AND state <> ''"
)
_READ = """
SELECT version, ordinal, sets, symbols, columns, fed, known, state FROM feature_checkpoint
WHERE session = %s AND version > %s ORDER BY version LIMIT %s
"""

"""The database of a state folder, opened for as long as somebody needs it. Does I/O."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from don.home import DATABASE_USE, SharedUse, home_dir
from don.security.secrets import Secret
from don.storage.database import Database, external_url
from don.storage.embedded import EmbeddedPostgres

WAIT_S = 10.0


@contextmanager
def open_database(
    home: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    pool_size: int = 4,
    statement_timeout_s: float = 15.0,
) -> Iterator[Database]:
    """The migrated database; an embedded one is made and started if need be, and stopped by its
    last user.

    Args:
        home: the state folder; None: the one that `environ` names.
        environ: may name an external server instead.
        pool_size: most connections.
        statement_timeout_s: longest statement; 0: no limit, for loads of whole files.

    Raises:
        DependencyError: if it cannot be reached.
    """
    with ExitStack() as undo:
        url: Secret | str | None = external_url(environ)
        if url is None:
            folder = home_dir(environ) if home is None else home
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            use, server = SharedUse(folder, DATABASE_USE), EmbeddedPostgres(folder)
            undo.callback(use.close)
            undo.callback(lambda: server.stop() if use.last() else None)
            url = server.start()
        with Database(url, pool_size=pool_size, statement_timeout_s=statement_timeout_s) as db:
            db.wait(WAIT_S)
            db.migrate()
            yield db

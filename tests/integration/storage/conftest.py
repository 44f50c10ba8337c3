"""A server of one's own to kill, and a wire to cut."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.wire import Wire

from don.storage.embedded import EmbeddedPostgres


@pytest.fixture(scope="session")
def mortal() -> Iterator[EmbeddedPostgres]:
    """An embedded server that a test may kill; every test finds it running."""
    home = Path(tempfile.mkdtemp(prefix="don-", dir="/tmp"))
    server = EmbeddedPostgres(home)
    server.start()
    yield server
    server.start()
    server.stop()
    shutil.rmtree(home)


@pytest.fixture
def wire(database_url: str, don_home: Path) -> Iterator[Wire]:
    """A wire to a fresh, migrated database."""
    made = Wire(database_url, don_home)
    yield made
    made.close()

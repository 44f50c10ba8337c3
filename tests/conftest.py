"""Fixtures that many tests share: a state folder, an embedded PostgreSQL, a fresh database."""

import shutil
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from support.folders import short_folder

from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres

# A busy machine is no failure: how fast something is, benchmarks tell. Whoever needs more examples
# says so.
settings.register_profile("don", deadline=None, max_examples=50)
settings.load_profile("don")

_numbers = count(1)

RAY = "ray"
# The longest files (of tests that kill: the tests), in the order in which they begin: a short one
# at the end leaves no worker idle.
LONGEST = (
    "test_every_part_dies_once",
    "test_nothing_is_lost_or_doubled",
    "test_kill_minus_nine_in_mid_submit",  # short: it waits behind the first
    "test_the_driver_dies",
    "test_book",
    "test_env_gates",
    "test_env_arena",
    "test_backtest_sweep",
    "test_bad_input",
    "test_console",
    "test_execution_faults",
    "test_paper_security",
    "test_paper_restart",
    "test_paper_start",
    "test_tape_bars",
    "test_market_ingest",
    "test_backfill",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say what `--dist loadgroup` keeps together, and put the longest first.

    Tests of one file share what was set up for it. Tests that start Ray share one worker: two
    clusters that start at once on two cores take longer than Ray waits for either.
    """
    ranks = {name: rank for rank, name in enumerate((RAY, *LONGEST))}
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: ranks.get(_group(item), len(ranks)))


def _group(item: pytest.Item) -> str:
    if item.get_closest_marker("fault"):
        return item.name  # long, and nothing is shared
    return RAY if item.get_closest_marker(RAY) else item.path.stem


@pytest.fixture
def don_home() -> Iterator[Path]:
    """An empty state folder."""
    folder = short_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """A running embedded server, one for all tests: leave it running."""
    home = short_folder()
    server = EmbeddedPostgres(home)
    server.start()
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")  # nobody pulls this one's plug
        connection.execute("SELECT pg_reload_conf()")
    yield server
    server.stop()
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def migrated_template(postgres: EmbeddedPostgres) -> str:
    """Name of a migrated database to copy from."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
    with Database(postgres.url.replace("/don?", "/migrated?")) as database:
        database.migrate()
    return "migrated"


@pytest.fixture
def database_url(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[str]:
    """URL of a fresh, migrated database."""
    yield from _database(postgres, migrated_template)


@pytest.fixture
def empty_database_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """URL of a fresh database without any table."""
    yield from _database(postgres, "template1")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh, migrated database."""
    with Database(database_url) as opened:
        yield opened


def _database(server: EmbeddedPostgres, template: str) -> Iterator[str]:
    name = f"test{next(_numbers)}"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    yield server.url.replace("/don?", f"/{name}?")
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits for a condition, at most 120 s."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < end, "condition not met in time"
            time.sleep(0.005)

    return wait

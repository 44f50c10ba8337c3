"""Several people at the registry at once: nothing moves twice, and no version is without files."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
from support.registered import exported

from don.cli import models as commands
from don.clock import ReplayClock
from don.engine import EngineConfig
from don.errors import DataError, DonError, UsageError
from don.learning.entries import lock
from don.learning.model import Model
from don.learning.registry import Registry
from don.learning.resolve import pinned
from don.learning.stages import Stage
from don.learning.store import Store
from don.storage.database import Database

pytestmark = pytest.mark.postgres
PATIENCE_S = 60.0


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    return Registry(database, tmp_path / "models", clock=ReplayClock(7))


@contextmanager
def queued(database: Database) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Calls that all wait for the registry, one behind the other, until the block ends."""
    threads: list[threading.Thread] = []

    def begin(call: Callable[[], object]) -> None:
        threads.append(threading.Thread(target=call))
        threads[-1].start()
        end = time.monotonic() + PATIENCE_S
        while _waiting(database) < len(threads):
            assert threads[-1].is_alive() and time.monotonic() < end, "it did not wait"

    with database.connect(autocommit=False) as holder:
        lock(holder)
        yield begin
    for thread in threads:
        thread.join(PATIENCE_S)


def _waiting(database: Database) -> int:
    with database.connection() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND "
            "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_who_deletes_and_imports_the_same_at_once_has_its_files(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    folder = exported(tmp_path, 0)
    one = registry.add(folder)
    with queued(database) as begin:
        begin(lambda: registry.delete("trend@1", why="of no use"))
        begin(lambda: registry.add(folder))
    (two,) = registry.versions()
    assert (two.label, two.id) == ("trend@2", one.id)
    assert registry.model(two).id == one.id
    registry.delete("trend@2", why="of no use")
    assert not registry.folder(two).exists()
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["registry.json"]


def test_what_a_session_is_beginning_with_stays_whoever_deletes_it(
    registry: Registry, tmp_path: Path
) -> None:
    folders = [exported(tmp_path, seed) for seed in range(3)]
    versions = [registry.add(folder) for folder in folders]
    ids = [one.id for one in versions]

    def begin(policy: str, until: ExitStack) -> None:
        store = tmp_path / "models"
        pinned(f"model:{policy}", EngineConfig(), lambda: nullcontext(registry), store, until)

    def kept() -> list[str]:
        return sorted(path.name for path in (tmp_path / "models").iterdir() if path.is_dir())

    with ExitStack() as until:  # as `don up` holds it
        begin(str(folders[0]), until)
        begin("trend@2", until)
        for version in (1, 2, 3):
            registry.delete(f"trend@{version}", why="of no use")
        assert kept() == sorted(ids[:2])  # what nobody is beginning with is gone
        assert [Model.load(registry.folder(one)).id for one in versions[:2]] == ids[:2]
    # it never began, and another process was killed while it took some away, or kept some
    for left in (f".gone-{ids[0]}-xyz", f".{ids[1]}-xyz"):
        shutil.copytree(registry.folder(versions[0]), tmp_path / "models" / left)
    registry.add(folders[2])
    registry.delete("trend@4", why="of no use")
    assert kept() == []


def test_whoever_keeps_the_same_files_at_once_has_them(tmp_path: Path) -> None:
    model, store = Model.load(exported(tmp_path, 0)), Store(tmp_path / "models")
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            assert len(set(pool.map(lambda _: store.keep(model), range(8)))) == 1
            assert store.load(model.id).id == model.id
            shutil.rmtree(store.folder(model.id))
    assert not any(store.root.iterdir())


def test_a_version_without_its_files_is_not_promoted(registry: Registry, tmp_path: Path) -> None:
    folder = exported(tmp_path, 0)
    one = registry.add(folder)
    kept = registry.folder(one)
    shutil.rmtree(kept)
    with pytest.raises(DataError, match=r"cannot become live: .*model\.json cannot be read"):
        registry.promote("trend", why="good", to=Stage.LIVE, force=True)
    shutil.copytree(exported(tmp_path, 1), kept)
    with pytest.raises(DataError, match=r"cannot become shadow: .* has the files of another model"):
        registry.promote("trend", why="good")
    assert registry.find("trend").moves == ()
    assert registry.add(folder).label == "trend@1"  # puts them back
    registry.promote("trend", why="good", to=Stage.LIVE, force=True)
    registry.add(exported(tmp_path, 2))
    registry.promote("trend@2", why="better", to=Stage.LIVE, force=True)
    (kept / "weights.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"trend@1 cannot become live: .* is torn"):
        registry.rollback("trend", why="it lost")
    assert registry.find("trend").label == "trend@2"


def test_what_is_asked_for_three_times_at_once_moves_once(
    registry: Registry, database: Database, database_url: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DON_HOME", str(tmp_path))
    monkeypatch.setenv("DON_DATABASE_URL", database_url)
    registry = Registry(database, tmp_path / "models")
    registry.add(exported(tmp_path, 0))
    refused: list[str] = []

    def promote() -> None:
        try:
            commands.promote("trend", why="good", to="", force=False, who="ann", as_json=True)
        except DonError as error:
            refused.append(str(error))

    def rollback() -> None:
        try:
            commands.rollback("trend", why="it lost", who="ann", as_json=False)
        except DonError as error:
            refused.append(str(error))

    with queued(database) as begin:
        for _ in range(3):
            begin(promote)
    assert registry.find("trend").stage is Stage.SHADOW
    assert len(refused) == 2 and set(refused) == {
        "trend@1 is shadow already: ann moved it from candidate (good) after this was asked for"
    }
    promote()  # seen as it stands now
    assert registry.find("trend").stage is Stage.CANARY
    with pytest.raises(UsageError, match="trend@1 is canary, not shadow: ann moved it from shadow"):
        commands.promote(
            "trend", why="good", to="", force=False, who="", as_json=False, at="shadow"
        )
    for seed in (1, 2):
        registry.add(exported(tmp_path, seed))
    for label in ("trend@1", "trend@2", "trend@3"):
        registry.promote(label, why="better", to=Stage.LIVE, force=True)
    refused.clear()
    with queued(database) as begin:
        for _ in range(2):
            begin(rollback)
    assert registry.find("trend").label == "trend@2"
    assert len(refused) == 1 and "trend@2 is live already: ann moved it from retired" in refused[0]

"""Files of episode records: damaged ones, those of others, several written at once, full disks."""

import json
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.envs import market

from don.envs import BatchEnv, EnvConfig
from don.envs.record import Episode, Recorder, load, replay, save
from don.envs.record_file import check_place
from don.errors import DataError, DonError, UsageError

META = b"don.episode"
ODD: tuple[Any, ...] = (None, [], "x", 1.5, -1, 2**70, [1], {"x": 1})


@pytest.fixture(scope="module")
def episode() -> Episode:
    config = EnvConfig.model_validate(
        {"form": "shared", "observation": {"features": ["log_return_1"], "window": 2}}
    )
    env = BatchEnv(market(), config, 1)
    states = BatchEnv(market(), config, 1, states=env.states)
    recorder = Recorder(states)
    recorder.reset(3)
    for _ in range(4):
        group = states.groups["agents"]
        recorder.step(np.full((1, len(group.agents), *group.action_space.shape), 0.2))
    return recorder.episode()


@pytest.fixture
def table(episode: Episode, tmp_path: Path) -> pa.Table:
    return pq.read_table(save(episode, tmp_path / "good.parquet"))


def tried(table: pa.Table, path: Path) -> str:
    """What is said of a file whose content is that; "" if it can be replayed."""
    pq.write_table(table, path)
    try:
        held = load(path)
    except DataError as error:
        assert str(path) in str(error) or "normaliser state" in str(error)
        return str(error)
    try:
        replay(held, market())
    except DonError as error:
        return str(error)
    return ""


def changed(table: pa.Table, meta: Any) -> pa.Table:
    return table.replace_schema_metadata({META: json.dumps(meta).encode()})


def test_a_damaged_record_is_said_to_be_one(table: pa.Table, tmp_path: Path) -> None:
    meta, path = json.loads(table.schema.metadata[META]), tmp_path / "odd.parquet"
    assert tried(table, path) == ""
    for name in meta:
        left = {key: value for key, value in meta.items() if key != name}
        tried(changed(table, left), path)
        for odd in ODD:
            tried(changed(table, {**left, name: odd}), path)
    for name, shape in meta["shapes"].items():
        for odd in (*ODD, [[], "<f8"], [shape[0], "O"], [shape[0], "<f3"], [[7], shape[1]]):
            shapes = {**meta["shapes"], name: odd}
            assert "shapes" in (
                said := tried(changed(table, {**meta, "shapes": shapes}), path)
            ) or ("damaged" in said)
    state = json.loads(meta["states"][0])
    for name in state:
        for odd in ODD:
            assert "state" in tried(
                changed(table, {**meta, "states": [json.dumps({**state, name: odd})]}), path
            )
    for odd in ODD:
        said = tried(changed(table, odd), path)
        assert "no JSON object" in said or "no episode of format 2" in said
    for content in (b"{", b"\xff", b"[" * 100_000):
        assert "no JSON" in tried(table.replace_schema_metadata({META: content}), path)


def test_a_record_of_another_don_names_what_it_does_not_know(
    table: pa.Table, tmp_path: Path
) -> None:
    meta, path = json.loads(table.schema.metadata[META]), tmp_path / "newer.parquet"
    newer = {**meta, "config": {**meta["config"], "gravity": 9.81}}
    assert "cannot be read by this Don: unknown key 'config.gravity'" in tried(
        changed(table, newer), path
    )
    assert "seed was 'x'" in tried(changed(table, {**meta, "seed": "x"}), path)


def test_columns_of_another_form_are_told(table: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "columns.parquet"
    for name in table.column_names:
        place = table.column_names.index(name)
        assert "damaged" in tried(table.drop_columns([name]), path)
        for odd in (["a"] * 4, [1.0] * 4, [None] * 4, [["a"]] * 4, [[]] * 4):
            said = tried(table.set_column(place, name, pa.array(odd)), path)
            assert "damaged" in said or (name, odd) == ("seen", ["a"] * 4)
    assert "damaged" in tried(table.slice(0, 0), path)


def test_records_written_at_once_are_all_kept(episode: Episode, tmp_path: Path) -> None:
    path = tmp_path / "model.parquet"
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: save(episode, path, anew=True), range(8)))
        over = list(threads.map(lambda _: save(episode, tmp_path / "one.parquet"), range(8)))
    numbered = {f"model{tail}.parquet" for tail in ("", *(f"-{n}" for n in range(2, 9)))}
    assert {place.name for place in made} == numbered and set(over) == {tmp_path / "one.parquet"}
    assert {place.name for place in tmp_path.iterdir()} == {*numbered, "one.parquet"}
    assert all(load(place).seen == episode.seen for place in tmp_path.iterdir())


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond a few bytes."""
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, was[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, ignored)


def test_what_cannot_be_written_is_said_and_leaves_nothing(
    episode: Episode, tmp_path: Path
) -> None:
    kept = save(episode, tmp_path / "kept.parquet")
    held = kept.read_bytes()
    for anew in (False, True):
        with full_disk(), pytest.raises(UsageError) as refused:
            save(episode, kept, anew=anew)
        assert str(kept) in str(refused.value) and "File too large" in str(refused.value)
        assert list(tmp_path.iterdir()) == [kept] and kept.read_bytes() == held
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"folder is none"):
        check_place(tmp_path / "folder")
    with pytest.raises(UsageError, match=r"folder cannot be written: Is a directory"):
        save(episode, tmp_path / "folder")
    for place in (kept / "below.parquet", tmp_path / f"{'x' * 300}.parquet"):
        with pytest.raises(UsageError, match="cannot be written"):
            check_place(place)
        with pytest.raises(UsageError, match="cannot be written"):
            save(episode, place)
    assert {place.name for place in tmp_path.iterdir()} == {"kept.parquet", "folder"}

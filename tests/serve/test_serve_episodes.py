"""Recorded episodes over HTTP: which there are, one run again; nothing but files of the folder."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from support.recorded import SYMBOL, record_episode
from support.serving import opened
from support.world import World

from don.envs import shown
from don.envs.shown import Shown
from serve.episodes import FOLDER, EpisodeTold, listed


@pytest.fixture(scope="module")
def world() -> World:
    return World(history=60, length=70)


@pytest.fixture(autouse=True)
def home(world: World, tmp_path: Path) -> None:
    """A state folder of each test's own."""
    world.home = tmp_path / "home"


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with opened(world) as found:
        yield found


def test_an_episode_is_listed_and_shown(client: httpx.Client, world: World) -> None:
    assert client.get("/v1/episodes").json() == {"episodes": []}
    folder = world.home / FOLDER
    episode = record_episode(folder / "trend.parquet")
    (folder / "broken.parquet").write_bytes(b"PAR1 no")
    (folder / "notes.txt").write_text("no episode")
    rows = {row["name"]: row for row in client.get("/v1/episodes").json()["episodes"]}
    assert set(rows) == {"trend.parquet", "broken.parquet"}
    assert "broken.parquet" in rows["broken.parquet"]["problem"]
    row = rows["trend.parquet"]
    assert (row["problem"], row["steps"], row["symbols"]) == ("", len(episode.seen), [SYMBOL])
    assert row["capital"] == episode.config.episode.capital
    assert row["final_equity"] == list(episode.equity[-1]) and row["ts_start"].endswith("Z")

    told = client.get("/v1/episodes/trend.parquet").json()
    assert told["same"] and told["equal"] == len(episode.seen)
    assert told["episode"] == row and told["ts_start"] == row["ts_start"]
    count = len(told["ts_open"])
    assert count == told["start"] + 1 + len(episode.seen)
    (candles,), (account,) = told["candles"], told["accounts"]
    assert candles["symbol"] == SYMBOL and len(candles["close"]) == count
    (held,) = account["held"]
    assert held["size"][: told["start"]] == [None] * told["start"]
    assert account["equity"][-1] == pytest.approx(episode.equity[-1, 0], rel=1e-11)
    sides = [trade["side"] for trade in held["trades"]]
    assert "buy" in sides and "sell" in sides
    net = sum(t["size"] if t["side"] == "buy" else -t["size"] for t in held["trades"])
    assert net == pytest.approx(held["size"][-1])
    assert told["rewards"] == {"agent_0": pytest.approx(episode.rewards["agents"].sum())}

    answer = client.get("/v1/episodes/broken.parquet")
    assert answer.status_code == 422 and "broken.parquet" in answer.json()["detail"]


def test_many_trades_are_told_together_over_http(
    client: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_episode(world.home / FOLDER / "many.parquet")
    whole = client.get("/v1/episodes/many.parquet").json()["accounts"][0]["held"][0]
    assert whole["merged"] == 0 and {trade["count"] for trade in whole["trades"]} == {1}
    monkeypatch.setattr(shown, "MOST_TRADES", 4)
    held = client.get("/v1/episodes/many.parquet").json()["accounts"][0]["held"][0]
    assert held["merged"] > 0 and len(held["trades"]) <= 4 < len(whole["trades"])
    assert sum(trade["count"] for trade in held["trades"]) == len(whole["trades"])
    assert held["size"] == whole["size"]


def test_an_answer_is_made_beside_the_event_loop(
    client: httpx.Client, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are sent come from the reader: the router is left with none of the work."""
    record_episode(world.home / FOLDER / "beside.parquet")
    made: list[str] = []
    run = world.episode

    async def episode(name: str, told: Callable[[EpisodeTold, Shown], bytes]) -> bytes | None:
        def noted(row: EpisodeTold, found: Shown) -> bytes:
            made.append("there")
            return told(row, found)

        answer = await run(name, noted)
        made.append(type(answer).__name__)
        return answer

    monkeypatch.setattr(world, "episode", episode)
    told = client.get("/v1/episodes/beside.parquet")
    assert told.headers["content-type"] == "application/json" and told.json()["same"]
    assert made == ["there", "bytes"]


@pytest.mark.parametrize("odd", [b"[]", b'{"format": 2, "shapes": []}', b"{"])
def test_an_odd_file_is_told_as_damaged_beside_the_others(
    client: httpx.Client, world: World, odd: bytes
) -> None:
    folder = world.home / FOLDER
    record_episode(folder / "good.parquet")
    table = pq.read_table(folder / "good.parquet").replace_schema_metadata({b"don.episode": odd})
    pq.write_table(table, folder / "odd.parquet")
    rows = {row["name"]: row for row in client.get("/v1/episodes").json()["episodes"]}
    assert rows["odd.parquet"]["problem"] and rows["good.parquet"]["problem"] == ""
    answer = client.get("/v1/episodes/odd.parquet")
    assert answer.status_code == 422 and "odd.parquet" in answer.json()["detail"]
    assert str(folder) not in answer.text + rows["odd.parquet"]["problem"]


def test_files_come_and_go_while_they_are_listed(tmp_path: Path) -> None:
    kept = tmp_path / FOLDER / "kept.parquet"
    record_episode(kept, 3)
    churned, done = kept.with_name("churned.parquet"), threading.Event()

    def churn() -> None:
        while not done.is_set():
            churned.write_bytes(b"no")
            churned.unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(500):
            assert "kept.parquet" in {row.name for row in listed(tmp_path)}
    finally:
        done.set()
        thread.join()
    assert [row.name for row in listed(tmp_path)] == ["kept.parquet"]


@pytest.mark.parametrize(
    "name",
    ["none.parquet", "..%2Fsecret.parquet", "%2Fetc%2Fpasswd", "notes.txt", ".hidden.parquet",
     "..", "linked.parquet"],
)  # fmt: skip
def test_nothing_but_files_of_the_folder_is_opened(
    client: httpx.Client, world: World, tmp_path: Path, name: str
) -> None:
    folder = world.home / FOLDER
    folder.mkdir(parents=True)
    record_episode(tmp_path / "away.parquet")
    for path in (world.home / "secret.parquet", folder / ".hidden.parquet"):
        path.write_bytes((tmp_path / "away.parquet").read_bytes())
    link = folder / "linked.parquet"
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "away.parquet")
    assert client.get(f"/v1/episodes/{name}").status_code == 404


@pytest.mark.slow  # a process that loads all of the API
def test_an_api_that_is_asked_for_none_does_not_load_environments() -> None:
    program = "import sys, serve.api, serve.gateway; print('numba' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert told.stdout.strip() == b"False"

"""Recorded episodes over HTTP: which there are, one run again; nothing but files of the folder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support.recorded import SYMBOL, record_episode
from support.serving import opened
from support.world import World

from serve.episodes import FOLDER


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(history=60, length=70)
    found.home = tmp_path_factory.mktemp("home")
    return found


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


@pytest.mark.parametrize(
    "name",
    ["none.parquet", "..%2Fsecret.parquet", "%2Fetc%2Fpasswd", "notes.txt", ".hidden.parquet",
     "..", "linked.parquet"],
)  # fmt: skip
def test_nothing_but_files_of_the_folder_is_opened(
    client: httpx.Client, world: World, tmp_path: Path, name: str
) -> None:
    folder = world.home / FOLDER
    folder.mkdir(exist_ok=True)
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

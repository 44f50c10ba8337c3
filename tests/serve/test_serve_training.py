"""Trainings over HTTP: state, progress and curve; bounded, and nothing but what the index names."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.serving import opened
from support.world import World

from don.clock import SystemClock
from don.errors import Interrupted
from don.learning import trainings
from don.learning.trainings import PROGRESS, announced, id_of
from don.observe.clocks import ClockReading, write


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(history=60, length=70)
    found.home = tmp_path_factory.mktemp("home")
    return found


@pytest.fixture(scope="module")
def client(world: World) -> Iterator[httpx.Client]:
    with opened(world) as found:
        yield found


def line(n: int, **more: Any) -> str:
    row = {
        "iteration": n, "steps": 4_096 * n, "seconds": 2.5 * n, "steps_per_s": 1_638.4,
        "eta_s": 2.5 * (1_000 - n), "episode_bars": 720,
        "episode_return": {"mean": n / 100, "min": -1.0, "max": None},
        "losses": {"trader": {"loss": 1 / n, "policy_loss": -0.01}},
    }  # fmt: skip
    return json.dumps({**row, **more}) + "\n"


def told(out: Path, count: int, tail: str = "") -> Path:
    out.mkdir(parents=True, exist_ok=True)
    (out / PROGRESS).write_text("".join(line(n + 1) for n in range(count)) + tail)
    return out


def row_of(client: httpx.Client, out: Path) -> dict[str, Any]:
    found = client.get("/v1/training").json()["trainings"]
    return next(row for row in found if row["id"] == id_of(out))


def test_a_training_is_seen_while_it_runs_and_how_it_ended(
    client: httpx.Client, world: World, tmp_path: Path
) -> None:
    out = tmp_path / "ppo"
    with announced(world.home, out, name="trend"):
        row = row_of(client, out)
        assert (row["state"], row["iteration"], row["name"]) == ("running", None, "trend")
        told(out, 3, tail=line(4)[:40])  # a line that is being written
        row = row_of(client, out)
        assert (row["iteration"], row["steps"], row["episode_return"]) == (3, 12_288, 0.03)
        assert row["episode_bars"] == 720
        assert 0 < row["eta_s"] <= 2_492.5 and row["ts_progress"]
        curve = client.get(f"/v1/training/{row['id']}").json()
        assert curve["iterations"] == [1, 2, 3] and curve["training"]["id"] == row["id"]
        series = {each["name"]: each["values"] for each in curve["series"]}
        assert series["episode_return/mean"] == [0.01, 0.02, 0.03]
        assert series["episode_return/max"] == [None, None, None]
        assert series["losses/trader/loss"] == [1, 0.5, pytest.approx(1 / 3)]
    row = row_of(client, out)
    assert (row["state"], row["eta_s"], bool(row["ts_end"])) == ("done", None, True)
    with pytest.raises(Interrupted), announced(world.home, out, name="trend"):
        raise Interrupted("stopped after iteration 3; --resume goes on")
    assert row_of(client, out)["state"] == "stopped"
    with pytest.raises(ValueError), announced(world.home, out, name="trend"):
        raise ValueError("a loss that is no number")
    row = row_of(client, out)
    assert (row["state"], row["detail"]) == ("failed", "a loss that is no number")


def test_one_that_was_killed_shows_as_such(
    client: httpx.Client, world: World, tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    out = tmp_path / "killed"
    program = (
        "import sys, time, pathlib; from don.learning.trainings import announced\n"
        "with announced(*map(pathlib.Path, sys.argv[1:3])): time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(world.home), str(out)])
    try:
        index = world.home / trainings.INDEX / f"{id_of(out)}.json"
        until(index.exists)
        assert row_of(client, out)["state"] == "running"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert row_of(client, out)["state"] == "died"


def test_what_another_process_trains_is_not_told_over(
    client: httpx.Client, world: World, tmp_path: Path
) -> None:
    out, warnings = tmp_path / "twice", list[str]()
    with announced(world.home, out, name="first"):
        with announced(world.home, out, name="second", warn=warnings.append):
            pass
        row = row_of(client, out)
        assert (row["name"], row["state"]) == ("first", "running")
    assert row_of(client, out)["state"] == "done"
    assert warnings == [f"the console will not show this training: another process trains in {out}"]


def test_a_long_curve_is_read_in_parts(client: httpx.Client, world: World, tmp_path: Path) -> None:
    out = tmp_path / "long"
    with announced(world.home, out):
        told(out, 40_000, tail=line(40_001)[:30])
        assert (out / PROGRESS).stat().st_size > 2 * trainings.WHOLE_BYTES
        curve = client.get(f"/v1/training/{id_of(out)}", params={"points": 100}).json()
    found = curve["iterations"]
    assert 95 <= len(found) <= 100 and found == sorted(set(found))
    assert found[0] == 1 and found[-1] == 40_000
    steps = [b - a for a, b in pairwise(found)]
    assert max(steps) < 1_000
    assert curve["training"]["iteration"] == 40_000


def test_the_trainings_of_a_search_stand_behind_it(
    client: httpx.Client, world: World, tmp_path: Path
) -> None:
    out = tmp_path / "search"
    with announced(world.home, out, kind="tune", name="search"):
        told(out / "trials" / "a1", 5)
        told(out / "trials" / "b2", 7)
        found = client.get("/v1/training").json()["trainings"]
        own = [row for row in found if row["parent"] == id_of(out)]
        assert [(row["name"], row["kind"], row["iteration"]) for row in own] == [
            ("a1", "trial", 5), ("b2", "trial", 7),
        ]  # fmt: skip
        assert client.get(f"/v1/training/{own[1]['id']}").json()["iterations"][-1] == 7


@pytest.mark.parametrize(
    "path",
    ["../../secret", "..%2F..%2Fsecret", "%2Fetc%2Fpasswd", "0" * 12, "....//secret", "x.%00"],
)
def test_nothing_else_can_be_read(client: httpx.Client, world: World, path: str) -> None:
    told(world.home / "secret", 3)
    answer = client.get(f"/v1/training/{path}")
    assert answer.status_code == (422 if "%00" in path else 404) and "iterations" not in answer.text


def test_what_is_no_training_is_left_out(
    client: httpx.Client, world: World, tmp_path: Path
) -> None:
    folder = world.home / trainings.INDEX
    folder.mkdir(exist_ok=True)
    good = {"id": "odd", "kind": "train", "name": "", "out": str(tmp_path), "started_ns": 1,
            "state": "done"}  # fmt: skip
    for n, text in enumerate(
        ["", "[]", "{}", '{"id": 1}', json.dumps(good), json.dumps({**good, "id": "bad5",
         "out": 7})]
    ):  # fmt: skip
        (folder / f"bad{n}.json").write_text(text)
    link = tmp_path / "link"
    link.mkdir()
    (link / PROGRESS).symlink_to(told(tmp_path / "elsewhere", 3) / PROGRESS)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / PROGRESS)
    found = {}
    for name in ("link", "pipe"):
        with announced(world.home, tmp_path / name):
            found[name] = row_of(client, tmp_path / name)["iteration"]
    assert found == {"link": None, "pipe": None}
    listed = client.get("/v1/training").json()["trainings"]
    assert not [row["id"] for row in listed if row["id"].startswith(("bad", "odd"))]


def test_a_state_folder_that_cannot_be_written_stops_no_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    warnings: list[str] = []
    with announced(tmp_path / "file", tmp_path / "out", warn=warnings.append):
        pass
    assert len(warnings) == 1 and "cannot be written" in warnings[0]


def test_clocks_of_what_collects_beside_are_shown(client: httpx.Client, world: World) -> None:
    assert client.get("/v1/clocks").json() == {"clocks": []}
    reading = ClockReading(exchange="OKX", ahead_s=0.0123, error_s=0.002)
    write(world.home, [reading], SystemClock().now_ns())
    (clock,) = client.get("/v1/clocks").json()["clocks"]
    assert (clock["exchange"], clock["source"], clock["ahead_s"]) == (
        "OKX", "data collect", 0.0123,
    )  # fmt: skip
    write(world.home, [reading], SystemClock().now_ns() - 2 * 86_400 * 10**9)
    assert client.get("/v1/clocks").json() == {"clocks": []}

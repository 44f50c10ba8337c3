"""Mistakes of a user: one clear line, the documented exit code, nothing left behind."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from don.cli.main import main


def don(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "don.cli.main", *arguments],
        env={**os.environ, "DON_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=150,
    )


@pytest.fixture
def don_here(
    don_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same in this process, which has imported everything: for what ends before parts start."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.setenv("DON_HOME", str(don_home))
        monkeypatch.setattr(sys, "argv", ["don", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), *told)

    return run


def assert_one_line(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    lines = [line for line in done.stderr.splitlines() if line.startswith("don: ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word in lines[0], lines[0]


def assert_nothing_runs(home: Path) -> None:
    left = [
        process.info["cmdline"]
        for process in psutil.process_iter(["cmdline"])
        if any(str(home) in part for part in process.info["cmdline"] or ())
    ]
    assert left == []


def test_tape_that_does_not_exist(don_home: Path) -> None:
    done = don(don_home, "up", "--tape", "/nowhere/bars.parquet")
    assert_one_line(done, 2, "tape /nowhere/bars.parquet", "does not exist")
    assert list(don_home.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("polici = 'hold'", ["'polici'", "did you mean 'policy'"]),
        ("[engine.risk]\nmax_order = 3", ["engine.risk.max_order", "did you mean 'max_orders'"]),
        ("policy = 'momentun'", ["policy", "'momentun'", "did you mean momentum"]),
        ("[web]\nport = 'x'", ["web.port", "'x'"]),
        ("symbols = ['ETHUSDT']", ["'ETHUSDT'; did you mean ETH-USDT-PERP?"]),
        ("policy = ", ["not TOML"]),
    ],
)
def test_configuration_that_is_wrong(
    don_home: Path, don_here: Callable, text: str, words: list[str]
) -> None:
    (don_home / "don.toml").write_text(text)
    done = don_here("up", "--no-console")
    assert_one_line(done, 2, "don.toml", *words)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["backtest", "--inteval", "1h"],
            "No such option: --inteval (Possible options: --interval); see `don backtest --help`",
        ),
        (["backtst"], "No such command 'backtst'. Did you mean 'backtest'? See `don --help`"),
        (["models", "promote"], "Missing argument 'model'; see `don models promote --help`"),
        (
            ["backtest", "--interval", "1h"],
            "--interval is for --store (bars of the market database) or for a --tape of trades or "
            "recordings: neither was given, and the sample's bars have their own",
        ),
        (
            ["backtest", "--symbols", "BTC-USDT"],
            "symbol must be like BTC-USDT-PERP, BTCUSDT or BTCUSD, was 'BTC-USDT'; did you mean "
            "BTC-USDT-PERP?",
        ),
        (
            ["features", "show", "rsy_21"],
            "feature 'rsy_21' is unknown; did you mean rsi_21?; see `don features list`, and name "
            "the module of one of your own in `modules`",
        ),
    ],
)
def test_a_misused_command_says_so_in_one_line(
    don_here: Callable, arguments: list[str], said: str
) -> None:
    done = don_here(*arguments)
    assert (done.returncode, done.stderr) == (2, f"don: {said}\n")


def test_port_in_use(don_home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = don(don_home, "up", "--port", str(port))
    assert_one_line(done, 2, f"port {port} is in use", "--port")


def test_state_folder_that_cannot_be(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    done = don(file / "home", "up", "--no-console")
    assert_one_line(done, 2, "state folder", str(file / "home"), "DON_HOME")


def test_nothing_runs(don_here: Callable) -> None:
    for command in ("status", "halt", "resume"):
        assert_one_line(don_here(command), 4, "no Don runs", "don up")


def test_doctor_names_what_is_wrong(don_home: Path) -> None:
    (don_home / "don.toml").write_text("polici = 'hold'")
    done = don(don_home, "doctor", "--json")
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert done.returncode == 1
    assert not found["configuration"]["ok"]
    assert "polici" in found["configuration"]["detail"]
    assert found["disk"]["ok"]


@pytest.mark.ray
@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_parts_that_cannot_start_leave_nothing_behind(don_home: Path, tmp_path: Path) -> None:
    unknown = don(don_home, "up", "--no-console", "--symbols", "BTC-USDT-PERP,NOPE-USDT-PERP")
    assert_one_line(unknown, 2, "NOPE")

    wrong = tmp_path / "wrong.parquet"
    pq.write_table(pa.table({"symbol": ["BTCUSDT"], "price": [1.0]}), wrong)
    schema = don(don_home, "up", "--no-console", "--tape", str(wrong))
    assert_one_line(schema, 2, "wrong.parquet", "column")

    away = "postgresql://don:hunter2@127.0.0.1:1/don"
    database = don(don_home, "up", "--no-console", DON_DATABASE_URL=away)
    assert_one_line(database, 4, "127.0.0.1:1")
    assert "hunter2" not in database.stderr + database.stdout

    assert_nothing_runs(don_home)
    assert not (don_home / "run.json").exists()


def test_builds_refuse_what_they_would_not_heed(
    don_here: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    for words in (["bars.parquet", "--start", "2025-01-01"], ["bars.parquet", "--exchange", "x"]):
        done = don_here("features", "build", *words)
        assert_one_line(done, 2, words[1], "is for bars of the database")
    done = don_here("features", "build", "--funding", "f.parquet")
    assert_one_line(done, 2, "--funding is for a file of bars")


def test_a_program_that_is_interrupted_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from experiments.program import FIXED, run_as_program

    def interrupted(words: list[str]) -> int:
        assert words == ["c.toml"]
        raise KeyboardInterrupt

    for name, value in FIXED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["train", "c.toml"])
    with pytest.raises(SystemExit) as ended:
        run_as_program("experiments.walk_forward", interrupted)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "walk-forward: interrupted\n"

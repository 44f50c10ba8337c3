"""Log lines: who and what on each, rotated and shared without loss, read back by time."""

import io
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from don.clock import NS_PER_S, ReplayClock
from don.errors import ConfigError
from don.log import configure_actor, get_logger, log_path, read_logs, render, set_session
from don.security.secrets import Secret

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Put the process's logging back as it was."""
    root = logging.getLogger()
    handlers, level, hook = root.handlers[:], root.level, threading.excepthook
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        if handler not in handlers:
            handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    threading.excepthook = hook
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(home: Path, actor: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_path(home, actor).read_text().splitlines()]


def test_every_line_says_who_and_about_what(tmp_path: Path) -> None:
    configure_actor(tmp_path, actor="desk", session="s1", clock=ReplayClock(1_500_000_000))
    log = get_logger("don.desk")
    with structlog.contextvars.bound_contextvars(decision=4, order="don-s1-4-0"):
        log.info("sent", key=Secret("hunter2"), nested={"keys": [Secret("hunter2")]})
        logging.getLogger("ccxt").warning("slow %s", Secret("hunter2"), extra={"k": Secret("x")})
    set_session("s2")
    threads = [threading.Thread(target=log.warning, args=("from a thread",))]
    for thread in threads:
        thread.start()
        thread.join()
    log.debug("too fine")
    logging.getLogger("ccxt").info("too fine")
    first, second, third = lines(tmp_path, "desk")
    assert first == {
        "ts": 1_500_000_000, "time": "1970-01-01T00:00:01.500Z", "level": "info", "actor": "desk",
        "event": "sent", "session": "s1", "decision": 4, "order": "don-s1-4-0", "key": "***",
        "nested": {"keys": ["***"]}, "logger": "don.desk",
    }  # fmt: skip
    assert list(first)[:6] == ["ts", "time", "level", "actor", "event", "session"]
    assert (second["event"], second["order"], second["k"]) == ("slow ***", "don-s1-4-0", "***")
    assert (third["actor"], third["session"]) == ("desk", "s2") and "order" not in third
    assert log_path(tmp_path, "desk").stat().st_mode & 0o777 == 0o600


def test_exceptions_warnings_and_dying_threads_are_kept(tmp_path: Path) -> None:
    configure_actor(tmp_path, actor="feed")

    def die() -> None:
        raise LookupError("nothing there")

    try:
        die()
    except LookupError:
        get_logger().exception("caught")
    thread = threading.Thread(target=die, name="pump")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old habit", stacklevel=1)
    caught, died, warned = lines(tmp_path, "feed")
    for line in (caught, died):
        assert "Traceback" in line["exception"] and "nothing there" in line["exception"]
    assert (died["level"], died["thread"]) == ("critical", "pump")
    assert warned["level"] == "warning" and "old habit" in warned["event"]


def test_console_reads_well_and_hides_secrets(tmp_path: Path) -> None:
    screen = io.StringIO()
    configure_actor(tmp_path, actor="desk", session="s1", console=screen)
    get_logger().info("filled", order="o1", key=Secret("hunter2"))
    shown = screen.getvalue()
    assert "desk: filled" in shown and "order=o1" in shown and "hunter2" not in shown
    assert render(lines(tmp_path, "desk")[0]) == shown.rstrip("\n")


@pytest.mark.parametrize(
    ("options", "problem"),
    [({"level": "loud"}, "must be one of debug"), ({"actor": "../x"}, "actor must be")],
)
def test_wrong_options_are_named(tmp_path: Path, options: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        configure_actor(tmp_path, **{"actor": "desk", **options})  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write logs"):
        configure_actor(tmp_path / "file", actor="desk")


WRITER = """
import sys
from pathlib import Path
from don.log import configure_actor, get_logger
configure_actor(Path(sys.argv[1]), actor="shared", max_bytes=20_000, kept=1000)
for number in range(300):
    get_logger().info("line", writer=int(sys.argv[2]), number=number, fill="x" * (number % 200))
"""


def test_processes_share_a_rotated_file_without_loss(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n)], cwd=ROOT)
        for n in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    found = list(read_logs(tmp_path))
    for n in range(3):
        assert [line["number"] for line in found if line["writer"] == n] == list(range(300))
    files = [path for path in (tmp_path / "logs").iterdir() if path.suffix != ".lock"]
    assert len(files) > 5 and all(
        path.stat().st_size <= 22_000 for path in files
    )  # a race adds a line


def test_old_files_are_dropped(tmp_path: Path) -> None:
    configure_actor(tmp_path, actor="desk", max_bytes=2_000, kept=2)
    for number in range(200):
        get_logger().info("line", number=number)
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert names == ["desk.jsonl", "desk.jsonl.1", "desk.jsonl.2", "desk.lock"]
    kept = [line["number"] for line in read_logs(tmp_path)]
    assert kept == list(range(kept[0], 200))


def test_logs_merge_by_time_and_filter(tmp_path: Path) -> None:
    clock = ReplayClock()
    for tick, actor in enumerate(["desk", "feed", "desk", "execution:0", "feed"]):
        clock.advance_to(tick * NS_PER_S)
        configure_actor(tmp_path, actor=actor, session=f"s{tick % 2}", clock=clock)
        get_logger().info(f"line {tick}", order=f"o{tick}")

    def events(**wanted: str) -> list[str]:
        return [line["event"][-1] for line in read_logs(tmp_path, **wanted)]  # type: ignore[arg-type]

    assert events() == list("01234")
    assert events(actor="desk") == ["0", "2"]
    assert events(actor="execution:0") == ["3"]
    assert events(order="o4") == ["4"]
    assert events(session="s1") == ["1", "3"]
    assert events(session="s1", actor="feed") == ["1"]
    with pytest.raises(ConfigError, match="must be one of desk, execution-0, feed, was 'dsk'"):
        events(actor="dsk")
    with pytest.raises(ConfigError, match="no logs in"):
        next(read_logs(tmp_path / "elsewhere"))


def test_torn_line_of_a_killed_writer_spoils_only_itself(tmp_path: Path) -> None:
    path = log_path(tmp_path, "desk")
    path.parent.mkdir()
    path.write_bytes(b'{"ts": 1, "event": "whole"}\n{"ts": 2, "eve')
    configure_actor(tmp_path, actor="desk")
    get_logger().info("next")
    found = list(read_logs(tmp_path))
    assert [line["event"] for line in found] == ["whole", '{"ts": 2, "eve', "next"]
    assert found[1]["unreadable"]


def test_following_sees_what_was_and_what_comes_across_rotations(
    tmp_path: Path, until: Callable[[Callable[[], bool]], None]
) -> None:
    configure_actor(tmp_path, actor="desk", max_bytes=3_000, kept=3)
    for number in range(5):
        get_logger().info("line", number=number)
    followed = read_logs(tmp_path, follow=True)
    seen: list[int] = [line["number"] for line in itertools.islice(followed, 5)]
    reader = threading.Thread(
        target=lambda: seen.extend(line["number"] for line in itertools.islice(followed, 100)),
        daemon=True,
    )
    reader.start()
    for number in range(5, 105):
        get_logger().info("line", number=number)
        if number % 10 == 0:
            until(lambda number=number: bool(seen) and seen[-1] >= number)
    reader.join(30)
    assert seen == list(range(105))


def test_disk_that_refuses_lines_does_not_stop_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_actor(tmp_path, actor="desk")
    handler = logging.getLogger().handlers[0]
    real, handler._descriptor = handler._descriptor, os.open("/dev/full", os.O_WRONLY)  # type: ignore[attr-defined]
    same, handler._is_current = handler._is_current, lambda: True  # type: ignore[attr-defined]
    get_logger().info("lost one")
    get_logger().info("lost two")
    os.close(handler._descriptor)  # type: ignore[attr-defined]
    handler._descriptor, handler._is_current = real, same  # type: ignore[attr-defined]
    get_logger().info("kept")
    shown = capsys.readouterr().err
    assert "No space left" in shown and "lost one" in shown and "lost two" not in shown
    assert [line["event"] for line in lines(tmp_path, "desk")] == ["2 lines lost", "kept"]


def test_empty_lines_are_no_lines(tmp_path: Path) -> None:
    """Two processes that open a file just as a third writes may both end what looks torn."""
    path = log_path(tmp_path, "desk")
    path.parent.mkdir()
    path.write_bytes(b'\n{"ts": 3, "event": "c"}\n')
    path.with_name(f"{path.name}.1").write_bytes(
        b'{"ts": 1, "event": "a"}\n\n{"ts": 2, "event": "b"}\n'
    )
    assert [line["event"] for line in read_logs(tmp_path)] == ["a", "b", "c"]

"""Ray gives its processes half a minute to start: who is late is started again."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from actors import runtime
from don.errors import DependencyError

LATE = "The current node timed out during startup. This could happen because ..."
CHILD = "import sys; sys.stdin.read()"


@pytest.mark.parametrize("times", [0, 1, runtime.TRIES])
def test_a_late_ray_is_started_again_and_leaves_nothing(
    don_home: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Only the call into Ray is not the real one: it cannot be made late on purpose."""
    folder = don_home / "ray"
    started: list[subprocess.Popen[bytes]] = []

    def init(**options: object) -> None:
        assert options["_temp_dir"] == str(folder)
        assert options["_system_config"] == {"worker_niceness": 0}, "a desk is no background job"
        command = [sys.executable, "-c", CHILD, f"--log_dir={folder}/session"]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        if len(started) <= times:
            raise Exception(LATE)

    monkeypatch.setattr(runtime.ray, "init", init)
    other = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE)
    try:
        if times < runtime.TRIES:
            runtime.start_ray(folder)
        else:
            with pytest.raises(DependencyError, match=r"Ray did not start: .* timed out"):
                runtime.start_ray(folder)
        assert len(started) == min(times + 1, runtime.TRIES)
        assert not any(psutil.pid_exists(one.pid) for one in started[:-1]), "the first try's end"
        assert started[-1].poll() is None and other.poll() is None, "nobody else's"
    finally:
        for process in [*started, other]:
            process.kill()
            process.communicate()
    assert not any(psutil.pid_exists(process.pid) for process in started)


def test_another_failure_of_ray_is_told_at_once(
    don_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []

    def init(**options: object) -> None:
        calls.append(options)
        raise ValueError("no room")

    monkeypatch.setattr(runtime.ray, "init", init)
    with pytest.raises(DependencyError, match="Ray did not start: no room"):
        runtime.start_ray(don_home / "ray")
    assert len(calls) == 1

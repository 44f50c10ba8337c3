"""A whole Don as a user starts it, in a process of its own: started, watched, killed in parts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.queries import Counts, Queries

ROLES = {
    "feed": "ray::ExchangeFeed",
    "cache": "ray::FeatureCacheActor",
    "desk": "ray::Desk",
    "optimizer": "ray::PortfolioOptimizerActor",
    "execution": "ray::Execution",
    "board": "ray::BoardActor",
}
COLLECT_ROLES = {"collector": "ray::Collector", "writer": "ray::MarketWriter"}
PATIENCE_S = 300.0  # for what takes seconds: a busy machine is no failure


def don(
    home: Path, *arguments: str, timeout: float = PATIENCE_S
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "don.cli.main", *arguments],
        env={**os.environ, "DON_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


class DeskRun:
    """`don up` in the background."""

    COMMAND: tuple[str, ...] = ("up",)

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.output = home.parent / f"{home.name}.out"
        self._file = self.output.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "don.cli.main", *self.COMMAND, "--json", *arguments],
            env={**os.environ, "DON_HOME": str(home)},
            stdout=self._file,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def session(self) -> str:
        return str(json.loads((self.home / "run.json").read_text())["session"])

    @property
    def api(self) -> str:
        return str(json.loads((self.home / "run.json").read_text())["url"])

    def role_pid(self, role: str) -> int:
        """Process id of a living actor, 0 if there is none."""
        title = (ROLES | COLLECT_ROLES)[role]
        for process in psutil.Process(self.pid).children(recursive=True):
            try:
                line = process.cmdline()
                if line and line[0].split(".")[0] == title:
                    return process.pid
            except psutil.Error:
                continue
        return 0

    def exchange_pid(self) -> int:
        for process in psutil.Process(self.pid).children(recursive=True):
            try:
                if "don.paper.main" in process.cmdline():
                    return process.pid
            except psutil.Error:
                continue
        return 0

    def database_pid(self) -> int:
        return EmbeddedPostgres(self.home).pid or 0

    def counts(self) -> Counts | None:
        """What the database says of the running session; None while it cannot say."""
        try:
            with Database(EmbeddedPostgres(self.home).url) as db:
                return Queries(db).counts(self.session)
        except Exception:  # the database is among the things that get killed
            return None

    def fills(self) -> int:
        counts = self.counts()
        return counts.fills if counts else -1

    def wait_for(self, what: str, done: Callable[[], bool], timeout: float = PATIENCE_S) -> None:
        end = time.monotonic() + timeout
        while not done():
            if self.process.poll() is not None:
                raise AssertionError(f"it ended while waiting for {what}: {self._error()}")
            assert time.monotonic() < end, f"waited {timeout} s for {what}"
            time.sleep(0.3)

    def wait_for_fills(self, more: int, timeout: float = PATIENCE_S) -> int:
        """Wait until so many more fills are in the books."""
        before = max(0, self.fills())
        self.wait_for(f"{more} more fills", lambda: self.fills() >= before + more, timeout)
        return self.fills()

    def stop(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """SIGTERM, then the summary."""
        self.process.send_signal(signal.SIGTERM)
        return self.finish(timeout)

    def finish(self, timeout: float = PATIENCE_S) -> dict[str, Any]:
        """Wait for the end; the summary."""
        self.process.wait(timeout)
        self._file.close()
        text = self.output.read_text()
        assert text, f"no summary, exit {self.process.returncode}: {self._error()}"
        summary: dict[str, Any] = json.loads(text)
        summary["exit_code"] = self.process.returncode
        return summary

    def kill(self) -> None:
        """Leave nothing behind, whatever state the run is in."""
        if self.process.poll() is None:
            try:
                children = psutil.Process(self.pid).children(recursive=True)
            except psutil.Error:
                children = []
            self.process.kill()
            self.process.wait(30)
            for child in children:
                try:
                    child.kill()
                except psutil.Error:
                    continue
        self._file.close()
        self.output.unlink(missing_ok=True)
        EmbeddedPostgres(self.home).stop()

    def _error(self) -> str:
        return (self.process.stderr.read() if self.process.stderr else "")[-2000:]

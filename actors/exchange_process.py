"""The paper exchange as a child process of the driver: started, looked after, stopped."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

from don.clock import NS_PER_S, SystemClock
from don.errors import DependencyError, DonError, UsageError
from don.paper.server.config import PaperServerConfig, Ready

START_TIMEOUT_S = 180  # the very first start compiles
STOP_TIMEOUT_S = 15
_ERRORS: dict[int, type[DonError]] = {2: UsageError, 4: DependencyError}


class ExchangeProcess:
    """Starts `don.paper.main` and keeps its ports over restarts, so that clients find it again.

    The child ends when its standard input does, so it never outlives a driver that was killed.
    """

    def __init__(self, config: PaperServerConfig, log: Path) -> None:
        self._config = config.model_copy(update={"end_with_parent": True})
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: Ready | None = None

    @property
    def pid(self) -> int:
        """Process id of the living child.

        Raises:
            DependencyError: if it is not running.
        """
        if self._process is None or self._process.poll() is not None:
            code = "never started" if self._process is None else self._process.returncode
            raise DependencyError(f"paper exchange is not running ({code})")
        return self._process.pid

    def start(self) -> Ready:
        """Start the child and wait until it answers.

        Raises:
            UsageError: if tape, symbols, ports or folder cannot be used as asked.
            DependencyError: if it does not answer in time.
        """
        self._log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "don.paper.main", self._config.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C is for the driver, which stops the parts in order
            )
        self.ready = Ready(**json.loads(self._first_line()))
        rest, stream = (
            int(url.rsplit(":", 1)[1]) for url in (self.ready.rest_url, self.ready.stream_url)
        )
        self._config = self._config.model_copy(
            update={"port": rest, "stream_port": stream, "reset": False}
        )
        return self.ready

    def revive(self) -> None:
        """Start it again if it is dead; accounts, orders and the tape go on where they were."""
        if self._process is not None and self._process.poll() is not None:
            self._close_pipes()
            self.start()

    def stop(self) -> None:
        """Stop the child cleanly; kill it if it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close_pipes()

    def _first_line(self) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        clock = SystemClock()
        end = clock.monotonic_ns() + START_TIMEOUT_S * NS_PER_S
        while True:
            left = (end - clock.monotonic_ns()) / NS_PER_S
            if select.select([self._process.stdout], [], [], max(0.0, left))[0]:
                line = self._process.stdout.readline()
                if line:
                    return line
                self._process.wait(STOP_TIMEOUT_S)
                raise self._failure()
            if left <= 0:
                self.stop()
                raise DependencyError(f"paper exchange did not answer within {START_TIMEOUT_S} s")

    def _failure(self) -> DonError:
        assert self._process is not None
        lines = self._log.read_text(errors="replace").splitlines()
        told = [line for line in lines if line.startswith("error: ")]
        kind = _ERRORS.get(self._process.returncode, DonError)
        if told and self._process.returncode in (1, 2, 4):
            return kind(told[-1].removeprefix("error: "))
        return DonError(f"paper exchange ended with {self._process.returncode}, see {self._log}")

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

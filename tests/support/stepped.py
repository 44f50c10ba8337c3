"""Moves a running Don's market bar by bar, each step only when the last one has been dealt with.

So a whole session on real sockets and actors runs with less latency than a bar on any machine,
however busy it is.
"""

import json
import time
import urllib.request

import psycopg
from support.desk_run import DeskRun

from don.errors import DatabaseError
from don.paper.server.identity import load_api_keys
from don.storage.embedded import EmbeddedPostgres


class SteppedMarket:
    """The paper exchange of a state folder, under control."""

    def __init__(self, run: DeskRun, timeout_s: float = 120.0) -> None:
        self._run, self._home, self._timeout = run, run.home, timeout_s
        self._folder = run.home / "exchange"
        ready = self._folder / "exchange.json"
        self.until("the exchange", ready.exists)
        self.until("its keys", lambda: bool(ready.read_text()))
        self._url = json.loads(ready.read_text())["rest_url"]
        self._key = load_api_keys(self._folder)[0].key
        self.call("POST", "pause")
        self._connection: psycopg.Connection | None = None

    def call(self, method: str, name: str) -> dict:
        request = urllib.request.Request(
            f"{self._url}/paper/v1/{name}", method=method, headers={"X-MBX-APIKEY": self._key}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def until(self, what: str, done) -> None:
        end = time.monotonic() + self._timeout
        while not done():
            assert self._run.process.poll() is None, f"don ended while waiting for {what}"
            assert time.monotonic() < end, f"waited {self._timeout} s for {what}"
            time.sleep(0.015)  # seldom: what is waited for needs the cores

    def play(self, until_ns: int) -> None:
        """Play everything that happens up to a tape time."""
        self.call("POST", f"resume?until={until_ns // 1_000_000}")
        self.until("the tape", lambda: self.call("GET", "status")["state"] in ("paused", "ended"))

    def value(self, query: str) -> int:
        if self._connection is None:
            url = EmbeddedPostgres(self._home).url
            self._connection = psycopg.connect(url, autocommit=True)
        row = self._connection.execute(query).fetchone()
        return int(row[0] or 0) if row else 0

    def history_came(self) -> None:
        """Wait until the desk knows the market's history."""
        self.until("the desk", lambda: (self._home / "run.json").exists())

        def journalled() -> bool:
            try:
                return self.value("SELECT count(*) FROM journal WHERE kind = 'History'") > 0
            except (psycopg.Error, DatabaseError):
                self._connection = None
                return False

        self.until("the history", journalled)

    def bar(self, close_ns: int, interval_ns: int, latency: float) -> None:
        """Play to a bar's close and let the desk decide, then on until its orders are through."""
        self.play(close_ns)
        self.until(
            f"the decision on {close_ns}",
            lambda: (
                self.value("SELECT max(ts_event) FROM decisions WHERE snapshot > 0") >= close_ns
            ),
        )
        self.until("its orders", lambda: not self._orders("intended"))
        self.play(close_ns + int(interval_ns * (latency + 1) / 2))
        self.until("their fills", lambda: not self._orders("intended", "open"))

    def _orders(self, *states: str) -> int:
        names = ", ".join(f"'{state}'" for state in states)
        return self.value(f"SELECT count(*) FROM orders WHERE status IN ({names})")

    def resume(self) -> None:
        self.call("POST", "resume")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

"""`don data collect`, as an object: start every part in order, watch over them, stop in order."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors import compose, runtime
from actors.budget import Budget
from actors.collector import Collector
from actors.database_process import DatabaseProcess
from actors.exchange_process import ExchangeProcess
from actors.parts import Steps, actor_part
from actors.runtime import Probe, Progress, spawn
from actors.spec import CollectSpec
from actors.supervisor import Part, Supervisor
from actors.writer import MarketWriter
from don.clock import NS_PER_S, Clock, SystemClock
from don.collect import source_names
from don.config import DonConfig
from don.errors import DatabaseError
from don.feeds.config import FeedConfig
from don.log import get_logger
from don.observe.clocks import readings, write
from don.observe.measures import Measures
from don.observe.metrics import serve_metrics
from don.observe.parts import part_samples
from don.observe.sample import Sample
from don.security.secrets import Secret
from don.storage.database import Database

PAPER = "PAPER"  # what Don's own exchange replays is stored under this name: it is no real market
FOLDER = "collect"  # of the state folder: the paper exchange's state, apart from the trading one's
CLOSE_S = 90.0
VIEW_S = 2.0


class Collection:
    """Feeds of many exchanges, one writer, one database; for months."""

    def __init__(
        self,
        home: Path,
        config: DonConfig,
        *,
        external: Secret | None,
        progress: Progress,
        stop: threading.Event,
        after_ray: Callable[[], None] = lambda: None,
        clock: Clock | None = None,
    ) -> None:
        """A collection; nothing starts before `start`. Arguments as for `actors.launch.Launch`."""
        self._home = home
        self._config = config
        self._progress = progress
        self._stop_asked = stop
        self._after_ray = after_ray
        self._clock = clock or SystemClock()
        self._log = get_logger("don.collection")
        self._steps = Steps(progress, stop, self._clock)
        self._undo = contextlib.ExitStack()
        self._database = DatabaseProcess(home, external)
        self._collectors: dict[str, ActorHandle] = {}
        self._writer: ActorHandle | None = None
        self._views: dict[str, tuple[int, dict[str, Any]]] = {}  # when, what
        self._measures: Measures | None = None
        self._started = 0
        self.supervisor = Supervisor(self._clock, self._show)

    # ---- start ----------------------------------------------------------------------------------

    def start(self) -> CollectSpec:
        """Start everything; returns when all parts run. An exchange that is away is waited for
        by its collector, not here.

        Raises:
            DonError: with what is wrong; by then everything started is stopped again.
        """
        with self._steps.whole(self._undo):
            return self._start()

    def _start(self) -> CollectSpec:
        process, sources = self._sources()
        with self._steps.step("database"):
            self._undo.callback(self._database.stop)
            url = self._database.start()
        try:
            with self._steps.step("ray"):
                self._undo.callback(ray.shutdown)
                runtime.start_ray(compose.ray_folder(self._home / FOLDER))
        finally:
            self._after_ray()
        self._steps.check_stop()
        spec = CollectSpec(
            home=self._home,
            database_url=url,
            config=self._config.collect,
            sources=sources,
            lake=self._config.lake.root or str(self._home / "lake"),
            lake_config=self._config.lake,
            level=self._config.log.level,
        )
        budget = spawn("budget", Budget, self._home, "", spec.level)
        self._writer = spawn("writer", MarketWriter, spec)
        self._steps.await_ready({"budget": budget, "writer": self._writer})
        for name, _ in sources:
            self._collectors[name] = spawn("collector", Collector, spec, name, key=name)
        self._watch(process, budget)
        if spec.config.metrics_port is not None:
            db = Database(url, name="don-metrics", pool_size=1)
            self._undo.callback(db.close)
            self._measures = Measures(db, self._clock)
            server = serve_metrics(self._samples, spec.config.metrics_port)
            self._undo.callback(server.close)
        self._started = self._clock.monotonic_ns()
        return spec

    def _sources(self) -> tuple[ExchangeProcess | None, tuple[tuple[str, FeedConfig], ...]]:
        collect = self._config.collect
        named = zip(source_names(collect), collect.feeds, strict=True)
        update = {
            "batch_age_ms": collect.batch_age_ms,
            "batch_rows": collect.batch_rows,
            "bars_at_once": False,  # nobody waits for them here
        }
        if collect.feeds:
            return None, tuple((name, feed.model_copy(update=update)) for name, feed in named)
        with self._steps.step("exchange"):
            folder = self._config.paper.state_dir or self._home / FOLDER / "exchange"
            paper = self._config.paper.model_copy(
                update={"state_dir": folder, "log_home": self._home}
            )
            process = ExchangeProcess(paper, self._home / "logs" / "collect.exchange.stderr.log")
            self._undo.callback(process.stop)
            ready = process.start()
        listed = asyncio.run(
            compose.instruments(compose.gateway_config(self._config, ready), self._clock)
        )
        names = {i.exchange_symbol: i.symbol for i in listed}
        symbols = self._config.symbols or tuple(names[name] for name in ready.symbols)
        feed = compose.paper_feed(self._config, ready, symbols).model_copy(update=update)
        return process, ((PAPER, feed),)

    def _watch(self, process: ExchangeProcess | None, budget: ActorHandle) -> None:
        database = self._database.part()
        if database is not None:
            self.supervisor.watch(database)
        if process is not None:
            self.supervisor.watch(
                Part(
                    name="exchange",
                    probe=lambda: Probe(pid=process.pid),
                    revive=process.revive,
                )
            )
        assert self._writer is not None
        self.supervisor.watch(actor_part("budget", budget))
        self.supervisor.watch(actor_part("writer", self._writer))
        for name, handle in self._collectors.items():
            self.supervisor.watch(actor_part(f"collector:{name}", handle))
        self.supervisor.start()
        self._undo.callback(self.supervisor.stop)

    # ---- while it runs, and its end -------------------------------------------------------------

    def wait(self, duration_s: float | None, tell: Callable[[dict[str, Any]], None]) -> None:
        """Let it collect until told to stop or the duration is up.

        Args:
            duration_s: None: until told.
            tell: called every two seconds with the views of all parts, by name.
        """
        end = None if duration_s is None else self._started + duration_s * NS_PER_S
        while not self._stop_asked.wait(VIEW_S if end is None else min(VIEW_S, self._left_s(end))):
            tell(self.views())
            if self._refusals().keys() == self._collectors.keys():
                return  # nothing is left to be collected
            if end is not None and self._clock.monotonic_ns() >= end:
                return

    def _refusals(self) -> dict[str, str]:
        """Sources that cannot be collected at all, and why."""
        views = self.views()
        parts = {name: views.get(f"collector:{name}", {}) for name in self._collectors}
        return {n: str(v["detail"]) for n, v in parts.items() if v.get("state") == "failed"}

    def _left_s(self, end: float) -> float:
        return max(0.01, (end - self._clock.monotonic_ns()) / NS_PER_S)

    def views(self) -> dict[str, dict[str, Any]]:
        """How every part is, as the supervisor saw it last, by name; `age_s`: how long ago."""
        now = self._clock.monotonic_ns()
        return {
            name.removeprefix("health:"): {**view, "age_s": (now - at) / NS_PER_S}
            for name, (at, view) in list(self._views.items())
        }

    def stop(self) -> dict[str, Any]:
        """Stop the sockets, store what is left, sum up; everything is stopped afterwards."""
        problems: list[str] = []

        def ask(what: str, call: Callable[[], Any]) -> Any:
            try:
                return ray.get(call(), timeout=CLOSE_S)
            except (RayError, TimeoutError) as error:
                self._log.exception("closing step failed", step=what)
                problems.append(f"{what}: {type(error).__name__}")
                return None

        try:
            writer = self._writer
            assert writer is not None
            views = self.views()
            problems += [f"{name}: {why}" for name, why in sorted(self._refusals().items())]
            streams = {name: views.get(f"collector:{name}", {}) for name in self._collectors}
            for name, handle in self._collectors.items():
                ask(f"stop collecting {name}", handle.close.remote)
            totals = ask("sum up", writer.summary.remote) or {}
            self.supervisor.stop()
            ask("make everything durable", writer.close.remote)
            seconds = (self._clock.monotonic_ns() - self._started) / NS_PER_S
            return {
                "seconds": round(seconds, 1),
                "sources": sorted(self._collectors),
                **totals,
                "streams": {
                    name: [
                        {key: row.get(key) for key in ("stream", "state", "events", "gaps")}
                        for row in view.get("streams", ())
                    ]
                    for name, view in streams.items()
                },
                "restarts": sum(self.supervisor.restarts.values()),
                "restarts_by_part": {k: n for k, n in self.supervisor.restarts.items() if n},
                "problems": problems,
            }
        finally:
            self._undo.close()

    def _samples(self) -> list[Sample]:
        samples = list(part_samples(self.views().values()))
        try:
            samples += self._measures() if self._measures is not None else ()
        except DatabaseError as error:  # told by the part's own health; the rest is still served
            self._log.warning("no figures of the database", error=str(error))
        return samples

    def _show(self, key: str, view: dict[str, Any]) -> None:
        self._views[key] = (self._clock.monotonic_ns(), view)
        if found := readings(view.get("metrics", ())):  # the console of `don up` reads them
            try:
                write(self._home, found, self._clock.now_ns())
            except OSError as error:
                self._log.warning("clocks cannot be shown to others", error=str(error))

"""`don up`, as an object: start every part in order, watch over them, stop in order.

The driver owns the processes (database, paper exchange, Ray) and spawns the actors; it takes no
part in trading. Whatever fails while starting, nothing is left behind half-started.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors import compose, runtime
from actors.board_actor import BoardActor
from actors.budget import Budget
from actors.cache import FeatureCacheActor
from actors.closing import close_session
from actors.commands import waiting_commands
from actors.database_process import DatabaseProcess
from actors.desk import Desk
from actors.exchange_process import ExchangeProcess
from actors.execution import Execution
from actors.feed import ExchangeFeed
from actors.modelwatch import ModelWatch, finish
from actors.optimizer import PortfolioOptimizerActor
from actors.parts import Steps, actor_part
from actors.runtime import Probe, Progress, spawn
from actors.spec import SessionSpec
from actors.supervisor import Part, Supervisor
from don.clock import NS_PER_S, Clock, SystemClock
from don.config import DonConfig
from don.log import get_logger, set_session
from don.model.messages import SessionStart
from don.paper.server.config import Ready
from don.security.secrets import Secret
from don.storage.database import Database
from don.storage.sessions import forget_market, interrupt_sessions

COMMANDS_EVERY_S = 0.2


class Launch:
    """One session, from nothing to trading and back."""

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
        """A launch; nothing starts before `start`.

        Args:
            home: the state folder, held by the caller.
            config: of the session.
            external: URL of a database of the user's own; None: the embedded one.
            progress: told of every part.
            stop: set when the user wants to stop, also while parts are starting.
            after_ray: called once Ray runs; it takes signal handlers for itself.
            clock: stamps and durations.
        """
        self._home = home
        self._config = config
        self._progress = progress
        self._stop_asked = stop
        self._after_ray = after_ray
        self._clock = clock or SystemClock()
        self._log = get_logger("don.launch")
        self._steps = Steps(progress, stop, self._clock)
        self._undo = contextlib.ExitStack()
        self._database = DatabaseProcess(home, external)
        self._actors: dict[str, ActorHandle] = {}
        self.session = compose.session_id(self._clock.now_ns())
        self.spec: SessionSpec | None = None
        self.has_models = False  # whether the registry has any, that can be asked over HTTP
        self.supervisor = Supervisor(self._clock, self._show)

    # ---- start ----------------------------------------------------------------------------------

    def start(self) -> SessionSpec:
        """Start everything but the HTTP side; returns when orders may flow.

        Raises:
            DonError: with what is wrong; by then everything started is stopped again.
        """
        with self._steps.whole(self._undo):
            return self._start()

    def _start(self) -> SessionSpec:
        set_session(self.session)
        # The exchange first: it finds most mistakes of a user, before anything heavy has started.
        process, ready = self._start_exchange()
        with ThreadPoolExecutor(1, thread_name_prefix="start") as pool:
            database = pool.submit(self._start_database)
            try:
                with self._steps.step("ray"):
                    self._undo.callback(self._stop_ray)
                    runtime.start_ray(compose.ray_folder(self._home))
            finally:
                self._after_ray()
                failure = database.exception()  # by now it is up or has failed
        if failure is not None:
            raise failure
        self._steps.check_stop()
        url = database.result()
        with self._steps.step("instruments"):
            gateway = compose.gateway_config(self._config, ready)
            instruments = asyncio.run(compose.instruments(gateway, self._clock))
        with Database(url) as db:
            self.has_models = compose.has_models(db)
            if self.has_models:
                finish(self._home, db)
            self._config = compose.with_models(self._config, self._home, db, self._undo)
        spec = compose.session_spec(
            self._home, url, self.session, self._config, ready, gateway, instruments
        )
        with Database(url) as db:
            interrupt_sessions(db, spec.account, ts_end=self._clock.now_ns())
            forget_market(db, keep=self._config.keep_recordings)
        self.spec = spec
        # Again and again, as every view: a board that died has forgotten it.
        view = compose.session_view(spec, instruments, self._clock.now_ns())
        self.supervisor.announce("session", view)
        self._spawn(spec, compose.first_entry(spec, instruments, self._clock.now_ns()))
        self._watch(process)
        return spec

    def _start_database(self) -> Secret:
        with self._steps.step("database"):
            self._undo.callback(self._database.stop)
            return self._database.start()

    def _start_exchange(self) -> tuple[ExchangeProcess, Ready]:
        with self._steps.step("exchange"):
            paper = self._config.paper.model_copy(
                update={
                    "state_dir": self._config.paper.state_dir or self._home / "exchange",
                    "log_home": self._home,
                    "symbols": self._config.symbols or self._config.paper.symbols,
                    "exchange": self._config.paper.exchange.model_copy(
                        update={"accounts": (self._config.account,)}
                    ),
                }
            )
            process = ExchangeProcess(paper, self._home / "logs" / "exchange.stderr.log")
            self._undo.callback(process.stop)
            return process, process.start()

    def _spawn(self, spec: SessionSpec, first: SessionStart) -> None:
        """Everything behind the feed first: the market begins to move with its first reader."""
        behind = {
            "board": spawn("board", BoardActor, spec),
            # before whoever sends requests: without it each would count for itself
            "budget": spawn("budget", Budget, spec.home, spec.session, spec.config.log.level),
            "desk": spawn("desk", Desk, spec, first),
            "optimizer": spawn("optimizer", PortfolioOptimizerActor, spec),
            "execution": spawn("execution", Execution, spec),
            "cache": spawn("cache", FeatureCacheActor, spec),
        }
        self._actors = behind
        self._steps.await_ready({n: a for n, a in behind.items() if n != "cache"})
        self._actors = {**behind, "feed": spawn("feed", ExchangeFeed, spec)}
        self._steps.await_ready({n: self._actors[n] for n in ("cache", "feed")})

    def _watch(self, process: ExchangeProcess) -> None:
        database = self._database.part()
        if database is not None:
            self.supervisor.watch(database)
        self.supervisor.watch(
            Part(
                name="exchange",
                probe=lambda: Probe(pid=process.pid),
                revive=process.revive,
            )
        )
        for name, handle in self._actors.items():
            self.supervisor.watch(actor_part(name, handle))
        self.supervisor.start()
        self._undo.callback(self.supervisor.stop)

    # ---- while it runs, and its end -------------------------------------------------------------

    def wait(self, duration_s: float | None) -> None:
        """Let it trade until told to stop or the duration is up; hand commands on meanwhile."""
        end = None if duration_s is None else self._clock.monotonic_ns() + duration_s * NS_PER_S
        spec = self.spec
        watch = spec and ModelWatch(
            self._home, spec.database_url, spec.session, spec.config, self._clock,
            lambda told: ray.get(self._actors["desk"].take.remote(told), timeout=30),
        )  # fmt: skip
        if watch and watch.active:
            self.supervisor.watch(Part(name="models", probe=watch.probe, revive=lambda: None))
        while not self._stop_asked.wait(COMMANDS_EVERY_S):
            if watch:
                watch.look()
            for path, command in waiting_commands(self._home):
                try:
                    if command is not None:
                        ray.get(self._actors["desk"].take.remote(command), timeout=30)
                except RayError as error:
                    # The desk is restarting: the file stays, and its key makes a repeat harmless.
                    self._log.warning("command not taken yet", file=path.name, error=str(error))
                    break
                path.unlink()
            if end is not None and self._clock.monotonic_ns() >= end:
                return

    def stop(self) -> dict[str, object]:
        """Close the session: no more decisions, resting orders cancelled, books compared.

        Returns:
            The summary, as `don up --json` prints it. Everything is stopped afterwards.
        """
        try:
            assert self.spec is not None
            return close_session(
                self.spec, self._actors, self.supervisor, self._clock, self._progress
            )
        finally:
            self._undo.close()

    def at_exit(self, undo: Callable[[], None]) -> None:
        """Register what must be stopped before the actors are."""
        self._undo.callback(undo)

    # ---- helpers --------------------------------------------------------------------------------

    def _stop_ray(self) -> None:
        with self._steps.step("stopping actors"):
            ray.shutdown()

    def _show(self, key: str, view: dict[str, object]) -> None:
        if "board" in self._actors:
            self._actors["board"].put.remote(key, view)

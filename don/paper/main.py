"""The paper exchange as a process of its own: opens tape, database and sockets, and runs. I/O.

`serve` runs inside an event loop, `run` is a whole process: it prints one JSON line when the
exchange answers, stops cleanly on SIGTERM or SIGINT, and returns an exit code.
"""

import asyncio
import contextlib
import datetime
import errno
import hashlib
import json
import os
import signal
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from pydantic import ValidationError

from don import heap
from don.clock import NS_PER_S, Clock, SystemClock, parse_iso
from don.errors import DonError, UsageError
from don.log import configure_actor
from don.model.complaint import complaint
from don.paper.sample.make_sample import SAMPLE
from don.paper.server import identity
from don.paper.server.assembly import Assembly, assemble
from don.paper.server.config import PaperServerConfig, Ready
from don.paper.server.replay import Speed
from don.paper.store import Store, reset
from don.paper.tape import Tape, open_tape

READY_FILE = "exchange.json"

_log = structlog.get_logger(__name__)


async def serve(
    config: PaperServerConfig,
    *,
    clock: Clock | None = None,
    on_ready: Callable[[Ready], None] = lambda ready: None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run the paper exchange until `stop` is set or the task is cancelled.

    Raises:
        UsageError: if the tape, the state folder or a port cannot be used as asked.
        StoreError: if the database cannot take what happened; a restart goes on from what it has.
    """
    clock = clock or SystemClock()
    stop = stop or asyncio.Event()
    if config.state_dir is None:
        raise UsageError("state_dir must name the folder of the exchange's own books")
    folder = _folder(config.state_dir)
    tape = _open_tape(config)
    if config.reset:
        reset(folder)
    async with contextlib.AsyncExitStack() as cleanup:
        store = Store(folder)
        cleanup.callback(store.close)
        store.bind(_identity_of(config, tape))
        keys = identity.ensure_api_keys(folder, config.exchange.accounts)
        moment = datetime.datetime.fromtimestamp(clock.now_ns() / NS_PER_S, datetime.UTC)
        files = identity.ensure_certificate(folder, moment)
        parts = assemble(
            tape=tape,
            store=store,
            keys=keys,
            clock=clock,
            speed=Speed.parse(config.speed, tape.interval_ns),
            hold=config.hold,
            max_idle_s=config.max_idle_s,
            exchange=config.exchange.model_copy(update={"intervals": (tape.interval,)}),
            limits=config.limits,
            streams=config.streams,
        )
        cleanup.callback(parts.service.close)
        rest = await _listen(parts.rest.handle, config.host, config.port, "port", cleanup)
        streams = await _listen(
            parts.streams.handle,
            config.host,
            config.stream_port,
            "stream_port",
            cleanup,
            ssl_context=identity.server_context(files),
        )
        cleanup.push_async_callback(parts.streams.close)
        ready = Ready(
            rest_url=f"http://{config.host}:{rest}",
            stream_url=f"wss://localhost:{streams}",
            certificate=str(files.certificate),
            state_dir=str(folder),
            books=store.books,
            symbols=tape.symbols,
            interval=tape.interval,
            pid=os.getpid(),
        )
        ready_file = folder / READY_FILE
        identity.write_private(ready_file, json.dumps(asdict(ready)).encode())
        cleanup.callback(ready_file.unlink, missing_ok=True)
        _log.info("paper exchange answers", rest=ready.rest_url, streams=ready.stream_url)
        on_ready(ready)
        await _run(parts, stop)


async def _run(parts: Assembly, stop: asyncio.Event) -> None:
    """Play the tape and serve until `stop`; raise what went wrong."""
    running: set[asyncio.Future[Any]] = {
        asyncio.create_task(parts.replay.run(), name="replay"),
        asyncio.create_task(parts.expire_keys(), name="listen keys"),
        asyncio.create_task(parts.deadman.run(), name="dead man's timers"),
        asyncio.create_task(stop.wait(), name="stop"),
        parts.failure,
    }
    try:
        while not stop.is_set():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()  # raises what ended it
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _listen(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    host: str,
    port: int,
    field: str,
    cleanup: contextlib.AsyncExitStack,
    ssl_context: ssl.SSLContext | None = None,
) -> int:
    """Serve a handler; the port that it got."""
    runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=2.0)
    await runner.setup()
    cleanup.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, host, port, ssl_context=ssl_context)
    try:
        await site.start()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"{field} {port} on {host} is in use: choose another, or 0 for any free one"
            ) from error
        raise UsageError(f"{field} {port} on {host} cannot be opened: {error.strerror}") from error
    return int(runner.addresses[-1][1])


def _folder(path: Path) -> Path:
    folder = path.expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise UsageError(f"state folder {folder} cannot be written: {error.strerror}") from error
    return folder


def _open_tape(config: PaperServerConfig) -> Tape:
    try:
        start_ns = None if config.start is None else parse_iso(config.start)
    except ValueError as error:
        raise UsageError(f"start must be an ISO-8601 time, was {config.start!r}") from error
    return open_tape(
        config.tape,
        config.symbols or None,
        seed=config.seed,
        start_ns=start_ns,
        interval=config.interval,
        funding=config.funding,
    )


def _identity_of(config: PaperServerConfig, tape: Tape) -> dict[str, str]:
    """What must stay the same for a state folder to go on."""
    tapes = config.tapes or (SAMPLE,)
    digest = hashlib.sha256()
    for path in tapes:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    names = ", ".join(path.name for path in tapes)
    rules = config.exchange
    return {
        "tape": f"{names} ({digest.hexdigest()[:16]})",
        "symbols": " ".join(tape.symbols),
        "interval": tape.interval,
        "seed": str(config.seed),
        "start": config.start or "default",
        "accounts": " ".join(rules.accounts),
        "deposit": f"{rules.deposit} {rules.asset}",
        "maintenance rate": str(rules.maintenance_rate),
    }


def run(config: PaperServerConfig) -> int:
    """Run the paper exchange as this process; its exit code.

    Prints one JSON line (`Ready`) on stdout when it answers.
    """

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        if config.end_with_parent:
            loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_input, stop)
        await serve(config, on_ready=_announce, stop=stop)

    try:
        if config.log_home is not None:
            configure_actor(config.log_home, actor="exchange")
        elif not structlog.is_configured():
            _log_to_stderr()
        asyncio.run(main())
    except DonError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _log_to_stderr() -> None:
    """Readable lines on stderr (stdout is for `Ready` alone), tracebacks without local values."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    """The other end of standard input is the parent: when it is gone, nobody looks after us."""
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stop.set()


def _announce(ready: Ready) -> None:
    heap.settle()
    print(json.dumps(asdict(ready)), flush=True)


def main(arguments: list[str]) -> int:
    """`python -m don.paper.main CONFIG`: the configuration as JSON text or as a file of it."""
    if len(arguments) != 1:
        print("usage: python -m don.paper.main CONFIG (JSON, or a file of it)", file=sys.stderr)
        return UsageError.exit_code
    text = arguments[0]
    try:
        content = text if text.lstrip().startswith("{") else Path(text).read_text()
        config = PaperServerConfig.model_validate_json(content)
    except OSError as error:
        print(f"error: config {text}: {error.strerror}", file=sys.stderr)
        return UsageError.exit_code
    except ValidationError as error:
        print(f"error: config: {complaint(error, PaperServerConfig)}", file=sys.stderr)
        return UsageError.exit_code
    return run(config)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

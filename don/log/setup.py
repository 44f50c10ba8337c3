"""Set a process's logging up: JSON lines in the state folder, others on a terminal. Does I/O.

Everything goes through the standard library's root logger, that of Don and that of the libraries.
Every line carries the actor and session of its process, and the decision and order where one is
bound. Secrets are masked by their type, see `redaction`.
"""

import logging
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

from don.clock import Clock, SystemClock, iso
from don.errors import ConfigError
from don.log.files import KEPT, MAX_BYTES, LineFileHandler, log_path
from don.log.redaction import plain
from don.log.render import Readable

LEVELS = ("debug", "info", "warning", "error", "critical")
# Libraries that say too much at INFO, or repeat what Don says better itself.
_FIRST = ("ts", "time", "level", "actor", "event", "session", "decision", "order")
_QUIET = {
    "aiohttp.access": "WARNING",
    "alembic": "WARNING",
    "asyncio": "WARNING",
    "ccxt": "WARNING",
    "ccxt.base.exchange": "WARNING",
    "feedhandler": "WARNING",  # cryptofeed
    "httpcore": "WARNING",
    "httpx": "WARNING",
    "matplotlib": "WARNING",
    "numba": "WARNING",
    "psycopg": "WARNING",
    "psycopg.pool": "ERROR",  # warns at every attempt; Don reports the outcome
    "ray": "WARNING",
    "ray.serve": "WARNING",
    "sqlalchemy": "WARNING",
    "urllib3": "WARNING",
    "uvicorn.access": "WARNING",
    "websockets": "WARNING",
}


@dataclass(slots=True)
class _Process:
    """Who this process is; on every line, also those of other threads."""

    actor: str
    session: str


_mine = _Process(actor="", session="")


def configure_actor(
    home: Path,
    *,
    actor: str,
    session: str = "",
    level: str = "info",
    console: TextIO | bool = False,
    clock: Clock | None = None,
    max_bytes: int = MAX_BYTES,
    kept: int = KEPT,
) -> None:
    """Set this process's logging up, once; a repeated call replaces what was there.

    Args:
        home: the state folder; lines go to `logs/<actor>.jsonl` in it.
        actor: name of the process's part in the system: letters, digits, `-`, `_`, `.`, `:`.
        session: id of the session, if one runs.
        level: least level that is kept, one of `LEVELS`.
        console: also write readable lines to this stream; True means stderr.
        clock: stamps the lines.
        max_bytes: size at which a file is rotated.
        kept: rotated files that are kept.

    Raises:
        ConfigError: if level or actor is not allowed, or the folder cannot be written.
    """
    if level not in LEVELS:
        raise ConfigError(f"log level must be one of {', '.join(LEVELS)}, was {level!r}")
    if not re.fullmatch(r"[\w.:-]+", actor):
        raise ConfigError(f"actor must be of letters, digits and -_.: only, was {actor!r}")
    _mine.actor, _mine.session = actor, session
    stamp = _Stamp(clock or SystemClock())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        stamp,
    ]
    folder = Path(home) / "logs"
    try:
        file = LineFileHandler(log_path(home, actor), max_bytes=max_bytes, kept=kept)
    except OSError as error:
        raise ConfigError(f"cannot write logs in {folder}: {error.strerror}") from error
    file.setFormatter(_formatter(shared, [_redact, structlog.processors.JSONRenderer()]))
    handlers: list[logging.Handler] = [file]
    if console:
        stream = sys.stderr if console is True else console
        screen = logging.StreamHandler(stream)
        screen.setFormatter(_formatter(shared, [_redact, Readable(colors=stream.isatty())]))
        handlers.append(screen)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, LineFileHandler):
            old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level.upper())
    _route_libraries()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # so that a repeated call reaches loggers in use
    )
    threading.excepthook = _log_thread_death


def set_session(session: str) -> None:
    """Name the session on all further lines of this process."""
    _mine.session = session


def get_logger(name: str = "don") -> FilteringBoundLogger:
    """A structured logger; the same as `structlog.get_logger(name)`, typed."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


# ---- processors ------------------------------------------------------------------------------


class _Stamp:
    """Adds time, actor and session."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        now = self._clock.now_ns()
        event.update(ts=now, time=iso(now))
        event.setdefault("actor", _mine.actor)
        event.setdefault("session", _mine.session)
        return event


def _redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Plain values only, the fields of every line first."""
    values = plain(event)
    first: EventDict = {name: values.pop(name) for name in _FIRST if name in values}
    return first | values


def _formatter(shared: list[Any], last: list[Any]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            *last,
        ],
    )


def _route_libraries() -> None:
    """Let every library's lines reach the root logger, at a sensible level."""
    for name in list(logging.Logger.manager.loggerDict):
        found = logging.getLogger(name)
        found.handlers.clear()
        found.propagate = True
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)
    logging.captureWarnings(True)


def _log_thread_death(death: threading.ExceptHookArgs) -> None:
    if death.exc_type is SystemExit:
        return
    name = death.thread.name if death.thread else ""
    info = (death.exc_type, death.exc_value or death.exc_type(), death.exc_traceback)
    get_logger().critical("thread died", thread=name, exc_info=info)

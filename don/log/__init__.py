"""Logs: written by every process, one set of files an actor, and read back merged by time."""

from don.log.files import log_path
from don.log.reader import read_logs
from don.log.render import render
from don.log.setup import LEVELS, configure_actor, get_logger, set_session

__all__ = [
    "LEVELS",
    "configure_actor",
    "get_logger",
    "log_path",
    "read_logs",
    "render",
    "set_session",
]

"""Log lines for people. Pure."""

from collections.abc import MutableMapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger


def render(line: dict[str, Any], *, colors: bool = False) -> str:
    """A line as the console shows it."""
    return Readable(colors=colors)(None, "", dict(line))


class Readable:
    """One readable line: time, level, actor, event, then the rest by name."""

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(
            colors=colors, pad_event_to=40, timestamp_key="time", sort_keys=False
        )

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The text of an event."""
        shown: MutableMapping[str, Any] = dict(event)
        trace = shown.pop("exception", None)
        for name in ("ts", "logger", "session"):
            shown.pop(name, None)
        actor = shown.pop("actor", "")
        shown["event"] = f"{actor}: {shown.get('event', '')}" if actor else shown.get("event", "")
        line = str(self._render(logger, method, shown))
        return f"{line}\n{trace}" if trace else line

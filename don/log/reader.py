"""Read the logs of a state folder, all actors by time, and follow them. Does I/O."""

import heapq
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from don.errors import ConfigError
from don.log.files import SUFFIX, Series, log_path

_POLL_S = 0.2


def read_logs(
    home: Path,
    *,
    actor: str | None = None,
    order: str | None = None,
    session: str | None = None,
    follow: bool = False,
) -> Iterator[dict[str, Any]]:
    """Lines of all actors by time, filtered; with `follow` it then waits for more, for ever.

    Args:
        home: the state folder.
        actor: only lines of this actor.
        order: only lines about this client order id.
        session: only lines of this session.
        follow: go on with new lines as they come, of new actors too.

    Raises:
        ConfigError: if there are no logs, or none of that actor.
    """
    folder = Path(home) / "logs"
    wanted = {"actor": actor, "order": order, "session": session}
    filters = {name: value for name, value in wanted.items() if value is not None}

    def paths() -> list[Path]:
        return [log_path(home, actor)] if actor is not None else sorted(folder.glob(f"*{SUFFIX}"))

    def matches(line: dict[str, Any]) -> bool:
        return all(line.get(name) == value for name, value in filters.items())

    found = sorted(path.stem for path in folder.glob(f"*{SUFFIX}"))
    if not follow and not found:
        raise ConfigError(f"no logs in {folder}: nothing has run with this DON_HOME yet")
    if not follow and not all(path.exists() for path in paths()):
        raise ConfigError(f"actor must be one of {', '.join(found)}, was {actor!r}")
    series = {path: Series(path) for path in paths()}
    try:
        history = heapq.merge(*(s.history() for s in series.values()), key=lambda line: line["ts"])
        yield from filter(matches, history)
        while follow:
            for path in paths():
                if path not in series:
                    series[path] = Series(path)
            fresh = [line for s in series.values() for line in s.fresh() if matches(line)]
            yield from sorted(fresh, key=lambda line: line["ts"])
            if not fresh:
                time.sleep(_POLL_S)
    finally:
        for one in series.values():
            one.close()

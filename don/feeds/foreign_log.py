"""cryptofeed's own warnings (refused subscriptions, unknown messages) into our log, not a flood."""

import logging
from collections import Counter

import structlog

log = structlog.get_logger(__name__)


class Forward(logging.Handler):
    """Hands a kind of message on the first time, then ever more rarely."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        kind = str(record.msg)
        self._counts[kind] += 1
        count = self._counts[kind]
        if count & (count - 1) == 0:
            log.warning("cryptofeed says", text=record.getMessage()[:300], count=count)


def forward() -> None:
    """Install the forwarding, once a process."""
    theirs = logging.getLogger("feedhandler")
    if not any(isinstance(handler, Forward) for handler in theirs.handlers):
        theirs.addHandler(Forward())
        theirs.propagate = False

"""Ctrl-C and SIGTERM while a training runs: it ends between two iterations. Sets signal handlers.

An iteration that is broken off leaves weights with a part of an update in them, which nobody has
looked at: no state to keep. So the first signal waits for its end, and a second one does not.
"""

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

WORDS = b"\nstops after this iteration; once more: at once, without it\n"


class Stop:
    """Takes signals inside a `with` block of the main thread; elsewhere it does nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before):  # what is ignored or ends the process stays so
                    self._before[number] = before
                    signal.signal(number, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            self._before[number](number, frame)
            return
        self.asked = True
        os.write(2, WORDS)  # a handler must not print: it may have interrupted that

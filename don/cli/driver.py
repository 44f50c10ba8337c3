"""What commands that run for long share: signals that ask to stop, and parts told as they start."""

import signal
import threading
from collections.abc import Callable

from rich.text import Text

from don.cli.output import err

TOLD = ("ready", "closed", "failed")


def stop_on_signals(stop: threading.Event) -> None:
    """Let Ctrl-C and SIGTERM ask for a stop.

    To be called again once Ray has started: it takes SIGTERM for itself, and aborts the process
    three seconds after one that came while it started.
    """
    signal.alarm(0)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())


def tell_parts(*, quiet: bool) -> Callable[[str, str, float], None]:
    """A `Progress` that prints a line for each part that is ready, closed or failed."""

    def show(part: str, state: str, seconds: float) -> None:
        if not quiet and state in TOLD:
            took = f"{seconds:5.1f} s" if seconds else "       "
            colour = "red" if state == "failed" else "green"
            err.print(Text(f"  {state:<7} ", style=colour), f"{took}  {part}")

    return show

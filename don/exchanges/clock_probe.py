"""An exchange's clock over plain HTTP, for commands that hold no connection to it. Does I/O."""

import json
import urllib.request

from don.clock import NS_PER_MS, Clock, SystemClock
from don.errors import ExchangeUnavailable
from don.exchanges.clock_offset import ClockOffset, Comparison

SAMPLES = 5


def probe(url: str, *, clock: Clock | None = None, timeout_s: float = 3.0) -> ClockOffset:
    """Compare the clocks.

    Args:
        url: of a call that answers `{"serverTime": ms}`.
        clock: ours; the machine's by default.
        timeout_s: of one question.

    Raises:
        ExchangeUnavailable: if it does not answer, or not so.
    """
    ours = clock or SystemClock()
    comparisons = []
    for _ in range(SAMPLES):
        before, began = ours.now_ns(), ours.monotonic_ns()
        try:
            with urllib.request.urlopen(url, timeout=timeout_s) as answer:
                server_ms = int(json.load(answer)["serverTime"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ExchangeUnavailable(f"{url} does not tell its time: {error}") from error
        comparisons.append(
            Comparison(
                sent_ns=before,
                round_trip_ns=ours.monotonic_ns() - began,
                server_ns=server_ms * NS_PER_MS + NS_PER_MS // 2,
            )
        )
    offset = ClockOffset()
    offset.add(comparisons, ours.monotonic_ns())
    return offset

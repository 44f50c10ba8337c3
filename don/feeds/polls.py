"""Open interest by REST, for exchanges that do not stream it."""

import asyncio
from collections.abc import Callable, Sequence

from don.clock import NS_PER_MS, Clock
from don.errors import DataError, ExchangeRefused
from don.feeds.binance import parse_open_interest
from don.feeds.health import Stream
from don.feeds.rest import RestClient
from don.feeds.sink import Sink


class OpenInterestPoll:
    """Asks for one symbol after the other, each once a period."""

    def __init__(
        self,
        path: str,
        streams: Sequence[Stream],
        period_s: float,
        *,
        rest: RestClient,
        sink: Sink,
        clock: Clock,
        note: Callable[[Exception, float], None],
    ) -> None:
        self._path = path
        self._streams = streams
        self._pause_s = period_s / max(1, len(streams))
        self._rest = rest
        self._sink = sink
        self._clock = clock
        self._note = note

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            for stream in self._streams:
                await self._ask(stream)
                await asyncio.sleep(self._pause_s)

    async def _ask(self, stream: Stream) -> None:
        try:
            answer = await self._rest.get_until_answered(
                self._path, {"symbol": stream.key}, on_failure=self._failed(stream)
            )
            size, ms = parse_open_interest(answer)
        except (ExchangeRefused, DataError) as error:
            self._note(error, self._pause_s)  # perhaps for this symbol only: the others go on
            self._sink.stale(stream, str(error))
            return
        now = self._clock.now_ns()
        self._sink.open_interest(stream, ms * NS_PER_MS or now, now, size, float("nan"))
        self._sink.live(stream)  # the same value again is a sign of life too

    def _failed(self, stream: Stream) -> Callable[[Exception, float], None]:
        def failed(error: Exception, delay_s: float) -> None:
            self._sink.stale(stream, str(error))
            self._note(error, delay_s)

        return failed

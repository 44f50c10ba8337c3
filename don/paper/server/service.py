"""Exchange, database and publisher as one: what changes is stored, then told. No awaiting inside.

Every method runs to its end within one turn of the event loop, so requests and steps of the tape
never see one another half done. If the database cannot take a change, memory is ahead of it: the
error goes up, the process stops without having told anybody, and the next start goes on from what
is stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from don.clock import NS_PER_S, Clock
from don.errors import ExchangeRefused
from don.paper.events import Event, FundingRate, TapeEvent
from don.paper.exchange import PaperExchange
from don.paper.server.hub import Hub
from don.paper.server.publisher import Publisher
from don.paper.server.recovery import displayed_of
from don.paper.server.text import number
from don.paper.store import SettledFunding, Store

KEEP_DISPLAY_EVERY_NS = 5 * NS_PER_S  # wall time; a crash replays at most so much of the tape

T = TypeVar("T")


class ExchangeService:
    """The paper exchange as its sockets see it.

    Args:
        exchange: the core.
        position: where the tape goes on.
        store: the exchange's database.
        publisher: tells events.
        hub: where they leave.
        clock: for how often to keep the display.
    """

    def __init__(
        self,
        exchange: PaperExchange,
        position: int,
        store: Store,
        publisher: Publisher,
        hub: Hub,
        clock: Clock,
    ) -> None:
        self.exchange = exchange
        self.position = position
        self.store = store
        self._publisher = publisher
        self._hub = hub
        self._clock = clock
        self._kept_at = clock.monotonic_ns()
        self._stored = True  # memory holds nothing that the database lacks
        self._ended = False  # the tape moves no more

    def change(self, action: Callable[[], tuple[T, list[Event]]]) -> T:
        """Run a request that changes something; store what it changed, tell it, return its result.

        Raises:
            ExchangeRefused: as the request does; then nothing has changed.
            StoreError: if it could not be stored; the process must stop.
        """
        self._stored = False
        try:
            result, events = action()
        except ExchangeRefused:
            self._stored = True
            raise
        if self._ended:
            events = events + self.exchange.release()
        with self.store.transaction():
            self._save()
        self._stored = True
        self._tell(events)
        return result

    def advance(self, steps: Sequence[tuple[int, TapeEvent]]) -> None:
        """Apply events of the tape, store where it got to, tell what happened.

        Raises:
            StoreError: if it could not be stored; the process must stop.
        """
        self._stored = False
        events: list[Event] = []
        funding: list[SettledFunding] = []
        for position, event in steps:
            events += self.exchange.apply(event, position)
            self.position = position
            if isinstance(event, FundingRate):
                mark = event.mark or self.exchange.premium(event.symbol).mark
                funding.append(
                    SettledFunding(
                        symbol=event.symbol,
                        ts=event.ts,
                        rate=number(event.rate),
                        mark=number(mark),
                    )
                )
        now = self._clock.monotonic_ns()
        with self.store.transaction():
            self._save()
            for row in funding:
                self.store.save_funding(row)
            if now - self._kept_at >= KEEP_DISPLAY_EVERY_NS:
                self._kept_at = now
                self.store.save_displayed(displayed_of(self.exchange, self.position))
        self._stored = True
        self._tell(events)

    def end(self) -> None:
        """The tape has ended: from now on no request waits for its time."""
        self._ended = True
        self.change(lambda: (None, []))

    def flush_depth(self) -> None:
        """Tell the depth changes that waited for more."""
        self._publisher.flush_depth()
        self._hub.flush()

    def close(self) -> None:
        """Keep the display, so that the next start need not replay anything."""
        if not self._stored:
            return  # it would be ahead of the accounts
        with self.store.transaction():
            self.store.save_displayed(displayed_of(self.exchange, self.position))

    def _save(self) -> None:
        dirty = self.exchange.take_dirty()
        self.store.save(replace(dirty, counters=replace(dirty.counters, position=self.position)))

    def _tell(self, events: list[Event]) -> None:
        self._publisher.publish(events)
        self._hub.flush()

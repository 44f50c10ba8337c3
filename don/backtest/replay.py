"""The tape through exchange and desk in one process, event by event. No waiting, no clock."""

from collections.abc import Callable, Iterator

import numpy as np

from don.backtest.account import LocalAccount
from don.backtest.desk import LocalDesk
from don.backtest.market import MarketTap
from don.backtest.resumed import Resumed
from don.features.cache import FeatureCache
from don.model.schema import MarketBatch
from don.paper.events import Event, FundingRate, TapeEvent
from don.paper.exchange import PaperExchange
from don.paper.ladder import Ints
from don.paper.recorded import RecordedTape, Run
from don.paper.tape import Tape

Progress = Callable[[int], None]  # tape time reached


class TapeClock:
    """Wall time of a session that plays the tape at a speed: what ages are measured on.

    Args:
        exchange: gives tape time.
        start_ns: tape time at the beginning.
        wall_ns: wall time at the beginning.
        speed: tape time per wall time; None: wall time stands still.
    """

    def __init__(
        self, exchange: PaperExchange, start_ns: int, wall_ns: int, speed: float | None
    ) -> None:
        self._exchange, self._start, self._wall, self._speed = exchange, start_ns, wall_ns, speed

    def now(self) -> int:
        """Wall time, ns."""
        passed = max(self._exchange.now - self._start, 0)
        if self._speed is None:
            return self._wall
        return self._wall + (passed if self._speed == 1.0 else int(passed / self._speed))

    def at(self, ts: Ints) -> Ints:
        """Wall time at tape times, ns."""
        if self._speed is None:
            return np.full(len(ts), self._wall, np.int64)
        passed = np.maximum(ts - self._start, 0)
        return self._wall + (
            passed if self._speed == 1.0 else (passed / self._speed).astype(np.int64)
        )


class Replay:
    """Moves the tape; each set of bars that closes goes through the cache to the desk."""

    def __init__(
        self,
        exchange: PaperExchange,
        account: LocalAccount,
        tap: MarketTap,
        cache: FeatureCache,
        clock: TapeClock,
        *,
        account_bars: int,
        found: Resumed | None = None,
    ) -> None:
        self._exchange, self._account, self._tap = exchange, account, tap
        self._cache, self._clock = cache, clock
        self._account_bars, self._found = account_bars, found
        self._bars = 0
        self._ready = False

    def published(self, events: list[Event]) -> None:
        """Take in what the exchange published because of a request."""
        self._ready |= self._tap.take(events, self._clock.now())

    def run(self, tape: Tape, desk: LocalDesk, start: int, end_ns: int, progress: Progress) -> None:
        """Play to a time; then, deciding no more, until all requests are through."""
        events: Iterator[tuple[int, TapeEvent | Run]] = tape.events(start)
        if isinstance(tape, RecordedTape) and tape.columns is not None:
            events = tape.runs(start)
        for position, event in self._standing(events, start):
            if isinstance(event, Run):
                if not self._play(event, position, desk, end_ns, tape.interval_ns):
                    break
                continue
            if self._over(event.ts, desk, end_ns, tape.interval_ns):
                break
            self._move(event, position, desk)
            if self._ready and event.ts <= end_ns:
                self._close_bars(desk)
                progress(self._exchange.now)
        self._account.hear(self._exchange.release())
        desk.check_account(final=True)

    def _over(self, ts: int, desk: LocalDesk, end_ns: int, interval_ns: int) -> bool:
        return ts > end_ns and (desk.engine.idle or ts > end_ns + interval_ns)

    def _standing(
        self, events: Iterator[tuple[int, TapeEvent | Run]], start: int
    ) -> Iterator[tuple[int, TapeEvent | Run]]:
        """The tape after the books and marks as they stand, of which only the account hears."""
        for position, event in events:
            if isinstance(event, Run) or position > start:
                yield position, event
                break
            self._account.hear(self._exchange.apply(event, position))
        yield from events

    def _play(
        self, run: Run, position: int, desk: LocalDesk, end_ns: int, interval_ns: int
    ) -> bool:
        """Play steps at once where they meet nobody, else one by one; False when it is over."""
        columns, at = run.columns, run.start
        last = min(run.stop, int(np.searchsorted(columns.ts, end_ns, side="right")))
        while at < run.stop:
            stop, arrival = last, self._account.next_arrival
            if arrival is not None:
                stop = min(stop, int(np.searchsorted(columns.ts, arrival)))
            done = self._exchange.advance(columns, at, stop) if at < stop else None
            if done is not None:
                at = done.stop
                self._exchange.position = position + at - run.start
                self._tap.take_stretch(columns, done, self._clock.at)
                continue
            event = columns.event(at)
            if self._over(event.ts, desk, end_ns, interval_ns):
                return False
            at += 1
            self._move(event, position + at - run.start, desk)
        return True

    def _move(self, event: TapeEvent, position: int, desk: LocalDesk) -> None:
        arrival = self._account.next_arrival
        if arrival is not None and arrival <= event.ts:
            self.published(self._account.arrive(event.ts))
            desk.deliver()
        if isinstance(event, FundingRate) and self._found is not None and self._found.has(event):
            return
        events = self._exchange.apply(event, position)
        if events:
            self._account.hear(events)
            self._ready |= self._tap.take(events, self._clock.now())
            if self._account.reports:
                desk.deliver()

    def hand_on(self, batch: MarketBatch, desk: LocalDesk) -> None:
        """A batch through the cache to the desk."""
        for snapshot in self._cache.on_batch(batch):
            desk.take_snapshot(snapshot)

    def _close_bars(self, desk: LocalDesk) -> None:
        self._ready = False
        self.hand_on(self._tap.batch(self._clock.now()), desk)
        self._bars += 1
        if self._bars % self._account_bars == 0:
            desk.check_account()

"""What is known of each stream: live or stale, gaps, the exchange's time; told as status rows."""

from collections.abc import Callable, Iterable

from don.feeds.health import Stream, StreamState
from don.feeds.outbox import Outbox

RARE = ("bars", "liquidations")  # hours without an event say nothing of these


class States:
    """The states of all streams of a feed, and the rows that tell their changes."""

    def __init__(self, outbox: Outbox, now_ns: Callable[[], int]) -> None:
        self._outbox = outbox
        self._add = outbox.add
        self._now_ns = now_ns
        self.exchange_now = 0  # latest exchange time seen since `restart`
        self._latest = 0  # the same since ever
        self.malformed = 0
        self.gaps = 0

    @property
    def latest(self) -> int:
        """Latest exchange time ever seen."""
        return max(self._latest, self.exchange_now)

    def restart(self) -> None:
        """A new connection: the exchange may have gone back in time, so what was seen before
        proves nothing about what it has closed now.
        """
        self._latest = self.latest
        self.exchange_now = 0

    # ---- states ---------------------------------------------------------------------------

    def refuse(self, stream: Stream, what: str) -> None:
        """Count a message or value that cannot be true, and say so in the status rows."""
        self.malformed += 1
        stream.gaps += 1
        self.gaps += 1
        self._status(stream, "gap", f"refused: {what}")

    def gap(self, stream: Stream, detail: str, since: int | None = None) -> None:
        """Something was missed after `since` (the last event); the stream goes on."""
        stream.gaps += 1
        self.gaps += 1
        self._status(stream, "gap", detail, since)

    def repaired(self, stream: Stream, detail: str, since: int, until: int) -> None:
        """What was missed between two exchange times has been had from elsewhere."""
        self._status(stream, "repaired", detail, since, until)

    def subscribed(self, streams: Iterable[Stream], *, given: bool = True) -> None:
        """The exchange has been asked for them; that they come, only events can tell.

        Args:
            streams: that have been subscribed to.
            given: the exchange is known to give them all, so silence of the rare ones is no sign.
        """
        for stream in streams:
            if given and stream.channel in RARE:
                self.live(stream)
            else:
                self.stale(stream, "subscribed, nothing has come yet")

    def stale(self, stream: Stream, detail: str) -> None:
        """The stream's data is no longer current."""
        if stream.state is StreamState.STALE:
            stream.detail = detail
            return
        stream.state = StreamState.STALE
        stream.detail = detail
        self._status(stream, "stale", detail)

    def live(self, stream: Stream) -> None:
        """The stream's data is current again."""
        if stream.state is StreamState.LIVE:
            return
        stream.state = StreamState.LIVE
        stream.detail = ""
        stream.silent_ns = 0
        self._status(stream, "live", "")

    # ---- inside ---------------------------------------------------------------------------

    def _note_time(self, stream: Stream, ts_event: int, ts_recv: int) -> None:
        stream.events += 1
        stream.last_event = ts_event
        stream.last_recv = ts_recv
        if ts_event > self.exchange_now:
            self.exchange_now = ts_event

    def _touch(self, stream: Stream, ts_event: int, ts_recv: int) -> None:
        self._note_time(stream, ts_event, ts_recv)
        if stream.state is not StreamState.LIVE:
            self.live(stream)

    def _status(
        self,
        stream: Stream,
        state: str,
        detail: str,
        since: int | None = None,
        until: int | None = None,
    ) -> None:
        row = (
            stream.symbol,
            self.latest if until is None else until,
            self._now_ns(),
            stream.channel,
            state,
            detail,
            stream.last_event if since is None else since,
        )
        self._add("status", row)

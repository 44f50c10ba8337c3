"""Looks for what does not happen: streams and sockets that are silent, bars that do not come."""

import asyncio
from collections.abc import Mapping

from don.clock import NS_PER_S, Clock
from don.feeds.bars import BarKeeper
from don.feeds.builder import Pair
from don.feeds.config import FeedConfig
from don.feeds.health import Stream, StreamState
from don.feeds.pool import Pool
from don.feeds.repair import BarRepair
from don.feeds.sink import Sink
from don.feeds.socket import FeedSocket
from don.market.quality import check_fresh

TICK_S = 0.05


class Watch:
    """Counts silence only while a socket is read: a slow consumer is no silence of the exchange."""

    def __init__(
        self,
        config: FeedConfig,
        pool: Pool,
        sink: Sink,
        keeper: BarKeeper,
        repair: BarRepair | None,
        clock: Clock,
        streams: Mapping[Pair, Stream],
    ) -> None:
        self._stale_ns = {c: int(s * NS_PER_S) for c, s in config.stale_after_s.items()}
        self._silence_ns = int(config.silence_s * NS_PER_S)
        self._bar_wait_ns = int(config.bar_wait_s * NS_PER_S)
        self._pool = pool
        self._sink = sink
        self._keeper = keeper
        self._repair = repair
        self._clock = clock
        self._streams = streams
        self._quiet: dict[FeedSocket, tuple[int, int]] = {}  # messages seen, ns without a new one
        self._overdue: dict[str, tuple[int, int]] = {}  # symbol -> its bar, and since when

    async def run(self) -> None:
        """Look again and again until cancelled."""
        last_ns = self._clock.monotonic_ns()
        while True:
            await asyncio.sleep(TICK_S)
            now_ns = self._clock.monotonic_ns()
            passed_ns, last_ns = now_ns - last_ns, now_ns
            if len(self._quiet) > len(self._pool.sockets):  # some were replaced
                wanted = set(self._pool.sockets)
                self._quiet = {s: seen for s, seen in self._quiet.items() if s in wanted}
            for lane in self._pool.lanes:
                read = False
                for copy in lane.copies:
                    if copy.socket.connected and not copy.socket.blocked:
                        read = True
                        self._look_at_socket(copy.socket, passed_ns)
                    else:
                        self._quiet.pop(copy.socket, None)
                if read:
                    self._look_at_streams(lane.streams, passed_ns)
            self._look_at_bars(now_ns)

    def _look_at_socket(self, socket: FeedSocket, passed_ns: int) -> None:
        count, quiet_ns = self._quiet.get(socket, (-1, 0))
        quiet_ns = quiet_ns + passed_ns if socket.received == count else 0
        self._quiet[socket] = (socket.received, quiet_ns)
        if quiet_ns > self._silence_ns:
            socket.abort(f"silent for {quiet_ns / NS_PER_S:.1f} s")

    def _look_at_streams(self, streams: list[Stream], passed_ns: int) -> None:
        for stream in streams:
            limit_ns = self._stale_ns.get(stream.channel)
            if limit_ns is None or stream.state is not StreamState.LIVE:
                continue
            if stream.events != stream.seen:
                stream.seen, stream.silent_ns = stream.events, 0
                continue
            if stream.channel == "trades" and not self._moves(stream.symbol):
                continue  # a quiet market
            stream.silent_ns += passed_ns
            issue = check_fresh(stream.symbol, 0, stream.silent_ns, limit_ns)
            if issue is not None:
                self._sink.stale(stream, issue.detail)

    def _moves(self, symbol: str) -> bool:
        """Whether the symbol's market is alive, as far as it can be known without its trades."""
        others = [s for c in ("quotes", "books") if (s := self._streams.get((c, symbol)))]
        return not others or any(s.state is StreamState.LIVE for s in others)

    def _look_at_bars(self, now_ns: int) -> None:
        """Ask REST for a bar whose close has passed on the exchange and that has not come."""
        if self._repair is None or self._repair.busy:
            return
        late = []
        for symbol in self._keeper.symbols:
            due = self._keeper.overdue(symbol, self._sink.exchange_now)
            if due is None:
                self._overdue.pop(symbol, None)
                continue
            noticed, since_ns = self._overdue.get(symbol, (0, 0))
            if noticed != due:
                self._overdue[symbol] = (due, now_ns)
            elif now_ns - since_ns >= self._bar_wait_ns:
                late.append(symbol)
        self._repair.want(late, hold=False)

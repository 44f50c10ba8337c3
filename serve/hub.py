"""The live stream: one long poll of the board, fanned out to bounded clients. Async, no handles.

A client gets a snapshot (board plus the newest rows of the database), then whatever changes. It
is registered before its snapshot is read, so nothing falls between; a row told twice has the same
id.
A client that lags more than its queue is dropped: it will come back for a new snapshot.
"""

import asyncio
import random
from collections.abc import Awaitable, Sequence
from typing import Any

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from actors.board import Change, Stamped
from don.clock import Clock, SystemClock
from don.errors import DependencyError
from serve.assemble import Picture, picture, state_of, thin
from serve.events import EquityPoint, FillView, OrderView
from serve.ports import Page, Reader, Row
from serve.responses import StreamAway, StreamSnapshot, StreamUpdate
from serve.schemas import (
    DecisionView,
    PartHealth,
    PartState,
    SessionView,
    View,
)
from serve.settings import ServeConfig

POLL_S = 2.0  # longest silence between two messages to a client
HEALTH_EVERY_S = 1.0
RETRY_SNAPSHOT_S = 5.0
CLOSE_S = 5.0
TRY_LATER = 1013  # WebSocket close code
BACKOFF_S = (0.25, 5.0)  # first and longest pause while the board is away
SNAPSHOTS = 4  # read from the database at once
FILLS, DECISIONS, EQUITY = 300, 60, 1_200  # rows of a snapshot

_EVENTS: dict[str, tuple[str, type[View]]] = {
    "fill": ("fills", FillView),
    "order": ("orders", OrderView),
    "decision": ("decisions", DecisionView),
    "equity": ("equity", EquityPoint),
}
_RESYNC = ""  # in a client's queue: send a snapshot instead of a message


class _Client:
    """One connection's queue."""

    def __init__(self, depth: int) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue(depth)
        self.slow = asyncio.Event()
        self.retry_at: float | None = None  # its snapshot had holes: send another then


class Hub:
    """Knows the board's latest state and every client."""

    def __init__(self, reader: Reader, config: ServeConfig, clock: Clock | None = None) -> None:
        self._reader = reader
        self._config = config
        self._clock = clock or SystemClock()
        self._views: dict[str, Stamped] = {}
        self._seq = 0
        self._clients: set[_Client] = set()
        self._health_at = 0.0
        self._session: SessionView | None = None  # as it was told last
        self._broken: dict[str, PartHealth] = {}  # kinds of events that did not fit their schema
        self._reading = asyncio.Semaphore(SNAPSHOTS)

    @property
    def clients(self) -> int:
        """How many are connected."""
        return len(self._clients)

    async def run(self) -> None:
        """Poll the board for ever; while it is away, say so and try again, ever more slowly."""
        pause = BACKOFF_S[0]
        while True:
            try:
                change = await self._reader.wait(self._seq, POLL_S)
            except DependencyError as error:
                away = StreamAway(ts=self._clock.now_ns(), detail=str(error))
                self._queue_all(away.model_dump_json())
                await asyncio.sleep(pause * (0.5 + random.random() / 2))
                pause = min(BACKOFF_S[1], pause * 2)
                continue
            pause = BACKOFF_S[0]
            self._take(change)

    def _take(self, change: Change) -> None:
        self._seq = change.seq
        self._views |= change.views
        now = asyncio.get_running_loop().time()
        if change.lost:
            self._queue_all(_RESYNC)
        for client in self._clients:
            if client.retry_at is not None and now >= client.retry_at:
                client.retry_at = None
                self._queue(client, _RESYNC)
        due = now - self._health_at >= HEALTH_EVERY_S
        if due:
            self._health_at = now
        if self._clients and (due or change.views or change.events):
            self._queue_all(self._update(change, due))

    def _update(self, change: Change, health: bool) -> str:
        shown = self._picture()
        update: dict[str, Any] = {"seq": change.seq, "ts": self._clock.now_ns()}
        for key in ("session", "desk", "market"):
            if key in change.views:
                update[key] = getattr(shown, key)
        if update.get("session") == self._session:
            update.pop("session", None)  # put again and again, in case the board was lost
        self._session = update.get("session", self._session)
        for event in change.events:
            self._add_event(update, event)
        if health:
            parts = (*shown.parts, *self._broken.values())
            update |= {"health": parts, "ages": shown.ages, "state": state_of(shown)}
        return StreamUpdate(**update).model_dump_json(exclude_none=True)

    def _add_event(self, update: dict[str, Any], event: Row) -> None:
        kind = event["kind"]
        if kind not in _EVENTS:
            return  # of no interest here; other readers of the board may know it
        field, cls = _EVENTS[kind]
        try:
            update.setdefault(field, []).append(cls.model_validate(event))
        except ValidationError as error:
            where = ".".join(str(step) for step in error.errors()[0]["loc"])
            detail = f"event {kind!r} does not fit its schema: {where}"
            part = PartHealth(part=f"events {kind}", state=PartState.STALE, detail=detail)
            self._broken[kind] = part

    def _picture(self) -> Picture:
        return picture(self._views, self._clock.now_ns(), self._config.stale_after_s)

    def _queue_all(self, message: str) -> None:
        for client in self._clients:
            self._queue(client, message)

    def _queue(self, client: _Client, message: str) -> None:
        try:
            client.queue.put_nowait(message)
        except asyncio.QueueFull:
            client.slow.set()

    async def serve(self, ws: WebSocket) -> None:
        """One client, until it goes or lags too far."""
        if len(self._clients) >= self._config.max_streams:
            await ws.close(TRY_LATER, f"at most {self._config.max_streams} streams")
            return
        await ws.accept()
        client = _Client(self._config.stream_queue)
        client.queue.put_nowait(_RESYNC)
        self._clients.add(client)
        tasks = [
            asyncio.ensure_future(self._pump(ws, client)),
            asyncio.ensure_future(_until_closed(ws)),
            asyncio.ensure_future(client.slow.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._clients.discard(client)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        if client.slow.is_set():
            async with asyncio.timeout(CLOSE_S):
                await ws.close(TRY_LATER, "too slow")
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    async def _pump(self, ws: WebSocket, client: _Client) -> None:
        while True:
            message = await client.queue.get()
            await ws.send_text(message if message != _RESYNC else await self._snapshot(client))

    async def _snapshot(self, client: _Client) -> str:
        shown = self._picture()
        session = shown.session.session or (shown.desk.session if shown.desk else "")
        missing: list[str] = []

        async def rows(name: str, ask: Awaitable[Sequence[Row]]) -> Sequence[Row]:
            try:
                return await ask
            except DependencyError as error:
                missing.append(f"{name}: {error}")
                return ()

        async with self._reading:
            fills, decisions, equity = await asyncio.gather(
                rows("fills", self._reader.fills(Page(session=session, limit=FILLS))),
                rows("decisions", self._reader.decisions(Page(session=session, limit=DECISIONS))),
                rows("equity", self._reader.equity(session, None, None)),
            )
        if missing:
            loop = asyncio.get_running_loop()
            client.retry_at = loop.time() + RETRY_SNAPSHOT_S
        return StreamSnapshot(
            seq=self._seq,
            ts=self._clock.now_ns(),
            state=state_of(shown),
            session=shown.session,
            desk=shown.desk,
            market=shown.market,
            health=shown.parts,
            ages=dict(shown.ages),
            fills=tuple(FillView.model_validate(row) for row in reversed(fills)),
            decisions=tuple(DecisionView.model_validate(row) for row in reversed(decisions)),
            equity=tuple(EquityPoint.model_validate(row) for row in thin(equity, EQUITY)),
            missing=tuple(missing),
        ).model_dump_json(exclude_none=True)


async def _until_closed(ws: WebSocket) -> None:
    """Receive, or a closed tab is never noticed; what a client says is of no interest."""
    while (await ws.receive())["type"] != "websocket.disconnect":
        pass

"""What the test world answers to the API: views of the board, rows from memory, real files."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from support.coverage_world import StoredReads
from support.world_views import INTERVAL_NS, SESSION

from actors.board import Board, Change, Stamped
from don.clock import SystemClock
from don.envs.shown import Shown
from don.errors import DependencyError
from serve import clocks, episodes, training
from serve.episodes import EpisodeTold
from serve.ports import Page, Row, TrainingTold
from serve.registered import ModelsAsked, ModelsTold, ModelTold, RegistryReads
from serve.schemas import ClockView


class WorldReads(StoredReads):
    """`Reader`, for a world that knows its rows."""

    board: Board
    away: str  # why the board cannot be reached, if so
    registry: RegistryReads | None = None  # None: nobody imported a model
    home: Path  # a state folder; it need not exist
    at: int
    bars_by: dict[str, list[dict[str, Any]]]
    symbols: tuple[str, ...]
    fill_rows: list[dict[str, Any]]
    order_rows: list[dict[str, Any]]
    decision_rows: list[dict[str, Any]]
    equity_rows: list[dict[str, Any]]

    async def views(self) -> Mapping[str, Stamped]:
        if self.away:
            raise DependencyError(self.away)
        return await self.board.get()

    async def wait(self, seq: int, timeout_s: float) -> Change:
        if self.away:
            raise DependencyError(self.away)
        return await self.board.wait(seq, timeout_s)

    async def sessions(self, limit: int) -> Sequence[Row]:
        self._need()
        return [{"session": SESSION, "policy": "momentum", "symbols": self.symbols}][:limit]

    async def orders(self, page: Page) -> Sequence[Row]:
        return self._page(self.order_rows, page)

    async def fills(self, page: Page) -> Sequence[Row]:
        return self._page(self.fill_rows, page)

    async def decisions(self, page: Page) -> Sequence[Row]:
        return self._page(self.decision_rows, page)

    def _page(self, rows: Sequence[Row], page: Page) -> Sequence[Row]:
        self._need()
        if page.session != SESSION:
            return []
        found = [
            {**row, "seq": seq}
            for seq, row in reversed(list(enumerate(rows, start=1)))
            if (page.symbol is None or row["symbol"] == page.symbol)
            and (page.before is None or seq < page.before)
        ]
        return found[: page.limit]

    async def equity(self, session: str, start: int | None, end: int | None) -> Sequence[Row]:
        self._need()
        return [
            row
            for row in self.equity_rows
            if session == SESSION
            and (start is None or row["ts_event"] >= start)
            and (end is None or row["ts_event"] < end)
        ]

    async def bars(
        self, symbol: str, interval_ns: int, start: int | None, end: int | None, limit: int
    ) -> Sequence[Row]:
        self._need()
        assert interval_ns == INTERVAL_NS
        found = [
            bar
            for bar in self.bars_by[symbol][: self.at]
            if (start is None or bar["ts_open"] >= start) and (end is None or bar["ts_open"] < end)
        ]
        return found[-limit:]

    async def trainings(self) -> Sequence[TrainingTold]:
        return training.listed(self.home)

    async def training(self, run: str, points: int) -> TrainingTold | None:
        return training.curve(self.home, run, points)

    async def episodes(self) -> Sequence[EpisodeTold]:
        return episodes.listed(self.home)

    async def episode(self, name: str, told: Callable[[EpisodeTold, Shown], bytes]) -> bytes | None:
        return await asyncio.to_thread(episodes.one, self.home, name, told)

    async def models(self, asked: ModelsAsked) -> ModelsTold:
        self._need()
        if self.registry is None:
            return ModelsTold(models=(), count=0)
        return self.registry.listed(asked)

    async def model(self, text: str, session: str) -> tuple[ModelTold, str]:
        self._need()
        assert self.registry is not None
        return self.registry.one(text, session)

    async def clocks(self) -> Sequence[ClockView]:
        return clocks.collected(self.home, SystemClock().now_ns())

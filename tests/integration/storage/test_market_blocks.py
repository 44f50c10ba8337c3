"""Blocks change how fast an answer comes, never what it says."""

import json
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.stored import DAY, MINUTE, T0, market_rows

from don.clock import ReplayClock
from don.storage.database import Database
from don.storage.lake.archive import Archiver
from don.storage.lake.lake import Lake
from don.storage.market.blocks import Blocks
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.seals import SPAN_NS

pytestmark = pytest.mark.postgres
HOUR = 60 * MINUTE


def said(table: pa.Table) -> str:
    return json.dumps(table.to_pylist())  # NaN is NaN


class Both:
    """The same questions with and without blocks."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.blocks = Blocks(database, folder / "blocks")
        lake = Lake(str(folder / "lake"))
        self.fast = MarketStore(database, lake, blocks=self.blocks)
        self.plain = MarketStore(database, lake)
        self.archiver = Archiver(database, lake, ReplayClock(T0))

    def agree(self, channel: str) -> None:
        asks: list[dict[str, Any]] = [
            {},
            {"symbols": ["ETH-USDT-PERP"], "columns": ["ts_event"]},
            {"start": T0 + 5 * HOUR, "end": T0 + 40 * HOUR + 1, "exchange": "KRAKEN"},
            {"start": T0 + HOUR, "end": T0 + 2 * HOUR},
            {"last": 3},
        ]
        for ask in asks:
            for interval in (None, MINUTE, 5 * MINUTE) if channel == "bars" else (None,):
                fast = self.fast.read(channel, **ask, interval=interval)
                assert said(fast) == said(self.plain.read(channel, **ask, interval=interval)), ask
        if channel == "bars":
            for interval in (HOUR, 4 * HOUR, 30 * MINUTE):
                for start, end in [(T0, T0 + 4 * DAY), (T0 + 5 * HOUR, T0 + 40 * HOUR + 1)]:
                    fast = self.fast.bars(None, interval, start, end)
                    slow = self.plain.bars(None, interval, start, end)
                    assert fast.drop(["volume"]).equals(slow.drop(["volume"])), (interval, start)


@pytest.mark.parametrize("channel", ["trades", "bars", "marks", "books"])
def test_answers_are_the_same_whatever_happens_to_the_rows(
    database: Database, tmp_path: Path, channel: str
) -> None:
    both, tables = Both(database, tmp_path), MarketTables(database)
    tables.load(channel, market_rows(channel, 900, step=MINUTE))
    assert both.blocks.build(channel, T0, T0 + 2 * DAY + 1) == 8
    assert both.blocks.build(channel, T0, T0 + 2 * DAY + 1) == 0
    both.agree(channel)
    tables.load(channel, market_rows(channel, 30, seed=3, start=T0 + DAY, end=T0 + DAY + HOUR))
    both.agree(channel)  # late rows broke a seal
    assert both.blocks.build(channel, T0, T0 + 2 * DAY + 1) in (1, 2)
    both.agree(channel)
    for part in both.archiver.due(channel, T0 + 400 * DAY, 0)[:1]:
        both.archiver.archive(part)
    both.agree(channel)
    assert both.blocks.sweep(channel) >= 1
    both.agree(channel)


def test_blocks_are_used_and_their_loss_is_harmless(database: Database, tmp_path: Path) -> None:
    both = Both(database, tmp_path)
    MarketTables(database).load("trades", market_rows("trades", 300))
    both.blocks.build("trades", T0, T0 + DAY)
    files = sorted((tmp_path / "blocks" / "trades").iterdir())
    assert len(files) == 4
    with database.connection() as connection:
        held = both.blocks.held(connection, "trades", T0, T0 + DAY)
        assert sorted(held) == [T0 + n * SPAN_NS for n in range(4)]
        inside = both.blocks.held(connection, "trades", T0 + SPAN_NS, T0 + 2 * SPAN_NS + 1)
        assert sorted(inside) == [T0 + SPAN_NS, T0 + 2 * SPAN_NS]
    files[0].write_bytes(files[0].read_bytes()[:100])  # cut off by a crash
    files[1].unlink()
    fresh = Both(database, tmp_path)
    fresh.agree("trades")
    assert fresh.blocks.build("trades", T0, T0 + DAY) == 2


def test_no_row_is_missed_while_loads_go_on(database: Database, tmp_path: Path) -> None:
    both, tables = Both(database, tmp_path), MarketTables(database)
    rows = market_rows("trades", 600, end=T0 + DAY)
    tables.load("trades", rows.slice(0, 10))
    loading = threading.Thread(
        target=lambda: [tables.load("trades", rows.slice(at, 20)) for at in range(10, 600, 20)]
    )
    loading.start()
    seen = 0
    while loading.is_alive():
        both.blocks.build("trades", T0, T0 + DAY)
        known = both.plain.read("trades", columns=["id"]).num_rows
        found = both.fast.read("trades", columns=["id"])
        assert found.num_rows >= known >= seen  # what was there before is there after
        seen = known
    loading.join()
    both.blocks.build("trades", T0, T0 + DAY)
    both.agree("trades")
    assert both.fast.read("trades").num_rows == rows.num_rows
    assert pc.count_distinct(both.fast.read("trades")["id"]).as_py() == rows.num_rows


def test_hours_whose_bars_move_to_the_lake_meanwhile_are_all_there(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Both(database, tmp_path)
    MarketTables(database).load("bars", market_rows("bars", 900, step=MINUTE))
    both.blocks.build("bars", T0, T0 + DAY)
    wanted = both.plain.bars(None, HOUR, T0 + 1, T0 + 4 * DAY)
    plain, waiting = MarketStore._files, ["once"]

    def files(self: MarketStore, *given: Any) -> Any:
        found = plain(self, *given)
        if waiting and self is both.fast:
            waiting.clear()
            for part in both.archiver.due("bars", T0 + 400 * DAY, 0):
                both.archiver.archive(part)
        return found

    plain_hours = MarketStore.hours

    def hours(self: MarketStore, *given: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(MarketStore, "_files", files)
            return plain_hours(self, *given)

    monkeypatch.setattr(MarketStore, "hours", hours)
    found = both.fast.bars(None, HOUR, T0 + 1, T0 + 4 * DAY)
    assert not waiting
    assert found.drop(["volume"]).equals(wanted.drop(["volume"]))

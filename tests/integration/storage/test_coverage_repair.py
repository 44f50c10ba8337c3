"""Gaps filled from a real (paper) exchange, judged by the rows; what it does not have is told."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.paper import served

from don.clock import NS_PER_MS, SystemClock
from don.errors import DataError
from don.exchanges.ccxt_history import CcxtHistory, HistoryConfig
from don.exchanges.history import History, Page, Place, Series
from don.market.coverage import MINUTE_NS, Range, State
from don.model.channels import complete, conform
from don.paper.server.config import Ready
from don.storage.database import Database
from don.storage.market.audit import rebuild
from don.storage.market.backfill import Backfill, BackfillConfig
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.repair import GapRepair

pytestmark = pytest.mark.postgres
HALF_HOUR = 30 * MINUTE_NS
BTC = "BTC-USDT-PERP"
T0 = 1_746_057_600_000_000_000


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Ready]:
    async with served(tmp_path) as ready:
        yield ready


async def test_missing_bars_are_fetched_again(exchange: Ready, database: Database) -> None:
    config = HistoryConfig(rest_url=exchange.rest_url, page=100)
    at = CcxtHistory("BINANCE_FUTURES", config, SystemClock())
    await at.symbols()
    rows = await at.ccxt.fetch_ohlcv("BTC/USDT:USDT", "30m", limit=121)
    start, end = rows[0][0] * NS_PER_MS, rows[-1][0] * NS_PER_MS
    history = History(at)
    series = Series(channel="bars", symbol=BTC, interval_ns=HALF_HOUR)
    fetch = Backfill(history, database, BackfillConfig(), SystemClock(), lambda progress: None)
    await fetch.run([series], start, end)
    lost = [(20, 25), (40, 41), (90, 100)]
    with database.connection() as connection:
        for low, high in lost:
            connection.execute(
                "DELETE FROM md_bars WHERE ts_event > %s AND ts_event <= %s",
                (start + low * HALF_HOUR, start + high * HALF_HOUR),
            )
    store, ledger = MarketStore(database), CoverageLedger(database)
    rebuild(store, ledger)
    gaps = ledger.read(states=[State.GAP])
    assert [((g.start - start) // HALF_HOUR, (g.end - start) // HALF_HOUR) for g in gaps] == lost
    books = Range(
        exchange="BINANCE_FUTURES", channel="books", symbol=BTC, start=start,
        end=start + MINUTE_NS, state=State.GAP, reason="disconnected",
    )  # fmt: skip
    ledger.add([books])
    outcomes = await GapRepair(history, database, store).run([*gaps, books])
    assert [outcome.state for outcome in outcomes] == [State.REPAIRED] * 3 + [State.GAP]
    assert sum(outcome.inserted for outcome in outcomes) == 16
    assert outcomes[3].detail == "no exchange tells books afterwards"
    assert ledger.read(channel="bars", states=[State.GAP]) == []
    shares = ledger.shares("BINANCE_FUTURES", "bars:30m", [BTC], start, end)
    assert shares.fractions()["repaired"] == pytest.approx(16 / 120)
    assert shares.fractions()["complete"] == pytest.approx(104 / 120)
    await at.close()


class Told:
    """An exchange's history with holes: a page holds at most 50 rows."""

    def __init__(self, channel: str, times: np.ndarray, ids: np.ndarray | None = None) -> None:
        self.exchange = "BINANCE"
        self._channel, self._times, self._ids = channel, times, ids

    async def check(self, series: Series) -> None:
        assert series.symbol == BTC

    async def page(self, series: Series, place: Place, end_ns: int) -> Page:
        which = np.flatnonzero((self._times >= place.cursor_ns) & (self._times < end_ns))[:50]
        table = table_of(self._channel, self._times[which], None if self._ids is None
                         else self._ids[which], "history")  # fmt: skip
        cursor = int(self._times[which[-1]]) + 1 if len(which) else end_ns
        return Page(
            table=table, place=Place(cursor_ns=cursor), done=len(which) < 50,
            proven_from=place.cursor_ns, proven_to=cursor if len(which) == 50 else end_ns,
        )  # fmt: skip


def table_of(
    channel: str, times: np.ndarray, ids: np.ndarray | None = None, origin: str = "stream"
) -> pa.Table:
    one = np.ones(len(times))
    columns = {"ts_event": times, "origin": [origin] * len(times)}
    if channel == "trades":
        columns |= {"id": ids, "price": one, "size": one, "buy": one > 0}
    else:
        columns |= {c: one for c in ("open", "high", "low", "close", "volume")}
        columns["interval_ns"] = np.full(len(times), MINUTE_NS)
    table = complete(channel, pa.table(columns), exchange="BINANCE", symbol=BTC)
    return conform(channel, table, where="test")


async def test_trades_are_judged_by_their_ids(database: Database) -> None:
    ids = np.arange(1_000)
    times = T0 + ids * 20 * 10**9
    kept = (ids < 300) | ((ids >= 480) & (ids < 700)) | (ids >= 710)
    MarketTables(database).load("trades", table_of("trades", times[kept], ids[kept]))
    store, ledger = MarketStore(database), CoverageLedger(database)
    rebuild(store, ledger)
    gaps = ledger.read(states=[State.GAP])
    assert [gap.reason for gap in gaps] == [
        "trades 300 to 479 missing (180)", "trades 700 to 709 missing (10)",
    ]  # fmt: skip
    there = (ids < 700) | (ids > 704)  # the exchange has lost some of the second gap too
    told = Told("trades", times[there], ids[there])
    outcomes = await GapRepair(told, database, store).run(gaps)  # type: ignore[arg-type]
    assert [(o.state, o.inserted) for o in outcomes] == [(State.REPAIRED, 180), (State.GAP, 5)]
    assert outcomes[1].detail == "the exchange does not have it all"
    (left,) = ledger.read(states=[State.GAP])
    assert left.reason == "trades 700 to 704 missing (5)"
    origins = store.read("trades", columns=["origin"])["origin"].to_pylist()
    assert origins.count("repair") == 185


async def test_bars_that_the_exchange_does_not_have_are_its_outage(database: Database) -> None:
    closes = T0 + (np.arange(100) + 1) * MINUTE_NS
    n = np.arange(100)
    kept = (n < 50) | (n >= 60)
    MarketTables(database).load("bars", table_of("bars", closes[kept]))
    store, ledger = MarketStore(database), CoverageLedger(database)
    rebuild(store, ledger)
    (gap,) = ledger.read(states=[State.GAP])
    there = (n < 52) | (n >= 60)
    told = Told("bars", closes[there])
    (outcome,) = await GapRepair(told, database, store).run([gap])  # type: ignore[arg-type]
    assert outcome.state is State.DOWN and outcome.inserted == 2
    states = [(e.state, e.minutes) for e in ledger.read()]
    assert states == [
        (State.COMPLETE, 50), (State.REPAIRED, 2), (State.DOWN, 8), (State.COMPLETE, 40),
    ]  # fmt: skip
    rebuild(store, ledger)  # an audit does not take the explanation back
    assert [e.state for e in ledger.read()].count(State.DOWN) == 1


async def test_a_repair_that_fails_leaves_the_gap(database: Database) -> None:
    class Broken(Told):
        async def page(self, series: Series, place: Place, end_ns: int) -> Page:
            raise DataError("the answer is not understood")

    ledger = CoverageLedger(database)
    gap = Range(exchange="BINANCE", channel="trades", symbol=BTC, start=T0, end=T0 + MINUTE_NS,
                state=State.GAP, reason="away")  # fmt: skip
    ledger.add([gap])
    work = GapRepair(Broken("trades", np.empty(0, int)), database, MarketStore(database))  # type: ignore[arg-type]
    (outcome,) = await work.run([gap])
    assert (outcome.state, outcome.detail) == (State.GAP, "the answer is not understood")
    assert ledger.read() == [gap]


async def test_the_command_repairs_from_an_address(
    exchange: Ready, database: Database, database_url: str, don_home: Path
) -> None:
    config = HistoryConfig(rest_url=exchange.rest_url, page=100)
    at = CcxtHistory("BINANCE_FUTURES", config, SystemClock())
    await at.symbols()
    rows = await at.ccxt.fetch_ohlcv("BTC/USDT:USDT", "30m", limit=31)
    await at.close()
    start = rows[0][0] * NS_PER_MS
    ledger = CoverageLedger(database)
    gap = Range(
        exchange="MINE", channel="bars:30m", symbol=BTC, start=start,
        end=start + 30 * HALF_HOUR, state=State.GAP, reason="not collected",
    )  # fmt: skip
    ledger.add([gap])
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "don.cli.main", "data", "repair", "--exchange", "MINE", "--ask",
        "BINANCE_FUTURES", "--rest-url", exchange.rest_url, "--json", "--strict",
        env={**os.environ, "DON_HOME": str(don_home), "DON_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, stderr = await done.communicate()
    assert done.returncode == 0, stderr.decode()
    (outcome,) = json.loads(stdout)["outcomes"]
    assert (outcome["state"], outcome["inserted"]) == ("repaired", 30)
    assert MarketStore(database).read("bars", exchange="MINE").num_rows == 30

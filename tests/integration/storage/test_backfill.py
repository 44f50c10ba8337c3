"""Backfill from a real (paper) exchange into a real database: complete, resumable, once."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.paper import raw, served, until

from don.clock import NS_PER_MS, SystemClock, iso
from don.errors import DatabaseError, UsageError
from don.exchanges.ccxt_history import CcxtHistory, HistoryConfig
from don.exchanges.history import History, Series
from don.paper.server.config import LimitsConfig, Ready
from don.storage.database import Database
from don.storage.market.backfill import Backfill, BackfillConfig, Progress, State
from don.storage.market.backfill_table import Range, missing

MINUTE = 60_000 * NS_PER_MS
HALF_HOUR = 30 * MINUTE
BTC, ETH = "BTC-USDT-PERP", "ETH-USDT-PERP"


@pytest.fixture
async def exchange(tmp_path: Path) -> AsyncIterator[Ready]:
    async with served(tmp_path) as ready:
        yield ready


def connection(ready: Ready, page: int = 100) -> CcxtHistory:
    config = HistoryConfig(rest_url=ready.rest_url, page=page)
    return CcxtHistory("BINANCE_FUTURES", config, SystemClock())


async def span(at: CcxtHistory, bars: int) -> tuple[int, int]:
    """A range of closed half hours behind the tape's present."""
    await at.symbols()
    rows = await at.ccxt.fetch_ohlcv("BTC/USDT:USDT", "30m", limit=bars + 1)
    return rows[0][0] * NS_PER_MS, rows[-1][0] * NS_PER_MS


async def told(at: CcxtHistory, symbol: str, start: int, end: int) -> list[int]:
    """Bars that the exchange has in a range: those that its recording lacks it does not tell."""
    rows = await at.ccxt.fetch_ohlcv(symbol, "30m", start // NS_PER_MS, 1_000)
    return [row[0] for row in rows if row[0] * NS_PER_MS < end]


def stored(db: Database, table: str) -> list[tuple]:
    with db.connection() as connection:
        return connection.execute(
            f"SELECT s.symbol, m.* FROM {table} AS m JOIN series AS s ON s.id = m.series "
            "ORDER BY s.symbol, m.ts_event"
        ).fetchall()


def run(at: CcxtHistory, db: Database, report=lambda progress: None, **config) -> Backfill:
    return Backfill(History(at), db, BackfillConfig(**config), SystemClock(), report)


async def test_bars_and_marks_are_the_exchange_s_and_a_repeat_fetches_nothing(
    exchange: Ready, database: Database
) -> None:
    at = connection(exchange)
    start, end = await span(at, 250)
    wanted = [
        Series(channel=channel, symbol=symbol, interval_ns=HALF_HOUR)
        for channel in ("bars", "marks")
        for symbol in (BTC, ETH)
    ]
    seen: list[Progress] = []
    ended = await run(at, database, seen.append).run(wanted, start, end)
    assert [(p.state, p.rows, p.inserted) for p in ended] == [(State.DONE, 250, 250)] * 4
    assert all(p.fraction == 1.0 for p in ended)
    assert any(p.eta_s for p in seen if p.state is State.RUNNING)

    theirs = await at.ccxt.fetch_ohlcv("BTC/USDT:USDT", "30m", since=start // NS_PER_MS, limit=250)
    with database.connection() as opened:
        ours = opened.execute(
            "SELECT m.ts_event, open, high, low, close, volume FROM md_bars AS m "
            "JOIN series AS s ON s.id = m.series WHERE s.symbol = %s ORDER BY 1",
            (BTC,),
        ).fetchall()
        marks = opened.execute(
            "SELECT count(*), count(*) FILTER (WHERE index = mark) FROM md_marks"
        )
        assert marks.fetchone() == (500, 500)
    assert [tuple(row) for row in ours] == [
        (row[0] * NS_PER_MS + HALF_HOUR, *map(float, row[1:])) for row in theirs
    ]

    again = await run(at, database).run(wanted, start, end)
    assert [(p.state, p.pages, p.fraction) for p in again] == [(State.DONE, 0, 1.0)] * 4
    earlier = await run(at, database).run(wanted[:1], start - 10 * HALF_HOUR, end)
    assert (earlier[0].rows, earlier[0].inserted) == (10, 10), "only what was missing"
    await at.close()


async def test_the_forming_bar_is_never_stored(exchange: Ready, database: Database) -> None:
    at = connection(exchange)
    start, end = await span(at, 20)
    (ended,) = await run(at, database).run(
        [Series(channel="bars", symbol=BTC, interval_ns=HALF_HOUR)], start, end + 10**18
    )
    assert (ended.state, ended.rows) == (State.DONE, 20)
    with database.connection() as opened:
        newest = opened.execute("SELECT max(ts_event) FROM md_bars").fetchone()[0]
    assert newest == end
    await at.close()


async def test_what_cannot_be_fetched_is_refused_before_anything_is(
    exchange: Ready, database: Database
) -> None:
    at = connection(exchange)
    work = run(at, database)
    for series, text in (
        (Series(channel="bars", symbol="BTD-USDT-PERP", interval_ns=MINUTE), "near: BTC-USDT-PERP"),
        (Series(channel="bars", symbol=BTC, interval_ns=7 * MINUTE), "no interval of 420 s"),
        (Series(channel="books", symbol=BTC), "channel must be one of"),
    ):
        with pytest.raises(UsageError, match=text):
            await work.run([series], 1, 2)
    await at.close()


async def test_a_backfill_keeps_to_the_exchange_s_limits(tmp_path: Path, database) -> None:
    limits = LimitsConfig(weight_per_minute=2_400)
    async with served(tmp_path, limits=limits) as ready:
        at = connection(ready, page=20)
        start, end = await span(at, 200)
        wanted = [
            Series(channel="bars", symbol=symbol, interval_ns=HALF_HOUR)
            for symbol in await at.symbols()
        ]
        ended = await run(at, database, parallel=8).run(wanted, start, end)
        assert {p.state for p in ended} == {State.DONE}
        assert 0 < at.gate.use() <= 0.5, "data may use half"
        await at.close()


async def test_a_database_that_is_away_for_a_moment_loses_nothing(
    exchange: Ready, database: Database
) -> None:
    at = connection(exchange)
    start, end = await span(at, 300)
    work = run(at, database, retry_base_s=0.01, retry_cap_s=0.05)
    whole, failures = work._ranges.store, iter([True, True, False, True, False, False, False])

    def flaky(*arguments, **named):
        if next(failures, False):
            whole(*arguments, **named)  # stored, and the answer was lost
            raise DatabaseError("away")
        return whole(*arguments, **named)

    work._ranges.store = flaky
    (ended,) = await work.run(
        [Series(channel="bars", symbol=BTC, interval_ns=HALF_HOUR)], start, end
    )
    assert ended.state is State.DONE
    assert len(stored(database, "md_bars")) == 300
    await at.close()


async def test_trades_are_paged_by_id_and_funding_by_time(
    tmp_path: Path, database: Database
) -> None:
    async with served(tmp_path, hold=False, speed="60bar") as ready, raw(ready) as rest:
        trades: list[dict] = []
        paid: list[dict] = []
        async with asyncio.timeout(120):
            while len(trades) < 700 or len(paid) < 2:
                await asyncio.sleep(0.2)
                _, trades, _ = await rest(
                    "GET", "/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1_000
                )
                _, paid, _ = await rest("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT")
        await rest("POST", "/paper/v1/pause")
        # all that it still has, from a trade in the middle on
        _, trades, _ = await rest("GET", "/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1_000)
        _, paid, _ = await rest("GET", "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1_000)
        start = min(trades[-500]["T"], paid[0]["fundingTime"]) * NS_PER_MS
        first = trades[-500]["T"]
        at = connection(ready, page=60)
        end = (trades[-1]["T"] + 3_600_000) * NS_PER_MS
        ended = await run(at, database).run(
            [Series(channel="trades", symbol=BTC)], first * NS_PER_MS, end
        )
        ended += await run(at, database).run([Series(channel="funding", symbol=BTC)], start, end)
        await at.close()
    assert [p.state for p in ended] == [State.DONE] * 2, ended
    with database.connection() as opened:
        ours = opened.execute("SELECT id, price, size, buy FROM md_trades ORDER BY id").fetchall()
        rates = opened.execute("SELECT ts_event, rate FROM md_funding ORDER BY 1").fetchall()
    wanted = [t for t in trades if t["T"] >= first]
    assert ours == [(t["a"], float(t["p"]), float(t["q"]), not t["m"]) for t in wanted]
    assert rates == [
        (row["fundingTime"] * NS_PER_MS, float(row["fundingRate"]))
        for row in paid
        if row["fundingTime"] * NS_PER_MS >= start
    ]


def test_missing_ranges() -> None:
    def ranges(*pairs: tuple[int, int]) -> list[Range]:
        return [Range(start_ns=a, end_ns=b) for a, b in pairs]

    (whole,) = ranges((10, 50))
    assert missing(whole, []) == [whole]
    assert missing(whole, ranges((0, 60))) == []
    assert missing(whole, ranges((20, 30), (5, 12), (28, 35))) == ranges((12, 20), (35, 50))
    assert missing(whole, ranges((60, 70), (0, 5))) == [whole]


@pytest.mark.fault
async def test_killed_in_the_middle_it_goes_on_where_it_was(
    exchange: Ready, database_url: str, database: Database
) -> None:
    """kill -9 of the real command, then again to the end: complete, and every row once."""
    at = connection(exchange)
    start, end = await span(at, 400)
    there = [len(await told(at, name, start, end)) for name in ("BTC/USDT:USDT", "ETH/USDT:USDT")]
    assert there[0] == 400
    await at.close()
    command = [
        sys.executable, "-m", "don.cli.main", "data", "backfill", "BINANCE_FUTURES", "bars",
        "--symbols", f"{BTC},{ETH}", "--start", iso(start), "--end", iso(end),
        "--interval", "30m", "--rest-url", exchange.rest_url, "--json", "--parallel", "1",
        "--page", "20",
    ]  # fmt: skip
    env = {**os.environ, "DON_DATABASE_URL": database_url}
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None

    def done() -> int:
        with database.connection() as opened:
            rows = opened.execute("SELECT coalesce(sum(rows), 0) FROM backfill_range")
            return int(rows.fetchone()[0])

    await until(lambda: done() > 0, "the first pages")
    process.send_signal(signal.SIGKILL)
    await process.wait()
    half = done()
    assert half < sum(there), "killed too late to show anything"
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, error = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode == 0, error.decode()
    lines = [json.loads(line) for line in output.decode().splitlines()]
    assert lines[-1]["failed"] == 0
    assert sum(row["rows"] for row in lines[-1]["summary"]) == sum(there) - half
    assert len(stored(database, "md_bars")) == sum(there)

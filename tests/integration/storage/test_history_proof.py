"""What an exchange's answer proves, and trades that history tells otherwise than the stream."""

import types
import uuid
from typing import Any

import pyarrow as pa
import pytest

from don.clock import NS_PER_MS, NS_PER_S, SystemClock
from don.exchanges.history import History, Series
from don.market.coverage import MINUTE_NS, Range, State
from don.model.channels import complete
from don.model.trade_ids import trade_id
from don.storage.database import Database
from don.storage.market.backfill import Backfill, BackfillConfig
from don.storage.market.coverage import CoverageLedger
from don.storage.market.hot import MarketTables
from don.storage.market.reads import MarketStore
from don.storage.market.repair import GapRepair

pytestmark = pytest.mark.postgres
T0 = 1_767_607_200_000_000_000  # a whole minute
BTC = "BTC-USD"


class Answers:
    """A connection to an exchange that tells these rows, or of them only its newest.

    With `minutes` it tells those of as many minutes as are asked for, not as many rows.
    """

    def __init__(
        self, exchange: str, name: str, rows: list[Any], newest: int = 10**9, *,
        page: int = 1_000, minutes: bool = False,
    ) -> None:  # fmt: skip
        self.exchange, self.id, self.listed = exchange, name, {BTC: "BTC/USD"}
        self.config = types.SimpleNamespace(page=page)

        async def answer(symbol: str, *arguments: Any) -> list[Any]:
            since, limit = arguments[-2:] if len(arguments) > 2 else arguments[:2]
            at = lambda row: row[0] if isinstance(row, list) else row["timestamp"]  # noqa: E731
            told = [row for row in rows[-newest:] if since is None or at(row) >= since]
            if minutes and since is not None:
                told = [row for row in told if at(row) < since + limit * 60_000]
            return told[-limit:] if since is None else told[:limit]

        async def trades(symbol: str, since: Any, limit: int, params: Any = None) -> list[Any]:
            return await answer(symbol, since, limit)

        async def nothing(*arguments: Any) -> list[Any]:
            return []

        self.ccxt = types.SimpleNamespace(
            fetch_trades=trades, fetch_ohlcv=answer, fetch_open_interest_history=nothing
        )

    async def symbols(self) -> list[str]:
        return list(self.listed)

    def has(self, what: str) -> bool:
        return True

    def timeframe(self, interval_ns: int) -> str:
        return "1m"

    async def call(self, call: Any, *arguments: Any) -> Any:
        return await call(*arguments)


def gap(exchange: str, channel: str, start: int, end: int) -> Range:
    return Range(exchange=exchange, channel=channel, symbol=BTC, start=start, end=end,
                 state=State.GAP, reason="disconnected")  # fmt: skip


def told(at_ms: int, name: str) -> dict[str, Any]:
    return {"timestamp": at_ms, "id": name, "price": 100.0, "amount": 1.0, "side": "buy"}


@pytest.mark.parametrize(
    ("exchange", "name", "us", "ids"),
    [
        ("BITMEX", "bitmex", 0, [str(uuid.UUID(int=n + 1)) for n in range(90)]),
        ("COINBASE", "coinbaseexchange", 123_456, [str(1_000 + n) for n in range(90)]),
    ],
)
async def test_repair_knows_the_trades_of_the_stream_again(
    database: Database, exchange: str, name: str, us: int, ids: list[str]
) -> None:
    times = [T0 + n * NS_PER_S + us * 1_000 for n in range(90)]
    stream = pa.table({"ts_event": times, "id": [trade_id(each) for each in ids],
                       "price": [100.0] * 90, "size": [1.0] * 90, "buy": [True] * 90})  # fmt: skip
    tables, store, ledger = MarketTables(database), MarketStore(database), CoverageLedger(database)
    kept = stream.filter(pa.array([n not in (30, 31) for n in range(90)]))
    tables.load("trades", complete("trades", kept, exchange=exchange, symbol=BTC))
    rows = [told(ts // NS_PER_MS, each) for ts, each in zip(times, ids, strict=True)]
    rows.insert(0, told(T0 // NS_PER_MS - 5_000, "before"))  # the newest reach back behind the gap
    missing = gap(exchange, "trades", T0, T0 + MINUTE_NS)
    ledger.add([missing])
    connection: Any = Answers(exchange, name, rows)
    (outcome,) = await GapRepair(History(connection), database, store).run([missing])
    assert (outcome.state, outcome.inserted) == (State.REPAIRED, 2)
    assert store.read("trades", [BTC]).num_rows == 90


async def test_an_exchange_that_tells_its_newest_trades_proves_nothing_older(
    database: Database,
) -> None:
    now = T0 + 3_600 * NS_PER_S
    rows = [told(now // NS_PER_MS + n, str(9_000 + n)) for n in range(100)]
    connection: Any = Answers("COINBASE", "coinbaseexchange", rows)
    missing = gap("COINBASE", "trades", T0, T0 + 10 * MINUTE_NS)
    CoverageLedger(database).add([missing])
    repair = GapRepair(History(connection), database, MarketStore(database))
    (outcome,) = await repair.run([missing])
    assert outcome.state is State.GAP and "only from" in outcome.detail
    work = Backfill(History(connection), database, BackfillConfig(), SystemClock(), lambda p: None)
    (ended,) = await work.run([Series(channel="trades", symbol=BTC)], T0, T0 + MINUTE_NS)
    assert (ended.proven, ended.fraction) == ((), 0.0)


@pytest.mark.parametrize("lacks", [range(5, 8), range(7, 40), range(7, 48)])
async def test_a_page_with_a_hole_in_it_is_not_the_last_one(
    database: Database, lacks: range
) -> None:
    """COIN-M is asked for a page's time: an outage in it leaves a page that is not full."""
    times = [T0 // NS_PER_MS + n * 60_000 for n in range(101) if n not in lacks]
    rows = [[ts, 1.0, 2.0, 0.5, 1.5, 10.0] for ts in times]
    connection: Any = Answers("BINANCE_DELIVERY", "binancecoinm", rows, page=10, minutes=True)
    work = Backfill(History(connection), database, BackfillConfig(), SystemClock(), lambda p: None)
    series = Series(channel="bars", symbol=BTC, interval_ns=MINUTE_NS)
    (ended,) = await work.run([series], T0, T0 + 100 * MINUTE_NS)
    assert ended.rows == 100 - len(lacks)
    assert MarketStore(database).read("bars", [BTC]).num_rows == ended.rows


async def test_an_empty_answer_completes_nothing(database: Database) -> None:
    connection: Any = Answers("BINANCE_FUTURES", "binanceusdm", [])
    work = Backfill(History(connection), database, BackfillConfig(), SystemClock(), lambda p: None)
    series = Series(channel="open_interest", symbol=BTC, interval_ns=5 * MINUTE_NS)
    (ended,) = await work.run([series], T0, T0 + 600 * MINUTE_NS)
    assert (ended.rows, ended.proven) == (0, ())


@pytest.mark.parametrize(("newest", "state"), [(50, State.GAP), (300, State.DOWN)])
async def test_missing_bars_are_the_exchange_s_only_if_its_answer_reached_behind_them(
    database: Database, newest: int, state: State
) -> None:
    there = [n for n in range(200) if not 100 <= n < 110]
    rows = [[T0 // NS_PER_MS + 60_000 * n, 1.0, 1.0, 1.0, 1.0, 1.0] for n in there]
    ones = [1.0] * len(there)
    bars = pa.table({"ts_event": [T0 + (n + 1) * MINUTE_NS for n in there],
                     "interval_ns": [MINUTE_NS] * len(there),
                     "volume": ones,
                     **dict.fromkeys(("open", "high", "low", "close"), ones)})  # fmt: skip
    MarketTables(database).load("bars", complete("bars", bars, exchange="KRAKEN", symbol=BTC))
    missing = gap("KRAKEN", "bars:1m", T0 + 100 * MINUTE_NS, T0 + 110 * MINUTE_NS)
    CoverageLedger(database).add([missing])
    connection: Any = Answers("KRAKEN", "kraken", rows, newest)
    repair = GapRepair(History(connection), database, MarketStore(database))
    (outcome,) = await repair.run([missing])
    assert outcome.state is state

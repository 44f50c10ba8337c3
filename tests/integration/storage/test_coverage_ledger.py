"""The completeness ledger: the database settles claims as memory does, from many writers."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random

import psycopg
import pytest

from don.errors import UsageError
from don.market.coverage import MINUTE_NS, Range, State, by_stream, overlay
from don.storage.database import Database
from don.storage.market.coverage import CoverageLedger

pytestmark = pytest.mark.postgres


def made(start: int, end: int, state: State, reason: str = "", **other: str) -> Range:
    stream = {"exchange": "BINANCE", "channel": "trades", "symbol": "BTC-USDT", **other}
    return Range(**stream, start=start * MINUTE_NS, end=end * MINUTE_NS, state=state, reason=reason)  # type: ignore[arg-type]


def test_the_database_settles_claims_as_memory_does(database: Database) -> None:
    rng = Random(5)
    ledger = CoverageLedger(database)
    known: dict[object, list[Range]] = {}
    for round_ in range(60):
        claims = []
        for _ in range(rng.randrange(1, 6)):
            start = rng.randrange(60)
            end = start + rng.randrange(1, 20)
            state = rng.choice(list(State))
            symbol = rng.choice(["BTC-USDT", "ETH-USDT"])
            claims.append(made(start, end, state, rng.choice(["", "why"]), symbol=symbol))
        anew = round_ % 5 == 4
        ledger.add(claims, anew=anew)
        for stream, claimed in by_stream(claims).items():
            known[stream] = overlay(known.get(stream, []), claimed, anew=anew)
        assert ledger.read("BINANCE", "trades") == [
            each for stream in sorted(known) for each in known[stream]
        ]
        again = [each for ranges in known.values() for each in ranges]
        assert ledger.add(again) == 0  # nothing new was said


def test_a_growing_range_stays_one_row(database: Database) -> None:
    ledger = CoverageLedger(database)
    for minute in range(50):
        assert ledger.add([made(minute, minute + 1, State.COMPLETE)]) == 1
    assert ledger.read() == [made(0, 50, State.COMPLETE)]


def test_writers_at_once_lose_nothing(database: Database) -> None:
    ledger = CoverageLedger(database)

    def write(worker: int) -> None:
        for minute in range(worker, 120, 4):
            ledger.add([made(minute, minute + 1, State.COMPLETE)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert ledger.read() == [made(0, 120, State.COMPLETE)]


def test_reads_and_shares(database: Database) -> None:
    ledger = CoverageLedger(database)
    gap = made(4, 6, State.GAP, "disconnected")
    bars = made(0, 10, State.REPAIRED, channel="bars:1m")
    ledger.add([made(0, 10, State.COMPLETE), gap, bars])
    ledger.add([made(0, 3, State.SYNTHETIC, symbol="ETH-USDT")])
    assert ledger.read(states=[State.GAP]) == [gap]
    assert ledger.read(channel="bars") == [bars]
    assert ledger.read(start=5 * MINUTE_NS + 1, end=5 * MINUTE_NS + 2, channel="trades") == [
        replace(gap, start=5 * MINUTE_NS)
    ]
    assert ledger.read(limit=1) == [bars]
    spans = [(each.channel, each.symbol, each.end // MINUTE_NS) for each in ledger.streams()]
    assert spans == [("bars:1m", "BTC-USDT", 10), ("trades", "BTC-USDT", 10),
                     ("trades", "ETH-USDT", 3)]  # fmt: skip
    both = ["BTC-USDT", "ETH-USDT", "BTC-USDT"]
    shares = ledger.shares("BINANCE", "trades", both, 0, 10 * MINUTE_NS)
    assert shares.minutes == 20
    assert shares.fractions() == {
        "complete": 0.4, "gap": 0.1, "repaired": 0.0, "synthetic": 0.15, "down": 0.0,
        "unknown": 0.35,
    }  # fmt: skip
    assert ledger.forget("BINANCE", "bars:1m") == 1
    assert ledger.read(channel="bars") == []
    with pytest.raises(UsageError, match="need their interval"):
        ledger.shares("BINANCE", "bars", both, 0, MINUTE_NS)
    with pytest.raises(UsageError, match="start < end"):
        ledger.shares("BINANCE", "trades", both, MINUTE_NS, MINUTE_NS)


def test_parts_of_minutes_are_refused_by_the_database(database: Database) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), database.connection() as connection:
        connection.execute(
            "INSERT INTO coverage VALUES ('X', 'trades', 'S', 1, 60000000000, 'gap', '')"
        )

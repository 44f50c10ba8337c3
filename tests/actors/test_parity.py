"""A session of two policies on real sockets and actors, and its backtest: equal to the digit."""

import json
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from support.desk_run import DeskRun, don
from support.stepped import SteppedMarket

from don.model.messages import AccountReport, BookEntry, BookKind
from don.model.portfolio import ZERO
from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.journal import Journal
from don.storage.queries import Queries

pytestmark = [pytest.mark.ray, pytest.mark.postgres, pytest.mark.timeout(600)]

DATA = Path(__file__).resolve().parents[3] / "shared/data"
MINUTES = DATA / "binance_usdm_ohlcv_1m_2025spring.parquet"
SYMBOLS = "BTC-USDT-PERP,ETH-USDT-PERP,XRP-USDT-PERP,ADA-USDT-PERP,SOL-USDT-PERP"
BARS = 80  # of each of five symbols, each decided on by each policy and by the account
LATENCY = 0.5
CONFIG = f"""
[paper.exchange]
order_latency = {LATENCY}

[engine]  # a machine may be so busy that nothing happens for long: that is not what is compared
max_snapshot_age_s = 300
silence_s = 900

[engine.planner]
band = "0.002"

[engine.allocation]
every = 20
min_history = 15

[[engine.slots]]
name = "trend"
policy = "momentum"
[engine.slots.policies.momentum]
information = 0.3

[[engine.slots]]
name = "back"
policy = "mean_reversion"
share = 0.5
[engine.slots.policies.mean_reversion]
entry = 0.5
information = 0.3
"""


@pytest.fixture
def home(don_home: Path) -> Iterator[Path]:
    (don_home / "don.toml").write_text(CONFIG)
    yield don_home
    EmbeddedPostgres(don_home).stop()


def test_session_and_backtest_are_equal_to_the_last_digit(home: Path) -> None:
    """Over a funding payment: minute bars of five symbols from 07:00 UTC, or the sample."""
    market = ["--tape", str(MINUTES), "--symbols", SYMBOLS, "--start", "2025-05-12T07:00:00Z"]
    run = DeskRun(home, "--no-console", "--speed", "max", *(market if MINUTES.exists() else []))
    try:
        stepped = SteppedMarket(run)
        stepped.history_came()
        status = stepped.call("GET", "status")
        interval = 60 if status["interval"] == "1m" else 1800
        interval_ns = interval * 10**9
        begin = status["tapeTime"] * 1_000_000 // interval_ns * interval_ns
        for bar in range(1, BARS + 1):
            stepped.bar(begin + bar * interval_ns, interval_ns, LATENCY)
        stepped.close()
        summary = run.stop()
    finally:
        run.kill()
    assert summary["exit_code"] == 0
    assert summary["fills"] > 50

    compared = don(home, "session", "parity", summary["session"], "--json")
    assert compared.returncode == 0, compared.stdout[-4000:] + compared.stderr[-2000:]
    found = json.loads(compared.stdout)
    assert found["equal"] is True
    assert found["decisions"]["equal"] >= 3 * BARS
    for what in ("decisions", "orders", "fills", "books"):
        assert len(set(found[what].values())) == 1 and found[what]["equal"] > 50, found
    assert found["first_difference"] == ""
    assert {float(part) for part in found["parts"].values()} == {0.0}
    _books_sum_to_the_account(home, summary["session"])


def _books_sum_to_the_account(home: Path, session: str) -> None:
    """What the journal says of the books against what the exchange said of the account at last."""
    entries: list[BookEntry] = []
    account: AccountReport | None = None
    with Database(EmbeddedPostgres(home).start()) as db:
        row = Queries(db).session(session)
        assert row is not None
        for entry in Journal(db, row.account, session).read(session):
            message = entry.message()
            if isinstance(message, BookEntry):
                entries.append(message)
            elif isinstance(message, AccountReport):
                account = message
    assert account is not None and account.final
    kinds = {entry.kind for entry in entries}
    assert kinds >= {BookKind.FILL, BookKind.CROSS, BookKind.CAPITAL}
    held: dict[str, Decimal] = defaultdict(lambda: ZERO)
    cash = ZERO
    for entry in entries:
        held[entry.symbol] += entry.size
        cash += entry.amount - entry.fee - entry.size * entry.price
    theirs = {p.symbol: p.size for p in account.positions}
    assert {symbol: size for symbol, size in held.items() if size} == theirs
    assert cash == account.balance - sum((p.cost for p in account.positions), ZERO)

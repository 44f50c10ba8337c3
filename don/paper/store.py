"""The paper exchange's own database: SQLite in its state folder. Reads and writes files.

It is separate from Don's PostgreSQL on purpose: an exchange is another party, and Don's recovery is
only worth something if that party keeps its own books.

What a request or a step of the tape changed is one transaction, committed before
anybody hears of it. `synchronous=NORMAL` on a write-ahead log survives kill -9 of it; after
a power cut the last moments may be missing, but nothing is torn. Displayed books and forming bars
change with every event and follow from the tape: they are kept now and then, with their tape
position.
"""

import secrets
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from don.errors import DependencyError, UsageError
from don.model.codec import decode_as, encode
from don.paper.algo import AlgoState
from don.paper.types import (
    AccountTrade,
    BookLevels,
    Counters,
    Dirty,
    ExchangeState,
    FormingBar,
    Income,
    MarketRow,
    OrderState,
    PositionRow,
    WaitingRow,
    WalletRow,
)

FILE = "exchange.sqlite"
BOOKS = "books"  # in `meta`: random, made with the database
SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE counters (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL);
CREATE TABLE wallets (account TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (account TEXT, symbol TEXT, body TEXT NOT NULL,
    PRIMARY KEY (account, symbol)) WITHOUT ROWID;
CREATE TABLE orders (id INTEGER PRIMARY KEY, account TEXT NOT NULL, symbol TEXT NOT NULL,
    status TEXT NOT NULL, open INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX open_orders ON orders (id) WHERE open;
CREATE TABLE trades (id INTEGER PRIMARY KEY, account TEXT NOT NULL, symbol TEXT NOT NULL,
    order_id INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE incomes (id INTEGER PRIMARY KEY, account TEXT NOT NULL, symbol TEXT NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE markets (symbol TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE displayed (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL);
CREATE TABLE funding (symbol TEXT, ts INTEGER, body TEXT NOT NULL,
    PRIMARY KEY (symbol, ts)) WITHOUT ROWID;
CREATE TABLE listen_keys (key TEXT PRIMARY KEY, account TEXT NOT NULL,
    expires_ms INTEGER NOT NULL) WITHOUT ROWID;
"""
# tables that came later: made in older databases too, where they are empty
_LATER = """
CREATE TABLE IF NOT EXISTS waiting (one INTEGER PRIMARY KEY CHECK (one = 1), body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS algos (id INTEGER PRIMARY KEY, account TEXT NOT NULL,
    symbol TEXT NOT NULL, status TEXT NOT NULL, open INTEGER NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS timers (account TEXT, symbol TEXT, expires_ms INTEGER NOT NULL,
    PRIMARY KEY (account, symbol)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS open_algos ON algos (id) WHERE open;
"""

T = TypeVar("T")


def _text(value: Any) -> str:
    return encode(value).decode()


class StoreError(DependencyError):
    """The exchange's database cannot be read or written: disk full, file damaged, no permission."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Displayed:
    """What follows from the tape alone, as it was after the event at `position`."""

    position: int
    now: int  # tape time, ns
    markets: tuple[MarketRow, ...]
    books: tuple[BookLevels, ...]
    bars: tuple[FormingBar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledFunding:
    """A funding settlement of the past, as `fundingRate` lists it."""

    symbol: str
    ts: int  # tape time, ns
    rate: str  # fraction
    mark: str  # quote per base


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenKey:
    """A key of the user-data stream."""

    key: str
    account: str
    expires_ms: int  # wall time


class Store:
    """One process's hold on the database; a second process on the same folder is refused."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        with self._translated():
            self._db = sqlite3.connect(self._path, isolation_level=None, timeout=1.0)
        try:
            with self._translated():
                self._open()
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("BEGIN IMMEDIATE")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version == 0:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        for statement in _LATER.split(";"):
            self._db.execute(statement)
        self._db.execute("COMMIT")
        if version not in (0, SCHEMA_VERSION):
            raise UsageError(
                f"state folder {self._path.parent} was written by another version of Don (schema "
                f"{version}, this one has {SCHEMA_VERSION}): reset it to begin anew"
            )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            if "locked" in str(error):
                raise UsageError(
                    f"another paper exchange uses the state folder {self._path.parent}: "
                    "stop it or choose another folder"
                ) from error
            raise StoreError(f"exchange database {self._path}: {error}") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside become durable together, when the block ends.

        Raises:
            StoreError: if they cannot be; the caller must stop, for its memory is ahead.
        """
        with self._translated():
            self._db.execute("BEGIN")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    @property
    def books(self) -> str:
        """Name of these books: other ones, made anew or elsewhere, have another."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (BOOKS,)).fetchone()
        return str(row[0])

    def bind(self, what: dict[str, str]) -> None:
        """Tie the folder to one tape and configuration: kept at first, compared ever after.

        Raises:
            UsageError: naming the first thing that differs.
        """
        with self._translated():
            kept = dict(self._db.execute("SELECT name, value FROM meta"))
        if not kept:
            with self.transaction():
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", what.items())
                self._db.execute("INSERT INTO meta VALUES (?, ?)", (BOOKS, secrets.token_hex(4)))
            return
        kept.pop(BOOKS, None)
        for name in sorted({*what, *kept}):
            if kept.get(name) != what.get(name):
                raise UsageError(
                    f"state folder {self._path.parent} belongs to another market: {name} was "
                    f"{kept.get(name)}, is now {what.get(name)}; use the same again, another "
                    "folder, or reset this one to begin anew"
                )

    # ---- the exchange's rows -------------------------------------------------------------------

    def save(self, dirty: Dirty) -> None:
        """Write changed rows; inside a transaction."""
        self._put("counters", 2, [(1, _text(dirty.counters))])
        if dirty.markets:
            self._put("markets", 2, [(row.symbol, _text(row)) for row in dirty.markets])
        if dirty.waiting is not None:
            self._put("waiting", 2, [(1, _text(dirty.waiting))])
        if not dirty.urgent:
            return
        self._put("wallets", 2, [(row.account, _text(row)) for row in dirty.wallets])
        self._put(
            "positions", 3, [(row.account, row.symbol, _text(row)) for row in dirty.positions]
        )
        self._put(
            "orders",
            6,
            [
                (o.order_id, o.account, o.symbol, o.status.value, not o.status.final, _text(o))
                for o in dirty.orders
            ],
        )
        self._put(
            "algos",
            6,
            [
                (a.algo_id, a.account, a.symbol, a.status.value, not a.status.final, _text(a))
                for a in dirty.algos
            ],
        )
        self._put(
            "trades", 5, [(t.id, t.account, t.symbol, t.order_id, _text(t)) for t in dirty.trades]
        )
        self._put(
            "incomes",
            5,
            [(i.tran_id, i.account, i.symbol, i.kind.value, _text(i)) for i in dirty.incomes],
        )

    def _put(self, table: str, columns: int, rows: Iterable[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * columns)
        self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)

    def _read(self, kind: type[T], query: str, *values: Any) -> tuple[T, ...]:
        with self._translated():
            return tuple(decode_as(kind, body) for (body,) in self._db.execute(query, values))

    def load(self, history: int) -> ExchangeState | None:
        """The exchange's rows, without books and bars; None if there are none yet.

        Args:
            history: finished orders, trades and incomes to bring back, each.
        """
        counters = self._read(Counters, "SELECT body FROM counters")
        if not counters:
            return None
        waiting = self._read(WaitingRow, "SELECT body FROM waiting")
        known = (
            "SELECT body FROM {table} WHERE open OR id IN "
            "(SELECT id FROM {table} WHERE NOT open ORDER BY id DESC LIMIT ?) ORDER BY id"
        )
        tail = "SELECT body FROM (SELECT id, body FROM {} ORDER BY id DESC LIMIT ?) ORDER BY id"
        return ExchangeState(
            counters=counters[0],
            wallets=self._read(WalletRow, "SELECT body FROM wallets ORDER BY account"),
            positions=self._read(
                PositionRow, "SELECT body FROM positions ORDER BY account, symbol"
            ),
            orders=self._read(
                OrderState,
                known.format(table="orders"),
                history,
            ),
            trades=self._read(AccountTrade, tail.format("trades"), history),
            incomes=self._read(Income, tail.format("incomes"), history),
            markets=self._read(MarketRow, "SELECT body FROM markets ORDER BY symbol"),
            waiting=waiting[0] if waiting else WaitingRow(),
            algos=self._read(AlgoState, known.format(table="algos"), history),
        )

    def save_displayed(self, displayed: Displayed) -> None:
        """Keep books and bars; inside a transaction."""
        self._put("displayed", 2, [(1, _text(displayed))])

    def displayed(self) -> Displayed | None:
        """Books and bars as last kept."""
        found = self._read(Displayed, "SELECT body FROM displayed")
        return found[0] if found else None

    # ---- what surrounds them -------------------------------------------------------------------

    def save_funding(self, row: SettledFunding) -> None:
        """Note a funding settlement; inside a transaction."""
        self._put("funding", 3, [(row.symbol, row.ts, _text(row))])

    def funding(
        self, symbol: str | None, start: int | None, end: int, limit: int
    ) -> tuple[SettledFunding, ...]:
        """Settlements up to `end`, ns, oldest first: `limit` from `start` on, or the last ones."""
        found = (
            "SELECT ts, symbol, body FROM funding WHERE (?1 IS NULL OR symbol = ?1) AND ts <= ?2"
        )
        query = (
            f"SELECT body FROM ({found} ORDER BY ts DESC, symbol LIMIT ?3) ORDER BY ts, symbol"
            if start is None
            else f"SELECT body FROM ({found} AND ts >= ?4) ORDER BY ts, symbol LIMIT ?3"
        )
        values = (symbol, end, limit) if start is None else (symbol, end, limit, start)
        return self._read(SettledFunding, query, *values)

    def listen_keys(self) -> list[ListenKey]:
        """All listen keys."""
        with self._translated():
            rows = self._db.execute("SELECT key, account, expires_ms FROM listen_keys").fetchall()
        return [ListenKey(key=key, account=who, expires_ms=until) for key, who, until in rows]

    def keep_listen_key(self, key: ListenKey) -> None:
        """Create or extend a listen key; a transaction of its own."""
        with self.transaction():
            self._put("listen_keys", 3, [(key.key, key.account, key.expires_ms)])

    def drop_listen_key(self, key: str) -> None:
        """Forget a listen key; a transaction of its own."""
        with self.transaction():
            self._db.execute("DELETE FROM listen_keys WHERE key = ?", (key,))

    def timers(self) -> dict[tuple[str, str], int]:
        """Wall time in ms at which an account's orders in a symbol are cancelled."""
        with self._translated():
            rows = self._db.execute("SELECT account, symbol, expires_ms FROM timers").fetchall()
        return {(account, symbol): until for account, symbol, until in rows}

    def keep_timer(self, account: str, symbol: str, expires_ms: int | None) -> None:
        """Set or, with None, forget a timer; a transaction of its own."""
        with self.transaction():
            if expires_ms is None:
                self._db.execute(
                    "DELETE FROM timers WHERE account = ? AND symbol = ?", (account, symbol)
                )
            else:
                self._put("timers", 3, [(account, symbol, expires_ms)])

    def close(self) -> None:
        """Give the folder back."""
        with self._translated():
            self._db.close()


def reset(folder: Path) -> None:
    """Delete the exchange's database: the next start begins anew. Keys and certificate stay."""
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{FILE}{suffix}").unlink(missing_ok=True)

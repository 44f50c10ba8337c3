"""`don data collect` as a user starts it, and what it has stored."""

from itertools import pairwise

from support.desk_run import PATIENCE_S, DeskRun

from don.storage.database import Database
from don.storage.embedded import EmbeddedPostgres
from don.storage.market.reads import MarketStore

PAPER = "PAPER"


class CollectRun(DeskRun):
    """A collection from the paper exchange, in a process of its own."""

    COMMAND = ("data", "collect", "--paper")

    def stored(self) -> int:
        """Trades in the database; -1 while it cannot say."""
        try:
            with Database(EmbeddedPostgres(self.home).url) as db, db.connection() as connection:
                return int(connection.execute("SELECT count(*) FROM md_trades").fetchone()[0])
        except Exception:  # the database is among the things that get killed
            return -1

    def wait_for_trades(self, more: int, timeout: float = PATIENCE_S) -> None:
        """Wait until so many more trades are in the database."""
        before = max(0, self.stored())
        self.wait_for(f"{more} more trades", lambda: self.stored() >= before + more, timeout)


def trades_by_symbol(db: Database) -> dict[str, list[tuple[int, int, float, float, bool]]]:
    """(id, time, price, size, buy) of every stored trade, in the order of ids."""
    table = MarketStore(db).read("trades", exchange=PAPER)
    found: dict[str, list[tuple[int, int, float, float, bool]]] = {}
    columns = ("symbol", "id", "ts_event", "price", "size", "buy")
    for symbol, *row in zip(*(table[name].to_pylist() for name in columns), strict=True):
        found.setdefault(symbol, []).append(tuple(row))
    return {symbol: sorted(rows) for symbol, rows in found.items()}


def holes(ids: list[int]) -> list[tuple[int, int]]:
    """Pairs of neighbours that do not follow each other."""
    return [(a, b) for a, b in pairwise(ids) if b != a + 1]

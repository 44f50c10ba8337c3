"""Trades of history that the stream brought already, told apart by id. Reads; changes nothing.

History tells ms, rounded or cut, where streams tell us: the natural key (id, time) cannot see that
two such rows are one trade. Within a ms one id is one trade, on every exchange. Cutting the times
of streams instead would lose their order.
"""

import numpy as np
import pyarrow as pa

from don.clock import NS_PER_MS
from don.storage.database import Database
from don.storage.market.reads import MarketStore


def new_trades(db: Database, store: MarketStore, table: pa.Table) -> pa.Table:
    """The rows whose id is not stored within a ms of their time.

    Args:
        db: the database.
        store: reads of both tiers.
        table: trades of one series, conforming.

    Raises:
        DataError: as reads of the store.
        DatabaseError: if the database is away.
    """
    if not table.num_rows:
        return table
    exchange, symbol = table["exchange"][0].as_py(), table["symbol"][0].as_py()
    with db.connection() as connection:
        if connection.execute(_SERIES, (exchange, symbol)).fetchone() is None:
            return table
    times, ids = table["ts_event"].to_numpy(), table["id"].to_numpy()
    stored = store.read(
        "trades",
        [symbol],
        int(times.min()) - NS_PER_MS,
        int(times.max()) + NS_PER_MS + 1,
        ["ts_event", "id"],
        exchange=exchange,
    )
    known: dict[int, list[int]] = {}
    at, named = stored["ts_event"].to_numpy(), stored["id"].to_numpy()
    for which in np.flatnonzero(np.isin(named, ids)).tolist():
        known.setdefault(int(named[which]), []).append(int(at[which]))
    fresh = [
        not any(abs(time - ts) <= NS_PER_MS for time in known.get(trade, ()))
        for trade, ts in zip(ids.tolist(), times.tolist(), strict=True)
    ]
    return table.filter(pa.array(fresh, pa.bool_()))


_SERIES = "SELECT 1 FROM series WHERE exchange = %s AND symbol = %s"

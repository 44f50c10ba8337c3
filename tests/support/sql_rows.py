"""What is in a market table, by plain SQL: independent of the code under test."""

import pyarrow as pa

from don.model.channels import CHANNELS
from don.storage.database import Database


def stored(db: Database, channel: str) -> pa.Table:
    """All rows of a channel through its view."""
    schema = CHANNELS[channel].schema
    names = ["interval_s::bigint * 1000000000" if n == "interval_ns" else n for n in schema.names]
    with db.connection() as connection:
        rows = connection.execute(
            f"SELECT {', '.join(names)} FROM market.{channel}", binary=True
        ).fetchall()
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    return pa.table(
        [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema
    )

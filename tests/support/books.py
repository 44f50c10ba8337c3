"""The exchange's own books, read from its own database: what Don's must equal."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from don.storage import tables as t
from don.storage.database import Database


def exchange_rows(home: Path, table: str) -> list[dict[str, Any]]:
    """Rows of the stopped paper exchange."""
    with sqlite3.connect(home / "exchange" / "exchange.sqlite") as db:
        return [json.loads(body) for (body,) in db.execute(f"SELECT body FROM {table}")]


def assert_books_equal(home: Path, db: Database) -> None:
    """Every trade of the exchange is in Don's books once; every order was intended once."""
    with db.engine.connect() as connection:
        fills = connection.execute(sa.select(t.fills)).mappings().all()
        orders = connection.execute(sa.select(t.orders)).mappings().all()
    theirs = {str(row["id"]): row for row in exchange_rows(home, "trades")}
    ours = {row["trade_id"]: row for row in fills}
    assert len(ours) == len(fills), "a trade was counted twice"
    assert set(ours) == set(theirs), "a trade was lost or made up"
    listed = [row["client_order_id"] for row in exchange_rows(home, "orders")]
    assert len(listed) == len(set(listed)), "an order was sent twice"
    intended = {row["client_order_id"]: row["status"] for row in orders}
    assert set(listed) <= set(intended), "an order left without being journalled"
    unsent = {name: status for name, status in intended.items() if name not in set(listed)}
    assert set(unsent.values()) <= {"lost", "rejected"}, unsent
    assert all(status not in ("intended", "open") for status in intended.values()), intended

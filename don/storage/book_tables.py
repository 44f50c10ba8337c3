"""Tables of virtual books: read models that follow from the journal. Pure: no connection here."""

import sqlalchemy as sa

from don.storage.tables import BIG, F8, NUM, TEXT, metadata

book_entries = sa.Table(
    "book_entries",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    sa.Column("session", TEXT, nullable=False),
    sa.Column("kind", TEXT, nullable=False),
    sa.Column("key", TEXT, nullable=False),  # of the fact that it is a part of
    sa.Column("book", TEXT, nullable=False),
    sa.Column("shadow", sa.Boolean, nullable=False),
    sa.Column("symbol", TEXT, nullable=False),
    sa.Column("size", NUM, nullable=False),
    sa.Column("price", NUM, nullable=False),
    sa.Column("fee", NUM, nullable=False),
    sa.Column("amount", NUM, nullable=False),
    sa.Column("ts_event", BIG, nullable=False),
    sa.Index("book_entries_session", "session", "book", "seq"),
)

book_points = sa.Table(  # what each book was worth, at bars on which was decided
    "book_points",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    sa.Column("book", TEXT, primary_key=True),
    sa.Column("mode", TEXT, primary_key=True),
    sa.Column("session", TEXT, nullable=False),
    sa.Column("equity", NUM, nullable=False),
    sa.Column("pnl", NUM, nullable=False),
    sa.Column("capital", NUM, nullable=False),
    sa.Column("share", F8, nullable=False),
    sa.Column("ts_event", BIG, nullable=False),
    sa.Index("book_points_session", "session", "seq"),
)

"""Tables of the research ledger. Pure: no connection here."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from don.storage.tables import BIG, TEXT, metadata

research_entry = sa.Table(
    "research_entry",
    metadata,
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    sa.Column("run", BIG, nullable=False),  # the run that it is of; 0: of the ledger
    sa.Column("kind", TEXT, nullable=False),  # begin | end | outside
    sa.Column("key", TEXT, nullable=False),
    sa.Column("payload", TEXT, nullable=False),  # JSON
    sa.Column("ts", BIG, nullable=False),  # wall time
    sa.Column("prev_hash", BYTEA, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.UniqueConstraint("key", name="research_entry_key"),
    sa.Index("research_entry_run", "run", "seq"),
)

research_head = sa.Table(  # one row: the end of the chain, and how many runs began
    "research_head",
    metadata,
    sa.Column("ledger", TEXT, primary_key=True),
    sa.Column("seq", BIG, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.Column("runs", BIG, nullable=False),
)

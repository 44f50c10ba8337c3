"""Table of the registry of models. Pure: no connection here."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from don.storage.tables import BIG, TEXT, metadata

model_entry = sa.Table(
    "model_entry",
    metadata,
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    sa.Column("model", TEXT, nullable=False),  # name
    sa.Column("kind", TEXT, nullable=False),  # import | move | measure | delete
    sa.Column("key", TEXT, nullable=False),
    sa.Column("payload", TEXT, nullable=False),  # JSON
    sa.Column("ts", BIG, nullable=False),  # wall time
    sa.Column("prev_hash", BYTEA, nullable=False),
    sa.Column("hash", BYTEA, nullable=False),
    sa.UniqueConstraint("key", name="model_entry_key"),
    sa.Index("model_entry_model", "model", "seq"),
)

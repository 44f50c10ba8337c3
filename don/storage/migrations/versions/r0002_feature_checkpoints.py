"""Checkpoints of the feature cache, so that its recovery takes as long in a month as today."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE feature_checkpoint (
    session text NOT NULL,
    version bigint NOT NULL,
    ordinal bigint NOT NULL,
    sets integer NOT NULL,
    symbols integer NOT NULL,
    columns integer NOT NULL,
    fed bytea NOT NULL,
    known bytea NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (session, version)
);
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

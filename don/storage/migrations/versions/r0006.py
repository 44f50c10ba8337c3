"""Progress of backfills, so that a killed one goes on where it was."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE backfill_range (
    exchange text NOT NULL,
    channel text NOT NULL,
    symbol text NOT NULL,
    interval_ns bigint NOT NULL,
    start_ns bigint NOT NULL,
    cursor_ns bigint NOT NULL,
    rows bigint NOT NULL,
    ts_update bigint NOT NULL,
    PRIMARY KEY (exchange, channel, symbol, interval_ns, start_ns)
);
"""


def upgrade() -> None:
    if SCHEMA:
        op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

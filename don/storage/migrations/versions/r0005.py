"""The completeness ledger: what is known about every minute of every stream."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Ranges of whole minutes, [ts_start, ts_end) ns; those of a stream never overlap: every writer
# holds one lock while it changes them.
SCHEMA = """
CREATE TABLE coverage (
    exchange text NOT NULL,
    channel text NOT NULL,
    symbol text NOT NULL,
    ts_start bigint NOT NULL,
    ts_end bigint NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (exchange, channel, symbol, ts_start),
    CONSTRAINT coverage_minutes CHECK (
        ts_start < ts_end AND ts_start % 60000000000 = 0 AND ts_end % 60000000000 = 0
    ),
    CONSTRAINT coverage_state CHECK (
        state IN ('complete', 'gap', 'repaired', 'synthetic', 'down')
    )
);
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

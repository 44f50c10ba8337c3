"""The lake's manifest: which files there are, and what each must hold."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE lake_file (
    path text PRIMARY KEY,
    channel text NOT NULL,
    exchange text NOT NULL,
    symbol text NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    rows bigint NOT NULL,
    size bigint NOT NULL,
    hash text NOT NULL,
    intervals bigint[] NOT NULL,
    ts_written bigint NOT NULL,
    ts_retired bigint
);
CREATE INDEX lake_file_series ON lake_file (channel, exchange, symbol, start_ns);

CREATE TABLE market_seal (
    channel text NOT NULL,
    start_ns bigint NOT NULL,
    token bigint NOT NULL,
    PRIMARY KEY (channel, start_ns)
);
"""


def upgrade() -> None:
    if SCHEMA:
        op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

"""Market data for years: one partitioned table a channel."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = ""


def upgrade() -> None:
    if SCHEMA:
        op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

"""The lake's manifest: which partitions were archived, and what they held."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SCHEMA = ""


def upgrade() -> None:
    if SCHEMA:
        op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

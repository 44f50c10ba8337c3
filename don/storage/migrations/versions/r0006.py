"""Progress of backfills and imports, so that a killed one goes on where it was."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

SCHEMA = ""


def upgrade() -> None:
    if SCHEMA:
        op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

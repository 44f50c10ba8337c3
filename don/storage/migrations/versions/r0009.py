"""The registry of models: every change of a model's standing, append-only and chained."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE model_entry (
    seq bigint PRIMARY KEY CHECK (seq > 0),
    model text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    payload text NOT NULL,
    ts bigint NOT NULL,
    prev_hash bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    CONSTRAINT model_entry_key UNIQUE (key)
);
CREATE INDEX model_entry_model ON model_entry (model, seq);

CREATE FUNCTION models_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the registry of models is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER model_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON model_entry
    FOR EACH STATEMENT EXECUTE FUNCTION models_are_append_only();
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

"""The research ledger: every run that looked for a strategy, append-only and chained."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE research_entry (
    seq bigint PRIMARY KEY CHECK (seq > 0),
    run bigint NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    payload text NOT NULL,
    ts bigint NOT NULL,
    prev_hash bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    CONSTRAINT research_entry_key UNIQUE (key)
);
CREATE INDEX research_entry_run ON research_entry (run, seq);

CREATE FUNCTION research_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the research ledger is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER research_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON research_entry
    FOR EACH STATEMENT EXECUTE FUNCTION research_is_append_only();

CREATE TABLE research_head (
    ledger text PRIMARY KEY,
    seq bigint NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    runs bigint NOT NULL
) WITH (fillfactor = 50);
CREATE TRIGGER research_head_stays BEFORE DELETE OR TRUNCATE ON research_head
    FOR EACH STATEMENT EXECUTE FUNCTION research_is_append_only();
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

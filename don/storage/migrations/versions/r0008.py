"""Virtual books of several policies on one account; which payments are not funding."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Payments of before have their kind in the journal, if they have one: they all were funding else.
SCHEMA = """
CREATE TABLE book_entries (
    account text NOT NULL,
    seq bigint NOT NULL,
    session text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    book text NOT NULL,
    shadow boolean NOT NULL,
    symbol text NOT NULL,
    size numeric NOT NULL,
    price numeric NOT NULL,
    fee numeric NOT NULL,
    amount numeric NOT NULL,
    ts_event bigint NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX book_entries_session ON book_entries (session, book, seq);

CREATE TABLE book_points (
    account text NOT NULL,
    seq bigint NOT NULL,
    book text NOT NULL,
    mode text NOT NULL,
    session text NOT NULL,
    equity numeric NOT NULL,
    pnl numeric NOT NULL,
    capital numeric NOT NULL,
    share double precision NOT NULL,
    ts_event bigint NOT NULL,
    PRIMARY KEY (account, seq, book, mode)
);
CREATE INDEX book_points_session ON book_points (session, seq);

ALTER TABLE funding_payments ADD COLUMN kind text NOT NULL DEFAULT 'funding';
ALTER TABLE funding_payments ALTER COLUMN kind DROP DEFAULT;
UPDATE funding_payments AS f SET kind = 'liquidation'
FROM journal AS j
WHERE j.account = f.account AND j.key = f.key AND j.kind = 'FundingReport'
    AND j.payload LIKE '%"kind":"liquidation"%';
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

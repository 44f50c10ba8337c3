"""The foundation: sessions, journal, recorded market data and the read models of trading."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE session (
    id text PRIMARY KEY,
    account text NOT NULL,
    policy text NOT NULL,
    symbols text[] NOT NULL,
    interval_ns bigint NOT NULL,
    config jsonb NOT NULL,
    ts_start bigint NOT NULL,
    ts_end bigint,
    status text NOT NULL CHECK (status IN ('running', 'ended', 'interrupted', 'failed')),
    summary jsonb
);
CREATE INDEX session_account ON session (account, ts_start);

CREATE TABLE journal (
    account text NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    session text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    payload text NOT NULL,
    ts_recv bigint NOT NULL,
    prev_hash bytea NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (account, seq),
    CONSTRAINT journal_key UNIQUE (account, key)
);
CREATE INDEX journal_session ON journal (account, session, seq);

CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the journal is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER journal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal
    FOR EACH STATEMENT EXECUTE FUNCTION journal_is_append_only();

CREATE TABLE journal_head (
    account text PRIMARY KEY,
    seq bigint NOT NULL,
    hash bytea NOT NULL CHECK (octet_length(hash) = 32),
    epoch bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE market_batch (
    session text NOT NULL,
    source text NOT NULL,
    seq bigint NOT NULL,
    ordinal bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    token bigint NOT NULL,
    ts_recv bigint NOT NULL,
    rows integer NOT NULL,
    gaps integer NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (session, source, seq)
);
ALTER TABLE market_batch ALTER COLUMN payload SET STORAGE EXTERNAL;
CREATE UNIQUE INDEX market_batch_order ON market_batch (session, ordinal);

CREATE TABLE bar_set (
    session text NOT NULL,
    interval_ns bigint NOT NULL,
    ts_event bigint NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (session, interval_ns, ts_event)
);
ALTER TABLE bar_set ALTER COLUMN payload SET STORAGE EXTERNAL;

CREATE TABLE bar (
    session text NOT NULL,
    symbol text NOT NULL,
    interval_ns bigint NOT NULL,
    ts_event bigint NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    trades bigint,
    origin text,
    PRIMARY KEY (session, symbol, interval_ns, ts_event)
);

CREATE TABLE orders (
    account text NOT NULL,
    client_order_id text NOT NULL,
    session text NOT NULL,
    seq bigint NOT NULL,
    decision bigint NOT NULL,
    index integer NOT NULL,
    symbol text NOT NULL,
    side text NOT NULL,
    type text NOT NULL,
    size numeric NOT NULL,
    price numeric,
    time_in_force text NOT NULL,
    reduce_only boolean NOT NULL,
    reason text NOT NULL,
    status text NOT NULL,
    exchange_order_id text NOT NULL,
    filled numeric NOT NULL,
    detail text NOT NULL,
    cancel_reason text NOT NULL,
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    ts_sent bigint NOT NULL,
    ts_update bigint NOT NULL,
    PRIMARY KEY (account, client_order_id)
);
CREATE INDEX orders_recent ON orders (account, seq);
CREATE INDEX orders_session ON orders (session, seq);
CREATE INDEX orders_open ON orders (account) WHERE status IN ('intended', 'open');

CREATE TABLE fills (
    account text NOT NULL,
    symbol text NOT NULL,
    trade_id text NOT NULL,
    session text NOT NULL,
    seq bigint NOT NULL,
    client_order_id text NOT NULL,
    exchange_order_id text NOT NULL,
    side text NOT NULL,
    price numeric NOT NULL,
    size numeric NOT NULL,
    fee numeric NOT NULL,
    realized_pnl numeric,
    maker boolean NOT NULL,
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    PRIMARY KEY (account, symbol, trade_id)
);
CREATE INDEX fills_recent ON fills (account, seq);
CREATE INDEX fills_session ON fills (session, seq);
CREATE INDEX fills_order ON fills (account, client_order_id);

CREATE TABLE funding_payments (
    account text NOT NULL,
    key text NOT NULL,
    session text NOT NULL,
    symbol text NOT NULL,
    amount numeric NOT NULL,
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE INDEX funding_payments_session ON funding_payments (session, ts_event);

CREATE TABLE equity (
    account text NOT NULL,
    seq bigint NOT NULL,
    session text NOT NULL,
    ts_event bigint NOT NULL,
    equity numeric NOT NULL,
    balance numeric NOT NULL,
    unrealized numeric NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX equity_session ON equity (session, seq);

CREATE TABLE decisions (
    account text NOT NULL,
    seq bigint NOT NULL,
    session text NOT NULL,
    decision bigint NOT NULL,
    snapshot bigint NOT NULL,
    policy text NOT NULL,
    status text NOT NULL,
    symbols text[] NOT NULL,
    forecast double precision[] NOT NULL,
    weights double precision[] NOT NULL,
    reasons text[] NOT NULL,
    orders text[] NOT NULL,
    denials integer NOT NULL,
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX decisions_session ON decisions (session, seq);

CREATE TABLE denials (
    account text NOT NULL,
    seq bigint NOT NULL,
    index integer NOT NULL,
    session text NOT NULL,
    decision bigint NOT NULL,
    code text NOT NULL,
    symbol text NOT NULL,
    detail text NOT NULL,
    ts_event bigint NOT NULL,
    PRIMARY KEY (account, seq, index)
);
CREATE INDEX denials_session ON denials (session, seq);

CREATE TABLE differences (
    account text NOT NULL,
    seq bigint NOT NULL,
    session text NOT NULL,
    what text NOT NULL,
    ledger text NOT NULL,
    exchange text NOT NULL,
    ts_event bigint NOT NULL,
    PRIMARY KEY (account, seq)
);
CREATE INDEX differences_session ON differences (session, seq);
"""


def upgrade() -> None:
    op.execute(SCHEMA)


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup to go back")

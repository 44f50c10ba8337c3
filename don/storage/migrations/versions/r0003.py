"""Market data for years: one table a channel, partitioned by time; views with names for people."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SCHEMA = """
CREATE TABLE series (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    exchange text NOT NULL,
    symbol text NOT NULL,
    CONSTRAINT series_name UNIQUE (exchange, symbol)
);

CREATE TABLE md_trades (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    id bigint NOT NULL,
    price double precision NOT NULL,
    size double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    buy boolean NOT NULL,
    PRIMARY KEY (series, ts_event, id)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_quotes (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    bid double precision NOT NULL,
    bid_size double precision NOT NULL,
    ask double precision NOT NULL,
    ask_size double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    PRIMARY KEY (series, ts_event, ts_recv)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_books (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    bid_prices double precision[] NOT NULL,
    bid_sizes double precision[] NOT NULL,
    ask_prices double precision[] NOT NULL,
    ask_sizes double precision[] NOT NULL,
    PRIMARY KEY (series, ts_event)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_book_deltas (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL,
    price double precision NOT NULL,
    size double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    buy boolean NOT NULL,
    PRIMARY KEY (series, ts_event, last_id, buy, price)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_bars (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    open double precision NOT NULL,
    high double precision NOT NULL,
    low double precision NOT NULL,
    close double precision NOT NULL,
    volume double precision NOT NULL,
    series integer NOT NULL,
    interval_s integer NOT NULL,
    trades integer NOT NULL,
    origin smallint NOT NULL,
    PRIMARY KEY (series, interval_s, ts_event)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_marks (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    next_ts bigint NOT NULL,
    mark double precision NOT NULL,
    index double precision NOT NULL,
    rate double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    PRIMARY KEY (series, ts_event)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_funding (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    rate double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    PRIMARY KEY (series, ts_event)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_open_interest (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    size double precision NOT NULL,
    notional double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    PRIMARY KEY (series, ts_event)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_liquidations (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    price double precision NOT NULL,
    size double precision NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    buy boolean NOT NULL,
    PRIMARY KEY (series, ts_event, price, size, buy)
) PARTITION BY RANGE (ts_event);

CREATE TABLE md_features (
    ts_event bigint NOT NULL,
    ts_recv bigint NOT NULL,
    series integer NOT NULL,
    origin smallint NOT NULL,
    set_hash text NOT NULL,
    values double precision[] NOT NULL,
    PRIMARY KEY (series, set_hash, ts_event)
) PARTITION BY RANGE (ts_event);

CREATE SCHEMA market;
COMMENT ON SCHEMA market IS 'the channels with exchange, symbol and origin by name';
"""

VIEWS = {
    "trades": "id price size buy",
    "quotes": "bid bid_size ask ask_size",
    "books": "bid_prices bid_sizes ask_prices ask_sizes",
    "book_deltas": "first_id last_id buy price size",
    "bars": "interval_s open high low close volume trades",
    "marks": "mark index rate next_ts",
    "funding": "rate",
    "open_interest": "size notional",
    "liquidations": "price size buy",
    "features": "set_hash values",
}
VIEW = """
CREATE VIEW market.{name} AS
SELECT s.exchange, s.symbol, m.ts_event, m.ts_recv,
    (ARRAY['stream', 'repair', 'history', 'import', 'synthetic'])[m.origin + 1] AS origin,
    {columns}
FROM md_{name} AS m JOIN series AS s ON s.id = m.series
"""


def upgrade() -> None:
    op.execute(SCHEMA)
    for name, columns in VIEWS.items():
        listed = ", ".join(f"m.{column}" for column in columns.split())
        op.execute(VIEW.format(name=name, columns=listed))


def downgrade() -> None:
    raise NotImplementedError("migrations go forward only: restore a backup")

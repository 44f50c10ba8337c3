"""The schema as SQLAlchemy Core tables: what queries select from. Pure: no connection here.

The migrations make it; a test holds both equal. Times are int64 ns UTC, money is NUMERIC,
estimates are double precision. Read models (all from `orders` on) follow from the journal.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, DOUBLE_PRECISION, JSONB

metadata = sa.MetaData()

BIG, TEXT, NUM, F8 = sa.BigInteger, sa.Text, sa.Numeric, DOUBLE_PRECISION


def _column(name: str, kind: type, **options: object) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=False, **options)  # type: ignore[arg-type]


session = sa.Table(
    "session",
    metadata,
    sa.Column("id", TEXT, primary_key=True),
    _column("account", TEXT),
    _column("policy", TEXT),
    sa.Column("symbols", ARRAY(TEXT), nullable=False),
    _column("interval_ns", BIG),
    _column("config", JSONB),
    _column("ts_start", BIG),  # wall time
    sa.Column("ts_end", BIG),
    _column("status", TEXT),  # running | ended | interrupted | failed
    sa.Column("summary", JSONB),
    sa.Index("session_account", "account", "ts_start"),
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    _column("session", TEXT),
    _column("kind", TEXT),
    _column("key", TEXT),
    _column("payload", TEXT),
    _column("ts_recv", BIG),
    _column("prev_hash", BYTEA),
    _column("hash", BYTEA),
    sa.UniqueConstraint("account", "key", name="journal_key"),
    sa.Index("journal_session", "account", "session", "seq"),
)

journal_head = sa.Table(  # one row an account: the writer's fence and the end of the chain
    "journal_head",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    _column("seq", BIG),
    _column("hash", BYTEA),
    _column("epoch", BIG),
)

market_batch = sa.Table(
    "market_batch",
    metadata,
    sa.Column("session", TEXT, primary_key=True),
    sa.Column("source", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    sa.Column("ordinal", BIG, sa.Identity(always=True), nullable=False),
    _column("token", BIG),  # of the call that wrote it: tells a retry from a repeat
    _column("ts_recv", BIG),  # latest of the batch
    _column("rows", sa.Integer),
    _column("gaps", sa.Integer),
    _column("payload", BYTEA),
    sa.Index("market_batch_order", "session", "ordinal", unique=True),
)

feature_checkpoint = sa.Table(  # of the feature cache; `fed` since the checkpoint before
    "feature_checkpoint",
    metadata,
    sa.Column("session", TEXT, primary_key=True),
    sa.Column("version", BIG, primary_key=True, autoincrement=False),  # of the last snapshot
    _column("ordinal", BIG),  # of the last market batch applied by then
    _column("sets", sa.Integer),
    _column("symbols", sa.Integer),
    _column("columns", sa.Integer),
    _column("fed", BYTEA),  # float64 [set, symbol, column]
    _column("known", BYTEA),  # bool [set, symbol]
    _column("state", BYTEA),
)

bar_set = sa.Table(  # all columns of the bars that closed together, exactly
    "bar_set",
    metadata,
    sa.Column("session", TEXT, primary_key=True),
    sa.Column("interval_ns", BIG, primary_key=True, autoincrement=False),
    sa.Column("ts_event", BIG, primary_key=True, autoincrement=False),
    _column("payload", BYTEA),
)

bar = sa.Table(
    "bar",
    metadata,
    sa.Column("session", TEXT, primary_key=True),
    sa.Column("symbol", TEXT, primary_key=True),
    sa.Column("interval_ns", BIG, primary_key=True, autoincrement=False),
    sa.Column("ts_event", BIG, primary_key=True, autoincrement=False),  # close time
    _column("open", F8),
    _column("high", F8),
    _column("low", F8),
    _column("close", F8),
    _column("volume", F8),
    sa.Column("trades", BIG),
    sa.Column("origin", TEXT),
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("client_order_id", TEXT, primary_key=True),
    _column("session", TEXT),
    _column("seq", BIG),  # of the journal entry of the intent
    _column("decision", BIG),
    _column("index", sa.Integer),
    _column("symbol", TEXT),
    _column("side", TEXT),
    _column("type", TEXT),
    _column("size", NUM),
    sa.Column("price", NUM),
    _column("time_in_force", TEXT),
    _column("reduce_only", sa.Boolean),
    _column("reason", TEXT),
    _column("status", TEXT),
    _column("exchange_order_id", TEXT),
    _column("filled", NUM),
    _column("detail", TEXT),
    _column("cancel_reason", TEXT),
    _column("ts_event", BIG),  # exchange time of the decision
    _column("ts_recv", BIG),  # wall time of the intent
    _column("ts_sent", BIG),
    _column("ts_update", BIG),  # exchange time of the last report
    sa.Index("orders_recent", "account", "seq"),
    sa.Index("orders_session", "session", "seq"),
    sa.Index("orders_open", "account", postgresql_where=sa.text("status IN ('intended', 'open')")),
)

fills = sa.Table(
    "fills",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("symbol", TEXT, primary_key=True),
    sa.Column("trade_id", TEXT, primary_key=True),
    _column("session", TEXT),
    _column("seq", BIG),
    _column("client_order_id", TEXT),
    _column("exchange_order_id", TEXT),
    _column("side", TEXT),
    _column("price", NUM),
    _column("size", NUM),
    _column("fee", NUM),
    sa.Column("realized_pnl", NUM),
    _column("maker", sa.Boolean),
    _column("ts_event", BIG),
    _column("ts_recv", BIG),
    sa.Index("fills_recent", "account", "seq"),
    sa.Index("fills_session", "session", "seq"),
    sa.Index("fills_order", "account", "client_order_id"),
)

funding_payments = sa.Table(
    "funding_payments",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("key", TEXT, primary_key=True),
    _column("session", TEXT),
    _column("kind", TEXT),  # funding | liquidation
    _column("symbol", TEXT),
    _column("amount", NUM),
    _column("ts_event", BIG),
    _column("ts_recv", BIG),
    sa.Index("funding_payments_session", "session", "ts_event"),
)

equity = sa.Table(
    "equity",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    _column("session", TEXT),
    _column("ts_event", BIG),
    _column("equity", NUM),
    _column("balance", NUM),
    _column("unrealized", NUM),
    sa.Index("equity_session", "session", "seq"),
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    _column("session", TEXT),
    _column("decision", BIG),
    _column("snapshot", BIG),
    _column("policy", TEXT),
    _column("status", TEXT),
    sa.Column("symbols", ARRAY(TEXT), nullable=False),
    sa.Column("forecast", ARRAY(F8), nullable=False),
    sa.Column("weights", ARRAY(F8), nullable=False),
    sa.Column("reasons", ARRAY(TEXT), nullable=False),
    sa.Column("orders", ARRAY(TEXT), nullable=False),
    _column("denials", sa.Integer),
    _column("ts_event", BIG),
    _column("ts_recv", BIG),
    sa.Index("decisions_session", "session", "seq"),
)

denials = sa.Table(
    "denials",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    sa.Column("index", sa.Integer, primary_key=True, autoincrement=False),
    _column("session", TEXT),
    _column("decision", BIG),
    _column("code", TEXT),
    _column("symbol", TEXT),
    _column("detail", TEXT),
    _column("ts_event", BIG),
    sa.Index("denials_session", "session", "seq"),
)

differences = sa.Table(
    "differences",
    metadata,
    sa.Column("account", TEXT, primary_key=True),
    sa.Column("seq", BIG, primary_key=True, autoincrement=False),
    _column("session", TEXT),
    _column("what", TEXT),
    _column("ledger", TEXT),
    _column("exchange", TEXT),
    _column("ts_event", BIG),
    sa.Index("differences_session", "session", "seq"),
)

"""What queries give out: frozen rows. Pure. Times are int ns UTC, money is Decimal."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session that ran or runs."""

    session: str
    account: str
    policy: str
    symbols: tuple[str, ...]
    interval_ns: int
    ts_start: int  # wall time
    ts_end: int | None
    status: str  # running | ended | interrupted | failed
    config: dict[str, Any]
    summary: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRow:
    """An order and what became of it."""

    session: str
    seq: int  # journal number of the intent
    client_order_id: str
    exchange_order_id: str
    decision: int
    index: int
    symbol: str
    side: str
    type: str
    time_in_force: str
    reduce_only: bool
    size: Decimal
    price: Decimal | None
    status: str
    filled: Decimal
    reason: str
    cancel_reason: str
    detail: str
    ts_event: int
    ts_recv: int
    ts_sent: int
    ts_update: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRow:
    """One execution."""

    session: str
    seq: int
    trade_id: str
    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: str
    price: Decimal
    size: Decimal
    fee: Decimal
    realized_pnl: Decimal | None
    maker: bool
    ts_event: int
    ts_recv: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRow:
    """One payment without a trade; positive was received."""

    session: str
    key: str
    kind: str  # funding | liquidation
    symbol: str
    amount: Decimal
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookPointRow:
    """What a virtual book was worth at a bar on which was decided."""

    seq: int
    book: str
    mode: str  # live | canary | shadow | desk | closing
    equity: Decimal
    pnl: Decimal
    capital: Decimal
    share: float
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EquityRow:
    """A point of the equity curve."""

    seq: int
    ts_event: int
    equity: Decimal
    balance: Decimal
    unrealized: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class DenialRow:
    """A refusal by risk."""

    seq: int
    decision: int
    code: str
    symbol: str  # empty: the whole target
    detail: str
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """A decision with its reasons and refusals."""

    session: str
    seq: int
    decision: int
    snapshot: int
    policy: str
    status: str
    weights: dict[str, float]  # by symbol
    forecast: dict[str, float]
    reasons: tuple[str, ...]
    denials: tuple[DenialRow, ...]
    orders: tuple[str, ...]
    ts_event: int
    ts_recv: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceRow:
    """Where ledger and exchange disagreed."""

    seq: int
    what: str
    ledger: str
    exchange: str
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRow:
    """A closed bar."""

    session: str
    symbol: str
    interval_ns: int
    ts_open: int
    ts_event: int  # close time
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int | None
    origin: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Distribution of a delay; None where nothing was measured."""

    n: int
    min: float | None  # ms
    p50: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How often things happened in a session, and what they summed to."""

    orders: int
    fills: int
    decisions: int
    denials: int
    differences: int
    gaps: int
    batches: int
    bars: int
    fees: Decimal
    funding: Decimal
    liquidation: Decimal

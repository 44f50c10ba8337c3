"""What the desk takes in and gives out: one dataclass a message, numbered and journalled. Pure.

The engine is a fold over `Input`s; each yields `Output`s. Both are encoded by `don.model.codec`,
kept in the journal, and compared on replay. Money and sizes are exact decimals; estimates are
float64 arrays. Arrays name their axes in comments. Every input carries `key`, its idempotency key
within the account.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np

from don.model.instrument import Instrument
from don.model.order import Denial, Fill, Order, OrderStatus, Side
from don.model.portfolio import Position


class CommandKind(StrEnum):
    """What a person can tell the desk."""

    HALT = "halt"  # cancel everything, flatten, refuse new orders until resumed
    RESUME = "resume"
    STOP = "stop"  # the session ends: cancel open orders, keep positions
    ADOPT = "adopt"  # take the exchange's next account report as the truth, on record
    LIMITS = "limits"  # other risk limits from now on; `payload` says which
    STATE = "state"  # policy, account or system active, reducing or halted; in `payload`
    ORDER = "order"  # place, amend or cancel an order by hand; `payload` says which


class TargetStatus(StrEnum):
    """How a target came about."""

    OPTIMAL = "optimal"
    FALLBACK = "fallback"  # no solution: the last target, pulled inside the limits


# ---- inputs --------------------------------------------------------------------------------------


# A session is folded by the rules that it began with, so that what was recorded stays as it was.
# 1: what an account holds when it is taken over is worth its first marks, no profit of ours
RULES = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStart:
    """First entry of a session: everything the engine needs besides later inputs."""

    key: str
    session: str
    account: str
    policy: str
    symbols: tuple[str, ...]
    instruments: tuple[Instrument, ...]
    interval_ns: int
    feature_set: str  # content hash
    config: str  # TOML-independent JSON of the engine's configuration
    state: (
        str  # JSON of the carried state (ledger, open orders, halt); "" at the account's beginning
    )
    ts_recv: int
    feature_config: str = ""  # JSON; how the recorded market data become snapshots again
    features: tuple[str, ...] = ()  # names in the set, to check the policy; () leaves it to later
    market: str = ""  # JSON; the paper exchange and its tape, "" where the market is not a replay
    rules: int = 0  # of the fold, see `RULES`; 0: recorded before they had numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Closes before the session's first snapshot, to warm estimates up. Never acted upon."""

    key: str
    symbols: tuple[str, ...]
    ts: np.ndarray  # [time] int64, bar close times
    close: np.ndarray  # [time, symbol] float64
    ts_recv: int
    names: tuple[str, ...] = ()  # of the features told besides
    values: np.ndarray | None = None  # [rows, symbol, feature] of the last `rows` times


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSnapshot:
    """Features of all symbols at one bar close."""

    key: str  # f"snapshot:{session}:{version}"
    version: int  # 1, 2, 3 ... within a session, no holes
    ts_event: int  # exchange time of the bar close
    ts_recv: int  # wall time at which the event that closed the bar set reached the feed
    feature_set: str
    symbols: tuple[str, ...]
    names: tuple[str, ...]
    values: np.ndarray  # [symbol, feature] float64; NaN while warming up
    close: np.ndarray  # [symbol] float64, last traded price of the bar
    mark: np.ndarray  # [symbol] float64
    stale: tuple[str, ...]  # symbols whose bar or book is missing, late or being resynchronised
    superseded: bool = False  # a later bar was known when it was made: not to be decided on
    ts_taken: int = 0  # wall time at which the desk took it, stamped by the desk; 0: at ts_recv
    high: np.ndarray | None = None  # [symbol] float64, of the bar; None where nobody says
    low: np.ndarray | None = None  # [symbol]
    volume: np.ndarray | None = None  # [symbol] traded in the bar, base


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The optimizer's answer to one `OptimizeRequest`."""

    key: str  # f"target:{session}:{decision}"
    decision: int
    symbols: tuple[str, ...]
    weights: np.ndarray  # [symbol] float64, fraction of equity, signed
    status: TargetStatus
    detail: str
    solve_ms: float
    ts_recv: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReport:
    """What became of an order, from the user-data stream or from polling."""

    key: str  # f"order:{client_order_id}:{status}:{filled}"
    client_order_id: str
    exchange_order_id: str
    symbol: str
    status: OrderStatus
    filled: Decimal  # cumulative, base
    detail: str
    ts_event: int  # exchange time; the intent's own time for LOST
    ts_recv: int
    ts_sent: int = 0  # wall time just before the request left, 0 if not known


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReport:
    """One fill; `key` makes it count once however often it is told."""

    key: str  # f"fill:{symbol}:{trade_id}"
    fill: Fill
    ts_recv: int


class PaymentKind(StrEnum):
    """Why money moved without a trade."""

    FUNDING = "funding"
    LIQUIDATION = "liquidation"  # its fee, or what the insurance fund made up


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingReport:
    """One payment without a trade, funding nearly always; positive is received."""

    key: str  # f"funding:{payment_id}"
    symbol: str  # "" if it is the whole account's
    amount: Decimal  # quote
    ts_event: int
    ts_recv: int
    kind: PaymentKind = PaymentKind.FUNDING


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountReport:
    """The exchange's own view of the account, when nothing was in flight for the reporter."""

    key: str  # f"account:{ts_event}:{n}"
    balance: Decimal  # wallet balance, quote
    positions: tuple[Position, ...]  # non-zero ones
    open_orders: tuple[str, ...]  # client order ids
    final: bool  # True for the check that closes a session
    ts_event: int
    ts_recv: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A person's (or a script's) command."""

    key: str
    kind: CommandKind
    actor: str  # who: "cli", "api", "console", "supervisor"
    reason: str
    ts_recv: int
    payload: str = ""  # JSON of what the command is about; "" for kinds that need nothing more


@dataclass(frozen=True, slots=True, kw_only=True)
class Timer:
    """Wall time passing, so that silence is noticed too."""

    key: str
    ts_recv: int
    resumed: bool = False  # the desk was down since its last input


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkUpdate:
    """Marks between two bars, taken in only when they reach a loss limit."""

    key: str  # f"marks:{session}:{ts}"
    marks: dict[str, Decimal]
    ts_event: int
    ts_recv: int


Input = (
    SessionStart
    | History
    | FeatureSnapshot
    | Target
    | OrderReport
    | FillReport
    | FundingReport
    | AccountReport
    | Command
    | Timer
    | MarkUpdate
)

# ---- outputs -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PortfolioInputs:
    """What some objectives, costs and limits need beyond means and covariance; None: not known."""

    carry: np.ndarray | None = None  # [symbol] funding that a long of weight 1 pays per bar
    impact: np.ndarray | None = None  # [symbol] c of the cost c |z|^1.5 of trading weight z
    margin: np.ndarray | None = None  # [symbol] initial margin per unit of |weight|
    lot: np.ndarray | None = None  # [symbol] weight of one lot
    least: np.ndarray | None = None  # [symbol] weight of the least notional of an order
    mu_error: np.ndarray | None = None  # [symbol] standard error of mu, per bar
    mu_path: np.ndarray | None = None  # [period, symbol] mu of each coming period, per bar
    cost_path: np.ndarray | None = None  # [period, symbol] cost per unit of turnover
    scenarios: np.ndarray | None = None  # [time, symbol] returns per bar, oldest first
    exposures: np.ndarray | None = None  # [factor, symbol] to be kept neutral
    reference: np.ndarray | None = None  # [symbol] weights that a market in balance would hold
    views: np.ndarray | None = None  # [view, symbol] portfolios that views are about
    view_mu: np.ndarray | None = None  # [view] their expected return per bar
    view_error: np.ndarray | None = None  # [view] standard error of that


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeRequest:
    """A portfolio problem. The answer is a pure function of this message."""

    decision: int
    ts_event: int
    symbols: tuple[str, ...]
    mu: np.ndarray  # [symbol] expected return per bar
    Sigma: np.ndarray  # [symbol, symbol] per bar
    w_now: np.ndarray  # [symbol] current weights
    w_last: np.ndarray  # [symbol] last accepted target
    cost: np.ndarray  # [symbol] cost per unit of turnover, fraction (fee + half spread)
    tradable: np.ndarray  # [symbol] bool; False holds the current weight
    desired: np.ndarray | None = None  # [symbol] weights to follow, whatever mu and cost are
    inputs: PortfolioInputs | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOrder:
    """Send this order."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    """Cancel this order."""

    client_order_id: str
    symbol: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AmendOrder:
    """Give this open limit order another size and price. Not an output of the engine (yet)."""

    client_order_id: str
    symbol: str
    side: Side
    size: Decimal  # base, of the whole order
    price: Decimal  # quote per base


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Why the desk did what it did on one occasion: for the journal, the console and the audit."""

    decision: int
    ts_event: int
    snapshot: int  # version, 0 for decisions that no snapshot caused
    policy: str
    symbols: tuple[str, ...]
    forecast: np.ndarray  # [symbol]
    weights: np.ndarray  # [symbol] after risk
    status: str  # "optimal", "fallback", "skipped", "halt" ...
    reasons: tuple[str, ...]
    denials: tuple[Denial, ...]
    orders: tuple[str, ...]  # client order ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The ledger and the exchange disagree: never ignored, never silently mended."""

    what: str  # "balance", "position BTC-USDT-PERP", "open orders", "realized BTC-USDT-PERP" ...
    ledger: str
    exchange: str
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Equity:
    """A point of the equity curve: taken at each bar close and after each fill or payment."""

    ts_event: int
    equity: Decimal
    balance: Decimal
    unrealized: Decimal


class BookKind(StrEnum):
    """Why a virtual book moved."""

    FILL = "fill"  # its part of a fill at the exchange
    CROSS = "cross"  # with other books, nothing left the desk
    FUNDING = "funding"
    LIQUIDATION = "liquidation"
    CAPITAL = "capital"  # allocated to it, or taken from it
    ADOPTED = "adopted"  # what the account held when the books were opened, or adopted later
    PAPER = "paper"  # a shadow's trade, on paper


@dataclass(frozen=True, slots=True, kw_only=True)
class BookEntry:
    """One virtual book's part of one fact. Parts of all books but shadows sum to the fact."""

    kind: BookKind
    key: str  # of the fact: the fill's or payment's own, or `cross:...`, `capital:...`
    book: str
    shadow: bool  # a book on paper: no part of the account
    symbol: str  # "" for cash alone
    size: Decimal  # change of the position, signed, base
    price: Decimal  # quote per base; 0 for cash alone
    fee: Decimal  # quote, paid
    amount: Decimal  # quote, cash received besides: payments, capital
    ts_event: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookValue:
    """What a virtual book is worth."""

    book: str
    mode: str  # of its slot; "desk", or "closing" where the slot is gone
    equity: Decimal
    pnl: Decimal  # equity less the capital put in
    capital: Decimal
    share: float  # of the account's equity


@dataclass(frozen=True, slots=True, kw_only=True)
class BookPoint:
    """The books at a bar on which is decided. Those that are no shadow sum to the account."""

    ts_event: int
    values: tuple[BookValue, ...]


Output = (
    OptimizeRequest
    | SubmitOrder
    | CancelOrder
    | Decision
    | Difference
    | Equity
    | BookEntry
    | BookPoint
)

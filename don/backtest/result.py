"""What a backtest found: frozen, comparable byte for byte. Pure."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from don.backtest.books import BookResult
from don.model import codec
from don.model.messages import BookEntry, Decision, Difference, FundingReport
from don.model.order import Denial, Fill, Order, OrderStatus

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderOutcome:
    """An order and what became of it."""

    order: Order
    status: OrderStatus
    filled: Decimal  # base
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """Something that the result rests on and that a live session may not keep."""

    topic: str  # "fills", "latency", "fees", "funding" ...
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What was recorded of a symbol within the run."""

    symbol: str
    first_ns: int  # open time of its first bar in the run
    last_ns: int  # close time of its last
    bars: int  # bars of its own
    missing: int  # bars between first and last that were not recorded: flat at the last close
    quote_volume: float  # traded in a bar, quote, mean over its bars


@dataclass(frozen=True, slots=True, kw_only=True)
class DataShares:
    """What the completeness ledger knew of a symbol's minutes within the run."""

    symbol: str
    source: str  # exchange and channel
    minutes: int
    by_state: dict[str, int]  # minutes: complete, gap, repaired, synthetic, down

    @property
    def unknown(self) -> int:
        """Minutes of which nothing was known."""
        return self.minutes - sum(self.by_state.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The account at the end, exact, in quote."""

    equity: Decimal
    balance: Decimal
    deposits: Decimal
    realized: Decimal  # before fees
    unrealized: Decimal
    fees: Decimal
    funding: Decimal
    liquidation: Decimal = Decimal(0)  # fees of liquidations, negative, less what the fund made up

    @property
    def pnl(self) -> Decimal:
        """Profit since the beginning."""
        return self.equity - self.deposits


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestResult:
    """One run. The same configuration and data give the same `digest`."""

    format: int = FORMAT
    session: str
    policy: str
    detail: str  # how finely the market was replayed
    symbols: tuple[str, ...]
    interval_ns: int
    start_ns: int
    end_ns: int
    bars: int  # bars taken in, over all symbols
    config: str  # JSON
    config_hash: str
    data_hash: str
    feature_set: str
    decisions: tuple[Decision, ...]
    orders: tuple[OrderOutcome, ...]
    fills: tuple[Fill, ...]
    funding: tuple[FundingReport, ...]
    differences: tuple[Difference, ...]  # books against exchange; empty unless something is broken
    equity_ts: np.ndarray  # [point] int64, exchange time
    equity: np.ndarray  # [point] float64, quote
    closes_ts: np.ndarray  # [bar] int64
    closes: np.ndarray  # [bar, symbol] float64
    marks: np.ndarray  # [bar, symbol] float64
    books: Books
    assumptions: tuple[Assumption, ...]
    recorded: tuple[Recorded, ...] = ()  # empty where no bars were replayed
    shares: tuple[DataShares, ...] = ()  # empty where the data did not come from the store
    virtual: tuple[BookResult, ...] = ()  # books of several policies; empty where there is one
    entries: tuple[BookEntry, ...] = ()  # each book's part of every fact

    @property
    def denials(self) -> tuple[Denial, ...]:
        """What risk refused, in order."""
        return tuple(denial for decision in self.decisions for denial in decision.denials)

    @property
    def digest(self) -> str:
        """Hash of everything in the result."""
        return hashlib.sha256(codec.encode(self)).hexdigest()

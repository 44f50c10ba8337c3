"""Values of the paper exchange: requests, orders, trades, account rows, what a restart needs. Pure.

Amounts are exact `Decimal`s (quote, or base for sizes); times are tape time, ns since the epoch,
UTC; symbols are the exchange's own (`BTCUSDT`). All values are plain for `don.model.codec`.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from don.model.order import Side, TimeInForce
from don.model.portfolio import ZERO
from don.paper.algo import AlgoState


class OrderKind(StrEnum):
    """Order types as the protocol names them. LIQUIDATION is the exchange's own."""

    LIMIT = "LIMIT"
    MARKET = "MARKET"
    LIQUIDATION = "LIQUIDATION"


class Status(StrEnum):
    """Order states as the protocol names them."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # accepted for a later time, then refused

    @property
    def final(self) -> bool:
        """True if nothing more can happen to the order."""
        return self not in (Status.NEW, Status.PARTIALLY_FILLED)


class IncomeKind(StrEnum):
    """Kinds of rows in the income history, as the protocol names them."""

    TRANSFER = "TRANSFER"
    REALIZED_PNL = "REALIZED_PNL"
    COMMISSION = "COMMISSION"
    FUNDING_FEE = "FUNDING_FEE"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """A request to place an order. Nothing is rounded: what does not fit the filters is refused."""

    symbol: str
    side: Side
    kind: OrderKind
    size: Decimal  # base
    price: Decimal | None = None  # quote per base; required for LIMIT, refused for MARKET
    time_in_force: TimeInForce | None = None  # required for LIMIT; None for MARKET
    reduce_only: bool = False
    good_till: int = 0  # tape time at which a GTD order ends, ns; 0 for all others
    client_order_id: str | None = None  # None: the exchange makes one
    account: str | None = None  # None: the first account


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderState:
    """An order as the exchange knows it."""

    account: str
    symbol: str
    order_id: int
    client_order_id: str
    side: Side
    kind: OrderKind
    time_in_force: TimeInForce
    reduce_only: bool
    price: Decimal  # 0 for market orders
    size: Decimal  # base; a reduce-only order may be cut, then this is the cut size
    filled: Decimal  # base
    quote: Decimal  # sum of price * size over fills
    status: Status
    ts_created: int  # of a waiting order: when it takes effect
    ts_updated: int
    waiting: bool = False  # on its way to the book; neither matched nor counted in margins yet
    reason: str = ""  # code and message of a rejection, or of an amendment refused when due
    good_till: int = 0  # tape time, ns; 0: until cancelled
    origin: str = ""  # kind of the conditional order that became this one
    close_position: bool = False  # that one closed the position

    @property
    def left(self) -> Decimal:
        """Size that is not filled."""
        return self.size - self.filled

    @property
    def average(self) -> Decimal:
        """Average fill price, 0 when nothing is filled."""
        return self.quote / self.filled if self.filled else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTrade:
    """A fill of one account. Ids rise over all accounts and symbols."""

    account: str
    symbol: str
    id: int
    order_id: int
    client_order_id: str
    side: Side
    price: Decimal
    size: Decimal
    quote: Decimal  # price * size
    fee: Decimal  # in fee_asset; negative is a rebate
    fee_asset: str
    realized: Decimal  # profit realised by this fill, before fee
    maker: bool
    ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Income:
    """A change of a wallet balance. The wallet is the sum of its incomes, exactly."""

    account: str
    symbol: str  # "" for transfers
    kind: IncomeKind
    amount: Decimal
    asset: str
    ts: int
    tran_id: int  # unique
    trade_id: int | None = None
    info: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionState:
    """A one-way position in a cross-margined account, valued at the mark price."""

    account: str
    symbol: str
    size: Decimal  # base, negative is short
    cost: Decimal  # quote, size * entry price, exact
    entry_price: Decimal  # 0 when flat
    mark: Decimal
    notional: Decimal  # size * mark, signed
    unrealized: Decimal
    realized: Decimal  # accumulated over the account's life, before fees
    leverage: int
    position_margin: Decimal  # initial margin of the position
    order_margin: Decimal  # what open orders add to it
    maintenance_margin: Decimal
    liquidation_price: Decimal  # 0 when there is none
    ts_updated: int

    @property
    def initial_margin(self) -> Decimal:
        """Initial margin of position and open orders."""
        return self.position_margin + self.order_margin


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """One account at this moment, in its margin asset."""

    account: str
    asset: str
    ts: int
    wallet: Decimal
    unrealized: Decimal
    position_margin: Decimal
    order_margin: Decimal
    maintenance_margin: Decimal
    positions: tuple[PositionState, ...]  # every listed symbol, flat ones too

    @property
    def margin_balance(self) -> Decimal:
        """Wallet plus unrealised profit."""
        return self.wallet + self.unrealized

    @property
    def initial_margin(self) -> Decimal:
        """Initial margin of positions and open orders."""
        return self.position_margin + self.order_margin

    @property
    def available(self) -> Decimal:
        """What new orders may use, never negative."""
        return max(ZERO, self.margin_balance - self.initial_margin)

    @property
    def max_withdraw(self) -> Decimal:
        """What may be taken out: available, without unrealised profit."""
        return max(ZERO, min(self.available, self.wallet - self.initial_margin))


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSnapshot:
    """The book down to a limit; continue with diffs whose `final_id` is above `last_update_id`."""

    symbol: str
    ts: int
    last_update_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]  # (price, size), best first
    asks: tuple[tuple[Decimal, Decimal], ...]


class PendingKind(StrEnum):
    """Requests that can wait for their time."""

    PLACE = "place"
    CANCEL = "cancel"
    CANCEL_ALL = "cancel_all"
    AMEND = "amend"
    ALGO_PLACE = "algo_place"
    ALGO_CANCEL = "algo_cancel"
    ALGO_CANCEL_ALL = "algo_cancel_all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A request that takes effect at a later tape time."""

    kind: PendingKind
    account: str
    symbol: str
    due: int  # tape time, ns
    order_id: int = 0  # or the algo order's; 0 for all of the symbol
    order: NewOrder | None = None  # of PLACE
    size: Decimal = ZERO  # of AMEND
    price: Decimal = ZERO


# ---- what a restart needs ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WalletRow:
    """Balance of one account. Key: account."""

    account: str
    wallet: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """Position and leverage of one account in one symbol. Key: account, symbol."""

    account: str
    symbol: str
    size: Decimal
    cost: Decimal
    realized: Decimal
    leverage: int
    ts_updated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketRow:
    """Market state of one symbol that ids and valuations depend on. Key: symbol."""

    symbol: str
    update_id: int  # of the last depth change
    last: int  # price of the last print, ticks; 0 when none
    mark: Decimal  # 0 when none
    index: Decimal
    rate: Decimal
    next_funding_ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Last ids given out, tape time and place. One row."""

    order_id: int = 0
    trade_id: int = 0
    tran_id: int = 0
    algo_id: int = 0
    now: int = 0  # tape time, ns
    position: int = 0  # tape position after the last applied event


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingRow:
    """All requests that wait, in the order in which they came. One row."""

    requests: tuple[Pending, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLevels:
    """The tape's own levels of a symbol (without user orders)."""

    symbol: str
    bids: tuple[tuple[int, int], ...]  # (ticks, lots), best first
    asks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FormingBar:
    """An unfinished bar. Prices in ticks, volumes in lots, quote volumes in ticks * lots."""

    symbol: str
    interval: str
    open_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: int
    trades: int
    buy_volume: int
    buy_quote_volume: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dirty:
    """Rows changed since the last `take_dirty()`: replace wallets, positions, orders, conditional
    orders, markets, counters and what waits by key, append trades and incomes. One transaction for
    all keeps the store whole.
    """

    counters: Counters
    wallets: tuple[WalletRow, ...] = ()
    positions: tuple[PositionRow, ...] = ()
    orders: tuple[OrderState, ...] = ()  # key: order_id
    trades: tuple[AccountTrade, ...] = ()  # key: id
    incomes: tuple[Income, ...] = ()  # key: tran_id
    markets: tuple[MarketRow, ...] = ()
    waiting: WaitingRow | None = None  # None: unchanged
    algos: tuple[AlgoState, ...] = ()  # key: algo_id

    @property
    def urgent(self) -> bool:
        """True if accounts or orders changed, not only the market."""
        return bool(
            self.wallets
            or self.positions
            or self.orders
            or self.trades
            or self.incomes
            or self.waiting is not None
            or self.algos
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeState:
    """All that a restart needs, as rows. `books` and `bars` may be empty (after a crash): then
    books refill from the tape's first snapshot, and update ids leap so that none is used twice.
    """

    counters: Counters = field(default_factory=Counters)
    wallets: tuple[WalletRow, ...] = ()
    positions: tuple[PositionRow, ...] = ()
    orders: tuple[OrderState, ...] = ()  # open ones, and as many finished ones as should be known
    trades: tuple[AccountTrade, ...] = ()
    incomes: tuple[Income, ...] = ()
    markets: tuple[MarketRow, ...] = ()
    books: tuple[BookLevels, ...] = ()
    bars: tuple[FormingBar, ...] = ()
    waiting: WaitingRow = field(default_factory=WaitingRow)
    algos: tuple[AlgoState, ...] = ()  # open ones, and as many finished ones as should be known

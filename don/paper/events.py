"""What crosses the paper exchange's core: tape events in, market and account events out. Pure.

Tape events carry prices as integer ticks and sizes as integer lots of the symbol's instrument
(`price = ticks * tick_size`, `size = lots * lot_size`), so nothing is rounded on the way in.
Outgoing events carry exact `Decimal`s in quote per base and base units. Symbols are the
exchange's own (`BTCUSDT`); every `ts` is tape time, ns since the epoch, UTC.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from don.paper.algo import AlgoState
from don.paper.types import AccountTrade, OrderState, PositionState

# ---- in: the tape --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TradePrint:
    """A trade of the recorded market: an exogenous aggressor that may fill our resting orders."""

    symbol: str
    ts: int
    id: int  # aggregate trade id, rises by one per symbol
    price: int  # ticks, > 0
    size: int  # lots, > 0
    buy: bool  # True: the aggressor bought (it hit asks)
    count: int = 1  # single trades in it; their ids are not modelled


@dataclass(frozen=True, slots=True, kw_only=True)
class BookUpdate:
    """Absolute sizes of the recorded market's displayed levels; size 0 removes a level.

    With `snapshot`, levels that are not named are removed as well. A tape that starts in the middle
    sends a snapshot of each symbol first.
    """

    symbol: str
    ts: int
    bids: tuple[tuple[int, int], ...]  # (price in ticks, size in lots), any order
    asks: tuple[tuple[int, int], ...]
    snapshot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPrice:
    """Mark and index price and the funding rate that the running period will settle at."""

    symbol: str
    ts: int
    mark: Decimal  # quote per base, > 0
    index: Decimal
    rate: Decimal  # predicted funding rate, fraction of notional
    next_funding_ts: int  # ns


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRate:
    """A funding settlement at `ts`: a position of size s pays `s * mark * rate` (shorts get)."""

    symbol: str
    ts: int
    rate: Decimal  # fraction of notional for this period
    mark: Decimal | None = None  # mark price it settles at; None: the current one


@dataclass(frozen=True, slots=True, kw_only=True)
class BarClose:
    """A bar of the tape is complete; `ts` is its close time (open time + interval)."""

    symbol: str
    ts: int
    interval: str  # "1m", "30m", ...
    open: int  # ticks
    high: int
    low: int
    close: int
    volume: int  # lots
    quote_volume: Decimal  # quote
    trades: int  # count
    buy_volume: int  # lots bought by aggressors
    buy_quote_volume: Decimal  # quote


TapeEvent = TradePrint | BookUpdate | MarkPrice | FundingRate | BarClose

# ---- out: market data, for everyone --------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicTrade:
    """A trade of the tape, as the `aggTrade` and `trade` streams report it; never our own fills."""

    symbol: str
    ts: int
    id: int
    price: Decimal
    size: Decimal
    buy: bool  # aggressor bought; the stream's `m` (buyer is maker) is `not buy`
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthDiff:
    """All levels that changed in one step, with absolute sizes; size 0 means gone.

    `previous_final_id` (`pu`) equals the `final_id` (`u`) of the symbol's last diff, and
    `first_id` (`U`) is `previous_final_id + 1`. Ids count level changes, so `u` may exceed `U`.
    """

    symbol: str
    ts: int
    first_id: int
    final_id: int
    previous_final_id: int
    bids: tuple[tuple[Decimal, Decimal], ...]  # best first
    asks: tuple[tuple[Decimal, Decimal], ...]  # best first


@dataclass(frozen=True, slots=True, kw_only=True)
class BookTicker:
    """Best bid and ask changed. A side without orders has price and size 0."""

    symbol: str
    ts: int
    update_id: int  # of the depth diff that changed it
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Kline:
    """A bar: forming (`closed` False) or complete, then exactly the tape's own."""

    symbol: str
    ts: int
    interval: str
    open_time: int  # ns
    close_time: int  # ns, open_time + interval (the protocol shows one ms less)
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal  # base
    quote_volume: Decimal  # quote
    trades: int
    buy_volume: Decimal  # base
    buy_quote_volume: Decimal  # quote
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Premium:
    """Mark price update, as the `markPrice` stream and `premiumIndex` report it."""

    symbol: str
    ts: int
    mark: Decimal
    index: Decimal
    rate: Decimal  # of the running period
    next_funding_ts: int  # ns, 0 when unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class ForceOrder:
    """A liquidation, as the `forceOrder` stream reports it: the order after its execution."""

    symbol: str
    ts: int
    order: OrderState


MarketEvent = PublicTrade | DepthDiff | BookTicker | Kline | Premium | ForceOrder

# ---- out: account events, for one account's user-data streams ------------------------------------


class Execution(StrEnum):
    """Why an order update was sent; the protocol's `x`."""

    NEW = "NEW"
    TRADE = "TRADE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # refused when its time came
    AMENDMENT = "AMENDMENT"  # a reduce-only order was cut to the position that is left
    CALCULATED = "CALCULATED"  # the insurance fund took the rest of a liquidation over; has a trade


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdate:
    """ORDER_TRADE_UPDATE. `trade` is set exactly on a fill (TRADE, CALCULATED)."""

    account: str
    ts: int
    execution: Execution
    order: OrderState  # after the update
    trade: AccountTrade | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoUpdate:
    """ALGO_UPDATE: a conditional order was accepted, set off, or ended."""

    account: str
    ts: int
    algo: AlgoState  # after the update
    order: OrderState | None = None  # what it became, as it stands


class UpdateReason(StrEnum):
    """Why an account update was sent; the protocol's `m`."""

    ORDER = "ORDER"
    FUNDING_FEE = "FUNDING_FEE"
    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"
    INSURANCE_CLEAR = "INSURANCE_CLEAR"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate:
    """ACCOUNT_UPDATE: the wallet after a change and the positions that changed."""

    account: str
    ts: int
    reason: UpdateReason
    asset: str
    wallet: Decimal  # balance after the change
    change: Decimal  # balance change except realised profit and commission
    positions: tuple[PositionState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverageUpdate:
    """ACCOUNT_CONFIG_UPDATE: the leverage of a symbol changed."""

    account: str
    ts: int
    symbol: str
    leverage: int


AccountEvent = OrderUpdate | AlgoUpdate | AccountUpdate | LeverageUpdate
Event = MarketEvent | AccountEvent

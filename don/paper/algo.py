"""Values of conditional ("algo") orders of the paper exchange. Pure.

As on the real exchange since 2025-12 they are not orders of the book: they have their own ids and
states, take no margin, and become an ordinary market or limit order when a price sets them off.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Self

from don.model.order import Side, TimeInForce
from don.model.portfolio import ZERO


class AlgoKind(StrEnum):
    """Conditional order types as the protocol names them."""

    STOP = "STOP"
    STOP_MARKET = "STOP_MARKET"
    TAKE_PROFIT = "TAKE_PROFIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TRAILING_STOP_MARKET = "TRAILING_STOP_MARKET"

    @property
    def limit(self) -> bool:
        """True if it becomes a limit order."""
        return self in (AlgoKind.STOP, AlgoKind.TAKE_PROFIT)

    @property
    def stop(self) -> bool:
        """True if it waits for the price to move its own way: a buy for it to rise."""
        return self in (AlgoKind.STOP, AlgoKind.STOP_MARKET)


class Working(StrEnum):
    """Which price sets a conditional order off."""

    CONTRACT_PRICE = "CONTRACT_PRICE"  # last trade of the tape
    MARK_PRICE = "MARK_PRICE"


class AlgoStatus(StrEnum):
    """States of a conditional order, as the protocol names them."""

    NEW = "NEW"
    TRIGGERING = "TRIGGERING"  # a price set it off
    TRIGGERED = "TRIGGERED"  # it became an order
    FINISHED = "FINISHED"  # that order is filled or ended
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"  # it could not become an order

    @property
    def final(self) -> bool:
        """True if nothing more can happen to it."""
        return self not in (AlgoStatus.NEW, AlgoStatus.TRIGGERING, AlgoStatus.TRIGGERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAlgo:
    """A request to place a conditional order; what does not fit the filters is refused."""

    symbol: str
    side: Side
    kind: AlgoKind
    size: Decimal | None = None  # base; None with close_position
    trigger: Decimal | None = None  # required but for trailing stops
    price: Decimal | None = None  # of STOP and TAKE_PROFIT alone
    time_in_force: TimeInForce = TimeInForce.GTC
    working: Working = Working.CONTRACT_PRICE
    reduce_only: bool = False
    close_position: bool = False  # closes whatever the position is when it is set off
    activate: Decimal | None = None  # from which on a trailing stop follows; None: at once
    callback: Decimal | None = None  # percent by which the price must turn; of trailing stops
    good_till: int = 0  # tape time at which a GTD order ends, ns
    client_algo_id: str | None = None  # None: the exchange makes one
    account: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgoState:
    """A conditional order as the exchange knows it. Absent prices and sizes are 0."""

    account: str
    symbol: str
    algo_id: int
    client_algo_id: str
    side: Side
    kind: AlgoKind
    size: Decimal
    trigger: Decimal  # of an active trailing stop: where it stands now
    price: Decimal
    time_in_force: TimeInForce
    working: Working
    reduce_only: bool
    close_position: bool
    activate: Decimal
    callback: Decimal  # percent
    good_till: int
    status: AlgoStatus
    ts_created: int  # of a waiting one: when it takes effect
    ts_updated: int
    ts_triggered: int = 0
    order_id: int = 0  # what it became
    extreme: Decimal = ZERO  # best price since a trailing stop is active, 0 before
    waiting: bool = False  # on its way; no price sets it off yet
    reason: str = ""  # code and message of a rejection

    @classmethod
    def accepted(
        cls, request: NewAlgo, account: str, ident: int, ts: int, *, waiting: bool
    ) -> Self:
        """What a request becomes when it is taken: untouched, with its own id or one of ours."""
        return cls(
            account=account,
            symbol=request.symbol,
            algo_id=ident,
            client_algo_id=request.client_algo_id or f"paper-algo-{ident}",
            side=request.side,
            kind=request.kind,
            size=request.size or ZERO,
            trigger=request.trigger or ZERO,
            price=request.price or ZERO,
            time_in_force=request.time_in_force,
            working=request.working,
            reduce_only=request.reduce_only or request.close_position,
            close_position=request.close_position,
            activate=request.activate or ZERO,
            callback=request.callback or ZERO,
            good_till=request.good_till,
            status=AlgoStatus.NEW,
            ts_created=ts,
            ts_updated=ts,
            waiting=waiting,
        )

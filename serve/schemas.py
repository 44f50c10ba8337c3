"""The views that actors put on the board, and how they look over HTTP. Pure.

One model serves as documentation of a board view and as the response: inside, times are int ns
and money is Decimal or text; as JSON, times are ISO-8601 UTC and money is text, never a float.
Market prices in bars and quotes are estimates, and plain numbers. Unknown keys of a view are
dropped, absent ones take their default: the edge shows what there is.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from don.clock import iso, parse_iso


def _to_ns(value: Any) -> Any:
    return parse_iso(value) if isinstance(value, str) else value


def _to_text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    return repr(value) if isinstance(value, int | float) else value


def _is_money(text: str) -> str:
    if not Decimal(text).is_finite():
        raise ValueError(f"an amount must be finite, was {text}")
    return text


def _no_nan(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Time = Annotated[
    int,
    BeforeValidator(_to_ns),
    PlainSerializer(lambda ns: iso(ns) if ns else None, when_used="json"),
    WithJsonSchema({"type": ["string", "null"], "format": "date-time"}, mode="serialization"),
]
Money = Annotated[
    str,
    BeforeValidator(_to_text),
    AfterValidator(_is_money),
    WithJsonSchema({"type": "string", "format": "decimal", "examples": ["10023.48"]}),
]
Estimate = Annotated[float | None, BeforeValidator(_no_nan)]  # None while it is not known


class View(BaseModel):
    """Base: immutable, extra keys dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


# ---- board view "session": put by the driver when a session starts ------------------------------


class InstrumentView(View):
    """A tradable contract and its rounding rules."""

    symbol: str
    exchange: str = ""
    exchange_symbol: str = ""
    base: str = ""
    quote: str = ""
    tick_size: Money = "0"
    lot_size: Money = "0"
    min_size: Money = "0"
    max_size: Money = "0"
    min_notional: Money = "0"
    max_leverage: int = 1
    maker_fee: Money = "0"
    taker_fee: Money = "0"


class SessionView(View):
    """What runs: identity of the session and the market it trades."""

    session: str = ""
    account: str = ""
    policy: str = ""
    exchange: str = ""
    mode: str = "paper"
    symbols: tuple[str, ...] = ()
    interval_ns: int = 0
    speed: float = 0.0  # tape seconds a wall second; 0 if the market runs at its own pace
    ts_start: Time = 0  # wall time
    instruments: tuple[InstrumentView, ...] = ()


# ---- board view "desk": `Engine.view()` ---------------------------------------------------------


class PositionView(View):
    """A net position at its mark."""

    symbol: str
    size: Money
    entry_price: Money = "0"
    mark: Money | None = None  # None: not priced yet
    unrealized: Money = "0"
    notional: Money | None = None
    weight: Estimate = None  # fraction of equity, signed


class OpenOrderView(View):
    """An order that is not final."""

    client_order_id: str
    symbol: str
    side: str
    type: str = ""
    size: Money
    filled: Money = "0"
    price: Money | None = None
    trigger: Money | None = None  # of conditional orders
    reason: str = ""
    parent: str = ""
    status: str = ""
    cancelling: bool = False
    decision: int = 0
    ts_event: Time = 0


class ParentView(View):
    """An order that Don carries out: by hand, or an algorithm of the policy's."""

    parent: str
    kind: str
    symbol: str
    side: str
    size: Money
    terms: dict[str, Money] = Field(default_factory=dict)  # prices and the like, by name
    reduce_only: bool = False
    actor: str = ""  # who gave it; empty if the policy's target did
    status: str
    detail: str = ""
    filled: Money = "0"
    average: Money | None = None
    arrival: Money | None = None  # mark when it came
    children: int = 0  # sent so far
    live: tuple[str, ...] = ()  # client order ids
    ts_event: Time = 0


class DenialView(View):
    """A refusal by risk."""

    code: str
    symbol: str = ""
    detail: str = ""


class DecisionView(View):
    """Why the desk did what it did on one occasion."""

    seq: int = 0  # of the journal; 0 in live events
    decision: int
    ts_event: Time = 0
    policy: str = ""
    status: str = ""
    weights: dict[str, Estimate] = Field(default_factory=dict)
    forecast: dict[str, Estimate] = Field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    denials: tuple[DenialView, ...] = ()
    orders: tuple[str, ...] = ()


class Counts(View):
    """How often things happened in this session."""

    orders: int = 0
    fills: int = 0
    denials: int = 0
    decisions: int = 0
    differences: int = 0


class BookPosition(View):
    """A virtual book's position."""

    symbol: str
    size: Money
    entry_price: Money = "0"
    unrealized: Money = "0"


class BookView(View):
    """A policy's virtual book. All but shadows sum to the account, exactly."""

    book: str  # name of its slot; "desk": orders by hand, reserves
    mode: str  # live | canary | shadow | desk | closing
    policy: str = ""
    state: str = ""  # active | reducing | halted, of the slot alone
    allocated: Estimate = None  # share of equity, when capital was allocated last
    share: Estimate = None  # as it is now
    capital: Money = "0"  # put in less taken out
    equity: Money = "0"
    pnl: Money = "0"  # equity less capital
    realized: Money = "0"
    unrealized: Money = "0"
    fees: Money = "0"
    funding: Money = "0"
    liquidation: Money = "0"
    traded: Money = "0"  # notional at the exchange
    crossed: Money = "0"  # notional with other books
    drawdown: Estimate = None
    positions: tuple[BookPosition, ...] = ()
    targets: dict[str, Estimate] = Field(default_factory=dict)


class StandingView(View):
    """The state of one scope, who set it and why."""

    scope: str
    state: str
    reason: str = ""
    actor: str = ""  # "risk" where a limit set it


class DeskView(View):
    """The account as the engine sees it. `fees`, `funding` and `pnl` are this session's."""

    session: str = ""
    account: str = ""
    policy: str = ""
    ts_event: Time = 0  # exchange time of the newest market data it knows
    ts_wall: Time = 0
    halted: bool = False
    halt_reason: str = ""
    state: str = ""  # active | reducing | halted: the most severe of system, account and policy
    standings: tuple[StandingView, ...] = ()  # of the scopes that are not active
    stopping: bool = False
    reconciled: bool = True
    ledger_equal: bool | None = None  # to the exchange's account, when they were last compared
    stale: tuple[str, ...] = ()
    equity: Money = "0"
    balance: Money = "0"
    unrealized: Money = "0"
    realized: Money = "0"  # since the account's beginning, as the next two
    deposits: Money = "0"
    pnl_total: Money = "0"
    pnl: Money = "0"
    fees: Money = "0"
    funding: Money = "0"
    positions: tuple[PositionView, ...] = ()
    open_orders: tuple[OpenOrderView, ...] = ()
    parents: tuple[ParentView, ...] = ()  # that work, and those that ended last
    targets: dict[str, Estimate] = Field(default_factory=dict)
    slots: tuple[BookView, ...] = ()  # empty where one policy has the account
    decision: DecisionView | None = None
    counts: Counts = Counts()

    @model_validator(mode="before")
    @classmethod
    def _flatten(cls, value: Any) -> Any:
        """The engine keeps sums over the account in `books`, the session's in `counts`, and how far
        trading is allowed in `risk`.
        """
        if not isinstance(value, Mapping) or "books" not in value:
            return value
        risk = value.get("risk", {})
        states = risk.get("states", {})
        told = [{"scope": scope, **standing} for scope, standing in states.items()]
        books, counts = value["books"], value.get("counts", {})
        lifted = {key: books[key] for key in ("realized", "deposits") if key in books}
        lifted |= {key: counts[key] for key in ("fees", "funding", "pnl") if key in counts}
        lifted |= {"state": risk.get("state", ""), "standings": told}
        return {**value, **lifted, "pnl_total": books.get("pnl", "0")}

    @field_validator("positions")
    @classmethod
    def _held(cls, positions: tuple[PositionView, ...]) -> tuple[PositionView, ...]:
        return tuple(position for position in positions if Decimal(position.size))


# ---- board view "market": put by the feature cache -----------------------------------------------


class BarView(View):
    """One bar of one symbol."""

    ts_open: Time
    open: float
    high: float
    low: float
    close: float
    volume: float = 0.0


class QuoteView(View):
    """Best bid and ask."""

    bid: float
    ask: float


def _whole(rows: Any) -> Any:
    """Without the symbols that have no such row yet: their numbers are not finite."""
    if not isinstance(rows, Mapping):
        return rows
    return {symbol: row for symbol, row in rows.items() if _finite(row)}


def _finite(row: Any) -> bool:
    values = row.values() if isinstance(row, Mapping) else (row,)
    return all(math.isfinite(value) for value in values if isinstance(value, float))


R = TypeVar("R")
BySymbol = Annotated[dict[str, R], BeforeValidator(_whole)]


class MarketView(View):
    """Forming bars and last quotes; a symbol that has none yet is absent."""

    ts_event: Time = 0  # exchange time of the newest event
    interval_ns: int = 0
    bars: BySymbol[BarView] = Field(default_factory=dict)  # forming
    closed: BySymbol[BarView] = Field(default_factory=dict)  # the last closed one
    quotes: BySymbol[QuoteView] = Field(default_factory=dict)
    marks: BySymbol[float] = Field(default_factory=dict)
    stale: tuple[str, ...] = ()


# ---- board views "health:<part>": put by each part every 5 s or sooner ------------------------


class PartState(StrEnum):
    """How a part is doing."""

    LIVE = "live"
    STARTING = "starting"
    STALE = "stale"  # alive, but what it holds is old
    DOWN = "down"


class StreamHealth(View):
    """One stream of a feed or a gateway."""

    stream: str  # e.g. "trades BTC-USDT-PERP"
    state: str = "live"  # as the part says it; anything but "live" is shown as a warning
    ts_event: Time = 0
    events: int = 0
    gaps: int = 0
    reconnects: int = 0
    detail: str = ""


class ClockView(View):
    """Our clock against an exchange's."""

    exchange: str
    source: str = Field(examples=["execution", "data collect"])  # which part compared
    ahead_s: float  # ours before the exchange's
    error_s: Estimate = None  # at most so far from that
    age_s: float = 0.0  # since the part told it


class PartHealth(View):
    """One actor, process or service."""

    part: str = ""
    state: PartState = PartState.LIVE
    detail: str = ""
    restarts: int = 0
    streams: tuple[StreamHealth, ...] = ()
    age_s: float = 0.0  # since it was put; filled in at the edge
    clocks: tuple[ClockView, ...] = ()  # what it compared with; filled in at the edge
    metrics: tuple[Any, ...] = Field(default=(), exclude=True)  # samples, for monitors only

"""Requests and responses of the API that are not views of the board. Pure."""

from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from don.risk.states import TradingState
from serve.events import EquityPoint, FillView, OrderView
from serve.schemas import (
    BarView,
    BookView,
    ClockView,
    DecisionView,
    DeskView,
    Estimate,
    MarketView,
    Money,
    PartHealth,
    PositionView,
    SessionView,
    Time,
    View,
)


class Problem(View):
    """Every answer that is not 2xx."""

    error: str = Field(examples=["invalid"])  # stable, for programs
    field: str = Field(default="", examples=["query.limit"])  # what to change, empty if nothing
    detail: str  # for people: the value and what is allowed


class State(StrEnum):
    """Everything in one word."""

    RUNNING = "running"
    HALTED = "halted"
    STARTING = "starting"  # no view of the desk yet
    DEGRADED = "degraded"  # a part is stale or down


class Health(View):
    """Whether the API can answer, and how every part is doing."""

    ok: bool  # the board and the database answer
    state: State
    board: str  # "ok" or why not
    database: str
    parts: tuple[PartHealth, ...]


class Clocks(View):
    """Our clock against each exchange's, by exchange."""

    clocks: tuple[ClockView, ...]


class Status(View):
    """The session at a glance."""

    state: State
    session: str  # empty while there is none
    policy: str
    info: SessionView
    desk: DeskView | None
    health: dict[str, PartHealth]  # by part
    ages: dict[str, float]  # s since the views "desk" and "market" were put


class Portfolio(View):
    """The account and what it holds. `fees`, `funding` and `pnl` are this session's."""

    session: str
    policy: str
    ts_event: Time
    equity: Money
    balance: Money
    unrealized: Money
    realized: Money
    pnl_total: Money
    pnl: Money
    fees: Money
    funding: Money
    gross_leverage: Estimate
    net_leverage: Estimate
    positions: tuple[PositionView, ...]
    targets: dict[str, Estimate]
    decision: DecisionView | None


class Books(View):
    """Virtual books of several policies; empty where one policy has the account."""

    session: str
    equity: Money  # of the account
    books: tuple[BookView, ...]


class Bars(View):
    """Closed bars, oldest first."""

    symbol: str
    interval: str
    bars: tuple[BarView, ...]


class CoverageRun(View):
    """Neighbouring cells of a heat map that say the same."""

    first: int  # column
    last: int  # column, inclusive
    state: str = Field(examples=["gap"])  # the worst of each cell
    minutes: dict[str, int]  # of each cell, by state; the rest is unknown
    reason: str


class CoverageRow(View):
    """One stream; cells of which nothing is known are in no run."""

    exchange: str
    channel: str = Field(examples=["bars:1m"])
    symbol: str
    shares: dict[str, float]  # of the time shown, by state and `unknown`
    gaps: int
    runs: tuple[CoverageRun, ...]


class CoverageGap(View):
    """Minutes in which something is missing."""

    exchange: str
    channel: str
    symbol: str
    start: Time
    end: Time
    state: str
    reason: str


class CoverageMap(View):
    """Completeness: streams down, time across."""

    start: Time
    end: Time
    step_s: int  # width of a column
    columns: int
    streams: int  # that fit what was asked; `rows` may be fewer
    shares: dict[str, float]  # over all rows
    rows: tuple[CoverageRow, ...]
    gaps: tuple[CoverageGap, ...]  # newest first


class Positions(View):
    """Non-zero positions."""

    positions: tuple[PositionView, ...]


class OrdersPage(View):
    """Orders, newest first; ask for the next page with `before`."""

    orders: tuple[OrderView, ...]
    before: int | None


class FillsPage(View):
    """Fills, newest first; ask for the next page with `before`."""

    fills: tuple[FillView, ...]
    before: int | None


class DecisionsPage(View):
    """Decisions, newest first; ask for the next page with `before`."""

    decisions: tuple[DecisionView, ...]
    before: int | None


class EquityCurve(View):
    """The equity curve, oldest first, thinned to what was asked for without losing its extremes."""

    session: str
    points: tuple[EquityPoint, ...]


class OrderCostView(View):
    """What one order cost. Basis points are positive when they cost money."""

    order: str
    symbol: str
    side: str
    kind: str
    actor: str
    decision: int
    ts_event: Time
    ts_done: Time
    children: int
    fills: int
    size: Money
    filled: Money
    average: Money | None
    fees: Money
    maker: Estimate
    arrival: Estimate
    vwap: Estimate
    close: Estimate
    arrival_bps: Estimate
    vwap_bps: Estimate
    close_bps: Estimate
    fee_bps: Estimate
    missed: Estimate


class CostTotalView(View):
    """Costs of all orders, weighted by what they traded."""

    orders: int
    traded: Money
    fees: Money
    arrival_bps: Estimate
    vwap_bps: Estimate
    close_bps: Estimate
    fee_bps: Estimate


class Costs(View):
    """Transaction costs of a session."""

    session: str
    total: CostTotalView
    orders: tuple[OrderCostView, ...]  # newest first


class SessionRow(View):
    """A session that ran or runs."""

    session: str
    account: str = ""
    policy: str = ""
    symbols: tuple[str, ...] = ()
    ts_start: Time = 0
    ts_end: Time | None = None


class ScopeState(View):
    """The state of one scope, who set it and why."""

    state: TradingState
    reason: str
    actor: str  # "risk" where a limit set it


class CommandRequest(BaseModel):
    """Why, and under which idempotency key; both may be left out."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)
    client: Literal["api", "console", "cli"] = "api"  # for the record
    key: str | None = Field(
        default=None, min_length=8, max_length=64, pattern=r"^[A-Za-z0-9_.:-]+$"
    )

    @field_validator("*")
    @classmethod
    def _text(cls, value: Any) -> Any:
        if isinstance(value, str) and "\0" in value:  # PostgreSQL cannot hold it
            raise ValueError("must not contain the character NUL")
        return value


class LimitsRequest(CommandRequest):
    """Risk limits by name: a value, null to switch one off, "default" for the configured one."""

    limits: dict[str, Any] = Field(min_length=1, examples=[{"max_gross_leverage": "2"}])


class StateRequest(CommandRequest):
    """The state of one scope."""

    scope: str = Field(
        default="account", pattern=r"^(system|account|policy(:[A-Za-z0-9_.-]{1,60})?)$"
    )
    state: TradingState


class RiskReport(View):
    """How the account stands against its limits."""

    state: TradingState  # what holds: the most severe of system, account and policy
    states: dict[str, ScopeState]  # of the scopes that are not active
    limits: dict[str, Any]  # all that hold now, by name
    changed: dict[str, Any]  # those changed by command
    figures: dict[str, Any]  # what limits bound, as it is with the worst fills of working orders
    unprotected: dict[str, Money]  # `now`: notional without a stop; `notional_s`: while Don was off


class CommandResponse(View):
    """The desk has journalled the command; its effect shows in the stream."""

    key: str  # repeat with this key and nothing happens twice
    kind: str
    accepted: bool


class StreamSnapshot(View):
    """First message of the stream, and again whenever the client may have missed something."""

    type: Literal["snapshot"] = "snapshot"
    seq: int
    ts: Time  # wall time
    state: State
    session: SessionView
    desk: DeskView | None
    market: MarketView
    health: tuple[PartHealth, ...]
    ages: dict[str, float]
    fills: tuple[FillView, ...]  # oldest first, as the next two
    decisions: tuple[DecisionView, ...]
    equity: tuple[EquityPoint, ...]
    missing: tuple[str, ...] = ()  # what could not be read; another snapshot will follow


class StreamUpdate(View):
    """Whatever changed; what is absent did not. Sent at least every second or two."""

    type: Literal["update"] = "update"
    seq: int
    ts: Time
    state: State | None = None
    session: SessionView | None = None
    desk: DeskView | None = None
    market: MarketView | None = None
    health: tuple[PartHealth, ...] | None = None
    ages: dict[str, float] | None = None
    fills: tuple[FillView, ...] | None = None
    orders: tuple[OrderView, ...] | None = None
    decisions: tuple[DecisionView, ...] | None = None
    equity: tuple[EquityPoint, ...] | None = None


class StreamAway(View):
    """The board does not answer: what the client shows is getting old."""

    type: Literal["away"] = "away"
    ts: Time
    detail: str


class DataPage(View):
    """Rows of stored market data; columns as in `docs/data.md`, `null` is unknown."""

    rows: tuple[dict[str, Any], ...]
    next: str | None  # ask with it for the next page; null after the last

"""Reads of the account: health, status, portfolio, orders, fills, equity, decisions, sessions."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Response

from don.clock import Clock
from don.errors import DependencyError
from don.execution.tca import total
from serve.assemble import Picture, picture, portfolio_of, state_of, status_of, thin
from serve.events import EquityPoint, FillView, OrderView
from serve.ports import Page, Reader
from serve.problems import ApiError
from serve.responses import (
    Books,
    Clocks,
    Costs,
    CostTotalView,
    DecisionsPage,
    EquityCurve,
    FillsPage,
    Health,
    OrderCostView,
    OrdersPage,
    Portfolio,
    Positions,
    RiskReport,
    SessionRow,
    State,
    Status,
)
from serve.routes.params import (
    Before,
    Limit,
    Moment,
    Session,
    Symbol,
    checked_symbol,
    session_or_running,
)
from serve.schemas import DecisionView, DeskView
from serve.settings import ServeConfig

V = TypeVar("V", FillView, OrderView, DecisionView)


def build(reader: Reader, config: ServeConfig, clock: Clock) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1")

    async def shown() -> Picture:
        return picture(await reader.views(), clock.now_ns(), config.stale_after_s)

    async def desk() -> DeskView:
        found = (await shown()).desk
        if found is None:
            raise DependencyError("the desk has not shown itself yet; wait and retry")
        return found

    async def page(session: str | None, symbol: str | None, limit: int, before: int | None) -> Page:
        now = await shown()
        if symbol is not None:
            checked_symbol(symbol, now)
        chosen = session_or_running(session, now)
        return Page(session=chosen, symbol=symbol, limit=limit, before=before)

    @router.get("/health", tags=["system"], responses={503: {"model": Health}})
    async def health(response: Response) -> Health:
        """Whether the API can answer, and how every part is doing; 503 if it cannot."""
        board = database = "ok"
        now: Picture | None = None
        try:
            now = await shown()
        except DependencyError as error:
            board = str(error)
        try:
            await reader.sessions(1)
        except DependencyError as error:
            database = str(error)
        ok = board == database == "ok"
        response.status_code = 200 if ok else 503
        state = state_of(now) if now else State.DEGRADED
        parts = now.parts if now else ()
        return Health(ok=ok, state=state, board=board, database=database, parts=parts)

    @router.get("/status", tags=["system"])
    async def status() -> Status:
        """The session at a glance."""
        return status_of(await shown())

    @router.get("/clocks", tags=["system"])
    async def clocks() -> Clocks:
        """How far this machine's clock is ahead of each exchange's, as parts measured it."""
        told = [clock for part in (await shown()).parts for clock in part.clocks]
        found = sorted([*told, *await reader.clocks()], key=lambda c: (c.exchange, c.source))
        return Clocks(clocks=tuple(found))

    @router.get("/sessions", tags=["system"])
    async def sessions(limit: Limit = 50) -> list[SessionRow]:
        """Sessions that ran or run, newest first."""
        return [SessionRow.model_validate(row) for row in await reader.sessions(limit)]

    @router.get("/portfolio", tags=["account"])
    async def portfolio() -> Portfolio:
        """The account, what it holds, and the last decision about it."""
        return portfolio_of(await desk())

    @router.get("/risk", tags=["account"])
    async def risk() -> RiskReport:
        """Limits, states, and how the account stands against them."""
        found = (await reader.views()).get("desk")
        if found is None or "risk" not in found.view:
            raise DependencyError("the desk has not shown itself yet; wait and retry")
        return RiskReport.model_validate(found.view["risk"])

    @router.get("/books", tags=["account"])
    async def books() -> Books:
        """Virtual books of several policies on the account: all but shadows sum to it, exactly."""
        found = await desk()
        return Books(session=found.session, equity=found.equity, books=found.slots)

    @router.get("/positions", tags=["account"])
    async def positions() -> Positions:
        """Non-zero positions at their marks."""
        return Positions(positions=(await desk()).positions)

    @router.get("/orders", tags=["account"])
    async def orders(
        session: Session = None, symbol: Symbol = None, limit: Limit = 100, before: Before = None
    ) -> OrdersPage:
        """Orders with their last known status, newest first."""
        rows = await reader.orders(await page(session, symbol, limit, before))
        found = tuple(OrderView.model_validate(row) for row in rows)
        return OrdersPage(orders=found, before=_next(found, limit))

    @router.get("/fills", tags=["account"])
    async def fills(
        session: Session = None, symbol: Symbol = None, limit: Limit = 100, before: Before = None
    ) -> FillsPage:
        """Fills, newest first."""
        rows = await reader.fills(await page(session, symbol, limit, before))
        found = tuple(FillView.model_validate(row) for row in rows)
        return FillsPage(fills=found, before=_next(found, limit))

    @router.get("/decisions", tags=["account"])
    async def decisions(
        session: Session = None, limit: Limit = 50, before: Before = None
    ) -> DecisionsPage:
        """Decisions with their reasons and refusals, newest first."""
        rows = await reader.decisions(await page(session, None, limit, before))
        found = tuple(DecisionView.model_validate(row) for row in rows)
        return DecisionsPage(decisions=found, before=_next(found, limit))

    @router.get("/tca", tags=["account"])
    async def tca(session: Session = None, limit: Limit = 100) -> Costs:
        """What each order cost against arrival, VWAP and close, newest first."""
        chosen = session_or_running(session, await shown())
        rows = await reader.costs(chosen)
        whole = CostTotalView.model_validate(asdict(total(rows)))
        found = [OrderCostView.model_validate(asdict(row)) for row in rows[::-1][:limit]]
        return Costs(session=chosen, total=whole, orders=tuple(found))

    @router.get("/equity", tags=["account"])
    async def equity(
        session: Session = None,
        start: Moment = None,
        end: Moment = None,
        points: Annotated[int, Query(ge=4, le=10_000)] = 1_000,
    ) -> EquityCurve:
        """The equity curve; thinned, but its peaks and troughs are kept."""
        if start is not None and end is not None and end <= start:
            raise ApiError(422, "invalid", "query.end", "must be after start")
        chosen = session_or_running(session, await shown())
        rows = thin(await reader.equity(chosen, start, end), points)
        found = tuple(EquityPoint.model_validate(row) for row in rows)
        return EquityCurve(session=chosen, points=found)

    return router


def _next(rows: Sequence[V], limit: int) -> int | None:
    """Where the next page starts; None after the last one."""
    return rows[-1].seq if len(rows) == limit else None

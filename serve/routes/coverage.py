"""Completeness of what was collected, as a heat map: streams down, time across."""

from typing import Annotated

from fastapi import APIRouter, Query

from don.clock import interval_ns
from don.market.coverage import WORST, State
from don.market.coverage_grid import MAX_COLUMNS, Grid, GridRow
from serve.ports import CoverageAsked, Reader
from serve.problems import ApiError
from serve.responses import CoverageGap, CoverageMap, CoverageRow, CoverageRun
from serve.routes.params import Moment

MAX_ROWS = 500
MAX_GAPS = 1_000
MAX_SPAN_S = 20 * 366 * 86_400

Name = Annotated[str | None, Query(max_length=64)]


def build(reader: Reader) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1", tags=["data"])

    @router.get("/data/coverage")
    async def coverage(
        exchange: Name = None,
        channel: Name = None,
        symbol: Name = None,
        span: Annotated[str, Query(max_length=8, examples=["24h", "7d"])] = "24h",
        end: Moment = None,
        columns: Annotated[int, Query(ge=2, le=MAX_COLUMNS)] = 120,
        limit: Annotated[int, Query(ge=1, le=MAX_ROWS)] = 200,
    ) -> CoverageMap:
        """What is known of every minute, the worst state of each cell; and the gaps, newest first.

        `end` defaults to the newest minute of which anything is known. Cells of which nothing is
        known are in no run.
        """
        asked = CoverageAsked(
            exchange=exchange,
            channel=channel,
            symbol=symbol,
            span_ns=_span(span),
            end=end,
            columns=columns,
            limit=limit,
            gaps=MAX_GAPS,
        )
        told = await reader.coverage(asked)
        return CoverageMap(
            start=told.grid.start,
            end=told.grid.end,
            step_s=told.grid.step_ns // 1_000_000_000,
            columns=told.grid.columns,
            streams=told.streams,
            rows=tuple(_row(row) for row in told.grid.rows) if told.streams else (),
            gaps=tuple(
                CoverageGap(
                    exchange=gap.exchange,
                    channel=gap.channel,
                    symbol=gap.symbol,
                    start=gap.start,
                    end=gap.end,
                    state=gap.state.value,
                    reason=gap.reason,
                )
                for gap in told.gaps
            ),
            shares=_total(told.grid),
        )

    return router


def _span(text: str) -> int:
    try:
        span = interval_ns(text)
    except ValueError as error:
        detail = str(error).replace("interval must be like 1m, 30m", "must be like 30m, 6h")
        raise ApiError(422, "invalid", "query.span", detail) from error
    if not 60 <= span // 1_000_000_000 <= MAX_SPAN_S:
        raise ApiError(422, "invalid", "query.span", f"was {text!r}, must be 1m to 7320d")
    return span


def _row(row: GridRow) -> CoverageRow:
    return CoverageRow(
        exchange=row.exchange,
        channel=row.channel,
        symbol=row.symbol,
        shares=row.shares.fractions(),
        gaps=row.gaps,
        runs=tuple(
            CoverageRun(
                first=run.first,
                last=run.last,
                state=run.state.value,
                minutes={str(state): n for state, n in run.minutes.items()},
                reason=run.reason,
            )
            for run in row.runs
        ),
    )


def _total(grid: Grid) -> dict[str, float]:
    """Shares over all rows shown."""
    minutes = sum(row.shares.minutes for row in grid.rows)
    if not minutes:
        return {}

    def of(state: State) -> float:
        return sum(row.shares.by_state.get(state, 0) for row in grid.rows) / minutes

    shares = {str(state): of(state) for state in WORST}
    return {**shares, "unknown": sum(row.shares.unknown for row in grid.rows) / minutes}

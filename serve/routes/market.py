"""Reads of the market: instruments and bars."""

from typing import Annotated

from fastapi import APIRouter, Query

from don.clock import Clock
from serve.assemble import merge_bars, picture
from serve.ports import Reader
from serve.problems import ApiError
from serve.responses import Bars
from serve.routes.params import Limit, Moment, checked_interval, checked_symbol, interval_text
from serve.schemas import BarView, InstrumentView
from serve.settings import ServeConfig

MAX_BASE_BARS = 20_000  # read for one answer, however long its interval


def build(reader: Reader, config: ServeConfig, clock: Clock) -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/v1", tags=["market"])

    @router.get("/instruments")
    async def instruments() -> list[InstrumentView]:
        """What the session trades, with rounding rules and fees."""
        shown = picture(await reader.views(), clock.now_ns(), config.stale_after_s)
        return list(shown.session.instruments)

    @router.get("/market/bars")
    async def bars(
        symbol: Annotated[str, Query(max_length=32, examples=["BTC-USDT-PERP"])],
        interval: Annotated[str | None, Query(max_length=8, examples=["1h"])] = None,
        start: Moment = None,
        end: Moment = None,
        limit: Limit = 300,
    ) -> Bars:
        """The newest closed bars in [start, end), oldest first; `ts_open` is when one opens."""
        shown = picture(await reader.views(), clock.now_ns(), config.stale_after_s)
        checked_symbol(symbol, shown)
        base = shown.session.interval_ns
        length = checked_interval(interval, base)
        if start is not None and end is not None and end <= start:
            raise ApiError(422, "invalid", "query.end", "must be after start")
        per_bar = length // base if base else 1
        wanted = min(limit * per_bar + per_bar - 1, MAX_BASE_BARS)
        rows = await reader.bars(symbol, base, start, end, wanted)
        found = [BarView.model_validate(row) for row in rows]
        merged = merge_bars(found, length)[-limit:] if per_bar > 1 else found
        return Bars(symbol=symbol, interval=interval_text(length), bars=tuple(merged))

    return router

"""Stored market data of any age, as Arrow or JSON, in pages."""

from enum import StrEnum
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Header, Query, Response
from fastapi.concurrency import run_in_threadpool

from don.clock import interval_ns
from don.model.channels import CHANNELS
from serve.ports import DataAsked, DataTold, Reader
from serve.problems import ApiError, not_one_of
from serve.responses import DataPage
from serve.routes.params import Moment

ARROW = "application/vnd.apache.arrow.stream"
MAX_ARROW = 500_000  # rows of a page
MAX_JSON = 20_000
MAX_NAMES = 200
NEXT = "x-next"

Name = Annotated[str | None, Query(max_length=64)]


class Integers(StrEnum):
    """How JSON tells integers: readers with float64 alone round numbers above 2^53."""

    NUMBER = "number"
    TEXT = "text"


Names = Annotated[list[str] | None, Query(max_length=MAX_NAMES)]

_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"content": {ARROW: {}}, "description": f"JSON, or Arrow if `Accept` names {ARROW}."}
}


def build(reader: Reader) -> APIRouter:
    """The router. Include it behind those with fixed paths below `/v1/data`."""
    router = APIRouter(prefix="/v1", tags=["data"])

    @router.get("/data/{channel}", response_model=DataPage, responses=_RESPONSES)
    async def data(
        channel: str,
        symbol: Names = None,
        exchange: Name = None,
        start: Moment = None,
        end: Moment = None,
        interval: Annotated[str | None, Query(max_length=8, examples=["1m"])] = None,
        column: Names = None,
        last: Annotated[int | None, Query(ge=1, le=MAX_JSON)] = None,
        limit: Annotated[int, Query(ge=1, le=MAX_ARROW)] = 1_000,
        next: Annotated[str | None, Query(max_length=200)] = None,
        integers: Integers = Integers.NUMBER,
        accept: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Rows in [start, end), sorted by exchange, symbol and time; `ts_*` are ns since 1970, UTC.

        Repeat `symbol` and `column` for several. `next` of one page asks for the next one; with
        Arrow it is the header `X-Next`. `last` gives the newest rows of each symbol instead. A page
        ends between two times, so it may have a few rows more or less than `limit`.

        Integers are exact numbers of up to 63 bits: times, ids of trades and books. Where JSON is
        read with float64 alone, as in JavaScript, those above 2^53 would be rounded: ask with
        `integers=text`, or for Arrow.
        """
        if channel not in CHANNELS:
            raise not_one_of("path.channel", channel, list(CHANNELS))
        as_arrow = accept is not None and ARROW in accept
        if not as_arrow and limit > MAX_JSON:
            raise ApiError(422, "invalid", "query.limit",
                           f"was {limit}, must be at most {MAX_JSON} in JSON")  # fmt: skip
        told = await reader.data(
            DataAsked(
                channel=channel, symbols=symbol, exchange=exchange, start=start, end=end,
                interval_ns=_interval(interval), columns=column, last=last, limit=limit, next=next,
                most=MAX_ARROW if as_arrow else MAX_JSON,
            )
        )  # fmt: skip
        if as_arrow:
            return await run_in_threadpool(_arrow, told)
        return await run_in_threadpool(_json, told, integers)

    return router


def _interval(text: str | None) -> int | None:
    try:
        return None if text is None else interval_ns(text)
    except ValueError as error:
        detail = str(error).removeprefix("interval ")
        raise ApiError(422, "invalid", "query.interval", detail) from error


def _arrow(told: DataTold) -> Response:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, told.table.schema) as writer:
        writer.write_table(told.table, max_chunksize=65_536)
    headers = {} if told.next is None else {NEXT: told.next}
    return Response(sink.getvalue().to_pybytes(), media_type=ARROW, headers=headers)


def _json(told: DataTold, integers: Integers) -> Response:
    table = told.table
    for place, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):  # JSON has no NaN
            known = pc.if_else(pc.is_finite(table[field.name]), table[field.name], None)
            table = table.set_column(place, pa.field(field.name, field.type), known)
        elif pa.types.is_integer(field.type) and integers is Integers.TEXT:
            table = table.set_column(place, field.name, table[field.name].cast(pa.string()))
    page = DataPage(rows=tuple(table.to_pylist()), next=told.next)
    return Response(page.model_dump_json(), media_type="application/json")

"""Query parameters with errors that say what is allowed. Pure."""

from typing import Annotated, Any

from fastapi import Query
from pydantic import BeforeValidator

from don.clock import interval_ns, parse_iso
from serve.assemble import Picture
from serve.problems import ApiError, not_one_of


def _moment(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_iso(value)
    except ValueError as error:
        allowed = str(error).removeprefix("time ").partition(", was ")[0]
        raise ValueError(f"was {value[:80]!r}, {allowed}") from error


# In a URL a plus sign means a space, so offsets are best written as Z.
Moment = Annotated[
    int | None,
    BeforeValidator(_moment),
    Query(json_schema_extra={"type": "string", "format": "date-time"}),
]
MAX_INT = 2**63 - 1  # of PostgreSQL's bigint
Limit = Annotated[int, Query(ge=1, le=1_000)]
Before = Annotated[
    int | None, Query(ge=1, le=MAX_INT, description="the `before` of the page that came last")
]
Session = Annotated[
    str | None, Query(max_length=64, description="a session's id; the running one if left out")
]
Symbol = Annotated[str | None, Query(max_length=32, examples=["BTC-USDT-PERP"])]


def checked_symbol(symbol: str, shown: Picture, field: str = "query.symbol") -> str:
    """The symbol, if the session trades it.

    Raises:
        ApiError: 404, with the symbols that there are.
    """
    if symbol not in shown.session.symbols:
        raise not_one_of(field, symbol, shown.session.symbols)
    return symbol


def checked_interval(text: str | None, base: int) -> int:
    """Length of an interval in ns, a multiple of the session's own.

    Raises:
        ApiError: 422, with what is allowed.
    """
    if text is None:
        return base
    try:
        length = interval_ns(text)
    except ValueError as error:
        detail = str(error).removeprefix("interval ")
        raise ApiError(422, "invalid", "query.interval", detail) from error
    if base and length % base:
        detail = f"was {text!r}, must be a multiple of the session's {interval_text(base)}"
        raise ApiError(422, "invalid", "query.interval", detail)
    return length


def interval_text(length: int) -> str:
    """An interval in its largest whole unit, `30m`."""
    seconds = length // 1_000_000_000
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def session_or_running(session: str | None, shown: Picture) -> str:
    """The session asked for, or the running one; empty if there is none."""
    running = shown.session.session or (shown.desk.session if shown.desk else "")
    return session or running

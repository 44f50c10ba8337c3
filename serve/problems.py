"""Errors at the HTTP edge: one JSON shape that names field, value and what is allowed. Pure."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from don.errors import DependencyError, DonError, UsageError
from don.model.hints import meant
from serve.responses import Problem

_SLUGS = {
    400: "invalid",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    421: "wrong_host",
    422: "invalid",
    429: "rate_limited",
    503: "unavailable",
}
_SHOWN = 80  # characters of a wrong value that are repeated to the caller

RESPONSES: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request is wrong; `field` says where."},
    429: {"model": Problem, "description": "Too many requests; see `Retry-After`."},
    503: {"model": Problem, "description": "Something Don depends on is away; retry."},
}


class ApiError(DonError):
    """A refusal with its HTTP status."""

    def __init__(self, status: int, error: str, field: str, detail: str) -> None:
        super().__init__(status, error, field, detail)
        self.status = status
        self.error = error
        self.field = field
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


def not_one_of(field: str, value: str, allowed: Sequence[str]) -> ApiError:
    """404 for a name that does not exist; says which do."""
    known = ", ".join(allowed) if allowed else "none yet"
    said = f"was {_shown(value)}, must be one of: {known}{meant(value, allowed)}"
    return ApiError(404, "not_found", field, said)


def problem(
    status: int, error: str, field: str, detail: str, headers: dict[str, str] | None = None
) -> JSONResponse:
    """The response for a problem."""
    body = Problem(error=error, field=field, detail=detail)
    return JSONResponse(body.model_dump(), status_code=status, headers=headers)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _first(error: RequestValidationError) -> tuple[str, str]:
    """Field and detail of the first thing that is wrong."""
    first = error.errors()[0]
    place = list(first["loc"])
    if place[:1] == ["body"] and place[1:2] in (["policy"], ["model"]):
        del place[1]  # which kind of body it was taken for (`asking.AnyActRequest`), not a field
    field = ".".join(str(part) for part in place)
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "missing":
        return field, "is required"
    if first["type"] == "json_invalid":
        return "body", f"is not JSON: {first.get('ctx', {}).get('error', message)}"
    if first["type"] == "value_error":
        return field, message
    return field, f"was {_shown(first.get('input'))}: {message}"


def install(app: FastAPI) -> None:
    """Give an application these answers to everything that goes wrong."""

    async def on_api(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
        return problem(error.status, error.error, error.field, error.detail, headers)

    async def on_validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return problem(422, "invalid", *_first(error))

    async def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        slug = _SLUGS.get(error.status_code, "error")
        detail = error.detail
        if error.status_code == 404:
            detail = f"there is nothing at {request.url.path}; see /docs"
        return problem(error.status_code, slug, "", detail, dict(error.headers or {}))

    async def on_usage(request: Request, error: Exception) -> JSONResponse:
        return problem(422, "invalid", "", str(error))

    async def on_dependency(request: Request, error: Exception) -> JSONResponse:
        return problem(503, "unavailable", "", str(error), {"Retry-After": "1"})

    async def on_other(request: Request, error: Exception) -> JSONResponse:
        return problem(500, "internal", "", "an error of Don's own; its log says more")

    app.add_exception_handler(ApiError, on_api)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(UsageError, on_usage)
    app.add_exception_handler(DependencyError, on_dependency)
    app.add_exception_handler(Exception, on_other)

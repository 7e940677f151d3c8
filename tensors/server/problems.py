"""Every error as the same document, with the right status."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from annotated_types import MaxLen
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from tensors.checks import broken_bound, refusal
from tensors.errors import InvalidRequest, MalformedBody, NotFound, TsrError

BOUNDS = frozenset(
    (
        "greater_than_equal",
        "less_than_equal",
        "multiple_of",
        "string_too_short",
        "string_too_long",
        "too_long",
        "finite_number",
    )
)
"""pydantic's names for a value of the right type that is out of bounds."""


_TEXT = {"type": "string"}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": _TEXT, "message": _TEXT, "hint": _TEXT, "details": {"type": "object"}},
        }
    },
}
"""Of every error, as JSON Schema."""
DESCRIBED: dict[str, Any] = {
    "description": "What went wrong",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def _field(location: tuple[object, ...]) -> str:
    """`("body", "loras", 0, "name")` as `loras[0].name`."""
    name = ""
    for part in location[1:] if location and location[0] in ("body", "query", "path", "header") else location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    return name or "the body"


def _problem(error: Any) -> tuple[str, str]:
    kind, value = error["type"], error.get("input")
    field = _field(error["loc"])
    if kind == "missing":
        return field, "is required"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return field, "is not a field of this request"
    if kind == "finite_number":
        return field, "must be a finite number"
    if kind == "string_too_long" and (said := broken_bound(MaxLen(error["ctx"]["max_length"]), value)):
        return field, said
    return field, f"is not valid: {error['msg'][0].lower()}{error['msg'][1:]}"


def validation_error(errors: Sequence[Any]) -> InvalidRequest:
    """pydantic's list of errors as one of ours, in the words the command line has for the same slip."""
    if any(error["type"] == "json_invalid" for error in errors):
        return MalformedBody(hint="the body must be one JSON document in UTF-8")
    return refusal(_problem(error) for error in errors)


def _response(error: TsrError) -> JSONResponse:
    return JSONResponse(error.to_wire(), status_code=error.status)


def install(app: FastAPI) -> None:
    """Make an application answer with our errors."""

    @app.exception_handler(TsrError)
    async def _ours(_request: Request, error: TsrError) -> JSONResponse:
        return _response(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return _response(validation_error(error.errors()))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return _response(NotFound(f"there is nothing at {request.url.path}", hint="/docs lists what there is"))
        document = TsrError(str(error.detail)).to_wire()
        document["error"]["code"] = {405: "method_not_allowed"}.get(error.status_code, "http")
        return JSONResponse(document, status_code=error.status_code, headers=error.headers)

    @app.exception_handler(Exception)
    async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
        return _response(TsrError(f"{type(error).__name__} inside the server", hint="its log has the details"))

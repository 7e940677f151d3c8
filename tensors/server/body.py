"""Request bodies: read strictly as JSON, and described in the API's schema."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar

import msgspec
from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from tensors.decoding import NOT_THAT_JSON
from tensors.server.problems import BOUNDS, validation_error
from tensors.types.base import request
from tensors.types.download import DownloadRequest
from tensors.types.gallery import CleanupRequest, GcRequest, ImageEdit
from tensors.types.generation import GenerateRequest
from tensors.types.library import CacheRequest, FileEdit, LinkRequest, ScanRequest
from tensors.types.models import SwitchRequest, UnloadRequest

_REFERENCES = "#/components/schemas/{model}"


@request
class GenerateBody(GenerateRequest):
    """A generate request, and how to answer it."""

    wait: bool = True
    """Answer with the pictures when they are there; otherwise at once, with the job."""
    return_base64: bool = False
    """Put the pictures themselves into the answer."""

    def drawing(self) -> GenerateRequest:
        """What to draw, without how to answer."""
        return GenerateRequest(**{field.name: getattr(self, field.name) for field in fields(GenerateRequest)})


@request
class SwitchBody(SwitchRequest):
    """A switch, and how to answer it."""

    wait: bool = False
    """Answer when the model is loaded; otherwise at once, with the job."""

    def switch(self) -> SwitchRequest:
        """What to load, without how to answer."""
        return SwitchRequest(model=self.model, backend=self.backend)


BODIES = (
    GenerateBody,
    SwitchBody,
    UnloadRequest,
    ScanRequest,
    LinkRequest,
    CacheRequest,
    FileEdit,
    DownloadRequest,
    ImageEdit,
    CleanupRequest,
    GcRequest,
)

T = TypeVar("T")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def body_of(kind: type[T], *, may_be_empty: bool = False) -> Callable[[Request], Awaitable[T]]:
    """A dependency that reads the body as that type.

    FastAPI's own way would read `"64"` as 64 and `true` as 1: strictness exists for JSON, not for what was parsed
    before.
    """

    async def read(incoming: Request) -> T:
        raw = await incoming.body()
        return read_body(kind, b"{}" if may_be_empty and not raw else raw)

    return read


def read_body(kind: type[T], raw: bytes) -> T:
    """A request from JSON. Raises `InvalidRequest` in the words the command line has for the same slip."""
    try:
        cls: type = kind
        made = _adapter(cls).validate_json(raw, strict=True)
        assert isinstance(made, kind)
        return made
    except ValidationError as error:
        problems = error.errors(include_url=False)
    if all(problem["type"] in BOUNDS for problem in problems):
        # Only values out of bounds: the request's own check says all of them, in its words and its order.
        with suppress(*NOT_THAT_JSON):
            msgspec.json.decode(raw, type=kind)
    raise validation_error(problems)


def schemas() -> dict[str, Any]:
    """The bodies' schemas by name, for the `components` of the API's schema."""
    found: dict[str, Any] = {}
    for kind in BODIES:
        schema = _adapter(kind).json_schema(ref_template=_REFERENCES)
        found |= {**schema.pop("$defs", {}), kind.__name__: schema}
    # pydantic finds the docs of the fields that a class adds, not of those it inherits.
    for body, asked in ((GenerateBody, GenerateRequest), (SwitchBody, SwitchRequest)):
        for name, described in _adapter(asked).json_schema()["properties"].items():
            found[body.__name__]["properties"][name]["description"] = described["description"]
    return found


def described_as(name: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body with one of these readers."""
    reference = {"$ref": _REFERENCES.format(model=name)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}

"""Request bodies: read strictly as JSON, and described in the API's schema."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import Any

import msgspec
from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from tensors.decoding import NOT_THAT_JSON
from tensors.server.problems import BOUNDS, validation_error
from tensors.types.base import request
from tensors.types.generation import GenerateRequest

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


_adapter: TypeAdapter[GenerateBody] = TypeAdapter(GenerateBody)


async def generate_body(incoming: Request) -> GenerateBody:
    """The body of a generate request.

    FastAPI's own way would read `"64"` as 64 and `true` as 1: strictness exists for JSON, not for what was parsed
    before.
    """
    return read_generate_body(await incoming.body())


def read_generate_body(raw: bytes) -> GenerateBody:
    """A generate request from JSON. Raises `InvalidRequest` in the words the command line has for the same slip."""
    try:
        return _adapter.validate_json(raw, strict=True)
    except ValidationError as error:
        problems = error.errors(include_url=False)
    if all(problem["type"] in BOUNDS for problem in problems):
        # Only values out of bounds: the request's own check says all of them, in its words and its order.
        with suppress(*NOT_THAT_JSON):
            msgspec.json.decode(raw, type=GenerateBody)
    raise validation_error(problems)


def schemas() -> dict[str, Any]:
    """The bodies' schemas by name, for the `components` of the API's schema."""
    schema = _adapter.json_schema(ref_template=_REFERENCES)
    # pydantic finds the docs of the fields that a class adds, not of those it inherits.
    inherited = TypeAdapter(GenerateRequest).json_schema()["properties"]
    for name, described in inherited.items():
        schema["properties"][name]["description"] = described["description"]
    return {**schema.pop("$defs", {}), GenerateBody.__name__: schema}


def described_as(name: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body with one of these readers."""
    reference = {"$ref": _REFERENCES.format(model=name)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}

"""Request bodies: read strictly as JSON, and described in the API's schema."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from tensors.server.problems import validation_error
from tensors.types import GenerateRequest

_REFERENCES = "#/components/schemas/{model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateBody(GenerateRequest):
    """A generate request, and how to answer it."""

    wait: bool = True
    """Answer with the pictures when they are there; otherwise at once, with the job."""
    return_base64: bool = False
    """Put the pictures themselves into the answer."""

    def request(self) -> GenerateRequest:
        """What to draw, without how to answer."""
        return GenerateRequest(**{field.name: getattr(self, field.name) for field in fields(GenerateRequest)})


_adapter: TypeAdapter[GenerateBody] = TypeAdapter(GenerateBody)


async def generate_body(request: Request) -> GenerateBody:
    """The body of a generate request.

    FastAPI's own way would read `"64"` as 64 and `true` as 1: strictness exists for JSON, not for what was parsed
    before.
    """
    try:
        return _adapter.validate_json(await request.body(), strict=True)
    except ValidationError as error:
        raise validation_error(error.errors()) from None


def schemas() -> dict[str, Any]:
    """The bodies' schemas by name, for the `components` of the API's schema."""
    schema = _adapter.json_schema(ref_template=_REFERENCES)
    return {**schema.pop("$defs", {}), GenerateBody.__name__: schema}


def described_as(name: str) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its body with one of these readers."""
    reference = {"$ref": _REFERENCES.format(model=name)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}

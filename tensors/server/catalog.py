"""Routes that ask CivitAI and Hugging Face."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from tensors.server.answers import Json
from tensors.server.core import Core
from tensors.types.base import Page
from tensors.types.catalog import Found, ModelDetails

router = APIRouter(prefix="/api/catalog", tags=["catalog"])


@router.get("/search", response_model=Page[Found])
def search(
    core: Core,
    query: str = "",
    provider: Annotated[str, Query(description="civitai or huggingface")] = "civitai",
    type: str | None = None,
    base_model: str | None = None,
    tag: str | None = None,
    creator: str | None = None,
    sort: str | None = None,
    period: str | None = None,
    nsfw: bool | None = None,
    limit: int = 20,
    cursor: str | None = None,
) -> Response:
    """Models for a query, asked from the site now."""
    found = core.lookup.search(
        query,
        provider=provider,
        type=type,
        base_model=base_model,
        tag=tag,
        creator=creator,
        sort=sort,
        period=period,
        nsfw=nsfw,
        limit=limit,
        cursor=cursor,
    )
    return Json(found)


@router.get("/models/{model_id}", response_model=ModelDetails)
def get_model(core: Core, model_id: int) -> Response:
    """A model with its versions, asked from CivitAI now and kept in the library."""
    return Json(core.lookup.model(model_id))

"""Models that can be had: CivitAI and Hugging Face, asked now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tensors.clock import now
from tensors.config import Config
from tensors.errors import InvalidRequest
from tensors.library import Library
from tensors.types.base import Page
from tensors.types.catalog import Found, ModelDetails

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tensors.civitai.records import ModelRecord
    from tensors.huggingface import RepoRecord

PROVIDERS = ("civitai", "huggingface")


class Lookup:
    """`tensors.service.Catalog`, asked from this machine."""

    def __init__(self, config: Config, library: Library) -> None:
        self._config = config
        self._library = library

    def search(
        self,
        query: str,
        *,
        provider: str = "civitai",
        type: str | None = None,
        base_model: str | None = None,
        tag: str | None = None,
        creator: str | None = None,
        sort: str | None = None,
        period: str | None = None,
        nsfw: bool | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Found]:
        """See `tensors.service.Catalog.search`."""
        if provider not in PROVIDERS:
            raise InvalidRequest(f"unknown provider {provider!r}", hint=f"providers: {', '.join(PROVIDERS)}")
        if not 1 <= limit <= 100:
            raise InvalidRequest(f"limit must be between 1 and 100, not {limit}")
        if provider == "huggingface":
            return self._search_huggingface(query, limit=limit, cursor=cursor)
        with self._library.civitai() as civitai:
            records, following = civitai.search(
                query or None,
                types=(type,) if type else (),
                base_models=(base_model,) if base_model else (),
                tag=tag,
                username=creator,
                sort=sort,
                period=period,
                nsfw=nsfw,
                limit=limit,
                cursor=cursor,
            )
        return Page(items=self._found(records), next_cursor=following)

    def model(self, model_id: int) -> ModelDetails:
        """See `tensors.service.Catalog.model`."""
        from tensors.db.catalog import store_model

        with self._library.civitai() as civitai:
            record = civitai.model(model_id)
        with self._library.open() as database:
            store_model(database, record, fetched_at=now())
        return self._library.model(model_id)

    def _found(self, records: Sequence[ModelRecord]) -> tuple[Found, ...]:
        here = self._library.count_files([record.id for record in records])
        return tuple(self._found_on_civitai(record, here.get(record.id, 0)) for record in records)

    def _found_on_civitai(self, record: ModelRecord, here: int) -> Found:
        return Found(
            provider="civitai",
            id=str(record.id),
            name=record.name,
            type=record.type,
            creator=record.creator,
            base_models=tuple(dict.fromkeys(version.base_model for version in record.versions if version.base_model)),
            tags=record.tags,
            downloads=record.download_count,
            nsfw=record.nsfw,
            url=f"{self._config['api.civitai_url']}/models/{record.id}",
            here=here,
        )

    def _search_huggingface(self, query: str, *, limit: int, cursor: str | None) -> Page[Found]:
        from tensors.huggingface import HuggingFace

        site = HuggingFace(self._config["api.huggingface_url"], api_key=self._config["api.huggingface_key"])
        try:
            repos, following = site.search(query, limit=limit, cursor=cursor)
        finally:
            site.close()
        return Page(items=tuple(map(_found_repo, repos)), next_cursor=following)


def _found_repo(repo: RepoRecord) -> Found:
    return Found(
        provider="huggingface",
        id=f"hf:{repo.id}",
        name=repo.id,
        type=repo.pipeline_tag,
        creator=repo.author,
        tags=repo.tags,
        downloads=repo.downloads,
        url=repo.url,
    )

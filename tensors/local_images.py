"""The gallery of this machine, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING

from tensors.config import Config
from tensors.errors import NeedsServer

if TYPE_CHECKING:
    from tensors.gallery import Gallery
    from tensors.local_db import LocalDb
    from tensors.local_jobs import LocalJobs
    from tensors.local_models import LocalModels
    from tensors.remaking.remaker import Remaker
    from tensors.types.base import Deleted, Page
    from tensors.types.gallery import (
        CleanupRequest,
        Garbage,
        GcRequest,
        Image,
        ImageEdit,
        ImageQuery,
        Imported,
        Reindexed,
    )
    from tensors.types.jobs import Job
    from tensors.types.remake import Remake


class LocalImages:
    """`tensors.service.Images` on this machine's gallery."""

    def __init__(
        self,
        config: Config,
        *,
        db: LocalDb,
        jobs: LocalJobs,
        models: LocalModels,
        engine: Callable[[], str | None],
    ) -> None:
        """`engine` tells the version of the one that would draw."""
        self._config = config
        self._db = db
        self._jobs = jobs
        self._models = models
        self._engine = engine

    @cached_property
    def gallery(self) -> Gallery:
        """The pictures."""
        from tensors.gallery import Gallery

        return Gallery(self._config.gallery_dir, self._config.gallery_index)

    def list(
        self,
        query: ImageQuery | None = None,
        *,
        deleted: bool = False,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Image]:
        return self.gallery.list(query, deleted=deleted, limit=limit, cursor=cursor)

    def get(self, image_id: str) -> Image:
        return self.gallery.get(image_id)

    def read(self, image_id: str) -> bytes:
        return self.gallery.path(image_id).read_bytes()

    def thumbnail(self, image_id: str, *, size: int = 256) -> bytes:
        return self.gallery.thumbnail(image_id, size).read_bytes()

    def edit(self, image_id: str, edit: ImageEdit) -> Image:
        return self.gallery.edit(image_id, edit)

    def delete(self, image_id: str) -> Deleted:
        from tensors.types.base import Deleted

        self.gallery.delete(image_id)
        return Deleted(id=image_id)

    def restore(self, image_id: str) -> Image:
        return self.gallery.restore(image_id)

    def import_file(self, data: bytes, *, created: str | None = None, tags: tuple[str, ...] = ()) -> Imported:
        return self.gallery.import_file(data, created=created, tags=tags)

    def export(self, query: ImageQuery | None = None, *, ids: tuple[str, ...] = ()) -> Iterator[bytes]:
        return self.gallery.export(query, ids=ids)

    def remake(self, image_id: str) -> Remake:
        return self._remaker.of_image(self.gallery.get(image_id), engine=self._engine())

    def remake_file(self, data: bytes) -> Remake:
        return self._remaker.of_file(data, engine=self._engine())

    @cached_property
    def _remaker(self) -> Remaker:
        from tensors.hash_cache import HashCache
        from tensors.inputs import Inputs
        from tensors.remaking.remaker import Remaker

        data = self._config.data_dir
        hashes = HashCache(data / "cache" / "hashes.json", self._db.known_hash)
        return Remaker(self._db, self._models.shelf, hashes, Inputs(data / "inputs"))

    def cleanup(self, request: CleanupRequest, *, detach: bool = False) -> Job:
        from tensors.clock import now
        from tensors.orders import order_library

        if detach:
            raise NeedsServer("--detach needs a server that goes on with it", hint="tsr serve")
        return self._jobs.start(order_library(request, created=now()))

    def gc(self, request: GcRequest) -> Garbage:
        needed = self._jobs.needed_inputs()
        return self.gallery.gc(self._config.data_dir / "inputs", named=needed, dry_run=request.dry_run)

    def reindex(self) -> Reindexed:
        from tensors.types.gallery import Reindexed

        return Reindexed(images=self.gallery.reindex())

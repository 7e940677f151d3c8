"""Everything, done in this process: no server, an engine of its own for as long as it is needed."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

from tensors import __version__
from tensors.config import Config
from tensors.errors import IdempotencyConflict, NeedsServer

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from tensors.local_db import LocalDb
    from tensors.local_downloads import LocalDownloads
    from tensors.local_images import LocalImages
    from tensors.local_jobs import LocalJobs
    from tensors.local_models import LocalBackends, LocalModels
    from tensors.lookup import Lookup
    from tensors.types.doctor import Finding
    from tensors.types.generation import GenerateRequest
    from tensors.types.jobs import Happening, Job
    from tensors.types.server import EngineStatus, Health, Status, Version


class LocalTensors:
    """`tensors.service.Tensors` in this process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._keyed: dict[str, tuple[GenerateRequest, Job]] = {}

    # Each noun is imported when it is used: a list of files needs no gallery, and no queue.

    @cached_property
    def jobs(self) -> LocalJobs:
        """Jobs of this process."""
        from tensors.local_jobs import LocalJobs

        return LocalJobs(self._config)

    @cached_property
    def images(self) -> LocalImages:
        """The gallery."""
        from tensors.local_images import LocalImages

        return LocalImages(
            self._config, db=self.db, jobs=self.jobs, models=self.models, engine=lambda: self.version().engine
        )

    @cached_property
    def db(self) -> LocalDb:
        """The library."""
        from tensors.local_db import LocalDb

        return LocalDb(self._config, self)

    @cached_property
    def catalog(self) -> Lookup:
        """CivitAI and Hugging Face."""
        from tensors.lookup import Lookup

        return Lookup(self._config, self.db)

    @cached_property
    def downloads(self) -> LocalDownloads:
        """Downloads to this machine."""
        from tensors.local_downloads import LocalDownloads

        return LocalDownloads(self._config, self.db)

    @cached_property
    def models(self) -> LocalModels:
        """Checkpoints and LoRAs."""
        from tensors.local_models import LocalModels

        return LocalModels(self._config, self.db)

    @cached_property
    def backends(self) -> LocalBackends:
        """Where engines run."""
        from tensors.local_models import LocalBackends

        return LocalBackends(self._config)

    def generate(self, request: GenerateRequest, *, idempotency_key: str | None = None, detach: bool = False) -> Job:
        from tensors.clock import now
        from tensors.engines.binary import find_engine
        from tensors.engines.fleet import needs_engine
        from tensors.generation import resolve
        from tensors.inputs import Inputs
        from tensors.orders import Ordered, fingerprint_of

        if detach:
            raise NeedsServer("--detach needs a server that goes on drawing", hint="tsr serve")
        if idempotency_key in self._keyed:
            asked, job = self._keyed[idempotency_key]
            if asked != request:
                raise IdempotencyConflict("this Idempotency-Key was used for a different request", hint="use a new key")
            return self.jobs.get(job.id)
        if needs_engine(self._config):
            find_engine(self._config)
        checkpoints = self.models.checkpoints
        model = checkpoints.named(request.model) if request.model else checkpoints.active()
        checkpoints.equip(model)
        inputs = Inputs(self._config.data_dir / "inputs")
        settings = resolve(request, model, shelf=self.models.shelf, inputs=inputs)
        job = self.jobs.start(Ordered(created=now(), fingerprint=fingerprint_of(request), settings=settings))
        if idempotency_key:
            self._keyed[idempotency_key] = (request, job)
        return job

    def events(self) -> Iterator[Happening]:
        raise NeedsServer("without a server nothing happens between commands", hint="tsr serve")

    def health(self) -> Health:
        from tensors.types.server import Health

        return Health()

    def status(self) -> Status:
        from tensors.types.server import Status

        return Status(
            mode="local",
            url=None,
            version=__version__,
            engine=self._engine(),
            backends=self.backends.list().items,
            queued=0,
            running=0,
            images=self.images.gallery.count(),
            data_dir=str(self._config.data_dir),
        )

    def version(self) -> Version:
        from tensors.types.server import Version

        engine = self._engine()
        return Version(
            tsr=__version__,
            engine=None if engine.state == "missing" else f"sd-server {engine.version}",
            python=sys.version.partition(" ")[0],
        )

    def doctor(self) -> Generator[Finding, None, None]:
        from tensors.doctor import doctor

        return doctor(self._config)

    def close(self) -> None:
        if "jobs" in vars(self):
            self.jobs.close()

    def _engine(self) -> EngineStatus:
        from tensors.types.server import EngineStatus

        return next(iter(self.backends.list().items), EngineStatus(state="missing"))

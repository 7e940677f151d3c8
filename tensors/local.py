"""Everything, done in this process: no server, an engine of its own for as long as it is needed."""

from __future__ import annotations

import queue
import secrets
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tensors import __version__
from tensors.clock import now
from tensors.config import Config
from tensors.errors import EngineNotInstalled, IdempotencyConflict, JobFinished, JobNotFound, NeedsServer
from tensors.gallery import Gallery
from tensors.types.base import Deleted, Page
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest, Settings
from tensors.types.jobs import Job, JobEvent, Progress
from tensors.types.server import EngineStatus, Health, Status, Version

if TYPE_CHECKING:
    import asyncio

    from tensors.events import JobLog
    from tensors.job_store import StoredJobs
    from tensors.worker import Order


class _InlineJob:
    """A job drawn by a thread of this process."""

    def __init__(self, config: Config, job: Job, settings: Settings) -> None:
        # Looking into the gallery does without asyncio: half of what this module would take to import.
        import asyncio

        from tensors.worker import Order

        self.job = job
        self.events: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()
        self._config = config
        self._cancelled = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drawing: asyncio.Task[None] | None = None
        self._ready = threading.Event()
        order = Order(job.id, job.created, settings)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(order)), name=f"job {job.id}")
        self._thread.start()
        self._ready.wait()

    def cancel(self) -> None:
        """Stop drawing; the last event says so."""
        self._cancelled.set()
        if self._loop and self._drawing:
            self._loop.call_soon_threadsafe(self._drawing.cancel)

    def join(self) -> None:
        """Wait until the engine is gone too."""
        self._thread.join()

    async def _run(self, order: Order) -> None:
        import asyncio

        from tensors.engines.leftovers import end_leftovers
        from tensors.events import JobLog
        from tensors.worker import Worker, failure

        job_log = JobLog(order.job)
        telling = asyncio.create_task(self._tell(job_log))
        worker: Worker | None = None
        try:
            end_leftovers(self._config.run_dir)
            worker = Worker.of(self._config)
            self._loop = asyncio.get_running_loop()
            self._drawing = asyncio.create_task(
                worker.draw(
                    order, report=lambda progress: job_log.publish("running", progress), saved=job_log.add_image
                )
            )
            self._ready.set()
            await self._drawing
            job_log.publish("succeeded")
        except asyncio.CancelledError:
            job_log.publish("cancelled")
        except Exception as error:
            # Whatever it was, somebody waits for the last event.
            job_log.publish("failed", error=failure(error))
        finally:
            self._ready.set()
            await telling
            if worker:
                await worker.engine.stop()

    async def _tell(self, job_log: JobLog) -> None:
        async for event, _ in job_log.follow():
            self.job = replace(
                self.job,
                state=event.state,
                progress=event.progress,
                images=event.images,
                error=event.error,
                finished=now() if event.last else None,
            )
            self.events.put(event)


class LocalJobs:
    """Jobs of this process, and those that a stopped server left in its store."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._inline: dict[str, _InlineJob] = {}

    def start(self, settings: Settings) -> Job:
        """Draw in a thread of this process."""
        job = Job(
            id=secrets.token_hex(8),
            kind="generate",
            state="queued",
            created=now(),
            settings=settings,
            progress=Progress(phase="queued"),
        )
        self._inline[job.id] = _InlineJob(self._config, job, settings)
        return job

    def list(self, *, state: str | None = None, limit: int = 20, cursor: str | None = None) -> Page[Job]:
        stored = self._stored()
        if stored is None:
            from tensors.job_store import check_listing

            check_listing(state, limit, cursor)
            return Page(items=())
        try:
            return stored.list(state=state, limit=limit, cursor=cursor)
        finally:
            stored.close()

    def get(self, job_id: str) -> Job:
        if job_id in self._inline:
            return self._inline[job_id].job
        stored = self._stored()
        if stored is None:
            raise JobNotFound(f"job {job_id!r} not found", hint="tsr jobs list")
        try:
            return stored.get(job_id)
        finally:
            stored.close()

    def cancel(self, job_id: str) -> Job:
        inline = self._inline.get(job_id)
        if inline:
            if inline.job.ended:
                raise JobFinished(f"job {job_id} has already {inline.job.state}")
            inline.cancel()
            inline.join()
            return inline.job
        self.get(job_id)
        stored = self._stored()
        assert stored
        try:
            return stored.cancel(job_id)
        finally:
            stored.close()

    def events(self, job_id: str) -> Iterator[JobEvent]:
        inline = self._inline.get(job_id)
        if inline is None:
            job = self.get(job_id)
            if not job.ended:
                raise NeedsServer(f"job {job_id} waits for a server to run it", hint="tsr serve")
            return iter([JobEvent(seq=1, job=job.id, state=job.state, images=job.images, error=job.error)])
        return _until_last(inline)

    def close(self) -> None:
        """End what is still drawing."""
        for inline in self._inline.values():
            if not inline.job.ended:
                inline.cancel()
            inline.join()

    def _stored(self) -> StoredJobs | None:
        file = self._config.data_dir / "jobs.db"
        if not file.exists():
            return None
        from tensors.job_store import StoredJobs

        return StoredJobs(file)


def _until_last(inline: _InlineJob) -> Iterator[JobEvent]:
    while True:
        event = inline.events.get()
        if event.last:
            # For whoever asks again.
            inline.events.put(event)
        yield event
        if event.last:
            return


class LocalImages:
    """`tensors.service.Images` on this machine's gallery."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def list(self, *, limit: int = 20, cursor: str | None = None) -> Page[Image]:
        return self._gallery.list(limit=limit, cursor=cursor)

    def get(self, image_id: str) -> Image:
        return self._gallery.get(image_id)

    def read(self, image_id: str) -> bytes:
        return self._gallery.path(image_id).read_bytes()

    def delete(self, image_id: str) -> Deleted:
        self._gallery.delete(image_id)
        return Deleted(id=image_id)


class LocalTensors:
    """`tensors.service.Tensors` in this process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._gallery = Gallery(config.gallery_dir)
        self._keyed: dict[str, tuple[GenerateRequest, Job]] = {}
        self.jobs = LocalJobs(config)
        self.images = LocalImages(self._gallery)

    def generate(self, request: GenerateRequest, *, idempotency_key: str | None = None, detach: bool = False) -> Job:
        from tensors.engines.binary import find_engine
        from tensors.generation import resolve
        from tensors.inputs import Inputs
        from tensors.models import ModelFiles

        if detach:
            raise NeedsServer("--detach needs a server that goes on drawing", hint="tsr serve")
        if idempotency_key in self._keyed:
            asked, job = self._keyed[idempotency_key]
            if asked != request:
                raise IdempotencyConflict("this Idempotency-Key was used for a different request", hint="use a new key")
            return self.jobs.get(job.id)
        find_engine(self._config)
        files = ModelFiles(self._config)
        model = files.checkpoint(request.model) if request.model else files.default()
        settings = resolve(request, model, files=files, inputs=Inputs(self._config.data_dir / "inputs"))
        job = self.jobs.start(settings)
        if idempotency_key:
            self._keyed[idempotency_key] = (request, job)
        return job

    def health(self) -> Health:
        return Health()

    def status(self) -> Status:
        return Status(
            mode="local",
            url=None,
            version=__version__,
            engine=self._engine(),
            queued=0,
            running=0,
            images=self._gallery.count(),
            data_dir=str(self._config.data_dir),
        )

    def version(self) -> Version:
        engine = self._engine()
        return Version(
            tsr=__version__,
            engine=None if engine.state == "missing" else f"sd-server {engine.version}",
            python=sys.version.partition(" ")[0],
        )

    def close(self) -> None:
        self.jobs.close()

    def _engine(self) -> EngineStatus:
        from tensors.engines.binary import find_engine

        try:
            return EngineStatus(state="stopped", version=find_engine(self._config).version)
        except EngineNotInstalled as error:
            return EngineStatus(state="missing", message=error.message)

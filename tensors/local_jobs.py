"""Jobs done in this process, where there is no server."""

from __future__ import annotations

import queue
import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tensors.clock import now
from tensors.config import Config
from tensors.errors import JobFinished, JobNotFound, NeedsServer
from tensors.types.base import Page
from tensors.types.jobs import Job, JobEvent, Progress

if TYPE_CHECKING:
    import asyncio

    from tensors.events import JobLog
    from tensors.job_store import StoredJobs
    from tensors.orders import Ordered, Outcome
    from tensors.worker import Worker


class _InlineJob:
    """A job done by a thread of this process."""

    def __init__(self, config: Config, job: Job, ordered: Ordered) -> None:
        # Looking into the gallery does without asyncio: half of what this module would take to import.
        import asyncio

        # What cannot be imported is to fail here: in the thread, nobody would hear of it and all would wait for ever.
        import tensors.tasks  # noqa: F401

        self.job = job
        self.events: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._working: asyncio.Task[Outcome] | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(ordered)), name=f"job {job.id}")
        self._thread.start()
        self._ready.wait()

    def cancel(self) -> None:
        """Stop working; the last event says so."""
        if self._loop and self._working:
            self._loop.call_soon_threadsafe(self._working.cancel)

    def join(self) -> None:
        """Wait until the engine is gone too."""
        self._thread.join()

    async def _run(self, ordered: Ordered) -> None:
        import asyncio

        from tensors.downloads.downloader import Downloader
        from tensors.events import JobLog
        from tensors.library import Library
        from tensors.orders import Outcome
        from tensors.tasks import Tasks
        from tensors.worker import Worker, failure

        workers: list[Worker] = []

        def worker() -> Worker:
            from tensors.engines.leftovers import end_leftovers

            end_leftovers(self._config.run_dir)
            workers.append(Worker.of(self._config))
            return workers[0]

        job_log = JobLog(self.job.id)
        telling = asyncio.create_task(self._tell(job_log))
        try:
            self._loop = asyncio.get_running_loop()
            library = Library(self._config)
            tasks = Tasks(worker, library, Downloader(self._config, library))
            self._working = asyncio.create_task(tasks.run(self.job.id, ordered, job_log))
            self._ready.set()
            outcome = await self._working
        except asyncio.CancelledError:
            outcome = Outcome(state="cancelled")
        except Exception as error:
            # Whatever it was, somebody waits for the last event.
            outcome = Outcome(state="failed", error=failure(error))
        self._ready.set()
        self._outcome = replace(outcome, images=job_log.images, finished=now())
        job_log.publish(outcome.state, error=outcome.error)
        await telling
        for started in workers:
            await started.engine.stop()

    async def _tell(self, job_log: JobLog) -> None:
        from tensors.orders import finished

        async for event, _ in job_log.follow():
            self.job = replace(self.job, state=event.state, progress=event.progress, images=event.images)
            if event.last:
                self.job = finished(self.job, self._outcome)
            self.events.put(event)


class LocalJobs:
    """Jobs of this process, and those that a stopped server left in its store."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._inline: dict[str, _InlineJob] = {}

    def start(self, ordered: Ordered) -> Job:
        """Work in a thread of this process."""
        job = Job(
            id=secrets.token_hex(8),
            kind=ordered.kind,
            state="queued",
            created=ordered.created,
            settings=ordered.settings,
            progress=Progress(phase="queued"),
        )
        self._inline[job.id] = _InlineJob(self._config, job, ordered)
        return job

    def list(
        self, *, kind: str | None = None, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Job]:
        stored = self._stored()
        if stored is None:
            from tensors.job_store import check_listing

            check_listing(kind, state, limit, cursor)
            return Page(items=())
        try:
            return stored.list(kind=kind, state=state, limit=limit, cursor=cursor)
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

"""Jobs done in this process, where there is no server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING

from tensors.config import Config
from tensors.errors import JobNotFound, NeedsServer
from tensors.types.base import Page
from tensors.types.jobs import Job, JobEvent, Progress

if TYPE_CHECKING:
    from tensors.job_store import StoredJobs
    from tensors.orders import Ordered
    from tensors.workshop import InlineJob, Workshop


class LocalJobs:
    """Jobs of this process, and those that a stopped server left in its store."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._inline: dict[str, InlineJob] = {}

    def start(self, ordered: Ordered) -> Job:
        """Do it in this process."""
        job = Job(
            id=secrets.token_hex(8),
            kind=ordered.kind,
            state="queued",
            created=ordered.created,
            settings=ordered.settings,
            progress=Progress(phase="queued"),
        )
        self._inline[job.id] = self._workshop.start(job, ordered)
        return job

    def list(
        self, *, kind: str | None = None, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Job]:
        stored = self._stored()
        if stored is None:
            from tensors.job_store import check_listing

            check_listing(kind, state, limit, cursor)
            return Page(items=())
        with closing(stored):
            return stored.list(kind=kind, state=state, limit=limit, cursor=cursor)

    def needed_inputs(self) -> set[str]:
        """The input pictures of jobs that wait for a server, as `sha256:...`."""
        stored = self._stored()
        if stored is None:
            return set()
        with closing(stored):
            return stored.needed_inputs()

    def get(self, job_id: str) -> Job:
        if job_id in self._inline:
            return self._inline[job_id].job
        with self._of_a_server(job_id) as stored:
            return stored.get(job_id)

    def cancel(self, job_id: str) -> Job:
        if job_id in self._inline:
            return self._inline[job_id].cancel()
        with self._of_a_server(job_id) as stored:
            return stored.cancel(job_id)

    def pause(self, job_id: str) -> Job:
        if job_id in self._inline:
            return self._inline[job_id].pause()
        with self._of_a_server(job_id) as stored:
            return stored.pause(job_id)

    def resume(self, job_id: str) -> Job:
        if job_id in self._inline:
            return self._inline[job_id].resume()
        with self._of_a_server(job_id) as stored:
            return stored.resume(job_id)

    def events(self, job_id: str) -> Iterator[JobEvent]:
        if job_id in self._inline:
            return self._inline[job_id].events()
        job = self.get(job_id)
        if not job.ended:
            raise NeedsServer(f"job {job_id} waits for a server to run it", hint="tsr serve")
        return iter([JobEvent(seq=1, job=job.id, state=job.state, images=job.images, error=job.error)])

    def close(self) -> None:
        """End what is still drawing."""
        for inline in self._inline.values():
            if not inline.job.ended:
                inline.cancel()
        if self._inline:
            self._workshop.close()

    @cached_property
    def _workshop(self) -> Workshop:
        # Looking into the store does without asyncio: half of what this would take to import.
        from tensors.workshop import Workshop

        return Workshop(self._config)

    @contextmanager
    def _of_a_server(self, job_id: str) -> Iterator[StoredJobs]:
        """The store, where a server left one. Raises `JobNotFound` where there is none."""
        stored = self._stored()
        if stored is None:
            raise JobNotFound(f"job {job_id!r} not found", hint="tsr jobs list")
        with closing(stored):
            yield stored

    def _stored(self) -> StoredJobs | None:
        file = self._config.data_dir / "jobs.db"
        if not file.exists():
            return None
        from tensors.job_store import StoredJobs

        return StoredJobs(file)

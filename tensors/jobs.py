"""The durable queue: a job that was accepted is finished, whatever happens to this process in between.

DBOS keeps each job's input and outcome in `jobs.db` and starts the unfinished ones again after a crash. A job starts
at once and waits in memory for its turn, so that no polling stands between a request and its picture.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import hashlib
import logging
import secrets
import time
from asyncio import FIRST_COMPLETED
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from dbos import DBOS, SetWorkflowID, WorkflowStatus

from tensors.atomic import write_atomic
from tensors.caretaker import Caretaker
from tensors.clock import now
from tensors.config import Config
from tensors.downloads.downloader import Downloader
from tensors.errors import IdempotencyConflict, JobNotFound, QueueFull
from tensors.events import Event, JobLog
from tensors.feed import Entry, Feed
from tensors.gallery import Gallery
from tensors.generation import resolve
from tensors.inputs import Inputs
from tensors.job_store import UNFINISHED, JsonSerializer, job_of, needed_inputs, open_store, page_of
from tensors.library import Library
from tensors.lines import Lines
from tensors.live import LiveJob
from tensors.orders import (
    KINDS,
    LibraryRequest,
    Ordered,
    Outcome,
    already_ended,
    fingerprint_of,
    order_library,
    order_switch,
)
from tensors.paused import PausedJobs, check_pausable
from tensors.scheduler import Wait
from tensors.tasks import Tasks
from tensors.types.base import Page
from tensors.types.download import DownloadRequest
from tensors.types.generation import GenerateRequest, Settings
from tensors.types.jobs import ErrorInfo, Job, JobEvent
from tensors.types.library import ScanRequest
from tensors.types.models import SwitchRequest
from tensors.worker import Worker, failure

log = logging.getLogger(__name__)

APPLICATION_VERSION = "1"
"""Of the stored form. DBOS's default is a hash of the code: after an update, waiting jobs would be stranded."""
MAX_RECOVERIES = 50
"""A job that takes the whole process down is given up after this many starts."""
_KEPT_ENDS = 256
_RECOVERY_PATIENCE = 30.0


class JobQueue:
    """Accepts jobs, lets them run, and tells what happens to them. For one event loop."""

    def __init__(self, config: Config, worker: Worker, library: Library, gallery: Gallery) -> None:
        self.feed = Feed()
        self._config = config
        self._worker = worker
        self._inputs = Inputs(config.data_dir / "inputs")
        self._store = open_store(config.data_dir / "jobs.db")
        self._library = library
        self._downloader = Downloader(config, library)
        self._tasks = Tasks(self._the_worker, library, self._downloader, Caretaker(config, gallery))
        self._lines = Lines(downloads_at_once=config["downloads.at_once"])
        self._live: dict[str, LiveJob] = {}
        self._paused = PausedJobs(config.data_dir)
        self._done: OrderedDict[str, Event] = OrderedDict()
        self._closing = asyncio.Event()
        self._background: list[asyncio.Task[None]] = []
        self._recovering: set[str] = set()
        self._recovered = asyncio.Event()
        self._keyed = asyncio.Lock()
        self._settling: set[asyncio.Task[None]] = set()
        self._workflows: dict[str, Any] = {}

    async def start(self) -> None:
        """Open the store and take up what an earlier process left unfinished, in its order."""
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        DBOS(
            config={
                "name": "tsr",
                "application_version": APPLICATION_VERSION,
                "executor_id": _executor_id(self._config.data_dir),
                "system_database_engine": self._store,
                "serializer": JsonSerializer(),
                "log_level": "CRITICAL",
                "max_executor_threads": 8,
            }
        )

        self._workflows = {kind: self._workflow(kind) for kind in KINDS}
        DBOS.launch()
        unfinished = await DBOS.list_workflows_async(name=list(KINDS), status=UNFINISHED, load_input=False)
        self._paused.keep_only(status.workflow_id for status in unfinished)
        for status in unfinished:
            if status.workflow_id not in self._live:
                self._live[status.workflow_id] = live = self._new(status.workflow_id, status.name)
                live.log.tell(self.feed)
                self._recovering.add(status.workflow_id)
        self._background = [asyncio.create_task(self._open_when_recovered())]

    def _workflow(self, kind: str) -> Any:
        @DBOS.workflow(name=kind, max_recovery_attempts=MAX_RECOVERIES)
        async def run(document: dict[str, Any]) -> dict[str, Any]:
            return await self._run(document)

        return run

    async def stop(self) -> None:
        """Let go at once: a running job is started again by the next process."""
        self._closing.set()
        tasks = [*(live.task for live in self._live.values() if live.task), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._settling, return_exceptions=True)
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        self._store.dispose()

    def close_listeners(self) -> None:
        """End every `follow`; the server is about to stop."""
        self._closing.set()
        self.feed.close()

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return self._in_state("queued")

    @property
    def running(self) -> int:
        """How many jobs have their turn."""
        return self._in_state("running")

    def _in_state(self, state: str) -> int:
        return sum(1 for live in self._live.values() if live.log.now.state == state)

    async def submit(self, request: GenerateRequest, *, idempotency_key: str | None = None) -> Job:
        """Check, store and start a job. See `tensors.service.Tensors.generate` for the errors."""
        if idempotency_key is None:
            return await self._submit(secrets.token_hex(8), request)
        job_id = hashlib.sha256(idempotency_key.encode()).hexdigest()[:16]
        async with self._keyed:
            return await self._known(job_id, fingerprint_of(request)) or await self._submit(job_id, request)

    async def submit_library(self, request: LibraryRequest) -> Job:
        """Store and start work on the library. See `tensors.service.Db` for the errors."""
        if isinstance(request, ScanRequest):
            await asyncio.to_thread(self._library.check_scan, request)
        if isinstance(request, DownloadRequest):
            self._downloader.check(request)
        self._check_room()
        return await self._start(secrets.token_hex(8), order_library(request, created=now()))

    async def submit_switch(self, request: SwitchRequest) -> Job:
        """Check, store and start a switch of the model. See `tensors.service.Models.switch` for the errors."""
        self._check_room()
        await asyncio.to_thread(self._check_switch, request)
        return await self._start(secrets.token_hex(8), order_switch(request, created=now()))

    def _check_switch(self, request: SwitchRequest) -> None:
        self._worker.checkpoints.equip(self._worker.checkpoints.named(request.model))
        if request.backend is not None:
            self._worker.pool.member(request.backend)

    async def _submit(self, job_id: str, request: GenerateRequest) -> Job:
        self._check_room()
        settings = await asyncio.to_thread(self._resolve, request)
        # Once more, as others may have come meanwhile: from here to its place in the line nothing is waited for.
        self._check_room()
        return await self._start(job_id, Ordered(created=now(), fingerprint=fingerprint_of(request), settings=settings))

    async def _start(self, job_id: str, ordered: Ordered) -> Job:
        live = self._live[job_id] = self._new(job_id, ordered.kind)
        try:
            with SetWorkflowID(job_id):
                await DBOS.start_workflow_async(self._workflows[ordered.kind], msgspec.to_builtins(ordered))
        except BaseException:
            self._live.pop(job_id, None)
            raise
        # Who hears of a job may ask for it at once, so the store knows it by then.
        live.log.tell(self.feed)
        job = Job(id=job_id, kind=ordered.kind, state="queued", created=ordered.created, settings=ordered.settings)
        return _with_event(job, live.log.now)

    def _check_room(self) -> None:
        limit = self._config["server.max_queue"]
        if len(self._live) > limit:  # one of them runs
            raise QueueFull(f"{limit} jobs are waiting already", hint="tsr jobs list")

    async def list(
        self, *, kind: str | None = None, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Job]:
        """See `tensors.service.Jobs.list`."""
        live = partial(self._as_it_is, waits=self._worker.pool.waits())
        return await asyncio.to_thread(
            page_of, DBOS.list_workflows, kind=kind, state=state, limit=limit, cursor=cursor, live=live
        )

    async def get(self, job_id: str) -> Job:
        """See `tensors.service.Jobs.get`."""
        return self._as_it_is(job_of(await self._stored(job_id)), waits=self._worker.pool.waits())

    async def check_known(self, job_id: str) -> None:
        """Raise `JobNotFound` when there is no such job. Asks the store only about those that ended long ago."""
        if job_id not in self._live and job_id not in self._done:
            await self._stored(job_id)

    async def cancel(self, job_id: str) -> Job:
        """See `tensors.service.Jobs.cancel`. Answers when the job has ended and the engine is free."""
        live = self._live.get(job_id)
        if live is None:
            raise already_ended(await self.get(job_id))
        live.cancel()
        async for _ in live.log.follow():
            pass
        return await self.get(job_id)

    async def pause(self, job_id: str) -> Job:
        """See `tensors.service.Jobs.pause`. Answers when it has stopped."""
        live = await self._pausable(job_id)
        self._paused.add(job_id)
        await live.pause()
        return await self.get(job_id)

    async def resume(self, job_id: str) -> Job:
        """See `tensors.service.Jobs.resume`."""
        live = await self._pausable(job_id)
        self._paused.discard(job_id)
        live.resume()
        return await self.get(job_id)

    async def _pausable(self, job_id: str) -> LiveJob:
        live = self._live.get(job_id)
        if live is None:
            raise already_ended(await self.get(job_id))
        check_pausable(job_id, live.kind)
        return live

    def _new(self, job_id: str, kind: str) -> LiveJob:
        return LiveJob(job_id, kind=kind, paused=job_id in self._paused)

    def present(self) -> Sequence[Entry]:
        """The states of all jobs that have not ended, for listeners of the feed."""
        return [("job", live.log.latest[1]) for live in self._live.values() if live.log.is_told]

    async def follow(self, job_id: str, *, heartbeat: float | None = None) -> AsyncIterator[Sequence[Event] | None]:
        """A job's present state and then what happens to it, as it happens; None after `heartbeat` quiet seconds.

        Raises `JobNotFound` before the first.
        """
        live = self._live.get(job_id)
        if live is None:
            yield [self._done.get(job_id) or await self._stored_event(job_id)]
            return
        closing = asyncio.ensure_future(self._closing.wait())
        batches = live.log.follow_in_batches()
        following = asyncio.ensure_future(anext(batches, None))
        try:
            while True:
                done, _ = await asyncio.wait((following, closing), timeout=heartbeat, return_when=FIRST_COMPLETED)
                if not done:
                    yield None
                    continue
                if closing in done or (batch := following.result()) is None:
                    return
                yield batch
                following = asyncio.ensure_future(anext(batches, None))
        finally:
            closing.cancel()
            following.cancel()

    def _resolve(self, request: GenerateRequest) -> Settings:
        checkpoints = self._worker.checkpoints
        model = checkpoints.named(request.model) if request.model else checkpoints.active()
        checkpoints.equip(model)
        capabilities = self._worker.pool.capabilities(model.name)
        return resolve(
            request,
            model,
            shelf=self._worker.shelf,
            inputs=self._inputs,
            known_samplers=capabilities.samplers if capabilities else (),
            known_schedulers=capabilities.schedulers if capabilities else (),
            known_upscalers=capabilities.upscalers if capabilities else (),
        )

    async def _known(self, job_id: str, fingerprint: str) -> Job | None:
        rows = await DBOS.list_workflows_async(workflow_ids=[job_id], name=list(KINDS))
        if not rows:
            return None
        stored = msgspec.convert(rows[0].input["args"][0], Ordered) if rows[0].input else None
        if stored and stored.fingerprint != fingerprint:
            raise IdempotencyConflict("this Idempotency-Key was used for a different request", hint="use a new key")
        return self._as_it_is(job_of(rows[0]), waits={})

    def _as_it_is(self, job: Job, *, waits: Mapping[str, Wait]) -> Job:
        """A stored job with what only this process knows."""
        live = self._live.get(job.id)
        if live is None or job.ended:
            return job
        job, wait = _with_event(job, live.log.now), waits.get(job.id)
        return replace(job, position=wait.position, waits_for=wait.reason) if wait and job.state == "queued" else job

    async def _run(self, document: dict[str, Any]) -> dict[str, Any]:
        """The workflow: wait for the turn, draw, return the outcome. Runs again from the start after a crash."""
        job_id, workflow = DBOS.workflow_id, asyncio.current_task()
        assert job_id
        assert workflow
        ordered = msgspec.convert(document, Ordered)
        if job_id not in self._live:
            # Taken up by DBOS before this process knew of it.
            self._live[job_id] = self._new(job_id, ordered.kind)
            self._live[job_id].log.tell(self.feed)
        live = self._live[job_id]
        task = live.start(partial(self._work, job_id, ordered, live.log))
        self._recovering.discard(job_id)
        if not self._recovering:
            self._recovered.set()
        try:
            outcome = await task
        except asyncio.CancelledError:
            if not live.cancelled:
                raise
            outcome = Outcome(state="cancelled")
        except Exception as error:
            # Whatever it was, listeners must hear the end.
            outcome = Outcome(state="failed", error=failure(error))
        outcome = replace(outcome, images=live.log.images, finished=now())
        # Outside this workflow's context: in it, DBOS would take the look into the store for a step of the workflow.
        settling = asyncio.create_task(self._settle(workflow, job_id, live.log, outcome), context=contextvars.Context())
        self._settling.add(settling)
        settling.add_done_callback(self._settling.discard)
        document = msgspec.to_builtins(outcome)
        assert isinstance(document, dict)
        return document

    async def _the_worker(self) -> Worker:
        return self._worker

    async def _work(self, job_id: str, ordered: Ordered, job_log: JobLog) -> Outcome:
        if ordered.needs_engine:
            return await self._tasks.run(job_id, ordered, job_log)
        async with self._lines.of(ordered.kind).turn((ordered.created, job_id)):
            return await self._tasks.run(job_id, ordered, job_log)

    async def _settle(self, workflow: asyncio.Task[Any], job_id: str, job_log: JobLog, outcome: Outcome) -> None:
        """Tell the listeners that a job has ended, once the store knows it too."""
        # DBOS stores the outcome at the end of the workflow's task; to look before is to look twice.
        await asyncio.wait({workflow})
        while (await self._stored(job_id)).status in UNFINISHED:
            await asyncio.sleep(0.003)
        self._end(job_id, job_log, outcome.state, outcome.error)

    def _end(self, job_id: str, job_log: JobLog, state: str, error: ErrorInfo | None) -> None:
        job_log.publish(state, error=error)
        self._live.pop(job_id, None)
        self._paused.discard(job_id)
        self._done[job_id] = job_log.latest
        while len(self._done) > _KEPT_ENDS:
            self._done.popitem(last=False)

    async def _stored(self, job_id: str) -> WorkflowStatus:
        rows = await DBOS.list_workflows_async(workflow_ids=[job_id], name=list(KINDS))
        if not rows:
            raise JobNotFound(f"job {job_id!r} not found", hint="tsr jobs list")
        return rows[0]

    async def _stored_event(self, job_id: str) -> Event:
        job = await self.get(job_id)
        event = JobEvent(seq=1, job=job.id, state=job.state, images=job.images, error=job.error)
        return event, msgspec.json.encode(event)

    async def _open_when_recovered(self) -> None:
        deadline = time.monotonic() + _RECOVERY_PATIENCE
        while self._recovering and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._recovered.wait(), 0.5)
            await self._end_given_up()
        self._lines.open()
        self._worker.pool.open()

    async def _end_given_up(self) -> None:
        """End the jobs that DBOS does not start again, because they took the process down too often."""
        rows = await DBOS.list_workflows_async(
            name=list(KINDS), status="MAX_RECOVERY_ATTEMPTS_EXCEEDED", load_input=False
        )
        for job in map(job_of, rows):
            if job.id in self._recovering:
                self._recovering.discard(job.id)
                self._end(job.id, self._live[job.id].log, job.state, job.error)

    async def needed_inputs(self) -> set[str]:
        """The input pictures of jobs that have not ended, as `sha256:...`."""
        return await asyncio.to_thread(needed_inputs, DBOS.list_workflows)

    async def forget_old_jobs(self) -> None:
        """Delete what has ended longer ago than the settings keep it."""
        cutoff = datetime.now(UTC) - timedelta(days=self._config["jobs.keep_days"])
        while old := await DBOS.list_workflows_async(
            completed_before=cutoff.isoformat(), limit=200, load_input=False, load_output=False
        ):
            await DBOS.delete_workflows_async([status.workflow_id for status in old])


def _with_event(job: Job, event: JobEvent) -> Job:
    return replace(job, state=event.state, progress=event.progress, images=event.images, error=event.error)


def _executor_id(data_dir: Path) -> str:
    """A name that stays with the data directory: recovery at start looks at its own jobs only."""
    file = data_dir / "executor-id"
    if not file.exists():
        write_atomic(file, secrets.token_hex(8).encode())
    return file.read_text("ascii")

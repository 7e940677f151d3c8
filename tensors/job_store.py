"""Durable jobs as they lie in `jobs.db`: DBOS's tables, read and mapped to `tensors.types.Job`.

DBOS is slow to import and a singleton: only the server and commands that look into a stopped server's jobs come here.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from dbos import DBOSClient, WorkflowStatus
from dbos._serialization import Serializer

from tensors.clock import compact, from_epoch_ms
from tensors.errors import InvalidRequest, JobNotFound
from tensors.orders import KINDS, Ordered, Outcome, already_ended, finished
from tensors.paused import PausedJobs, check_pausable
from tensors.types.base import Page
from tensors.types.jobs import ErrorInfo, Job

STATES = ("queued", "running", "paused", "succeeded", "failed", "cancelled")
UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]
_SCAN = 200


class JsonSerializer(Serializer):
    """Inputs and outputs as JSON: readable with any tool, and nothing in the file can run code, as a pickle can."""

    def serialize(self, data: Any) -> str:
        if isinstance(data, BaseException):
            data = {"error": f"{type(data).__name__}: {data}"}
        return msgspec.json.encode(data).decode()

    def deserialize(self, serialized_data: str) -> Any:
        return msgspec.json.decode(serialized_data)

    def name(self) -> str:
        return "tsr_json"


def open_store(file: Path) -> sa.Engine:
    """The SQLite engine for `jobs.db`: WAL, so that readers never wait, and writers queue instead of failing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(f"sqlite:///{file}", connect_args={"timeout": 30, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = "IMMEDIATE"
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=30000", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        if sqlite3.sqlite_version_info < (3, 42):
            # DBOS asks for unixepoch('subsec') where Python is 3.12 or newer, whatever SQLite it came with.
            connection.create_function("unixepoch", 1, lambda _precision: round(time.time(), 3))

    return engine


def job_of(status: WorkflowStatus) -> Job:
    """A stored job. One that has not ended is `queued`: whether it runs, only the server that runs it knows."""
    arguments = status.input["args"] if status.input else []
    ordered = msgspec.convert(arguments[0], Ordered) if arguments else None
    outcome = _outcome(status)
    created = ordered.created if ordered else from_epoch_ms(status.created_at or 0)
    stored_end = max(created, from_epoch_ms(status.completed_at)) if status.completed_at else None
    job = Job(
        id=status.workflow_id,
        kind=status.name,
        state=outcome.state,
        created=created,
        settings=ordered.settings if ordered else None,
    )
    return finished(job, replace(outcome, finished=outcome.finished or stored_end))


def _outcome(status: WorkflowStatus) -> Outcome:
    match status.status:
        case "SUCCESS":
            return msgspec.convert(status.output, Outcome)
        case "CANCELLED":
            return Outcome(state="cancelled")
        case "ERROR":
            return Outcome(state="failed", error=ErrorInfo(code="internal", message=str(status.error)))
        case "MAX_RECOVERY_ATTEMPTS_EXCEEDED":
            message = f"given up: tsr ended {status.recovery_attempts} times while this job was waiting or running"
            return Outcome(state="failed", error=ErrorInfo(code="job_failed", message=message))
        case _:
            return Outcome(state="queued")


def check_listing(kind: str | None, state: str | None, limit: int, cursor: str | None) -> None:
    """Raise `InvalidRequest` for what a list of jobs cannot be asked for."""
    if kind is not None and kind not in KINDS:
        raise InvalidRequest(f"unknown kind {kind!r}", hint=f"kinds: {', '.join(KINDS)}")
    if state is not None and state not in STATES:
        raise InvalidRequest(f"unknown state {state!r}", hint=f"states: {', '.join(STATES)}")
    if not 1 <= limit <= 500:
        raise InvalidRequest(f"limit must be between 1 and 500, not {limit}")
    if cursor is not None:
        _parse(cursor)


Lister = Callable[..., Sequence[WorkflowStatus]]
_Place = tuple[int, str, str]
"""Of a job in the list: when DBOS stored it, when it was asked for, its id."""


def page_of(
    lister: Lister,
    *,
    kind: str | None,
    state: str | None,
    limit: int,
    cursor: str | None,
    live: Callable[[Job], Job] = lambda job: job,
) -> Page[Job]:
    """Jobs newest first, from DBOS's `list_workflows`; `live` adds what only memory knows."""
    check_listing(kind, state, limit, cursor)
    found: list[tuple[Job, str]] = []
    for job, key in _newest_first(lister, [kind] if kind else list(KINDS), cursor):
        job = live(job)
        if state is None or job.state == state:
            found.append((job, key))
        if len(found) > limit:
            break
    more = found[limit - 1][1] if len(found) > limit else None
    return Page(items=tuple(job for job, _ in found[:limit]), next_cursor=more)


def _newest_first(lister: Lister, kinds: Sequence[str], cursor: str | None) -> Iterator[tuple[Job, str]]:
    """Jobs with their cursors.

    DBOS orders them by when it stored them: by the second before Python 3.12, from then on by the millisecond, with a
    fraction where a product of floats left one. So rows of one such moment are ordered here, and never cut in two.
    """
    before = None if cursor is None else _parse(cursor)
    end, scan = before and before[0], _SCAN
    while True:
        until = None if end is None else from_epoch_ms(end + 1)
        rows = lister(name=kinds, sort_desc=True, limit=scan, end_time=until)
        # The limit may have cut the oldest moment in two: it is left for the next look.
        stored = [int(row.created_at or 0) for row in rows]
        cut = stored[-1] if len(rows) == scan else None
        wanted = [(moment, job_of(row)) for moment, row in zip(stored, rows, strict=True) if moment != cut]
        jobs = [(moment, job) for moment, job in wanted if end is None or moment <= end]
        placed = [((moment, compact(job.created), job.id), job) for moment, job in jobs]
        for place, job in sorted(placed, key=lambda pair: pair[0], reverse=True):
            if before is None or place < before:
                yield job, ".".join(map(str, place))
        if cut is None:
            return
        end = cut
        if not jobs:
            scan *= 2


def _parse(cursor: str) -> _Place:
    stored, created, job_id = (*cursor.split("."), "", "")[:3]
    if not (stored.isdecimal() and len(stored) < 15 and created and job_id):
        raise InvalidRequest(f"{cursor!r} is not a cursor of this list")
    return int(stored), created, job_id


def needed_inputs(lister: Lister) -> set[str]:
    """The input pictures of jobs that have not ended, as `sha256:...`."""
    jobs = map(job_of, lister(name=["generate"], status=UNFINISHED))
    named = ((job.settings.init_image, job.settings.mask) for job in jobs if job.settings)
    return {reference for pair in named for reference in pair if reference}


class StoredJobs:
    """The jobs of a server that is not running."""

    def __init__(self, file: Path) -> None:
        self._engine = open_store(file)
        self._client = DBOSClient(system_database_engine=self._engine, serializer=JsonSerializer())
        self._paused = PausedJobs(file.parent)

    def list(self, *, kind: str | None, state: str | None, limit: int, cursor: str | None) -> Page[Job]:
        """Jobs newest first."""
        lister = self._client.list_workflows
        return page_of(lister, kind=kind, state=state, limit=limit, cursor=cursor, live=self._as_it_is)

    def needed_inputs(self) -> set[str]:
        """See `needed_inputs`."""
        return needed_inputs(self._client.list_workflows)

    def get(self, job_id: str) -> Job:
        """One job. Raises `JobNotFound`."""
        rows = self._client.list_workflows(workflow_ids=[job_id], name=list(KINDS))
        if not rows:
            raise JobNotFound(f"job {job_id!r} not found", hint="tsr jobs list")
        return self._as_it_is(job_of(rows[0]))

    def cancel(self, job_id: str) -> Job:
        """Keep a waiting job from running at the next start. Raises `JobNotFound`, `JobFinished`."""
        self._unfinished(job_id)
        self._client.cancel_workflow(job_id)
        self._paused.discard(job_id)
        return self.get(job_id)

    def pause(self, job_id: str) -> Job:
        """Let it wait also when the server is started again. Raises as `tensors.service.Jobs.pause`."""
        check_pausable(job_id, self._unfinished(job_id).kind)
        self._paused.add(job_id)
        return self.get(job_id)

    def resume(self, job_id: str) -> Job:
        """Let it go on when the server is started. Raises as `tensors.service.Jobs.resume`."""
        check_pausable(job_id, self._unfinished(job_id).kind)
        self._paused.discard(job_id)
        return self.get(job_id)

    def _unfinished(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job.ended:
            raise already_ended(job)
        return job

    def _as_it_is(self, job: Job) -> Job:
        return replace(job, state="paused") if job.id in self._paused and not job.ended else job

    def close(self) -> None:
        """Close the database."""
        self._client.destroy()
        self._engine.dispose()

"""Following a job: a bar for people, Ctrl-C that cancels."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from tensors.cli._app import App
from tensors.errors import JobCancelled, JobFailed, TsrError, from_wire
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job, JobEvent, Progress

if TYPE_CHECKING:
    from tensors.service import Tensors


class _Bar(Protocol):
    def update(self, event: JobEvent) -> None: ...


def words(progress: Progress) -> str:
    """A progress in words: `sampling, picture 2 of 3, step 4/20, 6 s left`."""
    parts = [progress.phase]
    if progress.images > 1 and progress.image:
        parts.append(f"picture {progress.image} of {progress.images}")
    if progress.phase == "sampling":
        parts.append(f"step {progress.step}/{progress.steps}")
    if progress.attempt > 1:
        parts.append(f"try {progress.attempt}")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)


@contextmanager
def _rich_bar() -> Iterator[_Bar]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    columns = (BarColumn(bar_width=32), TextColumn("{task.description}"))
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("queued", total=None)

        class Bar:
            def update(self, event: JobEvent) -> None:
                progress = event.progress
                if progress is None:
                    return
                done, total = progress.step, progress.steps
                if progress.phase != "loading" and progress.images > 1:
                    done, total = (progress.image - 1) * total + done, progress.images * total
                display.update(task, description=words(progress), completed=done, total=total or None)

        yield Bar()


def submit(app: App, tensors: Tensors, request: GenerateRequest, **options: Any) -> Job:
    """`tensors.generate`. Ctrl-C meanwhile cancels the job as soon as it is known; a second one does not wait for that.

    Without this, a server could go on with a job that nobody has heard of.
    """
    heard = False

    def hear(_number: int, _frame: object) -> None:
        nonlocal heard
        if heard:
            raise KeyboardInterrupt
        heard = True

    before = signal.signal(signal.SIGINT, hear)
    try:
        job = tensors.generate(request, **options)
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        _cancel(app, tensors, job)
    return job


def follow(app: App, tensors: Tensors, job: Job, *, cancel_on_interrupt: bool = True) -> JobEvent:
    """Wait for a job to end, showing its progress, and return its last event.

    Ctrl-C cancels the job, or just ends the watching.

    Raises:
        JobCancelled: when it was cancelled, here or elsewhere.
        TsrError: the job's own error when it failed.
    """
    last: JobEvent | None = None
    try:
        events = tensors.jobs.events(job.id)
        with _rich_bar() if app.interactive else nullcontext() as bar:
            for event in events:
                last = event
                if bar:
                    bar.update(event)
    except KeyboardInterrupt:
        if not cancel_on_interrupt:
            raise
        _cancel(app, tensors, job)
    return checked(job.id, last)


def _cancel(app: App, tensors: Tensors, job: Job) -> NoReturn:
    app.say("cancelling ...")
    tensors.jobs.cancel(job.id)
    raise JobCancelled(f"job {job.id} cancelled") from None


def checked(job_id: str, last: JobEvent | None) -> JobEvent:
    """The last event of a job that succeeded; the error of one that did not."""
    if last is None or not last.last:
        raise TsrError(f"job {job_id} was lost sight of", hint=f"tsr jobs watch {job_id}")
    if last.state == "cancelled":
        raise JobCancelled(f"job {job_id} was cancelled")
    if last.error:
        document = {"code": last.error.code, "message": last.error.message, "hint": last.error.hint}
        error = from_wire({"error": document}, status=500)
        raise error if type(error) is not TsrError else JobFailed(error.message, hint=error.hint)
    return last

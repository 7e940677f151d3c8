"""Following a job: a bar for people, Ctrl-C that cancels."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NoReturn

from tensors.cli._app import App
from tensors.cli._text import amount_done, duration, plain, shortened, size
from tensors.errors import JobCancelled, JobFailed, JobFinished, TsrError, from_wire
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job, JobEvent, Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from tensors.service import Tensors


def words(progress: Progress, *, rate: float | None = None) -> str:
    """A progress in words: `sampling, picture 2 of 3, step 4/20, 6 s left`, `hashing, 1.20 GB of 6.94 GB, x.gguf`.

    `rate`: bytes a second, where that is what is counted.
    """
    if progress.unit:
        return _library_words(progress, rate)
    parts = [progress.phase]
    if progress.images > 1 and progress.image:
        parts.append(f"picture {progress.image} of {progress.images}")
    if progress.phase == "sampling":
        parts.append(f"step {progress.step}/{progress.steps}")
    if progress.phase == "loading" and progress.steps:
        parts.append(f"{100 * progress.step // progress.steps} %")
    if progress.attempt > 1:
        parts.append(f"try {progress.attempt}")
    if progress.seconds_left is not None:
        parts.append(f"{progress.seconds_left:.0f} s left")
    return ", ".join(parts)


def _library_words(progress: Progress, rate: float | None) -> str:
    parts = [progress.phase, amount_done(progress.done, progress.total, progress.unit or "")]
    if rate and progress.unit == "bytes":
        parts.append(f"{size(rate)}/s")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    if progress.name:
        parts.append(shortened(plain(os.path.basename(progress.name.rstrip(os.sep)) or progress.name), 40))
    return ", ".join(parts)


def _share(progress: Progress) -> tuple[int, int]:
    """How much is done, of how much; of 0 when that is not known."""
    if progress.unit:
        return progress.done, progress.total
    done, total = progress.step, progress.steps
    if progress.phase != "loading" and progress.images > 1:
        return (progress.image - 1) * total + done, progress.images * total
    return done, total


class _Bar:
    """A bar that moves with a job."""

    def __init__(self, display: RichProgress) -> None:
        self._display = display
        self._phase = ""
        display.add_task("queued", total=None)
        self.task = display.tasks[-1]

    def start(self) -> None:
        """The next job."""
        self._phase = ""
        self._display.reset(self.task.id, description="queued")
        self.task.total = None

    def update(self, event: JobEvent) -> None:
        """Show how far the job is now."""
        progress, task = event.progress, self.task
        if progress is None:
            return
        done, total = _share(progress)
        if progress.unit and progress.phase != self._phase:
            # Something else is counted: neither the total nor the rate is that of the phase before.
            self._phase = progress.phase
            self._display.reset(task.id)
            task.total = None
        self._display.update(task.id, completed=done, total=total or None)
        state = "paused, " if event.state == "paused" else ""
        self._display.update(task.id, description=state + words(progress, rate=task.speed))


class BatchBar:
    """How many of several jobs are done, and below it the bar of the one that is next."""

    def __init__(self, display: RichProgress, total: int, clock: Callable[[], float]) -> None:
        self._display = display
        self._clock = clock
        self._began = clock()
        self._total = total
        self._done = 0
        display.add_task("", total=total)
        self._all = display.tasks[-1]
        self._bar = _Bar(display)
        self._show(0)

    def update(self, event: JobEvent) -> None:
        """Show how far the present job is."""
        self._bar.update(event)
        done, total = _share(event.progress) if event.progress and event.progress.phase == "sampling" else (0, 0)
        self._show(done / total if total else 0)

    def next(self) -> None:
        """One more is done."""
        self._done += 1
        self._bar.start()
        self._show(0)

    def _show(self, share: float) -> None:
        parts = [f"{self._done}/{self._total}"]
        if self._done:
            # Of the first one too much is the loading of the model.
            each = (self._clock() - self._began) / (self._done + share)
            parts.append(f"{duration(each * (self._total - self._done - share))} left")
        self._display.update(self._all.id, completed=self._done + share, description=", ".join(parts))


@contextmanager
def _display() -> Iterator[RichProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # No markup: what is in square brackets is part of a file's name.
    columns = (BarColumn(bar_width=32), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        yield display


@contextmanager
def _rich_bar() -> Iterator[_Bar]:
    with _display() as display:
        yield _Bar(display)


@contextmanager
def batch_bar(total: int) -> Iterator[BatchBar]:
    """One display for so many jobs."""
    with _display() as display:
        yield BatchBar(display, total, time.monotonic)


def submit(app: App, tensors: Tensors, request: GenerateRequest, **options: Any) -> Job:
    """`tensors.generate`, as `submitted` does it."""
    return submitted(app, tensors, lambda: tensors.generate(request, **options))


def submitted(app: App, tensors: Tensors, ask: Callable[[], Job], *, also: Sequence[Job] = ()) -> Job:
    """The job that `ask` asks for. Ctrl-C meanwhile cancels it as soon as it is known, and `also` the others; a second
    one does not wait for that.

    Without this, a server could go on with a job that nobody has heard of.
    """
    with ctrl_c_later() as heard:
        job = ask()
    if heard:
        _cancel(app, tensors, job, *also)
    return job


@contextmanager
def ctrl_c_later() -> Iterator[Sized]:
    """Ctrl-C does not end the block: what is yielded is no longer empty then. A second one ends it."""
    heard: list[int] = []

    def hear(number: int, _frame: object) -> None:
        if heard:
            raise KeyboardInterrupt
        heard.append(number)

    before = signal.signal(signal.SIGINT, hear)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def follow(
    app: App, tensors: Tensors, job: Job, *, cancel_on_interrupt: bool = True, also: Sequence[Job] = ()
) -> JobEvent:
    """Wait for a job to end, showing its progress, and return its last event.

    Ctrl-C cancels the job, with those that were asked for together with it (`also`), or just ends the watching.

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
        _cancel(app, tensors, job, *also)
    return checked(job.id, last)


def _cancel(app: App, tensors: Tensors, job: Job, *others: Job) -> NoReturn:
    app.say("cancelling ...")
    tensors.jobs.cancel(job.id)
    cancel_all(tensors, others)
    raise JobCancelled(f"job {job.id} cancelled", hint=_what_stays(job.kind)) from None


def cancel_all(tensors: Tensors, jobs: Iterable[Job]) -> None:
    """Cancel those that have not ended."""
    for job in jobs:
        with suppress(JobFinished):
            tensors.jobs.cancel(job.id)


def _what_stays(kind: str) -> str | None:
    """What a person may want to know who stopped a job in the middle."""
    return None if kind in ("generate", "switch") else "what was done stays: the same command goes on from there"


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

"""Several requests: queued a little ahead, followed together, and what became of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from tensors.cli._app import App
from tensors.cli._follow import BatchBar, batch_bar, cancel_all, checked, ctrl_c_later
from tensors.cli._plan import Task
from tensors.cli._text import counted, plain_lines
from tensors.clock import now
from tensors.errors import (
    ConfigError,
    EngineNotInstalled,
    JobCancelled,
    NeedsServer,
    NotFound,
    QueueFull,
    ServerUnreachable,
    TsrError,
    Unauthorized,
)
from tensors.service import Tensors
from tensors.types.gallery import Image
from tensors.types.jobs import ErrorInfo, Generated, Job, JobEvent

AHEAD = 32
"""Jobs that are asked for before the first of them has ended: a server's queue has room for others too."""
_PATIENCE = 1.0
"""Seconds until a full queue is asked again."""
_HOPELESS = (ServerUnreachable, Unauthorized, EngineNotInstalled, NeedsServer, ConfigError)
"""What the next request would meet too."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request."""

    generated: Generated
    """Of a request that was refused, its job has no id."""
    error: TsrError | None = None


Keep = Callable[[int, tuple[Image, ...]], None]


class Batch:
    """Requests that belong together."""

    def __init__(
        self,
        app: App,
        tensors: Tensors,
        tasks: Sequence[Task],
        *,
        key: str | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`key`: an idempotency key; each request gets one of its own from it."""
        self._app = app
        self._tensors = tensors
        self._tasks = tasks
        self._key = key
        self._wait = wait
        self._told = False
        self._bar: BatchBar | None = None
        self._going: deque[tuple[int, Job]] = deque()
        self._outcomes: dict[int, Outcome] = {}
        # Requests for one model follow each other, so that no model is loaded twice.
        models = {model: rank for rank, model in enumerate(dict.fromkeys(task.request.model for task in tasks))}
        self._rest = deque(sorted(range(len(tasks)), key=lambda index: models[tasks[index].request.model]))

    def draw(self, keep: Keep) -> list[Outcome]:
        """Draw them all, and return what became of each, in their order. Who fails keeps nobody else from being drawn.

        `keep` gets the position of a request and its pictures as soon as they are there. Ctrl-C cancels what has not
        ended yet.

        Raises:
            JobCancelled: after Ctrl-C.
            TsrError: for what would happen to all the others too: no connection, no engine, no permission.
        """
        with batch_bar(len(self._tasks)) if self._app.interactive else nullcontext() as self._bar:
            try:
                while self._rest or self._going:
                    self._ask_ahead()
                    if self._going:
                        self._follow(keep)
            except KeyboardInterrupt:
                raise self._cancelled() from None
            except TsrError as error:
                self._give_up(error)
                raise
        return [self._outcomes[index] for index in range(len(self._tasks))]

    def queue(self) -> list[Job]:
        """Have a server draw them all, or none, and return their jobs in the order of the requests.

        Raises:
            JobCancelled: after Ctrl-C.
            TsrError: for the first one that is refused.
        """
        try:
            while self._rest:
                self._ask(self._rest[0], detach=True)
        except KeyboardInterrupt:
            raise self._cancelled() from None
        except TsrError as error:
            self._let_go()
            raise self._named(self._rest[0], error) from None
        return [job for _, job in sorted(self._going, key=lambda one: one[0])]

    def _ask_ahead(self) -> None:
        while self._rest and len(self._going) < AHEAD:
            index = self._rest[0]
            try:
                if not self._ask(index):
                    return
            except _HOPELESS:
                raise
            except TsrError as error:
                self._rest.popleft()
                info = ErrorInfo(code=error.code, message=error.message, hint=error.hint)
                refused = Job(id="", kind="generate", state="failed", created=now(), error=info)
                self._ended(index, Outcome(Generated(job=refused), error))

    def _ask(self, index: int, *, detach: bool = False) -> bool:
        """Ask for the next one; False when there is no room and one of ours can be followed meanwhile."""
        key = f"{self._key}-{index}" if self._key is not None else None
        try:
            with ctrl_c_later() as heard:
                job = self._tensors.generate(self._tasks[index].request, idempotency_key=key, detach=detach)
        except TsrError as error:
            if heard:
                raise KeyboardInterrupt from None
            if not isinstance(error, QueueFull):
                raise
            if self._going and not detach:
                return False
            if not self._told:
                self._app.say(f"{error.message}: waiting for room ...")
                self._told = True
            self._wait(_PATIENCE)
            return True
        self._rest.popleft()
        self._going.append((index, job))
        if heard:
            raise KeyboardInterrupt
        return True

    def _follow(self, keep: Keep) -> None:
        """The oldest one to its end."""
        index, job = self._going[0]
        last: JobEvent | None = None
        error: TsrError | None = None
        for last in self._tensors.jobs.events(job.id):
            if self._bar:
                self._bar.update(last)
        try:
            checked(job.id, last)
        except TsrError as failure:
            error = failure
        job = self._tensors.jobs.get(job.id)
        images = self._images(job)
        keep(index, images)
        self._going.popleft()
        self._ended(index, Outcome(Generated(job=job, images=images), error))

    def _images(self, job: Job) -> tuple[Image, ...]:
        images: list[Image] = []
        for image_id in job.images:
            # Somebody may have deleted it already.
            with suppress(NotFound):
                images.append(self._tensors.images.get(image_id))
        return tuple(images)

    def _ended(self, index: int, outcome: Outcome) -> None:
        self._outcomes[index] = outcome
        if outcome.error:
            self._app.say(f"{self._tasks[index].label}: {plain_lines(outcome.error.message)}")
        if self._bar:
            self._bar.next()

    def _named(self, index: int, error: TsrError) -> TsrError:
        """The error with what it is about in front."""
        if isinstance(error, _HOPELESS):
            return error
        return type(error)(f"{self._tasks[index].label}: {error.message}", hint=error.hint, details=error.details)

    def _let_go(self) -> None:
        """Cancel what has not ended, if that can still be asked for; the last one first, so that none begins now."""
        with suppress(TsrError):
            cancel_all(self._tensors, [job for _, job in reversed(self._going)])

    def _give_up(self, error: TsrError) -> None:
        if isinstance(error, ServerUnreachable):
            self._app.say(f"{counted(len(self._going), 'job')} may go on there: tsr jobs list")
        else:
            self._let_go()
        if kept := self._what_is_kept():
            self._app.say(f"{self._drawn} of {len(self._tasks)} drawn; {kept}")

    def _cancelled(self) -> JobCancelled:
        self._app.say("cancelling ...")
        self._let_go()
        with suppress(TsrError):
            for index, job in self._going:
                ended = self._tensors.jobs.get(job.id)
                self._outcomes[index] = Outcome(Generated(job=ended, images=self._images(ended)))
        return JobCancelled(f"cancelled: {self._drawn} of {len(self._tasks)} drawn", hint=self._what_is_kept())

    @property
    def _drawn(self) -> int:
        return sum(outcome.generated.job.state == "succeeded" for outcome in self._outcomes.values())

    def _what_is_kept(self) -> str | None:
        ids = [image.id for _, outcome in sorted(self._outcomes.items()) for image in outcome.generated.images]
        if not ids:
            return None
        more = f" and {len(ids) - 4:,} more" if len(ids) > 4 else ""
        return f"kept in the gallery: {', '.join(ids[:4])}{more}"

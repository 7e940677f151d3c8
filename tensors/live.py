"""A job in this process: what is heard of it, and how it is stopped, paused and resumed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tensors.events import JobLog
from tensors.orders import Outcome
from tensors.types.jobs import Progress

Work = Callable[[], Coroutine[Any, Any, Outcome]]


class LiveJob:
    """One job, for use in one event loop."""

    def __init__(self, job_id: str, *, kind: str, paused: bool = False) -> None:
        self.log = JobLog(job_id, kind=kind)
        self.kind = kind
        self.cancelled = False
        self.task: asyncio.Task[Outcome] | None = None
        self._doing: asyncio.Task[Outcome] | None = None
        self._going = asyncio.Event()
        if not paused:
            self._going.set()

    def start(self, work: Work) -> asyncio.Task[Outcome]:
        """Begin. `work` is begun anew after each pause."""
        self.task = asyncio.create_task(self._run(work))
        if self.cancelled:
            self.task.cancel()
        return self.task

    def cancel(self) -> None:
        """Stop it for good."""
        self.cancelled = True
        if self.task:
            self.task.cancel()

    async def pause(self) -> None:
        """Stop it until `resume`, and return when it has really stopped, or ended meanwhile."""
        self._going.clear()
        if self._doing:
            self._doing.cancel()
        async for event, _ in self.log.follow():
            if event.state == "paused":
                return

    def resume(self) -> None:
        """Let it go on."""
        if not self._going.is_set():
            self.log.publish("queued", Progress(phase="queued"))
            self._going.set()

    async def _run(self, work: Work) -> Outcome:
        this = asyncio.current_task()
        assert this
        while True:
            while not self._going.is_set():
                self.log.publish("paused", self.log.now.progress)
                await self._going.wait()
            self._doing = asyncio.create_task(work())
            try:
                return await self._doing
            except asyncio.CancelledError:
                if this.cancelling():
                    raise
            finally:
                self._doing = None

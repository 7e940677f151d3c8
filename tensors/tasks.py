"""What each kind of job does, with a server and without."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from tensors.caretaker import Caretaker
from tensors.downloads.downloader import Downloader
from tensors.events import JobLog
from tensors.library import Library, Report, Stop
from tensors.orders import Ordered, Outcome
from tensors.types.jobs import Progress
from tensors.worker import Order, Worker

T = TypeVar("T")

_TELL_SECONDS = 0.1
"""Progress of one phase is told at most so often."""


class Tasks:
    """Does what jobs ask for."""

    def __init__(
        self,
        worker: Callable[[], Awaitable[Worker]],
        library: Library,
        downloader: Downloader,
        caretaker: Caretaker,
    ) -> None:
        """`worker` is asked for only when there is something to draw: it needs an engine."""
        self._worker = worker
        self._library = library
        self._downloader = downloader
        self._caretaker = caretaker

    async def run(self, job_id: str, ordered: Ordered, log: JobLog) -> Outcome:
        """Do a job to its end, telling `log` how far it is.

        Cancelled, it returns only when the work has really stopped. Raises what the work raises.
        """
        if ordered.settings:
            worker = await self._worker()
            await worker.draw(
                Order(job_id, ordered.created, ordered.settings),
                report=partial(log.publish, "running"),
                saved=log.add_image,
            )
            return Outcome(state="succeeded")
        if ordered.switch:
            worker = await self._worker()
            report = partial(log.publish, "running")
            return Outcome(
                state="succeeded", switch=await worker.switch(job_id, ordered.created, ordered.switch, report)
            )
        if ordered.scan:
            log.publish("running", Progress(phase="listing"))
            return Outcome(state="succeeded", scan=await _in_thread(log, partial(self._library.run_scan, ordered.scan)))
        if ordered.download:
            log.publish("running", Progress(phase="looking up"))
            done = await _in_thread(log, partial(self._downloader.run, ordered.download))
            return Outcome(state="succeeded", download=done)
        if ordered.cleanup:
            log.publish("running", Progress(phase="cleaning"))
            clean = asyncio.to_thread(self._caretaker.clean, ordered.cleanup)
            return Outcome(state="succeeded", cleanup=await _to_its_end(clean, threading.Event()))
        log.publish("running", Progress(phase="matching" if ordered.link else "fetching"))
        if ordered.link:
            return Outcome(state="succeeded", link=await _in_thread(log, partial(self._library.run_link, ordered.link)))
        assert ordered.cache
        return Outcome(state="succeeded", cache=await _in_thread(log, partial(self._library.run_cache, ordered.cache)))


async def _in_thread(log: JobLog, work: Callable[[Report, Stop], T]) -> T:
    """Work that blocks, in a thread; cancelled, it is told to stop and waited for: it has files and a database open."""
    loop = asyncio.get_running_loop()
    stopping = threading.Event()

    def tell(progress: Progress) -> None:
        loop.call_soon_threadsafe(log.publish, "running", progress)

    return await _to_its_end(asyncio.to_thread(work, _Teller(tell), stopping.is_set), stopping)


async def _to_its_end(work: Coroutine[Any, Any, T], stopping: threading.Event) -> T:
    """Work in a thread; cancelled, `stopping` is set and the end of it awaited."""
    thread = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        stopping.set()
        await asyncio.wait({thread})
        # What it ended with does not matter any more.
        thread.exception()
        raise


class _Teller:
    """Passes progress on, but not more often than a person can follow."""

    def __init__(self, tell: Callable[[Progress], None]) -> None:
        self._tell = tell
        self._phase = ""
        self._told = 0.0

    def __call__(self, progress: Progress) -> None:
        moment = time.monotonic()
        if progress.phase != self._phase or moment - self._told >= _TELL_SECONDS or progress.done == progress.total:
            self._phase, self._told = progress.phase, moment
            self._tell(progress)

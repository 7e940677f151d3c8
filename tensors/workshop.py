"""Where jobs are done when there is no server: a thread of this process with an event loop of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any

from tensors.caretaker import Caretaker
from tensors.clock import now
from tensors.config import Config
from tensors.downloads.downloader import Downloader
from tensors.engines.leftovers import end_leftovers
from tensors.gallery import Gallery
from tensors.library import Library
from tensors.lines import Lines
from tensors.live import LiveJob
from tensors.orders import Ordered, Outcome, already_ended, finished
from tensors.paused import check_pausable
from tensors.tasks import Tasks
from tensors.types.jobs import Job, JobEvent
from tensors.worker import Worker, failure

Call = Callable[[Coroutine[Any, Any, None]], Future[None]]


class InlineJob:
    """A job of this process. Its methods may be called from any thread but the workshop's."""

    def __init__(self, call: Call, job: Job) -> None:
        """`call` has the workshop's loop do something."""
        self._call = call
        self._job = replace(job, progress=None)
        self._live = LiveJob(job.id, kind=job.kind)
        self._outcome: Outcome | None = None
        self._ended = threading.Event()

    @property
    def job(self) -> Job:
        """As it is now."""
        if self._outcome:
            return finished(self._job, self._outcome)
        event = self._live.log.now
        return replace(self._job, state=event.state, progress=event.progress, images=event.images)

    def events(self) -> Iterator[JobEvent]:
        """What happens to it from now on, to its end."""
        heard: queue.SimpleQueue[JobEvent] = queue.SimpleQueue()

        async def tell() -> None:
            async for event, _ in self._live.log.follow():
                heard.put(event)

        self._call(tell())
        while True:
            event = heard.get()
            yield event
            if event.last:
                return

    def cancel(self) -> Job:
        """See `tensors.service.Jobs.cancel`."""
        self._check()
        self._call(self._cancel())
        self._ended.wait()
        return self.job

    def pause(self) -> Job:
        """See `tensors.service.Jobs.pause`."""
        self._check()
        check_pausable(self._job.id, self._job.kind)
        self._call(self._live.pause()).result()
        return self.job

    def resume(self) -> Job:
        """See `tensors.service.Jobs.resume`."""
        self._check()
        check_pausable(self._job.id, self._job.kind)
        self._call(self._resume()).result()
        return self.job

    async def run(self, ordered: Ordered, tasks: Tasks, lines: Lines) -> None:
        """Do it, in the workshop."""
        try:
            outcome = await self._live.start(partial(self._in_turn, ordered, tasks, lines))
        except asyncio.CancelledError:
            outcome = Outcome(state="cancelled")
        except Exception as error:
            # Whatever it was, somebody waits for the last event.
            outcome = Outcome(state="failed", error=failure(error))
        self._outcome = replace(outcome, images=self._live.log.images, finished=now())
        self._live.log.publish(outcome.state, error=outcome.error)
        self._ended.set()

    def _check(self) -> None:
        if self._outcome:
            raise already_ended(self.job)

    async def _cancel(self) -> None:
        self._live.cancel()

    async def _resume(self) -> None:
        self._live.resume()

    async def _in_turn(self, ordered: Ordered, tasks: Tasks, lines: Lines) -> Outcome:
        if ordered.needs_engine:
            return await tasks.run(self._job.id, ordered, self._live.log)
        async with lines.of(ordered.kind).turn((ordered.created, self._job.id)):
            return await tasks.run(self._job.id, ordered, self._live.log)


class Workshop:
    """Does jobs. What is still going on when the process ends, ends with it."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lines = Lines(downloads_at_once=config["downloads.at_once"])
        self._lines.open()
        self._library = Library(config)
        caretaker = Caretaker(config, Gallery(config.gallery_dir, config.gallery_index))
        self._tasks = Tasks(self._a_worker, self._library, Downloader(config, self._library), caretaker)
        self._worker: Worker | None = None
        self._making = asyncio.Lock()
        self._called: list[Future[None]] = []
        self._closing = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="workshop", daemon=True)
        self._thread.start()
        self._ready.wait()

    def start(self, job: Job, ordered: Ordered) -> InlineJob:
        """Begin a job."""
        inline = InlineJob(self._call, job)
        self._call(inline.run(ordered, self._tasks, self._lines))
        return inline

    def close(self) -> None:
        """End the engine and the thread, once every job has ended."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    async def _work(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        await self._closing.wait()
        await asyncio.gather(*map(asyncio.wrap_future, self._called))
        if self._worker:
            await self._worker.pool.stop()

    def _call(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        self._called = [call for call in self._called if not call.done()]
        self._called.append(asyncio.run_coroutine_threadsafe(work, self._loop))
        return self._called[-1]

    async def _a_worker(self) -> Worker:
        """The one that draws: it needs an engine, and stays for the next picture."""
        async with self._making:
            if self._worker is None:
                end_leftovers(self._config.run_dir)
                self._worker = await Worker.of(self._config, self._library)
                self._worker.pool.start()
                self._worker.pool.open()
        return self._worker

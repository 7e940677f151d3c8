"""What happens to jobs, fanned out in memory to any number of listeners.

Every event is the whole present state of its job, encoded once. A listener keeps a position in the job's log, so a
slow one holds up nobody and costs no queue of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from tensors.feed import Feed
from tensors.types.gallery import Image
from tensors.types.jobs import ErrorInfo, JobEvent, Progress

_KEPT_EVENTS = 1000
"""A large batch has tens of thousands. A listener further behind than this goes on with a later one."""

Event = tuple[JobEvent, bytes]
"""An event, and the same as JSON."""


class JobLog:
    """The events of one job, for use in one event loop."""

    def __init__(self, job: str, *, kind: str = "generate") -> None:
        self.job = job
        self.kind = kind
        self._feed: Feed | None = None
        self.images: tuple[str, ...] = ()
        self._events: list[Event] = []
        self._dropped = 0
        self._changed = asyncio.Event()
        self.publish("queued", Progress(phase="queued"))

    @property
    def now(self) -> JobEvent:
        """The present state."""
        return self.latest[0]

    @property
    def latest(self) -> Event:
        """The present state, also as JSON."""
        return self._events[-1]

    def tell(self, feed: Feed) -> None:
        """Let a feed hear the present state and all that follows."""
        self._feed = feed
        feed.tell("job", self.latest[1])

    @property
    def is_told(self) -> bool:
        """Whether a feed hears of it."""
        return self._feed is not None

    def publish(self, state: str, progress: Progress | None = None, error: ErrorInfo | None = None) -> None:
        """Tell all listeners."""
        seq = self._dropped + len(self._events) + 1
        event = JobEvent(
            seq=seq, job=self.job, kind=self.kind, state=state, progress=progress, images=self.images, error=error
        )
        self._events.append((event, msgspec.json.encode(event)))
        if self._feed:
            self._feed.tell("job", self._events[-1][1])
        if len(self._events) > 2 * _KEPT_EVENTS:
            del self._events[:-_KEPT_EVENTS]
            self._dropped = event.seq - _KEPT_EVENTS
        self._changed.set()
        self._changed = asyncio.Event()

    def add_image(self, image: Image) -> None:
        """A picture was saved; the next event names it."""
        if image.id not in self.images:
            self.images = (*self.images, image.id)
            if self._feed:
                self._feed.tell_image("saved", image)

    async def follow(self) -> AsyncIterator[Event]:
        """The present state, then every event until the last."""
        async for batch in self.follow_in_batches():
            for event in batch:
                yield event

    async def follow_in_batches(self) -> AsyncIterator[Sequence[Event]]:
        """As `follow`, with all that happened since the last look at once: when much happens, fewer things to send."""
        seq = self.now.seq
        while True:
            while seq <= self.now.seq:
                batch = self._events[max(seq - self._dropped - 1, 0) :]
                yield batch
                if batch[-1][0].last:
                    return
                seq = batch[-1][0].seq + 1
            await self._changed.wait()

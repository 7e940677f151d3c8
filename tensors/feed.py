"""All that happens on a server, in one stream for whoever stays to listen, such as a web page.

Each entry is encoded once. A listener keeps a position, so that a slow one holds up nobody; one that falls too far
behind is let go, and comes again for the present state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

import msgspec

from tensors.types.gallery import Image
from tensors.types.jobs import Happening

_KEPT = 1000

Entry = tuple[str, bytes]
"""`job` or `image`, and what happened as JSON."""


class Feed:
    """The stream, for use in one event loop."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []
        self._dropped = 0
        self._changed = asyncio.Event()
        self._closed = False
        self._listeners = 0

    def tell(self, name: str, document: bytes) -> None:
        """Something happened. Nothing is kept for nobody."""
        if not self._listeners:
            self._dropped += len(self._entries)
            self._entries.clear()
            return
        self._entries.append((name, document))
        if len(self._entries) > 2 * _KEPT:
            del self._entries[:-_KEPT]
            self._dropped += _KEPT + 1
        self._wake()

    def tell_image(self, change: str, image: Image) -> None:
        """A picture came, changed or went: see `Happening.change`."""
        self.tell("image", msgspec.json.encode(Happening(change=change, image=image)))

    def close(self) -> None:
        """Let all listeners go."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def follow(
        self, present: Callable[[], Sequence[Entry]], *, heartbeat: float
    ) -> AsyncIterator[Sequence[Entry] | None]:
        """What `present` has first, then all that happens from that moment on; None after `heartbeat` quiet seconds."""
        position = self._dropped + len(self._entries)
        self._listeners += 1
        try:
            yield present()
            while not self._closed and position >= self._dropped:
                changed = self._changed
                if batch := self._entries[position - self._dropped :]:
                    position += len(batch)
                    yield batch
                    continue
                try:
                    await asyncio.wait_for(changed.wait(), heartbeat)
                except TimeoutError:
                    yield None
        finally:
            self._listeners -= 1

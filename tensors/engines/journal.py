"""What engines say, kept for a while and told to whoever follows."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Callable

from tensors.types.backends import LogLine

KEPT = 2000
"""Lines of one backend."""


class Journal:
    """The last lines of one backend, for use in one event loop."""

    def __init__(self, backend: str, *, now: Callable[[], str]) -> None:
        self._backend = backend
        self._now = now
        self._lines: collections.deque[LogLine] = collections.deque(maxlen=KEPT)
        self._seq = 0
        self._changed = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End every `follow`."""
        self._closed = True
        self._changed.set()

    def add(self, text: str) -> None:
        """A line was said."""
        self._seq += 1
        self._lines.append(LogLine(seq=self._seq, at=self._now(), backend=self._backend, text=text))
        self._changed.set()
        self._changed = asyncio.Event()

    def last(self, count: int) -> list[LogLine]:
        """The last lines, oldest first."""
        return list(self._lines)[-count:] if count else []

    async def follow(self, count: int) -> AsyncIterator[LogLine]:
        """The last lines, then every line as it comes; who is too slow misses the oldest."""
        seen = self._seq - len(self.last(count))
        while not self._closed:
            changed = self._changed
            for line in [line for line in self._lines if line.seq > seen]:
                seen = line.seq
                yield line
            await changed.wait()

"""Whose turn it is: a few jobs at a time, one as a rule, in the order they were asked for."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Place = tuple[str, str]
"""When a job was asked for, and its id."""


class Turns:
    """A line before one engine. It starts closed: after a restart nobody goes before all who waited are back."""

    def __init__(self, *, at_once: int = 1) -> None:
        self._waiting: list[tuple[Place, asyncio.Future[None]]] = []
        self._free = at_once
        self._open = False

    def __len__(self) -> int:
        return sum(1 for _, future in self._waiting if not future.done())

    def open(self) -> None:
        """Let the first one in."""
        self._open = True
        self._next()

    @asynccontextmanager
    async def turn(self, place: Place) -> AsyncIterator[None]:
        """Wait for this place's turn and hold it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (place, future))
        self._next()
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                # It was let in and cancelled in the same instant.
                self._leave()
            raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        self._free += 1
        self._next()

    def _next(self) -> None:
        while self._open and self._free and self._waiting:
            _, future = heapq.heappop(self._waiting)
            if not future.done():
                self._free -= 1
                future.set_result(None)

"""What a server does by itself, now and then: forget old jobs, clean the gallery up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from tensors.caretaker import Caretaker
from tensors.config import Config
from tensors.errors import TsrError
from tensors.gallery import Gallery
from tensors.types.gallery import CleanupRequest

log = logging.getLogger(__name__)


class Queue(Protocol):
    """What is needed of `tensors.jobs.JobQueue`."""

    async def forget_old_jobs(self) -> None: ...

    async def submit_library(self, request: CleanupRequest, /) -> object: ...


_FIRST_SECONDS = 60.0
"""Who has just started a server wants something else from it."""
_EVERY_SECONDS = 6 * 3600.0


async def keep_house(
    config: Config,
    queue: Queue,
    gallery: Gallery,
    *,
    first: float = _FIRST_SECONDS,
    every: float = _EVERY_SECONDS,
) -> None:
    """Do it until cancelled: jobs and the gallery's index at once, the gallery after `first` seconds; then `every`."""
    await _tried("old jobs cannot be forgotten", queue.forget_old_jobs())
    await _tried("the gallery cannot be read", asyncio.to_thread(gallery.count))
    await asyncio.sleep(first)
    caretaker = Caretaker(config, gallery)
    while True:
        await _tried("the gallery cannot be cleaned up", _clean(queue, caretaker))
        await asyncio.sleep(every)
        await _tried("old jobs cannot be forgotten", queue.forget_old_jobs())


async def _clean(queue: Queue, caretaker: Caretaker) -> None:
    if await asyncio.to_thread(caretaker.has_work):
        await queue.submit_library(CleanupRequest())


async def _tried(failing: str, work: Awaitable[object]) -> None:
    """Do it; a disk that is full or away today may not be tomorrow."""
    try:
        await work
    except (TsrError, OSError, SQLAlchemyError) as error:
        log.warning("%s: %s", failing, error)

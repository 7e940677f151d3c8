"""One call of an engine, from the request to the pictures: followed, and given up when the engine is lost."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from tensors.engines.output import Tracker, parse_bar
from tensors.engines.place import Life
from tensors.errors import EngineDied
from tensors.types.jobs import Progress

Report = Callable[[Progress], None]
T = TypeVar("T")

_KEPT_LINES = 200
POLL_SECONDS = 0.5
"""How often an engine is asked when its output gives no sign; it normally does."""
LOOK = "tsr doctor looks for the cause"
_SLOW = "a slow machine needs a larger engine.step_timeout"


class LastWords:
    """The last lines of an engine's output."""

    def __init__(self) -> None:
        self._lines: collections.deque[str] = collections.deque(maxlen=_KEPT_LINES)

    def hear(self, piece: str) -> None:
        """Keep a line; bars are not words."""
        if parse_bar(piece) is None:
            self._lines.append(piece)

    def forget(self) -> None:
        """What was said so far no longer matters."""
        self._lines.clear()

    @property
    def lines(self) -> list[str]:
        """All that is kept of them."""
        return list(self._lines)

    @property
    def errors(self) -> list[str]:
        """The last lines that speak of errors."""
        return [line for line in self._lines if "[ERROR]" in line or "error:" in line.lower()][-8:]

    def __str__(self) -> str:
        """What tells why it ended: its error lines, or else its last lines."""
        return "\n".join(self.errors or list(self._lines)[-5:]) or "nothing"


class Drawing:
    """One call of an engine.

    `patience`: after how many seconds an engine is given up; of silence, or, where nothing is heard of it, of all.
    """

    def __init__(
        self, life: Life, tracker: Tracker, report: Report, *, words: LastWords, can_hear: bool, patience: float
    ) -> None:
        self._life = life
        self._tracker = tracker
        self._report: Report | None = report
        self._words = words
        self._can_hear = can_hear
        self._patience = patience
        self._completed = asyncio.Event()
        self._abandoned = False
        self._heard = self._finished = time.monotonic()

    def hear(self, piece: str) -> None:
        """Take in a piece of the engine's output."""
        self._heard = time.monotonic()
        before = self._tracker.progress
        self._tracker.see(piece, self._heard)
        if self._tracker.completed and not self._completed.is_set():
            self._finished = self._heard
            self._completed.set()
        if self._tracker.progress != before:
            self._tell(self._tracker.progress)

    def abandon(self) -> None:
        """Nobody wants the pictures any more: tell no progress, and draw them only if the engine has begun already."""
        self._report = None
        self._abandoned = True

    async def run(self, body: Mapping[str, object]) -> list[bytes]:
        """Send the request and wait for its pictures, as PNG files.

        Raises:
            EngineDied: when the engine ended, or took too long.
            EngineError: when it could not draw.
        """
        progress = self._tracker.progress
        if not self._can_hear:
            progress = replace(progress, phase="sampling", steps=0)
        self._heard = time.monotonic()
        self._tell(progress)
        job = await self._unless_dead(self._life.client.submit(body))
        asked_to_stop = False
        while True:
            await self._pause()
            if self._abandoned and not asked_to_stop:
                asked_to_stop = True
                await self._unless_dead(self._life.client.cancel(job))
            result = await self._unless_dead(self._life.client.result(job))
            if result is not None:
                return result
            if time.monotonic() - self._heard > self._patience:
                raise self._given_up()

    def _tell(self, progress: Progress) -> None:
        if self._report:
            self._report(progress)

    async def _pause(self) -> None:
        if not self._completed.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._completed.wait(), POLL_SECONDS)
        else:
            # The answer is there some milliseconds after the engine says 'completed'.
            await asyncio.sleep(0.005 if time.monotonic() - self._finished < 1 else POLL_SECONDS)

    async def _unless_dead(self, call: Coroutine[Any, Any, T]) -> T:
        """The call's answer, or `EngineDied` as soon as the engine ends or has been silent for too long."""
        ended = self._life.ended
        if ended.is_set():
            call.close()
            raise self._death()
        answer = asyncio.ensure_future(call)
        death = asyncio.ensure_future(ended.wait())
        try:
            both = (answer, death)
            done, _ = await asyncio.wait(both, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise EngineDied(f"the engine gave no answer for {self._patience:g} s and was ended", hint=_SLOW)
            if answer.done() and not isinstance(answer.exception(), EngineDied):
                return answer.result()
            # A broken connection is how a death is heard first; its reason comes with the last of the output.
            if self._can_hear:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), 2)
            if answer.done() and not (self._can_hear and ended.is_set()):
                return answer.result()
            raise self._death()
        finally:
            death.cancel()
            answer.cancel()

    def _given_up(self) -> EngineDied:
        if not self._can_hear:
            return EngineDied(f"the engine did not finish within {self._patience:g} s", hint=_SLOW)
        return EngineDied(f"the engine made no progress for {self._patience:g} s and was ended", hint=_SLOW)

    def _death(self) -> EngineDied:
        if not self._can_hear:
            return EngineDied("the engine was lost while drawing", hint=LOOK)
        return EngineDied(f"the engine ended while drawing; its last words:\n{self._words}", hint=LOOK)

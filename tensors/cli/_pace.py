"""How far work goes that this command does itself, for people: nothing is shown of what is done in a moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensors.cli._app import App
from tensors.cli._text import size

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 1.0
"""Seconds."""

Tell = Callable[[int, str], None]
"""How much is done, and in words."""


class _Bar:
    def __init__(self, display: Progress, total: int | None, clock: Callable[[], float]) -> None:
        self._display = display
        self._clock = clock
        self._began = clock()
        self._task = display.add_task("", total=total)

    def tell(self, done: int, words: str) -> None:
        self._display.update(self._task, completed=done, description=words)
        if not self._display.live.is_started and self._clock() - self._began > _PATIENCE:
            self._display.start()


@contextmanager
def pace(app: App, total: int | None = None) -> Iterator[Tell]:
    """A bar on standard error; without a `total` one that only shows that something happens."""
    if not app.interactive:
        yield lambda _done, _words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # No markup: what is in square brackets is part of a file's name.
    columns = (BarColumn(bar_width=32), TextColumn("{task.description}", markup=False))
    display = Progress(*columns, console=Console(stderr=True), transient=True)
    try:
        yield _Bar(display, total, time.monotonic).tell
    finally:
        display.stop()


@contextmanager
def spinner(app: App, words: str) -> Iterator[None]:
    """Shows that something happens which does not tell how far it is."""
    if not app.interactive:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(words):
        yield


def counted_bytes(chunks: Iterator[bytes], tell: Tell) -> Iterator[bytes]:
    """The same chunks, of which it is told how many bytes they are."""
    done = 0
    for chunk in chunks:
        done += len(chunk)
        tell(done, size(done))
        yield chunk

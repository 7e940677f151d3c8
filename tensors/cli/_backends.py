"""Backends as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tensors.cli._app import table
from tensors.cli._text import duration, plain, size

if TYPE_CHECKING:
    from tensors.types.server import EngineStatus

_NOTHING = "-"
_DAY = 86_400
"""Seconds."""


def backend_rows(backends: Iterable[EngineStatus]) -> Iterator[str]:
    """Backends as lines of columns; below one that failed, why."""
    backends = list(backends)
    for backend, line in zip(backends, table(map(_columns, backends), right=(4,)), strict=True):
        yield line
        yield from (f"  {said}" for said in (backend.message or "").splitlines())


def _columns(backend: EngineStatus) -> tuple[str, ...]:
    return (
        backend.name or _NOTHING,
        backend.kind,
        backend.state,
        model_words(backend),
        size(backend.memory) if backend.memory else _NOTHING,
        _for_how_long(backend.since) if backend.since else _NOTHING,
        f"{backend.queued:,} queued" if backend.queued else "",
        f"draws {backend.job}" if backend.job else "",
    )


def model_words(backend: EngineStatus) -> str:
    """`dreamshaper_8 (sd15)`; of one without a model, the families that it is for."""
    if backend.model:
        return f"{plain(backend.model)} ({backend.family})"
    return f"for {', '.join(backend.families)}" if backend.families else _NOTHING


def _for_how_long(since: str) -> str:
    # Clocks of two machines differ by a little.
    seconds = max((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds(), 0)
    return duration(seconds) if seconds < 2 * _DAY else f"{seconds / _DAY:.0f} days"

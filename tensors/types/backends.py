"""What is heard of backends."""

from __future__ import annotations

from tensors.types.base import answer
from tensors.types.server import EngineStatus

__all__ = ["EngineStatus", "LogLine"]


@answer
class LogLine:
    """One line of an engine's output."""

    seq: int
    """Counts the lines of a backend from 1."""
    at: str
    """When it was heard: RFC 3339, UTC."""
    backend: str
    text: str

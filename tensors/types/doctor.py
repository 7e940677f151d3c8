"""What a look at a machine finds."""

from __future__ import annotations

from tensors.types.base import answer


@answer
class Finding:
    """One thing that was looked at, and how it is."""

    check: str
    """What was looked at: `docker`, `gpu.target`, `disk`, ...; several findings may share one."""
    state: str
    """`ok`, `warning`, `error`; `skipped` for what cannot be known, or does not matter here."""
    message: str
    command: str | None = None
    """What mends it, to be typed on the machine that was looked at."""


@answer
class Diagnosis:
    """All findings of one look."""

    findings: tuple[Finding, ...]
    warnings: int
    errors: int

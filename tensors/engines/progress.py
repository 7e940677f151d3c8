"""How far getting an engine is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Phase = Literal[
    "waiting", "looking", "downloading", "unpacking", "preparing", "configuring", "compiling", "checking", "remark"
]
"""What is being done. A `remark` is nothing done but something to know, such as why a way was given up."""


@dataclass(frozen=True, slots=True)
class InstallProgress:
    """One step of `tsr engine install`."""

    phase: Phase
    fraction: float | None
    """How much of the phase is done, 0 to 1; None while nobody knows."""
    message: str


Report = Callable[[InstallProgress], None]
"""Is told of every step, in the thread that installs. What it raises ends the installation and undoes it."""

"""The lines that jobs wait in, one for each sort of work, so that none holds up another."""

from __future__ import annotations

from tensors.turns import Turns


class Lines:
    """Work on the library is done one job after the other; of downloads a few go at once.

    What needs an engine has no line here: it waits in `tensors.engines.pool`.
    """

    def __init__(self, *, downloads_at_once: int) -> None:
        self._cataloguing = Turns()
        self._downloading = Turns(at_once=downloads_at_once)
        self._tidying = Turns()

    def of(self, kind: str) -> Turns:
        """The line for a kind of job."""
        return {"download": self._downloading, "cleanup": self._tidying}.get(kind, self._cataloguing)

    def open(self) -> None:
        """Let the first ones in."""
        for line in self._all:
            line.open()

    @property
    def _all(self) -> tuple[Turns, ...]:
        return self._cataloguing, self._downloading, self._tidying

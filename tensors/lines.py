"""The lines that jobs wait in, one for each sort of work, so that none holds up another."""

from __future__ import annotations

from tensors.turns import Turns


class Lines:
    """Pictures are drawn one job after the other; so is work on the library. Of downloads a few go at once."""

    def __init__(self, *, downloads_at_once: int) -> None:
        self._drawing = Turns()
        self._cataloguing = Turns()
        self._downloading = Turns(at_once=downloads_at_once)

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._all))

    def of(self, kind: str) -> Turns:
        """The line for a kind of job."""
        return {"generate": self._drawing, "download": self._downloading}.get(kind, self._cataloguing)

    def open(self) -> None:
        """Let the first ones in."""
        for line in self._all:
            line.open()

    @property
    def _all(self) -> tuple[Turns, ...]:
        return self._drawing, self._cataloguing, self._downloading

"""What sd-server says on its standard output, which is the only place where it tells how far it is.

Bars (`\\r  |==>   | 3/20 - 1.33it/s`) come without a line end, also through a pipe; loading draws the same bars,
ending in a transfer rate. Recorded from stable-diffusion.cpp, May 2026.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tensors.types.jobs import Progress

_BAR = re.compile(r"\|[=> ]*\|\s*(\d{1,9})/(\d{1,9})\s*-\s*[\d.]+\s*(\S+)")
_IMAGE = re.compile(r"generating image: (\d{1,9})/(\d{1,9}) - seed")
_DECODED = re.compile(r"latent (\d{1,9}) decoded")
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_END = re.compile(rb"[\r\n]|\x1b\[K")
"""A bar ends with its erase-to-end-of-line sequence; an error may follow right behind it."""
MAX_PIECE = 8192
"""What is kept of a line, in bytes: one without an end must not fill the memory."""


class PieceReader:
    """Cuts a stream of bytes into lines and bars."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """The pieces that `data` completes; they do not depend on how the stream was cut into chunks."""
        *whole, rest = _END.split(self._rest + data)
        # The last two bytes may be the beginning of an end.
        self._rest = rest[:MAX_PIECE] + rest[max(MAX_PIECE, len(rest) - 2) :]
        texts = (_CONTROL.sub("", piece[:MAX_PIECE].decode("utf-8", "replace")).strip() for piece in whole)
        return [text for text in texts if text]


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar: `done` of `total`, in steps or, while a model loads, in tensors."""

    done: int
    total: int
    loading: bool


def parse_bar(piece: str) -> Bar | None:
    """The bar in a piece of output, if it is one."""
    match = _BAR.search(piece)
    if match is None or int(match[2]) == 0:
        return None
    return Bar(int(match[1]), int(match[2]), loading=match[3].endswith("B/s"))


class Tracker:
    """Follows one call of the engine through its output and knows how far it is.

    `first` is the number of pictures that earlier calls of the same job made, `images` the number of the whole job.
    """

    def __init__(self, *, steps: int, hires_steps: int, first: int, count: int, images: int, attempt: int) -> None:
        self._count = count
        self._first = first
        self._passes = [steps, hires_steps] if hires_steps else [steps]
        self._pass = 0
        self._image = 1
        self._began: float | None = None
        self.completed = False
        self.progress = Progress(
            phase="encoding", steps=sum(self._passes), image=first + 1, images=images, attempt=attempt
        )

    def see(self, piece: str, now: float) -> bool:
        """Take in a piece of output at a time in seconds; whether `progress` or `completed` changed."""
        before = self.progress, self.completed
        bar = parse_bar(piece)
        if bar and not bar.loading:
            # A bar while decoding counts tiles.
            if self.progress.phase != "decoding":
                self._step(bar, now)
        elif image := _IMAGE.search(piece):
            self._image = int(image[1])
            self._update(phase="encoding", step=0)
        elif "hires fix: upscaling" in piece:
            self._pass, self._image = min(1, len(self._passes) - 1), 1
        elif "hires sampling" in piece and "completed" in piece:
            self._image = min(self._image + 1, self._count)
        elif "decoding" in piece and "latents" in piece:
            self._update(phase="decoding", seconds_left=None)
        elif decoded := _DECODED.search(piece):
            self._image = min(int(decoded[1]) + 1, self._count)
            self._update(phase="decoding", seconds_left=None)
        elif "generate_image completed" in piece or piece.startswith("[ERROR]"):
            self.completed = True
        return (self.progress, self.completed) != before

    def _step(self, bar: Bar, now: float) -> None:
        # The engine's own total is the truth: img2img and the hires fix take another number of steps than was asked.
        self._passes[self._pass] = bar.total
        if self._began is None and bar.done >= 1:
            self._began = now
        done_before = sum(self._passes[: self._pass])
        self._update(
            phase="sampling", step=done_before + bar.done, steps=sum(self._passes), seconds_left=self._left(bar, now)
        )

    def _left(self, bar: Bar, now: float) -> float | None:
        """Seconds until the last step of this call, from the pace so far; None before there is a pace."""
        done = sum(self._passes[: self._pass]) * self._count + (self._image - 1) * self._passes[self._pass] + bar.done
        total = sum(self._passes) * self._count
        if self._began is None or done < 2:
            return None
        return round((now - self._began) / (done - 1) * (total - done), 1)

    def _update(self, **changes: object) -> None:
        self.progress = replace(self.progress, image=self._first + self._image, **changes)  # type: ignore[arg-type]

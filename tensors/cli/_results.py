"""What becomes of pictures that were drawn: copies, lines, a viewer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensors.cli._app import App
from tensors.types.gallery import Image
from tensors.types.jobs import Generated

Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Ways:
    """What is to be done with the pictures."""

    output: str | None
    sheet: str | None
    detach: bool
    open_it: bool
    key: str | None


def lines_of(answer: Generated) -> list[str]:
    """A line for each picture."""
    return [f"{image.id}  {image.width}x{image.height}  seed {image.settings.seed}" for image in answer.images]


def save(
    app: App, read: Read, images: Sequence[Image], output: str | None, *, first: int = 0, count: int | None = None
) -> list[Path]:
    """Copies where they are wanted; the first one is that of `count`, at that position."""
    from tensors.cli._pictures import save_copy, save_target

    targets = []
    for position, image in enumerate(images if output else (), first):
        target = save_target(str(output), image.id, position, count or len(images))
        save_copy(target, read(image.id))
        app.say(f"saved {target}")
        targets.append(target)
    return targets


def open_pictures(read: Read, images: Sequence[Image], saved: Sequence[Path]) -> None:
    """Open each in the viewer: its copy, else a temporary one."""
    from tensors.cli._pictures import open_viewer, save_copy

    for position, image in enumerate(images):
        path = saved[position] if saved else Path(tempfile.gettempdir()) / f"tsr-{image.id}.png"
        if not saved:
            save_copy(path, read(image.id))
        open_viewer(path)

"""Pictures in the terminal, and in a viewer."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import click


def show_inline(png: bytes) -> bool:
    """Draw a picture into a terminal that can show one (kitty, iTerm2, sixel); False where none can be shown."""
    if not (sys.stdout.isatty() and sys.stdin.isatty()):
        return False
    # Importing the library asks the terminal what it can do.
    from PIL import Image
    from rich.console import Console
    from textual_image import renderable

    if renderable.Image not in (renderable.SixelImage, renderable.TGPImage):
        return False
    with Image.open(io.BytesIO(png)) as picture:
        Console().print(renderable.Image(picture, width=min(40, max(8, picture.width // 10)), height="auto"))
    return True


def open_viewer(path: Path) -> None:
    """Open a file with the program the desktop has for pictures."""
    click.launch(str(path))


def extension_of(picture: bytes) -> str:
    """What a picture's file is called: imported ones may be JPEG or WebP."""
    from tensors.pictures.intake import extension_of

    return extension_of(picture) or ".png"


def save_target(output: str, image_id: str, position: int, count: int, extension: str = ".png") -> Path:
    """Where `-o OUTPUT` puts a picture: into a folder under its id, or under the name that was given.

    Of several pictures under one name, `cat.png` becomes `cat-1.png`, `cat-2.png`, ...
    """
    target = Path(output)
    if target.is_dir() or output.endswith(("/", "\\")) or not target.suffix:
        return target / f"{image_id}{extension}"
    return target if count == 1 else target.with_name(f"{target.stem}-{position + 1}{target.suffix}")


def save_copy(target: Path, png: bytes) -> None:
    """Write a picture where the person wants it, making the folder."""
    from tensors.atomic import write_atomic
    from tensors.errors import InvalidRequest

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, png)
    except OSError as error:
        raise InvalidRequest(f"cannot write {target}: {error.strerror}") from None

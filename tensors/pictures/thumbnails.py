"""Small copies of pictures, made when they are first asked for: `.thumbnails/{name}_{size}.webp` of the gallery."""

from __future__ import annotations

import io
import os
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.atomic import write_atomic
from tensors.errors import InvalidRequest
from tensors.inputs import MAX_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIZES = (256, 512)
"""Of the longer side, in pixels. A smaller picture is not enlarged."""
_QUALITY = 80
_SMOOTH = ("RGB", "RGBA", "L", "CMYK")
"""Pillow's modes in which pixels can be averaged."""


class Thumbnails:
    """The thumbnails of a gallery."""

    def __init__(self, gallery: Path) -> None:
        self.path = gallery / ".thumbnails"

    def of(self, picture: Path, size: int) -> Path:
        """The thumbnail of a picture's file. Several may ask at once: they get the same.

        Raises `InvalidRequest` for another size and for what is no whole picture; `FileNotFoundError`, `OSError`.
        """
        if size not in SIZES:
            raise InvalidRequest(f"thumbnails have {' or '.join(map(str, SIZES))} pixels, not {size}")
        path = self.path / f"{picture.stem}_{size}.webp"
        changed = os.stat(picture).st_mtime_ns
        try:
            if os.stat(path).st_mtime_ns >= changed:
                return path
        except FileNotFoundError:
            self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _webp(picture, size))
        return path

    def remove(self, name: str) -> None:
        """Remove the thumbnails of a picture. They can be made again, so it does not matter if that fails."""
        for size in SIZES:
            with suppress(OSError):
                (self.path / f"{name}_{size}.webp").unlink(missing_ok=True)


def _webp(file: Path, size: int) -> bytes:
    from PIL import Image, ImageOps

    data = file.read_bytes()
    try:
        with warnings.catch_warnings():
            # A camera's half-broken metadata is no reason to talk.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise InvalidRequest(f"{file.name} is too large for a thumbnail: {opened.width}x{opened.height}")
                picture = opened if opened.mode in _SMOOTH else _drawable(opened)
                picture.thumbnail((size, size), reducing_gap=2)
                picture = _drawable(ImageOps.exif_transpose(picture))
    except Image.DecompressionBombError:
        raise InvalidRequest(f"{file.name} is too large for a thumbnail") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidRequest(f"{file.name} is no whole picture: {error}") from None
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=_QUALITY, method=4)
    return out.getvalue()


def _drawable(picture: Picture) -> Picture:
    """As WebP can keep it. 16-bit grey is scaled down: Pillow's own conversion makes all above 255 white."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB")

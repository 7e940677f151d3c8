"""Pictures that come with a request (`init_image`, `mask`): checked, then kept by their hash.

The job store holds no image bytes: a job names its inputs as `sha256:...`, and a job that runs again after a crash
finds them here.
"""

from __future__ import annotations

import binascii
import hashlib
import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pybase64

from tensors.atomic import write_atomic
from tensors.checks import refusal

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_REFERENCE = "sha256:"
MAX_PIXELS = 64_000_000


def _decode(field: str, text: str) -> bytes:
    """The bytes of a base64 text, with or without a `data:` prefix."""
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return pybase64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError):
        raise refusal([(field, "is not base64")]) from None


def _as_png(field: str, data: bytes, *, mode: str) -> bytes:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # A camera's half-broken metadata is no reason to talk.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise refusal([(field, f"is too large: {opened.width}x{opened.height}")])
                picture = _eight_bits(ImageOps.exif_transpose(opened)).convert(mode)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise refusal([(field, f"is too large: more than {MAX_PIXELS:,} pixels")]) from None
    except (OSError, SyntaxError, ValueError):
        raise refusal([(field, "is not a PNG, JPEG or WebP picture")]) from None
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _eight_bits(picture: Picture) -> Picture:
    """16-bit grey scaled down; Pillow's own conversion makes all above 255 white."""
    if not picture.mode.startswith("I"):
        return picture
    return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L")


class Inputs:
    """The store of input pictures, as PNG by the SHA256 of their bytes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, field: str, text: str, *, mode: str) -> str:
        """Check a base64 picture, store it and return its reference.

        `mode` is Pillow's: `RGB` for a picture, `L` for a mask. Raises `InvalidRequest` naming the field.
        """
        (reference,) = self.keep_all([(field, text, mode)])
        assert reference
        return reference

    def keep_all(self, pictures: Iterable[tuple[str, str | None, str]]) -> list[str | None]:
        """`keep` for several, None for None: nothing is stored unless all can be used."""
        checked = [None if text is None else self._check(field, text, mode) for field, text, mode in pictures]
        for reference, png in filter(None, checked):
            path = self._path(reference)
            try:
                # As young as if it were new: what nothing names yet is not to be swept up.
                os.utime(path)
            except FileNotFoundError:
                if not png:
                    raise refusal([("picture", "names a stored picture that has just gone")]) from None
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, png)
        return [one and one[0] for one in checked]

    def _check(self, field: str, text: str, mode: str) -> tuple[str, bytes]:
        """Its reference and, where it is not stored already, the picture."""
        if text.startswith(_REFERENCE):
            if not self._path(text).is_file():
                raise refusal([(field, "names a stored picture that is not here")])
            return text, b""
        png = _as_png(field, _decode(field, text), mode=mode)
        return _REFERENCE + hashlib.sha256(png).hexdigest(), png

    def _path(self, reference: str) -> Path:
        digest = reference.removeprefix(_REFERENCE)
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            digest = "none"
        return self._directory / f"{digest}.png"

    def base64(self, reference: str, width: int, height: int) -> str:
        """A stored picture as base64 PNG, scaled and cropped around its centre to the size. Raises `OSError`."""
        from PIL import Image, ImageOps

        with Image.open(self._path(reference)) as opened:
            fitted = opened if opened.size == (width, height) else ImageOps.fit(opened, (width, height))
            out = io.BytesIO()
            fitted.save(out, "PNG")
        return pybase64.b64encode(out.getvalue()).decode()

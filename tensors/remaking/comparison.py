"""Whether two pictures show the same."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensors.errors import InvalidRequest
from tensors.inputs import MAX_PIXELS
from tensors.types.remake import Comparison

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def compare(a: bytes, b: bytes) -> Comparison:
    """Compare two PNG, JPEG or WebP files by their pixels, with 8 bits a channel.

    Raises `InvalidRequest` when one is no whole picture, or has more pixels than `tensors.inputs.MAX_PIXELS`.
    """
    from PIL import ImageChops

    first, second = _pixels(a), _pixels(b)
    if first.size != second.size:
        return Comparison(same_file=False, same_pixels=False, differing=1.0)
    channels = ImageChops.difference(first, second).split()
    most = channels[0]
    for channel in channels[1:]:
        most = ImageChops.lighter(most, channel)
    same = most.histogram()[0]
    total = first.width * first.height
    return Comparison(same_file=a == b, same_pixels=same == total, differing=(total - same) / total)


def measured(data: bytes) -> tuple[int, int]:
    """Width and height of a picture; it is not decoded. Raises `InvalidRequest`."""
    with _opened(data) as picture:
        return picture.size


def _pixels(data: bytes) -> Picture:
    with _opened(data) as picture:
        if picture.mode.startswith("I"):
            # 16 bits of grey; Pillow's own conversion makes all above 255 white.
            return picture.convert("I").point(lambda value: value * (1 / 257)).convert("L").convert("RGBA")
        return picture.convert("RGBA")


@contextmanager
def _opened(data: bytes) -> Iterator[Picture]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise InvalidRequest(f"the picture is too large: {picture.width}x{picture.height}")
                yield picture
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise InvalidRequest(f"the picture is too large: more than {MAX_PIXELS:,} pixels") from None
    except (OSError, SyntaxError, ValueError):
        raise InvalidRequest("the file is no whole PNG, JPEG or WebP picture") from None

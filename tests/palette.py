"""Which colours a picture of the demo model, or of the fake engine, shows."""

from __future__ import annotations

import io
import itertools
import statistics
from collections.abc import Iterable

from fake_sd_server import COLOURS
from PIL import Image


def colours(png: bytes) -> tuple[str, str]:
    """The palette colours nearest to the middle of a picture and to its border."""
    with Image.open(io.BytesIO(png)) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    border = [(x, y) for x in range(width) for y in range(height) if x in (0, width - 1) or y in (0, height - 1)]
    middle = itertools.product(range(width // 2 - 4, width // 2 + 4), range(height // 2 - 4, height // 2 + 4))
    return _nearest(picture, middle), _nearest(picture, border)


def _nearest(picture: Image.Image, places: Iterable[tuple[int, int]]) -> str:
    values = [picture.getpixel(place) for place in places]
    median = [statistics.median(channel) for channel in zip(*values, strict=True)]
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], median, strict=True)))

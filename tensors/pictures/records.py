"""A picture's record as it is written: in a JSON sidecar, and inside a PNG."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from tensors.infotext import infotext
from tensors.types.gallery import Image

RECORD_KEY = "tsr"
"""Keyword of the PNG text chunk with the full record, as JSON."""


class _Edited(msgspec.Struct):
    """What tells whether a record can have been edited: earlier versions of tsr wrote no tags of a picture's own."""

    tags: object = msgspec.UNSET


def encode(image: Image) -> bytes:
    """A record for a sidecar."""
    return msgspec.json.format(msgspec.json.encode(image), indent=2)


def decode(data: bytes | str) -> Image:
    """A record from a sidecar or a PNG. Raises what `tensors.decoding.NOT_THAT_JSON` names."""
    image = msgspec.json.decode(data, type=Image)
    if image.settings.tags and not image.tags and msgspec.json.decode(data, type=_Edited).tags is msgspec.UNSET:
        return replace(image, tags=image.settings.tags)
    return image


def texts(image: Image) -> dict[str, str]:
    """What is written into a PNG, by keyword."""
    return {"parameters": infotext(image), RECORD_KEY: msgspec.json.encode(image).decode()}

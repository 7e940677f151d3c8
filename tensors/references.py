"""How a model of CivitAI is named: its number, `MODEL@VERSION`, or its page's address."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = "([1-9][0-9]{0,14})"
_REFERENCE = re.compile(
    rf"(?:(?:urn:air:[^:\s]+:[^:\s]+:)?civitai:)?{_NUMBER}(?:@{_NUMBER})?(?:\+[0-9]+)?", re.IGNORECASE
)
_ADDRESS = re.compile(
    rf"(?:https?://)?(?:www\.)?civitai\.[a-z]+/models/{_NUMBER}(?:/[^?#\s]*)?(?:\?(?P<query>[^#\s]*))?(?:#\S*)?",
    re.IGNORECASE,
)
_VERSION = re.compile(rf"(?:^|&)modelVersionId={_NUMBER}(?:&|$)")


class Reference(NamedTuple):
    """A model, and one of its versions where one is meant."""

    model: int
    version: int | None = None

    def __str__(self) -> str:
        return f"{self.model}@{self.version}" if self.version else str(self.model)


def read_reference(text: str) -> Reference | None:
    """`1102`, `1102@1318`, `civitai:1102@1318`, `https://civitai.com/models/1102/name?modelVersionId=1318`; None for
    anything else."""
    if found := _REFERENCE.fullmatch(text.strip()):
        return _reference(found[1], found[2])
    if found := _ADDRESS.fullmatch(text.strip()):
        version = _VERSION.search(found["query"] or "")
        return _reference(found[1], version and version[1])
    return None


def _reference(model: str, version: str | None) -> Reference:
    return Reference(int(model), int(version) if version else None)

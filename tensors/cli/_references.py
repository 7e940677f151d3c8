"""How a model of CivitAI is named: its number, `MODEL@VERSION`, or its page's address."""

from __future__ import annotations

import re
from typing import NamedTuple

import click

_NUMBER = "([1-9][0-9]{0,14})"
_REFERENCE = re.compile(
    rf"(?:urn:air:[^:\s]+:[^:\s]+:)?(?:civitai:)?{_NUMBER}(?:@{_NUMBER})?(?:\+[0-9]+)?", re.IGNORECASE
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


def one_model(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Reference | None:
    """Of a command's argument or option that names a model."""
    return None if value is None else _checked(value)


def several_models(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Reference, ...]:
    """Of a command's argument that names models."""
    return tuple(map(_checked, values))


def _checked(text: str) -> Reference:
    found = read_reference(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no model of CivitAI: 1102, 1102@1318 or https://civitai.com/models/1102")
    return found

"""`<lora:name:weight>` in prompts of other programs, read without refusing anything."""

from __future__ import annotations

import re

from tensors.recipes.values import line, number
from tensors.types.recipe import RecipeLora

_TAG = re.compile(r"<(?:lora|lyco):([^<>]*)>", re.IGNORECASE)
_MOST = 200


def without_tags(prompt: str) -> tuple[str, tuple[RecipeLora, ...]]:
    """The prompt without them, and the LoRAs they name, each once."""
    loras: dict[str, RecipeLora] = {}
    pieces: list[str] = []
    position = 0
    for tag in _TAG.finditer(prompt):
        pieces.append(prompt[position : tag.start()])
        position = tag.end()
        if (lora := _lora(tag[1])) and len(loras) < _MOST:
            loras.setdefault(lora.name, lora)
    if not pieces:
        return prompt, ()
    return _joined([*pieces, prompt[position:]]), tuple(loras.values())


def _lora(content: str) -> RecipeLora | None:
    """`name`, `name:weight`, `name:text encoder:unet` or with `te=` and `unet=`; what the unet gets is the weight."""
    name, *more = (part.strip() for part in content.split(":"))
    named = dict(part.split("=", 1) for part in more if "=" in part)
    plain = [found for part in more[:2] if (found := number(part)) is not None]
    weight = number(named.get("unet"))
    if weight is None:
        weight = plain[-1] if plain else number(named.get("te"))
    cleaned = line(name)
    return RecipeLora(name=cleaned, weight=1.0 if weight is None else weight) if cleaned else None


def _joined(pieces: list[str]) -> str:
    """The pieces around the tags, with neither a double space nor a double comma where a tag stood."""
    kept: list[str] = []
    for place, piece in enumerate(piece.strip(" \t") for piece in pieces):
        before = kept[-1][-1] if kept else "\n"
        if place and before in ",\n":
            piece = piece.removeprefix(",").lstrip(" \t")
        if not piece:
            continue
        if before != "\n" and piece[0] not in ",\n":
            kept.append(" ")
        kept.append(piece)
    return "".join(kept).strip()

"""How a picture was made, read out of files by tsr, A1111, Forge, SD.Next, ComfyUI, InvokeAI, SwarmUI and others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path

from tensors.recipes import a1111, comfyui, fooocus, invokeai, sdcpp, swarmui, tsr
from tensors.recipes.embedded import OWN_KEY, NotAPicture, texts_of
from tensors.types.recipe import Recipe

__all__ = ["MAX_FILE", "NotAPicture", "read_recipe", "recipe_of", "recipe_of_text"]

MAX_FILE = 512 * 1024 * 1024
"""Bytes; larger files are not read."""
_TEXT_KEYS = ("parameters", "UserComment", "comment", "ImageDescription", "description", "XPComment")
"""Where a text about everything may stand; the best first."""
_EXIF_KEYS = ("ImageDescription", "Make", "Model", "UserComment", "Copyright")
_GRAPHS = ("prompt", "workflow")


def read_recipe(path: Path) -> Recipe | None:
    """How the picture in a file was made; None where the file does not tell.

    Raises:
        NotAPicture: when it is no PNG, JPEG or WebP, or larger than `MAX_FILE`.
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE:
            raise NotAPicture(f"larger than {MAX_FILE // 1024**2} MiB")
        data = file.read(MAX_FILE)
    return recipe_of(data)


def recipe_of(data: bytes) -> Recipe | None:
    """How a picture was made; None where it does not tell. Raises `NotAPicture`."""
    texts = texts_of(data)
    if recipe := tsr.read(texts.get(OWN_KEY, "")):
        return recipe
    if recipe := invokeai.read(texts):
        return recipe
    graph = comfyui.read(_graphs(texts))
    said = next((found for key in _TEXT_KEYS if (found := recipe_of_text(texts.get(key, "")))), None)
    if graph and said:
        return _merged(said, graph)
    return said or graph


def recipe_of_text(text: str) -> Recipe | None:
    """The recipe out of one text about everything: A1111's, or another program's JSON; None for any other text."""
    text = text.removeprefix("parameters:").strip()
    if text.startswith("{"):
        metadata = {"invokeai_metadata": text}
        if recipe := swarmui.read(text) or fooocus.read(text) or invokeai.read(metadata):
            return recipe
    # A prompt may begin with a brace too.
    return sdcpp.read(text) or a1111.read(text)


def _graphs(texts: Mapping[str, str]) -> dict[str, str]:
    """`prompt` and `workflow`, which ComfyUI writes into Exif fields with their names in front."""
    found = {key: texts[key] for key in _GRAPHS if key in texts}
    for field in _EXIF_KEYS:
        for key in _GRAPHS:
            text = texts.get(field, "")
            if text[: len(key) + 1].lower() == f"{key}:":
                found.setdefault(key, text[len(key) + 1 :])
        if '"class_type"' in texts.get(field, "")[:100_000] and texts[field].startswith("{"):
            found.setdefault("prompt", texts[field])
    return found


def _merged(said: Recipe, graph: Recipe) -> Recipe:
    """What ComfyUI's own nodes for saving wrote, and from the graph what they left out."""
    missing = {
        one.name: getattr(graph, one.name)
        for one in fields(Recipe)
        if one.name not in ("program", "rest") and getattr(said, one.name) in (None, ())
    }
    return replace(said, program="comfyui", rest={**graph.rest, **said.rest}, **missing)

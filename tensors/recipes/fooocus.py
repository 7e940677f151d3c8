"""Fooocus's own JSON (its other scheme is A1111's). Read off its `modules/meta_parser.py` (2.5)."""

from __future__ import annotations

from collections.abc import Mapping

from tensors import fields
from tensors.recipes import values
from tensors.types.recipe import Recipe, RecipeLora

_UNDERSTOOD = (
    *("prompt", "negative_prompt", "base_model", "base_model_hash", "steps", "guidance_scale", "sampler", "scheduler"),
    *("seed", "resolution", "loras", "vae", "version", "clip_skip"),
)


def read(text: str) -> Recipe | None:
    """The recipe; None for anything but Fooocus's JSON."""
    said = values.table(text) if "base_model" in text else {}
    if "base_model" not in said or "prompt" not in said:
        return None
    sampler, scheduler = values.sampling(said.get("sampler"), said.get("scheduler"))
    resolution = values.line(said.get("resolution")) or ""
    width, _, height = resolution.strip("()").partition(",")
    return Recipe(
        program="fooocus",
        version=values.line(said.get("version")),
        prompt=values.words(said.get("prompt")),
        negative_prompt=values.words(said.get("negative_prompt")),
        model=values.file_name(said.get("base_model")),
        model_hash=values.file_hash(said.get("base_model_hash")),
        width=values.positive(width),
        height=values.positive(height),
        steps=values.positive(said.get("steps")),
        cfg_scale=values.number(said.get("guidance_scale")),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("seed")),
        clip_skip=values.positive(said.get("clip_skip")),
        loras=_loras(said),
        vae=None if said.get("vae") == "Default (model)" else values.file_name(said.get("vae")),
        rest=values.rest(said, without=(*_UNDERSTOOD, *(key for key in said if key.startswith("lora_combined_")))),
    )


def _loras(said: Mapping[str, object]) -> tuple[RecipeLora, ...]:
    """Each is `[name, weight, hash]`."""
    found = []
    for entry in map(fields.entries, fields.entries(said.get("loras"))):
        name, weight, digits = (*entry[:3], None, None, None)[:3]
        if cleaned := values.file_name(name):
            found.append(RecipeLora(name=cleaned, weight=values.number(weight), hash=values.file_hash(digits)))
    return tuple(found)

"""Pictures made by tsr: their record is the truth."""

from __future__ import annotations

import msgspec

from tensors.decoding import NOT_THAT_JSON
from tensors.recipes.values import rest
from tensors.types.gallery import Image
from tensors.types.generation import Settings, UsedLora
from tensors.types.recipe import Hash, Named, Recipe, RecipeHires, RecipeLora


def read(record: str) -> Recipe | None:
    """The recipe out of the record; None for one that cannot be read."""
    try:
        image = msgspec.json.decode(record.encode("utf-8", "replace"), type=Image)
    except NOT_THAT_JSON:
        return None
    used = image.settings
    return Recipe(
        program="tsr",
        version=image.tsr,
        prompt=used.prompt,
        negative_prompt=used.negative_prompt,
        model=used.model.name,
        model_hash=Hash(kind="sha256", value=used.model.sha256) if used.model.sha256 else None,
        width=used.width,
        height=used.height,
        steps=used.steps,
        cfg_scale=used.cfg_scale,
        guidance=used.guidance,
        sampler=Named(written=used.sampler, name=used.sampler),
        scheduler=Named(written=used.scheduler, name=used.scheduler),
        seed=used.seed,
        clip_skip=used.clip_skip,
        loras=tuple(map(_lora, used.loras)),
        strength=used.strength,
        hires=_hires(used),
        rest=rest(
            {
                "engine": image.engine,
                "created": image.created,
                "family": used.model.family,
                "init_image": used.init_image,
                "mask": used.mask,
                "tags": list(used.tags),
            }
        ),
    )


def _lora(used: UsedLora) -> RecipeLora:
    weights = Hash(kind="autov3", value=used.autov3) if used.autov3 else None
    return RecipeLora(name=used.name, weight=used.weight, hash=weights)


def _hires(used: Settings) -> RecipeHires | None:
    if used.hires is None:
        return None
    return RecipeHires(
        scale=used.hires.scale,
        upscaler=used.hires.upscaler,
        steps=used.hires.steps or None,
        denoising_strength=used.hires.denoising_strength,
    )

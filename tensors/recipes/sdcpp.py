"""stable-diffusion.cpp's `parameters`: an infotext whose last pair, `SDCPP`, is JSON and the truth.

Read off `build_sdcpp_image_metadata_json` in its `examples/common/common.cpp` and recorded from a real sd-server.
Builds before 2026 write no JSON. Its `strength` is always there, also where nothing was drawn over, so it stays in
`rest`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tensors import fields
from tensors.recipes import a1111, values
from tensors.recipes.lora_tags import without_tags
from tensors.types.recipe import Recipe, RecipeHires, RecipeLora

_TAIL = ", SDCPP: "
_MODELS = ("model", "diffusion_model", "vae")


def read(text: str) -> Recipe | None:
    """The recipe; None where stable-diffusion.cpp did not write the text."""
    if "stable-diffusion.cpp" not in text:
        return None
    before, newline, last = text.rpartition("\n")
    line, tail, document = last.partition(_TAIL)
    recipe = a1111.read(before + newline + line)
    if recipe is None or recipe.program != "sd-server":
        return None
    said = values.table(document) if tail else {}
    return _with(recipe, said) if said.get("schema") == "sdcpp.image.params/v1" else recipe


def _with(recipe: Recipe, said: Mapping[str, object]) -> Recipe:
    models, prompts = fields.table(said.get("models")), fields.table(said.get("prompt"))
    sampling = fields.table(said.get("sampling"))
    guidance = fields.table(sampling.get("guidance"))
    sampler, scheduler = values.sampling(sampling.get("method"), sampling.get("scheduler"))
    prompt, tagged = without_tags(values.words(prompts.get("positive")) or "")
    version = values.line(fields.table(said.get("generator")).get("version"))
    return replace(
        recipe,
        version=recipe.version if version in (None, "unknown") else version,
        prompt=prompt,
        negative_prompt=values.words(prompts.get("negative")),
        model=values.file_name(models.get("diffusion_model") or models.get("model")),
        vae=values.file_name(models.get("vae")),
        width=values.positive(said.get("width")),
        height=values.positive(said.get("height")),
        steps=values.positive(sampling.get("steps")),
        cfg_scale=values.single(guidance.get("txt_cfg")),
        guidance=values.single(guidance.get("distilled_guidance")),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("seed")),
        clip_skip=values.positive(said.get("clip_skip")),
        loras=tuple(filter(None, map(_lora, fields.entries(said.get("loras"))))) or tagged,
        strength=None,
        hires=_hires(fields.table(said.get("hires"))),
        rest={**recipe.rest, **_rest(said, models)},
    )


def _lora(entry: object) -> RecipeLora | None:
    said = fields.table(entry)
    name = values.file_name(said.get("name"))
    return RecipeLora(name=name, weight=values.single(said.get("multiplier"))) if name else None


def _hires(said: Mapping[str, object]) -> RecipeHires | None:
    if not fields.flag(said.get("enabled")):
        return None
    return RecipeHires(
        scale=values.single(said.get("scale")),
        upscaler=values.file_name(said.get("model")) or values.line(said.get("upscaler")),
        steps=values.positive(said.get("steps")),
        denoising_strength=values.single(said.get("denoising_strength")),
    )


def _rest(said: Mapping[str, object], models: Mapping[str, object]) -> dict[str, str]:
    others = {name: file for name, file in models.items() if name not in _MODELS}
    return values.rest({"strength": values.single(said.get("strength")), "models": others, "mode": said.get("mode")})

"""SwarmUI's JSON. Read off its `docs/Image Metadata Format.md` and `src/Text2Image/T2IParamTypes.cs` (2025).

Parameters are named in small letters without spaces; numbers may be written as texts, lists as texts with commas.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensors import fields
from tensors.recipes import values
from tensors.recipes.lora_tags import without_tags
from tensors.types.recipe import Hash, Recipe, RecipeHires, RecipeLora

KEY = "sui_image_params"
_UNDERSTOOD = (
    *("prompt", "negativeprompt", "model", "seed", "steps", "cfgscale", "fluxguidancescale", "width", "height", "vae"),
    *("sampler", "scheduler", "clipstopatlayer", "loras", "loraweights", "initimagecreativity", "refinerupscale"),
    *("refinersteps", "refinercontrolpercentage", "refinerupscalemethod", "refinercontrol", "swarm_version"),
    *("swarmVersion", "images", "aspectratio"),
)


def read(text: str) -> Recipe | None:
    """The recipe; None for anything but SwarmUI's JSON."""
    document = values.table(text) if KEY in text else {}
    said = document.get(KEY)
    if not isinstance(said, dict):
        return None
    prompt, tagged = without_tags(values.words(said.get("prompt")) or "")
    sampler, scheduler = values.sampling(said.get("sampler"), said.get("scheduler"))
    hashes = _hashes(document)
    layer = values.integer(said.get("clipstopatlayer"))
    model = _name(said.get("model"))
    return Recipe(
        program="swarmui",
        version=values.line(said.get("swarm_version") or said.get("swarmVersion")),
        prompt=prompt,
        negative_prompt=values.words(said.get("negativeprompt")) or "",
        model=values.file_name(model),
        model_hash=hashes.get(model or ""),
        width=values.positive(said.get("width")),
        height=values.positive(said.get("height")),
        steps=values.positive(said.get("steps")),
        cfg_scale=values.number(said.get("cfgscale")),
        guidance=values.number(said.get("fluxguidancescale")),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("seed")),
        clip_skip=-layer if layer and layer < 0 else None,
        loras=_loras(said, hashes) or tagged,
        strength=values.number(said.get("initimagecreativity")),
        hires=_hires(said),
        vae=values.file_name(said.get("vae")),
        rest=values.rest({**said, **fields.table(document.get("sui_extra_data"))}, without=_UNDERSTOOD),
    )


def _name(value: object) -> str | None:
    """A model's name as SwarmUI compares it: with its folder, without `.safetensors`."""
    text = values.line(value)
    return text.removesuffix(".safetensors") if text else None


def _hashes(document: Mapping[str, object]) -> dict[str, Hash]:
    """SwarmUI hashes what follows a file's header, as AutoV3 does."""
    found = {}
    for entry in map(fields.table, fields.entries(document.get("sui_models"))):
        name, known = _name(entry.get("name")), values.file_hash(entry.get("hash"), kind="autov3")
        if name and known:
            found[name] = known
    return found


def _list(value: object) -> list[object]:
    return list(value.split(",")) if isinstance(value, str) else fields.entries(value)


def _loras(said: Mapping[str, object], hashes: Mapping[str, Hash]) -> tuple[RecipeLora, ...]:
    weights = [values.number(weight) for weight in _list(said.get("loraweights"))]
    found = []
    for position, entry in enumerate(_list(said.get("loras"))):
        whole = _name(entry)
        name = values.file_name(whole)
        if whole and name:
            weight = weights[position] if position < len(weights) else None
            found.append(RecipeLora(name=name, weight=1.0 if weight is None else weight, hash=hashes.get(whole)))
    return tuple(found)


def _hires(said: Mapping[str, object]) -> RecipeHires | None:
    scale = values.number(said.get("refinerupscale"))
    control = said.get("refinercontrolpercentage", said.get("refinercontrol"))
    if scale is None or scale == 1:
        return None
    method = values.line(said.get("refinerupscalemethod"))
    if method and method.startswith(("model-", "pixel-", "latent-")):
        kind, _, name = method.partition("-")
        method = {"model": values.file_name(name), "latent": f"Latent ({name})"}.get(kind) or name.capitalize()
    return RecipeHires(
        scale=scale,
        upscaler=method,
        steps=values.positive(said.get("refinersteps")),
        denoising_strength=values.number(control),
    )

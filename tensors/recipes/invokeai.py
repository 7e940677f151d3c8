"""InvokeAI's records: `invokeai_metadata` (3 and later), `sd-metadata` (2) and `Dream` (1).

Read off its `invokeai/app/invocations/metadata.py` (5); 2 and 1 off other tools that read their files.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace

from tensors import fields
from tensors.recipes import values
from tensors.types.recipe import Named, Recipe, RecipeHires, RecipeLora

KEYS = ("invokeai_metadata", "sd-metadata", "Dream")
_UNDERSTOOD = (
    *("app_version", "positive_prompt", "negative_prompt", "model", "width", "height", "steps", "cfg_scale", "seed"),
    *("guidance", "scheduler", "clip_skip", "loras", "strength", "hrf_enabled", "hrf_method", "hrf_strength", "vae"),
)
_NEGATIVE = re.compile(r"\[([^\[\]]*)\]")
_LONGEST_COMMAND = 20_000
_OPTIONS = {"-s": "steps", "-S": "seed", "-W": "width", "-H": "height", "-C": "cfg_scale", "-A": "sampler"}


def read(texts: Mapping[str, str]) -> Recipe | None:
    """The recipe out of whichever record is there and can be read."""
    if found := _third(values.table(texts.get("invokeai_metadata", ""))):
        return found
    if found := _second(values.table(texts.get("sd-metadata", ""))):
        return found
    return _first(texts.get("Dream", ""))


def _third(said: Mapping[str, object]) -> Recipe | None:
    if "positive_prompt" not in said and "app_version" not in said:
        return None
    sampler, scheduler = _sampling(said.get("scheduler"))
    model = fields.table(said.get("model"))
    skipped = values.natural(said.get("clip_skip"))
    return Recipe(
        program="invokeai",
        version=values.line(said.get("app_version")),
        prompt=values.words(said.get("positive_prompt")),
        negative_prompt=values.words(said.get("negative_prompt")),
        model=_name(model),
        model_hash=values.file_hash(model.get("hash")),
        width=values.positive(said.get("width")),
        height=values.positive(said.get("height")),
        steps=values.positive(said.get("steps")),
        cfg_scale=values.number(said.get("cfg_scale")),
        guidance=values.number(said.get("guidance")),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("seed")),
        # InvokeAI counts the layers that are left out, A1111 and tsr from 1.
        clip_skip=None if skipped is None else skipped + 1,
        loras=tuple(filter(None, map(_lora, fields.entries(said.get("loras"))))),
        strength=values.number(said.get("strength")),
        hires=_hires(said),
        vae=_name(fields.table(said.get("vae"))),
        rest=values.rest(said, without=_UNDERSTOOD),
    )


def _name(model: Mapping[str, object]) -> str | None:
    return values.file_name(model.get("name") or model.get("model_name"))


def _lora(entry: object) -> RecipeLora | None:
    said = fields.table(entry)
    model = fields.table(said.get("model") or said.get("lora"))
    name = _name(model)
    if name is None:
        return None
    return RecipeLora(name=name, weight=values.number(said.get("weight")), hash=values.file_hash(model.get("hash")))


def _hires(said: Mapping[str, object]) -> RecipeHires | None:
    if not fields.flag(said.get("hrf_enabled")):
        return None
    strength = values.number(said.get("hrf_strength"))
    return RecipeHires(upscaler=values.line(said.get("hrf_method")), denoising_strength=strength)


def _sampling(value: object) -> tuple[Named | None, Named | None]:
    """`dpmpp_2m_k` is DPM++ 2M with Karras; version 2 wrote `k_` in front and meant k-diffusion."""
    written = values.line(value)
    if written is None:
        return None, None
    name = written.removeprefix("k_").removesuffix("_k")
    sampler, scheduler = values.sampling(name, "karras" if written.endswith("_k") else None)
    return sampler and replace(sampler, written=written), scheduler and replace(scheduler, written=written)


def _split(prompt: str) -> tuple[str, str]:
    """Negative words stand in brackets in the prompts of versions 1 and 2."""
    negative = ", ".join(words.strip() for words in _NEGATIVE.findall(prompt))
    return _NEGATIVE.sub("", prompt).strip(), negative


def _second(document: Mapping[str, object]) -> Recipe | None:
    said = fields.table(document.get("image"))
    prompts = said.get("prompt")
    if isinstance(prompts, list):
        prompts = fields.table(prompts[0]).get("prompt") if prompts else None
    if (prompt := values.words(prompts)) is None:
        return None
    positive, negative = _split(prompt)
    sampler, scheduler = _sampling(said.get("sampler"))
    understood = ("prompt", "width", "height", "steps", "cfg_scale", "seed", "sampler", "strength")
    return Recipe(
        program="invokeai",
        version=values.line(document.get("app_version")),
        prompt=positive,
        negative_prompt=negative,
        model=values.file_name(document.get("model_weights")),
        model_hash=values.file_hash(document.get("model_hash")),
        width=values.positive(said.get("width")),
        height=values.positive(said.get("height")),
        steps=values.positive(said.get("steps")),
        cfg_scale=values.number(said.get("cfg_scale")),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("seed")),
        strength=values.number(said.get("strength")),
        rest=values.rest(said, without=understood),
    )


def _first(command: str) -> Recipe | None:
    """The command line that made the picture: the prompt in quotes, then options."""
    try:
        prompt, *arguments = shlex.split(command[:_LONGEST_COMMAND])
    except ValueError:
        return None
    said = dict(zip((_OPTIONS.get(word, word) for word in arguments), arguments[1:], strict=False))
    if "steps" not in said and "seed" not in said:
        return None
    positive, negative = _split(values.words(prompt) or "")
    sampler, scheduler = _sampling(said.get("sampler"))
    return Recipe(
        program="invokeai",
        prompt=positive,
        negative_prompt=negative,
        width=values.positive(said.get("width")),
        height=values.positive(said.get("height")),
        steps=values.positive(said.get("steps")),
        cfg_scale=values.number(said.get("cfg_scale")),
        sampler=sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("seed")),
    )

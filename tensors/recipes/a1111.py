"""AUTOMATIC1111's infotext, which Forge, SD.Next, Fooocus, CivitAI, sd-server and tsr write too.

Prompt lines, then lines from `Negative prompt:` on, then one line of `Key: value, Key: value`. A value with a comma,
colon or line break is quoted as in JSON. Read off A1111's `modules/infotext_utils.py` and `modules/processing.py`
(1.10), and CivitAI's `automatic.metadata.ts`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from tensors import fields
from tensors.recipes import values
from tensors.recipes.lora_tags import without_tags
from tensors.types.recipe import Hash, Recipe, RecipeHires, RecipeLora

LONGEST = 1024 * 1024
"""Characters; no longer text is taken for an infotext."""
NEGATIVE = "Negative prompt:"
FIRST_STRENGTH = "First pass denoising strength"
"""tsr's key where `Denoising strength` is that of the hires fix."""
_OURS = re.compile(r"tsr (\S+) \((.*)\)")
_STEPS = re.compile(r"\s*Steps:\s*[0-9]")
_KEY = re.compile(r"\s*(\w[\w \-/.]{0,99}):\s*")
_FEWEST = 3
"""Pairs that make a line one of settings; A1111's own rule."""
_MOST_LINES = 100
_MOST_PAIRS = 1000
_MOST_COMMAS = 50_000
_MOST_FAILURES = 20
_JSON = json.JSONDecoder(strict=False)
_UNDERSTOOD = (
    *("Steps", "Sampler", "Schedule type", "Scheduler", "CFG scale", "Distilled CFG Scale", "Guidance", "Seed", "Size"),
    *("Model hash", "Model", "VAE", "Clip skip", "Denoising strength", FIRST_STRENGTH, "Hires upscale", "Hires scale"),
    *("Hires resize", "Hires steps", "Hires upscaler", "Lora hashes", "Lora weights", "Hashes", "Civitai resources"),
    *("Version", "App"),
)
_LORA_TYPES = frozenset(("lora", "locon", "lycoris", "dora"))


def read(text: str) -> Recipe | None:
    """The recipe in an infotext; None where there is no line of settings."""
    if len(text) > LONGEST:
        return None
    lines = [line.removesuffix("\r") for line in text.strip().split("\n")]
    where = _settings_line(lines)
    if where is None:
        return None
    said = settings(lines[where])
    prompt, negative = _prompts(lines[:where])
    prompt, tagged = without_tags(prompt)
    recipe = _recipe(said)
    loras, model_hash = _hashed(tagged, recipe.model_hash, said)
    recipe = replace(recipe, prompt=prompt, negative_prompt=negative, loras=loras, model_hash=model_hash)
    after = "\n".join(lines[where + 1 :]).strip()
    if after:
        recipe = replace(recipe, rest={**recipe.rest, **values.rest({"after the settings": after})})
    return _with_resources(recipe, said.get("Civitai resources"))


def _settings_line(lines: list[str]) -> int | None:
    """The last line of settings that begins with the steps; else the last line, if it has three pairs."""
    beginning = [position for position, line in enumerate(lines) if _STEPS.match(line)]
    for position in reversed(beginning[-_MOST_LINES:]):
        if len(settings(lines[position])) >= _FEWEST:
            return position
    return len(lines) - 1 if len(settings(lines[-1])) >= _FEWEST else None


def _prompts(lines: list[str]) -> tuple[str, str]:
    for position, line in enumerate(lines):
        if line.lstrip().startswith(NEGATIVE):
            negative = [line.lstrip()[len(NEGATIVE) :], *lines[position + 1 :]]
            return _text(lines[:position]), _text(negative)
    return _text(lines), ""


def _text(lines: list[str]) -> str:
    return fields.harmless("\n".join(lines).strip())


def settings(line: str) -> dict[str, str]:
    """The pairs of a line of settings, unquoted."""
    pairs: list[tuple[str, list[str]]] = []
    position = failures = commas = 0
    while position < len(line) and len(pairs) < _MOST_PAIRS and commas < _MOST_COMMAS:
        commas += 1
        key = _KEY.match(line, position)
        quoted = None
        if key and failures < _MOST_FAILURES and line[key.end() : key.end() + 1] in ('"', "{", "["):
            quoted = _json_value(line, key.end())
            failures += quoted is None
        if key and quoted:
            value, position = quoted
            pairs.append((key[1].strip(), [value]))
        else:
            start = key.end() if key else position
            end = line.find(",", start)
            end = len(line) if end < 0 else end
            if key:
                pairs.append((key[1].strip(), [line[start:end].strip()]))
            elif pairs:
                # A comma inside a value that nobody quoted.
                pairs[-1][1].append(line[start:end])
            position = end
        position += 1
    return {name: ",".join(pieces).strip() if len(pieces) > 1 else pieces[0] for name, pieces in pairs}


def _json_value(line: str, start: int) -> tuple[str, int] | None:
    """A JSON value that a comma or the end follows: the text in quotes, or an object or array as it stands."""
    try:
        value, end = _JSON.raw_decode(line, start)
    except (ValueError, RecursionError):
        return None
    while end < len(line) and line[end] == " ":
        end += 1
    if end < len(line) and line[end] != ",":
        return None
    return (fields.encodable(value) if isinstance(value, str) else line[start:end]), end


def _recipe(said: Mapping[str, str]) -> Recipe:
    program = _program(said)
    width, height = values.size(said.get("Size"))
    sampler, scheduler = values.sampling(said.get("Sampler"), said.get("Schedule type") or said.get("Scheduler"))
    hires = _hires(said, width)
    strength = values.number(said.get("Denoising strength"))
    version = values.line(said.get("Version"))
    ours = _OURS.fullmatch(version or "")
    name = values.line if program == "tsr" else values.file_name
    return Recipe(
        program=program,
        version=ours[1] if ours else version,
        model=name(said.get("Model")),
        model_hash=values.file_hash(said.get("Model hash")),
        width=width,
        height=height,
        steps=values.positive(said.get("Steps")),
        cfg_scale=values.number(said.get("CFG scale")),
        guidance=values.number(said.get("Distilled CFG Scale") or said.get("Guidance")),
        sampler=None if sampler and sampler.written == "NONE" else sampler,
        scheduler=scheduler,
        seed=values.natural(said.get("Seed")),
        clip_skip=values.positive(said.get("Clip skip")),
        strength=values.number(said.get(FIRST_STRENGTH)) if hires else strength,
        hires=hires and replace(hires, denoising_strength=strength),
        vae=values.file_name(said.get("VAE")),
        rest=values.rest({"engine": ours and ours[2], **said}, without=_UNDERSTOOD),
    )


def _program(said: Mapping[str, str]) -> str:
    version, app = said.get("Version", ""), said.get("App", "")
    known = {"tsr ": "tsr", "stable-diffusion.cpp": "sd-server", "Fooocus": "fooocus", "ComfyUI": "comfyui"}
    for beginning, program in known.items():
        if version.startswith(beginning):
            return program
    if app.startswith("SD.Next"):
        return "sdnext"
    if re.match(r"f[0-9]|neo|classic", version) or "Distilled CFG Scale" in said or "Module 1" in said:
        return "forge"
    return "civitai" if "Civitai resources" in said and not version else "a1111"


def _hires(said: Mapping[str, str], width: int | None) -> RecipeHires | None:
    if not any(f"Hires {word}" in said for word in ("upscale", "resize", "upscaler", "steps")):
        return None
    upscale = said.get("Hires upscale")
    scale = values.number(upscale)
    upscaler = said.get("Hires upscaler")
    if scale is None:
        # stable-diffusion.cpp has the upscaler under `Hires upscale`.
        scale, upscaler = values.number(said.get("Hires scale")), upscaler or upscale
    target, _ = values.size(said.get("Hires resize"))
    if scale is None and target and width:
        scale = target / width
    return RecipeHires(scale=scale, upscaler=values.line(upscaler), steps=values.positive(said.get("Hires steps")))


def _hashed(
    tagged: Iterable[RecipeLora], model_hash: Hash | None, said: Mapping[str, str]
) -> tuple[tuple[RecipeLora, ...], Hash | None]:
    """The LoRAs of the prompt with their hashes and those that only the settings name; the model's hash."""
    hashes = values.table(said.get("Hashes", ""))
    known = {name.removeprefix("lora:"): value for name, value in hashes.items() if name.startswith("lora:")}
    known |= _pairs(said.get("Lora hashes", ""))
    weights = _pairs(said.get("Lora weights", ""))
    loras = []
    for lora in tagged:
        # A1111 leaves colons and commas out of the names in `Lora hashes`.
        plain = lora.name.replace(":", "").replace(",", "")
        found = [known.pop(name) for name in dict.fromkeys((plain, lora.name)) if name in known]
        loras.append(replace(lora, hash=values.file_hash(found[0]) if found else None))
    for name, value in known.items():
        if cleaned := values.line(name):
            weight = values.number(weights.get(name))
            loras.append(RecipeLora(name=cleaned, weight=weight, hash=values.file_hash(value)))
    return tuple(loras), model_hash or values.file_hash(hashes.get("model"))


def _pairs(text: str) -> dict[str, object]:
    """What `a: 1, b: 2` says."""
    parts = (part.rpartition(":") for part in text.split(",")[:_MOST_PAIRS])
    return {name.strip(): value.strip() for name, colon, value in parts if colon and name.strip()}


def _with_resources(recipe: Recipe, text: str | None) -> Recipe:
    """With the models that CivitAI's own generator names by their versions there."""
    resources = fields.entries(values.document(text)) if text else []
    loras = list(recipe.loras)
    for entry in map(fields.table, resources[:_MOST_PAIRS]):
        kind, version = values.line(entry.get("type")) or "", _version(entry)
        name = values.line(entry.get("modelName"))
        air = values.line(entry.get("air")) or ""
        if kind == "checkpoint" or ":checkpoint:" in air:
            recipe = replace(recipe, model=recipe.model or name, model_version_id=version)
        elif kind.lower() in _LORA_TYPES or any(f":{word}:" in air for word in _LORA_TYPES):
            weight = values.number(entry.get("weight"))
            loras.append(RecipeLora(name=name or f"civitai:{version}", weight=weight, version_id=version))
    return replace(recipe, loras=tuple(loras))


def _version(entry: Mapping[str, object]) -> int | None:
    """Id of the version: said, or at the end of an AIR (`urn:air:sdxl:lora:civitai:ID@VERSION`)."""
    air = values.line(entry.get("air")) or ""
    return values.positive(entry.get("modelVersionId")) or values.positive(air.rpartition("@")[2])

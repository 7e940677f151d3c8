"""What the folders a file lies in say about it: the layouts of A1111, Forge, ComfyUI, InvokeAI, SwarmUI and others.

For kinds, names are compared without case, spaces, hyphens and underscores: `Stable-diffusion` (A1111, Forge, SwarmUI),
`StableDiffusion` (Stability Matrix) and `stable_diffusion` are one. Sources: ComfyUI's `folder_paths.py`, SwarmUI's
`Settings.cs`, Stability Matrix's `SharedFolderType.cs`, the folders that A1111 and Forge make, InvokeAI's
`taxonomy.py`: it keeps files in `models/BASE/TYPE`, and of late in `models/UUID`, which says nothing. Pipelines as
diffusers saves them have `unet`, `transformer`, `vae` and `text_encoder` beside each other. A family is what a folder's
name speaks of: InvokeAI's bases, and what people sort LoRAs by (`Pony`, `SDXL 1.0`).

The folder nearest to the file decides. Only folders at and below the scanned one count: that somebody's models lie in
`/home/vae/models` makes no VAE of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tensors.base_models import family_in_name


@dataclass(frozen=True, slots=True)
class Hint:
    """What a folder says about its files; weaker than their tensors."""

    kind: str | None = None
    family: str | None = None


_OTHER = ""
"""A kind of file that tsr has no word for: nothing further out is asked either."""

_KINDS: Mapping[str, tuple[str, ...]] = {
    "checkpoint": ("checkpoint", "checkpoints", "ckpt", "ckpts", "stablediffusion"),
    "diffusion_model": ("diffusionmodel", "diffusionmodels", "unet", "unets", "transformer"),
    "lora": ("lora", "loras", "lycoris", "locon", "loha", "dora"),
    "vae": ("vae", "vaes"),
    "tae": ("vaeapprox", "approxvae", "taesd"),
    "embedding": ("embedding", "embeddings", "textualinversion", "textualinversions"),
    "text_encoder": (
        *("textencoder", "textencoder2", "textencoder3", "textencoders", "clip", "clipembed"),
        *("t5encoder", "qwen3encoder"),
    ),
    "controlnet": ("controlnet", "controlnets"),
    "upscaler": (
        *("upscaler", "upscalers", "upscalemodels", "latentupscalemodels", "esrgan", "realesrgan", "bsrgan"),
        *("swinir", "scunet", "spandrel", "spandrelimagetoimage"),
    ),
    _OTHER: (
        *("clipvision", "siglip", "imageencoder", "ipadapter", "ipadapters", "ipadapters15", "ipadaptersxl"),
        *("t2iadapter", "controllora", "fluxredux", "llavaonevision", "hypernetwork", "hypernetworks", "gligen"),
        *("photomaker", "stylemodels", "modelpatches", "audioencoders", "classifiers", "safetychecker"),
        *("gfpgan", "codeformer", "ldsr", "deepdanbooru", "blip", "ultralytics", "sams", "insightface", "adetailer"),
    ),
}
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}

_IN_MODELS = {"dat": "upscaler", "hat": "upscaler"}
"""A1111's names that mean something else anywhere but right below `models`."""
_INVOKE_BASES = frozenset(
    {"any", "sd1", "sd2", "sd3", "sdxl", "sdxlrefiner", "flux", "flux2", "cogview4", "zimage", "qwenimage"}
)
_SEPARATORS = re.compile(r"[\s._-]+")


def hint(root: str, directory: str, kind: str | None = None) -> Hint:
    """What a directory at or below the scanned folder `root` says; `kind` is what somebody said about `root` itself."""
    said = family = None
    names = _names(root, directory)
    plain = [_SEPARATORS.sub("", name).casefold() for name in names]
    for position in reversed(range(len(names))):
        if said is None:
            outer = plain[position - 1] if position else None
            said = kind if kind and outer is None else _kind(plain[position], outer)
        family = family or family_in_name(names[position])
    return Hint(said or None, family)


def _kind(name: str, outer: str | None) -> str | None:
    if name == "main" and outer in _INVOKE_BASES:
        return "checkpoint"
    return _IN_MODELS.get(name) if outer == "models" and name in _IN_MODELS else _KIND_OF.get(name)


def _names(root: str, directory: str) -> list[str]:
    """The folders from `root` to the inmost."""
    below = os.path.relpath(directory, root)
    return [os.path.basename(root), *([] if below == os.curdir else below.split(os.sep))]

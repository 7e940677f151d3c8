"""How a picture was made, as far as its file tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from tensors.types.base import answer
from tensors.types.files import Hash

__all__ = ["Hash", "Named", "Recipe", "RecipeHires", "RecipeLora"]


@answer
class Named:
    """A sampler or scheduler under the name that the file has for it."""

    written: str
    name: str | None
    """tsr's name for the same; none where tsr has nothing like it."""


@answer
class RecipeLora:
    """A LoRA that a picture was made with."""

    name: str
    """File name without folder and extension."""
    weight: float | None = None
    hash: Hash | None = None
    version_id: int | None = None
    """Of its version on CivitAI."""


@answer
class RecipeHires:
    """A second pass over the enlarged picture."""

    scale: float | None = None
    """How many times larger each side gets."""
    upscaler: str | None = None
    """As written: `Latent` and its variants, or the name of an upscaler model."""
    steps: int | None = None
    denoising_strength: float | None = None


@answer
class Recipe:
    """How a picture was made. What the file does not tell, or tells in no way that is understood, is none."""

    program: str
    """`tsr`, `sd-server`, `a1111`, `forge`, `sdnext`, `comfyui`, `invokeai`, `swarmui`, `fooocus` or `civitai`."""
    version: str | None = None
    """The program's own."""
    prompt: str | None = None
    """Without `<lora:...>`: those are in `loras`."""
    negative_prompt: str | None = None
    model: str | None = None
    """File name without folder and extension."""
    model_hash: Hash | None = None
    """Of the kind `sha256`, `autov1`, `autov2`, `autov3`, `blake3` or `unknown`; in lower case."""
    model_version_id: int | None = None
    """Of the model's version on CivitAI."""
    width: int | None = None
    """Pixels before the second pass."""
    height: int | None = None
    steps: int | None = None
    cfg_scale: float | None = None
    guidance: float | None = None
    """Distilled guidance (Flux)."""
    sampler: Named | None = None
    scheduler: Named | None = None
    seed: int | None = None
    """From 0 to 2**64 - 1: other programs draw larger ones than tsr's engine takes."""
    clip_skip: int | None = None
    """1 uses all layers of the CLIP text encoder, 2 all but the last."""
    loras: tuple[RecipeLora, ...] = ()
    strength: float | None = None
    """Denoising strength of img2img."""
    hires: RecipeHires | None = None
    vae: str | None = None
    rest: Mapping[str, str] = field(default_factory=dict)
    """What else the file says, as it says it."""

"""A model file as lists have it: in a module of its own, because each type takes its time to make."""

from __future__ import annotations

from tensors.types.base import answer


@answer
class Link:
    """The page of a file on CivitAI."""

    model_id: int
    version_id: int
    model: str
    version: str
    type: str | None = None
    base_model: str | None = None
    creator: str | None = None
    nsfw: bool = False
    matched_by: str = "sha256"
    """`sha256`, `autov3`, `blake3`, `sidecar` or `user`."""
    url: str = ""


@answer
class File:
    """One model file."""

    id: int | None
    """Its number in the library; none when it is not in there."""
    path: str
    name: str
    """Without folder and extension: what prompts and requests call it."""
    size: int
    """Bytes."""
    modified: str
    state: str
    """`present`, `missing` or `broken`."""
    kind: str
    """`checkpoint`, `diffusion_model`, `lora`, `vae`, `tae`, `embedding`, `text_encoder`, `controlnet`, `upscaler` or
    `unknown`."""
    family: str
    """`sd15`, `sd2`, `sdxl`, `pony`, `illustrious`, `noobai`, `sd3`, `flux`, ..., `shapes` or `unknown`."""
    kind_from: str | None = None
    """How it is known: `user`, `tensors`, `metadata`, `civitai`, `folder` or `name` (a guess)."""
    family_from: str | None = None
    variant: str | None = None
    """`inpainting`, `v-prediction`, `refiner`, `dev`, ..."""
    adapter: str | None = None
    """Of a LoRA: `lora`, `loha`, `lokr`, `oft` or `dora`."""
    format: str | None = None
    """`safetensors` or `gguf`."""
    precision: str | None = None
    """Of most of its weights: `fp32`, `fp16`, `bf16`, `fp8`, `q8_0`, ..."""
    parameters: int | None = None
    sha256: str | None = None
    autov3: str | None = None
    problem: str | None = None
    """Why it is broken."""
    link: Link | None = None
    words: tuple[str, ...] = ()
    """Trigger words."""

"""The other files a model needs before an engine can draw with it, and finding them among the library's.

Which ones is from the guides of stable-diffusion.cpp, May 2026 (`docs/flux.md`, `flux2.md`, `sd3.md`, `chroma.md`,
`chroma_radiance.md`, `qwen_image.md`, `z_image.md`, `ovis_image.md`, `anima.md`, `ernie_image.md`, `wan.md`) and from
`SDContextParams` in its source. Two things were tried with a real sd-server:

- without text encoders it draws with Flux or SD 3 all the same, and ignores the prompt: nothing but a warning tells;
- for Stable Diffusion 1, 2 and XL it takes no text encoder from another file: it tells the family by the encoders that
  it finds in the model, and ends with 'get sd version from file failed' (`unusable`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.base_models import UNKNOWN, architecture
from tensors.errors import MissingCompanions
from tensors.part_signs import parts_inside

if TYPE_CHECKING:
    from tensors.db.parts import Part
    from tensors.tensor import Header

_PRECISIONS = ("fp16", "bf16", "q8_0", "fp8", "fp32")
"""The usual ones, the best first: fp8 becomes fp16 in memory, and fp32 takes twice the room for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A file that a model needs beside its own."""

    option: str
    """sd-server's, without dashes: `vae`, `clip_l`, `clip_g`, `t5xxl`, `llm`."""
    what: str
    """For people: `VAE (ae)`, `text encoder (t5xxl)`."""
    kind: str
    """`vae` or `text_encoder`."""
    signs: tuple[str, ...]
    """Variants of the files that fit (`tensors.part_signs`)."""
    families: tuple[str, ...] = ()
    """Of the files that fit, where a variant does not say enough; empty: it does."""
    stems: tuple[str, ...] = ()
    """Names, without extension and in lower case, by which a file of unknown family is known."""
    source: str
    """Where one is to be had, as `tsr dl` takes it; without an account but for SD 3's VAE."""
    optional: bool = False
    """The engine draws without it, only less well: taken when it is there, not asked for when it is not."""


def _vae(name: str, channels: str, source: str, *families: str, stems: tuple[str, ...] = ()) -> Need:
    return Need(
        option="vae",
        what=f"VAE ({name})",
        kind="vae",
        signs=(channels,),
        families=families,
        stems=(name, *stems),
        source=source,
    )


def _encoder(option: str, name: str, source: str, *, optional: bool = False) -> Need:
    return Need(
        option=option,
        what=f"text encoder ({name})",
        kind="text_encoder",
        signs=(name,),
        source=source,
        optional=optional,
    )


# Each source is named in stable-diffusion.cpp's guides (above) or by others, which is said. Where a guide names a
# repository that wants an account (black-forest-labs'), it is a copy of the same file that does not.

# Stability's own, for all of Stable Diffusion 1: https://huggingface.co/stabilityai/sd-vae-ft-mse-original
_SD_VAE = _vae(
    *("vae-ft-mse-840000-ema-pruned", "4 channels"),
    "hf:stabilityai/sd-vae-ft-mse-original/vae-ft-mse-840000-ema-pruned.safetensors",
    *("sd15", "sd2"),
    stems=("vae-ft-ema-560000-ema-pruned", "kl-f8-anime2"),
)
# leejet/stable-diffusion.cpp#117: the original one overflows in 16 bits.
_SDXL_VAE = _vae("sdxl_vae", "4 channels", "hf:madebyollin/sdxl-vae-fp16-fix/sdxl_vae.safetensors", "sdxl")
# kohya-ss/sd-scripts, docs of Lumina: the same file as FLUX.1's.
_AE = _vae(
    *("ae", "16 channels"),
    "hf:Comfy-Org/Lumina_Image_2.0_Repackaged/split_files/vae/ae.safetensors",
    *("flux", "chroma", "z-image", "ovis-image", "lumina"),
)
# The folder of the diffusers library in Stability's repository; it has the terms of the model to be agreed to.
_SD3_VAE = _vae(
    *("sd3_vae", "16 channels"),
    "hf:stabilityai/stable-diffusion-3.5-large/vae/diffusion_pytorch_model.safetensors",
    "sd3",
)
# ComfyUI's workflows for FLUX.2; `docs/ernie_image.md` has the same file for ERNIE.
_FLUX2_VAE = _vae("flux2-vae", "32 channels", "hf:Comfy-Org/flux2-dev/split_files/vae/flux2-vae.safetensors")
_QWEN_VAE = _vae(
    *("qwen_image_vae", "16 channels, video"),
    "hf:Comfy-Org/Qwen-Image_ComfyUI/split_files/vae/qwen_image_vae.safetensors",
    *("qwen-image", "anima"),
)
_WAN_VAE = _vae(
    *("wan_2.1_vae", "16 channels, video"),
    "hf:Comfy-Org/Wan_2.1_ComfyUI_repackaged/split_files/vae/wan_2.1_vae.safetensors",
    "wan",
)
_WAN_22_VAE = _vae(
    *("wan2.2_vae", "48 channels, video"),
    "hf:Comfy-Org/Wan_2.2_ComfyUI_Repackaged/split_files/vae/wan2.2_vae.safetensors",
)

_FLUX_ENCODERS = "hf:comfyanonymous/flux_text_encoders"
_CLIP_L = _encoder("clip_l", "clip_l", f"{_FLUX_ENCODERS}/clip_l.safetensors")
_CLIP_G = _encoder("clip_g", "clip_g", "hf:Comfy-Org/stable-diffusion-3.5-fp8/text_encoders/clip_g.safetensors")
_T5 = _encoder("t5xxl", "t5xxl", f"{_FLUX_ENCODERS}/t5xxl_fp16.safetensors")
# Stability's own guide of SD 3 leaves it out to save memory.
_T5_OPTIONAL = _encoder("t5xxl", "t5xxl", f"{_FLUX_ENCODERS}/t5xxl_fp16.safetensors", optional=True)
_UMT5 = _encoder(
    *("t5xxl", "umt5xxl"),
    "hf:Comfy-Org/Wan_2.1_ComfyUI_repackaged/split_files/text_encoders/umt5_xxl_fp16.safetensors",
)
_QWEN_VL = _encoder(
    *("llm", "qwen2.5-7b"), "hf:Comfy-Org/Qwen-Image_ComfyUI/split_files/text_encoders/qwen_2.5_vl_7b.safetensors"
)
_QWEN3_4B = _encoder(*("llm", "qwen3-4b"), "hf:Comfy-Org/z_image_turbo/split_files/text_encoders/qwen_3_4b.safetensors")
_QWEN3_8B = _encoder("llm", "qwen3-8b", "hf:unsloth/Qwen3-8B-GGUF/Qwen3-8B-Q4_K_M.gguf")
_QWEN3_06B = _encoder(
    *("llm", "qwen3-0.6b"), "hf:circlestone-labs/Anima/split_files/text_encoders/qwen_3_06b_base.safetensors"
)
_OVIS = _encoder("llm", "qwen3-1.7b", "hf:Comfy-Org/Ovis-Image/split_files/text_encoders/ovis_2.5.safetensors")
_MISTRAL = _encoder(
    *("llm", "mistral-small-24b"),
    "hf:unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF/Mistral-Small-3.2-24B-Instruct-2506-Q4_K_M.gguf",
)
_MINISTRAL = _encoder("llm", "ministral-3b", "hf:Comfy-Org/ERNIE-Image/text_encoders/ministral-3-3b.safetensors")

_NEEDS = {
    "sd15": (_SD_VAE,),
    "sd2": (_SD_VAE,),
    "sdxl": (_SDXL_VAE,),
    "sd3": (_SD3_VAE, _CLIP_L, _CLIP_G, _T5_OPTIONAL),
    "flux": (_AE, _CLIP_L, _T5),
    "flux2": (_FLUX2_VAE, _MISTRAL),
    "flux2 klein-4b": (_FLUX2_VAE, _QWEN3_4B),
    "flux2 klein-9b": (_FLUX2_VAE, _QWEN3_8B),
    "chroma": (_AE, _T5),
    "chroma radiance": (_T5,),
    "qwen-image": (_QWEN_VAE, _QWEN_VL),
    "z-image": (_AE, _QWEN3_4B),
    "ovis-image": (_AE, _OVIS),
    "anima": (_QWEN_VAE, _QWEN3_06B),
    "ernie-image": (_FLUX2_VAE, _MINISTRAL),
    "wan": (_WAN_VAE, _UMT5),
    "wan 5b": (_WAN_22_VAE, _UMT5),
}
"""By family, or family and one of its variants. Other families are none of the engine's."""
_UNETS = ("sd15", "sd2", "sdxl")
_ENCODERS_OF_UNETS = frozenset({"clip", "clip_l", "clip_g"})


def needs(header: Header, kind: str, family: str, variant: str | None = None) -> tuple[Need, ...]:
    """What a model's file does not have of its own.

    `kind`, `family` and `variant` as `tensors.identify` tells them. Nothing for a family that the engine does not know,
    for a kind that is not drawn with, and for encoders that it would not take anyway (`unusable`).
    """
    if kind not in ("checkpoint", "diffusion_model"):
        return ()
    inside = parts_inside(header)
    if "taesd" in inside:
        # It decodes pictures as a VAE does.
        inside |= {"vae"}
    return tuple(need for need in _all(family, variant) if need.option not in inside)


def unusable(header: Header, family: str) -> str | None:
    """Why no other file makes this model whole, in words that follow its name; None when nothing is in the way."""
    if architecture(family) in _UNETS and parts_inside(header).isdisjoint(_ENCODERS_OF_UNETS):
        return "has no text encoders, and the engine takes none from other files for this family: use a full checkpoint"
    return None


def fit(
    need: Need, candidates: Iterable[Part], *, folder: Path | None = None, named: Collection[Path] = ()
) -> Part | None:
    """The best of the files that fit; None when none does.

    First what the user `named`, which is taken at its word as long as its kind is right; then what lies in the model's
    `folder`; then by precision, and of equals what was added last. A VAE of an unknown family fits only where the
    number of its channels says enough, or its name, or when it lies in the model's folder: a wrong one gives noise, and
    no error.
    """
    fitting = [
        part for part in candidates if part.kind == need.kind and (part.path in named or _fits(need, part, folder))
    ]
    fitting.sort(key=lambda part: (part.added_at, part.path), reverse=True)
    return min(
        fitting, key=lambda part: (part.path not in named, part.path.parent != folder, _rank(part)), default=None
    )


def companions_of(
    name: str,
    wanted: Iterable[Need],
    candidates: Iterable[Part],
    *,
    folder: Path | None = None,
    named: Collection[Path] = (),
) -> tuple[tuple[str, Path], ...]:
    """The files of a model called `name`, as `tensors.models.ModelFile.companions` has them.

    Raises `MissingCompanions`, which names all that are missing.
    """
    parts = list(candidates)
    found = [(need, fit(need, parts, folder=folder, named=named)) for need in wanted]
    missing = [need for need, part in found if part is None and not need.optional]
    if missing:
        raise missing_companions(name, missing)
    return tuple((need.option, part.path) for need, part in found if part is not None)


def source_of(what: str) -> str | None:
    """Where the file that `Need.what` tells of is to be had, as `tsr dl` takes it; None for other words."""
    every = (need for needed in _NEEDS.values() for need in needed)
    return next((need.source for need in every if need.what == what), None)


def missing_companions(name: str, missing: Collection[Need]) -> MissingCompanions:
    """The error for a model called `name` whose companions are not in the library."""
    listed = " and ".join(f"a {need.what}" for need in missing)
    commands = [f"tsr dl {need.source}" for need in missing]
    return MissingCompanions(
        f"{name!r} needs {listed}: not in the library",
        hint="\n".join(commands),
        details={
            "missing": [
                {"option": need.option, "what": need.what, "command": command}
                for need, command in zip(missing, commands, strict=True)
            ]
        },
    )


def _all(family: str, variant: str | None) -> tuple[Need, ...]:
    family = architecture(family)
    for one in (variant or "").split(", "):
        if f"{family} {one}" in _NEEDS:
            return _NEEDS[f"{family} {one}"]
    return _NEEDS.get(family, ())


def _fits(need: Need, part: Part, folder: Path | None) -> bool:
    if part.variant not in need.signs:
        return False
    if not need.families or architecture(part.family) in need.families:
        return True
    return part.family == UNKNOWN and (part.path.stem.casefold() in need.stems or part.path.parent == folder)


def _rank(part: Part) -> tuple[int, int]:
    if part.precision in _PRECISIONS:
        return _PRECISIONS.index(part.precision), 0
    # Of those with fewer bits the largest loses least.
    return len(_PRECISIONS), -part.size

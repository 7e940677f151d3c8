"""What a model file is: its kind, its family, and how that is known.

Best is what the tensors' names and shapes say: these are facts. Then the file's own words (ModelSpec, kohya's and
GGUF's), then the folder it lies in, then its name, which is a guess. Unknown stays unknown.

Pony, Illustrious and NoobAI have exactly the tensors of SDXL: of these, only the weaker signs tell more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from tensors.base_models import FAMILIES, KINDS, UNKNOWN, architecture, family_in_name, family_of_base_model
from tensors.decoding import NOT_THAT_JSON
from tensors.diffusion_signs import family_of_context, family_of_signs, signs_of
from tensors.lora_signs import adapter_of, could_be_chroma, family_of_lora
from tensors.part_signs import variant_of_part
from tensors.tensor import Header, Tensor

__all__ = ["FAMILIES", "KINDS", "Identity", "has_tae", "identify", "training_tags"]

_MOST_TAGS = 200
# More pictures than there can be would not fit where counts are kept.
_tag_counts = msgspec.json.Decoder(dict[str, dict[str, Annotated[int, msgspec.Meta(ge=0, le=2**40)]]])
_OPEN = (UNKNOWN, "sdxl", "flux", "ovis-image")
"""Families whose tensors others have too, so that the file's own words may tell more."""
_WITHOUT_FAMILY = ("text_encoder", "upscaler")
"""One text encoder serves several families, and an upscaler any."""

# What names begin with, up to the first dot.
_COMPANIONS = {"first_stage_model", "vae", "conditioner", "cond_stage_model", "text_encoders", "text_encoder", "te"}
_CONTROL = {
    *("control_model", "controlnet_cond_embedding", "input_hint_block", "lora_controlnet"),
    *("controlnet_blocks", "controlnet_x_embedder"),
}
_VAE = (
    ("\ndecoder.conv_in.weight\n", "\nencoder.conv_in.weight\n"),
    ("\ndecoder.conv_in.weight\n", "\npost_quant_conv.weight\n"),
    ("\ndecoder.conv_in.conv.weight\n", "\nencoder.conv_in.conv.weight\n"),
    # Wan's and Qwen-Image's.
    ("\ndecoder.conv1.weight\n", "\ndecoder.middle.0.residual.0.gamma\n"),
    ("\nfirst_stage_model.",),
    ("\nvae.decoder.",),
)
_TAE = ("\ntaesd_decoder.", "\ntaesd_encoder.", "\ndecoder.22.bias\n")
_TEXT_ENCODER = (
    *("text_model.encoder.layers.", ".layer.0.SelfAttention.", "transformer.resblocks.0.attn.in_proj_weight\n"),
    # The names of llama.cpp.
    *("\nenc.blk.0.", "\nblk.0.attn_q.weight\n", "\nblk.0.attn_qkv.weight\n"),
)
_LANGUAGE_MODEL = re.compile(
    r"\n(?:text_encoders\.|model\.|language_model\.|text_model\.|llm\.)*layers\.\d+\.self_attn\."
)
_UPSCALER = (
    ("conv_first.weight\n", "body.0."),
    ("conv_first.weight\n", "layers.0."),
    ("model.0.weight\n", "model.1.sub.0."),
    # Real-ESRGAN's compact ones: a chain of convolutions and their activations.
    ("\nbody.0.weight\n", "\nbody.1.weight\n", "\nbody.2.weight\n"),
)
_EMBEDDINGS = {"emb_params", "clip_l", "clip_g", "t5xxl", "string_to_param.*", "string_to_param", "string_to_token.*"}
_DIFFUSION_ARCHITECTURES = {
    *("flux", "sd1", "sdxl", "sd3", "aura", "hidream", "cosmos", "ltxv", "hyvid", "wan", "lumina2", "qwen_image"),
    *("krea2", "chroma", "flux2", "z_image"),
}
"""Which `general.architecture` GGUF files of diffusion models have; others are language models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a file is."""

    kind: str
    """One of `KINDS`, or `unknown`."""
    kind_from: str | None
    """`tensors`, `metadata` or `folder`; none when it is unknown."""
    family: str
    """One of `FAMILIES`, or `unknown`."""
    family_from: str | None
    """`tensors`, `metadata`, `folder` or `name` (a guess); none when it is unknown."""
    variant: str | None = None
    """`inpainting`, `refiner`, `v-prediction`, `dev`, ...; several are joined with commas. Of a text encoder which one
    it is (`clip_l`, `t5xxl`, `qwen3-4b`, ...), of a VAE how many channels its latent has (`16 channels`)."""
    adapter: str | None = None
    """Of a LoRA: `lora`, `loha`, `lokr`, `oft`, `dora`, ..."""


@dataclass(frozen=True, slots=True)
class _Sight:
    """What tensors alone say."""

    kind: str | None
    family: str | None = None
    variants: tuple[str, ...] = ()
    adapter: str | None = None


def identify(
    header: Header, *, name: str = "", folder_kind: str | None = None, folder_family: str | None = None
) -> Identity:
    """What a file is. `name`: the file's, without its extension; `folder_*`: what the place it lies in suggests."""
    names = "\n".join(("", *header.tensors, ""))
    sight = _look(header, names)
    said = sight.kind or _kind_said(header.metadata)
    kind = said or folder_kind or UNKNOWN
    kind_from = "tensors" if sight.kind else "metadata" if said else "folder" if folder_kind else None
    family, family_from = sight.family or UNKNOWN, "tensors" if sight.family else None
    if kind not in _WITHOUT_FAMILY and family in _OPEN:
        for other, source in _evidence(header.metadata, name, folder_family):
            if family == UNKNOWN or _refines(other, family, source, names):
                family, family_from = other, source
                if family not in _OPEN:
                    break
    return Identity(
        kind=kind,
        kind_from=kind_from,
        family=family,
        family_from=family_from,
        variant=", ".join(_variants(sight.variants, family, header.metadata)) or None,
        adapter=sight.adapter,
    )


def has_tae(header: Header) -> bool:
    """Whether the file carries a tiny autoencoder (TAESD's layout) of its own."""
    return "decoder.layers.0.weight" in header.tensors and "encoder.layers.0.weight" in header.tensors


def training_tags(metadata: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """What a LoRA was trained on, by kohya's header: tags and how often each was there, the most frequent 200 first."""
    try:
        datasets = _tag_counts.decode(metadata.get("ss_tag_frequency", "{}"))
    except NOT_THAT_JSON:
        return ()
    counts: dict[str, int] = {}
    for tags in datasets.values():
        for tag, count in tags.items():
            counts[tag.strip()] = counts.get(tag.strip(), 0) + count
    counts.pop("", None)
    return tuple(sorted(counts.items(), key=lambda entry: -entry[1])[:_MOST_TAGS])


def _look(header: Header, names: str) -> _Sight:
    """What the names and shapes of the tensors say."""
    tensors = header.tensors
    adapter = adapter_of(names)
    if adapter:
        family, variants = family_of_lora(tensors, names)
        return _Sight("lora", family, variants, adapter)
    if _is_embedding(tensors):
        return _Sight("embedding", _family_of_embedding(tensors))
    roots = {name.partition(".")[0] for name in tensors}
    if not roots.isdisjoint(_CONTROL) or "\nlllite_" in names:
        return _Sight("controlnet", *family_of_signs(signs_of(tensors, control=True)))
    family, variants = family_of_signs(signs_of(tensors))
    tae = has_tae(header)
    if family or "diffusion_model" in roots or ("model" in roots and "\nmodel.diffusion_model." in names):
        whole = tae or not roots.isdisjoint(_COMPANIONS)
        return _Sight("checkpoint" if whole else "diffusion_model", family, variants)
    part = _part(names, tensors, tae)
    return _Sight(part, variants=variant_of_part(part, tensors))


def _part(names: str, tensors: Mapping[str, Tensor], tae: bool) -> str | None:
    """The kind of a file that holds no diffusion model."""
    if tae or "\ndecoder.layers.0.weight\n" in names or any(sign in names for sign in _TAE) or _is_taesd_half(tensors):
        return "tae"
    if any(all(sign in names for sign in signs) for signs in _VAE):
        return "vae"
    if any(sign in names for sign in _TEXT_ENCODER) or _LANGUAGE_MODEL.search(names):
        return "text_encoder"
    if any(all(sign in names for sign in signs) for signs in _UPSCALER):
        return "upscaler"
    return None


def _is_taesd_half(tensors: Mapping[str, Tensor]) -> bool:
    """Whether it is an encoder or decoder of TAESD as its author gives them out: layers with bare numbers."""
    return any(
        first in tensors and tensors[first].shape[:1] == (64,) and block in tensors
        for first, block in (("1.weight", "3.conv.0.weight"), ("0.weight", "1.conv.0.weight"))
    )


def _is_embedding(tensors: Mapping[str, Tensor]) -> bool:
    if not tensors:
        return False
    if "emb_params" in tensors or all(name in _EMBEDDINGS for name in tensors):
        return True
    # As diffusers saves one: its token, and a few vectors as wide as an encoder's.
    (name, tensor), *others = tensors.items()
    few = len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[0] <= 256)
    return not others and "." not in name and few and tensor.shape[-1] in (768, 1024, 1280)


def _family_of_embedding(tensors: Mapping[str, Tensor]) -> str | None:
    if "clip_g" in tensors:
        return "sd3" if "t5xxl" in tensors else "sdxl"
    if "t5xxl" in tensors:
        return "flux"
    (first, *_) = tensors.values()
    width = first.shape[-1] if first.shape else 0
    # CLIP-L, 768 wide, reads for SDXL and Flux too, but there it is never alone.
    return family_of_context(width)[0] if width in (768, 1024) else None


def _kind_said(metadata: Mapping[str, str]) -> str | None:
    """The kind by the file's own words."""
    said = metadata.get("modelspec.architecture", "").casefold()
    for end, kind in (("/lora", "lora"), ("/textual-inversion", "embedding"), ("/vae", "vae"), ("-ae", "vae")):
        if said.endswith(end):
            return kind
    if said.endswith("/controlnet"):
        return "controlnet"
    if metadata.get("ss_network_module") or metadata.get("general.type") == "adapter":
        return "lora"
    return "diffusion_model" if metadata.get("general.architecture") in _DIFFUSION_ARCHITECTURES else None


def _evidence(metadata: Mapping[str, str], name: str, folder_family: str | None) -> Iterator[tuple[str, str]]:
    """What else is said about the family, and where: the best first."""
    if metadata:
        if metadata.get("modelspec.title", "").startswith("tsr shapes"):
            # The model that ships, and what is trained on it.
            yield "shapes", "metadata"
        for key in ("modelspec.architecture", "ss_base_model_version"):
            family = family_of_base_model(metadata[key]) if key in metadata else None
            if family:
                yield family, "metadata"
        family = family_of_base_model(metadata.get("general.architecture", ""))
        if family and metadata["general.architecture"] in _DIFFUSION_ARCHITECTURES:
            yield family, "metadata"
        # The checkpoint it was trained on, as a path of somebody's machine.
        base = re.split(r"[/\\]", metadata.get("ss_sd_model_name", ""))[-1]
        family = family_in_name(base) if base else None
        if family:
            yield family, "metadata"
    if folder_family:
        yield folder_family, "folder"
    for guess in (name, metadata.get("ss_output_name", ""), metadata.get("modelspec.title", "")):
        family = family_in_name(guess) if guess else None
        if family:
            yield family, "name"


def _refines(other: str, family: str, source: str, names: str) -> bool:
    """Whether `other` says more than `family` without contradicting it."""
    if family == architecture(other) != other or other == "shapes":
        return True
    # Most LoRAs for Chroma have none of the layers in which it differs from Flux.
    return (family, other) == ("flux", "chroma") and source != "name" and could_be_chroma(names)


def _variants(found: tuple[str, ...], family: str, metadata: Mapping[str, str]) -> Iterator[str]:
    yield from found
    if "v-prediction" not in found and architecture(family) in ("sd2", "sdxl"):
        said = metadata.get("modelspec.prediction_type", "").casefold()
        if said in ("v", "v_prediction", "v-prediction") or metadata.get("ss_v_parameterization") == "True":
            yield "v-prediction"

"""Which text encoder or VAE a file holds, and which of a model's parts lie in a file: signs among its tensors.

From the models' published configurations and from what sd-server reads out of a file (stable-diffusion.cpp, May 2026:
`src/conditioner.hpp`, `src/llm.hpp`, `src/wan.hpp`, `src/name_conversion.cpp`), as facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tensors.tensor import Header, Tensor

_CLIP_WIDTH = {768: "clip_l", 1024: "clip_h", 1280: "clip_g"}
"""OpenAI's ViT-L/14, and OpenCLIP's H/14 (Stable Diffusion 2) and bigG/14 (SDXL)."""
_CLIP = ("text_model.encoder.layers.0.self_attn.k_proj.weight", "transformer.resblocks.0.attn.in_proj_weight")

_T5 = ("block.0.layer.0.SelfAttention.q.weight", "enc.blk.0.attn_q.weight")
_T5_XXL_WIDTH = 4096
_EVERY_LAYER_ITS_OWN = (
    "block.1.layer.0.SelfAttention.relative_attention_bias.weight",
    "enc.blk.1.attn_rel_b.weight",
)
"""Places: T5 has one table of them, UMT5 one in each layer."""

_LANGUAGE_MODEL = ("layers.0.mlp.gate_proj.weight", "blk.0.ffn_gate.weight")
_LANGUAGE_MODELS = {
    # Outer and inner width of the first layer's MLP: no two of these share them.
    (18944, 3584): "qwen2.5-7b",
    (3072, 1024): "qwen3-0.6b",
    (6144, 2048): "qwen3-1.7b",
    (9728, 2560): "qwen3-4b",
    (12288, 4096): "qwen3-8b",
    (32768, 5120): "mistral-small-24b",
    (9216, 3072): "ministral-3b",
}

_SCALED = ("scaled_fp8", ".scale_weight", ".weight_scale")
"""Numbers of eight bits with a factor beside them, which sd-server leaves out: the weights would be wrong."""

_VAE = ("decoder.conv_in.weight", "decoder.conv1.weight")
_VAE_PREFIXES = ("", "first_stage_model.", "vae.")

_INSIDE = (
    ("first_stage_model.", "vae"),
    ("vae.", "vae"),
    ("cond_stage_model.1.", "clip_g"),
    ("cond_stage_model.", "clip"),
    ("conditioner.embedders.0.", "clip_l"),
    ("conditioner.embedders.1.", "clip_g"),
    ("text_encoders.clip_l.", "clip_l"),
    ("text_encoders.clip_g.", "clip_g"),
    ("text_encoders.t5xxl.", "t5xxl"),
    ("text_encoders.", "llm"),
    ("text_encoder_2.", "clip_g"),
    ("text_encoder.", "clip_l"),
    ("te.1.", "clip_g"),
    ("te.", "clip_l"),
)


def variant_of_part(kind: str | None, tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """What tells a text encoder or a VAE from its like: `clip_l`, `t5xxl`, `qwen3-4b`, ..., `16 channels`, ...

    Empty for another kind, for an unknown one, and for a file with several encoders, which none of sd-server's options
    takes.
    """
    if kind == "vae":
        return tuple(_latent(tensors))
    if kind != "text_encoder":
        return ()
    found = list(_encoders(tensors))
    if len(found) != 1:
        return ()
    scaled = any(name.endswith(_SCALED) for name in tensors)
    return (found[0], *(("scaled",) if scaled else ()))


def parts_inside(header: Header) -> frozenset[str]:
    """The parts beside the diffusion model that a file carries, by sd-server's options: `vae`, `clip_l`, `t5xxl`, ...

    `clip` is the one encoder of Stable Diffusion 1 and 2, `taesd` a tiny autoencoder, `llm` any other text encoder.
    """
    found = {next((part for prefix, part in _INSIDE if name.startswith(prefix)), "") for name in header.tensors}
    if "decoder.layers.0.weight" in header.tensors:
        found.add("taesd")
    return frozenset(found - {""})


def _encoders(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in tensors.items():
        shape = tensor.shape
        if len(shape) != 2:
            continue
        if name.endswith(_CLIP) and shape[1] in _CLIP_WIDTH:
            yield _CLIP_WIDTH[shape[1]]
        elif name.endswith(_T5) and shape[1] == _T5_XXL_WIDTH:
            beginning = next(name.removesuffix(end) for end in _T5 if name.endswith(end))
            multilingual = any(beginning + place in tensors for place in _EVERY_LAYER_ITS_OWN)
            yield "umt5xxl" if multilingual else "t5xxl"
        elif name.endswith(_LANGUAGE_MODEL) and shape in _LANGUAGE_MODELS:
            yield _LANGUAGE_MODELS[shape[0], shape[1]]


def _latent(tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """How many channels the latent has that a VAE decodes; `video` for the layout of Wan's and Qwen-Image's."""
    shapes = (
        (name, tensors[prefix + name].shape) for prefix in _VAE_PREFIXES for name in _VAE if prefix + name in tensors
    )
    name, shape = next(shapes, ("", ()))
    if name == "decoder.conv_in.weight" and len(shape) == 4:
        yield f"{shape[1]} channels"
    elif name == "decoder.conv1.weight" and len(shape) == 5:
        yield f"{shape[1]} channels"
        yield "video"

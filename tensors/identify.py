"""Which family a checkpoint belongs to, from the names and shapes of its tensors.

Signs from the detection code of several engines and from known models. Pony and Illustrious have exactly the tensors of
SDXL: only metadata or the file name tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensors.safetensors import Header, Tensor

_PREFIXES = ("model.diffusion_model.", "transformer.", "diffusion_model.")
_SDXL_FINETUNES = {"pony": "pony", "illustrious": "illustrious", "illustrij": "illustrious", "noobai": "illustrious"}


def _stripped(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for name, tensor in tensors.items():
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), "")
        shapes[name[len(prefix) :]] = tensor.shape
    return shapes


def _last(shape: tuple[int, ...] | None) -> int | None:
    return shape[-1] if shape else None


def family_of(header: Header, file_stem: str = "") -> str:
    """`sd15`, `sd2`, `sdxl`, `pony`, `illustrious`, `sd3`, `flux`, `shapes` or `unknown`."""
    shapes = _stripped(header.tensors)
    if header.metadata.get("modelspec.title") == "tsr shapes":
        return "shapes"
    if _last(shapes.get("input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight")) == 2048:
        return _sdxl_finetune(header, file_stem)
    context = _last(shapes.get("input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"))
    if context in (768, 1024):
        return "sd15" if context == 768 else "sd2"
    if "joint_blocks.0.x_block.attn.qkv.weight" in shapes:
        return "sd3"
    flux_key = "double_blocks.0.img_attn.norm.key_norm.scale" in shapes
    if flux_key and _last(shapes.get("img_in.weight")) == 64 and "distilled_guidance_layer.norms.0.scale" not in shapes:
        return "flux"
    return "unknown"


def _sdxl_finetune(header: Header, file_stem: str) -> str:
    said = [header.metadata.get(key, "") for key in ("modelspec.architecture", "modelspec.title", "ss_sd_model_name")]
    for text in (*said, file_stem):
        for sign, family in _SDXL_FINETUNES.items():
            if sign in text.casefold():
                return family
    return "sdxl"


def has_tae(header: Header) -> bool:
    """Whether the file carries a tiny autoencoder (TAESD's layout) of its own."""
    return "decoder.layers.0.weight" in header.tensors and "encoder.layers.0.weight" in header.tensors

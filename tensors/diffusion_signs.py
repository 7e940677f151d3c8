"""Which family a diffusion model is of: signs among the names and shapes of its tensors.

From the detection code of several engines and from known models, as facts. Names vary in what stands before them, so
each sign is looked up behind every usual prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tensors.tensor import Tensor

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "unet.", "net.", "model.model.", "")
"""What stands before a diffusion model's own names, in checkpoints and alone."""

_TO_K = ".transformer_blocks.0.attn2.to_k.weight"
_CONTEXT = {
    # A UNet's place of cross attention in the original's names and in diffusers'.
    "first": ("input_blocks.2.1" + _TO_K, "down_blocks.0.attentions.1" + _TO_K),
    "outer": ("input_blocks.1.1" + _TO_K, "down_blocks.0.attentions.0" + _TO_K),
    "second": ("input_blocks.4.1" + _TO_K, "down_blocks.1.attentions.0" + _TO_K),
}
_INPUT = ("input_blocks.0.0.weight", "conv_in.weight")
_INPUT_CHANNELS = {9: "inpainting", 8: "instruct", 5: "depth"}
_V_PREDICTION = ("v_pred", "ztsnr")

_FLUX = ("double_blocks.0.img_attn.norm.key_norm.scale", "double_blocks.0.img_attn.norm.key_norm.weight")
_FLUX_INPUT = {384: "fill", 196: "flex-2"}
_FLUX2_WIDTH = {6144: "dev", 4096: "klein-9b", 3072: "klein-4b"}
_CHROMA = (
    "distilled_guidance_layer.norms.0.scale",
    "distilled_guidance_layer.norms.0.weight",
    "distilled_guidance_layer.in_proj.weight",
)
_WAN_INPUT = {16: "t2v", 36: "i2v", 48: "ti2v"}
WAN_WIDTH = {1536: "1.3b", 3072: "5b", 5120: "14b"}
LUMINA_WIDTH = {3840: "z-image", 2304: "lumina"}
SD3_WIDTH = {1536: "medium", 2432: "large"}

# One tensor is enough for these. What comes first counts.
_PLAIN = {
    "llm_adapter.blocks.0.cross_attn.q_proj.weight": "anima",
    "blocks.0.mlp.layer1.weight": "cosmos",
    "blocks.block0.blocks.0.block.attn.to_q.0.weight": "cosmos",
    "double_layers.0.attn.w1q.weight": "auraflow",
    "mlp_t5.0.weight": "hunyuan-dit",
    "caption_projection.0.linear.weight": "hidream",
    "layers.0.adaLN_sa_ln.weight": "ernie-image",
    "double_blocks.0.img_mlp.gate_proj.weight": "ovis-image",
    "time_caption_embed.timestep_embedder.linear_1.bias": "omnigen2",
    "txtfusion.projector.weight": "krea2",
    "t5_yproj.weight": "mochi",
    "patch_embed.text_proj.weight": "cogvideox",
    "clip_txt_mapper.weight": "cascade",
    "clip_mapper.weight": "cascade",
    "audio_adaln_single.linear.weight": "ltxv2",
}
_REST = (
    *("joint_blocks.0.x_block.attn.qkv.weight", "joint_blocks.0.x_block.attn2.qkv.weight"),
    *("transformer_blocks.0.attn.add_k_proj.weight", "single_transformer_blocks.0.attn.to_k.weight"),
    *("x_embedder.weight", "pos_embed.proj.weight", "pos_embed.proj.bias"),
    *("single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight", "single_blocks.47.linear1.weight"),
    *("time_text_embed.guidance_embedder.linear_1.weight", "guidance_in.in_layer.weight"),
    *("img_in.weight", "img_in.bias", "txt_in.weight", "vector_in.in_layer.weight"),
    *("double_stream_modulation_img.lin.weight", "double_blocks.0.img_mod.lin.weight"),
    *("nerf_blocks.0.norm.scale", "nerf_blocks.0.norm.weight", "img_in_patch.weight"),
    *("transformer_blocks.0.img_mod.1.weight", "transformer_blocks.0.img_mlp.w1.weight", "txt_norm.weight"),
    *("time_text_embed.addition_t_embedding.weight", "cap_embedder.1.weight", "clip_text_pooled_proj.0.weight"),
    *("noise_refiner.0.attention.k_norm.weight", "noise_refiner.0.attention.norm_k.weight"),
    *("noise_refiner.0.attention.qkv.weight", "noise_refiner.0.attention.to_q.weight"),
    *("blocks.0.cross_attn.k.weight", "head.modulation", "patch_embedding.weight", "vace_patch_embedding.weight"),
    *("img_emb.proj.0.weight", "txt_in.individual_token_refiner.blocks.0.norm1.weight", "img_in.proj.weight"),
    *("t_block.1.weight", "ar_embedder.mlp.0.weight", "adaln_single.emb.timestep_embedder.linear_1.bias"),
    *("adaln_single.emb.resolution_embedder.linear_1.bias", "label_emb.0.0.weight", "add_embedding.linear_1.weight"),
    *("encoder_hid_proj.weight", "input_blocks.1.0.time_mixer.mix_factor", "edm_vpred.sigma_max"),
    *(
        "down_blocks.0.resnets.0.time_mixer.mix_factor",
        "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1.to_q.weight",
    ),
)
_KEYS = (
    *(key for keys in _CONTEXT.values() for key in keys),
    *_INPUT,
    *_V_PREDICTION,
    *_FLUX,
    *_CHROMA,
    *_PLAIN,
    *_REST,
)
_SIGNS = {prefix + key: key for prefix in PREFIXES for key in _KEYS}
_CONTROL_SIGNS = {prefix + key: key for prefix in ("control_model.", "") for key in _KEYS}
_CONTEXTS = {768: ("sd15", None), 1024: ("sd2", None), 1280: ("sdxl", "refiner"), 2048: ("sdxl", None)}

Signs = Mapping[str, Tensor]
Told = tuple[str | None, tuple[str, ...]]
"""A family, and its variants."""


def signs_of(tensors: Mapping[str, Tensor], *, control: bool = False) -> Signs:
    """The tensors that tell something, without the prefixes of their names; `control`: those of a ControlNet."""
    known = _CONTROL_SIGNS if control else _SIGNS
    # The set operation runs over the file's names or over ours, whichever are fewer. The name with the prefix counts.
    return {known[name]: tensors[name] for name in sorted(tensors.keys() & known.keys(), key=len)}


def family_of_signs(signs: Signs) -> Told:
    """Family and variants of a diffusion model; None where its signs are those of no known one."""
    for tell in (_unet, _flux, _plain, _transformer, _diffusers, _video):
        family, variants = tell(signs)
        if family:
            return family, variants
    return None, ()


def family_of_context(width: int) -> Told:
    """The family of a UNet whose cross attention reads texts of this width."""
    family, variant = _CONTEXTS.get(width, (None, None))
    return family, (variant,) if variant else ()


def _last(signs: Signs, *keys: str) -> int:
    """The innermost side of the first of these tensors that is there; 0 when there is none."""
    for key in keys:
        if key in signs and signs[key].shape:
            return signs[key].shape[-1]
    return 0


def _unet(signs: Signs) -> Told:
    outer = _last(signs, *_CONTEXT["first"], *_CONTEXT["outer"])
    inner = _last(signs, *_CONTEXT["second"])
    if not (outer or inner):
        return None, ()
    if any(key.endswith("time_mixer.mix_factor") or "temporal" in key for key in signs):
        return "svd", ()
    family, variants = family_of_context(outer if outer in (768, 1024) else 0 if outer else inner)
    if family == "sdxl" and (
        "encoder_hid_proj.weight" in signs
        or _last(signs, "label_emb.0.0.weight", "add_embedding.linear_1.weight") == 5632
    ):
        return "kolors", variants
    if family in ("sd15", "sd2") and not outer:
        # These have cross attention further out too. What has not is something else.
        return None, ()
    source = next((signs[key].shape for key in _INPUT if key in signs), ())
    channels = _INPUT_CHANNELS.get(source[1]) if len(source) > 1 else None
    return family, (*variants, *((channels,) if channels else ()), *_prediction(signs))


def _prediction(signs: Signs) -> tuple[str, ...]:
    if "edm_vpred.sigma_max" in signs:
        return ("v-prediction", "edm")
    return ("v-prediction",) if any(key in signs for key in _V_PREDICTION) else ()


def _channels_in(signs: Signs) -> int:
    """How many channels Flux's first layer reads."""
    weight, bias = signs.get("img_in.weight"), signs.get("img_in.bias")
    if weight and bias and weight.dtype == "U8" and bias.shape:
        # bitsandbytes packs two numbers of four bits into a byte, and loses the shape.
        return prod(weight.shape) * 2 // max(bias.shape[0], 1)
    return _last(signs, "img_in.weight")


def _flux(signs: Signs) -> Told:
    if not any(key in signs for key in _FLUX):
        return None, ()
    if any(key in signs for key in _CHROMA):
        radiance = any(key.startswith("nerf_") or key == "img_in_patch.weight" for key in signs)
        return "chroma", ("radiance",) if radiance else ()
    if "double_blocks.0.img_mlp.gate_proj.weight" in signs:
        return "ovis-image", ()
    channels = _channels_in(signs)
    if "double_stream_modulation_img.lin.weight" in signs or (
        # Flux's own models for outlines and depth read 128 channels too.
        channels == 128 and "double_blocks.0.img_mod.lin.weight" not in signs
    ):
        variant = "dev" if "single_blocks.47.linear1.weight" in signs else _flux2_size(signs)
        return "flux2", (variant,) if variant else ()
    if _last(signs, "txt_in.weight") == 3584 or channels not in (64, 128, *_FLUX_INPUT):
        return None, ()
    guided = "dev" if "guidance_in.in_layer.weight" in signs else "schnell"
    purpose = "control" if channels == 128 else _FLUX_INPUT.get(channels)
    return "flux", (guided, *((purpose,) if purpose else ()))


def _flux2_size(signs: Signs) -> str | None:
    shape = signs["img_in.weight"].shape if "img_in.weight" in signs else ()
    return _FLUX2_WIDTH.get(shape[0]) if len(shape) == 2 else None


def _plain(signs: Signs) -> Told:
    return next((family for key, family in _PLAIN.items() if key in signs), None), ()


def _transformer(signs: Signs) -> Told:
    if "joint_blocks.0.x_block.attn.qkv.weight" in signs:
        size = SD3_WIDTH.get(_last(signs, "joint_blocks.0.x_block.attn.qkv.weight"))
        newer = "joint_blocks.0.x_block.attn2.qkv.weight" in signs or size == "large"
        return "sd3", (*(("3.5",) if newer else ()), *((size,) if size else ()))
    if "transformer_blocks.0.img_mod.1.weight" in signs and "txt_norm.weight" in signs:
        if "transformer_blocks.0.img_mlp.w1.weight" in signs or _last(signs, "txt_norm.weight") == 2560:
            return None, ()
        return "qwen-image", ("layered",) if "time_text_embed.addition_t_embedding.weight" in signs else ()
    if "cap_embedder.1.weight" in signs and any(key.startswith("noise_refiner.") for key in signs):
        return _lumina(signs["cap_embedder.1.weight"].shape, signs), ()
    if "t_block.1.weight" in signs:
        return "pixart-alpha" if "ar_embedder.mlp.0.weight" in signs else "pixart-sigma", ()
    return None, ()


def _lumina(shape: tuple[int, ...], signs: Signs) -> str | None:
    """Lumina 2 and Z-Image have one layout; Z-Image is wider."""
    if len(shape) != 2 or "clip_text_pooled_proj.0.weight" in signs:
        return None
    return LUMINA_WIDTH.get(shape[0])


def _diffusers(signs: Signs) -> Told:
    """Transformers as the diffusers library names their tensors."""
    if "adaln_single.emb.timestep_embedder.linear_1.bias" in signs:
        if "pos_embed.proj.bias" not in signs:
            return "ltxv", ()
        alpha = "adaln_single.emb.resolution_embedder.linear_1.bias" in signs
        return "pixart-alpha" if alpha else "pixart-sigma", ()
    if "transformer_blocks.0.attn.add_k_proj.weight" not in signs:
        return None, ()
    if "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight" in signs:
        return "flux2", ()
    if "single_transformer_blocks.0.attn.to_k.weight" in signs and _last(signs, "x_embedder.weight") == 64:
        guided = "time_text_embed.guidance_embedder.linear_1.weight" in signs
        return "flux", ("dev" if guided else "schnell",)
    if "pos_embed.proj.weight" in signs:
        size = SD3_WIDTH.get(_last(signs, "transformer_blocks.0.attn.add_k_proj.weight"))
        return "sd3", (size,) if size else ()
    return None, ()


def _video(signs: Signs) -> Told:
    if "txt_in.individual_token_refiner.blocks.0.norm1.weight" in signs:
        flat = "img_in.proj.weight" in signs and len(signs["img_in.proj.weight"].shape) == 4
        return "hunyuan-image" if flat else "hunyuan-video", ()
    if "blocks.0.cross_attn.k.weight" not in signs or "head.modulation" not in signs:
        return None, ()
    size = WAN_WIDTH.get(_last(signs, "blocks.0.cross_attn.k.weight"))
    patches = signs["patch_embedding.weight"].shape if "patch_embedding.weight" in signs else ()
    purpose = _WAN_INPUT.get(patches[1]) if len(patches) > 1 else None
    if "vace_patch_embedding.weight" in signs:
        purpose = "vace"
    return "wan", (*((size,) if size else ()), *((purpose,) if purpose else ()))

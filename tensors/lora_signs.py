"""What a LoRA is, and what it was made for: signs among the names and shapes of its tensors.

Trainers name the same layers differently: kohya's `lora_unet_double_blocks_0_img_attn_proj.lora_down.weight` is
diffusers' `transformer.double_blocks.0.img_attn.proj.lora_A.weight`. So signs are looked for inside the names, in one
text of all of them: that is faster than going through the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tensors.diffusion_signs import LUMINA_WIDTH, SD3_WIDTH, WAN_WIDTH, Told, family_of_context
from tensors.tensor import Tensor

# In the names of any adapter, to be done quickly with the thousands of names of a checkpoint.
_ANY_ADAPTER = ("lora", ".lokr_", ".hada_", ".oft_", ".on_input\n", ".diff\n")
# Ends of names with their line breaks, the more particular adapters first.
_ADAPTERS = (
    ("lokr", (".lokr_w1\n", ".lokr_w1_a\n")),
    ("loha", (".hada_w1_a\n",)),
    ("oft", (".oft_blocks\n", ".oft_diag\n", ".oft_R.weight\n", ".oft_R.default.weight\n")),
    ("dora", (".dora_scale\n", ".lora_magnitude_vector\n", ".lora_magnitude_vector.weight\n")),
    (
        "lora",
        (
            # PEFT puts the adapter's own name behind its letters: `.lora_A.default.weight`.
            *(".lora_down.weight\n", ".lora_up.weight\n", ".lora_A.", ".lora_B.", ".lora.down.weight\n"),
            *("_lora.down.weight\n", "_lora1.down.weight\n", ".lora_linear_layer.down.weight\n"),
        ),
    ),
    ("ia3", (".on_input\n",)),
    ("full", (".diff\n",)),
)
_DOWN = (
    *(".lora_down.weight", ".lora.down.weight", "_lora.down.weight", ".lora_linear_layer.down.weight"),
    *("_lora1.down.weight", ".hada_w1_b", ".diff"),
)
_UP = (".lora_up.weight", ".lora.up.weight", "_lora.up.weight", ".diff")

_UNET = ("down_blocks", "input_blocks", "mid_block", "middle_block", "up_blocks", "output_blocks")
# Only Stable Diffusion 1 and 2 have attention in the outermost blocks, or a fourth level at all.
_OUTER = tuple(
    block.replace(" ", separator)
    for block in ("down_blocks 0 attentions", "up_blocks 3 attentions", "input_blocks 1 1 ", "input_blocks 2 1 ")
    for separator in "._"
)
# Only SDXL's transformers are this deep.
_DEEP = re.compile(r"blocks[._]\d+[._](?:attentions[._])?\d[._]transformer_blocks[._][2-9][._]")
_ENCODER_LAYER = ("encoder_layers_0_self_attn_k_proj", "encoder.layers.0.self_attn.k_proj")
_TO = tuple(f"attn{between}to_{to}" for between in "._" for to in "qk")
_FLUX2_WIDTH = {6144: "dev", 4096: "klein-9b"}
_SINGLES = re.compile(r"single_(?:transformer_)?blocks[._]([0-9]{1,3})[._]")
_DOUBLES = re.compile(r"transformer_blocks[._]([0-9]{1,3})[._]")


def adapter_of(names: str) -> str | None:
    """Which sort of adapter the names, one a line, are of; None for what is no LoRA."""
    if not any(sign in names for sign in _ANY_ADAPTER):
        return None
    for adapter, ends in _ADAPTERS:
        if any(end in names for end in ends):
            return adapter
    return None


def family_of_lora(tensors: Mapping[str, Tensor], names: str) -> Told:
    """Family and variants of the model a LoRA is for; None where that cannot be told. `names`: all, one a line."""
    if any(block in names for block in _UNET):
        return _unet(tensors, names)
    for tell in (_blocks, _layers, _text_encoders):
        told = tell(tensors, names)
        if told[0]:
            return told
    return None, ()


def could_be_chroma(names: str) -> bool:
    """Whether names that look like a LoRA for Flux are without the layers that Flux has and Chroma has not."""
    flux = ("img_mod_lin", "img_mod.lin", "modulation_lin", "modulation.lin", ".norm1.linear.", ".norm.linear.")
    return adapter_of(names) is not None and not any(layer in names for layer in flux)


def _with(tensors: Mapping[str, Tensor], names: str, part: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors with this part in their names."""
    position = names.find(part)
    while position >= 0:
        begin, end = names.rfind("\n", 0, position) + 1, names.find("\n", position)
        name = names[begin:end]
        if name in tensors:
            # It is not there when somebody put a line break into a name.
            yield name, tensors[name]
        position = names.find(part, end)


def _width(tensors: Mapping[str, Tensor], names: str, *parts: str) -> int:
    """How many numbers a layer reads, of the first layer with one of these parts in its name; 0 when there is none."""
    for part in parts:
        for name, tensor in _with(tensors, names, part):
            shape = tensor.shape
            if (name.endswith(_DOWN) or ".lora_A." in name) and len(shape) > 1:
                return shape[1]
            if name.endswith((".lokr_w1", ".lokr_w1_b")) and len(shape) > 1:
                # The layer is the Kronecker product of two.
                stem = name[: name.rindex(".")]
                other = tensors.get(f"{stem}.lokr_w2") or tensors.get(f"{stem}.lokr_w2_b")
                return shape[1] * other.shape[1] if other and len(other.shape) > 1 else 0
    return 0


def _height(tensors: Mapping[str, Tensor], names: str, *parts: str) -> int:
    """How many numbers a layer makes, of the first layer with one of these parts in its name; 0 when there is none."""
    for part in parts:
        for name, tensor in _with(tensors, names, part):
            if (name.endswith(_UP) or ".lora_B." in name) and tensor.shape:
                return tensor.shape[0]
    return 0


def _unet(tensors: Mapping[str, Tensor], names: str) -> Told:
    if "temporal_transformer_blocks" in names:
        return "svd", ()
    attention = [f"attn2{between}to_{letter}" for letter in "kv" for between in ("_", ".", ".processor.")]
    width = _width(tensors, names, *attention)
    if width:
        return family_of_context(width)
    if "lora_te2_" in names or "text_encoder_2." in names or _DEEP.search(names):
        return "sdxl", ()
    return _by_encoder(tensors, names) if any(block in names for block in _OUTER) else (None, ())


def _by_encoder(tensors: Mapping[str, Tensor], names: str) -> Told:
    """Which of the two that have one text encoder."""
    width = _width(tensors, names, *_ENCODER_LAYER)
    return family_of_context(width) if width in (768, 1024) else (None, ())


def _last_block(pattern: re.Pattern[str], names: str) -> int:
    """The highest number of these blocks; -1 when there is none."""
    return max((int(number) for number in set(pattern.findall(names))), default=-1)


def _blocks(tensors: Mapping[str, Tensor], names: str) -> Told:
    if "joint_blocks" in names:
        size = SD3_WIDTH.get(_width(tensors, names, "x_block_attn_qkv", "x_block.attn.qkv"))
        return "sd3", (size,) if size else ()
    if "joint_transformer_blocks" in names or "double_layers" in names or "single_layers" in names:
        return "auraflow", ()
    if "double_stream_blocks" in names or "single_stream_blocks" in names:
        return "hidream", ()
    if "double_blocks" in names or "single_blocks" in names or "single_transformer_blocks" in names:
        return _flux(tensors, names)
    if "img_mod" in names or "img_mlp" in names or "txt_mlp" in names:
        return "qwen-image", ()
    width = _width(tensors, names, *(f"attn{between}{to}_proj" for between in "._" for to in ("add_k", "add_q")), *_TO)
    if width in SD3_WIDTH:
        return "sd3", (SD3_WIDTH[width],)
    # Flux has 19 such blocks, Qwen-Image 60 of the same width.
    return ("qwen-image", ()) if width == 3072 and _last_block(_DOUBLES, names) > 18 else (None, ())


def _flux(tensors: Mapping[str, Tensor], names: str) -> Told:
    """Flux and those who took over its layout."""
    if "distilled_guidance_layer" in names:
        return "chroma", ()
    if any(layer in names for layer in ("gate_proj", "img_mlp_gate", "img_mlp.gate")):
        return "ovis-image", ()
    width = _width(tensors, names, "attn_qkv", "attn.qkv", "linear1", "to_qkv_mlp_proj", *_TO, "img_mlp_0", "img_mlp.0")
    if width in _FLUX2_WIDTH:
        return "flux2", (_FLUX2_WIDTH[width],)
    hunyuan = ("img_mlp_fc1", "img_mlp.fc1", ".img_attn_qkv.", "individual_token_refiner")
    # Flux has 38 single blocks, Hunyuan Video 40.
    if any(layer in names for layer in hunyuan) or _last_block(_SINGLES, names) in (38, 39):
        return "hunyuan-video", ()
    # The smallest Flux 2 is as wide as Flux, but its gated layers make more of it.
    if "to_qkv_mlp_proj" in names or _height(tensors, names, "_linear1", ".linear1") == 27648:
        return "flux2", ("klein-4b",)
    return "flux", ()


def _layers(tensors: Mapping[str, Tensor], names: str) -> Told:
    wan = ("cross_attn.k.", "cross_attn_k.", "blocks.0.self_attn.q.", "blocks_0_self_attn_q.")
    if any(layer in names for layer in wan):
        size = WAN_WIDTH.get(_width(tensors, names, "attn.q.", "attn_q.", "attn.k.", "attn_k."))
        return "wan", (size,) if size else ()
    if "llm_adapter" in names:
        return "anima", ()
    lumina = ("layers.0.attention", "layers_0_attention", "noise_refiner", "context_refiner")
    if any(layer in names for layer in lumina):
        width = _width(tensors, names, *(f"attention{between}{to}" for between in "._" for to in ("to_q", "qkv")))
        return LUMINA_WIDTH.get(width), ()
    return None, ()


def _text_encoders(tensors: Mapping[str, Tensor], names: str) -> Told:
    """Of a LoRA for text encoders alone."""
    second = "\nlora_te2_" in names or "\ntext_encoder_2." in names
    if second and "\nlora_te3_" not in names:
        return "sdxl", ()
    return _by_encoder(tensors, names) if "\nlora_te_" in names else (None, ())

"""The names and shapes by which models are known, for tests of what files are."""

from __future__ import annotations

from headers import Shapes

TO_K = "transformer_blocks.0.attn2.to_k.weight"
UNET_2, UNET_4 = f"input_blocks.2.1.{TO_K}", f"input_blocks.4.1.{TO_K}"
SD15: Shapes = {UNET_2: (320, 768), UNET_4: (640, 768)}
SD2: Shapes = {UNET_2: (320, 1024), UNET_4: (640, 1024)}
SDXL: Shapes = {UNET_4: (640, 2048)}
FLUX_KEY = "double_blocks.0.img_attn.norm.key_norm.scale"
FLUX: Shapes = {FLUX_KEY: (128,), "img_in.weight": (3072, 64)}
GUIDED: Shapes = {**FLUX, "guidance_in.in_layer.weight": (3072, 256)}
FLUX2: Shapes = {FLUX_KEY: (128,), "img_in.weight": (6144, 128)}
SD3: Shapes = {"joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}
CAPTION, REFINER = "cap_embedder.1.weight", "noise_refiner.0.attention.qkv.weight"
WAN: Shapes = {"blocks.0.cross_attn.k.weight": (5120, 5120), "head.modulation": (1, 2, 5120)}
QWEN: Shapes = {"transformer_blocks.0.img_mod.1.weight": (18432, 3072), "txt_norm.weight": (3584,)}


def unet_input(channels: int) -> Shapes:
    return {"input_blocks.0.0.weight": (320, channels, 3, 3)}


SIGNS: dict[str, tuple[Shapes, str, str | None]] = {
    "sd15": (SD15, "sd15", None),
    "sd15 with one layer a block": ({f"input_blocks.1.1.{TO_K}": (320, 768)}, "sd15", None),
    "sd15 inpainting": ({**SD15, **unet_input(9)}, "sd15", "inpainting"),
    "sd15 instruct": ({**SD15, **unet_input(8)}, "sd15", "instruct"),
    "sd2": ({**SD2, **unet_input(4)}, "sd2", None),
    "sd2 depth": ({**SD2, **unet_input(5)}, "sd2", "depth"),
    "sdxl": (SDXL, "sdxl", None),
    "sdxl refiner": ({UNET_4: (768, 1280)}, "sdxl", "refiner"),
    "sdxl inpainting": ({**SDXL, **unet_input(9)}, "sdxl", "inpainting"),
    "sdxl v-prediction": ({**SDXL, "v_pred": ()}, "sdxl", "v-prediction"),
    "sdxl zero terminal SNR": ({**SDXL, "ztsnr": ()}, "sdxl", "v-prediction"),
    "cosxl edit": ({**SDXL, **unet_input(8), "edm_vpred.sigma_max": ()}, "sdxl", "instruct, v-prediction, edm"),
    "kolors": ({**SDXL, "label_emb.0.0.weight": (1280, 5632)}, "kolors", None),
    "svd": ({**SD2, "input_blocks.1.0.time_mixer.mix_factor": (1,)}, "svd", None),
    "sd3 medium": (SD3, "sd3", "medium"),
    "sd3.5 medium": ({**SD3, "joint_blocks.0.x_block.attn2.qkv.weight": (4608, 1536)}, "sd3", "3.5, medium"),
    "sd3.5 large": ({"joint_blocks.0.x_block.attn.qkv.weight": (7296, 2432)}, "sd3", "3.5, large"),
    "flux schnell": (FLUX, "flux", "schnell"),
    "flux dev": (GUIDED, "flux", "dev"),
    "flux fill": ({**GUIDED, "img_in.weight": (3072, 384)}, "flux", "dev, fill"),
    "flux depth": (
        {**GUIDED, "img_in.weight": (3072, 128), "double_blocks.0.img_mod.lin.weight": (18432, 3072)},
        "flux",
        "dev, control",
    ),
    "flux2 dev": (FLUX2, "flux2", "dev"),
    "flux2 klein": (
        {FLUX_KEY: (128,), "img_in.weight": (3072, 128), "double_stream_modulation_img.lin.weight": (18432, 3072)},
        "flux2",
        "klein-4b",
    ),
    "chroma": ({**FLUX, "distilled_guidance_layer.norms.0.scale": (5120,)}, "chroma", None),
    "chroma radiance": (
        {FLUX_KEY: (128,), "distilled_guidance_layer.norms.0.scale": (5120,), "img_in_patch.weight": (3072, 3, 16, 16)},
        "chroma",
        "radiance",
    ),
    "ovis": ({**FLUX, "double_blocks.0.img_mlp.gate_proj.weight": (8192, 3072)}, "ovis-image", None),
    "qwen": (QWEN, "qwen-image", None),
    "qwen layered": ({**QWEN, "time_text_embed.addition_t_embedding.weight": (2, 3072)}, "qwen-image", "layered"),
    "z-image": ({CAPTION: (3840, 2560), REFINER: (11520, 3840)}, "z-image", None),
    "lumina": ({CAPTION: (2304, 2304), REFINER: (6912, 2304)}, "lumina", None),
    "wan 14b": (WAN, "wan", "14b"),
    "wan 14b from pictures": ({**WAN, "patch_embedding.weight": (5120, 36, 1, 2, 2)}, "wan", "14b, i2v"),
    "wan 1.3b": (
        {
            "blocks.0.cross_attn.k.weight": (1536, 1536),
            "head.modulation": (1, 2, 1536),
            "patch_embedding.weight": (1536, 16, 1, 2, 2),
        },
        "wan",
        "1.3b, t2v",
    ),
    "wan vace": ({**WAN, "vace_patch_embedding.weight": (5120, 96, 1, 2, 2)}, "wan", "14b, vace"),
    "anima": ({"llm_adapter.blocks.0.cross_attn.q_proj.weight": (1024, 1024)}, "anima", None),
    "auraflow": ({"double_layers.0.attn.w1q.weight": (3072, 3072)}, "auraflow", None),
    "hunyuan dit": ({"mlp_t5.0.weight": (8192, 2048)}, "hunyuan-dit", None),
    "hunyuan video": (
        {
            "txt_in.individual_token_refiner.blocks.0.norm1.weight": (3072,),
            "img_in.proj.weight": (3072, 16, 1, 2, 2),
        },
        "hunyuan-video",
        None,
    ),
    "hidream": ({"caption_projection.0.linear.weight": (2560, 4096)}, "hidream", None),
    "pixart sigma": ({"t_block.1.weight": (6912, 1152)}, "pixart-sigma", None),
    "ltx video": ({"adaln_single.emb.timestep_embedder.linear_1.bias": (2048,)}, "ltxv", None),
    "ernie": ({"layers.0.adaLN_sa_ln.weight": (4096,)}, "ernie-image", None),
    # As the diffusers library names things.
    "sd15 of diffusers": ({f"down_blocks.0.attentions.1.{TO_K}": (320, 768)}, "sd15", None),
    "sd15 inpainting of diffusers": (
        {f"down_blocks.0.attentions.1.{TO_K}": (320, 768), "conv_in.weight": (320, 9, 3, 3)},
        "sd15",
        "inpainting",
    ),
    "sdxl of diffusers": ({f"down_blocks.1.attentions.0.{TO_K}": (640, 2048)}, "sdxl", None),
    "flux of diffusers": (
        {
            "transformer_blocks.0.attn.add_k_proj.weight": (3072, 3072),
            "single_transformer_blocks.0.attn.to_k.weight": (3072, 3072),
            "x_embedder.weight": (3072, 64),
            "time_text_embed.guidance_embedder.linear_1.weight": (3072, 256),
        },
        "flux",
        "dev",
    ),
    "sd3 of diffusers": (
        {"transformer_blocks.0.attn.add_k_proj.weight": (2432, 2432), "pos_embed.proj.weight": (2432, 16, 2, 2)},
        "sd3",
        "large",
    ),
}
PREFIXES = ["", "model.diffusion_model.", "diffusion_model.", "transformer."]


def prefixed(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {prefix + name: shape for name, shape in shapes.items()}


INSIDE = prefixed(SDXL, "model.diffusion_model.")
LORA_UNET = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
TAE: Shapes = {"decoder.layers.0.weight": (64, 4, 3, 3), "encoder.layers.0.weight": (64, 3, 3, 3)}
KIND_SIGNS: dict[str, tuple[Shapes, str]] = {
    "with a VAE": ({**INSIDE, "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "checkpoint"),
    "with sdxl's encoders": ({**INSIDE, "conditioner.embedders.0.x": (1,)}, "checkpoint"),
    "with sd15's encoder": ({**INSIDE, "cond_stage_model.transformer.x": (1,)}, "checkpoint"),
    "with flux's encoders": ({**INSIDE, "text_encoders.clip_l.x": (1,)}, "checkpoint"),
    "with a tiny autoencoder": ({**INSIDE, **TAE}, "checkpoint"),
    "of an unknown family": ({"model.diffusion_model.new.weight": (1,), "vae.decoder.x": (1,)}, "checkpoint"),
    "alone": (INSIDE, "diffusion_model"),
    "alone and unknown": ({"model.diffusion_model.new.weight": (1,)}, "diffusion_model"),
    "vae": ({"decoder.conv_in.weight": (512, 4, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}, "vae"),
    "vae as in a checkpoint": ({"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "vae"),
    "wan's vae": ({"decoder.conv1.weight": (384, 16, 3, 3, 3), "decoder.middle.0.residual.0.gamma": (384,)}, "vae"),
    "tae": (TAE, "tae"),
    "tae of diffusers, decoder": ({"decoder.layers.0.weight": (64, 16, 3, 3)}, "tae"),
    "tae by its name": ({"taesd_decoder.1.weight": (64, 4, 3, 3)}, "tae"),
    "tae's decoder": ({"1.weight": (64, 4, 3, 3), "3.conv.0.weight": (64, 64, 3, 3)}, "tae"),
    "tae's encoder": ({"0.weight": (64, 3, 3, 3), "1.conv.0.weight": (64, 64, 3, 3)}, "tae"),
    "embedding": ({"emb_params": (4, 768)}, "embedding"),
    "embedding of two encoders": ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "embedding"),
    "embedding, converted": ({"string_to_param.*": (4, 768), "string_to_token.*": (1,)}, "embedding"),
    "embedding of diffusers": ({"<cat-toy>": (768,)}, "embedding"),
    "controlnet": (prefixed(SD15, "control_model."), "controlnet"),
    "controlnet of diffusers": ({"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3)}, "controlnet"),
    "controlnet, bare": ({**SD15, "input_hint_block.0.weight": (16, 3, 3, 3)}, "controlnet"),
    "controlnet as a difference": ({"lora_controlnet": (), "input_hint_block.0.weight": (16, 3)}, "controlnet"),
    "controlnet of flux": ({**FLUX, "controlnet_blocks.0.weight": (3072, 3072)}, "controlnet"),
    "clip": ({"text_model.encoder.layers.0.self_attn.k_proj.weight": (768, 768)}, "text_encoder"),
    "clip, prefixed": ({"clip_l.transformer.text_model.encoder.layers.0.mlp.fc1.weight": (1, 1)}, "text_encoder"),
    "t5": ({"encoder.block.0.layer.0.SelfAttention.q.weight": (4096, 4096)}, "text_encoder"),
    "llm": ({"model.layers.0.self_attn.q_proj.weight": (2560, 2560)}, "text_encoder"),
    "llm's second part": ({"model.layers.17.self_attn.q_proj.weight": (2560, 2560)}, "text_encoder"),
    "llm with eyes": ({"model.language_model.layers.0.self_attn.q_proj.weight": (1, 1)}, "text_encoder"),
    "t5 of llama.cpp": ({"enc.blk.0.attn_q.weight": (4096, 4096)}, "text_encoder"),
    "llm of llama.cpp": ({"blk.0.attn_q.weight": (2560, 2560)}, "text_encoder"),
    "esrgan": ({"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)}, "upscaler"),
    "real-esrgan": ({"conv_first.weight": (64, 3, 3, 3), "body.0.rdb1.conv1.weight": (32, 64, 3, 3)}, "upscaler"),
    "swinir": ({"conv_first.weight": (180, 3, 3, 3), "layers.0.residual_group.x": (1,)}, "upscaler"),
    "eyes alone": ({"vision_model.encoder.layers.0.self_attn.k_proj.weight": (1, 1)}, "unknown"),
    "eyes of llama.cpp": ({"v.blk.0.attn_q.weight": (1, 1)}, "unknown"),
    "one odd tensor": ({"some.weight": (768,)}, "unknown"),
    "one narrow tensor": ({"some": (64,)}, "unknown"),
    "one large tensor": ({"some": (768, 768)}, "unknown"),
    "nothing": ({}, "unknown"),
}


def down(name: str, width: int) -> Shapes:
    """kohya's three tensors of a layer."""
    return {f"{name}.alpha": (), f"{name}.lora_down.weight": (4, width), f"{name}.lora_up.weight": (640, 4)}


def peft(name: str, width: int) -> Shapes:
    return {f"{name}.lora_A.weight": (4, width), f"{name}.lora_B.weight": (640, 4)}


LORAS: dict[str, tuple[Shapes, str, str | None]] = {
    "sd15": (down(LORA_UNET, 768), "sd15", None),
    "sd2": (down(LORA_UNET, 1024), "sd2", None),
    "sdxl": (down(LORA_UNET, 2048), "sdxl", None),
    "sdxl, the original's names": (
        down("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", 2048),
        "sdxl",
        None,
    ),
    "sdxl refiner": (down(LORA_UNET, 1280), "sdxl", "refiner"),
    "sdxl by its encoders": (
        {**down("lora_te1_text_model_encoder_layers_0_mlp_fc1", 768), **down("lora_te2_text_model_x", 1280)},
        "sdxl",
        None,
    ),
    "sdxl by depth": (down("lora_unet_input_blocks_7_1_transformer_blocks_9_attn1_to_q", 1280), "sdxl", None),
    "sd15 without context": (
        {
            **down("lora_unet_down_blocks_0_attentions_0_proj_in", 320),
            **down("lora_te_text_model_encoder_layers_0_self_attn_k_proj", 768),
        },
        "sd15",
        None,
    ),
    "sd15's encoder alone": (down("lora_te_text_model_encoder_layers_0_self_attn_k_proj", 768), "sd15", None),
    "sdxl of PEFT": (peft(f"unet.down_blocks.1.attentions.0.{TO_K.removesuffix('.weight')}", 2048), "sdxl", None),
    "sd15 of old diffusers": (
        {
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor.to_k_lora.down.weight": (4, 768),
        },
        "sd15",
        None,
    ),
    "sdxl of PEFT with a name": (
        {"base_model.model.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.lora_A.a.weight": (4, 2048)},
        "sdxl",
        None,
    ),
    "flux": (down("lora_unet_double_blocks_0_img_attn_proj", 3072), "flux", None),
    "flux of BFL": (peft("diffusion_model.double_blocks.0.img_attn.qkv", 3072), "flux", None),
    "flux of diffusers": (peft("transformer.single_transformer_blocks.0.attn.to_k", 3072), "flux", None),
    "flux's tools": ({**peft("single_blocks.0.linear1", 3072), FLUX_KEY: (128,)}, "flux", None),
    "flux of x-labs": ({"double_blocks.0.processor.proj_lora1.down.weight": (16, 3072)}, "flux", None),
    "flux2": (peft("diffusion_model.single_blocks.0.linear1", 6144), "flux2", "dev"),
    "flux2, the smallest": (
        {
            "diffusion_model.single_blocks.0.linear1.lora_A.weight": (16, 3072),
            "diffusion_model.single_blocks.0.linear1.lora_B.weight": (27648, 16),
        },
        "flux2",
        "klein-4b",
    ),
    "chroma": (
        {**peft("double_blocks.0.img_attn.qkv", 3072), **peft("distilled_guidance_layer.in_proj", 64)},
        "chroma",
        None,
    ),
    "hunyuan video": (down("lora_unet_double_blocks_0_img_mlp_fc1", 3072), "hunyuan-video", None),
    "hunyuan video by its depth": (
        {
            **peft("transformer.single_transformer_blocks.39.attn.to_k", 3072),
            **peft("transformer.transformer_blocks.0.attn.to_k", 3072),
        },
        "hunyuan-video",
        None,
    ),
    "sd3": (down("lora_unet_joint_blocks_0_x_block_attn_qkv", 2432), "sd3", "large"),
    "sd3 of diffusers": (peft("transformer.transformer_blocks.0.attn.to_k", 1536), "sd3", "medium"),
    "qwen": (peft("transformer.transformer_blocks.0.img_mlp.net.0.proj", 3072), "qwen-image", None),
    "qwen of musubi": (down("lora_unet_transformer_blocks_0_img_mod_1", 3072), "qwen-image", None),
    "qwen by its depth": (
        {
            **peft("transformer_blocks.0.attn.to_k", 3072),
            **peft("transformer_blocks.59.attn.to_k", 3072),
        },
        "qwen-image",
        None,
    ),
    "wan": (peft("diffusion_model.blocks.0.cross_attn.k", 5120), "wan", "14b"),
    "wan of musubi": (down("lora_unet_blocks_0_self_attn_q", 1536), "wan", "1.3b"),
    "z-image": (peft("diffusion_model.layers.0.attention.to_q", 3840), "z-image", None),
    "lumina": (down("lora_unet_layers_0_attention_qkv", 2304), "lumina", None),
    "auraflow": (peft("transformer.joint_transformer_blocks.0.attn.to_k", 3072), "auraflow", None),
    "hidream": (peft("diffusion_model.double_stream_blocks.0.block.ff_i.w1", 2560), "hidream", None),
    "an encoder of nobody": (down("lora_te_text_model_encoder_layers_0_self_attn_k_proj", 1280), "unknown", None),
    "flux or qwen": (peft("transformer_blocks.0.attn.to_k", 3072), "unknown", None),
    "a unet of nobody": (down(LORA_UNET, 4096), "unknown", None),
    "video layers of nobody": (peft("transformer_blocks.0.attn2.to_k", 2048), "unknown", None),
    "a language model's": (peft("base_model.model.model.layers.0.self_attn.q_proj", 4096), "unknown", None),
}

"""Which text encoder or VAE a file is, and what a checkpoint carries: names and shapes that real files have."""

from __future__ import annotations

from pathlib import Path

import pytest
from headers import Shapes, header, write_gguf, write_safetensors
from signs import INSIDE, SDXL, TAE, prefixed

from tensors.header import read_header
from tensors.identify import identify
from tensors.models import demo_dir
from tensors.part_signs import parts_inside

K_PROJ = "text_model.encoder.layers.0.self_attn.k_proj.weight"
T5_Q = "encoder.block.0.layer.0.SelfAttention.q.weight"
T5_PLACES = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"
GATE, Q_PROJ = "model.layers.0.mlp.gate_proj.weight", "model.layers.0.self_attn.q_proj.weight"
T5: Shapes = {T5_Q: (4096, 4096), T5_PLACES.format(0): (32, 64)}
CLIP_L: Shapes = {K_PROJ: (768, 768)}


def language_model(outer: int, inner: int) -> Shapes:
    return {Q_PROJ: (outer, inner), GATE: (outer, inner)}


def vae(channels: int) -> Shapes:
    return {"decoder.conv_in.weight": (512, channels, 3, 3), "encoder.conv_in.weight": (128, 3, 3, 3)}


def video_vae(width: int, channels: int) -> Shapes:
    return {"decoder.conv1.weight": (width, channels, 3, 3, 3), "decoder.middle.0.residual.0.gamma": (width, 1, 1, 1)}


PARTS: dict[str, tuple[Shapes, str, str | None]] = {
    "clip_l": (CLIP_L, "text_encoder", "clip_l"),
    "clip_g": ({K_PROJ: (1280, 1280)}, "text_encoder", "clip_g"),
    "clip_l with its prefix": (prefixed(CLIP_L, "clip_l.transformer."), "text_encoder", "clip_l"),
    "sd2's, of OpenCLIP": ({"transformer.resblocks.0.attn.in_proj_weight": (3072, 1024)}, "text_encoder", "clip_h"),
    "a clip of nobody": ({K_PROJ: (512, 512)}, "text_encoder", None),
    "t5xxl": (T5, "text_encoder", "t5xxl"),
    "umt5xxl": ({**T5, T5_PLACES.format(1): (32, 64)}, "text_encoder", "umt5xxl"),
    "a smaller t5": ({T5_Q: (2048, 2048)}, "text_encoder", None),
    "t5xxl of llama.cpp": ({"enc.blk.0.attn_q.weight": (4096, 4096)}, "text_encoder", "t5xxl"),
    "umt5xxl of llama.cpp": (
        {"enc.blk.0.attn_q.weight": (4096, 4096), "enc.blk.1.attn_rel_b.weight": (32, 64)},
        "text_encoder",
        "umt5xxl",
    ),
    "t5xxl of eight bits with factors": ({**T5, "scaled_fp8": (2,)}, "text_encoder", "t5xxl, scaled"),
    "qwen 2.5 7b": (language_model(18944, 3584), "text_encoder", "qwen2.5-7b"),
    "qwen3 0.6b": (language_model(3072, 1024), "text_encoder", "qwen3-0.6b"),
    "qwen3 1.7b": (language_model(6144, 2048), "text_encoder", "qwen3-1.7b"),
    "qwen3 4b": (language_model(9728, 2560), "text_encoder", "qwen3-4b"),
    "qwen3 8b": (language_model(12288, 4096), "text_encoder", "qwen3-8b"),
    "mistral small": (language_model(32768, 5120), "text_encoder", "mistral-small-24b"),
    "ministral": (prefixed(language_model(9216, 3072), "language_model."), "text_encoder", "ministral-3b"),
    "qwen3 4b of llama.cpp": (
        {"blk.0.attn_q.weight": (4096, 2560), "blk.0.ffn_gate.weight": (9728, 2560)},
        "text_encoder",
        "qwen3-4b",
    ),
    "a language model of nobody": (language_model(14336, 4096), "text_encoder", None),
    "the second part of one": ({"model.layers.17.self_attn.q_proj.weight": (4096, 2560)}, "text_encoder", None),
    "two encoders in one file": ({**CLIP_L, **prefixed({K_PROJ: (1280, 1280)}, "g.")}, "text_encoder", None),
    "sd's vae": (vae(4), "vae", "4 channels"),
    "flux's vae": (vae(16), "vae", "16 channels"),
    "flux2's vae": (vae(32), "vae", "32 channels"),
    "a vae as in a checkpoint": (prefixed(vae(4), "first_stage_model."), "vae", "4 channels"),
    "wan's vae": (video_vae(384, 16), "vae", "16 channels, video"),
    "wan 2.2's vae": (video_vae(1024, 48), "vae", "48 channels, video"),
    "a tiny one": (TAE, "tae", None),
}


@pytest.mark.parametrize(("shapes", "kind", "variant"), PARTS.values(), ids=PARTS)
def test_a_part_is_told_by_its_tensors(shapes: Shapes, kind: str, variant: str | None) -> None:
    found = identify(header(shapes))
    assert (found.kind, found.variant, found.kind_from) == (kind, variant, "tensors")


@pytest.mark.parametrize("name", ["clip_l", "t5xxl", "qwen3 4b of llama.cpp", "flux's vae"])
def test_the_same_in_files(name: str, tmp_path: Path) -> None:
    shapes, _, variant = PARTS[name]
    for path in (write_gguf(tmp_path / "x.gguf", shapes), write_safetensors(tmp_path / "x.safetensors", shapes)):
        assert identify(read_header(path)).variant == variant


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({}, set()),
        (prefixed(vae(4), "first_stage_model."), {"vae"}),
        (
            {
                "conditioner.embedders.0.transformer.x": (1,),
                "conditioner.embedders.1.model.x": (1,),
                "first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3),
            },
            {"vae", "clip_l", "clip_g"},
        ),
        ({"cond_stage_model.transformer.x": (1,)}, {"clip"}),
        ({"text_encoders.clip_l.x": (1,), "text_encoders.t5xxl.x": (1,), "vae.x": (1,)}, {"vae", "clip_l", "t5xxl"}),
        ({"text_encoders.qwen3_4b.x": (1,)}, {"llm"}),
        ({**TAE, "text_encoders.llm.model.norm.weight": (16,)}, {"taesd", "llm"}),
    ],
    ids=str,
)
def test_what_a_checkpoint_carries_is_told_by_its_prefixes(more: Shapes, parts: set[str]) -> None:
    assert parts_inside(header({**INSIDE, **more})) == parts


def test_a_diffusion_models_own_names_are_no_parts() -> None:
    assert parts_inside(header(SDXL)) == frozenset()


def test_the_demo_carries_all_it_needs() -> None:
    assert parts_inside(read_header(demo_dir() / "shapes.safetensors")) == {"taesd", "llm"}

"""Families of checkpoints, from made-up headers with the names and shapes that real ones have."""

from __future__ import annotations

import pytest

from tensors.identify import family_of, has_tae
from tensors.models import demo_dir
from tensors.safetensors import Header, Tensor, read_header

UNET_2 = "input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
UNET_4 = "input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
FLUX = "double_blocks.0.img_attn.norm.key_norm.scale"

SIGNS = [
    ({UNET_2: (320, 768), UNET_4: (640, 768)}, "sd15"),
    ({UNET_2: (320, 1024), UNET_4: (640, 1024)}, "sd2"),
    ({UNET_4: (640, 2048)}, "sdxl"),
    ({"joint_blocks.0.x_block.attn.qkv.weight": (4608, 1536)}, "sd3"),
    ({FLUX: (128,), "img_in.weight": (3072, 64)}, "flux"),
    ({FLUX: (128,), "img_in.weight": (3072, 64), "guidance_in.in_layer.weight": (3072, 256)}, "flux"),
    # What it does not know stays unknown: never a guess shown as a fact.
    ({UNET_4: (640, 1280)}, "unknown"),
    ({UNET_2: (320, 4096)}, "unknown"),
    ({UNET_2: ()}, "unknown"),
    ({FLUX: (128,), "img_in.weight": (6144, 128)}, "unknown"),
    ({FLUX: (128,)}, "unknown"),
    (
        {FLUX: (128,), "img_in.weight": (3072, 64), "distilled_guidance_layer.norms.0.scale": (5120,)},
        "unknown",
    ),
    ({"transformer_blocks.0.img_mod.1.weight": (1, 1), "txt_norm.weight": (1,)}, "unknown"),
    ({"first_stage_model.decoder.conv_in.weight": (512, 4, 3, 3)}, "unknown"),
    ({}, "unknown"),
]


def header(shapes: dict[str, tuple[int, ...]], prefix: str = "", **metadata: str) -> Header:
    tensors = {prefix + name: Tensor(dtype="F16", shape=shape, data_offsets=(0, 0)) for name, shape in shapes.items()}
    return Header(tensors, {key.replace("__", "."): value for key, value in metadata.items()}, 8)


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "transformer.", "diffusion_model."])
@pytest.mark.parametrize(("shapes", "family"), SIGNS)
def test_a_family_is_told_by_its_tensors(shapes: dict[str, tuple[int, ...]], family: str, prefix: str) -> None:
    assert family_of(header(shapes, prefix)) == family


def test_a_prefix_nobody_uses_hides_the_sign() -> None:
    assert family_of(header({UNET_2: (320, 768)}, "control_model.")) == "unknown"


SDXL = {UNET_4: (640, 2048)}


@pytest.mark.parametrize(
    ("metadata", "stem", "family"),
    [
        ({}, "model", "sdxl"),
        ({}, "ponyDiffusionV6XL", "pony"),
        ({}, "Illustrious-XL-v1.0", "illustrious"),
        ({}, "illustrijEvo", "illustrious"),
        ({}, "noobaiXL_vPred", "illustrious"),
        ({"modelspec__title": "Pony Diffusion"}, "illustrious", "pony"),
        ({"modelspec__architecture": "illustrious"}, "", "illustrious"),
        ({"modelspec__architecture": "stable-diffusion-xl-v1-base"}, "ponyRealism", "pony"),
        ({"ss_sd_model_name": "noobai.safetensors"}, "x", "illustrious"),
    ],
)
def test_finetunes_of_sdxl_are_told_by_metadata_then_by_name(metadata: dict[str, str], stem: str, family: str) -> None:
    assert family_of(header(SDXL, "model.diffusion_model.", **metadata), stem) == family


def test_a_name_makes_no_sdxl_of_another_family() -> None:
    assert family_of(header({UNET_2: (320, 768)}), "ponyDiffusion") == "sd15"
    assert family_of(header({}), "ponyDiffusion") == "unknown"


def test_the_demo_model_is_shapes_and_brings_its_own_decoder() -> None:
    demo = read_header(demo_dir() / "shapes.safetensors")
    assert family_of(demo, "shapes") == family_of(demo, "renamed") == "shapes"
    assert has_tae(demo)


def test_a_tiny_autoencoder_is_both_halves() -> None:
    decoder, encoder = {"decoder.layers.0.weight": (64, 4, 3, 3)}, {"encoder.layers.0.weight": (64, 3, 3, 3)}
    assert has_tae(header({**decoder, **encoder}))
    assert not has_tae(header(decoder))
    assert not has_tae(header(encoder))
    assert not has_tae(header(SDXL))

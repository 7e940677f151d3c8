"""What folders say about the files in them."""

from __future__ import annotations

import pytest

from tensors.identify import FAMILIES, KINDS
from tensors.layouts import _IN_MODELS, _KINDS, Hint, hint


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        # A1111, Forge
        ("webui/models/Stable-diffusion", "checkpoint"),
        ("webui/models/Lora/characters", "lora"),
        ("webui/models/LyCORIS", "lora"),
        ("webui/models/VAE", "vae"),
        ("webui/models/VAE-approx", "tae"),
        ("webui/models/ControlNet", "controlnet"),
        ("webui/models/ESRGAN", "upscaler"),
        ("webui/models/RealESRGAN", "upscaler"),
        ("webui/models/DAT", "upscaler"),
        ("webui/models/text_encoder", "text_encoder"),
        ("webui/embeddings", "embedding"),
        ("webui/models/hypernetworks", None),
        # ComfyUI
        ("ComfyUI/models/checkpoints", "checkpoint"),
        ("ComfyUI/models/loras", "lora"),
        ("ComfyUI/models/vae", "vae"),
        ("ComfyUI/models/text_encoders", "text_encoder"),
        ("ComfyUI/models/clip", "text_encoder"),
        ("ComfyUI/models/clip_vision", None),
        ("ComfyUI/models/diffusion_models", "diffusion_model"),
        ("ComfyUI/models/unet", "diffusion_model"),
        ("ComfyUI/models/controlnet", "controlnet"),
        ("ComfyUI/models/embeddings", "embedding"),
        ("ComfyUI/models/upscale_models", "upscaler"),
        ("ComfyUI/models/vae_approx", "tae"),
        # SwarmUI, Stability Matrix
        ("SwarmUI/Models/Stable-Diffusion/OfficialStableDiffusion", "checkpoint"),
        ("SwarmUI/Models/Embeddings", "embedding"),
        ("Matrix/Models/StableDiffusion", "checkpoint"),
        ("Matrix/Models/ApproxVAE", "tae"),
        ("Matrix/Models/TextEncoders", "text_encoder"),
        # diffusers
        ("some-model/unet", "diffusion_model"),
        ("some-model/text_encoder_2", "text_encoder"),
        ("some-model/safety_checker", None),
        # Nothing
        ("models", None),
        ("downloads/new", None),
        ("clothes/hat", None),
    ],
)
def test_folders_of_other_tools_say_what_their_files_are(directory: str, kind: str | None) -> None:
    assert hint("/data", f"/data/{directory}") == Hint(kind, None)


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("sd-1/main", Hint("checkpoint", "sd15")),
        ("sd-2/lora", Hint("lora", "sd2")),
        ("sdxl/vae", Hint("vae", "sdxl")),
        ("sdxl-refiner/main", Hint("checkpoint", "sdxl")),
        ("flux/controlnet", Hint("controlnet", "flux")),
        ("any/t5_encoder", Hint("text_encoder", None)),
        ("any/clip_embed", Hint("text_encoder", None)),
        ("any/spandrel_image_to_image", Hint("upscaler", None)),
        ("sdxl/embedding", Hint("embedding", "sdxl")),
        ("sd-1/ip_adapter", Hint(None, "sd15")),
        ("5f3a9c1e-8f5a-4f0b-9a51-0a5b6f1d2c3e", Hint(None, None)),
        ("sd-1/main/somebody's", Hint("checkpoint", "sd15")),
        ("main", Hint(None, None)),
    ],
)
def test_invokeai_sorts_by_base_and_type(directory: str, expected: Hint) -> None:
    assert hint("/invoke/models", f"/invoke/models/{directory}") == expected


@pytest.mark.parametrize(
    ("directory", "family"),
    [("Pony", "pony"), ("SDXL 1.0", "sdxl"), ("Illustrious/styles", "illustrious"), ("SD 1.5", "sd15"), ("wan", None)],
)
def test_folders_that_people_sort_loras_into_name_a_family(directory: str, family: str | None) -> None:
    assert hint("/loras", f"/loras/{directory}") == Hint("lora", family)


def test_the_nearest_folder_decides() -> None:
    assert hint("/m", "/m/checkpoints/vae/sdxl/pony") == Hint("vae", "pony")
    assert hint("/m", "/m/loras/clip_vision") == Hint(None, None)


def test_only_folders_at_and_below_the_scanned_one_count() -> None:
    assert hint("/home/vae/pony/models", "/home/vae/pony/models") == Hint(None, None)
    assert hint("/home/vae/models", "/home/vae/models/x") == Hint(None, None)
    assert hint("/home/vae", "/home/vae/x") == Hint("vae", None)


def test_what_somebody_configured_counts_for_more_than_the_name_and_less_than_a_folder_within() -> None:
    assert hint("/m/loras", "/m/loras/x", "embedding") == Hint("embedding", None)
    assert hint("/m/loras", "/m/loras/vae", "embedding") == Hint("vae", None)


def test_a_whole_disk_can_be_scanned() -> None:
    assert hint("/", "/loras/pony") == Hint("lora", "pony")
    assert hint("/", "/") == Hint(None, None)


def test_hints_are_kinds_and_families_that_there_are() -> None:
    assert {kind for kind in _KINDS if kind} | set(_IN_MODELS.values()) == set(KINDS)
    assert hint("/m", "/m/sd-1").family in FAMILIES

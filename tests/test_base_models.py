"""What CivitAI and trainers call families and kinds, in our words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.base_models import FAMILIES, architecture, family_in_name, family_of_base_model, kind_of_model_type

RECORDED = Path(__file__).parent / "data" / "civitai"

BASE_MODELS = {
    "sd15": ["SD 1.4", "SD 1.5", "SD 1.5 LCM", "SD 1.5 Hyper", "sd_v1", "stable-diffusion-v1/lora", "sd1", "sd_1.5"],
    "sd2": ["SD 2.0", "SD 2.0 768", "SD 2.1", "SD 2.1 768", "SD 2.1 Unclip", "sd_v2_768_v", "stable-diffusion-v2-512"],
    "sdxl": [
        *("SDXL 0.9", "SDXL 1.0", "SDXL 1.0 LCM", "SDXL Turbo", "SDXL Lightning", "SDXL Hyper", "SDXL Distilled"),
        *("sdxl_base_v1-0", "stable-diffusion-xl-v1-base", "stable-diffusion-xl-v1-base/lora", "sdxl_1.0"),
    ],
    "pony": ["Pony", "pony", "PONY"],
    "illustrious": ["Illustrious", "illustrious"],
    "noobai": ["NoobAI", "noobai"],
    "sd3": [
        "SD 3",
        "SD 3.5",
        "SD 3.5 Medium",
        "SD 3.5 Large",
        "SD 3.5 Large Turbo",
        "stable-diffusion-3-5-large",
        "sd3-m",
    ],
    "flux": ["Flux.1 D", "Flux.1 S", "Flux.1 Krea", "Flux.1 Kontext", "flux-1-dev/lora", "flux1", "Flux.1-AE", "flux"],
    "flux2": ["Flux.2 D", "Flux.2 Klein 9B", "Flux.2 Klein 4B-base", "flux-2-dev"],
    "chroma": ["Chroma", "chroma/lora"],
    "qwen-image": ["Qwen", "qwen_image", "Qwen-Image-Edit-2509", "qwen-image/lora"],
    "z-image": ["ZImageTurbo", "ZImageBase", "zimageturbo", "Z-Image", "zimage"],
    "lumina": ["Lumina", "lumina-2", "lumina2"],
    "wan": ["Wan Video", "Wan Video 1.3B t2v", "Wan Video 14B i2v 480p", "Wan Video 2.2 TI2V-5B", "wan2.1", "wan"],
    "anima": ["Anima"],
    "auraflow": ["AuraFlow", "Pony V7", "pony v7", "aura"],
    "cascade": ["Stable Cascade"],
    "cogvideox": ["CogVideoX"],
    "cosmos": ["cosmos"],
    "ernie-image": ["Ernie"],
    "hidream": ["HiDream"],
    "hunyuan-dit": ["Hunyuan 1"],
    "hunyuan-video": ["Hunyuan Video", "hyvid", "hunyuan_video"],
    "kolors": ["Kolors"],
    "krea2": ["Krea 2"],
    "ltxv": ["LTXV", "ltxv"],
    "ltxv2": ["LTXV2", "LTXV 2.3"],
    "mochi": ["Mochi"],
    "pixart-alpha": ["PixArt a"],
    "pixart-sigma": ["PixArt E"],
    "svd": ["SVD", "SVD XT"],
}
UNCERTAIN = [
    *("Other", "Unknown", "", "Upscaler", "ODOR", "Playground v2", "Nano Banana", "OpenAI", "Imagen4", "Seedream"),
    *("Qwen 2", "qwen3", "Qwen-Image-2.0", "HiDream-O1", "Wan Image 2.7", "Lens", "Hunyuan", "SD", "XL", "1.5", "☃"),
]


@pytest.mark.parametrize(("family", "names"), BASE_MODELS.items(), ids=BASE_MODELS)
def test_base_models_have_families(family: str, names: list[str]) -> None:
    for name in names:
        assert family_of_base_model(name) == family, name
        assert family_of_base_model(name.upper() if name.islower() else name.lower()) == family, name
    assert family in FAMILIES


@pytest.mark.parametrize("name", UNCERTAIN)
def test_what_is_not_certain_has_none(name: str) -> None:
    assert family_of_base_model(name) is None


def test_every_recorded_base_model_and_type_is_known() -> None:
    page = json.loads((RECORDED / "models-page.json").read_text())
    for model in page["items"]:
        assert kind_of_model_type(model["type"]) == "checkpoint"
        for version in model["modelVersions"]:
            known = family_of_base_model(version["baseModel"])
            assert known == ("sd15" if version["baseModel"].startswith("SD 1") else None), version["baseModel"]


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("Checkpoint", "checkpoint"),
        ("LORA", "lora"),
        ("LoCon", "lora"),
        ("DoRA", "lora"),
        ("TextualInversion", "embedding"),
        ("VAE", "vae"),
        ("Controlnet", "controlnet"),
        ("Upscaler", "upscaler"),
        ("UNet", "diffusion_model"),
        ("TextEncoder", "text_encoder"),
        ("Text Encoder", "text_encoder"),
        ("CLIP", "text_encoder"),
        *((other, None) for other in ("Hypernetwork", "AestheticGradient", "MotionModule", "Poses", "Wildcards")),
        *((other, None) for other in ("Workflows", "Detection", "CLIPVision", "Other", "New", "")),
    ],
)
def test_types_of_models_are_kinds_of_files(type: str, kind: str | None) -> None:
    assert kind_of_model_type(type) == kind
    assert kind_of_model_type(type.upper()) == kind


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("ponyDiffusionV6XL_v6StartWithThisOne", "pony"),
        ("pony_realism", "pony"),
        ("cyberrealisticPony_v8", "pony"),
        ("waiNSFWIllustrious_v140", "illustrious"),
        ("Illustrious-XL-v2.0", "illustrious"),
        ("noobaiXLNAIXL_vPred10Version", "noobai"),
        ("NoobAI-XL-Vpred-v1.0", "noobai"),
        ("noob_style", "noobai"),
        ("sd_xl_base_1.0_0.9vae", "sdxl"),
        ("sdxl_vae", "sdxl"),
        ("ponyXL_sdxl", "pony"),
        ("v1-5-pruned-emaonly", "sd15"),
        ("sd15_style", "sd15"),
        ("v2-1_768-ema-pruned", None),
        ("flux1-dev-fp8", "flux"),
        ("FLUX.1-schnell", "flux"),
        ("flux2_dev", "flux2"),
        ("sd3.5_large", "sd3"),
        ("taesd", "sd15"),
        ("taesdxl_decoder", "sdxl"),
        ("taesd3", "sd3"),
        ("taef1", "flux"),
        ("wan2.2_t2v", "wan"),
        ("qwen_image_vae", "qwen-image"),
        ("z_image_turbo", "z-image"),
        ("chroma-unlocked-v35", "chroma"),
        # Words that are something else, or part of another one.
        *((name, None) for name in ("ponytail", "PonyTail", "my little pony", "obi-wan", "swan", "luminance")),
        *((name, None) for name in ("influx", "chromatic", "my style v1.5", "model_v2", "xl", "qwen3_4b", "", "☃")),
        # Names that say two things.
        *((name, None) for name in ("pony_illustrious", "flux_sdxl", "sd15-sdxl")),
    ],
)
def test_names_of_files_speak_of_families_in_whole_words(name: str, family: str | None) -> None:
    assert family_in_name(name) == family


def test_what_is_built_on_sdxl_has_its_architecture() -> None:
    built = {family for family in FAMILIES if architecture(family) != family}
    assert built == {"pony", "illustrious", "noobai"}
    assert {architecture(family) for family in built} == {"sdxl"}
    assert architecture("unknown") == "unknown"


@given(st.text())
def test_any_text_has_one_of_our_families_or_none(text: str) -> None:
    for found in (family_of_base_model(text), family_in_name(text)):
        assert found is None or found in FAMILIES

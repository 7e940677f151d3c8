"""What files are by their own words, their folders and their names."""

from __future__ import annotations

import json

import pytest
from headers import Shapes, header
from signs import FLUX, INSIDE, KIND_SIGNS, LORA_UNET, SD2, SDXL, down

from tensors.identify import identify, training_tags

BASE = {"modelspec.architecture": "stable-diffusion-xl-v1-base"}


@pytest.mark.parametrize(
    ("metadata", "name", "folder", "expected"),
    [
        ({}, "model", None, ("sdxl", "tensors")),
        ({}, "ponyDiffusionV6XL", None, ("pony", "name")),
        ({}, "Illustrious-XL-v1.0", None, ("illustrious", "name")),
        ({}, "waiNSFWIllustrious_v140", None, ("illustrious", "name")),
        ({}, "illustrijEvo", None, ("illustrious", "name")),
        ({}, "noobaiXL_vPred", None, ("noobai", "name")),
        ({}, "NoobAI-XL", None, ("noobai", "name")),
        ({}, "model", "pony", ("pony", "folder")),
        ({}, "ponyDiffusion", "illustrious", ("illustrious", "folder")),
        # InvokeAI's folder of all that runs on SDXL.
        ({}, "ponyDiffusion", "sdxl", ("pony", "name")),
        ({}, "ponyDiffusion", "sd15", ("pony", "name")),
        ({"modelspec.architecture": "illustrious"}, "ponyX", "pony", ("illustrious", "metadata")),
        (BASE, "ponyRealism", None, ("pony", "name")),
        ({**BASE, "ss_sd_model_name": "noobai.safetensors"}, "pony", None, ("noobai", "metadata")),
        (
            {"ss_base_model_version": "sdxl_base_v1-0", "ss_sd_model_name": "ponyDiffusionV6XL_v6.safetensors"},
            "x",
            None,
            ("pony", "metadata"),
        ),
        ({"ss_sd_model_name": "C:\\pony\\sd_xl_base_1.0.safetensors"}, "x", None, ("sdxl", "tensors")),
        ({"ss_sd_model_name": "/pony/illustriousXL_v01.safetensors"}, "x", None, ("illustrious", "metadata")),
        ({"modelspec.title": "Pony Diffusion"}, "x", None, ("pony", "name")),
        ({"ss_output_name": "styleIllustriousXL"}, "x", None, ("illustrious", "name")),
        # Words that are something else, names that say two things, and what the tensors contradict.
        ({}, "ponytail_slider", None, ("sdxl", "tensors")),
        ({}, "PonyTailHair", None, ("sdxl", "tensors")),
        ({}, "my_little_pony", None, ("sdxl", "tensors")),
        ({}, "pony_and_illustrious_merge", None, ("sdxl", "tensors")),
        ({}, "flux_look", None, ("sdxl", "tensors")),
        ({}, "ponyV7", None, ("sdxl", "tensors")),
        ({"modelspec.architecture": "flux-1-dev"}, "x", None, ("sdxl", "tensors")),
        ({"modelspec.architecture": "chroma"}, "x", "flux", ("sdxl", "tensors")),
    ],
    ids=str,
)
def test_what_has_sdxls_tensors_is_told_apart_by_words(
    metadata: dict[str, str], name: str, folder: str | None, expected: tuple[str, str]
) -> None:
    for shapes in (INSIDE, down(LORA_UNET, 2048)):
        found = identify(header(shapes, metadata), name=name, folder_family=folder)
        assert (found.family, found.family_from) == expected


@pytest.mark.parametrize(
    ("metadata", "name", "folder", "expected"),
    [
        ({"modelspec.architecture": "stable-diffusion-v1/lora"}, "sdxl", "flux", ("sd15", "metadata")),
        ({"ss_base_model_version": "sd_v2_768_v"}, "", None, ("sd2", "metadata")),
        ({"general.architecture": "sd3"}, "", None, ("sd3", "metadata")),
        ({"general.architecture": "qwen"}, "", None, ("unknown", None)),
        ({"ss_sd_model_name": "flux1-dev.safetensors"}, "", None, ("flux", "metadata")),
        ({"ss_sd_model_name": "model.safetensors"}, "", None, ("unknown", None)),
        (BASE, "ponyX", None, ("pony", "name")),
        ({}, "sdxl_vae", "flux", ("flux", "folder")),
        ({}, "sdxl_vae", None, ("sdxl", "name")),
        ({}, "ae", None, ("unknown", None)),
        ({}, "Obi-Wan", None, ("unknown", None)),
        ({}, "my style v1.5", None, ("unknown", None)),
        ({}, "sd-v1-5", None, ("sd15", "name")),
        ({}, "flux sdxl", None, ("unknown", None)),
    ],
    ids=str,
)
def test_an_unknown_family_is_filled_in_with_the_best_that_is_said(
    metadata: dict[str, str], name: str, folder: str | None, expected: tuple[str, str | None]
) -> None:
    found = identify(header(KIND_SIGNS["vae"][0], metadata), name=name, folder_family=folder)
    assert (found.family, found.family_from) == expected


def test_encoders_and_upscalers_serve_many_families() -> None:
    for sign in ("t5", "esrgan"):
        found = identify(header(KIND_SIGNS[sign][0], BASE), name="flux", folder_family="flux")
        assert (found.family, found.family_from) == ("unknown", None)


@pytest.mark.parametrize(
    ("metadata", "folder", "expected"),
    [
        ({}, None, ("unknown", None)),
        ({}, "vae", ("vae", "folder")),
        ({"modelspec.architecture": "flux-1-dev/lora"}, "vae", ("lora", "metadata")),
        ({"modelspec.architecture": "stable-diffusion-v1/textual-inversion"}, None, ("embedding", "metadata")),
        ({"modelspec.architecture": "Flux.1-AE"}, None, ("vae", "metadata")),
        ({"ss_network_module": "networks.lora"}, None, ("lora", "metadata")),
        ({"general.architecture": "wan"}, None, ("diffusion_model", "metadata")),
        ({"general.architecture": "clip"}, "upscaler", ("upscaler", "folder")),
    ],
    ids=str,
)
def test_where_tensors_tell_no_kind_words_and_folders_do(
    metadata: dict[str, str], folder: str | None, expected: tuple[str, str | None]
) -> None:
    found = identify(header({"new.weight": (1,)}, metadata), folder_kind=folder)
    assert (found.kind, found.kind_from) == expected


def test_a_folder_does_not_overrule_tensors() -> None:
    found = identify(header(INSIDE), folder_kind="lora", folder_family="sd15")
    assert (found.kind, found.kind_from, found.family, found.family_from) == (
        *("diffusion_model", "tensors"),
        *("sdxl", "tensors"),
    )


def test_a_lora_for_chroma_looks_like_one_for_flux() -> None:
    """Only its own words tell, unless it has layers that Chroma does not have. A name is not enough."""
    shared, flux = (down(f"lora_unet_double_blocks_0_{layer}", 3072) for layer in ("img_attn_proj", "img_mod_lin"))
    said = {"modelspec.architecture": "chroma/lora"}
    assert identify(header(shared, said)).family == "chroma"
    assert identify(header({**shared, **flux}, said)).family == "flux"
    assert identify(header(shared), name="chroma style").family == "flux"
    assert identify(header(FLUX, {"modelspec.architecture": "chroma"})).family == "flux"


@pytest.mark.parametrize(
    ("shapes", "metadata", "variant"),
    [
        (SDXL, {"modelspec.prediction_type": "v"}, "v-prediction"),
        (SD2, {"modelspec.prediction_type": "v_prediction"}, "v-prediction"),
        (SDXL, {"modelspec.prediction_type": "epsilon"}, None),
        ({**SDXL, "v_pred": ()}, {"modelspec.prediction_type": "v"}, "v-prediction"),
        (FLUX, {"modelspec.prediction_type": "v"}, "schnell"),
        (down(LORA_UNET, 2048), {"ss_v_parameterization": "True"}, "v-prediction"),
    ],
    ids=str,
)
def test_what_a_file_says_of_its_prediction(shapes: Shapes, metadata: dict[str, str], variant: str | None) -> None:
    assert identify(header(shapes, metadata)).variant == variant


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"10_a": {"cat": 3, "dog": 5}}', (("dog", 5), ("cat", 3))),
        ('{"a": {"cat": 3, "dog": 1}, "b": {"dog": 4, " cat ": 1}}', (("dog", 5), ("cat", 4))),
        ('{"a": {"first": 2, "second": 2, "": 9}}', (("first", 2), ("second", 2))),
        (json.dumps({"a": {str(n): n for n in range(300)}}), tuple((str(n), n) for n in range(299, 99, -1))),
        ("{}", ()),
        ('{"a": {}}', ()),
        ("", ()),
        ("null", ()),
        ('{"a": {"cat": -1}}', ()),
        ('{"a": {"cat": 1e99}}', ()),
        ('{"a": {"cat": "3"}}', ()),
        ('{"a": ' * 5_000, ()),
        ('{"a": {"cat"', ()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_training_tags_are_summed_and_sorted(text: str, expected: tuple[tuple[str, int], ...]) -> None:
    assert training_tags({"ss_tag_frequency": text}) == expected


def test_without_training_tags_there_are_none() -> None:
    assert training_tags({"ss_network_dim": "8"}) == ()

"""The recipe out of what each program writes (`tests/data/recipes`)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tensors.recipes import read_recipe, recipe_of
from tensors.types.recipe import Hash, Named, Recipe, RecipeHires, RecipeLora

RECORDED = Path(__file__).parent / "data" / "recipes"


def png(**texts: str) -> bytes:
    info = PngInfo()
    for key, text in texts.items():
        info.add_itxt(key, text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def recorded(name: str, key: str) -> Recipe:
    found = recipe_of(png(**{key: (RECORDED / name).read_text()}))
    assert found is not None
    return found


def named(written: str, name: str | None) -> Named:
    return Named(written=written, name=name)


def hashed(kind: str, value: str) -> Hash:
    return Hash(kind=kind, value=value)


EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "a1111.txt": (
        "parameters",
        {
            "program": "a1111",
            "version": "v1.10.1",
            "prompt": "lighthouse on a cliff, (stormy sea:1.2), gulls,\nwide shot",
            "negative_prompt": "lowres, text, Steps: none\nwatermark",
            "model": "v1-5-pruned-emaonly",
            "model_hash": hashed("autov2", "6ce0161689"),
            "width": 512,
            "height": 768,
            "steps": 28,
            "cfg_scale": 6.5,
            "sampler": named("DPM++ 2M", "dpm++2m"),
            "scheduler": named("Karras", "karras"),
            "seed": 3141592653,
            "clip_skip": 2,
            "loras": (
                RecipeLora(name="inkwash_v2", weight=0.8, hash=hashed("autov3", "0a1b2c3d4e5f")),
                RecipeLora(name="filmgrain", weight=0.35, hash=hashed("autov3", "112233445566")),
            ),
            "hires": RecipeHires(scale=1.5, upscaler="4x-UltraSharp", steps=14, denoising_strength=0.45),
            "vae": "vae-ft-mse-840000-ema-pruned",
            "rest": {
                "VAE hash": "735e4c3a44",
                "ADetailer model": "face_yolov8n.pt",
                "ADetailer prompt": "keeper's face, calm",
                "TI hashes": "badhands: aa11bb22cc33",
            },
        },
    ),
    "a1111-2022.txt": (
        "parameters",
        {
            "program": "a1111",
            "prompt": "a red bicycle against a wall",
            "negative_prompt": "",
            "model_hash": hashed("autov1", "45dee52b"),
            "width": 512,
            "height": 512,
            "steps": 20,
            "cfg_scale": 7.0,
            "sampler": named("Euler a", "euler_a"),
            "seed": 965400086,
        },
    ),
    "forge-flux.txt": (
        "parameters",
        {
            "program": "forge",
            "version": "f2.0.1v1.10.1-previous-549-gb9705c58",
            "prompt": "a paper boat in a puddle, morning light",
            "negative_prompt": "",
            "model": "flux1-dev-bnb-nf4-v2",
            "model_hash": hashed("autov2", "4610115bb0"),
            "width": 896,
            "height": 1152,
            "steps": 20,
            "cfg_scale": 1.0,
            "guidance": 3.5,
            "sampler": named("Euler", "euler"),
            "scheduler": named("Simple", "simple"),
            "seed": 12345,
            "rest": {"Module 1": "ae", "Module 2": "clip_l", "Module 3": "t5xxl_fp16"},
        },
    ),
    "civitai.txt": (
        "parameters",
        {
            "program": "civitai",
            "prompt": "a fox asleep in heather",
            "negative_prompt": "blurry",
            "model": "Pony Diffusion V6 XL",
            "model_version_id": 290640,
            "width": 832,
            "height": 1216,
            "steps": 25,
            "cfg_scale": 4.0,
            "sampler": named("Euler a", "euler_a"),
            "seed": 987654321,
            "clip_skip": 2,
            "loras": (RecipeLora(name="Ink, Wash", weight=0.7, version_id=555000),),
            "rest": {"Created Date": "2025-03-01T1200:00.0000000Z", "Civitai metadata": "{}"},
        },
    ),
    "civitai-extension.txt": (
        "parameters",
        {
            "program": "a1111",
            "version": "v1.6.0",
            "prompt": "a red kite",
            "negative_prompt": "",
            "model": "v1-5-pruned-emaonly",
            "model_hash": hashed("autov2", "6ce0161689"),
            "width": 512,
            "height": 512,
            "steps": 20,
            "cfg_scale": 7.0,
            "sampler": named("DPM++ 2M SDE Karras", None),
            "scheduler": named("DPM++ 2M SDE Karras", "karras"),
            "seed": 5,
            "loras": (RecipeLora(name="wind", weight=0.6, hash=hashed("autov2", "0a1b2c3d4e")),),
        },
    ),
    "fooocus-a1111.txt": (
        "parameters",
        {
            "program": "fooocus",
            "version": "Fooocus v2.5.5",
            "prompt": "a clay teapot, cinematic still",
            "negative_prompt": "anime",
            "model": "juggernautXL_v8Rundiffusion",
            "model_hash": hashed("autov2", "aeb7e9e689"),
            "width": 1152,
            "height": 896,
            "steps": 30,
            "cfg_scale": 4.0,
            "sampler": named("DPM++ 2M SDE Karras", None),
            "scheduler": named("karras", "karras"),
            "seed": 777,
            "loras": (
                RecipeLora(name="sd_xl_offset_example-lora_1.0", weight=0.1, hash=hashed("autov2", "4852686128")),
            ),
            "rest": {
                "Sharpness": "2",
                "ADM Guidance": "(1.5, 0.8, 0.3)",
                "Performance": "Speed",
                "Raw prompt": "a clay teapot",
            },
        },
    ),
    "fooocus.json": (
        "parameters",
        {
            "program": "fooocus",
            "version": "Fooocus v2.5.5",
            "prompt": "a clay teapot",
            "negative_prompt": "anime",
            "model": "juggernautXL_v8Rundiffusion",
            "model_hash": hashed("autov2", "aeb7e9e689"),
            "width": 1152,
            "height": 896,
            "steps": 30,
            "cfg_scale": 4.0,
            "sampler": named("dpmpp_2m_sde_gpu", None),
            "scheduler": named("karras", "karras"),
            "seed": 777,
            "clip_skip": 2,
            "loras": (
                RecipeLora(name="sd_xl_offset_example-lora_1.0", weight=0.1, hash=hashed("autov2", "4852686128")),
            ),
            "rest": {
                "adm_guidance": "(1.5, 0.8, 0.3)",
                "full_negative_prompt": '["anime"]',
                "full_prompt": '["a clay teapot", "cinematic still"]',
                "metadata_scheme": "fooocus",
                "performance": "Speed",
                "sharpness": "2",
                "styles": "['Fooocus V2']",
            },
        },
    ),
    "swarmui.json": (
        "parameters",
        {
            "program": "swarmui",
            "version": "0.9.6.2",
            "prompt": "a photo of a cat on a stair",
            "negative_prompt": "blurry",
            "model": "sd_xl_base_1.0",
            "model_hash": hashed("autov3", "ab" * 32),
            "width": 1024,
            "height": 1024,
            "steps": 20,
            "cfg_scale": 7.0,
            "sampler": named("dpmpp_2m", "dpm++2m"),
            "scheduler": named("karras", "karras"),
            "seed": 1,
            "clip_skip": 2,
            "loras": (
                RecipeLora(name="inkwash_v2", weight=0.8, hash=hashed("autov3", "cd" * 32)),
                RecipeLora(name="filmgrain", weight=-0.25),
            ),
            "hires": RecipeHires(scale=1.5, upscaler="4x-UltraSharp", denoising_strength=0.3),
            "rest": {
                "refinermethod": "PostApply",
                "automaticvae": "true",
                "date": "2025-05-01",
                "generation_time": "0.01 (prep) and 4.84 (gen) seconds",
            },
        },
    ),
    "swarmui-flux.json": (
        "parameters",
        {
            "program": "swarmui",
            "version": "0.9.1.1",
            "prompt": "a tin robot",
            "negative_prompt": "",
            "model": "flux1-dev-fp8",
            "width": 512,
            "height": 768,
            "steps": 25,
            "cfg_scale": 1.0,
            "guidance": 3.5,
            "sampler": named("euler", "euler"),
            "scheduler": named("normal", "discrete"),
            "seed": 42,
            "loras": (RecipeLora(name="a_lora", weight=1.0), RecipeLora(name="b_lora", weight=0.5)),
            "strength": 0.6,
            "vae": "ae",
            "rest": {"date": "2024-08-07"},
        },
    ),
    "invokeai-5.json": (
        "invokeai_metadata",
        {
            "program": "invokeai",
            "version": "5.4.2",
            "prompt": "a walled garden",
            "negative_prompt": "people",
            "model": "juggernautXL_v9",
            "model_hash": hashed("blake3", "12" * 32),
            "width": 832,
            "height": 1216,
            "steps": 30,
            "cfg_scale": 5.5,
            "sampler": named("dpmpp_2m_k", "dpm++2m"),
            "scheduler": named("dpmpp_2m_k", "karras"),
            "seed": 3400881859,
            "clip_skip": 2,
            "loras": (RecipeLora(name="inkwash_v2", weight=0.75, hash=hashed("blake3", "34" * 32)),),
            "strength": 0.6,
            "hires": RecipeHires(upscaler="ESRGAN", denoising_strength=0.45),
            "vae": "sdxl-vae-fp16-fix",
            "rest": {
                "generation_mode": "sdxl_txt2img",
                "rand_device": "cpu",
                "cfg_rescale_multiplier": "0.0",
                "seamless_x": "false",
                "seamless_y": "false",
            },
        },
    ),
    "invokeai-3.json": (
        "invokeai_metadata",
        {
            "program": "invokeai",
            "version": "3.3.0post3",
            "prompt": "hills",
            "negative_prompt": "low quality",
            "model": "deliberate_v2",
            "width": 768,
            "height": 432,
            "steps": 50,
            "cfg_scale": 7.5,
            "sampler": named("dpmpp_2m_sde_k", None),
            "scheduler": named("dpmpp_2m_sde_k", "karras"),
            "seed": 356120443,
            "clip_skip": 1,
            "loras": (RecipeLora(name="inkwash_v1", weight=0.5),),
            "vae": "sd-vae-ft-mse",
            "rest": {"generation_mode": "txt2img", "rand_device": "cpu"},
        },
    ),
    "invokeai-2.json": (
        "sd-metadata",
        {
            "program": "invokeai",
            "version": "2.3.0",
            "prompt": "a steam tram in fog",
            "negative_prompt": "people, cars",
            "model": "deliberate_v2",
            "model_hash": hashed("sha256", "56" * 32),
            "width": 512,
            "height": 768,
            "steps": 50,
            "cfg_scale": 5.0,
            "sampler": named("k_euler_a", "euler_a"),
            "seed": 2980747362,
            "rest": {
                "threshold": "0",
                "perlin": "0.0",
                "seamless": "false",
                "hires_fix": "false",
                "type": "txt2img",
            },
        },
    ),
    "invokeai-1.txt": (
        "Dream",
        {
            "program": "invokeai",
            "prompt": "a steam tram in fog",
            "negative_prompt": "people",
            "width": 512,
            "height": 768,
            "steps": 50,
            "cfg_scale": 7.5,
            "sampler": named("k_lms", None),
            "seed": 2980747362,
        },
    ),
    "sd-server-plain.txt": (
        "parameters",
        {
            "program": "sd-server",
            "version": "stable-diffusion.cpp",
            "prompt": "a red circle on a white background",
            "negative_prompt": "",
            "model": "shapes",
            "width": 64,
            "height": 64,
            "steps": 3,
            "cfg_scale": 7.0,
            "guidance": 3.5,
            "seed": 7,
            "rest": {
                "Eta": "inf",
                "RNG": "cuda",
                "strength": "0.75",
                "models": '{"taesd": "shapes.safetensors"}',
                "mode": "img_gen",
            },
        },
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_value_of_a_record_is_found(name: str) -> None:
    key, expected = EXPECTED[name]
    assert recorded(name, key) == Recipe(**expected)


def test_a_file_as_sd_server_wrote_it() -> None:
    assert read_recipe(RECORDED / "sd-server.png") == Recipe(
        program="sd-server",
        version="stable-diffusion.cpp",
        prompt="a blue square, café 猫\nsecond line: with, marks",
        negative_prompt="green, blurry\nred",
        model="shapes",
        width=64,
        height=72,
        steps=4,
        cfg_scale=2.5,
        guidance=3.5,
        sampler=named("euler_a", "euler_a"),
        scheduler=named("karras", "karras"),
        seed=42,
        clip_skip=2,
        loras=(RecipeLora(name="shapes-outline", weight=0.8),),
        hires=RecipeHires(scale=2.0, upscaler="Latent (nearest)", steps=2, denoising_strength=0.6),
        rest={
            "Eta": "inf",
            "RNG": "cuda",
            "strength": "0.75",
            "models": '{"taesd": "shapes.safetensors"}',
            "mode": "img_gen",
        },
    )


def test_an_older_sd_server_without_json_is_read_from_its_line() -> None:
    text = (RECORDED / "sd-server-plain.txt").read_text().partition(", SDCPP: ")[0]
    found = recipe_of(png(parameters=text.replace("Sampler: NONE", "Sampler: euler_a karras")))
    assert found is not None
    assert (found.program, found.model, found.steps, found.guidance) == ("sd-server", "shapes", 3, 3.5)
    assert found.sampler == named("euler_a karras", "euler_a")
    assert found.scheduler == named("euler_a karras", "karras")


def test_what_comfyuis_own_saving_nodes_wrote_is_completed_from_the_graph() -> None:
    text = "a tin robot\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 7, Version: ComfyUI"
    graph = (RECORDED / "comfyui-efficient.json").read_text()
    found = recipe_of(png(parameters=text, prompt=graph))
    assert found is not None
    assert (found.program, found.sampler) == ("comfyui", named("Euler a", "euler_a"))
    assert (found.model, found.strength, [lora.name for lora in found.loras]) == ("dreamshaper_8", 0.55, ["a"])


@pytest.mark.parametrize(
    "texts",
    [
        {},
        {"parameters": "a cat on a mat"},
        {"parameters": '{"a": 1}'},
        {"parameters": "[]"},
        {"prompt": "a prompt and no graph"},
        {"prompt": "{}", "workflow": "[1, 2]"},
        {"invokeai_metadata": "null", "sd-metadata": '{"image": 3}', "Dream": 'an open " quote'},
        {"tsr": '{"id": 1}'},
        {"Comment": "made with love"},
    ],
)
def test_a_picture_that_does_not_tell_has_no_recipe(texts: dict[str, str]) -> None:
    assert recipe_of(png(**texts)) is None

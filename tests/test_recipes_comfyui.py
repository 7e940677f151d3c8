"""Following ComfyUI's graphs, also those that lead nowhere or in circles."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tensors.recipes import comfyui
from tensors.types.recipe import Named, Recipe, RecipeHires, RecipeLora

RECORDED = Path(__file__).parent / "data" / "recipes"
BOUND = 5.0
"""Seconds; what is refused early takes milliseconds, what is not would take minutes."""


def read(graph: dict[str, Any]) -> Recipe:
    found = comfyui.read({"prompt": json.dumps(graph)})
    assert found is not None
    return found


def recorded(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RECORDED / f"comfyui-{name}.json").read_text())
    return document


def without_rest(recipe: Recipe) -> dict[str, Any]:
    return {
        name: value
        for name in Recipe.__dataclass_fields__
        if name != "rest" and (value := getattr(recipe, name)) not in (None, ())
    }


def named(written: str, name: str | None) -> Named:
    return Named(written=written, name=name)


EXPECTED: dict[str, dict[str, Any]] = {
    "sdxl": {
        "prompt": "a walled garden,\nespaliered pears",
        "negative_prompt": "people, text",
        "model": "juggernautXL_v9",
        "width": 832,
        "height": 1216,
        "steps": 25,
        "cfg_scale": 6.0,
        "sampler": named("dpmpp_2m", "dpm++2m"),
        "scheduler": named("karras", "karras"),
        "seed": 1125899906842624,
        "clip_skip": 2,
        "loras": (RecipeLora(name="inkwash_v2", weight=0.8), RecipeLora(name="filmgrain", weight=0.35)),
        "hires": RecipeHires(scale=1.5, upscaler="Latent (nearest-exact)", steps=12, denoising_strength=0.5),
        "vae": "sdxl_vae",
    },
    "flux": {
        "prompt": "a paper boat in a puddle",
        "model": "flux1-dev-Q4_K_S",
        "width": 1024,
        "height": 768,
        "steps": 20,
        "guidance": 3.5,
        "sampler": named("euler", "euler"),
        "scheduler": named("simple", "simple"),
        "seed": 219670278747233,
        "loras": (RecipeLora(name="flux_ink", weight=0.9),),
        "vae": "ae",
    },
    "refiner": {
        "prompt": "evening sunset scenery",
        "negative_prompt": "text, watermark",
        "model": "sd_xl_base_1.0",
        "width": 1024,
        "height": 1024,
        "steps": 25,
        "cfg_scale": 8.0,
        "sampler": named("euler", "euler"),
        "scheduler": named("normal", "discrete"),
        "seed": 721897303308196,
    },
    "efficient": {
        "prompt": "a tin robot",
        "negative_prompt": "rust",
        "model": "dreamshaper_8",
        "steps": 20,
        "cfg_scale": 7.0,
        "sampler": named("euler_ancestral", "euler_a"),
        "scheduler": named("normal", "discrete"),
        "seed": 7,
        "clip_skip": 2,
        "loras": (RecipeLora(name="a", weight=0.6),),
        "strength": 0.55,
    },
    "upscaled": {
        "prompt": "a tin robot & its dog",
        "negative_prompt": "",
        "model": "dreamshaper_8",
        "width": 512,
        "height": 512,
        "steps": 20,
        "cfg_scale": 7.0,
        "sampler": named("uni_pc", None),
        "scheduler": named("beta", None),
        "seed": 7,
        "hires": RecipeHires(scale=2.0, upscaler="4x-UltraSharp", steps=10, denoising_strength=0.4),
    },
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_graph_is_followed_from_the_saved_picture(name: str) -> None:
    found = comfyui.read({"prompt": (RECORDED / f"comfyui-{name}.json").read_text()})
    assert found is not None
    assert without_rest(found) == {"program": "comfyui", **EXPECTED[name]}
    assert "KSampler" in found.rest["nodes"]


def test_without_a_prompt_the_drawn_graph_is_read() -> None:
    found = comfyui.read({"prompt": "", "workflow": (RECORDED / "comfyui-workflow.json").read_text()})
    assert found is not None
    assert without_rest(found) == {
        "program": "comfyui",
        "prompt": "a bottle on a beach",
        "negative_prompt": "text, watermark",
        "model": "v1-5-pruned-emaonly",
        "width": 512,
        "height": 640,
        "steps": 20,
        "cfg_scale": 8.0,
        "sampler": named("euler", "euler"),
        "scheduler": named("normal", "discrete"),
        "seed": 156680208700286,
    }


def test_what_leads_nowhere_is_none_and_the_rest_is_found() -> None:
    graph = recorded("sdxl")
    for missing in ("4", "20", "21", "16"):
        del graph[missing]
    found = read(graph)
    assert (found.model, found.seed, found.prompt, found.vae) == (None, None, None, None)
    assert (found.negative_prompt, found.steps, len(found.loras)) == ("people, text", 25, 2)


def test_the_prompt_of_a_switched_off_negative_is_empty_and_not_unknown() -> None:
    graph = recorded("flux")
    graph["22"] = {
        "class_type": "CFGGuider",
        "inputs": {"model": ["30", 0], "positive": ["26", 0], "negative": ["40", 0], "cfg": 1.5},
    }
    graph["40"] = {"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["6", 0]}}
    found = read(graph)
    assert (found.prompt, found.negative_prompt, found.cfg_scale) == ("a paper boat in a puddle", "", 1.5)


def test_of_several_saved_pictures_the_one_with_most_passes_counts() -> None:
    graph = recorded("upscaled")
    early = {"0": {"class_type": "SaveImage", "inputs": {"images": ["6", 0]}}}
    assert without_rest(read({**early, **graph})) == {"program": "comfyui", **EXPECTED["upscaled"]}


def test_what_a_terminal_would_obey_is_taken_out_of_prompts() -> None:
    graph = recorded("upscaled")
    graph["13"]["inputs"]["value"] = "its\x1b[31m dog\u202e\n\ud800"
    assert read(graph).prompt == "a tin robot & its[31m dog\n\ufffd"


def test_two_prompts_that_are_combined_are_both_there() -> None:
    graph = recorded("upscaled")
    graph["20"] = {
        "class_type": "ConditioningCombine",
        "inputs": {"conditioning_1": ["2", 0], "conditioning_2": ["21", 0]},
    }
    graph["21"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "in rain", "clip": ["1", 1]}}
    graph["5"]["inputs"]["positive"] = ["20", 0]
    assert read(graph).prompt == "a tin robot & its dog, in rain"


def test_an_absolute_size_tells_the_scale() -> None:
    graph = recorded("upscaled")
    graph["9"] = {"class_type": "ImageScale", "inputs": {"upscale_method": "lanczos", "width": 768, "image": ["6", 0]}}
    assert read(graph).hires == RecipeHires(scale=1.5, upscaler="Lanczos", steps=10, denoising_strength=0.4)


def test_reroutes_are_passed_through() -> None:
    graph = recorded("upscaled")
    for key, source in (("30", ["1", 0]), ("31", ["2", 0]), ("32", ["4", 0])):
        graph[key] = {"class_type": "Reroute", "inputs": {"": source}}
    graph["5"]["inputs"] |= {"model": ["30", 0], "positive": ["31", 0], "latent_image": ["32", 0]}
    assert without_rest(read(graph)) == {"program": "comfyui", **EXPECTED["upscaled"]}


def test_a_graph_without_a_sampler_tells_its_nodes() -> None:
    assert read({"1": {"class_type": "LoadImage", "inputs": {}}}) == Recipe(
        program="comfyui", rest={"nodes": "LoadImage"}
    )


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


CIRCLES: dict[str, dict[str, Any]] = {
    "a sampler behind itself": {
        "1": node("KSampler", seed=1, steps=2, latent_image=["2", 0], model=["1", 0], positive=["1", 0]),
        "2": node("LatentUpscale", samples=["1", 0]),
        "3": node("SaveImage", images=["1", 0]),
    },
    "models, texts and values in a ring": {
        "1": node("KSampler", seed=["5", 0], steps=2, latent_image=["4", 0], model=["2", 0], positive=["3", 0]),
        "2": node("LoraLoader", lora_name=["2", 0], model=["2", 0], lora_stack=["2", 0]),
        "3": node("CLIPTextEncode", text=["3", 0], clip=["3", 0], conditioning=["3", 0]),
        "4": node("Any", samples=["4", 0]),
        "5": node("Primitive", value=["6", 0]),
        "6": node("Primitive", value=["5", 0]),
        "7": node("SaveImage", images=["1", 0]),
    },
}


@pytest.mark.parametrize("name", CIRCLES)
def test_circles_end(name: str) -> None:
    found = read(CIRCLES[name])
    assert (found.steps, found.prompt, found.model, found.hires) == (2, None, None, None)


def hostile(shape: str) -> dict[str, Any]:
    many = 2000
    links = {f"i{number}": [str(number), 0] for number in range(200)}
    if shape == "everything linked to everything":
        return {
            str(number): node("SaveImage", **{f"i{k}": [str((number * k + 1) % many), 0] for k in range(200)})
            for number in range(many)
        }
    if shape == "a chain of samplers":
        return {
            str(number): node("KSampler", seed=1, steps=1, latent_image=[str(number + 1), 0], **links)
            for number in range(many)
        }
    if shape == "loaders with stacks":
        return {
            str(number): node(
                "KSampler" if number == 0 else "LoraLoader",
                seed=1,
                latent_image=1,
                model=[str(number + 1), 0],
                clip=[str(number + 1), 0],
                positive=[str(number + 1), 0],
                lora_stack=[str((number * 7 + 1) % many), 0],
                lora_name=f"lora{number}",
            )
            for number in range(many)
        }
    assert shape == "texts of texts"
    return {
        str(number): node(
            "KSampler" if number == 0 else "Text Concatenate",
            seed=1,
            latent_image=1,
            positive=[str(number + 1), 0],
            text_a=[str((number * 3 + 1) % many), 0],
            text_b=[str((number * 5 + 2) % many), 0],
        )
        for number in range(many)
    }


@pytest.mark.parametrize(
    "shape",
    ["everything linked to everything", "a chain of samplers", "loaders with stacks", "texts of texts"],
)
def test_a_graph_made_to_keep_us_busy_takes_little_time(shape: str) -> None:
    text = json.dumps(hostile(shape))
    started = time.process_time()
    assert comfyui.read({"prompt": text}) is not None
    assert time.process_time() - started < BOUND

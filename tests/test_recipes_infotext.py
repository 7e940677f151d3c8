"""A1111's text: read as A1111 and CivitAI read it, and what we write comes back as it was."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image as Pictures

from tensors.fields import harmless
from tensors.infotext import infotext
from tensors.png import with_text
from tensors.recipes import recipe_of, recipe_of_text
from tensors.recipes.a1111 import settings
from tensors.recipes.embedded import OWN_KEY
from tensors.recipes.tsr import read as read_record
from tensors.samplers import SAMPLERS, SCHEDULERS
from tensors.types.gallery import Image
from tensors.types.generation import MAX_SEED, Hires, Settings, UsedLora, UsedModel
from tensors.types.recipe import Hash, Recipe, RecipeHires, RecipeLora

ODD = st.characters(exclude_categories=["Cs"])
WORDS = st.one_of(
    st.text(ODD, max_size=12),
    st.sampled_from(
        [
            *("Steps: 20, Seed: 1, Size: 8x8", "Negative prompt: x", "Model: y, ", '"', "\\", "\n", "\n\n", ",", ": "),
            *("Hashes: {", "}", "<", ">", "猫", "🦊", "Lora hashes: ", "Version: v1", "SDCPP: {}", "\tx", "é"),
        ]
    ),
)
PROMPTS = st.lists(WORDS, max_size=8).map(lambda parts: harmless("".join(parts)).strip())
NAMES = st.one_of(
    st.sampled_from(["v1-5-pruned", "a, Seed: 1", "a: b", 'say "x"', "{x}", '{"a": 1}', "[1]", "\\", '"q"', "sub/猫"]),
    st.text(ODD, min_size=1, max_size=20),
).filter(lambda name: name == harmless(name).strip() and name.isprintable() and bool(name))
LORA_NAMES = NAMES.filter(lambda name: not set(name) & set("<>:") and name.replace(",", "") != "")
NUMBERS = st.floats(0, 50, allow_nan=False).map(lambda value: round(value, 7))
HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
HIRES = st.builds(
    Hires,
    scale=st.floats(1, 8).map(lambda value: round(value, 4)),
    upscaler=st.sampled_from(["Latent", "Latent (nearest-exact)", "4x-UltraSharp", "a, b: c"]),
    steps=st.integers(0, 100),
    denoising_strength=st.floats(0, 1).map(lambda value: round(value, 6)),
)
LORAS = st.lists(
    st.builds(UsedLora, name=LORA_NAMES, weight=st.floats(-10, 10).map(lambda x: round(x, 6)), autov3=st.none() | HEX),
    max_size=4,
    unique_by=lambda lora: lora.name.replace(",", ""),
).map(tuple)
SETTINGS = st.builds(
    Settings,
    prompt=PROMPTS,
    negative_prompt=PROMPTS,
    model=st.builds(UsedModel, name=NAMES, family=st.just("sdxl"), sha256=st.none() | HEX),
    width=st.integers(8, 512).map(lambda side: side * 8),
    height=st.integers(8, 512).map(lambda side: side * 8),
    steps=st.integers(1, 100),
    cfg_scale=NUMBERS,
    guidance=st.none() | NUMBERS,
    sampler=st.sampled_from(sorted(SAMPLERS)),
    scheduler=st.sampled_from(sorted(SCHEDULERS)),
    seed=st.integers(0, MAX_SEED),
    clip_skip=st.none() | st.integers(1, 12),
    loras=LORAS,
    strength=st.none() | st.floats(0, 1).map(lambda value: round(value, 6)),
    hires=st.none() | HIRES,
)
PLAIN = Settings(
    prompt="a cat",
    negative_prompt="",
    model=UsedModel(name="shapes", family="shapes"),
    width=64,
    height=72,
    steps=10,
    cfg_scale=2.0,
    sampler="euler_a",
    scheduler="discrete",
    seed=42,
)
KEYS = ("Negative prompt:", "Steps: ", "Template: ", "Negative Template: ")
"""What readers of the format take for its parts at the beginning of a line."""


def image_of(used: Settings) -> Image:
    return Image(
        id="20261122-184901-123_42",
        created="2026-11-22T18:49:01.123Z",
        job="j",
        index=0,
        width=64,
        height=72,
        settings=used,
        engine="sd-server 1",
        tsr="0.1.0",
        path="/gallery/x.png",
    )


def recipe_of_written(used: Settings) -> Recipe:
    found = recipe_of_text(infotext(image_of(used)))
    assert found is not None
    return found


def has_key_line(text: str) -> bool:
    return any(line.lstrip().startswith(KEYS) for line in text.split("\n"))


def lines_of(text: str) -> str:
    return "\n".join(line.removesuffix("\r") for line in text.split("\n")).strip()


def tagged(prompt: str) -> bool:
    return bool(re.search(r"<(?:lora|lyco):", prompt, re.IGNORECASE))


@given(used=SETTINGS)
@example(used=replace(PLAIN, prompt="", negative_prompt=""))
@example(used=replace(PLAIN, cfg_scale=7.1234567, loras=(UsedLora(name="x", weight=0.00001),)))
@example(used=replace(PLAIN, strength=0.3, hires=Hires()))
@example(used=replace(PLAIN, prompt="{red|green} cat"))
@example(used=replace(PLAIN, prompt=",", loras=(UsedLora(name="x", weight=1),)))
@example(used=replace(PLAIN, prompt="a,\nSteps: 1, Seed: 9, Size: 8x8", negative_prompt="b\n\n Negative prompt: c"))
def test_what_is_written_is_read_again(used: Settings) -> None:
    found = recipe_of_written(used)
    assert (found.program, found.version, found.rest) == ("tsr", "0.1.0", {"engine": "sd-server 1"})
    if not has_key_line(used.prompt.split("\n")[0]):
        if not (has_key_line(used.prompt) or tagged(used.prompt)):
            assert found.prompt == lines_of(used.prompt)
        if not has_key_line(used.negative_prompt):
            assert found.negative_prompt == lines_of(used.negative_prompt)
    numbers = (found.width, found.height, found.steps, found.cfg_scale, found.guidance, found.seed, found.clip_skip)
    assert numbers == (
        *(used.width, used.height, used.steps, used.cfg_scale, used.guidance, used.seed),
        used.clip_skip,
    )
    assert found.sampler is not None
    assert found.scheduler is not None
    assert (found.sampler.name, found.scheduler.name) == (used.sampler, used.scheduler)
    assert found.model == used.model.name
    assert found.model_hash == (used.model.sha256 and Hash(kind="autov2", value=used.model.sha256[:10]))
    assert found.strength == used.strength
    assert found.hires == (
        used.hires
        and RecipeHires(
            scale=used.hires.scale,
            upscaler=used.hires.upscaler,
            steps=used.hires.steps or None,
            denoising_strength=used.hires.denoising_strength,
        )
    )
    if not (tagged(used.prompt) or has_key_line(used.prompt.split("\n")[0])):
        assert found.loras == tuple(
            RecipeLora(
                name=lora.name,
                weight=lora.weight,
                hash=Hash(kind="autov3", value=lora.autov3[:12]) if lora.autov3 else None,
            )
            for lora in used.loras
        )


@given(used=SETTINGS)
def test_our_record_in_a_picture_is_read_to_the_letter(used: Settings) -> None:
    import msgspec

    out = io.BytesIO()
    Pictures.new("L", (2, 2)).save(out, "PNG")
    image = image_of(used)
    record = msgspec.json.encode(image).decode()
    found = recipe_of(with_text(out.getvalue(), {"parameters": infotext(image), OWN_KEY: record}))
    assert found == read_record(record)
    assert found is not None
    assert (found.prompt, found.negative_prompt) == (used.prompt, used.negative_prompt)
    assert [(lora.name, lora.hash and lora.hash.value) for lora in found.loras] == [
        (lora.name, lora.autov3) for lora in used.loras
    ]


def as_a1111_reads(text: str) -> dict[str, str]:
    """A1111's rule: the last line; keys of word characters, spaces, `-`, `/`; a value in quotes or up to a comma."""
    pattern = re.compile(r'(\w[\w /-]+):\s*("(?:[^"\\]|\\.)+"|[^,]*)(?:,|$)')
    pairs = pattern.findall(text.strip().split("\n")[-1])
    return {key: json.loads(value) if value[:1] == '"' == value[-1:] else value for key, value in pairs}


@given(used=SETTINGS)
@example(used=replace(PLAIN, loras=(UsedLora(name="a, Seed 1", weight=1, autov3="a" * 64),)))
def test_a1111_and_civitai_read_our_text(used: Settings) -> None:
    text = infotext(image_of(used))
    read = as_a1111_reads(text)
    assert (read["Steps"], read["Seed"]) == (str(used.steps), str(used.seed))
    assert (read["Model"], read["Size"]) == (used.model.name, f"{used.width}x{used.height}")
    assert read["Version"] == "tsr 0.1.0 (sd-server 1)"
    if has_key_line(used.prompt.split("\n")[0]):
        return
    # CivitAI takes the first line that begins with the steps, and in it the first `Hashes` up to the first `}`.
    line = next(line for line in text.split("\n") if line.startswith("Steps: "))
    assert line == text.split("\n")[-1]
    expected = {"model": used.model.sha256[:10]} if used.model.sha256 else {}
    expected |= {f"lora:{lora.name}": lora.autov3[:12] for lora in used.loras if lora.autov3}
    written = re.search(r", Hashes:\s*(\{[^}]+\})", line)
    if expected and "Hashes" not in used.model.name:
        assert written is not None
        assert json.loads(written[1]) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('A b: 1, C-d/e: "x, y: \\"z\\"\\n", F: ', {"A b": "1", "C-d/e": 'x, y: "z"\n', "F": ""}),
        ("Ratio: 1, 2, 3, Seed: 4", {"Ratio": "1, 2, 3", "Seed": "4"}),
        ('A: {"b": 1, "c": [2, 3]}, D: 4', {"A": '{"b": 1, "c": [2, 3]}', "D": "4"}),
        ('A: "open, B: 2', {"A": '"open', "B": "2"}),
        ('A: "x" y, B: 2', {"A": '"x" y', "B": "2"}),
        ("A: {b, C: 2", {"A": "{b", "C": "2"}),
        ("no pairs, here", {}),
        ("", {}),
    ],
)
def test_a_line_of_settings(line: str, expected: dict[str, str]) -> None:
    assert settings(line) == expected


LINE = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"


@pytest.mark.parametrize(
    ("text", "prompt", "negative"),
    [
        (f"a\nSteps: 3, x: 1, y: 2\nb\n{LINE}", "a\nSteps: 3, x: 1, y: 2\nb", ""),
        (f"a\nNegative prompt: b\nNegative prompt: c\n{LINE}", "a", "b\nNegative prompt: c"),
        (f"a\r\nNegative prompt: b\r\n{LINE}\r\n", "a", "b"),
        (f"\nNegative prompt: b\n{LINE}", "", "b"),
        (LINE, "", ""),
        (f"a\n{LINE}, Version: v1.6.0\nTemplate: b, c", "a", ""),
        (f"a <lora:x:1>, <lyco:y>, b\n{LINE}", "a, b", ""),
        (f"<lora:x:1>\n a  b\n{LINE}", "a  b", ""),
    ],
)
def test_prompts_that_look_like_something_else(text: str, prompt: str, negative: str) -> None:
    found = recipe_of_text(text)
    assert found is not None
    assert (found.prompt, found.negative_prompt, found.steps, found.seed) == (prompt, negative, 20, 5)


@pytest.mark.parametrize(
    ("tag", "weight"),
    [
        ("x", 1.0),
        ("x:0.5", 0.5),
        ("x:-1", -1.0),
        ("x:1:0.25", 0.25),
        ("x:te=1:unet=0.75", 0.75),
        ("x:0.5:lbw=FACE", 0.5),
        ("x:heavy", 1.0),
    ],
)
def test_the_weight_of_a_lora(tag: str, weight: float) -> None:
    found = recipe_of_text(f"a <lora:{tag}>\n{LINE}")
    assert found is not None
    assert found.loras == (RecipeLora(name="x", weight=weight),)


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("Hires upscale: 2, Hires upscaler: Latent", RecipeHires(scale=2.0, upscaler="Latent")),
        ("Hires resize: 768x768, Hires steps: 5", RecipeHires(scale=1.5, steps=5)),
        ("Hires upscaler: None", RecipeHires(upscaler="None")),
        ("Denoising strength: 0.4", None),
    ],
)
def test_the_hires_fix(pairs: str, expected: Any) -> None:
    found = recipe_of_text(f"a\n{LINE}, {pairs}")
    assert found is not None
    assert found.hires == expected
    assert found.strength == (0.4 if expected is None else None)


def test_names_are_texts_that_can_be_printed_and_sent() -> None:
    found = recipe_of_text(f'a\n{LINE}, Lora hashes: "\\ud800x\\u001b: 0a1b2c3d4e5f", Note: "\\udfff, \\u0007"')
    assert found is not None
    assert found.loras == (RecipeLora(name="\ufffdx", hash=Hash(kind="autov3", value="0a1b2c3d4e5f")),)
    assert found.rest == {"Note": "\ufffd, "}


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1e999", "-1", "NaN", "٣", "0x10", "", "20 px", "18446744073709551616", "1" + "0" * 300]
)
def test_numbers_that_are_none_are_left_out(value: str) -> None:
    found = recipe_of_text(f"a\nSteps: 1, CFG scale: 2, Size: {value}x{value}, Seed: {value}")
    assert found is not None
    assert (found.seed, found.width, found.height) == (None, None, None)

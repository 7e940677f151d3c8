"""The `parameters` text of a picture, word by word."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tensors.infotext import infotext
from tensors.types.gallery import Image
from tensors.types.generation import Hires, Settings, UsedLora, UsedModel

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


def text_of(**changes: Any) -> str:
    image = Image(
        id="20261122-184901-123_42",
        created="2026-11-22T18:49:01.123Z",
        job="j",
        index=0,
        width=64,
        height=72,
        settings=dataclasses.replace(PLAIN, **changes),
        engine="sd-server 1",
        tsr="0.1.0",
        path="/gallery/x.png",
    )
    return infotext(image)


HEAD = "Steps: 10, Sampler: Euler a, Schedule type: Normal, CFG scale: 2"
SEED = "Seed: 42, Size: 64x72"
TAIL = "Version: tsr 0.1.0 (sd-server 1)"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, f"a cat\n{HEAD}, {SEED}, Model: shapes, {TAIL}"),
        (
            {"negative_prompt": "blurry, dark\nred"},
            f"a cat\nNegative prompt: blurry, dark\nred\n{HEAD}, {SEED}, Model: shapes, {TAIL}",
        ),
        (
            {"model": UsedModel(name="v1-5, pruned", family="sd15", sha256="0123456789abcdef" * 4)},
            f'a cat\n{HEAD}, {SEED}, Model hash: 0123456789, Model: "v1-5, pruned", '
            f'Hashes: {{"model": "0123456789"}}, {TAIL}',
        ),
        (
            {"sampler": "brand_new", "scheduler": "beta57", "cfg_scale": 6.5, "clip_skip": 2, "guidance": 3.5},
            "a cat\nSteps: 10, Sampler: brand_new, Schedule type: beta57, CFG scale: 6.5, Distilled CFG Scale: 3.5, "
            f"{SEED}, Model: shapes, Clip skip: 2, {TAIL}",
        ),
        (
            {"loras": (UsedLora(name="one", weight=1.0, autov3="a" * 64), UsedLora(name="two", weight=-0.25))},
            f"a cat <lora:one:1> <lora:two:-0.25>\n{HEAD}, {SEED}, Model: shapes, "
            f'Lora hashes: "one: aaaaaaaaaaaa", Hashes: {{"lora:one": "aaaaaaaaaaaa"}}, {TAIL}',
        ),
        (
            {
                "prompt": "",
                "loras": (
                    UsedLora(name="one", weight=0.8, autov3="a" * 64),
                    UsedLora(name="two", weight=2, autov3="b" * 64),
                ),
            },
            f"<lora:one:0.8> <lora:two:2>\n{HEAD}, {SEED}, Model: shapes, "
            'Lora hashes: "one: aaaaaaaaaaaa, two: bbbbbbbbbbbb", '
            f'Hashes: {{"lora:one": "aaaaaaaaaaaa", "lora:two": "bbbbbbbbbbbb"}}, {TAIL}',
        ),
        (
            {"init_image": "sha256:" + "0" * 64, "strength": 0.0},
            f"a cat\n{HEAD}, {SEED}, Model: shapes, Denoising strength: 0, {TAIL}",
        ),
        (
            {"hires": Hires(scale=1.5, upscaler="Latent (nearest)", steps=8, denoising_strength=0.1)},
            f"a cat\n{HEAD}, {SEED}, Model: shapes, Denoising strength: 0.1, Hires upscale: 1.5, Hires steps: 8, "
            f"Hires upscaler: Latent (nearest), {TAIL}",
        ),
        (
            {"hires": Hires()},
            f"a cat\n{HEAD}, {SEED}, Model: shapes, Denoising strength: 0.7, Hires upscale: 2, "
            f"Hires upscaler: Latent, {TAIL}",
        ),
    ],
)
def test_the_text_is_what_a1111_would_write(changes: dict[str, Any], expected: str) -> None:
    assert text_of(**changes) == expected
    assert "None" not in expected


@pytest.mark.parametrize("name", ["a, b", "a: b", 'say "cat"', "two\nlines", "猫: x"])
def test_a_value_that_would_break_the_line_is_quoted(name: str) -> None:
    last = text_of(model=UsedModel(name=name, family="sd15")).splitlines()[-1]
    quoted = last.partition("Model: ")[2].removesuffix(f", {TAIL}")
    assert json.loads(quoted) == name
    assert "\\u" not in quoted


def test_a_name_without_special_characters_is_not_quoted() -> None:
    assert "Model: v1-5 (pruned)_猫, " in text_of(model=UsedModel(name="v1-5 (pruned)_猫", family="sd15"))

"""Axes of values as they are written, and a request for each combination."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.errors import InvalidRequest
from tensors.sweep import MOST_CELLS, Axis, cells_of, parse_axis, seeded
from tensors.types.generation import MAX_SEED, GenerateRequest, Hires, Lora

BASE = GenerateRequest(prompt="a red circle on blue", seed=7)


def values(text: str) -> list[Any]:
    return [point.value for point in parse_axis(text).points]


def swept(*texts: str, base: GenerateRequest = BASE) -> list[GenerateRequest]:
    """The requests of a sweep, in its order."""
    return [cell.request for cell in cells_of(base, [parse_axis(text) for text in texts])]


@pytest.mark.parametrize(
    ("text", "field", "wanted"),
    [
        ("steps=10,20,30", "steps", [10, 20, 30]),
        ("steps= 10, 20", "steps", [10, 20]),
        ("steps=10..30:10", "steps", [10, 20, 30]),
        ("steps=10..29:10,5", "steps", [10, 20, 5]),
        ("seed=3..1", "seed", [3, 2, 1]),
        ("seed=5..5", "seed", [5]),
        ("cfg=4,7.5", "cfg_scale", [4.0, 7.5]),
        ("CFG-Scale=0.1..0.3:0.1", "cfg_scale", [0.1, 0.2, 0.3]),
        ("guidance=3..2:0.5", "guidance", [3.0, 2.5, 2.0]),
        ("clip-skip=1,2", "clip_skip", [1, 2]),
        ("size=64x64,832X1216", "size", [(64, 64), (832, 1216)]),
        ("sampler=euler,DPM++ 2M Karras", "sampler", ["euler", "DPM++ 2M Karras"]),
        ("model=a=b,c", "model", ["a=b", "c"]),
        ('prompt="a, b",c "d"', "prompt", ["a, b", 'c "d"']),
        ('prompt="a, b", "c, d"', "prompt", ["a, b", "c, d"]),
        ("negative=,fog", "negative_prompt", ["", "fog"]),
        ("prompt:red=red,,sky blue", "prompt:red", ["red", "", "sky blue"]),
        ("lora:x=.5,1", "lora:x", [0.5, 1.0]),
        ("lora=,x,y:0.5", "lora", [None, Lora(name="x"), Lora(name="y", weight=0.5)]),
        ("hires=1.5,2", "hires.scale", [1.5, 2.0]),
        ("hires-denoising-strength=0.3", "hires.denoising_strength", [0.3]),
        ("hires-strength=0.3", "hires.denoising_strength", [0.3]),
        ("hires.upscaler=Lanczos", "hires.upscaler", ["Lanczos"]),
    ],
)
def test_an_axis_is_read(text: str, field: str, wanted: list[Any]) -> None:
    assert parse_axis(text).field == field
    assert values(text) == wanted
    assert list(map(type, values(text))) == list(map(type, wanted))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("steps=10..12:2", ["steps 10", "steps 12"]),
        ("cfg=4.0,0.50,1e1", ["CFG scale 4", "CFG scale 0.5", "CFG scale 10"]),
        ("hires.denoising_strength=0.3", ["hires denoising strength 0.3"]),
        ("lora:my lora=0.4", ["my lora 0.4"]),
        ("lora=,x:0.5", ["none", "x:0.5"]),
        ("prompt:red=,blue", ["(empty)", "blue"]),
        ("size=64X128", ["64x128"]),
        ("sampler=euler", ["euler"]),
    ],
)
def test_values_are_shown_with_what_they_are(text: str, shown: list[str]) -> None:
    axis = parse_axis(text)
    assert [axis.said(position) for position in range(len(axis.points))] == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps", "sweep 'steps' has no values: it is written steps=10,20,30"),
        ("steps=", "sweep 'steps=' has no values"),
        ("stepz=1", "'stepz' cannot be swept; did you mean 'steps'?"),
        ("batch_size=1", "'batch_size' cannot be swept"),
        ("lora:=1", "'lora:' cannot be swept"),
        ("steps:x=1", "'steps:x' cannot be swept"),
        ("steps=1,,2", "sweep of steps: '' is not a number"),
        ("steps=ten", "sweep of steps: 'ten' is not a number, nor a range such as 10..30:10"),
        ("steps=1.5", "sweep of steps: '1.5' is not a whole number"),
        ("steps=1..2:0.5", "sweep of steps: '1..2:0.5' is not a whole number"),
        ("cfg=1..2:0", "sweep of cfg_scale: '1..2:0' never gets to its end"),
        ("cfg=1..", "sweep of cfg_scale: '1..' is not a number"),
        ("cfg=nan", "sweep of cfg_scale: 'nan' is far too large"),
        ("cfg=inf", "sweep of cfg_scale: 'inf' is far too large"),
        ("steps=1e999999", "sweep of steps: '1e999999' is far too large"),
        ("cfg=1e-999999", "sweep of cfg_scale: '1e-999999' is far too large, or too small"),
        ("seed=-1", "sweep of seed: a seed is not negative"),
        ("seed=0..10000", "sweep of seed: '0..10000' has more than 10,000 values"),
        ("seed=0..6000,7000..12000", "sweep of seed has more than 10,000 values"),
        ("steps=10,5..10:5", "sweep of steps has 10 twice"),
        ("cfg=1,1.0", "sweep of cfg_scale has 1 twice"),
        ("size=64", "sweep of size: '64' is not WIDTHxHEIGHT"),
        ("sampler=euler,", "sweep of sampler has an empty value"),
        ("lora=x:heavy", "sweep of lora: 'x:heavy' is not NAME or NAME:WEIGHT"),
        ('prompt="a', "sweep 'prompt=\"a' cannot be read"),
        ("prompt=a\nb", "sweep 'prompt=a\\nb' cannot be read"),
    ],
)
def test_what_cannot_be_swept_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_axis(text)
    assert caught.value.message.startswith(said)


@given(st.integers(-500, 500), st.integers(-500, 500), st.integers(1, 200), st.sampled_from(["1", "0.1", "0.25"]))
def test_a_range_has_both_ends_and_even_steps(first: int, last: int, step: int, unit: str) -> None:
    scaled = [Decimal(number) * Decimal(unit) for number in (first, last, step)]
    found = values(f"cfg_scale={scaled[0]}..{scaled[1]}:{scaled[2]}")
    sign = 1 if last >= first else -1
    assert found == [float(Decimal(number) * Decimal(unit)) for number in range(first, last + sign, sign * step)]


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for beginning in ("", "steps=", "cfg=", "prompt=", "lora=", "size="):
        try:
            axis = parse_axis(beginning + text)
        except InvalidRequest:
            continue
        assert len({point.value for point in axis.points}) == len(axis.points) > 0


AXES = {
    "steps": st.lists(st.integers(1, 100), min_size=1, max_size=4, unique=True),
    "cfg_scale": st.lists(st.integers(0, 50), min_size=1, max_size=4, unique=True),
    "seed": st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    "lora:x": st.lists(st.integers(-3, 3), min_size=1, max_size=3, unique=True),
    "sampler": st.lists(st.sampled_from(["euler", "heun", "lcm"]), min_size=1, unique=True),
}


@given(st.permutations(list(AXES)), st.integers(0, len(AXES)), st.data())
def test_every_combination_is_there_once_and_nothing_else_changes(
    order: list[str], count: int, data: st.DataObject
) -> None:
    chosen = {field: data.draw(AXES[field]) for field in order[:count]}
    axes = [parse_axis(f"{field}={','.join(map(str, points))}") for field, points in chosen.items()]
    cells = cells_of(BASE, axes)
    assert len({cell.place for cell in cells}) == len(cells) == math.prod(map(len, chosen.values()))
    for number, cell in enumerate(cells):
        for axis, position in zip(axes, cell.place, strict=True):
            wanted = axis.points[position].value
            if axis.field == "lora:x":
                assert cell.request.loras == (Lora(name="x", weight=wanted),)
            else:
                assert getattr(cell.request, axis.field) == wanted
            # The first axis changes fastest.
            assert number % len(axis.points) == position
            number //= len(axis.points)
    fields = {field.partition(":")[0].replace("lora", "loras") for field in chosen}
    for cell in cells:
        assert replace(cell.request, **{field: getattr(BASE, field) for field in fields}) == BASE


def test_a_size_is_both_sides() -> None:
    assert [(one.width, one.height) for one in swept("size=64x128,256x64")] == [(64, 128), (256, 64)]


def test_parts_of_the_prompt_are_replaced_all_at_once() -> None:
    prompts = [one.prompt for one in swept("prompt:red=red,blue", "prompt:blue=blue,red")]
    assert prompts == [
        *("a red circle on blue", "a blue circle on blue", "a red circle on red", "a blue circle on red"),
    ]
    base = replace(BASE, prompt="cat and catfish (cat)")
    assert [one.prompt for one in swept("prompt:cat=dog", "prompt:catfish=a\\1", base=base)] == ["dog and a\\1 (dog)"]
    both = swept("prompt:red=green", "prompt=a red star,the red sun")
    assert [one.prompt for one in both] == ["a green star", "the green sun"]


def test_a_lora_gets_its_weights_wherever_it_is_named() -> None:
    weights = ["lora:x=0.25,1"]
    other = Lora(name="y", weight=2)
    cases: Sequence[tuple[str, tuple[Lora, ...]]] = [
        ("a circle", (other,)),
        ("a circle", (Lora(name="x", weight=3), other)),
        ("a circle <lora:x:3>", (other,)),
        ("a circle <lora:y:2> <lora:x>", ()),
    ]
    for prompt, loras in cases:
        requests = swept(*weights, base=replace(BASE, prompt=prompt, loras=loras))
        assert [set(one.loras) for one in requests] == [{other, Lora(name="x", weight=w)} for w in (0.25, 1.0)]
        assert {one.prompt for one in requests} == {"a circle"}


def test_tags_of_loras_that_are_not_swept_stay_in_the_prompt() -> None:
    (request,) = swept("lora:x=1", base=replace(BASE, prompt="a <lora:y:2> b"))
    assert (request.prompt, request.loras) == ("a <lora:y:2> b", (Lora(name="x"),))


def test_loras_are_tried_one_after_the_other() -> None:
    base = replace(BASE, loras=(Lora(name="z"), Lora(name="y", weight=3)))
    assert [one.loras for one in swept("lora=,x,y:0.5", base=base)] == [
        (Lora(name="z"),),
        (Lora(name="z"), Lora(name="x")),
        (Lora(name="z"), Lora(name="y", weight=0.5)),
    ]


def test_the_hires_fix_keeps_what_is_not_swept() -> None:
    base = replace(BASE, hires=Hires(upscaler="Lanczos", steps=3))
    scales = [one.hires for one in swept("hires=1.5,2", "hires-steps=4", base=base)]
    assert scales == [Hires(scale=scale, upscaler="Lanczos", steps=4) for scale in (1.5, 2.0)]
    assert [one.hires for one in swept("hires=3")] == [Hires(scale=3.0)]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        (("steps=1", "steps=2"), "steps is swept twice"),
        (("size=64x64", "width=64,128"), "width is swept twice"),
        (("lora=x,y", "lora:x=1,2"), "lora:x is swept twice"),
        (("steps=10,200", "cfg=4"), "sweep at steps=200, cfg_scale=4: steps must be at most 100, not 200"),
        (("size=64x65",), "sweep at size=64x65: height must be a multiple of 8"),
        (("strength=0.5",), "sweep at strength=0.5: strength needs an init_image to start from"),
        (("lora:x=99",), "sweep at lora:x=99: loras[0].weight must be at most 10, not 99"),
        (("prompt:green=red",), "sweep at prompt:green=red: prompt has no 'green' in it"),
        (("prompt:a red circle on blue=,x",), "sweep at prompt:a red circle on blue=(empty): prompt must not be empty"),
        (("seed=1..101", "steps=1..100"), "the sweep has 10,100 combinations and at most 10,000 are allowed"),
    ],
)
def test_combinations_that_no_request_may_have_are_refused(axes: tuple[str, ...], said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        swept(*axes)
    assert caught.value.message.startswith(said)


def test_as_many_combinations_as_allowed_are_made() -> None:
    assert len(swept("seed=1..100", "steps=1..100")) == MOST_CELLS


@given(st.integers(1, 256), st.integers(0, 2**64))
def test_a_seed_is_drawn_where_there_is_none_and_leaves_room_for_the_batch(batch: int, number: int) -> None:
    request = seeded(replace(BASE, seed=-1, batch_size=batch), lambda most: number % most)
    assert 0 <= request.seed <= request.seed + batch - 1 <= MAX_SEED
    assert seeded(request, pytest.fail) is request
    last = seeded(replace(BASE, seed=-1, batch_size=batch), lambda most: most - 1)
    assert last.seed + batch - 1 == MAX_SEED


def test_without_axes_there_is_the_request_itself() -> None:
    axes: list[Axis] = []
    (cell,) = cells_of(BASE, axes)
    assert (cell.request, cell.place) == (BASE, ())

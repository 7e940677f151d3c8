"""Bounds of a request: the same words in Python (the command line) and in a JSON body (HTTP)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from annotated_types import Ge, Le
from hypothesis import example, given
from hypothesis import strategies as st

from tensors.checks import INJECTION, broken_bound, did_you_mean, refusal
from tensors.errors import InvalidRequest, MalformedBody
from tensors.server.body import GenerateBody, read_body
from tensors.types.generation import MAX_SEED, MAX_STEPS, GenerateRequest, Hires, Lora

PICTURE = "aGVsbG8="


def in_python(document: dict[str, Any]) -> GenerateRequest:
    """A request built as the command line builds it."""
    values = dict(document)
    if "loras" in values:
        values["loras"] = tuple(Lora(**lora) for lora in values["loras"])
    if "tags" in values:
        values["tags"] = tuple(values["tags"])
    if values.get("hires") is not None:
        values["hires"] = Hires(**values["hires"])
    return GenerateRequest(**values)


def in_json(document: dict[str, Any]) -> GenerateRequest:
    """The same request as the server reads it."""
    return read_body(GenerateBody, json.dumps(document).encode()).drawing()


def lora(name: str = "a", **values: Any) -> dict[str, Any]:
    return {"loras": [{"name": name, **values}]}


def from_picture(**values: Any) -> dict[str, Any]:
    return {"init_image": PICTURE, **values}


SLIPS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": ""}, "prompt must not be empty"),
    ({"prompt": " \n\t"}, "prompt must not be empty"),
    ({"prompt": "x" * 20_001}, "prompt is too long: 20,001 and at most 20,000 allowed"),
    ({"prompt": "a\0b"}, "prompt contains a NUL character"),
    (
        {"prompt": f"<{INJECTION.upper()}>"},
        f"prompt must not contain {INJECTION}: it would override the engine's settings",
    ),
    ({"negative_prompt": "x" * 20_001}, "negative_prompt is too long: 20,001 and at most 20,000 allowed"),
    ({"negative_prompt": "\0"}, "negative_prompt contains a NUL character"),
    ({"model": ""}, "model must not be empty"),
    ({"model": "m" * 256}, "model is too long: 256 and at most 255 allowed"),
    ({"model": "a\0"}, "model contains a NUL character"),
    ({"width": 56}, "width must be at least 64, not 56"),
    ({"width": 63}, "width must be at least 64, not 63"),
    ({"width": 100}, "width must be a multiple of 8, not 100: 96 or 104"),
    ({"width": 4097}, "width must be at most 4096, not 4097"),
    ({"height": 0}, "height must be at least 64, not 0"),
    ({"height": 65}, "height must be a multiple of 8, not 65: 64 or 72"),
    ({"height": 4104}, "height must be at most 4096, not 4104"),
    ({"steps": 0}, "steps must be at least 1, not 0"),
    ({"steps": MAX_STEPS + 1}, f"steps must be at most {MAX_STEPS}, not {MAX_STEPS + 1}"),
    ({"cfg_scale": -0.5}, "cfg_scale must be at least 0, not -0.5"),
    ({"cfg_scale": 51}, "cfg_scale must be at most 50, not 51"),
    ({"guidance": -1}, "guidance must be at least 0, not -1"),
    ({"guidance": 50.5}, "guidance must be at most 50, not 50.5"),
    ({"sampler": ""}, "sampler must not be empty"),
    ({"sampler": "s" * 65}, "sampler is too long: 65 and at most 64 allowed"),
    ({"scheduler": ""}, "scheduler must not be empty"),
    ({"scheduler": "s" * 65}, "scheduler is too long: 65 and at most 64 allowed"),
    ({"seed": -2}, "seed must be at least -1, not -2"),
    ({"seed": 2**31}, f"seed must be at most {MAX_SEED}, not {2**31}"),
    ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ({"batch_size": 257}, "batch_size must be at most 256, not 257"),
    ({"clip_skip": 0}, "clip_skip must be at least 1, not 0"),
    ({"clip_skip": 13}, "clip_skip must be at most 12, not 13"),
    ({"loras": [{"name": "a"}] * 33}, "loras is too long: 33 and at most 32 allowed"),
    ({"loras": [{"name": "a"}, {"name": ""}]}, "loras[1].name must not be empty"),
    (lora("n" * 256), "loras[0].name is too long: 256 and at most 255 allowed"),
    (lora("a\0"), "loras[0].name contains a NUL character"),
    (lora(weight=-10.5), "loras[0].weight must be at least -10, not -10.5"),
    (lora(weight=11), "loras[0].weight must be at most 10, not 11"),
    ({"tags": ["t"] * 65}, "tags is too long: 65 and at most 64 allowed"),
    ({"tags": ["t", ""]}, "tags[1] must not be empty"),
    ({"tags": ["t" * 65]}, "tags[0] is too long: 65 and at most 64 allowed"),
    ({"tags": ["\0"]}, "tags[0] contains a NUL character"),
    ({"mask": PICTURE}, "mask needs an init_image to redraw"),
    ({"strength": 0.5}, "strength needs an init_image to start from"),
    (from_picture(strength=-0.1), "strength must be at least 0, not -0.1"),
    (from_picture(strength=1.1), "strength must be at most 1, not 1.1"),
    ({"hires": {"scale": 0.5}}, "hires.scale must be at least 1, not 0.5"),
    ({"hires": {"scale": 9}}, "hires.scale must be at most 8, not 9"),
    ({"hires": {"upscaler": "u" * 101}}, "hires.upscaler is too long: 101 and at most 100 allowed"),
    ({"hires": {"upscaler": "\0"}}, "hires.upscaler contains a NUL character"),
    ({"hires": {"steps": -1}}, "hires.steps must be at least 0, not -1"),
    ({"hires": {"steps": MAX_STEPS + 1}}, f"hires.steps must be at most {MAX_STEPS}, not {MAX_STEPS + 1}"),
    ({"hires": {"denoising_strength": -1}}, "hires.denoising_strength must be at least 0, not -1"),
    ({"hires": {"denoising_strength": 2}}, "hires.denoising_strength must be at most 1, not 2"),
    (
        {"tags": [""], "seed": -2, "hires": {"scale": 9}, "mask": PICTURE},
        "seed must be at least -1, not -2 (and 3 more)",
    ),
]


@pytest.mark.parametrize(("slip", "message"), SLIPS, ids=[message[:50] for _, message in SLIPS])
def test_a_slip_reads_the_same_in_python_and_over_http(slip: dict[str, Any], message: str) -> None:
    document = {"prompt": "a cat", **slip}
    with pytest.raises(InvalidRequest) as here:
        in_python(document)
    with pytest.raises(InvalidRequest) as there:
        in_json(document)
    assert here.value.message == message
    assert there.value.to_wire() == here.value.to_wire()


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    ("field", "shape"),
    [
        ("cfg_scale", lambda number: {"cfg_scale": number}),
        ("guidance", lambda number: {"guidance": number}),
        ("strength", lambda number: from_picture(strength=number)),
        ("loras[0].weight", lambda number: lora(weight=number)),
        ("hires.scale", lambda number: {"hires": {"scale": number}}),
        ("hires.denoising_strength", lambda number: {"hires": {"denoising_strength": number}}),
    ],
)
def test_what_is_no_finite_number_is_refused(field: str, shape: Any, number: float) -> None:
    document = {"prompt": "a cat", **shape(number)}
    for read in (in_python, in_json):
        with pytest.raises(InvalidRequest) as caught:
            read(document)
        assert caught.value.message == f"{field} must be a finite number"


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="prompt contains half a surrogate pair"):
        GenerateRequest(prompt="\ud800")
    with pytest.raises(MalformedBody):
        in_json({"prompt": "\ud800"})


LIMITS: dict[str, tuple[Any, Any]] = {
    "prompt": ("x", "x" * 20_000),
    "negative_prompt": ("", "x" * 20_000),
    "model": ("m", "m" * 255),
    "width": (64, 4096),
    "height": (64, 4096),
    "steps": (1, MAX_STEPS),
    "cfg_scale": (0, 50),
    "guidance": (0, 50),
    "sampler": ("s", "s" * 64),
    "scheduler": ("s", "s" * 64),
    "seed": (-1, MAX_SEED),
    "batch_size": (1, 256),
    "clip_skip": (1, 12),
    "loras": ([], [{"name": "n" * 255, "weight": 10}, {"name": "n", "weight": -10}] * 16),
    "tags": ([], ["t" * 64] * 64),
    "init_image": (PICTURE, PICTURE),
    "hires": (
        {"scale": 1, "steps": 0, "denoising_strength": 0, "upscaler": ""},
        {"scale": 8, "steps": MAX_STEPS, "denoising_strength": 1, "upscaler": "u" * 100},
    ),
}


@pytest.mark.parametrize("end", [0, 1], ids=["lowest", "highest"])
def test_the_limits_themselves_are_allowed(end: int) -> None:
    document = {field: limits[end] for field, limits in LIMITS.items()}
    assert in_json(document) == in_python(document)


TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def words(low: int, high: int) -> st.SearchStrategy[str]:
    return st.text(TEXT, min_size=low, max_size=high).filter(lambda text: INJECTION not in text.lower())


def numbers(low: int, high: int) -> st.SearchStrategy[float]:
    return st.floats(low, high) | st.integers(low, high)


SIDES = st.integers(8, 512).map(lambda eighths: 8 * eighths)
OPTIONAL = {
    "negative_prompt": words(0, 30),
    "model": words(1, 30),
    "width": SIDES,
    "height": SIDES,
    "steps": st.integers(1, MAX_STEPS),
    "cfg_scale": numbers(0, 50),
    "guidance": numbers(0, 50),
    "sampler": words(1, 64),
    "scheduler": words(1, 64),
    "clip_skip": st.integers(1, 12),
}
GOOD = st.fixed_dictionaries(
    {"prompt": words(1, 50).filter(str.strip)},
    optional={
        **{field: st.none() | values for field, values in OPTIONAL.items()},
        "seed": st.integers(-1, MAX_SEED),
        "batch_size": st.integers(1, 256),
        "loras": st.lists(
            st.fixed_dictionaries({"name": words(1, 9)}, optional={"weight": numbers(-10, 10)}), max_size=32
        ),
        "tags": st.lists(words(1, 64), max_size=8),
        "hires": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "scale": numbers(1, 8),
                "upscaler": words(0, 100),
                "steps": st.integers(0, MAX_STEPS),
                "denoising_strength": numbers(0, 1),
            },
        ),
    },
)


@given(document=GOOD)
def test_whatever_is_inside_all_bounds_is_accepted(document: dict[str, Any]) -> None:
    assert in_json(document) == in_python(document)


OUTSIDE = st.one_of(
    *(
        st.tuples(st.just(field), st.integers(max_value=low - 1) | st.integers(min_value=high + 1))
        for field, low, high in (
            ("width", 64, 4096),
            ("height", 64, 4096),
            ("steps", 1, MAX_STEPS),
            ("seed", -1, MAX_SEED),
            ("batch_size", 1, 256),
            ("clip_skip", 1, 12),
        )
    ),
    st.tuples(st.sampled_from(["width", "height"]), st.integers(64, 4096).filter(lambda side: side % 8)),
    st.tuples(
        st.sampled_from(["cfg_scale", "guidance"]),
        st.floats(max_value=0, exclude_max=True) | st.floats(min_value=50, exclude_min=True),
    ),
)


@given(document=GOOD, slip=OUTSIDE)
@example(document={"prompt": "x"}, slip=("cfg_scale", math.nextafter(0, -1)))
@example(document={"prompt": "x"}, slip=("guidance", math.nextafter(50, 51)))
def test_one_value_out_of_bounds_is_refused_by_name(document: dict[str, Any], slip: tuple[str, Any]) -> None:
    field, value = slip
    with pytest.raises(InvalidRequest) as caught:
        in_python({**document, field: value})
    assert [problem["field"] for problem in caught.value.details["fields"]] == [field]
    with pytest.raises(InvalidRequest) as there:
        in_json({**document, field: value})
    assert there.value.to_wire() == caught.value.to_wire()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"prompt": "x", "width": "64"}', "width is not valid: input should be a valid integer"),
        ('{"prompt": "x", "steps": true}', "steps is not valid: input should be a valid integer"),
        ('{"prompt": "x", "wait": 1}', "wait is not valid: input should be a valid boolean"),
        ('{"prompt": 5}', "prompt is not valid: input should be a valid string"),
        ('{"prompt": null}', "prompt is not valid: input should be a valid string"),
        ('{"prompt": "x", "loras": {"name": "a"}}', "loras is not valid: input should be a valid array"),
        ('{"prompt": "x", "loras": [{}]}', "loras[0].name is required"),
        ('{"prompt": "x", "loras": [{"name": "a", "wait": 1}]}', "loras[0].wait is not a field of this request"),
        ('{"prompt": "x", "lora_strength": 1}', "lora_strength is not a field of this request"),
        ('{"lora_strength": 1, "steps": 0}', "prompt is required (and 2 more)"),
        ("{}", "prompt is required"),
        ("[]", "the body is not valid: input should be an object"),
    ],
)
def test_a_body_of_another_shape_is_refused(body: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_body(GenerateBody, body.encode())
    assert caught.value.message == message


@pytest.mark.parametrize("body", [b"", b"{", b"prompt=x", b'{"prompt": "\xff"}', b"[" * 100_000, b'{"prompt": "x"} {}'])
def test_a_body_that_is_no_json_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedBody):
        read_body(GenerateBody, body)


def test_how_to_answer_is_no_part_of_the_request() -> None:
    body = read_body(GenerateBody, b'{"prompt": "x", "wait": false, "return_base64": true, "tags": ["t"]}')
    assert (body.wait, body.return_base64) == (False, True)
    assert body.drawing() == GenerateRequest(prompt="x", tags=("t",))


def test_every_problem_is_in_the_details() -> None:
    error = refusal([("width", "is odd"), ("height", "is even")])
    assert error.message == "width is odd (and 1 more)"
    fields = [{"field": "width", "message": "is odd"}, {"field": "height", "message": "is even"}]
    assert error.details == {"fields": fields}


@given(value=st.floats() | st.integers())
def test_a_bound_holds_exactly_for_the_values_inside(value: float) -> None:
    assert (broken_bound(Ge(3), value) is None) == (math.isfinite(value) and value >= 3)
    assert (broken_bound(Le(3), value) is None) == (math.isfinite(value) and value <= 3)


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("ponny", "; did you mean 'ponyDiffusionV6XL'?"),
        ("PONYDIFFUSION", "; did you mean 'ponyDiffusionV6XL'?"),
        ("shaeps", "; did you mean 'shapes'?"),
        ("zzz", ""),
        ("", ""),
    ],
)
def test_did_you_mean(name: str, suggested: str) -> None:
    assert did_you_mean(name, ["shapes", "ponyDiffusionV6XL"]) == suggested

"""Whatever the bytes are: a recipe, none, or `NotAPicture`, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures_with_texts import chunk, exif, jpeg_with, png_with, segment, webp_with

from tensors.recipes import NotAPicture, recipe_of
from tensors.types.recipe import Recipe

RECORDED = Path(__file__).parent / "data" / "recipes"
FILES = sorted(path for path in RECORDED.iterdir() if path.suffix in (".txt", ".json"))
KEYS = (b"parameters", b"prompt", b"workflow", b"invokeai_metadata", b"sd-metadata", b"Dream", b"tsr")
WEIRD = [b"", b"\0", b'"', b"\\", b"{", b"[", b"]", b"}", b",", b":", b"\n", b"\xff", b"1e999", b"NaN", b"9" * 400]
WEIRD += [b"null", b"true", b"<lora:", b"\\ud800", b"-1", b"[1,2]", b'["3",0]', b"Steps: ", b"\xe2\x80\xae"]
BOUND = 5.0
"""Seconds of processor time; a quarter of one is the most that was seen."""


def outcome(data: bytes) -> Recipe | None:
    """The recipe, which can be sent and printed; None for none and for what is no picture."""
    try:
        found = recipe_of(data)
    except NotAPicture:
        return None
    if found is not None:
        assert msgspec.json.decode(msgspec.json.encode(found), type=Recipe) == found
    return found


def wrapped(text: bytes, key: bytes, container: int) -> bytes:
    if container == 0:
        return png_with(chunk(b"iTXt", key + b"\0\0\0\0\0" + text))
    if container == 1:
        return png_with(chunk(b"tEXt", key + b"\0" + text))
    if container == 2:
        return jpeg_with(segment(0xE1, (b"Exif\0\0" + exif(comment=b"ASCII\0\0\0" + text))[:65000]))
    return webp_with((b"EXIF", exif(t0110=key + b":" + text)))


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 50])))
        data[start:end] = draw(st.one_of(st.sampled_from(WEIRD), st.binary(max_size=6), st.just(bytes(data[:40]))))
    return bytes(data)


@given(data=st.binary(max_size=400), head=st.sampled_from([b"", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP"]))
def test_random_bytes(data: bytes, head: bytes) -> None:
    outcome(head + data)


@given(text=st.text(max_size=300), key=st.sampled_from(KEYS), container=st.integers(0, 3))
def test_random_texts(text: str, key: bytes, container: int) -> None:
    outcome(wrapped(text.encode("utf-8", "replace"), key, container))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    *("prompt", "image", "sui_image_params", "sui_models", "base_model", "loras", "model", "app_version", "inputs"),
    *("class_type", "nodes", "links", "seed", "positive_prompt", "latent_image", "samples", "lora_1", "resolution"),
    *("scheduler", "sampler", "loraweights", "refinerupscale", "refinerupscalemethod", "type", "id", "widgets_values"),
)
RECORDS = st.recursive(
    JSON,
    lambda inner: st.dictionaries(st.sampled_from(FIELDS) | st.sampled_from("123"), inner, max_size=6),
    max_leaves=20,
)


@given(record=RECORDS, key=st.sampled_from(KEYS), container=st.integers(0, 3))
def test_records_with_anything_in_them(record: object, key: bytes, container: int) -> None:
    outcome(wrapped(msgspec.json.encode(record), key, container))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
@given(data=st.data())
def test_mutations_of_every_record(path: Path, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(KEYS))
    if path.name.startswith("comfyui"):
        key = data.draw(st.sampled_from((b"prompt", b"workflow")))
    outcome(wrapped(data.draw(mutated(path.read_bytes())), key, data.draw(st.integers(0, 3))))


@settings(max_examples=200)
@given(data=st.data())
def test_mutations_of_whole_files(data: st.DataObject) -> None:
    text = (RECORDED / "a1111.txt").read_bytes()
    whole = wrapped(text, b"parameters", data.draw(st.integers(0, 3)))
    outcome(data.draw(mutated(whole)))


LINE = b"Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5"
LONG = 1_000_000
HOSTILE = {
    "spaces": b" " * LONG + LINE,
    "line breaks": b"\n" * LONG + LINE,
    "lines of settings": b"Steps: 1\n" * (LONG // 9) + LINE,
    "negative prompts": b"Negative prompt:\n" * (LONG // 17) + LINE,
    "open tags": b"<lora:" * (LONG // 6) + b"\n" + LINE,
    "tags": b"<lora:a:1>" * (LONG // 10) + b"\n" + LINE,
    "keys": b"a\n" + LINE + b", a: b" * (LONG // 6),
    "open quotes": b"a\n" + LINE + b', a: "' * (LONG // 6),
    "open brackets": b"a\n" + LINE + b', a: ["b, a: [' * (LONG // 14),
    "commas": b"a\n" + LINE + b"," * LONG,
    "hashes": b"a\n" + LINE + b', Lora hashes: "' + b"a: 1, " * (LONG // 6) + b'"',
    "a long word": b"a\n" + LINE + b", " + b"a" * LONG,
    "a long number": b"a\nSteps: 1, CFG scale: 7, Seed: " + b"1" * LONG,
    "brackets of version 2": b'{"image": {"prompt": "' + b"[" * LONG + b'"}}',
    "quotes of version 1": b'"' * LONG,
    "a list": b"[" + b"1," * (LONG // 2) + b"1]",
    "an object": b"{" + b'"a":{' * (LONG // 5),
    "XMP": b"<sdcpp:parameters>" * (LONG // 18),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_texts_made_to_keep_us_busy_take_little_time(name: str) -> None:
    text = HOSTILE[name]
    started = time.process_time()
    for key in KEYS:
        outcome(wrapped(text, key, 0))
    outcome(webp_with((b"XMP ", text), (b"EXIF", exif(comment=b"UNICODE\0" + text))))
    assert time.process_time() - started < BOUND

"""Headers of safetensors files: what is read, and what is refused without a crash."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from headers import BITS, packed, safetensors_header, write_safetensors
from hypothesis import given
from hypothesis import strategies as st

from tensors.header import MAX_HEADER, BrokenHeader, Tensor, parse_header, read_header
from tensors.models import demo_dir


def entry(start: int = 0, end: int = 4, *, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def parse(data: bytes) -> Any:
    return parse_header(data, len(data))


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 5), max_size=5).map(tuple)


@given(
    tensors=st.dictionaries(NAMES, st.tuples(st.sampled_from([*BITS]).filter(lambda kind: kind != "F4"), SHAPES)),
    metadata=st.none() | st.dictionaries(st.text(), st.text(), max_size=3),
    padding=st.integers(0, 9),
)
def test_a_header_is_read_as_it_was_written(
    tensors: dict[str, tuple[str, tuple[int, ...]]], metadata: dict[str, str] | None, padding: int
) -> None:
    raw, weights = safetensors_header(
        {name: shape for name, (_, shape) in tensors.items()},
        metadata,
        dtype={name: dtype for name, (dtype, _) in tensors.items()},
    )
    raw = packed(raw[8:] + b" " * padding)
    header = parse(raw + bytes(weights))
    assert header.format == "safetensors"
    assert header.tensors == {name: Tensor(dtype, shape) for name, (dtype, shape) in tensors.items()}
    assert (header.metadata, header.data_start) == (metadata or {}, len(raw))
    for length in (len(raw) + weights - 1, len(raw) - 1, len(raw) // 2, 8, 7, 1):
        if length < len(raw) + weights:
            with pytest.raises(BrokenHeader, match="is cut off"):
                parse((raw + bytes(weights))[:length])


@given(st.permutations(range(4)))
def test_the_order_of_the_entries_does_not_matter(order: list[int]) -> None:
    document = {f"t{number}": entry(4 * number, 4 * number + 4) for number in order}
    assert set(parse(packed(document) + bytes(16)).tensors) == {"t0", "t1", "t2", "t3"}


def test_the_demo_model_is_read() -> None:
    path = demo_dir() / "shapes.safetensors"
    header = read_header(path)
    assert header.metadata["modelspec.title"] == "tsr shapes"
    assert (header.parameters, header.precision) == (7_593_923, "fp16")
    assert header.tensors["encoder.layers.2.weight"] == Tensor("F8_E4M3", (64, 64, 3, 3))


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is empty"),
    "half a length": (b"\x05\0\0", "is cut off: it ends within its header, after 3 bytes"),
    "length zero": (struct.pack("<Q", 0), "says its header has 0 bytes, which cannot be"),
    "length one": (struct.pack("<Q", 1) + b"{", "says its header has 1 bytes, which cannot be"),
    "a length beyond the end": (struct.pack("<Q", 100) + b"{}", "is cut off: it ends within its header, after 10"),
    "a length beyond the end of something else": (struct.pack("<Q", 100) + b"xx", "says its header has 100 bytes"),
    "a length of 2^63": (struct.pack("<Q", 2**63) + b"{}", f"says its header has {2**63} bytes"),
    "the largest length": (b"\xff" * 8 + b"{}", f"says its header has {2**64 - 1} bytes"),
    "zeros": (bytes(4096), "says its header has 0 bytes"),
    "a zip of pickles": (b"PK\x03\x04" + bytes(99), "is a zip archive (a PyTorch pickle?)"),
    "a pickle": (b"\x80\x02}q\0" + bytes(99), "is a pickle"),
    "a web page": (b"<!DOCTYPE html><html></html>", "is a web page, not a model: the download went wrong"),
    "an answer of a site": (b'{"error": "Unauthorized"}', "is a JSON text, not a model: the download went wrong"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    "no JSON": (packed(b"not json"), "has a broken header"),
    "not UTF-8": (packed(b'{"\xff": 1}'), "has a broken header"),
    "metadata that is not UTF-8": (packed(b'{"__metadata__": {"a": "\xff"}}'), "has a broken header"),
    "a list": (packed([]), "has a broken header"),
    "null": (packed(None), "has a broken header"),
    "two documents": (packed(b"{}{}"), "has a broken header"),
    "nested too deep": (packed(b'{"a":' * 100_000), "has a broken header"),
    "nested too deep and whole": (packed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "has a broken header"),
    "metadata nested too deep": (
        packed(b'{"__metadata__":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"),
        "has a broken header",
    ),
    "an entry that is none": (packed({"a": 5}), "has a broken header: 'a': Expected `object`"),
    "an entry without offsets": (packed({"a": {"dtype": "F32", "shape": []}}), "missing required field `data_offsets`"),
    "three offsets": (packed({"a": {**entry(), "data_offsets": [0, 1, 2]}}) + bytes(4), "has a broken header: 'a'"),
    "offsets that are no numbers": (packed({"a": {**entry(), "data_offsets": ["0", "4"]}}), "has a broken header"),
    "a side that is no whole number": (packed({"a": entry(shape=(1.5,))}) + bytes(4), "has a broken header"),
    "a side of many digits": (packed(b'{"a": {"shape": [' + b"9" * 9_999 + b"]}}"), "has a broken header"),
    "a negative side": (packed({"a": entry(shape=(-1,))}) + bytes(4), "has a broken header"),
    "a negative offset": (packed({"a": entry(-4, 0)}) + bytes(4), "has a broken header"),
    "sides without end": (packed({"a": entry(shape=[2**62] * 1_000)}) + bytes(4), "has a broken header"),
    "large sides": (packed({"a": entry(shape=[2**62] * 30)}) + bytes(4), "'a' does not have the bytes"),
    "offsets the wrong way round": (packed({"a": entry(4, 0, shape=(0,))}) + bytes(4), "'a' does not have the bytes"),
    "fewer bytes than its shape": (packed({"a": entry(shape=(2,))}) + bytes(4), "'a' does not have the bytes"),
    "more bytes than its dtype": (packed({"a": entry(dtype="F16")}) + bytes(4), "'a' does not have the bytes that its"),
    "one over another": (packed({"a": entry(), "b": entry(2, 6)}) + bytes(6), "'b' lies over another tensor"),
    "one twice": (packed({"a": entry(), "b": entry()}) + bytes(4), "'b' lies over another tensor"),
    "a hole": (packed({"a": entry(), "b": entry(8, 12)}) + bytes(12), "'b' leaves a hole before it"),
    "a hole at the start": (packed({"a": entry(4, 8)}) + bytes(8), "'a' leaves a hole before it"),
    "one name for two": (
        packed(f'{{"a": {json.dumps(entry(0, 4))}, "a": {json.dumps(entry(4, 8))}}}'.encode()) + bytes(8),
        "'a' leaves a hole before it",
    ),
    "a huge offset": (packed({"a": entry(0, 10**30)}) + bytes(4), "has a broken header"),
    "weights that are cut off": (packed({"a": entry()}) + bytes(3), "is cut off: it has 65 bytes and should have 66"),
    "more than the weights": (packed({"a": entry()}) + bytes(9), "has 5 bytes at its end that are no tensor's"),
    "more than no weights": (packed({}) + bytes(1), "has 1 bytes at its end that are no tensor's"),
    "a name without end": (packed({"x" * 100_000: 5}), "has a broken header: '" + "x" * 100 + "':"),
    "a name of several lines": (packed({"a\nb": 5}), r"has a broken header: 'a\nb':"),
}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_file_is_refused_with_the_reason(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(BrokenHeader) as caught:
        read_header(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    with pytest.raises(BrokenHeader) as again:
        parse(data)
    assert str(again.value) == str(caught.value)


FINE: dict[str, tuple[bytes, dict[str, Tensor], dict[str, str]]] = {
    "no tensors": (packed({}), {}, {}),
    "a scalar": (packed({"a": entry(shape=())}) + bytes(4), {"a": Tensor("F32", ())}, {}),
    "an empty tensor": (packed({"a": entry(0, 0, shape=(0, 7))}), {"a": Tensor("F32", (0, 7))}, {}),
    "a dtype of tomorrow": (packed({"a": entry(dtype="Q9")}) + bytes(4), {"a": Tensor("Q9", (1,))}, {}),
    "two numbers a byte": (packed({"a": entry(shape=(8,), dtype="F4")}) + bytes(4), {"a": Tensor("F4", (8,))}, {}),
    "an entry with more to say": (packed({"a": {**entry(), "x": []}}) + bytes(4), {"a": Tensor("F32", (1,))}, {}),
    "metadata that is no text": (
        packed({"__metadata__": {"a": "é", "b": 5, "c": None, "d": {"e": [True, "f"]}, "g": 10**30}}),
        {},
        {"a": "é", "b": "5", "c": "null", "d": '{"e":[true,"f"]}', "g": str(10**30)},
    ),
    "metadata that is null": (packed({"__metadata__": None}), {}, {}),
    "metadata that is a list": (packed({"__metadata__": ["a"]}), {}, {}),
    "metadata named like an entry": (packed({"__metadata__": {"dtype": "x"}}), {}, {"dtype": "x"}),
}


@pytest.mark.parametrize(("data", "tensors", "metadata"), FINE.values(), ids=FINE)
def test_what_is_odd_but_clear_is_read(data: bytes, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    header = parse(data)
    assert (header.tensors, header.metadata) == (tensors, metadata)


def test_a_long_header_is_read_whole(tmp_path: Path) -> None:
    """Longer than what is read first."""
    shapes = {f"model.diffusion_model.layer.{number}.weight": (2, number) for number in range(3_000)}
    header = read_header(write_safetensors(tmp_path / "x.safetensors", shapes))
    assert {name: tensor.shape for name, tensor in header.tensors.items()} == shapes
    assert header.data_start > 100_000


def test_a_header_larger_than_any_real_one_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with path.open("wb") as out:
        out.write(struct.pack("<Q", MAX_HEADER + 1) + b"{")
        out.truncate(MAX_HEADER + 100)
    with pytest.raises(BrokenHeader, match=f"says its header has {MAX_HEADER + 1} bytes"):
        read_header(path)


def test_weights_are_never_read(tmp_path: Path) -> None:
    """A sparse file of 100 GB: reading its weights would take all memory there is."""
    path = write_safetensors(tmp_path / "x.safetensors", {"a": (50_000, 1_000_000)})
    assert path.stat().st_size > 10**11
    header = read_header(path)
    assert (header.parameters, header.data_start) == (5 * 10**10, path.stat().st_size - 10**11)


def verdict(data: bytes) -> str:
    """Whether the bytes are read or refused; any other exception fails the test."""
    try:
        parse(data)
    except BrokenHeader:
        return "refused"
    return "read"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {}, optional={"dtype": JSON, "shape": JSON | SHAPES, "data_offsets": JSON | st.lists(st.integers(), max_size=3)}
)


@given(st.dictionaries(NAMES | st.just("__metadata__"), JSON | ENTRIES, max_size=3), st.binary(max_size=9))
def test_any_json_is_read_or_refused(document: dict[str, Any], weights: bytes) -> None:
    assert verdict(packed(document) + weights) in ("read", "refused")


@given(st.binary())
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert verdict(data) == "refused" or data.endswith(b"}")
    assert verdict(struct.pack("<Q", len(data)) + data) in ("read", "refused")


WHOLE = packed({"a": entry(), "__metadata__": {"k": "v"}, "b": entry(4, 8)}) + bytes(8)


@given(position=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(position: int, value: int) -> None:
    assert verdict(WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :]) in ("read", "refused")


def test_a_file_cut_off_anywhere_is_refused() -> None:
    assert verdict(WHOLE) == "read"
    for length in range(len(WHOLE)):
        assert verdict(WHOLE[:length]) == "refused"

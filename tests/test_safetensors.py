"""Headers of safetensors files: what is read, and what is refused without a crash."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.models import demo_dir
from tensors.safetensors import MAX_HEADER, NotSafetensors, Tensor, read_header

DEMO = demo_dir() / "shapes.safetensors"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


@pytest.fixture(autouse=True)
def home() -> None:
    Path(os.environ["HOME"]).mkdir()


def scratch(data: bytes) -> Path:
    """A file with these bytes, for tests that have no fixture of their own."""
    path = Path(os.environ["HOME"]) / "model.safetensors"
    path.write_bytes(data)
    return path


def packed(header: Any, weights: bytes = b"") -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + weights


def entry(start: int = 0, end: int = 4, *, shape: Any = (1,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda name: name != "__metadata__")
SHAPES = st.lists(st.integers(0, 2**40), max_size=5)


@given(
    shapes=st.dictionaries(NAMES, st.tuples(SHAPES, st.integers(0, 64)), max_size=6),
    metadata=st.none() | st.dictionaries(st.text(), st.text(), max_size=3),
    padding=st.integers(0, 9),
)
def test_a_header_is_read_as_it_was_written(
    shapes: dict[str, tuple[list[int], int]], metadata: dict[str, str] | None, padding: int
) -> None:
    position, document, expected = 0, {}, {}
    for name, (shape, count) in shapes.items():
        document[name] = entry(position, position + count, shape=shape)
        expected[name] = Tensor(dtype="F32", shape=tuple(shape), data_offsets=(position, position + count))
        position += count
    if metadata is not None:
        document["__metadata__"] = metadata
    raw = json.dumps(document).encode() + b" " * padding
    header = read_header(scratch(packed(raw, bytes(position))))
    assert (header.tensors, header.metadata) == (expected, metadata or {})
    assert header.data_start == 8 + len(raw)


def test_the_demo_model_is_read() -> None:
    header = read_header(DEMO)
    assert header.metadata["modelspec.title"] == "tsr shapes"
    end = max(tensor.data_offsets[1] for tensor in header.tensors.values())
    assert header.data_start + end == DEMO.stat().st_size


BROKEN: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "is shorter than its length field"),
    "half a length": (b"\x05\0\0", "is shorter than its length field"),
    "length zero": (struct.pack("<Q", 0), "says its header has 0 bytes"),
    "length one": (struct.pack("<Q", 1) + b"{", "says its header has 1 bytes"),
    "a length beyond the end": (struct.pack("<Q", 100) + b"{}", "says its header has 100 bytes"),
    "the largest length": (b"\xff" * 8 + b"{}", f"says its header has {2**64 - 1} bytes"),
    "another format": (b"GGUF\x03\0\0\0" + bytes(99), "says its header has"),
    "a pickle": (b"PK\x03\x04" + bytes(99), "says its header has"),
    "no JSON": (packed(b"not json"), "has a broken header"),
    "not UTF-8": (packed(b'{"\xff": 1}'), "has a broken header"),
    "a list": (packed([]), "has a broken header"),
    "null": (packed(None), "has a broken header"),
    "two documents": (packed(b"{}{}"), "has a broken header"),
    "nested too deep": (packed(b'{"a":' * 100_000), "has a broken header"),
    "nested too deep and whole": (packed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "has a broken header"),
    "metadata that is no table": (packed({"__metadata__": 5}), "has a broken header"),
    "metadata that is no text": (packed({"__metadata__": {"a": 5}}), "has a broken header"),
    "an entry that is none": (packed({"a": 5}), "has a broken header"),
    "an entry without offsets": (packed({"a": {"dtype": "F32", "shape": []}}), "has a broken header"),
    "three offsets": (packed({"a": {**entry(), "data_offsets": [0, 1, 2]}}, bytes(4)), "has a broken header"),
    "offsets that are no numbers": (packed({"a": {**entry(), "data_offsets": ["0", "4"]}}), "has a broken header"),
    "a side that is no whole number": (packed({"a": entry(shape=(1.5,))}, bytes(4)), "has a broken header"),
    "a negative offset": (packed({"a": entry(-4, 0)}, bytes(4)), "'a' cannot have that shape and place"),
    "offsets the wrong way round": (packed({"a": entry(4, 0)}, bytes(4)), "'a' cannot have that shape and place"),
    "a negative side": (packed({"a": entry(shape=(-1,))}, bytes(4)), "'a' cannot have that shape and place"),
    "a huge offset": (packed({"a": entry(0, 10**30)}, bytes(4)), "is cut off: weights are missing at its end"),
    "weights that are cut off": (packed({"a": entry()}, bytes(3)), "is cut off: weights are missing at its end"),
    "the first weights cut off": (
        packed({"a": entry(0, 9), "b": entry(0, 1)}, bytes(8)),
        "is cut off: weights are missing at its end",
    ),
}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_file_is_refused_with_the_reason(data: bytes, said: str, file: Path) -> None:
    file.write_bytes(data)
    with pytest.raises(NotSafetensors) as caught:
        read_header(file)
    assert said in str(caught.value)


def test_a_header_larger_than_any_real_one_is_not_read(file: Path) -> None:
    with file.open("wb") as out:
        out.write(struct.pack("<Q", MAX_HEADER + 1))
        out.truncate(MAX_HEADER + 100)
    with pytest.raises(NotSafetensors, match=f"says its header has {MAX_HEADER + 1} bytes"):
        read_header(file)


def test_of_two_entries_with_one_name_the_last_counts(file: Path) -> None:
    first, last = json.dumps(entry(0, 2, shape=(9,))), json.dumps(entry(0, 4, shape=(1,)))
    file.write_bytes(packed(f'{{"a": {first}, "a": {last}}}'.encode(), bytes(4)))
    assert read_header(file).tensors["a"].shape == (1,)


def test_weights_are_never_read(file: Path) -> None:
    """A sparse file of 100 GB: reading its weights would take all memory there is."""
    huge = 10**11
    raw = packed({"a": entry(0, huge)})
    with file.open("wb") as out:
        out.write(raw)
        out.truncate(len(raw) + huge)
    assert read_header(file).tensors["a"].data_offsets == (0, huge)


def test_a_file_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(OSError, match=r"No such file|Is a directory"):
            read_header(path)


def outcome(data: bytes) -> str:
    """Whether the bytes are read or refused; any other exception fails the test."""
    try:
        read_header(scratch(data))
    except NotSafetensors:
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
    assert outcome(packed(document, weights)) in ("read", "refused")


WHOLE = packed({"a": entry(), "__metadata__": {"k": "v"}}, bytes(4))


@given(position=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255), length=st.integers(0, len(WHOLE)))
def test_a_damaged_file_is_read_or_refused(position: int, value: int, length: int) -> None:
    assert outcome(WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :]) in ("read", "refused")
    assert outcome(WHOLE[:length]) == ("read" if length == len(WHOLE) else "refused")

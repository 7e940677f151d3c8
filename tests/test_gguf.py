"""Headers of GGUF files: what is read, and what is refused without a crash."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from headers import GGUF_TYPES, gguf_header, gguf_value, write_gguf
from hypothesis import given
from hypothesis import strategies as st

from tensors.header import BrokenHeader, Tensor, parse_header, read_header

TINY = Path(__file__).parent / "data" / "gguf" / "tiny.gguf"


def parse(data: bytes) -> Any:
    return parse_header(data, len(data))


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def start(tensors: int = 0, pairs: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs)


def tensor(name: str, sides: tuple[int, ...] = (8,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


def aligned(raw: bytes, weights: int = 0) -> bytes:
    return raw + bytes(-len(raw) % 32 + weights)


def test_what_ggufs_own_library_writes_is_read() -> None:
    header = read_header(TINY)
    assert (header.format, header.data_start, header.parameters) == ("gguf", 1088, 3630)
    assert header.metadata == {
        "general.architecture": "flux",
        "general.name": "tiny é",
        "test.uint8": "200",
        "test.int8": "-3",
        "test.uint16": "60000",
        "test.int16": "-5",
        "test.uint32": "4000000000",
        "test.int32": "-7",
        "test.float32": "0.1",
        "test.bool": "true",
        "test.uint64": str(2**63),
        "test.int64": str(-(2**40)),
        "test.float64": "0.1",
        "general.alignment": "64",
    }
    assert header.tensors == {
        **{f"rows.{kind}": Tensor(kind, (2, 256)) for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K")},
        "img_in.weight": Tensor("F16", (3, 2, 1, 5)),
        "last": Tensor("I32", (16,)),
    }


def test_such_a_file_cut_off_anywhere_is_refused() -> None:
    data = TINY.read_bytes()
    for length in range(4, len(data)):
        with pytest.raises(BrokenHeader, match="is cut off"):
            parse(data[:length])


@given(
    shapes=st.dictionaries(st.text(), st.lists(st.integers(0, 9), max_size=5).map(tuple), max_size=5),
    metadata=st.dictionaries(
        st.text().filter(lambda key: key != "general.alignment"),
        st.text() | st.booleans() | st.integers(0, 2**32 - 1) | st.tuples(st.just("int64"), st.integers(-(2**63), 5)),
        max_size=5,
    ),
    version=st.sampled_from([2, 3]),
    alignment=st.sampled_from([1, 8, 32, 4096]),
)
def test_a_header_is_read_as_it_was_written(
    shapes: dict[str, tuple[int, ...]], metadata: dict[str, Any], version: int, alignment: int
) -> None:
    raw, weights = gguf_header(shapes, metadata, version=version, alignment=alignment)
    header = parse(raw + bytes(weights))
    assert header.tensors == {name: Tensor("F16", shape) for name, shape in shapes.items()}
    said = {key: value[1] if isinstance(value, tuple) else value for key, value in metadata.items()}
    expected = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in said.items()}
    assert {key: value for key, value in header.metadata.items() if key != "general.alignment"} == expected
    assert header.data_start == len(raw)


@pytest.mark.parametrize(
    ("dtype", "precision"), [("F32", "fp32"), ("BF16", "bf16"), ("Q8_0", "q8_0"), ("Q4_K", "q4_k"), (99, "type_99")]
)
def test_types_have_the_names_people_use(dtype: str | int, precision: str, tmp_path: Path) -> None:
    header = read_header(write_gguf(tmp_path / "x.gguf", {"a": (2, 256)}, dtype=dtype))
    assert (header.precision, header.parameters) == (precision, 512)


ARRAYS = [("array", [(kind, 1)] * 3) for kind in GGUF_TYPES]


@pytest.mark.parametrize(
    "value",
    [*ARRAYS, ("array", ["a", "", "é"]), ("array", []), ("array", [("array", ["a"]), ("array", [])])],
    ids=str,
)
def test_arrays_are_passed_over(value: object) -> None:
    raw, weights = gguf_header({"a": (4,)}, {"before": "x", "array": value, "after": "y"})
    header = parse(raw + bytes(weights))
    assert (dict(header.metadata), set(header.tensors)) == ({"before": "x", "after": "y"}, {"a"})


def test_the_tokens_of_a_text_encoder_are_read_in_a_few_parts_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: reads.append(given[1]) or real(*given))
    tokens = ("array", [f"token {number}" for number in range(100_000)])
    path = write_gguf(tmp_path / "x.gguf", {"blk.0.attn_q.weight": (64, 64)}, {"tokens": tokens, "last": "x"})
    header = read_header(path)
    assert (dict(header.metadata), header.data_start > 1_500_000) == ({"last": "x"}, True)
    assert len(reads) < 10


BROKEN: dict[str, tuple[bytes, str]] = {
    "the magic alone": (b"GGUF", "is cut off: it ends within its header, after 4 bytes"),
    "version 1": (start(version=1), "is of GGUF version 1; only versions 2 and 3 can be read"),
    "a version of tomorrow": (start(version=4), "is of GGUF version 4"),
    "big-endian": (
        b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
        "is a big-endian GGUF file; only little-endian ones can be read",
    ),
    "tensors without end": (start(tensors=2**63), f"says it has {2**63} tensors"),
    "values without end": (start(pairs=2**64 - 1), f"and {2**64 - 1} values, which cannot be"),
    "many tensors in few bytes": (start(tensors=999_999), "is cut off"),
    "a key without end": (start(pairs=1) + struct.pack("<Q", 2**63), "has a header of more than 100,000,000 bytes"),
    "a key beyond the end": (start(pairs=1) + struct.pack("<Q", 1_000), "is cut off"),
    "a value of no type": (start(pairs=1) + text("k") + struct.pack("<I", 13), "there are no values of type 13"),
    "an array of no type": (
        start(pairs=1) + text("k") + struct.pack("<IIQ", 9, 77, 1),
        "there are no arrays of type 77",
    ),
    "an array without end": (
        start(pairs=1) + text("k") + struct.pack("<IIQ", 9, 0, 2**64 - 1),
        "more than 100,000,000",
    ),
    "an array of texts without end": (
        start(pairs=1) + text("k") + struct.pack("<IIQ", 9, 8, 2**64 - 1) + text("a"),
        "is cut off",
    ),
    "arrays in arrays without end": (
        start(pairs=1) + text("k") + struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 50,
        "there are no arrays of type 9",
    ),
    "no alignment": (start(pairs=1) + text("general.alignment") + gguf_value(0), "'0' is no alignment"),
    "an odd alignment": (start(pairs=1) + text("general.alignment") + gguf_value(48), "'48' is no alignment"),
    "a word for an alignment": (start(pairs=1) + text("general.alignment") + gguf_value("x" * 99), "is no alignment"),
    "too many sides": (start(1) + text("a") + struct.pack("<I", 9), "'a' has 9 sides"),
    "sides without end": (start(1) + text("a") + struct.pack("<I", 2**32 - 1), f"'a' has {2**32 - 1} sides"),
    "two of one name": (start(2) + tensor("a") + tensor("a", offset=32), "'a' is there twice"),
    "half a block": (start(1) + tensor("a", (100, 2), kind=2), "rows of 'a' do not fill the blocks of Q4_0"),
    "weights that are cut off": (aligned(start(1) + tensor("a"), 31), "is cut off: it has 95 bytes and should have 96"),
    "weights far beyond the end": (start(1) + tensor("a", offset=2**64 - 1), "is cut off: it has"),
    "large sides": (start(1) + tensor("a", (2**64 - 1,) * 8), "is cut off: it has"),
    "one over another": (aligned(start(2) + tensor("a") + tensor("b", offset=16), 64), "'b' lies over another tensor"),
}


@pytest.mark.parametrize(("data", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_file_is_refused_with_the_reason(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(BrokenHeader) as caught:
        read_header(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_count_makes_room_for_what_is_not_there(tmp_path: Path) -> None:
    """Each of these says that gigabytes follow, in a sparse file that is long enough to hold them."""
    path = tmp_path / "x.gguf"
    for raw in (
        start(pairs=1) + text("k") + struct.pack("<IIQ", 9, 10, 2**33),
        start(pairs=1) + struct.pack("<Q", 2**36),
        start(1) + text("a") + struct.pack("<I", 2**30),
    ):
        with path.open("wb") as file:
            file.write(raw)
            file.truncate(2**37)
        tracemalloc.start()
        with pytest.raises(BrokenHeader):
            read_header(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000


def test_a_type_of_tomorrow_is_no_reason_to_refuse_a_file() -> None:
    header = parse(aligned(start(2) + tensor("a", (7,), kind=200) + tensor("b", offset=32), 64))
    assert header.tensors == {"a": Tensor("type_200", (7,)), "b": Tensor("F32", (8,))}


def test_names_that_are_not_utf_8_are_read_as_far_as_they_go() -> None:
    raw = start(1, 1) + text(b"k\xff") + gguf_value("v") + text(b"\xffa") + struct.pack("<IIQ", 0, 0, 0)
    header = parse(aligned(raw, 4))
    assert (dict(header.metadata), dict(header.tensors)) == ({"k�": "v"}, {"�a": Tensor("F32", ())})


def verdict(data: bytes) -> str:
    """Whether the bytes are read or refused; any other exception fails the test."""
    try:
        parse(data)
    except BrokenHeader:
        return "refused"
    return "read"


@given(st.binary(), st.integers(0, 3), st.integers(0, 3))
def test_any_bytes_after_the_counts_are_read_or_refused(data: bytes, tensors: int, pairs: int) -> None:
    assert verdict(start(tensors, pairs) + data) in ("read", "refused")


WHOLE, _ = gguf_header({"a": (4, 2), "b": (3,)}, {"k": "v", "n": 5, "l": ("array", ["x", "y"])})


@given(position=st.integers(4, len(WHOLE) - 1), value=st.integers(0, 255))
def test_a_damaged_file_is_read_or_refused(position: int, value: int) -> None:
    assert verdict(WHOLE[:position] + bytes([value]) + WHOLE[position + 1 :] + bytes(64)) in ("read", "refused")

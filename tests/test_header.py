"""Headers of files, whatever their format: what is opened, how much of it is read, and what is counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from headers import Shapes, gguf_header, header, safetensors_header, write_gguf, write_safetensors
from hypothesis import given
from hypothesis import strategies as st

from tensors.header import BrokenHeader, Header, Tensor, parse_header, read_header

SHAPES: Shapes = {f"layer.{number}.weight": (2, 3) for number in range(2_000)}


@pytest.fixture(params=["safetensors", "gguf"])
def long(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file with a header longer than the first read."""
    write = {"safetensors": write_safetensors, "gguf": write_gguf}[request.param]
    return write(tmp_path / f"x.{request.param}", SHAPES)


def test_the_content_tells_the_format_not_the_name(tmp_path: Path) -> None:
    assert read_header(write_gguf(tmp_path / "a.safetensors", {"t": (1,)})).format == "gguf"
    assert read_header(write_safetensors(tmp_path / "a.gguf", {"t": (1,)})).format == "safetensors"


def test_what_is_no_file_is_said_to_be_none_and_nothing_waits(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path, said in (
        (tmp_path / "x.safetensors", "is a folder, not a file"),
        (tmp_path / "pipe.safetensors", "is a pipe, not a file"),
        (Path(os.devnull), "is a device, not a file"),
    ):
        with pytest.raises(BrokenHeader, match=said):
            read_header(path)


def test_a_file_that_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for name, said in (("none", "No such file"), ("gone", "No such file"), ("round", "symbolic links")):
        with pytest.raises(OSError, match=said):
            read_header(tmp_path / name)


def test_a_name_that_is_no_text_is_a_name_too(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\n.safetensors")
    try:
        write_safetensors(odd, {"t": (1,)})
    except OSError:
        pytest.skip("this file system has no such names")
    assert set(read_header(odd).tensors) == {"t"}


def test_no_file_stays_open(long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    closed: list[int] = []
    real_open, real_close = os.open, os.close
    monkeypatch.setattr(os, "open", lambda *given: opened.append(real_open(*given)) or opened[-1])
    monkeypatch.setattr(os, "close", lambda descriptor: closed.append(descriptor) or real_close(descriptor))
    (tmp_path / "broken").write_bytes(b"x")
    read_header(long)
    for path in (tmp_path, tmp_path / "broken"):
        with pytest.raises(BrokenHeader):
            read_header(path)
    assert len(opened) == 3
    assert opened == closed


def test_reads_that_come_in_parts_are_put_together(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As network mounts may answer."""
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, start: real(descriptor, min(count, 777), start))
    assert {name: tensor.shape for name, tensor in read_header(long).tensors.items()} == SHAPES


def test_a_file_that_shrinks_meanwhile_is_cut_off(long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda descriptor, count, start: real(descriptor, count, start)[: 20_000 - start])
    with pytest.raises(BrokenHeader, match=r"is cut off: it ends within its header, after 20,000 bytes"):
        read_header(long)


def test_no_more_is_read_than_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_safetensors(tmp_path / "x", {"t": (1_000_000_000,)})
    reads: list[int] = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda *given: reads.append(given[1]) or real(*given))
    read_header(path)
    assert reads == [16 * 1024]


@pytest.mark.parametrize("make", [safetensors_header, gguf_header])
def test_bytes_that_were_read_before_do_as_well(make: object) -> None:
    assert callable(make)
    raw, weights = make(SHAPES)
    size = len(raw) + weights
    for given_bytes in (raw, raw + bytes(weights)):
        assert {name: tensor.shape for name, tensor in parse_header(given_bytes, size).tensors.items()} == SHAPES
    with pytest.raises(ValueError, match="goes beyond the 100 bytes that were given") as caught:
        parse_header(raw[:100], size)
    assert not isinstance(caught.value, BrokenHeader)


@given(st.dictionaries(st.text(), st.lists(st.integers(0, 2**40), max_size=4).map(tuple)))
def test_parameters_are_counted(shapes: dict[str, tuple[int, ...]]) -> None:
    total = 0
    for shape in shapes.values():
        count = 1
        for side in shape:
            count *= side
        total += count
    assert header(shapes).parameters == total


@pytest.mark.parametrize(
    ("tensors", "precision"),
    [
        ({"a": ("F16", (9,)), "b": ("F32", (2, 4))}, "fp16"),
        ({"a": ("F16", (7,)), "b": ("F32", (2, 4))}, "fp32"),
        ({"a": ("F16", (5,)), "b": ("BF16", (3,)), "c": ("BF16", (3,))}, "bf16"),
        ({"a": ("F8_E4M3", (5,))}, "fp8"),
        ({"a": ("F8_E5M2", (5,))}, "fp8"),
        ({"a": ("F64", (5,))}, "fp64"),
        ({"a": ("Q4_K", (256,)), "b": ("F32", (5,))}, "q4_k"),
        ({"a": ("I8", (5,))}, "int8"),
        ({"a": ("U8", (5,))}, "uint8"),
        ({"a": ("U8", (5,)), "a.quant_state.bitsandbytes__nf4": ("U8", (1,))}, "nf4"),
        ({"a": ("NEW", (5,))}, "new"),
        ({"a": ("F16", ())}, "fp16"),
        ({}, "unknown"),
    ],
    ids=str,
)
def test_the_precision_is_that_of_most_parameters(
    tensors: dict[str, tuple[str, tuple[int, ...]]], precision: str
) -> None:
    made = {name: Tensor(dtype, shape) for name, (dtype, shape) in tensors.items()}
    assert Header("safetensors", made, {}, 8).precision == precision

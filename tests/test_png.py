"""Texts in PNG files: read and written without touching a pixel."""

from __future__ import annotations

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tensors.png import SIGNATURE, NotPng, chunks, read_text, size, with_text

KEYWORDS = st.text(st.characters(codec="latin-1", exclude_characters="\0"), min_size=1, max_size=79)
TEXTS = st.text()


def picture(info: PngInfo | None = None, *, side: tuple[int, int] = (7, 5)) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize(side).convert("RGB").save(out, "PNG", pnginfo=info)
    return out.getvalue()


PICTURE = picture()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


HEADER = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
END = chunk(b"IEND", b"")


@given(texts=st.dictionaries(KEYWORDS, TEXTS, max_size=5))
def test_any_text_is_read_as_it_was_written(texts: dict[str, str]) -> None:
    assert read_text(with_text(PICTURE, texts)) == texts


@given(texts=st.dictionaries(KEYWORDS, TEXTS, max_size=3), later=st.dictionaries(KEYWORDS, TEXTS, max_size=3))
def test_new_texts_replace_the_old_ones_and_no_pixel_changes(texts: dict[str, str], later: dict[str, str]) -> None:
    rewritten = with_text(with_text(PICTURE, texts), later)
    assert rewritten == with_text(PICTURE, later)
    with Image.open(io.BytesIO(rewritten)) as ours, Image.open(io.BytesIO(PICTURE)) as original:
        assert (ours.size, ours.tobytes()) == (original.size, original.tobytes())
    assert with_text(rewritten, {}) == PICTURE


@given(texts=st.dictionaries(KEYWORDS.filter(lambda word: word.isprintable()), TEXTS, max_size=3))
def test_pillow_reads_our_texts(texts: dict[str, str]) -> None:
    with Image.open(io.BytesIO(with_text(PICTURE, texts))) as opened:
        opened.load()
        assert opened.text == texts


@given(latin=st.text(st.characters(codec="latin-1", exclude_characters="\0")), text=TEXTS)
def test_we_read_pillows_texts_of_every_kind(latin: str, text: str) -> None:
    info = PngInfo()
    info.add_text("tEXt", latin)
    info.add_text("zTXt", latin, zip=True)
    info.add_itxt("iTXt", text, "en", "übersetzt")
    info.add_itxt("packed iTXt", text, "en", "übersetzt", zip=True)
    assert read_text(picture(info)) == {"tEXt": latin, "zTXt": latin, "iTXt": text, "packed iTXt": text}


def test_a_text_stands_before_the_pixels_in_the_chunk_its_letters_need() -> None:
    written = with_text(PICTURE, {"latin": "é", "more": "猫"})
    kinds = [kind for kind, _, _ in chunks(written)]
    assert kinds[:3] == [b"IHDR", b"tEXt", b"iTXt"]
    assert kinds[-1] == b"IEND"


@given(st.integers(1, 300), st.integers(1, 300))
def test_size(width: int, height: int) -> None:
    assert size(picture(side=(width, height))) == (width, height)


BROKEN = {
    "nothing": b"",
    "text": b"not a picture",
    "a signature alone": SIGNATURE,
    "no header": SIGNATURE + END,
    "an empty header": SIGNATURE + chunk(b"IHDR", b"") + END,
    "a long header": SIGNATURE + chunk(b"IHDR", bytes(14)) + END,
    "no end": SIGNATURE + HEADER,
    "a length beyond the end": SIGNATURE + HEADER + b"\xff\xff\xff\xffIDAT" + END,
    "a chunk without its checksum": (SIGNATURE + HEADER + END)[:-4],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_whole_png_is_refused(data: bytes) -> None:
    for read in (read_text, lambda given: with_text(given, {"a": "b"})):
        with pytest.raises(NotPng):
            read(data)


@pytest.mark.parametrize("body", [b"", b"k", b"k\0", b"k\0\0", b"k\0\0junk", b"\0\0\0"])
@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_a_broken_text_is_refused_or_read_but_never_a_crash(kind: bytes, body: bytes) -> None:
    data = SIGNATURE + HEADER + chunk(kind, body) + END
    assert outcome(data) == (NotPng if kind == b"zTXt" else dict)
    assert outcome(SIGNATURE + HEADER + chunk(b"iTXt", b"k\0\1\0\0\0" + body) + END) is NotPng


def outcome(data: bytes) -> type:
    """What reading does with the bytes; any other exception fails the test."""
    try:
        size(data)
        with_text(data, {"a": "b"})
        return type(read_text(data))
    except NotPng:
        return NotPng


RICH = with_text(PICTURE, {"latin": "text " * 3, "more": "猫"})


@given(length=st.integers(0, len(RICH) - 1))
def test_a_file_that_was_cut_off_is_no_png(length: int) -> None:
    with pytest.raises(NotPng):
        read_text(RICH[:length])


@given(st.binary(max_size=60))
def test_any_bytes_are_a_png_or_are_refused(data: bytes) -> None:
    assert outcome(data) is NotPng
    assert outcome(SIGNATURE + HEADER + data) in (NotPng, dict)


@given(position=st.integers(0, len(RICH) - 1), value=st.integers(0, 255))
def test_a_flipped_byte_is_no_crash(position: int, value: int) -> None:
    assert outcome(RICH[:position] + bytes([value]) + RICH[position + 1 :]) in (NotPng, dict)


def test_what_follows_the_end_is_dropped() -> None:
    assert with_text(PICTURE + b"a second file", {}) == PICTURE

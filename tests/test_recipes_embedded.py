"""Texts out of PNG, JPEG and WebP files, whole, odd and broken."""

from __future__ import annotations

import io
import json
import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from pictures_with_texts import JPEG, PNG, WEBP, chunk, exif, jpeg_with, png_with, segment, webp_with
from PIL import Image

from tensors.gallery import RECORD_KEY
from tensors.recipes import MAX_FILE, NotAPicture, comfyui, read_recipe, recipe_of
from tensors.recipes.embedded import MAX_TEXT, OWN_KEY, texts_of

TEXT = "café 猫\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"
UNICODE = b"UNICODE\0"
XMP = (
    '<?xpacket begin="" id="x"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description>'
    "<sdcpp:parameters>{}</sdcpp:parameters></rdf:Description></rdf:RDF></x:xmpmeta>"
)
EXIF = {
    "piexif writes UTF-16, big end first": exif(comment=UNICODE + TEXT.encode("utf-16-be")),
    ".NET writes UTF-16, little end first": exif(order="<", comment=UNICODE + TEXT.encode("utf-16-le")),
    "the orders of Exif and text differ": exif(order="<", comment=UNICODE + TEXT.encode("utf-16-be")),
    "with a byte order mark": exif(comment=UNICODE + TEXT.encode("utf-16")),
    "UTF-8 where UTF-16 is said": exif(comment=UNICODE + TEXT.encode()),
    "ASCII is said": exif(comment=b"ASCII\0\0\0" + TEXT.encode()),
    "nothing is said": exif(comment=bytes(8) + TEXT.encode()),
    "nothing is said, and it is UTF-16": exif(comment=bytes(8) + TEXT.encode("utf-16-be")),
    "no code at all": exif(comment=TEXT.encode() + b"\0\0"),
    "as a description": exif(t010e=TEXT.encode()),
    "as a description with its name": exif(t010e=b"parameters:" + TEXT.encode()),
}


def check(data: bytes) -> None:
    found = recipe_of(data)
    assert found is not None
    assert (found.prompt, found.negative_prompt, found.seed) == ("café 猫", "dog", 5)


@pytest.mark.parametrize("name", EXIF)
@pytest.mark.parametrize("kind", ["jpeg", "webp", "webp with a header", "png"])
def test_exif_texts_of_every_kind(name: str, kind: str) -> None:
    block = EXIF[name]
    if kind == "jpeg":
        check(jpeg_with(segment(0xE1, b"Exif\0\0" + block)))
    elif kind == "png":
        check(png_with(chunk(b"eXIf", block)))
    else:
        check(webp_with((b"EXIF", block if kind == "webp" else b"Exif\0\0" + block)))


def test_exif_as_pillow_writes_it() -> None:
    out, block = io.BytesIO(), Image.Exif()
    block.get_ifd(0x8769)[0x9286] = UNICODE + TEXT.encode("utf-16-be")
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=block)
    check(out.getvalue())


@pytest.mark.parametrize(
    "body",
    [
        chunk(b"iTXt", b"parameters\0\0\0\0\0" + TEXT.encode()),
        chunk(b"iTXt", b"parameters\0\1\0en\0x\0" + zlib.compress(TEXT.encode())),
        chunk(b"tEXt", b"parameters\0" + TEXT.encode()),
        chunk(b"zTXt", b"parameters\0\0" + zlib.compress(TEXT.encode())),
    ],
    ids=["iTXt", "iTXt, packed", "tEXt with UTF-8", "zTXt"],
)
def test_png_texts_of_every_kind(body: bytes) -> None:
    check(png_with(body))


def test_latin_1_is_read_as_such() -> None:
    assert texts_of(png_with(chunk(b"tEXt", b"Title\0caf\xe9"))) == {"Title": "café"}


def test_beside_our_own_record_texts_mean_what_png_says() -> None:
    # Also where their bytes would be UTF-8 by chance.
    texts = texts_of(png_with(chunk(b"tEXt", b"tsr\0{}"), chunk(b"tEXt", b"parameters\0\xc3\xa9")))
    assert texts == {"tsr": "{}", "parameters": "Ã©"}
    assert OWN_KEY == RECORD_KEY


def test_texts_behind_the_pixels_are_found() -> None:
    assert texts_of(PNG[:-12] + chunk(b"tEXt", b"parameters\0a") + PNG[-12:]) == {"parameters": "a"}


@pytest.mark.parametrize("body", [b"parameters\0" + TEXT.encode(), TEXT.encode()], ids=["stable-diffusion.cpp", "any"])
def test_jpeg_comments(body: bytes) -> None:
    check(jpeg_with(segment(0xFE, body)))


@pytest.mark.parametrize("escaped", [TEXT, TEXT.replace("7", "&#55;")])
def test_xmp(escaped: str) -> None:
    packet = XMP.format(escaped).encode()
    # Bodies of an odd length are padded.
    check(webp_with((b"ICCP", b"odd"), (b"XMP ", packet)))
    check(jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)))


def test_xmp_is_unescaped_once() -> None:
    packet = XMP.format("&lt;lora:x:1&gt; &amp;lt; &quot;").encode()
    assert texts_of(webp_with((b"XMP ", packet))) == {"parameters": '<lora:x:1> &lt; "'}


def test_comfyuis_graph_in_a_webp() -> None:
    graph = (Path(__file__).parent / "data" / "recipes" / "comfyui-flux.json").read_text()
    block = exif(t0110=b"prompt:" + graph.encode(), t010f=b"workflow:{}")
    found = recipe_of(webp_with((b"EXIF", block)))
    assert found is not None
    assert found == comfyui.read({"prompt": graph})
    assert recipe_of(jpeg_with(segment(0xE1, b"Exif\0\0" + exif(comment=b"ASCII\0\0\0" + graph.encode())))) == found


def test_a_file_cut_off_in_its_pixels_still_tells() -> None:
    for whole in (
        png_with(chunk(b"tEXt", b"parameters\0" + TEXT.encode())),
        jpeg_with(segment(0xFE, TEXT.encode())),
    ):
        check(whole[:-20])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        PNG[:15],
        b"RIFF\0\0\0\0WAVE",
        b"GIF89a" + bytes(100),
        b"BM" + bytes(100),
        b"{}",
        b"\xff\xd8",
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(NotAPicture):
        recipe_of(data)


@pytest.mark.parametrize("data", [PNG, JPEG, WEBP])
def test_a_picture_without_texts_has_no_recipe(data: bytes) -> None:
    assert recipe_of(data) is None


BROKEN_EXIF = [
    b"",
    b"MM",
    b"MM\0*\0\0\0\x08",
    b"XX\0*\0\0\0\x08\0\x01",
    b"MM\0*\xff\xff\xff\xff",
    b"II*\0\x08\0\0\0\xff\xff" + bytes(30),
    # A folder that is its own subfolder.
    b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x8769, 4, 1, 8) + bytes(4),
    # A text of 4 GB.
    b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x010E, 2, 0xFFFFFFFF, 8) + bytes(4),
    b"MM\0*\0\0\0\x08\0\x01" + struct.pack(">HHII", 0x010E, 99, 1, 8) + bytes(4),
]


def test_many_fields_with_one_long_text_are_read_once() -> None:
    text = b"x" * 4_000_000
    entry = struct.pack(">HHII", 0x010E, 2, len(text), 8 + 2 + 500 * 12)
    block = b"MM\0*\0\0\0\x08" + struct.pack(">H", 500) + entry * 500 + text
    started = time.process_time()
    assert texts_of(webp_with((b"EXIF", block))) == {"ImageDescription": text.decode()}
    assert time.process_time() - started < 1


@pytest.mark.parametrize("block", BROKEN_EXIF)
def test_broken_exif_is_passed_over(block: bytes) -> None:
    good = chunk(b"iTXt", b"parameters\0\0\0\0\0" + TEXT.encode())
    check(png_with(chunk(b"eXIf", block), good))
    check(webp_with((b"EXIF", block), (b"XMP ", XMP.format(TEXT).encode())))


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"zTXt", b"a\0\0not packed"),
        chunk(b"iTXt", b"a\0\1\0\0\0not packed"),
        chunk(b"iTXt", b"a"),
        chunk(b"tEXt", b""),
        chunk(b"zTXt", b"a"),
        chunk(b"tEXt", b"a\0b")[:-4] + b"\0\0\0\0",
        chunk(b"iTXt", b"a\0\0\0\0\0\xff\xfe\x80"),
    ],
)
def test_broken_texts_are_passed_over(broken: bytes) -> None:
    check(png_with(broken, chunk(b"iTXt", b"parameters\0\0\0\0\0" + TEXT.encode())))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_text_that_unpacks_to_too_much_is_left_out(kind: bytes) -> None:
    head = b"parameters\0" + (b"\0" if kind == b"zTXt" else b"\1\0\0\0")
    packer = zlib.compressobj(1)
    bomb = b"".join([packer.compress(bytes(MAX_TEXT)) for _ in range(20)]) + packer.flush()
    fits = zlib.compress(b"x" * MAX_TEXT, 1)
    tracemalloc.start()
    assert texts_of(png_with(chunk(kind, head + bomb))) == {}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MAX_TEXT
    assert len(texts_of(png_with(chunk(kind, head + fits)))["parameters"]) == MAX_TEXT
    # Nor do many that would fit one by one.
    many = [chunk(kind, b"%d" % number + head + fits) for number in range(6)]
    assert len(texts_of(png_with(*many))) == 4


def test_a_file_that_is_too_large_is_not_read_whole(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.write(PNG)
        file.truncate(MAX_FILE + 1)
    with pytest.raises(NotAPicture, match="larger than 512 MiB"):
        read_recipe(huge)


def test_deep_json_is_no_recipe() -> None:
    for text in ("[" * 200_000, '{"a":' * 200_000, json.dumps({"sui_image_params": 1}), '{"base_model": '):
        assert recipe_of(png_with(chunk(b"tEXt", b"parameters\0" + text.encode()))) is None
        assert recipe_of(png_with(chunk(b"tEXt", b"prompt\0" + text.encode()))) is None

"""Pictures that come with a request: checked, upright, kept by their hash."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tensors import inputs as module
from tensors.errors import InvalidRequest
from tensors.inputs import Inputs

FOUR = {(0, 0): (255, 0, 0), (1, 0): (0, 255, 0), (0, 1): (0, 0, 255), (1, 1): (255, 255, 255)}


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path / "inputs")


def four_corners(side: int = 16) -> Image.Image:
    """Red, green over blue, white: turned or mirrored, it is another picture."""
    picture = Image.new("RGB", (2, 2))
    for place, colour in FOUR.items():
        picture.putpixel(place, colour)
    return picture.resize((side, side), Image.Resampling.NEAREST)


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def as_text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def stored(tmp_path: Path, reference: str) -> Image.Image:
    path = tmp_path / "inputs" / f"{reference.removeprefix('sha256:')}.png"
    assert reference == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    with Image.open(path) as opened:
        assert opened.format == "PNG"
        return opened.copy()


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colours of the four quarters, rounded to pure ones: JPEG is not exact."""
    width, height = picture.size
    places = [(width * x // 4, height * y // 4) for y in (1, 3) for x in (1, 3)]
    return [tuple(255 * (part > 127) for part in picture.getpixel(place)) for place in places]


UPRIGHT = [FOUR[0, 0], FOUR[1, 0], FOUR[0, 1], FOUR[1, 1]]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,", "data:,"])
def test_the_three_formats_become_png(kind: str, prefix: str, inputs: Inputs, tmp_path: Path) -> None:
    text = prefix + as_text(encoded(four_corners(), kind))
    kept = stored(tmp_path, inputs.keep("init_image", text, mode="RGB"))
    assert (kept.mode, kept.size, corners(kept)) == ("RGB", (16, 16), UPRIGHT)


def test_line_breaks_in_base64_do_not_matter_and_one_picture_is_kept_once(inputs: Inputs, tmp_path: Path) -> None:
    text = as_text(encoded(four_corners()))
    broken = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    first = inputs.keep("init_image", text, mode="RGB")
    assert inputs.keep("init_image", f" {broken}\r\n", mode="RGB") == first
    assert len(list((tmp_path / "inputs").iterdir())) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_as_its_camera_says(orientation: int, inputs: Inputs, tmp_path: Path) -> None:
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    picture = four_corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = picture.transpose(undo[orientation]) if orientation in undo else picture
    reference = inputs.keep("init_image", as_text(encoded(turned, "JPEG", exif=exif)), mode="RGB")
    kept = stored(tmp_path, reference)
    assert corners(kept) == UPRIGHT
    assert kept.getexif().get(0x0112) is None


@pytest.mark.parametrize(
    ("picture", "mode", "expected"),
    [
        (Image.new("RGBA", (1, 1), (1, 2, 3, 0)), "RGB", (1, 2, 3)),
        (Image.new("L", (1, 1), 9), "RGB", (9, 9, 9)),
        (Image.new("1", (1, 1), 1), "L", 255),
        (Image.new("LA", (1, 1), (7, 1)), "L", 7),
        (Image.new("RGB", (1, 1), (255, 255, 255)), "L", 255),
        (Image.new("RGB", (1, 1), (9, 8, 7)).quantize(), "RGB", (9, 8, 7)),
        (Image.frombytes("I;16", (1, 1), struct.pack("<H", 128 * 257)), "L", 128),
        (Image.frombytes("I;16", (1, 1), struct.pack("<H", 65535)), "RGB", (255, 255, 255)),
    ],
    ids=["RGBA", "grey", "bit", "grey and alpha", "colour to mask", "palette", "16 bits", "16 bits white"],
)
def test_every_mode_becomes_the_one_wanted(
    picture: Image.Image, mode: str, expected: object, inputs: Inputs, tmp_path: Path
) -> None:
    kept = stored(tmp_path, inputs.keep("mask", as_text(encoded(picture)), mode=mode))
    assert (kept.mode, kept.getpixel((0, 0))) == (mode, expected)


def claimed(width: int, height: int) -> bytes:
    """A PNG that says it is this large and is not."""
    chunks = {b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT": zlib.compress(b""), b"IEND": b""}
    written = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks.items():
        written += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return written


PNG = encoded(four_corners())
REFUSED = {
    "no base64": ("!!!", "is not base64"),
    "not ASCII": ("猫", "is not base64"),
    "half a base64": ("abcde", "is not base64"),
    "nothing": ("", "is not a PNG, JPEG or WebP picture"),
    "a prefix alone": ("data:image/png;base64", "is not a PNG, JPEG or WebP picture"),
    "a text": (as_text(b"hello"), "is not a PNG, JPEG or WebP picture"),
    "a GIF": (as_text(encoded(four_corners(), "GIF")), "is not a PNG, JPEG or WebP picture"),
    "a TIFF": (as_text(encoded(four_corners(), "TIFF")), "is not a PNG, JPEG or WebP picture"),
    "half a PNG": (as_text(PNG[: len(PNG) // 2]), "is not a PNG, JPEG or WebP picture"),
    "half a JPEG": (as_text(encoded(four_corners(64), "JPEG")[:-40]), "is not a PNG, JPEG or WebP picture"),
    "too large": (as_text(claimed(8001, 8000)), "is too large: 8001x8000"),
    "a small bomb": (as_text(claimed(10_000, 10_000)), "is too large: more than 64,000,000 pixels"),
    "a large bomb": (as_text(claimed(60_000, 60_000)), "is too large: more than 64,000,000 pixels"),
    "a reference to nothing": ("sha256:" + "0" * 64, "names a stored picture that is not here"),
}


@pytest.mark.parametrize("field", ["init_image", "mask"])
@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_usable_picture_is_refused_by_name(
    text: str, said: str, field: str, inputs: Inputs, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        inputs.keep(field, text, mode="RGB")
    assert caught.value.message == f"{field} {said}"
    assert not (tmp_path / "inputs").exists()


WHOLE = [encoded(four_corners(), kind) for kind in ("PNG", "JPEG", "WEBP")]


@given(
    data=st.sampled_from(WHOLE),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5),
    cut=st.integers(0, 10_000),
)
def test_a_damaged_picture_is_kept_or_refused(data: bytes, flips: list[tuple[int, int]], cut: int) -> None:
    damaged = bytearray(data)
    for position, value in flips:
        damaged[position % len(damaged)] = value
    try:
        found = Inputs(Path(os.environ["HOME"])).keep("mask", as_text(bytes(damaged[: cut or None])), mode="L")
    except InvalidRequest as error:
        found = error.details["fields"][0]["field"]
    assert found == "mask" or found.startswith("sha256:")


def test_a_reference_to_a_kept_picture_is_taken(inputs: Inputs) -> None:
    reference = inputs.keep("init_image", as_text(PNG), mode="RGB")
    assert inputs.keep("init_image", reference, mode="RGB") == reference


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "../secret",
        "/etc/passwd",
        "..",
        "A" * 64,
        "0" * 63,
        "0" * 65,
        "0" * 63 + "/",
        "../" * 21 + "a",
        "0" * 60 + "\0abc",
    ],
)
def test_a_reference_never_leads_out_of_the_folder(digest: str, inputs: Inputs, tmp_path: Path) -> None:
    for name in ("secret.png", "inputs/secret.png", "inputs/.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PNG)
    with pytest.raises(InvalidRequest, match="names a stored picture that is not here"):
        inputs.keep("init_image", f"sha256:{digest}", mode="RGB")
    with pytest.raises(FileNotFoundError):
        inputs.base64(f"sha256:{digest}", 8, 8)


def decoded(text: str) -> Image.Image:
    with Image.open(io.BytesIO(base64.b64decode(text))) as opened:
        return opened.copy()


def test_a_picture_of_the_right_size_goes_out_as_it_is(inputs: Inputs) -> None:
    reference = inputs.keep("init_image", as_text(PNG), mode="RGB")
    assert decoded(inputs.base64(reference, 16, 16)).tobytes() == four_corners().tobytes()


def test_a_picture_is_scaled_and_cropped_around_its_centre(inputs: Inputs) -> None:
    stripes = Image.new("RGB", (40, 10), "red")
    stripes.paste("blue", (10, 0, 30, 10))
    reference = inputs.keep("init_image", as_text(encoded(stripes)), mode="RGB")
    fitted = decoded(inputs.base64(reference, 40, 20))
    assert fitted.size == (40, 20)
    assert [fitted.getpixel((x, 10)) for x in (2, 20, 37)] == [(0, 0, 255)] * 3
    whole = decoded(inputs.base64(reference, 80, 20))
    assert [whole.getpixel((x, 10)) for x in (2, 40, 77)] == [(255, 0, 0), (0, 0, 255), (255, 0, 0)]


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_picture_fits_any_size_wanted(width: int, height: int) -> None:
    inputs = Inputs(Path(os.environ["HOME"]))
    reference = inputs.keep("mask", as_text(PNG), mode="L")
    fitted = decoded(inputs.base64(reference, width, height))
    assert (fitted.size, fitted.mode) == ((width, height), "L")


def test_the_limit_on_pixels_is_below_pillows_own() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert module.MAX_PIXELS < Image.MAX_IMAGE_PIXELS

"""Requests that are wrong: each gets its status and a clear error in the one shape, and leaves nothing behind."""

from __future__ import annotations

import base64
import http.client
import io
import json
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from serving import RED_ON_BLUE, SMALL, Api, picture_base64, serving

from tensors.png import SIGNATURE

HUGE = 100_000_000
"""Bytes; the limit is 64 MB."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


@pytest.fixture(autouse=True)
def nothing_is_left_behind(api: Api) -> Iterator[None]:
    """No job, no picture, no stored input, nothing that reached the engine: for every test of this module."""
    yield
    assert api.get("/api/jobs")["items"] == []
    assert api.get("/api/images")["items"] == []
    assert api.sent() == []
    assert list(api.server.data_dir.glob("inputs/*")) == []
    assert api.get("/api/health") == {"status": "ok"}


def refused(response: httpx.Response, status: int, code: str, said: str) -> dict[str, Any]:
    """Check the one shape of errors and return the error."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert list(document) == ["error"]
    error = document["error"]
    assert set(error) <= {"code", "message", "hint", "details"}
    assert (error["code"], error["message"][: len(said)]) == (code, said)
    assert len(response.text) < 5000
    return error


OUT_OF_BOUNDS = [
    ({"prompt": ""}, "prompt must not be empty"),
    ({"prompt": " \n\t"}, "prompt must not be empty"),
    ({"prompt": "x" * 100_000}, "prompt is too long: 100,000 and at most 20,000 allowed"),
    ({"negative_prompt": "x" * 100_000}, "negative_prompt is too long: 100,000 and at most 20,000 allowed"),
    ({"width": 0}, "width must be at least 64, not 0"),
    ({"width": -1}, "width must be at least 64, not -1"),
    ({"width": 63}, "width must be at least 64, not 63"),
    ({"width": 65}, "width must be a multiple of 8, not 65: 64 or 72"),
    ({"width": 100_000}, "width must be at most 4096, not 100000"),
    ({"height": 0}, "height must be at least 64, not 0"),
    ({"height": -64}, "height must be at least 64, not -64"),
    ({"height": 65}, "height must be a multiple of 8, not 65: 64 or 72"),
    ({"height": 100_000}, "height must be at most 4096, not 100000"),
    ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ({"batch_size": -3}, "batch_size must be at least 1, not -3"),
    ({"batch_size": 10_000}, "batch_size must be at most 256, not 10000"),
    ({"steps": 0}, "steps must be at least 1, not 0"),
    ({"steps": 101}, "steps must be at most 100, not 101"),
    ({"seed": 2**31}, f"seed must be at most {2**31 - 1}, not {2**31}"),
    ({"seed": 2**40}, f"seed must be at most {2**31 - 1}, not {2**40}"),
    ({"seed": 2**80}, f"seed must be at most {2**31 - 1}, not {2**80}"),
    ({"seed": -2}, "seed must be at least -1, not -2"),
    ({"seed": 2**31 - 1, "batch_size": 2}, f"seed must be at most {2**31 - 2} for a batch of 2"),
    ({"cfg_scale": -0.1}, "cfg_scale must be at least 0, not -0.1"),
    ({"cfg_scale": 51}, "cfg_scale must be at most 50, not 51"),
    ({"guidance": -1}, "guidance must be at least 0, not -1"),
    ({"clip_skip": 0}, "clip_skip must be at least 1, not 0"),
    ({"strength": 1.1, "init_image": "x"}, "strength must be at most 1, not 1.1"),
    ({"strength": 0.5}, "strength needs an init_image to start from"),
    ({"hires": {"scale": 0.5}}, "hires.scale must be at least 1, not 0.5"),
    ({"hires": {"denoising_strength": 2}}, "hires.denoising_strength must be at most 1, not 2"),
    ({"hires": {"steps": -1}}, "hires.steps must be at least 0, not -1"),
    ({"loras": [{"name": ""}]}, "loras[0].name must not be empty"),
    ({"loras": [{"name": "x", "weight": 11}]}, "loras[0].weight must be at most 10, not 11"),
    ({"loras": [{"name": "x"}] * 33}, "loras is too long: 33 and at most 32 allowed"),
    ({"tags": [""]}, "tags[0] must not be empty"),
    ({"tags": ["x"] * 65}, "tags is too long: 65 and at most 64 allowed"),
]

WRONG_TYPES = [
    ({"prompt": None}, "prompt is not valid"),
    ({"prompt": ["a", "b"]}, "prompt is not valid"),
    ({"prompt": {"text": "x"}}, "prompt is not valid"),
    ({"prompt": 7}, "prompt is not valid"),
    ({"width": "64"}, "width is not valid"),
    ({"width": 64.5}, "width is not valid"),
    ({"width": True}, "width is not valid"),
    ({"width": [64]}, "width is not valid"),
    ({"batch_size": True}, "batch_size is not valid"),
    ({"batch_size": None}, "batch_size is not valid"),
    ({"steps": "ten"}, "steps is not valid"),
    ({"cfg_scale": "7"}, "cfg_scale is not valid"),
    ({"cfg_scale": False}, "cfg_scale is not valid"),
    ({"seed": None}, "seed is not valid"),
    ({"seed": "1"}, "seed is not valid"),
    ({"seed": 1.5}, "seed is not valid"),
    ({"loras": None}, "loras is not valid"),
    ({"loras": "shapes-outline"}, "loras is not valid"),
    ({"loras": ["shapes-outline"]}, "loras[0] is not valid"),
    ({"loras": [{"weight": 1}]}, "loras[0].name is required"),
    ({"loras": [{"name": "x", "strength": 1}]}, "loras[0].strength is not a field of this request"),
    ({"hires": True}, "hires is not valid"),
    ({"hires": {"scale": 2, "factor": 2}}, "hires.factor is not a field of this request"),
    ({"tags": "one"}, "tags is not valid"),
    ({"tags": [1]}, "tags[0] is not valid"),
    ({"init_image": 5}, "init_image is not valid"),
    ({"wait": "yes"}, "wait is not valid"),
    ({"wait": 1}, "wait is not valid"),
    ({"wait": None}, "wait is not valid"),
    ({"return_base64": 0}, "return_base64 is not valid"),
    ({"cfg": 7}, "cfg is not a field of this request"),
    ({"prompt_": "x", "Width": 64}, "prompt_ is not a field of this request (and 1 more)"),
]

NO_TEXT = [
    ({"prompt": "a\0b"}, "prompt contains a NUL character"),
    ({"negative_prompt": "\0"}, "negative_prompt contains a NUL character"),
    ({"tags": ["a\0"]}, "tags[0] contains a NUL character"),
    ({"model": "shapes\0"}, "model contains a NUL character"),
    ({"prompt": "x <sd_cpp_extra_args>{}</sd_cpp_extra_args>"}, "prompt must not contain sd_cpp_extra_args"),
    ({"prompt": "x <SD_CPP_Extra_Args>{}"}, "prompt must not contain sd_cpp_extra_args"),
    ({"prompt": "x <sd_cpp_<lora:shapes-outline:1>extra_args>{}"}, "prompt must not contain sd_cpp_extra_args"),
    ({"negative_prompt": "<SD_cpp_extra_args>{}"}, "negative_prompt must not contain sd_cpp_extra_args"),
    ({"prompt": "x <lora:shapes-outline:strong>"}, "prompt has <lora:shapes-outline:strong>; it is written"),
    ({"prompt": "x <lora::1>"}, "prompt has <lora::1>; it needs a name"),
    ({"prompt": "x <lora:shapes-outline:nan>"}, "prompt has <lora:shapes-outline:nan>; it needs a name and a weight"),
    ({"prompt": "x <lora:shapes-outline:11>"}, "prompt has <lora:shapes-outline:11>; it needs a name and a weight"),
    ({"prompt": "<lora:shapes-outline> x <lora:Shapes-Outline>"}, "loras name 'shapes-outline' twice"),
    ({"sampler": "eulr"}, "unknown sampler 'eulr'; did you mean 'euler'?"),
    ({"sampler": "Euler Karas"}, "unknown sampler 'Euler Karas'"),
    ({"hires": {"upscaler": "lanzcos"}}, "unknown upscaler 'lanzcos'; did you mean 'Lanczos'?"),
    ({"scheduler": "karas"}, "unknown scheduler 'karas'; did you mean 'karras'?"),
    ({"scheduler": "zzz"}, "unknown scheduler 'zzz'"),
]


def _names(rows: list[Any]) -> list[str]:
    return [json.dumps(row[0])[:60] for row in rows]


@pytest.mark.parametrize(
    ("body", "said"), OUT_OF_BOUNDS + WRONG_TYPES + NO_TEXT, ids=_names(OUT_OF_BOUNDS + WRONG_TYPES + NO_TEXT)
)
def test_a_wrong_value_is_refused_by_name(api: Api, body: dict[str, Any], said: str) -> None:
    error = refused(api.post(**{"wait": False, **body}), 422, "invalid_request", said)
    fields = error["details"]["fields"]
    assert all(set(field) == {"field", "message"} for field in fields)
    assert fields[0]["field"] == said.partition(" ")[0] or said.startswith("unknown ")


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"model": "shape"}, "model_not_found", "model 'shape' not found; did you mean 'shapes'?"),
        ({"model": "zzzzzz"}, "model_not_found", "model 'zzzzzz' not found"),
        ({"model": "../demo/shapes"}, "model_not_found", "model '../demo/shapes' not found"),
        ({"model": "/etc/passwd"}, "model_not_found", "model '/etc/passwd' not found"),
        (
            {"loras": [{"name": "shape-outline"}]},
            "lora_not_found",
            "LoRA 'shape-outline' not found; did you mean 'shapes-outline'?",
        ),
        ({"prompt": "x <lora:nothing-like-it:1>"}, "lora_not_found", "LoRA 'nothing-like-it' not found"),
        ({"loras": [{"name": "../shapes-outline"}]}, "lora_not_found", "LoRA '../shapes-outline' not found"),
    ],
)
def test_a_file_that_is_not_there_is_not_found(api: Api, body: dict[str, Any], code: str, said: str) -> None:
    error = refused(api.post(wait=False, **body), 404, code, said)
    assert error["hint"] == ("tsr models list" if code == "model_not_found" else "tsr models loras")


def test_everything_that_is_wrong_is_told_at_once(api: Api) -> None:
    said = "width must be at least 64, not 0 (and 2 more)"
    error = refused(api.post(width=0, steps=0, seed=-5), 422, "invalid_request", said)
    assert {field["field"] for field in error["details"]["fields"]} == {"width", "steps", "seed"}


def post_raw(api: Api, body: bytes, **headers: str) -> httpx.Response:
    return api.http.post("/api/generate", content=body, headers={"Content-Type": "application/json", **headers})


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["cfg_scale", "guidance", "strength"])
def test_numbers_that_are_not_finite_are_refused(api: Api, field: str, value: str) -> None:
    body = b'{"prompt": "x", "init_image": "", "%b": %b}' % (field.encode(), value.encode())
    refused(post_raw(api, body), 422, "invalid_request", f"{field} must be a finite number")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused_inside_too(api: Api, value: str) -> None:
    for inside in ('"loras": [{"name": "x", "weight": %s}]', '"hires": {"scale": %s}'):
        response = post_raw(api, ('{"prompt": "x", ' + inside % value + "}").encode())
        error = refused(response, 422, "invalid_request", "")
        assert "must be a finite number" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"prompt": "x"',
        b'{"prompt": "x"} {}',
        b"{'prompt': 'x'}",
        b'{"prompt": "x",}',
        b"prompt=x&width=64",
        b"\xff\xfe{}",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "x", "tags": ["\\udc00"]}',
        b"[" * 100_000,
        b'{"prompt": "a\nb"}',
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_json_is_a_malformed_body(api: Api, body: bytes) -> None:
    error = refused(post_raw(api, body), 400, "malformed_body", "The request's body is not valid JSON")
    assert error["hint"] == "the body must be one JSON document in UTF-8"


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"7", b"true", b'[{"prompt": "x"}]'])
def test_json_that_is_no_object_is_refused(api: Api, body: bytes) -> None:
    refused(post_raw(api, body), 422, "invalid_request", "the body is not valid")


def test_a_request_without_a_prompt_is_refused(api: Api) -> None:
    refused(post_raw(api, b"{}"), 422, "invalid_request", "prompt is required")


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_an_idempotency_key_must_be_one(api: Api, key: str) -> None:
    response = post_raw(api, json.dumps({"prompt": RED_ON_BLUE, **SMALL}).encode(), **{"Idempotency-Key": key})
    refused(response, 422, "invalid_request", "")


def png_header_of(width: int, height: int) -> str:
    """A PNG that claims a size and has next to nothing in it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = SIGNATURE + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return base64.b64encode(data).decode()


def gif() -> str:
    out = io.BytesIO()
    Image.new("RGB", (64, 64)).save(out, "GIF")
    return base64.b64encode(out.getvalue()).decode()


SVG = base64.b64encode(b'<svg xmlns="http://www.w3.org/2000/svg" width="64" height="64"><rect/></svg>').decode()
NO_PICTURE = "is not a PNG, JPEG or WebP picture"
BAD_PICTURES = {
    "empty": ("", NO_PICTURE),
    "no-base64": ("###", "is not base64"),
    "half-base64": ("abc", "is not base64"),
    "other-letters": ("\u0430" * 4, "is not base64"),
    "text": (base64.b64encode(b"not a picture").decode(), NO_PICTURE),
    "svg": (SVG, NO_PICTURE),
    "svg-url": (f"data:image/svg+xml;base64,{SVG}", NO_PICTURE),
    "gif": (gif(), NO_PICTURE),
    "truncated": (picture_base64((256, 256))[:200], NO_PICTURE),
    "header-only": (base64.b64encode(SIGNATURE).decode(), NO_PICTURE),
    "no-pixels": (png_header_of(64, 64), NO_PICTURE),
    "zero-size": (png_header_of(0, 64), NO_PICTURE),
    "bomb": (png_header_of(50_000, 50_000), "is too large: more than 64,000,000 pixels"),
    "large": (png_header_of(10_000, 8_000), "is too large: 10000x8000"),
    "file": ("/etc/passwd", "is not base64"),
    "url": ("http://127.0.0.1:1/cat.png", "is not base64"),
    "unknown-hash": (f"sha256:{'0' * 64}", "names a stored picture that is not here"),
    "hash-as-path": ("sha256:../../config", "names a stored picture that is not here"),
}


@pytest.mark.parametrize(("picture", "said"), BAD_PICTURES.values(), ids=BAD_PICTURES)
@pytest.mark.parametrize("field", ["init_image", "mask"])
def test_an_input_that_is_no_picture_is_refused(api: Api, field: str, picture: str, said: str) -> None:
    body = {"init_image": picture_base64(), field: picture}
    started = time.monotonic()
    refused(api.post(wait=False, **body), 422, "invalid_request", f"{field} {said}")
    assert time.monotonic() - started < 5


def test_a_mask_needs_a_picture_to_redraw(api: Api) -> None:
    refused(api.post(mask=picture_base64()), 422, "invalid_request", "mask needs an init_image to redraw")


def test_a_body_that_announces_too_much_is_refused_unread(api: Api) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", api.http.base_url.port, timeout=10)
    connection.putrequest("POST", "/api/generate")
    connection.putheader("Content-Length", str(HUGE))
    started = time.monotonic()
    connection.endheaders(b'{"prompt": "')
    response = connection.getresponse()
    error = json.loads(response.read())["error"]
    assert (response.status, error["code"]) == (413, "payload_too_large")
    assert error["message"] == "the request is larger than 64 MB"
    assert time.monotonic() - started < 3
    # The rest will not be read: the connection ends.
    assert response.getheader("Connection") == "close"
    connection.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["content-length", "chunked"])
def test_a_body_of_100_mb_is_refused(api: Api, chunked: bool) -> None:
    piece = b"x" * 1_000_000

    def pieces() -> Iterator[bytes]:
        for _ in range(HUGE // len(piece)):
            yield piece

    started = time.monotonic()
    response = api.http.post("/api/generate", content=pieces() if chunked else piece * (HUGE // len(piece)))
    refused(response, 413, "payload_too_large", "the request is larger than 64 MB")
    assert time.monotonic() - started < 20


def test_a_body_just_below_the_limit_is_read(api: Api) -> None:
    body = json.dumps({"prompt": RED_ON_BLUE, "init_image": "*" * 60_000_000}).encode()
    refused(post_raw(api, body), 422, "invalid_request", "init_image is not base64")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/generate", 405, "method_not_allowed"),
        ("PUT", "/api/jobs", 405, "method_not_allowed"),
        ("POST", "/api/images", 405, "method_not_allowed"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("GET", "/../etc/passwd", 404, "not_found"),
        ("POST", "/api/jobs/x", 405, "method_not_allowed"),
    ],
)
def test_an_address_that_is_not_there_answers_in_the_same_shape(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    refused(api.http.request(method, path), status, code, "")

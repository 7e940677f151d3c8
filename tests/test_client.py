"""`TsrClient`: what it asks for, and what it makes of answers, good, strange and broken. The server is a mock."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec
import pytest
import respx
from hypothesis import given
from hypothesis import strategies as st

from tensors import __version__, errors
from tensors.client import TsrClient
from tensors.errors import ServerUnreachable, TsrError
from tensors.types.base import Deleted, Page
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest, Lora, Settings, UsedModel
from tensors.types.jobs import Generated, Job
from tensors.types.server import EngineStatus, Health, Status, Version

URL = "http://junkpile:8080"
SETTINGS = Settings(
    prompt="a red circle",
    negative_prompt="",
    model=UsedModel(name="shapes", family="shapes"),
    width=64,
    height=64,
    steps=4,
    cfg_scale=2.0,
    sampler="euler",
    scheduler="discrete",
    seed=7,
)
JOB = Job(id="1f", kind="generate", state="queued", created="2026-11-22T18:49:01.123Z", settings=SETTINGS)
IMAGE = Image(
    id="20261122-184901-123_7",
    created="2026-11-22T18:49:01.123Z",
    job="1f",
    index=0,
    width=64,
    height=64,
    settings=SETTINGS,
    engine="sd-server 1",
    tsr="0.1.0",
    path="/there/20261122-184901-123_7.png",
)
STATUS = Status(
    mode="server",
    url=URL,
    version="0.1.0",
    engine=EngineStatus(state="ready", version="1", model="shapes", family="shapes", pid=5),
    queued=1,
    running=2,
    images=3,
    data_dir="/there",
)
REQUEST = GenerateRequest(prompt="ein rötlicher Kreis", width=64, loras=(Lora(name="x", weight=0.5),), seed=3)


@pytest.fixture
def server() -> Iterator[respx.MockRouter]:
    with respx.mock(base_url=URL) as router:
        yield router


@pytest.fixture
def client() -> Iterator[TsrClient]:
    client = TsrClient(URL)
    yield client
    client.close()


def answer(value: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=msgspec.json.encode(value), headers={"Content-Type": "application/json"})


CALLS: dict[str, tuple[Callable[[TsrClient], object], str, str, object]] = {
    "health": (lambda c: c.health(), "GET", "/api/health", Health()),
    "status": (lambda c: c.status(), "GET", "/api/status", STATUS),
    "version": (lambda c: c.version(), "GET", "/api/version", Version(tsr="1", engine=None, python="3.11")),
    "jobs.list": (lambda c: c.jobs.list(), "GET", "/api/jobs?limit=20", Page(items=(JOB,), next_cursor="c")),
    "jobs.list-all": (
        lambda c: c.jobs.list(state="queued", limit=3, cursor="a b&c"),
        "GET",
        "/api/jobs?state=queued&limit=3&cursor=a+b%26c",
        Page(items=()),
    ),
    "jobs.get": (lambda c: c.jobs.get("1f"), "GET", "/api/jobs/1f", JOB),
    "jobs.cancel": (lambda c: c.jobs.cancel("1f"), "POST", "/api/jobs/1f/cancel", JOB),
    "images.list": (lambda c: c.images.list(), "GET", "/api/images?limit=20", Page(items=(IMAGE,))),
    "images.list-all": (
        lambda c: c.images.list(limit=500, cursor=IMAGE.id),
        "GET",
        f"/api/images?limit=500&cursor={IMAGE.id}",
        Page(items=(IMAGE, IMAGE), next_cursor=IMAGE.id),
    ),
    "images.get": (lambda c: c.images.get(IMAGE.id), "GET", f"/api/images/{IMAGE.id}/meta", IMAGE),
    "images.delete": (lambda c: c.images.delete(IMAGE.id), "DELETE", f"/api/images/{IMAGE.id}", Deleted(id=IMAGE.id)),
}


@pytest.mark.parametrize(("call", "method", "path", "value"), CALLS.values(), ids=CALLS)
def test_a_call_is_one_request_and_its_answer_the_value(
    server: respx.MockRouter, client: TsrClient, call: Any, method: str, path: str, value: object
) -> None:
    route = server.route(method=method, url=URL + path).mock(return_value=answer(value))
    assert call(client) == value
    assert route.call_count == len(server.calls) == 1
    request = server.calls[0].request
    assert request.headers["user-agent"] == f"tsr/{__version__}"
    assert "authorization" not in request.headers
    assert request.content == b""


@pytest.mark.parametrize(("call", "method", "path", "value"), CALLS.values(), ids=CALLS)
def test_what_a_newer_server_says_besides_is_passed_over(
    server: respx.MockRouter, client: TsrClient, call: Any, method: str, path: str, value: object
) -> None:
    def more(node: Any) -> Any:
        if isinstance(node, dict):
            return {**{name: more(child) for name, child in node.items()}, "invented_in_2030": {"x": [1]}}
        return [more(child) for child in node] if isinstance(node, list | tuple) else node

    server.route(method=method, url=URL + path).mock(return_value=answer(more(msgspec.to_builtins(value))))
    assert call(client) == value


def test_a_picture_comes_as_its_bytes(server: respx.MockRouter, client: TsrClient) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\xff"
    server.get(f"/api/images/{IMAGE.id}").mock(
        return_value=httpx.Response(200, content=png, headers={"Content-Type": "image/png"})
    )
    assert client.images.read(IMAGE.id) == png


@pytest.mark.parametrize("status", [200, 302])
def test_a_page_is_no_picture(server: respx.MockRouter, client: TsrClient, status: int) -> None:
    """A proxy's login page must not be saved as a PNG file."""
    server.get("/api/images/1").mock(return_value=httpx.Response(status, html="<html>log in</html>"))
    with pytest.raises(TsrError, match=f"^{URL} answered with something else than tsr does: that is no picture"):
        client.images.read("1")


def test_generate_sends_the_request_and_does_not_wait(server: respx.MockRouter, client: TsrClient) -> None:
    route = server.post("/api/generate").mock(return_value=answer(Generated(job=JOB), 202))
    assert client.generate(REQUEST) == JOB
    sent = route.calls[0].request
    assert sent.headers["content-type"] == "application/json"
    body = json.loads(sent.content)
    assert body.pop("wait") is False
    assert msgspec.convert(body, GenerateRequest) == REQUEST
    assert set(body) == set(GenerateRequest.__slots__)


def test_each_request_has_an_idempotency_key_of_its_own_or_the_given_one(
    server: respx.MockRouter, client: TsrClient
) -> None:
    route = server.post("/api/generate").mock(return_value=answer(Generated(job=JOB), 202))
    client.generate(REQUEST)
    client.generate(REQUEST, detach=True)
    client.generate(REQUEST, idempotency_key="mine")
    keys = [call.request.headers["idempotency-key"] for call in route.calls]
    assert len(keys[0]) >= 32
    assert keys[0] != keys[1]
    assert keys[2] == "mine"


@pytest.mark.parametrize("key", ["sk-1", "schlüssel", "鍵"])
def test_a_key_travels_in_the_header(server: respx.MockRouter, key: str) -> None:
    route = server.get("/api/health").mock(return_value=answer(Health()))
    client = TsrClient(URL, api_key=key)
    assert client.health() == Health()
    (value,) = (value for name, value in route.calls[0].request.headers.raw if name.lower() == b"authorization")
    assert value == f"Bearer {key}".encode()
    assert key not in str(route.calls[0].request.url)
    client.close()


@given(st.text())
def test_any_id_is_one_part_of_the_path(image_id: str) -> None:
    seen: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return answer(IMAGE if request.url.raw_path.endswith(b"/meta") else Deleted(id="x"))

    client = TsrClient(URL, transport=httpx.MockTransport(handle))
    client.images.get(image_id)
    client.images.delete(image_id)
    client.close()
    meta, image = (path.decode("ascii") for path in seen)
    assert meta == f"{image}/meta"
    part = image.removeprefix("/api/images/")
    assert not set(part) & set("/?#. \\")
    assert unquote(part) == image_id


@pytest.mark.parametrize("image_id", ["..", ".", "../jobs", "a/b", "a?limit=1", "a#b", "%2e%2e", "\udcff", "ü", ""])
def test_ids_that_a_url_would_read_otherwise_are_quoted(image_id: str) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.raw_path.count(b"/") == 4
        assert b".." not in request.url.raw_path
        assert request.url.query == b""
        return answer(errors.ImageNotFound().to_wire(), 404)

    client = TsrClient(URL, transport=httpx.MockTransport(handle))
    with pytest.raises(errors.ImageNotFound):
        client.images.get(image_id)
    client.close()


EVERY_ERROR = sorted({cls.code: cls for cls in TsrError._by_code.values()}.values(), key=lambda cls: cls.code)


@pytest.mark.parametrize("cls", EVERY_ERROR, ids=lambda cls: cls.__name__)
def test_each_error_comes_back_as_itself(server: respx.MockRouter, client: TsrClient, cls: type[TsrError]) -> None:
    sent = cls("what is wrong", hint="what to do", details={"fields": [{"field": "x"}], "job": "1f"})
    server.get("/api/status").mock(return_value=answer(sent.to_wire(), cls.status))
    with pytest.raises(cls) as raised:
        client.status()
    assert type(raised.value) is cls
    assert (raised.value.message, raised.value.hint, raised.value.details) == (sent.message, sent.hint, sent.details)


def test_an_error_of_a_newer_server_is_at_least_an_error(server: respx.MockRouter, client: TsrClient) -> None:
    wire = {"error": {"code": "invented_in_2030", "message": "too late", "hint": "go home", "when": 2030}}
    server.get("/api/status").mock(return_value=answer(wire, 418))
    with pytest.raises(TsrError, match=r"^too late$") as raised:
        client.status()
    assert (type(raised.value), raised.value.hint) == (TsrError, "go home")


@pytest.mark.parametrize("status", [404, 502])
@pytest.mark.parametrize(
    "body",
    [
        b"<html><body><h1>502 Bad Gateway</h1></body></html>",
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"error"',
        b'{"detail": "Not Found"}',
        b'{"error": "not found"}',
        b'{"error": {"code": 7}}',
        b'{"error": {"code": "x", "message": ["y"]}}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_error_of_something_in_between_names_its_status(
    server: respx.MockRouter, client: TsrClient, status: int, body: bytes
) -> None:
    server.get("/api/status").mock(return_value=httpx.Response(status, content=body))
    with pytest.raises(TsrError, match=f"answered with status {status} and no explanation"):
        client.status()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Welcome to nginx!</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"mode": 5}',
        b"\xff",
        b'{"mode": "\xff"}',
        b"[" * 100_000,
        b'{"mode": "server"',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_answer_that_is_not_tsrs_is_said_to_be(server: respx.MockRouter, client: TsrClient, body: bytes) -> None:
    server.get("/api/status").mock(return_value=httpx.Response(200, content=body))
    with pytest.raises(TsrError, match=f"^{URL} answered with something else than tsr does"):
        client.status()


def test_a_redirect_is_not_followed(server: respx.MockRouter) -> None:
    """It would carry the key to somebody else."""
    server.get("/api/status").mock(return_value=httpx.Response(302, headers={"Location": "http://evil.example/"}))
    client = TsrClient(URL, api_key="secret")
    with pytest.raises(TsrError):
        client.status()
    assert len(server.calls) == 1
    client.close()


BROKEN = [
    httpx.ConnectError("[Errno 111] Connection refused"),
    httpx.ConnectError("[Errno -2] Name or service not known"),
    httpx.ConnectTimeout(""),
    httpx.ReadTimeout("timed out"),
    httpx.ReadError(""),
    httpx.RemoteProtocolError("Server disconnected without sending a response."),
    httpx.PoolTimeout(""),
]


@pytest.mark.parametrize("broken", BROKEN, ids=repr)
def test_a_server_that_cannot_be_reached_is_named(
    server: respx.MockRouter, client: TsrClient, broken: httpx.HTTPError
) -> None:
    server.get("/api/status").mock(side_effect=broken)
    with pytest.raises(ServerUnreachable) as raised:
        client.status()
    assert raised.value.message == f"{URL} cannot be reached: {broken!s}" if str(broken) else type(broken).__name__
    assert raised.value.hint == "is `tsr serve` running there?"
    assert raised.value.exit_code == 6


def test_a_request_that_broke_off_is_sent_again_and_is_still_one_job(
    server: respx.MockRouter, client: TsrClient
) -> None:
    route = server.post("/api/generate")
    route.side_effect = [httpx.ReadError("gone"), answer(Generated(job=JOB), 202)]
    assert client.generate(REQUEST) == JOB
    first, second = (call.request for call in route.calls)
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.content == second.content


@pytest.mark.parametrize(("broken", "tries"), [(httpx.ConnectError("refused"), 1), (httpx.ReadTimeout("slow"), 2)])
def test_a_request_is_not_sent_for_ever(
    server: respx.MockRouter, client: TsrClient, broken: httpx.HTTPError, tries: int
) -> None:
    route = server.post("/api/generate").mock(side_effect=broken)
    with pytest.raises(ServerUnreachable):
        client.generate(REQUEST)
    assert route.call_count == tries


def test_a_refused_request_is_not_sent_again(server: respx.MockRouter, client: TsrClient) -> None:
    route = server.post("/api/generate").mock(return_value=answer(errors.QueueFull("full").to_wire(), 429))
    with pytest.raises(errors.QueueFull, match="full"):
        client.generate(REQUEST)
    assert route.call_count == 1

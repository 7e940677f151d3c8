"""A stand-in for CivitAI's public API, for tests: its rules, its limits, and bad manners to order.

It knows the recorded answers of `tests/data/civitai` and whatever a test adds. Rules are those of the site's
documentation and source: one hash too many, or one that is none, is a 400 for the whole call; hashes are taken in any
case and told in upper case; what is unknown is left out; lists without `nsfw=true` have only what everybody may see,
and never archived models or real persons; pages are followed by cursors. Faults stand in a queue, one for each request:

    civitai.order(failing(429, retry_after="2"), times=3)

Simpler than the real one, on purpose: lists are in the order of ids, whatever `sort` and `period` say; a cursor is a
number in disguise; files are what the record says, nothing is taken out of archived models.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

Json = dict[str, Any]

RECORDED = Path(__file__).parent / "data" / "civitai"
LARGEST_ID = 2**31 - 1
MOST_VERSIONS = 100
MOST_IDS = 10_000
PAGE = b"<!DOCTYPE html><html><body><h1>Sign in to Civitai</h1></body></html>"
ENUMS = {
    "ModelType": ["Checkpoint", "TextualInversion", "Hypernetwork", "AestheticGradient", "LORA", "LoCon", "DoRA",
                  "Controlnet", "Upscaler", "MotionModule", "VAE", "Poses", "Wildcards", "Workflows", "Detection",
                  "Other"],
    "ModelFileType": ["Model", "Text Encoder", "Pruned Model", "Negative", "Training Data", "VAE", "Config", "Archive"],
    "BaseModel": ["SD 1.5", "SD 2.1", "SDXL 1.0", "Pony", "Illustrious", "NoobAI", "Flux.1 D", "Other"],
    "BaseModelType": ["Standard", "Inpainting", "Refiner", "Pix2Pix"],
}  # fmt: skip
SORTS = ("Highest Rated", "Most Downloaded", "Newest")
_DOWNLOAD = re.compile(r"/api/download/models/(\d+)")
PERIODS = ("AllTime", "Year", "Month", "Week", "Day")


def recorded(name: str) -> Json:
    """A recorded answer."""
    return json.loads((RECORDED / name).read_bytes())


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Refusal(Exception):
    """An answer that is none."""

    status: int
    document: Json


Fault = Callable[["Handler"], bool]
"""Spoils an answer; true when there is nothing more to say."""


def answering(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Fault:
    """Answer with just this."""

    def fault(handler: Handler) -> bool:
        handler.answer(status, body, content_type, **{name.replace("_", "-"): text for name, text in headers.items()})
        return True

    return fault


def failing(status: int, message: str = "out of order", **headers: str) -> Fault:
    """Answer with an error."""
    return answering(status, json.dumps({"error": message}).encode(), **headers)


def page(status: int = 200) -> Fault:
    """Answer with a page for people."""
    return answering(status, PAGE, "text/html; charset=utf-8")


def moved(location: str, status: int = 307) -> Fault:
    """Answer with a redirect."""
    return answering(status, b"", location=location)


def fine(handler: Handler) -> bool:
    """Answer as usual."""
    return False


def half(handler: Handler) -> bool:
    """Hang up in the middle of the answer."""
    handler.cut_short = True
    return False


def hang_up(handler: Handler) -> bool:
    """Hang up without a word."""
    handler.close_connection = True
    return True


def silent(handler: Handler) -> bool:
    """Never answer."""
    handler.fake.closing.wait()
    return hang_up(handler)


def dripping(handler: Handler) -> bool:
    """Send headers for ever, a byte now and then."""
    with contextlib.suppress(OSError):
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not handler.fake.closing.wait(0.02):
            handler.connection.sendall(b"x")
    return hang_up(handler)


def trickling(handler: Handler) -> bool:
    """Send a body for ever, a byte now and then."""
    with contextlib.suppress(OSError):
        handler.connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[")
        while not handler.fake.closing.wait(0.02):
            handler.connection.sendall(b" ")
    return hang_up(handler)


def slow(seconds: float) -> Fault:
    """Take a while."""

    def fault(handler: Handler) -> bool:
        handler.fake.closing.wait(seconds)
        return False

    return fault


class FakeCivitai:
    """A running stand-in. `url` is what `api.civitai_url` takes."""

    def __init__(self) -> None:
        self.models: dict[int, Json] = {}
        self.versions: dict[int, Json] = {}
        """All versions as `/model-versions/{id}` tells them."""
        self.requests: list[Request] = []
        self.keys: set[str] | None = None
        """When set, any other key is refused; to go without is fine, as for all that only reads."""
        self.downloads: dict[int, str] = {}
        """Where a version's files are: the address that a download is redirected to, with any key."""
        self.closing = threading.Event()
        self._hashes: dict[str, list[int]] = {}
        self._faults: deque[Fault] = deque()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._arrival = threading.Condition(self._lock)
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.fake = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake CivitAI")
        self._thread.start()

    def add_recorded(self) -> None:
        """Know the recorded answers."""
        for model in (*recorded("models-page.json")["items"], recorded("model-1102.json")):
            self.add(model)
        self.add_version(recorded("model-version-1318.json"))

    def add(self, model: Json) -> None:
        """Know a model, given as `/models/{id}` tells it."""
        self.models[model["id"]] = model
        about = {name: model[name] for name in ("name", "type", "nsfw", "poi", "mode") if name in model}
        for version in model.get("modelVersions", []):
            self.add_version({"modelId": model["id"], **version, "model": about})

    def add_version(self, version: Json) -> None:
        """Know a version, given as `/model-versions/{id}` tells it."""
        self.versions[version["id"]] = version
        for file in version.get("files", []):
            for value in file.get("hashes", {}).values():
                self._hashes.setdefault(value.upper(), []).append(version["id"])

    def remove(self, model_id: int) -> None:
        """Forget a model, as if its creator had deleted it."""
        gone = {version["id"] for version in self.models.pop(model_id).get("modelVersions", [])}
        self.versions = {number: version for number, version in self.versions.items() if number not in gone}
        self._hashes = {value: [v for v in found if v not in gone] for value, found in self._hashes.items()}

    def order(self, *faults: Fault, times: int = 1) -> None:
        """Spoil the next answers, one fault each."""
        self._faults.extend(faults * times)

    def forgive(self) -> None:
        """Spoil no more answers."""
        self._faults.clear()

    def asked(self, path: str | None = None) -> int:
        """How many requests there were, or of this path below `/api/v1`."""
        return sum(path is None or request.path == f"/api/v1{path}" for request in self.requests)

    def counts(self) -> Counter[str]:
        """Requests of each path, numbers and hashes in it as `*`."""
        return Counter(re.sub(r"/(\d+|[0-9A-Fa-f]{8,64})$", "/*", request.path) for request in self.requests)

    def wait_for(self, count: int, seconds: float = 30) -> None:
        """Wait until so many requests have come."""
        with self._arrival:
            assert self._arrival.wait_for(lambda: len(self.requests) >= count, seconds), f"not {count} requests"

    def with_hash(self, value: str) -> list[int]:
        """Ids of the versions with a file of this hash."""
        return self._hashes.get(value.upper(), [])

    def arrived(self, request: Request) -> Fault | None:
        """Note a request and return what is to go wrong with it."""
        with self._lock:
            self.requests.append(request)
            self._arrival.notify_all()
            return self._faults.popleft() if self._faults else None

    def connected(self, connection: socket.socket, *, ended: bool = False) -> None:
        """Note who is there: they are sent home at the end."""
        with self._lock:
            (self._connections.discard if ended else self._connections.add)(connection)
            if self.closing.is_set():
                _send_home(connection)

    def close(self) -> None:
        """Stop, without waiting for anybody who is still asking."""
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                _send_home(connection)
        self._server.server_close()


def _send_home(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Server(ThreadingHTTPServer):
    fake: FakeCivitai
    daemon_threads = False
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever hangs up early is no error of ours; everything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    cut_short = False

    @property
    def fake(self) -> FakeCivitai:
        return self.server.fake

    def setup(self) -> None:
        super().setup()
        self.fake.connected(self.connection)

    def finish(self) -> None:
        self.fake.connected(self.connection, ended=True)
        with contextlib.suppress(ConnectionError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at `requests` instead."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def answer(self, status: int, body: bytes, content_type: str = "application/json", **headers: str) -> None:
        """Send an answer, or half of it."""
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.cut_short else body)
        self.wfile.flush()
        if self.cut_short:
            self.cut_short, self.close_connection = False, True

    def _download(self, version_id: int, asked: Request) -> None:
        location = self.fake.downloads.get(version_id)
        if not asked.headers.get("authorization", "").startswith("Bearer "):
            self.answer(401, b'{"error":"Unauthorized","message":"you have to be logged in"}')
        elif location is None:
            self.answer(404, b'{"error":"File not found"}')
        else:
            self.answer(307, b"", location=location)

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Request(self.command, parts.path, parse_qs(parts.query), headers, body)
        fault = self.fake.arrived(asked)
        if fault and fault(self):
            return
        if found := _DOWNLOAD.fullmatch(asked.path):
            self._download(int(found[1]), asked)
            return
        try:
            document: object = _document(self.fake, asked)
            status = 200
        except Refusal as refusal:
            status, document = refusal.status, refusal.document
        if document is None:
            self.answer(404, PAGE, "text/html; charset=utf-8")
        else:
            self.answer(status, json.dumps(document).encode(), "application/json; charset=utf-8")


# --- the API: one function for each address ---------------------------------------------------------------------------


def _document(fake: FakeCivitai, asked: Request) -> object:
    """The answer as a document; None where there is no such address. Raises `Refusal`."""
    key = asked.headers.get("authorization", "").removeprefix("Bearer ")
    if key and fake.keys is not None and key not in fake.keys:
        raise Refusal(401, {"error": "Unauthorized"})
    for method, pattern, answer in _ADDRESSES:
        if match := re.fullmatch(f"/api/v1{pattern}", asked.path):
            if asked.method != method:
                raise Refusal(405, {"error": "Method not allowed"})
            return answer(fake, asked, *match.groups())
    return None


def _model(fake: FakeCivitai, asked: Request, value: str) -> Json:
    model_id = _number(value)
    if model_id not in fake.models:
        raise Refusal(404, {"error": f"No model with id {model_id}"})
    return fake.models[model_id]


def _version(fake: FakeCivitai, asked: Request, value: str) -> Json:
    version = fake.versions.get(_number(value))
    if version is None:
        raise Refusal(404, {"error": "Model not found"})
    return version


def _mini(fake: FakeCivitai, asked: Request, value: str) -> Json:
    version = fake.versions.get(_number(value), {})
    if version.get("status", "Published" if version else None) != "Published":
        raise Refusal(404, {"error": "Model not found"})
    files = version.get("files", [])
    if not files:
        raise Refusal(404, {"error": "Missing model file"})
    file = next((file for file in files if file.get("primary")), files[0])
    ends, availability = version.get("earlyAccessEndsAt"), version.get("availability", "Public")
    special = ends is not None or availability == "Private"
    return {
        "versionName": version.get("name"),
        "modelName": version.get("model", {}).get("name"),
        "baseModel": version.get("baseModel"),
        "availability": availability,
        "publishedAt": version.get("publishedAt"),
        "size": file.get("sizeKB"),
        "fileType": file.get("type"),
        "fileName": file.get("name"),
        "hashes": file.get("hashes", {}),
        "downloadUrls": [f"{fake.url}/api/download/models/{version['id']}"],
        "format": file.get("metadata", {}).get("format"),
        "requireAuth": version.get("requireAuth", False),
        "checkPermission": special,
        **({"earlyAccessEndsAt": ends} if special else {}),
    }


def _by_hash(fake: FakeCivitai, asked: Request, value: str) -> Json:
    found = fake.with_hash(value)
    if not found:
        raise Refusal(404, {"error": "Model not found"})
    return fake.versions[found[0]]


def _by_hashes(fake: FakeCivitai, asked: Request) -> list[Json]:
    return [fake.versions[number] for value in _sha256s(asked, MOST_VERSIONS) for number in fake.with_hash(value)]


def _ids_by_hashes(fake: FakeCivitai, asked: Request) -> list[Json]:
    return [
        {"modelVersionId": number, "hash": value}
        for value in _sha256s(asked, MOST_IDS)
        for number in fake.with_hash(value)
    ]


def _sha256s(asked: Request, most: int) -> list[str]:
    try:
        values = asked.json
    except ValueError:
        raise Refusal(400, {"error": "Invalid JSON"}) from None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise Refusal(400, {"error": "Request must include an array of SHA256 Hashes."})
    if len(values) > most:
        raise Refusal(400, {"error": "Request must include an array of SHA256 Hashes. Too many hashes"})
    if not all(re.fullmatch("[0-9A-Fa-f]{64}", value) for value in values):
        raise Refusal(400, {"error": "Request must include an array of SHA256 Hashes. Invalid hash"})
    return list(dict.fromkeys(value.upper() for value in values))


def _number(value: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", value) or not 0 < int(value) <= LARGEST_ID:
        raise Refusal(400, {"error": "Invalid id"})
    return int(value)


def _models(fake: FakeCivitai, asked: Request) -> Json:
    one = {name: values[-1] for name, values in asked.query.items()}
    limit, number = _bounded(one.get("limit", "100"), 0, 100), one.get("page")
    if number and "cursor" not in one and _bounded(number, 1, LARGEST_ID) * limit > 1000:
        raise Refusal(429, {"error": "You've requested too many pages, please use cursors instead"})
    if "query" in one and number:
        raise Refusal(400, {"error": "Cannot use page param with query search. Use cursor-based pagination."})
    _one_of(one.get("sort"), SORTS)
    _one_of(one.get("period"), PERIODS)
    for name in asked.query.get("types", []):
        _one_of(name, ENUMS["ModelType"])
    start = _place(one["cursor"]) if "cursor" in one else (int(number) - 1) * limit if number else 0
    found = [model for _, model in sorted(fake.models.items()) if _is_listed(model, asked.query)]
    metadata: Json = {"currentPage": int(number), "pageSize": limit} if number else {}
    if start + limit < len(found):
        metadata["nextCursor"] = _cursor(start + limit)
        following = urlencode({**one, "cursor": metadata["nextCursor"]})
        metadata["nextPage"] = f"{fake.url}/api/v1/models?{following}"
    return {"items": found[start : start + limit], "metadata": metadata}


def _is_listed(model: Json, query: dict[str, list[str]]) -> bool:
    if model.get("mode") == "Archived" or model.get("poi"):
        return False
    level = model.get("nsfwLevel", 16 if model.get("nsfw") else 1)
    tags = [tag["name"] if isinstance(tag, dict) else tag for tag in model.get("tags", [])]
    creator = model.get("creator", {}).get("username", "")
    bases = {version.get("baseModel") for version in model.get("modelVersions", [])}
    checks: dict[str, Callable[[list[str]], bool]] = {
        "ids": lambda values: str(model["id"]) in ",".join(values).split(","),
        "query": lambda values: values[-1].lower() in model["name"].lower(),
        "types": lambda values: model.get("type") in values,
        "baseModels": lambda values: not bases.isdisjoint(values),
        "tag": lambda values: values[-1].lower() in [tag.lower() for tag in tags],
        "username": lambda values: values[-1].lower() == creator.lower(),
    }
    visible = bool(level & 1) or query.get("nsfw", ["false"])[-1] == "true"
    return visible and all(check(query[name]) for name, check in checks.items() if name in query)


def _bounded(value: str, least: int, most: int) -> int:
    if not re.fullmatch("[0-9]{1,18}", value) or not least <= int(value) <= most:
        raise Refusal(400, {"error": {"issues": [{"path": ["limit"], "message": f"Invalid input: {value}"}]}})
    return int(value)


def _one_of(value: str | None, known: list[str] | tuple[str, ...]) -> None:
    if value is not None and value not in known:
        issue = {"code": "invalid_value", "message": f"Invalid option: expected one of {'|'.join(known)}"}
        raise Refusal(400, {"error": {"name": "ZodError", "issues": [issue]}})


def _cursor(place: int) -> str:
    return f"{place}|{place * 7919 % 100_003}"


def _place(cursor: str) -> int:
    place = cursor.partition("|")[0]
    if not place.isdecimal() or _cursor(int(place)) != cursor:
        raise Refusal(400, {"error": "Invalid cursor"})
    return int(place)


_ADDRESSES: list[tuple[str, str, Callable[..., object]]] = [
    ("GET", "/models", _models),
    ("GET", "/models/([^/]+)", _model),
    ("POST", "/model-versions/by-hash", _by_hashes),
    ("POST", "/model-versions/by-hash/ids", _ids_by_hashes),
    ("GET", "/model-versions/by-hash/([^/]+)", _by_hash),
    ("GET", "/model-versions/mini/([^/]+)", _mini),
    ("GET", "/model-versions/([^/]+)", _version),
    ("GET", "/enums", lambda fake, asked: ENUMS),
    ("GET", "/creators", lambda fake, asked: recorded("creators.json")),
    ("GET", "/tags", lambda fake, asked: recorded("tags.json")),
]


@contextlib.contextmanager
def fake_civitai() -> Iterator[FakeCivitai]:
    """A stand-in that knows the recorded answers, for as long as the block lasts."""
    fake = FakeCivitai()
    try:
        fake.add_recorded()
        yield fake
    finally:
        fake.close()


@pytest.fixture
def civitai(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCivitai]:
    """A stand-in for CivitAI, as the one that tsr asks."""
    with fake_civitai() as fake:
        monkeypatch.setenv("TSR_CIVITAI_URL", fake.url)
        yield fake

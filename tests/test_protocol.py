"""The protocol is complete: every method here and there, every route, every type and every error across the wire."""

from __future__ import annotations

import dataclasses
import inspect
import json
import socket
import threading
import types as python_types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import pytest
import uvicorn
from fastapi import FastAPI
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import wire_types

from tensors import service
from tensors.client import RemoteCatalog, RemoteDb, RemoteDownloads, RemoteJobs, TsrClient
from tensors.config import load_config
from tensors.errors import InvalidRequest, TsrError, from_wire
from tensors.local import LocalTensors
from tensors.local_db import LocalDb
from tensors.local_downloads import LocalDownloads
from tensors.local_images import LocalImages
from tensors.local_jobs import LocalJobs
from tensors.local_models import LocalBackends, LocalModels
from tensors.lookup import Lookup
from tensors.remote_images import RemoteImages
from tensors.remote_models import RemoteBackends, RemoteModels
from tensors.server import problems
from tensors.server.app import create_app
from tensors.server.body import GenerateBody, read_body
from tensors.types.base import Page
from tensors.types.download import DownloadRequest
from tensors.types.gallery import CleanupRequest, GcRequest, Image, ImageEdit, ImageQuery
from tensors.types.generation import GenerateRequest, Hires, Lora
from tensors.types.jobs import Job
from tensors.types.library import CacheRequest, FileEdit, LinkRequest, ScanRequest
from tensors.types.models import SwitchRequest, UnloadRequest
from tensors.types.remake import Remake

IMPLEMENTATIONS = {
    service.Tensors: (LocalTensors, TsrClient),
    service.Jobs: (LocalJobs, RemoteJobs),
    service.Images: (LocalImages, RemoteImages),
    service.Db: (LocalDb, RemoteDb),
    service.Catalog: (Lookup, RemoteCatalog),
    service.Downloads: (LocalDownloads, RemoteDownloads),
    service.Models: (LocalModels, RemoteModels),
    service.Backends: (LocalBackends, RemoteBackends),
}

ROUTES = {
    "Tensors.generate": ("post", "/api/generate"),
    "Tensors.health": ("get", "/api/health"),
    "Tensors.status": ("get", "/api/status"),
    "Tensors.version": ("get", "/api/version"),
    "Tensors.events": ("get", "/api/events"),
    "Tensors.doctor": ("get", "/api/doctor"),
    "Jobs.list": ("get", "/api/jobs"),
    "Jobs.get": ("get", "/api/jobs/{job_id}"),
    "Jobs.cancel": ("post", "/api/jobs/{job_id}/cancel"),
    "Jobs.pause": ("post", "/api/jobs/{job_id}/pause"),
    "Jobs.resume": ("post", "/api/jobs/{job_id}/resume"),
    "Jobs.events": ("get", "/api/jobs/{job_id}/events"),
    "Images.list": ("get", "/api/images"),
    "Images.get": ("get", "/api/images/{image_id}/meta"),
    "Images.read": ("get", "/api/images/{image_id}"),
    "Images.delete": ("delete", "/api/images/{image_id}"),
    "Images.thumbnail": ("get", "/api/images/{image_id}/thumbnail"),
    "Images.edit": ("post", "/api/images/{image_id}/edit"),
    "Images.restore": ("post", "/api/images/{image_id}/restore"),
    "Images.import_file": ("post", "/api/images/import"),
    "Images.export": ("get", "/api/images/export"),
    "Images.remake": ("get", "/api/images/{image_id}/remake"),
    "Images.remake_file": ("post", "/api/images/remake"),
    "Images.cleanup": ("post", "/api/images/cleanup"),
    "Images.gc": ("post", "/api/images/gc"),
    "Images.reindex": ("post", "/api/images/reindex"),
    "Models.list": ("get", "/api/models"),
    "Models.get": ("get", "/api/models/{model}"),
    "Models.active": ("get", "/api/models/active"),
    "Models.switch": ("post", "/api/models/switch"),
    "Models.unload": ("post", "/api/models/unload"),
    "Models.options": ("get", "/api/models/options"),
    "Models.loras": ("get", "/api/loras"),
    "Backends.list": ("get", "/api/backends"),
    "Backends.logs": ("get", "/api/backends/logs"),
    "Db.scan": ("post", "/api/db/scan"),
    "Db.link": ("post", "/api/db/link"),
    "Db.cache": ("post", "/api/db/cache"),
    "Db.files": ("get", "/api/db/files"),
    "Db.file": ("get", "/api/db/files/{file}"),
    "Db.info": ("get", "/api/db/info"),
    "Db.triggers": ("get", "/api/db/triggers/{file_path}"),
    "Db.edit": ("post", "/api/db/files/{file}/edit"),
    "Db.forget": ("delete", "/api/db/files/{file}"),
    "Db.models": ("get", "/api/db/models"),
    "Db.model": ("get", "/api/db/models/{model_id}"),
    "Db.forget_model": ("delete", "/api/db/models/{model_id}"),
    "Db.duplicates": ("get", "/api/db/duplicates"),
    "Db.updates": ("get", "/api/db/updates"),
    "Db.stats": ("get", "/api/db/stats"),
    "Db.check": ("post", "/api/db/check"),
    "Catalog.search": ("get", "/api/catalog/search"),
    "Catalog.model": ("get", "/api/catalog/models/{model_id}"),
    "Downloads.plan": ("post", "/api/download/plan"),
    "Downloads.start": ("post", "/api/download"),
}

# What only a web page needs.
OTHER_ROUTES = {(method, "/api/session") for method in ("get", "post", "delete")}


def methods(protocol: type) -> dict[str, Any]:
    """The operations of a protocol by name."""
    return {n: f for n, f in vars(protocol).items() if inspect.isfunction(f) and not n.startswith("_")}


OPERATIONS = [(protocol, name) for protocol in IMPLEMENTATIONS for name in methods(protocol)]


def test_the_protocols_are_all_there_are() -> None:
    declared = {cls for cls in vars(service).values() if inspect.isclass(cls) and cls.__module__ == service.__name__}
    assert declared == set(IMPLEMENTATIONS)
    nouns = {name for name, member in vars(service.Tensors).items() if isinstance(member, property)}
    assert nouns == {protocol.__name__.lower() for protocol in IMPLEMENTATIONS} - {"tensors"}
    local, remote = LocalTensors(load_config()), TsrClient("http://127.0.0.1:9")
    for noun in nouns:
        pair = IMPLEMENTATIONS[getattr(service, noun.title())]
        assert (type(getattr(local, noun)), type(getattr(remote, noun))) == pair
    local.close()
    remote.close()


@pytest.mark.parametrize(("protocol", "name"), OPERATIONS, ids=lambda part: getattr(part, "__name__", part))
def test_both_sides_have_every_method_as_it_is_declared(protocol: type, name: str) -> None:
    declared = getattr(protocol, name)
    assert declared.__doc__
    for implementation in IMPLEMENTATIONS[protocol]:
        assert inspect.signature(getattr(implementation, name)) == inspect.signature(declared), implementation


def test_every_method_has_its_route_and_every_route_its_method() -> None:
    config = load_config()
    app = create_app(config, url="http://127.0.0.1:1")
    there = {(method, path) for path, item in app.openapi()["paths"].items() for method in item}
    assert {f"{p.__name__}.{n}" for p, n in OPERATIONS} - {"Tensors.close"} == set(ROUTES)
    assert there == set(ROUTES.values()) | OTHER_ROUTES


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a field of a wire type."""
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return st.builds(hint, **{name: values(of) for name, of in hints(hint).items()})
    if origin in (Union, python_types.UnionType):
        return st.one_of(map(values, get_args(hint)))
    if origin is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(values(get_args(hint)[0]), values(get_args(hint)[1]), max_size=2)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=12),
        int: st.integers(-(2**53), 2**53),
        float: st.floats(allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        type(None): st.none(),
    }
    return plain[hint]


def hints(cls: Any) -> dict[str, Any]:
    return {name: hint for name, hint in get_type_hints(cls).items() if name in cls.__slots__}


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
NAMES = st.lists(WORDS | st.just("") | st.just("a\0b"), max_size=3)
OTHER_REQUESTS = {
    ScanRequest: {"directories": NAMES, "hash": st.booleans(), "full": st.booleans()},
    LinkRequest: {"files": NAMES, "refresh": st.booleans(), "offline": st.booleans()},
    CacheRequest: {"models": st.lists(st.integers(-1, 2**40), max_size=3)},
    FileEdit: dict.fromkeys(("kind", "family", "model"), st.none() | WORDS | st.just("") | st.just("a" * 65)),
    SwitchRequest: {"model": WORDS | st.just(""), "backend": st.none() | WORDS | st.just("b" * 65)},
    UnloadRequest: {"backends": NAMES},
    ImageEdit: {
        "tags": st.none() | NAMES,
        "notes": st.none() | WORDS | st.just("") | st.just("a" * 10_001),
        "rating": st.none() | st.integers(-1, 6),
        "favourite": st.none() | st.booleans(),
    },
    CleanupRequest: {"dry_run": st.booleans(), "empty_trash": st.booleans()},
    GcRequest: {"dry_run": st.booleans()},
    DownloadRequest: {
        **dict.fromkeys(("target", "hash", "file", "directory"), st.none() | WORDS | st.just("") | st.just("a" * 4097)),
        **dict.fromkeys(("model_id", "version_id"), st.none() | st.integers(-1, 3)),
        **dict.fromkeys(("everything", "force"), st.booleans()),
    },
}


# What has bounds of its own is tested below with values that keep them.
BOUNDED = (Page, GenerateRequest, ImageQuery, Remake, *OTHER_REQUESTS)
WIRE_TYPES = [cls for cls in wire_types().values() if cls not in BOUNDED]


@pytest.mark.parametrize("cls", WIRE_TYPES, ids=lambda cls: cls.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_every_type_survives_the_wire(cls: type, data: st.DataObject) -> None:
    value = data.draw(values(cls))
    assert msgspec.json.decode(msgspec.json.encode(value), type=cls) == value


@settings(max_examples=20)
@given(values(Job), values(Image), st.none() | st.text())
def test_pages_survive_the_wire(job: Job, image: Image, cursor: str | None) -> None:
    for kind, item in ((Page[Job], job), (Page[Image], image)):
        page: Page[Any] = Page(items=(item, item), next_cursor=cursor)
        assert msgspec.json.decode(msgspec.json.encode(page), type=kind) == page


FLOATS = st.floats(-2, 60, allow_nan=False)
LORAS = st.fixed_dictionaries({"name": WORDS}, optional={"weight": st.floats(-12, 12, allow_nan=False)})
HIRES = st.fixed_dictionaries(
    {},
    optional={"scale": FLOATS, "upscaler": WORDS, "steps": st.integers(-2, 210), "denoising_strength": FLOATS},
)
REQUESTS = st.fixed_dictionaries(
    {"prompt": WORDS | st.just("") | st.just(" \t")},
    optional={
        "negative_prompt": st.none() | WORDS | st.just("sd_cpp_extra_args"),
        "model": st.none() | WORDS | st.just(""),
        "width": st.none() | st.integers(-70, 4200) | st.integers(8, 512).map(lambda n: n * 8),
        "height": st.none() | st.integers(-70, 4200) | st.integers(8, 512).map(lambda n: n * 8),
        "steps": st.none() | st.integers(-2, 210),
        "cfg_scale": st.none() | FLOATS,
        "guidance": st.none() | FLOATS | st.integers(0, 50),
        "sampler": st.none() | WORDS | st.just("a" * 65),
        "seed": st.integers(-3, 2**32),
        "batch_size": st.integers(-1, 300),
        "clip_skip": st.none() | st.integers(0, 13),
        "loras": st.lists(LORAS, max_size=3),
        "init_image": st.none() | st.just("aaaa"),
        "mask": st.none() | st.just("aaaa"),
        "strength": st.none() | st.floats(-0.5, 1.5),
        "hires": st.none() | HIRES,
        "tags": st.lists(WORDS | st.just(""), max_size=3),
    },
)


def request_of(fields: dict[str, Any]) -> GenerateRequest:
    """A request as the command line makes it."""
    loras = tuple(Lora(**lora) for lora in fields.get("loras", ()))
    hires = fields.get("hires")
    made = {"loras": loras, "hires": None if hires is None else Hires(**hires), "tags": tuple(fields.get("tags", ()))}
    return GenerateRequest(**{**fields, **made})


def outcome(make: Callable[[], Any]) -> Any:
    """The request, or the error that refuses it."""
    try:
        return make()
    except InvalidRequest as error:
        return error.to_wire()


@given(REQUESTS)
def test_a_request_is_taken_or_refused_here_as_there(fields: dict[str, Any]) -> None:
    """In the same words: the server reads JSON with pydantic, the command line makes the dataclass itself."""
    here = outcome(lambda: request_of(fields))
    assert outcome(lambda: read_body(GenerateBody, json.dumps(fields).encode()).drawing()) == here
    if isinstance(here, GenerateRequest):
        assert read_body(GenerateBody, msgspec.json.encode(here)).drawing() == here


@pytest.mark.parametrize("kind", OTHER_REQUESTS, ids=lambda kind: kind.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_any_other_request_is_taken_or_refused_here_as_there(kind: type, data: st.DataObject) -> None:
    needed = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    wanted = {name: of for name, of in OTHER_REQUESTS[kind].items() if name in needed}
    others = {name: of for name, of in OTHER_REQUESTS[kind].items() if name not in needed}
    fields = data.draw(st.fixed_dictionaries(wanted, optional=others))
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    here = outcome(lambda: kind(**made))
    assert outcome(lambda: read_body(kind, json.dumps(fields).encode())) == here
    if isinstance(here, kind):
        assert read_body(kind, msgspec.json.encode(here)) == here


@dataclasses.dataclass
class Raising:
    """A server whose status is whatever error it is told to raise."""

    url: str
    error: TsrError = dataclasses.field(default_factory=TsrError)

    def raised(self, error: TsrError) -> TsrError:
        """The error as the client raises it."""
        self.error = error
        with pytest.raises(TsrError) as raised:
            self.client.status()
        return raised.value

    def __post_init__(self) -> None:
        self.client = TsrClient(self.url)


@pytest.fixture(scope="module")
def raising() -> Iterator[Raising]:
    app = FastAPI()
    problems.install(app)
    listener = socket.create_server(("127.0.0.1", 0))
    told = Raising(f"http://127.0.0.1:{listener.getsockname()[1]}")

    @app.get("/api/status")
    async def status() -> None:
        raise told.error

    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield told
    server.should_exit = True
    thread.join(20)
    told.client.close()


def every_error(cls: type[TsrError] = TsrError) -> Iterator[type[TsrError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from every_error(below)


# What is made of them elsewhere is the matter of one module and crosses no wire.
EVERY_ERROR = [cls for cls in every_error() if cls.__module__ == TsrError.__module__]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.text(min_size=1, max_size=200)


@pytest.mark.parametrize("cls", EVERY_ERROR, ids=lambda cls: cls.__name__)
@settings(max_examples=15)
@given(message=TEXTS, hint=st.none() | TEXTS, details=st.dictionaries(st.text(max_size=9), JSON, max_size=3))
def test_every_error_crosses_the_wire_as_itself(
    raising: Raising, cls: type[TsrError], message: str, hint: str | None, details: dict[str, Any]
) -> None:
    got = raising.raised(cls(message, hint=hint, details=details))
    assert type(got) is cls
    assert (got.message, got.hint, got.details) == (message, hint, details)
    assert (got.status, got.exit_code, str(got)) == (cls.status, cls.exit_code, message)


def test_errors_have_codes_of_their_own_and_a_message_without_one_given() -> None:
    assert len({cls.code for cls in EVERY_ERROR}) == len(EVERY_ERROR) >= 26
    for cls in EVERY_ERROR:
        assert cls().message
        assert not cls().message.endswith(".")
        assert 400 <= cls.status < 600
        assert cls.exit_code > 0
        assert type(from_wire(cls().to_wire(), status=cls.status)) is cls


def test_a_defect_of_the_server_is_an_error_too_and_tells_no_secrets(raising: Raising) -> None:
    raising.error = ValueError("the password is hunter2")  # type: ignore[assignment]
    with pytest.raises(TsrError, match="ValueError inside the server") as raised:
        raising.client.status()
    assert "hunter2" not in json.dumps(raised.value.to_wire())
    assert type(raised.value) is TsrError

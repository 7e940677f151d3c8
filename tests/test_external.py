"""A backend over an engine that somebody else looks after: connecting, drawing, losing it, and what cannot be asked."""

from __future__ import annotations

import asyncio
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from backends import Heard, cancel, draw, model_file, settings, until
from conftest import FAKE_ENGINE
from observe import EngineLog

from tensors.engines.backend import Backend
from tensors.engines.external import ExternalPlace, model_in
from tensors.engines.process import hold_port
from tensors.engines.sd_server import Capabilities, SdServerClient, img_gen_body
from tensors.errors import EngineDied, EngineError, EngineStartFailed, LoraNotFound
from tensors.inputs import Inputs
from tensors.models import ModelFile

SLOW = {"FAKE_SD_STEP_SECONDS": "0.05"}


class Elsewhere:
    """An sd-server of somebody else's, always on the same port."""

    def __init__(self, root: Path) -> None:
        self.log = EngineLog(root / "engine.jsonl")
        self.loras = root / "loras there"
        self._holder: socket.socket = hold_port()
        self._port = self._holder.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[bytes] | None = None

    async def start(self, *options: str | Path, **faults: str) -> None:
        """Start it, and wait until it listens."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(FAKE_ENGINE), *map(str, options), "--lora-model-dir", str(self.loras)),
            *("-l", "127.0.0.1", "--listen-port", str(self._port)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**self.log.environment, **faults},
        )
        assert process.stdout
        async with asyncio.timeout(20):
            while b"listening on" not in (line := await process.stdout.readline()):
                assert line, "it ended"
        self._reading = asyncio.create_task(process.stdout.read())
        # It says so some moments before it does, as the real one does.
        while True:
            try:
                await ExternalPlace(self.url).model()
            except EngineDied:
                continue
            return

    async def kill(self) -> None:
        """End it without a word."""
        if self._process and self._process.returncode is None:
            self._process.kill()
        await self.ended()

    async def ended(self) -> None:
        """Wait for its end."""
        if self._process and self._reading:
            await self._process.wait()
            await self._reading

    async def leave(self) -> None:
        await self.kill()
        self._holder.close()


@pytest_asyncio.fixture
async def there(tmp_path: Path) -> AsyncIterator[Elsewhere]:
    engine = Elsewhere(tmp_path)
    yield engine
    await engine.leave()


@pytest.fixture
def one(tmp_path: Path) -> ModelFile:
    return model_file(tmp_path, "one")


MakeBackend = Callable[..., Backend]


@pytest_asyncio.fixture
async def backend_at(tmp_path: Path) -> AsyncIterator[MakeBackend]:
    """Makes backends over a URL, whose watch is out of the way unless wanted, and stops them."""
    made: list[Backend] = []

    def make(url: str, *, watch_seconds: float = 600, step_timeout: float = 20) -> Backend:
        place = ExternalPlace(url, watch_seconds=watch_seconds)
        inputs = Inputs(tmp_path / "inputs")
        made.append(Backend(place, name="box", inputs=inputs, start_timeout=20, step_timeout=step_timeout))
        return made[-1]

    yield make
    for backend in made:
        await backend.stop()


async def test_it_draws_and_says_what_can_be_known(there: Elsewhere, backend_at: MakeBackend, one: ModelFile) -> None:
    await there.start("-m", one.path)
    backend, heard = backend_at(there.url), Heard()
    await backend.ensure(one)
    first, second = await draw(backend, heard=heard, seed=5, count=2)
    assert {picture[:4] for picture in (first, second)} == {b"\x89PNG"}
    assert first != second
    (told,) = heard.told
    assert (told.phase, told.step, told.steps, told.image, told.images) == ("sampling", 0, 0, 1, 2)
    status = backend.status()
    assert (status.state, status.kind, status.name, status.model, status.pid) == (
        "ready",
        "external",
        "box",
        "one",
        None,
    )
    assert backend.version == "sd-server unknown"
    assert backend.capabilities
    assert "euler" in backend.capabilities.samplers


async def test_leaving_it_ends_nothing_there(there: Elsewhere, backend_at: MakeBackend, one: ModelFile) -> None:
    await there.start("-m", one.path)
    backend = backend_at(there.url)
    for leave in (backend.unload, backend.stop):
        await backend.ensure(one)
        await leave()
        assert backend.status().state == "stopped"
    assert await ExternalPlace(there.url).model() == replace(one, family="unknown")
    assert there.log.entries("end") == []


@pytest.mark.parametrize(
    ("name", "stem"), [("ONE", "elsewhere"), ("elsewhere", "One")], ids=["by its name", "by its file"]
)
async def test_its_model_is_known_whatever_the_case(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile, name: str, stem: str
) -> None:
    await there.start("-m", one.path)
    backend = backend_at(there.url)
    await backend.ensure(replace(one, name=name, path=Path(f"/models/{stem}.gguf")))
    assert backend.status().state == "ready"


async def test_another_model_is_refused_by_name(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile, tmp_path: Path
) -> None:
    await there.start("-m", one.path)
    backend, two = backend_at(there.url), model_file(tmp_path, "two")
    with pytest.raises(EngineStartFailed, match="has model 'one' and cannot switch to 'two'") as refused:
        await backend.ensure(two)
    assert refused.value.hint == "ask for 'one', or have 'two' started there"
    assert backend.status().state == "failed"
    await backend.ensure(one)
    with pytest.raises(EngineStartFailed, match="'box' has model 'one' and cannot switch to 'two'"):
        await backend.ensure(two)
    assert (backend.status().state, backend.status().model) == ("ready", "one")
    assert len(await draw(backend)) == 1


async def test_it_is_reached_with_the_model_it_has(there: Elsewhere, backend_at: MakeBackend, one: ModelFile) -> None:
    backend = backend_at(there.url, watch_seconds=0.02)
    with pytest.raises(EngineDied, match="does not answer"):
        await backend.connect()
    assert backend.inside is None
    await there.start("-m", one.path)
    await backend.connect()
    assert backend.inside == replace(one, family="unknown")
    states = list[str]()
    backend.on_change = lambda: states.append(backend.status().state)
    await backend.connect()
    # The library's own file of that name, wherever it lies here, and whatever it is to be loaded with.
    known = replace(one, path=Path("/models/One.safetensors"))
    await backend.ensure(known, arguments=("--vae-tiling",))
    assert (backend.inside, backend.status().family, states) == (known, "shapes", [])
    await there.kill()
    await asyncio.wait_for(backend.died.wait(), 20)
    assert (backend.inside, backend.model) == (None, known)


async def test_an_engine_that_does_not_say_its_model_is_reached_only_for_one(
    backend_at: MakeBackend, one: ModelFile
) -> None:
    async with serving(answering({"samplers": ["euler"]})) as url:
        backend = backend_at(url)
        with pytest.raises(EngineError, match="'box' does not say which model it has"):
            await backend.connect()
        await backend.ensure(one)
        assert backend.inside == one


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("models/tiny.safetensors", "tiny"),
        (r"D:\models\Pony v6.safetensors", "Pony v6"),
        ("flux1-dev.Q4_K.gguf", "flux1-dev.Q4_K"),
        ("", None),
    ],
)
def test_the_name_of_a_model_elsewhere_is_its_files_on_any_system(path: str, name: str | None) -> None:
    assert model_in(Capabilities(path, (), ())) == name


@asynccontextmanager
async def serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    """An HTTP server of this process."""
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(document: object) -> web.RouteDef:
    """The same answer for whatever is asked."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document)

    return web.get("/{path:.*}", answer)


async def test_an_engine_that_does_not_say_its_model_is_taken_at_its_word(
    backend_at: MakeBackend, one: ModelFile
) -> None:
    """Some builds tell no path when the model was given in parts."""
    async with serving(answering({"model": {"path": ""}, "samplers": ["euler"], "schedulers": None})) as url:
        backend = backend_at(url)
        await backend.ensure(one)
        assert backend.status().state == "ready"
        assert await ExternalPlace(url).model() is None


@pytest.mark.parametrize("document", [{}, {"model": [], "samplers": "euler"}, {"samplers": [1, None]}])
async def test_something_else_that_answers_is_no_engine(
    backend_at: MakeBackend, one: ModelFile, document: Mapping[str, object]
) -> None:
    async with serving(answering(document)) as url:
        with pytest.raises(EngineStartFailed, match="is no sd-server"):
            await backend_at(url).ensure(one)


async def test_an_engine_that_is_not_there_is_said_and_found_later(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile
) -> None:
    backend = backend_at(there.url.replace("//", "//user:secret@"))
    with pytest.raises(
        EngineStartFailed, match=r"the external engine at 127\.0\.0\.1:[0-9]+: the engine does not answer"
    ):
        await backend.ensure(one)
    status = backend.status()
    assert status.state == "failed"
    assert "secret" not in str(status.message)
    with pytest.raises(EngineDied, match="not running"):
        await draw(backend)
    with pytest.raises(EngineError, match="does not answer"):
        await ExternalPlace(there.url).model()
    await there.start("-m", one.path)
    await backend.ensure(one)
    assert len(await draw(backend)) == 1


async def test_it_may_be_behind_a_path(there: Elsewhere, backend_at: MakeBackend, one: ModelFile) -> None:
    await there.start("-m", one.path)

    async def forward(request: web.Request) -> web.Response:
        assert not request.match_info["path"].startswith("/")
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                request.method, f"{there.url}/{request.match_info['path']}", data=await request.read()
            ) as answer,
        ):
            return web.Response(status=answer.status, body=await answer.read(), content_type="application/json")

    async with serving(web.route("*", "/gpu/engine/{path:.*}", forward)) as url:
        for written in (f"{url}/gpu/engine", f"{url}/gpu/engine/"):
            backend = backend_at(written)
            await backend.ensure(one)
            assert len(await draw(backend)) == 1
        with pytest.raises(EngineStartFailed):
            await backend_at(url).ensure(one)


async def test_a_loss_while_idle_is_noticed(there: Elsewhere, backend_at: MakeBackend, one: ModelFile) -> None:
    await there.start("-m", one.path)
    backend = backend_at(there.url, watch_seconds=0.02)
    await backend.ensure(one)
    await there.kill()
    await asyncio.wait_for(backend.died.wait(), 20)
    assert (backend.status().state, backend.status().message) == ("failed", "the engine was lost")
    await there.start("-m", one.path)
    await backend.ensure(one)
    assert backend.status().state == "ready"


async def test_another_model_in_it_ends_what_was_known(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile, tmp_path: Path
) -> None:
    """As a proxy that swaps would: it answers all the time."""
    has = {"model": {"path": "one.safetensors"}, "samplers": ["euler"]}

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(has)

    async with serving(web.get("/sdcpp/v1/capabilities", answer)) as url:
        backend = backend_at(url, watch_seconds=0.02)
        await backend.ensure(one)
        has["model"] = {"path": "two.safetensors"}
        await asyncio.wait_for(backend.died.wait(), 20)
        with pytest.raises(EngineStartFailed, match="has model 'two' and cannot switch to 'one'"):
            await backend.ensure(one)
        await backend.ensure(model_file(tmp_path, "two"))


@pytest.mark.parametrize("watch_seconds", [0.02, 600], ids=["heard by the watch", "heard by the drawing"])
async def test_a_loss_while_drawing_is_a_death(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile, watch_seconds: float
) -> None:
    await there.start("-m", one.path, FAKE_SD_DIE_AT_STEP="3")
    backend = backend_at(there.url, watch_seconds=watch_seconds)
    await backend.ensure(one)
    with pytest.raises(EngineDied, match=r"the engine (was lost while drawing|does not answer)"):
        await draw(backend)
    assert backend.status().state == "failed"
    await there.ended()
    await there.start("-m", one.path)
    await backend.ensure(one)
    assert len(await draw(backend)) == 1


async def test_cancelling_returns_at_once_and_the_engine_stays_busy_until_it_is_done(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile
) -> None:
    await there.start("-m", one.path, **SLOW)
    backend, heard, next_heard = backend_at(there.url), Heard(), Heard()
    await backend.ensure(one)
    began = time.monotonic()
    drawing = asyncio.create_task(draw(backend, settings(steps=30), heard=heard, seed=1))
    while not there.log.entries("img_gen"):
        await asyncio.sleep(0.01)
    told = len(heard.told)
    await cancel(drawing)
    assert backend.status().state == "busy"
    await backend.ensure(one)
    waiting = asyncio.create_task(draw(backend, heard=next_heard, seed=2))
    await until(backend, "ready")
    # Less, and it would not have drawn all of it: a step takes 0.05 s.
    assert time.monotonic() - began > 30 * 0.05
    # Only now the next request goes there.
    assert there.log.seeds == [1]
    assert len(heard.told) == told
    assert len(await waiting) == 1
    assert there.log.seeds == [1, 2]
    assert there.log.entries("end") == []
    assert len(there.log.entries("start")) == 1


async def test_cancelling_before_the_engine_begins_takes_it_out_of_the_queue_there(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile, tmp_path: Path
) -> None:
    await there.start("-m", one.path, **SLOW)
    backend, somebody = backend_at(there.url), SdServerClient(there.url)
    await backend.ensure(one)
    body = img_gen_body(settings(steps=100), seed=9, count=8, inputs=Inputs(tmp_path), loras={})
    theirs = await somebody.submit(body)
    drawing = asyncio.create_task(draw(backend, seed=1))
    while there.log.seeds != [9, 1]:
        await asyncio.sleep(0.01)
    await cancel(drawing)
    await until(backend, "ready")
    assert await somebody.result(theirs) is None
    await somebody.close()


async def test_unloading_waits_for_a_drawing_that_nobody_wants_any_more(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile
) -> None:
    await there.start("-m", one.path, **SLOW)
    backend, states = backend_at(there.url), list[str]()
    await backend.ensure(one)
    drawing = asyncio.create_task(draw(backend, settings(steps=10)))
    while not there.log.entries("img_gen"):
        await asyncio.sleep(0.01)
    await cancel(drawing)
    backend.on_change = lambda: states.append(backend.status().state)
    await backend.unload()
    assert states == ["ready", "stopped"]


async def test_stopping_waits_for_nobody_elses_engine(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile
) -> None:
    await there.start("-m", one.path, **SLOW)
    backend = backend_at(there.url)
    await backend.ensure(one)
    drawing = asyncio.create_task(draw(backend, settings(steps=100), count=8))
    while not there.log.entries("img_gen"):
        await asyncio.sleep(0.01)
    await cancel(drawing)
    async with asyncio.timeout(10):
        await backend.stop()
    assert backend.status().state == "stopped"


async def test_a_drawing_that_never_ends_is_given_up_after_the_time_of_all_its_steps(
    there: Elsewhere, backend_at: MakeBackend, one: ModelFile
) -> None:
    await there.start("-m", one.path, FAKE_SD_HANG_AT_STEP="3")
    backend = backend_at(there.url, step_timeout=0.2)
    await backend.ensure(one)
    with pytest.raises(EngineDied, match=r"did not finish within 1\.2 s"):
        await draw(backend, settings(steps=4))
    assert backend.status().state == "failed"


async def test_loras_are_those_that_it_has(there: Elsewhere, backend_at: MakeBackend, one: ModelFile) -> None:
    for name in ("style/Ink.safetensors", "quant.gguf"):
        (there.loras / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(one.path, there.loras / name)
    await there.start("-m", one.path)
    backend = backend_at(there.url)
    await backend.ensure(one)
    here = {"ink": Path("/here/ink.safetensors"), "q4": Path("/here/Quant.safetensors")}
    await draw(backend, settings("ink", "q4"), loras=here)
    assert [lora["path"] for lora in there.log.entries("img_gen")[-1]["body"]["lora"]] == [
        "style/Ink.safetensors",
        "quant.gguf",
    ]
    with pytest.raises(LoraNotFound, match=r"127\.0\.0\.1:[0-9]+ has no LoRA 'quamt'; did you mean 'quant'\?"):
        await draw(backend, settings("quamt"), loras={"quamt": Path("/here/quamt.safetensors")})
    assert backend.status().state == "ready"
    assert len(there.log.entries("img_gen")) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"status": "completed", "result": None}, "a picture that cannot be read"),
        ({"status": "completed", "result": {"images": [{"b64_json": "?"}]}}, "a picture that cannot be read"),
        ({"status": "lost"}, "could not draw it: lost"),
        ([], "refused the request"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_an_error_of_the_engine(answer: object, message: str) -> None:
    async with serving(answering(answer)) as url:
        client = SdServerClient(url)
        with pytest.raises(EngineError, match=message):
            await client.result("job")
        await client.close()


async def test_only_what_waits_in_the_engine_can_be_cancelled_there(there: Elsewhere, one: ModelFile) -> None:
    await there.start("-m", one.path, **SLOW)
    client = SdServerClient(there.url)
    body = img_gen_body(settings(steps=100), seed=1, count=1, inputs=Inputs(one.path.parent), loras={})
    drawn, waits = await client.submit(body), await client.submit(body)
    assert (await client.cancel(drawn), await client.cancel(waits)) == (False, True)
    with pytest.raises(EngineError, match="could not draw it: job cancelled by client"):
        await client.result(waits)
    with pytest.raises(EngineError, match="refused the request: job not found"):
        await client.cancel("nope")
    await client.close()


async def test_a_request_without_a_number_is_an_error_of_the_engine() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({}, status=202)

    async with serving(web.post("/sdcpp/v1/img_gen", answer)) as url:
        client = SdServerClient(url)
        with pytest.raises(EngineError, match="gave it no id"):
            await client.submit({})
        await client.close()

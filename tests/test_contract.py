"""The contract of `tensors.service.Tensors`: the same values and the same errors here and over a real socket."""

from __future__ import annotations

import base64
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Server
from gallery_samples import JPEG, WHEN
from observe import PROMPT, pixels, small
from palette import colours
from serving import picture_base64

from tensors.client import TsrClient
from tensors.config import load_config
from tensors.connect import connect
from tensors.errors import IdempotencyConflict, InvalidRequest, JobFinished, NeedsServer, TsrError
from tensors.local import LocalTensors
from tensors.service import Tensors
from tensors.types.gallery import Cleaning, CleanupRequest, GcRequest, ImageEdit, ImageQuery
from tensors.types.generation import MAX_STEPS, GenerateRequest, Hires, Lora
from tensors.types.jobs import Generated

OWN = {"id", "job", "created", "finished", "path", "uptime_seconds", "pid", "url", "data_dir"}
"""Fields whose values differ from one run to the next."""


@dataclass
class Sides:
    """The two implementations."""

    local: LocalTensors
    remote: TsrClient

    def both(self, operation: Callable[[Tensors], Any]) -> tuple[Any, Any]:
        return operation(self.local), operation(self.remote)


@pytest.fixture
def sides(fake_server: Server, fake_engine: Path) -> Iterator[Sides]:
    local, remote = LocalTensors(load_config()), fake_server.client()
    yield Sides(local, remote)
    local.close()
    remote.close()


def comparable(value: Any) -> Any:
    """A value without what is its own run's: ids, times, places."""
    return _without_own(msgspec.to_builtins(value))


def _without_own(node: Any) -> Any:
    if isinstance(node, dict):
        rest = {name: _without_own(child) for name, child in node.items() if name not in OWN}
        if isinstance(node.get("images"), list | tuple):
            rest["images"] = [image if isinstance(image, dict) else "id" for image in rest["images"]]
        return {**rest, **{name: node[name] is None for name in OWN & node.keys()}}
    return [_without_own(child) for child in node] if isinstance(node, list | tuple) else node


def error_of(operation: Callable[[Tensors], Any], tensors: Tensors) -> TsrError:
    with pytest.raises(TsrError) as raised:
        operation(tensors)
    return raised.value


def drawn(tensors: Tensors, request: GenerateRequest) -> Generated:
    """A job, followed to its end, and its pictures."""
    job = tensors.generate(request)
    *_, last = tensors.jobs.events(job.id)
    assert last.last
    return Generated(job=tensors.jobs.get(job.id), images=tuple(map(tensors.images.get, last.images)))


REQUESTS = {
    "defaults": GenerateRequest(prompt=PROMPT, seed=1),
    "batch": small(seed=2, batch_size=10, negative_prompt="fog", tags=("a", "b")),
    "a1111": small(
        prompt=f"{PROMPT} <lora:shapes-outline:0.5>",
        sampler="DPM++ 2M Karras",
        cfg_scale=3,
        guidance=0,
        clip_skip=2,
        seed=3,
    ),
    "hires": small(hires=Hires(scale=1.5, upscaler="Nearest", steps=2), loras=(Lora(name="SHAPES-outline"),), seed=5),
    "img2img": small(init_image=picture_base64((80, 64)), mask=picture_base64(colour="white"), strength=0.4, seed=6),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_a_request_draws_the_same_pictures(sides: Sides, request_: GenerateRequest) -> None:
    local, remote = sides.both(lambda tensors: drawn(tensors, request_))
    assert comparable(local) == comparable(remote)
    assert local.job.state == "succeeded"
    files = [
        [tensors.images.read(image.id) for image in answer.images]
        for tensors, answer in ((sides.local, local), (sides.remote, remote))
    ]
    # The fake engine tells LoRAs apart by where they lie, which is another place for each side.
    seen = colours if local.job.settings and local.job.settings.loras else pixels
    assert [seen(png) for png in files[0]] == [seen(png) for png in files[1]]
    # The names tell when and with which seed, in the same way.
    shapes = [[re.sub(r"^\d{8}-\d{6}-\d{3}", "T", image.id) for image in answer.images] for answer in (local, remote)]
    assert shapes[0] == shapes[1]


def test_a_job_is_told_of_in_the_same_way(sides: Sides) -> None:
    job_of = {}
    for name, tensors in (("local", sides.local), ("remote", sides.remote)):
        job = tensors.generate(small(seed=1))
        told = list(tensors.jobs.events(job.id))
        assert {event.job for event in told} == {job.id}
        assert [event.seq for event in told] == sorted({event.seq for event in told})
        assert [event.last for event in told] == [False] * (len(told) - 1) + [True]
        order = ["queued", "loading", "encoding", "sampling", "decoding", "saving"]
        phases = [event.progress.phase for event in told if event.progress]
        assert phases == sorted(phases, key=order.index)
        # Whoever asks again hears how it ended, also more than once.
        for _ in range(2):
            *_, again = tensors.jobs.events(job.id)
            assert (again.state, again.images) == (told[-1].state, told[-1].images)
        late = error_of(lambda t, job=job: t.jobs.cancel(job.id), tensors)
        assert (type(late), late.message) == (JobFinished, f"job {job.id} has already succeeded")
        job_of[name] = comparable([job, tensors.jobs.get(job.id), {**msgspec.to_builtins(told[-1]), "seq": 0}])
    assert job_of["local"] == job_of["remote"]


def test_the_gallery_lists_and_deletes_in_the_same_way(sides: Sides) -> None:
    for tensors in (sides.local, sides.remote):
        newest_first = list(reversed(drawn(tensors, small(seed=1, batch_size=4)).images))
        first = tensors.images.list(limit=3)
        assert list(first.items) == newest_first[:3]
        second = tensors.images.list(limit=3, cursor=first.next_cursor)
        assert second.items[0] == newest_first[3]
        assert tensors.images.delete(newest_first[1].id).id == newest_first[1].id
        assert error_of(lambda t, gone=newest_first[1].id: t.images.get(gone), tensors).code == "image_not_found"
        assert newest_first[1] not in tensors.images.list().items


def empty_trash(tensors: Tensors) -> Cleaning:
    job = tensors.images.cleanup(CleanupRequest(empty_trash=True))
    *_, last = tensors.jobs.events(job.id)
    assert last.state == "succeeded"
    ended = tensors.jobs.get(job.id)
    assert ended.cleanup
    return ended.cleanup


def test_pictures_change_go_and_come_back_in_the_same_way(sides: Sides) -> None:
    seen = []
    for tensors in (sides.local, sides.remote):
        empty_trash(tensors)
        fox, owl = drawn(tensors, small(prompt="a fox", seed=1, batch_size=2)).images
        told: list[Any] = [tensors.images.edit(fox.id, ImageEdit(tags=("best", "one more"), rating=5, favourite=True))]
        for query in (
            ImageQuery(text="fox", tags=("best", "one more")),
            ImageQuery(rating=5, favourite=True, seed=1, width=64),
            ImageQuery(favourite=False),
            ImageQuery(tags=("worst",)),
        ):
            told.append(tensors.images.list(replace(query, job=fox.job)))
        assert tensors.images.thumbnail(owl.id, size=512)[8:12] == b"WEBP"
        tensors.images.delete(owl.id)
        (deleted,) = tensors.images.list(deleted=True).items
        assert deleted.deleted
        told += [replace(deleted, deleted=None), tensors.images.restore(owl.id), tensors.images.list(deleted=True)]
        imported = tensors.images.import_file(JPEG, created=WHEN, tags=("new",))
        assert tensors.images.read(imported.image.id) == JPEG
        told += [imported, tensors.images.import_file(JPEG)]
        tensors.images.delete(imported.image.id)
        assert empty_trash(tensors).removed == (imported.image.id,)
        told += [tensors.images.list(deleted=True), tensors.images.gc(GcRequest(dry_run=True))]
        assert tensors.images.reindex().images == tensors.status().images >= 2
        with zipfile.ZipFile(io.BytesIO(b"".join(tensors.images.export(ImageQuery(tags=("best",)))))) as archive:
            assert archive.namelist() == [f"{fox.id}.png", f"{fox.id}.json"]
            assert archive.read(f"{fox.id}.png") == tensors.images.read(fox.id)
        seen.append(comparable(told))
    assert seen[0] == seen[1]


def test_a_picture_is_made_again_in_the_same_way(sides: Sides) -> None:
    seen = []
    for tensors in (sides.local, sides.remote):
        (image,) = drawn(tensors, small(seed=4, negative_prompt="fog", sampler="DPM++ 2M Karras")).images
        again = tensors.images.remake(image.id)
        assert (again.differences, again.missing, again.image) == ((), (), image.id)
        (copy,) = drawn(tensors, again.request).images
        assert copy.settings == image.settings
        from_file = tensors.images.remake_file(tensors.images.read(image.id))
        assert from_file.request == again.request
        # A running engine may have more of them.
        options = replace(tensors.models.options(), samplers=(), schedulers=(), upscalers=())
        seen.append(comparable([replace(again, image=None), from_file, options]))
    assert seen[0] == seen[1]


def test_health_version_and_status_have_the_same_form(sides: Sides) -> None:
    health = sides.both(lambda tensors: tensors.health())
    assert health[0] == health[1]
    version = sides.both(lambda tensors: tensors.version())
    assert version[0] == version[1]
    local, remote = sides.both(lambda tensors: tensors.status())
    assert (local.mode, local.url, local.engine.state) == ("local", None, "stopped")
    assert (remote.mode, remote.version, remote.engine.version) == ("server", local.version, local.engine.version)
    assert (local.images, local.queued, local.running) == (0, 0, 0)


UNKNOWN_IDS = ("nope", "20200101-000000-000_7", "../config", "a/b", "a/../b", "%2e%2e", "ü", "x" * 3000, "\0", "", " ")

REFUSALS: dict[str, Callable[[Tensors], Any]] = {
    "model": lambda t: t.generate(small(model="shape")),
    "model-far-off": lambda t: t.generate(small(model="zzzzzzz")),
    "model-path": lambda t: t.generate(small(model="../shapes")),
    "lora": lambda t: t.generate(small(loras=(Lora(name="shape-outline"),))),
    "lora-in-prompt": lambda t: t.generate(small(prompt="x <lora:nothing:1>")),
    "lora-twice": lambda t: t.generate(small(prompt="x <lora:shapes-outline:1>", loras=(Lora(name="shapes-outline"),))),
    "lora-weight": lambda t: t.generate(small(prompt="x <lora:shapes-outline:heavy>")),
    "sampler": lambda t: t.generate(small(sampler="eulr")),
    "scheduler": lambda t: t.generate(small(scheduler="karas")),
    "seed-and-batch": lambda t: t.generate(small(seed=2**31 - 1, batch_size=2)),
    "no-base64": lambda t: t.generate(small(init_image="###")),
    "no-picture": lambda t: t.generate(small(init_image=base64.b64encode(b"<svg/>").decode())),
    "no-mask": lambda t: t.generate(small(init_image=picture_base64(), mask="x")),
    "images-limit-0": lambda t: t.images.list(limit=0),
    "images-limit-501": lambda t: t.images.list(limit=501),
    "images-cursor": lambda t: t.images.list(cursor="../x"),
    "images-no-cursor": lambda t: t.images.list(cursor=""),
    "images-trash-query": lambda t: t.images.list(ImageQuery(text="x"), deleted=True),
    "images-trash-cursor": lambda t: t.images.list(deleted=True, cursor="x"),
    "images-no-date": lambda t: t.images.list(ImageQuery(since="soon")),
    "images-none-to-export": lambda t: t.images.export(ImageQuery(text="nothing of this kind")),
    "images-no-picture": lambda t: t.images.import_file(b"GIF89a"),
    "images-no-time": lambda t: t.images.import_file(JPEG, created="soon"),
    "images-no-recipe": lambda t: t.images.remake_file(JPEG),
    "images-nothing-to-remake": lambda t: t.images.remake_file(b"GIF89a"),
    "options-model": lambda t: t.models.options("shape"),
    "jobs-state": lambda t: t.jobs.list(state="done"),
    "jobs-kind": lambda t: t.jobs.list(kind="paint"),
    "jobs-no-kind": lambda t: t.jobs.list(kind=""),
    "jobs-no-state": lambda t: t.jobs.list(state=""),
    "jobs-limit-0": lambda t: t.jobs.list(limit=0),
    "jobs-limit-501": lambda t: t.jobs.list(limit=501),
    "jobs-cursor": lambda t: t.jobs.list(cursor="x"),
    "jobs-no-cursor": lambda t: t.jobs.list(cursor=""),
    "jobs-cursor-of-another-age": lambda t: t.jobs.list(cursor="99999999999999999999.x.y"),
}


@pytest.mark.parametrize("operation", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_the_same_error(sides: Sides, operation: Callable[[Tensors], Any]) -> None:
    local, remote = (error_of(operation, tensors) for tensors in (sides.local, sides.remote))
    assert type(local) is type(remote) is not TsrError
    assert local.to_wire() == remote.to_wire()


BY_ID: dict[str, Callable[[Tensors, str], Any]] = {
    "images.get": lambda t, unknown: t.images.get(unknown),
    "images.read": lambda t, unknown: t.images.read(unknown),
    "images.delete": lambda t, unknown: t.images.delete(unknown),
    "images.thumbnail": lambda t, unknown: t.images.thumbnail(unknown),
    "images.edit": lambda t, unknown: t.images.edit(unknown, ImageEdit(rating=3)),
    "images.restore": lambda t, unknown: t.images.restore(unknown),
    "images.remake": lambda t, unknown: t.images.remake(unknown),
    "images.export": lambda t, unknown: t.images.export(ids=(unknown,)),
    "jobs.get": lambda t, unknown: t.jobs.get(unknown),
    "jobs.cancel": lambda t, unknown: t.jobs.cancel(unknown),
    "jobs.pause": lambda t, unknown: t.jobs.pause(unknown),
    "jobs.resume": lambda t, unknown: t.jobs.resume(unknown),
    "jobs.events": lambda t, unknown: t.jobs.events(unknown),
}


@pytest.mark.parametrize("operation", BY_ID.values(), ids=BY_ID)
def test_an_unknown_id_is_the_same_error(sides: Sides, operation: Callable[[Tensors, str], Any]) -> None:
    for unknown in UNKNOWN_IDS:
        local, remote = (
            error_of(lambda t, unknown=unknown: operation(t, unknown), tensors)
            for tensors in (sides.local, sides.remote)
        )
        assert type(local) is type(remote) is not TsrError, unknown
        assert local.to_wire() == remote.to_wire()
        assert repr(unknown) in local.message


def test_a_job_that_fails_fails_in_the_same_way(sides: Sides) -> None:
    request = small(hires=Hires(denoising_strength=0))
    jobs = [comparable(drawn(tensors, request).job) for tensors in (sides.local, sides.remote)]
    assert jobs[0]["state"] == "failed"
    assert jobs[0]["error"]["code"] == "engine_error"
    for job in jobs:
        job["settings"].pop("seed")
    assert jobs[0] == jobs[1]


def test_a_cancelled_job_is_cancelled_in_the_same_way(sides: Sides) -> None:
    jobs = []
    for tensors in (sides.local, sides.remote):
        job = tensors.generate(small(steps=MAX_STEPS, batch_size=256, seed=1))
        ended = tensors.jobs.cancel(job.id)
        *_, last = tensors.jobs.events(job.id)
        assert (last.state, last.error) == ("cancelled", None)
        again = error_of(lambda t, job=job: t.jobs.cancel(job.id), tensors)
        assert (type(again), again.message) == (JobFinished, f"job {job.id} has already cancelled")
        jobs.append(comparable(ended))
    assert jobs[0] == jobs[1]
    assert jobs[0]["state"] == "cancelled"


def test_an_idempotency_key_means_the_same(sides: Sides) -> None:
    errors = []
    for tensors in (sides.local, sides.remote):
        first = tensors.generate(small(seed=1), idempotency_key="contract")
        assert tensors.generate(small(seed=1), idempotency_key="contract").id == first.id
        errors.append(error_of(lambda t: t.generate(small(seed=2), idempotency_key="contract"), tensors))
        *_, last = tensors.jobs.events(first.id)
        assert tensors.generate(small(seed=1), idempotency_key="contract").images == last.images
    assert type(errors[0]) is type(errors[1]) is IdempotencyConflict
    assert errors[0].to_wire() == errors[1].to_wire()


def test_only_a_server_can_go_on_alone(sides: Sides) -> None:
    """The one difference: it is said, and how to have it."""
    error = error_of(lambda t: t.generate(small(), detach=True), sides.local)
    assert (type(error), error.hint) == (NeedsServer, "tsr serve")
    job = sides.remote.generate(small(), detach=True)
    *_, last = sides.remote.jobs.events(job.id)
    assert last.state == "succeeded"


def test_nothing_to_list_is_an_empty_page(sides: Sides) -> None:
    assert sides.local.images.list().items == sides.local.jobs.list().items == ()
    assert sides.remote.jobs.list(state="running").items == ()


def test_a_proxy_of_the_laptop_is_not_asked(fake_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    client = connect(load_config(), fake_server.url)
    assert client.health().status == "ok"
    client.close()


def test_a_server_of_this_data_directory_is_found_and_local_means_it(
    fake_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSR_DATA_DIR", str(fake_server.data_dir))
    for remote in (None, "local"):
        tensors = connect(load_config(), remote)
        assert isinstance(tensors, TsrClient)
        assert tensors.status().url == fake_server.url
        tensors.close()


def test_a_refused_request_never_reaches_either_side(sides: Sides) -> None:
    """What can be told without model and engine is told when the request is made."""
    with pytest.raises(InvalidRequest, match="width must be a multiple of 8"):
        small(width=65)

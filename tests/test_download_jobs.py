"""Downloads as durable jobs of a server, and the same operations here and over a socket."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hostile_server as hostile
import pytest
from commands import Commands
from conftest import FAKE_ENGINE, StartServer
from fake_civitai import FakeCivitai
from hostile_server import HostileServer, serving
from observe import eventually, last_event
from test_download_work import CONTENT, FILE, KEY, MODEL, VERSION, file_of, sha256, version_of

from tensors.client import TsrClient
from tensors.config import load_config
from tensors.errors import Conflict, InvalidRequest, JobFinished, NotInCatalog, OutsideFolders, TsrError
from tensors.local import LocalTensors
from tensors.types.download import DownloadRequest
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Job
from tensors.types.library import ScanRequest

NAME = "Wanderer v2.safetensors"


@dataclass
class Offer:
    """A model to download, and the settings to do it with."""

    civitai: FakeCivitai
    storage: HostileServer
    settings: Path


@pytest.fixture
def offer(tmp_path: Path, civitai: FakeCivitai) -> Iterator[Offer]:
    settings = tmp_path / "settings.toml"
    api = {"civitai_url": civitai.url, "civitai_key": KEY, "allowed_download_hosts": ["127.0.0.2"]}
    lines = [f"{name} = {json.dumps(value)}" for name, value in api.items()]
    settings.write_text("\n".join(["[api]", *lines, "[jobs]", "keep_days = 30"]))
    version = version_of(VERSION, file_of(FILE, CONTENT))
    civitai.add({"id": MODEL, "name": "Wanderer", "type": "LORA", "modelVersions": [version]})
    with serving(CONTENT, host="127.0.0.2") as storage:
        civitai.downloads[VERSION] = f"{storage.url}/signed"
        yield Offer(civitai, storage, settings)


@pytest.fixture
def start(start_server: StartServer, offer: Offer) -> StartServer:
    return lambda *arguments: start_server(*arguments, TSR_ENGINE=str(FAKE_ENGINE), TSR_CONFIG=str(offer.settings))


def fetching(client: TsrClient, offer: Offer, request: DownloadRequest) -> Job:
    """A download that has got a part of the file and waits for the rest."""
    offer.storage.acts.append(hostile.stalls(100_000))
    job = client.downloads.start(request)

    def has_its_part() -> bool:
        (planned,) = client.downloads.plan(request).files
        return planned.done == 100_000

    eventually(has_its_part)
    return job


def test_a_download_goes_on_after_kill_9(start: StartServer, offer: Offer) -> None:
    server = start()
    with contextlib.closing(server.client()) as client:
        job = fetching(client, offer, DownloadRequest(model_id=MODEL))
    server.kill()
    offer.storage.released.set()
    again = start()
    with contextlib.closing(again.client()) as client:
        assert last_event(client, job).state == "succeeded"
        report = client.jobs.get(job.id).download
        assert report is not None
        (done,) = report.files
        assert (done.fetched, done.words) == (True, ("wanderer", "red cloak"))
        assert client.db.file("Wanderer v2").sha256 == sha256(CONTENT)
    assert offer.storage.requests[-1].headers["range"] == "bytes=100000-"
    assert Path(done.path).read_bytes() == CONTENT


def test_cancelled_it_keeps_its_part_and_the_next_one_goes_on(start: StartServer, offer: Offer) -> None:
    with contextlib.closing(start().client()) as client:
        job = fetching(client, offer, DownloadRequest(model_id=MODEL))
        assert client.jobs.cancel(job.id).state == "cancelled"
        (planned,) = client.downloads.plan(DownloadRequest(model_id=MODEL)).files
        assert (planned.state, planned.done) == ("partial", 100_000)
        assert last_event(client, client.downloads.start(DownloadRequest(model_id=MODEL))).state == "succeeded"


def test_paused_it_stands_still_until_it_is_resumed(start: StartServer, offer: Offer) -> None:
    with contextlib.closing(start().client()) as client:
        job = fetching(client, offer, DownloadRequest(model_id=MODEL))
        assert client.jobs.pause(job.id).state == "paused"
        assert client.jobs.pause(job.id).state == "paused"
        assert [found.id for found in client.jobs.list(state="paused").items] == [job.id]
        (planned,) = client.downloads.plan(DownloadRequest(model_id=MODEL)).files
        assert (planned.state, planned.done) == ("partial", 100_000)
        asked = len(offer.storage.requests)
        assert client.jobs.resume(job.id).state in ("queued", "running", "succeeded")
        assert last_event(client, job).state == "succeeded"
        assert offer.storage.requests[asked].headers["range"] == "bytes=100000-"
        with pytest.raises(JobFinished, match="has already succeeded"):
            client.jobs.pause(job.id)


def test_a_paused_download_gives_its_place_to_the_next(start: StartServer, offer: Offer) -> None:
    with offer.settings.open("a") as settings:
        settings.write("\n[downloads]\nat_once = 1")
    with contextlib.closing(start().client()) as client:
        first = fetching(client, offer, DownloadRequest(model_id=MODEL))
        client.jobs.pause(first.id)
        assert last_event(client, client.downloads.start(DownloadRequest(version_id=VERSION))).state == "succeeded"
        client.jobs.resume(first.id)
        assert last_event(client, first).state == "succeeded"
        report = client.jobs.get(first.id).download
        assert report is not None
        assert [file.fetched for file in report.files] == [False], "it is here meanwhile"


def test_it_is_paused_after_kill_9_too_and_can_be_cancelled(start: StartServer, offer: Offer) -> None:
    server = start()
    with contextlib.closing(server.client()) as client:
        paused = fetching(client, offer, DownloadRequest(model_id=MODEL))
        client.jobs.pause(paused.id)
    server.kill()
    config = load_config(offer.settings).with_values(data_dir=server.data_dir)
    with contextlib.closing(LocalTensors(config)) as local:
        assert local.jobs.get(paused.id).state == "paused"
        assert local.jobs.resume(paused.id).state == "queued"
        assert local.jobs.pause(paused.id).state == "paused"
    asked = len(offer.storage.requests)
    with contextlib.closing(start().client()) as client:
        assert last_event(client, client.db.scan(ScanRequest())).state == "succeeded"
        assert (client.jobs.get(paused.id).state, len(offer.storage.requests)) == ("paused", asked)
        assert client.jobs.cancel(paused.id).state == "cancelled"


def test_only_downloads_can_be_paused(start: StartServer) -> None:
    with contextlib.closing(start().client()) as client:
        drawing = client.generate(GenerateRequest(prompt="a circle", width=64, height=64, steps=100, batch_size=256))
        with pytest.raises(Conflict, match="is a generate job, and only downloads can be paused"):
            client.jobs.pause(drawing.id)
        client.jobs.cancel(drawing.id)


def test_downloads_do_not_wait_for_each_other_or_for_scans(start: StartServer, offer: Offer) -> None:
    with contextlib.closing(start().client()) as client:
        first = fetching(client, offer, DownloadRequest(model_id=MODEL))
        second = client.downloads.start(DownloadRequest(version_id=VERSION))
        event = last_event(client, second)
        assert (event.state, event.error and event.error.code) == ("failed", "conflict"), "the same file, at once"
        offer.storage.released.set()
        client.jobs.cancel(first.id)


def test_no_record_of_a_job_has_the_key_or_a_signature(start: StartServer, offer: Offer, tmp_path: Path) -> None:
    offer.civitai.downloads[VERSION] = f"{offer.storage.url}/signed?signature=not-for-others"
    with contextlib.closing(start().client()) as client:
        job = client.downloads.start(DownloadRequest(target=f"https://civitai.com/models/{MODEL}?token=secret-token"))
        assert last_event(client, job).state == "succeeded"
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != offer.settings)
    assert KEY.encode() not in written
    assert b"not-for-others" not in written


# --- here and there ---------------------------------------------------------------------------------------------------


@pytest.fixture
def both(start: StartServer, offer: Offer, tmp_path: Path) -> Iterator[tuple[LocalTensors, TsrClient]]:
    config = load_config(offer.settings).with_values(data_dir=tmp_path / "here")
    with contextlib.closing(LocalTensors(config)) as local, contextlib.closing(start().client()) as remote:
        yield local, remote


def outcome(ask: Any) -> Any:
    """What an operation answers, or how it fails."""
    try:
        return ask()
    except TsrError as error:
        return type(error), error.message, error.hint


@pytest.mark.parametrize(
    "wanted",
    [
        {"model_id": MODEL},
        {"target": f"{MODEL}@{VERSION}"},
        {"hash": sha256(CONTENT)},
        {"model_id": MODEL, "file": "other"},
        {"model_id": 999_999},
        {"target": "nonsense"},
        {"hash": "no-hash-at-all"},
    ],
)
def test_a_plan_is_the_same_here_and_there(wanted: dict[str, Any], both: tuple[LocalTensors, TsrClient]) -> None:
    local, remote = (outcome(lambda to=to: to.downloads.plan(DownloadRequest(**wanted))) for to in both)
    if not isinstance(local, tuple):
        local, remote = ([replace(file, path=Path(file.path).name) for file in plan.files] for plan in (local, remote))
        assert [file.name for file in local] == [NAME]
    else:
        assert issubclass(local[0], InvalidRequest | NotInCatalog)
    assert local == remote


def test_a_download_is_the_same_here_and_there(both: tuple[LocalTensors, TsrClient]) -> None:
    told = []
    for to in both:
        job = to.downloads.start(DownloadRequest(model_id=MODEL))
        assert last_event(to, job).state == "succeeded"
        report = to.jobs.get(job.id).download
        assert report is not None
        told.append([replace(file, path=Path(file.path).name) for file in report.files])
    assert told[0] == told[1]


def test_the_command_prints_the_same_here_and_there(
    start: StartServer,
    offer: Offer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server, tsr = start(), Commands(capsys)
    monkeypatch.setenv("TSR_DATA_DIR", str(tmp_path / "here"))
    monkeypatch.setenv("TSR_CONFIG", str(offer.settings))
    number = str(MODEL)
    lines = [(number, "--dry-run"), (number,), (number, "--json"), (number, "-n", "--json"), (number, "--file", "x")]
    lines += [("999999",), ("nonsense",), ("-v", str(VERSION)), ("-H", sha256(CONTENT)), (number, "999999")]
    for words in lines:
        here, there = tsr("dl", *words), tsr("dl", *words, "--remote", server.url)
        assert here.comparable(tmp_path / "here") == there.comparable(server.data_dir), words
    (job,) = tsr.json("jobs", "list", "--kind", "download", "--limit", "1", "--remote", server.url)["items"]
    assert job["state"] == "failed"


def test_a_server_writes_to_its_own_folders_only(both: tuple[LocalTensors, TsrClient], tmp_path: Path) -> None:
    for ask in (both[1].downloads.plan, both[1].downloads.start):
        with pytest.raises(OutsideFolders):
            ask(DownloadRequest(model_id=MODEL, directory=str(tmp_path)))
    assert not list(tmp_path.glob("*.safetensors*"))

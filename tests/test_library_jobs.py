"""Work on the library as durable jobs of a server: beside drawing, across a crash, and stopped in the middle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FAKE_ENGINE, Server, StartServer
from headers import write_safetensors
from observe import last_event, small, wait_for

from tensors.client import TsrClient
from tensors.errors import OutsideFolders
from tensors.types.jobs import Job
from tensors.types.library import ScanRequest

LORA = {"lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k.lora_down.weight": (8, 2048)}
HOURS = {"weights": (2_000_000_000_000,)}
"""A file that is a hole: nothing of it is on the disk, and hashing it takes hours."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    for number in range(3):
        write_safetensors(folder / f"{number}.safetensors", LORA, {"number": str(number)})
    return folder


@pytest.fixture
def start(start_server: StartServer, tmp_path: Path, folder: Path) -> StartServer:
    config = tmp_path / "server.toml"
    config.write_text(f'[paths]\nmodels = ["{folder}"]\n')
    return lambda *arguments: start_server(*arguments, TSR_ENGINE=str(FAKE_ENGINE), TSR_CONFIG=str(config))


@contextlib.contextmanager
def asking(server: Server) -> Iterator[TsrClient]:
    with contextlib.closing(server.client()) as client:
        yield client


def hashing(client: TsrClient) -> Job:
    """A scan that has listed everything and hashes the file that takes hours."""
    job = client.db.scan(ScanRequest())
    wait_for(client, job, lambda event: event.progress is not None and event.progress.phase == "hashing")
    return job


def test_a_scan_that_hashes_for_hours_holds_nobody_up(start: StartServer, folder: Path) -> None:
    write_safetensors(folder / "hours.safetensors", HOURS, dtype="U8")
    with asking(start()) as client:
        scan = hashing(client)
        assert {file.name for file in client.db.files().items} == {"0", "1", "2", "hours"}
        assert last_event(client, client.generate(small())).state == "succeeded"
        assert client.jobs.get(scan.id).state == "running"
        ended = client.jobs.cancel(scan.id)
        assert (ended.kind, ended.state, ended.scan) == ("scan", "cancelled", None)
        # What was done by then stays.
        assert [bool(file.sha256) for file in client.db.files().items] == [True, True, True, False]


def test_jobs_are_listed_by_kind(start: StartServer) -> None:
    with asking(start()) as client:
        scans = [client.db.scan(ScanRequest(hash=False)) for _ in range(2)]
        picture = client.generate(small())
        for job in (*scans, picture):
            last_event(client, job)
        assert [job.id for job in client.jobs.list(kind="scan").items] == [scan.id for scan in reversed(scans)]
        page = client.jobs.list(kind="scan", limit=1)
        assert [job.id for job in client.jobs.list(kind="scan", limit=1, cursor=page.next_cursor).items] == [
            scans[0].id
        ]
        assert [job.id for job in client.jobs.list(kind="generate").items] == [picture.id]
        assert client.jobs.list(kind="download").items == ()


def test_one_scan_waits_for_another(start: StartServer, folder: Path) -> None:
    write_safetensors(folder / "hours.safetensors", HOURS, dtype="U8")
    with asking(start()) as client:
        first, second = hashing(client), client.db.scan(ScanRequest(hash=False))
        assert client.jobs.get(second.id).state == "queued"
        client.jobs.cancel(first.id)
        assert last_event(client, second).state == "succeeded"
        report = client.jobs.get(second.id).scan
        assert report
        assert (report.files, report.unhashed) == (4, 1)


def test_a_scan_goes_on_after_kill_9(start: StartServer, folder: Path) -> None:
    write_safetensors(folder / "hours.safetensors", HOURS, dtype="U8")
    server = start()
    with asking(server) as client:
        job = hashing(client)
        server.kill()
    # Whoever comes back finds a smaller file: so it ends.
    write_safetensors(folder / "hours.safetensors", {"weights": (1000,)}, dtype="U8")
    with asking(start()) as client:
        assert last_event(client, job).state == "succeeded"
        ended = client.jobs.get(job.id)
        assert ended.scan
        assert (ended.scan.files, ended.scan.unhashed, ended.scan.problems) == (4, 0, ())
        assert client.db.check().sound


def test_a_server_that_is_told_to_stop_does_not_wait_for_a_scan(start: StartServer, folder: Path) -> None:
    write_safetensors(folder / "hours.safetensors", HOURS, dtype="U8")
    server = start()
    with asking(server) as client:
        hashing(client)
        assert server.stop(seconds=15) == 0


def test_a_folder_outside_is_refused_and_leaves_no_job(start: StartServer, tmp_path: Path) -> None:
    with asking(start()) as client:
        with pytest.raises(OutsideFolders, match="is in none of the folders with models"):
            client.db.scan(ScanRequest(directories=(str(tmp_path),)))
        assert client.jobs.list().items == ()

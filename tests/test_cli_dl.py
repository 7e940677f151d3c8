"""`tsr dl`: what it asks for, how it is followed, what it prints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import Commands
from fake_tensors import FakeTensors
from library_samples import a_job

from tensors.errors import DownloadRefused, InvalidRequest, NeedsServer
from tensors.types.download import DownloadedFile, DownloadPlan, DownloadReport, DownloadRequest, PlannedFile
from tensors.types.jobs import ErrorInfo, Job, JobEvent

LORA = DownloadedFile(
    path="/models/loras/Wanderer v2.safetensors",
    name="Wanderer v2",
    size=150_000_000,
    sha256="ab" * 32,
    kind="lora",
    family="sd15",
    model_id=7001,
    version_id=8002,
    lora="<lora:Wanderer v2:1>",
    words=("wanderer", "red cloak"),
)
BARE = DownloadedFile(path="/models/other/x.gguf", name="x", size=1000, fetched=False, kind="unknown", family="unknown")
DONE = a_job("download", download=DownloadReport(files=(LORA, BARE)))
PRINTED = (
    "/models/loras/Wanderer v2.safetensors\n"
    "  150 MB, sd15, lora, 7001@8002\n"
    "  <lora:Wanderer v2:1> wanderer, red cloak\n"
    "/models/other/x.gguf\n"
    "  1.00 kB, was here already\n"
)
REFUSED = replace(DONE, state="failed", download=None, error=ErrorInfo(code="download_refused", message="is early"))


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def coming(fake: FakeTensors, *jobs: Job) -> None:
    """What comes of the downloads that a command starts, one after the other."""
    left = iter([replace(job, id=f"job{number}") for number, job in enumerate(jobs)])
    known: dict[str, Job] = {}

    def start(_request: DownloadRequest, *, detach: bool = False) -> Job:
        job = next(left)
        known[job.id] = job
        return replace(job, state="queued", finished=None, error=None, download=None)

    def events(job_id: str) -> Any:
        return iter([JobEvent(seq=1, job=job_id, state=known[job_id].state, error=known[job_id].error)])

    def get(job_id: str) -> Job:
        return known[job_id]

    fake.answers |= {"downloads.start": start, "jobs.events": events, "jobs.get": get}


@pytest.mark.parametrize(
    ("typed", "request_"),
    [
        (("1102",), DownloadRequest(target="1102")),
        (("hf:org/repo/x.gguf",), DownloadRequest(target="hf:org/repo/x.gguf")),
        (("-v", "1318"), DownloadRequest(version_id=1318)),
        (("-H", "ABCDEF0123"), DownloadRequest(hash="ABCDEF0123")),
        (
            ("1", "--file", "*x*", "--fp", "fp16", "--format", "gguf", "--all", "--to", "d", "--force"),
            DownloadRequest(
                target="1", file="*x*", precision="fp16", format="gguf", everything=True, directory="d", force=True
            ),
        ),
    ],
)
def test_what_was_typed_is_asked_for(
    typed: tuple[str, ...], request_: DownloadRequest, tsr: Commands, fake: FakeTensors
) -> None:
    coming(fake, DONE)
    done = tsr("dl", *typed)
    assert (done.code, done.out, done.err) == (0, PRINTED, "")
    assert fake.called("downloads.start") == [(request_, {"detach": False})]


def test_as_json_it_is_the_job(tsr: Commands, fake: FakeTensors) -> None:
    coming(fake, DONE)
    document = tsr.json("dl", "1102")
    assert document["download"]["files"][0]["words"] == ["wanderer", "red cloak"]


def test_a_list_of_targets(tsr: Commands, fake: FakeTensors, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("# what I need\n\n  1102  # a checkpoint\nhf:org/repo\n")
    coming(fake, DONE, DONE)
    done = tsr("dl", "--from", str(listed))
    assert (done.code, done.out) == (0, PRINTED * 2)
    asked = [request.target for request, _ in fake.called("downloads.start")]
    assert asked == ["1102", "hf:org/repo"]


def test_one_that_is_refused_keeps_nobody_from_having_the_others(tsr: Commands, fake: FakeTensors) -> None:
    coming(fake, REFUSED, DONE)
    done = tsr("dl", "1", "2")
    assert (done.code, done.out, done.err) == (8, PRINTED, "1: is early\n")
    coming(fake, REFUSED, DONE)
    done = tsr("dl", "1", "2", "--json")
    assert done.code == 8
    assert [job["state"] for job in json.loads(done.out)["items"]] == ["failed", "succeeded"]


def test_alone_it_is_the_error(tsr: Commands, fake: FakeTensors) -> None:
    coming(fake, REFUSED)
    done = tsr("dl", "1")
    assert (done.code, done.out, done.err) == (8, "", "error: is early\n")


def test_detached(tsr: Commands, fake: FakeTensors) -> None:
    coming(fake, DONE, DONE)
    done = tsr("dl", "1", "2", "-d")
    assert (done.code, done.out) == (0, "job0\njob1\n")
    assert done.err == "follow it: tsr jobs watch job0\nfollow it: tsr jobs watch job1\n"
    assert fake.called("jobs.events") == []


def test_a_plan(tsr: Commands, fake: FakeTensors) -> None:
    new = PlannedFile(name="a.gguf", path="/m/a.gguf", state="new", size=2_000_000_000, sha256="0f" * 32)
    part = replace(new, name="b.gguf", path="/m/b.gguf", state="partial", done=500_000_000, sha256=None)
    here = replace(part, name="c.gguf", path="/m/c.gguf", state="here", done=0)
    fake.answers["downloads.plan"] = DownloadPlan(files=(new, part, here))
    done = tsr("dl", "1", "--dry-run")
    assert done.code == 0
    assert done.out == (
        "to fetch      2.00 GB  /m/a.gguf\n"
        "500 MB here   2.00 GB  /m/b.gguf\n"
        "here already  2.00 GB  /m/c.gguf\n"
        f"{'0f' * 32}  a.gguf\n"
        "3 files, 3.50 GB to fetch\n"
    )
    assert [file["state"] for file in tsr.json("dl", "1", "-n")["files"]] == ["new", "partial", "here"]
    assert fake.called("downloads.start") == []


@pytest.mark.parametrize("error", [NeedsServer("no server"), InvalidRequest("nothing like it"), DownloadRefused("no")])
def test_what_is_refused_at_once(error: Any, tsr: Commands, fake: FakeTensors) -> None:
    fake.answers |= {"downloads.start": error, "downloads.plan": error}
    for typed in (("1",), ("1", "2"), ("1", "-n")):
        done = tsr("dl", *typed)
        assert (done.code, done.out, done.err) == (error.exit_code, "", f"error: {error.message}\n")


def test_nothing_named(tsr: Commands, fake: FakeTensors) -> None:
    done = tsr("dl")
    assert done.code == 2
    assert "name what to download" in done.err
    assert fake.calls == []


def test_of_a_long_list_a_few_are_asked_for_ahead(tsr: Commands, fake: FakeTensors, tmp_path: Path) -> None:
    listed = tmp_path / "list"
    listed.write_text("\n".join(str(number) for number in range(1, 21)))
    coming(fake, *[DONE] * 20)
    assert tsr("dl", "--from", str(listed)).code == 0
    asked = [name for name, *_ in fake.calls if name in ("downloads.start", "jobs.events")]
    assert asked[:10] == ["downloads.start"] * 8 + ["jobs.events", "downloads.start"]
    assert [request.target for request, _ in fake.called("downloads.start")] == [str(n) for n in range(1, 21)]

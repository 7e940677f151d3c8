"""`tsr db scan`, `link` and `cache`: what they start, how it is followed, what they report; and `tsr jobs` on them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from commands import Commands
from fake_tensors import FakeTensors
from library_samples import CACHED, LINKED, MODIFIED, NASTY_SHOWN, PROBLEMS, SCANNED, a_job

from tensors.cli._app import App
from tensors.cli._follow import _rich_bar, words
from tensors.errors import CatalogUnreachable, NeedsServer, OutsideFolders
from tensors.types.base import Page
from tensors.types.generation import Settings, UsedModel
from tensors.types.jobs import ErrorInfo, Job, JobEvent, Progress
from tensors.types.library import CacheReport, CacheRequest, LinkReport, LinkRequest, ScanReport, ScanRequest

SCAN, LINK, CACHE = a_job("scan", scan=SCANNED), a_job("link", link=LINKED), a_job("cache", cache=CACHED)
NOTHING_WAITS = {"detach": False}


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def event(progress: Progress, *, seq: int = 1) -> JobEvent:
    return JobEvent(seq=seq, job=SCAN.id, state="running", progress=progress)


# What is asked for


@pytest.mark.parametrize(
    ("command", "job", "request_"),
    [
        (("scan",), SCAN, ScanRequest()),
        (
            ("scan", "loras", "../x y", "~/m", "--no-hash", "--full"),
            SCAN,
            ScanRequest(directories=("loras", "../x y", "~/m"), hash=False, full=True),
        ),
        (("link",), LINK, LinkRequest()),
        (
            ("link", "a", "b.gguf", "--refresh", "--offline"),
            LINK,
            LinkRequest(files=("a", "b.gguf"), refresh=True, offline=True),
        ),
        (("cache",), CACHE, CacheRequest()),
        (("cache", "1102", "4384@9", "https://civitai.com/models/7/x"), CACHE, CacheRequest(models=(1102, 4384, 7))),
    ],
    ids=["scan", "scan-options", "link", "link-options", "cache", "cache-numbers"],
)
def test_what_was_typed_is_asked_for_and_followed(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...], job: Job, request_: Any
) -> None:
    fake.job(job)
    tsr("db", *command)
    assert fake.calls == [
        (f"db.{job.kind}", (request_,), NOTHING_WAITS),
        ("jobs.events", (job.id,), {}),
        ("jobs.get", (job.id,), {}),
    ]


@pytest.mark.parametrize("job", [SCAN, LINK, CACHE], ids=lambda job: job.kind)
def test_detached_the_job_is_named_and_left_alone(tsr: Commands, fake: FakeTensors, job: Job) -> None:
    fake.job(job)
    done = tsr("db", job.kind, "--detach")
    assert (done.code, done.out, done.err) == (0, f"{job.id}\n", f"follow it: tsr jobs watch {job.id}\n")
    started = tsr.json("db", job.kind, "--detach")
    assert (started["id"], started["state"], started[job.kind]) == (job.id, "queued", None)
    assert [(name, options) for name, _, options in fake.calls] == [(f"db.{job.kind}", {"detach": True})] * 2


@pytest.mark.parametrize("kind", ["scan", "link", "cache"])
@pytest.mark.parametrize("error", [NeedsServer("no server"), OutsideFolders("not there")], ids=lambda error: error.code)
def test_what_is_refused_is_not_followed(tsr: Commands, fake: FakeTensors, kind: str, error: Any) -> None:
    fake.answers[f"db.{kind}"] = error
    done = tsr("db", kind, "--detach")
    assert (done.code, done.out, done.err) == (error.exit_code, "", f"error: {error.message}\n")
    assert len(fake.calls) == 1


# What comes of it

ADVICE = "see them: tsr db list    find their pages on CivitAI: tsr db link\n"
NO_HASHES = "5 files cannot be linked without hashes: tsr db scan\n"
BY_HAND = (
    "5 files cannot be matched without hashes: tsr db scan\n"
    "not known by their hashes: tsr db list --state unlinked    link by hand: tsr db link FILE --model MODEL@VERSION\n"
)
BAD = (
    "/models/bad.safetensors: is cut off: 10 bytes of 20\n"
    f"/models/{NASTY_SHOWN}.gguf: cannot be read: Permission denied\n"
)
REPORTS: dict[str, tuple[Job, int, str, str]] = {
    "scan": (
        SCAN,
        0,
        "1,234 files in 2 folders: 12 new, 1 changed, 2 moved, 3 back, 4 missing, 1,233 hashed, 5 without hashes\n"
        "  /models\n  /mnt/more\n",
        NO_HASHES,
    ),
    "scan-problems": (
        replace(SCAN, scan=replace(SCANNED, problems=PROBLEMS)),
        1,
        "1,234 files in 2 folders: 12 new, 1 changed, 2 moved, 3 back, 4 missing, 1,233 hashed, 5 without hashes, "
        "2 with a problem\n  /models\n  /mnt/more\n",
        BAD + ADVICE,
    ),
    "scan-first": (
        a_job("scan", scan=ScanReport(folders=("/m",), files=1, added=1, hashed=1)),
        0,
        "1 file in 1 folder: 1 new, 1 hashed\n  /m\n",
        ADVICE,
    ),
    "scan-again": (
        a_job("scan", scan=ScanReport(folders=("/m",), files=2)),
        0,
        "2 files in 1 folder: nothing new\n  /m\n",
        "",
    ),
    "scan-nothing": (
        a_job("scan", scan=ScanReport(folders=("/data/models",))),
        0,
        "0 files in 1 folder: nothing new\n  /data/models\n",
        "no model files there: tsr db scan DIR, or for good: tsr config set paths.models DIR\n",
    ),
    "link": (
        LINK,
        0,
        "120 files: 100 linked (80 by SHA256, 10 by AutoV3, 6 by BLAKE3, 4 by notes of other tools), "
        "15 not known to CivitAI, 5 without hashes, 77 models fetched\n",
        BY_HAND,
    ),
    "link-nothing": (a_job("link", link=LinkReport()), 0, "0 files: 0 linked\n", ""),
    "link-problems": (
        a_job("link", link=LinkReport(files=1, linked=1, by_sha256=1, fetched=1, problems=PROBLEMS)),
        1,
        "1 file: 1 linked (1 by SHA256), 1 model fetched, 2 with a problem\n",
        BAD,
    ),
    "cache": (CACHE, 3, "3 models kept, 1 not found\n", "CivitAI has no model 5\n"),
    "cache-one": (a_job("cache", cache=CacheReport(models=(5,))), 0, "1 model kept\n", ""),
    "cache-nothing": (
        a_job("cache", cache=CacheReport()),
        0,
        "0 models kept\n",
        "no file is linked yet: tsr db link\n",
    ),
    # A server of another version may not tell what came of it.
    "no-report": (a_job("scan"), 0, f"job {SCAN.id} succeeded\n", ""),
}


@pytest.mark.parametrize("case", REPORTS.values(), ids=REPORTS)
def test_a_report_says_what_was_found_what_is_wrong_and_what_comes_next(
    tsr: Commands, fake: FakeTensors, case: tuple[Job, int, str, str]
) -> None:
    job, code, out, err = case
    fake.job(job, event(Progress(phase="listing", unit="files", done=3)))
    done = tsr("db", job.kind)
    assert (done.code, done.out, done.err) == (code, out, err)
    as_json = tsr("db", job.kind, "--json")
    assert (as_json.code, as_json.err, as_json.out.count("\n")) == (code, "", 1)
    assert json.loads(as_json.out) == json.loads(msgspec.json.encode(job))


def test_no_folder_is_advised_to_who_named_one(tsr: Commands, fake: FakeTensors) -> None:
    fake.job(a_job("scan", scan=ScanReport(folders=("/m",))))
    assert tsr("db", "scan", "/m").err == ""


@pytest.mark.parametrize("kind", ["scan", "link", "cache"])
def test_a_job_that_fails_ends_with_its_own_error(tsr: Commands, fake: FakeTensors, kind: str) -> None:
    error = ErrorInfo(code="catalog_unreachable", message="CivitAI does not answer", hint="try again later")
    fake.job(a_job(kind, "failed", error=error))
    done = tsr("db", kind)
    assert (done.code, done.out) == (CatalogUnreachable.exit_code, "")
    assert done.err == "error: CivitAI does not answer\nhint:  try again later\n"
    assert json.loads(tsr("db", kind, "--json").out)["error"]["code"] == "catalog_unreachable"


@pytest.mark.parametrize("kind", ["scan", "link", "cache"])
@pytest.mark.parametrize("more", [(), ("--json",)], ids=["plain", "json"])
def test_ctrl_c_cancels_and_says_what_stays(tsr: Commands, fake: FakeTensors, kind: str, more: tuple[str, ...]) -> None:
    job = a_job(kind)
    fake.job(job)

    def events(_job_id: str) -> Iterator[JobEvent]:
        yield event(Progress(phase="listing"))
        raise KeyboardInterrupt

    fake.answers |= {"jobs.events": events, "jobs.cancel": replace(job, state="cancelled")}
    done = tsr("db", kind, *more)
    hint = "what was done stays: the same command goes on from there"
    assert (done.code, fake.called("jobs.cancel")) == (130, [job.id])
    if more:
        assert json.loads(done.out)["error"] == {
            "code": "job_cancelled",
            "message": f"job {job.id} cancelled",
            "hint": hint,
        }
        assert done.err == ""
    else:
        assert (done.out, done.err) == ("", f"cancelling ...\nerror: job {job.id} cancelled\nhint:  {hint}\n")


# While it runs

PROGRESS = {
    "listing, 1,234 files, loras": Progress(phase="listing", done=1234, unit="files", name="/models/loras/"),
    "hashing, 1.20 GB of 6.94 GB, 4 s left, x.safetensors": Progress(
        phase="hashing",
        done=1_200_000_000,
        total=6_938_041_050,
        unit="bytes",
        seconds_left=4.2,
        name="/models/x.safetensors",
    ),
    f"hashing, 0 B of 12 B, 9 min left, {'n' * 19}...{'n' * 7}.safetensor": Progress(
        phase="hashing", total=12, unit="bytes", seconds_left=540, name=f"{'n' * 50}.safetensor"
    ),
    "matching, 120 of 1,200 files": Progress(phase="matching", done=120, total=1200, unit="files"),
    "fetching, 0 of 1 model": Progress(phase="fetching", total=1, unit="models"),
    "fetching, 1 model, a\\x1b[0m b": Progress(phase="fetching", done=1, unit="models", name="a\x1b[0m\nb"),
    "queued": Progress(phase="queued"),
    "sampling, picture 2 of 3, step 4/20, try 2, 600 s left": Progress(
        phase="sampling", step=4, steps=20, image=2, images=3, attempt=2, seconds_left=600
    ),
}


@pytest.mark.parametrize(
    ("shown", "progress"), PROGRESS.items(), ids=lambda part: part if isinstance(part, str) else ""
)
def test_progress_is_told_in_words(shown: str, progress: Progress) -> None:
    assert words(progress) == shown


@pytest.fixture
def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(App, "interactive", True)
    # rich takes what it writes to for a terminal of this size.
    for name, value in {"FORCE_COLOR": "1", "COLUMNS": "120", "LINES": "30"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize("name", ["[bold]x[red", "{x}{task.total}", "\x1b[2Jx"])
def test_the_bar_shows_how_far_it_is_and_is_gone_at_the_end(tsr: Commands, fake: FakeTensors, name: str) -> None:
    fake.job(
        SCAN,
        event(Progress(phase="listing", done=7, unit="files", name="loras")),
        event(Progress(phase="hashing", done=3_000_000, total=4_000_000, unit="bytes", name=name), seq=2),
    )
    done = tsr("db", "scan")
    assert done.out.startswith("1,234 files in 2 folders: ")
    assert "\x1b" not in done.out
    drawn = done.err.replace("\x1b[2K", "").replace("\x1b[1A", "")
    assert "\x1b[2J" not in drawn
    seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)
    assert f"hashing, 3.00 MB of 4.00 MB, {name.replace(chr(27), chr(92) + 'x1b')}" in seen
    # Three quarters of the bar are full: rich draws the rest in another colour.
    assert "━" * 24 in seen
    # The line is taken back.
    assert done.err.count("\x1b[2K") >= 1


@pytest.mark.usefixtures("at_a_terminal")
def test_the_bar_starts_anew_with_each_phase() -> None:
    """What is listed after something was counted must not look as if it were done."""
    shown = []
    with _rich_bar() as bar:
        for phase, done, total in (("matching", 5, 10), ("fetching", 7, 0), ("fetching", 8, 9)):
            bar.update(event(Progress(phase=phase, done=done, total=total, unit="models")))
            shown.append((bar.task.completed, bar.task.total))
    assert shown == [(5, 10), (7, None), (8, 9)]


def test_nobody_who_reads_a_log_gets_a_bar(tsr: Commands, fake: FakeTensors) -> None:
    fake.job(CACHE, event(Progress(phase="fetching", done=1, total=3, unit="models")))
    assert "fetching" not in tsr("db", "cache").err


# `tsr jobs`

SETTINGS = Settings(
    prompt="a red circle\non a blue background that goes on and on and on",
    negative_prompt="",
    model=UsedModel(name="shapes", family="shapes"),
    width=64,
    height=64,
    steps=2,
    cfg_scale=1.0,
    sampler="euler",
    scheduler="discrete",
    seed=7,
)
JOBS = (
    a_job("generate", settings=SETTINGS, images=("a", "b")),
    SCAN,
    a_job("link", link=LinkReport()),
    CACHE,
    a_job("scan", "running", progress=Progress(phase="hashing", done=10, total=20, unit="bytes")),
    a_job("link", "failed", progress=Progress(phase="matching", unit="files"), error=ErrorInfo(code="x", message="no")),
    a_job("cache", "queued", progress=Progress(phase="queued")),
)


def test_jobs_are_listed_with_what_they_draw_or_what_came_of_them(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["jobs.list"] = Page(items=JOBS)
    head = f"{SCAN.id}  {MODIFIED}"
    assert tsr("jobs", "list").out.splitlines() == [
        f"{head}  succeeded  generate  2  a red circle on a blue background that goes o...",
        f"{head}  succeeded  scan         1,234 files in 2 folders: 12 new, 1 changed, 2 moved, 3 back, 4 missing, "
        "1,233 hashed, 5 without hashes",
        f"{head}  succeeded  link         0 files: 0 linked",
        f"{head}  succeeded  cache        3 models kept, 1 not found",
        f"{head}  running    scan         hashing, 10 B of 20 B",
        f"{head}  failed     link         no",
        f"{head}  queued     cache        queued",
    ]


def test_a_job_of_the_library_is_shown_with_its_report(tsr: Commands, fake: FakeTensors) -> None:
    fake.job(LINK)
    shown = tsr("jobs", "show", LINK.id)
    assert "report    120 files: 100 linked (80 by SHA256, " in shown.out
    assert "kind      link\n" in shown.out
    assert "prompt" not in shown.out
    assert tsr("jobs", "watch", LINK.id).out == shown.out
    fake.job(a_job("scan", "running", progress=Progress(phase="listing", done=9, unit="files", name="loras")))
    assert "progress  listing, 9 files, loras\n" in tsr("jobs", "show", SCAN.id).out

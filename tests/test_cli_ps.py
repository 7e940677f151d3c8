"""`tsr ps`, `tsr logs`, backends in `tsr status`, `tsr jobs list --plan`: what runs where, and whose turn it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import Commands, Outcome
from conftest import FAKE_ENGINE, Server
from fake_tensors import FakeTensors
from library_samples import NASTY, NASTY_SHOWN, a_job
from observe import PROMPT

from tensors.errors import EngineNotInstalled, InvalidRequest, NeedsServer
from tensors.types.backends import LogLine
from tensors.types.base import Page
from tensors.types.generation import Settings, UsedModel
from tensors.types.jobs import ErrorInfo, Job, Progress
from tensors.types.models import SwitchReport
from tensors.types.server import EngineStatus, Status


def ago(**span: float) -> str:
    """A moment in the past, as a server tells it."""
    return (datetime.now(UTC) - timedelta(**span)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fleet() -> tuple[EngineStatus, ...]:
    """One that draws, one that failed, one of somebody else."""
    return (
        EngineStatus(
            state="busy",
            version="1",
            model=NASTY,
            family="sdxl",
            pid=7,
            name="gpu0",
            since=ago(minutes=3),
            memory=6_940_000_000,
            job="1f2e3d4c5b6a7980",
            queued=1200,
        ),
        EngineStatus(
            state="failed",
            name="gpu1",
            kind="docker",
            families=("flux", "chroma"),
            since=ago(hours=5),
            message=f"the engine ended; its last words:\n[ERROR] {NASTY}",
        ),
        EngineStatus(state="ready", name="studio", kind="external", model="x", family="sd15", since=ago(days=30)),
    )


ROWS = [
    f"gpu0    process   busy    {NASTY_SHOWN} (sdxl)  6.94 GB  3 min      1,200 queued  draws 1f2e3d4c5b6a7980",
    f"gpu1    docker    failed  {'for flux, chroma':{len(NASTY_SHOWN) + 7}}        -  5 h 0 min",
    "  the engine ended; its last words:",
    *(f"  {line}" for line in f"[ERROR] {NASTY_SHOWN}".split("  ")),
    f"studio  external  ready   {'x (sd15)':{len(NASTY_SHOWN) + 7}}        -  30 days",
]


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


# tsr ps


def test_each_backend_is_a_line_and_below_a_failure_stands_why(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["backends.list"] = Page(items=fleet())
    done = tsr("ps", check=True)
    assert (done.out.splitlines(), done.err) == (ROWS, "")


def test_as_json_it_is_one_document(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["backends.list"] = Page(items=fleet())
    done = tsr("ps", "--json", check=True)
    assert msgspec.json.decode(done.out, type=Page[EngineStatus]) == fake.answers["backends.list"]
    assert done.err == ""


def test_a_clock_that_is_behind_the_servers_is_no_trouble(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["backends.list"] = Page(items=(EngineStatus(state="ready", name="e", since=ago(hours=-2)),))
    assert tsr("ps").out == "e  process  ready  -  -  0 s\n"


@pytest.mark.parametrize(
    ("backends", "advice"),
    [
        ((), "no backend is known: containers are found by a server (tsr serve)\n"),
        (
            (EngineStatus(state="missing", name="engine", message="no sd-server is installed"),),
            "get an engine: tsr engine install\n",
        ),
        (
            (EngineStatus(state="stopped", name="engine"), EngineStatus(state="stopped", name="b")),
            "nothing is loaded: a request loads what it needs, or tsr models switch NAME\n",
        ),
        ((EngineStatus(state="stopped", name="engine"), EngineStatus(state="ready", name="b")), ""),
    ],
    ids=["none", "missing", "stopped", "one-works"],
)
def test_with_nothing_to_see_the_next_step_is_told(
    tsr: Commands, fake: FakeTensors, backends: tuple[EngineStatus, ...], advice: str
) -> None:
    fake.answers["backends.list"] = Page(items=backends)
    done = tsr("ps", check=True)
    assert (len(done.out.splitlines()), done.err) == (len(backends) + advice.startswith("get"), advice)


@pytest.fixture
def changing(fake: FakeTensors, monkeypatch: pytest.MonkeyPatch) -> FakeTensors:
    """A backend that is looked at five times, changes twice, and then somebody presses Ctrl-C."""
    states = iter(["stopped", "stopped", "loading", "loading", "ready"])

    def look() -> Page[EngineStatus]:
        for state in states:
            return Page(items=(EngineStatus(state=state, name="engine"),))
        raise KeyboardInterrupt

    fake.answers["backends.list"] = look
    monkeypatch.setattr("tensors.cli.ps._PAUSE", 0)
    return fake


def test_watching_tells_each_change_once(tsr: Commands, changing: FakeTensors) -> None:
    done = tsr("ps", "--watch", "--json")
    lines = [msgspec.json.decode(line, type=Page[EngineStatus]) for line in done.out.splitlines()[:-1]]
    assert [page.items[0].state for page in lines] == ["stopped", "loading", "ready"]
    assert (done.code, json.loads(done.out.splitlines()[-1])["error"]["code"]) == (130, "job_cancelled")


def test_on_a_screen_it_is_shown_anew_each_time(
    tsr: Commands, changing: FakeTensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For how long it has been so changes all the time."""
    monkeypatch.setattr("tensors.cli.ps._is_screen", lambda _app: True)
    done = tsr("ps", "-w")
    assert [line.split()[2] for line in done.out.splitlines()] == ["stopped", "stopped", "loading", "loading", "ready"]
    assert done.code == 130


def test_the_status_has_the_backends_where_there_are_several(tsr: Commands, fake: FakeTensors) -> None:
    backends = fleet()
    status = Status(
        mode="server",
        url="http://box:8080",
        version="1",
        engine=backends[1],
        queued=0,
        running=1,
        images=3,
        data_dir="/data",
        backends=backends,
    )
    fake.answers["status"] = status
    assert tsr("status", check=True).out.splitlines()[-7:] == ["", *ROWS]
    fake.answers["status"] = replace(status, backends=backends[1:2])
    alone = tsr("status", check=True).out.splitlines()
    assert "" not in alone
    assert alone[-1].startswith("trouble  the engine ended; ")


# tsr logs

LINES = tuple(LogLine(seq=n, at="2026-11-22T18:49:01.123Z", backend="gpu0", text=f"{NASTY} {n}") for n in (7, 8))


@pytest.mark.parametrize(
    ("typed", "asked"),
    [
        ((), (None, {"lines": 100, "follow": False})),
        (("gpu0", "-n", "5"), ("gpu0", {"lines": 5, "follow": False})),
        (("gpu0", "-f", "-n", "0"), ("gpu0", {"lines": 0, "follow": True})),
    ],
)
def test_logs_are_asked_for_and_do_nothing_to_the_terminal(
    tsr: Commands, fake: FakeTensors, typed: tuple[str, ...], asked: Any
) -> None:
    fake.answers["backends.logs"] = lambda _backend, **_options: iter(LINES)
    done = tsr("logs", *typed, check=True)
    assert fake.called("backends.logs") == [asked]
    assert done == Outcome(0, f"{NASTY_SHOWN} 7\n{NASTY_SHOWN} 8\n", "")


def test_logs_as_json_are_one_document_and_followed_one_a_line(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["backends.logs"] = lambda _backend, **_options: iter(LINES)
    whole = tsr("logs", "--json", check=True).out
    assert msgspec.json.decode(whole, type=Page[LogLine]).items == LINES
    followed = tsr("logs", "-f", "--json", check=True).out
    assert [msgspec.json.decode(line, type=LogLine) for line in followed.splitlines()] == list(LINES)


def test_silence_is_told_unless_nothing_was_asked_for(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["backends.logs"] = lambda _backend, **_options: iter(())
    assert tsr("logs") == Outcome(0, "", "it has said nothing yet\n")
    assert tsr("logs", "-n", "0") == Outcome(0, "", "")


@pytest.mark.parametrize("error", [NeedsServer("no server"), InvalidRequest("which?"), EngineNotInstalled("none")])
def test_why_there_are_no_logs_is_told(tsr: Commands, fake: FakeTensors, error: Any) -> None:
    fake.answers["backends.logs"] = error
    assert tsr("logs") == Outcome(error.exit_code, "", f"error: {error.message}\n")


# tsr jobs list --plan

SETTINGS = Settings(
    prompt="x",
    negative_prompt="",
    model=UsedModel(name="photo", family="sdxl"),
    width=64,
    height=64,
    steps=4,
    cfg_scale=2.0,
    sampler="euler",
    scheduler="discrete",
    seed=1,
)


def waiting(name: str, kind: str = "generate", **changes: Any) -> Job:
    settings = SETTINGS if kind == "generate" else None
    return replace(a_job(kind, "queued", settings=settings, finished=None), id=name, **changes)


QUEUED = (
    waiting("scan1", "scan", created="2026-01-01T00:00:09Z"),
    waiting("third", "switch", position=3, waits_for="waits to load 'anime' on gpu0"),
    waiting("second", position=2, waits_for="waits for 'photo' on gpu0, which draws for 1 other first"),
    waiting("begun", position=1, waits_for="waits for 'photo'"),
    waiting("scan0", "scan", created="2026-01-01T00:00:01Z"),
)
SAMPLING = Progress(phase="sampling", step=3, steps=20, seconds_left=8.0)
RUNNING = (replace(QUEUED[3], state="running", position=None, waits_for=None, progress=SAMPLING),)


@pytest.fixture
def planned(fake: FakeTensors) -> FakeTensors:
    """A queue in pages of two; one job begins after it was seen waiting."""

    def pages(*, kind: str | None, state: str, limit: int, cursor: str | None) -> Page[Job]:
        jobs = [job for job in (QUEUED if state == "queued" else RUNNING) if kind in (None, job.kind)]
        first = int(cursor or 0)
        return Page(items=tuple(jobs[first : first + 2]), next_cursor=str(first + 2) if jobs[first + 2 :] else None)

    fake.answers["jobs.list"] = pages
    return fake


def test_the_plan_is_in_the_likely_order_with_what_each_waits_for(tsr: Commands, planned: FakeTensors) -> None:
    done = tsr("jobs", "list", "--plan", check=True)
    assert done.out.splitlines() == [
        "   begun   running  generate  photo  sampling, step 3/20, 8 s left",
        "2  second  queued   generate  photo  waits for 'photo' on gpu0, which draws for 1 other first",
        "3  third   queued   switch    -      waits to load 'anime' on gpu0",
        "   scan0   queued   scan      -      waits for its turn",
        "   scan1   queued   scan      -      waits for its turn",
    ]
    assert done.err == ""
    assert [job["id"] for job in tsr.json("jobs", "list", "--plan", "--kind", "scan")["items"]] == ["scan0", "scan1"]


def test_a_long_plan_is_cut_and_says_so(tsr: Commands, planned: FakeTensors) -> None:
    done = tsr("jobs", "list", "--plan", "-n", "2", check=True)
    assert [line[3:].split()[0] for line in done.out.splitlines()] == ["begun", "second"]
    assert done.err == "and 3 more: tsr jobs list --plan --limit 5\n"
    assert tsr("jobs", "list", "--plan", "-n", "0").code == 2
    assert tsr("jobs", "list", "--plan", "--state", "queued").code == 2


def test_a_plan_of_nothing_says_so(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["jobs.list"] = Page(items=())
    assert tsr("jobs", "list", "--plan") == Outcome(0, "", "nothing runs and nothing waits\n")


def test_switches_are_listed_with_what_came_of_them(tsr: Commands, fake: FakeTensors) -> None:
    error = ErrorInfo(code="engine_start_failed", message="could not be loaded:\n[ERROR] bad")
    done = a_job("switch", switch=SwitchReport(model="photo", backend="gpu0"))
    fake.answers["jobs.list"] = Page(items=(QUEUED[1], done, a_job("switch", "failed", error=error)))
    told = [line.partition("switch")[2].strip() for line in tsr("jobs", "list", check=True).out.splitlines()]
    assert told == ["waits to load 'anime' on gpu0", "photo is loaded on gpu0", "could not be loaded:"]
    fake.answers["jobs.get"] = QUEUED[1]
    shown = tsr("jobs", "show", "third", check=True).out
    assert "place    3 in the likely order\nwaits    waits to load 'anime' on gpu0\n" in shown


# On a real server


@pytest.fixture(scope="module")
def remote(fake_server: Server) -> tuple[str, str]:
    return "--remote", fake_server.url


def test_a_real_fleet_is_shown_here_and_there(
    tsr: Commands, fake_server: Server, remote: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tsr("generate", PROMPT, "--size", "64x64", "--steps", "1", *remote, check=True)
    (there,) = tsr.json("ps", *remote)["items"]
    assert (there["name"], there["kind"], there["state"], there["model"]) == ("engine", "process", "ready", "shapes")
    assert there["memory"] > 10_000_000
    monkeypatch.setenv("TSR_ENGINE", str(FAKE_ENGINE))
    (here,) = tsr.json("ps")["items"]
    assert set(here) == set(there)
    assert (here["name"], here["kind"], here["state"]) == ("engine", "process", "stopped")
    assert tsr("ps").err.startswith("nothing is loaded: ")
    assert tsr.json("jobs", "list", "--plan", *remote)["items"] == tsr.json("jobs", "list", "--plan")["items"] == []


def test_without_an_engine_the_way_to_one_is_told(tsr: Commands, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TSR_ENGINE", str(tmp_path / "nothing"))
    done = tsr("ps", check=True)
    assert done.out.splitlines()[0].split() == ["engine", "process", "missing", "-", "-", "-"]
    assert done.err == "get an engine: tsr engine install\n"


def test_real_logs_are_printed_and_refused(tsr: Commands, remote: tuple[str, str]) -> None:
    said = tsr("logs", *remote, check=True).out
    assert " loading tensors completed" in said
    assert tsr("logs", "engine", "-n", "1", *remote, check=True).out == said.splitlines()[-1] + "\n"
    assert tsr("logs", "nope", *remote).code == 3
    assert tsr("logs", "-n", "-1", *remote).code == 2
    assert tsr("logs") == Outcome(1, "", "error: without a server no engine is running\nhint:  tsr serve\n")


@pytest.fixture
def following(remote: tuple[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`tsr logs -f --json` of a server, as people run it."""
    command = [sys.executable, "-m", "tensors", "logs", "-f", "-n", "1", "--json", *remote]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_logs_are_followed_until_ctrl_c(
    tsr: Commands, following: subprocess.Popen[str], remote: tuple[str, str]
) -> None:
    assert following.stdout
    first = json.loads(following.stdout.readline())
    tsr("generate", PROMPT, "--size", "64x64", "--steps", "1", *remote, check=True)
    second = json.loads(following.stdout.readline())
    assert (second["backend"], second["seq"]) == ("engine", first["seq"] + 1)
    following.send_signal(signal.SIGINT)
    out, err = following.communicate(timeout=20)
    assert following.returncode == 130
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "job_cancelled"
    assert "Traceback" not in err

"""`tsr events`: what a server tells, a line each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from commands import Commands
from conftest import Server
from fake_tensors import FakeTensors
from galleries import CAT, lay_out
from library_samples import NASTY_SHOWN
from observe import small
from test_cli_images import DRAWN

from tensors.errors import ServerUnreachable
from tensors.types.gallery import ImageEdit
from tensors.types.generation import MAX_STEPS
from tensors.types.jobs import ErrorInfo, Happening, JobEvent, Progress


@contextmanager
def told(server: Server, *options: str) -> Iterator[Callable[[Callable[[str], bool]], list[str]]]:
    """`tsr events` as a process; what is yielded reads lines up to the first that is as wanted."""
    command = [sys.executable, "-m", "tensors", "events", "--remote", server.url, *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    assert process.stdout
    assert process.stderr

    def until(wanted: Callable[[str], bool]) -> list[str]:
        lines: list[str] = []
        for line in process.stdout or ():
            lines.append(line)
            if wanted(line):
                return lines
        raise AssertionError(f"it ended before that: {lines}")

    yield until
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in out + err


def test_all_that_happens_is_told_until_ctrl_c(fake_server: Server, tmp_path: Path) -> None:
    files, client = lay_out(tmp_path / "made"), fake_server.client()
    waiting = client.generate(small(steps=MAX_STEPS, batch_size=256), detach=True)
    with told(fake_server, "--json") as documents, told(fake_server) as lines:
        # First come the jobs that have not ended: it listens from then on.
        for until in (documents, lines):
            until(lambda line: waiting.id in line)
        client.jobs.cancel(waiting.id)
        client.images.import_file(files[CAT].read_bytes(), created="2023-11-14T22:13:20Z", tags=("in",))
        client.images.edit(CAT, ImageEdit(rating=2))
        client.images.delete(CAT)
        found = [
            msgspec.json.decode(line, type=Happening) for line in documents(lambda line: '"change":"deleted"' in line)
        ]
        assert [(each.change, each.image.id) for each in found if each.image] == [
            ("imported", CAT),
            ("edited", CAT),
            ("deleted", CAT),
        ]
        assert [each.job.state for each in found if each.job][-1] == "cancelled"
        rows = lines(lambda line: "deleted" in line)
        assert any(row.split()[:4] == ["job", waiting.id, "generate", "cancelled"] for row in rows)
        assert rows[-2] == f"image  edited     {CAT}  64x48  dreamer  ★★  a cat on a mat  [in]\n"
    client.close()


RUNNING = JobEvent(
    seq=2, job="j", kind="generate", state="running", progress=Progress(phase="sampling", step=3, steps=9)
)


@pytest.mark.parametrize(
    ("happening", "line"),
    [
        (Happening(job=RUNNING), "job    j  generate  running    sampling, step 3/9"),
        (Happening(job=replace(RUNNING, state="succeeded")), "job    j  generate  succeeded"),
        (
            Happening(job=replace(RUNNING, kind="scan", state="failed", error=ErrorInfo(code="x", message="no\nway"))),
            "job    j  scan      failed     no",
        ),
        (Happening(change="saved", image=DRAWN), f"image  saved      {DRAWN.id}  64x64  shapes  {NASTY_SHOWN}"),
    ],
    ids=["running", "succeeded", "failed", "saved"],
)
def test_each_is_one_line(
    capsys: pytest.CaptureFixture[str],
    fake: FakeTensors,
    monkeypatch: pytest.MonkeyPatch,
    happening: Happening,
    line: str,
) -> None:
    def events() -> Iterator[Happening]:
        yield happening

    monkeypatch.setattr(fake, "events", events, raising=False)
    done = Commands(capsys)("events")
    # That a server ends is no success: somebody wanted to hear more.
    assert (done.code, done.err) == (ServerUnreachable.exit_code, "error: the server has ended\nhint:  tsr status\n")
    said, *rest = done.out.splitlines()
    assert (said.replace("  ", " "), rest) == (line.replace("  ", " "), [])
    documents = [json.loads(row) for row in Commands(capsys)("events", "--json").out.splitlines()]
    assert (msgspec.convert(documents[0], Happening), documents[1]["error"]["code"]) == (happening, "unreachable")


def test_without_a_server_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    done = Commands(capsys)("events", "--remote", "local")
    assert (done.code, done.out) == (1, "")
    assert done.err.endswith("hint:  tsr serve\n")

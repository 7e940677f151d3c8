"""Engines that outlived the tsr that started them, where the kernel does not end them: by their notes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Tsr
from observe import PROMPT, is_gone

from tensors.engines.leftovers import EngineNote, end_leftovers

CRASHED_OWNER = """
import subprocess, sys
from pathlib import Path
from tensors.engines.leftovers import EngineNote
# It must not hold our pipes open: whoever started us waits for their end.
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], **quiet)
EngineNote(Path(sys.argv[1]), engine.pid)
print(engine.pid)
"""


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "data" / "run"


@pytest.fixture
def orphan(run_dir: Path) -> Iterator[psutil.Process]:
    """An engine whose owner has ended without a word."""
    owner = subprocess.run([sys.executable, "-c", CRASHED_OWNER, run_dir], capture_output=True, text=True, check=True)
    engine = psutil.Process(int(owner.stdout))
    yield engine
    if engine.is_running():
        engine.kill()


def only_note(run_dir: Path) -> Path:
    (note,) = run_dir.glob("engine-*.json")
    return note


def test_an_engine_whose_owner_is_gone_is_ended(run_dir: Path, orphan: psutil.Process) -> None:
    assert end_leftovers(run_dir) == [orphan.pid]
    assert is_gone(orphan.pid)
    assert list(run_dir.iterdir()) == []
    assert end_leftovers(run_dir) == []


def test_the_next_tsr_does_it_before_it_draws(
    run_dir: Path, orphan: psutil.Process, fake_engine: Path, tsr: Tsr
) -> None:
    tsr("generate", PROMPT, "--size", "64x64", check=True)
    assert is_gone(orphan.pid)
    assert list(run_dir.glob("engine-*.json")) == []


def test_an_engine_whose_owner_lives_is_left_alone(run_dir: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as engine:
        note = EngineNote(run_dir, engine.pid)
        assert end_leftovers(run_dir) == []
        assert engine.poll() is None
        note.remove()
        assert list(run_dir.iterdir()) == []
        note.remove()
        engine.kill()


@pytest.mark.parametrize("whose", ["engine", "owner"])
def test_a_pid_that_belongs_to_somebody_else_now_is_no_proof(run_dir: Path, orphan: psutil.Process, whose: str) -> None:
    """Of the engine: it is not touched. Of the owner: that one is gone all the same."""
    note = only_note(run_dir)
    document = json.loads(note.read_text("utf-8"))
    if whose == "engine":
        document["engine"]["created"] -= 3600
    else:
        document["owner"] = {"pid": psutil.Process().pid, "created": psutil.Process().create_time() - 3600}
    note.write_text(json.dumps(document), "utf-8")
    assert end_leftovers(run_dir) == ([] if whose == "engine" else [orphan.pid])
    assert is_gone(orphan.pid) == (whose == "owner")
    assert list(run_dir.iterdir()) == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"engine": {"pid": 1}}', "\0"])
def test_a_note_that_cannot_be_read_ends_nothing(run_dir: Path, content: str) -> None:
    run_dir.mkdir(parents=True)
    (run_dir / "engine-1.json").write_text(content, "utf-8")
    assert end_leftovers(run_dir) == []


def test_an_engine_that_has_ended_at_once_needs_no_note(run_dir: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    EngineNote(run_dir, ended.pid).remove()
    assert list(run_dir.iterdir()) == []

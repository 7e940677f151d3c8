"""kill -9 in the middle of a scan, and two scans of one folder at once: the library ends as after one scan in peace."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from scanning import LARGE, Shelf, dump, model_bytes, write

from tensors.db.database import Database

NEVER = 0
ROUNDS = 12


@dataclass(frozen=True)
class Scene:
    """A library that does not know yet what has become of its files."""

    shelf: Shelf
    expected: Mapping[str, Sequence[object]]
    """What it knows after a scan."""
    statements: int
    """That a scan takes."""

    def library(self, name: str) -> Path:
        """A copy of the library as it was before."""
        path = self.shelf.place / name / "models.db"
        path.parent.mkdir()
        shutil.copyfile(self.shelf.place / "before.db", path)
        return path


def start(library: Path, root: Path, *, statement: int = NEVER, report: int = NEVER) -> subprocess.Popen[str]:
    """A process that is about to scan."""
    script = Path(__file__).parent / "scan_in_process.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(library), str(root), str(statement), str(report)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def run(*processes: subprocess.Popen[str]) -> list[str]:
    """Let them scan, at once; what each printed at its end."""
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [process.communicate(timeout=60)[0] for process in processes]


def kill_in_the_middle(library: Path, root: Path, **moment: int) -> bool:
    """Scan, and be killed at that moment unless it is over by then. Whether it was killed."""
    process = start(library, root, **moment)
    (said,) = run(process)
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode != 0


def finished(library: Path, root: Path) -> Mapping[str, Sequence[object]]:
    """What the library knows after one more scan."""
    process = start(library, root)
    run(process)
    assert process.returncode == 0
    with closing(Database(library)) as database:
        assert database.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return dump(database)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Files of every fate: new, changed, touched, renamed, on another disk now, gone, back again, broken."""
    shelf = Shelf(tmp_path)
    root = shelf.root
    for number in range(12):
        write(root / f"old/{number:02}.safetensors", model_bytes(number, weights=LARGE * (number % 2)))
    write(root / "old/03.civitai.info", b'{"id": 3}')
    shelf.scan()
    for number in range(12):
        shelf.say(f"models/old/{number:02}.safetensors", "pony" if number % 3 else "illustrious")
        shelf.link(f"models/old/{number:02}.safetensors", 100 + number, matched_by="sha256" if number % 4 else "user")
    aside = [path.rename(tmp_path / path.name) for path in (root / "old/00.safetensors", root / "old/01.safetensors")]
    shelf.scan()
    shelf.close()
    shutil.copyfile(tmp_path / "models.db", tmp_path / "before.db")
    for path in aside:
        path.rename(root / "old" / path.name)
    moves = {2: "aa/renamed", 3: "zz/03", 4: "aa/elsewhere", 5: "zz/elsewhere"}
    for number, target in moves.items():
        source = root / f"old/{number:02}.safetensors"
        (root / target).parent.mkdir(exist_ok=True)
        if number < 4:
            source.rename(root / f"{target}.safetensors")
        else:
            shutil.copy2(source, root / f"{target}.safetensors")
            source.unlink()
    for number in (6, 7):
        write(root / f"old/{number:02}.safetensors", model_bytes(100 + number, weights=LARGE * (number % 2)))
    os.utime(root / "old/08.safetensors", ns=(5, 5))
    os.utime(root / "old/09.safetensors", ns=(5, 5))
    (root / "old/10.safetensors").unlink()
    (root / "old/11.safetensors").unlink()
    for number in range(20, 30):
        write(root / f"new/{number}.safetensors", model_bytes(number, weights=LARGE * (number % 2)))
        write(root / f"new/{number}.preview.png", b"p")
    write(root / "new/broken.gguf", b"")
    quiet = tmp_path / "quiet.db"
    shutil.copyfile(tmp_path / "before.db", quiet)
    (said,) = run(start(quiet, root))
    with closing(Database(quiet)) as database:
        yield Scene(shelf, dump(database), int(said.split()[0]))


def test_a_killed_scan_goes_on_where_it_was(scene: Scene) -> None:
    """In each round it is killed twice, before some statement; the second time while it makes good the first."""
    assert scene.statements > 100
    choose = random.Random(3)
    for number in range(ROUNDS):
        library = scene.library(f"round-{number}")
        first = choose.randint(1, scene.statements)
        assert kill_in_the_middle(library, scene.shelf.root, statement=first)
        second = choose.randint(1, scene.statements)
        kill_in_the_middle(library, scene.shelf.root, statement=second)
        assert finished(library, scene.shelf.root) == scene.expected, (first, second)


def test_a_scan_that_is_killed_while_it_hashes_goes_on_with_what_is_left(scene: Scene) -> None:
    library = scene.library("hashing")
    assert kill_in_the_middle(library, scene.shelf.root, report=1)
    assert finished(library, scene.shelf.root) == scene.expected


def test_a_scan_may_be_killed_at_any_time(scene: Scene) -> None:
    choose = random.Random(4)
    library = scene.library("anytime")
    killed = 0
    for _ in range(ROUNDS):
        process = start(library, scene.shelf.root)
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        time.sleep(choose.uniform(0, 0.08))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    assert finished(library, scene.shelf.root) == scene.expected


def test_two_scans_at_once_end_as_one(scene: Scene) -> None:
    for number in range(4):
        library = scene.library(f"pair-{number}")
        processes = [start(library, scene.shelf.root) for _ in range(2)]
        run(*processes)
        assert [process.returncode for process in processes] == [0, 0]
        assert finished(library, scene.shelf.root) == scene.expected


def test_two_first_scans_at_once_make_one_library(scene: Scene) -> None:
    library = scene.shelf.place / "first" / "models.db"
    processes = [start(library, scene.shelf.root) for _ in range(2)]
    run(*processes)
    assert [process.returncode for process in processes] == [0, 0]
    again = scene.shelf.place / "again" / "models.db"
    assert finished(library, scene.shelf.root) == finished(again, scene.shelf.root)

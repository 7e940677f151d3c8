"""Whatever is done to a folder between scans: the library says what a simple model of its rules says."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from scanning import Shelf, dump, model_bytes

NAMES = [f"{folder}{name}.safetensors" for folder in ("", "a/", "b/") for name in "xyz"]
STORE = ["1.safetensors", "2.safetensors"]
"""Files outside the scanned folder, which links may point to."""

Identity = tuple[int, int, int]
"""Inode, time, size."""


class Seen(NamedTuple):
    """A file on disk."""

    identity: Identity
    sha256: str


@dataclass(frozen=True)
class Known:
    """A row as it should be."""

    number: int
    """In the order in which rows were made."""
    path: str
    seen: Seen
    word: str | None = None
    is_missing: bool = False


@dataclass
class Model:
    """The rules of a scan, said as simply as can be."""

    rows: list[Known] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def say(self, path: str, word: str) -> None:
        self.rows = [replace(row, word=word) if row.path == path else row for row in self.rows]

    def scan(self, found: dict[str, Seen]) -> None:
        """`found` is in the order in which a scan goes through it."""
        there = [replace(row, seen=found[row.path], is_missing=False) for row in self.rows if row.path in found]
        gone = [row for row in self.rows if row.path not in found]
        taken = {row.path for row in there}
        new = [Known(next(self._numbers), path, seen) for path, seen in found.items() if path not in taken]
        # By identity first, then by content: files of the same name before others, the oldest row first.
        for same in (
            lambda old, other: old.identity == other.identity,
            lambda old, other: old.sha256 == other.sha256,
        ):
            pairs = [(old, other) for old in gone for other in new if same(old.seen, other.seen)]
            for old, other in sorted(pairs, key=_order):
                if old in gone and other in new:
                    gone.remove(old)
                    new.remove(other)
                    there.append(replace(old, path=other.path, seen=other.seen, is_missing=False))
        self.rows = [*there, *new, *(replace(row, is_missing=True) for row in gone)]


def _order(pair: tuple[Known, Known]) -> tuple[bool, int, str, str]:
    old, new = pair
    folder, name = os.path.split(new.path)
    return os.path.basename(old.path) != name, old.number, folder, name


@dataclass
class Disk:
    """The scanned folder; each file that is written gets a time of its own."""

    root: Path
    store: Path
    _times: itertools.count[int] = field(default_factory=lambda: itertools.count(1_700_000_000))

    def write(self, path: Path, content: int) -> None:
        if path.is_symlink():
            path.unlink()
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(model_bytes(content))
        self.touch(path)

    def touch(self, path: Path) -> None:
        moment = next(self._times) * 10**9
        os.utime(path, ns=(moment, moment))

    def snapshot(self) -> dict[str, Seen]:
        """What a scan sees, in its order; of several links to one file it takes the first."""
        found: dict[str, Seen] = {}
        linked: set[int] = set()
        for folder in ("", "a", "b"):
            for path in sorted((self.root / folder).glob("*.safetensors"), key=lambda path: path.name):
                inode = path.stat().st_ino
                if path.is_symlink():
                    if inode in linked or path.resolve().is_relative_to(self.root):
                        continue
                    linked.add(inode)
                found[str(path.relative_to(self.root))] = Seen(
                    (inode, path.stat().st_mtime_ns, path.stat().st_size), hashlib.sha256(path.read_bytes()).hexdigest()
                )
        return found


paths = st.sampled_from(NAMES)
contents = st.integers(0, 3)
steps = st.one_of(
    st.tuples(st.just("write"), paths, contents),
    st.tuples(st.just("move"), paths, paths),
    st.tuples(st.just("move to another disk"), paths, paths),
    st.tuples(st.just("copy"), paths, paths),
    st.tuples(st.just("hard link"), paths, paths),
    st.tuples(st.just("touch"), paths, st.none()),
    st.tuples(st.just("delete"), paths, st.none()),
    st.tuples(st.just("link"), paths, st.sampled_from(STORE)),
    st.tuples(st.just("link within"), paths, paths),
    st.tuples(st.just("say"), paths, st.none()),
    st.tuples(st.just("scan"), st.none(), st.none()),
)
Step = tuple[str, str | None, object]


def do(disk: Disk, what: str, path: Path, other: object) -> None:
    """One step on disk, where it is possible."""
    target = disk.root / other if isinstance(other, str) else path
    target.parent.mkdir(exist_ok=True)
    is_file = path.is_file() and not path.is_symlink()
    if what == "write" and isinstance(other, int):
        disk.write(path, other)
    elif what == "delete":
        path.unlink(missing_ok=True)
    elif what == "link" and not os.path.lexists(path):
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(disk.store / str(other))
    elif is_file and what == "touch":
        disk.touch(path)
    elif is_file and path != target and what == "move":
        path.rename(target)
    elif is_file and not os.path.lexists(target):
        if what == "link within":
            target.symlink_to(path)
        elif what == "hard link":
            target.hardlink_to(path)
        elif what in ("copy", "move to another disk"):
            shutil.copy2(path, target)
            if what != "copy":
                path.unlink()


def scanned(shelf: Shelf, model: Model, disk: Disk) -> None:
    """Scan with both, and compare."""
    for link in list(disk.root.rglob("*.safetensors")):
        # Those that a step has broken are a problem each, and no part of the model.
        if link.is_symlink() and not link.exists():
            link.unlink()
    model.scan(disk.snapshot())
    report = shelf.scan()
    assert report.problems == ()
    expected = {f"models/{row.path}": (row.word, row.is_missing, row.seen.sha256) for row in model.rows}
    rows = shelf.rows().items()
    assert {path: (row.user_family, row.is_missing, row.sha256) for path, row in rows} == expected
    assert report.files == sum(not row.is_missing for row in model.rows)
    assert shelf.query("SELECT * FROM undecided") == []
    before = dump(shelf.database)
    again = shelf.scan()
    assert (again.added, again.changed, again.moved, again.returned, again.missing, again.hashed) == (0, 0, 0, 0, 0, 0)
    assert dump(shelf.database) == before


@settings(max_examples=150)
@given(st.lists(steps, min_size=5, max_size=25))
def test_any_history_ends_as_the_rules_say(history: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as place:
        shelf = Shelf(Path(place).resolve())
        disk = Disk(shelf.root, shelf.place / "store")
        disk.store.mkdir()
        model = Model()
        for number, name in enumerate(STORE):
            disk.write(disk.store / name, 10 + number)
        words = itertools.count()
        for what, path, other in history:
            if what == "scan":
                scanned(shelf, model, disk)
            elif what == "say" and path is not None:
                word = f"word {next(words)}"
                model.say(path, word)
                for row in shelf.query(
                    "SELECT id FROM files WHERE directory || '/' || name = ?", f"{disk.root}/{path}"
                ):
                    shelf.query("UPDATE files SET user_family = ? WHERE id = ?", word, row[0])
            elif path is not None:
                do(disk, what, disk.root / path, other)
        scanned(shelf, model, disk)
        shelf.close()

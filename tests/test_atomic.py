"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from power_cuts import cut_short

from tensors.atomic import TEMPORARY_SUFFIX, create_atomic, write_atomic

NEW = b"new state " * 1000


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file.json"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("write", [write_atomic, create_atomic])
@pytest.mark.parametrize("data", [b"", b"x", NEW])
def test_the_file_has_the_bytes_and_nothing_lies_beside_it(write: Any, data: bytes, target: Path) -> None:
    write(target, data)
    assert target.read_bytes() == data
    assert names(target.parent) == [target.name]


def test_writing_replaces_and_creating_does_not(target: Path) -> None:
    create_atomic(target, b"old")
    with pytest.raises(FileExistsError):
        create_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    write_atomic(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("write", [write_atomic, create_atomic])
def test_a_secret_is_never_readable_by_others(write: Any, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    original = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            modes.append(stat.S_IMODE(os.fstat(handle).st_mode))
        original(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write(target, b"key", mode=0o600)
    assert modes == [0o600]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("write", [write_atomic, create_atomic])
def test_bytes_are_on_disk_before_the_name_and_the_name_after(
    write: Any, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def record(name: str, original: Any) -> Any:
        def call(*arguments: Any) -> None:
            of_folder = name == "fsync" and stat.S_ISDIR(os.fstat(arguments[0]).st_mode)
            order.append("fsync folder" if of_folder else name)
            original(*arguments)

        return call

    for name, original in (("fsync", fsync), ("replace", replace), ("link", link)):
        monkeypatch.setattr(os, name, record(name, original))
    write(target, NEW)
    assert order == ["fsync", "replace" if write is write_atomic else "link", "fsync folder"]


@given(sizes=st.lists(st.integers(1, 7), min_size=1))
def test_a_disk_that_takes_a_part_at_a_time_gets_all(sizes: list[int]) -> None:
    original = os.write
    turns = iter(sizes * 100)
    target = Path(os.environ["HOME"]) / "file"
    target.parent.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(os, "write", lambda handle, data: original(handle, data[: next(turns)]))
        write_atomic(target, bytes(range(100)))
    assert target.read_bytes() == bytes(range(100))


@pytest.mark.parametrize(
    ("write", "failing"),
    [
        (write_atomic, "write"),
        (write_atomic, "fsync"),
        (write_atomic, "replace"),
        (create_atomic, "write"),
        (create_atomic, "fsync"),
        (create_atomic, "link"),
    ],
)
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_state_and_no_litter(
    write: Any, failing: str, error: BaseException, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if write is write_atomic:
        target.write_bytes(b"old")
    before = names(target.parent)

    def fail(*_arguments: object) -> None:
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)):
        write(target, NEW)
    assert names(target.parent) == before
    assert [path.read_bytes() for path in target.parent.iterdir()] == [b"old"] * len(before)


def _replace(folder: Path) -> None:
    write_atomic(folder / "file", NEW)


def _create(folder: Path) -> None:
    create_atomic(folder / "file", NEW)


@pytest.mark.parametrize(("work", "old"), [(_replace, b"old"), (_create, None)])
def test_a_power_cut_at_any_step_leaves_old_or_new(work: Any, old: bytes | None, tmp_path: Path) -> None:
    prepared, folder = tmp_path / "prepared", tmp_path / "cut"
    prepared.mkdir()
    folder.mkdir()
    if old is not None:
        (prepared / "file").write_bytes(old)
    states = []
    for copy in cut_short(work, prepared, folder):
        litter = [name for name in names(copy) if name != "file"]
        assert all(name.startswith(".") and name.endswith(TEMPORARY_SUFFIX) for name in litter)
        states.append((copy / "file").read_bytes() if (copy / "file").exists() else None)
    assert set(states) == {old, NEW}
    assert states == sorted(states, key=lambda state: state == NEW)


def test_of_many_creators_exactly_one_wins(target: Path) -> None:
    def create(number: int) -> int | None:
        try:
            create_atomic(target, str(number).encode())
        except FileExistsError:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(create, range(32)) if number is not None]
    assert [int(target.read_bytes())] == winners
    assert names(target.parent) == [target.name]


def test_where_there_are_no_hard_links_names_are_still_taken_once(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    create_atomic(target, b"first")
    with pytest.raises(FileExistsError):
        create_atomic(target, b"second")
    assert target.read_bytes() == b"first"
    assert list(target.parent.iterdir()) == [target]

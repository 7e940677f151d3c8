"""Files read once: what becomes of the page cache, and what is no file."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tensors import hashing, source
from tensors.source import Source, regular

needs_advice = pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="there is no posix_fadvise on this system")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(250)) * 400)
    return path


@pytest.fixture
def advice(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Start, length and kind of each piece of advice the kernel gets."""
    given: list[tuple[int, int, int]] = []
    monkeypatch.setattr(source, "_STEP", 1000)
    monkeypatch.setattr(os, "posix_fadvise", lambda _, *advice: given.append(advice))
    return given


def pretend(monkeypatch: pytest.MonkeyPatch, *, cached: bool) -> None:
    monkeypatch.setattr(source, "_mostly_cached", lambda file, size: cached)


def read_all(opened: Source) -> bytes:
    buffer = memoryview(bytearray(300))
    whole = b""
    while count := opened.read(buffer):
        whole += buffer[:count]
    opened.close()
    return whole


@needs_advice
def test_what_was_read_is_dropped_behind_the_reader(
    file: Path, advice: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cached=False)
    assert read_all(Source(file, 100_000, drop=True)) == file.read_bytes()
    assert advice.pop(0) == (0, 0, os.POSIX_FADV_SEQUENTIAL)
    assert advice.pop() == (0, 0, os.POSIX_FADV_DONTNEED)
    assert advice == [(start, 1000, os.POSIX_FADV_DONTNEED) for start in range(0, 99_000, 1000)]


@needs_advice
@pytest.mark.parametrize(("cached", "drop"), [(True, True), (False, False), (True, False)])
def test_what_was_there_or_is_wanted_stays(
    cached: bool, drop: bool, file: Path, advice: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cached=cached)
    assert read_all(Source(file, 100_000, drop=drop)) == file.read_bytes()
    assert advice == [(0, 0, os.POSIX_FADV_SEQUENTIAL)]


@needs_advice
def test_a_file_given_up_halfway_is_dropped_too(
    file: Path, advice: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cached=False)
    opened = Source(file, 100_000, drop=True)
    opened.read(memoryview(bytearray(10)))
    opened.close()
    assert advice[-1] == (0, 0, os.POSIX_FADV_DONTNEED)


@needs_advice
@pytest.mark.parametrize(
    ("hashed", "size", "dropped"),
    [(hashing.hash_file, 10_001, True), (hashing.hash_file, 10_000, False), (hashing.sha256_of, 10_001, False)],
)
def test_large_files_that_are_hashed_are_dropped(
    hashed: Callable[[Path], object],
    size: int,
    dropped: bool,
    file: Path,
    advice: list[tuple[int, int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, cached=False)
    monkeypatch.setattr(hashing, "_SMALL", 10_000)
    os.truncate(file, size)
    hashed(file)
    assert ((0, 0, os.POSIX_FADV_DONTNEED) in advice) is dropped


@needs_advice
def test_a_refused_advice_does_no_harm(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    pretend(monkeypatch, cached=False)
    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert read_all(Source(file, 100_000, drop=True)) == file.read_bytes()


@pytest.mark.parametrize("missing", ["posix_fadvise", "RWF_NOWAIT"])
def test_a_system_that_cannot_do_it_goes_without(missing: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, missing, raising=False)
    assert read_all(Source(file, 100_000, drop=True)) == file.read_bytes()


needs_answer = pytest.mark.skipif(
    not hasattr(os, "RWF_NOWAIT"), reason="this system does not tell what it has in its page cache"
)


@needs_answer
@pytest.mark.parametrize(("cached", "answer"), [(0, False), (7, False), (8, True), (16, True)])
@pytest.mark.parametrize("size", [1000, 10**12])
def test_half_of_the_places_tell(cached: int, answer: bool, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def preadv(file: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        assert flags == os.RWF_NOWAIT
        asked.append(offset)
        if len(asked) <= cached:
            return 1
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "preadv", preadv)
    assert source._mostly_cached(0, size) is answer
    assert asked == sorted(set(asked))
    assert size / 16 > asked[0] > 0
    assert size > asked[-1] > size - size / 16


@needs_advice
@needs_answer
def test_a_file_is_in_the_page_cache_afterwards_if_it_was_before(file: Path) -> None:
    size = os.stat(file).st_size
    handle = os.open(file, os.O_RDONLY)
    try:
        # Written just now.
        assert source._mostly_cached(handle, size)
        read_all(Source(file, size, drop=True))
        assert source._mostly_cached(handle, size)
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        if source._mostly_cached(handle, size):
            pytest.skip("the temporary folder is memory: its files are always cached")
        # The question itself brought some pages.
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        read_all(Source(file, size, drop=True))
        assert not source._mostly_cached(handle, size)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        read_all(Source(file, size, drop=False))
        assert source._mostly_cached(handle, size)
    finally:
        os.close(handle)


def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    opened = Source(path, 100, drop=True)
    assert opened.read(memoryview(bytearray(10))) == 0
    opened.close()
    with pytest.raises(OSError, match="Not a regular file"):
        regular(path)

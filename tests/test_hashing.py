"""Hashes of model files: their values, what ends them early, and when they are computed again."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import psutil
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

import tensors
from tensors import hashing
from tensors.hashing import (
    FileChanged,
    Hashes,
    HashingStopped,
    autov3_of,
    hash_bytes,
    hash_file,
    hash_files,
    sha256_of,
)
from tensors.source import Source

HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
SAFETENSORS = struct.pack("<Q", len(HEADER)) + HEADER + b"\1\2\3\4"
BLOCK = 64
SMALL = 32
LONG_AGO = 10**18
"""A time of modification (in ns) that no change made by a test can have."""


def expected(data: bytes, data_start: int | None = None) -> Hashes:
    """The same from the standard library, where it has them, and all at once."""
    return Hashes(
        sha256=hashlib.sha256(data).hexdigest(),
        blake3=blake3(data).hexdigest(),
        crc32=f"{zlib.crc32(data):08x}",
        autov3=None if data_start is None else hashlib.sha256(data[data_start:]).hexdigest(),
    )


def content(size: int) -> bytes:
    """Bytes of which no two blocks are alike."""
    return hashlib.shake_128(b"content").digest(size)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Neither a thread nor an open file, whatever happened."""
    threads, process = set(threading.enumerate()), psutil.Process()
    files = process.num_fds()
    yield
    assert set(threading.enumerate()) <= threads
    assert process.num_fds() == files


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes at which a file of a few hundred bytes is a large one."""
    monkeypatch.setattr(hashing, "_BLOCK", BLOCK)
    monkeypatch.setattr(hashing, "_SMALL", SMALL)
    monkeypatch.setattr(hashing, "_STEP", BLOCK)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def make(size: int, name: str = "file.bin") -> Path:
        path = tmp_path / name
        path.write_bytes(content(size))
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
        return path

    return make


Make = Callable[..., Path]


def test_the_hashes_are_the_published_ones() -> None:
    """SHA256 of FIPS 180-4, CRC32's check value, BLAKE3 of its own test vectors."""
    assert hash_bytes(b"abc").sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hash_bytes(b"abc").autov2 == "ba7816bf8f"
    assert hash_bytes(b"123456789").crc32 == "cbf43926"
    assert hash_bytes(b"").crc32 == "00000000"
    assert hash_bytes(b"").blake3 == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert hash_bytes(b"abc").autov3 is None
    assert hash_bytes(b"..abc", data_start=2).autov3 == hash_bytes(b"abc").sha256


def test_the_demo_lora_has_its_recorded_hashes() -> None:
    lora = Path(tensors.__file__).parent / "demo" / "loras" / "shapes-outline.safetensors"
    (length,) = struct.unpack("<Q", lora.read_bytes()[:8])
    found = hash_file(lora, data_start=8 + length)
    assert found.autov2 == "3f30415a83"
    assert found.autov3 == autov3_of(lora)
    # A1111's name for it is the first 12.
    assert found.autov3 == "6780e3cd60df2e3800567505d19375e1deff02d089d44e32b6284b15a8e854df"


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    "size", [0, 1, SMALL, SMALL + 1, BLOCK - 1, BLOCK, BLOCK + 1, 4 * BLOCK, 4 * BLOCK + 1, 9 * BLOCK, 1000]
)
def test_the_hashes_of_a_file_are_those_of_its_bytes(size: int, make: Make) -> None:
    path, data = make(size), content(size)
    for data_start in {None, 0, min(1, size), min(BLOCK, size), max(size - 1, 0), size}:
        assert hash_file(path, data_start=data_start) == expected(data, data_start)
        assert hash_bytes(data, data_start=data_start) == expected(data, data_start)


@given(data=st.data(), size=st.integers(0, 300), block=st.integers(1, 64), small=st.integers(0, 100))
def test_blocks_leave_no_trace_in_the_hashes(data: st.DataObject, size: int, block: int, small: int) -> None:
    data_start = data.draw(st.none() | st.integers(0, size))
    path = Path(os.environ["HOME"]) / "file"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content(size))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_BLOCK", block)
        patch.setattr(hashing, "_SMALL", small)
        assert hash_file(path, data_start=data_start) == expected(content(size), data_start)


def test_a_file_of_several_real_blocks(make: Make) -> None:
    size = 5 * hashing._BLOCK + 12345
    heard: list[int] = []
    assert hash_file(make(size), data_start=1000, progress=heard.append) == expected(content(size), 1000)
    assert heard == [16 * 2**20, size - 16 * 2**20]


def test_memory_does_not_follow_the_size_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # tracemalloc does not see memory that comes right from the system.
    monkeypatch.setattr(hashing, "_memory", lambda: memoryview(bytearray(hashing._BLOCK)))
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(256 * 2**20)
    hash_file(path, data_start=0)
    tracemalloc.start()
    try:
        hash_file(path, data_start=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 17 * 2**20


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("size", [SMALL, 1000])
def test_a_start_outside_the_file_is_refused(size: int, make: Make) -> None:
    with pytest.raises(FileChanged):
        hash_file(make(size), data_start=size + 1)
    with pytest.raises(ValueError, match="cannot begin at"):
        hash_bytes(content(size), data_start=size + 1)
    for hashed in (lambda: hash_file(make(size), data_start=-1), lambda: hash_bytes(b"", data_start=-1)):
        with pytest.raises(ValueError, match="cannot begin at -1"):
            hashed()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("size", [1, SMALL, BLOCK, 10 * BLOCK + 7])
def test_progress_counts_every_byte_once_and_not_too_often(size: int, make: Make) -> None:
    heard: list[int] = []
    hash_file(make(size), progress=heard.append)
    assert sum(heard) == size
    assert all(count >= BLOCK for count in heard[:-1])


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def append_quietly(path: Path) -> None:
    append(path)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("size", [SMALL, 20 * BLOCK])
@pytest.mark.parametrize("change", [append, append_quietly, overwrite, replace, lambda path: os.truncate(path, 10)])
def test_a_file_that_changes_meanwhile_has_no_hashes(change: Callable[[Path], None], size: int, make: Make) -> None:
    path, changed = make(size), []

    def progress(_: int) -> None:
        if not changed:
            changed.append(change(path))

    with pytest.raises(FileChanged, match=r"file\.bin.* changed"):
        hash_file(path, progress=progress)
    assert changed


@pytest.mark.usefixtures("tiny")
def test_a_file_that_goes_meanwhile_is_an_os_error(make: Make) -> None:
    path = make(1000)
    with pytest.raises(FileNotFoundError):
        hash_file(path, progress=lambda _: path.unlink(missing_ok=True))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("asked", [1, 2, 5, 9])
def test_stop_is_asked_between_blocks(asked: int, make: Make) -> None:
    turns, heard = count(1), []
    with pytest.raises(HashingStopped):
        hash_file(make(20 * BLOCK), progress=heard.append, stop=lambda: next(turns) == asked)
    assert sum(heard) == (asked - 1) * BLOCK


@pytest.mark.usefixtures("tiny")
def test_an_error_of_the_listener_is_the_callers(make: Make) -> None:
    with pytest.raises(ZeroDivisionError):
        hash_file(make(1000), progress=lambda count: count // 0)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("size", [SMALL, BLOCK, 1000])
def test_an_error_of_a_hash_is_not_lost(size: int, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, block: memoryview) -> None:
        raise MemoryError

    monkeypatch.setattr(hashing._From, "update", broken)
    with pytest.raises(MemoryError):
        hash_file(make(size), data_start=0)


def failing(monkeypatch: pytest.MonkeyPatch, *, at: int) -> None:
    """Let the disk fail at a read of a file called `broken`."""
    original, turns = Source.read, count(1)

    def readv(file: int, buffers: list[memoryview]) -> int:
        raise OSError(errno.EIO, "Input/output error")

    def read(self: Source, buffer: memoryview) -> int:
        if self._path.name != "broken" or next(turns) != at:
            return original(self, buffer)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "readv", readv)
            return original(self, buffer)

    monkeypatch.setattr(Source, "read", read)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("size", "at"), [(SMALL, 1), (1000, 1), (1000, 3), (1000, 10)])
def test_a_disk_that_fails_is_an_os_error_with_the_path(
    size: int, at: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(size, "broken")
    failing(monkeypatch, at=at)
    with pytest.raises(OSError, match="Input/output error") as caught:
        hash_file(path)
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("size", [SMALL, 1000])
def test_a_file_that_ends_before_its_size_is_an_os_error(
    size: int, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = make(size), iter([content(size)[:10]])

    def read(self: Source, buffer: memoryview) -> int:
        piece = next(data, b"")
        buffer[: len(piece)] = piece
        return len(piece)

    monkeypatch.setattr(Source, "read", read)
    with pytest.raises(OSError, match=f"only 10 of {size} bytes") as caught:
        hash_file(path)
    assert caught.value.filename == str(path)


def test_what_is_no_file_is_refused_with_its_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    errors = {"fifo": errno.EINVAL, "folder.safetensors": errno.EISDIR, "none": errno.ENOENT, "loop": errno.ELOOP}
    for name, number in errors.items():
        with pytest.raises(OSError, match=name) as caught:
            hash_file(tmp_path / name)
        assert (caught.value.errno, caught.value.filename) == (number, str(tmp_path / name))
    found = dict(hash_files((name, tmp_path / name, None) for name in errors))
    assert {name: error.errno for name, error in found.items() if isinstance(error, OSError)} == errors


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("size", [SMALL, 1000])
def test_no_permission_is_an_os_error(size: int, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused here by a stand-in: root may read anything."""
    path = make(size)

    def refuse(name: str, flags: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(name))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="file"):
        hash_file(path)


def test_names_that_are_no_text_are_names(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.bin")
    try:
        path.write_bytes(b"abc")
    except OSError as error:
        pytest.skip(f"this file system refuses names that are no text: {error}")
    assert hash_file(path) == expected(b"abc")
    str(FileChanged(path)).encode()


MIXED = [0, 1, SMALL, SMALL + 1, BLOCK, 10 * BLOCK, 1000, 5, 3 * BLOCK - 1, 700]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("threads", [None, 1, 2, 4, 16])
def test_every_file_has_its_result_the_failing_ones_too(
    threads: int | None, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[tuple[int, Path, int | None]] = []
    for number in range(5 * len(MIXED)):
        size = MIXED[number % len(MIXED)]
        wanted.append((number, make(size, str(number)), [None, 0, size // 2, size][number % 4]))
    wanted[7:7] = [(-1, tmp_path / "none", None), (-2, make(1000, "broken"), 10), (-3, make(1000, "short"), 1001)]
    failing(monkeypatch, at=3)
    found = list(hash_files(iter(wanted), threads=threads))
    assert len(found) == len(wanted)
    results = dict(found)
    assert isinstance(results.pop(-1), FileNotFoundError)
    broken = results.pop(-2)
    assert isinstance(broken, OSError)
    assert broken.filename == str(tmp_path / "broken")
    assert isinstance(results.pop(-3), FileChanged)
    assert results == {key: expected(path.read_bytes(), start) for key, path, start in wanted if key >= 0}


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("step", [1, BLOCK, 500, 10_000])
def test_progress_of_many_files_is_of_all_of_them(step: int, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_STEP", step)
    heard: list[int] = []
    list(hash_files([(size, make(size, str(size)), None) for size in MIXED], threads=2, progress=heard.append))
    assert sum(heard) == sum(MIXED)
    assert all(count >= step for count in heard[:-1])


@pytest.mark.usefixtures("tiny")
def test_files_are_asked_for_as_they_are_needed(make: Make) -> None:
    """A list without end, of small and large files: all of them pass through, and none of them is kept."""
    paths = [make(SMALL, "small"), make(10 * BLOCK, "large")]
    asked = []

    def endless() -> Iterator[tuple[int, Path, None]]:
        for number in count():
            asked.append(number)
            yield number, paths[number % 2], None

    with closing(hash_files(endless(), threads=2)) as results:
        for received, (key, result) in enumerate(results, 1):
            assert result == expected(paths[key % 2].read_bytes())
            # 2 at work, 2 waiting for them, the one just asked for, and the small ones between, which are through.
            assert len(asked) - received <= 5
            if received == 500:
                break


@pytest.mark.usefixtures("tiny")
def test_the_caller_hears_of_everything_in_its_own_thread(make: Make) -> None:
    """It may read its list from a database that knows one thread only."""
    threads = set()

    def wanted() -> Iterator[tuple[int, Path, None]]:
        for number in range(20):
            threads.add(threading.current_thread())
            yield number, make(number * BLOCK, str(number)), None

    list(hash_files(wanted(), threads=3, progress=lambda _: threads.add(threading.current_thread())))
    assert threads == {threading.current_thread()}


@pytest.fixture
def endless_file(tmp_path: Path, tiny: None, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, threading.Event]:
    """A file of a terabyte, of which each read gives a block, and what is set when its hashing is under way."""
    path, under_way = tmp_path / "endless", threading.Event()
    with path.open("wb") as file:
        file.truncate(2**40)
    original, turns = Source.read, count()

    def read(self: Source, buffer: memoryview) -> int:
        if self._path == path and next(turns) == 50:
            under_way.set()
        return original(self, buffer)

    monkeypatch.setattr(Source, "read", read)
    return path, under_way


Endless = tuple[Path, threading.Event]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_closed_generator_stops_in_the_middle_of_a_file(threads: int, endless_file: Endless, make: Make) -> None:
    path, under_way = endless_file
    results = hash_files([(0, path, 0), (1, path, None), (2, make(1), None), (3, path, 0)], threads=threads)
    assert next(results) == (2, expected(content(1)))
    assert under_way.wait(60)
    assert any(thread.name.startswith("hash") for thread in threading.enumerate())
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("hash")]


def test_an_error_of_the_caller_stops_everything(endless_file: Endless, make: Make) -> None:
    path, under_way = endless_file

    def caller() -> None:
        for _, result in hash_files([(0, path, None), (1, make(1), None)]):
            assert under_way.wait(60)
            assert result == expected(content(1))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        caller()


def test_an_error_of_the_list_stops_everything(endless_file: Endless) -> None:
    path, under_way = endless_file

    def wanted() -> Iterator[tuple[int, Path, None]]:
        yield 0, path, None
        assert under_way.wait(60)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(hash_files(wanted()))


@pytest.mark.parametrize("threads", [1, 3])
def test_stop_ends_many_files(threads: int, endless_file: Endless) -> None:
    path, under_way = endless_file
    with pytest.raises(HashingStopped):
        list(hash_files([(number, path, None) for number in range(9)], threads=threads, stop=under_way.is_set))


def test_stop_ends_many_small_files(make: Make) -> None:
    path, turns = make(1), count(1)
    results = hash_files(((number, path, None) for number in count()), stop=lambda: next(turns) > 100)
    assert [key for key, _ in islice(results, 100)] == list(range(100))
    with pytest.raises(HashingStopped):
        next(results)


def test_one_file_keeps_two_cores_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many files at once follows the processors that this process may use."""
    found = []
    for cores in (1, 2, 3, 4, 8, 64):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        found.append(hashing._files_at_once())
    assert found == [1, 1, 1, 2, 4, 4]


def test_nothing_is_imported_before_something_is_hashed() -> None:
    code = (
        "import sys, tensors.hashing; print({'blake3', 'zlib_ng', 'asyncio', 'concurrent.futures'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(SAFETENSORS)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "hashes.json"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read to be hashed."""
    seen: list[Path] = []
    original = hashing.sha256_of

    def recorded(path: Path, *, start: int = 0) -> str:
        seen.append(path)
        return original(path, start=start)

    monkeypatch.setattr(hashing, "sha256_of", recorded)
    return seen


@given(data=st.binary(max_size=64), start=st.integers(0, 70), block=st.integers(1, 16))
def test_the_values_are_those_of_hashlib(data: bytes, start: int, block: int) -> None:
    path = Path(os.environ["HOME"]) / "file"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hashing, "_BLOCK", block)
        assert sha256_of(path, start=start) == hashlib.sha256(data[start:]).hexdigest()


def test_autov3_is_of_the_weights_alone(model: Path) -> None:
    assert autov3_of(model) == hashlib.sha256(b"\1\2\3\4").hexdigest()
    with model.open("r+b") as file:
        file.write(struct.pack("<Q", len(HEADER) + 2) + HEADER + b"  \1\2\3\4")
    assert autov3_of(model) == hashlib.sha256(b"\1\2\3\4").hexdigest()
    model.write_bytes(b"GGUF")
    assert autov3_of(model) is None

"""SHA256, AutoV2, AutoV3, BLAKE3 and CRC32 of model files, in one pass over each file.

SHA256 is what takes the time (0.55 ns a byte on a core with SHA extensions; BLAKE3 0.16, CRC32 0.02), and AutoV3 is a
second SHA256. So a large file is read into a small ring of buffers, and SHA256, AutoV3 and the two quick ones each
follow in a thread of their own: disk and processors work at the same time, and with enough cores a file takes what its
SHA256 takes. A small file is read and hashed at once: threads would cost more than they save.

`hash_file` and `hash_files` leave the page cache as they found it (see `source.py`).
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import mmap
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tensors.header import BrokenHeader, read_header
from tensors.source import Source, regular

if TYPE_CHECKING:
    from concurrent.futures import Future

K = TypeVar("K")

_BLOCK = 4 * 1024 * 1024
"""Bytes in a buffer. After each, a thread waits up to 5 ms if the interpreter is busy with another one: beside a thread
that never rests, 2 GB took 4.6 s with these, 7.2 s with half of it and 50 s in one thread with 1 MiB."""
_RING = 4
"""Buffers for one large file."""
_LANES = 3
_SMALL = 1024 * 1024
"""Up to this many bytes a file is read and hashed at once, and left in the page cache: reading its header brought most
of it there anyway, and to drop it would cost more than to hash it."""
_STEP = 16 * 1024 * 1024
"""Bytes between two words of progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashes:
    """What a file is known by, all in lower-case hex."""

    sha256: str
    blake3: str
    crc32: str
    """8 digits."""
    autov3: str | None
    """SHA256 of all that follows a safetensors header, all 64 digits (CivitAI and A1111 show the first 12). None for a
    file without such a header."""

    @property
    def autov2(self) -> str:
        """The first 10 digits of SHA256, which A1111 calls the model hash."""
        return self.sha256[:10]


class FileChanged(Exception):
    """The file changed while it was being hashed: the hashes would belong to no file."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{os.fspath(path)!r} changed while it was being hashed")


class HashingStopped(Exception):
    """Hashing was stopped before its end."""


def hash_file(
    path: Path,
    *,
    data_start: int | None = None,
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Hashes:
    """The hashes of one file.

    Args:
        path: A regular file; anything else is refused.
        data_start: Where AutoV3 begins, in bytes from the file's start; None for a file that has none.
        progress: Hears the bytes read since its last call, every 16 MiB and at the end.
        stop: Is asked between blocks whether to stop.

    Raises:
        OSError: The file cannot be read, or is no regular file.
        FileChanged: Its size or time of modification changed meanwhile, or it ends before `data_start`.
        HashingStopped: `stop` said so.
    """
    watch = _Watch(progress, stop)
    if _is_small(path):
        return _hash(path, data_start, watch, _read_at_once)
    with closing(_Ring()) as ring:
        return _hash(path, data_start, watch, ring.read)


def hash_bytes(data: bytes, *, data_start: int | None = None) -> Hashes:
    """The hashes of a file that is in memory already. `data_start` as for `hash_file`, at most the length."""
    if data_start is not None and data_start > len(data):
        raise ValueError(f"AutoV3 cannot begin at {data_start} of {len(data)} bytes")
    digests = _Digests(data_start)
    for lane in digests.lanes:
        lane(memoryview(data))
    return digests.result()


def hash_files(
    wanted: Iterable[tuple[K, Path, int | None]],
    *,
    threads: int | None = None,
    progress: Callable[[int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Generator[tuple[K, Hashes | OSError | FileChanged], None, None]:
    """The hashes of many files, each as soon as it is known: in no particular order.

    Small files are hashed in the caller's thread, large ones beside it. Closing the generator ends it early: threads
    stop at their next block and are waited for.

    Args:
        wanted: A key, a path and the `data_start` of each. Iterated in the caller's thread, a few files ahead.
        threads: How many large files at once, at least 1; the default is half the processors, at most 4.
        progress: Hears the bytes read since its last call, every 16 MiB and at the end, in the caller's thread while
            that waits for the next result. What was read of files that failed counts too.
        stop: Is asked between blocks, by several threads.

    Raises:
        HashingStopped: `stop` said so.
    """
    total = _Watch(progress, None)
    threads = _files_at_once() if threads is None else threads
    with closing(_Crew[K](threads, total, stop)) as crew:
        for key, path, data_start in wanted:
            if _is_small(path):
                yield key, _outcome(path, data_start, _Watch(total.add, stop), _read_at_once)
            else:
                crew.hash(key, path, data_start)
            yield from crew.finished(waiting=2 * threads)
        yield from crew.finished(waiting=0)
    total.end()


def _files_at_once() -> int:
    """One file keeps two cores busy. More than four readers only make a spinning disk seek."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(4, cores // 2))


_Lane = Callable[[memoryview], object]
"""Takes a file's blocks in order. Different lanes may run at the same time."""


class _Hash(Protocol):
    def update(self, block: memoryview, /) -> object: ...

    def hexdigest(self) -> str: ...


class _From:
    """Passes on what follows the first `start` bytes."""

    def __init__(self, start: int, to: _Hash) -> None:
        self._before = start
        self._to = to

    def update(self, block: memoryview) -> None:
        skipped = min(self._before, len(block))
        self._before -= skipped
        self._to.update(block[skipped:])


class _Digests:
    """The hashes of one file in the making."""

    def __init__(self, data_start: int | None) -> None:
        from blake3 import blake3

        if data_start is not None and data_start < 0:
            raise ValueError(f"AutoV3 cannot begin at {data_start}")
        self._sha256: _Hash = hashlib.sha256()
        # Its own threads were measured: slower by 4 %, as they take the cores from SHA256.
        self._blake3: _Hash = blake3()
        self._crc32 = 0
        self._autov3: _Hash | None = None
        self.lanes: list[_Lane] = [self._sha256.update, self._quick]
        if data_start is not None:
            self._autov3 = hashlib.sha256()
            self.lanes.append(_From(data_start, self._autov3).update)

    def _quick(self, block: memoryview) -> None:
        from zlib_ng.zlib_ng import crc32

        self._blake3.update(block)
        self._crc32 = crc32(block, self._crc32)

    def result(self) -> Hashes:
        return Hashes(
            sha256=self._sha256.hexdigest(),
            blake3=self._blake3.hexdigest(),
            crc32=f"{self._crc32:08x}",
            autov3=None if self._autov3 is None else self._autov3.hexdigest(),
        )


class _Watch:
    """Asks whether to stop, counts what was read and tells it in steps."""

    def __init__(self, progress: Callable[[int], None] | None, stop: Callable[[], bool] | None) -> None:
        self.read = 0
        self._told = 0
        self._progress = progress
        self._stop = stop

    def ask(self) -> None:
        """Raises `HashingStopped`."""
        if self._stop is not None and self._stop():
            raise HashingStopped

    def add(self, count: int) -> None:
        self.read += count
        if self.read - self._told >= _STEP:
            self.end()

    def end(self) -> None:
        """Tell what was not told yet."""
        count, self._told = self.read - self._told, self.read
        if self._progress is not None and count:
            self._progress(count)


_Reader = Callable[[Source, Sequence[_Lane], _Watch], None]
"""Gives a whole file to each lane."""


def _hash(path: Path, data_start: int | None, watch: _Watch, reader: _Reader) -> Hashes:
    before = regular(path)
    digests = _Digests(data_start)
    if data_start is not None and data_start > before.st_size:
        raise FileChanged(path)
    with closing(Source(path, before.st_size, drop=before.st_size > _SMALL)) as source:
        reader(source, digests.lanes, watch)
    watch.end()
    after = regular(path)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise FileChanged(path)
    if watch.read != before.st_size:
        raise OSError(errno.EIO, f"only {watch.read} of {before.st_size} bytes could be read", os.fspath(path))
    return digests.result()


def _outcome(path: Path, data_start: int | None, watch: _Watch, reader: _Reader) -> Hashes | OSError | FileChanged:
    try:
        return _hash(path, data_start, watch, reader)
    except (OSError, FileChanged) as error:
        return error


def _is_small(path: Path) -> bool:
    """Whether it is not worth a thread: also what cannot be read at all."""
    try:
        return os.stat(path).st_size <= _SMALL
    except OSError:
        return True


def _read_at_once(source: Source, lanes: Sequence[_Lane], watch: _Watch) -> None:
    # It may have grown since it was found small.
    buffer = memoryview(bytearray(min(source.size, _BLOCK)))
    while watch.read < source.size:
        watch.ask()
        count = source.read(buffer)
        if not count:
            break
        for lane in lanes:
            lane(buffer[:count])
        watch.add(count)


class _Ring:
    """Buffers that are filled in turn, and threads that hash what is in them: for one large file after another."""

    def __init__(self) -> None:
        from concurrent.futures import ThreadPoolExecutor

        # Fresh memory costs up to 3 microseconds a page, so it is kept from file to file.
        self._buffers: list[memoryview] = []
        # One thread each keeps a lane's blocks in order. They start with their first block.
        self._threads = [ThreadPoolExecutor(1, "hash") for _ in range(_LANES)]

    def read(self, source: Source, lanes: Sequence[_Lane], watch: _Watch) -> None:
        """Read a file while each lane works on what was read before."""
        from concurrent.futures import wait

        for _ in range(len(self._buffers), min(_RING, source.size // _BLOCK + 1)):
            self._buffers.append(_memory())
        users: list[list[Future[object]]] = [[] for _ in self._buffers]
        try:
            for buffer, using in itertools.cycle(zip(self._buffers, users, strict=True)):
                for user in using:
                    user.result()
                watch.ask()
                count = source.read(buffer) if watch.read < source.size else 0
                if not count:
                    break
                using[:] = [
                    thread.submit(lane, buffer[:count]) for thread, lane in zip(self._threads, lanes, strict=False)
                ]
                watch.add(count)
        finally:
            # Also after an error: the next file needs the buffers.
            done, _ = wait(itertools.chain.from_iterable(users))
        for user in done:
            user.result()

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown()


def _memory() -> memoryview:
    """A buffer. In large pages, where the system has them: a processor keeps the addresses of few small ones."""
    memory = mmap.mmap(-1, _BLOCK)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(memory)


class _Crew(Generic[K]):
    """Hashes large files, several at once."""

    def __init__(self, threads: int, total: _Watch, stop: Callable[[], bool] | None) -> None:
        from concurrent.futures import ThreadPoolExecutor

        self._pool = ThreadPoolExecutor(threads, "hash-files")
        self._rings = [_Ring() for _ in range(threads)]
        self._heard: SimpleQueue[Future[tuple[K, Hashes | OSError | FileChanged]] | int] = SimpleQueue()
        self._waiting = 0
        self._total = total
        self._stop = stop
        self._closed = False

    def hash(self, key: K, path: Path, data_start: int | None) -> None:
        self._pool.submit(self._work, key, path, data_start).add_done_callback(self._heard.put)
        self._waiting += 1

    def finished(self, *, waiting: int) -> Iterator[tuple[K, Hashes | OSError | FileChanged]]:
        """What is finished; waits while more than so many files are not."""
        while self._waiting > waiting or not self._heard.empty():
            news = self._heard.get()
            if isinstance(news, int):
                self._total.add(news)
            else:
                self._waiting -= 1
                yield news.result()

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown(cancel_futures=True)
        for ring in self._rings:
            ring.close()

    def _work(self, key: K, path: Path, data_start: int | None) -> tuple[K, Hashes | OSError | FileChanged]:
        # As many as there are threads: there is always one left.
        ring = self._rings.pop()
        try:
            return key, _outcome(path, data_start, _Watch(self._heard.put, self._stops), ring.read)
        finally:
            self._rings.append(ring)

    def _stops(self) -> bool:
        return self._closed or (self._stop is not None and self._stop())


def sha256_of(path: Path, *, start: int = 0) -> str:
    """SHA256 of a file from an offset in bytes, in lower-case hex. Raises `OSError`.

    The file stays in the page cache: whoever asks is about to use it.
    """
    digest = hashlib.sha256()
    with closing(_Ring()) as ring, closing(Source(path, regular(path).st_size, drop=False)) as source:
        ring.read(source, [_From(start, digest).update], _Watch(None, None))
    return digest.hexdigest()


def autov3_of(path: Path) -> str | None:
    """SHA256 of a safetensors file's weights alone, the hash a LoRA is known by; None for another kind of file."""
    try:
        header = read_header(path)
    except BrokenHeader:
        return None
    return sha256_of(path, start=header.data_start) if header.format == "safetensors" else None

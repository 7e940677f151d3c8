"""How long the hashes of a model file take, of what hashing it with plain loops takes.

One file of 2 GB, warm (all of it in the page cache: what hashing itself costs) and cold (dropped from it before each
time; whatever caches the disk has remain). A plain loop reads 4 MiB at a time into one buffer and hashes it, in one
thread. Then the same amount in 32 files, and 10,000 small files, both warm.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import psutil
from blake3 import blake3
from zlib_ng.zlib_ng import crc32

from benchmarks._measure import Report, finish, interleaved, parser, ratios, scratch
from tensors.hashing import hash_file, hash_files, sha256_of

SHA256_LIMIT = 1 / 0.95
"""At least 0.95 of the plain loop's speed."""
TWO_PASSES_LIMIT = 1
SIZE = 2_000_000_000
DATA_START = 100_001
PARTS = 32
SMALL_FILES, SMALL_SIZE = 10_000, 4_000
BLOCK = 4 * 1024 * 1024
PLACES = 1000

MEMORY = """
import pathlib, psutil, sys
from tensors.hashing import hash_bytes, hash_file

hash_bytes(b"")
process = psutil.Process()
before = process.memory_info().rss
seen = [before]
hash_file(pathlib.Path(sys.argv[1]), data_start=8, progress=lambda _: seen.append(process.memory_info().rss))
print(max(seen) - before)
"""


class Crc32:
    """CRC32 with the face of a hash."""

    def __init__(self) -> None:
        self.value = 0

    def update(self, block: memoryview) -> None:
        self.value = crc32(block, self.value)


class Others:
    """How much of the processors everybody else takes."""

    def __init__(self) -> None:
        self._before = self._now()

    def percent(self) -> float:
        """Since this was made."""
        idle, everything, own = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return (everything - idle - own) / everything * 100

    @staticmethod
    def _now() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        waiting = times.idle + getattr(times, "iowait", 0.0)
        return waiting, sum(times), time.process_time()


def write(path: Path, size: int) -> Path:
    """A file of pseudo-random bytes, on the disk when this returns."""
    source = random.Random(str(path))
    with path.open("wb") as file:
        for start in range(0, size, BLOCK):
            file.write(source.randbytes(min(BLOCK, size - start)))
        file.flush()
        os.fsync(file.fileno())
    return path


def drop(path: Path) -> None:
    """Out of the page cache with it."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def cached(path: Path) -> float:
    """How much of a file is in the page cache, in percent of 1,000 places."""
    found = 0
    with path.open("rb") as file:
        for place in range(PLACES):
            try:
                found += os.preadv(file.fileno(), [bytearray(1)], SIZE * place // PLACES, os.RWF_NOWAIT)
            except BlockingIOError:
                continue
    return found / PLACES * 100


def plain(path: Path, *hashes: Callable[[], Crc32 | blake3 | hashlib._Hash]) -> None:
    """One pass over the file for each hash."""
    buffer = memoryview(bytearray(BLOCK))
    for make in hashes:
        digest = make()
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(buffer[:count])


def timed(work: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> Callable[[], float]:
    """Measures in milliseconds."""

    def measure() -> float:
        before()
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) * 1000

    return measure


def all_of(files: Iterable[Path], threads: int | None = None) -> None:
    for path, result in hash_files(((path, path, 8) for path in files), threads=threads):
        if isinstance(result, Exception):
            raise SystemExit(f"{path} could not be hashed: {result}")


def one_after_another(files: Iterable[Path]) -> None:
    for path in files:
        hash_file(path, data_start=8)


def plain_small(files: Iterable[Path]) -> None:
    for path in files:
        hashlib.sha256(path.read_bytes()).hexdigest()


def large(report: Report, rounds: int, path: Path) -> None:
    """One large file, warm; both bars."""
    sha256, autov3 = hashlib.sha256, hashlib.sha256
    names = {
        "SHA256, plain loop": timed(partial(plain, path, sha256)),
        "SHA256, by tsr": timed(partial(sha256_of, path)),
        "SHA256, then BLAKE3, plain loops": timed(partial(plain, path, sha256, blake3)),
        "all five, one plain loop each (AutoV2 is SHA256's)": timed(
            partial(plain, path, sha256, autov3, blake3, Crc32)
        ),
        "all five, by tsr": timed(partial(hash_file, path, data_start=DATA_START)),
        "all but AutoV3, by tsr": timed(partial(hash_file, path)),
    }
    others = Others()
    found = interleaved(rounds, **names)
    for name, values in found.items():
        report.add(f"warm: {name}", values, "ms")
    # The five need two cores. Where other processes keep one of them busy, nothing makes up for it.
    report.add("taken by other processes meanwhile, of all cores", [others.percent()], "%")
    bare, alone, two, four, five, _ = found.values()
    report.add("all five, of one plain loop each", ratios(five, four), "x")
    report.add("all five, of plain SHA256", ratios(five, bare), "x")
    report.bar("SHA256 by tsr, of a plain loop", ratios(alone, bare), SHA256_LIMIT, "x")
    report.bar("all five, of SHA256 and then BLAKE3", ratios(five, two), TWO_PASSES_LIMIT, "x")


def cold(report: Report, rounds: int, path: Path) -> None:
    """The same from the disk, and what is left in the page cache."""
    left: list[float] = []

    def five() -> float:
        took = timed(partial(hash_file, path, data_start=DATA_START), before=partial(drop, path))()
        left.append(cached(path))
        return took

    names = {
        "SHA256, plain loop": timed(partial(plain, path, hashlib.sha256), before=partial(drop, path)),
        "SHA256, by tsr": timed(partial(sha256_of, path), before=partial(drop, path)),
        "all five, by tsr": five,
    }
    for name, values in interleaved(rounds, **names).items():
        report.add(f"cold: {name}", values, "ms")
    report.add("cold: of the file in the page cache after all five", left, "%")
    # Read by a plain loop, it stays in the page cache.
    plain(path, hashlib.sha256)
    hash_file(path, data_start=DATA_START)
    report.add("warm: of the file in the page cache after all five", [cached(path)], "%")


def many(report: Report, rounds: int, folder: Path) -> None:
    """Several files at once, and small ones."""
    parts = [write(folder / f"part-{number}", SIZE // PARTS) for number in range(PARTS)]
    names = {
        "one after another": timed(partial(one_after_another, parts)),
        "hash_files": timed(partial(all_of, parts)),
        **{f"hash_files, {count} at once": timed(partial(all_of, parts, count)) for count in (1, 2, 4)},
    }
    for name, values in interleaved(rounds, **names).items():
        report.add(f"warm: all five of {PARTS} files of 62.5 MB, {name}", values, "ms")
    small = [write(folder / f"small-{number}", SMALL_SIZE) for number in range(SMALL_FILES)]
    names = {
        "SHA256, plain": timed(partial(plain_small, small)),
        "all five, hash_files": timed(partial(all_of, small)),
    }
    for name, values in interleaved(rounds, **names).items():
        report.add(f"warm: {SMALL_FILES:,} files of 4 KB, {name}", values, "ms")


def memory(path: Path) -> float:
    """What hashing a file takes at most, in MB (10^6 bytes) more than before."""
    command = [sys.executable, "-c", MEMORY, str(path)]
    return int(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout) / 1e6


def measure(rounds: int) -> Report:
    report = Report("hashing")
    with scratch() as folder:
        path = write(folder / "large", SIZE)
        large(report, rounds, path)
        report.add("memory for all five, at most", [memory(path) for _ in range(3)], "MB")
        cold(report, rounds, path)
        path.unlink()
        many(report, rounds, folder)
    return report


def main() -> int:
    options = parser(__doc__.partition("\n")[0], rounds=8).parse_args()
    return finish(measure(options.rounds), options)


if __name__ == "__main__":
    sys.exit(main())

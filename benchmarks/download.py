"""How fast a file is fetched, of curl's throughput from the same local nginx.

A file of 4 GB that nginx has in the page cache, written to memory where there is some (`/dev/shm`): a disk would hide
what is compared. curl writes it without looking at it. Ours is checked while it comes (SHA256, and its name only then),
and once without hashing: what the transport alone takes. Needs nginx and curl.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._measure import CHECKOUT, Report, finish, interleaved, parser, ratios, scratch
from benchmarks._nginx import nginx

SIZE = 4_000_000_000
BLOCK = 4 * 1024 * 1024
HASHED_LIMIT, BARE_LIMIT = 1 / 0.7, 1 / 0.9
MEMORY_LIMIT = 40.0
"""MB above what the program has before."""
OURS = """
import pathlib, psutil, sys, time
from tensors.downloads.addresses import Guard
from tensors.downloads.connection import Connection
from tensors.downloads.fetch import Fetch, Wanted
from tensors.downloads.part import Mark, Part

url, target, sha256 = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
guard = Guard(url)
process = psutil.Process()
before = process.memory_info().rss
seen = [before]
told = 0

def progress(done, total):
    global told
    if done - told > 50_000_000:
        told = done
        seen.append(process.memory_info().rss)

began = time.perf_counter()
if sha256:
    wanted = Wanted(url=url, target=target, sha256=sha256)
    Fetch(wanted, guard, refused=lambda *_: None, progress=progress).run()
else:
    with Part(target, "bare") as part:
        connection = Connection(guard.route(url), silence=60)
        connection.ask({})
        while piece := connection.read():
            part.write(piece)
        connection.close()
        part.finish(target)
took = time.perf_counter() - began
print(took, (max(seen) - before) / 1e6)
"""


def write(path: Path) -> str:
    """A safetensors file of pseudo-random bytes; returns its SHA256."""
    source, summed = random.Random(3), hashlib.sha256()
    header = json.dumps({"a": {"dtype": "U8", "shape": [SIZE], "data_offsets": [0, SIZE]}}).encode()
    with path.open("wb") as file:
        head = len(header).to_bytes(8, "little") + header
        summed.update(head)
        file.write(head)
        for start in range(0, SIZE, BLOCK):
            block = source.randbytes(min(BLOCK, SIZE - start))
            summed.update(block)
            file.write(block)
    return summed.hexdigest()


@contextmanager
def memory_folder(otherwise: Path) -> Iterator[Path]:
    """A folder in memory with room for the file, or on disk."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shutil.disk_usage(shared).free < 2 * SIZE:
        print(f"no room in {shared}: written to disk", file=sys.stderr)
        yield otherwise
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def main() -> int:
    options = parser((__doc__ or "").partition("\n")[0], rounds=5).parse_args()
    for needed in ("nginx", "curl"):
        if shutil.which(needed) is None:
            raise SystemExit(f"{needed} is needed, and not installed")
    report, memory = Report("download"), list[float]()
    with scratch() as folder, memory_folder(folder) as place:
        # nginx's workers are another user.
        folder.chmod(0o755)
        (folder / "files").mkdir()
        sha256 = write(folder / "files" / "model.safetensors")
        target = place / "model.safetensors"
        with nginx(folder) as base:
            url = f"{base}/model.safetensors"

            def curl() -> float:
                began = time.perf_counter()
                subprocess.run(["curl", "-sS", "-o", str(target), url], check=True)
                took = time.perf_counter() - began
                target.unlink()
                return took

            def ours(expected: str) -> float:
                command = [sys.executable, "-c", OURS, url, str(target), expected]
                done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CHECKOUT)
                took, used = map(float, done.stdout.split())
                if expected:
                    memory.append(used)
                target.unlink()
                return took

            found = interleaved(options.rounds, curl=curl, hashed=lambda: ours(sha256), bare=lambda: ours(""))
    report.add("4 GB, curl", found["curl"], "s")
    report.add("4 GB, checked while it comes", found["hashed"], "s")
    report.add("4 GB, without hashing", found["bare"], "s")
    report.bar("checked, of curl", ratios(found["hashed"], found["curl"]), HASHED_LIMIT, "x")
    report.bar("without hashing, of curl", ratios(found["bare"], found["curl"]), BARE_LIMIT, "x")
    report.bar("memory while it is checked", memory, MEMORY_LIMIT, "MB")
    return finish(report, options)


if __name__ == "__main__":
    sys.exit(main())

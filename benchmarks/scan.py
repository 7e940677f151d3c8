"""How long a scan takes, and how much memory.

A tree of many small LoRAs in fifty folders beside a few large checkpoints, all made for this. The baselines: hashing
the large files alone; `os.scandir` and a `stat` of each model file; the same scan of a tenth of the files.
"""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._measure import CHECKOUT, Report, environment, finish, interleaved, parser, ratios, scratch
from tensors.db.database import Database
from tensors.db.scan import Folder, scan
from tensors.hashing import Hashes, hash_files
from tensors.header import read_header
from tensors.types.library import ScanReport

SMALL_FILES = 10_000
FOLDERS = 50
LARGE_FILES = 3
LARGE_BYTES = 2_000_000_000
FIRST_LIMIT = 1.15
FIRST_SECONDS = 1.0
"""What the first scan may take on top, for the small files."""
RESCAN_LIMIT = 2.0
MEMORY_LIMIT = 1.1
MEMORY_FILES = 20_000

PEAK = """
import re, resource, sys
from pathlib import Path
from tensors.db.database import Database
from tensors.db.scan import Folder, scan
with Database(Path(sys.argv[1])) as database:
    scan(database, [Folder(Path(sys.argv[2]))], report=lambda progress: None, stop=lambda: False)
status = Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""
"""Prints bytes. On Linux not `ru_maxrss`, which begins with what the process had that started this one."""


def write_small(path: Path, number: int) -> None:
    """A LoRA of a few layers, unlike all others."""
    tensors: dict[str, object] = {}
    for block in range(8):
        for part, start in (("lora_down", 0), ("lora_up", 64)):
            name = f"lora_unet_input_blocks_{block}_1_transformer_blocks_0_attn2_to_k.{part}.weight"
            offset = 128 * block + start
            tensors[name] = {"dtype": "F16", "shape": [4, 8], "data_offsets": [offset, offset + 64]}
    tags = {"set": {f"tag {tag}": tag for tag in range(5)}}
    metadata = {"ss_output_name": f"lora {number}", "ss_tag_frequency": json.dumps(tags), "ss_network_dim": "4"}
    header = json.dumps({"__metadata__": metadata, **tensors}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<I", number) * 256)


def write_large(path: Path) -> None:
    """A checkpoint's worth of bytes that no disk compresses."""
    header = json.dumps(
        {"model.diffusion_model.x": {"dtype": "U8", "shape": [LARGE_BYTES], "data_offsets": [0, LARGE_BYTES]}}
    ).encode()
    block = os.urandom(16 * 1024 * 1024)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        left = LARGE_BYTES
        while left:
            left -= file.write(block[:left])
            block = block[1:] + block[:1]
        os.fsync(file.fileno())


def make_tree(folder: Path, files: int) -> Path:
    """Small files in fifty folders."""
    for number in range(files):
        place = folder / "loras" / f"{number % FOLDERS:02}"
        if number < FOLDERS:
            place.mkdir(parents=True)
        write_small(place / f"lora-{number:05}.safetensors", number)
    return folder


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def scanned(library: Path, tree: Path) -> ScanReport:
    """Scan into a library, which is made where there is none."""
    with Database(library) as database:
        return scan(database, [Folder(tree)], report=lambda progress: None, stop=lambda: False)


def first_scan(folder: Path, tree: Path) -> ScanReport:
    """Into a library that is not there yet."""
    for file in folder.glob("first.db*"):
        file.unlink()
    report = scanned(folder / "first.db", tree)
    expected = SMALL_FILES + LARGE_FILES
    if (report.files, report.hashed, report.problems) != (expected, expected, ()):
        raise SystemExit(f"the scan did not do its work: {report}")
    return report


def hash_alone(files: Sequence[Path]) -> None:
    """What no scan can do without."""
    wanted = [(file, file, read_header(file).data_start) for file in files]
    if not all(isinstance(found, Hashes) for _, found in hash_files(wanted)):
        raise SystemExit("a file could not be hashed")


def look_at_all(tree: Path) -> int:
    """The least that tells whether anything changed."""
    found = 0
    pending = [str(tree)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.name.endswith(".safetensors"):
                    entry.stat()
                    found += 1
    return found


def peak(library: Path, tree: Path) -> float:
    """Resident memory of a scan's process at its highest, in MB (10^6 bytes)."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(library), str(tree)],
        cwd=CHECKOUT,
        env=environment(library.parent),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout) / 1e6


def measure_first(report: Report, folder: Path, rounds: int) -> None:
    tree = make_tree(folder / "tree", SMALL_FILES)
    large = [tree / "checkpoints" / f"{number}.safetensors" for number in range(LARGE_FILES)]
    large[0].parent.mkdir()
    for file in large:
        write_large(file)
    found = interleaved(
        rounds,
        alone=lambda: timed(lambda: hash_alone(large)),
        first=lambda: timed(lambda: first_scan(folder, tree)),
    )
    report.add(f"hashing {LARGE_FILES} files of {LARGE_BYTES / 1e9:g} GB", found["alone"], "s")
    report.add(f"first scan of these and {SMALL_FILES:,} small files", found["first"], "s")
    less = [seconds - FIRST_SECONDS for seconds in found["first"]]
    report.bar(
        f"first scan, less {FIRST_SECONDS:g} s, of hashing alone", ratios(less, found["alone"]), FIRST_LIMIT, "x"
    )
    for file in large:
        file.unlink()


def measure_again(report: Report, folder: Path, rounds: int) -> None:
    tree, library = folder / "tree", folder / "again.db"
    scanned(library, tree)
    found = interleaved(
        rounds * 10,
        bare=lambda: timed(lambda: look_at_all(tree)) * 1000,
        again=lambda: timed(lambda: scanned(library, tree)) * 1000,
    )
    report.add(f"os.scandir and stat of {SMALL_FILES:,} files in {FOLDERS} folders", found["bare"], "ms")
    report.add("scan of them, nothing changed", found["again"], "ms")
    report.bar(
        "scan, nothing changed, of os.scandir and stat", ratios(found["again"], found["bare"]), RESCAN_LIMIT, "x"
    )


def measure_memory(report: Report, folder: Path, rounds: int) -> None:
    trees = {files: make_tree(folder / f"{files}", files) for files in (MEMORY_FILES // 10, MEMORY_FILES)}
    first: dict[int, list[float]] = {files: [] for files in trees}
    again: dict[int, list[float]] = {files: [] for files in trees}
    for number in range(rounds):
        for files, tree in trees.items():
            library = folder / f"memory-{files}-{number}.db"
            first[files].append(peak(library, tree))
            again[files].append(peak(library, tree))
    few, many = trees
    for name, found in (("first scan", first), ("scan, nothing changed", again)):
        for files, values in found.items():
            report.add(f"{name}, {files:,} files: peak memory", values, "MB")
        report.bar(f"{name}: peak memory, ten times the files", ratios(found[many], found[few]), MEMORY_LIMIT, "x")


def measure(rounds: int) -> Report:
    report = Report("scan")
    with scratch() as folder:
        measure_first(report, folder, rounds)
        measure_again(report, folder, rounds)
        measure_memory(report, folder, rounds)
    return report


def main() -> int:
    options = parser(__doc__.partition("\n")[0], rounds=5).parse_args()
    return finish(measure(options.rounds), options)


if __name__ == "__main__":
    sys.exit(main())

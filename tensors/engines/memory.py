"""How much memory there is, and how much a model takes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from tensors.families import defaults_for
from tensors.header import BrokenHeader, read_header

_MIB = 2**20
_NVIDIA = ("nvidia-smi", "--query-gpu=memory.total,memory.used", "--format=csv,noheader,nounits")
_NVIDIA_SECONDS = 10
_CARVE_OUT = 2 * 2**30
"""Bytes. A card with less is graphics in the processor, which borrows ordinary memory beyond that: it tells nothing."""

_ENGINE = 100 * _MIB
"""Of sd-server beside weights and work: measured with the model that ships, 118 MiB at 64x64 with 14.5 of weights."""
_VAE_PER_PIXEL = 6657
"""Bytes. Measured with a VAE of the usual size: 1664.25 MiB at 512x512, 6657 at 1024x1024; the same in the log of
leejet/stable-diffusion.cpp#1044. Sampling took less in every log (SDXL at 1024x1024: 831 MiB, #876), and gives its
memory back before."""
_TINY_PER_PIXEL = 1921
"""Bytes, with a tiny autoencoder: 7.5 MiB at 64x64, 120.06 at 256x256, 4322.25 at 1536x1536."""
_TILED = 416 * _MIB
"""With VAE tiling, at any size (`vae compute buffer size: 416.06 MB` at 1024x1024)."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of an accelerator or of this machine, in bytes."""

    total: int
    free: int
    """What can be had without taking it from a program; never less than 0."""


class Sizes(Protocol):
    """The files of a model, as `tensors.models.ModelFile` has them."""

    @property
    def path(self) -> Path: ...

    @property
    def family(self) -> str: ...

    @property
    def companions(self) -> tuple[tuple[str, Path], ...]: ...


def memory_of(accelerator: str, root: Path = Path("/")) -> Memory | None:
    """The memory that an engine with this accelerator works in; None where nobody tells.

    `cpu` and `metal`: this machine's, within the limits of our control group. `rocm`, `cuda`, `vulkan`: that of the
    card with the most. `root`: where `/proc` and `/sys` are looked for. May take as long as `nvidia-smi` does.
    """
    match accelerator:
        case "cpu" | "metal":
            return _machine(root)
        case "rocm":
            return _amd(root)
        case "cuda":
            return _nvidia()
        case "vulkan":
            return _amd(root) or _nvidia()
        case _:
            return None


def estimate(model: Sizes, *, width: int = 0, height: int = 0, tiling: bool = False) -> int:
    """What an engine with this model probably takes while it draws, in bytes: its files, and the VAE's work.

    `width`, `height`: of the picture in pixels; 0 for the family's usual size. `tiling`: with VAE tiling. Raises
    `OSError` when a file is not there.
    """
    usual = defaults_for(model.family)
    pixels = (width or usual.width) * (height or usual.height)
    tiny = any(option in ("taesd", "tae") for option, _ in model.companions)
    work = pixels * (_TINY_PER_PIXEL if tiny else _VAE_PER_PIXEL)
    if tiling:
        work = min(work, _TILED)
    files = {model.path, *(path for _, path in model.companions)}
    return _ENGINE + work + sum(map(_weights, files))


def _weights(path: Path) -> int:
    """A file's weights in memory: its size, but numbers of eight bits (fp8) become such of sixteen."""
    size = path.stat().st_size
    try:
        return 2 * size if read_header(path).precision == "fp8" else size
    except BrokenHeader:
        return size


def _machine(root: Path) -> Memory:
    memory = _meminfo(root)
    if memory is None:
        whole = psutil.virtual_memory()
        memory = Memory(whole.total, whole.available)
    for limit, free in _limits(root):
        memory = Memory(min(memory.total, limit), min(memory.free, free))
    return memory


def _meminfo(root: Path) -> Memory | None:
    """What Linux tells: it counts as available what it would give back of its caches."""
    text = _text(root / "proc/meminfo")
    total, free = (re.search(rf"^{name}: +(\d+) kB$", text, re.MULTILINE) for name in ("MemTotal", "MemAvailable"))
    return Memory(int(total[1]) * 1024, int(free[1]) * 1024) if total and free else None


def _limits(root: Path) -> list[tuple[int, int]]:
    """The limits of our control group and of those around it, and what is free below each. Version 2 of them."""
    own = re.search(r"^0::/(.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE)
    if own is None or ".." in own[1]:
        return []
    top = root / "sys/fs/cgroup"
    group = top / own[1]
    found = []
    for folder in (group, *group.parents):
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            cache = re.search(r"^inactive_file (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
            found.append((limit, max(limit - used + (int(cache[1]) if cache else 0), 0)))
        if folder == top:
            break
    return found


def _amd(root: Path) -> Memory | None:
    cards = []
    for folder in sorted((root / "sys/class/drm").glob("card*/device")):
        total, used = _number(folder / "mem_info_vram_total"), _number(folder / "mem_info_vram_used")
        if total is not None and used is not None and total >= _CARVE_OUT:
            cards.append(Memory(total, max(total - used, 0)))
    return max(cards, key=lambda card: card.total, default=None)


def _nvidia() -> Memory | None:
    program = shutil.which(_NVIDIA[0])
    if program is None:
        return None
    try:
        answer = subprocess.run(
            (program, *_NVIDIA[1:]), capture_output=True, timeout=_NVIDIA_SECONDS, check=True, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.SubprocessError):
        # There is the program but no driver, or a driver that does not answer.
        return None
    lines = re.findall(r"^(\d+), (\d+)\s*$", answer.stdout.decode("ascii", "replace"), re.MULTILINE)
    cards = [Memory(int(total) * _MIB, max(int(total) - int(used), 0) * _MIB) for total, used in lines]
    return max(cards, key=lambda card: card.total, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    """A file's whole number; None when it is not there or says `max`."""
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None

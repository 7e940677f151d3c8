"""When an engine runs out of memory: how that shows, what helps, and what helped before.

What it prints is from the source of stable-diffusion.cpp and its ggml, May 2026, and recorded from a real one
(`tests/data/sd-server/out-of-memory`). Its API only answers 'generate_image returned no results'. A `std::bad_alloc`,
an abort in a driver, and the kernel end the process.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from tensors.atomic import write_atomic
from tensors.decoding import NOT_THAT_JSON

log = logging.getLogger(__name__)

Stage = Literal["loading", "encoding", "sampling", "decoding"]
"""Loading weights, encoding the prompt, sampling, or in the VAE, which encodes pictures too."""

_SIGN = re.compile(
    r"insufficient memory \(attempted to allocate"
    r"|failed to allocate (?:\w+ )?buffer(?: of size|, size =)"
    r"|failed to allocate the compute buffer"
    r"|failed to allocate +[\d.]+ MB\b"
    r"|alloc (?:compute|(?:partial )?(?:runtime )?params backend) buffer failed"
    r"|error \(failed to allocate memory\)"
    r"|(?:cudaMalloc failed|(?:CUDA|ROCm|MUSA) error): out of memory"
    r"|hipErrorOutOfMemory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|ErrorOutOf(?:Device|Host)?Memory|OUT_OF_(?:DEVICE|HOST)_MEMORY"
    r"|Device memory allocation of size \d+ failed"
    r"|std::bad_alloc"
)
_HARMLESS = re.compile(r"^\[(?:DEBUG|INFO|WARN) *\]|pinned memory", re.IGNORECASE)
"""It goes on without pinned memory, only slower; and what is no error may be somebody's prompt."""
_AMOUNT = re.compile(r"(?:attempted to allocate|allocating|size =) *([\d.]+) Mi?B|of size (\d+)")

_ENTERS: tuple[tuple[re.Pattern[str], Stage], ...] = (
    (re.compile(r"^\[INFO *\].* - loading (?:diffusion )?model from "), "loading"),
    (re.compile(r"^\[INFO *\].* - (?:listening on: |generate_image \d)"), "encoding"),
    (re.compile(r"^\[INFO *\].* - generating image: \d+/\d+ - seed"), "sampling"),
    (re.compile(r"^\[INFO *\].* - decoding \d+ latents"), "decoding"),
    (re.compile(r"^\[ERROR\].*(?:\bvae (?:en|de)code compute failed|(?:en|de)code_first_stage failed)"), "decoding"),
)
_KILLED = (-9, 137)
"""How a process and a container say that SIGKILL ended them."""
_MOST_MODELS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """An engine ran out of memory."""

    stage: Stage
    said: str
    """The line that told it first; empty when the kernel ended the engine without a word."""
    wanted: int | None = None
    """Bytes that it asked for at last, where it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What makes an engine take less memory. Tiles change a picture a little, offloading does not."""

    tiling: bool = False
    """The VAE works in tiles: 0.4 GB instead of 6.7 at 1024x1024 (measured), in more time. Goes with a request."""
    offload: bool = False
    """Weights lie in RAM, and only the part that is at work lies in the accelerator's memory. Takes another start.

    `--offload-to-cpu` needs no figure, and costs no speed by upstream's `docs/performance.md`; `--max-vram` needs a
    budget that depends on other programs, and does nothing without it.
    """

    @property
    def body(self) -> dict[str, Any]:
        """What it adds to the body of `POST /sdcpp/v1/img_gen`."""
        return {"vae_tiling_params": {"enabled": True}} if self.tiling else {}

    @property
    def arguments(self) -> tuple[str, ...]:
        """What it adds to sd-server's options."""
        return ("--offload-to-cpu",) if self.offload else ()


NOTHING = Remedy()


def shortage_in(lines: Iterable[str], *, killed: bool = False) -> Shortage | None:
    """Whether an engine ran out of memory, by what it said since it began to load or to draw; None when not.

    `lines`: whole lines without ends. `killed`: the kernel ended it (`killed_for_memory`).
    """
    stage: Stage = "loading"
    said, wanted = "", None
    for line in lines:
        stage = next((entered for sign, entered in _ENTERS if sign.search(line)), stage)
        if _SIGN.search(line) and not _HARMLESS.search(line):
            said = said or line
            wanted = _bytes_in(line) or wanted
    return Shortage(stage=stage, said=said, wanted=wanted) if said or killed else None


def _bytes_in(line: str) -> int | None:
    amount = _AMOUNT.search(line)
    if amount is None:
        return None
    return int(amount[2]) if amount[2] else int(float(amount[1]) * 2**20)


def kernel_kills(root: Path = Path("/")) -> int | None:
    """How many processes the kernel has ended for want of memory since it started; None where it does not tell."""
    try:
        text = (root / "proc/vmstat").read_text("ascii", "replace")
    except OSError:
        return None
    count = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(count[1]) if count else None


def killed_for_memory(exit_code: int | None, before: int | None, after: int | None) -> bool:
    """Whether the kernel ended a process that we did not end. `before`, `after`: `kernel_kills` around its life.

    Where the kernel does not count, SIGKILL out of nowhere is taken for it.
    """
    return exit_code in _KILLED and (before is None or after is None or after > before)


def next_remedy(used: Remedy, shortage: Shortage, *, accelerator: str = "") -> Remedy | None:
    """What to try after `used` did not do; None when nothing is left.

    Tiles help the VAE alone. Offloading helps whatever else is short of memory, and the VAE when tiles do not; not on a
    `cpu` or with `metal`, where weights and work share one memory.
    """
    if shortage.stage == "decoding" and not used.tiling:
        return replace(used, tiling=True)
    if not used.offload and accelerator not in ("cpu", "metal"):
        return replace(used, offload=True)
    return None


def model_key(path: Path, size: int, sha256: str | None = None) -> str:
    """What a model is remembered by: its hash, or its path and size in bytes as long as it has none."""
    return sha256 or f"{size} {path}"


_Pixels = Annotated[int, msgspec.Meta(ge=0)]


class _Entry(msgspec.Struct, frozen=True):
    """What is known of one model on one backend."""

    tiles_from: _Pixels | None = None
    """The smallest picture, in pixels, that needed tiles."""
    offload: bool = False


class Remembered:
    """What helped, by model and backend, in one JSON file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def known(self, model: str, width: int, height: int, backend: str) -> Remedy:
        """What to begin with. `model`: its `model_key`; `width`, `height`: of the whole picture, in pixels.

        A picture at least as large as one that needed tiles gets them too.
        """
        with self._lock:
            entry = self._load().get(_key(model, backend))
        if entry is None:
            return NOTHING
        return Remedy(tiling=entry.tiles_from is not None and width * height >= entry.tiles_from, offload=entry.offload)

    def learn(self, model: str, width: int, height: int, backend: str, worked: Remedy) -> None:
        """Remember that a picture was drawn with this. Says so in the log when the file cannot be written."""
        pixels = width * height
        key = _key(model, backend)
        with self._lock:
            entries = self._load()
            before = entries.pop(key, _Entry())
            after = _learnt(before, pixels, worked)
            if after == before:
                return
            entries[key] = after
            for oldest in list(entries)[:-_MOST_MODELS]:
                del entries[oldest]
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(self._file, msgspec.json.encode(entries))
            except OSError as error:
                log.warning("what helps against want of memory cannot be kept in %s: %s", self._file, error.strerror)

    def _load(self) -> dict[str, _Entry]:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=dict[str, _Entry])
        except (OSError, *NOT_THAT_JSON):
            # What cannot be read is learnt again.
            return {}


def _learnt(entry: _Entry, pixels: int, worked: Remedy) -> _Entry:
    tiles_from = entry.tiles_from
    if worked.tiling:
        tiles_from = pixels if tiles_from is None else min(tiles_from, pixels)
    elif tiles_from is not None and pixels >= tiles_from:
        # There is more memory now.
        tiles_from = None
    return _Entry(tiles_from, entry.offload or worked.offload)


def _key(model: str, backend: str) -> str:
    return f"{backend} {model}"

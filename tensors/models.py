"""The model files a request can name: checkpoints and LoRAs in the configured folders, and the model that ships."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tensors.checks import did_you_mean
from tensors.config import Config
from tensors.errors import LoraNotFound, ModelNotFound
from tensors.header import EXTENSIONS, BrokenHeader, read_header
from tensors.identify import has_tae, identify

DEMO_MODEL = "shapes"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One checkpoint as the engine needs it."""

    name: str
    path: Path
    family: str
    kind: str = "checkpoint"
    """Or `diffusion_model`: only the part that draws, and companions bring the rest."""
    companions: tuple[tuple[str, Path], ...] = ()
    """Files that go with it, each with sd-server's option without dashes: `vae`, `clip_l`, `t5xxl`, `taesd`, ..."""


def demo_dir() -> Path:
    """Where the shipped model lies."""
    return Path(str(resources.files("tensors") / "demo"))


def _files_under(folder: Path) -> Iterator[Path]:
    """Model files below a folder; a symbolic link to a folder is followed once."""
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            stat = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError:
            # A folder that is not there today (a mount) has no models today.
            continue
        if (stat.st_dev, stat.st_ino) in seen:
            continue
        seen.add((stat.st_dev, stat.st_ino))
        for entry in entries:
            if entry.name.startswith("."):
                continue
            # os.path asks without raising: a link to itself, or to what has gone, is neither.
            if os.path.isdir(entry.path):
                pending.append(Path(entry.path))
            elif entry.name.lower().endswith(EXTENSIONS) and os.path.isfile(entry.path):
                yield Path(entry.path)


def _by_stem(folders: Iterable[Path]) -> dict[str, Path]:
    """Files by stem; of two with one stem the first folder's wins."""
    found: dict[str, Path] = {}
    for folder in folders:
        for path in _files_under(folder):
            found.setdefault(path.stem, path)
    return found


def _pick(name: str, known: dict[str, Path]) -> Path | None:
    if name in known:
        return known[name]
    stem = name[: -len(Path(name).suffix)] if name.lower().endswith(EXTENSIONS) else name
    same = [path for known_name, path in known.items() if known_name.casefold() == stem.casefold()]
    return same[0] if len(same) == 1 else None


class ModelFiles:
    """Finds files by name. Folders are looked through at each call, so a new file needs no restart."""

    def __init__(self, config: Config) -> None:
        own = config.data_dir / "models"
        demo = demo_dir()
        self._checkpoint_folders = (own / "checkpoints", *config["paths.checkpoints"])
        self._lora_folders = (own / "loras", *config["paths.loras"], demo / "loras")
        named = config["engine.model"]
        self._default = named or DEMO_MODEL
        path = Path(named).expanduser().absolute() if named else None
        # The owner of this machine may name a file anywhere; requests then know it by its stem like any other.
        is_file = path is not None and path.suffix.lower() in EXTENSIONS and path.is_file()
        self._extra = {path.stem: path} if path and is_file else {}
        self._demo = demo / f"{DEMO_MODEL}.safetensors"

    def checkpoints(self) -> dict[str, Path]:
        """Every checkpoint by name."""
        return {DEMO_MODEL: self._demo, **_by_stem(self._checkpoint_folders), **self._extra}

    def loras(self) -> dict[str, Path]:
        """Every LoRA by name."""
        return _by_stem(self._lora_folders)

    def checkpoint(self, name: str) -> ModelFile:
        """The checkpoint of that name, whatever its case. Raises `ModelNotFound` with a suggestion."""
        known = self.checkpoints()
        found = _pick(name, known)
        if found is None:
            raise ModelNotFound(
                f"model {name!r} not found{did_you_mean(name, known)}", hint=f"models: {_listed(known)}"
            )
        return describe(found.absolute())

    def default(self) -> ModelFile:
        """The checkpoint to draw with when nothing is loaded and none is named. Raises `ModelNotFound`."""
        return describe(next(iter(self._extra.values()))) if self._extra else self.checkpoint(self._default)

    def lora(self, name: str) -> Path:
        """The LoRA of that name, whatever its case. Raises `LoraNotFound` with a suggestion."""
        known = self.loras()
        found = _pick(name, known)
        if found is None:
            raise LoraNotFound(f"LoRA {name!r} not found{did_you_mean(name, known)}", hint=f"LoRAs: {_listed(known)}")
        return found


def _listed(names: Iterable[str], most: int = 12) -> str:
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(ordered[:most]) + more) or "none"


def describe(path: Path) -> ModelFile:
    """Family and companions of a checkpoint file. Raises `ModelNotFound` when it is not a model."""
    try:
        header = read_header(path)
    except BrokenHeader as error:
        raise ModelNotFound(f"{path.name} cannot be used: it {error}") from None
    except OSError as error:
        raise ModelNotFound(f"{path.name} cannot be read: {error.strerror}") from None
    known = identify(header, name=path.stem)
    return ModelFile(
        path.stem,
        path,
        known.family,
        kind="diffusion_model" if known.kind == "diffusion_model" else "checkpoint",
        companions=(("taesd", path),) if has_tae(header) else (),
    )

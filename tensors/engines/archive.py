"""Archives from elsewhere, unpacked so that nothing lands outside its folder."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from tensors.errors import EngineInstallFailed

MAX_BYTES = 8 * 1024**3
"""Most that an archive may unpack to. The ROCm release carries its libraries: some gigabytes."""
MAX_MEMBERS = 50_000
_MAX_LINK = 255


def _confined(name: str) -> PurePosixPath:
    """A member's name as a path that stays in the folder it is unpacked into. Raises `EngineInstallFailed`."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or any(char in name for char in "\\:\0"):
        raise EngineInstallFailed(f"the archive has a member {name!r}, which would land outside its folder: refused")
    return path


def _check_size(total: int, count: int, folder: Path) -> None:
    if total > MAX_BYTES or count > MAX_MEMBERS:
        raise EngineInstallFailed(f"the archive unpacks to {total:,} bytes in {count:,} files: refused")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise EngineInstallFailed(
            f"there are {free / 1e9:.1f} GB free in {folder} and {total / 1e9:.1f} GB needed",
            hint="make room there, or choose another engine.directory",
        )


def unpack_zip(file: Path, folder: Path) -> None:
    """Unpack a zip into an empty folder, with the executable bits and links it has. Raises `EngineInstallFailed`."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_size(sum(member.file_size for member in members), len(members), folder)
            links = [member for member in members if not _unpack_member(archive, member, folder)]
            for member in links:
                _link(archive, member, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, FileExistsError) as error:
        raise EngineInstallFailed(f"{file.name} is not a zip that can be unpacked: {error}") from error


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> bool:
    """Unpack one file or folder; False for a link, which waits until all files are there and it leads none astray."""
    target = folder / _confined(member.filename)
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFLNK:
        return False
    if member.flag_bits & 1 or kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise EngineInstallFailed(f"the archive has a member {member.filename!r} that is no plain file: refused")
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    # zipfile reads no more than the size it declares, which was counted above.
    with archive.open(member) as source, target.open("xb") as copy:
        shutil.copyfileobj(source, copy, 1024 * 1024)
    target.chmod(0o755 if mode & 0o111 else 0o644)
    return True


def _link(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """A link as libraries have them, `libx.so -> libx.so.1`: to a name in the same folder and nothing else."""
    pointed = archive.read(member).decode("utf-8", "replace") if member.file_size <= _MAX_LINK else ""
    if not pointed or pointed in (".", "..") or "/" in pointed or "\\" in pointed or "\0" in pointed:
        raise EngineInstallFailed(f"the archive has a link {member.filename!r} that leads out of its folder: refused")
    link = folder / _confined(member.filename)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(pointed)


def unpack_tar(file: Path, folder: Path, below: tuple[str, ...]) -> None:
    """Unpack the plain files that lie under `below` in a tar's one top folder, named from there on.

    Raises `EngineInstallFailed`, also when there are none.
    """
    try:
        with tarfile.open(file) as archive:
            # Python 3.11.4 and later check once more and drop strange modes; earlier ones do not know this attribute.
            archive.extraction_filter = getattr(tarfile, "data_filter", None)
            members = list(_wanted(archive, below))
            if not members:
                raise EngineInstallFailed(f"{file.name} has no folder {'/'.join(below)}")
            _check_size(sum(member.size for member in members), len(members), folder)
            archive.extractall(folder, members)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise EngineInstallFailed(f"{file.name} is not a tar that can be unpacked: {error}") from error


def _wanted(archive: tarfile.TarFile, below: tuple[str, ...]) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        path = _confined(member.name)
        if path.parts[1 : 1 + len(below)] != below or member.isdir():
            continue
        if not member.isreg():
            raise EngineInstallFailed(f"the archive has a member {member.name!r} that is no plain file: refused")
        member.name = str(PurePosixPath(*path.parts[1 + len(below) :]))
        member.mode = 0o755 if member.mode & 0o111 else 0o644
        yield member

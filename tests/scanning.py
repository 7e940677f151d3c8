"""A library with a folder of model files, for tests of scans."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headers import gguf_header, safetensors_header
from library_data import VersionData, add_model, link

from tensors.db.database import Database
from tensors.db.scan import Folder, scan
from tensors.db.settle import settle
from tensors.types.jobs import Progress
from tensors.types.library import ScanReport

LORA = {"lora_unet_down_blocks_1_attn2_to_k.lora_down.weight": (4, 768)}
LARGE = 2 * 1024 * 1024
"""Bytes of weights with which a file is not hashed on the way but in the second phase."""


_NOBODY = 65534


def model_bytes(content: int = 0, *, weights: int = 0, metadata: Mapping[str, str] | None = None) -> bytes:
    """A whole LoRA; of equal size for all contents, and of other bytes for each."""
    raw, least = safetensors_header(
        {**LORA, "pad": (weights,)}, metadata, dtype={**dict.fromkeys(LORA, "F16"), "pad": "U8"}
    )
    size = max(least, 8)
    return raw + struct.pack("<Q", content) + bytes(size - 8)


def unknown_bytes(content: int = 0, metadata: Mapping[str, str] | None = None) -> bytes:
    """A model file that says nothing about itself."""
    raw, _ = safetensors_header({"x": (8,)}, metadata, dtype="U8")
    return raw + struct.pack("<Q", content)


def gguf_bytes() -> bytes:
    raw, weights = gguf_header({"x": (32,)}, {"general.architecture": "flux"}, dtype="F32")
    return raw + bytes(weights)


def write(path: Path, data: bytes) -> Path:
    """Write a file; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@dataclass(frozen=True)
class Row:
    """A file as the library has it."""

    id: int
    kind: str
    kind_from: str | None
    family: str
    problem: str | None
    is_missing: bool
    hashes: Mapping[str, str]
    user_kind: str | None
    user_family: str | None
    version: int | None
    """Of its link."""

    @property
    def sha256(self) -> str | None:
        return self.hashes.get("sha256")


@dataclass
class Shelf:
    """Scans `root` into a library beside it."""

    place: Path
    progress: list[Progress] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.root = self.place / "models"
        self.root.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.place / "models.db")

    def close(self) -> None:
        self.database.close()

    def scan(self, *folders: Path | Folder, **options: Any) -> ScanReport:
        """Scan these folders, or `root`."""
        wanted = [folder if isinstance(folder, Folder) else Folder(folder) for folder in folders or (self.root,)]
        options = {"report": self.progress.append, "stop": lambda: False, **options}
        return scan(self.database, wanted, **options)

    def rows(self) -> dict[str, Row]:
        """All files by path, below `place` where they are."""
        query = """SELECT directory, name, id, kind, kind_from, family, problem, missing_since IS NOT NULL, user_kind,
            user_family, version_id FROM files LEFT JOIN links ON file_id = id ORDER BY directory, name"""
        found = {}
        for directory, name, file_id, kind, kind_from, family, problem, is_missing, *said in self.query(query):
            hashes = dict(self.query("SELECT kind, value FROM file_hashes WHERE file_id = ?", file_id))
            path = os.path.join(directory, name).removeprefix(f"{self.place}/")
            found[path] = Row(file_id, kind, kind_from, family, problem, bool(is_missing), hashes, *said)
        return found

    def row(self, path: str) -> Row:
        return self.rows()[path]

    def query(self, query: str, *parameters: object) -> list[Any]:
        return self.database.connection.execute(query, parameters).fetchall()

    def say(self, path: str, family: str | None, kind: str | None = None) -> None:
        """The owner says what a file is."""
        self.query("UPDATE files SET user_family = ?, user_kind = ? WHERE id = ?", family, kind, self.row(path).id)
        settle(self.database, [self.row(path).id])

    def link(self, path: str, version: int = 70, *, matched_by: str = "sha256") -> None:
        """A file is this version of a model."""
        if not self.query("SELECT 1 FROM versions WHERE id = ?", version):
            add_model(self.database, version, VersionData(id=version))
        link(self.database, self.row(path).id, version, matched_by=matched_by)
        settle(self.database, [self.row(path).id])

    def notes(self, path: str) -> dict[str, tuple[Any, ...]]:
        """The sidecars of a file by name: tool, model, version, words, problem."""
        query = "SELECT name, tool, model_id, version_id, words, problem FROM sidecars WHERE file_id = ? ORDER BY name"
        return {name: tuple(rest) for name, *rest in self.query(query, self.row(path).id)}


@contextmanager
def open_shelf() -> Iterator[Shelf]:
    """A shelf in a place that any user can get at, scanned once so that all modules are loaded."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shelf = Shelf(Path(folder))
        try:
            first = write(shelf.root / "first.safetensors", model_bytes(99, weights=LARGE))
            shelf.scan()
            first.unlink()
            shelf.query("DELETE FROM files")
            yield shelf
        finally:
            shelf.close()


@contextmanager
def ordinary_user(shelf: Shelf) -> Iterator[None]:
    """Be somebody for whom file modes count, and to whom the shelf belongs."""
    if os.geteuid() != 0:
        yield
        return
    for directory, _, names in os.walk(shelf.place):
        for name in (".", *names):
            os.chown(os.path.join(directory, name), _NOBODY, _NOBODY, follow_symlinks=False)
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def messages(report: ScanReport, root: Path) -> dict[str, str]:
    """What was wrong, by path below a folder."""
    found = {problem.path.removeprefix(f"{root}/"): problem.message for problem in report.problems}
    assert len(found) == len(report.problems), report.problems
    return found


def dump(database: Database) -> dict[str, Sequence[object]]:
    """All that a library says about files, without numbers and times that differ from scan to scan."""
    found: dict[str, Sequence[object]] = {}
    columns = """size, mtime_ns, inode, missing_since IS NULL, problem, format, data_start, parameters, precision, kind,
        kind_from, family, family_from, variant, adapter, found_kind, found_kind_from, found_family, found_family_from,
        user_kind, user_family"""
    execute = database.connection.execute
    for directory, name, file_id, *row in execute(f"SELECT directory, name, id, {columns} FROM files"):
        for table in ("file_hashes", "file_metadata", "file_tags", "sidecars", "links", "undecided"):
            rows = execute(f"SELECT * FROM {table} WHERE file_id = ?", (file_id,)).fetchall()
            row.append(sorted([values[1:] for values in rows], key=repr))
        found[os.path.join(directory, name)] = row
    return found

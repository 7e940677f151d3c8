"""A library and a stand-in for CivitAI that know the same files, for tests that match the one with the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fake_civitai import FakeCivitai, Fault, Handler
from library_data import add_file

from tensors.civitai.client import Civitai
from tensors.db.cache import cache
from tensors.db.catalog import store_models
from tensors.db.database import Database
from tensors.db.link import link
from tensors.types.jobs import Progress
from tensors.types.library import CacheReport, CacheRequest, LinkReport, LinkRequest

MODEL, VERSION, FILE = 5_000_000, 6_000_000, 7_000_000
"""Ids of `simple` begin there, where no recorded ones are."""

Json = dict[str, Any]
Link = tuple[int, int | None, str]
"""Version, its file, matched by."""


def digest(text: str) -> str:
    """A hash of 64 digits that no two tests share by chance."""
    return hashlib.sha256(text.encode()).hexdigest()


def hashes(text: str) -> dict[str, str]:
    """The hashes of a file with this content."""
    return {
        "sha256": digest(text),
        "autov2": digest(text)[:10],
        "autov3": digest(f"tensors of {text}"),
        "blake3": digest(f"BLAKE3 of {text}"),
    }


def as_told(found: Mapping[str, str]) -> Json:
    """Hashes as CivitAI tells them."""
    names = {"sha256": "SHA256", "autov2": "AutoV2", "autov3": "AutoV3", "blake3": "BLAKE3"}
    return {names[kind]: (value[:12] if kind == "autov3" else value).upper() for kind, value in found.items()}


def listed(file_id: int, content: str | None = None, *, size: int = 2048, **fields: Any) -> Json:
    """A file of a version; without content its hashes are not told."""
    told = as_told(hashes(content)) if content else {}
    record = {"id": file_id, "name": f"{file_id}.safetensors", "type": "Model", "primary": True, "hashes": told}
    return {**record, "sizeKB": size / 1024, **fields}


def version(version_id: int, *files: Json, published: str = "2024-01-01T00:00:00.000Z", **fields: Any) -> Json:
    """A version of a model."""
    record = {"id": version_id, "name": f"v{version_id}", "baseModel": "Pony", "publishedAt": published}
    return {**record, "files": list(files), "trainedWords": [f"word {version_id}"], **fields}


def model(model_id: int, *versions: Json, type: str = "LORA", **fields: Any) -> Json:
    """A model."""
    record = {"id": model_id, "name": f"Model {model_id}", "type": type, "modelVersions": list(versions)}
    return {**record, **fields}


def simple(number: int, content: str | None = None) -> Json:
    """Model 5000000 + n with one version 6000000 + n of one file 7000000 + n, whose content is `file n` unless told."""
    return model(MODEL + number, version(VERSION + number, listed(FILE + number, content or f"file {number}")))


def counts(report: LinkReport) -> dict[str, Any]:
    """What a report says other than nothing."""
    return {name: value for name in report.__slots__ if (value := getattr(report, name))}


@dataclass
class Desk:
    """A library and the stand-in, and what was said while they were matched."""

    database: Database
    fake: FakeCivitai
    civitai: Civitai
    progress: list[Progress] = field(default_factory=list)
    ticks: int = 0

    def now(self) -> str:
        self.ticks += 1
        return f"2026-02-03T04:05:{self.ticks // 1000 % 60:02}.{self.ticks % 1000:03}Z"

    def link(self, *files: str, offline: bool = False, refresh: bool = False, stop: Any = None) -> LinkReport:
        """Match."""
        return link(
            self.database,
            LinkRequest(files=files, offline=offline, refresh=refresh),
            civitai=self.civitai,
            report=self.progress.append,
            stop=stop or (lambda: False),
            now=self.now,
        )

    def cache(self, *models: int, stop: Any = None) -> CacheReport:
        """Fetch models."""
        return cache(
            self.database,
            CacheRequest(models=models),
            civitai=self.civitai,
            report=self.progress.append,
            stop=stop or (lambda: False),
            now=self.now,
        )

    def asked(self) -> dict[str, int]:
        """How often each address was asked since the last time."""
        counts = {path.removeprefix("/api/v1"): count for path, count in sorted(self.fake.counts().items())}
        self.fake.requests.clear()
        return counts

    def add(self, name: str, content: str | None = None, **columns: Any) -> int:
        """A file in the library, with this content; without hashes when there is none."""
        return add_file(self.database, f"/models/{name}", hashes=hashes(content) if content else {}, **columns)

    def know(self, *models: Json) -> None:
        """Let the stand-in know models."""
        for each in models:
            self.fake.add(each)

    def keep(self, *models: Json) -> None:
        """Have models in the cache."""
        from tensors.civitai.records import model_of

        store_models(self.database, [model_of(each) for each in models], fetched_at="2026-01-01T00:00:00.000Z")

    def links(self) -> dict[int, Link]:
        """What files are linked to."""
        rows = self.rows("SELECT file_id, version_id, version_file_id, matched_by FROM links")
        return {file_id: (version_id, version_file_id, by) for file_id, version_id, version_file_id, by in rows}

    def not_found(self) -> list[str]:
        """SHA256 that CivitAI did not know."""
        return [sha256 for (sha256,) in self.rows("SELECT sha256 FROM not_found ORDER BY sha256")]

    def kept(self) -> list[int]:
        """Models that are in the cache with all their versions."""
        return [model_id for (model_id,) in self.rows("SELECT id FROM models WHERE complete ORDER BY id")]

    def rows(self, query: str, *parameters: object) -> Sequence[tuple[Any, ...]]:
        return self.database.connection.execute(query, parameters).fetchall()


@contextmanager
def at_desk(folder: Path, fake: FakeCivitai, *, timeout: float = 20.0) -> Iterator[Desk]:
    """A library in a folder. No question waits for the next try."""
    civitai = Civitai(fake.url, sleep=lambda seconds: None, timeout=timeout)
    try:
        with Database(folder / "models.db") as database:
            yield Desk(database, fake, civitai)
    finally:
        civitai.close()


@pytest.fixture
def desk(tmp_path: Path, civitai: FakeCivitai) -> Iterator[Desk]:
    with at_desk(tmp_path, civitai) as desk:
        yield desk


class Outage:
    """From some request on, everything fails, until it is over."""

    def __init__(self, fake: FakeCivitai, fault: Fault, *, after: int = 0) -> None:
        self.on = True
        self._fake, self._fault, self._after = fake, fault, after
        fake.order(self._fail, times=5_000)

    def _fail(self, handler: Handler) -> bool:
        return self.on and len(self._fake.requests) > self._after and self._fault(handler)

"""The library as a whole: the folders with model files, the database about them, and CivitAI.

What `tensors.service.Db` promises, except that `scan`, `link` and `cache` are jobs there and here the work they do
(`run_scan`, ...). Each call opens the database anew, which takes less than a millisecond, so it may
come from any thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.clock import now
from tensors.config import Config
from tensors.db.database import Database
from tensors.errors import InvalidRequest, LibraryError, NotFound, NotInCatalog, OutsideFolders
from tensors.types.base import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tensors.civitai.client import Civitai
    from tensors.db.walk import Folder
    from tensors.huggingface import HuggingFace
    from tensors.types.catalog import Model, ModelDetails
    from tensors.types.files import File, FileDetails, Triggers
    from tensors.types.jobs import Progress
    from tensors.types.library import (
        CacheReport,
        CacheRequest,
        Duplicates,
        FileEdit,
        Forgotten,
        LibraryCheck,
        LibraryStats,
        LinkReport,
        LinkRequest,
        ScanReport,
        ScanRequest,
        Update,
    )

Report = Callable[["Progress"], None]
Stop = Callable[[], bool]

FOLDERS = {
    "paths.models": None,
    "paths.checkpoints": "checkpoint",
    "paths.diffusion_models": "diffusion_model",
    "paths.loras": "lora",
    "paths.vae": "vae",
    "paths.text_encoders": "text_encoder",
    "paths.embeddings": "embedding",
    "paths.controlnets": "controlnet",
    "paths.upscalers": "upscaler",
}
"""Settings that name folders, and the kind of what is in them."""

_MANY_MODELS = 100
"""So many fetched at once leave the search index in pieces."""


class Library:
    """Knows every model file."""

    def __init__(self, config: Config, *, confined: bool = False) -> None:
        """`confined`: paths outside the configured folders are refused, because somebody else asks."""
        self._config = config
        self._confined = confined
        self._path = config.data_dir / "models.db"
        self._site: str = config["api.civitai_url"].rstrip("/")

    def open(self) -> Database:
        """The database. Raises `LibraryError`."""
        return Database(self._path)

    # Work, which jobs do

    def check_scan(self, request: ScanRequest) -> None:
        """Raise `OutsideFolders`, `InvalidRequest` or `NotFound` for folders that cannot be scanned."""
        for directory in request.directories:
            path = self.allowed(directory)
            if not path.is_dir():
                raise NotFound(f"{path} is not a folder" if path.exists() else f"there is no folder {path}")

    def run_scan(self, request: ScanRequest, report: Report, stop: Stop) -> ScanReport:
        """List and identify the files of folders, then hash them. Raises `JobCancelled` soon after `stop` says so."""
        from tensors.db.scan import scan

        self.check_scan(request)
        with self.open() as database:
            folders = self._wanted(database, request.directories)
            return scan(database, folders, hash=request.hash, full=request.full, report=report, stop=stop)

    def run_link(self, request: LinkRequest, report: Report, stop: Stop) -> LinkReport:
        """Match files with CivitAI. Raises `CatalogError`, `JobCancelled`; what was done by then is kept."""
        from tensors.db.link import link

        with self.open() as database:
            request = replace(request, files=tuple(str(self._find(database, name)) for name in request.files))
            if request.offline:
                return link(database, request, civitai=None, report=report, stop=stop, now=now)
            with self.civitai(stop) as civitai:
                done = link(database, request, civitai=civitai, report=report, stop=stop, now=now)
            _compact_search(database, done.fetched)
            return done

    def run_cache(self, request: CacheRequest, report: Report, stop: Stop) -> CacheReport:
        """Fetch models and keep them. Raises `CatalogError`, `JobCancelled`; what was fetched by then is kept."""
        from tensors.db.cache import cache

        with self.open() as database, self.civitai(stop) as civitai:
            done = cache(database, request, civitai=civitai, report=report, stop=stop, now=now)
            _compact_search(database, len(done.models))
            return done

    # Files

    def files(
        self,
        *,
        query: str | None = None,
        kind: str | None = None,
        family: str | None = None,
        state: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[File]:
        """See `tensors.service.Db.files`."""
        from tensors.db.files import list_files

        with self.open() as database:
            return list_files(
                database,
                query=query,
                kind=kind,
                family=family,
                state=state,
                limit=limit,
                cursor=cursor,
                civitai=self._site,
            )

    def file(self, file: str) -> FileDetails:
        """See `tensors.service.Db.file`."""
        from tensors.db.files import load_file

        with self.open() as database:
            return load_file(database, self._find(database, file), civitai=self._site)

    def info(self, path: str) -> FileDetails:
        """See `tensors.service.Db.info`."""
        from tensors.db.inspect import inspect_file

        wanted = self.allowed(path)
        with self.open() as database:
            return inspect_file(database, wanted)

    def triggers(self, file: str) -> Triggers:
        """See `tensors.service.Db.triggers`."""
        from tensors.db.files import triggers_of

        with self.open() as database:
            return triggers_of(database, self._find(database, file))

    def edit(self, file: str, change: FileEdit) -> FileDetails:
        """See `tensors.service.Db.edit`. A version that is not cached is fetched."""
        from tensors.db.files import edit_file, load_file

        with self.open() as database:
            file_id = self._find(database, file)
            try:
                edit_file(database, file_id, change)
            except NotInCatalog:
                from tensors.db.cache import fetch_version

                if change.model is None:
                    raise
                with self.civitai() as civitai:
                    fetch_version(database, change.model, civitai=civitai, now=now)
                edit_file(database, file_id, change)
            return load_file(database, file_id, civitai=self._site)

    def forget(self, file: str) -> Forgotten:
        """See `tensors.service.Db.forget`."""
        from tensors.db.files import forget_file

        with self.open() as database:
            return forget_file(database, self._find(database, file))

    def duplicates(self) -> Page[Duplicates]:
        """See `tensors.service.Db.duplicates`."""
        from tensors.db.stats import duplicates

        with self.open() as database:
            return duplicates(database)

    def updates(self) -> Page[Update]:
        """See `tensors.service.Db.updates`."""
        from tensors.db.updates import updates

        with self.open() as database:
            return updates(database, now=now())

    def stats(self) -> LibraryStats:
        """See `tensors.service.Db.stats`."""
        from tensors.db.stats import stats

        with self.open() as database:
            return stats(database)

    def check(self) -> LibraryCheck:
        """See `tensors.service.Db.check`."""
        from tensors.db.database import check

        with self.open() as database:
            return check(database)

    # Cached models

    def models(
        self,
        *,
        query: str | None = None,
        type: str | None = None,
        base_model: str | None = None,
        tag: str | None = None,
        creator: str | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Model]:
        """See `tensors.service.Db.models`."""
        from tensors.db.search import search_models

        with self.open() as database:
            return search_models(
                database,
                query,
                type=type,
                base_model=base_model,
                tag=tag,
                creator=creator,
                limit=limit,
                cursor=cursor,
                site=self._site,
            )

    def model(self, model_id: int) -> ModelDetails:
        """See `tensors.service.Db.model`."""
        from tensors.db.catalog import load_model

        with self.open() as database:
            return load_model(database, model_id, site=self._site)

    def forget_model(self, model_id: int) -> Forgotten:
        """See `tensors.service.Db.forget_model`."""
        from tensors.db.catalog import delete_model

        with self.open() as database:
            return delete_model(database, model_id)

    def known_hash(self, path: Path, kind: str) -> str | None:
        """The hash of that kind (`sha256`, `autov3`, ...) that is known of a file as it is now. Raises `OSError`."""
        from tensors.db.known import known_hash

        if not self._path.exists():
            return None
        try:
            with self.open() as database:
                return known_hash(database, path, kind)
        except LibraryError:
            # Whoever asks can compute it: a library that is broken keeps nobody from drawing.
            return None

    def count_files(self, model_ids: Sequence[int]) -> dict[int, int]:
        """How many files that are there belong to each of these models; those with none are left out."""
        from tensors.db.catalog import count_files

        with self.open() as database:
            return count_files(database, model_ids)

    # Folders and names

    def folders(self) -> list[Folder]:
        """The configured folders. The data directory's own need not be there."""
        from tensors.db.walk import Folder

        own = Folder(self._config.data_dir / "models", optional=True)
        named = [Folder(path, kind) for setting, kind in FOLDERS.items() for path in self._config[setting]]
        return [own, *named]

    def _wanted(self, database: Database, directories: Sequence[str]) -> list[Folder]:
        from tensors.db.walk import Folder

        configured = self.folders()
        if directories:
            return [Folder(path, kind_of(path, configured)) for path in map(self.allowed, directories)]
        known = {folder.path for folder in configured}
        before = [Path(path) for (path,) in database.connection.execute("SELECT path FROM folders ORDER BY path")]
        remembered = [Folder(path) for path in before if path not in known and not _below(path, known)]
        return configured + ([] if self._confined else remembered)

    def allowed(self, named: str) -> Path:
        """A path somebody named, absolute. Raises `OutsideFolders` where only the configured ones may be seen."""
        if not named or "\0" in named:
            raise InvalidRequest("a path must not be empty or contain a NUL character")
        path = Path(named).expanduser()
        if not self._confined:
            return Path(os.path.abspath(path))
        folders = [folder.path for folder in self.folders()]
        if not path.is_absolute():
            raise OutsideFolders(f"{named!r} is not a full path", hint=_listed(folders))
        if not _below(Path(os.path.realpath(path)), {Path(os.path.realpath(folder)) for folder in folders}):
            raise OutsideFolders(f"{named} is in none of the folders with models", hint=_listed(folders))
        return Path(os.path.normpath(path))

    def _find(self, database: Database, name: str) -> int:
        from tensors.db.files import find_file

        here = os.path.abspath(os.path.expanduser(name))
        # What the shell completes is a path from here.
        if not self._confined and os.sep in name and os.path.exists(here):
            return find_file(database, here)
        return find_file(database, name)

    @contextmanager
    def civitai(self, stop: Stop | None = None) -> Iterator[Civitai]:
        """CivitAI, as configured."""
        from tensors.civitai.client import Civitai

        civitai = Civitai(self._config["api.civitai_url"], api_key=self._config["api.civitai_key"], stop=stop)
        try:
            yield civitai
        finally:
            civitai.close()

    @contextmanager
    def hugging_face(self, stop: Stop | None = None) -> Iterator[HuggingFace]:
        """Hugging Face, as configured."""
        from tensors.huggingface import HuggingFace

        url, key = self._config["api.huggingface_url"], self._config["api.huggingface_key"]
        site = HuggingFace(url, api_key=key, stop=stop)
        try:
            yield site
        finally:
            site.close()


def _compact_search(database: Database, fetched: int) -> None:
    if fetched >= _MANY_MODELS:
        from tensors.db.search_index import compact

        compact(database)


def kind_of(path: Path, configured: Sequence[Folder]) -> str | None:
    """What the nearest configured folder at or above a path says about its files."""
    above = [folder for folder in configured if path == folder.path or folder.path in path.parents]
    return max(above, key=lambda folder: len(folder.path.parts)).kind if above else None


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _listed(folders: Sequence[Path]) -> str:
    return f"folders: {', '.join(map(str, folders))}; more: tsr config set paths.models FOLDER, where the server runs"

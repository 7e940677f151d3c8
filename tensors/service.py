"""What tsr can do: the list of all operations, grouped by noun.

`tensors.local.LocalTensors` does them, `tensors.client.TsrClient` asks a server; `tensors.connect.connect` chooses. The
HTTP routes and the command line are thin faces over this. To add an operation, see CONTRIBUTING.md.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from tensors.types.backends import LogLine
from tensors.types.base import Deleted, Page
from tensors.types.catalog import Found, Model, ModelDetails
from tensors.types.doctor import Finding
from tensors.types.download import DownloadPlan, DownloadRequest
from tensors.types.files import File, FileDetails, Triggers
from tensors.types.gallery import (
    CleanupRequest,
    Garbage,
    GcRequest,
    Image,
    ImageEdit,
    ImageQuery,
    Imported,
    Reindexed,
)
from tensors.types.generation import GenerateRequest
from tensors.types.jobs import Happening, Job, JobEvent
from tensors.types.library import (
    CacheRequest,
    Duplicates,
    FileEdit,
    Forgotten,
    LibraryCheck,
    LibraryStats,
    LinkRequest,
    ScanRequest,
    Update,
)
from tensors.types.models import LoraEntry, ModelEntry, Options, SwitchRequest, UnloadRequest
from tensors.types.remake import Remake
from tensors.types.server import EngineStatus, Health, Status, Version


class Jobs(Protocol):
    """Durable pieces of work."""

    def list(
        self, *, kind: str | None = None, state: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> Page[Job]:
        """Jobs, newest first.

        Raises:
            InvalidRequest: for an unknown kind, state or cursor, or a limit outside 1..500.
        """

    def get(self, job_id: str) -> Job:
        """One job, as it is now. Raises `JobNotFound`."""

    def cancel(self, job_id: str) -> Job:
        """Stop a job, queued or running, and return it once it has ended.

        Raises:
            JobNotFound: when there is no such job.
            JobFinished: when it had ended before.
        """

    def pause(self, job_id: str) -> Job:
        """Stop a download until it is resumed, also over a restart of the server, and return it once it stands still.

        Raises:
            JobNotFound: when there is no such job.
            JobFinished: when it had ended before.
            Conflict: for another kind of job, which could only begin again.
        """

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on where it was. Raises as `pause`."""

    def events(self, job_id: str) -> Iterator[JobEvent]:
        """What happens to a job from its present state until it has ended. Raises `JobNotFound` at once."""


class Images(Protocol):
    """Pictures in the gallery. All raise `LibraryError` when its index cannot be used."""

    def list(
        self,
        query: ImageQuery | None = None,
        *,
        deleted: bool = False,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Image]:
        """Pictures, newest first; with a query those that fit. `deleted`: the trash instead, the last deleted first.

        Raises `InvalidRequest` for a limit outside 1..500, a foreign cursor, a date that is none, or a query of the
        trash.
        """

    def get(self, image_id: str) -> Image:
        """One picture's record. Raises `ImageNotFound`."""

    def read(self, image_id: str) -> bytes:
        """The file: PNG, or for imported ones also JPEG or WebP. Raises `ImageNotFound`."""

    def thumbnail(self, image_id: str, *, size: int = 256) -> bytes:
        """A WebP, its longer side of `size` pixels: 256 or 512; also of a picture in the trash.

        Raises `ImageNotFound`; `InvalidRequest` for another size and for a file that is no whole picture.
        """

    def edit(self, image_id: str, edit: ImageEdit) -> Image:
        """Change tags, notes, rating or favourite. Raises `ImageNotFound`."""

    def delete(self, image_id: str) -> Deleted:
        """Move a picture to the trash. Raises `ImageNotFound`."""

    def restore(self, image_id: str) -> Image:
        """Take a picture out of the trash. Raises `ImageNotFound`."""

    def import_file(self, data: bytes, *, created: str | None = None, tags: tuple[str, ...] = ()) -> Imported:
        """Store a picture made elsewhere, with what its file tells of how; the same file is stored once.

        `created`: RFC 3339; now when left out. `tags` are added. Raises `InvalidRequest` for what is no whole PNG, JPEG
        or WebP, and for a time that is none.
        """

    def export(self, query: ImageQuery | None = None, *, ids: tuple[str, ...] = ()) -> Iterator[bytes]:
        """A zip file of pictures and their records: those named, or else all that fit the query.

        Raises `ImageNotFound` for an unknown id, and when there is nothing to export, before the first byte.
        """

    def remake(self, image_id: str) -> Remake:
        """What draws a picture again, and what differs from when it was made. Raises `ImageNotFound`."""

    def remake_file(self, data: bytes) -> Remake:
        """What draws the picture in a PNG, JPEG or WebP of any program again, as far as its file tells.

        Raises `InvalidRequest` for what is no picture, or does not tell.
        """

    def cleanup(self, request: CleanupRequest, *, detach: bool = False) -> Job:
        """Remove what the settings of the gallery do not keep. `jobs.events` follows it."""

    def gc(self, request: GcRequest) -> Garbage:
        """Remove files that belong to nothing, older than an hour."""

    def reindex(self) -> Reindexed:
        """Read all files again."""


class Models(Protocol):
    """Checkpoints and LoRAs: which there are, which one is loaded.

    A model is named by its file's name with or without extension, with the last folders before it where several have
    that name, by its full path, the beginning of a hash, or `MODEL@VERSION` of CivitAI. Where it says so:
    `ModelNotFound` (with a suggestion), `InvalidRequest` when several are called so. All raise `LibraryError`.
    """

    def list(
        self, *, query: str | None = None, family: str | None = None, limit: int = 100, cursor: str | None = None
    ) -> Page[ModelEntry]:
        """Checkpoints and diffusion models by name; `query`: words in the names of the file, its model or its version.

        Raises `InvalidRequest` for a limit outside 1..500 or a foreign cursor.
        """

    def get(self, model: str) -> ModelEntry:
        """One of them. Raises `ModelNotFound`, `InvalidRequest`."""

    def active(self) -> ModelEntry:
        """What a request is drawn with that names no model. Raises `ModelNotFound` when it is not there any more."""

    def switch(self, request: SwitchRequest, *, detach: bool = False) -> Job:
        """Load a model, and take it from now on for requests that name none. `jobs.events` follows the load.

        Requests for other models are not disturbed: they are drawn first, or in their turn.

        Raises:
            ModelNotFound, InvalidRequest, MissingCompanions: before anything is loaded.
            NotFound: when there is no such backend.
            NeedsServer: without a server, which would have to keep it loaded.
        """

    def unload(self, request: UnloadRequest) -> Page[EngineStatus]:
        """End engines that are idle, to have their memory for something else. Returns how the backends are then.

        Raises `NotFound`, and `Conflict` for one that is in use or is somebody else's.
        """

    def options(self, model: str | None = None) -> Options:
        """What a request for a model can say, and what it gets when it does not; of the active one when left out.

        Raises `ModelNotFound`, `InvalidRequest`.
        """

    def loras(
        self,
        *,
        query: str | None = None,
        family: str | None = None,
        fits: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[LoraEntry]:
        """LoRAs by name, with whether they fit the active model. `fits`: a model; what cannot fit it is left out.

        Raises `ModelNotFound`, and `InvalidRequest` for a limit outside 1..500 or a foreign cursor.
        """


class Backends(Protocol):
    """Where engines run."""

    def list(self) -> Page[EngineStatus]:
        """All of them, with what they have and do."""

    def logs(self, backend: str | None = None, *, lines: int = 100, follow: bool = False) -> Iterator[LogLine]:
        """The last lines of an engine's output; with `follow` also what it goes on to say. `backend`: the only one if
        left out.

        Raises `NotFound`, `InvalidRequest` when it must be said which one or for lines outside 0..2000, `NeedsServer`.
        """


class Db(Protocol):
    """The library: model files on disk, and what CivitAI knows about them, offline.

    A file is named by its number, its path (also within its folder), its name with or without extension, or the
    beginning of one of its hashes. Where it says so: `FileNotInLibrary` (with suggestions) when there is none of that
    name, `InvalidRequest` when there are several. All raise `LibraryError` when the database cannot be used.
    """

    def scan(self, request: ScanRequest, *, detach: bool = False) -> Job:
        """Look through folders for model files: list and identify them, then hash them. `jobs.events` follows it.

        `detach`, here and below, says that nobody will wait, which only a server can promise: else `NeedsServer`.
        Raises `OutsideFolders`, on a server, for a folder that is not in a configured one.
        """

    def link(self, request: LinkRequest, *, detach: bool = False) -> Job:
        """Match files with CivitAI by their hashes, and keep what CivitAI knows about them."""

    def cache(self, request: CacheRequest, *, detach: bool = False) -> Job:
        """Fetch models from CivitAI, with all their versions, and keep them."""

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
        """Files by name; `query` looks into the names of files and their models.

        `state` is `present`, `missing`, `broken`, `linked` or `unlinked`. A family also finds what is built on it only
        when it is named itself: `sdxl` does not list `pony`.

        Raises `InvalidRequest` for an unknown kind or state, a limit outside 1..500 or a foreign cursor.
        """

    def file(self, file: str) -> FileDetails:
        """All that is known about a file. Raises `FileNotInLibrary`, `InvalidRequest`."""

    def info(self, path: str) -> FileDetails:
        """What a file itself says, read now, whether it is in the library or not.

        Raises:
            NotFound: when there is no such file.
            InvalidRequest: when it is no model file, or broken.
            OutsideFolders: on a server, for a file that is not in a configured folder.
        """

    def triggers(self, file: str) -> Triggers:
        """The trigger words of a file. Raises `FileNotInLibrary`, `InvalidRequest`."""

    def edit(self, file: str, change: FileEdit) -> FileDetails:
        """Say what a file is. Raises `FileNotInLibrary`, `NotInCatalog`, `InvalidRequest`, `CatalogError`."""

    def forget(self, file: str) -> Forgotten:
        """Take a file out of the library; the next scan finds it again, if it is there. Raises `FileNotInLibrary`."""

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
        """Cached models, the most downloaded first. `query`: words, all of which are in names, tags, trigger words,
        creators or descriptions; those in names and tags come first.

        Raises `InvalidRequest` for a limit outside 1..500 or a foreign cursor.
        """

    def model(self, model_id: int) -> ModelDetails:
        """A cached model with its versions. Raises `NotInCatalog`."""

    def forget_model(self, model_id: int) -> Forgotten:
        """Take a model out of the cache, and the links to it. Raises `NotInCatalog`."""

    def duplicates(self) -> Page[Duplicates]:
        """Files with the same bytes, the largest first. Not links to one file: copies."""

    def updates(self) -> Page[Update]:
        """Linked files whose model has, as far as cached, a newer version for the same base model."""

    def stats(self) -> LibraryStats:
        """The library in numbers."""

    def check(self) -> LibraryCheck:
        """Whether the database is sound; mends the search index."""


class Catalog(Protocol):
    """Models that can be had: CivitAI and Hugging Face, asked now."""

    def search(
        self,
        query: str,
        *,
        provider: str = "civitai",
        type: str | None = None,
        base_model: str | None = None,
        tag: str | None = None,
        creator: str | None = None,
        sort: str | None = None,
        period: str | None = None,
        nsfw: bool | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> Page[Found]:
        """Models for a query. What `type`, `sort` and `period` may be is CivitAI's to say; Hugging Face has none.

        Raises:
            InvalidRequest: for another provider than `civitai` and `huggingface`, or a limit outside 1..100.
            CatalogError: when the site does not answer as it should.
        """

    def model(self, model_id: int) -> ModelDetails:
        """A model with its versions, from CivitAI; it is kept in the library too.

        Raises `NotInCatalog`, `CatalogError`.
        """


class Downloads(Protocol):
    """Files fetched from CivitAI and Hugging Face, checked, and brought into the library."""

    def plan(self, request: DownloadRequest) -> DownloadPlan:
        """What a download would do: names, sizes, hashes, and what is here already. Nothing is changed.

        Raises:
            InvalidRequest: for a name of nothing, or when it is not clear which file is meant; it says which there are.
            NotInCatalog: when the site has no such model.
            DownloadRefused: when its files are not to be had, with the reason and what to do.
            OutsideFolders: on a server, for a directory that is not in a configured folder.
            CatalogError: when the site does not answer as it should.
        """

    def start(self, request: DownloadRequest, *, detach: bool = False) -> Job:
        """Fetch files; `jobs.events` follows it. What `plan` raises later on is the job's error.

        Stopped, failed or killed, it leaves what was fetched, and the next one for the same file goes on with it.
        Raises `InvalidRequest`, `OutsideFolders` and, where nobody would do it, `NeedsServer`.
        """


class Tensors(Protocol):
    """Everything, by noun."""

    @property
    def jobs(self) -> Jobs: ...

    @property
    def images(self) -> Images: ...

    @property
    def models(self) -> Models: ...

    @property
    def backends(self) -> Backends: ...

    @property
    def db(self) -> Db: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def downloads(self) -> Downloads: ...

    def generate(self, request: GenerateRequest, *, idempotency_key: str | None = None, detach: bool = False) -> Job:
        """Check a request and queue it; `jobs.events` follows it.

        A second request with the same idempotency key is the first one's job. `detach` says that nobody will wait here,
        which only a server can promise.

        Raises:
            InvalidRequest: when a value is not possible.
            ModelNotFound, LoraNotFound: with suggestions.
            IdempotencyConflict: when the key was used for a different request.
            QueueFull: when too many jobs wait.
            NeedsServer: for `detach` without a server.
        """

    def events(self) -> Iterator[Happening]:
        """Everything that happens to jobs and pictures from now on, after the states of the jobs that have not ended.

        Raises `NeedsServer` without a server.
        """

    def health(self) -> Health:
        """Whether it answers."""

    def status(self) -> Status:
        """What runs where."""

    def version(self) -> Version:
        """Versions of tsr and its engine."""

    def doctor(self) -> Generator[Finding, None, None]:
        """Look at everything that is needed on the machine that does the work, and tell what is found as it is found.

        Asked of a server, the first finding is about the connection to it. Raises `Conflict` when it is being looked at
        already. To be closed when it is not read to its end: an engine may run for it.
        """

    def close(self) -> None:
        """Let go of connections and processes."""

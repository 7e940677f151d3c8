"""From what somebody named to files with an address, a hash and a place: what can be known before the first byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from tensors.base_models import family_of_base_model
from tensors.db.present import present_files
from tensors.db.settle import kinds_of
from tensors.downloads.asking import Asking
from tensors.downloads.choice import Choice, choose, choose_paths, file_with
from tensors.downloads.fetch import Wanted
from tensors.downloads.gates import why_not, why_not_repo
from tensors.downloads.names import safe_name, second_name
from tensors.downloads.part import part_of
from tensors.downloads.peek import kind_of_remote
from tensors.downloads.site import CIVITAI, HUGGING_FACE, Site, Source
from tensors.downloads.targets import (
    HashTarget,
    ModelTarget,
    RepoTarget,
    Target,
    VersionTarget,
    read_hash,
    read_target,
)
from tensors.errors import Conflict, NotInCatalog
from tensors.hashing import sha256_of
from tensors.layouts import hint
from tensors.types.download import PlannedFile

if TYPE_CHECKING:
    from tensors.civitai.client import Civitai
    from tensors.civitai.permission import Permission
    from tensors.civitai.records import FileRecord, ModelRecord, VersionRecord
    from tensors.db.database import Database
    from tensors.huggingface import HuggingFace
    from tensors.huggingface_files import RepoFile
    from tensors.types.download import DownloadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A file to fetch, or that is here."""

    wanted: Wanted
    site: Site
    what: str
    """As messages call it."""
    page: str
    here: Path | None = None
    kind: str | None = None
    model: ModelRecord | None = None
    version: VersionRecord | None = None

    @property
    def told(self) -> PlannedFile:
        """For people."""
        target = self.here or self.wanted.target
        part = part_of(target)
        done = part.stat().st_size if not self.here and part.is_file() else 0
        names = [self.model.name if self.model else "", self.version.name if self.version else ""]
        return PlannedFile(
            name=target.name,
            path=str(target),
            state="here" if self.here else "partial" if done else "new",
            size=self.wanted.size,
            done=done,
            sha256=self.wanted.sha256,
            kind=self.kind,
            model=" ".join(filter(None, names)) or None,
            model_id=self.version.model_id if self.version else None,
            version_id=self.version.id if self.version else None,
            source="civitai" if self.site.source == CIVITAI else "huggingface",
        )


Asker = Callable[[Site, str, str], Asking]
"""Makes what asks a site for a file; of the file, what messages call it and its page."""


class Planner:
    """Plans downloads."""

    def __init__(
        self,
        database: Database,
        *,
        civitai: Callable[[], AbstractContextManager[Civitai]],
        hugging_face: Callable[[], AbstractContextManager[HuggingFace]],
        sites: Mapping[Source, Site],
        asking: Asker,
        folder: Callable[[str | None], Path],
        now: Callable[[], str],
        stop: Callable[[], bool],
    ) -> None:
        """`folder`: where files of a kind go."""
        self._database = database
        self._civitai = civitai
        self._hugging_face = hugging_face
        self._on_civitai = sites[CIVITAI]
        self._on_hugging_face = sites[HUGGING_FACE]
        self._folder = folder
        self._now = now
        self._asking = asking
        self._stop = stop

    def plan(self, request: DownloadRequest) -> list[Planned]:
        """The files of a request.

        Raises `InvalidRequest`, `NotInCatalog`, `CatalogError`, and `DownloadRefused` for what is not to be had.
        """
        target = self._target(request)
        choice = Choice(
            file=request.file, precision=request.precision, format=request.format, everything=request.everything
        )
        if isinstance(target, RepoTarget):
            return list(self._of_repo(target, choice))
        return list(self._of_version(target, choice, force=request.force))

    def _target(self, request: DownloadRequest) -> Target:
        if request.hash is not None:
            return HashTarget(read_hash(request.hash))
        if request.version_id is not None:
            return VersionTarget(request.version_id)
        if request.model_id is not None:
            return ModelTarget(request.model_id)
        return read_target(
            request.target or "", civitai_url=self._on_civitai.url, huggingface_url=self._on_hugging_face.url
        )

    # CivitAI

    def _of_version(self, target: Target, choice: Choice, *, force: bool) -> Iterator[Planned]:
        with self._civitai() as civitai:
            model, version = _found(civitai, target)
            permission = _permission(civitai, version.id)
        refusal = why_not(
            model,
            version,
            has_key=True,
            now=self._now(),
            force=force,
            permission=permission,
            site=self._on_civitai.url,
        )
        if refusal:
            raise refusal
        files = self._files(target, version, model, choice)
        planned = [self._planned(model, version, file, alone=len(files) == 1) for file in files]
        if self._on_civitai.key is None and not all(file.here for file in planned):
            # What is here already needs none.
            missing = why_not(model, version, has_key=False, now=self._now(), force=True, site=self._on_civitai.url)
            if missing:
                raise missing
        yield from planned

    def _files(
        self, target: Target, version: VersionRecord, model: ModelRecord | None, choice: Choice
    ) -> Sequence[FileRecord]:
        plain = choice == Choice()
        if isinstance(target, HashTarget) and plain:
            named = file_with(version.files, target.hash)
            if named is not None:
                choice = replace(choice, file=str(named.id))
        elif isinstance(target, ModelTarget) and target.file and plain:
            choice = replace(choice, file=str(target.file))
        elif isinstance(target, VersionTarget) and plain:
            choice = target.choice
        family = family_of_base_model(version.base_model) if version.base_model else None
        others = [other for other in (model.versions if model else ()) if other.id != version.id]
        return choose(version.files, choice, family=family, others=others)

    def _planned(self, model: ModelRecord | None, version: VersionRecord, file: FileRecord, *, alone: bool) -> Planned:
        hashes = dict(file.hashes)
        kinds = kinds_of((model.type if model else None) or version.model_type, file.type)
        kind = kinds[0] if kinds else None
        wanted = Wanted(
            url=_address(self._on_civitai.url, version, file),
            target=self._folder(kind) / safe_name(file.name, f"civitai-{version.id}-{file.id}.safetensors"),
            size=file.size,
            sha256=hashes.get("sha256"),
            blake3=hashes.get("blake3"),
        )
        second = second_name(wanted.target.name, version.id, None if alone else file.id)
        wanted, here = self._placed(wanted, second)
        return Planned(
            wanted=wanted,
            here=here,
            site=self._on_civitai,
            what=file.name,
            page=f"{self._on_civitai.url}/models/{version.model_id}?modelVersionId={version.id}",
            kind=kind,
            model=model,
            version=version,
        )

    # Hugging Face

    def _of_repo(self, target: RepoTarget, choice: Choice) -> Iterator[Planned]:
        with self._hugging_face() as site:
            refusal = why_not_repo(site.repo(target.repo), has_key=self._on_hugging_face.key is not None)
            if refusal:
                raise refusal
            files = {file.path: file for file in site.files(target.repo, target.revision)}
            for path in choose_paths({name: file.size for name, file in files.items()}, choice, below=target.path):
                url = site.download_url(target.repo, target.revision, path)
                yield self._of_path(target.repo, files[path], url)

    def _of_path(self, repo: str, file: RepoFile, url: str) -> Planned:
        folder, _, name = file.path.rpartition("/")
        what, page = f"{repo}/{file.path}", f"{self._on_hugging_face.url}/{repo}"
        kind = hint("/", f"/{folder}").kind
        if kind is None and file.size is not None:
            asking = self._asking(self._on_hugging_face, what, page)
            kind = kind_of_remote(asking, url, name=name, size=file.size, stop=self._stop)
        wanted = Wanted(
            url=url,
            target=self._folder(kind) / safe_name(name, "model.safetensors"),
            size=file.size,
            sha256=file.sha256,
        )
        # Half of all repositories call their file `model.safetensors`.
        second = safe_name(f"{repo.rpartition('/')[2]}-{wanted.target.name}", "model.safetensors")
        wanted, here = self._placed(wanted, second)
        return Planned(wanted=wanted, here=here, site=self._on_hugging_face, what=what, page=page, kind=kind)

    # Places

    def _placed(self, wanted: Wanted, second: str) -> tuple[Wanted, Path | None]:
        """The file under a name that is free, or that it has already; and where it is."""
        known = [(kind, value) for kind in ("sha256", "blake3") if (value := getattr(wanted, kind))]
        for paths in present_files(self._database, known).values():
            return wanted, Path(paths[0])
        for target in (wanted.target, wanted.target.with_name(second)):
            taken = target.exists()
            if not taken or _is_same(target, wanted):
                return replace(wanted, target=target), target if taken else None
        raise Conflict(
            f"{wanted.target.parent} has other files with the names {wanted.target.name} and {second}",
            hint="move one of them away, or name another folder with --to",
        )


def _found(civitai: Civitai, target: Target) -> tuple[ModelRecord | None, VersionRecord]:
    """The model, as far as there is one, and the version."""
    if isinstance(target, ModelTarget):
        model = civitai.model(target.model)
        if target.version is None:
            if not model.versions:
                raise NotInCatalog(f"model {model.id} has no versions on CivitAI")
            return model, _version(civitai, model, model.versions[0].id)
        return model, _version(civitai, model, target.version)
    if isinstance(target, VersionTarget):
        version = civitai.version(target.version)
    else:
        assert isinstance(target, HashTarget)
        found = civitai.version_by_hash(target.hash)
        if found is None:
            raise NotInCatalog(f"CivitAI has no file with the hash {target.hash}", hint="tsr search NAME")
        version = found
    try:
        return civitai.model(version.model_id), version
    except NotInCatalog:
        # A version can outlive the page of its model.
        return None, version


def _version(civitai: Civitai, model: ModelRecord, version_id: int) -> VersionRecord:
    """A version with what only its own record says: whether its files are given out."""
    try:
        return civitai.version(version_id)
    except NotInCatalog:
        listed = next((version for version in model.versions if version.id == version_id), None)
        if listed is None:
            raise
        return listed


def _permission(civitai: Civitai, version_id: int) -> Permission | None:
    """What a download needs, as far as the site tells: it knows early access that the other records have forgotten."""
    try:
        return civitai.mini(version_id)
    except NotInCatalog:
        return None


def _address(site: str, version: VersionRecord, file: FileRecord) -> str:
    """Where a file is asked for, at the site that is configured."""
    told = urlsplit(file.download_url or "")
    if told.path.startswith("/api/download/"):
        return f"{site}{told.path}" + (f"?{told.query}" if told.query else "")
    words = {"type": file.type, "format": file.format, "size": file.size_kind, "fp": file.precision}
    query = "" if file.primary else urlencode({name: word for name, word in words.items() if word})
    return f"{site}/api/download/models/{version.id}" + (f"?{query}" if query else "")


def _is_same(path: Path, wanted: Wanted) -> bool:
    """Whether a file that is there is the one that is wanted: it is read only when its size says so."""
    return wanted.sha256 is not None and wanted.may_have(path.stat().st_size) and sha256_of(path) == wanted.sha256

"""Hugging Face's list of model repositories, asked over its public API.

What is said here about the site is from its documentation (huggingface.co/docs/hub/api) and the source of its own
client (github.com/huggingface/huggingface_hub); nothing of it was tried against the site itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tensors.catalog import CatalogHttp, Site
from tensors.document import BrokenRecord, listing, opened
from tensors.errors import CatalogError, CatalogRefused, NotInCatalog
from tensors.exchange import Answer
from tensors.fields import flag, line, lines, table, whole
from tensors.huggingface_files import REPO_ID, RepoFile, download_url, file_of, repo_path, tree_path

HUGGING_FACE = Site("Hugging Face", "api.huggingface", "https://huggingface.co/settings/tokens")
MOST_REPOS = 1000
"""In one page."""
MOST_FILES = 100_000
"""In one repository."""

_NEXT = re.compile(r"<([^<>]*)>[^<>]*\brel=\"?next\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoRecord:
    """A repository with a model."""

    id: str
    """`org/name`; a few old ones have no organisation."""
    author: str | None = None
    downloads: int = 0
    """Of the last 30 days."""
    likes: int = 0
    tags: tuple[str, ...] = ()
    last_modified: str | None = None
    gated: bool = False
    """Its conditions are to be accepted on its page before a download."""
    pipeline_tag: str | None = None
    """What it is for: `text-to-image`, ..."""
    url: str = ""
    """Its page."""


class HuggingFace:
    """Hugging Face's repositories.

    Methods raise `CatalogUnreachable` after several tries, `CatalogRefused`, `CatalogError` for an answer that is no
    use, and `JobCancelled` soon after `stop` says so.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """`url`: the site's, without `/api`. `timeout`: seconds of silence. Raises `ConfigError`."""
        self._http = CatalogHttp(HUGGING_FACE, url, api_key=api_key, timeout=timeout, sleep=sleep, stop=stop)
        self.broken = 0
        """Records that could not be read and were left out."""

    def search(
        self, query: str | None = None, *, tags: Sequence[str] = (), limit: int = 20, cursor: str | None = None
    ) -> tuple[Sequence[RepoRecord], str | None]:
        """A page of repositories, and the cursor of the next one.

        `query`: part of a name; `tags`: all of them, such as `text-to-image`; `limit`: 1 to 1000.
        """
        given = (
            ("search", query),
            *(("filter", tag) for tag in tags),
            ("limit", str(min(max(limit, 1), MOST_REPOS))),
            ("full", "true"),
            ("cursor", cursor),
        )
        answer = self._http.get("/api/models", [(name, value) for name, value in given if value])
        try:
            items = listing(answer.body)
        except BrokenRecord as error:
            raise self._http.unusable(error) from error
        found = {repo.id: repo for repo in map(self._repo, items) if repo}
        following = _cursor(answer.headers.get("link", ""))
        return tuple(found.values()), None if following == cursor else following

    def repo(self, repo_id: str) -> RepoRecord:
        """One repository. Raises `InvalidRequest` for a name that cannot be one, and `NotInCatalog`."""
        answer = self._asked(repo_id, repo_path(repo_id))
        record = self._repo(answer.body)
        if record is None:
            raise self._http.unusable(f"a repository without a usable name, asked for {repo_id}")
        return record

    def files(self, repo_id: str, revision: str = "main") -> tuple[RepoFile, ...]:
        """All files of a repository at a branch, tag or commit, sorted by path.

        Those whose path leads out of it are left out and counted in `broken`. Raises `InvalidRequest` for names that
        cannot be any, and `NotInCatalog`.
        """
        path, found = tree_path(repo_id, revision), dict[str, RepoFile]()
        cursor, seen = None, set[str]()
        while True:
            asked = [("recursive", "true"), *([("cursor", cursor)] if cursor else [])]
            answer = self._asked(repo_id, path, asked)
            found.update((file.path, file) for file in self._files(answer.body))
            if len(found) > MOST_FILES:
                raise CatalogError(f"{self._http.name} lists more than {MOST_FILES:,} files in {repo_id}")
            cursor = _cursor(answer.headers.get("link", ""))
            # A page that leads to an earlier one would be read for ever.
            if cursor is None or cursor in seen:
                return tuple(found[name] for name in sorted(found))
            seen.add(cursor)

    def download_url(self, repo_id: str, revision: str, path: str) -> str:
        """Where a file is fetched from. Raises `InvalidRequest`."""
        return download_url(self._http.url, repo_id, revision, path)

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def _asked(self, repo_id: str, path: str, parameters: Sequence[tuple[str, str]] = ()) -> Answer:
        try:
            return self._http.get(path, parameters)
        except NotInCatalog as error:
            raise NotInCatalog(f"{self._http.name} has no {repo_id}, or not this revision of it") from error
        except CatalogRefused as error:
            # The site says so of what is not there as well, so that nobody learns what is private.
            said = f"{error.message}; {repo_id} may be private, gated or not there at all"
            raise CatalogRefused(said, hint=error.hint) from error

    def _files(self, body: bytes) -> Iterator[RepoFile]:
        try:
            items = listing(body)
        except BrokenRecord as error:
            raise self._http.unusable(error) from error
        for item in items:
            try:
                file = file_of(item)
            except BrokenRecord:
                self.broken += 1
                continue
            if file is not None:
                yield file

    def _repo(self, raw: object) -> RepoRecord | None:
        """None, and counted, for what cannot be read."""
        try:
            fields = table(opened(raw)[0])
        except BrokenRecord:
            fields = {}
        repo_id = line(fields.get("id")) or line(fields.get("modelId")) or ""
        if not REPO_ID.fullmatch(repo_id):
            self.broken += 1
            return None
        owner, slash, _ = repo_id.partition("/")
        return RepoRecord(
            id=repo_id,
            author=line(fields.get("author")) or (owner if slash else None),
            downloads=whole(fields.get("downloads")) or 0,
            likes=whole(fields.get("likes")) or 0,
            tags=lines(fields.get("tags")),
            last_modified=line(fields.get("lastModified")),
            gated=flag(fields.get("gated")),
            pipeline_tag=line(fields.get("pipeline_tag")),
            url=f"{self._http.url}/{repo_id}",
        )


def _cursor(header: str) -> str | None:
    """Of the next page, from a `Link` header: its parameter `cursor`, opaque."""
    match = _NEXT.search(header)
    if not match:
        return None
    try:
        found = parse_qs(urlsplit(match[1]).query).get("cursor")
    except ValueError:
        return None
    return found[0] if found else None

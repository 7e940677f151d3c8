"""Hugging Face's list of model repositories, asked over its public API.

What is said here about the site is from its documentation (huggingface.co/docs/hub/api) and the source of its own
client (github.com/huggingface/huggingface_hub); nothing of it was tried against the site itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tensors.catalog import CatalogHttp, Site
from tensors.document import BrokenRecord, listing, opened
from tensors.fields import flag, line, lines, table, whole

HUGGING_FACE = Site("Hugging Face", "api.huggingface", "https://huggingface.co/settings/tokens")
MOST_REPOS = 1000
"""In one page."""

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
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

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def _repo(self, raw: object) -> RepoRecord | None:
        """None, and counted, for what cannot be read."""
        try:
            fields = table(opened(raw)[0])
        except BrokenRecord:
            fields = {}
        repo_id = line(fields.get("id")) or line(fields.get("modelId")) or ""
        if not _ID.fullmatch(repo_id):
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

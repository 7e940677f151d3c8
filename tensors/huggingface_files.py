"""Files of a Hugging Face repository: what a listing says of them, and where they are fetched from.

As in `huggingface.py`, what is said about the site is from its documentation (huggingface.co/docs/hub/api) and the
source of its own client (github.com/huggingface/huggingface_hub: `list_repo_tree`, `hf_hub_url`); nothing of it was
tried against the site itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from tensors.document import BrokenRecord, opened
from tensors.errors import InvalidRequest
from tensors.fields import line, table, whole

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
"""`org/name`; a few old ones have no organisation."""

_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LONGEST = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoFile:
    """A file of a repository."""

    path: str
    """In the repository, folders separated by `/`; never leads out of it."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """In lower case. Told of large files only: small ones lie in Git itself, which knows them by another hash."""


def file_of(raw: object) -> RepoFile | None:
    """A file of a listing; None for a folder. Raises `BrokenRecord`, also for a path that leads elsewhere."""
    fields = table(opened(raw)[0])
    if fields.get("type", "file") != "file":
        return None
    path = fields.get("path")
    if not isinstance(path, str) or not _is_path(path):
        raise BrokenRecord(f"a file whose path is {path!r:.80}")
    large = table(fields.get("lfs"))
    found = (_SHA256.fullmatch((line(large.get(name)) or "").lower()) for name in ("sha256", "oid"))
    told = whole(large.get("size"))
    return RepoFile(
        path=path,
        size=told if told is not None else whole(fields.get("size")),
        sha256=next((match[1] for match in found if match), None),
    )


def tree_path(repo: str, revision: str) -> str:
    """The API's address of a listing, quoted, without the host. Raises `InvalidRequest`."""
    return f"/api/models/{_checked_repo(repo)}/tree/{_quoted_revision(revision)}"


def repo_path(repo: str) -> str:
    """The API's address of a repository, without the host. Raises `InvalidRequest`."""
    return f"/api/models/{_checked_repo(repo)}"


def download_url(url: str, repo: str, revision: str, path: str) -> str:
    """Where a file is fetched from. `url`: the site's; `revision`: a branch, a tag or a commit.

    The site redirects to its storage from there. Raises `InvalidRequest` for what cannot be one of these.
    """
    if not _is_path(path):
        raise InvalidRequest(f"{path[:80]!r} is no path of a file in a repository")
    return f"{url.rstrip('/')}/{_checked_repo(repo)}/resolve/{_quoted_revision(revision)}/{quote(path, safe='/')}"


def _checked_repo(repo: str) -> str:
    if not REPO_ID.fullmatch(repo):
        raise InvalidRequest(f"{repo[:80]!r} is no repository of Hugging Face", hint="it looks like org/name")
    return repo


def _quoted_revision(revision: str) -> str:
    # Git has no name with two dots in it, nor one that begins with a dot; in a URL they would lead elsewhere.
    if not _is_text(revision) or ".." in revision or revision.startswith("."):
        raise InvalidRequest(f"{revision[:80]!r} is no branch, tag or commit", hint="without one it is main")
    return quote(revision, safe="")


def _is_path(path: str) -> bool:
    return _is_text(path) and not any(part in ("", ".", "..") for part in path.split("/"))


def _is_text(value: str) -> bool:
    """Whether it has characters, and only such as a name may have."""
    return 0 < len(value) <= _LONGEST and line(value) == value

"""What can be downloaded, as people write it: numbers, AIRs, `hf:org/repo`, and addresses of CivitAI and Hugging Face.

An address that somebody pastes can have a key in its query: only known parameters are read, and none is repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlencode, urlsplit

from tensors.downloads.choice import ANY, Choice
from tensors.downloads.names import is_confined
from tensors.errors import InvalidRequest
from tensors.references import read_reference

FORMS = (
    "1102 (a model of CivitAI), 1102@1318 (one version of it), urn:air:sdxl:lora:civitai:1102@1318, "
    "https://civitai.com/models/1102, hf:org/repo, hf:org/repo/file.safetensors, https://huggingface.co/org/repo"
)
MAIN = "main"
LONGEST = 4096
"""Characters of a target."""

_NUMBER = "([1-9][0-9]{0,14})"
_HASH = re.compile(r"[0-9a-f]{8}|[0-9a-f]{10}|[0-9a-f]{12}|[0-9a-f]{64}")
_DIGITS = "8 (AutoV1, CRC32), 10 (AutoV2), 12 (AutoV3) or 64 (SHA256, BLAKE3) hexadecimal digits"

_CIVITAI_HOSTS = {f"{name}civitai.{end}" for name in ("", "www.", "api.") for end in ("com", "red", "green")}
_MODEL_FILE = re.compile(r"\+([0-9]+)\Z")
_MODEL_PAGE = re.compile(rf"(?:/api/v1)?/models/{_NUMBER}(?:/.*)?")
_VERSION_PAGE = re.compile(rf"(?:/api/v1)?/model-versions/(?:mini/)?{_NUMBER}/?")
_VERSION_FILE = re.compile(rf"/api/download/models/{_NUMBER}/?")
_BY_HASH = re.compile(r"/api/v1/model-versions/by-hash/([0-9a-zA-Z]+)/?")
_PARAMETERS = {"type": "type", "format": "format", "size": "size_kind", "fp": "precision", "fileId": "file"}
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}")
_MOST_PARAMETERS = 100
_KEY_IN_PATH = re.compile(r"[^?#]*token(?:=|%3d)", re.IGNORECASE)
"""A key that was put behind the wrong sign would become part of a name."""

_HUGGING_FACE_HOSTS = {"huggingface.co", "www.huggingface.co", "hf.co"}
_REPO = r"([A-Za-z0-9][A-Za-z0-9_.-]{0,95}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95})?)"
_REVISION = r"(refs/(?:pr/[0-9]+|convert/[A-Za-z0-9_.-]+)|[^/]+)"
_REPO_NAME = re.compile(rf"{_REPO}(?:@{_REVISION})?(?:/(.*))?")
_REPO_PREFIX = re.compile(r"(?:hf|huggingface|urn:air:(?:[^:\s]+:){1,2}huggingface):(?!//)", re.IGNORECASE)
_REPO_PAGE = re.compile(rf"(?:/api/models)?/{_REPO}(?:/(?:blob|resolve|raw|tree|revision)/{_REVISION}(?:/(.*))?)?")
_NO_REPOS = {"api", "blog", "buckets", "collections", "datasets", "docs", "kernels", "learn", "models", "papers"}
_NO_REPOS |= {"posts", "settings", "spaces", "tasks"}
_GIT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+/-]{0,254}")


@dataclass(frozen=True, slots=True)
class ModelTarget:
    """A model of CivitAI."""

    model: int
    version: int | None = None
    """None: the newest."""
    file: int | None = None

    def __str__(self) -> str:
        version = f"@{self.version}" if self.version else ""
        return f"civitai:{self.model}{version}{f'+{self.file}' if self.file else ''}"


@dataclass(frozen=True, slots=True)
class VersionTarget:
    """A version on CivitAI, whose model is not said."""

    version: int
    choice: Choice = ANY
    """From the address of a file."""

    def __str__(self) -> str:
        said = {name: getattr(self.choice, field) for name, field in _PARAMETERS.items()}
        query = urlencode({name: value for name, value in said.items() if value})
        return f"https://civitai.com/api/download/models/{self.version}{f'?{query}' if query else ''}"


@dataclass(frozen=True, slots=True)
class HashTarget:
    """The version on CivitAI that has a file with this hash."""

    hash: str
    """8, 10, 12 or 64 hexadecimal digits in lower case."""

    def __str__(self) -> str:
        return self.hash


@dataclass(frozen=True, slots=True)
class RepoTarget:
    """A repository on Hugging Face, or a file or folder in it."""

    repo: str
    """`org/name`; a few old ones have no organisation."""
    revision: str = MAIN
    """A branch, a tag or a commit."""
    path: str | None = None

    def __str__(self) -> str:
        # After a name without organisation, a path would be read as the second part of the name.
        is_said = self.revision != MAIN or (self.path and "/" not in self.repo)
        revision = f"@{quote(self.revision, safe='')}" if is_said else ""
        return f"hf:{self.repo}{revision}{f'/{self.path}' if self.path else ''}"


Target = ModelTarget | VersionTarget | HashTarget | RepoTarget


def read_target(text: str, *, civitai_url: str, huggingface_url: str) -> Target:
    """What a person means; the two URLs are those of the settings, whose addresses are understood too.

    `str()` of any but a `HashTarget` is read back as the same. Raises `InvalidRequest`, which names all the forms.
    """
    text = text.strip()
    found: Target | None = None
    if len(text) <= LONGEST and text.isprintable() and not _KEY_IN_PATH.match(text):
        found = _named(text) or _at_address(text, civitai_url, huggingface_url)
    if found is None:
        raise InvalidRequest(f"{_shown(text)} is nothing that can be downloaded", hint=_hint(text))
    return found


def read_hash(text: str) -> str:
    """A hash of a file in lower case. Raises `InvalidRequest`."""
    digest = text.strip().lower()
    if not _HASH.fullmatch(digest):
        raise InvalidRequest(f"{text[:80]!r} is no hash of a file", hint=f"a hash has {_DIGITS}")
    return digest


def _named(text: str) -> Target | None:
    if prefix := _REPO_PREFIX.match(text):
        name = _REPO_NAME.fullmatch(re.split(r"[?#]", text[prefix.end() :])[0])
        # Without an organisation, only a revision tells where the name ends.
        if name is None or (name[3] and not name[2] and "/" not in name[1]):
            return None
        # A branch's name can have slashes: `@feature%2Fname`.
        return _repo(name[1], unquote(name[2] or ""), name[3])
    reference = None if "/" in text else read_reference(text)
    file = _MODEL_FILE.search(text)
    if reference is None or (file and not re.fullmatch(_NUMBER, file[1])):
        return None
    return ModelTarget(reference.model, reference.version, int(file[1]) if file else None)


def _at_address(text: str, civitai_url: str, huggingface_url: str) -> Target | None:
    address = _split(text)
    if address is None:
        return None
    path = _path_at(address, civitai_url, _CIVITAI_HOSTS)
    if path is not None and (target := _at_civitai(path, address.query)):
        return target
    path = _path_at(address, huggingface_url, _HUGGING_FACE_HOSTS)
    page = _REPO_PAGE.fullmatch(path.rstrip("/")) if path is not None else None
    return _repo(page[1], unquote(page[2] or ""), unquote(page[3] or "")) if page else None


def _split(text: str) -> SplitResult | None:
    """An address of the web, also without `https://`; None for one with a password, and for anything else."""
    try:
        address = urlsplit(text if "://" in text else f"https://{text}")
        usable = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:
        return None
    return address if usable and "@" not in address.netloc and " " not in text else None


def _path_at(address: SplitResult, base: str, hosts: set[str]) -> str | None:
    """The address's path on a site, which is known by its hosts or by the URL from the settings."""
    configured = urlsplit(base)
    prefix = configured.path.rstrip("/")
    if _place(address) == _place(configured) and address.path.startswith(f"{prefix}/"):
        return address.path[len(prefix) :]
    return address.path if _place(address) in {(host, None) for host in hosts} else None


def _place(address: SplitResult) -> tuple[str, int | None]:
    """Host and port; the usual ports are none."""
    usual = {"http": 80, "https": 443}[address.scheme]
    return address.hostname or "", None if address.port == usual else address.port


def _at_civitai(path: str, query: str) -> Target | None:
    try:
        said = parse_qs(query, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        return None
    if page := _MODEL_PAGE.fullmatch(path):
        versions = said.get("modelVersionId", [])
        if not all(re.fullmatch(_NUMBER, version) for version in versions) or len(set(versions)) > 1:
            return None
        return ModelTarget(int(page[1]), int(versions[0]) if versions else None)
    if page := _VERSION_FILE.fullmatch(path):
        words: dict[str, Any] = {field: said[name][0] for name, field in _PARAMETERS.items() if name in said}
        return VersionTarget(int(page[1]), replace(ANY, **words)) if all(map(_WORD.fullmatch, words.values())) else None
    if page := _VERSION_PAGE.fullmatch(path):
        return VersionTarget(int(page[1]))
    page = _BY_HASH.fullmatch(path)
    return HashTarget(page[1].lower()) if page and _HASH.fullmatch(page[1].lower()) else None


def _repo(repo: str, revision: str, path: str | None) -> RepoTarget | None:
    path = (path or "").removesuffix("/") or None
    revision = revision or MAIN
    usable = repo.partition("/")[0] not in _NO_REPOS and _GIT_NAME.fullmatch(revision) and is_confined(revision)
    return RepoTarget(repo, revision, path) if usable and (path is None or is_confined(path)) else None


def _shown(text: str) -> str:
    """What may be repeated of it: not the query, which can have a key, nor a password before the host."""
    bare = re.sub(r"//.*@", "//", text, flags=re.DOTALL)
    bare = re.split(r"[?#&;]|%3f|%26|token(?:=|%3d)", bare, maxsplit=1, flags=re.IGNORECASE)[0]
    return repr(bare[:120]) if bare else "this"


def _hint(text: str) -> str:
    if _HASH.fullmatch(text.lower()):
        return f"a hash is given with -H: tsr dl -H {text}"
    if re.fullmatch(_REPO, text) and "/" in text:
        return f"of Hugging Face it is hf:{text}; all forms: {FORMS}"
    return f"what is understood: {FORMS}; a version's number goes with -v, a hash with -H"

"""CivitAI, asked over its public API.

What is said here about the site is from its documentation (developer.civitai.com, 2026) and its own source (the
handlers of `/api/v1` in github.com/civitai/civitai); nothing of it was tried against the site itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from tensors.catalog import CatalogHttp, Site
from tensors.civitai.permission import Permission, permission_of
from tensors.civitai.records import (
    BrokenRecord,
    ModelRecord,
    VersionRecord,
    model_of,
    models_page,
    version_of,
    versions_list,
)
from tensors.document import listing, opened
from tensors.errors import InvalidRequest, NotInCatalog
from tensors.fields import identity, line, lines, table

CIVITAI = Site("CivitAI", "api.civitai", "https://civitai.com/user/account")
LARGEST_ID = 2**31 - 1
"""Of a model or version; the site answers a larger one with an error, of one among many too."""
MOST_MODELS = 100
"""In one page."""
MOST_IDS = 10_000
"""SHA256 in one question for ids; one more is an error for all."""
MOST_VERSIONS = 100
"""SHA256 in one question for versions; one more is an error for all."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH = re.compile(r"[0-9a-f]{8,64}")
T = TypeVar("T")
R = TypeVar("R")


class Civitai:
    """CivitAI's models and versions.

    Methods raise `CatalogUnreachable` after several tries, `CatalogRefused`, `CatalogError` for an answer that is no
    use, and `JobCancelled` soon after `stop` says so. An iterator asks when its next item is wanted, so what was taken
    from it before an error is good. May be used by several threads; they wait for each other.
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
        """`url`: the site's, without `/api/v1`. `timeout`: seconds of silence. Raises `ConfigError`."""
        self._http = CatalogHttp(CIVITAI, url, api_key=api_key, timeout=timeout, sleep=sleep, stop=stop)
        self.broken = 0
        """Records of lists that could not be read and were left out."""

    def model(self, model_id: int) -> ModelRecord:
        """A model with its published versions. Raises `NotInCatalog`."""
        return self._one(f"model {model_id}", model_id, f"/models/{model_id}", model_of)

    def version(self, version_id: int) -> VersionRecord:
        """One version. Raises `NotInCatalog`."""
        return self._one(f"version {version_id}", version_id, f"/model-versions/{version_id}", version_of)

    def mini(self, version_id: int) -> Permission:
        """What a download of a version needs, without all that is said of it otherwise. Raises `NotInCatalog`."""
        return self._one(f"version {version_id}", version_id, f"/model-versions/mini/{version_id}", permission_of)

    def models(self, ids: Iterable[int]) -> Iterator[ModelRecord]:
        """Those of the models that there are, in no order, a hundred in one call."""
        for chunk in _chunks((model_id for model_id in ids if _is_possible(model_id)), MOST_MODELS):
            missing = set(chunk)
            for record in self._listed(chunk):
                if record.id in missing:
                    missing.discard(record.id)
                    yield record
            # The list has no archived models and none of real persons, whatever is asked for; the single answer has.
            for model_id in sorted(missing):
                try:
                    yield self.model(model_id)
                except NotInCatalog:
                    continue

    def version_by_hash(self, value: str) -> VersionRecord | None:
        """The version with a file of this AutoV1, AutoV2, AutoV3, SHA256, BLAKE3 or CRC32; None when there is none."""
        digest = value.strip().lower()
        if not _HASH.fullmatch(digest):
            raise InvalidRequest(f"{value[:80]!r} is no hash", hint="a hash has 8 to 64 hexadecimal digits")
        try:
            body = self._http.get(f"/api/v1/model-versions/by-hash/{digest}").body
        except NotInCatalog:
            return None
        return self._read(version_of, body)

    def ids_by_sha256(self, hashes: Iterable[str]) -> Iterator[Mapping[str, int]]:
        """For each call of up to 10,000: SHA256 in lower case -> id of its version.

        What is no SHA256 is not asked for, what the site does not know is left out. Of several versions with the same
        file it is the oldest.
        """
        for chunk in _chunks(_digests(hashes), MOST_IDS):
            asked = set(chunk)
            found: dict[str, int] = {}
            for digest, version_id in map(_match, self._read(listing, self._posted("/ids", chunk))):
                if digest in asked and version_id is not None:
                    found[digest] = min(version_id, found.get(digest, version_id))
            yield found

    def versions_by_sha256(self, hashes: Iterable[str]) -> Iterator[Sequence[VersionRecord]]:
        """For each call of up to 100: the versions with these files. What the site does not know is left out."""
        for chunk in _chunks(_digests(hashes), MOST_VERSIONS):
            versions, broken = self._read(versions_list, self._posted("", chunk))
            self.broken += broken
            yield versions

    def search(
        self,
        query: str | None = None,
        *,
        types: Sequence[str] = (),
        base_models: Sequence[str] = (),
        tag: str | None = None,
        username: str | None = None,
        sort: str | None = None,
        period: str | None = None,
        nsfw: bool | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> tuple[Sequence[ModelRecord], str | None]:
        """A page of models, and the cursor of the next one.

        `sort`: Highest Rated, Most Downloaded or Newest; `period`: AllTime, Year, Month, Week or Day; `nsfw` true for
        all, otherwise only what everybody may see; `limit`: 1 to 100.
        """
        given = (
            ("query", query),
            *(("types", name) for name in types),
            *(("baseModels", name) for name in base_models),
            ("tag", tag),
            ("username", username),
            ("sort", sort),
            ("period", period),
            ("nsfw", None if nsfw is None else str(nsfw).lower()),
            ("limit", str(min(max(limit, 1), MOST_MODELS))),
            ("cursor", cursor),
        )
        return self._page([(name, value) for name, value in given if value])

    def enums(self) -> Mapping[str, Sequence[str]]:
        """The lists of `ModelType`, `BaseModel` and others as they are today."""
        document = self._read(opened, self._http.get("/api/v1/enums").body)[0]
        return {name: found for name, value in table(document).items() if (found := lines(value))}

    def close(self) -> None:
        """End the connection."""
        self._http.close()

    def _one(self, noun: str, number: int, path: str, read: Callable[[bytes], R]) -> R:
        if _is_possible(number):
            try:
                return self._read(read, self._http.get(f"/api/v1{path}").body)
            except NotInCatalog as error:
                raise self._not_in_catalog(noun) from error
        raise self._not_in_catalog(noun)

    def _not_in_catalog(self, noun: str) -> NotInCatalog:
        return NotInCatalog(f"{self._http.name} has no {noun}, or not any more")

    def _listed(self, ids: Sequence[int]) -> Iterator[ModelRecord]:
        """Every page of a question for these models."""
        cursor, wanted = None, set(ids)
        # Without `nsfw` the list has only what everybody may see.
        asked = [("ids", ",".join(map(str, ids))), ("limit", str(MOST_MODELS)), ("nsfw", "true")]
        while True:
            records, following = self._page([*asked, ("cursor", cursor)] if cursor else asked)
            yield from records
            # A mirror that does not look at `ids` would tell all it has.
            if following is None or wanted.isdisjoint(record.id for record in records):
                return
            cursor = following

    def _page(self, parameters: Sequence[tuple[str, str]]) -> tuple[Sequence[ModelRecord], str | None]:
        records, cursor, broken = self._read(models_page, self._http.get("/api/v1/models", parameters).body)
        self.broken += broken
        # A page that leads to itself would be read for ever.
        return records, None if ("cursor", cursor) in parameters else cursor

    def _posted(self, path: str, digests: Sequence[str]) -> bytes:
        """The answer to a list of SHA256, which the site has in upper case."""
        return self._http.post(f"/api/v1/model-versions/by-hash{path}", [digest.upper() for digest in digests]).body

    def _read(self, read: Callable[[bytes], R], body: bytes) -> R:
        try:
            return read(body)
        except BrokenRecord as error:
            raise self._http.unusable(error) from error


def _match(entry: object) -> tuple[str, int | None]:
    """A SHA256 in lower case and the id of its version, from `{"modelVersionId", "hash"}`."""
    try:
        fields = table(opened(entry)[0])
    except BrokenRecord:
        return "", None
    return (line(fields.get("hash")) or "").lower(), identity(fields.get("modelVersionId"))


def _is_possible(number: int) -> bool:
    return 0 < number <= LARGEST_ID


def _digests(hashes: Iterable[str]) -> Iterator[str]:
    """Those that are a SHA256, in lower case."""
    return (digest for value in hashes if _SHA256.fullmatch(digest := value.strip().lower()))


def _chunks(items: Iterable[T], most: int) -> Iterator[Sequence[T]]:
    """Different items, `most` at a time."""
    chunk: dict[T, None] = {}
    for item in items:
        chunk[item] = None
        if len(chunk) == most:
            yield tuple(chunk)
            chunk.clear()
    if chunk:
        yield tuple(chunk)

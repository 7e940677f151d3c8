"""Asking CivitAI what files are: in bulk by SHA256, then what other tools' notes name, then hash by hash."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tensors.db.cache import Fetching, check_stop, hundreds
from tensors.db.catalog import has_models, store_version
from tensors.db.hints import named_versions
from tensors.db.linking import KINDS, LinkedFile, Linking
from tensors.db.matches import AUTOV3_DIGITS, EMPTY, Match
from tensors.db.patience import Patience
from tensors.db.words import as_json
from tensors.errors import NotInCatalog
from tensors.types.jobs import Progress

if TYPE_CHECKING:
    from tensors.civitai.client import Civitai
    from tensors.civitai.records import VersionRecord

VERSIONS_A_CALL = 100
_AUTOV3 = re.compile(rf"(?!{EMPTY})[0-9a-f]{{{AUTOV3_DIGITS},64}}")
_BLAKE3 = re.compile(r"[0-9a-f]{64}")


class Asking:
    """The questions of one run. Each answer is stored and linked in one transaction before the next question."""

    def __init__(self, work: Linking, civitai: Civitai, *, refresh: bool, everything: bool) -> None:
        """`everything`: models of all linked files are completed, not only of the files looked at."""
        self._work = work
        self._database = work.database
        self._civitai = civitai
        self._refresh = refresh
        self._everything = everything
        self._fetching = Fetching(
            database=work.database, civitai=civitai, stop=work.stop, now=work.now, also=self._adopt_model
        )
        self._models: set[int] = set()
        """Asked for, or about to be."""
        self._stored: dict[int, None] = {}
        """Models of which a version was told."""
        self._hashes: dict[str, list[int]] = {}
        """SHA256 to ask for -> files."""
        self._patience: Patience[str] = Patience()
        """With these."""

    def ask(self) -> None:
        """Ask for what is not linked. Raises `CatalogError`, `JobCancelled`; what was done is kept."""
        # Those that an interrupted run left, or all of them.
        self._complete(self._linked_models(), again=self._refresh)
        if self._refresh:
            self._work.gone.update(self._fetching.not_found)
        self._hashes = self._work.to_ask(refresh=self._refresh)
        unknown = self._ask_in_bulk()
        self._ask_noted(unknown)
        self._ask_one_by_one(unknown)
        self._work.fetched.update(self._fetching.fetched)
        self._tell_problems()

    def _ask_in_bulk(self) -> list[str]:
        """Ask for all SHA256. Returns those that CivitAI does not know."""
        known: dict[str, int] = {}
        check_stop(self._work.stop)
        for answer in self._civitai.ids_by_sha256(self._hashes):
            known.update(answer)
            check_stop(self._work.stop)
        waiting = [sha256 for sha256 in self._hashes if sha256 in known]
        while waiting := self._unmatched(waiting):
            batch, waiting = waiting[:VERSIONS_A_CALL], waiting[VERSIONS_A_CALL:]
            for sha256 in self._ask_hundred({sha256: known[sha256] for sha256 in batch}):
                del known[sha256]
            self._work.tell()
        return [sha256 for sha256 in self._hashes if sha256 not in known]

    def _ask_hundred(self, known: dict[str, int]) -> list[str]:
        """Ask for the versions of SHA256. Returns those whose versions CivitAI does not tell: drafts, for one."""
        check_stop(self._work.stop)
        with self._patience.question(None):
            answers = self._civitai.versions_by_sha256(known)
            self._store([record for answer in answers for record in answer], self._told(known))
        untold = [
            sha256
            for sha256 in self._unmatched(known)
            if not self._ask_version(sha256, known[sha256], self._told({sha256: known[sha256]}))
        ]
        self._complete_stored()
        return untold

    def _ask_version(self, sha256: str, version_id: int, told: Iterable[Match] = ()) -> bool:
        """Ask for one version. Returns whether there is one, as far as that could be told."""
        check_stop(self._work.stop)
        with self._patience.question(sha256):
            try:
                self._store([self._civitai.version(version_id)], told)
            except NotInCatalog:
                return False
        return True

    def _ask_noted(self, unknown: Sequence[str]) -> None:
        """Fetch what notes name: with that in the cache, files can match by other hashes, or by the note's word."""
        files = {file_id: sha256 for sha256 in unknown for file_id in self._hashes[sha256]}
        self._complete([model_id for _, _, model_id in named_versions(self._database, files) if model_id is not None])
        versions = {version_id: file_id for file_id, version_id, _ in named_versions(self._database, files)}
        for version_id, file_id in versions.items():
            if file_id in self._work.open:
                self._ask_version(files[file_id], version_id)

    def _ask_one_by_one(self, unknown: Sequence[str]) -> None:
        for sha256 in unknown:
            file = self._work.files[self._hashes[sha256][0]]
            if file.id in self._work.open:
                self._ask_file(sha256, file)
                self._work.tell(file.name)
        # Not before: of a model that is complete, versions that it does not list are kept only where they are linked.
        self._complete_stored()

    def _ask_file(self, sha256: str, file: LinkedFile) -> None:
        """Ask for the other hashes of a file."""
        for kind, value in _other_hashes(file):
            check_stop(self._work.stop)
            with self._patience.question(sha256):
                record = self._civitai.version_by_hash(value)
                if record is not None:
                    told = [Match(file_id, record.id, None, kind) for file_id in self._hashes[sha256]]
                    self._store([record], told)
                    return
        if sha256 not in self._patience.problems:
            with self._database.atomic():
                self._work.give_up(self._hashes[sha256])

    def _store(self, records: Sequence[VersionRecord], told: Iterable[Match]) -> None:
        versions = {record.id for record in records}
        with self._database.atomic():
            for record in records:
                store_version(self._database, record, fetched_at=self._work.now())
            self._work.adopt(versions, [match for match in told if match.version_id in versions])
        self._stored.update((record.model_id, None) for record in records)

    def _complete_stored(self) -> None:
        """Fetch the models whose versions came alone."""
        self._complete(self._stored)
        self._stored.clear()

    def _complete(self, model_ids: Iterable[int], *, again: bool = False) -> None:
        """Fetch models with all their versions, unless they are kept or cannot be had."""
        wanted = list(dict.fromkeys(model_id for model_id in model_ids if model_id not in self._models))
        if not again:
            kept = has_models(self._database, wanted) | self._not_to_be_had(wanted)
            wanted = [model_id for model_id in wanted if model_id not in kept]
        self._models.update(wanted)
        for batch in hundreds(wanted):
            self._tell_models()
            self._fetching.fetch(batch)
        if wanted:
            self._tell_models()

    def _adopt_model(self, model_id: int) -> None:
        rows = self._database.connection.execute("SELECT id FROM versions WHERE model_id = ?", (model_id,))
        self._work.adopt([version_id for (version_id,) in rows])

    def _unmatched(self, hashes: Iterable[str]) -> list[str]:
        return [sha256 for sha256 in hashes if not self._work.open.isdisjoint(self._hashes[sha256])]

    def _told(self, known: dict[str, int]) -> list[Match]:
        """What CivitAI said of these SHA256: its word is enough, also where the version does not list them."""
        return [
            Match(file_id, version_id, None, "sha256")
            for sha256, version_id in known.items()
            for file_id in self._hashes[sha256]
        ]

    def _linked_models(self) -> list[int]:
        """Models of linked files: those not complete yet, or all to refresh them, the oldest first."""
        rows = self._database.connection.execute(
            """SELECT DISTINCT models.id, complete, fetched_at FROM links
            JOIN versions ON versions.id = links.version_id JOIN models ON models.id = versions.model_id
            WHERE (:everything OR links.file_id IN (SELECT value FROM json_each(:files))) AND (:all OR NOT complete)
            ORDER BY complete, fetched_at, models.id""",
            {"everything": self._everything, "files": as_json(self._work.files), "all": self._refresh},
        )
        return [model_id for model_id, *_ in rows]

    def _not_to_be_had(self, model_ids: Iterable[int]) -> set[int]:
        query = "SELECT model_id FROM models_not_found WHERE model_id IN (SELECT value FROM json_each(?))"
        return {model_id for (model_id,) in self._database.connection.execute(query, (as_json(model_ids),))}

    def _tell_models(self) -> None:
        self._work.report(Progress(phase="fetching", done=self._fetching.done, total=len(self._models), unit="models"))

    def _tell_problems(self) -> None:
        for sha256, error in self._patience.problems.items():
            for file_id in self._hashes[sha256]:
                if file_id in self._work.open:
                    self._work.problems[file_id] = f"cannot be looked up: {error.message}"
        query = "SELECT file_id FROM versions JOIN links ON links.version_id = versions.id WHERE model_id = ?"
        for model_id, error in self._fetching.problems.items():
            for (file_id,) in self._database.connection.execute(query, (model_id,)):
                self._work.problems[file_id] = f"is of model {model_id}, which cannot be fetched: {error.message}"


def _other_hashes(file: LinkedFile) -> Iterator[tuple[str, str]]:
    """What else than SHA256 a file can be asked for by."""
    if file.kind in KINDS:
        if file.autov3 and _AUTOV3.fullmatch(file.autov3):
            yield "autov3", file.autov3[:AUTOV3_DIGITS]
        if file.blake3 and _BLAKE3.fullmatch(file.blake3):
            yield "blake3", file.blake3

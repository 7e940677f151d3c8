"""The files that are to be linked, and what became of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tensors.db.hints import match_notes
from tensors.db.matches import Match, match_files, match_versions, open_files, write_links
from tensors.db.words import as_json
from tensors.types.jobs import Progress
from tensors.types.library import FileProblem, LinkReport

if TYPE_CHECKING:
    from tensors.db.database import Database

KINDS = ("lora", "embedding", "checkpoint", "diffusion_model", "controlnet", "vae", "upscaler", "unknown")
"""In the order in which they are asked for: people have the most of LoRAs. Of other kinds (text encoders, TAEs) CivitAI
has no models of their own, so what SHA256 does not find is not asked for under other hashes."""
MOST_PROBLEMS = 1_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


class LinkedFile(NamedTuple):
    """A file that is looked at."""

    id: int
    name: str
    kind: str
    sha256: str | None
    autov3: str | None
    blake3: str | None
    matched_by: str | None
    """How it was linked when the work began."""
    asked: bool
    """CivitAI was asked for its SHA256 before, and did not know it."""
    problem: str | None
    """Why it cannot be read: then it is not linked."""


@dataclass(slots=True, kw_only=True)
class Linking:
    """The files of one run."""

    database: Database
    files: dict[int, LinkedFile]
    report: Callable[[Progress], None]
    stop: Callable[[], bool]
    now: Callable[[], str]
    open: set[int] = field(init=False)
    """Whose links a hash may still make: not linked, or by a note only."""
    pending: set[int] = field(init=False)
    """What is not done yet."""
    matched: dict[int, str] = field(init=False, default_factory=dict)
    """What files were linked by just now."""
    problems: dict[int, str] = field(init=False, default_factory=dict)
    fetched: set[int] = field(init=False, default_factory=set)
    """Models."""
    gone: set[int] = field(init=False, default_factory=set)
    """Models of linked files that CivitAI does not tell any more."""

    def __post_init__(self) -> None:
        self.open = open_files(self.database, self.files)
        self.pending = set(self.open)

    def match_cached(self) -> None:
        """Match with the models that are cached."""
        self.tell()
        with self.database.atomic():
            self._write(match_files(self.database, self.open))
            self._write(match_notes(self.database, self._unlinked(self.open)))

    def adopt(self, version_ids: Iterable[int], told: Iterable[Match] = ()) -> None:
        """Link files to versions just stored. `told`: links that are CivitAI's word, for what has no hash listed.

        To be called in the transaction that stores the versions.
        """
        matches = {match.file_id: match for match in told if match.file_id in self.open}
        for file_id in self._changed(matches):
            del matches[file_id]
        matches.update((match.file_id, match) for match in match_versions(self.database, version_ids, self.open))
        self._write(list(matches.values()))

    def give_up(self, file_ids: Iterable[int]) -> None:
        """Go by the notes beside files of the same bytes, which CivitAI does not know, and remember that it does not.

        To be called in a transaction.
        """
        files = [self.files[file_id] for file_id in file_ids if file_id in self.open]
        self._write(match_notes(self.database, self._unlinked(file.id for file in files)))
        at = self.now()
        self.database.connection.executemany(
            "INSERT INTO not_found VALUES (?, ?) ON CONFLICT (sha256) DO UPDATE SET asked_at = excluded.asked_at",
            {(file.sha256, at) for file in files},
        )
        self.pending.difference_update(file.id for file in files)

    def tell(self, name: str | None = None) -> None:
        """Report how many files are done."""
        done = len(self.files) - len(self.pending)
        self.report(Progress(phase="matching", done=done, total=len(self.files), unit="files", name=name))

    def to_ask(self, *, refresh: bool) -> dict[str, list[int]]:
        """Files by the SHA256 that CivitAI is to be asked for."""
        order = {kind: place for place, kind in enumerate(KINDS)}
        found: dict[str, list[int]] = {}
        for file in sorted(self.files.values(), key=lambda file: (order.get(file.kind, len(order)), file.id)):
            known = file.asked and not refresh
            if file.id in self.open and not known and file.sha256 and _SHA256.fullmatch(file.sha256):
                found.setdefault(file.sha256, []).append(file.id)
        self.pending = {file_id for file_ids in found.values() for file_id in file_ids}
        self.tell()
        return found

    def count_linked(self) -> int:
        """How many of the files are linked by now."""
        return self._count("links.file_id IS NOT NULL")

    def result(self) -> LinkReport:
        """The report, when all is done."""
        self.pending.clear()
        self.tell()
        by = list(self.matched.values())
        gone = "versions.model_id IN (SELECT value FROM json_each(:gone))"
        self.problems.update((file.id, file.problem) for file in self.files.values() if file.problem)
        return LinkReport(
            files=len(self.files),
            linked=len(by),
            by_sha256=by.count("sha256"),
            by_autov3=by.count("autov3"),
            by_blake3=by.count("blake3"),
            by_sidecar=by.count("sidecar"),
            not_found=self._count(f"links.file_id IS NULL AND not_found.sha256 IS NOT NULL OR {gone}"),
            unhashed=self._count("links.file_id IS NULL AND hashes.value IS NULL AND files.problem IS NULL"),
            fetched=len(self.fetched),
            problems=tuple(self._told_problems()),
        )

    def _write(self, matches: Iterable[Match]) -> None:
        """Make links, except where somebody else made one meanwhile."""
        wanted = {match.file_id: match for match in matches}
        linked = [wanted[file_id] for file_id in sorted(open_files(self.database, wanted))]
        write_links(self.database, linked, at=self.now())
        self.matched.update((match.file_id, match.matched_by) for match in linked)
        done = {file_id for file_id, match in wanted.items() if match.matched_by != "sidecar"}
        self.open -= done
        self.pending -= done

    def _changed(self, file_ids: Iterable[int]) -> set[int]:
        """Those that have other bytes since the work began: a scan can run beside it."""
        query = """SELECT file_id, file_hashes.value FROM json_each(?) AS wanted
            CROSS JOIN file_hashes ON file_hashes.file_id = wanted.value AND kind = 'sha256'"""
        present = dict(self.database.connection.execute(query, (as_json(file_ids),)).fetchall())
        return {file_id for file_id in file_ids if present.get(file_id) != self.files[file_id].sha256}

    def _unlinked(self, file_ids: Iterable[int]) -> list[int]:
        """Those without any link: one note does not overrule another."""
        return [
            file_id for file_id in file_ids if file_id not in self.matched and self.files[file_id].matched_by is None
        ]

    def _count(self, condition: str) -> int:
        query = f"""SELECT count(*) FROM json_each(:files) AS wanted CROSS JOIN files ON files.id = wanted.value
            LEFT JOIN file_hashes AS hashes ON hashes.file_id = files.id AND hashes.kind = 'sha256'
            LEFT JOIN not_found ON not_found.sha256 = hashes.value
            LEFT JOIN links ON links.file_id = files.id LEFT JOIN versions ON versions.id = links.version_id
            WHERE {condition}"""
        wanted = {"files": as_json(self.files), "gone": as_json(self.gone)}
        return int(self.database.connection.execute(query, wanted).fetchone()[0])

    def _told_problems(self) -> Iterable[FileProblem]:
        query = """SELECT files.id, directory, name FROM json_each(?) AS wanted
            CROSS JOIN files ON files.id = wanted.value ORDER BY directory, name LIMIT ?"""
        rows = self.database.connection.execute(query, (as_json(self.problems), MOST_PROBLEMS))
        return [FileProblem(path=os.path.join(*path), message=self.problems[file_id]) for file_id, *path in rows]


_FILES = """
    SELECT files.id, files.name, files.kind, sha256.value, autov3.value, blake3.value, links.matched_by,
        not_found.sha256 IS NOT NULL, files.problem
    FROM files
    LEFT JOIN file_hashes AS sha256 ON sha256.file_id = files.id AND sha256.kind = 'sha256'
    LEFT JOIN file_hashes AS autov3 ON autov3.file_id = files.id AND autov3.kind = 'autov3'
    LEFT JOIN file_hashes AS blake3 ON blake3.file_id = files.id AND blake3.kind = 'blake3'
    LEFT JOIN links ON links.file_id = files.id
    LEFT JOIN not_found ON not_found.sha256 = sha256.value
    WHERE """
_WHOLE = (
    "files.problem IS NULL AND NOT files.user_unlinked AND (files.missing_since IS NULL OR sha256.value IS NOT NULL)"
)
_UNLINKED = "(links.file_id IS NULL OR links.matched_by = 'sidecar' AND not_found.sha256 IS NULL)"
"""A link by a note is tried by hash once: a hash is better."""


def looked_at(database: Database, named: Iterable[int] | None, *, refresh: bool) -> dict[int, LinkedFile]:
    """The named files; otherwise those that are not linked, or that may get a better link, and to `refresh` all."""
    if named is not None:
        rows = database.connection.execute(
            f"{_FILES} files.id IN (SELECT value FROM json_each(?)) ORDER BY files.id", (as_json(named),)
        )
    else:
        condition = _WHOLE if refresh else f"{_WHOLE} AND {_UNLINKED}"
        rows = database.connection.execute(f"{_FILES} {condition} ORDER BY files.id")
    return {row[0]: LinkedFile(*row) for row in rows}

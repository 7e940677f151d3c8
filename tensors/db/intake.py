"""Takes in what a scan finds, many files in one transaction: the disk is waited for seldom, and nobody waits for long.

Nothing here relies on what was read from the database before the transaction: another scan may have written meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from tensors.db.finding import Finding, Place
from tensors.db.settle import settle
from tensors.sidecars import Note

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.db.tally import Tally
    from tensors.hashing import Hashes

_MOST_FILES = 1_000
_MOST_BYTES = 4 * 1024 * 1024
_SECONDS = 1.0

_EXISTING = """
    SELECT wanted.key, files.id, files.size, files.mtime_ns, files.inode, hashed.value
    FROM json_each(?) AS wanted
    CROSS JOIN files ON files.directory = json_extract(wanted.value, '$[0]')
        AND files.name = json_extract(wanted.value, '$[1]')
    LEFT JOIN file_hashes AS hashed ON hashed.file_id = files.id AND hashed.kind = 'sha256'"""
_FACTS = """size, mtime_ns, inode, problem, format, data_start, parameters, precision, variant, adapter,
    found_kind, found_kind_from, found_family, found_family_from"""
_INSERT = f"""
    INSERT INTO files (id, directory, name, added_at, {_FACTS}, kind, kind_from, family, family_from)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?15, ?16, ?17, ?18)"""
_UPDATE = f"""
    UPDATE files SET missing_since = NULL, ({_FACTS}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"""
_INSERT_NOTE = """
    INSERT OR REPLACE INTO sidecars
    (file_id, name, tool, size, mtime_ns, model_id, version_id, sha256, words, notes, problem)
    SELECT id, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12 FROM files WHERE directory = ?1 AND name = ?2"""
_NOTHING = (None, None, None, None, None, None, "unknown", None, "unknown", None)

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class FoundNote:
    """A sidecar of the model file `model` in the same folder."""

    place: Place
    model: str
    note: Note


@dataclass(slots=True)
class Intake:
    """What was found and is not in the database yet."""

    database: Database
    tally: Tally
    rehash: bool
    """Hashes of what is read again are put aside also when its size and time are the same."""
    findings: list[Finding] = field(default_factory=list)
    same: list[Place] = field(default_factory=list)
    """Files that are what they were, and are there again or have another inode."""
    notes: list[FoundNote] = field(default_factory=list)
    lost_notes: list[tuple[int, str]] = field(default_factory=list)
    """Sidecars that are not there any more: number of the file, name."""
    _bytes: int = 0
    _written: float = field(default_factory=time.monotonic)

    def add(self, finding: Finding) -> None:
        """Take in a file."""
        self.findings.append(finding)
        self._bytes += sum(len(value) for _, value in finding.metadata)

    def write_if_due(self) -> None:
        """Write when there is much of it, or some of it is a second old."""
        waiting = len(self.findings) + len(self.same) + len(self.notes) + len(self.lost_notes)
        due = waiting >= _MOST_FILES or self._bytes >= _MOST_BYTES or time.monotonic() - self._written >= _SECONDS
        if waiting and due:
            self.write()

    def write(self) -> None:
        """Write all of it."""
        with self.database.atomic():
            if self.findings:
                self._write_findings()
            self._many(
                "UPDATE files SET missing_since = NULL, inode = ? WHERE directory = ? AND name = ?",
                [(place.inode, place.directory, place.name) for place in self.same],
            )
            self._many("DELETE FROM sidecars WHERE file_id = ? AND name = ?", self.lost_notes)
            self._many(_INSERT_NOTE, [_note_row(found) for found in self.notes])
        self.findings, self.same, self.notes, self.lost_notes = [], [], [], []
        self._bytes, self._written = 0, time.monotonic()

    def _many(self, statement: str, rows: Iterable[Row]) -> None:
        self.database.connection.executemany(statement, rows)

    def _write_findings(self) -> None:
        execute = self.database.connection.execute
        wanted = [(finding.place.directory, finding.place.name) for finding in self.findings]
        existing = {row[0]: row[1:] for row in execute(_EXISTING, (msgspec.json.encode(wanted).decode(),))}
        (next_id,) = execute("SELECT coalesce(max(id), 0) + 1 FROM files").fetchone()
        added: list[Row] = []
        updated: list[Row] = []
        ids: list[int] = []
        for position, finding in enumerate(self.findings):
            facts = _facts(finding)
            if known := existing.get(position):
                ids.append(known[0])
                updated.append((*facts, known[0]))
                self._put_aside(finding, *known)
            else:
                ids.append(next_id)
                added.append((next_id, *wanted[position], self.tally.moment, *facts))
                next_id += 1
        self.tally.new_ids.append(range(next_id - len(added), next_id))
        self._many(_INSERT, added)
        self._many("INSERT INTO undecided (file_id, listed) VALUES (?, 0)", [(row[0],) for row in added])
        self._many(_UPDATE, updated)
        self._write_words(ids, [row[-1] for row in updated])
        settle(self.database, [known[0] for known in existing.values()])

    def _put_aside(
        self, finding: Finding, file_id: int, size: int, mtime_ns: int, inode: int, sha256: str | None
    ) -> None:
        """Of a file that was known: what it was stays known until its new hash says whether it is still the same."""
        execute = self.database.connection.execute
        place = finding.place
        is_same = (place.size, place.mtime_ns, place.inode) == (size, mtime_ns, inode)
        if finding.hashes:
            decide(self.database, file_id, finding.hashes.sha256)
        elif sha256 and (self.rehash or not is_same):
            execute(
                "INSERT INTO undecided (file_id, listed, former_sha256) VALUES (?, 1, ?) ON CONFLICT DO NOTHING",
                (file_id, sha256),
            )
            execute("DELETE FROM file_hashes WHERE file_id = ?", (file_id,))

    def _write_words(self, ids: list[int], known: list[object]) -> None:
        """Metadata, training tags and hashes."""
        found = list(zip(ids, self.findings, strict=True))
        for table in ("file_metadata", "file_tags"):
            self._many(f"DELETE FROM {table} WHERE file_id = ?", [(file_id,) for file_id in known])
        self._many(
            "INSERT OR IGNORE INTO file_metadata (file_id, key, value) VALUES (?, ?, ?)",
            [(file_id, key, value) for file_id, finding in found for key, value in finding.metadata],
        )
        self._many(
            "INSERT INTO file_tags (file_id, position, tag, count) VALUES (?, ?, ?, ?)",
            [
                (file_id, position, tag, count)
                for file_id, finding in found
                for position, (tag, count) in enumerate(finding.tags)
            ],
        )
        self._many(
            "INSERT OR REPLACE INTO file_hashes (file_id, kind, value) VALUES (?, ?, ?)",
            [row for file_id, finding in found if finding.hashes for row in hash_rows(file_id, finding.hashes)],
        )


def decide(database: Database, file_id: int, sha256: str) -> None:
    """A file was hashed: its link holds when it is what it was, or when the owner said so.

    Takes its old hashes away; the caller writes the new ones, and settles what the file is.
    """
    execute = database.connection.execute
    former = execute(
        """SELECT value FROM file_hashes WHERE file_id = ?1 AND kind = 'sha256'
        UNION ALL SELECT former_sha256 FROM undecided WHERE file_id = ?1 AND former_sha256 IS NOT NULL""",
        (file_id,),
    ).fetchone()
    execute("DELETE FROM file_hashes WHERE file_id = ?", (file_id,))
    execute("DELETE FROM undecided WHERE file_id = ? AND former_sha256 IS NOT NULL", (file_id,))
    if former and former[0] != sha256:
        execute("DELETE FROM links WHERE file_id = ? AND matched_by <> 'user'", (file_id,))


def hash_rows(file_id: int, hashes: Hashes) -> list[Row]:
    """As `file_hashes` has them."""
    # In the order of the table, which so only grows at its end.
    named = {
        "autov2": hashes.autov2,
        "autov3": hashes.autov3,
        "blake3": hashes.blake3,
        "crc32": hashes.crc32,
        "sha256": hashes.sha256,
    }
    return [(file_id, kind, value) for kind, value in named.items() if value]


def _facts(finding: Finding) -> Row:
    place = finding.place
    return (place.size, place.mtime_ns, place.inode, finding.problem, *(finding.facts or _NOTHING))


def _note_row(found: FoundNote) -> Row:
    place, note = found.place, found.note
    return (
        place.directory,
        found.model,
        place.name,
        note.tool,
        place.size,
        place.mtime_ns,
        note.model_id,
        note.version_id,
        note.sha256,
        msgspec.json.encode(note.words).decode() if note.words else None,
        note.notes,
        note.problem,
    )

"""What is said about files, by their owner and by their links to CivitAI's versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tensors.clock import now
from tensors.errors import FileNotInLibrary, InvalidRequest, NotInCatalog

if TYPE_CHECKING:
    from tensors.db.database import Database
    from tensors.types.library import FileEdit, Forgotten

AUTO = "auto"
"""Takes back what the owner said."""
UNLINK = "none"
_MODEL = re.compile(r"([1-9][0-9]{0,17})(?:@([1-9][0-9]{0,17}))?", re.ASCII)


def check_kind(kind: str, *also: str) -> None:
    """Raise `InvalidRequest` for what is no kind of file, nor one of `also`."""
    from tensors.base_models import KINDS

    _check("kind", kind, (*KINDS, *also))


def edit_file(database: Database, file_id: int, change: FileEdit) -> None:
    """Keep what the owner says about a file, and settle what it is; all of it or nothing.

    Raises:
        FileNotInLibrary: when there is no such file.
        InvalidRequest: for an unknown kind or family, or what is no model's number.
        NotInCatalog: when the model or its version is not cached: it can be fetched and this tried again.
    """
    from tensors.base_models import FAMILIES
    from tensors.db.settle import settle

    if change.kind is not None:
        check_kind(change.kind, AUTO)
    if change.family is not None:
        _check("family", change.family, (*FAMILIES, AUTO))
    with database.atomic():
        name_of(database, file_id)
        for column, said in (("user_kind", change.kind), ("user_family", change.family)):
            if said is not None:
                database.connection.execute(
                    f"UPDATE files SET {column} = ? WHERE id = ?", (None if said == AUTO else said, file_id)
                )
        if change.model is not None:
            _edit_link(database, file_id, change.model)
        settle(database, [file_id])


def _edit_link(database: Database, file_id: int, model: str) -> None:
    # No link is the owner's word too: the next match by hash must not bring it back.
    database.connection.execute("UPDATE files SET user_unlinked = ? WHERE id = ?", (model == UNLINK, file_id))
    if model in (UNLINK, AUTO):
        database.connection.execute("DELETE FROM links WHERE file_id = ?", (file_id,))
    else:
        version = find_version(database, model)
        link_file(database, file_id, version, matched_by="user", version_file_id=None, at=now())


def link_file(
    database: Database, file_id: int, version_id: int, *, matched_by: str, version_file_id: int | None, at: str
) -> None:
    """Say which version a file is, without settling what it is. What the user said is not overwritten by anything else.

    `matched_by`: `sha256`, `autov3`, `blake3`, `sidecar` or `user`. `at`: the present.
    """
    database.connection.execute(
        """INSERT INTO links (file_id, version_id, version_file_id, matched_by, linked_at) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (file_id) DO UPDATE SET version_id = excluded.version_id,
            version_file_id = excluded.version_file_id, matched_by = excluded.matched_by,
            linked_at = excluded.linked_at
        WHERE links.matched_by <> 'user' OR excluded.matched_by = 'user'""",
        (file_id, version_id, version_file_id, matched_by, at),
    )


def find_version(database: Database, model: str) -> int:
    """The cached version that `MODEL@VERSION` names, or the newest one of `MODEL`, by CivitAI's numbers.

    Raises `InvalidRequest` when it is no such text, or the version is another model's; `NotInCatalog` when it is not
    cached.
    """
    numbers = _MODEL.fullmatch(model)
    if numbers is None:
        raise InvalidRequest(
            f"{model!r} is no model of CivitAI", hint=f"MODEL@VERSION, MODEL for its newest version, or {UNLINK}"
        )
    model_id, version_id = int(numbers[1]), numbers[2]
    if version_id is None:
        return _newest(database, model_id)
    row = database.connection.execute("SELECT model_id FROM versions WHERE id = ?", (int(version_id),)).fetchone()
    if row is None:
        raise NotInCatalog(f"version {version_id} of model {model_id} is not cached", hint=f"tsr db cache {model_id}")
    if row[0] != model_id:
        raise InvalidRequest(
            f"version {version_id} is not of model {model_id} but of {row[0]}", hint=f"{row[0]}@{version_id}"
        )
    return int(version_id)


def forget_file(database: Database, file_id: int) -> Forgotten:
    """Take a file out of the library, with all that belongs to it. Raises `FileNotInLibrary`."""
    from tensors.types.library import Forgotten

    with database.atomic():
        name = name_of(database, file_id)
        database.connection.execute("DELETE FROM files WHERE id = ?", (file_id,))
    return Forgotten(id=file_id, name=name)


def name_of(database: Database, file_id: int) -> str:
    """What a file is called. Raises `FileNotInLibrary`."""
    row = database.connection.execute("SELECT stem FROM files WHERE id = ?", (file_id,)).fetchone()
    if row is None:
        raise FileNotInLibrary(f"file {file_id} is not in the library", hint="tsr db list")
    return str(row[0])


def _check(noun: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        from tensors.checks import did_you_mean

        raise InvalidRequest(f"unknown {noun} {value!r}{did_you_mean(value, known)}", hint=f"known: {', '.join(known)}")


def _newest(database: Database, model_id: int) -> int:
    # Of a model that is known from one version only, nobody can say which is its newest.
    row = database.connection.execute(
        """SELECT versions.id FROM models JOIN versions ON versions.model_id = models.id
        WHERE models.id = ? AND models.complete ORDER BY versions.position, versions.id LIMIT 1""",
        (model_id,),
    ).fetchone()
    if row is None:
        raise NotInCatalog(f"the versions of model {model_id} are not cached", hint=f"tsr db cache {model_id}")
    return int(row[0])

"""The library's database: opening, transactions, and what is said when it cannot be used."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
from ast import literal_eval
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tensors.db import database as database_module
from tensors.db.database import APPLICATION_ID, VERSION, Database, check
from tensors.db.migrate import migrations, statements
from tensors.db.problems import problem
from tensors.errors import LibraryError

SCHEMA = Path(database_module.__file__).parent.parent / "schema.sql"
WHEN = "2026-01-01T00:00:00.000Z"


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as database:
        yield database


def folders(database: Database) -> list[str]:
    return [path for (path,) in database.connection.execute("SELECT path FROM folders ORDER BY path")]


def add_folder(database: Database, path: str) -> None:
    database.connection.execute("INSERT INTO folders VALUES (?, ?)", (path, WHEN))


def fill(database: Database, count: int) -> None:
    """Many pages of data."""
    with database.atomic():
        for number in range(count):
            add_folder(database, f"/{number}/{'x' * 100}")


# The schema


def shape(connection: sqlite3.Connection) -> dict[str, tuple[str, list[tuple[object, ...]]]]:
    """Everything in a database: its SQL without comments and layout, and its columns."""
    found = {}
    for name, sql in connection.execute("SELECT name, coalesce(sql, '') FROM sqlite_schema").fetchall():
        bare = re.sub(r"--[^\n]*", "", sql)
        columns = connection.execute("SELECT * FROM pragma_table_xinfo(?)", (name,)).fetchall()
        found[name] = (re.sub(r"\s*([(),])\s*", r"\1", " ".join(bare.split())), columns)
    return found


def test_the_schema_for_readers_is_what_the_migrations_make(library: Database) -> None:
    readers = sqlite3.connect(":memory:")
    for statement in statements(SCHEMA.read_text(encoding="utf-8")):
        readers.execute(statement)
    read, made = shape(readers), shape(library.connection)
    readers.close()
    assert len(made) > 20
    assert made == read


def test_the_version_counts_the_migrations(library: Database) -> None:
    assert (library.version, library.pragma("application_id")) == (VERSION, APPLICATION_ID)
    assert len(migrations()) == VERSION


def test_statements_are_told_apart_within_triggers_strings_and_comments() -> None:
    script = """
    CREATE TABLE a (b);  -- one; two
    INSERT INTO a VALUES ('x;
    y'); INSERT INTO a VALUES (1);
    CREATE TRIGGER t AFTER INSERT ON a BEGIN DELETE FROM a; SELECT 1; END;
    SELECT 'last' """
    connection = sqlite3.connect(":memory:")
    for statement in statements(script):
        connection.execute(statement)
    assert connection.execute("SELECT b FROM a").fetchall() == [("x;\n    y",), (1,)]
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (2,)
    connection.close()


# Opening


def test_a_library_stays_what_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "models.db"
    with Database(path) as database:
        add_folder(database, "/models")
    with Database(path) as database:
        assert folders(database) == ["/models"]
        assert database.pragma("foreign_keys") == 1
        assert database.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        with pytest.raises(sqlite3.IntegrityError):
            database.connection.execute("INSERT INTO file_hashes VALUES (1, 'sha256', '00')")
    assert [file.name for file in path.parent.iterdir()] == ["models.db"]


@pytest.mark.parametrize("name", [b"models \xff.db", "Модели 麦橘?#%.db".encode(), b"file:models.db?mode=ro"])
def test_odd_names_are_names(tmp_path: Path, name: bytes) -> None:
    path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
    with Database(path) as database:
        add_folder(database, "/models")
    with Database(path) as database:
        assert folders(database) == ["/models"]
    assert os.listdir(bytes(tmp_path)) == [name]


def test_opening_needs_little_of_python() -> None:
    code = """
import sys
from tensors.db.database import Database
from pathlib import Path
Database(Path(sys.argv[1])).close()
heavy = {"asyncio", "httpx", "importlib.resources", "inspect", "json", "msgspec", "pydantic", "tempfile", "zlib"}
print(sorted(heavy & sys.modules.keys()))
"""
    made = Path(os.environ["TSR_DATA_DIR"]) / "models.db"
    Database(made).close()
    done = subprocess.run([sys.executable, "-c", code, made], capture_output=True, text=True, check=True)
    # What the interpreter itself brings along does not count.
    bare = subprocess.run(
        [sys.executable, "-c", "import sys; print(sorted(sys.modules))"], capture_output=True, text=True
    )
    assert set(literal_eval(done.stdout)) - set(literal_eval(bare.stdout)) == set()


def test_an_empty_file_is_a_new_library(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    path.touch()
    with Database(path) as database:
        assert database.version == VERSION
    assert not list(tmp_path.glob("*backup*"))


def test_several_processes_open_a_new_library_at_once(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    code = """
import sys
from pathlib import Path
from tensors.db.database import Database
print("ready", flush=True)
sys.stdin.readline()
with Database(Path(sys.argv[1])) as database, database.atomic():
    database.connection.execute("INSERT INTO folders VALUES (?, NULL)", (sys.argv[2],))
"""
    command = [sys.executable, "-c", code, str(path)]
    started = [
        subprocess.Popen([*command, f"/{number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for number in range(6)
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
    assert [process.returncode for process in started] == [0] * 6
    with Database(path) as database:
        assert folders(database) == [f"/{number}" for number in range(6)]
        assert check(database).sound


class Busy:
    """A connection that is refused a few times, as happens to all but one of those that open a new library."""

    def __init__(self, refusals: int, code: int = sqlite3.SQLITE_BUSY_RECOVERY) -> None:
        self.left = refusals
        self.code = code

    def execute(self, sql: str) -> Busy:
        if not self.left:
            return self
        self.left -= 1
        error = sqlite3.OperationalError("refused")
        error.sqlite_errorcode = self.code
        raise error

    def close(self) -> None:
        pass


def test_who_is_refused_while_another_makes_the_library_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = Busy(3)
    database_module.write_ahead(patient)  # type: ignore[arg-type]
    assert patient.left == 0
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0)
    for refused in (Busy(1000), Busy(1, sqlite3.SQLITE_IOERR)):
        with pytest.raises(sqlite3.OperationalError, match="refused"):
            database_module.write_ahead(refused)  # type: ignore[arg-type]


# Transactions


def spoiled_block(database: Database, error: BaseException, *inside: str) -> None:
    """A block that adds a folder, then others in blocks within, and fails."""
    with database.atomic():
        add_folder(database, "/spoiled")
        for path in inside:
            with database.atomic():
                add_folder(database, path)
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("said")])
def test_a_block_is_all_or_nothing(library: Database, error: BaseException) -> None:
    with library.atomic():
        add_folder(library, "/kept")
    with pytest.raises(type(error)):
        spoiled_block(library, error, "/inner", "/other")
    assert folders(library) == ["/kept"]
    assert not library.connection.in_transaction


def test_a_block_within_a_block_is_taken_back_alone(library: Database) -> None:
    with library.atomic():
        add_folder(library, "/outer")
        with pytest.raises(ValueError, match="said"):
            spoiled_block(library, ValueError("said"), "/inner")
        assert folders(library) == ["/outer"]
        with library.atomic():
            add_folder(library, "/second")
    assert folders(library) == ["/outer", "/second"]


def test_readers_see_the_state_before_a_block_that_has_not_ended(library: Database) -> None:
    with Database(library.path) as other:
        with library.atomic():
            add_folder(library, "/new")
            assert folders(other) == []
        assert folders(other) == ["/new"]


def test_a_writer_waits_and_then_says_who_may_be_in_the_way(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
    with Database(library.path) as other, library.atomic():
        with pytest.raises(LibraryError, match=r"models\.db is locked: another program") as caught, other.atomic():
            raise AssertionError("two wrote at once")
        assert "the other tsr" in (caught.value.hint or "")
    with Database(library.path) as other, other.atomic():
        add_folder(other, "/later")
    assert folders(library) == ["/later"]


def test_a_full_disk_takes_the_change_back_and_leaves_the_library_usable(library: Database) -> None:
    add_folder(library, "/before")
    limit = library.pragma("page_count") + 5
    library.connection.execute(f"PRAGMA max_page_count = {limit}")
    with pytest.raises(LibraryError, match=r"no room is left for .*models\.db"):
        fill(library, 10_000)
    assert folders(library) == ["/before"]
    with library.atomic():
        add_folder(library, "/after")
    assert folders(library) == ["/after", "/before"]


# What cannot be used


def truncated(path: Path) -> None:
    with Database(path) as database:
        fill(database, 2000)
    os.truncate(path, path.stat().st_size // 2)


def of_a_newer_tsr(path: Path) -> None:
    with Database(path) as database:
        database.connection.execute(f"PRAGMA user_version = {VERSION + 1}")


def of_another_program(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE models (id INTEGER PRIMARY KEY, precious TEXT)")
    connection.close()


def of_another_program_with_versions(path: Path) -> None:
    of_another_program(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.close()


UNUSABLE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "text": (lambda path: path.write_text("my list of models\n" * 100), "is no SQLite database", "move it away"),
    "a few bytes": (lambda path: path.write_bytes(b"SQLite"), "is no SQLite database", "move it away"),
    "cut off": (truncated, "is damaged", "move it away"),
    "newer": (of_a_newer_tsr, rf"is of a newer tsr: it has version {VERSION + 1}", "update tsr"),
    "foreign": (of_another_program, "is a database of another program", "move it away"),
    "foreign, numbered": (of_another_program_with_versions, "is a database of another program", "move it away"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_used_is_said_and_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "models.db"
    spoil, message, hint = UNUSABLE[kind]
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(LibraryError, match=message) as caught, Database(path) as database:
        database.connection.execute("SELECT count(*), max(scanned_at) FROM folders").fetchall()
    assert str(path) in caught.value.message
    assert hint in (caught.value.hint or "")
    assert path.read_bytes() == before


def test_the_newest_backup_is_offered_in_place_of_a_damaged_library(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    path.write_text("no database, but long enough for a header of one " * 10)
    for number, name in enumerate(["models.db.backup-v9", "models.db.backup-v2"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1_000_000 + number, 1_000_000 + number))
    with pytest.raises(LibraryError) as caught:
        Database(path)
    assert f"put {path}.backup-v2 in its place" in (caught.value.hint or "")


def test_the_backup_of_before_a_newer_tsr_is_offered(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    of_a_newer_tsr(path)
    (tmp_path / f"models.db.backup-v{VERSION}").touch()
    with pytest.raises(LibraryError) as caught:
        Database(path)
    assert caught.value.hint == f"update tsr, or put {path}.backup-v{VERSION} in its place"


def test_a_folder_is_no_library(tmp_path: Path) -> None:
    (tmp_path / "models.db").mkdir()
    with pytest.raises(LibraryError, match=r"models\.db is a folder, not a database"):
        Database(tmp_path / "models.db")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LibraryError, match=r"the folder .*file/data cannot be made: Not a directory") as caught:
        Database(tmp_path / "file" / "data" / "models.db")
    assert "TSR_DATA_DIR" in (caught.value.hint or "")


CLOSED = """
import os, sys
from pathlib import Path
import tensors.db.migrate, tensors.db.problems
from tensors.db.database import Database
from tensors.errors import LibraryError
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with Database(Path(sys.argv[1])) as database, database.atomic():
        database.connection.execute("INSERT INTO folders VALUES ('/x', NULL)")
except LibraryError as error:
    print(error.message, error.hint, sep="|")
"""


@pytest.mark.parametrize(
    ("file_mode", "folder_mode"),
    [
        pytest.param(0o444, 0o777, id="read-only file"),
        pytest.param(0o666, 0o755, id="read-only folder"),
        pytest.param(0o444, 0o755, id="both read-only"),
        pytest.param(0o000, 0o777, id="unreadable file"),
        pytest.param(0o666, 0o000, id="closed folder"),
    ],
)
def test_what_may_not_be_written_is_said(file_mode: int, folder_mode: int) -> None:
    """By another user than root, who may do everything; so also in a folder that others can reach."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "models.db"
        Database(path).close()
        before = path.read_bytes()
        path.chmod(file_mode)
        os.chmod(folder, folder_mode)
        done = subprocess.run([sys.executable, "-c", CLOSED, path], capture_output=True, text=True, timeout=60)
        os.chmod(folder, 0o700)
        path.chmod(0o600)
        message, _, hint = done.stdout.strip().partition("|")
        assert re.search("cannot be written|may not be written|cannot be opened", message), (done.stdout, done.stderr)
        assert folder in message
        assert "check" in hint
        assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (sqlite3.SQLITE_IOERR_READ, "the disk or share that /m.db is on does not work: said"),
        (sqlite3.SQLITE_IOERR_LOCK, "the disk or share that /m.db is on does not work: said"),
        (sqlite3.SQLITE_PROTOCOL, "/m.db is locked: another program has been writing to it for more than 30 s"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "/m.db is locked: another program has been writing to it for more than 30 s"),
        (sqlite3.SQLITE_READONLY_DIRECTORY, "/m.db cannot be written: said"),
        (sqlite3.SQLITE_CORRUPT_VTAB, "/m.db is damaged: said"),
        (sqlite3.SQLITE_TOOBIG, "/m.db cannot be used: said"),
        (None, "/m.db cannot be used: said"),
    ],
)
def test_what_cannot_be_made_to_happen_here_has_words_too(code: int | None, message: str) -> None:
    error = sqlite3.OperationalError("said")
    if code is not None:
        error.sqlite_errorcode = code
    found = problem(Path("/m.db"), error)
    assert found.message == message
    assert found.hint


def test_what_goes_wrong_after_opening_has_words_too(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    with (
        pytest.raises(LibraryError, match=r"models\.db cannot be used: no such table: gone"),
        Database(path) as database,
    ):
        database.connection.execute("SELECT 1 FROM gone")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        database.connection.execute("SELECT 1")


def test_mistakes_of_ours_stay_mistakes(library: Database) -> None:
    with pytest.raises(sqlite3.ProgrammingError), library.atomic():
        library.connection.execute("SELECT ?", ())
    with pytest.raises(sqlite3.IntegrityError), Database(library.path) as other:
        other.connection.execute("INSERT INTO folders VALUES (NULL, NULL)")


# Checking


def add_model(database: Database, number: int, name: str) -> None:
    from tensors.civitai.records import model_of
    from tensors.db.catalog import store_model

    raw = {"id": number, "name": name, "tags": ["anime"], "description": f"about number {number}", "modelVersions": []}
    store_model(database, model_of(raw), fetched_at=WHEN)


def found_by(database: Database, query: str) -> list[int]:
    from tensors.db.search import search_models

    return [model.id for model in search_models(database, query).items]


def test_a_sound_library_is_sound(library: Database) -> None:
    add_model(library, 1, "Pony")
    found = check(library)
    assert (found.sound, found.problems, found.mended) == (True, (), ())


SPOILED = {
    "a name row lost": "DELETE FROM name_search WHERE rowid IN (SELECT min(rowid) FROM name_search)",
    "a name changed past the index": "UPDATE models SET name = 'Stallion' WHERE id = 1",
    "a model deleted past the index": "DELETE FROM models WHERE id = 3",
    "all texts lost": "INSERT INTO text_search (text_search) VALUES ('delete-all')",
    "a row too many": "INSERT INTO name_search (rowid, names) VALUES (7, ' foreign ')",
    "the index itself damaged": "UPDATE name_search_data SET block = zeroblob(length(block)) WHERE id > 100",
    "the other one damaged": "UPDATE text_search_data SET block = x'ff' || substr(block, 2) WHERE id > 100",
}


@pytest.mark.parametrize("harm", SPOILED)
def test_a_search_index_that_is_off_is_built_anew(library: Database, harm: str) -> None:
    for number, name in enumerate(["Pony", "Pony two", "Other"], start=1):
        add_model(library, number, name)
    library.connection.execute(SPOILED[harm])
    found = check(library)
    assert found.sound
    assert found.mended == ("the search index did not fit the models: it was built anew",)
    assert check(library).mended == ()
    names = dict(library.connection.execute("SELECT id, name FROM models"))
    assert found_by(library, "pony") == [number for number, name in names.items() if "Pony" in name]
    assert found_by(library, "about") == list(names)


def test_rows_that_have_lost_what_they_are_of_are_told(library: Database) -> None:
    library.connection.execute("PRAGMA foreign_keys = OFF")
    library.connection.execute("INSERT INTO file_hashes VALUES (5, 'sha256', '00'), (5, 'crc32', '00')")
    found = check(library)
    assert not found.sound
    assert found.problems == ("2 rows of file_hashes are of files that are not there",)


def test_damaged_pages_are_told(tmp_path: Path) -> None:
    path = tmp_path / "models.db"
    with Database(path) as database:
        fill(database, 500)
        (root,) = database.connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'folders'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    with Database(path) as database:
        found = check(database)
    assert not found.sound
    assert found.problems
    assert found.mended == ()


def test_a_locked_library_is_not_taken_for_a_broken_index(library: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    rebuilt: list[Database] = []
    monkeypatch.setattr("tensors.db.search_index.rebuild", rebuilt.append)
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
    with Database(library.path) as other, library.atomic(), pytest.raises(LibraryError, match="is locked"):
        check(other)
    assert rebuilt == []


def test_a_check_that_is_broken_off_finds_nothing_wrong(library: Database) -> None:
    library.connection.set_progress_handler(lambda: 1, 1)
    with pytest.raises(LibraryError, match="interrupted"):
        check(library)

"""Which file is meant by a number, a path, a name or a hash."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from library_data import add_file, sha256_of

from tensors.db.database import Database
from tensors.db.files import find_file
from tensors.errors import FileNotInLibrary, InvalidRequest

SHA = "0123456789abcdef" * 4


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "models.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """For tests that begin by emptying it."""
    with Database(tmp_path_factory.mktemp("library") / "models.db") as opened:
        yield opened


def path_of(database: Database, name: str) -> str:
    row = database.connection.execute("SELECT directory, name FROM files WHERE id = ?", (find_file(database, name),))
    folder, base = row.fetchone()
    return str(Path(folder, base))


FILES = (
    "/m/loras/detail.safetensors",
    "/m/loras/Pony.safetensors",
    "/m/loras/pony.gguf",
    "/m/checkpoints/PONY.v6.safetensors",
    "/m/checkpoints/xl/base.safetensors",
    "/m/xl/base.safetensors",
    "/m/x.gguf",
    "/m/x.gguf.safetensors",
    "/m/été.safetensors",
    "/m/Straße.gguf",
    "/m/with space.gguf",
    "/m/-dash.gguf",
    "/m/12345678.gguf",
    "/m/abcdef.gguf",
    "/top.gguf",
)


@pytest.fixture
def several(database: Database) -> Database:
    for path in FILES:
        add_file(database, path)
    return database


@pytest.mark.parametrize(
    ("name", "path"),
    [
        *((path, path) for path in FILES),
        ("/m//loras/../loras/./detail.safetensors", "/m/loras/detail.safetensors"),
        ("detail.safetensors", "/m/loras/detail.safetensors"),
        ("detail", "/m/loras/detail.safetensors"),
        ("DETAIL", "/m/loras/detail.safetensors"),
        ("Detail.SafeTensors", "/m/loras/detail.safetensors"),
        # The very name comes before one that differs in case.
        ("Pony", "/m/loras/Pony.safetensors"),
        ("pony", "/m/loras/pony.gguf"),
        ("PONY.safetensors", "/m/loras/Pony.safetensors"),
        ("PONY.GGUF", "/m/loras/pony.gguf"),
        ("pony.V6", "/m/checkpoints/PONY.v6.safetensors"),
        # With the folders before it.
        ("m/xl/base", "/m/xl/base.safetensors"),
        ("checkpoints/xl/base.safetensors", "/m/checkpoints/xl/base.safetensors"),
        ("./checkpoints//xl/base", "/m/checkpoints/xl/base.safetensors"),
        ("CheckPoints/XL/Base", "/m/checkpoints/xl/base.safetensors"),
        ("m/checkpoints/xl/base", "/m/checkpoints/xl/base.safetensors"),
        # A whole name comes before one without extension.
        ("x.gguf", "/m/x.gguf"),
        ("x.gguf.safetensors", "/m/x.gguf.safetensors"),
        ("X.GGUF", "/m/x.gguf"),
        ("x", "/m/x.gguf"),
        # Letters that SQLite does not know the case of, and accents as some systems take them apart.
        ("ÉTÉ", "/m/été.safetensors"),
        ("e\u0301te\u0301.safetensors", "/m/été.safetensors"),
        ("STRAßE", "/m/Straße.gguf"),
        ("with space", "/m/with space.gguf"),
        ("-dash", "/m/-dash.gguf"),
        # No file has this number.
        ("12345678", "/m/12345678.gguf"),
        ("abcdef", "/m/abcdef.gguf"),
        ("top", "/top.gguf"),
    ],
)
def test_found(several: Database, name: str, path: str) -> None:
    assert path_of(several, name) == path


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "/",
        "/m",
        "//",
        "detai",
        "etail",
        "etail.safetensors",
        "ras/detail",
        "loras",
        "loras/",
        "/loras/detail.safetensors",
        "/m/loras/detail",
        "/M/loras/detail.safetensors",
        "../loras/detail",
        "detail.gguf",
        "detail.",
        "%",
        "deta_l",
        "0",
        "99",
        "1.0",
        "+1",
        "-1",
        " 1",
        "01",
        "\u0661",  # An Arabic one.
        "²",
        "9" * 18,
        "9" * 19,
        "9" * 5000,
        "x" * 100_000,
        "/" * 5000,
        "a/" * 5000,
        "detail\0",
        "/m/\0",
        os.fsdecode(b"detail\xff"),
        os.fsdecode(b"/m/\xff.gguf"),
        "abcde",
        "0123456789abcdefg",
    ],
)
def test_not_found(several: Database, name: str) -> None:
    with pytest.raises(FileNotInLibrary) as caught:
        find_file(several, name)
    assert caught.value.hint == "tsr db scan"
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("name", "guess"),
    [
        ("detial", "; did you mean 'detail'?"),
        ("elsewhere/detial.safetensors", "; did you mean 'detail'?"),
        ("/elsewhere/detail.safetensors", "; did you mean 'detail'?"),
        ("nothing like it", ""),
        ("x" * 300, ""),
    ],
)
def test_a_suggestion(several: Database, name: str, guess: str) -> None:
    with pytest.raises(FileNotInLibrary) as caught:
        find_file(several, name)
    assert str(caught.value) == f"file {name!r} is not in the library{guess}"


def test_a_number_is_a_files_own(several: Database) -> None:
    """Also where a file has that number for a name: numbers are what lists show."""
    for number, path in enumerate(FILES, 1):
        assert path_of(several, str(number)) == path
    add_file(several, "/m/3.gguf")
    assert path_of(several, "3") == FILES[2]
    assert path_of(several, "3.gguf") == "/m/3.gguf"


def test_a_path_through_a_link(database: Database, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    (tmp_path / "link").symlink_to(disk)
    add_file(database, f"{disk}/a.gguf")
    assert path_of(database, f"{tmp_path}/link/a.gguf") == f"{disk}/a.gguf"


def test_a_path_that_was_scanned_is_not_resolved(database: Database, tmp_path: Path) -> None:
    (tmp_path / "a.gguf").symlink_to(tmp_path / "b.gguf")
    for name in ("a", "b"):
        add_file(database, f"{tmp_path}/{name}.gguf")
    assert path_of(database, f"{tmp_path}/a.gguf") == f"{tmp_path}/a.gguf"


def test_one_that_is_there_comes_before_missing_ones(database: Database) -> None:
    for path, missing in (("/1/a.gguf", True), ("/2/a.gguf", False), ("/3/a.gguf", True), ("/4/gone.gguf", True)):
        add_file(database, path, missing=missing)
    assert path_of(database, "a") == "/2/a.gguf"
    assert path_of(database, "3/a") == "/3/a.gguf"
    assert path_of(database, "gone") == "/4/gone.gguf"


def test_the_very_name_comes_before_one_that_is_there(database: Database) -> None:
    add_file(database, "/1/Name.gguf", missing=True)
    add_file(database, "/2/name.gguf")
    assert path_of(database, "Name") == "/1/Name.gguf"
    assert path_of(database, "NAME") == "/2/name.gguf"


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("name", ["a", "a.gguf", "A", "m/a.gguf"])
def test_several_of_one_name(database: Database, name: str, missing: bool) -> None:
    for folder in "abcdefghij":
        add_file(database, f"/{folder}/m/a.gguf", missing=missing)
    with pytest.raises(InvalidRequest) as caught:
        find_file(database, name)
    told = ", ".join(f"{number} /{folder}/m/a.gguf" for number, folder in enumerate("abcdefgh", 1))
    assert str(caught.value) == f"{name!r} can be 10 files: {told} and 2 more"
    assert caught.value.hint == "name one by its number or its path"
    assert caught.value.details["candidates"][1] == {"id": 2, "path": "/b/m/a.gguf"}
    assert len(caught.value.details["candidates"]) == 8


def test_several_in_other_case(database: Database) -> None:
    for name in ("aB", "Ab", "Éa", "éA"):
        add_file(database, f"/{name}.gguf")
    for name in ("ab", "éa"):
        with pytest.raises(InvalidRequest, match="can be 2 files"):
            find_file(database, name)


@pytest.mark.parametrize("digits", [5, 6, 7, 10, 12, 63, 64])
@pytest.mark.parametrize("kind", ["sha256", "autov2", "autov3", "blake3", "crc32"])
def test_the_beginning_of_a_hash(database: Database, kind: str, digits: int) -> None:
    length = {"autov2": 10, "autov3": 12, "crc32": 8}.get(kind, 64)
    file = add_file(database, "/a.gguf", hashes={kind: SHA[:length]})
    for before_and_after in ("0123456789abcdee" + SHA[16:], "0123456789abcdf0" + SHA[16:]):
        add_file(database, f"/{before_and_after}.safetensors", hashes={kind: before_and_after[::-1]})
    if 6 <= digits <= length:
        assert find_file(database, SHA[:digits]) == find_file(database, SHA[:digits].upper()) == file
    else:
        with pytest.raises(FileNotInLibrary):
            find_file(database, SHA[:digits])


def test_all_hashes_of_one_file_are_one_file(database: Database) -> None:
    file = add_file(database, "/a.gguf", hashes={"sha256": SHA, "autov2": SHA[:10], "blake3": SHA})
    assert find_file(database, SHA[:8]) == file


def test_fewer_digits_than_tell_files_apart(database: Database) -> None:
    add_file(database, "/a.gguf", hashes={"sha256": SHA})
    add_file(database, "/b.gguf", hashes={"autov3": SHA[:8] + "ffff"})
    assert path_of(database, SHA[:9]) == "/a.gguf"
    assert path_of(database, SHA[:8] + "F") == "/b.gguf"
    with pytest.raises(InvalidRequest, match=r"can be 2 files: 1 /a\.gguf, 2 /b\.gguf"):
        find_file(database, SHA[:8])


def test_copies_that_are_missing_do_not_matter(database: Database) -> None:
    add_file(database, "/1.gguf", missing=True, hashes={"sha256": SHA})
    add_file(database, "/2.gguf", hashes={"sha256": SHA})
    assert path_of(database, SHA[:6]) == "/2.gguf"


def test_another_missing_file_is_no_copy(database: Database) -> None:
    """Whose hash it was nobody can tell: what is there is not simply taken."""
    add_file(database, "/1.gguf", missing=True, hashes={"sha256": SHA[:6] + "f" * 58})
    add_file(database, "/2.gguf", hashes={"sha256": SHA})
    with pytest.raises(InvalidRequest, match="can be 2 files"):
        find_file(database, SHA[:6])


def test_a_name_comes_before_a_hash(database: Database) -> None:
    add_file(database, "/hashed.gguf", hashes={"sha256": SHA})
    add_file(database, f"/{SHA[:8].upper()}.gguf", missing=True)
    assert path_of(database, SHA[:8]) == f"/{SHA[:8].upper()}.gguf"
    assert path_of(database, SHA[:9]) == "/hashed.gguf"


SHORT = st.text(alphabet="aAbÉé.", min_size=1, max_size=3)
FOLDERS = st.lists(st.sampled_from(["m", "M", "a", "É"]), max_size=2).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
# Scans leave hidden files alone.
NAMES = SHORT.filter(lambda name: not name.startswith("."))
PATHS = st.builds("{}/{}{}".format, FOLDERS, NAMES, st.sampled_from([".gguf", ".GGUF", ".safetensors"]))
ASKED = st.one_of(PATHS, PATHS.map(lambda path: path.lstrip("/")), PATHS.map(lambda path: Path(path).stem), SHORT)


def _same(text: str) -> str:
    return text


def _fits(path: str, name: str, *, fold: Callable[[str], str], extension: bool) -> bool:
    """Whether a relative name is the end of a path, at a separator; by the definition, for the test below."""
    given, whole = fold(name), fold(path if extension else os.path.splitext(path)[0])
    return whole.endswith(f"/{given}")


@given(files=st.dictionaries(PATHS, st.booleans(), max_size=8), name=ASKED)
def test_never_a_wrong_one(shared: Database, files: dict[str, bool], name: str) -> None:
    shared.connection.execute("DELETE FROM files")
    numbers = {path: add_file(shared, path, missing=missing) for path, missing in files.items()}
    if name.startswith("/"):
        fitting = [path for path in files if path == name]
    else:
        ways = [(fold, extension) for fold in (_same, str.casefold) for extension in (True, False)]
        classes = ([path for path in files if _fits(path, name, fold=fold, extension=ext)] for fold, ext in ways)
        fitting = next(filter(None, classes), [])
    meant = [path for path in fitting if not files[path]] or fitting
    if len(meant) == 1:
        assert find_file(shared, name) == numbers[meant[0]]
    else:
        with pytest.raises(InvalidRequest if meant else FileNotInLibrary):
            find_file(shared, name)


@given(hashes=st.lists(st.text("01", min_size=8, max_size=8), max_size=8), name=st.text("01", min_size=6, max_size=9))
def test_never_a_wrong_hash(shared: Database, hashes: list[str], name: str) -> None:
    shared.connection.execute("DELETE FROM files")
    numbers = [
        add_file(shared, f"/{i}.gguf", hashes={"crc32": crc, "sha256": sha256_of(str(i))})
        for i, crc in enumerate(hashes)
    ]
    meant = [number for number, crc in zip(numbers, hashes, strict=True) if crc.startswith(name)]
    if name.lstrip("0") == name and int(name) in numbers:
        meant = [int(name)]
    if len(meant) == 1:
        assert find_file(shared, name) == meant[0]
    else:
        with pytest.raises(InvalidRequest if meant else FileNotInLibrary):
            find_file(shared, name)

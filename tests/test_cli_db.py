"""`tsr db` for files, kept models and the whole: what is asked for, and what people and programs get to see."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from commands import Commands
from fake_tensors import FakeTensors
from library_samples import FILES, LINK, MODEL, MODELS, NASTY, NASTY_SHOWN, SHA256, a_file, bare, details

from tensors.cli.db import COMMANDS
from tensors.errors import FileNotInLibrary, InvalidRequest, LibraryError, NotInCatalog
from tensors.types.base import Page
from tensors.types.files import Triggers
from tensors.types.library import Count, Duplicates, LibraryCheck, LibraryStats, Update

EMPTY: Page[Any] = Page(items=())
STATS = LibraryStats(
    files=1234,
    size=500_000_000_000,
    missing=1,
    broken=2,
    unhashed=3,
    linked=1000,
    not_found=231,
    duplicates=2,
    duplicate_size=4_000_000_000,
    kinds=(Count(name="checkpoint", files=34, size=400_000_000_000), Count(name="lora", files=1200, size=100_000_000)),
    families=(Count(name="sdxl", files=7, size=12),),
    models=300,
    versions=2000,
    database="/data/models.db",
    database_size=23_000_000,
)
UPDATES = (
    Update(
        file="style",
        model_id=1,
        model="Styles",
        version_id=2,
        version="v1",
        newest_id=3,
        newest="v2",
        base_model="Pony",
        published="2026-01-31T00:00:00.000Z",
        # Over by now.
        early_access_until="2026-02-07T00:00:00.000Z",
    ),
    Update(
        file="x",
        model_id=4,
        model="X",
        version_id=5,
        version="a",
        newest_id=6,
        newest="b",
        early_access_until="2999-01-31T00:00:00.000Z",
    ),
)


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def test_every_command_has_its_line_in_the_help_of_the_group(tsr: Commands) -> None:
    assert len(COMMANDS) == 13
    shown = " ".join(tsr("db", "--help").out.split())
    for name, (_, line) in COMMANDS.items():
        assert f" {name} {line}" in shown
        assert " ".join(tsr("db", name, "--help").out.split("\n\n")[1].split()) == line


ANSWERED: dict[str, tuple[tuple[str, ...], str, Any]] = {
    "list": (("list",), "db.files", Page(items=FILES, next_cursor="17")),
    "list-empty": (("list",), "db.files", EMPTY),
    "show": (("show", "style"), "db.file", details()),
    "show-bare": (("show", "x"), "db.file", bare()),
    "show-model": (("show", "--model", "4384"), "db.model", replace(MODEL, complete=False)),
    "triggers": (("triggers", "x"), "db.triggers", Triggers(file="x", lora=None, words=(NASTY,), source="training")),
    "triggers-none": (("triggers", "x"), "db.triggers", Triggers(file="x", lora=None, words=(), source=None)),
    "search": (("search", "dream"), "db.models", Page(items=MODELS, next_cursor="2")),
    "stats": (("stats",), "db.stats", STATS),
    "dupes": (("dupes",), "db.duplicates", Page(items=(Duplicates(sha256=SHA256, size=7, files=("/a", NASTY)),))),
    "updates": (("updates",), "db.updates", Page(items=UPDATES)),
    "check": (("check",), "db.check", LibraryCheck(sound=True, mended=("the search index",))),
}


@pytest.mark.parametrize("case", ANSWERED.values(), ids=ANSWERED)
def test_as_json_the_whole_answer_is_printed_and_nothing_else(
    tsr: Commands, fake: FakeTensors, case: tuple[tuple[str, ...], str, Any]
) -> None:
    command, operation, answer = case
    fake.answers[operation] = answer
    done = tsr("db", *command, "--json")
    assert (done.code, done.err, done.out.count("\n")) == (0, "", 1)
    assert json.loads(done.out) == json.loads(msgspec.json.encode(answer))


FAILING: dict[str, tuple[tuple[str, ...], str]] = {
    **{name: (command, operation) for name, (command, operation, _) in ANSWERED.items()},
    "set": (("set", "x", "--kind", "vae"), "db.file"),
    "rm": (("rm", "x"), "db.file"),
    "rm-model": (("rm", "--model", "3"), "db.forget_model"),
    "link-by-hand": (("link", "x", "--model", "3"), "db.edit"),
    "scan": (("scan", "/models"), "db.scan"),
    "link": (("link",), "db.link"),
    "cache": (("cache", "3"), "db.cache"),
}
ERRORS = (
    LibraryError("models.db is damaged", hint="tsr db check"),
    FileNotInLibrary("no file 'x'"),
    NotInCatalog("no model 3"),
    InvalidRequest("'x' can be 2 files"),
)


@pytest.mark.parametrize(("case", "number"), [(case, n) for n, case in enumerate(FAILING.values())], ids=FAILING)
def test_what_the_library_refuses_is_told_with_its_exit_code(
    tsr: Commands, fake: FakeTensors, case: tuple[tuple[str, ...], str], number: int
) -> None:
    error = ERRORS[number % len(ERRORS)]
    command, operation = case
    fake.answers[operation] = error
    done = tsr("db", *command)
    assert (done.code, done.out, done.err.splitlines()[0]) == (error.exit_code, "", f"error: {error.message}")
    done = tsr("db", *command, "--json")
    assert (done.code, done.err, json.loads(done.out)) == (error.exit_code, "", error.to_wire())


# Lists


def test_files_are_listed_in_columns_with_guesses_and_troubles_marked(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.files"] = Page(items=FILES)
    done = tsr("db", "list")
    wide = len(NASTY_SHOWN)
    assert done.out.splitlines() == [
        f"{'dreamshaper_8':{wide}}  checkpoint  sd15     2.13 GB  DreamShaper (8)",
        f"{'style':{wide}}  lora?       pony?     144 MB  -",
        f"{'gone':{wide}}  vae         unknown   335 MB  -                missing",
        f"{NASTY_SHOWN}  unknown     sd15        12 B  -                broken: is cut off: 10 bytes",
    ]
    assert (done.code, done.err) == (0, "")
    assert fake.called("db.files") == [
        {"query": None, "kind": None, "family": None, "state": None, "limit": 100, "cursor": None}
    ]


def test_columns_stay_aligned_under_wide_letters(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.files"] = Page(items=(a_file(name="日本語"), a_file(name="cafe\u0301"), a_file(name="eight888")))
    rows = tsr("db", "list").out.splitlines()
    assert rows[0].startswith("日本語    checkpoint")
    assert rows[1].startswith("cafe\u0301      checkpoint")
    assert rows[2].startswith("eight888  checkpoint")


def test_only_the_names_that_commands_take_are_shown_whole(tsr: Commands, fake: FakeTensors) -> None:
    link = replace(LINK, model="m" * 90, version="v" * 50)
    fake.answers["db.files"] = Page(items=(a_file(name="n" * 120, link=link),))
    assert tsr("db", "list").out.split() == [
        *("n" * 120, "checkpoint", "sd15", "2.13", "GB"),
        *(f"{'m' * 23}...{'m' * 22}", f"({'v' * 15}...{'v' * 14})"),
    ]


@pytest.mark.parametrize(
    ("command", "operation", "asked"),
    [
        (
            ("db", "list", "dream", "s h", "--kind", "lora", "--family", "pony", "--state", "linked", "-n", "3"),
            "db.files",
            {"query": "dream s h", "kind": "lora", "family": "pony", "state": "linked", "limit": 3},
        ),
        (("db", "list"), "db.files", {"query": None, "kind": None, "family": None, "state": None, "limit": 100}),
        (
            (
                "db",
                "search",
                "a;b",
                "--type",
                "LORA",
                "--base-model",
                "SD 1.5",
                "--tag",
                "x",
                "--creator",
                "y",
                "-n",
                "9",
            ),
            "db.models",
            {"query": "a;b", "type": "LORA", "base_model": "SD 1.5", "tag": "x", "creator": "y", "limit": 9},
        ),
        (
            ("db", "search"),
            "db.models",
            {"query": None, "type": None, "base_model": None, "tag": None, "creator": None, "limit": 20},
        ),
    ],
    ids=["files", "all-files", "models", "all-models"],
)
def test_the_hint_at_the_next_page_asks_for_the_same_with_the_cursor(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...], operation: str, asked: dict[str, Any]
) -> None:
    item = FILES[0] if operation == "db.files" else MODELS[0]
    fake.answers[operation] = Page(items=(item,), next_cursor="a b")
    hint = tsr(*command, check=True).err
    assert hint.startswith("more: tsr db ")
    tsr(*shlex.split(hint.removeprefix("more: tsr ")), check=True)
    assert fake.called(operation) == [{**asked, "cursor": None}, {**asked, "cursor": "a b"}]


@pytest.mark.parametrize(
    ("command", "operation", "said"),
    [
        (("list",), "db.files", "no files yet: tsr db scan DIR"),
        (("list", "x"), "db.files", "no such files"),
        (("list", "--state", "broken"), "db.files", "no such files"),
        (("list", "--cursor", "3"), "db.files", "no such files"),
        (("search",), "db.models", "no models yet: tsr db link, or tsr db cache MODEL_ID"),
        (("search", "x"), "db.models", "no such models are kept; ask CivitAI: tsr search QUERY"),
        (("search", "--tag", "x"), "db.models", "no such models are kept; ask CivitAI: tsr search QUERY"),
        (("dupes",), "db.duplicates", "no two files are the same"),
        (("updates",), "db.updates", "no newer versions are known; ask CivitAI again: tsr db cache"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_an_empty_list_says_what_to_do(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...], operation: str, said: str
) -> None:
    fake.answers[operation] = EMPTY
    done = tsr("db", *command)
    assert (done.code, done.out, done.err) == (0, "", f"{said}\n")


def test_models_are_listed_with_a_star_before_those_here(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.models"] = Page(items=MODELS)
    rows = tsr("db", "search", "x").out.splitlines()
    wide = len(NASTY_SHOWN)
    assert rows == [
        f"*  {'DreamShaper':{wide}}  Checkpoint  SD 1.5, SDXL 1.0, SD 2.1 and 1 more  1,234,567  Lykon  4384",
        f"   {NASTY_SHOWN}  -           -                                            0  -      7",
    ]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("set", "x"), "give --family FAMILY, --kind KIND, or both"),
        (("set", "--kind", "vae"), "Missing argument 'FILE...'"),
        (("show",), "give a FILE or --model MODEL_ID"),
        (("show", "x", "--model", "3"), "give a FILE or --model MODEL_ID"),
        (("show", "--model", "x"), "'x' is no model of CivitAI: "),
        (("rm",), "give FILEs or --model MODEL_ID"),
        (("rm", "x", "--model", "3"), "give FILEs or --model MODEL_ID"),
        (("link", "--model", "3"), "--model links one FILE by hand: "),
        (("link", "a", "b", "--model", "3"), "--model links one FILE by hand: "),
        (("link", "a", "--model", "3", "--offline"), "--model links one FILE by hand: "),
        (("link", "a", "--model", "3", "--refresh"), "--model links one FILE by hand: "),
        (("link", "a", "--model", "3", "--detach"), "--model links one FILE by hand: "),
        (("cache", "3", "-3"), "No such option"),
        (("cache", "3", "0"), "'0' is no model of CivitAI: "),
        (("list", "-n", "x"), "Invalid value for '--limit'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else "",
)
def test_a_slip_is_told_before_anything_is_asked(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...], said: str
) -> None:
    done = tsr("db", *command)
    assert (done.code, done.out, fake.calls) == (2, "", [])
    assert said in done.err


# The whole


def test_the_library_in_numbers(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.stats"] = STATS
    done = tsr("db", "stats")
    assert done.out.splitlines() == [
        "files                 1,234 (500 GB)",
        "linked                1,000",
        "not known to CivitAI  231",
        "without hashes        3",
        "missing               1",
        "broken                2",
        "copies                2 (4.00 GB could go: tsr db dupes)",
        "models kept           300 with 2,000 versions",
        "database              /data/models.db (23.0 MB)",
        "",
        "checkpoint     34  400 GB",
        "lora        1,200  100 MB",
        "",
        "sdxl  7  12 B",
    ]
    assert (done.code, done.err) == (0, "")


def test_copies_are_listed_with_what_they_cost(tsr: Commands, fake: FakeTensors) -> None:
    pairs = (
        Duplicates(sha256=SHA256, size=2_000_000_000, files=("/a", "/b", f"/{NASTY}")),
        Duplicates(sha256="0" * 64, size=500, files=("/c", "/d")),
    )
    fake.answers["db.duplicates"] = Page(items=pairs)
    done = tsr("db", "dupes")
    assert done.out.splitlines() == [
        f"2.00 GB  3 times  sha256 {SHA256}",
        "  /a",
        "  /b",
        f"  /{NASTY_SHOWN}",
        f"500 B  2 times  sha256 {'0' * 64}",
        "  /c",
        "  /d",
    ]
    assert (done.code, done.err) == (0, "3 files could go, 4.00 GB\n")


def test_updates_are_listed_with_early_access_apart(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.updates"] = Page(items=UPDATES[::-1])
    done = tsr("db", "updates")
    assert done.out.splitlines() == [
        "style  Styles  v1 -> v2  Pony  2026-01-31  1@3",
        "",
        "early access, for buyers only until:",
        "x  X  a -> b  -  -  4@6  2999-01-31",
    ]
    assert (done.code, done.err) == (0, "2 files with a newer version; what is new: tsr get MODEL@VERSION\n")


@pytest.mark.parametrize(
    ("found", "code", "out"),
    [
        (LibraryCheck(sound=True), 0, "sound\n"),
        (LibraryCheck(sound=True, mended=("the search index",)), 0, "sound\nmended: the search index\n"),
        (LibraryCheck(sound=False, problems=("row 3", NASTY)), 1, f"not sound\nwrong: row 3\nwrong: {NASTY_SHOWN}\n"),
    ],
    ids=["sound", "mended", "not"],
)
def test_a_check_ends_with_its_verdict(
    tsr: Commands, fake: FakeTensors, found: LibraryCheck, code: int, out: str
) -> None:
    fake.answers["db.check"] = found
    done = tsr("db", "check")
    assert (done.code, done.out, done.err) == (code, out, "")
    assert tsr("db", "check", "--json").code == code

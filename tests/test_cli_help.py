"""Help, completion, usage errors, and what a command imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from commands import Commands, every_command
from conftest import Tsr

from tensors import __version__
from tensors.cli.main import COMMANDS

EVERY = list(every_command())
HEAVY = {"fastapi", "pydantic", "sqlalchemy", "dbos", "starlette", "uvicorn", "aiohttp", "httpx", "PIL", "rich"}
"""What costs from 30 to 800 ms each to import."""
PROBE = """
import json, sys
from tensors.cli.main import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""


@pytest.fixture
def tsr_here(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def test_every_group_and_command_is_known() -> None:
    assert {words[0] for words in EVERY if words} == set(COMMANDS)
    assert ("images", "list") in EVERY
    assert len(EVERY) > 30


@pytest.mark.parametrize("words", EVERY, ids=lambda words: " ".join(words) or "tsr")
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(tsr_here: Commands, words: tuple[str, ...], option: str) -> None:
    done = tsr_here(*words, option)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: {' '.join(('tsr', *words))} ")
    assert done.out.splitlines()[2].startswith("  ")
    if len(words) == 1:
        # The first line of the help is the line that `tsr --help` has, and that costs no import.
        assert " ".join(done.out.split("\n\n")[1].split()) == COMMANDS[words[0]][1]


def test_the_help_of_tsr_lists_every_command_with_its_line(tsr_here: Commands) -> None:
    words = " ".join(tsr_here("--help").out.split())
    for name, (_, line) in COMMANDS.items():
        assert f" {name} {line}" in words


def test_version(tsr_here: Commands) -> None:
    assert tsr_here("--version").out == f"tsr {__version__}\n"


@pytest.mark.parametrize("group", [(), ("db",), ("images",), ("remote",)], ids=lambda words: " ".join(words) or "tsr")
def test_a_group_alone_shows_its_help_and_fails(tsr_here: Commands, group: tuple[str, ...]) -> None:
    done = tsr_here(*group)
    assert (done.code, done.out) == (2, "")
    assert done.err == tsr_here(*group, "--help").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generat",), "No such command 'generat'"),
        (("images", "lst"), "No such command 'lst'"),
        (("images", "list", "--limt", "3"), "No such option '--limt'"),
        (("images", "list", "--limit"), "Option '--limit' requires an argument"),
        (("images", "list", "--limit", "x"), "Invalid value for '--limit'"),
        (("images", "show"), "Missing argument 'IMAGE_ID...'"),
        (("images", "replay", "a", "b"), "Got unexpected extra argument"),
        (("generate", "x", "--lora", "a:b"), "Invalid value for '--lora'"),
        (("generate", "x", "--size", "64"), "Invalid value for '--size'"),
        (("serve", "--port", "65536"), "Invalid value for '--port'"),
        (("completion", "tcsh"), "Invalid value for '{bash|zsh|fish}'"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else None,
)
def test_a_slip_is_told_with_the_way_to_the_help(tsr_here: Commands, words: tuple[str, ...], said: str) -> None:
    done = tsr_here(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")
    # Where click does not know which command it was in, there is no hint.
    assert done.err.splitlines()[-1].startswith("hint:  tsr ") or said.startswith("Option")
    as_json = tsr_here(*words, "--json")
    assert (as_json.code, as_json.err) == (2, "")
    error = json.loads(as_json.out)["error"]
    assert error["code"] == "invalid_request"
    assert said in error["message"] or "--json" in error["message"]


def imported_by(*words: str) -> set[str]:
    """The packages that a fresh interpreter has loaded after a command."""
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, timeout=60, check=True)
    code, names = json.loads(done.stderr.splitlines()[-1])
    assert code == 0, done.stderr
    return set(names)


@pytest.mark.parametrize(
    "words",
    [
        *(("--help",), ("images", "list", "--help"), ("generate", "--help"), ("serve", "--help")),
        *(("images", command, "--help") for command in ("edit", "import", "export", "replay")),
        *(("db", "--help"), ("db", "list", "--help"), ("db", "show", "--help")),
        *(("search", "--help"), ("get", "--help"), ("info", "--help")),
    ],
    ids=" ".join,
)
def test_help_imports_next_to_nothing(words: tuple[str, ...]) -> None:
    names = imported_by(*words)
    assert not names & (HEAVY | {"asyncio", "sqlite3", "tomlkit", "psutil", "filelock"})
    if words == ("--help",):
        # Not even the groups: each is loaded when it is used.
        assert not names & {"msgspec", "tomllib"}


def test_the_local_gallery_is_listed_without_anything_heavy() -> None:
    names = imported_by("images", "list")
    assert not names & (HEAVY | {"asyncio", "tomlkit"})
    assert "msgspec" in names


@pytest.mark.parametrize(
    "words", [("list",), ("list", "style", "--state", "present"), ("stats",), ("search", "x")], ids=" ".join
)
def test_the_library_is_looked_at_without_anything_heavy(words: tuple[str, ...]) -> None:
    names = imported_by("db", *words)
    assert not names & (HEAVY | {"asyncio", "blake3", "zlib_ng", "tomlkit", "urllib3", "msgspec"})
    assert "sqlite3" in names
    if words[0] == "list":
        # Each of these takes a tenth of the time there is.
        assert not names & {"annotated_types", "tomllib"}


def test_reading_a_setting_imports_nothing_heavy() -> None:
    assert not imported_by("config", "list") & (HEAVY | {"asyncio"})


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_scripts_are_printed(tsr_here: Commands, shell: str, word: str) -> None:
    done = tsr_here("completion", shell)
    assert (done.code, done.err) == (0, "")
    assert "_TSR_COMPLETE" in done.out
    assert word in done.out


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tsr im", {"images"}),
        ("tsr images re", {"reindex", "replay", "restore"}),
        ("tsr images list --rem", {"--remote"}),
        ("tsr images list --remote ju", {"junkpile"}),
        ("tsr completion f", {"fish"}),
        ("tsr db s", {"scan", "search", "set", "show", "stats"}),
        ("tsr db list --st", {"--state"}),
        ("tsr db list --state mi", {"missing"}),
    ],
)
def test_completion_offers_what_fits(tsr: Tsr, line: str, offered: set[str]) -> None:
    tsr("remote", "add", "junkpile", "http://junkpile:8080", check=True) if "--remote" in line else None
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    done = tsr(_TSR_COMPLETE="bash_complete", **words)
    assert {row.partition(",")[2] for row in done.stdout.splitlines()} == offered
    assert done.stderr == ""


def test_colours_are_for_terminals_only(tsr: Tsr) -> None:
    done = tsr("images", "show", "nope")
    assert "\x1b" not in done.stderr + done.stdout
    assert os.environ.get("FORCE_COLOR") is None

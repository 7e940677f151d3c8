"""`tsr db set`, `rm` and `link --model`: what changes; and what the shell completes for all of `tsr db`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete
from commands import Commands
from fake_tensors import FakeTensors
from library_samples import FILES, NASTY, NASTY_SHOWN, a_file, bare, details

from tensors.cli._app import App
from tensors.cli.main import cli
from tensors.errors import FileNotInLibrary, LibraryError
from tensors.types.base import Page
from tensors.types.library import FileEdit, Forgotten


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def test_what_files_are_is_said_of_each(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers |= {
        "db.file": bare(),
        "db.edit": lambda name, _change: details(name=name, link=None, kind_from="user"),
    }
    done = tsr("db", "set", "a", "b", "--family", "auto", "--kind", "lora")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"{name}: lora (you said so), pony (a guess from its name)" for name in "ab"]
    change = FileEdit(family="auto", kind="lora")
    assert [call[:2] for call in fake.calls] == [
        *(("db.file", (name,)) for name in "ab"),
        *(("db.edit", (name, change)) for name in "ab"),
    ]
    assert [file["name"] for file in tsr.json("db", "set", "a", "--family", "pony")] == ["a"]


def absent(*names: str) -> Any:
    """Answers for a file, except for these."""

    def file(name: str) -> Any:
        if name in names:
            raise FileNotInLibrary(f"file {name!r} is not in the library")
        return bare()

    return file


@pytest.mark.parametrize("command", [("set", "a", "b", "--kind", "vae"), ("rm", "a", "b")], ids=lambda words: words[0])
def test_a_wrong_name_among_right_ones_changes_nothing(
    tsr: Commands, fake: FakeTensors, command: tuple[str, ...]
) -> None:
    fake.answers["db.file"] = absent("b")
    done = tsr("db", *command)
    assert (done.code, done.out, done.err) == (3, "", "error: file 'b' is not in the library\n")
    assert {name for name, _, _ in fake.calls} == {"db.file"}


def test_a_link_is_made_and_taken_away_by_hand(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.edit"] = details()
    done = tsr("db", "link", "style", "--model", "https://civitai.com/models/4384/x?modelVersionId=128713")
    assert (done.code, done.err) == (0, "")
    assert done.out == ("style: lora (from its tensors), pony (a guess from its name), on CivitAI DreamShaper (8)\n")
    for typed in ("none", "4384", "what?"):
        tsr("db", "link", "style", "--model", typed, check=True)
    assert [change.model for _, change in fake.called("db.edit")] == ["4384@128713", "none", "4384", "what?"]
    assert tsr.json("db", "link", "style", "--model", "4384")["link"]["version_id"] == 128713


def test_files_leave_the_library_and_stay_on_disk(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers |= {"db.file": bare(), "db.forget": lambda name: Forgotten(id=1, name=name)}
    done = tsr("db", "rm", "a", NASTY)
    assert done.out == f"took a out of the library\ntook {NASTY_SHOWN} out of the library\n"
    assert (done.code, done.err) == (0, "they are still on disk\n")
    assert tsr.json("db", "rm", "a") == [{"id": 1, "name": "a"}]


def test_a_model_leaves_the_library(tsr: Commands, fake: FakeTensors) -> None:
    fake.answers["db.forget_model"] = Forgotten(id=4384, name="DreamShaper")
    done = tsr("db", "rm", "--model", "4384")
    assert (done.code, done.out, done.err) == (0, "took DreamShaper out of the library\n", "")
    assert fake.called("db.forget_model") == [4384]


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [(("a", "b"), "2 file(s)"), (("--model", "3"), "model 3 and the links to it")],
    ids=["files", "model"],
)
def test_who_sits_at_a_terminal_is_asked_first(
    tsr: Commands, fake: FakeTensors, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], asked: str
) -> None:
    fake.answers |= {
        "db.file": bare(),
        "db.forget": Forgotten(id=1, name="x"),
        "db.forget_model": Forgotten(id=3, name="x"),
    }
    questions: list[str] = []

    def confirm(question: str, *, abort: bool, err: bool) -> None:
        questions.append(question)
        assert abort
        assert err
        raise click.Abort

    monkeypatch.setattr(App, "interactive", True)
    monkeypatch.setattr(click, "confirm", confirm)
    done = tsr("db", "rm", *arguments)
    assert (done.code, done.out, fake.calls) == (130, "", [])
    assert questions == [f"Take {asked} out of the library? Nothing is deleted from disk."]
    assert tsr("db", "rm", *arguments, "--yes").code == 0
    assert len(questions) == 1


# Completion


def offered(*words: str) -> list[CompletionItem]:
    """What the shell is told for the last of these words."""
    return ShellComplete(cli, {}, "tsr", "_TSR_COMPLETE").get_completions(list(words[:-1]), words[-1])


def completed(*words: str) -> list[str]:
    """What the shell offers for the last of these words."""
    return [item.value for item in offered(*words)]


@pytest.mark.parametrize("command", ["show", "triggers", "set", "rm", "link"])
def test_names_of_files_are_completed(fake: FakeTensors, command: str) -> None:
    names = ("x style", "style\n2", "style")
    fake.answers["db.files"] = Page(items=(*FILES, *(a_file(name=name) for name in names)))
    assert completed("db", command, "sty") == ["style"]
    assert fake.called("db.files") == [{"query": "sty", "limit": 200}]


def test_names_are_completed_from_the_remote_that_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, asked = FakeTensors({"db.files": Page(items=FILES)}), []

    def connect(_config: object, remote: str | None) -> FakeTensors:
        asked.append(remote)
        return fake

    monkeypatch.setattr("tensors.connect.connect", connect)
    assert completed("db", "show", "--remote", "http://junkpile:8080", "") == ["dreamshaper_8", "style", "gone"]
    assert asked == ["http://junkpile:8080"]
    assert fake.called("db.files") == [{"query": None, "limit": 200}]


def test_where_names_cannot_be_had_completion_is_silent(fake: FakeTensors, capsys: pytest.CaptureFixture[str]) -> None:
    fake.answers["db.files"] = LibraryError("models.db is damaged")
    assert completed("db", "show", "s") == []
    assert capsys.readouterr() == ("", "")


def test_with_settings_that_cannot_be_read_completion_is_silent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (file := tmp_path / "broken.toml").write_text("[paths")
    monkeypatch.setenv("TSR_CONFIG", str(file))
    assert completed("db", "show", "s") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("db", "list", "--kind", "l"), ["lora"]),
        (("db", "set", "x", "--kind", "text"), ["text_encoder"]),
        (("db", "list", "--family", "pon"), ["pony"]),
        (("db", "set", "x", "--family", "illu"), ["illustrious"]),
        (("db", "list", "--state", "un"), ["unlinked"]),
        (("db", "sc"), ["scan"]),
    ],
    ids=lambda part: " ".join(part),
)
def test_kinds_families_and_states_are_completed(words: tuple[str, ...], names: list[str]) -> None:
    assert completed(*words) == names


@pytest.mark.parametrize(("words", "kind"), [(("db", "scan", "/mo"), "dir"), (("info", "/mo"), "file")])
def test_paths_are_left_to_the_shell(words: tuple[str, ...], kind: str) -> None:
    (item,) = offered(*words)
    assert (item.value, item.type) == ("/mo", kind)

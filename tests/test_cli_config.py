"""`tsr config` and `tsr remote`: what they print, what they leave in the file, what they refuse."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from commands import Commands

from tensors.config import SETTINGS

BY_HAND = """\
# The box in the hall.
default_remote = "hall"   # until the new one is here

[remotes]
# Never on at night.
hall = "http://hall:8080"

[engine]
threads = 3 # of four

[other_tool]
colour = "green"
"""


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


@pytest.fixture
def file() -> Path:
    """The configuration file of this test, as somebody wrote it."""
    file = Path(os.environ["TSR_CONFIG"])
    file.write_text(BY_HAND)
    return file


def document(file: Path) -> dict[str, Any]:
    return tomllib.loads(file.read_text())


def kept(file: Path) -> bool:
    """Whether everything that tsr does not know is still there."""
    text = file.read_text()
    words = ("# The box in the hall.", "# Never on at night.", "# of four", '[other_tool]\ncolour = "green"')
    return all(word in text for word in words)


def mode(file: Path) -> int:
    return file.stat().st_mode & 0o777


def test_remotes_are_added_listed_and_removed(tsr: Commands, file: Path) -> None:
    done = tsr("remote", "add", "junkpile", "http://junkpile:8080/", "--api-key", "hunter2", check=True)
    assert done.out == "junkpile is http://junkpile:8080\n"
    assert done.err == "try it: tsr status --remote junkpile\n"
    assert document(file)["remotes"]["junkpile"] == {"url": "http://junkpile:8080", "api_key": "hunter2"}
    assert (kept(file), mode(file)) == (True, 0o600)
    listed = tsr("remote", "list", check=True)
    assert listed.out.splitlines() == [
        "*  hall      http://hall:8080",
        "   junkpile  http://junkpile:8080  with key",
    ]
    assert tsr.json("remote", "list") == [
        {"name": "hall", "url": "http://hall:8080", "default": True, "has_key": False},
        {"name": "junkpile", "url": "http://junkpile:8080", "default": False, "has_key": True},
    ]
    assert tsr("remote", "remove", "junkpile", check=True).out == "forgot junkpile\n"
    assert document(file) == tomllib.loads(BY_HAND)
    assert kept(file)


def test_the_first_remote_makes_the_file(tsr: Commands) -> None:
    file = Path(os.environ["TSR_CONFIG"])
    assert tsr("remote", "list", check=True).err == "no remotes yet: tsr remote add junkpile http://junkpile:8080\n"
    assert not file.exists()
    tsr("remote", "add", "junkpile", "http://junkpile:8080", "--default", check=True)
    assert document(file) == {"default_remote": "junkpile", "remotes": {"junkpile": "http://junkpile:8080"}}
    assert mode(file) == 0o600


def test_the_default_remote_is_shown_set_and_taken_away(tsr: Commands, file: Path) -> None:
    assert tsr("remote", "default", check=True).out == "hall\n"
    tsr("remote", "add", "studio", "https://studio", "--default", check=True)
    assert tsr.json("remote", "default") == {"default_remote": "studio"}
    assert tsr("remote", "default", "hall", check=True).out == "hall\n"
    assert tsr("remote", "default", "--none", check=True).out == "none\n"
    assert "default_remote" not in document(file)
    assert tsr("remote", "default", "studio", check=True).out == "studio\n"
    assert document(file)["default_remote"] == "studio"
    assert kept(file)
    assert tsr("remote", "remove", "studio", check=True).err == ""
    assert "default_remote" not in document(file)


def test_commands_use_the_default_remote_and_local_means_here(tsr: Commands) -> None:
    tsr("remote", "add", "away", "http://127.0.0.1:9", "--default", check=True)
    assert tsr("images", "list").code == 6
    assert tsr("images", "list", "--remote", "local").code == 0
    assert tsr("images", "list", "--remote", "http://127.0.0.1:8").err.startswith("error: http://127.0.0.1:8 cannot")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("remote", "add", "local", "http://x"), 2, "'local' cannot be a remote's name"),
        (("remote", "add", "http://x", "http://x"), 2, "'http://x' cannot be a remote's name"),
        (("remote", "add", "x", "junkpile"), 2, "'junkpile' is not a server's URL"),
        (("remote", "add", "x", "ftp://junkpile"), 2, "'ftp://junkpile' is not a server's URL"),
        (("remote", "add", "x", "http://junkpile:99999"), 2, "'http://junkpile:99999' is not a server's URL"),
        (("remote", "default", "nowhere"), 3, "remote 'nowhere' not found"),
        (("remote", "remove", "nowhere"), 3, "remote 'nowhere' not found"),
        (("remote", "default", "hall", "--none"), 2, "give a NAME or --none, not both"),
        (("config", "get", "server.prot"), 2, "no setting is called 'server.prot'; did you mean 'server.port'?"),
        (("config", "set", "nothing", "1"), 2, "no setting is called 'nothing'"),
        (("config", "unset", "remotes"), 2, "no setting is called 'remotes'"),
        (("config", "set", "server.port", "many"), 2, "server.port in the command line must be a whole number"),
        (("config", "set", "server.port", "8.5"), 2, "server.port in the command line must be a whole number"),
        (("config", "set", "server.port", "65536"), 2, "server.port in the command line must be between 0 and 65535"),
        (("config", "set", "server.port", "-1"), 2, "server.port in the command line must be between 0 and 65535"),
        (("config", "set", "server.max_queue", "0"), 2, "server.max_queue in the command line must be between 1 and"),
        (("config", "set", "engine.model", ""), 2, "engine.model in the command line must be a text"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, tuple) else None,
)
def test_what_cannot_be_is_refused_and_nothing_changes(
    tsr: Commands, file: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    # `--` so that a number below zero is no option.
    words = (*arguments[:2], "--", *arguments[2:]) if arguments[0] == "config" else arguments
    done = tsr(*words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"error: {said}")
    as_json = tsr(*arguments[:2], "--json", *words[2:])
    assert (as_json.code, as_json.err) == (code, "")
    assert json.loads(as_json.out)["error"]["message"].startswith(said)
    assert file.read_text() == BY_HAND


def test_every_setting_is_listed_with_its_value_and_origin(
    tsr: Commands, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TSR_PORT", "9000")
    rows = {row["key"]: row for row in tsr.json("config", "list")}
    assert list(rows) == [setting.key for setting in SETTINGS]
    assert all(set(row) == {"key", "value", "from", "about"} and row["about"] for row in rows.values())
    assert (rows["server.port"]["value"], rows["server.port"]["from"]) == (9000, "TSR_PORT")
    assert (rows["engine.threads"]["value"], rows["engine.threads"]["from"]) == (3, "file")
    assert (rows["server.host"]["value"], rows["server.host"]["from"]) == ("127.0.0.1", "default")
    assert rows["data_dir"]["from"] == "TSR_DATA_DIR"
    lines = tsr("config", "list", check=True).out.splitlines()
    assert len(lines) == len(SETTINGS)
    assert any(re.match(r"server\.port +9000 +TSR_PORT +\S", line) for line in lines)


def test_a_setting_is_set_read_and_unset(tsr: Commands, file: Path) -> None:
    assert tsr("config", "get", "server.port", check=True).out == "8080\n"
    assert tsr("config", "set", "server.port", "9001", check=True).out == "server.port = 9001\n"
    assert document(file)["server"] == {"port": 9001}
    assert tsr.json("config", "get", "server.port")["from"] == "file"
    tsr("config", "set", "paths.loras", "/a, /b/c", check=True)
    assert document(file)["paths"] == {"loras": ["/a", "/b/c"]}
    assert tsr("config", "get", "paths.loras", check=True).out == "/a, /b/c\n"
    tsr("config", "set", "engine.threads", "1", check=True)
    assert (kept(file), mode(file)) == (True, 0o600)
    assert tsr("config", "unset", "server.port", check=True).out == "server.port unset\n"
    assert tsr.json("config", "get", "server.port")["from"] == "default"
    assert tsr("config", "unset", "server.port").code == 0
    assert tsr.json("config", "path") == {"path": str(file)}
    assert tsr("config", "path", check=True).out == f"{file}\n"


def test_secrets_are_not_shown(tsr: Commands, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSR_API_KEY", "hunter3")
    runs = [
        tsr("config", "set", "server.api_keys", "hunter2", check=True),
        tsr("config", "set", "server.api_keys", "hunter2", "--json", check=True),
        tsr("config", "get", "server.api_keys", check=True),
        tsr("config", "list", check=True),
        tsr("config", "list", "--json", check=True),
        tsr("remote", "add", "x", "http://x", "--api-key", "hunter2", "--json", check=True),
        tsr("remote", "list", "--json", check=True),
    ]
    assert document(file)["server"]["api_keys"] == ["hunter2"]
    assert document(file)["remotes"]["x"]["api_key"] == "hunter2"
    assert not any("hunter" in done.out + done.err for done in runs)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server", "is not valid TOML"),
        ("[server]\nport = 'x'\n", "server.port in "),
        ("remotes = 3\n", "[remotes] in "),
    ],
)
def test_a_broken_file_is_named_by_every_command_and_left_as_it_is(tsr: Commands, text: str, said: str) -> None:
    file = Path(os.environ["TSR_CONFIG"])
    file.write_text(text)
    for words in (("config", "list"), ("images", "list"), ("remote", "add", "x", "http://x")):
        done = tsr(*words, "--json")
        assert (done.code, done.err) == (2, "")
        error = json.loads(done.out)["error"]
        assert error["code"] == "config"
        assert said in error["message"]
        assert str(file) in error["message"]
    assert file.read_text() == text
    assert tsr("--help").code == 0


def test_a_bad_variable_is_named(tsr: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSR_PORT", "http")
    done = tsr("config", "list")
    assert (done.code, done.err) == (2, "error: server.port in TSR_PORT must be a whole number, not 'http'\n")

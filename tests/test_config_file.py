"""Writing the configuration file: what was there stays, and what was written is read again."""

from __future__ import annotations

import os
import stat
import tempfile
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.config import SETTINGS, Remote, Setting, load_config
from tensors.config_file import add_remote, remove_remote, set_default_remote, set_value, setting_named, unset_value
from tensors.errors import ConfigError, RemoteNotFound

WRITTEN_BY_HAND = """\
# My settings.
api_key = "k"  # for all

# The boxes in the house
[remotes]
junkpile = "http://junkpile:8080"  # the big one
attic = { url = "http://attic", api_key = "a" }

[other.tool]  # not ours
x = [1, 2,
     3]  # three

[server]
lights = true
"""

SHAPES = (
    "",
    "# only a comment\n",
    WRITTEN_BY_HAND,
    "server.lights = 1\n[other]\na = 1\n",
    "[other]\na = 1\n",
    '[[other]]\na = 1\n[[other]]\n[remotes.junk]\nurl = "http://a"\n[server.sub]\nq = 1\n[x]\nz = 1\n[server]\nl = 1\n',
    "server = {lights = 1}\nremotes = {}\n",
)


@pytest.fixture(autouse=True)
def quick_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home directory to write in, without waiting for the disk at each of some thousand writes."""
    Path(os.environ["HOME"]).mkdir()
    monkeypatch.delenv("TSR_DATA_DIR")
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "config.toml"


def written(text: str) -> Path:
    """A file with this text, in a folder of its own."""
    file = Path(tempfile.mkdtemp(dir=os.environ["HOME"])) / "config.toml"
    file.write_text(text)
    return file


def leaves(document: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A TOML document as one flat dictionary."""
    flat = {}
    for key, value in document.items():
        flat.update(leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def comments(text: str) -> list[str]:
    return [line.partition("#")[2] for line in text.splitlines() if "#" in line]


CHANGES: list[Callable[[Path], object]] = [
    lambda file: set_value(file, "server.port", "81"),
    lambda file: set_value(file, "default_remote", "x"),
    lambda file: set_value(file, "gallery.directory", "/pictures"),
    lambda file: set_value(file, "engine.arguments", "--fa,--verbose"),
    lambda file: add_remote(file, "new", "http://new", api_key=None, default=True),
    lambda file: add_remote(file, "new", "http://new", api_key="n", default=False),
    lambda file: unset_value(file, "server.port"),
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_a_change_keeps_everything_else(shape: str, change: Callable[[Path], object]) -> None:
    file = written(shape)
    change(file)
    text = file.read_text()
    before, after = leaves(tomllib.loads(shape)), leaves(tomllib.loads(text))
    assert {key: after.get(key) for key in before} == before
    assert comments(text) == comments(shape)
    load_config(file)


def test_a_changed_file_by_hand_looks_as_it_did(file: Path) -> None:
    file.parent.mkdir()
    file.write_text(WRITTEN_BY_HAND)
    set_value(file, "server.port", "81")
    set_default_remote(file, "attic")
    remove_remote(file, "junkpile")
    expected = [line for line in WRITTEN_BY_HAND.splitlines() if line and not line.startswith("junkpile")]
    lines = [line for line in file.read_text().splitlines() if line]
    default = lines.index('default_remote = "attic"')
    assert default < lines.index("[remotes]")
    assert lines[:default] + lines[default + 1 :] == [*expected, "port = 81"]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_the_default_remote_stands_before_every_table(shape: str) -> None:
    file = written(shape)
    add_remote(file, "one", "http://one", api_key=None, default=True)
    assert tomllib.loads(file.read_text())["default_remote"] == "one"
    add_remote(file, "two", "http://two", api_key="k", default=False)
    set_default_remote(file, "two")
    assert load_config(file)["default_remote"] == "two"
    assert file.read_text().count("default_remote") == 1
    set_default_remote(file, None)
    set_default_remote(file, None)
    assert load_config(file)["default_remote"] is None


def test_removing_a_remote_forgets_it_as_the_default_too(file: Path) -> None:
    add_remote(file, "one", "http://one", api_key=None, default=True)
    add_remote(file, "two", "http://two", api_key=None, default=False)
    remove_remote(file, "two")
    assert load_config(file)["default_remote"] == "one"
    remove_remote(file, "one")
    config = load_config(file)
    assert (config["default_remote"], config.remotes) == (None, {})


def test_adding_a_remote_again_replaces_it(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('[remotes.box]\nurl = "http://old"\napi_key = "old"\n[server]\nport = 81\n')
    add_remote(file, "box", "http://new/", api_key=None, default=False)
    assert load_config(file).remotes == {"box": Remote(name="box", url="http://new")}
    add_remote(file, "box", "http://new", api_key="new", default=False)
    assert load_config(file).remotes == {"box": Remote(name="box", url="http://new", api_key="new")}


def test_an_unknown_remote_is_not_found_and_nothing_is_written(file: Path) -> None:
    for change in (lambda: set_default_remote(file, "x"), lambda: remove_remote(file, "x")):
        with pytest.raises(RemoteNotFound, match="remote 'x' not found"):
            change()
    assert not file.exists()


@pytest.mark.parametrize("name", ["", " ", "-x", "local", "http://x", "a\nb", "\x7f", "\udcff"])
def test_a_name_that_is_none_is_refused(name: str, file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be a remote's name"):
        add_remote(file, name, "http://x", api_key=None, default=False)
    assert not file.exists()


def test_a_bad_url_is_refused_and_nothing_is_written(file: Path) -> None:
    for api_key in (None, "k"):
        with pytest.raises(ConfigError, match="'junkpile' is not a server's URL"):
            add_remote(file, "x", "junkpile", api_key=api_key, default=True)
    assert not file.exists()


NAMES = st.text(min_size=1).filter(
    lambda name: (
        name.isprintable() and name.strip() and not name.startswith("-") and "://" not in name and name != "local"
    )
)
URLS = st.builds("http://{}:{}".format, st.from_regex(r"[a-z0-9]{1,9}", fullmatch=True), st.integers(1, 65535))
REMOTES = st.dictionaries(NAMES, st.tuples(URLS, st.none() | st.text(min_size=1)), min_size=1, max_size=4)


@given(remotes=REMOTES, shape=st.sampled_from(SHAPES), data=st.data())
def test_remotes_are_read_as_they_were_added(
    remotes: dict[str, tuple[str, str | None]], shape: str, data: st.DataObject
) -> None:
    file = written(shape)
    default = data.draw(st.sampled_from(sorted(remotes)))
    for name, (url, api_key) in remotes.items():
        add_remote(file, name, url, api_key=api_key, default=name == default)
    config = load_config(file)
    expected = {name: Remote(name=name, url=url, api_key=key) for name, (url, key) in remotes.items()}
    assert {name: config.remotes[name] for name in remotes} == expected
    assert config["default_remote"] == default
    for name in remotes:
        remove_remote(file, name)
    assert not set(load_config(file).remotes) & set(remotes)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0,"), min_size=1).filter(
    lambda text: text == text.strip() and not text.startswith("~")
)


def raw_values(setting: Setting) -> st.SearchStrategy[str]:
    """What a person may type for a setting."""
    if setting.kind == "int":
        return st.integers(setting.least, setting.most).map(str)
    if setting.kind == "bool":
        return st.sampled_from(["true", "false"])
    if setting.kind == "size":
        return st.builds("{}{}".format, st.integers(0, 10**6), st.sampled_from(["", " B", "kB", " MB", "GB", " TB"]))
    return st.lists(TEXTS).map(",".join) if setting.kind in ("strs", "paths") else TEXTS


@given(data=st.data(), shape=st.sampled_from(SHAPES))
def test_a_value_is_read_as_it_was_set(data: st.DataObject, shape: str) -> None:
    setting = data.draw(st.sampled_from(SETTINGS))
    file = written(shape)
    value = set_value(file, setting.key, data.draw(raw_values(setting)))
    config = load_config(file)
    assert (config[setting.key], config.origins[setting.key]) == (value, "file")
    unset_value(file, setting.key)
    unset_value(file, setting.key)
    assert load_config(file).origins[setting.key] == "default"


def test_a_bad_value_or_key_is_refused_and_nothing_is_written(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        set_value(file, "server.port", "many")
    assert caught.value.message == "server.port in the command line must be a whole number, not 'many'"
    with pytest.raises(ConfigError) as caught:
        set_value(file, "server.prot", "1")
    assert caught.value.message == "no setting is called 'server.prot'; did you mean 'server.port'?"
    with pytest.raises(ConfigError, match="no setting is called 'zzz'"):
        unset_value(file, "zzz")
    with pytest.raises(ConfigError, match="Unicode"):
        set_value(file, "api_key", "\udcff")
    assert not file.exists()
    assert setting_named("server.port").kind == "int"


def test_a_file_that_is_no_toml_is_left_alone(file: Path) -> None:
    file.parent.mkdir()
    for broken in (b"port = = 1\n", b"\xff\xfe"):
        file.write_bytes(broken)
        with pytest.raises(ConfigError, match="is not valid TOML"):
            set_value(file, "server.port", "1")
        assert file.read_bytes() == broken


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for there in (pipe, tmp_path):
        with pytest.raises(ConfigError, match="is not a file"):
            set_value(there, "server.port", "1")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    (tmp_path / "plain").touch()
    with pytest.raises(ConfigError, match="cannot be changed"):
        set_value(tmp_path / "plain" / "config.toml", "server.port", "1")


def test_a_link_to_the_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles.toml"
    dotfiles.write_text("# mine\n")
    file.parent.mkdir()
    file.symlink_to(dotfiles)
    set_value(file, "server.port", "81")
    assert file.is_symlink()
    assert dotfiles.read_text() == "# mine\n\n[server]\nport = 81\n"


def test_the_file_may_hold_keys_and_is_for_its_owner_only(file: Path) -> None:
    set_value(file, "api_key", "k")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["config.toml"]

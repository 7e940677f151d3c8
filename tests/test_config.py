"""Settings: where a value comes from, and what is refused. Writing them is in test_config_file.py."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.config import DEFAULT_PORT, SETTINGS, Remote, Setting, checked_url, config_file, load_config, parse_value
from tensors.errors import ConfigError, RemoteNotFound

BY_KEY = {setting.key: setting for setting in SETTINGS}


@pytest.fixture(autouse=True)
def no_data_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TSR_DATA_DIR")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def test_without_a_file_everything_has_its_default(file: Path) -> None:
    config = load_config(file)
    assert {key: config[key] for key in BY_KEY} == {setting.key: setting.default for setting in SETTINGS}
    assert set(config.origins.values()) == {"default"}
    assert config.remotes == {}


def test_environment_over_file_over_default_and_flags_over_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [(load_config(file)["server.port"], load_config(file).origins["server.port"])]
    file.write_text("[server]\nport = 81\n")
    seen.append((load_config(file)["server.port"], load_config(file).origins["server.port"]))
    monkeypatch.setenv("TSR_PORT", "82")
    config = load_config(file)
    seen.append((config["server.port"], config.origins["server.port"]))
    flagged = config.with_values(server__port=83, server__host=None)
    seen.append((flagged["server.port"], flagged.origins["server.port"]))
    assert seen == [(DEFAULT_PORT, "default"), (81, "file"), (82, "TSR_PORT"), (83, "flag")]
    assert flagged.origins["server.host"] == "default"
    assert config.with_values(server__port=0)["server.port"] == 0
    assert config["server.port"] == 82


VALID: dict[str, tuple[Any, str, Any]] = {
    "str": ('"text"', "text", "text"),
    "int": ("7", "7", 7),
    "bool": ("false", "false", False),
    "size": ('"2 GB"', "2gb", 2_000_000_000),
    "path": ('"/somewhere"', "/somewhere", Path("/somewhere")),
    "strs": ('["a", "b"]', "a, b,", ("a", "b")),
    "paths": ('["/a", "/b"]', "/a,/b", (Path("/a"), Path("/b"))),
}


def as_toml(setting: Setting, literal: str) -> str:
    table, _, last = setting.key.rpartition(".")
    return (f"[{table}]\n" if table else "") + f"{last} = {literal}\n"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_every_setting_is_read_from_the_file_and_from_its_variables(
    setting: Setting, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    literal, text, value = VALID[setting.kind]
    file.write_text(as_toml(setting, literal))
    config = load_config(file)
    assert (config[setting.key], config.origins[setting.key]) == (value, "file")
    file.unlink()
    for variable in setting.env:
        with monkeypatch.context() as patch:
            patch.setenv(variable, text)
            config = load_config(file)
            assert (config[setting.key], config.origins[setting.key]) == (value, variable)
            patch.setenv(variable, "")
            assert load_config(file).origins[setting.key] == "default"


INVALID = {
    "str": ("5", '""', "[]", "true", '"\\u0000"'),
    "int": ('"many"', "1.5", "true", "[1]", "-2", "2147483648", "inf", "nan"),
    "bool": ('"maybe"', "1", "[]", '""'),
    "size": ('"many"', '"-1 GB"', '"1 PB"', "true", "1.5", "-2", "[1]", "nan"),
    "path": ("5", '""', '"~nobody-of-that-name/x"'),
    "strs": ("5", "[1]", '[""]', "{ a = 1 }"),
    "paths": ("5", "[1]", '["~nobody-of-that-name/x"]'),
}


@pytest.mark.parametrize(
    ("setting", "literal"),
    [(setting, literal) for setting in SETTINGS for literal in INVALID[setting.kind]],
    ids=lambda part: part.key if isinstance(part, Setting) else part,
)
def test_a_bad_value_names_setting_and_file(setting: Setting, literal: str, file: Path) -> None:
    file.write_text(as_toml(setting, literal))
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert caught.value.message.startswith(f"{setting.key} in {file} must be ")
    assert ("not " in caught.value.message) is not setting.secret


@pytest.mark.parametrize("setting", [setting for setting in SETTINGS if setting.kind == "int"], ids=lambda one: one.key)
def test_a_number_has_bounds_and_they_are_told(setting: Setting) -> None:
    assert parse_value(setting, str(setting.least), "here") == setting.least
    assert parse_value(setting, f" {setting.most} ", "here") == setting.most
    for value in (setting.least - 1, setting.most + 1):
        with pytest.raises(ConfigError) as caught:
            parse_value(setting, str(value), "TSR_X")
        wanted = f"{setting.key} in TSR_X must be between {setting.least} and {setting.most}, not '{value}'"
        assert caught.value.message == wanted


def test_a_bad_variable_names_setting_and_variable(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TSR_PORT", "http")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert caught.value.message == "server.port in TSR_PORT must be a whole number, not 'http'"


def test_the_first_words_of_a_file_that_is_no_toml(file: Path) -> None:
    for broken in (b"port = = 1\n", b"\xff\xfe"):
        file.write_bytes(broken)
        with pytest.raises(ConfigError) as caught:
            load_config(file)
        assert caught.value.message.startswith(f"{file} is not valid TOML: ")
        assert caught.value.hint
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(file.parent)


def test_a_setting_where_a_table_belongs(file: Path) -> None:
    for text, table in (("server = 5\n", "server"), ('remotes = "x"\n', "remotes")):
        file.write_text(text)
        with pytest.raises(ConfigError) as caught:
            load_config(file)
        assert caught.value.message == f"[{table}] in {file} must be a table"


def test_what_tsr_does_not_know_is_left_alone(file: Path) -> None:
    file.write_text("colour = 1\n[server]\nlights = true\n[other.tool]\nx = 1\n")
    assert load_config(file)["server.port"] == DEFAULT_PORT


def test_where_the_file_and_the_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.delenv("TSR_CONFIG")
    assert config_file() == home / ".config" / "tensors" / "config.toml"
    assert load_config().data_dir == home / ".local" / "share" / "tensors"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "d"))
    assert config_file() == tmp_path / "c" / "tensors" / "config.toml"
    config = load_config()
    assert config.data_dir == tmp_path / "d" / "tensors"
    assert config.gallery_dir == config.data_dir / "gallery"
    assert config.engine_dir == config.data_dir / "engines"
    assert config.run_dir == config.data_dir / "run"
    monkeypatch.setenv("TSR_CONFIG", "~/mine.toml")
    assert config_file() == home / "mine.toml"


def test_folders_can_be_moved_and_are_absolute(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSR_DATA_DIR", "~/data")
    file.write_text('[gallery]\ndirectory = "pictures"\n[engine]\ndirectory = "/engines"\n')
    config = load_config(file)
    assert config.data_dir == tmp_path / "home" / "data"
    assert config.gallery_dir == tmp_path / "pictures"
    assert config.engine_dir == Path("/engines")


def test_remotes_in_both_forms(file: Path) -> None:
    file.write_text(
        '[remotes]\njunkpile = "http://junkpile:8080/"\nattic = { url = "https://attic", api_key = "s3cret" }\n'
        '[remotes.cellar]\nurl = "http://[::1]:81/tsr"\n'
    )
    config = load_config(file)
    assert config.remotes == {
        "junkpile": Remote(name="junkpile", url="http://junkpile:8080"),
        "attic": Remote(name="attic", url="https://attic", api_key="s3cret"),
        "cellar": Remote(name="cellar", url="http://[::1]:81/tsr"),
    }
    assert config.remote("attic") is config.remotes["attic"]
    assert config.remote("http://elsewhere/") == Remote(name="http://elsewhere/", url="http://elsewhere")
    assert "s3cret" not in repr(config.remotes)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("5", "remote 'x' in {file} needs a url"),
        ("{}", "remote 'x' in {file} needs a url"),
        ("{ url = 5 }", "remote 'x' in {file} needs a url"),
        ('"junkpile"', "remote 'x' in {file}: 'junkpile' is not a server's URL"),
        ('{ url = "ftp://x" }', "remote 'x' in {file}: 'ftp://x' is not a server's URL"),
        ('{ url = "http://x", api_key = 5 }', "remote 'x' in {file}: its api_key must be a text"),
    ],
)
def test_a_bad_remote_is_named_with_its_file(entry: str, said: str, file: Path) -> None:
    file.write_text(f"[remotes]\nx = {entry}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    assert caught.value.message == said.format(file=file)


def test_an_unknown_remote_says_which_are_known(file: Path) -> None:
    with pytest.raises(RemoteNotFound, match=r"remote 'x' not found \(known: none yet\)"):
        load_config(file).remote("x")
    file.write_text('[remotes]\nb = "http://b"\na = "http://a"\n')
    with pytest.raises(RemoteNotFound, match=r"remote 'x' not found \(known: a, b\)") as caught:
        load_config(file).remote("x")
    assert caught.value.hint == "tsr remote add x http://x:8080"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "junkpile",
        "junkpile:8080",
        "//junkpile",
        "ftp://junkpile",
        "file:///etc/passwd",
        "http://",
        "http://:8080",
        "http://x:99999",
        "http://x:port",
        "http://x:0",
        "http://[::1",
        "http://x y",
        "http://x\n",
        " http://x",
        "http://x/?a=1",
        "http://x#top",
    ],
)
def test_what_is_no_url_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        checked_url(url)
    assert repr(url) in caught.value.message
    assert caught.value.hint


HOST = st.from_regex(
    r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]{1,5}){0,2}", fullmatch=True
) | st.ip_addresses().map(lambda address: f"[{address}]" if address.version == 6 else str(address))


@given(
    scheme=st.sampled_from(["http", "https"]),
    host=HOST,
    port=st.integers(1, 65535),
    path=st.sampled_from(["", "/", "/a/"]),
)
def test_a_url_of_a_server_is_one_for_the_client_too(scheme: str, host: str, port: int, path: str) -> None:
    url = checked_url(f"{scheme}://{host}:{port}{path}")
    assert not url.endswith("/")
    parsed = httpx.URL(url)
    default = {"http": 80, "https": 443}[scheme]
    assert (parsed.scheme, parsed.port or default) == (scheme, port)


def test_a_configuration_can_be_the_null_device() -> None:
    assert load_config(Path(os.devnull)).remotes == {}

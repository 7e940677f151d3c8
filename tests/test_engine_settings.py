"""`[engine.backends.NAME]` and `[engine.models.NAME]` of the configuration file, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.base_models import FAMILIES
from tensors.config import Config, load_config
from tensors.engine_settings import (
    RESERVED,
    BackendSettings,
    ModelSettings,
    check_arguments,
    read_backends,
    read_models,
)
from tensors.errors import ConfigError

GOOD = """
[engine]
keep_alive = 60

[engine.backends.gpu0]
arguments = ["--diffusion-fa", "--vae-tiling"]
environment = { HIP_VISIBLE_DEVICES = "0", EMPTY = "" }
memory = "card0"

[engine.backends.flux-box]
container = "flux"
families = ["flux", "chroma"]

[engine.backends.studio]
url = "http://studio:1234"

[engine.models."flux1-dev-Q4_0"]
arguments = ["--offload-to-cpu"]
vae = "/models/vae/ae.safetensors"
t5xxl = "~/t5.safetensors"
"""


def read(tmp_path: Path, text: str) -> Config:
    (tmp_path / "config.toml").write_text(text)
    return load_config(tmp_path / "config.toml")


def test_tables_become_backends_and_models_in_their_order(tmp_path: Path) -> None:
    config = read(tmp_path, GOOD)
    assert config["engine.keep_alive"] == 60
    assert config.backends == (
        BackendSettings(
            name="gpu0",
            arguments=("--diffusion-fa", "--vae-tiling"),
            environment={"HIP_VISIBLE_DEVICES": "0", "EMPTY": ""},
            memory="card0",
        ),
        BackendSettings(name="flux-box", container="flux", families=("flux", "chroma")),
        BackendSettings(name="studio", url="http://studio:1234"),
    )
    assert [backend.kind for backend in config.backends] == ["process", "docker", "external"]
    assert config.models == {
        "flux1-dev-Q4_0": ModelSettings(
            name="flux1-dev-Q4_0",
            arguments=("--offload-to-cpu",),
            companions={"vae": Path("/models/vae/ae.safetensors"), "t5xxl": Path("~/t5.safetensors").expanduser()},
        )
    }


def test_without_tables_there_is_nothing_of_both(tmp_path: Path) -> None:
    config = read(tmp_path, "[engine]\nkeep_alive = 1\n")
    assert (config.backends, config.models) == ((), {})


A, M = "[engine.backends.a]\n", "[engine.models.m]\n"
BAD = {
    "no-table": ("[engine]\nbackends = 3", "engine.backends in {file} must be tables: [engine.backends.NAME]"),
    "no-row": ("[engine.backends]\na = 3", "engine.backends in {file} must be tables: [engine.backends.NAME]"),
    "list": ("[[engine.models]]\nvae = 'x'", "engine.models in {file} must be tables: [engine.models.NAME]"),
    "name": ("[engine.backends.'a b']", "a backend's name has up to 32 letters"),
    "long-name": (f"[engine.backends.{'a' * 33}]", "a backend's name has up to 32 letters"),
    "line-break": ('[engine.backends."a\\n"]', "a backend's name has up to 32 letters"),
    "slip": (f"{A}familys = ['flux']", "[engine.backends.a] in {file} has 'familys'; did you mean 'families'?"),
    "model-slip": (f"{M}vea = 'x'", "[engine.models.m] in {file} has 'vea'; did you mean 'vae'?"),
    "family": (f"{A}families = ['flx']", "[engine.backends.a] in {file}: 'flx' is no family; did you mean 'flux'?"),
    "families": (f"{A}families = 'flux'", "families must be a list of texts"),
    "arguments": (f"{A}arguments = [1]", "arguments must be a list of texts"),
    "empty": (f"{A}arguments = ['']", "arguments must be a list of texts"),
    "nul": (f'{A}arguments = ["a\\u0000"]', "arguments must be a list of texts"),
    "both": (f"{A}url = 'http://x'\ncontainer = 'c'", "[engine.backends.a] in {file} has both a url and a container"),
    "url": (f"{A}url = 'studio'", "[engine.backends.a] in {file}: 'studio' is not a server's URL"),
    "url-type": (f"{A}url = 1", "[engine.backends.a] in {file}: url must be a text"),
    "twice": (
        f"{A}url = 'http://x'\n[engine.backends.b]\nurl = 'http://x'",
        "[engine.backends] in {file}: a and b are at one place",
    ),
    "theirs": (f"{A}url = 'http://x'\narguments = ['--x']", "is somebody else's server: it takes neither"),
    "container": (f"{A}container = 'c'\nenvironment = {{ X = '1' }}", "is a container, which has its own (SD_ARGS)"),
    "environment": (f"{A}environment = {{ X = 1 }}", "environment must be like"),
    "variable": (f"{A}environment = {{ 'X=Y' = '1' }}", "environment must be like"),
    "reserved": (f"{A}arguments = ['--x', '--listen-port=1']", "[engine.backends.a] in {file} has --listen-port: "),
    "model-reserved": (f"{M}arguments = ['-m', 'x']", "[engine.models.m] in {file} has -m: the model is tsr's to"),
    "home": (f"{M}vae = '~nobody-of-that-name/x'", "[engine.models.m] in {file}: vae must be a path"),
    "companion": (f"{M}vae = ''", "[engine.models.m] in {file}: vae must be a text"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_said_with_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert said.format(file=tmp_path / "config.toml") in caught.value.message


OPTIONS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", fullmatch=True)


@given(
    before=st.lists(OPTIONS.filter(lambda one: one.partition("=")[0] not in RESERVED), max_size=3),
    option=st.sampled_from(sorted(RESERVED)),
    value=st.one_of(st.just(""), OPTIONS.map("={}".format)),
)
def test_a_reserved_option_is_refused_wherever_it_stands(before: list[str], option: str, value: str) -> None:
    check_arguments((*before, "--diffusion-fa"), "here")
    with pytest.raises(ConfigError) as caught:
        check_arguments((*before, option + value, "--diffusion-fa"), "here")
    assert caught.value.message == f"here has {option}: {RESERVED[option]}"
    assert caught.value.hint == f"take {option} out"


@given(
    st.dictionaries(
        NAMES,
        st.fixed_dictionaries(
            {},
            optional={
                "families": st.lists(st.sampled_from(FAMILIES), max_size=3),
                "arguments": st.lists(OPTIONS.filter(lambda one: one.partition("=")[0] not in RESERVED), max_size=3),
                "memory": OPTIONS,
            },
        ),
        max_size=4,
    )
)
def test_what_is_said_is_kept_as_it_was_said(tables: dict[str, dict[str, object]]) -> None:
    found = read_backends({"backends": tables}, "file")
    assert [backend.name for backend in found] == list(tables)
    for backend in found:
        row = tables[backend.name]
        assert list(backend.families) == row.get("families", [])
        assert list(backend.arguments) == row.get("arguments", [])
        assert backend.memory == row.get("memory")


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["~x/y", "http://[", "flux"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["url", "container", "families", "arguments", "environment", "memory", "vae", "t5xxl"])
TABLES = st.dictionaries(st.text(max_size=8) | NAMES, st.dictionaries(KEYS, JUNK, max_size=3) | JUNK, max_size=3)


@given(st.dictionaries(st.sampled_from(["backends", "models"]), TABLES | JUNK))
def test_whatever_is_in_the_tables_is_read_or_refused_in_our_words(engine: dict[str, object]) -> None:
    refused = []
    for read_tables in (read_backends, read_models):
        try:
            read_tables(engine, "the file")
        except ConfigError as error:
            refused.append(error.message)
    assert all("the file" in message for message in refused)

"""From the settings to backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tensors.config import Config, load_config
from tensors.engines.fleet import assemble, needs_engine, resting
from tensors.errors import ConfigError, EngineNotInstalled
from tensors.inputs import Inputs


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """The settings of a text."""

    def read(text: str = "") -> Config:
        file = tmp_path / "config.toml"
        file.write_text(text)
        return load_config(file)

    return read


def shown(config: Config) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(one.name, one.kind, one.state, one.families) for one in resting(config)]


def test_without_a_table_there_is_one_process(config: Any, fake_engine: Path) -> None:
    assert shown(config()) == [("engine", "process", "stopped", ())]
    two = config("[engine]\nmax_loaded = 2\n")
    assert shown(two) == [("engine-1", "process", "stopped", ()), ("engine-2", "process", "stopped", ())]


def test_tables_are_the_backends(config: Any, fake_engine: Path) -> None:
    told = config(
        """
        [engine.backends.gpu0]
        families = ["sdxl", "pony"]
        [engine.backends.box]
        container = "sd-flux"
        [engine.backends.attic]
        url = "http://attic:1234"
        """
    )
    assert shown(told) == [
        ("gpu0", "process", "stopped", ("sdxl", "pony")),
        ("box", "docker", "stopped", ()),
        ("attic", "external", "stopped", ()),
    ]
    assert needs_engine(told)


def test_only_a_process_needs_an_engine_on_this_machine(config: Any) -> None:
    assert needs_engine(config())
    assert not needs_engine(config('[engine]\ndocker = "local"\n'))
    assert not needs_engine(config('[engine.backends.attic]\nurl = "http://attic:1234"\n'))
    (missing,) = resting(config())
    assert (missing.state, missing.message) == ("missing", "there is no sd-server on this machine yet")


async def test_what_is_assembled_has_the_limits_of_the_settings(config: Any, fake_engine: Path, tmp_path: Path) -> None:
    inputs = Inputs(tmp_path / "inputs")
    usual = (await assemble(config(), inputs)).pool.limits
    assert (usual.keep_alive, usual.max_wait, usual.most_loaded) == (300, 60, {"here": 1})
    never = (await assemble(config("[engine]\nkeep_alive = -1\nmax_wait = 5\n"), inputs)).pool.limits
    assert (never.keep_alive, never.max_wait) == (None, 5)
    tables = "[engine.backends.a]\n[engine.backends.b]\n"
    assert (await assemble(config(tables), inputs)).pool.limits.most_loaded == {}
    assert (await assemble(config(f"[engine]\nmax_loaded = 1\n{tables}"), inputs)).pool.limits.most_loaded == {
        "here": 1
    }


async def test_without_an_engine_a_process_is_none(config: Any, tmp_path: Path) -> None:
    with pytest.raises(EngineNotInstalled):
        await assemble(config(), Inputs(tmp_path / "inputs"))


async def test_arguments_that_are_not_the_owners_to_set_are_refused(
    config: Any, fake_engine: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="has --listen-port: where it listens is tsr's to choose"):
        await assemble(config('[engine]\narguments = ["--listen-port", "1"]\n'), Inputs(tmp_path / "inputs"))

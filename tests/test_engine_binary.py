"""Which sd-server runs, of all there may be."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tensors.config import Config, load_config
from tensors.engines.binary import MANIFEST, PROGRAM, EngineBinary, find_engine, list_engines, reported_version
from tensors.errors import EngineNotInstalled


def program(
    path: Path, says: str = "stable-diffusion.cpp version master-1-abc, commit abc", *, mode: int = 0o755
) -> Path:
    """A program that prints this, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\necho 'Usage: ...'\n")
    path.chmod(mode)
    return path


def installed(tmp_path: Path, name: str, *, mode: int = 0o755, age: int = 0, manifest: Any = None) -> Path:
    """An engine in the data directory, installed so many seconds ago."""
    folder = tmp_path / "data" / "engines" / name
    path = program(folder / PROGRAM, mode=mode)
    document = {"version": name, "source": "build", "accelerator": "cpu"} if manifest is None else manifest
    (folder / MANIFEST).write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    os.utime(folder / MANIFEST, (10_000 - age, 10_000 - age))
    return path


@pytest.fixture(autouse=True)
def empty_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `PATH` of one folder, with nothing in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def config(path: Path | None = None) -> Config:
    return load_config().with_values(engine__path=path)


def test_without_any_engine_it_says_how_to_get_one() -> None:
    assert list_engines(config()) == []
    with pytest.raises(EngineNotInstalled) as caught:
        find_engine(config())
    assert caught.value.hint == "tsr engine install"


def test_the_configured_one_then_path_then_the_newest_installed(tmp_path: Path, empty_path: Path) -> None:
    old, new = installed(tmp_path, "old", age=60), installed(tmp_path, "new")
    assert find_engine(config()) == EngineBinary(name="new", version="new", source="build", path=new, accelerator="cpu")
    on_path = program(empty_path / "sd-server", "stable-diffusion.cpp version on-path, commit x")
    assert find_engine(config()) == EngineBinary(name="PATH", version="on-path", source="path", path=on_path)
    own = program(tmp_path / "own", "stable-diffusion.cpp version own, commit x")
    found = list_engines(config(own))
    assert found[0] == find_engine(config(own))
    assert [(engine.name, engine.source, engine.path) for engine in found] == [
        ("configured", "configured", own),
        ("PATH", "path", on_path),
        ("new", "build", new),
        ("old", "build", old),
    ]


def test_a_configured_program_that_is_none_is_an_error_and_not_passed_over(tmp_path: Path) -> None:
    installed(tmp_path, "good")
    plain = program(tmp_path / "plain", mode=0o644)
    for wrong in (tmp_path / "gone", tmp_path, plain):
        with pytest.raises(EngineNotInstalled) as caught:
            find_engine(config(wrong))
        assert caught.value.message == f"engine.path names {wrong}, which is not a program"


def test_where_the_wrong_path_came_from_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('[engine]\npath = "/gone"\n')
    with pytest.raises(EngineNotInstalled, match=r"^engine\.path names /gone") as caught:
        find_engine(load_config())
    assert caught.value.hint == "tsr config unset engine.path"
    monkeypatch.setenv("TSR_ENGINE", "/lost")
    with pytest.raises(EngineNotInstalled, match=r"^TSR_ENGINE names /lost") as caught:
        find_engine(load_config())
    assert caught.value.hint is None


@pytest.mark.parametrize("manifest", [b"", b"{", b"[]", b'{"version": 5}', b'{"version": "\xff"}', b"[" * 100_000])
def test_an_engine_with_a_broken_manifest_is_passed_over(manifest: bytes, tmp_path: Path) -> None:
    good = installed(tmp_path, "good", age=60)
    installed(tmp_path, "broken", manifest=manifest)
    assert [engine.path for engine in list_engines(config())] == [good]


def test_an_engine_that_cannot_run_is_passed_over(tmp_path: Path) -> None:
    good = installed(tmp_path, "good", age=60)
    installed(tmp_path, "not-executable", mode=0o644)
    installed(tmp_path, "gone").unlink()
    (tmp_path / "data" / "engines" / "half").mkdir()
    (tmp_path / "data" / "engines" / "stray").touch()
    assert [engine.path for engine in list_engines(config())] == [good]


def test_what_a_manifest_does_not_say_is_unknown(tmp_path: Path) -> None:
    path = installed(tmp_path, "bare", manifest={"note": "x"})
    expected = EngineBinary(name="bare", version="unknown", source="build", path=path, accelerator="unknown")
    assert find_engine(config()) == expected


def test_a_configured_engine_that_tsr_installed_is_known_by_its_manifest(tmp_path: Path) -> None:
    path = installed(tmp_path, "mine")
    expected = EngineBinary(name="configured", version="mine", source="configured", path=path, accelerator="cpu")
    assert find_engine(config(path)) == expected


@pytest.mark.parametrize(
    ("says", "version"),
    [
        ("stable-diffusion.cpp version master-323-abc, commit abc", "master-323-abc"),
        ("stable-diffusion.cpp version 1.0", "1.0"),
        ("stable-diffusion.cpp version ", "unknown"),
        ("usage: something-else", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_version_is_what_the_program_says(says: str, version: str, tmp_path: Path) -> None:
    assert reported_version(program(tmp_path / "x", says)) == version


def test_a_program_that_says_nothing_has_an_unknown_version(tmp_path: Path) -> None:
    assert reported_version(tmp_path / "gone") == "unknown"
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nprintf 'stable-diffusion.cpp version \\377, x' >&2\nexit 1\n")
    silent.chmod(0o755)
    assert reported_version(silent) == "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("has_libraries", [True, False], ids=["installed by tsr", "somebody's own"])
def test_the_environment_has_the_engines_own_libraries_and_no_spinning(
    has_libraries: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if has_libraries:
        (tmp_path / MANIFEST).write_text("{}")
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    engine = EngineBinary(name="x", version="x", source="configured", path=tmp_path / "sd-server")
    assert engine.environment["OMP_WAIT_POLICY"] == "passive"
    assert engine.environment["HIP_VISIBLE_DEVICES"] == "1"
    assert engine.environment.get("LD_LIBRARY_PATH") == (str(tmp_path) if has_libraries else None)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/mine")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert engine.environment["LD_LIBRARY_PATH"] == (f"{tmp_path}:/mine" if has_libraries else "/mine")
    assert engine.environment["OMP_WAIT_POLICY"] == "active"
    assert "sd-server" not in os.environ["LD_LIBRARY_PATH"]

"""`[engine.backends.NAME]` and `[engine.models.NAME]` of the configuration file: where engines run, and how.

They are tables of the owner's own names, so `tsr config set` does not know them; the file is edited by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensors.errors import ConfigError

RESERVED = {
    **dict.fromkeys(("-m", "--model", "--diffusion-model"), "the model is tsr's to choose"),
    **dict.fromkeys(("-l", "--listen-ip", "--listen-port"), "where it listens is tsr's to choose"),
    **dict.fromkeys(("--lora-model-dir", "--lora-apply-mode"), "LoRAs are shown to it by tsr"),
    **dict.fromkeys(("-h", "--help"), "it would end at once"),
    "--serve-html-path": "nobody but tsr talks to it",
}
"""Options of sd-server that are not the owner's to set, and why."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_WHERE = ("url", "container")
_TEXTS = ("families", "arguments")
_COMPANIONS = ("vae", "clip_l", "clip_g", "clip_vision", "t5xxl", "llm", "llm_vision", "taesd")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSettings:
    """One backend: a process of ours, unless `url` or `container` says otherwise."""

    name: str
    url: str | None = None
    """Of somebody else's sd-server."""
    container: str | None = None
    """Its label `tsr.backend`."""
    families: tuple[str, ...] = ()
    """It serves only these; empty: any."""
    arguments: tuple[str, ...] = ()
    """More options of sd-server."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """More environment of its process."""
    memory: str | None = None
    """Backends with the same word here share a memory; by default all on this machine do."""

    @property
    def kind(self) -> str:
        """`process`, `docker` or `external`."""
        return "external" if self.url else "docker" if self.container else "process"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """What one model is loaded with."""

    name: str
    arguments: tuple[str, ...] = ()
    companions: Mapping[str, Path] = field(default_factory=dict)
    """Files to take for it, by sd-server's option."""


def check_arguments(arguments: tuple[str, ...], where: str) -> None:
    """Raise `ConfigError` for options that tsr sets itself."""
    for argument in arguments:
        option = argument.partition("=")[0]
        if option in RESERVED:
            raise ConfigError(f"{where} has {option}: {RESERVED[option]}", hint=f"take {option} out")


def read_backends(engine: Mapping[str, Any], source: str) -> tuple[BackendSettings, ...]:
    """The backends of the table `[engine]`. Raises `ConfigError` naming the source."""
    found = tuple(_backend(name, row, source) for name, row in _tables(engine, "backends", source))
    places: dict[tuple[str | None, str | None], str] = {}
    for backend in found:
        place = (backend.url, backend.container)
        if any(place) and place in places:
            raise ConfigError(
                f"[engine.backends] in {source}: {places[place]} and {backend.name} are at one place",
                hint="take one of them out",
            )
        places[place] = backend.name
    return found


def read_models(engine: Mapping[str, Any], source: str) -> dict[str, ModelSettings]:
    """The models of the table `[engine]`, by name. Raises `ConfigError` naming the source."""
    return {name: _model(name, row, source) for name, row in _tables(engine, "models", source)}


def _tables(engine: Mapping[str, Any], key: str, source: str) -> list[tuple[str, Mapping[str, Any]]]:
    tables = engine.get(key, {})
    if not isinstance(tables, dict) or not all(isinstance(row, dict) for row in tables.values()):
        raise ConfigError(f"engine.{key} in {source} must be tables: [engine.{key}.NAME]")
    return list(tables.items())


def _backend(name: str, row: Mapping[str, Any], source: str) -> BackendSettings:
    where = f"[engine.backends.{name}] in {source}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: a backend's name has up to 32 letters, digits, dots, dashes and underscores")
    _check_keys(row, (*_WHERE, *_TEXTS, "environment", "memory"), where)
    if row.get("url") and row.get("container"):
        raise ConfigError(f"{where} has both a url and a container", hint="one backend is at one place")
    texts = {key: _texts(row, key, where) for key in _TEXTS}
    said = {key: _text(row, key, where) for key in (*_WHERE, "memory")}
    environment = row.get("environment", {})
    if not isinstance(environment, dict) or not all(map(_is_variable, environment.items())):
        raise ConfigError(f'{where}: environment must be like {{ HIP_VISIBLE_DEVICES = "0" }}')
    backend = BackendSettings(name=name, environment=environment, **texts, **said)  # type: ignore[arg-type]
    if backend.kind != "process" and (backend.arguments or environment):
        what = "somebody else's server" if backend.url else "a container, which has its own (SD_ARGS)"
        raise ConfigError(f"{where} is {what}: it takes neither arguments nor an environment")
    check_arguments(backend.arguments, where)
    _check_families(backend.families, where)
    if backend.url:
        _check_url(backend.url, where)
    return backend


def _is_variable(item: tuple[str, object]) -> bool:
    name, value = item
    return isinstance(value, str) and bool(name) and "=" not in name and "\0" not in name + value


def _check_url(url: str, where: str) -> None:
    from tensors.config import checked_url

    try:
        checked_url(url)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error.message}", hint="it looks like http://box:1234") from None


def _model(name: str, row: Mapping[str, Any], source: str) -> ModelSettings:
    where = f"[engine.models.{name}] in {source}"
    _check_keys(row, ("arguments", *_COMPANIONS), where)
    arguments = _texts(row, "arguments", where)
    check_arguments(arguments, where)
    named = {option: _path(row, option, where) for option in _COMPANIONS}
    companions = {option: path for option, path in named.items() if path}
    return ModelSettings(name=name, arguments=arguments, companions=companions)


def _path(row: Mapping[str, Any], key: str, where: str) -> Path | None:
    text = _text(row, key, where)
    try:
        return Path(text).expanduser().absolute() if text else None
    except RuntimeError:
        # The home of a user that is not there.
        raise ConfigError(f"{where}: {key} must be a path, not {text!r}") from None


def _check_keys(row: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    from tensors.checks import did_you_mean

    for key in row:
        if key not in known:
            raise ConfigError(f"{where} has {key!r}{did_you_mean(key, known)}", hint=f"it may have {', '.join(known)}")


def _check_families(families: tuple[str, ...], where: str) -> None:
    from tensors.base_models import FAMILIES
    from tensors.checks import did_you_mean

    for family in families:
        if family not in FAMILIES:
            raise ConfigError(f"{where}: {family!r} is no family{did_you_mean(family, FAMILIES)}")


def _text(row: Mapping[str, Any], key: str, where: str) -> str | None:
    value = row.get(key)
    if value is not None and (not isinstance(value, str) or not value or "\0" in value):
        raise ConfigError(f"{where}: {key} must be a text")
    return value


def _texts(row: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = row.get(key, [])
    if not isinstance(value, list) or not all(isinstance(part, str) and part and "\0" not in part for part in value):
        raise ConfigError(f"{where}: {key} must be a list of texts")
    return tuple(value)

"""Changing the configuration file, keeping what tsr does not know: comments, order, other tools' tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from tensors.atomic import write_atomic
from tensors.config import SETTINGS, Setting, checked_url, parse_value
from tensors.errors import ConfigError, RemoteNotFound


def _edit(file: Path, change: Callable[[tomlkit.TOMLDocument], None]) -> None:
    # Many keep their settings elsewhere and link to them: the link stays.
    file = file.resolve()
    try:
        if file.exists() and not file.is_file():
            raise ConfigError(f"{file} is not a file")
        document = tomlkit.parse(file.read_text("utf-8")) if file.exists() else tomlkit.document()
        change(document)
        file.parent.mkdir(parents=True, exist_ok=True)
        # It may hold API keys: for the owner's eyes only.
        write_atomic(file, tomlkit.dumps(document).encode(), mode=0o600)
    except UnicodeEncodeError:
        raise ConfigError("the file holds Unicode text only") from None
    except (TOMLKitError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}", hint="mend it, or move it away") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be changed: {error.strerror}") from None


def setting_named(key: str) -> Setting:
    """The setting with that dotted key. Raises `ConfigError` with a suggestion."""
    from tensors.checks import did_you_mean

    found = next((setting for setting in SETTINGS if setting.key == key), None)
    if found is None:
        near = did_you_mean(key, (setting.key for setting in SETTINGS))
        raise ConfigError(f"no setting is called {key!r}{near}", hint="tsr config list")
    return found


def set_value(file: Path, key: str, raw: str) -> Any:
    """Write one setting and return its value as it will be read."""
    setting = setting_named(key)
    value = parse_value(setting, raw, "the command line")
    plain: Any = [str(part) for part in value] if isinstance(value, tuple) else value
    plain = str(plain) if setting.kind == "path" else plain
    *tables, last = key.split(".")

    def change(document: tomlkit.TOMLDocument) -> None:
        node: Any = document
        for table in tables:
            node = node.setdefault(table, tomlkit.table())
        node[last] = plain

    _edit(file, change)
    return value


def unset_value(file: Path, key: str) -> None:
    """Take one setting out of the file; not there is fine."""
    *tables, last = setting_named(key).key.split(".")

    def change(document: tomlkit.TOMLDocument) -> None:
        node: Any = document
        for table in tables:
            node = node.get(table, {})
        node.pop(last, None)

    _edit(file, change)


def add_remote(file: Path, name: str, url: str, *, api_key: str | None, default: bool) -> None:
    """Add or replace a remote. Raises `ConfigError` for a name that would read as a URL or a flag."""
    if not name.isprintable() or not name.strip() or "://" in name or name.startswith("-") or name == "local":
        raise ConfigError(f"{name!r} cannot be a remote's name")

    def change(document: tomlkit.TOMLDocument) -> None:
        remotes: Any = document.setdefault("remotes", tomlkit.table())
        if api_key:
            entry = tomlkit.inline_table()
            entry.update({"url": checked_url(url), "api_key": api_key})
            remotes[name] = entry
        else:
            remotes[name] = checked_url(url)
        if default:
            _set_default(document, name)

    _edit(file, change)


def _set_default(document: tomlkit.TOMLDocument, name: str | None) -> None:
    if name is None:
        document.pop("default_remote", None)
    else:
        # tomlkit puts a new bare key before the first table: behind it, TOML would read it as a part of that table.
        document["default_remote"] = name


def set_default_remote(file: Path, name: str | None) -> None:
    """Name the remote that commands use; None for this machine. The name must be known."""

    def change(document: tomlkit.TOMLDocument) -> None:
        if name is not None and name not in document.get("remotes", {}):
            raise RemoteNotFound(f"remote {name!r} not found", hint="tsr remote list")
        _set_default(document, name)

    _edit(file, change)


def remove_remote(file: Path, name: str) -> None:
    """Forget a remote, also as the default. Raises `RemoteNotFound`."""

    def change(document: tomlkit.TOMLDocument) -> None:
        remotes: Any = document.get("remotes", {})
        if name not in remotes:
            raise RemoteNotFound(f"remote {name!r} not found", hint="tsr remote list")
        del remotes[name]
        if document.get("default_remote") == name:
            _set_default(document, None)

    _edit(file, change)

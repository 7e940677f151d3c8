"""Settings: environment over file, flags over both.

The file is `~/.config/tensors/config.toml` (`XDG_CONFIG_HOME` and `TSR_CONFIG` move it). One table, `SETTINGS`, makes
the loader, `tsr config`, its documentation and its error texts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensors.errors import ConfigError, RemoteNotFound

if TYPE_CHECKING:
    from tensors.engine_settings import BackendSettings, ModelSettings

DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the configuration file."""

    key: str
    """Dotted path in the file, such as `server.port`."""
    kind: str
    """`str`, `int`, `bool`, `size`, `path`, `strs` or `paths`."""
    default: Any
    doc: str
    env: tuple[str, ...] = ()
    secret: bool = False
    least: int = 0
    """Bounds of an `int`."""
    most: int = 2**31 - 1


SETTINGS = (
    Setting("default_remote", "str", None, "Remote that commands use when none is named.", ("TSR_REMOTE",)),
    Setting("api_key", "str", None, "API key for remotes that have none of their own.", ("TSR_API_KEY",), secret=True),
    Setting("data_dir", "path", None, "Gallery, jobs, engines and downloads.", ("TSR_DATA_DIR",)),
    Setting(
        "api.engine_release_url",
        "str",
        "https://api.github.com/repos/leejet/stable-diffusion.cpp/releases/latest",
        "Where upstream's releases of sd-server are listed.",
        ("TSR_ENGINE_RELEASE_URL",),
    ),
    Setting(
        "api.civitai_key",
        "str",
        None,
        "API key of CivitAI: reading goes without, downloads need it.",
        ("CIVITAI_API_KEY", "CIVITAI_TOKEN"),
        secret=True,
    ),
    Setting("api.civitai_url", "str", "https://civitai.com", "CivitAI, or a mirror of it.", ("TSR_CIVITAI_URL",)),
    Setting("api.huggingface_key", "str", None, "Token of Hugging Face, for gated models.", ("HF_TOKEN",), secret=True),
    Setting(
        "api.huggingface_url",
        "str",
        "https://huggingface.co",
        "Hugging Face, or a mirror of it.",
        ("TSR_HUGGINGFACE_URL",),
    ),
    Setting(
        "api.allowed_download_hosts",
        "strs",
        (),
        "More hosts that downloads may come from, such as a mirror at home; also inside a private network.",
    ),
    Setting("downloads.at_once", "int", 2, "Downloads that are done at the same time.", least=1, most=16),
    Setting(
        "paths.models", "paths", (), "Folders with models of any kind, such as the one of A1111, ComfyUI or InvokeAI."
    ),
    Setting("paths.checkpoints", "paths", (), "More folders with checkpoints."),
    Setting(
        "paths.diffusion_models", "paths", (), "More folders with diffusion models, without VAE and text encoders."
    ),
    Setting("paths.loras", "paths", (), "More folders with LoRAs."),
    Setting("paths.vae", "paths", (), "More folders with VAEs."),
    Setting("paths.text_encoders", "paths", (), "More folders with text encoders."),
    Setting("paths.embeddings", "paths", (), "More folders with embeddings."),
    Setting("paths.controlnets", "paths", (), "More folders with ControlNets."),
    Setting("paths.upscalers", "paths", (), "More folders with upscalers."),
    Setting("server.host", "str", "127.0.0.1", "Address `tsr serve` binds.", ("TSR_HOST",)),
    Setting("server.port", "int", DEFAULT_PORT, "Port `tsr serve` binds.", ("TSR_PORT",), most=65535),
    Setting("server.api_keys", "strs", (), "Keys that clients may use.", ("TSR_API_KEYS",), secret=True),
    Setting("server.allowed_hosts", "strs", (), "Host names the server answers to, besides its own addresses."),
    Setting("server.max_body_mb", "int", 64, "Largest request body in MB.", least=1),
    Setting("server.max_queue", "int", 1000, "Most jobs that may wait.", least=1),
    Setting("engine.path", "path", None, "The sd-server to use, instead of looking for one.", ("TSR_ENGINE",)),
    Setting("engine.directory", "path", None, "Where engines are installed.", ("TSR_ENGINE_DIR",)),
    Setting("engine.model", "str", None, "Checkpoint to load: a name or a file.", ("TSR_MODEL",)),
    Setting("engine.threads", "int", 0, "CPU threads of the engine; 0 lets it choose.", ("TSR_THREADS",), most=1024),
    Setting("engine.arguments", "strs", (), "More arguments for sd-server."),
    Setting("engine.start_timeout", "int", 600, "Seconds a model may take to load.", least=1),
    Setting("engine.step_timeout", "int", 900, "Seconds without any progress after which the engine is restarted."),
    Setting(
        "engine.max_loaded", "int", 1, "Engines of ours on this machine at once, each with a model.", least=1, most=32
    ),
    Setting("engine.keep_alive", "int", 300, "Idle seconds after which a model is unloaded; -1: never.", least=-1),
    Setting("engine.max_wait", "int", 60, "Seconds a request may be overtaken by others for the model that is loaded."),
    Setting(
        "engine.docker",
        "str",
        None,
        "Docker Engine whose containers with the label tsr.backend are backends: `local`, or an address.",
        ("TSR_DOCKER",),
    ),
    Setting("jobs.keep_days", "int", 30, "Days after which finished jobs are forgotten; pictures stay."),
    Setting("gallery.directory", "path", None, "Where pictures are kept."),
    Setting(
        "gallery.max_size",
        "size",
        None,
        "Bytes the gallery may have, such as `200 GB`: beyond, the oldest pictures go.",
    ),
    Setting("gallery.max_age", "int", 0, "Days after which pictures go to the trash; 0: they stay."),
    Setting("gallery.keep_favourites", "bool", True, "Neither age nor size takes favourites."),
    Setting("gallery.trash_days", "int", 30, "Days after which what is in the trash is removed; 0: it stays."),
)

_PARSERS: Mapping[str, Callable[[Any], Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A named tsr server."""

    name: str
    url: str
    api_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """The settings in force. `config["server.port"]` reads one."""

    file: Path
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    """Where each value comes from: `default`, `file` or the name of an environment variable."""
    remotes: Mapping[str, Remote]
    backends: tuple[BackendSettings, ...] = ()
    """Where engines run; none: one process of ours."""
    models: Mapping[str, ModelSettings] = field(default_factory=dict)
    """What single models are loaded with, by name."""

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def with_values(self, **flags: Any) -> Config:
        """A copy with some values replaced; `server__port=1` sets `server.port`, None leaves a value as it is."""
        given = {key.replace("__", "."): value for key, value in flags.items() if value is not None}
        origins = {**self.origins, **dict.fromkeys(given, "flag")}
        return replace(self, values={**self.values, **given}, origins=origins)

    @property
    def data_dir(self) -> Path:
        """Gallery, jobs and engines live here."""
        return Path(self.values["data_dir"] or _xdg("XDG_DATA_HOME", ".local/share") / "tensors")

    @property
    def gallery_dir(self) -> Path:
        """Pictures and their sidecars."""
        return Path(self.values["gallery.directory"] or self.data_dir / "gallery")

    @property
    def gallery_index(self) -> Path:
        """What makes the gallery quick to look through; it can be made anew at any time."""
        return self.data_dir / "gallery.db"

    @property
    def engine_dir(self) -> Path:
        """Installed engines, one folder each."""
        return Path(self.values["engine.directory"] or self.data_dir / "engines")

    @property
    def run_dir(self) -> Path:
        """What concerns running processes only."""
        return self.data_dir / "run"

    def remote(self, name: str) -> Remote:
        """The remote of that name, or for that URL. Raises `RemoteNotFound`."""
        if name in self.remotes:
            return self.remotes[name]
        if "://" in name:
            return Remote(name=name, url=checked_url(name))
        known = ", ".join(sorted(self.remotes)) or "none yet"
        raise RemoteNotFound(
            f"remote {name!r} not found (known: {known})", hint=f"tsr remote add {name} http://{name}:8080"
        )


def _xdg(variable: str, fallback: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / fallback)


_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f]")


def checked_url(url: str) -> str:
    """A server's URL without a trailing slash. Raises `ConfigError` when it is none."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = usable and not (parts.query or parts.fragment or _UNPRINTABLE.search(url))
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError(f"{url!r} is not a server's URL", hint="it looks like http://junkpile:8080")
    return url.rstrip("/")


def config_file() -> Path:
    """Where the configuration file is, or would be."""
    named = os.environ.get("TSR_CONFIG")
    return Path(named).expanduser() if named else _xdg("XDG_CONFIG_HOME", ".config") / "tensors" / "config.toml"


def _int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


_TRUTHS = {"true": True, "false": False}


def _bool(value: Any) -> bool:
    # The environment and the command line have words only.
    return value if isinstance(value, bool) else _TRUTHS[value]


_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([KMGT]?B)?", re.ASCII)
_UNITS: Mapping[str, int] = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def _size(value: Any) -> int:
    """Bytes, also from `200 GB`, in powers of 1000."""
    if isinstance(value, str) and (parts := _SIZE.fullmatch(value.upper())):
        return round(float(parts[1]) * _UNITS[parts[2] or ""])
    number = _int(value)
    if number < 0:
        raise ValueError
    return number


def _str(value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _strs(value: Any) -> tuple[str, ...]:
    parts = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if not isinstance(parts, list):
        raise ValueError
    return tuple(_str(part) for part in parts)


def _path(value: Any) -> Path:
    return Path(_str(value)).expanduser().absolute()


_PARSERS = {
    "int": _int,
    "bool": _bool,
    "size": _size,
    "str": _str,
    "strs": _strs,
    "path": _path,
    "paths": lambda value: tuple(_path(part) for part in _strs(value)),
}
_WANTED = {
    "int": "a whole number",
    "bool": "true or false",
    "size": "a number of bytes, such as 200 GB",
    "str": "a text",
    "strs": "a list of texts",
    "path": "a path",
    "paths": "a list of paths",
}


def parse_value(setting: Setting, raw: Any, source: str) -> Any:
    """`raw` as the setting's type. Raises `ConfigError` naming the source."""
    shown = "" if setting.secret else f", not {raw!r}"
    try:
        value = _PARSERS[setting.kind](raw)
    except (TypeError, ValueError, KeyError, RuntimeError):
        # RuntimeError: the home of a user that is not there (`~nobody/models`).
        raise ConfigError(f"{setting.key} in {source} must be {_WANTED[setting.kind]}{shown}") from None
    if setting.kind == "int" and not setting.least <= value <= setting.most:
        raise ConfigError(f"{setting.key} in {source} must be between {setting.least} and {setting.most}{shown}")
    return value


def load_config(file: Path | None = None) -> Config:
    """Read the file (a missing one is an empty one) and the environment. Raises `ConfigError`."""
    file = file or config_file()
    document = _read(file)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        values[setting.key], origins[setting.key] = _value(setting, document, file)
    backends, models = _engines(document, file)
    return Config(file, values, origins, _remotes(document, file), backends, models)


def _engines(document: dict[str, Any], file: Path) -> tuple[tuple[BackendSettings, ...], Mapping[str, ModelSettings]]:
    engine = document.get("engine", {})
    if not {"backends", "models"} & set(engine):
        return (), {}
    # Imported where there is something to read.
    from tensors.engine_settings import read_backends, read_models

    return read_backends(engine, str(file)), read_models(engine, str(file))


def _value(setting: Setting, document: dict[str, Any], file: Path) -> tuple[Any, str]:
    for variable in setting.env:
        if os.environ.get(variable):
            return parse_value(setting, os.environ[variable], variable), variable
    *tables, last = setting.key.split(".")
    node: Any = document
    for table in tables:
        node = node.get(table, {})
        if not isinstance(node, dict):
            raise ConfigError(f"[{table}] in {file} must be a table")
    if last not in node:
        return setting.default, "default"
    return parse_value(setting, node[last], str(file)), "file"


def _read(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8")
        # Imported where there is something to read: each command asks for the settings, and many have no file.
        import tomllib

        return tomllib.loads(text)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ConfigError(f"{file} is not valid TOML: {error}", hint="mend it, or move it away") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None


def _remotes(document: dict[str, Any], file: Path) -> dict[str, Remote]:
    table = document.get("remotes", {})
    if not isinstance(table, dict):
        raise ConfigError(f"[remotes] in {file} must be a table")
    found = {}
    for name, entry in table.items():
        row = {"url": entry} if isinstance(entry, str) else entry
        if not isinstance(row, dict) or not isinstance(row.get("url"), str):
            raise ConfigError(f"remote {name!r} in {file} needs a url")
        if not isinstance(row.get("api_key", ""), str):
            raise ConfigError(f"remote {name!r} in {file}: its api_key must be a text")
        try:
            url = checked_url(row["url"])
        except ConfigError as error:
            raise ConfigError(f"remote {name!r} in {file}: {error.message}", hint=error.hint) from None
        found[name] = Remote(name=name, url=url, api_key=row.get("api_key"))
    return found

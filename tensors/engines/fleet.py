"""The backends that the settings describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tensors.config import Config
from tensors.engine_settings import BackendSettings, check_arguments
from tensors.engines.backend import Backend
from tensors.engines.binary import find_engine
from tensors.engines.memory import memory_of
from tensors.engines.pool import Pool
from tensors.engines.process import ProcessPlace
from tensors.engines.remedies import Remedies
from tensors.engines.slots import Member
from tensors.errors import EngineNotInstalled
from tensors.inputs import Inputs
from tensors.models import ModelFile
from tensors.scheduler import Limits
from tensors.types.server import EngineStatus

if TYPE_CHECKING:
    from tensors.engines.binary import EngineBinary
    from tensors.engines.place import Place

HERE = "here"
"""The memory that engines on this machine share, unless the settings tell others."""
OWN = "engine"
"""The name of the backend that is there without any in the settings."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All backends, and what belongs to them."""

    pool: Pool
    remedies: Remedies


def needs_engine(config: Config) -> bool:
    """Whether a backend of the settings is a process of ours, which takes an sd-server on this machine."""
    return not config["engine.docker"] if not config.backends else any(b.kind == "process" for b in config.backends)


async def assemble(config: Config, inputs: Inputs) -> Fleet:
    """The backends of the settings, and the containers that Docker shows.

    Raises `EngineNotInstalled`, `ConfigError` for arguments that are tsr's to set, and `EngineStartFailed` when Docker
    cannot be asked.
    """
    check_arguments(config["engine.arguments"], "engine.arguments")
    binary = find_engine(config) if needs_engine(config) else None
    # Containers do not tell; what the system shows of its cards is right for them.
    accelerator = binary.accelerator if binary else "vulkan"
    remedies = Remedies(config.data_dir / "cache" / "remedies.json", accelerator=accelerator)
    settings = await _settings(config)
    members = [
        Member(_backend(config, one, binary, inputs), memory=one.memory or (one.name if one.url else HERE))
        for one in settings
    ]

    def arguments(model: ModelFile, backend: Backend) -> tuple[str, ...]:
        own = config.models.get(model.name)
        return (*(own.arguments if own else ()), *remedies.for_load(model, backend.name))

    def free() -> Mapping[str, int | None]:
        memory = memory_of(accelerator)
        return {HERE: memory.free if memory else None}

    limits = Limits(
        max_wait=config["engine.max_wait"],
        keep_alive=None if config["engine.keep_alive"] < 0 else config["engine.keep_alive"],
        most_loaded=_most_loaded(config),
    )
    return Fleet(Pool(members, limits=limits, free=free, arguments=arguments), remedies)


def _most_loaded(config: Config) -> dict[str, int]:
    """Who sets up several backends means to have them at once, as far as there is memory, unless a limit is said."""
    said = config.origins["engine.max_loaded"] != "default"
    several = config.backends or config["engine.docker"]
    return {HERE: config["engine.max_loaded"]} if said or not several else {}


def resting(config: Config) -> tuple[EngineStatus, ...]:
    """The backends of the settings while nothing runs. Containers that are not named there are not looked for."""
    binary, message = None, None
    try:
        binary = find_engine(config) if needs_engine(config) else None
    except EngineNotInstalled as error:
        message = error.message
    return tuple(_resting(one, binary, message) for one in _configured(config))


def _resting(settings: BackendSettings, binary: EngineBinary | None, message: str | None) -> EngineStatus:
    is_ours = settings.kind == "process"
    return EngineStatus(
        state="missing" if is_ours and not binary else "stopped",
        version=binary.version if is_ours and binary else None,
        message=message if is_ours else None,
        name=settings.name,
        kind=settings.kind,
        families=settings.families,
    )


def _configured(config: Config) -> list[BackendSettings]:
    if config.backends or config["engine.docker"]:
        return list(config.backends)
    count = config["engine.max_loaded"]
    return [BackendSettings(name=f"{OWN}-{number}" if count > 1 else OWN) for number in range(1, count + 1)]


async def _settings(config: Config) -> list[BackendSettings]:
    found = _configured(config)
    if config["engine.docker"]:
        from tensors.engines.containers import discover

        known = {one.container for one in found} | {one.name for one in found}
        for container in await discover(_docker(config)):
            if container.backend not in known:
                families = container.families
                found.append(BackendSettings(name=container.backend, container=container.backend, families=families))
    return found


def _docker(config: Config) -> str | None:
    address: str | None = config["engine.docker"]
    return None if address == "local" else address


def _backend(config: Config, settings: BackendSettings, binary: EngineBinary | None, inputs: Inputs) -> Backend:
    return Backend(
        _place(config, settings, binary),
        name=settings.name,
        inputs=inputs,
        families=settings.families,
        start_timeout=config["engine.start_timeout"],
        step_timeout=config["engine.step_timeout"],
    )


def _place(config: Config, settings: BackendSettings, binary: EngineBinary | None) -> Place:
    if settings.url:
        from tensors.engines.external import ExternalPlace

        return ExternalPlace(settings.url)
    if settings.container:
        from tensors.engines.docker import DockerPlace

        return DockerPlace(settings.container, url=_docker(config))
    assert binary
    return ProcessPlace(
        binary,
        run_dir=config.run_dir,
        name=settings.name,
        threads=config["engine.threads"],
        arguments=(*config["engine.arguments"], *settings.arguments),
        environment=settings.environment,
    )

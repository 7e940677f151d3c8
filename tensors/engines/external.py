"""An sd-server that somebody else looks after: it is at a URL, with the model it has."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

from tensors.checks import did_you_mean
from tensors.engines.place import Hear
from tensors.engines.sd_server import Capabilities, SdServerClient
from tensors.errors import EngineError, EngineStartFailed, LoraNotFound
from tensors.models import ModelFile


def model_in(capabilities: Capabilities) -> str | None:
    """The name of the model an engine has: the stem of its file, on whichever system. None if it does not say."""
    return PureWindowsPath(capabilities.model_path).stem or None


def is_called(there: str, model: ModelFile) -> bool:
    """Whether a model is the one that an engine elsewhere calls so."""
    return any(_same(there, name) for name in (model.name, model.path.stem))


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()


class ExternalLife:
    """The time during which an engine answers and keeps its model. It ends for us when either ceases."""

    pid = None
    exit_code = None

    def __init__(self, client: SdServerClient, model: str | None, watch_seconds: float) -> None:
        self.client = client
        self.ended = asyncio.Event()
        self._model = model
        self._watching = asyncio.create_task(self._watch(watch_seconds))

    async def end(self) -> None:
        """Let go of the engine, which goes on with whatever it does."""
        self._watching.cancel()
        self.ended.set()
        await self.client.close()

    async def _watch(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                model = model_in(await self.client.capabilities())
            except EngineError:
                break
            if model != self._model:
                break
        self.ended.set()


class ExternalPlace:
    """An sd-server at a URL: nothing is started or ended there."""

    kind = "external"
    # To end a life here is to let go of it.
    outlives = False
    version = "unknown"
    can_switch = False
    can_cancel = False
    can_hear = False

    def __init__(self, url: str, *, watch_seconds: float = 5) -> None:
        """`url` may have a path; `watch_seconds` is how often it is asked whether it is still there."""
        self._url = url
        self._watch_seconds = watch_seconds
        self._client: SdServerClient | None = None

    async def model(self) -> ModelFile | None:
        """The model it has now, with the path it has there; None if it does not say.

        Raises `EngineError` when it does not answer.
        """
        client = SdServerClient(self._url)
        try:
            capabilities = await client.capabilities()
        finally:
            await client.close()
        name = model_in(capabilities)
        return ModelFile(name, Path(capabilities.model_path), "unknown") if name else None

    async def start(self, model: ModelFile, hear: Hear, *, arguments: tuple[str, ...] = ()) -> ExternalLife:
        """Connect. Raises `EngineStartFailed` when it does not answer, or has another model."""
        client = SdServerClient(self._url)
        try:
            there = await self._check(client, model)
        except BaseException:
            await client.close()
            raise
        self._client = client
        return ExternalLife(client, there, self._watch_seconds)

    async def lora_paths(self, loras: Mapping[str, Path]) -> dict[str, str]:
        """Find these LoRAs among those that the engine has. Raises `LoraNotFound` with a suggestion."""
        if not loras:
            return {}
        assert self._client
        there = await self._client.loras()
        return {name: self._lora(name, path, there) for name, path in loras.items()}

    async def close(self) -> None:
        """There is nothing to leave."""

    async def _check(self, client: SdServerClient, model: ModelFile) -> str | None:
        """The engine's model, which must be the wanted one or unknown."""
        try:
            capabilities = await client.capabilities()
        except EngineError as error:
            raise EngineStartFailed(
                f"the external engine at {self._host}: {error.message}", hint="start it, or check its URL"
            ) from error
        if not capabilities.samplers:
            raise EngineStartFailed(f"what answers at {self._host} is no sd-server", hint="check its URL")
        there = model_in(capabilities)
        if there and not is_called(there, model):
            raise EngineStartFailed(
                f"the external engine at {self._host} has model {there!r} and cannot switch to {model.name!r}",
                hint=f"ask for {there!r}, or have {model.name!r} started there",
            )
        return there

    def _lora(self, name: str, path: Path, there: Mapping[str, str]) -> str:
        for lora, found in there.items():
            if _same(lora, name) or _same(lora, path.stem):
                return found
        raise LoraNotFound(
            f"the external engine at {self._host} has no LoRA {name!r}{did_you_mean(name, there)}",
            hint="put its file into the folder of LoRAs there",
        )

    @property
    def _host(self) -> str:
        """Without the path, and without a password."""
        return urlsplit(self._url).netloc.rpartition("@")[2]

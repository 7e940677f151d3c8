"""Where an engine runs: what a process, a container and somebody else's server have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from tensors.engines.sd_server import SdServerClient
from tensors.models import ModelFile

Hear = Callable[[str], None]
"""Is told each line and each bar of an engine's output, as `tensors.engines.output.PieceReader` cuts them."""


class Life(Protocol):
    """One life of an sd-server, from its start to its end, with one model in it."""

    @property
    def client(self) -> SdServerClient:
        """Its API. It answers only once the model is loaded."""

    @property
    def pid(self) -> int | None:
        """Of its process on this machine, where it is known."""

    @property
    def exit_code(self) -> int | None:
        """Of its process, negative for a signal; None while it runs, and where it is not known."""

    @property
    def ended(self) -> asyncio.Event:
        """Set when it is gone, for whatever reason, and all of its output was heard."""

    async def end(self) -> None:
        """End it, whatever it does, and return when it is gone; nothing happens when it is already."""


class Place(Protocol):
    """Where an engine runs. At most one life at a time."""

    @property
    def kind(self) -> str:
        """`process`, `docker` or `external`."""

    @property
    def version(self) -> str:
        """Of its sd-server, or `unknown`."""

    @property
    def outlives(self) -> bool:
        """Whether what runs there goes on when tsr ends, so that `close` lets go of it and nothing ends it."""

    @property
    def can_switch(self) -> bool:
        """Whether another model can be put into it."""

    @property
    def can_cancel(self) -> bool:
        """Whether a drawing engine can be stopped, which takes ending it."""

    @property
    def can_hear(self) -> bool:
        """Whether its output is heard. Where not, there are no steps to show, and silence means nothing."""

    async def start(self, model: ModelFile, hear: Hear, *, arguments: tuple[str, ...] = ()) -> Life:
        """Begin a life with this model, and return before it is loaded. `arguments`: more options of sd-server.

        Raises `EngineStartFailed` when it cannot even begin.
        """

    async def lora_paths(self, loras: Mapping[str, Path]) -> dict[str, str]:
        """What the engine calls these LoRAs, by name: paths below its folder of LoRAs. Called before each drawing.

        Raises `LoraNotFound` when it cannot have one of them.
        """

    async def close(self) -> None:
        """Nothing more is asked of it. Called when no life is left; ends nothing that is not ours."""

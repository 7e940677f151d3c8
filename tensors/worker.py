"""What a generate job does: load the model, draw, save; the same with a server and without."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tensors import __version__
from tensors.config import Config
from tensors.engines.backend import Backend
from tensors.engines.binary import find_engine
from tensors.engines.drawing import Report
from tensors.engines.process import ProcessPlace
from tensors.engines.sd_server import MAX_BATCH
from tensors.errors import EngineDied, EngineError, EngineStartFailed, TsrError
from tensors.gallery import Gallery
from tensors.hash_cache import HashCache
from tensors.inputs import Inputs
from tensors.library import Library
from tensors.models import ModelFiles
from tensors.png import NotPng, size
from tensors.types.gallery import Image
from tensors.types.generation import Settings
from tensors.types.jobs import ErrorInfo, Progress

Saved = Callable[[Image], None]

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
"""How often a job whose engine dies is tried before it fails."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job as the worker sees it."""

    job: str
    created: str
    settings: Settings


def failure(error: Exception) -> ErrorInfo:
    """Why a job failed, as it is stored and shown. What nobody expected is a defect, and goes into the log too."""
    if isinstance(error, TsrError):
        return ErrorInfo(code=error.code, message=error.message, hint=error.hint)
    if isinstance(error, OSError):
        return ErrorInfo(code=TsrError.code, message=f"a picture could not be saved: {error}")
    log.error("a job failed for a reason that nobody expected", exc_info=error)
    hint = "this is a defect of tsr; please report it with what the log says"
    return ErrorInfo(code=TsrError.code, message=f"{type(error).__name__}: {error}", hint=hint)


class Worker:
    """Draws jobs, one at a time, with one engine."""

    def __init__(
        self, engine: Backend, *, gallery: Gallery, files: ModelFiles, inputs: Inputs, hashes: HashCache
    ) -> None:
        self.engine = engine
        self._gallery = gallery
        self._files = files
        self._inputs = inputs
        self._hashes = hashes

    @classmethod
    def of(cls, config: Config) -> Worker:
        """The worker a configuration describes. Raises `EngineNotInstalled`."""
        inputs = Inputs(config.data_dir / "inputs")
        place = ProcessPlace(
            find_engine(config),
            run_dir=config.run_dir,
            name="process",
            threads=config["engine.threads"],
            arguments=config["engine.arguments"],
        )
        engine = Backend(
            place,
            name="process",
            inputs=inputs,
            start_timeout=config["engine.start_timeout"],
            step_timeout=config["engine.step_timeout"],
        )
        return cls(
            engine,
            gallery=Gallery(config.gallery_dir),
            files=ModelFiles(config),
            inputs=inputs,
            hashes=HashCache(config.data_dir / "cache" / "hashes.json", Library(config).known_hash),
        )

    async def draw(self, order: Order, report: Report, saved: Saved) -> None:
        """Draw every picture of a job that is not saved yet, telling `report` the progress and `saved` each picture.

        Raises:
            EngineDied, EngineStartFailed: when the engine ended `MAX_ATTEMPTS` times.
            EngineError: when it could not draw the picture.
            ModelNotFound, LoraNotFound: when a file has gone since the request was checked.
        """
        settings = order.settings
        model = await asyncio.to_thread(self._files.checkpoint, settings.model.name)
        loras = {lora.name: self._files.lora(lora.name) for lora in settings.loras}
        hashed = asyncio.create_task(asyncio.to_thread(self._with_hashes, settings, model.path, loras))
        try:
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    await self.engine.ensure(model, report)
                    for first in range(0, settings.batch_size, MAX_BATCH):
                        await self._draw_call(order, first, attempt, loras, hashed, report, saved)
                    return
                except (EngineDied, EngineStartFailed) as error:
                    log.warning("job %s, try %d of %d: %s", order.job, attempt, MAX_ATTEMPTS, error.message)
                    if attempt == MAX_ATTEMPTS:
                        error.message += f"\n(tried {MAX_ATTEMPTS} times)"
                        raise
                    await asyncio.sleep(0.2 * 4 ** (attempt - 1))
        finally:
            hashed.cancel()

    def _with_hashes(self, settings: Settings, model: Path, loras: dict[str, Path]) -> Settings:
        return replace(
            settings,
            model=replace(settings.model, sha256=self._hashes.sha256(model)),
            loras=tuple(replace(lora, autov3=self._hashes.autov3(loras[lora.name])) for lora in settings.loras),
        )

    async def _draw_call(
        self,
        order: Order,
        first: int,
        attempt: int,
        loras: dict[str, Path],
        hashed: asyncio.Task[Settings],
        report: Report,
        saved: Saved,
    ) -> None:
        """One call of the engine: the pictures from `first` on, unless an earlier try saved them all."""
        settings = order.settings
        wanted = range(first, min(first + MAX_BATCH, settings.batch_size))
        there = await asyncio.to_thread(self._already_saved, order, wanted)
        if len(there) < len(wanted):
            pictures = await self.engine.generate(
                settings,
                seed=settings.seed + first,
                count=len(wanted),
                first=first,
                loras=loras,
                report=report,
                attempt=attempt,
            )
            if len(pictures) != len(wanted):
                raise EngineError(f"the engine drew {len(pictures)} pictures where {len(wanted)} were asked for")
            report(Progress(phase="saving", image=wanted[-1] + 1, images=settings.batch_size, attempt=attempt))
            used = replace(order, settings=await hashed)
            there = [
                await asyncio.to_thread(self._save, used, index, png)
                for index, png in zip(wanted, pictures, strict=True)
            ]
        for image in there:
            saved(image)

    def _already_saved(self, order: Order, wanted: range) -> list[Image]:
        seed = order.settings.seed
        found = (self._gallery.saved(order.job, index, order.created, seed + index) for index in wanted)
        return [image for image in found if image]

    def _save(self, order: Order, index: int, png: bytes) -> Image:
        try:
            return self._gallery.save(self._image(order, index, *size(png)), png)
        except NotPng as error:
            raise EngineError(f"the engine answered with a picture that cannot be read: {error}") from None

    def _image(self, order: Order, index: int, width: int, height: int) -> Image:
        return Image(
            id="",
            created=order.created,
            job=order.job,
            index=index,
            width=width,
            height=height,
            settings=replace(order.settings, seed=order.settings.seed + index, batch_size=1),
            engine=self.engine.version,
            tsr=__version__,
            path="",
        )

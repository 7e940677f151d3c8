"""What a generate job does: wait for an engine with its model, draw, save; the same with a server and without."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tensors import __version__
from tensors.checkpoints import Checkpoints
from tensors.config import Config
from tensors.engines.backend import Backend
from tensors.engines.drawing import Report
from tensors.engines.fleet import assemble
from tensors.engines.memory import estimate
from tensors.engines.out_of_memory import Remedy, shortage_in
from tensors.engines.pool import Pool
from tensors.engines.remedies import SMALLER, Case, Remedies
from tensors.engines.sd_server import MAX_BATCH
from tensors.errors import EngineDied, EngineError, EngineStartFailed, TsrError
from tensors.gallery import Gallery
from tensors.hash_cache import HashCache
from tensors.inputs import Inputs
from tensors.library import Library
from tensors.models import ModelFile
from tensors.png import NotPng, size
from tensors.shelf import Shelf, usable
from tensors.types.gallery import Image
from tensors.types.generation import Settings
from tensors.types.jobs import ErrorInfo, Progress
from tensors.types.models import SwitchReport, SwitchRequest

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
    """Draws jobs on whichever backend has their turn."""

    def __init__(
        self,
        pool: Pool,
        remedies: Remedies,
        *,
        gallery: Gallery,
        checkpoints: Checkpoints,
        shelf: Shelf,
        inputs: Inputs,
        hashes: HashCache,
    ) -> None:
        self.pool = pool
        self.checkpoints = checkpoints
        self.shelf = shelf
        self._remedies = remedies
        self._gallery = gallery
        self._inputs = inputs
        self._hashes = hashes

    @classmethod
    async def of(cls, config: Config, library: Library) -> Worker:
        """The worker a configuration describes. Raises `EngineNotInstalled`, `EngineStartFailed`."""
        inputs = Inputs(config.data_dir / "inputs")
        fleet = await assemble(config, inputs)
        shelf = Shelf(library, config)
        return cls(
            fleet.pool,
            fleet.remedies,
            gallery=Gallery(config.gallery_dir, config.gallery_index),
            checkpoints=Checkpoints(config, library, shelf),
            shelf=shelf,
            inputs=inputs,
            hashes=HashCache(config.data_dir / "cache" / "hashes.json", library.known_hash),
        )

    async def draw(self, order: Order, report: Report, saved: Saved) -> None:
        """Draw every picture of a job that is not saved yet, telling `report` the progress and `saved` each picture.

        Raises:
            EngineDied, EngineStartFailed: when the engine ended `MAX_ATTEMPTS` times, or the model could not be loaded.
            EngineError: when it could not draw the picture.
            ModelNotFound, LoraNotFound, MissingCompanions: when a file has gone since the request was checked.
        """
        settings = order.settings
        model = await asyncio.to_thread(self._file, settings.model.name)
        loras = {lora.name: await asyncio.to_thread(self._lora, lora.name) for lora in settings.loras}
        hashed = asyncio.create_task(asyncio.to_thread(self._with_hashes, settings, model.path, loras))
        try:
            async with self.pool.turn(
                order.job, model, asked=_epoch(order.created), size=_size_of(model, settings), report=report
            ) as backend:
                drawing = _Drawing(order, backend, model, loras, hashed, report, saved)
                await self._draw_on(drawing)
        finally:
            hashed.cancel()

    async def switch(self, job: str, created: str, request: SwitchRequest, report: Report) -> SwitchReport:
        """Have a model loaded, and take it for requests that name none.

        Raises `EngineStartFailed` when no backend could load it, and what `draw` raises for its files.
        """
        model = await asyncio.to_thread(self._file, request.model)
        self.pool.forgive(model.name)
        size = _estimated(model, 0, 0)
        async with self.pool.turn(
            job, model, asked=_epoch(created), size=size, backend=request.backend, report=report
        ) as backend:
            await asyncio.to_thread(self.checkpoints.activate, model)
            return SwitchReport(model=model.name, backend=backend.name)

    async def preload(self) -> None:
        """Have the active model loaded, for whoever comes first. Why it cannot be is in the log and the status."""
        try:
            model = await asyncio.to_thread(lambda: self.checkpoints.equip(self.checkpoints.active()))
        except TsrError as error:
            log.warning("no model is loaded: %s", error.message)
        else:
            self.pool.wish(model, size=_estimated(model, 0, 0))

    def _file(self, name: str) -> ModelFile:
        return self.checkpoints.equip(self.checkpoints.named(name))

    def _lora(self, name: str) -> Path:
        return Path(usable(self.shelf.lora(name)).path)

    async def _draw_on(self, drawing: _Drawing) -> None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                for first in range(0, drawing.order.settings.batch_size, MAX_BATCH):
                    await self._draw_call(drawing, first, attempt)
                return
            except (EngineDied, EngineStartFailed) as error:
                log.warning("job %s, try %d of %d: %s", drawing.order.job, attempt, MAX_ATTEMPTS, error.message)
                if attempt == MAX_ATTEMPTS:
                    error.message += f"\n(tried {MAX_ATTEMPTS} times)"
                    raise
                await asyncio.sleep(0.2 * 4 ** (attempt - 1))

    def _with_hashes(self, settings: Settings, model: Path, loras: dict[str, Path]) -> Settings:
        return replace(
            settings,
            model=replace(settings.model, sha256=self._hashes.sha256(model)),
            loras=tuple(replace(lora, autov3=self._hashes.autov3(loras[lora.name])) for lora in settings.loras),
        )

    async def _draw_call(self, drawing: _Drawing, first: int, attempt: int) -> None:
        """One call of the engine: the pictures from `first` on, unless an earlier try saved them all."""
        order, settings = drawing.order, drawing.order.settings
        wanted = range(first, min(first + MAX_BATCH, settings.batch_size))
        there = await asyncio.to_thread(self._already_saved, order, wanted)
        if len(there) < len(wanted):
            pictures = await self._pictures(drawing, wanted, attempt)
            if len(pictures) != len(wanted):
                raise EngineError(f"the engine drew {len(pictures)} pictures where {len(wanted)} were asked for")
            drawing.report(Progress(phase="saving", image=wanted[-1] + 1, images=settings.batch_size, attempt=attempt))
            used, engine = replace(order, settings=await drawing.hashed), drawing.backend.version
            there = [
                await asyncio.to_thread(self._save, used, index, png, engine)
                for index, png in zip(wanted, pictures, strict=True)
            ]
        for image in there:
            drawing.saved(image)

    async def _pictures(self, drawing: _Drawing, wanted: range, attempt: int) -> list[bytes]:
        """Have them drawn; when memory does not suffice, again with what takes less of it."""
        case, backend = drawing.case, drawing.backend
        remedy = await asyncio.to_thread(self._remedies.known, case)
        while True:
            try:
                pictures = await self._drawn(drawing, wanted, attempt, remedy)
            except EngineError as error:
                shortage = shortage_in(backend.words(), killed=backend.was_killed)
                if shortage is None:
                    raise
                better = self._remedies.next(case, remedy, shortage)
                if better is None:
                    error.hint = SMALLER
                    raise
                log.info("job %s: %s", drawing.order.job, error.message)
                remedy = better
            else:
                await asyncio.to_thread(self._remedies.worked, case, remedy)
                return pictures

    async def _drawn(self, drawing: _Drawing, wanted: range, attempt: int, remedy: Remedy) -> list[bytes]:
        settings = drawing.order.settings
        await self.pool.prepare(drawing.backend, drawing.model, remedy.arguments, drawing.report)
        return await drawing.backend.generate(
            settings,
            seed=settings.seed + wanted[0],
            count=len(wanted),
            first=wanted[0],
            loras=drawing.loras,
            report=drawing.report,
            attempt=attempt,
            more=remedy.body,
        )

    def _already_saved(self, order: Order, wanted: range) -> list[Image]:
        seed = order.settings.seed
        found = (self._gallery.saved(order.job, index, order.created, seed + index) for index in wanted)
        return [image for image in found if image]

    def _save(self, order: Order, index: int, png: bytes, engine: str) -> Image:
        try:
            return self._gallery.save(_image(order, index, engine, *size(png)), png)
        except NotPng as error:
            raise EngineError(f"the engine answered with a picture that cannot be read: {error}") from None


@dataclass(frozen=True, slots=True)
class _Drawing:
    """A job on the backend that has its turn."""

    order: Order
    backend: Backend
    model: ModelFile
    loras: dict[str, Path]
    hashed: asyncio.Task[Settings]
    report: Report
    saved: Saved

    @property
    def case(self) -> Case:
        return Case(self.model, self.backend.name, *_final_size(self.order.settings))


def _image(order: Order, index: int, engine: str, width: int, height: int) -> Image:
    return Image(
        id="",
        created=order.created,
        job=order.job,
        index=index,
        width=width,
        height=height,
        settings=replace(order.settings, seed=order.settings.seed + index, batch_size=1),
        engine=engine,
        tsr=__version__,
        path="",
    )


def _final_size(settings: Settings) -> tuple[int, int]:
    scale = settings.hires.scale if settings.hires else 1
    return int(settings.width * scale), int(settings.height * scale)


def _size_of(model: ModelFile, settings: Settings) -> int | None:
    return _estimated(model, *_final_size(settings))


def _estimated(model: ModelFile, width: int, height: int) -> int | None:
    try:
        return estimate(model, width=width, height=height)
    except OSError:
        # Of somebody else's engine there is no file here.
        return None


def _epoch(created: str) -> float:
    return datetime.fromisoformat(created).timestamp()

"""What a model is loaded and drawn with so that its memory suffices: what helped before, and what to try next."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tensors.engines.out_of_memory import NOTHING, Remedy, Remembered, Shortage, model_key, next_remedy
from tensors.models import ModelFile

log = logging.getLogger(__name__)

SMALLER = "ask for a smaller picture or a more quantized model, or end what else uses the memory"


@dataclass(frozen=True, slots=True)
class Case:
    """A picture of some size, drawn with one model on one backend."""

    model: ModelFile
    backend: str
    width: int
    height: int
    """Of the whole picture, after a hires fix."""

    @property
    def key(self) -> str:
        """What the model is remembered by."""
        return model_key(self.model.path, _size(self.model.path))


class Remedies:
    """Remembers what helped."""

    def __init__(self, file: Path, *, accelerator: str) -> None:
        self._remembered = Remembered(file)
        self._accelerator = accelerator

    def known(self, case: Case) -> Remedy:
        """What to begin with."""
        return self._remembered.known(case.key, case.width, case.height, case.backend)

    def for_load(self, model: ModelFile, backend: str) -> tuple[str, ...]:
        """Options of sd-server to load a model with."""
        return self.known(Case(model, backend, 0, 0)).arguments

    def next(self, case: Case, used: Remedy, shortage: Shortage) -> Remedy | None:
        """What to try after a failure for want of memory; None when nothing is left."""
        remedy = next_remedy(used, shortage, accelerator=self._accelerator)
        if remedy:
            what = "VAE tiling" if remedy.tiling and not used.tiling else "offloading to RAM"
            log.warning("%s on %s: out of memory (%s); trying %s", case.model.name, case.backend, shortage.said, what)
        return remedy

    def worked(self, case: Case, remedy: Remedy) -> None:
        """Remember what a picture was drawn with."""
        if remedy != NOTHING or self.known(case) != NOTHING:
            self._remembered.learn(case.key, case.width, case.height, case.backend, remedy)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        # It has gone, or is a name of somebody else's engine.
        return 0

"""Which model is meant when a request names none: what was switched to last, also over a restart."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tensors.atomic import write_atomic
from tensors.decoding import NOT_THAT_JSON


class _Kept(msgspec.Struct, frozen=True):
    model: str


class ActiveModel:
    """The name of the active model; none before anything was switched to."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir / "active-model.json"

    def get(self) -> str | None:
        """Its name, or its path."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_Kept).model
        except (FileNotFoundError, *NOT_THAT_JSON):
            return None

    def set(self, model: str) -> None:
        """From now on it is this one."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(self._file, msgspec.json.encode(_Kept(model)))

    def clear(self) -> None:
        """It is what the settings say again."""
        self._file.unlink(missing_ok=True)

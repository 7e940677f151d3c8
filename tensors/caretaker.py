"""Keeps the gallery as small and as young as the settings say."""

from __future__ import annotations

from tensors.config import Config
from tensors.gallery import Gallery
from tensors.pictures.cleanup import Policy
from tensors.types.gallery import Cleaning, CleanupRequest


class Caretaker:
    """Cleans one gallery up. For any thread."""

    def __init__(self, config: Config, gallery: Gallery) -> None:
        self._gallery = gallery
        self._policy = Policy(
            max_size=config["gallery.max_size"],
            max_age=config["gallery.max_age"] or None,
            keep_favourites=config["gallery.keep_favourites"],
            trash_days=config["gallery.trash_days"] or None,
        )

    def clean(self, request: CleanupRequest) -> Cleaning:
        """Remove what is not to be kept, and say what that was. Raises `LibraryError`, `OSError`."""
        policy = Policy(trash_days=0) if request.empty_trash else self._policy
        return self._gallery.cleanup(policy, dry_run=request.dry_run)

    def has_work(self) -> bool:
        """Whether a cleanup would remove anything. Raises `LibraryError`, `OSError`."""
        would = self.clean(CleanupRequest(dry_run=True))
        return bool(would.trashed or would.removed)

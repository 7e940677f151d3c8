"""Which folder a file goes to, by its kind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tensors.layouts import hint

NAMES = {
    "checkpoint": "checkpoints",
    "diffusion_model": "diffusion_models",
    "lora": "loras",
    "vae": "vae",
    "tae": "vae_approx",
    "text_encoder": "text_encoders",
    "embedding": "embeddings",
    "controlnet": "controlnet",
    "upscaler": "upscale_models",
}
"""Folders that are made where there are none: ComfyUI's names, which the scan understands."""
OTHER = "other"


def folder_for(kind: str | None, *, named: Mapping[str, Sequence[Path]], roots: Sequence[Path], own: Path) -> Path:
    """The folder for files of a kind.

    That is the first one configured for the kind (`named`); else one for it in a folder with models of all kinds
    (`roots`), under whatever name the program that made it gave it; else one in tsr's `own`.
    """
    if kind and named.get(kind):
        return named[kind][0]
    for root in roots:
        if kind and (found := _in(root, kind)):
            return found
    return (roots[0] if roots else own) / (NAMES.get(kind, OTHER) if kind else OTHER)


def _in(root: Path, kind: str) -> Path | None:
    try:
        with os.scandir(root) as entries:
            folders = sorted(entry.path for entry in entries if entry.is_dir())
    except OSError:
        return None
    fitting = [Path(folder) for folder in folders if hint(os.fspath(root), folder).kind == kind]
    # Of several the one with our name, such as `loras` beside `LyCORIS`.
    return next((folder for folder in fitting if folder.name == NAMES.get(kind)), fitting[0] if fitting else None)

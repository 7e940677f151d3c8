"""Pictures of the gallery as lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tensors.cli._app import table
from tensors.cli._text import first_words
from tensors.types.gallery import Image

_MOST = 60
"""Characters of a prompt in a list."""


def marks(image: Image) -> str:
    """What people think of a picture: a heart for a favourite, a star for each point of its rating."""
    return ("♥" if image.favourite else "") + "★" * (image.rating or 0)


def image_rows(images: Sequence[Image]) -> Iterator[str]:
    """One line for each; no column for marks and tags where there are none."""
    marked, deleted = any(map(marks, images)), any(image.deleted for image in images)
    return table(
        [
            image.id,
            *([f"deleted {image.deleted}"] if deleted else []),
            f"{image.width}x{image.height}",
            image.settings.model.name,
            *([marks(image)] if marked else []),
            first_words(image.settings.prompt, _MOST),
            f"[{', '.join(image.tags)}]" if image.tags else "",
        ]
        for image in images
    )


def image_details(image: Image) -> Iterator[str]:
    """Everything that is known about a picture, a line each; nothing where it is not known."""
    used = image.settings
    hires = used.hires
    rows: list[tuple[str, object]] = [
        ("id", image.id),
        ("created", image.created),
        ("deleted", image.deleted),
        ("file", image.path),
        ("size", f"{image.width}x{image.height}"),
        ("favourite", "yes" if image.favourite else None),
        ("rating", image.rating and f"{image.rating} of 5"),
        ("tags", ", ".join(image.tags)),
        ("notes", image.notes),
        ("prompt", used.prompt),
        ("negative prompt", used.negative_prompt),
        ("model", _model(image)),
        ("model hash", used.model.sha256 and used.model.sha256[:10]),
        *_drawing(image),
        ("clip skip", used.clip_skip),
        ("LoRAs", ", ".join(f"{lora.name} ({lora.weight:g})" for lora in used.loras)),
        ("strength", used.strength),
        ("hires", hires and f"x{hires.scale:g} {hires.upscaler}, strength {hires.denoising_strength:g}"),
        ("engine", image.engine),
        ("job", image.job),
    ]
    yield from table((name, value) for name, value in rows if value not in (None, ""))


def _model(image: Image) -> str:
    model = image.settings.model
    return model.name if model.family == "unknown" else f"{model.name} ({model.family})"


def _drawing(image: Image) -> Iterator[tuple[str, object]]:
    """How it was sampled. Of a picture that was imported, 0 and `unknown` stand for what its file does not tell."""
    used, told = image.settings, bool(image.job) or image.settings.steps > 0
    yield "seed", used.seed if told or used.seed else None
    yield "steps", used.steps or None
    yield "CFG scale", used.cfg_scale if told else None
    yield "guidance", used.guidance
    names = [name for name in (used.sampler, used.scheduler) if name != "unknown"]
    yield "sampler", ", ".join(names)

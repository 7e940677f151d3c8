"""Pictures made elsewhere, as they come into the gallery: PNG, JPEG and WebP, kept byte for byte."""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tensors import __version__
from tensors.clock import from_epoch_ms, now
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import InvalidRequest
from tensors.inputs import MAX_PIXELS
from tensors.pictures import records
from tensors.pictures.names import candidates, is_name
from tensors.png import SIGNATURE, chunks, size
from tensors.recipes import recipe_of
from tensors.recipes.embedded import texts_of
from tensors.types.gallery import Image
from tensors.types.generation import Hires, Settings, UsedLora, UsedModel
from tensors.types.recipe import Recipe

_HEAD = 16
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Incoming:
    """A picture that is to be stored."""

    image: Image
    data: bytes
    extension: str


def read(source: Path | bytes, *, recipe: Recipe | None, created: str | None) -> Incoming:
    """Look at a picture. What tsr wrote into it goes before `recipe`, and that before what others wrote into it.

    Of others' files `created` is the time they get.

    Raises `InvalidRequest` for what is no whole PNG, JPEG or WebP; `OSError`.
    """
    name = str(source) if isinstance(source, Path) else "the picture"
    if isinstance(source, Path):
        with open(source, "rb") as file:
            head = file.read(_HEAD)
            data = head + file.read() if extension_of(head) else head
        created = created or from_epoch_ms(max(0, source.stat().st_mtime_ns // 1_000_000))
    else:
        data = source
    extension = extension_of(data)
    if extension is None:
        raise InvalidRequest(f"{name} is no PNG, JPEG or WebP picture")
    try:
        width, height = _size_of_whole(data) if extension == ".png" else _measured(data)
        ours = _ours(data)
        recipe = recipe or (None if ours else recipe_of(data))
    except (OSError, SyntaxError, ValueError) as error:
        raise InvalidRequest(f"{name} is no whole picture: {error}") from None
    image = ours or _made_elsewhere(recipe, _moment(created), width, height)
    digest = hashlib.sha256(data).hexdigest()
    return Incoming(replace(image, width=width, height=height, sha256=digest), data, extension)


def extension_of(head: bytes) -> str | None:
    """What the files of a picture that begins so are called; none of what is no PNG, JPEG or WebP."""
    if head.startswith(SIGNATURE):
        return ".png"
    if head.startswith(b"\xff\xd8\xff"):
        return ".jpg"
    return ".webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _size_of_whole(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG with all its chunks. Raises `NotPng`."""
    for _chunk in chunks(png):
        pass
    return size(png)


def _measured(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG or WebP. It is decoded: nothing else tells whether it is whole."""
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Pillow.open(io.BytesIO(data), formats=("JPEG", "WEBP")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise ValueError(f"{picture.width}x{picture.height} pixels are too many")
                picture.load()
                return picture.size
        except Pillow.DecompressionBombError as error:
            raise ValueError(str(error)) from None


def _ours(data: bytes) -> Image | None:
    """The record in a picture that tsr made. Raises `NotAPicture`."""
    inside = texts_of(data).get(records.RECORD_KEY)
    try:
        image = inside and records.decode(inside)
    except NOT_THAT_JSON:
        return None
    # It may have been through other hands.
    return image if image and is_name(next(candidates(image.created, image.settings.seed))) else None


def _moment(created: str | None) -> str:
    """A time as records have it. Raises `InvalidRequest`."""
    if created is None:
        return now()
    try:
        time = datetime.fromisoformat(created)
        moment = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"created {created!r:.60} is no time") from None
    if not 1970 <= moment.year < 2200:
        raise InvalidRequest(f"created {created!r:.60} is not between 1970 and 2199")
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _made_elsewhere(recipe: Recipe | None, created: str, width: int, height: int) -> Image:
    known = recipe or Recipe(program=UNKNOWN)
    version = f" {known.version}" if known.version else ""
    return Image(
        id="",
        created=created,
        job="",
        index=0,
        width=width,
        height=height,
        settings=_settings(known, width, height),
        engine=f"{known.program}{version}",
        tsr=__version__,
        path="",
    )


def _settings(recipe: Recipe, width: int, height: int) -> Settings:
    """What is not known is empty, 0 or `unknown`."""
    model_hash = recipe.model_hash
    sha256 = model_hash.value if model_hash and model_hash.kind == "sha256" else None
    return Settings(
        prompt=recipe.prompt or "",
        negative_prompt=recipe.negative_prompt or "",
        model=UsedModel(name=recipe.model or UNKNOWN, family=UNKNOWN, sha256=sha256),
        width=recipe.width or width,
        height=recipe.height or height,
        steps=recipe.steps or 0,
        cfg_scale=recipe.cfg_scale or 0.0,
        sampler=(recipe.sampler and (recipe.sampler.name or recipe.sampler.written)) or UNKNOWN,
        scheduler=(recipe.scheduler and (recipe.scheduler.name or recipe.scheduler.written)) or UNKNOWN,
        seed=recipe.seed or 0,
        guidance=recipe.guidance,
        clip_skip=recipe.clip_skip,
        loras=tuple(
            UsedLora(
                name=lora.name,
                weight=1.0 if lora.weight is None else lora.weight,
                autov3=lora.hash.value if lora.hash and lora.hash.kind == "autov3" else None,
            )
            for lora in recipe.loras
        ),
        strength=recipe.strength,
        hires=_hires(recipe),
    )


def _hires(recipe: Recipe) -> Hires | None:
    if recipe.hires is None:
        return None
    plain, known = Hires(), recipe.hires
    try:
        return Hires(
            scale=known.scale or plain.scale,
            upscaler=known.upscaler or plain.upscaler,
            steps=known.steps or plain.steps,
            denoising_strength=plain.denoising_strength
            if known.denoising_strength is None
            else known.denoising_strength,
        )
    except InvalidRequest:
        return None

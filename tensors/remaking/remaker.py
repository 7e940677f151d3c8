"""Pictures made again: the request that draws one, and what differs from when it was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from tensors import __version__
from tensors.decoding import NOT_THAT_JSON
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.families import defaults_for, load_families
from tensors.fitting import fits
from tensors.generation import DEMO_FAMILY, MOST_AREA
from tensors.recipes import MAX_FILE, NotAPicture, recipe_of
from tensors.recipes.embedded import OWN_KEY, texts_of
from tensors.recipes.tsr import read as read_record
from tensors.remaking.parts import Part, Parts, Wanted
from tensors.remaking.values import (
    Notes,
    clamped,
    hires_of,
    name_of,
    note_what_is_left,
    plain_text,
    prompt_of,
    seed_of,
    size_of,
)
from tensors.types.files import Hash
from tensors.types.gallery import Image
from tensors.types.generation import MAX_STEPS, GenerateRequest, Lora, Settings
from tensors.types.models import LoraEntry, ModelEntry
from tensors.types.recipe import Recipe
from tensors.types.remake import MissingPart, Remake

if TYPE_CHECKING:
    from tensors.hash_cache import HashCache
    from tensors.inputs import Inputs
    from tensors.library import Library
    from tensors.shelf import Shelf

_MOST_LORAS = 32
_MOST_TAGS, _LONGEST_TAG = 64, 64
_LONGEST_NAME = 255
_REFERENCE = "sha256:"
_HINT = "PNG, JPEG and WebP files as tsr, A1111, Forge, ComfyUI, InvokeAI, SwarmUI, Fooocus and sd-server save them"


@dataclass(frozen=True, slots=True)
class _Source:
    """A picture that is to be made again."""

    recipe: Recipe
    size: tuple[int, int]
    """Of the picture in pixels."""
    settings: Settings | None = None
    """Of one that tsr drew."""


class Remaker:
    """Makes requests out of pictures. May be called from any thread.

    `engine` is that of now, as `Image.engine` has it; None where nobody knows. `upscalers`: what a running engine has
    besides those that all have. The request is valid whatever the picture says: what tsr cannot draw with is left to
    the defaults, or the nearest that it can, and said. Raises `LibraryError`.
    """

    def __init__(self, library: Library, shelf: Shelf, hashes: HashCache, inputs: Inputs) -> None:
        self._parts = Parts(library, shelf, hashes)
        self._inputs = inputs

    def of_image(
        self, image: Image, *, engine: str | None = None, tsr: str = __version__, upscalers: Iterable[str] = ()
    ) -> Remake:
        """How to make a picture of the gallery again. Of one that another program made, the file is read again.

        Raises:
            InvalidRequest: when it was made elsewhere and does not tell how.
            ImageNotFound: when its file cannot be read.
        """
        if image.job:
            return self._again(image, engine=engine, tsr=tsr, upscalers=upscalers, id=image.id)
        try:
            with open(image.path, "rb") as file:
                data = file.read(MAX_FILE)
        except OSError as error:
            raise ImageNotFound(f"the file of picture {image.id} cannot be read: {error.strerror}") from None
        return replace(self.of_file(data, engine=engine, tsr=tsr, upscalers=upscalers), image=image.id)

    def of_file(
        self, data: bytes, *, engine: str | None = None, tsr: str = __version__, upscalers: Iterable[str] = ()
    ) -> Remake:
        """How to make the picture in a file again. Raises `InvalidRequest` when it is none, or does not tell how."""
        try:
            texts = texts_of(data)
            recipe = _told(recipe_of(data))
        except NotAPicture as error:
            raise InvalidRequest(f"the file is no picture: {error}", hint=_HINT) from None
        if image := _record(texts.get(OWN_KEY, "")):
            return replace(self._again(image, engine=engine, tsr=tsr, upscalers=upscalers), recipe=recipe)
        return self._elsewhere(_Source(recipe, _measured(data, recipe)), tsr, upscalers)

    def _again(
        self, image: Image, *, engine: str | None, tsr: str, upscalers: Iterable[str], id: str | None = None
    ) -> Remake:
        notes = Notes()
        source = _Source(_recipe_of(image), (image.width, image.height), image.settings)
        remake = self._remake(source, notes, upscalers)
        if engine and image.engine != engine:
            says = f"It was drawn by {image.engine}, and {engine} runs now"
            notes.say("engine", says, then=image.engine, now=engine)
        if image.tsr != tsr:
            notes.say("tsr", f"It was made with tsr {image.tsr}, and this is {tsr}", then=image.tsr, now=tsr)
        return replace(remake, image=id, differences=tuple(notes.differences))

    def _elsewhere(self, source: _Source, tsr: str, upscalers: Iterable[str]) -> Remake:
        notes = Notes()
        recipe = source.recipe
        remake = self._remake(source, notes, upscalers)
        note_what_is_left(notes, recipe)
        program = _program(recipe)
        if recipe.program == "tsr":
            says = "tsr drew it, but of its record only a text is left, without the engine and the pictures drawn over"
        elif recipe.program == "sd-server":
            says = f"{program} drew it without tsr: which build, and how it was started, is not known"
        else:
            says = f"{program} drew it: with the same settings another program draws a similar picture, not the same"
        notes.say("program", says, then=program, now=f"tsr {tsr}")
        return replace(remake, recipe=recipe, differences=tuple(notes.differences))

    def _remake(self, source: _Source, notes: Notes, upscalers: Iterable[str]) -> Remake:
        settings = source.settings
        model, loras = self._found(source.recipe, notes)
        request = _request(source, model, loras, notes, upscalers)
        entry = model.entry if model and isinstance(model.entry, ModelEntry) else None
        _note_defaults(notes, source.recipe, entry, ours=settings is not None)
        missing = [part.missing for part in (*((model,) if model else ()), *loras) if part.missing]
        if settings:
            request, inputs = self._with_inputs(request, settings, notes)
            missing += inputs
            request = replace(request, tags=_tags(notes, settings), force=_needs_force(request, entry, loras))
            if entry and entry.family != settings.model.family:
                says = f"{entry.name} was known as {settings.model.family} and is known as {entry.family}"
                notes.say("family", says, then=settings.model.family, now=entry.family)
        return Remake(request=request, missing=tuple(missing))

    def _found(self, recipe: Recipe, notes: Notes) -> tuple[Part | None, list[Part]]:
        """The model, None where nothing tells which, and the LoRAs that can be taken, in order."""
        wanted = [_wanted_model(recipe)] if recipe.model or recipe.model_hash or recipe.model_version_id else []
        loras = [
            Wanted(kind="lora", name=lora.name, hash=lora.hash, version_id=lora.version_id) for lora in recipe.loras
        ]
        if not wanted:
            notes.say("model", "The picture does not tell its model: the active one is taken")
        parts = self._parts.find([*wanted, *loras])
        notes.differences += (part.difference for part in parts if part.difference)
        return (parts[0], parts[1:]) if wanted else (None, parts)

    def _with_inputs(
        self, request: GenerateRequest, settings: Settings, notes: Notes
    ) -> tuple[GenerateRequest, list[MissingPart]]:
        """With the pictures that were drawn over, by their references."""
        if settings.init_image is None:
            return request, []
        missing = []
        for field, reference, mode in (("init_image", settings.init_image, "RGB"), ("mask", settings.mask, "L")):
            if reference is not None and not self._is_here(field, reference, mode):
                digits = reference.removeprefix(_REFERENCE)
                missing.append(MissingPart(kind="input", name=reference, hash=Hash(kind="sha256", value=digits)))
        strength = clamped(notes, "strength", settings.strength, 0.0, 1.0)
        return replace(request, init_image=settings.init_image, mask=settings.mask, strength=strength), missing

    def _is_here(self, field: str, reference: str, mode: str) -> bool:
        if not reference.startswith(_REFERENCE):
            return False
        try:
            self._inputs.keep(field, reference, mode=mode)
        except InvalidRequest:
            return False
        return True


def _request(
    source: _Source, model: Part | None, loras: Sequence[Part], notes: Notes, upscalers: Iterable[str]
) -> GenerateRequest:
    recipe, ours = source.recipe, source.settings is not None
    prompt, besides = prompt_of(notes, recipe, _weighed(loras, recipe, notes))
    size = size_of(notes, recipe, source.size)
    return GenerateRequest(
        prompt=prompt,
        negative_prompt=plain_text(notes, "negative prompt", recipe.negative_prompt or ""),
        model=_called(model.name) if model else None,
        width=size[0],
        height=size[1],
        steps=clamped(notes, "steps", recipe.steps, 1, MAX_STEPS),
        cfg_scale=clamped(notes, "cfg_scale", recipe.cfg_scale, 0.0, 50.0),
        guidance=clamped(notes, "guidance", recipe.guidance, 0.0, 50.0),
        sampler=name_of(notes, "sampler", recipe.sampler),
        scheduler=name_of(notes, "scheduler", recipe.scheduler),
        seed=seed_of(notes, recipe.seed),
        clip_skip=clamped(notes, "clip_skip", recipe.clip_skip, 1, 12),
        loras=besides,
        hires=hires_of(notes, recipe.hires, size, source.size, ours=ours, upscalers=upscalers),
    )


def _program(recipe: Recipe) -> str:
    """Its name and version; some programs begin the version with their name."""
    version = recipe.version or recipe.program
    return version if version.casefold().startswith(recipe.program) else f"{recipe.program} {version}"


def _told(recipe: Recipe | None) -> Recipe:
    if recipe is None:
        says = "the picture cannot be made again: it tells nothing about how it was made"
        raise InvalidRequest(says, hint=f"what is understood: {_HINT}")
    return recipe


def _record(text: str) -> Image | None:
    """tsr's record, of a picture that tsr drew itself."""
    try:
        return msgspec.json.decode(text.encode("utf-8", "replace"), type=Image)
    except NOT_THAT_JSON:
        return None


def _recipe_of(image: Image) -> Recipe:
    recipe = read_record(msgspec.json.encode(image).decode())
    assert recipe
    return recipe


def _measured(data: bytes, recipe: Recipe) -> tuple[int, int]:
    """Width and height of the picture, or of what the recipe tells where it is broken. Raises `InvalidRequest`."""
    from tensors.remaking.comparison import measured

    try:
        return measured(data)
    except InvalidRequest:
        # Recipes are read out of pictures that are cut off, too.
        if recipe.width and recipe.height:
            return recipe.width, recipe.height
        raise


def _wanted_model(recipe: Recipe) -> Wanted:
    return Wanted(kind="model", name=recipe.model, hash=recipe.model_hash, version_id=recipe.model_version_id)


def _called(name: str) -> str:
    return plain_text(Notes(), "model", name, _LONGEST_NAME) or "unknown"


def _weighed(parts: Sequence[Part], recipe: Recipe, notes: Notes) -> list[Lora]:
    """The LoRAs of a request. What a request cannot have is left out, and said."""
    taken: dict[str, Lora] = {}
    for part, said in zip(parts, recipe.loras, strict=True):
        what, name = f"lora {said.name}", _called(part.name)
        if name in taken:
            notes.say(what, f"{said.name} is {name}, which is taken already: it is applied once", then=said.name)
        elif len(taken) == _MOST_LORAS:
            notes.say(what, f"{said.name} is left out: a request has {_MOST_LORAS} LoRAs at most", then=said.name)
        else:
            weight = 1.0 if said.weight is None else said.weight
            taken[name] = Lora(name=name, weight=clamped(notes, f"{what} weight", weight, -10.0, 10.0) or 0.0)
    return list(taken.values())


def _note_defaults(notes: Notes, recipe: Recipe, model: ModelEntry | None, *, ours: bool) -> None:
    """Say what a request leaves to the model's family, because there is no way of asking for nothing."""
    for what, said in (("steps", recipe.steps), ("cfg_scale", recipe.cfg_scale)):
        if said is None:
            notes.say(what, f"The picture does not tell its {what}: the family's own is taken")
    if model is None:
        return
    usual = defaults_for(model.family)
    # Where other programs write none, they use all layers.
    clip_skip = None if usual.clip_skip == 1 and not ours else usual.clip_skip
    for what, said, default in (
        ("guidance", recipe.guidance, usual.guidance),
        ("clip_skip", recipe.clip_skip, clip_skip),
    ):
        if said is None and default is not None:
            says = f"The picture has no {what}, and {model.family} is drawn with {default:g}"
            notes.say(what, says, now=default)


def _tags(notes: Notes, settings: Settings) -> tuple[str, ...]:
    tags = [tag for tag in settings.tags if tag and plain_text(Notes(), "tag", tag, _LONGEST_TAG) == tag]
    tags = tags[:_MOST_TAGS]
    if len(tags) < len(settings.tags):
        notes.say("tags", "Some of its tags are no tags here, and left out", then=", ".join(settings.tags))
    return tuple(tags)


def _needs_force(request: GenerateRequest, model: ModelEntry | None, loras: Sequence[Part]) -> bool:
    """Whether what was drawn once is refused now without `force`, which settings do not remember."""
    if model is None:
        return False
    usual = defaults_for(model.family)
    area = (request.width or 0) * (request.height or 0)
    has_usual_size = model.family in load_families() and model.family != DEMO_FAMILY
    if has_usual_size and area > MOST_AREA * usual.width * usual.height:
        return True
    return any(
        fits(entry.family, model.family, lora_variant=entry.variant, checkpoint_variant=model.variant) is False
        for entry in (part.entry for part in loras)
        if isinstance(entry, LoraEntry)
    )

"""What a command line asks to be drawn: a prompt, a file of them, a picture made again, and what of it is swept."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tensors.cli._app import App, table
from tensors.cli._drawing_options import hires_fix, picture_as_base64
from tensors.cli._text import counted, first_words
from tensors.errors import InvalidRequest, LoraNotFound, ModelNotFound, TsrError
from tensors.prompts import MOST_BYTES, form_of, read_prompts, requests_of
from tensors.sweep import MOST_CELLS, Axis, cells_of, seeded
from tensors.types.generation import GenerateRequest
from tensors.types.remake import MissingPart, Remake

if TYPE_CHECKING:
    from tensors.service import Tensors

MOST_UNASKED = 1000
"""Pictures that are drawn without asking first."""


@dataclass(frozen=True, slots=True)
class Task:
    """A request, and what tells it from the others."""

    request: GenerateRequest
    label: str = ""
    """`line 3, steps 20`."""
    heading: str = ""
    """`steps 20`: of its column on a contact sheet."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is to be drawn."""

    tasks: tuple[Task, ...]
    axes: tuple[Axis, ...] = ()
    rows: tuple[str, ...] = ("",)
    """Headings of a contact sheet's rows."""
    prompts: tuple[str, ...] = ()
    """Before anything was swept."""

    @property
    def pictures(self) -> int:
        """How many there will be."""
        return sum(task.request.batch_size for task in self.tasks)


def from_picture(
    app: App, tensors: Tensors, origin: str, said: Mapping[str, Any], hires: Mapping[str, Any], swept: Iterable[str]
) -> GenerateRequest:
    """The request that makes a picture again, with what the command line says instead.

    Raises `ModelNotFound`, `LoraNotFound` and `InvalidRequest` for what it was made with and is not here, unless
    something else is named for it.
    """
    remake = _remake(tensors, origin)
    instead = {*said, *swept}
    missing = [part for part in remake.missing if not _replaced(part, instead)]
    if missing:
        raise not_here(missing)
    for difference in remake.differences:
        app.say(difference.says)
    return replace(remake.request, **{**said, "hires": hires_fix(remake.request.hires, hires)})


def _remake(tensors: Tensors, origin: str) -> Remake:
    path = Path(origin)
    if not path.is_file():
        return tensors.images.remake(origin)
    try:
        return tensors.images.remake_file(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"{origin} cannot be read: {error.strerror}") from None


def _replaced(part: MissingPart, instead: set[str]) -> bool:
    names = {"model": {"model"}, "lora": {"loras", "lora"}}.get(part.kind, {"init_image"})
    return bool(names & instead)


def not_here(missing: Sequence[MissingPart]) -> TsrError:
    """The error for what a picture was made with and is not here; its hint is how to get it."""
    kind = {"model": ModelNotFound, "lora": LoraNotFound}.get(missing[0].kind, InvalidRequest)
    names = {"model": "model", "lora": "LoRA", "input": "the picture that it was drawn over,"}
    parts = [f"{names.get(part.kind, part.kind)} {part.name!r}{_known_by(part)}" for part in missing]
    instead = {"model": "--model NAME takes another one", "lora": "--lora NAME takes others"}
    hints = [part.command or instead.get(part.kind, "--init-image FILE takes another one") for part in missing]
    return kind(f"not here: {', '.join(parts)}", hint="\n".join(dict.fromkeys(hints)))


def _known_by(part: MissingPart) -> str:
    return f" ({part.hash.kind} {part.hash.value[:12]})" if part.hash else ""


def from_file(name: str, said: Mapping[str, Any]) -> list[tuple[str, GenerateRequest]]:
    """The requests of a file with prompts (`-`: of standard input), and where each stands in it."""
    form_of(name)
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MOST_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"{name} cannot be read: {error.strerror}") from None
    prompts = read_prompts(data, name=name)
    folder = Path() if name == "-" else Path(name).parent
    # Many entries may start from one picture: it is kept once.
    read = cache(lambda path: picture_as_base64(folder / path))
    requests = requests_of(prompts, said, read_picture=read)
    return [(entry.where, request) for entry, request in zip(prompts.entries, requests, strict=True)]


def swept(bases: Sequence[tuple[str, GenerateRequest]], axes: Sequence[Axis]) -> Plan:
    """Each of the requests, and of each one all combinations; a seed is drawn once for all of these."""
    prompts = tuple(dict.fromkeys(request.prompt for _, request in bases))
    if not axes:
        return Plan(tuple(Task(request, where) for where, request in bases), prompts=prompts)
    tasks: list[Task] = []
    rows: list[str] = []
    for where, request in bases:
        start = request if any(axis.field == "seed" for axis in axes) else seeded(request, secrets.randbelow)
        for cell in cells_of(start, axes):
            said = [axis.said(position) for axis, position in zip(axes, cell.place, strict=True)]
            tasks.append(Task(cell.request, ", ".join(filter(None, [where, *said])), said[0]))
            if cell.place[0] == 0:
                words = first_words(request.prompt, 60) if len(bases) > 1 else ""
                rows.append(", ".join(filter(None, [words, *said[1:]])))
        if len(tasks) > MOST_CELLS:
            raise InvalidRequest(f"that is more than {MOST_CELLS:,} requests")
    said_by_axis = [tuple(point.value for point in axis.points) for axis in axes if axis.field == "prompt"]
    return Plan(tuple(tasks), tuple(axes), tuple(rows), *said_by_axis or [prompts])


def confirm(app: App, plan: Plan) -> None:
    """Ask before very many pictures are drawn, where there is somebody to ask. Raises `InvalidRequest`, `Abort`."""
    if plan.pictures <= MOST_UNASKED:
        return
    what = counted(plan.pictures, "picture")
    if not (app.interactive and sys.stdin.isatty()):
        raise InvalidRequest(f"that is {what}: more than {MOST_UNASKED:,}", hint="--yes draws them all the same")
    click.confirm(f"Draw {what}?", abort=True, err=True)


def show(app: App, plan: Plan) -> None:
    """What would be drawn."""
    app.show([task.request for task in plan.tasks], lambda _: _rows(plan))
    app.say(f"{counted(plan.pictures, 'picture')} in {counted(len(plan.tasks), 'job')}; nothing is drawn")


_TOLD = (
    *("model", "steps", "cfg_scale", "guidance", "sampler", "scheduler", "clip_skip", "strength", "seed"),
    "batch_size",
)


def _rows(plan: Plan) -> Iterator[str]:
    yield from table(
        [number, task.label, first_words(task.request.prompt, 48), " ".join(_told(task.request))]
        for number, task in enumerate(plan.tasks, 1)
    )


def _told(request: GenerateRequest) -> Iterator[str]:
    """What a request says, as `name=value`."""
    if request.width or request.height:
        yield f"size={request.width or '?'}x{request.height or '?'}"
    for name in _TOLD:
        value = getattr(request, name)
        if value is not None and (name, value) not in (("seed", -1), ("batch_size", 1)):
            yield f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
    for lora in request.loras:
        yield f"lora={lora.name}:{lora.weight:g}"
    if request.hires:
        yield f"hires={request.hires.scale:g}"
    yield from (name for name in ("init_image", "mask") if getattr(request, name))

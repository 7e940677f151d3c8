"""The contact sheet of a sweep: what stands on it, and where it goes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from tensors.cli._batch import Outcome
from tensors.cli._plan import Plan
from tensors.clock import compact, now
from tensors.errors import InvalidRequest
from tensors.sweep import Axis
from tensors.types.gallery import Image
from tensors.types.generation import Settings

Read = Callable[[str], bytes]

_AXES = ("X", "Y", "Z")
"""A1111's names for them."""


def check_sheet(plan: Plan, sheet: str | None) -> None:
    """Raise `InvalidRequest` where a sheet cannot be made of a plan, or would replace a file."""
    from tensors.contact_sheet import MOST_ROWS

    if sheet is not None and Path(sheet).exists():
        raise InvalidRequest(f"{sheet} is there already", hint="name another file with --sheet, or move it away")
    columns, rows = len(plan.axes[0].points), len(plan.rows)
    if max(rows, 0 if _wraps(plan) else columns) > MOST_ROWS:
        raise InvalidRequest(
            f"a sheet of {columns:,} columns and {rows:,} rows cannot be read: at most {MOST_ROWS} of each",
            hint="sweep fewer values, or fewer things at once",
        )


def _wraps(plan: Plan) -> bool:
    """Whether its one row becomes several."""
    return plan.rows == ("",)


def write_sheet(read: Read, plan: Plan, outcomes: Sequence[Outcome], *, sheet: str | None, output: str | None) -> Path:
    """Make a sheet of the pictures, in the file that is named, else where the copies go, else here."""
    from tensors.contact_sheet import Cell, Picture, contact_sheet, rows_of

    cells = []
    for task, outcome in zip(plan.tasks, outcomes, strict=True):
        pictures = tuple(
            Picture(image.width, image.height, partial(read, image.id)) for image in outcome.generated.images
        )
        cells.append(Cell(task.heading, pictures, outcome.error.message if outcome.error else ""))
    images = [image for outcome in outcomes for image in outcome.generated.images]
    used = [outcome.generated.job.settings for outcome in outcomes if outcome.generated.images]
    rows = rows_of(cells, len(plan.axes[0].points), plan.rows)
    png = contact_sheet(_title(plan, [one for one in used if one]), rows, {"parameters": _parameters(plan, images)})
    return _write(png, sheet, output)


def _title(plan: Plan, used: Sequence[Settings]) -> list[str]:
    """The prompt, and what is the same for all pictures."""
    words = plan.prompts[0] if len(plan.prompts) == 1 else f"{len(plan.prompts)} prompts"
    told = [set(_told(one)) for one in used]
    same = [text for text in _told(used[0]) if all(text in one for one in told)] if used else []
    return [words, ", ".join(same)] if same else [words]


def _told(used: Settings) -> Iterator[str]:
    yield f"model {used.model.name}"
    yield f"seed {used.seed}"
    yield f"{used.width}x{used.height}"
    yield f"{used.steps} steps"
    yield f"CFG scale {used.cfg_scale:g}"
    yield f"{used.sampler}, {used.scheduler}"
    yield from (f"LoRA {lora.name} {lora.weight:g}" for lora in used.loras)


def _parameters(plan: Plan, images: Sequence[Image]) -> str:
    """How the first picture was made, and what was swept, as A1111 writes it below its own sheets."""
    from tensors.infotext import infotext

    parts = [infotext(images[0])] if images else [plan.prompts[0]]
    parts.append("Script: X/Y/Z plot")
    for name, axis in itertools.zip_longest(_AXES, plan.axes):
        if axis:
            values = json.dumps(", ".join(_value(axis, point.label) for point in axis.points), ensure_ascii=False)
            parts.append(f"{name or 'Next'} Type: {json.dumps(axis.field)}, {name or 'Next'} Values: {values}")
    return ", ".join(parts)


def _value(axis: Axis, label: str) -> str:
    return f'"{label}"' if "," in label else label


def _write(png: bytes, sheet: str | None, output: str | None) -> Path:
    from tensors.atomic import create_atomic

    for target in [Path(sheet)] if sheet else _names(_folder(output)):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            create_atomic(target, png)
        except FileExistsError:
            continue
        except OSError as error:
            raise InvalidRequest(f"cannot write {target}: {error.strerror}") from None
        return target
    raise InvalidRequest(f"cannot write {sheet}: it is there already")


def _folder(output: str | None) -> Path:
    from tensors.cli._pictures import save_target

    return save_target(output, "sheet", 0, 1).parent if output else Path()


def _names(folder: Path) -> Iterator[Path]:
    stem = f"sweep-{compact(now())}"
    yield folder / f"{stem}.png"
    yield from (folder / f"{stem}-{number}.png" for number in itertools.count(2))

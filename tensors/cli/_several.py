"""Several requests of one command: drawn, saved, shown, and what the command's end says about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tensors.cli._app import App
from tensors.cli._batch import Batch, Outcome
from tensors.cli._plan import Plan
from tensors.cli._results import Ways, lines_of, open_pictures, save
from tensors.errors import TsrError
from tensors.service import Tensors
from tensors.types.jobs import Generated


@dataclass(frozen=True, slots=True)
class Drawn:
    """What `--json` prints of several requests."""

    generated: tuple[Generated, ...]
    """One for each request, in their order."""
    sheet: str | None = None
    """The contact sheet's file."""


def draw_several(app: App, tensors: Tensors, plan: Plan, ways: Ways) -> int:
    """All of a plan; the exit code is that of the first request that failed."""
    batch = Batch(app, tensors, plan.tasks, key=ways.key)
    if ways.detach:
        queued = Drawn(tuple(Generated(job=job) for job in batch.queue()))
        app.show(queued, lambda drawn: [answer.job.id for answer in drawn.generated])
        app.say(
            "follow them: tsr jobs list" + ("; a contact sheet is made only when it is waited for" * bool(plan.axes))
        )
        return 0
    first = _positions(plan)
    saved: list[Path] = []
    outcomes = batch.draw(
        lambda index, images: saved.extend(
            save(app, tensors.images.read, images, ways.output, first=first[index], count=plan.pictures)
        )
    )
    failed = [outcome.error for outcome in outcomes if outcome.error]
    images = tuple(image for outcome in outcomes for image in outcome.generated.images)
    if failed and not images:
        raise failed[0]
    sheet = None
    if plan.axes:
        try:
            sheet = _sheet(app, tensors, plan, outcomes, ways)
        except TsrError as error:
            # The pictures are there all the same, and are told.
            app.say(f"no contact sheet: {error.message}")
            failed.append(error)
    drawn = Drawn(tuple(outcome.generated for outcome in outcomes), str(sheet) if sheet else None)
    app.show(drawn, lambda drawn: [line for answer in drawn.generated for line in lines_of(answer)])
    if bad := sum(outcome.error is not None for outcome in outcomes):
        app.say(f"{bad} of {len(outcomes)} failed")
    if sheet:
        _look_at(app, sheet, open_it=ways.open_it)
    elif ways.open_it:
        open_pictures(tensors.images.read, images, saved)
    return failed[0].exit_code if failed else 0


def _positions(plan: Plan) -> list[int]:
    """Of each request the position of its first picture among all."""
    positions, position = [], 0
    for task in plan.tasks:
        positions.append(position)
        position += task.request.batch_size
    return positions


def _sheet(app: App, tensors: Tensors, plan: Plan, outcomes: Sequence[Outcome], ways: Ways) -> Path:
    from tensors.cli._sheets import write_sheet

    target = write_sheet(tensors.images.read, plan, outcomes, sheet=ways.sheet, output=ways.output)
    app.say(f"contact sheet: {target}")
    return target


def _look_at(app: App, sheet: Path, *, open_it: bool) -> None:
    from tensors.cli._pictures import open_viewer, show_inline

    if app.interactive:
        show_inline(sheet.read_bytes())
    if open_it:
        open_viewer(sheet)

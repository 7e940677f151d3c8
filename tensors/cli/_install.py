"""Installing an engine with its progress on screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tensors.cli._app import App

if TYPE_CHECKING:
    from tensors.engines.binary import EngineBinary
    from tensors.engines.progress import InstallProgress


@contextmanager
def _bar() -> Iterator[Callable[[InstallProgress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("   {task.description}"), BarColumn(bar_width=32), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as display:
        task = display.add_task("engine", total=None)

        def report(progress: InstallProgress) -> None:
            if progress.phase == "remark":
                console.print(f"   {progress.message}", highlight=False, markup=False)
                return
            total = None if progress.fraction is None else 1.0
            display.update(task, description=progress.message[:60], completed=progress.fraction or 0, total=total)

        yield report


@contextmanager
def _lines(app: App) -> Iterator[Callable[[InstallProgress], None]]:
    """For a log: a line for each phase and each tenth of it."""
    last: tuple[str, int] | None = None

    def report(progress: InstallProgress) -> None:
        nonlocal last
        tenth = int((progress.fraction or 0) * 10)
        if progress.phase == "remark" or (progress.phase, tenth) != last:
            last = progress.phase, tenth
            share = "" if progress.fraction is None else f" {progress.fraction:.0%}"
            app.say(f"   {progress.phase}{share}: {progress.message}")

    yield report


def install_with_progress(
    app: App, *, source: str | None = None, accelerator: str | None = None, force: bool = False
) -> EngineBinary:
    """`tensors.engines.install.install_engine`, shown."""
    from tensors.engines.install import install_engine

    with _bar() if app.interactive else _lines(app) as report:
        return install_engine(app.config, source=source, accelerator=accelerator, force=force, report=report)

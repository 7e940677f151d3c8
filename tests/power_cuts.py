"""Work that is cut short at each of its steps on disk, as a power cut or kill -9 would."""

from __future__ import annotations

import multiprocessing
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

STEPS = ("open", "write", "fsync", "link", "replace", "unlink")
"""What changes files, as functions of `os`."""
_CUT = 9
_FINISHED = 0


def cut_short(work: Callable[[Path], object], prepared: Path, folder: Path) -> list[Path]:
    """Do `work` on copies of `prepared`, each time ending the process before one step more. Returns the copies.

    The last copy is of the run that was not cut. `work` must be a function of a module: it runs in another process.
    """
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_run_all, args=(work, prepared, folder))
    process.start()
    process.join(60)
    assert process.exitcode == 0, f"exit code {process.exitcode}"
    return sorted(folder.iterdir())


def _run_all(work: Callable[[Path], object], prepared: Path, folder: Path) -> None:
    """Forking is safe here: this process has one thread and holds nothing."""
    for number in range(1, 1000):
        copy = folder / f"{number:04}"
        shutil.copytree(prepared, copy)
        child = os.fork()
        if child == 0:
            _arm(number)
            work(copy)
            os._exit(_FINISHED)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == _FINISHED:
            return
    raise AssertionError("the work does not end")


def _arm(number: int) -> None:
    """Let the process end at its n-th step; a write gets half of its bytes down first."""
    count = 0

    def step(name: str, original: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == number:
            if name == "write":
                original(arguments[0], arguments[1][: len(arguments[1]) // 2])
            os._exit(_CUT)
        return original(*arguments, **options)

    for name in STEPS:
        setattr(os, name, partial(step, name, getattr(os, name)))

"""Programs that tsr runs to their end, such as a compiler, with everything they start in their turn."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import psutil

from tensors.engines import launcher


def run_child(
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    log: BinaryIO,
    heard: Callable[[str], None] | None = None,
) -> int:
    """Run a program in `folder` and return its exit code; its output goes to `log` and, by lines, to `heard`.

    Whatever interrupts it (Ctrl-C, an exception out of `heard`) ends the program and its children first. If this
    process is killed, the kernel ends the program, where it can (Linux).
    """
    words = [str(word) for word in command]
    if sys.platform == "linux":
        words = [sys.executable, "-I", launcher.__file__, str(os.getpid()), *words]
    process = subprocess.Popen(
        words,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        # A group of its own: Ctrl-C at the terminal reaches us alone, and then we end all of it.
        start_new_session=True,
    )
    assert process.stdout
    try:
        for line in process.stdout:
            log.write(line)
            if heard:
                heard(line.decode("utf-8", "replace").rstrip())
        return process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        process.stdout.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started, at once: whatever they write is thrown away."""
    if process.returncode is not None:
        return
    # Until it is waited for, below, its number belongs to nobody else.
    if os.name == "posix":
        _end_groups(process.pid)
    else:
        for child in _descendants(process.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
    process.wait()


def _end_groups(leader: int) -> None:
    """Kill a process group and those below it: Ninja gives each compiler one of its own."""
    with contextlib.suppress(ProcessLookupError):
        # Stopped, it starts no more of them while they are looked for.
        os.killpg(leader, signal.SIGSTOP)
    groups = {leader}
    for child in _descendants(leader):
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(child.pid))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def last_lines(log: Path, count: int = 15) -> str:
    """The end of a log, for an error message."""
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-count:])

"""Getting an sd-server onto this machine, and off it again.

One engine is one folder in the engine directory. It is prepared in a temporary folder beside, and renamed when it is
known to run here; one installation at a time.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from tensors.atomic import sync_directory, write_atomic
from tensors.checks import did_you_mean
from tensors.config import Config
from tensors.engines.accelerator import ACCELERATORS, FALLBACKS, detect_accelerator, this_machine
from tensors.engines.binary import MANIFEST, EngineBinary, installed_engines, list_engines
from tensors.engines.progress import InstallProgress, Report
from tensors.engines.workspace import REPLACED, alone, sweep, workspace_in
from tensors.errors import EngineInstallFailed, InvalidRequest, NotFound

__all__ = ["SOURCES", "InstallProgress", "Report", "install_engine", "remove_engine"]

SOURCES = ("release", "build")
_TRIAL_SECONDS = 60


def install_engine(
    config: Config, *, source: str | None = None, accelerator: str | None = None, force: bool = False, report: Report
) -> EngineBinary:
    """Have an sd-server on this machine, and return the one there is then.

    Without a `source` the first of these that works: the one tsr uses already (configured, on `PATH`, installed),
    upstream's release, a build from source; with one (`release` or `build`) nothing but that. Without an `accelerator`
    a release is chosen for this machine's, and a build is for the CPU; one that was asked for is never replaced by
    another. `force` installs again what is installed.

    Only one installation runs at a time: another waits, and then takes what the first one made. Ctrl-C, and anything
    that `report` raises, leave everything as it was.

    Raises:
        InvalidRequest: when there is no such source or accelerator.
        EngineInstallFailed: when no way worked; why the last one did not. Why earlier ones did not are remarks.
        EngineNotInstalled: when `engine.path` is set to something that is no program.
        ConfigError: when `api.engine_release_url` is not a safe address.
    """
    _check_word("source", source, SOURCES)
    _check_word("accelerator", accelerator, ACCELERATORS)
    if there := _already_there(config, source, accelerator, force, report):
        return there
    directory = config.engine_dir
    with _explained(directory), alone(directory, report):
        if there := _already_there(config, source, accelerator, force, report):
            return there
        sweep(directory)
        with workspace_in(directory) as workspace:
            engine = _obtain(config, source, accelerator, workspace, report)
            return _put_in_place(engine, directory, workspace)


def remove_engine(config: Config, name: str) -> EngineBinary:
    """Remove an installed engine and return what it was.

    A running one goes on, on the files it has open.

    Raises:
        NotFound: when there is none of that name.
        InvalidRequest: when it is not tsr's own.
        Conflict: while an installation is running.
    """
    if name in ("PATH", "configured"):
        raise InvalidRequest(
            f"the engine {name!r} was not installed by tsr, which does not remove it",
            hint="tsr config unset engine.path" if name == "configured" else "remove it the way it was installed",
        )
    engines = {engine.name: engine for engine in installed_engines(config)}
    if name not in engines:
        raise NotFound(f"engine {name!r} not found{did_you_mean(name, engines)}", hint="tsr engine list")
    directory = config.engine_dir
    with _explained(directory), alone(directory, None), workspace_in(directory) as workspace:
        # Renamed before it is removed: it is there whole or not at all.
        os.rename(directory / name, workspace / name)
        sync_directory(directory)
    return engines[name]


@contextlib.contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Full disks and missing rights, as errors with a sentence."""
    try:
        yield
    except OSError as error:
        raise EngineInstallFailed(
            f"{error.filename or directory}: {error.strerror or error}",
            hint="engine.directory moves the engines to another place",
        ) from error


def _check_word(field: str, word: str | None, known: Iterable[str]) -> None:
    if word is not None and word not in known:
        hint = f"one of {', '.join(known)}"
        raise InvalidRequest(f"there is no {field} {word!r} for an engine{did_you_mean(word, known)}", hint=hint)


def _already_there(
    config: Config, source: str | None, accelerator: str | None, force: bool, report: Report
) -> EngineBinary | None:
    """An engine that is what was asked for."""
    if source is None and accelerator is None:
        first = next(iter(list_engines(config)), None)
        if first and first.source in ("configured", "path"):
            if force:
                said = f"{first.path} is used before any that tsr installs; to install one beside it, name a --source"
                report(InstallProgress("remark", None, said))
            return first
    if force:
        return None
    from tensors.engines.build import build_name

    for engine in installed_engines(config):
        if source == "build" and engine.name != build_name(accelerator or "cpu"):
            # An older tsr built another version.
            continue
        if source in (None, engine.source) and accelerator in (None, engine.accelerator):
            return engine
    return None


def _obtain(
    config: Config, source: str | None, accelerator: str | None, workspace: Path, report: Report
) -> EngineBinary:
    """An engine that runs here, in a folder of its own in the workspace."""
    if source != "build":
        try:
            return _released(config["api.engine_release_url"], accelerator, workspace, report)
        except EngineInstallFailed as error:
            if source == "release":
                raise
            report(InstallProgress("remark", None, f"no release: {error.message}"))
    return _built(config, accelerator, workspace, report)


def _released(url: str, accelerator: str | None, workspace: Path, report: Report) -> EngineBinary:
    from tensors.engines.assets import choose_asset
    from tensors.engines.release import ReleaseHost, fetch_engine

    report(InstallProgress("looking", None, url))
    host = ReleaseHost(url)
    release = host.latest()
    system, machine = platform.system(), this_machine()
    candidates = (accelerator,) if accelerator else FALLBACKS[detect_accelerator()]
    reason = ""
    for candidate in candidates:
        name = choose_asset((asset.name for asset in release.assets), system, machine, candidate)
        if name is None:
            reason = f"{release.tag_name} has none for {candidate} on {system} {machine}"
        else:
            engine = fetch_engine(host, release, name, candidate, workspace, report)
            problem = _try(engine, report)
            if problem is None:
                return engine
            shutil.rmtree(workspace / "unpacked")
            reason = f"{name} does not run here: {problem}"
            if "GLIBC" in problem:
                # Too old a system for one of them is too old for all.
                break
        if candidate != candidates[-1]:
            report(InstallProgress("remark", None, reason))
    raise EngineInstallFailed(reason, hint="tsr engine install --source build makes one from source")


def _built(config: Config, accelerator: str | None, workspace: Path, report: Report) -> EngineBinary:
    from tensors.engines.build import FAILED_LOG, build_engine

    if accelerator is None and (detected := detect_accelerator()) != "cpu":
        said = f"this build is for the CPU; --accelerator {detected} builds for {detected}, with its development kit"
        report(InstallProgress("remark", None, said))
    engine = build_engine(workspace, accelerator or "cpu", config.engine_dir / FAILED_LOG, report)
    problem = _try(engine, report)
    if problem:
        raise EngineInstallFailed(f"the sd-server that was built does not run: {problem}")
    return engine


def _try(engine: EngineBinary, report: Report) -> str | None:
    """Run an engine once, for its help. Why it is no sd-server that runs here; None when it is."""
    report(InstallProgress("checking", None, engine.name))
    try:
        done = subprocess.run(
            [engine.path, "--help"],
            env=engine.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TRIAL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it gave no answer in {_TRIAL_SECONDS} s"
    except OSError as error:
        return error.strerror or str(error)
    said = next((line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()), "without a word")
    if done.returncode < 0:
        return f"it ended with {signal.Signals(-done.returncode).name}: {said}"
    # The exit code says nothing: 0 with the complaint that there is no --help, in May 2026.
    if any(line.startswith("stable-diffusion.cpp version") for line in done.stdout.splitlines()):
        return None
    return f"it ended with exit code {done.returncode}: {said}"


def _put_in_place(engine: EngineBinary, directory: Path, workspace: Path) -> EngineBinary:
    """Make a finished engine one of the installed ones, in one step."""
    folder, target = engine.path.parent, directory / engine.name
    manifest = {"version": engine.version, "source": engine.source, "accelerator": engine.accelerator}
    write_atomic(folder / MANIFEST, msgspec.json.encode(manifest))
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb" if os.name == "posix" else "rb+") as handle:
                os.fsync(handle)
    if target.exists():
        replaced = workspace / REPLACED
        replaced.mkdir()
        os.rename(target, replaced / engine.name)
    os.rename(folder, target)
    sync_directory(directory)
    return replace(engine, path=target / engine.path.name)

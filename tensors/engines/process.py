"""An sd-server that tsr starts itself, as a process of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from tensors.engines import launcher
from tensors.engines.binary import EngineBinary
from tensors.engines.leftovers import EngineNote
from tensors.engines.output import PieceReader
from tensors.engines.place import Hear
from tensors.engines.sd_server import SdServerClient
from tensors.errors import EngineStartFailed
from tensors.models import ModelFile

_LONGEST_NAME = 60


def hold_port() -> socket.socket:
    """A free loopback port, bound for as long as the socket is open but not listened on.

    sd-server binds with SO_REUSEPORT, so it can share the port with this socket, and nobody else gets it: two engines
    on one port would both start and answer at random.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if hasattr(socket, "SO_REUSEPORT"):
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("127.0.0.1", 0))
    return holder


class ProcessLife:
    """One life of the engine's process; its output is read from the first moment on."""

    def __init__(self, process: asyncio.subprocess.Process, port_holder: socket.socket, run_dir: Path, hear: Hear):
        self._note = EngineNote(run_dir, process.pid)
        self.client = SdServerClient(f"http://127.0.0.1:{port_holder.getsockname()[1]}")
        self.ended = asyncio.Event()
        self._process = process
        self._port_holder = port_holder
        self._reader = asyncio.create_task(self._read(hear))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Of the process."""
        return self._process.returncode

    async def end(self) -> None:
        """End the process, and wait for that."""
        await _terminate(self._process)
        await self._reader
        await self.client.close()
        self._port_holder.close()

    async def _read(self, hear: Hear) -> None:
        """Follow the process's output until it ends."""
        reader = PieceReader()
        assert self._process.stdout
        while data := await self._process.stdout.read(65536):
            for piece in reader.feed(data):
                hear(piece)
        for piece in reader.feed(b"\n"):
            hear(piece)
        await self._process.wait()
        self.ended.set()
        self._note.remove()


def _link_name(name: str) -> str:
    """The name itself, unless it has folders in it or is as long as a path."""
    return name if "/" not in name and len(name) < _LONGEST_NAME else sha256(name.encode()).hexdigest()[:16]


async def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), 1)
    except TimeoutError:
        # A driver can hang in the kernel's arms; it is not asked twice.
        process.kill()
        await process.wait()


class ProcessPlace:
    """One sd-server process at a time, on loopback and a free port."""

    kind = "process"
    outlives = False
    can_switch = True
    can_cancel = True
    can_hear = True

    def __init__(
        self,
        binary: EngineBinary,
        *,
        run_dir: Path,
        name: str,
        threads: int = 0,
        arguments: tuple[str, ...] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`name` tells the places of one tsr apart; `environment` comes on top of the binary's own."""
        self._binary = binary
        self._run_dir = run_dir
        self._lora_dir = run_dir / f"loras-{os.getpid()}-{name}"
        self._threads = threads
        self._arguments = arguments
        self._environment = environment or {}

    @property
    def version(self) -> str:
        """Of the program."""
        return self._binary.version

    async def start(self, model: ModelFile, hear: Hear, *, arguments: tuple[str, ...] = ()) -> ProcessLife:
        """Start the program with this model. Raises `EngineStartFailed` when there is no way to."""
        holder = hold_port()
        try:
            self._lora_dir.mkdir(parents=True, exist_ok=True)
            process = await self._spawn([*self._command(model, holder.getsockname()[1]), *arguments])
        except OSError as error:
            holder.close()
            raise EngineStartFailed(f"the engine cannot be started: {error}") from error
        except BaseException:
            # Cancelled in this instant.
            holder.close()
            raise
        try:
            return ProcessLife(process, holder, self._run_dir, hear)
        except OSError as error:
            await _terminate(process)
            holder.close()
            raise EngineStartFailed(f"the engine cannot be noted down: {error}") from error

    async def lora_paths(self, loras: Mapping[str, Path]) -> dict[str, str]:
        """Link these LoRAs into the engine's folder, which it lists, recursively, at each request."""
        self._lora_dir.mkdir(parents=True, exist_ok=True)
        paths = {name: _link_name(name) + path.suffix for name, path in loras.items()}
        for name, path in loras.items():
            link = self._lora_dir / paths[name]
            if link.is_symlink() and link.readlink() == path:
                continue
            link.unlink(missing_ok=True)
            link.symlink_to(path)
        return paths

    async def close(self) -> None:
        """Remove the folder of LoRAs."""
        # Some links, and by now the thread pool may be gone.
        shutil.rmtree(self._lora_dir, ignore_errors=True)

    def _command(self, model: ModelFile, port: int) -> list[str]:
        part = "--diffusion-model" if model.kind == "diffusion_model" else "-m"
        command = [str(self._binary.path), part, str(model.path)]
        for option, path in model.companions:
            command += [f"--{option}", str(path)]
        command += ["--lora-model-dir", str(self._lora_dir), "--lora-apply-mode", "at_runtime"]
        command += ["-l", "127.0.0.1", "--listen-port", str(port)]
        if self._threads:
            command += ["-t", str(self._threads)]
        return [*command, *self._arguments]

    async def _spawn(self, command: list[str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            launcher.__file__,
            str(os.getpid()),
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            # Ctrl-C in a terminal reaches the whole group: ending the engine is ours to do.
            start_new_session=True,
            env={**self._binary.environment, **self._environment},
        )

"""Graphics cards: which there are, whether this user may use them, how much of their memory is free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensors.doctoring.finding import error, gigabytes, listed, ok, shell, skipped, warning
from tensors.doctoring.gfx import decoded
from tensors.doctoring.machine import Machine
from tensors.engines.memory import Memory
from tensors.types.doctor import Finding

LITTLE_MEMORY = 4_000_000_000
"""Bytes. SD 1.5 at 512x512 takes 3.9 GB: its file in fp16, and the VAE's work (`tensors.engines.memory`)."""
_USE = os.R_OK | os.W_OK
_AMD, _NVIDIA = "0x1002", "0x10de"
_DRIVERS = {_AMD: "amdgpu", _NVIDIA: "nvidia"}
_SELECTING = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_VULKAN_DRIVERS = ("etc/vulkan/icd.d", "usr/share/vulkan/icd.d", "usr/local/share/vulkan/icd.d")


@dataclass(frozen=True, slots=True)
class Cards:
    """The cards of a machine, by the ways to compute on them."""

    amd: tuple[str, ...] = ()
    """Targets, in ROCm's order."""
    nvidia: tuple[str, ...] = ()
    """Names."""
    rendering: tuple[Path, ...] = ()
    """Nodes that Vulkan uses."""
    idle: tuple[str, ...] = ()
    """Kernel drivers of cards that are there but have none."""


def cards_of(machine: Machine) -> Cards:
    """What the kernel tells of the cards."""
    nodes = sorted((machine.root / "sys/class/kfd/kfd/topology/nodes").glob("[0-9]*"), key=lambda node: int(node.name))
    numbers = (_number(node / "properties", r"^gfx_target_version (\d+)$") for node in nodes)
    # The processor is a node too, of version 0.
    amd = tuple(decoded(number) for number in numbers if number)
    models = sorted((machine.root / "proc/driver/nvidia/gpus").glob("*/information"))
    nvidia = tuple(_model(machine.text(str(file.relative_to(machine.root)))) for file in models)
    vendors = {
        _text(device / "vendor")
        for device in (machine.root / "sys/bus/pci/devices").glob("*")
        if _text(device / "class").startswith("0x03")
    }
    there = {_AMD: bool(amd), _NVIDIA: (machine.root / "proc/driver/nvidia").exists()}
    idle = tuple(driver for vendor, driver in _DRIVERS.items() if vendor in vendors and not there[vendor])
    return Cards(amd, nvidia, tuple(sorted((machine.root / "dev/dri").glob("renderD*"))), idle)


def visible(targets: tuple[str, ...], environment: Mapping[str, str]) -> tuple[str, ...]:
    """Those of ROCm's cards that the environment lets an engine see, where it names them by number."""
    for variable in _SELECTING:
        chosen = environment.get(variable, "").replace(" ", "")
        if re.fullmatch(r"\d+(,\d+)*", chosen):
            targets = tuple(targets[int(number)] for number in chosen.split(",") if int(number) < len(targets))
    return targets


def look_at_cards(cards: Cards, accelerator: str | None) -> Iterator[Finding]:
    """Which cards there are, and whether the engine is made for them.

    `accelerator`: the engine's, or None where no engine is started on this machine itself.
    """
    for driver in cards.idle:
        yield warning("gpu", f"there is a card whose driver ({driver}) is not loaded", f"sudo modprobe {driver}")
    names = [*(f"AMD {target}" for target in cards.amd), *(f"NVIDIA {name}" for name in cards.nvidia)]
    if not names and cards.rendering:
        names = [f"{len(cards.rendering)} for Vulkan"]
    ways = _ways(cards)
    best = best_of(cards) or "cpu"
    if accelerator in ("rocm", "cuda", "vulkan") and accelerator not in ways:
        said = f"the engine is built for {accelerator}, and there is no card for that here"
        yield error("gpu", said, f"tsr engine install --accelerator {best}")
    elif accelerator == "cpu" and (cards.amd or cards.nvidia):
        said = f"the engine draws on the processor, although there is a card: {listed(names)}"
        yield warning("gpu", said, f"tsr engine install --accelerator {best}")
    elif names:
        yield ok("gpu", f"cards: {listed(names)}")
    elif not cards.idle:
        yield skipped("gpu", "there is no card here: pictures are drawn on the processor")


def _ways(cards: Cards) -> list[str]:
    there = {"rocm": cards.amd, "cuda": cards.nvidia, "vulkan": cards.rendering}
    return [way for way, found in there.items() if found]


def best_of(cards: Cards) -> str | None:
    """The fastest way to compute on them: `rocm`, `cuda` or `vulkan`; None where there is none."""
    return next(iter(_ways(cards)), None)


def look_at_devices(machine: Machine, cards: Cards, accelerator: str) -> Iterator[Finding]:
    """Whether the nodes of the cards are there and may be used. `accelerator`: `rocm`, `cuda` or `vulkan`."""
    nodes = _nodes(machine, cards, accelerator)
    missing = [node for node in nodes if not node.exists()]
    closed = [node for node in nodes if node not in missing and not machine.may(node, _USE)]
    if missing:
        yield _missing(machine, missing, accelerator)
    if closed:
        yield _closed(machine, closed)
    if not missing and not closed and nodes:
        yield ok("gpu.devices", f"{machine.user} may use {listed(map(machine.shown, nodes))}")
    if accelerator == "vulkan" and not machine.environment.get("VK_DRIVER_FILES"):
        yield from _vulkan_driver(machine)


def _nodes(machine: Machine, cards: Cards, accelerator: str) -> list[Path]:
    device = machine.root / "dev"
    if accelerator == "cuda":
        return [device / "nvidiactl", device / "nvidia-uvm", *sorted(device.glob("nvidia[0-9]*"))]
    rendering = list(cards.rendering) or [device / "dri/renderD128"]
    return [device / "kfd", *rendering] if accelerator == "rocm" else rendering


def _missing(machine: Machine, missing: list[Path], accelerator: str) -> Finding:
    said = f"{listed(map(machine.shown, missing))} not there"
    if (machine.root / ".dockerenv").exists():
        given = {"cuda": "--gpus all", "rocm": "--device /dev/kfd --device /dev/dri", "vulkan": "--device /dev/dri"}
        return error("gpu.devices", f"{said}: this container was not given it", f"docker run {given[accelerator]} ...")
    driver = "nvidia-uvm" if accelerator == "cuda" else "amdgpu"
    return error("gpu.devices", said, f"sudo modprobe {driver}")


def _closed(machine: Machine, closed: list[Path]) -> Finding:
    groups = sorted({machine.group_of(node) for node in closed})
    said = f"{machine.user} may not use {listed(map(machine.shown, closed))}"
    if "root" in groups:
        command = shell("sudo", "chgrp", "render", *map(machine.shown, closed))
        return error("gpu.devices", f"{said}, which only root may: a udev rule of the driver's is missing", command)
    if all(machine.user in machine.members_of(group) for group in groups):
        said += f": the groups ({listed(groups)}) are new, and hold from the next login"
        return error("gpu.devices", said, f"newgrp {groups[0]}")
    said += f", which is for {listed(groups)}; log in again afterwards"
    return error("gpu.devices", said, shell("sudo", "usermod", "-aG", ",".join(groups), machine.user))


def _vulkan_driver(machine: Machine) -> Iterator[Finding]:
    drivers = [file.stem for folder in _VULKAN_DRIVERS for file in sorted((machine.root / folder).glob("*.json"))]
    if drivers:
        yield ok("gpu.vulkan", f"Vulkan drivers: {listed(drivers)}")
    else:
        yield error("gpu.vulkan", "there is no Vulkan driver", "sudo apt install mesa-vulkan-drivers")


def look_at_memory(memory: Memory | None, accelerator: str, held: tuple[str, ...] = ()) -> Finding:
    """How much memory is free where the engine works. `held`: what tsr's own engines have loaded."""
    ordinary = accelerator in ("cpu", "metal")
    name = "memory" if ordinary else "VRAM"
    if memory is None:
        return skipped("memory", f"nobody tells how much {name} is free")
    said = f"{gigabytes(memory.free)} of {gigabytes(memory.total)} {name} free"
    if held:
        return ok("memory", f"{said}; loaded: {listed(held)}")
    if memory.free >= LITTLE_MEMORY:
        return ok("memory", said)
    if memory.total < LITTLE_MEMORY:
        command = None if ordinary else "tsr config set engine.arguments -- --offload-to-cpu"
        return warning("memory", f"{said}: most models do not fit", command)
    who = {"cuda": "nvidia-smi", "rocm": "rocm-smi --showpids"}.get(accelerator, "ps -eo rss,pid,args --sort=-rss")
    return warning("memory", f"{said}: other programs have the rest", f"{who} | head -20")


def _text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _number(file: Path, pattern: str) -> int:
    found = re.search(pattern, _text(file), re.MULTILINE)
    return int(found[1]) if found else 0


def _model(information: str) -> str:
    found = re.search(r"^Model:\s*(.+?)\s*$", information, re.MULTILINE)
    return found[1] if found else "card"

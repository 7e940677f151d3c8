"""The files of an upstream release, by their names: which one is for this machine."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tensors.engines.accelerator import normal_machine

_NAME = re.compile(r"sd-.+-bin-((?:linux|darwin|win)-.+)\.zip")
_PLATFORMS = (
    # linux-ubuntu-24.04-x86_64, -vulkan, -rocm, -rocm-7.2.1
    ("Linux", re.compile(r"linux-[a-z]+-[\d.]+-(?P<machine>\w+)(?:-(?P<variant>vulkan|rocm|cuda)(?:-?[\d.]+)?)?")),
    # darwin-macos-15.7.3-arm64
    ("Darwin", re.compile(r"darwin-macos-[\d.]+-(?P<machine>\w+)(?P<variant>)")),
    # win-avx2-x64, win-cuda12-x64, win-rocm-7.1.1-x64, win-vulkan-x64
    ("Windows", re.compile(r"win-(?P<variant>avx2?|noavx|(?:cuda|cu|rocm|vulkan)(?:-?[\d.]+)?)-(?P<machine>\w+)")),
)
_CPU_VARIANTS = ("", "avx2", "avx", "noavx")
"""Best first. AVX-512 is not among them: many processors of today have none."""


@dataclass(frozen=True, slots=True)
class _Variant:
    """What the name of a file says of it."""

    name: str
    system: str
    machine: str
    accelerator: str
    rank: tuple[int, ...]
    """Smaller is better."""


def choose_asset(names: Iterable[str], system: str, machine: str, accelerator: str) -> str | None:
    """The file for a system and machine, as `platform` names them, and exactly this accelerator; None without one."""
    wanted = (system, normal_machine(machine), accelerator)
    variants = (variant for variant in map(_read_name, names) if variant)
    fitting = [variant for variant in variants if (variant.system, variant.machine, variant.accelerator) == wanted]
    return min(fitting, key=lambda variant: (variant.rank, variant.name)).name if fitting else None


def _read_name(name: str) -> _Variant | None:
    """What a file is for; None for anything that is no sd-server we know how to use."""
    whole = _NAME.fullmatch(name.lower())
    if whole is None:
        return None
    for system, pattern in _PLATFORMS:
        if match := pattern.fullmatch(whole[1]):
            machine, variant = normal_machine(match["machine"]), match["variant"] or ""
            accelerator = _accelerator(system, machine, variant)
            preference = _CPU_VARIANTS.index(variant) if variant in _CPU_VARIANTS else 0
            # Of several versions of a system or toolkit the oldest: what was built there runs on newer ones too.
            versions = map(int, re.findall(r"\d+", whole[1]))
            return _Variant(name, system, machine, accelerator, (preference, *versions))
    return None


def _accelerator(system: str, machine: str, variant: str) -> str:
    if system == "Darwin" and machine == "arm64":
        return "metal"
    prefixes = {"vulkan": "vulkan", "rocm": "rocm", "cu": "cuda"}
    return next((name for prefix, name in prefixes.items() if variant.startswith(prefix)), "cpu")

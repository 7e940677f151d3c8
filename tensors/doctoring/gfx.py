"""AMD's targets: which code a card runs, and what `HSA_OVERRIDE_GFX_VERSION` makes of that. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tensors.doctoring.finding import error, listed, ok, skipped, warning
from tensors.types.doctor import Finding

CHECK = "gpu.target"
OVERRIDE = "HSA_OVERRIDE_GFX_VERSION"

GENERIC: Mapping[str, tuple[str, ...]] = {
    "gfx9-generic": ("gfx900", "gfx902", "gfx904", "gfx906", "gfx909", "gfx90c"),
    "gfx9-4-generic": ("gfx940", "gfx941", "gfx942", "gfx950"),
    "gfx10-1-generic": ("gfx1010", "gfx1011", "gfx1012", "gfx1013"),
    "gfx10-3-generic": ("gfx1030", "gfx1031", "gfx1032", "gfx1033", "gfx1034", "gfx1035", "gfx1036"),
    "gfx11-generic": ("gfx1100", "gfx1101", "gfx1102", "gfx1103", "gfx1150", "gfx1151", "gfx1152", "gfx1153"),
    "gfx12-generic": ("gfx1200", "gfx1201"),
}
"""Targets that one code fits, by its name: LLVM's User Guide for the AMDGPU Backend, Generic Processors."""

_VERSION = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{1,2})")


def decoded(number: int) -> str:
    """A target from the kernel's `gfx_target_version`: 110000 is `gfx1100`, 90012 is `gfx90c`."""
    major, minor, stepping = number // 10_000, number // 100 % 100, number % 100
    return f"gfx{major}{minor:x}{stepping:x}"


def version_of(target: str) -> str:
    """A target as `HSA_OVERRIDE_GFX_VERSION` takes it: `gfx1030` is `10.3.0`, `gfx90a` is `9.0.10`."""
    digits = target.removeprefix("gfx")
    return f"{int(digits[:-2])}.{int(digits[-2], 16)}.{int(digits[-1], 16)}"


def target_of(version: str) -> str | None:
    """The target that a value of `HSA_OVERRIDE_GFX_VERSION` means; None when it means none."""
    parts = _VERSION.fullmatch(version.strip())
    if parts is None or int(parts[2]) > 15 or int(parts[3]) > 15:
        return None
    return f"gfx{int(parts[1])}{int(parts[2]):x}{int(parts[3]):x}"


@dataclass(frozen=True, slots=True)
class Build:
    """Targets that an engine was built for; None where that cannot be seen."""

    code: frozenset[str] | None = None
    """Of its own code."""
    blas: frozenset[str] | None = None
    """Of the library of matrix products (rocBLAS) that it uses."""

    @property
    def known(self) -> bool:
        """Whether anything can be seen of it."""
        return self.code is not None or self.blas is not None

    @property
    def targets(self) -> list[str]:
        """Those that all of it has, for people."""
        sets = [part for part in (self.code, self.blas) if part is not None]
        return sorted(set.intersection(*map(set, sets)) if sets else (), key=lambda name: (len(name), name))

    def runs(self, target: str) -> bool:
        """Whether a card that is, or calls itself, this target runs all of it, as far as that can be seen."""
        return all(_has(part, target) for part in (self.code, self.blas) if part is not None)

    def stand_in(self, target: str) -> str | None:
        """A target that it has and that a card of another one runs too; of several the nearest."""
        kin = next((family for family in GENERIC.values() if target in family), ())
        fitting = [other for other in kin if other != target and self.runs(other)]
        return min(fitting, key=lambda other: (other[:-1] != target[:-1], other), default=None)


def _has(targets: Collection[str], target: str) -> bool:
    return target in targets or any(target in family for name, family in GENERIC.items() if name in targets)


def judge(card: str, override: str | None, build: Build) -> Finding:
    """Whether an engine has code for a card, and whether the override (None: not set) helps, hinders or is missing."""
    if not override:
        return _without(card, build)
    claimed = target_of(override)
    if claimed is None:
        return error(CHECK, f"{OVERRIDE} is {override!r}, which is no version", f"export {OVERRIDE}=11.0.0")
    if claimed == card:
        plain = _without(card, build)
        said = f"{OVERRIDE}={override} is what the card ({card}) is anyway"
        return plain if plain.state == "error" else warning(CHECK, said, f"unset {OVERRIDE}")
    if not build.known:
        said = f"the card is {card} and calls itself {claimed} ({OVERRIDE}); for what the engine was built is not known"
        return skipped(CHECK, said)
    if build.runs(card):
        said = f"the engine has code for the card ({card}), and {OVERRIDE}={override} keeps it from using that"
        return warning(CHECK, said, f"unset {OVERRIDE}")
    if not build.runs(claimed):
        fitting = build.stand_in(card)
        said = f"{OVERRIDE}={override} makes the card ({card}) want code for {claimed}, and {_has_only(build)}"
        return error(CHECK, said, f"export {OVERRIDE}={version_of(fitting)}" if fitting else _OTHER_ENGINE)
    if not _are_kin(card, claimed):
        said = f"{OVERRIDE}={override} makes the card ({card}) run code for {claimed}, which is another kind of card"
        fitting = build.stand_in(card)
        return warning(CHECK, said, f"export {OVERRIDE}={version_of(fitting)}" if fitting else _OTHER_ENGINE)
    return ok(CHECK, f"the card ({card}) runs the engine's code for {claimed}, by {OVERRIDE}={override}")


def _without(card: str, build: Build) -> Finding:
    if not build.known:
        return skipped(CHECK, f"the card is {card}; for what the engine was built is not known")
    if build.runs(card):
        return ok(CHECK, f"the engine has code for the card ({card})")
    said = f"the card is {card}, and {_has_only(build)}"
    fitting = build.stand_in(card)
    if fitting:
        return error(CHECK, f"{said}; that for {fitting} fits", f"export {OVERRIDE}={version_of(fitting)}")
    return error(CHECK, said, _OTHER_ENGINE)


_OTHER_ENGINE = "tsr engine install --accelerator vulkan"
"""Vulkan compiles for the card that is there."""


def _has_only(build: Build) -> str:
    return f"the engine has code for {listed(build.targets) or 'no card at all'} only"


def _are_kin(one: str, other: str) -> bool:
    return any(one in family and other in family for family in GENERIC.values())

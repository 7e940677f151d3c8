"""What makes an engine fast on this machine."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

ACCELERATORS = ("cpu", "cuda", "rocm", "vulkan", "metal")
FALLBACKS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("cpu",),
    "cuda": ("cuda", "vulkan", "cpu"),
    "rocm": ("rocm", "vulkan", "cpu"),
    "vulkan": ("vulkan", "cpu"),
    "metal": ("metal",),
}
"""What to try, best first, on a machine whose accelerator was detected and not asked for."""
_MACHINES = {"amd64": "x86_64", "x64": "x86_64", "aarch64": "arm64"}


def this_machine() -> str:
    """The processor's architecture as releases name it: `x86_64`, `arm64`, or what the system calls it."""
    return normal_machine(platform.machine())


def normal_machine(name: str) -> str:
    """One name for each architecture: `AMD64`, `x64` and `x86_64` are the same."""
    return _MACHINES.get(name.lower(), name.lower())


def detect_accelerator(root: Path = Path("/")) -> str:
    """The accelerator of this machine, from its device files below `root` and its drivers; `cpu` when there is none."""
    system = platform.system()
    if system == "Darwin":
        return "metal" if this_machine() == "arm64" else "cpu"
    if (root / "dev/kfd").exists():
        return "rocm"
    if (root / "proc/driver/nvidia").exists() or shutil.which("nvidia-smi"):
        return "cuda"
    if system == "Windows":
        return "vulkan" if _loads("vulkan-1.dll") else "cpu"
    drawing_devices = (root / "dev/dri").glob("renderD*")
    return "vulkan" if any(drawing_devices) and _loads("libvulkan.so.1") else "cpu"


def _loads(library: str) -> bool:
    """Whether the system has a shared library: asked by loading it, for `find_library` starts a compiler to look."""
    import ctypes

    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True

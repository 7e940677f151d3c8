"""The C++ compiler that a build needs: whether there is one, and how to get one."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from tensors.errors import EngineInstallFailed

_COMPILERS = ("c++", "g++", "clang++")
_COMPILER_COMMANDS = {
    "debian": "sudo apt install g++",
    "ubuntu": "sudo apt install g++",
    "fedora": "sudo dnf install gcc-c++",
    "rhel": "sudo dnf install gcc-c++",
    "suse": "sudo zypper install gcc-c++",
    "arch": "sudo pacman -S gcc",
    "alpine": "sudo apk add g++",
}


def compiler_hint(system: str, release: Mapping[str, str]) -> str:
    """How to get a C++ compiler on a system, given its `/etc/os-release`."""
    if system == "Darwin":
        return "xcode-select --install"
    if system == "Windows":
        return "install Visual Studio's C++ build tools, or use a ready one: tsr engine install --source release"
    for name in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        if command := _COMPILER_COMMANDS.get(name):
            return command
    return "install g++ or clang++ with the system's package manager"


def distribution() -> Mapping[str, str]:
    """What `/etc/os-release` says; empty on systems without one."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def check_compiler() -> None:
    """Raise `EngineInstallFailed` with the way to get one when there is no C++ compiler."""
    # Not a setting of tsr: CMake reads it too, and its answer has to be ours.
    named = os.environ.get("CXX")
    if named:
        program = _first_word(named)
        if shutil.which(program) is None:
            raise EngineInstallFailed(
                f"sd-server is built with a C++ compiler, and $CXX names {program!r}, which is not there",
                hint="unset CXX, or set it to a compiler",
            )
        return
    names = (*_COMPILERS, "cl") if platform.system() == "Windows" else _COMPILERS
    if not any(map(shutil.which, names)) or not _has_command_line_tools():
        hint = compiler_hint(platform.system(), distribution())
        looked = ", ".join(names[:-1]) + f" and {names[-1]}"
        raise EngineInstallFailed(
            f"sd-server is built with a C++ compiler, and there is none on PATH (looked for {looked})", hint=hint
        )


def _first_word(command: str) -> str:
    """The program of a command such as `ccache g++`."""
    try:
        return shlex.split(command)[0]
    except (ValueError, IndexError):
        return command


def _has_command_line_tools() -> bool:
    """On macOS `c++` is always there and, without the tools, only opens a window that offers them."""
    if platform.system() != "Darwin":
        return True
    return subprocess.run(["xcode-select", "-p"], capture_output=True, check=False).returncode == 0

"""The machine that the checks look at."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


def _name_of(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        # Of another system, as seen from inside a container.
        return str(gid)


def _members_of(group: str) -> Sequence[str]:
    import grp

    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return ()


def _user() -> str:
    if os.name != "posix":
        import getpass

        return getpass.getuser()
    import pwd

    try:
        # Not what LOGNAME says: that is somebody else under `su`.
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        # A container's user often has a number only.
        return str(os.geteuid())


@dataclass(frozen=True, slots=True)
class Machine:
    """Its files, its environment, and what the user who runs tsr may."""

    root: Path = Path("/")
    """Where `/dev`, `/proc`, `/sys`, `/etc` and `/usr` are looked for."""
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    may: Callable[[Path, int], bool] = os.access
    """Whether a file may be used so: `os.R_OK | os.W_OK`, ..."""
    user: str = field(default_factory=_user)
    group_name: Callable[[int], str] = _name_of
    members_of: Callable[[str], Sequence[str]] = _members_of
    """Who is written down as being in a group, since the last login or later."""

    def group_of(self, path: Path) -> str:
        """Name of the group that a file belongs to. Raises `OSError`."""
        return self.group_name(path.stat().st_gid)

    def text(self, path: str) -> str:
        """A file below the root; nothing where there is none."""
        try:
            return (self.root / path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def shown(self, path: Path) -> Path:
        """A path below the root, as it is called on the machine itself."""
        return Path("/") / path.relative_to(self.root) if path.is_relative_to(self.root) else path

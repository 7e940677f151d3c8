"""Become the engine: ask the kernel to end this process with its parent, then exec.

Run as a script, with the parent's pid, the program and its arguments. A separate step because code between fork and
exec in a process with threads is not safe. The pid stays the same through exec.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            # The parent ended before the kernel knew of the wish.
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

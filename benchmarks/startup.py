"""How long `tsr --help` and `tsr db list` take, of what the interpreter itself needs to start and do nothing.

`tsr` is the installed script. `import click` shows how much of it is the library that every command needs.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks._measure import Report, environment, finish, interleaved, parser, ratios, scratch
from benchmarks.scan import make_tree

LIMIT = 5
LIST_LIMIT = 6
FILES = 500
PYTHON = sys.executable


def script() -> str:
    """The `tsr` that was installed with this interpreter."""
    found = Path(sysconfig.get_path("scripts")) / "tsr"
    if not found.exists():
        raise SystemExit(f"there is no {found}: install the checkout first (pip install -e .)")
    return str(found)


def starting(command: Sequence[str], env: dict[str, str]) -> Callable[[], float]:
    """Measures in milliseconds how long a process takes from start to end."""

    def measure() -> float:
        began = time.perf_counter()
        subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000

    return measure


def measure(rounds: int) -> Report:
    report = Report("startup")
    tsr = script()
    with scratch() as folder:
        env = environment(folder)
        subprocess.run(
            [tsr, "db", "scan", str(make_tree(folder / "models", FILES))],
            env=env,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        listing = f"tsr db list, {FILES} files"
        commands = {
            "python -c pass": [PYTHON, "-c", "pass"],
            "python -c 'import click'": [PYTHON, "-c", "import click"],
            "tsr --help": [tsr, "--help"],
            "tsr generate --help": [tsr, "generate", "--help"],
            "tsr images list, nothing there": [tsr, "images", "list"],
            listing: [tsr, "db", "list", "-n", str(FILES)],
        }
        for command in commands.values():
            # The first run compiles what it imports.
            subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        found = interleaved(rounds, **{name: starting(command, env) for name, command in commands.items()})
    for name, values in found.items():
        report.add(name, values, "ms")
    of_pass = {name: ratios(values, found["python -c pass"]) for name, values in found.items()}
    for name, values in of_pass.items():
        if name.startswith("tsr"):
            report.add(f"  {name}, of python -c pass", values, "x")
    report.bar("tsr --help, of python -c pass", of_pass["tsr --help"], LIMIT, "x")
    report.bar(f"{listing}, of python -c pass", of_pass[listing], LIST_LIMIT, "x")
    return report


def main() -> int:
    options = parser(__doc__.partition("\n")[0], rounds=40).parse_args()
    return finish(measure(options.rounds), options)


if __name__ == "__main__":
    sys.exit(main())

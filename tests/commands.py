"""Running `tsr` inside the tests' own process, where an interpreter of its own would only cost time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest

from tensors.cli.main import cli, run


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line left to see."""

    code: int
    out: str
    err: str

    def comparable(self, *places: Path) -> Outcome:
        """The same without ids and times, and without the folders of the machine it ran on."""
        return Outcome(self.code, _without_own(self.out, places), _without_own(self.err, places))


def _without_own(text: str, places: tuple[Path, ...]) -> str:
    for place in places:
        text = text.replace(str(place), "DATA")
    text = re.sub(r"\d{8}-\d{6}-\d{3}_(\d+)(-\d+)?", r"IMAGE_\1", text)
    text = re.sub(r"\b[0-9a-f]{16}\b", "JOB", text)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)


@dataclass(frozen=True)
class Commands:
    """The command line, in this process and this test's environment."""

    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str, check: bool = False) -> Outcome:
        """Run one command; with `check`, a failure fails the test and shows what was said."""
        self.capsys.readouterr()
        code = run(list(arguments))
        out, err = self.capsys.readouterr()
        if check:
            assert code == 0, f"tsr {arguments}: {err}{out}"
        return Outcome(code, out, err)

    def json(self, *arguments: str) -> Any:
        """Run one command with `--json` and return what it printed."""
        return json.loads(self(*arguments, "--json", check=True).out)


def every_command() -> Iterator[tuple[str, ...]]:
    """The words of each command there is, groups included."""

    def below(command: click.Command, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        yield words
        if isinstance(command, click.Group):
            with _context(command) as context:
                for name in command.list_commands(context):
                    found = command.get_command(context, name)
                    assert found
                    yield from below(found, (*words, name))

    yield from below(cli, ())


@contextmanager
def _context(command: click.Command) -> Iterator[click.Context]:
    with click.Context(command) as context:
        yield context

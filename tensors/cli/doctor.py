"""`tsr doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING

import click

from tensors.cli._app import App, json_option, remote_option
from tensors.cli._text import counted, plain, plain_lines

if TYPE_CHECKING:
    from tensors.types.doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red", "skipped": "bright_black"}
_STATE_WIDTH = 7
_CHECK_WIDTH = 17
"""Of the longest name, `docker.containers`: lines are printed as they come, so columns are not measured."""
_INDENT = " " * (_STATE_WIDTH + 2 + _CHECK_WIDTH + 2)


@click.command()
@remote_option
@json_option
@click.pass_obj
def doctor(app: App) -> int:
    """Look at everything tsr needs, and say what mends what is wrong.

    That is Docker, cards, engine, ports, disks, folders, databases, CivitAI and the clock. Each line says ok, warning,
    error or skipped (not known, or of no matter here), and below it is the command that mends it. An engine is started
    with the tiny model that ships, unless one is loaded. With --remote the server looks at its own machine, where the
    commands are to be typed too. Exit code 1 when there is an error, else 0.
    """
    findings = []
    # Closed at once, also by Ctrl-C between two lines: an engine may be running for it.
    with app.tensors() as tensors, closing(tensors.doctor()) as found:
        for finding in found:
            findings.append(finding)
            if not app.json:
                _print(finding)
    states = [finding.state for finding in findings]
    errors, warnings = states.count("error"), states.count("warning")
    if app.json:
        from tensors.types.doctor import Diagnosis

        app.data(Diagnosis(findings=tuple(findings), warnings=warnings, errors=errors))
    else:
        click.echo(f"{states.count('ok')} ok, {counted(warnings, 'warning')}, {counted(errors, 'error')}")
    return 1 if errors else 0


def _print(finding: Finding) -> None:
    state = click.style(f"{plain(finding.state):{_STATE_WIDTH}}", fg=_COLOURS.get(finding.state))
    first, *more = plain_lines(finding.message).split("\n")
    click.echo(f"{state}  {plain(finding.check):{_CHECK_WIDTH}}  {first}")
    _print_below(more)
    if finding.command:
        _print_below([click.style("mend: ", fg="cyan") + plain(finding.command)])


def _print_below(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(_INDENT + line)

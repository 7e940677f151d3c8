"""From an exception to what a person reads, or a program parses."""

from __future__ import annotations

import os
import traceback

import click

from tensors.cli._app import as_json as encoded
from tensors.cli._text import plain_lines
from tensors.errors import InvalidRequest, JobCancelled, TsrError

_ONLY_HELP: tuple[type[click.ClickException], ...] = tuple(
    filter(None, [getattr(click.exceptions, "NoArgsIsHelpError", None)])
)
"""click's, from 8.2 on; before, it showed the help itself."""


def _show(error: TsrError, *, as_json: bool) -> int:
    if as_json:
        click.echo(encoded(error.to_wire()))
    else:
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(plain_lines(error.message), err=True)
        if error.hint:
            click.secho("hint:  ", fg="cyan", nl=False, err=True)
            click.echo(plain_lines(error.hint).replace("\n", "\n       "), err=True)
    return error.exit_code


def show_error(error: Exception, *, as_json: bool) -> int:
    """Show an error and return the exit code. What is not ours is a defect: it is shown with where it happened."""
    if isinstance(error, TsrError):
        return _show(error, as_json=as_json)
    if isinstance(error, UnicodeEncodeError) and error.reason == "surrogates not allowed":
        # How Python hands on bytes of the command line that are no text.
        return _show(InvalidRequest("what was typed contains bytes that are not UTF-8"), as_json=as_json)
    if os.environ.get("TSR_DEBUG") or not as_json:
        traceback.print_exception(error)
    ours = TsrError(
        f"{type(error).__name__}: {error}", hint="this is a defect of tsr; please report it with the lines above"
    )
    return _show(ours, as_json=as_json)


def show_click_error(error: click.ClickException | click.Abort | KeyboardInterrupt, *, as_json: bool) -> int:
    """Show what was wrong with the command line, or that it was interrupted, and return the exit code."""
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return _show(JobCancelled("interrupted"), as_json=as_json)
    if isinstance(error, _ONLY_HELP):
        # A group without a command: its help is the answer, and no error.
        click.echo(error.format_message(), err=True)
        return error.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    hint = f"{context.command_path} --help" if context else None
    _show(InvalidRequest(error.format_message(), hint=hint), as_json=as_json)
    return error.exit_code

"""The `tsr` command: its groups, loaded when used, and what becomes of an error."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from tensors import __version__

COMMANDS: Mapping[str, tuple[str, str]] = {
    "config": ("tensors.cli.config", "Read and change settings."),
    "completion": ("tensors.cli.completion", "Print the completion script of a shell."),
    "demo": ("tensors.cli.demo", "Draw four pictures through a server of its own, to see that all works."),
    "engine": ("tensors.cli.engine", "Get, list and remove sd-server, the engine that draws."),
    "generate": ("tensors.cli.generate", "Draw pictures."),
    "images": ("tensors.cli.images", "Look into the gallery."),
    "jobs": ("tensors.cli.jobs", "Watch and cancel jobs."),
    "remote": ("tensors.cli.remote", "Name the servers to talk to."),
    "serve": ("tensors.cli.serve", "Run the server."),
    "status": ("tensors.cli.status", "Show what runs where."),
}
"""Each command's module, which has it under its own name, and its line in the help."""


class LazyGroup(click.Group):
    """Imports a command when it is used: `tsr --help` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", message="tsr %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Your own image-generation server: draw here, or with --remote on another machine."""
    from tensors.cli._app import App

    ctx.obj = App()


def main() -> None:
    """Run `tsr` and exit with its code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. With `--json`, errors are JSON on standard output too."""
    try:
        result: Any = cli.main(arguments, prog_name="tsr", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as wanted:
        return wanted.exit_code
    except SystemExit as ended:
        if ended.code != 1:
            raise
        # click's way out of a broken pipe: whoever read our output has had enough. The interpreter must not complain
        # about it at its end.
        sys.stdout = None
        return 141
    except (click.ClickException, click.Abort, KeyboardInterrupt) as error:
        from tensors.cli._errors import show_click_error

        return show_click_error(error, as_json="--json" in arguments)
    except Exception as error:
        from tensors.cli._errors import show_error

        return show_error(error, as_json="--json" in arguments)

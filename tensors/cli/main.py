"""The `tsr` command: its groups, loaded when used, and what becomes of an error."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from tensors import __version__
from tensors.cli._lazy import LazyGroup

COMMANDS: Mapping[str, tuple[str, str]] = {
    "config": ("tensors.cli.config", "Read and change settings."),
    "completion": ("tensors.cli.completion", "Print the completion script of a shell."),
    "db": ("tensors.cli.db", "Know every model file: scan folders, link them with CivitAI, search offline."),
    "demo": ("tensors.cli.demo", "Draw four pictures through a server of its own, to see that all works."),
    "dl": ("tensors.cli.dl:download", "Download models: checked, identified, linked, ready to use."),
    "doctor": ("tensors.cli.doctor", "Look at everything tsr needs, and say what mends what is wrong."),
    "engine": ("tensors.cli.engine", "Get, list and remove sd-server, the engine that draws."),
    "events": ("tensors.cli.events", "Tell everything that happens on a server, until Ctrl-C."),
    "generate": ("tensors.cli.generate", "Draw pictures."),
    "get": ("tensors.cli.get", "Show a model of CivitAI with its versions and files."),
    "images": (
        "tensors.cli.images",
        "Look after the gallery: find, rate, import, export, delete and restore pictures.",
    ),
    "info": ("tensors.cli.info", "Show what a model file says about itself."),
    "jobs": ("tensors.cli.jobs", "Watch, pause and cancel jobs."),
    "logs": ("tensors.cli.logs", "Print what an engine said last."),
    "models": ("tensors.cli.models", "See which models there are, which one is loaded, and load another one."),
    "ps": ("tensors.cli.ps", "Show the backends, where engines run: what they have and do."),
    "remote": ("tensors.cli.remote", "Name the servers to talk to."),
    "search": ("tensors.cli.search", "Search CivitAI or Hugging Face for models."),
    "serve": ("tensors.cli.serve", "Run the server."),
    "status": ("tensors.cli.status", "Show what runs where."),
}
"""Each command's module, which has it under its own name, and its line in the help."""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
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

"""`tsr completion`."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    For bash, put this into ~/.bashrc: eval "$(tsr completion bash)"
    """
    from click.shell_completion import get_completion_class

    from tensors.cli.main import cli

    script = get_completion_class(shell)
    assert script
    click.echo(script(cli, {}, "tsr", "_TSR_COMPLETE").source())

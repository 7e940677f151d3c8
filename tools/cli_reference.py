"""Write docs/cli.md and docs/settings.md from the code: `python -m tools.cli_reference`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tensors.cli.main import cli
from tensors.config import SETTINGS, Setting

DOCS = Path(__file__).parent.parent / "docs"
_NOTE = "<!-- Written by tools/cli_reference.py: change the code, then `make docs`. -->"


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """A command and everything below it, depth first."""
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below
            yield from _commands(below, click.Context(below, info_name=name, parent=context))


def cli_reference() -> str:
    """docs/cli.md: the help of every command, as it is printed 100 columns wide."""
    parts = ["# Command line", _NOTE]
    settings = {**cli.context_settings, "terminal_width": 100, "max_content_width": 100}
    top = click.Context(cli, info_name="tsr", **settings)
    for command, context in _commands(cli, top):
        parts += [f"## {context.command_path}", f"```\n{command.get_help(context).rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _default(setting: Setting) -> str:
    return f"`{setting.default}`" if setting.default not in (None, ()) else ""


_SETTINGS_INTRODUCTION = """\
The file is `~/.config/tensors/config.toml`; `TSR_CONFIG` names another. A dot in a name is a table of the file:
`server.port` is `port` in `[server]`. The environment wins over the file, flags win over both. `tsr config` reads and
writes them; lists in the environment and on the command line are separated by commas."""
_REMOTES = """\
Remotes are a table of their own, which `tsr remote` keeps:

```toml
[remotes]
junkpile = "http://junkpile:8080"
studio = { url = "http://studio:8080", api_key = "..." }
```"""


def _row(setting: Setting) -> str:
    variables = " ".join(f"`{name}`" for name in setting.env)
    return f"| `{setting.key}` | {variables} | {_default(setting)} | {setting.doc} |"


def settings_reference() -> str:
    """docs/settings.md: every setting with its environment variable and default."""
    rows = ["| setting | environment | default | |", "| --- | --- | --- | --- |", *map(_row, SETTINGS)]
    return "\n\n".join(["# Settings", _NOTE, _SETTINGS_INTRODUCTION, "\n".join(rows), _REMOTES]) + "\n"


def main() -> None:
    """Write both files."""
    (DOCS / "cli.md").write_text(cli_reference(), "utf-8")
    (DOCS / "settings.md").write_text(settings_reference(), "utf-8")


if __name__ == "__main__":
    main()

"""What the library's commands share: options, the way to the next page, what the shell completes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tensors.cli._app import App
from tensors.errors import TsrError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])

STATES = ("present", "missing", "broken", "linked", "unlinked")
_COMPLETED = 200
"""Files that are looked at for a completion."""


def page_options(default: int, most: int) -> Callable[[F], F]:
    """`--limit` and `--cursor`."""

    def add(command: F) -> F:
        command = click.option("--cursor", metavar="CURSOR", help="Go on after an earlier list.")(command)
        return click.option(
            "--limit",
            "-n",
            type=int,
            default=default,
            show_default=True,
            metavar="N",
            help=f"At most so many, up to {most}.",
        )(command)

    return add


def say_more(app: App, command: str, query: Iterable[str], options: Mapping[str, object], cursor: str) -> None:
    """Tell how to get the next page: the same command, with the cursor."""
    import shlex

    given = [word for name, value in options.items() for word in _option(name, value)]
    app.say(f"more: {command} {shlex.join([*query, *given, '--cursor', cursor])}")


def _option(name: str, value: object) -> list[str]:
    option = name.replace("_", "-")
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{option}" if value else f"--no-{option}"]
    return [f"--{option}", str(value)]


def complete_files(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of files in the library; none where it cannot be asked."""
    app = ctx.ensure_object(App)
    try:
        with app.tensors() as tensors:
            files = tensors.db.files(query=incomplete or None, limit=_COMPLETED).items
    except TsrError:
        # Nobody can be told in the middle of a line.
        return []
    # The shell would take a name with a line break for two.
    names = dict.fromkeys(file.name for file in files)
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


def complete_kinds(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Kinds of files."""
    from tensors.base_models import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def complete_families(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Families of models."""
    from tensors.base_models import FAMILIES

    return [family for family in FAMILIES if family.startswith(incomplete)]


def complete_states(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """What files can be listed by."""
    return [state for state in STATES if state.startswith(incomplete)]


def complete_paths(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Paths, which the shell knows best."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def complete_folders(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Folders, which the shell knows best."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]

"""The docs tell what is: generated parts are fresh, commands, settings, routes and links exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tensors.cli.main import cli
from tensors.config import SETTINGS, load_config
from tools.cli_reference import DOCS, cli_reference, settings_reference

ROOT = DOCS.parent
PAGES = sorted(
    [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"), *ROOT.glob("tools/**/*.md")]
)


@pytest.mark.parametrize(
    ("page", "fresh"), [("cli.md", cli_reference), ("settings.md", settings_reference)], ids=["cli", "settings"]
)
def test_generated_pages_are_fresh(page: str, fresh: Callable[[], str]) -> None:
    assert (DOCS / page).read_text("utf-8") == fresh(), "run `make docs`"


def _tsr_lines() -> list[tuple[str, str]]:
    """Every line in a code block of the docs that starts with `tsr`, with the page it is on."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            found += [
                (page.name, line.partition("#")[0].strip()) for line in block.splitlines() if line.startswith("tsr ")
            ]
    return found


@pytest.mark.parametrize(("page", "line"), _tsr_lines())
def test_every_documented_command_parses(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli
    context = click.Context(cli, info_name="tsr")
    while isinstance(command, click.Group):
        below = command.get_command(context, words[0])
        assert below, f"{page}: there is no `{line}`"
        command, words = below, words[1:]
    # Values are checked elsewhere; here every option and the number of arguments must be known.
    parser = command.make_parser(click.Context(command, info_name=command.name))
    _, rest, _ = parser.parse_args(list(words))
    assert rest == []


def test_every_route_is_documented() -> None:
    from tensors.server.app import create_app

    app = create_app(load_config(), url="http://127.0.0.1:1")
    text = (DOCS / "clients.md").read_text("utf-8")
    described = app.openapi()["paths"]
    documented = {method + " " + path for path, methods in described.items() for method in methods}
    assert len(documented) >= 12
    for entry in documented:
        method, path = entry.split()
        assert f"`{method.upper()} {path}`" in text, f"{entry} is not in docs/clients.md"
    assert all(operation["description"] for methods in described.values() for operation in methods.values())


def test_every_setting_has_its_line() -> None:
    text = (DOCS / "settings.md").read_text("utf-8")
    assert all(f"| `{setting.key}` |" in text and setting.doc for setting in SETTINGS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_page_is_two_steps_from_the_readme() -> None:
    def linked(page: Path) -> set[Path]:
        targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
        return {(page.parent / target).resolve() for target in targets if target.endswith(".md")}

    first = linked(ROOT / "README.md")
    second = set().union(*(linked(page) for page in first))
    unreachable = {page.resolve() for page in DOCS.rglob("*.md")} - first - second
    assert not unreachable

"""Arguments and options that name models of CivitAI."""

from __future__ import annotations

import click

from tensors.references import Reference, read_reference


def one_model(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> Reference | None:
    """Of a command's argument or option that names a model."""
    return None if value is None else _checked(value)


def several_models(_ctx: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> tuple[Reference, ...]:
    """Of a command's argument that names models."""
    return tuple(map(_checked, values))


def _checked(text: str) -> Reference:
    found = read_reference(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no model of CivitAI: 1102, 1102@1318 or https://civitai.com/models/1102")
    return found

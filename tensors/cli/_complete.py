"""What the shell completes. Where it cannot be known, nothing: nobody can be told in the middle of a line."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import click

from tensors.cli._app import App
from tensors.cli._text import first_words, plain
from tensors.errors import TsrError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from tensors.service import Tensors

T = TypeVar("T")

STATES = ("present", "missing", "broken", "linked", "unlinked")
_MOST = 200
"""Of what is looked at for a completion."""


def _asked(context: click.Context, ask: Callable[[Tensors], tuple[T, ...]]) -> tuple[T, ...]:
    try:
        with context.ensure_object(App).tensors() as tensors:
            return ask(tensors)
    except TsrError:
        return ()


def complete_files(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of files in the library."""
    files = _asked(ctx, lambda tensors: tensors.db.files(query=incomplete or None, limit=_MOST).items)
    # The shell would take a name with a line break for two.
    names = dict.fromkeys(file.name for file in files)
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


def complete_models(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Numbers of cached models, the most downloaded first, with their names where the shell shows them."""
    from click.shell_completion import CompletionItem

    models = _asked(ctx, lambda tensors: tensors.db.models(limit=_MOST).items)
    return [
        CompletionItem(str(model.id), help=plain(model.name))
        for model in models
        if str(model.id).startswith(incomplete)
    ]


def complete_checkpoints(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of checkpoints and diffusion models, with their families."""
    from click.shell_completion import CompletionItem

    found = _asked(ctx, lambda tensors: tensors.models.list(query=incomplete or None, limit=_MOST).items)
    return [
        CompletionItem(model.name, help=model.family)
        for model in found
        if model.name.startswith(incomplete) and model.name.isprintable() and model.problem is None
    ]


def complete_loras(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of LoRAs, with their families."""
    from click.shell_completion import CompletionItem

    found = _asked(ctx, lambda tensors: tensors.models.loras(query=incomplete or None, limit=_MOST).items)
    return [
        CompletionItem(lora.name, help=lora.family)
        for lora in found
        if lora.name.startswith(incomplete) and lora.name.isprintable() and lora.problem is None
    ]


def complete_backends(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of backends, with what they do."""
    from click.shell_completion import CompletionItem

    found = _asked(ctx, lambda tensors: tensors.backends.list().items)
    return [
        CompletionItem(backend.name, help=f"{backend.kind}, {backend.state}")
        for backend in found
        if backend.name.startswith(incomplete)
    ]


def complete_jobs(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of jobs that have not ended, with what they are."""
    from click.shell_completion import CompletionItem

    jobs = _asked(ctx, lambda tensors: tensors.jobs.list(limit=_MOST).items)
    return [
        CompletionItem(job.id, help=f"{job.kind}, {job.state}")
        for job in jobs
        if job.id.startswith(incomplete) and not job.ended
    ]


def complete_images(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the newest pictures, with their prompts."""
    return _pictures(ctx, incomplete, deleted=False)


def complete_trash(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of what was deleted last, with their prompts."""
    return _pictures(ctx, incomplete, deleted=True)


def _pictures(ctx: click.Context, incomplete: str, *, deleted: bool) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    images = _asked(ctx, lambda tensors: tensors.images.list(deleted=deleted, limit=_MOST).items)
    return [
        CompletionItem(image.id, help=first_words(image.settings.prompt, 48))
        for image in images
        if image.id.startswith(incomplete)
    ]


def complete_tags(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Tags of the newest pictures, those that most of them have first."""
    from collections import Counter

    images = _asked(ctx, lambda tensors: tensors.images.list(limit=_MOST).items)
    found = Counter(tag for image in images for tag in image.tags)
    return [tag for tag, _ in found.most_common() if tag.startswith(incomplete) and tag.isprintable()]


def complete_settings(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of settings."""
    from click.shell_completion import CompletionItem

    from tensors.config import SETTINGS

    return [CompletionItem(one.key, help=one.doc) for one in SETTINGS if one.key.startswith(incomplete)]


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

"""Files of the library as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tensors.cli._app import table
from tensors.cli._text import amount, first_words, shortened, size

if TYPE_CHECKING:
    from tensors.types.files import File, FileDetails, Link, Sidecar

_GUESSED = ("folder", "name")
_KNOWN_FROM = {
    "user": "you said so",
    "tensors": "from its tensors",
    "metadata": "from its metadata",
    "civitai": "from CivitAI",
    "folder": "a guess from its folder",
    "name": "a guess from its name",
}
_MATCHED_BY = {
    "sha256": "its SHA256",
    "autov3": "its AutoV3 hash",
    "blake3": "its BLAKE3 hash",
    "sidecar": "another tool's note",
    "user": "hand",
}
_METADATA_WIDTH = 72
_TRAINED_ON = 12
"""Tags of its training that are shown."""


def file_rows(files: Iterable[File]) -> Iterator[str]:
    """Files as lines of columns; a question mark is behind what is a guess."""
    return table((_columns(file) for file in files), right=(3,))


def _columns(file: File) -> tuple[str, ...]:
    kind = f"{file.kind}?" if file.kind_from in _GUESSED else file.kind
    family = f"{file.family}?" if file.family_from in _GUESSED else file.family
    return file.name, kind, family, size(file.size), _link(file.link), _trouble(file)


def _link(link: Link | None) -> str:
    return f"{shortened(link.model)} ({shortened(link.version, 32)})" if link else "-"


def _trouble(file: File) -> str:
    if file.state == "present":
        return ""
    return f"{file.state}: {file.problem}" if file.problem else file.state


def what_is(file: File) -> str:
    """A file on one line, after somebody said what it is."""
    link = f", on CivitAI {_link(file.link)}" if file.link else ""
    return f"{file.name}: {_known(file.kind, file.kind_from)}, {_known(file.family, file.family_from)}{link}"


def _known(what: str, source: str | None) -> str:
    return f"{what} ({_KNOWN_FROM.get(source, source)})" if source else what


def details_of(file: FileDetails) -> Iterator[str]:
    """All that is known about a file but its metadata."""
    rows: list[tuple[str, object]] = [
        ("name", file.name),
        ("number", file.id),
        ("file", file.path),
        ("state", _trouble(file)),
        ("kind", _known(file.kind, file.kind_from)),
        ("family", _known(file.family, file.family_from)),
        ("variant", file.variant),
        ("adapter", file.adapter),
        ("format", file.format),
        ("precision", file.precision),
        ("parameters", file.parameters and amount(file.parameters)),
        ("size", f"{size(file.size)} ({file.size:,} bytes)"),
        ("modified", file.modified),
        ("trigger words", ", ".join(file.words)),
        ("trained on", _tags(file)),
        *_link_rows(file),
        *((hash.kind, hash.value) for hash in file.hashes),
        *(("beside it", _sidecar(sidecar)) for sidecar in file.sidecars),
        ("description", file.description and first_words(file.description, 300)),
    ]
    yield from table((name, value) for name, value in rows if value not in (None, ""))


def _tags(file: FileDetails) -> str:
    shown = ", ".join(f"{tag.tag} ({tag.count:,})" for tag in file.training_tags[:_TRAINED_ON])
    more = len(file.training_tags) - _TRAINED_ON
    return f"{shown} and {more:,} more" if more > 0 else shown


def _link_rows(file: FileDetails) -> Iterator[tuple[str, object]]:
    link = file.link
    if link is None:
        yield "CivitAI", file.asked and f"did not know it on {file.asked[:10]}"
        return
    about = filter(None, (f"{link.model} ({link.version})", link.type, link.base_model, link.creator))
    yield "CivitAI", ", ".join(about)
    yield "link", f"{link.model_id}@{link.version_id}, by {_MATCHED_BY.get(link.matched_by, link.matched_by)}"
    yield "page", link.url


def _sidecar(sidecar: Sidecar) -> str:
    known = sidecar.model_id or sidecar.version_id
    numbers = f"{sidecar.model_id or '?'}@{sidecar.version_id or '?'}" if known else None
    notes = sidecar.notes and first_words(sidecar.notes, 120)
    return ", ".join(filter(None, (f"{sidecar.name} ({sidecar.tool})", numbers, notes, sidecar.problem)))


def metadata_of(file: FileDetails, *, whole: bool) -> Iterator[str]:
    """The header's own words, one entry a line, shortened unless wanted whole."""
    return table((key, value if whole else first_words(value, _METADATA_WIDTH)) for key, value in file.metadata.items())

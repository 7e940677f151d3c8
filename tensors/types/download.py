"""Files to fetch from CivitAI or Hugging Face, and what came of it."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, MaxLen, MinLen

from tensors.types.base import answer, request

_Text = Annotated[str, MinLen(1), MaxLen(4096)]
_Word = Annotated[str, MinLen(1), MaxLen(255)]
_Number = Annotated[int, Ge(1)]


@request
class DownloadRequest:
    """What to fetch: exactly one of `target`, `model_id`, `version_id` and `hash`."""

    target: _Text | None = None
    """`1102`, `1102@1318`, an AIR, `hf:org/repo`, `hf:org/repo/file`, or an address of CivitAI or Hugging Face."""
    model_id: _Number | None = None
    """A model of CivitAI: its newest version."""
    version_id: _Number | None = None
    """A version on CivitAI."""
    hash: Annotated[str, MinLen(1), MaxLen(64)] | None = None
    """The version on CivitAI that has a file with this hash: AutoV1, AutoV2, AutoV3, CRC32, SHA256 or BLAKE3."""
    file: _Word | None = None
    """Which of several files: its number, its name, or a pattern such as `*fp16*`."""
    precision: _Word | None = None
    """`fp16`, `bf16`, `fp8`, `fp32`."""
    format: _Word | None = None
    """`safetensors` or `gguf`."""
    everything: bool = False
    """All files that can be used, not the best one only."""
    directory: _Text | None = None
    """Where to; the folder for the file's kind when left out."""
    force: bool = False
    """Try although its page says that it is not to be had: whoever bought early access may."""

    def __post_init__(self) -> None:
        from tensors.checks import check_fields, refusal

        check_fields(self)
        named = [name for name in ("target", "model_id", "version_id", "hash") if getattr(self, name) is not None]
        if len(named) != 1:
            raise refusal([("target", "or model_id, version_id or hash must be given, and only one of them")])


@answer
class PlannedFile:
    """A file as a download would leave it."""

    name: str
    path: str
    """Where it would be, or where it is."""
    state: str
    """`new`, `partial` (fetched to a part) or `here`."""
    size: int | None = None
    """Bytes."""
    done: int = 0
    """Bytes that are there."""
    sha256: str | None = None
    kind: str | None = None
    model: str | None = None
    """Its name, with that of the version."""
    model_id: int | None = None
    version_id: int | None = None
    source: str = "civitai"
    """`civitai` or `huggingface`."""


@answer
class DownloadPlan:
    """What a download would do."""

    files: tuple[PlannedFile, ...]


@answer
class DownloadedFile:
    """A file that a download was for."""

    path: str
    name: str
    """As prompts and commands call it."""
    size: int
    sha256: str | None = None
    fetched: bool = True
    """False: it was here already."""
    kind: str | None = None
    family: str | None = None
    model_id: int | None = None
    version_id: int | None = None
    lora: str | None = None
    """What to write into a prompt for it: `<lora:name:1>`."""
    words: tuple[str, ...] = ()
    """Trigger words."""


@answer
class DownloadReport:
    """What was downloaded."""

    files: tuple[DownloadedFile, ...] = ()

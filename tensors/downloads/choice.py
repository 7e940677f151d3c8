"""Which files of a version on CivitAI, or of a repository on Hugging Face, are fetched.

Only safetensors and GGUF: whoever loads a pickle runs what its maker wants.
"""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tensors.downloads.names import is_confined, is_model_name
from tensors.errors import DownloadRefused, InvalidRequest

if TYPE_CHECKING:
    from tensors.civitai.records import FileRecord, VersionRecord

MOST_SHOWN = 20
"""Files in a message."""
_MOST_DETAILS = 200

_MODEL_TYPES = ("model", "pruned model")
_IN_BF16 = frozenset(
    {
        *("flux", "flux2", "chroma", "qwen-image", "z-image", "lumina", "wan", "hidream", "hunyuan-image"),
        *("hunyuan-video", "ltxv", "ltxv2", "mochi", "omnigen2", "cosmos", "ovis-image"),
    }
)
"""Families whose makers published bf16: what was trained in it can overflow in fp16."""
_ORDER = ("fp16", "bf16", "fp32", "fp8")
_ORDER_IN_BF16 = ("bf16", "fp16", "fp8", "fp32")
"""These are so large that few machines could load fp32."""
_SIZES = ("pruned", None, "full")
_WHY = "only safetensors and GGUF are fetched: a pickle (.ckpt, .pt, .bin) can run any code"
_SHARD = re.compile(r"-[0-9]{5}(-of-[0-9]{5}\.(?:safetensors|gguf))\Z", re.IGNORECASE | re.ASCII)
_PICKLE = re.compile(r"\.(?:ckpt|pt|pth|bin|pkl|onnx|msgpack|h5)\Z", re.IGNORECASE | re.ASCII)
_PIPELINE = "model_index.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What somebody says about the file that is wanted. Words count in any case."""

    file: str | None = None
    """Its number on CivitAI, its name, or a pattern for names such as `*fp16*`."""
    precision: str | None = None
    """`fp16`, `bf16`, `fp8`, `fp32`, ..."""
    format: str | None = None
    """`safetensors` or `gguf`."""
    size_kind: str | None = None
    """`pruned` or `full`."""
    type: str | None = None
    """CivitAI's: `Model`, `VAE`, ..."""
    everything: bool = False
    """All files that fit, not the best one only."""


ANY = Choice()


def choose(
    files: Sequence[FileRecord],
    choice: Choice = ANY,
    *,
    family: str | None = None,
    others: Sequence[VersionRecord] = (),
) -> tuple[FileRecord, ...]:
    """The files of a version of CivitAI to fetch, the best first.

    It is one, unless everything is asked for or a pattern fits several names: a model rather than its VAE or training
    data; then what CivitAI calls primary; pruned rather than full; half precision (of the family's kind) rather than
    fp32 or fp8. `others` are the model's other versions, for a hint.

    Raises:
        InvalidRequest: when no file fits, with all that there are.
        DownloadRefused: when none of those that fit is safetensors or GGUF.
    """
    if not files:
        raise DownloadRefused("CivitAI lists no files of this version", hint=_hint_of(others))
    fitting = [file for file in _called(files, choice.file, _names_of_record) if _fits(file, choice)]
    if choice.file is None and choice.type is None and not choice.everything:
        # Without the model itself, its VAE would be a surprise.
        best = min(map(_type_rank, files))
        fitting = [file for file in fitting if _type_rank(file) == best]
    if not fitting:
        raise InvalidRequest(
            f"the version has no file {_said(choice)}; it has{_listed(map(_shown, files))}",
            hint="name one with --file, by its number or its name",
            details={"files": list(map(_details, files))},
        )
    usable = [file for file in fitting if _is_usable(file)]
    if not usable:
        raise DownloadRefused(
            f"nothing that can be used:{_listed(map(_shown, fitting))}",
            hint=f"{_WHY}; {_hint_of(others)}",
            details={"files": list(map(_details, fitting))},
        )
    usable.sort(key=lambda file: _rank(file, family))
    if choice.everything:
        return tuple(usable)
    best_of = {_folded(file.name): file for file in reversed(usable)} if choice.file else {"": usable[0]}
    return tuple(file for file in usable if file in best_of.values())


def file_with(files: Iterable[FileRecord], digest: str) -> FileRecord | None:
    """The file with a hash of any kind, in lower case; None where the site does not say which it is."""
    return next((file for file in files if digest in dict(file.hashes).values()), None)


def choose_paths(sizes: Mapping[str, int | None], choice: Choice = ANY, *, below: str | None = None) -> tuple[str, ...]:
    """The files of a repository on Hugging Face to fetch, by path.

    `sizes`: bytes by path, of all its files. `below`: the file or folder that was named with the repository. Of several
    files none is better than the others: then a pattern or everything must be asked for. What a pipeline of diffusers
    keeps in folders, and models cut into parts, count only when nothing else is there.

    Raises:
        InvalidRequest: when no file fits, or several do, with all that there are.
        DownloadRefused: when none of those that fit is safetensors or GGUF.
    """
    paths = [path for path in sorted(sizes) if is_confined(path)]
    inside = [path for path in paths if below is None or path == below or path.startswith(f"{below}/")]
    fitting = [path for path in _called(inside, choice.file, _names_of_path) if _path_fits(path, choice)]
    usable = [path for path in fitting if is_model_name(path)]
    if not usable:
        what = f"nothing called {_plain(below)!r}" if below is not None and not inside else f"no file {_said(choice)}"
        raise _nothing(what, fitting, {path: sizes[path] for path in paths if is_model_name(path)})
    if choice.everything or (choice.file and (_is_pattern(choice.file) or len(usable) == 1)) or usable == [below]:
        return tuple(usable)
    whole = [path for path in usable if not _SHARD.search(path)]
    alone = [path for path in whole if below or not _is_component(path, sizes)]
    models = [path for path in inside if is_model_name(path)]
    if len(alone) == 1 or (len(whole) == 1 and whole == models):
        return tuple(alone or whole)
    raise InvalidRequest(
        f"{'which of these?' if alone else 'there are only parts of models:'}{_listed(_shown_paths(usable, sizes))}"
        f"{_explained(usable, sizes)}",
        hint="--file NAME chooses, also with a pattern such as 'vae/*'; --all takes all of them",
        details={"files": _path_details(usable, sizes)},
    )


def _nothing(what: str, fitting: Sequence[str], models: Mapping[str, int | None]) -> InvalidRequest | DownloadRefused:
    """The error when no file is to be fetched: `fitting` are those that nobody may use, `models` the others."""
    if fitting or not models:
        pickles = [path for path in fitting if _PICKLE.search(path)]
        return DownloadRefused(f"there is no model file that can be used{_listed(map(_plain, pickles))}", hint=_WHY)
    return InvalidRequest(
        f"the repository has {what}; it has{_listed(_shown_paths(models, models))}",
        hint="name one with --file",
        details={"files": _path_details(models, models)},
    )


def _called(items: Sequence[T], wanted: str | None, names_of: Callable[[T], Sequence[str]]) -> Sequence[T]:
    """Those with this very name, or else those that a pattern fits."""
    if wanted is None:
        return items
    wanted = _folded(wanted)
    named = [(item, [_folded(name) for name in names_of(item)]) for item in items]
    exact = [item for item, names in named if wanted in names]
    return exact or [item for item, names in named if any(fnmatch.fnmatchcase(name, wanted) for name in names)]


def _names_of_record(file: FileRecord) -> Sequence[str]:
    return str(file.id), file.name


def _names_of_path(path: str) -> Sequence[str]:
    return path, path.rpartition("/")[2]


def _is_pattern(text: str) -> bool:
    return any(char in text for char in "*?[")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


def _is_usable(file: FileRecord) -> bool:
    return is_model_name(file.name) or (not file.name and _format(file.format or "") in ("safetensor", "gguf"))


def _format(word: str) -> str:
    """`SafeTensor` is CivitAI's word for safetensors."""
    return word.casefold().removesuffix("s")


def _fits(file: FileRecord, choice: Choice) -> bool:
    said = ((choice.precision, file.precision), (choice.size_kind, file.size_kind), (choice.type, file.type))
    if any(wanted and wanted.casefold() != (has or "").casefold() for wanted, has in said):
        return False
    formats = {_format(file.format or ""), _format(file.name.rpartition(".")[2])}
    return not choice.format or _format(choice.format) in formats


def _path_fits(path: str, choice: Choice) -> bool:
    """Hugging Face says nothing of a file but its name."""
    if choice.format and _format(path.rpartition(".")[2]) != _format(choice.format):
        return False
    words = filter(None, (choice.precision, choice.size_kind))
    return all(re.search(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])", path, re.IGNORECASE) for word in words)


def _type_rank(file: FileRecord) -> int:
    kind = (file.type or "").casefold()
    return 0 if kind in _MODEL_TYPES else 2 if kind else 1


def _rank(file: FileRecord, family: str | None) -> tuple[int, bool, int, int, bool, int]:
    """The lower the better; no two files have the same."""
    order = _ORDER_IN_BF16 if family in _IN_BF16 else _ORDER
    precision = (file.precision or "").casefold()
    size = (file.size_kind or "").casefold()
    return (
        _type_rank(file),
        not file.primary,
        _SIZES.index(size if size in _SIZES else None),
        order.index(precision) if precision in order else len(order),
        not _folded(file.name).endswith(".safetensors"),
        file.id,
    )


def _is_component(path: str, sizes: Mapping[str, int | None]) -> bool:
    """Whether it is in a folder of a pipeline as diffusers saves it."""
    folder, slash, _ = path.rpartition("/")
    parents = folder.split("/") if slash else []
    return any("/".join((*parents[:depth], _PIPELINE)) in sizes for depth in range(len(parents)))


def _explained(paths: Sequence[str], sizes: Mapping[str, int | None]) -> str:
    told = ""
    if any(_is_component(path, sizes) for path in paths):
        told += "\nFiles in folders are the components of a diffusers pipeline, each a model of its own kind."
    if any(map(_SHARD.search, paths)):
        told += "\nWhat is in parts (-*-of-) is one model cut up; tsr works with models of one file."
    return told


def _said(choice: Choice) -> str:
    """`called '*.gguf', fp16`."""
    words = (choice.type, choice.format, choice.size_kind, choice.precision)
    said = [f"called {_plain(choice.file)!r}"] if choice.file else []
    return ", ".join((*said, *(_plain(word) for word in words if word))) or "to fetch"


def _shown(file: FileRecord) -> str:
    about = filter(None, (file.type, file.format, file.size_kind, file.precision, _bytes(file.size)))
    return f"{file.id}  {_plain(file.name)}  ({', '.join(map(_plain, about))})"


def _details(file: FileRecord) -> dict[str, object]:
    fields = ("id", "name", "type", "format", "size_kind", "precision", "size")
    return {name: getattr(file, name) for name in fields}


def _path_details(paths: Iterable[str], sizes: Mapping[str, int | None]) -> list[dict[str, str | int | None]]:
    return [{"path": path, "size": sizes[path]} for path in paths][:_MOST_DETAILS]


def _shown_paths(paths: Iterable[str], sizes: Mapping[str, int | None]) -> list[str]:
    """A line for each, and one for all parts of one: a pattern that `--file` takes."""
    groups: dict[str, list[int]] = {}
    for path in paths:
        groups.setdefault(_SHARD.sub(r"-*\1", path), []).append(sizes[path] or 0)
    return [
        ", ".join(filter(None, (_plain(name), f"{len(group)} parts" if len(group) > 1 else "", _bytes(sum(group)))))
        for name, group in groups.items()
    ]


def _listed(lines: Iterable[str]) -> str:
    """Each on a line of its own."""
    every = list(lines)
    more = [f"and {len(every) - MOST_SHOWN} more"] if len(every) > MOST_SHOWN else []
    return "".join(f"\n  {line}" for line in every[:MOST_SHOWN] + more)


def _plain(text: str) -> str:
    """A name of others, on one line."""
    return "".join(char if char.isprintable() else "?" for char in text[:200])


def _bytes(size: int | None) -> str:
    if not size:
        return ""
    unit, name = next((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")) if size >= unit)
    return f"{size / unit:.3g} {name}"


def _hint_of(others: Sequence[VersionRecord]) -> str:
    """Which other versions have a file that can be used."""
    able = [version for version in others if any(_type_rank(file) < 2 and _is_usable(file) for file in version.files)]
    shown = [f"{version.model_id}@{version.id} ({_plain(version.name)})" for version in able[:3]]
    return f"these versions have one: {', '.join(shown)}" if shown else "another version may have one: tsr get MODEL"

"""Which checkpoint or LoRA a name means, and which name means only one.

A file of these nouns is there now, and of their kinds; a broken one that does not say what it is counts by its folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tensors.db.names import EXACT_NAME, EXACT_STEM, LONGEST_GUESS, NO_FIT, Candidate, Scope, fitting, folded, rank
from tensors.errors import InvalidRequest, LoraNotFound, ModelNotFound, NotFound

if TYPE_CHECKING:
    from tensors.db.database import Database

FolderKind = Callable[[str], str | None]
"""What a directory says about its files' kind."""

KIND_WORDS = {
    "checkpoint": "a checkpoint",
    "diffusion_model": "a diffusion model",
    "lora": "a LoRA",
    "vae": "a VAE",
    "tae": "a tiny autoencoder",
    "embedding": "an embedding",
    "text_encoder": "a text encoder",
    "controlnet": "a ControlNet",
    "upscaler": "an upscaler",
}
_SHOWN = 8
_ANY = Scope(numbers=False)


@dataclass(frozen=True, slots=True)
class Noun:
    """What a request can name."""

    word: str
    kinds: tuple[str, ...]
    """Of files, the usual one first."""
    missing: type[NotFound]
    hint: str


MODEL = Noun("model", ("checkpoint", "diffusion_model"), ModelNotFound, "tsr models list")
LORA = Noun("LoRA", ("lora",), LoraNotFound, "tsr models loras")


@dataclass(frozen=True, slots=True)
class Names:
    """The names of one noun's files. `also`: files that are not in the library; their ids are not positive."""

    database: Database
    noun: Noun
    folder_kind: FolderKind
    also: tuple[Candidate, ...] = ()

    @property
    def scope(self) -> Scope:
        """The files of the noun."""
        kinds = ", ".join(f"'{kind}'" for kind in self.noun.kinds)
        condition = f"""missing_since IS NULL
            AND (kind IN ({kinds}) OR (kind = 'unknown' AND problem IS NOT NULL))"""
        return Scope(condition, self._is_meant, numbers=False, also=self.also)

    def find(self, name: str) -> Candidate | None:
        """The file that is called so, as `tensors.db.names.find_file` says it, but without numbers.

        Raises `InvalidRequest` when it can be several, with a name for each.
        """
        found = fitting(self.database, name, self.scope)
        if len(found) > 1:
            raise self._several(name, found)
        return found[0] if found else None

    def of(self, candidates: Sequence[Candidate]) -> dict[int, str]:
        """The name of each file, by id: one that `find` finds it by, and no other file has.

        Its stem, when no other file is called so, whatever the case of letters; else with as many of the last folders
        before it as that takes; with its extension when files differ in it alone.
        """
        rivals: dict[str, dict[int, Candidate]] = {}
        for file in self._rivals(candidates):
            for base in (file.stem, file.name):
                rivals.setdefault(folded(base), {})[file.id] = file
        return {file.id: _name(file, rivals) for file in candidates}

    def strangers(self) -> list[int]:
        """Files for which the scope's condition holds though they are none of the noun's."""
        broken = replace(self.scope, accepts=None).select(self.database, "kind = 'unknown'")
        return [file.id for file in broken if not self._is_meant(file)]

    def error(self, name: str) -> NotFound:
        """Why nothing is called so, and what may be meant."""
        noun = self.noun
        others = fitting(self.database, name, _ANY)
        if len(others) == 1:
            return noun.missing(_why_not(name, others[0], noun), hint=noun.hint)
        guess = ""
        if len(name) <= LONGEST_GUESS:
            from tensors.checks import did_you_mean
            from tensors.header import EXTENSIONS

            wanted = os.path.basename(name)
            wanted = os.path.splitext(wanted)[0] if wanted.lower().endswith(EXTENSIONS) else wanted
            known = (file.stem for file in (*self.scope.select(self.database, "TRUE"), *self.also))
            guess = did_you_mean(wanted, known)
        return noun.missing(f"{noun.word} {name!r} not found{guess}", hint=noun.hint)

    def _is_meant(self, file: Candidate) -> bool:
        return file.kind in self.noun.kinds or self.folder_kind(file.directory) in self.noun.kinds

    def _rivals(self, candidates: Sequence[Candidate]) -> Iterable[Candidate]:
        """All files that a name of one of these could mean."""
        import msgspec

        scope = self.scope
        # A file's whole name may be another one's stem.
        keys = {key for file in candidates for key in (file.stem, file.stem.rpartition(".")[0], file.name)}
        listed = msgspec.json.encode(sorted(keys)).decode()
        yield from scope.select(self.database, "stem IN (SELECT value FROM json_each(?))", listed)
        yield from scope.also
        if not all(map(str.isascii, keys)):
            # SQLite knows the case of ASCII letters only.
            yield from scope.select(self.database, "length(CAST(name AS BLOB)) > length(name)")

    def _several(self, name: str, found: Sequence[Candidate]) -> InvalidRequest:
        names = self.of(found[:_SHOWN])
        shown = [{"name": names[file.id], "path": file.path} for file in found[:_SHOWN]]
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return InvalidRequest(
            f"{name!r} can be {len(found)} {self.noun.word}s: {', '.join(row['name'] for row in shown)}{more}",
            hint="name one of these",
            details={"candidates": shown},
        )


def _name(file: Candidate, rivals: dict[str, dict[int, Candidate]]) -> str:
    folders = file.directory.split(os.sep)[1:] if file.directory != os.sep else []
    ends = [os.sep.join(folders[len(folders) - count :]) for count in range(len(folders) + 1)]
    # Where files differ in nothing but case, the name that is right to the letter must do.
    for in_any_case in (True, False):
        for own, base in ((EXACT_STEM, file.stem), (EXACT_NAME, file.name)):
            worst = NO_FIT - 1 if in_any_case else own
            others = [other for other in rivals[folded(base)].values() if other.id != file.id]
            for end in ends:
                if all(rank(other, end, base) > worst for other in others):
                    return os.path.join(end, base)
    return file.path


def _why_not(name: str, file: Candidate, noun: Noun) -> str:
    if not file.present:
        return f"{noun.word} {name!r} is not there any more: {file.path}"
    if file.problem:
        return f"{name!r} cannot be used: it {file.problem}"
    is_what = KIND_WORDS.get(file.kind, "a file of unknown kind")
    return f"{name!r} is {is_what}, not {KIND_WORDS[noun.kinds[0]]}"

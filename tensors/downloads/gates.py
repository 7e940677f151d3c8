"""Why a version's files are not to be had, as its record tells before a byte is asked for.

What is said here about CivitAI is from its documentation (developer.civitai.com, 2026) and its own source
(`getFileForModelVersion` in github.com/civitai/civitai); nothing of it was tried against the site itself. A kind of
`status` or `availability` that nobody knows yet is no reason: then the site is asked, and says no itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tensors.downloads.site import CIVITAI, HUGGING_FACE, Source
from tensors.errors import DownloadRefused

if TYPE_CHECKING:
    from tensors.civitai.permission import Permission
    from tensors.civitai.records import ModelRecord, VersionRecord
    from tensors.huggingface import RepoRecord

_UNPUBLISHED = {
    "draft": "is a draft that was not published",
    "training": "is still being trained",
    "gatherinterest": "was announced and is not published yet",
    "scheduled": "is not published yet",
    "processing": "is not published yet",
    "unpublished": "was taken back by its creator",
    "unpublishedviolation": "was taken down by CivitAI for breaking its rules",
    "deleted": "was deleted",
}
_LONGEST_NAME = 60


def why_not(
    model: ModelRecord | None,
    version: VersionRecord,
    *,
    has_key: bool,
    now: str,
    force: bool = False,
    permission: Permission | None = None,
    site: str = "https://civitai.com",
) -> DownloadRefused | None:
    """Why CivitAI will not give this version's files; None when nothing is known against it.

    `now`: RFC 3339. `force`: try although a record speaks against it, as whoever bought access may; only a version
    without files and a missing key stop that. `site`: where its pages are. `details["reason"]` of the error is one of
    `archived`, `taken_down`, `unpublished`, `generation_only`, `private`, `early_access`, `no_files` and `needs_key`;
    with `until`, a time, where the site names one.
    """
    about = _About(model, version, f"{site}/models/{version.model_id}?modelVersionId={version.id}")
    if not force:
        moment = _utc(datetime.fromisoformat(now))
        reason = about.withdrawn() or about.unpublished(moment) or about.restricted() or about.early(permission, moment)
        if reason:
            return reason
    if not version.files:
        return about.refusal("no_files", "has no files to download", f"look at {about.page}")
    return None if has_key else needs_key(CIVITAI, about.name)


def why_not_repo(repo: RepoRecord, *, has_key: bool) -> DownloadRefused | None:
    """Why Hugging Face will not give a repository's files. With a key it is asked: it knows who accepted what."""
    if not repo.gated or has_key:
        return None
    return DownloadRefused(
        f"{repo.id} is gated: Hugging Face gives it to those only who accepted its conditions",
        hint=f"accept them at {repo.url} and have a token: {HUGGING_FACE.make_key}",
        details={"reason": "gated"},
    )


def needs_key(source: Source, what: str) -> DownloadRefused:
    """The error for a download without a key. CivitAI wants one for every file, public ones too."""
    return DownloadRefused(
        f"{source.name} gives {what} only with a key, and none is set",
        hint=source.make_key,
        details={"reason": "needs_key"},
    )


def early_access(what: str, page: str, until: str | None) -> DownloadRefused:
    """The error for what is sold first. `until`: when everybody may have it, as the site tells it."""
    moment = moment_of(until)
    when = f"until {_shown(moment)}" if moment else "and its end is not told"
    wait = ", or wait until then" if moment else ""
    details = {"reason": "early_access"}
    if moment:
        details["until"] = moment.isoformat(timespec="seconds").replace("+00:00", "Z")
    return DownloadRefused(
        f"{what} is in early access {when}: only those who bought access get it",
        hint=f"access is sold at {page}; with it: the same command with --force{wait}",
        details=details,
    )


def moment_of(text: str | None) -> datetime | None:
    """A time of a site in UTC; None for what is none."""
    try:
        return _utc(datetime.fromisoformat(text)) if text else None
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class _About:
    """A version and what speaks against it."""

    model: ModelRecord | None
    version: VersionRecord
    page: str

    @property
    def name(self) -> str:
        """As messages call it."""
        model = (self.model.name if self.model else None) or self.version.model_name or ""
        names = [f"'{name[:_LONGEST_NAME]}'" for name in (self.version.name, model) if name]
        return f"{' of '.join(names)} (version {self.version.id})" if names else f"version {self.version.id}"

    def refusal(self, reason: str, why: str, hint: str) -> DownloadRefused:
        return DownloadRefused(f"{self.name} {why}", hint=hint, details={"reason": reason})

    def withdrawn(self) -> DownloadRefused | None:
        mode = _word((self.model.mode if self.model else None) or self.version.model_mode)
        if "archived" in (mode, _word(self.version.availability)):
            why = "is archived: its page is kept, its files are not given out any more"
            return self.refusal("archived", why, f"another version may do: {self.page}")
        if mode == "takendown":
            why = "was taken down: CivitAI does not show it any more"
            return self.refusal("taken_down", why, self._try_anyway("another model may do"))
        return None

    def unpublished(self, now: datetime) -> DownloadRefused | None:
        why = _UNPUBLISHED.get(_word(self.version.status))
        if why is None:
            return None
        coming = moment_of(self.version.published_at)
        if coming is None or coming <= now:
            return self.refusal("unpublished", why, self._try_anyway("another version may do"))
        error = self.refusal("unpublished", f"{why}; it will be on {_shown(coming)}", "try again then")
        error.details["until"] = coming.isoformat(timespec="seconds").replace("+00:00", "Z")
        return error

    def restricted(self) -> DownloadRefused | None:
        usage = _word(self.version.usage_control)
        # The site gives `Download` and nothing else, so a new word is a no, too.
        if usage not in ("", "download"):
            where = "with CivitAI's own generator" if "generation" in usage else f"as '{self.version.usage_control}'"
            why = f"can be used {where} only: its creator does not give the files out"
            return self.refusal("generation_only", why, self._try_anyway("another version may do"))
        if _word(self.version.availability) == "private":
            return self.refusal("private", "is private", self._try_anyway("only its owner gets it"))
        return None

    def early(self, permission: Permission | None, now: datetime) -> DownloadRefused | None:
        said = (self.version, permission) if permission else (self.version,)
        ends = [moment for record in said if (moment := moment_of(record.early_access_ends_at))]
        until = max(ends, default=None)
        # A record of the cache may still say `EarlyAccess` when that is over.
        is_early = until > now if until else "earlyaccess" in [_word(record.availability) for record in said]
        return early_access(self.name, self.page, until.isoformat() if until else None) if is_early else None

    def _try_anyway(self, otherwise: str) -> str:
        return f"{otherwise}: {self.page}; if you may have it all the same: --force"


def _word(value: str | None) -> str:
    return (value or "").casefold()


def _utc(moment: datetime) -> datetime:
    """In UTC, also what does not say where it is."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"

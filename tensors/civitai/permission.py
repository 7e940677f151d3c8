"""What CivitAI says of a version before a download: the small record of `/model-versions/mini/{id}`.

Read as tolerantly as `records.py` does: every field may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensors.civitai.fields import hashes, permission, size
from tensors.document import BrokenRecord, opened
from tensors.fields import entries, line, link, table

__all__ = ["BrokenRecord", "Permission", "permission_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What a download of a version's primary file needs."""

    require_auth: bool | None = None
    """A key, by the creator's wish. The site wants one for other files too."""
    check_permission: bool | None = None
    """It is private, or generating with it on the site costs something. That alone does not stop a download."""
    early_access_ends_at: str | None = None
    """Told only where `check_permission` is true."""
    availability: str | None = None
    """`Public`, `EarlyAccess`, `Private`, ..."""
    download_url: str | None = None
    air: str | None = None
    file_name: str | None = None
    file_type: str | None = None
    size: int | None = None
    """Bytes."""
    format: str | None = None
    hashes: tuple[tuple[str, str], ...] = ()
    """(kind, value) in lower case."""


def permission_of(raw: bytes | object) -> Permission:
    """A version's small record from its JSON, or from what was decoded of it. Raises `BrokenRecord`."""
    fields = opened(raw)[0]
    if not isinstance(fields, dict):
        raise BrokenRecord(f"not a record but {type(fields).__name__}")
    urls = [url for entry in entries(fields.get("downloadUrls")) if (url := link(entry))]
    return Permission(
        require_auth=permission(fields.get("requireAuth")),
        check_permission=permission(fields.get("checkPermission")),
        early_access_ends_at=line(fields.get("earlyAccessEndsAt")),
        availability=line(fields.get("availability")),
        download_url=urls[0] if urls else link(fields.get("downloadUrl")),
        air=line(fields.get("air")),
        file_name=line(fields.get("fileName")),
        file_type=line(fields.get("fileType")),
        size=size(fields.get("size")),
        format=line(fields.get("format")),
        hashes=hashes(table(fields.get("hashes"))),
    )

"""What a file says about itself, read now, whether it is in the library or not."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tensors.clock import from_epoch_ms
from tensors.db.files import load_file
from tensors.db.known import known_file
from tensors.errors import InvalidRequest, NotFound
from tensors.header import BrokenHeader, Header, read_header
from tensors.identify import identify, training_tags
from tensors.types.files import FileDetails, Tag

if TYPE_CHECKING:
    from tensors.db.database import Database

_SHOWN_TAGS = 50


def inspect_file(database: Database, path: Path) -> FileDetails:
    """See `tensors.service.Db.info`. With what the library knows about the file, when it has not changed since."""
    if path.is_dir():
        raise InvalidRequest(f"{path} is a folder, not a model file", hint="tsr db scan FOLDER")
    try:
        stat = path.stat()
        header = read_header(path)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}") from None
    except BrokenHeader as error:
        raise InvalidRequest(f"{path.name} {error}") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror or error}") from None
    file_id = known_file(database, path, stat)
    if file_id is not None:
        # The library leaves long values out.
        return replace(load_file(database, file_id), metadata=_metadata(header))
    return _described(path, stat, header)


def _metadata(header: Header) -> dict[str, str]:
    return dict(sorted(header.metadata.items()))


def _described(path: Path, stat: os.stat_result, header: Header) -> FileDetails:
    identity = identify(header, name=path.stem)
    return FileDetails(
        id=None,
        path=str(path),
        name=path.stem,
        size=stat.st_size,
        modified=from_epoch_ms(stat.st_mtime_ns // 1_000_000),
        state="present",
        kind=identity.kind,
        kind_from=identity.kind_from,
        family=identity.family,
        family_from=identity.family_from,
        variant=identity.variant,
        adapter=identity.adapter,
        format=header.format,
        precision=header.precision,
        parameters=header.parameters,
        metadata=_metadata(header),
        training_tags=tuple(Tag(tag=tag, count=count) for tag, count in training_tags(header.metadata)[:_SHOWN_TAGS]),
    )

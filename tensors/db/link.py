"""Matching files with CivitAI's versions: by hash with what is cached, then by asking, and by other tools' notes.

What CivitAI does not know is 'not found' and not asked for again; it is never 'deleted', and a link stays when CivitAI
forgets the model. Each answer is kept, and linked, before the next question: whatever ends the work, the next run goes
on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tensors.db.cache import with_progress
from tensors.db.files import find_file
from tensors.db.linking import Linking, looked_at
from tensors.errors import CatalogError
from tensors.types.library import LinkReport, LinkRequest

if TYPE_CHECKING:
    from tensors.civitai.client import Civitai
    from tensors.db.database import Database
    from tensors.types.jobs import Progress


def link(
    database: Database,
    request: LinkRequest,
    *,
    civitai: Civitai | None,
    report: Callable[[Progress], None],
    stop: Callable[[], bool],
    now: Callable[[], str],
) -> LinkReport:
    """Match files with CivitAI's versions; without `civitai`, or `offline`, with the cached ones only.

    Raises:
        FileNotInLibrary, InvalidRequest: for a name of no file or of several.
        CatalogError: when CivitAI fails; it says what was done, which is kept.
        JobCancelled: soon after `stop` says so; what was done is kept.
    """
    named = {find_file(database, name) for name in request.files} if request.files else None
    files = looked_at(database, named, refresh=request.refresh)
    work = Linking(database=database, files=files, report=report, stop=stop, now=now)
    work.match_cached()
    if civitai is not None and not request.offline:
        from tensors.db.asking import Asking

        try:
            Asking(work, civitai, refresh=request.refresh, everything=named is None).ask()
        except CatalogError as error:
            done = f"{work.count_linked():,} of {len(files):,} files were matched"
            again = "tsr db link --refresh" if request.refresh else "tsr db link"
            raise with_progress(error, done, f"the rest: {again}") from error
    return work.result()

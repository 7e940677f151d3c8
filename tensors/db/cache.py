"""Models fetched from CivitAI, and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tensors.db.catalog import store_model, store_version
from tensors.db.edits import find_version
from tensors.db.patience import Patience, is_odd
from tensors.db.words import as_json
from tensors.errors import CatalogError, JobCancelled, NotInCatalog
from tensors.types.jobs import Progress
from tensors.types.library import CacheReport, CacheRequest

if TYPE_CHECKING:
    from tensors.civitai.client import Civitai
    from tensors.civitai.records import ModelRecord
    from tensors.db.database import Database

MODELS_A_CALL = 100
_SHOWN = 5

Report = Callable[[Progress], None]
Stop = Callable[[], bool]
Now = Callable[[], str]


def _nothing(model_id: int) -> None:
    pass


@dataclass(slots=True, kw_only=True)
class Fetching:
    """Asks CivitAI for models and keeps each as soon as it is told."""

    database: Database
    civitai: Civitai
    stop: Stop
    now: Now
    also: Callable[[int], None] = _nothing
    """Done for each model in the transaction that keeps it."""
    fetched: list[int] = field(default_factory=list)
    not_found: list[int] = field(default_factory=list)
    patience: Patience[int] = field(default_factory=Patience)

    @property
    def problems(self) -> dict[int, CatalogError]:
        """Models that could not be fetched while others could."""
        return self.patience.problems

    @property
    def done(self) -> int:
        """How many models were asked for."""
        return len(self.fetched) + len(self.not_found) + len(self.problems)

    def fetch(self, model_ids: Sequence[int]) -> None:
        """Fetch models, a hundred in one call.

        Raises `CatalogError` when CivitAI itself fails, `JobCancelled`; what was told by then is kept.
        """
        for batch in hundreds(model_ids):
            check_stop(self.stop)
            self._fetch(batch)

    def _fetch(self, batch: Sequence[int]) -> None:
        left = dict.fromkeys(batch)
        answered = False
        with self.patience.question(None):
            for record in self.civitai.models(batch):
                if record.id in left:
                    self._keep(record)
                    del left[record.id]
            answered = True
        if answered:
            self.not_found += left
            self._remember(left)
        else:
            # One odd record ends the whole answer.
            self._fetch_singly(left)

    def _fetch_singly(self, model_ids: Iterable[int]) -> None:
        for model_id in model_ids:
            check_stop(self.stop)
            with self.patience.question(model_id):
                try:
                    self._keep(self.civitai.model(model_id))
                except NotInCatalog:
                    self.not_found.append(model_id)
                    self._remember([model_id])
        self._remember([model_id for model_id, error in self.problems.items() if is_odd(error)])

    def _keep(self, record: ModelRecord) -> None:
        with self.database.atomic():
            store_model(self.database, record, fetched_at=self.now())
            self.database.connection.execute("DELETE FROM models_not_found WHERE model_id = ?", (record.id,))
            self.also(record.id)
        self.fetched.append(record.id)

    def _remember(self, model_ids: Iterable[int]) -> None:
        """Do not ask again for what CivitAI does not tell."""
        self.database.connection.execute(
            """INSERT INTO models_not_found SELECT id, ? FROM models WHERE id IN (SELECT value FROM json_each(?))
                AND NOT complete
            ON CONFLICT (model_id) DO UPDATE SET asked_at = excluded.asked_at""",
            (self.now(), as_json(model_ids)),
        )


def cache(
    database: Database, request: CacheRequest, *, civitai: Civitai, report: Report, stop: Stop, now: Now
) -> CacheReport:
    """Fetch models with all their versions and keep them.

    Raises `CatalogError` and `JobCancelled` (when `stop` says so); what was fetched by then is kept.
    """
    wanted = tuple(dict.fromkeys(request.models)) or _linked_models(database)
    fetching = Fetching(database=database, civitai=civitai, stop=stop, now=now)
    try:
        for batch in hundreds(wanted):
            report(_progress(fetching, wanted))
            fetching.fetch(batch)
    except CatalogError as error:
        raise with_progress(error, _done(fetching, wanted), "the rest: tsr db cache, once more") from error
    report(_progress(fetching, wanted))
    if fetching.problems:
        raise _unreadable(fetching, wanted)
    return CacheReport(models=tuple(fetching.fetched), not_found=tuple(fetching.not_found))


def fetch_version(database: Database, text: str, *, civitai: Civitai, now: Now) -> int:
    """The id of the version that `MODEL@VERSION`, or `MODEL` for its newest, names; fetched when it is not cached.

    Raises:
        InvalidRequest: for another form, or a version of another model.
        NotInCatalog: when CivitAI does not have it.
        CatalogError: when CivitAI does not answer as it should.
    """
    try:
        return find_version(database, text)
    except NotInCatalog:
        model_id, _, version_id = text.partition("@")
    known = True
    try:
        store_model(database, civitai.model(int(model_id)), fetched_at=now())
    except NotInCatalog:
        # A version can outlive the page of its model.
        known = False
        if not version_id:
            raise
    try:
        return find_version(database, text)
    except NotInCatalog as error:
        if not version_id:
            raise NotInCatalog(f"model {model_id} has no versions on CivitAI") from error
    try:
        store_version(database, civitai.version(int(version_id)), fetched_at=now())
    except NotInCatalog as error:
        what = f"model {model_id} has no version {version_id}" if known else f"there is no model {model_id}"
        raise NotInCatalog(
            f"{what} on CivitAI, or not any more", hint="its page says both numbers in its address"
        ) from error
    return find_version(database, text)


def hundreds(model_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    """What can be asked in one call."""
    return (model_ids[start : start + MODELS_A_CALL] for start in range(0, len(model_ids), MODELS_A_CALL))


def check_stop(stop: Stop) -> None:
    """Raise `JobCancelled` when it is time to."""
    if stop():
        raise JobCancelled("cancelled; what was done until now is kept")


def with_progress(error: CatalogError, done: str, rest: str) -> CatalogError:
    """The same error, saying also what was done, and how to go on."""
    hint = f"{error.hint}; {rest}" if error.hint else rest
    return type(error)(f"{error.message}; {done}", hint=hint, details=error.details)


def _linked_models(database: Database) -> tuple[int, ...]:
    """Those told the longest ago come first, so that a second try goes on where the first ended."""
    rows = database.connection.execute(
        """SELECT DISTINCT models.id, models.complete, models.fetched_at FROM links
        JOIN versions ON versions.id = links.version_id JOIN models ON models.id = versions.model_id
        ORDER BY models.complete, models.fetched_at, models.id"""
    )
    return tuple(model_id for model_id, *_ in rows)


def _progress(fetching: Fetching, wanted: Sequence[int]) -> Progress:
    return Progress(phase="fetching", done=fetching.done, total=len(wanted), unit="models")


def _done(fetching: Fetching, wanted: Sequence[int]) -> str:
    return f"{len(fetching.fetched):,} of {len(wanted):,} models were fetched"


def _unreadable(fetching: Fetching, wanted: Sequence[int]) -> CatalogError:
    numbers = [str(model_id) for model_id in fetching.problems]
    shown = ", ".join(numbers[:_SHOWN]) + (f" and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else "")
    first = next(iter(fetching.problems.values()))
    return CatalogError(
        f"{_done(fetching, wanted)}; of {shown}: {first.message}", hint=first.hint, details={"models": numbers}
    )

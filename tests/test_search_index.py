"""The search index after many models were fetched at once."""

from __future__ import annotations

from pathlib import Path

from fake_civitai import FakeCivitai
from link_data import MODEL, simple

from tensors.config import load_config
from tensors.db.database import Database, check
from tensors.library import Library
from tensors.types.library import CacheRequest


def pieces(database: Database) -> list[int]:
    """Of each table."""
    query = "SELECT count(DISTINCT segid) FROM {}_idx"
    return [database.connection.execute(query.format(table)).fetchone()[0] for table in ("name_search", "text_search")]


def cached(library: Library, numbers: range) -> None:
    request = CacheRequest(models=tuple(MODEL + number for number in numbers))
    library.run_cache(request, lambda progress: None, lambda: False)


def test_many_models_fetched_at_once_leave_it_in_one_piece(civitai: FakeCivitai, tmp_path: Path) -> None:
    for number in range(350):
        civitai.add(simple(number))
    library = Library(load_config())
    for few in (range(10), range(10, 20)):
        cached(library, few)
    with library.open() as database:
        assert min(pieces(database)) > 1
    cached(library, range(20, 350))
    with library.open() as database:
        assert pieces(database) == [1, 1]
        assert check(database).mended == ()
    assert len(library.models(query="model", limit=500).items) == 350

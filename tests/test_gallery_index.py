"""The index follows the files, whoever changes them, and can be thrown away."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from gallery_samples import PNG, STEM, all_of, image
from hypothesis import given, settings
from hypothesis import strategies as st

from tensors.clock import from_epoch_ms
from tensors.errors import ImageNotFound, LibraryError
from tensors.gallery import Gallery
from tensors.pictures import index, watch
from tensors.pictures.folder import Entry, Folder
from tensors.pictures.store import Store
from tensors.types.gallery import Image, ImageQuery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


@pytest.fixture
def saved(gallery: Gallery) -> list[Image]:
    """Seven pictures of one moment, newest first, that a list has shown."""
    saved = [gallery.save(image(seed=seed), PNG) for seed in range(1, 8)][::-1]
    assert all_of(gallery) == saved
    return saved


def found(gallery: Gallery, text: str) -> list[str]:
    return [one.id for one in gallery.find(ImageQuery(text=text), limit=500, cursor=None).items]


def hand_edited(gallery: Gallery, one: Image, **changes: object) -> Image:
    """A sidecar that somebody changed in an editor that writes into the same file."""
    edited = replace(one, **changes)  # type: ignore[arg-type]
    sidecar = Path(one.path).with_suffix(".json")
    inode, before = sidecar.stat().st_ino, gallery.directory.stat().st_mtime_ns
    sidecar.write_bytes(msgspec.json.encode(edited))
    assert (sidecar.stat().st_ino, gallery.directory.stat().st_mtime_ns) == (inode, before)
    return edited


def assured(gallery: Gallery) -> None:
    """As if the last look had been long after the folder's last change."""
    gallery.close()
    with closing(sqlite3.connect(gallery.directory.with_name("gallery.db"))) as connection, connection:
        connection.execute("UPDATE state SET verified = directory_mtime + 10000000000")


def test_files_that_come_from_elsewhere_are_listed(gallery: Gallery, saved: list[Image], tmp_path: Path) -> None:
    other = Gallery(tmp_path / "other")
    foreign = [other.save(image(seed=seed), PNG) for seed in (10, 11)]
    for one in foreign:
        shutil.copy2(one.path, gallery.directory)
    shutil.copy2(Path(foreign[0].path).with_suffix(".json"), gallery.directory)
    moved = [replace(one, path=str(gallery.directory / f"{one.id}.png")) for one in foreign]
    assert all_of(gallery) == sorted([*saved, *moved], key=lambda one: one.id, reverse=True)
    assert gallery.count() == 9


def test_files_that_somebody_deletes_are_not_listed(gallery: Gallery, saved: list[Image]) -> None:
    for number in (0, 3, 6):
        Path(saved[number].path).unlink()
    Path(saved[3].path).with_suffix(".json").unlink()
    left = [saved[number] for number in (1, 2, 4, 5)]
    assert all_of(gallery, 2) == left
    assert gallery.count() == 4
    with pytest.raises(ImageNotFound):
        gallery.get(saved[0].id)


def test_renamed_files_have_the_id_that_they_are_called(gallery: Gallery, saved: list[Image]) -> None:
    name = f"{STEM}_99"
    for extension in (".png", ".json"):
        (gallery.directory / f"{saved[2].id}{extension}").rename(gallery.directory / f"{name}{extension}")
    Path(saved[4].path).rename(gallery.directory / "cat.png")
    renamed = replace(saved[2], id=name, path=str(gallery.directory / f"{name}.png"))
    assert all_of(gallery) == [renamed, *(saved[number] for number in (0, 1, 3, 5, 6))]
    assert gallery.get(name) == renamed


def test_a_change_in_the_same_moment_as_our_own_is_seen(gallery: Gallery, saved: list[Image]) -> None:
    """File systems may keep times to two seconds: the folder's is the same before and after."""
    status = gallery.directory.stat()
    (gallery.directory / f"{saved[0].id}.png").rename(gallery.directory / f"{STEM}_99.png")
    os.utime(gallery.directory, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert [one.id for one in all_of(gallery)] == [f"{STEM}_99", *(one.id for one in saved[1:])]


def test_a_folder_that_has_not_changed_for_long_is_not_looked_at(
    gallery: Gallery, saved: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    assured(gallery)
    monkeypatch.setattr(watch.Watch, "_look", None)
    assert all_of(gallery) == saved


def test_a_sidecar_edited_by_hand_is_read_again_when_its_picture_is_met(gallery: Gallery, saved: list[Image]) -> None:
    assured(gallery)
    edited = hand_edited(gallery, saved[3], notes="the zebra", rating=4)
    assert all_of(gallery) == [*saved[:3], edited, *saved[4:]]
    assert found(gallery, "zebra") == [edited.id]
    edited = hand_edited(gallery, edited, notes="the giraffe")
    # What was met and does not fit any more is not shown.
    assert found(gallery, "zebra") == []
    assert found(gallery, "giraffe") == [edited.id]


def test_a_sidecar_edited_by_hand_is_read_again_with_the_next_change_of_the_folder(
    gallery: Gallery, saved: list[Image]
) -> None:
    edited = hand_edited(gallery, saved[3], notes="the zebra")
    Path(saved[0].path).unlink()
    assert found(gallery, "zebra") == [edited.id]


def test_a_picture_that_gets_a_record_later_is_listed_then(gallery: Gallery, saved: list[Image]) -> None:
    name = f"{STEM}_99"
    (gallery.directory / f"{name}.png").write_bytes(PNG)
    assert all_of(gallery) == saved
    (gallery.directory / f"{name}.json").write_bytes(msgspec.json.encode(saved[0]))
    assert [one.id for one in all_of(gallery)] == [name, *(one.id for one in saved)]


def test_files_are_read_once(gallery: Gallery, saved: list[Image], monkeypatch: pytest.MonkeyPatch) -> None:
    (gallery.directory / f"{STEM}_99.png").write_bytes(b"nobody knows")
    all_of(gallery)
    read: list[str] = []

    def reading(self: watch.Watch, names: list[str]) -> None:
        read.extend(names)

    monkeypatch.setattr(watch.Watch, "read", reading)
    (gallery.directory / "notes.txt").write_text("the folder changed, the pictures did not")
    for again in (gallery, Gallery(gallery.directory)):
        assert all_of(again) == saved
    assert read == []


def test_a_large_gallery_is_not_looked_at_over_and_over(
    gallery: Gallery, saved: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a look took a second: the next one for a changed folder is 20 s later."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slow(self: object) -> object:
        clock[0] += 1
        return listing(gallery._folder)

    listing = Folder.listing
    monkeypatch.setattr(Folder, "listing", slow)
    gallery.reindex()
    Path(saved[0].path).rename(gallery.directory / f"{STEM}_99.png")
    ids = {one.id for one in saved}
    # Of what is shown nothing is gone; what is new has to wait.
    assert {one.id for one in all_of(gallery)} == ids - {saved[0].id}
    clock[0] += 19
    assert f"{STEM}_99" not in {one.id for one in all_of(gallery)}
    # Another process, such as the next command, looks at once.
    assert f"{STEM}_99" in {one.id for one in all_of(Gallery(gallery.directory, gallery.directory / "other.db"))}
    clock[0] += 21
    assert f"{STEM}_99" in {one.id for one in all_of(gallery)}


def test_what_one_process_changes_the_other_sees(gallery: Gallery, saved: list[Image]) -> None:
    other = Gallery(gallery.directory)
    assert all_of(other) == saved
    new = gallery.save(image("other", seed=9), PNG)
    assert all_of(other) == [new, *saved]
    other.delete(new.id)
    assert all_of(gallery) == saved
    assert gallery.count() == 7


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database at all, " * 400)


def _torn(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def _older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE words")
        connection.execute("CREATE TABLE pictures (id)")
        connection.execute("PRAGMA user_version = 0")


@pytest.mark.parametrize("damage", [Path.unlink, _garbage, _torn, _older])
def test_an_index_that_is_gone_damaged_or_of_another_version_is_made_anew(
    damage: Callable[[Path], None], gallery: Gallery, saved: list[Image]
) -> None:
    gallery.close()
    damage(gallery.directory.with_name("gallery.db"))
    again = Gallery(gallery.directory)
    assert all_of(again) == saved
    new = again.save(image(seed=9), PNG)
    assert found(again, "cat") == [one.id for one in (new, *saved)]


def test_a_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "gallery.db")) as connection:
        connection.execute("CREATE TABLE mine (id)")
    before = (tmp_path / "gallery.db").read_bytes()
    gallery = Gallery(tmp_path / "gallery")
    saved = gallery.save(image(), PNG)
    with pytest.raises(LibraryError, match="another program"):
        gallery.count()
    assert gallery.get(saved.id) == saved
    assert (tmp_path / "gallery.db").read_bytes() == before
    assert all_of(Gallery(tmp_path / "gallery", tmp_path / "index.db")) == [saved]


def test_pictures_are_shown_where_no_index_can_be_written(gallery: Gallery, saved: list[Image], tmp_path: Path) -> None:
    (tmp_path / "index.db").mkdir()
    assert all_of(Gallery(gallery.directory, tmp_path / "index.db")) == saved


def test_reindex_puts_right_what_is_wrong(gallery: Gallery, saved: list[Image]) -> None:
    gallery.close()
    with closing(sqlite3.connect(gallery.directory.with_name("gallery.db"))) as connection, connection:
        connection.execute("DELETE FROM images WHERE seed IN (1, 2)")
        connection.execute("UPDATE images SET model = 'other'")
        connection.execute("INSERT INTO words (words) VALUES ('delete-all')")
    assert found(gallery, "cat") == []
    assert gallery.reindex() == 7
    assert found(gallery, "cat") == [one.id for one in saved]
    query = ImageQuery(model="Shapes")
    assert list(gallery.find(query, limit=10, cursor=None).items) == saved


def test_a_list_imports_nothing_heavy(gallery: Gallery, saved: list[Image]) -> None:
    code = """
import sys
from pathlib import Path
from tensors.gallery import Gallery
print(len(Gallery(Path(sys.argv[1])).list(limit=20, cursor=None).items))
print(*{"PIL", "numpy", "asyncio", "filelock", "pydantic", "httpx"} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", code, gallery.directory], capture_output=True, text=True, check=True)
    assert done.stdout == "7\n\n"


NAMES = st.builds(
    lambda moment, seed, number: f"{moment}_{seed}" + (f"-{number}" if number > 1 else ""),
    st.sampled_from([STEM, "20261122-184901-124"]),
    st.integers(0, 30),
    st.integers(1, 3),
)


@settings(max_examples=60, deadline=None)
@given(batches=st.lists(st.lists(NAMES, max_size=12), max_size=8), slots=st.sampled_from([128, 1 << 20]))
def test_ranks_are_in_the_order_of_names_in_whatever_order_they_come(batches: list[list[str]], slots: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "SLOTS", slots)
        store = Store(Path(folder) / "index.db")
        there: set[str] = set()
        for number, batch in enumerate(batches):
            if number % 3 == 2:
                with store.writing() as connection:
                    index.remove(connection, batch)
                there -= set(batch)
                continue
            entries = [Entry(replace(image(), id=name), ".png", 1, 1, name) for name in set(batch)]
            with store.writing() as connection:
                index.put(connection, entries)
            there |= set(batch)
        with store.reading() as connection:
            rows = connection.execute("SELECT rank, id FROM images ORDER BY rank").fetchall()
            words = connection.execute("SELECT rowid FROM words WHERE words MATCH 'cat' ORDER BY rowid").fetchall()
            files = connection.execute("SELECT rank, id, stamp FROM files ORDER BY rank").fetchall()
        assert [name for _, name in rows] == sorted(there)
        assert files == [(rank, name, name) for rank, name in rows]
        assert [rank for (rank,) in words] == [rank for rank, _ in rows]
        store.close()


def test_pictures_of_many_moments_are_in_their_order(gallery: Gallery) -> None:
    moments = (0, 86_399_999, 1_000_000_000_000, 1_709_164_800_000, 1_709_251_199_999, 7_258_118_399_999)
    saved = [gallery.save(image(created=from_epoch_ms(moment)), PNG) for moment in moments]
    assert all_of(gallery, 2) == saved[::-1]

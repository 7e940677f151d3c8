"""Pictures on disk: names never collide, nothing is lost, nothing outside the folder is touched."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from gallery_samples import JPEG, PNG, STEM, WHEN, all_of, image, names
from hypothesis import given
from hypothesis import strategies as st
from power_cuts import cut_short

from tensors.clock import from_epoch_ms
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.gallery import RECORD_KEY, Gallery
from tensors.infotext import infotext
from tensors.pictures.cleanup import Policy
from tensors.png import NotPng, read_text
from tensors.types.gallery import Image, ImageEdit, ImageQuery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


def test_a_picture_is_saved_with_its_record_inside_and_beside(gallery: Gallery) -> None:
    saved = gallery.save(image(), PNG)
    path = gallery.directory / f"{STEM}_7.png"
    assert saved == replace(image(), id=f"{STEM}_7", path=str(path))
    assert names(gallery) == [f"{STEM}_7.json", f"{STEM}_7.png"]
    texts = read_text(path.read_bytes())
    assert texts["parameters"] == infotext(saved)
    assert msgspec.json.decode(texts[RECORD_KEY], type=Image) == saved
    assert msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=Image) == saved
    assert gallery.get(saved.id) == saved
    assert gallery.path(saved.id) == path
    assert all_of(gallery) == [saved]
    assert gallery.count() == 1


def test_two_pictures_of_one_seed_and_one_moment_have_two_names(gallery: Gallery) -> None:
    saved = [gallery.save(image(job), PNG) for job in ("a", "b", "c")]
    assert [one.id for one in saved] == [f"{STEM}_7", f"{STEM}_7-2", f"{STEM}_7-3"]
    assert {one.job for one in all_of(gallery)} == {"a", "b", "c"}
    assert [gallery.get(one.id) for one in saved] == saved


def test_one_picture_of_one_job_is_saved_once(gallery: Gallery) -> None:
    gallery.save(image("other"), PNG)
    first = gallery.save(image("job", 3), PNG)
    before = {path: path.stat().st_mtime_ns for path in gallery.directory.iterdir()}
    assert gallery.save(image("job", 3), PNG) == first
    assert gallery.saved("job", 3, WHEN, 7) == first
    assert {path: path.stat().st_mtime_ns for path in gallery.directory.iterdir()} == before
    assert gallery.saved("job", 4, WHEN, 7) is None
    assert gallery.saved("job", 3, WHEN, 8) is None
    assert gallery.saved("nobody", 0, WHEN, 7) is None


@pytest.mark.parametrize("sidecar", [None, b"", b'{"id": "', b'{"\xff": 1}', b"[" * 100_000, b"{}"])
def test_a_picture_whose_sidecar_is_lost_or_broken_is_still_there(sidecar: bytes | None, gallery: Gallery) -> None:
    saved = gallery.save(image(), PNG)
    beside = Path(saved.path).with_suffix(".json")
    whole = beside.read_bytes()
    beside.unlink()
    if sidecar is not None:
        beside.write_bytes(sidecar)
    assert gallery.get(saved.id) == saved
    assert all_of(gallery) == [saved]
    assert gallery.saved("job", 0, WHEN, 7) == saved
    assert beside.read_bytes() == whole
    assert gallery.save(image(), PNG) == saved
    assert gallery.count() == 1


def test_a_foreign_file_under_our_name_is_not_touched(gallery: Gallery) -> None:
    gallery.directory.mkdir()
    foreign = gallery.directory / f"{STEM}_7.png"
    for data in (PNG, b"not a png", b""):
        foreign.write_bytes(data)
        assert gallery.saved("job", 0, WHEN, 7) is None
        saved = gallery.save(image(), PNG)
        assert saved.id == f"{STEM}_7-2"
        assert foreign.read_bytes() == data
        assert all_of(gallery) == [saved]
        gallery.delete(saved.id)
        gallery.cleanup(Policy(trash_days=0))
    with pytest.raises(ImageNotFound):
        gallery.get(f"{STEM}_7")


def test_foreign_and_broken_files_do_not_disturb_the_list(gallery: Gallery) -> None:
    saved = [gallery.save(image(seed=seed), PNG) for seed in range(1, 8)]
    for name in ("notes.txt", "cat.png", "cat.json", ".hidden.png", f"{STEM}_8.json", f"{STEM}_9.png.tmp"):
        (gallery.directory / name).write_text("x")
    for seed in (3, 4, 6):
        (gallery.directory / f"{STEM}_{seed}x.png").write_bytes(PNG)
        Path(saved[seed - 1].path).with_suffix(".json").write_text("broken")
        Path(saved[seed - 1].path).write_bytes(PNG)
    (gallery.directory / f"{STEM}_99.png").mkdir()
    expected = [saved[index] for index in (6, 4, 1, 0)]
    for limit in (1, 2, 3, 4, 500):
        assert all_of(gallery, limit) == expected


def test_a_gallery_that_was_moved_says_where_its_pictures_are_now(gallery: Gallery, tmp_path: Path) -> None:
    saved = gallery.save(image(), PNG)
    gallery.directory.rename(tmp_path / "elsewhere")
    assert Gallery(tmp_path / "elsewhere").get(saved.id).path == str(tmp_path / "elsewhere" / f"{saved.id}.png")
    assert all_of(gallery) == []
    assert gallery.count() == 0


JOBS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), max_size=12, unique=True
)


@given(pictures=JOBS, limit=st.integers(1, 5), doomed=st.integers(0, 11))
def test_paging_shows_every_picture_once_newest_first(
    pictures: list[tuple[str, int, int, int]], limit: int, doomed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        gallery = Gallery(Path(folder) / "gallery")
        saved = {
            gallery.save(image(job, index, created=from_epoch_ms(moment), seed=seed), PNG)
            for job, index, moment, seed in pictures
        }
        assert len(saved) == len(pictures)
        listed = all_of(gallery, limit)
        assert listed == sorted(saved, key=lambda one: one.id, reverse=True)
        assert [one.created for one in listed] == sorted((one.created for one in listed), reverse=True)
        # What is deleted between two pages moves nothing: the cursor is a place, not a number.
        if len(listed) > limit:
            page = gallery.list(limit=limit, cursor=None)
            gone = listed.pop(doomed % len(listed))
            gallery.delete(gone.id)
            rest = gallery.list(limit=500, cursor=page.next_cursor).items
            assert [one for one in page.items if one != gone] + list(rest) == listed


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_limit_out_of_bounds_is_refused(limit: int, gallery: Gallery) -> None:
    with pytest.raises(InvalidRequest, match=f"limit must be between 1 and 500, not {limit}"):
        gallery.list(limit=limit, cursor=None)


NOT_IDS = (
    "",
    ".",
    "..",
    "../secret",
    "../../etc/passwd",
    "/etc/passwd",
    f"../gallery/{STEM}_7",
    f"{STEM}_7/../../secret",
    f"{STEM}_7\0",
    f"{STEM}_7\n",
    f"{STEM}_7.png",
    f"..\\{STEM}_7",
    f"{STEM}_",
    "cat",
)


@pytest.mark.parametrize("image_id", NOT_IDS)
def test_an_id_never_leads_out_of_the_folder(image_id: str, gallery: Gallery, tmp_path: Path) -> None:
    secret = Path(gallery.save(image(), PNG).path)
    for name in ("secret.png", "secret.json"):
        shutil.copy(secret, tmp_path / name)
    for ask in (gallery.get, gallery.path, gallery.delete):
        with pytest.raises(ImageNotFound) as caught:
            ask(image_id)
        assert caught.value.message == f"image {image_id!r} not found"
    with pytest.raises(InvalidRequest, match="is not a cursor of this list"):
        gallery.list(limit=5, cursor=image_id)
    assert (tmp_path / "secret.png").exists()
    assert gallery.count() == 1


@given(st.text() | st.text("0123456789-_./\\\0"))
def test_any_text_is_an_id_of_nothing(image_id: str) -> None:
    with pytest.raises(ImageNotFound):
        Gallery(Path(os.environ["HOME"])).delete(image_id)


def test_delete_takes_picture_and_record_and_nothing_else(gallery: Gallery) -> None:
    kept, doomed = gallery.save(image("a"), PNG), gallery.save(image("b"), PNG)
    gallery.delete(doomed.id)
    assert names(gallery) == [f"{kept.id}.json", f"{kept.id}.png"]
    for ask in (gallery.get, gallery.delete, gallery.path):
        with pytest.raises(ImageNotFound):
            ask(doomed.id)


def test_what_is_no_png_is_not_saved(gallery: Gallery) -> None:
    for data in (b"", b"GIF89a", PNG[:-5]):
        with pytest.raises(NotPng):
            gallery.save(image(), data)
    assert names(gallery) == []


def test_a_full_disk_leaves_no_half_picture(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            gallery.save(image(), PNG)
    assert names(gallery) == []
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            gallery.save(image(), PNG)
    # The picture is safe: it carries its own record, and the next try adopts it.
    assert names(gallery) == [f"{STEM}_7.png"]
    assert gallery.save(image(), PNG).id == f"{STEM}_7"
    assert names(gallery) == [f"{STEM}_7.json", f"{STEM}_7.png"]


def _save(folder: Path) -> None:
    Gallery(folder / "gallery").save(image(), PNG)


def _delete(folder: Path) -> None:
    Gallery(folder / "gallery").delete(f"{STEM}_7")


def _restore(folder: Path) -> None:
    Gallery(folder / "gallery").restore(f"{STEM}_7")


def _edit(folder: Path) -> None:
    Gallery(folder / "gallery").edit(f"{STEM}_7", ImageEdit(tags=("new",), notes="dear", favourite=True))


def _import(folder: Path) -> None:
    Gallery(folder / "gallery").import_file(JPEG, created=WHEN, tags=("new",))


def _reindex(folder: Path) -> None:
    Gallery(folder / "gallery").reindex()


def cut(work: Callable[[Path], object], prepared: Path, tmp_path: Path) -> list[Gallery]:
    folder = tmp_path / "cut"
    folder.mkdir()
    return [Gallery(copy / "gallery") for copy in cut_short(work, prepared, folder)]


def test_a_power_cut_while_saving_leaves_no_picture_or_a_whole_one(tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    counts = []
    for gallery in cut(_save, prepared, tmp_path):
        counts.append(len(all_of(gallery)))
        for found in all_of(gallery):
            assert read_text(Path(found.path).read_bytes())["parameters"] == infotext(found)
        # The job runs again.
        again = gallery.save(image(), PNG)
        assert all_of(gallery) == [again]
        assert again.id == f"{STEM}_7"
        assert [name for name in names(gallery) if not name.startswith(".")] == [f"{STEM}_7.json", f"{STEM}_7.png"]
    assert counts == sorted(counts)
    assert set(counts) == {0, 1}


Whereabouts = tuple[list[Image], list[Image]]


def whereabouts(gallery: Gallery) -> Whereabouts:
    """What is in the gallery and what is in the trash, wherever on disk that is, and whenever it came there."""
    there = gallery.trash(limit=500, cursor=None).items
    return [replace(one, path="") for one in all_of(gallery)], [replace(one, path="", deleted=None) for one in there]


@pytest.mark.parametrize("work", [_delete, _restore])
def test_a_power_cut_leaves_a_picture_in_the_gallery_or_in_the_trash_with_its_record(
    work: Callable[[Path], None], tmp_path: Path
) -> None:
    gallery = Gallery(tmp_path / "prepared" / "gallery")
    saved = gallery.edit(gallery.import_file(JPEG, created=WHEN).image.id, ImageEdit(notes="dear"))
    renamed = f"{STEM}_7"
    for extension in (".jpg", ".json"):
        (gallery.directory / f"{saved.id}{extension}").rename(gallery.directory / f"{renamed}{extension}")
    saved = replace(gallery.get(renamed), path="")
    if work is _restore:
        gallery.delete(renamed)
    gallery.close()
    states = []
    for copy in cut(work, tmp_path / "prepared", tmp_path):
        states.append(whereabouts(copy))
        assert states[-1] in (([saved], []), ([], [saved]))
        # Whatever is there now can go the other way.
        if states[-1][0]:
            copy.delete(renamed)
            assert whereabouts(copy) == ([], [saved])
        copy.restore(renamed)
        assert whereabouts(copy) == ([saved], [])
    here: Whereabouts = ([saved], [])
    there: Whereabouts = ([], [saved])
    first, last = (here, there) if work is _delete else (there, here)
    moved = states.index(last)
    assert moved > 0
    assert states == [first] * moved + [last] * (len(states) - moved)


def test_a_power_cut_while_editing_leaves_the_old_record_or_the_new_one(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "prepared" / "gallery")
    old = replace(gallery.save(image(), PNG), path="")
    gallery.close()
    new = replace(old, tags=("new",), notes="dear", favourite=True)
    states = []
    for copy in cut(_edit, tmp_path / "prepared", tmp_path):
        (listed,) = all_of(copy)
        states.append(replace(listed, path=""))
        assert copy.get(old.id) == listed
        assert bool(copy.find(ImageQuery(tags=("new",)), limit=5, cursor=None).items) == (states[-1] == new)
    assert states == [old] * states.index(new) + [new] * (len(states) - states.index(new))
    assert states[0] == old


def test_a_power_cut_while_importing_leaves_no_picture_or_a_whole_one(tmp_path: Path) -> None:
    (tmp_path / "prepared").mkdir()
    counts = []
    for copy in cut(_import, tmp_path / "prepared", tmp_path):
        counts.append(len(all_of(copy)))
        for found in all_of(copy):
            assert (Path(found.path).read_bytes(), found.tags) == (JPEG, ("new",))
        again = copy.import_file(JPEG, created=WHEN, tags=("new",))
        assert (all_of(copy), again.new) == ([again.image], not counts[-1])
        assert again.image.id == f"{STEM}_0"
    assert counts == sorted(counts)
    assert set(counts) == {0, 1}


def test_a_power_cut_while_reindexing_loses_nothing(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "prepared" / "gallery")
    saved = [replace(gallery.save(image(seed=seed), PNG), path="") for seed in (3, 2, 1)]
    gallery.close()
    for copy in cut(_reindex, tmp_path / "prepared", tmp_path):
        assert [replace(one, path="") for one in all_of(copy)] == saved


def _save_many(folder: Path, writer: str, count: int) -> list[Image]:
    gallery = Gallery(folder)
    return [gallery.save(image(writer, index), PNG) for index in range(count)]


def test_processes_that_save_at_once_never_overwrite_each_other(gallery: Gallery) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        work = [pool.submit(_save_many, gallery.directory, writer, 25) for writer in "ab"]
        saved = [one for future in work for one in future.result(60)]
    assert len({one.id for one in saved}) == 50
    assert sorted(all_of(gallery), key=lambda one: one.id) == sorted(saved, key=lambda one: one.id)
    for one in saved:
        assert msgspec.json.decode(read_text(Path(one.path).read_bytes())[RECORD_KEY], type=Image) == one
    assert len(names(gallery)) == 100

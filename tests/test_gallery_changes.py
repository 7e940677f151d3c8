"""Edits, the trash, imports and thumbnails."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from gallery_samples import JPEG, PNG, SETTINGS, STEM, WHEN, all_of, image, names
from PIL import Image as Pillow

from tensors.clock import now
from tensors.errors import ImageNotFound, InvalidRequest
from tensors.gallery import Gallery
from tensors.pictures import thumbnails
from tensors.pictures.cleanup import Policy
from tensors.png import with_text
from tensors.types.gallery import Image, ImageEdit, ImageQuery, Imported
from tensors.types.generation import UsedLora, UsedModel
from tensors.types.recipe import Hash, Named, Recipe, RecipeHires, RecipeLora


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


def trash(gallery: Gallery) -> list[Image]:
    return list(gallery.trash(limit=500, cursor=None).items)


def tagged(gallery: Gallery, tag: str) -> list[str]:
    return [one.id for one in gallery.find(ImageQuery(tags=(tag,)), limit=500, cursor=None).items]


def test_an_edit_is_in_the_sidecar_and_found_and_the_picture_is_untouched(gallery: Gallery) -> None:
    saved = gallery.save(replace(image(), settings=replace(SETTINGS, seed=7, tags=("asked",))), PNG)
    assert (saved.tags, tagged(gallery, "asked")) == (("asked",), [saved.id])
    before = (Path(saved.path).read_bytes(), Path(saved.path).stat().st_mtime_ns)
    edit = ImageEdit(tags=("new", "Second", "new"), notes="dear", rating=4, favourite=True)
    edited = gallery.edit(saved.id, edit)
    assert edited == replace(saved, tags=("new", "Second"), notes="dear", rating=4, favourite=True)
    assert gallery.get(saved.id) == edited
    assert all_of(Gallery(gallery.directory)) == [edited]
    assert (tagged(gallery, "asked"), tagged(gallery, "second")) == ([], [saved.id])
    assert (Path(saved.path).read_bytes(), Path(saved.path).stat().st_mtime_ns) == before
    assert gallery.edit(saved.id, ImageEdit()) == edited
    emptied = replace(edited, tags=(), notes="", rating=None, favourite=False)
    assert gallery.edit(saved.id, ImageEdit(tags=(), notes="", rating=0, favourite=False)) == emptied
    # The tags of the request do not come back.
    assert Gallery(gallery.directory).get(saved.id) == emptied
    assert all_of(gallery) == [emptied]


def test_records_of_earlier_versions_have_the_tags_of_their_request(gallery: Gallery) -> None:
    saved = gallery.save(replace(image(), settings=replace(SETTINGS, seed=7, tags=("old",))), PNG)
    old = msgspec.to_builtins(saved)
    for name in ("tags", "notes", "rating", "favourite", "deleted", "sha256"):
        del old[name]
    Path(saved.path).with_suffix(".json").write_bytes(msgspec.json.encode(old))
    assert gallery.get(saved.id) == saved
    assert tagged(gallery, "old") == [saved.id]


@pytest.mark.parametrize("ask", [Gallery.get, Gallery.delete, Gallery.restore, lambda g, i: g.edit(i, ImageEdit())])
@pytest.mark.parametrize("name", [f"{STEM}_8", "../secret", ""])
def test_what_is_not_there_is_not_found(ask: Callable[[Gallery, str], object], name: str, gallery: Gallery) -> None:
    gallery.save(image(), PNG)
    with pytest.raises(ImageNotFound, match=repr(name).replace(".", r"\.")):
        ask(gallery, name)
    assert names(gallery) == [f"{STEM}_7.json", f"{STEM}_7.png"]


@pytest.mark.parametrize("bad", [{"rating": 6}, {"rating": -1}, {"tags": ("",)}, {"tags": ("x" * 65,)}])
def test_bounds_of_an_edit_are_checked(bad: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(bad))):
        ImageEdit(**bad)  # type: ignore[arg-type]


def test_a_deleted_picture_lies_in_the_trash_until_it_is_restored(gallery: Gallery) -> None:
    kept = gallery.save(image("kept"), PNG)
    saved = gallery.edit(gallery.save(image("gone"), PNG).id, ImageEdit(notes="dear"))
    began = now()
    gallery.delete(saved.id)
    (deleted,) = trash(gallery)
    assert deleted.deleted is not None
    assert began <= deleted.deleted <= now()
    where = str(gallery.directory / ".trash" / f"{saved.id}.png")
    assert deleted == replace(saved, path=where, deleted=deleted.deleted)
    assert Path(where).is_file()
    assert all_of(gallery) == [kept]
    assert names(gallery) == [f"{kept.id}.json", f"{kept.id}.png"]
    for ask in (gallery.get, gallery.delete, gallery.path):
        with pytest.raises(ImageNotFound):
            ask(saved.id)
    assert gallery.restore(saved.id) == saved
    assert (trash(gallery), all_of(gallery)) == ([], [saved, kept])
    with pytest.raises(ImageNotFound, match="is not in the trash"):
        gallery.restore(saved.id)


def test_an_id_in_the_trash_is_not_given_away(gallery: Gallery) -> None:
    first = gallery.save(image("first"), PNG)
    gallery.delete(first.id)
    second = gallery.save(image("second"), PNG)
    assert second.id == f"{STEM}_7-2"
    assert gallery.saved("second", 0, WHEN, 7) == second
    assert gallery.saved("first", 0, WHEN, 7) is None
    assert gallery.restore(first.id) == first
    assert all_of(gallery) == [second, first]


def test_a_restored_picture_gets_another_id_when_a_file_was_given_its_own(gallery: Gallery) -> None:
    saved = gallery.edit(gallery.save(image(), PNG).id, ImageEdit(notes="dear"))
    gallery.delete(saved.id)
    foreign = Path(saved.path)
    foreign.write_bytes(b"somebody's")
    restored = gallery.restore(saved.id)
    assert restored == replace(saved, id=f"{STEM}_7-2", path=str(gallery.directory / f"{STEM}_7-2.png"))
    assert (foreign.read_bytes(), all_of(gallery), trash(gallery)) == (b"somebody's", [restored], [])


def test_pages_of_the_trash_begin_with_what_was_deleted_last(gallery: Gallery) -> None:
    saved = [gallery.save(image(seed=seed), PNG) for seed in range(7)]
    order = [3, 1, 6, 0, 5, 2]
    for seed in order:
        gallery.delete(saved[seed].id)
    found: list[str] = []
    cursor = None
    while cursor or not found:
        page = gallery.trash(limit=2, cursor=cursor)
        cursor = page.next_cursor
        found.extend(one.id for one in page.items)
        # What is restored between two pages moves nothing.
        if len(found) == 2:
            gallery.restore(found[1])
    assert found == [saved[seed].id for seed in reversed(order)]
    for cursor in ("", "x", "1", f"{STEM}_7", "1.../../x"):
        with pytest.raises(InvalidRequest, match="is not a cursor"):
            gallery.trash(limit=2, cursor=cursor)


def test_a_picture_in_the_trash_can_be_seen_until_it_is_removed(gallery: Gallery) -> None:
    saved = gallery.save(image(), PNG)
    before = gallery.thumbnail(saved.id, 256).read_bytes()
    gallery.delete(saved.id)
    assert not list((gallery.directory / ".thumbnails").iterdir())
    assert gallery.thumbnail(saved.id, 256).read_bytes() == before
    gallery.cleanup(Policy(trash_days=0))
    assert not list((gallery.directory / ".thumbnails").iterdir())
    for unknown in (saved.id, "../x", ""):
        with pytest.raises(ImageNotFound):
            gallery.thumbnail(unknown, 256)


def test_purge_removes_what_was_deleted_long_ago(gallery: Gallery) -> None:
    old, new, kept = (gallery.save(image(seed=seed), PNG) for seed in (1, 2, 3))
    gallery.delete(old.id)
    gallery.delete(new.id)
    moment = (gallery.directory / ".trash" / f"{new.id}.json").stat().st_mtime_ns - 8 * 86_400_000_000_000
    os.utime(gallery.directory / ".trash" / f"{old.id}.json", ns=(moment, moment))
    assert gallery.cleanup(Policy(trash_days=9)).removed == ()
    assert gallery.cleanup(Policy(trash_days=7)).removed == (old.id,)
    assert [one.id for one in trash(gallery)] == [new.id]
    assert gallery.cleanup(Policy(trash_days=0)).removed == (new.id,)
    assert (trash(gallery), all_of(gallery)) == ([], [kept])
    left = {path.name for path in (gallery.directory / ".trash").iterdir()}
    assert left <= {".lock"}


def test_a_full_disk_does_not_keep_pictures_from_the_trash(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = gallery.save(image(), PNG)
    gallery.thumbnail(saved.id, 256)

    def full(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    gallery.delete(saved.id)
    assert [one.id for one in trash(gallery)] == [saved.id]
    assert gallery.cleanup(Policy(trash_days=0)).removed == (saved.id,)


def both(imported: Imported) -> tuple[Image, bool]:
    return imported.image, imported.new


def encoded(kind: str, size: tuple[int, int] = (40, 24), **options: object) -> bytes:
    out = io.BytesIO()
    Pillow.linear_gradient("L").resize(size).convert("RGB").save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize(("kind", "extension"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp")])
@pytest.mark.parametrize("from_file", [True, False])
def test_a_picture_made_elsewhere_is_kept_as_it_is(
    kind: str, extension: str, from_file: bool, gallery: Gallery, tmp_path: Path
) -> None:
    data = encoded(kind)
    file = tmp_path / "cat.picture"
    file.write_bytes(data)
    os.utime(file, (1_700_000_000, 1_700_000_000.5))
    imported, new = both(gallery.import_file(file if from_file else data, tags=("from elsewhere",)))
    assert new
    assert Path(imported.path).read_bytes() == data
    assert Path(imported.path).suffix == extension
    assert (imported.width, imported.height, imported.settings.model.name) == (40, 24, "unknown")
    assert imported.id.startswith("20231114-221320-500_0" if from_file else now()[:4])
    assert all_of(gallery) == [imported] == [gallery.get(imported.id)]
    assert tagged(gallery, "From Elsewhere") == [imported.id]
    # Whatever its file is called, and whoever asks.
    assert Gallery(gallery.directory).import_file(data) == Imported(image=imported, new=False)
    gallery.delete(imported.id)
    again, new = both(gallery.import_file(file))
    assert (new, again.id != imported.id) == (True, True)


def test_what_others_know_of_a_picture_is_kept(gallery: Gallery) -> None:
    recipe = Recipe(
        program="a1111",
        version="1.10",
        prompt="a fox",
        negative_prompt="blurry",
        model="pony",
        model_hash=Hash(kind="sha256", value="ab" * 32),
        width=20,
        height=12,
        steps=30,
        cfg_scale=7.0,
        sampler=Named(written="Euler a", name="euler_a"),
        scheduler=Named(written="Beta 57", name=None),
        seed=2**64 - 1,
        loras=(RecipeLora(name="ink", weight=0.5, hash=Hash(kind="autov3", value="cd" * 32)), RecipeLora(name="film")),
        hires=RecipeHires(scale=2.0),
    )
    imported = gallery.import_file(encoded("JPEG"), recipe=recipe, created="2026-11-22T20:49:01.123+02:00").image
    assert imported.id == f"{STEM}_{2**64 - 1}"
    assert (imported.created, imported.engine) == (WHEN, "a1111 1.10")
    used = imported.settings
    assert used.model == UsedModel(name="pony", family="unknown", sha256="ab" * 32)
    assert used.loras == (UsedLora(name="ink", weight=0.5, autov3="cd" * 32), UsedLora(name="film", weight=1.0))
    assert (used.prompt, used.width, used.steps, used.sampler, used.scheduler) == (
        ("a fox", 20, 30, "euler_a", "Beta 57")
    )
    for query in (ImageQuery(text="fox"), ImageQuery(seed=2**64 - 1), ImageQuery(lora="Ink"), ImageQuery(width=40)):
        assert list(gallery.find(query, limit=5, cursor=None).items) == [imported]


def test_our_own_pictures_come_back_with_their_record(gallery: Gallery, tmp_path: Path) -> None:
    saved = gallery.save(image(), PNG)
    assert gallery.import_file(Path(saved.path)) == Imported(image=saved, new=False)
    other = Gallery(tmp_path / "other")
    imported, new = both(other.import_file(Path(saved.path), recipe=Recipe(program="other", prompt="wrong")))
    assert new
    assert imported == replace(saved, path=str(other.directory / f"{saved.id}.png"), sha256=imported.sha256)
    assert Path(imported.path).read_bytes() == Path(saved.path).read_bytes()


def test_a_file_that_somebody_copied_here_is_known(gallery: Gallery, tmp_path: Path) -> None:
    other = Gallery(tmp_path / "other")
    other.import_file(JPEG, created=WHEN)
    assert all_of(gallery) == []
    gallery.directory.mkdir()
    for path in other.directory.glob(f"{STEM}*"):
        (gallery.directory / path.name.replace("_0", "_5")).write_bytes(path.read_bytes())
    known, new = both(gallery.import_file(JPEG))
    assert (known.id, new) == (f"{STEM}_5", False)


@pytest.mark.parametrize("inside", [{"created": "../../../x"}, {"created": "20261122"}, {"settings": {}}])
def test_a_record_that_was_tampered_with_leads_nowhere(inside: dict[str, object], gallery: Gallery) -> None:
    forged = with_text(PNG, {"tsr": msgspec.json.encode(msgspec.to_builtins(image()) | inside).decode()})
    imported = gallery.import_file(forged, created=WHEN).image
    name = f"{STEM}_0" if inside == {"settings": {}} else f"{STEM}_7"
    assert (imported.id, names(gallery)) == (name, [f"{name}.json", f"{name}.png"])
    assert imported.job == ""


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"BM", PNG[:-6], JPEG[:-40], encoded("WEBP")[:-9], b"\xff\xd8\xff", b"RIFF0000WEBP"]
)
def test_what_is_no_whole_picture_is_not_imported(data: bytes, gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(data)
    for source in (data, tmp_path / "file"):
        with pytest.raises(InvalidRequest, match=r"is no (PNG, JPEG or WebP|whole) picture"):
            gallery.import_file(source)
    assert all_of(gallery) == []


def test_the_same_file_imported_by_many_at_once_is_there_once(gallery: Gallery) -> None:
    data = encoded("JPEG")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda number: Gallery(gallery.directory).import_file(data), range(8)))
    assert len({one.image.id for one in done}) == 1
    assert [one.new for one in done].count(True) == 1
    assert len(names(gallery)) == 2


MODES = [("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "I;16", "1")] + [("JPEG", "CMYK"), ("WEBP", "RGB")]


@pytest.mark.parametrize(("kind", "mode"), MODES)
@pytest.mark.parametrize("size", thumbnails.SIZES)
def test_a_thumbnail_is_a_small_webp(kind: str, mode: str, size: int, gallery: Gallery) -> None:
    grey = Pillow.linear_gradient("L").resize((600, 300))
    deep = grey.convert("I").point(lambda value: value * 257).convert("I;16")
    out = io.BytesIO()
    (deep if mode == "I;16" else grey.convert(mode)).save(out, kind)
    imported = gallery.import_file(out.getvalue()).image
    made = gallery.thumbnail(imported.id, size)
    assert made == gallery.directory / ".thumbnails" / f"{imported.id}_{size}.webp"
    with Pillow.open(made) as small:
        assert (small.format, small.size) == ("WEBP", (size, size // 2))
        levels = list(small.convert("L").resize((1, 5), Pillow.Resampling.BOX).tobytes())
    assert levels == pytest.approx([25, 76, 127, 178, 229], abs=8)


@pytest.mark.parametrize("mode", ["1", "P"])
def test_fine_patterns_become_grey_not_noise(mode: str, gallery: Gallery) -> None:
    out = io.BytesIO()
    picture = Pillow.frombytes("L", (1024, 1024), (bytes((255, 0)) * 512 + bytes((0, 255)) * 512) * 512)
    picture.convert(mode).save(out, "PNG")
    imported = gallery.import_file(out.getvalue()).image
    with Pillow.open(gallery.thumbnail(imported.id, 256)) as small:
        low, high = small.convert("L").getextrema()
    assert isinstance(low, int)
    assert isinstance(high, int)
    assert 100 < low <= high < 156


def test_a_thumbnail_is_made_once_and_goes_with_its_picture(gallery: Gallery) -> None:
    saved = gallery.save(image(), encoded("PNG"))
    first = gallery.thumbnail(saved.id, 256)
    inode = first.stat().st_ino
    assert gallery.thumbnail(saved.id, 256).stat().st_ino == inode
    with Pillow.open(first) as small:
        # It is not enlarged.
        assert small.size == (40, 24)
    Path(saved.path).write_bytes(encoded("PNG", (24, 40)))
    os.utime(saved.path, ns=(first.stat().st_mtime_ns + 1,) * 2)
    with Pillow.open(gallery.thumbnail(saved.id, 256)) as small:
        assert small.size == (24, 40)
    gallery.thumbnail(saved.id, 512)
    gallery.delete(saved.id)
    assert list((gallery.directory / ".thumbnails").iterdir()) == []


def test_a_photograph_stands_upright_in_its_thumbnail(gallery: Gallery) -> None:
    turned = Pillow.Exif()
    turned[0x0112] = 6
    imported = gallery.import_file(encoded("JPEG", (60, 30), exif=turned)).image
    with Pillow.open(gallery.thumbnail(imported.id, 256)) as small:
        assert small.size == (30, 60)


def test_many_who_ask_at_once_get_the_same_thumbnail(gallery: Gallery) -> None:
    saved = gallery.save(image(), encoded("PNG", (800, 600)))
    barrier = threading.Barrier(4)

    def asked(_: int) -> bytes:
        barrier.wait()
        return gallery.thumbnail(saved.id, 512).read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(asked, range(4)))) == 1
    assert [path.name for path in (gallery.directory / ".thumbnails").iterdir()] == [f"{saved.id}_512.webp"]


def test_a_broken_picture_has_no_thumbnail_and_says_so(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = gallery.save(image(), encoded("PNG", (300, 300)))
    whole = Path(saved.path).read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"GIF89a", whole[:40] + bytes(len(whole) - 40)):
        Path(saved.path).write_bytes(broken)
        with pytest.raises(InvalidRequest, match="is no whole picture"):
            gallery.thumbnail(saved.id, 256)
    Path(saved.path).write_bytes(whole)
    with pytest.raises(InvalidRequest, match="256 or 512 pixels, not 257"):
        gallery.thumbnail(saved.id, 257)
    monkeypatch.setattr(thumbnails, "MAX_PIXELS", 89_999)
    with pytest.raises(InvalidRequest, match="too large for a thumbnail: 300x300"):
        gallery.thumbnail(saved.id, 256)
    assert list((gallery.directory / ".thumbnails").iterdir()) == []

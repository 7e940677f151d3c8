"""What a gallery lets go of: by policy, and because it belongs to nothing."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from gallery_samples import JPEG, PNG, SETTINGS, STEM, all_of, image, names
from hypothesis import given
from hypothesis import strategies as st

from tensors.errors import InvalidRequest
from tensors.gallery import Gallery
from tensors.pictures.cleanup import Plan, Policy, plan
from tensors.pictures.index import Row
from tensors.pictures.trash import Deleted
from tensors.types.gallery import Image, ImageEdit

DAY = 86_400_000_000_000
NOW = 1000 * DAY


def row(number: int, *, days: float, size: int = 10, favourite: bool = False) -> Row:
    return Row(f"p{number}", size, NOW - int(days * DAY), favourite)


def test_the_oldest_go_first_and_the_trash_before_them() -> None:
    pictures = [row(1, days=5), row(2, days=50), row(3, days=500), row(4, days=501, favourite=True)]
    deleted = [Deleted(2, "t1", 10), Deleted(1, "t2", 10)]
    assert plan(pictures, deleted, Policy(), now=NOW) == Plan((), (), (), 0, 60)
    assert plan(pictures, deleted, Policy(max_age=49), now=NOW) == Plan(("p3", "p2"), (), (), 0, 60)
    both = Policy(max_age=500, keep_favourites=False)
    assert plan(pictures, deleted, both, now=NOW) == Plan(("p4",), (), (), 0, 60)
    sizes = {
        55: (("t2",), ()),
        40: (("t2", "t1"), ()),
        39: (("t2", "t1"), ("p3",)),
        0: (("t2", "t1"), ("p3", "p2", "p1")),
    }
    for limit, (purged, dropped) in sizes.items():
        freed = 10 * len(purged + dropped)
        assert plan(pictures, deleted, Policy(max_size=limit), now=NOW) == Plan((), purged, dropped, freed, 60 - freed)
    # What age has just put into the trash is the last there.
    tight = Policy(max_size=35, max_age=100)
    assert plan(pictures, deleted, tight, now=NOW) == Plan(("p3",), ("t2", "t1", "p3"), (), 30, 30)
    kept = frozenset({"t2"})
    assert plan(pictures, deleted, Policy(max_size=55), now=NOW, kept=kept) == Plan((), ("t1",), (), 10, 50)


PICTURES = st.lists(
    st.builds(row, st.integers(0, 99), days=st.integers(0, 30), size=st.integers(1, 50), favourite=st.booleans()),
    max_size=12,
    unique_by=lambda one: one.id,
)
TRASH = st.lists(
    st.builds(Deleted, st.integers(0, 9), st.integers(0, 99).map(lambda number: f"t{number}"), st.integers(1, 50)),
    max_size=6,
    unique_by=lambda one: one.id,
)
POLICIES = st.builds(
    Policy,
    max_size=st.none() | st.integers(0, 400),
    max_age=st.none() | st.integers(0, 30),
    keep_favourites=st.booleans(),
)


@given(pictures=PICTURES, deleted=TRASH, policy=POLICIES, data=st.data())
def test_a_plan_keeps_what_it_must_and_removes_no_more_than_it_has_to(
    pictures: list[Row], deleted: list[Deleted], policy: Policy, data: st.DataObject
) -> None:
    kept = data.draw(st.frozensets(st.sampled_from([each.id for each in deleted]))) if deleted else frozenset()
    made = plan(pictures, deleted, policy, now=NOW, kept=kept)
    shuffled = data.draw(st.permutations(pictures)), data.draw(st.permutations(deleted))
    assert plan(*shuffled, policy, now=NOW, kept=kept) == made
    sizes = {each.id: each.bytes for each in pictures} | {each.id: each.bytes for each in deleted}
    removed = (*made.purge, *made.drop)
    touched = {*made.trash, *removed}
    assert len(set(removed)) == len(removed)
    assert set(made.purge) <= {*made.trash, *(each.id for each in deleted)}
    assert made.freed == sum(sizes[name] for name in removed)
    assert made.size == sum(sizes.values()) - made.freed
    favourites = {each.id for each in pictures if each.favourite} | kept
    if policy.keep_favourites:
        assert not touched & favourites
    if policy.max_age is not None:
        old = {each.id for each in pictures if each.arrived < NOW - policy.max_age * DAY}
        assert set(made.trash) == old - (favourites if policy.keep_favourites else set())
    else:
        assert made.trash == ()
    if policy.max_size is None:
        assert removed == ()
    elif made.size > policy.max_size:
        assert sizes.keys() - set(removed) <= (favourites if policy.keep_favourites else set())
    elif removed:
        # Without the last one it would still have been too large.
        assert made.size + sizes[removed[-1]] > policy.max_size


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery")


def trashed(gallery: Gallery) -> list[str]:
    return [one.id for one in gallery.trash(limit=500, cursor=None).items]


def aged(one: Image, days: int) -> Image:
    moment = time.time_ns() - days * DAY
    os.utime(one.path, ns=(moment, moment))
    return one


def test_a_cleanup_does_what_it_said_it_would(gallery: Gallery) -> None:
    old, older, loved, new = (gallery.save(image(seed=seed), PNG) for seed in range(4))
    gallery.edit(loved.id, ImageEdit(favourite=True))
    for one, days in ((old, 40), (older, 50), (loved, 60)):
        aged(one, days)
    # The index knows the files' times from when it last looked: `reindex` makes it look again.
    gallery.reindex()
    policy = Policy(max_age=30)
    said = gallery.cleanup(policy, dry_run=True)
    assert (said.trashed, said.removed, said.freed) == ((older.id, old.id), (), 0)
    assert (len(all_of(gallery)), trashed(gallery)) == (4, [])
    assert gallery.cleanup(policy) == said
    assert [one.id for one in all_of(gallery)] == [new.id, loved.id]
    assert trashed(gallery) == [old.id, older.id]
    assert gallery.cleanup(policy).trashed == ()
    # A restored picture is not taken again at once.
    gallery.restore(old.id)
    assert gallery.cleanup(policy).trashed == ()
    files = [path for path in gallery.directory.rglob("*.*") if path.suffix in (".png", ".json")]
    size = sum(path.stat().st_size for path in files)
    assert gallery.cleanup(policy).size == size
    tight = Policy(max_size=size - 1)
    said = gallery.cleanup(tight, dry_run=True)
    assert gallery.cleanup(tight) == said
    assert (said.removed, trashed(gallery)) == ((older.id,), [])
    assert set(gallery.cleanup(Policy(max_size=0)).removed) == {old.id, new.id}
    assert [one.id for one in all_of(gallery)] == [loved.id]
    assert gallery.cleanup(Policy(max_size=0, keep_favourites=False)).removed == (loved.id,)
    assert names(gallery) == []


@pytest.mark.parametrize("bad", [{"max_size": -1}, {"max_age": -1.0}, {"max_age": float("nan")}])
def test_a_policy_without_sense_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest, match=next(iter(bad))):
        Policy(**bad)  # type: ignore[arg-type]


def test_garbage_is_found_and_removed_and_nothing_else(gallery: Gallery, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    digests = {name: f"{number:064x}" for number, name in enumerate(("used", "masked", "deleted", "queued", "unused"))}
    for digest in digests.values():
        (inputs / f"{digest}.png").write_bytes(PNG)
    made_from = {name: f"sha256:{digest}" for name, digest in digests.items()}
    used = replace(SETTINGS, seed=1, init_image=made_from["used"], mask=made_from["masked"])
    kept = gallery.save(replace(image(), settings=used), PNG)
    gallery.thumbnail(kept.id, 256)
    gone = gallery.save(replace(image(), settings=replace(SETTINGS, seed=2, init_image=made_from["deleted"])), PNG)
    gallery.delete(gone.id)
    here, trash = gallery.directory, gallery.directory / ".trash"
    # A crash in the middle of deleting: the sidecar has not followed yet.
    (trash / f"{gone.id}.json").rename(here / f"{gone.id}.json")
    garbage = {
        "temporary": [here / f".{STEM}_7.png.0badf00d.tmp", trash / ".x.json.0badf00d.tmp", inputs / ".y.tmp"],
        "sidecars": [here / f"{STEM}_8.json", trash / f"{STEM}_9.json"],
        "thumbnails": [here / ".thumbnails" / f"{STEM}_9_256.webp"],
        "inputs": [inputs / f"{digests['unused']}.png"],
    }
    for path in (path for paths in garbage.values() for path in paths):
        path.write_bytes(JPEG)
    for path in (here / "notes.json", here / ".hidden", here / f"{STEM}_7.tmp", inputs / "mine.png", inputs / "0.png"):
        path.write_bytes(b"somebody's")
    assert str(here / f"{gone.id}.json") not in gallery.gc(age=0, dry_run=True).sidecars
    assert trashed(gallery) == [gone.id]
    before = sorted(tmp_path.rglob("*"))
    named = {made_from["queued"]}
    assert gallery.gc(inputs, named=named) == gallery.gc(inputs, named=named, dry_run=True)
    assert gallery.gc(inputs, named=named).bytes == 0, "what was written just now may still be needed"
    said = gallery.gc(inputs, named=named, age=0, dry_run=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert {kind: list(getattr(said, kind)) for kind in garbage} == {
        kind: [str(path) for path in paths] for kind, paths in garbage.items()
    }
    assert said.bytes == 7 * len(JPEG)
    assert gallery.gc(inputs, named=named, age=0) == said
    assert gallery.gc(inputs, named=named, age=0).bytes == 0
    removed = {path for paths in garbage.values() for path in paths}
    assert {path for path in before if path not in removed and path.name != ".lock"} <= set(tmp_path.rglob("*"))
    assert gallery.restore(gone.id) == gone
    assert all_of(gallery) == [gone, kept]


def test_inputs_stay_when_nobody_asks_about_them(gallery: Gallery) -> None:
    assert gallery.gc(age=0).bytes == 0

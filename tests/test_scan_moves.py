"""Files that are not where they were: moved, copied, missing, back again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from scanning import (
    LARGE,
    Row,
    Shelf,
    gguf_bytes,
    messages,
    model_bytes,
    open_shelf,
    ordinary_user,
    unknown_bytes,
    write,
)

from tensors.db.scan import Folder
from tensors.types.jobs import Progress
from tensors.types.library import ScanReport

SIZES = pytest.mark.parametrize("weights", [0, LARGE], ids=["small", "large"])


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path)
    yield made
    made.close()


def known(shelf: Shelf, path: str, content: int = 1, *, weights: int = 0) -> Row:
    """A scanned file with a link and a word of its owner, by which it is known again."""
    write(shelf.place / path, model_bytes(content, weights=weights))
    shelf.scan()
    shelf.link(path, version=700 + content)
    shelf.say(path, "illustrious", "checkpoint")
    return shelf.row(path)


def move_to_another_disk(source: Path, target: Path) -> None:
    """As `mv` does there: another inode and the same times."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # The copy is made before the old one goes, or it might get its inode.
    shutil.copy2(source, target)
    source.unlink()


def counts(report: ScanReport) -> dict[str, int]:
    """What happened, without what did not."""
    names = ("added", "changed", "moved", "returned", "missing")
    return {name: count for name in names if (count := getattr(report, name))}


# Moved


@SIZES
@pytest.mark.parametrize("target", ["b.safetensors", "sub/a.safetensors", "0/0/z.safetensors"])
def test_a_renamed_file_keeps_its_row_without_being_hashed_again(shelf: Shelf, weights: int, target: str) -> None:
    before = known(shelf, "models/a.safetensors", weights=weights)
    (shelf.root / target).parent.mkdir(parents=True, exist_ok=True)
    (shelf.root / "a.safetensors").rename(shelf.root / target)
    report = shelf.scan(hash=False)
    assert (counts(report), report.files, report.unhashed) == ({"moved": 1}, 1, 0)
    assert shelf.rows() == {f"models/{target}": before}
    assert shelf.scan().hashed == 0


@SIZES
def test_a_file_that_went_to_another_disk_is_known_by_its_hash(shelf: Shelf, weights: int) -> None:
    before = known(shelf, "models/a.safetensors", weights=weights)
    move_to_another_disk(shelf.root / "a.safetensors", shelf.root / "other/b.safetensors")
    report = shelf.scan()
    assert (counts(report), report.hashed) == ({"moved": 1}, 1)
    assert shelf.rows() == {"models/other/b.safetensors": before}
    assert counts(shelf.scan()) == {}


@SIZES
def test_hashing_may_come_much_later_than_the_move(shelf: Shelf, weights: int) -> None:
    before = known(shelf, "models/a.safetensors", weights=weights)
    move_to_another_disk(shelf.root / "a.safetensors", shelf.root / "other/b.safetensors")
    assert counts(shelf.scan(hash=False)) == {"added": 1, "missing": 1}
    assert counts(shelf.scan(hash=False)) == {}
    report = shelf.scan()
    assert counts(report) == {"moved": 1}
    assert shelf.rows() == {"models/other/b.safetensors": before}


@pytest.mark.parametrize("same_disk", [True, False])
@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_a_file_that_went_to_another_scanned_folder_is_moved_in_whatever_order(
    shelf: Shelf, order: tuple[str, str], same_disk: bool
) -> None:
    folders = [shelf.place / name for name in order]
    for folder in folders:
        folder.mkdir()
    before = known(shelf, "models/a.safetensors")
    (shelf.root / "a.safetensors").rename(shelf.place / "one/a.safetensors")
    assert counts(shelf.scan(shelf.root, *folders)) == {"moved": 1}
    if same_disk:
        (shelf.place / "one/a.safetensors").rename(shelf.place / "two/a.safetensors")
    else:
        move_to_another_disk(shelf.place / "one/a.safetensors", shelf.place / "two/a.safetensors")
    assert counts(shelf.scan(*folders)) == {"moved": 1}
    assert shelf.rows() == {"two/a.safetensors": before}


def test_a_file_that_came_from_a_folder_that_is_not_scanned_now_is_moved(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    target = shelf.place / "other/a.safetensors"
    target.parent.mkdir()
    (shelf.root / "a.safetensors").rename(target)
    assert counts(shelf.scan(target.parent)) == {"moved": 1}
    assert shelf.rows() == {"other/a.safetensors": before}


def test_a_file_that_was_seen_to_be_missing_first_is_moved_all_the_same(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    target = shelf.place / "other/a.safetensors"
    target.parent.mkdir()
    (shelf.root / "a.safetensors").rename(target)
    assert counts(shelf.scan()) == {"missing": 1}
    assert counts(shelf.scan(target.parent)) == {"moved": 1}
    assert shelf.rows() == {"other/a.safetensors": before}


def test_a_hard_link_in_a_folder_that_is_not_scanned_now_is_no_move(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    target = shelf.place / "other/a.safetensors"
    target.parent.mkdir()
    target.hardlink_to(shelf.root / "a.safetensors")
    assert counts(shelf.scan(target.parent)) == {"added": 1}
    assert shelf.row("models/a.safetensors") == before


@SIZES
def test_a_copy_is_a_file_of_its_own(shelf: Shelf, weights: int) -> None:
    before = known(shelf, "models/a.safetensors", weights=weights)
    shutil.copy2(shelf.root / "a.safetensors", shelf.root / "b.safetensors")
    assert counts(shelf.scan()) == {"added": 1}
    rows = shelf.rows()
    assert rows["models/a.safetensors"] == before
    assert (rows["models/b.safetensors"].sha256, rows["models/b.safetensors"].version) == (before.sha256, None)


@pytest.mark.parametrize("hash", [True, False])
def test_of_two_equal_files_the_one_that_stays_is_not_taken_for_the_one_that_goes(shelf: Shelf, hash: bool) -> None:
    write(shelf.root / "a.safetensors", model_bytes(1))
    (shelf.root / "b.safetensors").hardlink_to(shelf.root / "a.safetensors")
    shelf.scan(hash=hash)
    copy = shelf.row("models/b.safetensors")
    (shelf.root / "a.safetensors").unlink()
    assert counts(shelf.scan(hash=hash)) == {"missing": 1}
    assert shelf.row("models/b.safetensors") == copy


@SIZES
def test_of_several_missing_copies_the_one_of_the_same_name_moved(shelf: Shelf, weights: int) -> None:
    for name in ("1/x", "2/y", "3/z"):
        write(shelf.root / f"{name}.safetensors", model_bytes(weights=weights))
    shelf.scan()
    before = shelf.rows()
    for name in ("1/x", "2/y", "3/z"):
        (shelf.root / f"{name}.safetensors").unlink()
    shelf.scan()
    write(shelf.root / "0/new.safetensors", model_bytes(weights=weights))
    write(shelf.root / "4/z.safetensors", model_bytes(weights=weights))
    assert counts(shelf.scan()) == {"moved": 2}
    after = {path: row.id for path, row in shelf.rows().items()}
    assert after == {
        "models/0/new.safetensors": before["models/1/x.safetensors"].id,
        "models/2/y.safetensors": before["models/2/y.safetensors"].id,
        "models/4/z.safetensors": before["models/3/z.safetensors"].id,
    }


def test_which_of_several_equal_files_moved_does_not_depend_on_which_is_hashed_first(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensors.db.hashed._COMPARE_SECONDS", 0)
    for name in ("1/z", "2/y"):
        write(shelf.root / f"{name}.safetensors", model_bytes(weights=LARGE))
    shelf.scan()
    before = {path: row.id for path, row in shelf.rows().items()}
    for name in ("1/z", "2/y"):
        (shelf.root / f"{name}.safetensors").unlink()
    shelf.scan()
    for name in ("0/new", "4/z"):
        write(shelf.root / f"{name}.safetensors", model_bytes(weights=LARGE))
    assert counts(shelf.scan()) == {"moved": 2}
    assert {path: row.id for path, row in shelf.rows().items()} == {
        "models/0/new.safetensors": before["models/2/y.safetensors"],
        "models/4/z.safetensors": before["models/1/z.safetensors"],
    }


def test_a_file_that_another_scan_has_moved_meanwhile_is_not_gone(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one sees it in its new place, where this one has yet to go."""
    monkeypatch.setattr("tensors.db.tally._TELL_SECONDS", 0)
    write(shelf.root / "1/a.safetensors", model_bytes(1))
    write(shelf.root / "3/other.safetensors", model_bytes(2))
    shelf.scan()
    before = shelf.row("models/1/a.safetensors")
    other = Shelf(shelf.place)

    def report(progress: Progress) -> None:
        if progress.name == str(shelf.root / "0"):
            (shelf.root / "1/a.safetensors").rename(shelf.root / "3/a.safetensors")
        elif progress.name == str(shelf.root / "1"):
            # Not there any more, this scan has noted.
            assert counts(other.scan()) == {"moved": 1}
            (shelf.root / "3/z.safetensors").hardlink_to(shelf.root / "3/a.safetensors")

    (shelf.root / "0").mkdir()
    assert counts(shelf.scan(report=report)) == {"added": 1}
    other.close()
    assert shelf.row("models/3/a.safetensors") == before
    assert not shelf.row("models/3/z.safetensors").is_missing


def test_a_second_name_of_a_file_that_cannot_be_seen_now_is_no_move() -> None:
    with open_shelf() as shelf:
        write(shelf.root / "closed/a.safetensors", model_bytes(1))
        write(shelf.place / "closed/b.safetensors", model_bytes(2))
        shelf.scan(shelf.root, shelf.place / "closed")
        before = shelf.rows()
        for name in "ab":
            folder = shelf.root if name == "a" else shelf.place
            (shelf.root / f"{name}.safetensors").hardlink_to(folder / f"closed/{name}.safetensors")
        with ordinary_user(shelf):
            for folder in (shelf.root, shelf.place):
                (folder / "closed").chmod(0)
            report = shelf.scan()
            for folder in (shelf.root, shelf.place):
                (folder / "closed").chmod(0o700)
        assert counts(report) == {"added": 2}
        assert before.items() <= shelf.rows().items()


def test_a_whole_folder_that_is_renamed_moves_each_file(shelf: Shelf) -> None:
    for number in range(5):
        write(shelf.root / f"loras/{number}.safetensors", model_bytes(number))
    write(shelf.root / "loras/broken.gguf", b"")
    shelf.scan()
    before = shelf.rows()
    (shelf.root / "loras").rename(shelf.root / "LoRA")
    report = shelf.scan()
    assert (counts(report), list(messages(report, shelf.root))) == ({"moved": 6}, ["LoRA/broken.gguf"])
    assert shelf.rows() == {path.replace("loras", "LoRA"): row for path, row in before.items()}


def test_a_moved_file_is_what_its_new_place_says(shelf: Shelf) -> None:
    write(shelf.root / "vae/x.safetensors", unknown_bytes())
    shelf.scan()
    before = shelf.row("models/vae/x.safetensors")
    assert (before.kind, before.kind_from) == ("vae", "folder")
    (shelf.root / "embeddings").mkdir()
    (shelf.root / "vae/x.safetensors").rename(shelf.root / "embeddings/pony.safetensors")
    shelf.scan()
    row = shelf.row("models/embeddings/pony.safetensors")
    assert (row.id, row.kind, row.family) == (before.id, "embedding", "pony")


def test_what_was_said_about_the_file_in_its_new_place_counts_for_more(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    move_to_another_disk(shelf.root / "a.safetensors", shelf.root / "b.safetensors")
    shelf.scan(hash=False)
    shelf.say("models/b.safetensors", "noobai")
    shelf.link("models/b.safetensors", 990, matched_by="user")
    shelf.scan()
    (row,) = shelf.rows().values()
    assert (row.id, row.user_family, row.user_kind, row.version) == (before.id, "noobai", "checkpoint", 990)


def test_a_guess_in_the_new_place_does_not_take_the_owners_link(shelf: Shelf) -> None:
    known(shelf, "models/a.safetensors")
    shelf.query("UPDATE links SET matched_by = 'user'")
    move_to_another_disk(shelf.root / "a.safetensors", shelf.root / "b.safetensors")
    shelf.scan(hash=False)
    shelf.link("models/b.safetensors", 990, matched_by="sidecar")
    shelf.scan()
    (row,) = shelf.rows().values()
    assert row.version == 701


def test_a_place_that_another_file_took_keeps_its_row(shelf: Shelf) -> None:
    """Its owner's word is about the file of that name."""
    first = known(shelf, "models/a.safetensors")
    write(shelf.root / "b.safetensors", model_bytes(2))
    shelf.scan()
    second = shelf.row("models/b.safetensors")
    (shelf.root / "b.safetensors").rename(shelf.root / "a.safetensors")
    report = shelf.scan()
    assert counts(report) == {"changed": 1, "missing": 1}
    rows = shelf.rows()
    assert (rows["models/a.safetensors"].id, rows["models/a.safetensors"].sha256) == (first.id, second.sha256)
    assert (rows["models/a.safetensors"].user_family, rows["models/a.safetensors"].version) == ("illustrious", None)


def test_a_changed_file_that_moves_before_it_is_hashed_loses_its_link_when_it_is(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors", weights=LARGE)
    path = shelf.root / "a.safetensors"
    write(path, model_bytes(2, weights=LARGE))
    os.utime(path, ns=(5, 5))
    shelf.scan(hash=False)
    path.rename(shelf.root / "b.safetensors")
    assert counts(shelf.scan(hash=False)) == {"moved": 1}
    assert shelf.row("models/b.safetensors").version == before.version
    shelf.scan()
    row = shelf.row("models/b.safetensors")
    assert (row.id, row.version, row.user_family) == (before.id, None, "illustrious")


# Missing


@SIZES
def test_a_missing_file_comes_back_with_everything(shelf: Shelf, weights: int) -> None:
    before = known(shelf, "models/a.safetensors", weights=weights)
    aside = (shelf.root / "a.safetensors").rename(shelf.place / "aside")
    report = shelf.scan()
    assert (counts(report), report.files, report.unhashed) == ({"missing": 1}, 0, 0)
    missing = shelf.row("models/a.safetensors")
    assert (missing.is_missing, missing.version, missing.sha256) == (True, before.version, before.sha256)
    assert counts(shelf.scan()) == {}
    aside.rename(shelf.root / "a.safetensors")
    report = shelf.scan()
    assert (counts(report), report.hashed) == ({"returned": 1}, 0)
    assert shelf.row("models/a.safetensors") == before


def test_a_share_that_gives_out_new_inodes_when_it_is_back_costs_no_hashing(shelf: Shelf) -> None:
    before = known(shelf, "models/share/a.safetensors")
    shutil.copytree(shelf.root / "share", shelf.place / "copy")
    shutil.rmtree(shelf.root / "share")
    assert counts(shelf.scan()) == {"missing": 1}
    (shelf.place / "copy").rename(shelf.root / "share")
    report = shelf.scan()
    assert (counts(report), report.hashed) == ({"returned": 1}, 0)
    assert shelf.rows() == {"models/share/a.safetensors": before}
    assert counts(shelf.scan()) == {}


def test_a_file_that_comes_back_with_other_bytes_is_looked_at_anew(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    (shelf.root / "a.safetensors").unlink()
    shelf.scan()
    write(shelf.root / "a.safetensors", model_bytes(2))
    report = shelf.scan()
    assert (counts(report), report.hashed) == ({"returned": 1}, 1)
    row = shelf.row("models/a.safetensors")
    assert (row.id, row.user_family, row.version) == (before.id, "illustrious", None)


def test_a_broken_file_comes_back_broken(shelf: Shelf) -> None:
    write(shelf.root / "a.gguf", b"")
    found = messages(shelf.scan(), shelf.root)
    (shelf.root / "a.gguf").rename(shelf.place / "aside")
    assert messages(shelf.scan(), shelf.root) == {}
    (shelf.place / "aside").rename(shelf.root / "a.gguf")
    report = shelf.scan()
    assert (counts(report), messages(report, shelf.root)) == ({"returned": 1}, found)


def test_a_scanned_folder_that_is_gone_is_a_line_and_its_files_are_missing(shelf: Shelf) -> None:
    before = known(shelf, "models/sub/a.safetensors")
    shelf.root.rename(shelf.place / "unmounted")
    report = shelf.scan()
    assert [(problem.path, problem.message) for problem in report.problems] == [(str(shelf.root), "is not there")]
    assert counts(report) == {"missing": 1}
    assert shelf.row("models/sub/a.safetensors").is_missing
    assert shelf.query("SELECT path FROM folders") == [(str(shelf.root),)]
    (shelf.place / "unmounted").rename(shelf.root)
    assert counts(shelf.scan()) == {"returned": 1}
    assert shelf.rows() == {"models/sub/a.safetensors": before}


def test_a_folder_that_need_not_be_there_is_no_line(shelf: Shelf) -> None:
    report = shelf.scan(Folder(shelf.place / "own", optional=True))
    assert (report.problems, shelf.query("SELECT path FROM folders")) == ((), [])


def test_files_outside_the_scanned_folders_are_not_missing(shelf: Shelf) -> None:
    for path in ("a/1.safetensors", "a b/2.safetensors", "a-b/3.safetensors", "a/b/4.safetensors", "a0/5.safetensors"):
        write(shelf.root / path, model_bytes(int(path[-13])))
    shelf.scan()
    shutil.rmtree(shelf.root)
    (shelf.root / "a").mkdir(parents=True)
    assert counts(shelf.scan(shelf.root / "a")) == {"missing": 2}
    missing = {path for path, row in shelf.rows().items() if row.is_missing}
    assert missing == {"models/a/1.safetensors", "models/a/b/4.safetensors"}


def test_a_file_that_is_linked_to_instead_is_the_same_file(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    aside = shelf.place / "disk/a.safetensors"
    aside.parent.mkdir()
    (shelf.root / "a.safetensors").rename(aside)
    (shelf.root / "a.safetensors").symlink_to(aside)
    assert counts(shelf.scan()) == {}
    assert shelf.rows() == {"models/a.safetensors": before}
    # Now its real place is scanned too, and the link is left to it.
    assert counts(shelf.scan(shelf.root, aside.parent)) == {"moved": 1}
    assert shelf.rows() == {"disk/a.safetensors": before}


def test_a_hidden_file_is_missing(shelf: Shelf) -> None:
    before = known(shelf, "models/a.safetensors")
    write(shelf.root / "b.gguf", gguf_bytes())
    (shelf.root / "a.safetensors").rename(shelf.root / ".a.safetensors")
    assert counts(shelf.scan()) == {"added": 1, "missing": 1}
    assert shelf.row("models/a.safetensors").id == before.id

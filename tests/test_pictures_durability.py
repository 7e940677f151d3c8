"""kill -9 in the middle of everything that changes a gallery: whatever had been done is there, and nothing is half."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import random
import signal
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from gallery_samples import PNG, all_of, image
from PIL import Image as Pillow

from tensors.clock import from_epoch_ms
from tensors.gallery import Gallery
from tensors.pictures.cleanup import Policy
from tensors.png import read_text
from tensors.types.gallery import ImageEdit

Done = tuple[str, str, str]
"""A picture, where it is, and its notes."""
HERE, TRASH, GONE = "here", "trash", "gone"
KILLS = 12


def jpeg(number: int) -> bytes:
    """A picture that nobody else has imported."""
    out = io.BytesIO()
    Pillow.new("RGB", (8, 8)).save(out, "JPEG", comment=f"{number}".encode())
    return out.getvalue()


def _rounds(gallery: Gallery, first: int) -> Iterator[Callable[[], Done]]:
    """Changes without end."""

    def saved(number: int) -> Done:
        return gallery.save(image(f"job-{number}", created=from_epoch_ms(number)), PNG).id, HERE, ""

    def imported(number: int) -> Done:
        return gallery.import_file(jpeg(number), created=from_epoch_ms(number)).image.id, HERE, ""

    def edited(name: str) -> Done:
        return gallery.edit(name, ImageEdit(notes=f"dear {name}")).id, HERE, f"dear {name}"

    def deleted(name: str) -> Done:
        notes = gallery.get(name).notes
        gallery.delete(name)
        return name, TRASH, notes

    def restored(name: str) -> Done:
        return gallery.restore(name).id, HERE, f"dear {name}"

    def purged(name: str) -> Done:
        gallery.cleanup(Policy(trash_days=0))
        return name, GONE, ""

    def reindexed(name: str) -> Done:
        gallery.reindex()
        return name, HERE, f"dear {name}"

    for number in itertools.count(first, 2):
        names = _name(number, seed=7), _name(number + 1, seed=0)
        yield partial(saved, number)
        yield partial(imported, number + 1)
        for change, name in itertools.product((edited, deleted, restored, reindexed, deleted), names):
            yield partial(change, name)
        if number % 4:
            yield partial(purged, names[0])
        else:
            yield partial(restored, names[0])
            yield partial(restored, names[1])


def _name(number: int, *, seed: int) -> str:
    return f"19700101-0000{number // 1000:02}-{number % 1000:03}_{seed}"


def _work(directory: Path, first: int, pipe: Connection) -> None:
    for change in _rounds(Gallery(directory), first):
        pipe.send(change())


def _killed(directory: Path, first: int, changes: int, delay: float) -> list[Done]:
    """What a process had done that was killed some time after so many changes."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(directory, first, theirs))
    process.start()
    theirs.close()
    done = [ours.recv() for _ in range(changes)]
    ours.poll(delay)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join(30)
    try:
        while True:
            done.append(ours.recv())
    except EOFError:
        ours.close()
    assert process.exitcode == -signal.SIGKILL
    return done


@pytest.mark.parametrize("seed", range(KILLS))
def test_kill_9_loses_nothing_and_leaves_nothing_half(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    directory = tmp_path / "gallery"
    done = _killed(directory, 2, chance.randrange(1, 60), chance.random() * 0.004)
    gallery = Gallery(directory)
    listed = {one.id: one for one in all_of(gallery)}
    trash = {one.id: one for one in gallery.trash(limit=500, cursor=None).items}
    assert not listed.keys() & trash.keys()
    # The list is what is on disk, and every file is whole.
    assert {one.path for one in listed.values()} == {
        str(path) for path in directory.iterdir() if path.suffix in (".png", ".jpg")
    }
    for one in (*listed.values(), *trash.values()):
        if one.path.endswith(".png"):
            assert "tsr" in read_text(Path(one.path).read_bytes())
        else:
            assert Path(one.path).read_bytes() == jpeg(int(one.created[17:19]) * 1000 + int(one.created[20:23]))
    # Every change that was reported has happened; only the one that was cut short may have or not.
    last: dict[str, tuple[str, str]] = {}
    for name, place, notes in done:
        if place == GONE:
            last = {other: state for other, state in last.items() if state[0] != TRASH}
        else:
            last[name] = (place, notes)
    now = {one.id: (HERE, one.notes) for one in listed.values()}
    now |= {one.id: (TRASH, one.notes) for one in trash.values()}
    differing = {name for name in now.keys() | last.keys() if now.get(name) != last.get(name)}
    # A purge takes all that is in the trash, one after the other.
    purged = {name for name in differing if name not in now and last[name][0] == TRASH}
    assert len(differing - purged) <= 1
    for name in differing & last.keys() & now.keys():
        # It was moved, or notes were written for the first time: none were lost.
        assert now[name][1] == last[name][1] or (last[name][1], now[name][1]) == ("", f"dear {name}")
    # The next process goes on, and the rest of the last one's work can be swept up.
    assert len(_killed(directory, 1002, 15, 0)) >= 15
    gallery.trash(limit=1, cursor=None)
    gallery.gc(age=0)
    assert not [path.name for path in directory.rglob("*.tmp")]
    for folder in (directory, directory / ".trash"):
        stems = {path.stem for path in folder.iterdir() if path.suffix in (".png", ".jpg")}
        assert {path.stem for path in folder.glob("*.json")} == stems

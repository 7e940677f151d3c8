"""Going through folders: each real folder and file once, whatever links there are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.db.walk import Folder, Walk, is_text, printable


@dataclass
class Tree:
    """A folder that is walked."""

    top: Path
    problems: dict[str, str] = field(default_factory=dict)
    unreadable: list[str] = field(default_factory=list)

    def file(self, path: str) -> Path:
        made = self.top / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes(b"x")
        return made

    def link(self, path: str, target: str | Path) -> None:
        made = self.top / path
        made.parent.mkdir(parents=True, exist_ok=True)
        made.symlink_to(target)

    def walk(self, *folders: str | Folder, known: tuple[str, ...] = ()) -> list[str]:
        """The model files, in order, below `top`."""
        wanted = [folder if isinstance(folder, Folder) else Folder(self.top / folder) for folder in folders]
        walk = Walk(lambda path, message: self.problems.__setitem__(self.below(path), message))
        found = [
            self.below(entry.path)
            for listing in walk.listings(wanted, [str(self.top / folder) for folder in known])
            for entry in listing.models
        ]
        self.unreadable = [self.below(path) for path in walk.unreadable]
        return found

    def below(self, path: str) -> str:
        return path.removeprefix(f"{self.top}/")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_files_come_in_the_order_of_names_and_folders_after_them(tree: Tree) -> None:
    for name in (
        "m/b.safetensors",
        "m/a.GGUF",
        "m/x/2.SafeTensors",
        "m/x/1.gguf",
        "m/c/3.gguf",
        "m/é.gguf",
        "m/B.gguf",
    ):
        tree.file(name)
    expected = ["B.gguf", "a.GGUF", "b.safetensors", "é.gguf", "c/3.gguf", "x/1.gguf", "x/2.SafeTensors"]
    assert tree.walk("m") == [f"m/{name}" for name in expected]
    assert not tree.problems


def test_other_files_are_no_model_files(tree: Tree) -> None:
    for name in ("a.ckpt", "a.pt", "a.pth", "a.bin", "a.safetensors.part", "safetensors", "a.txt", "a.gguf.json"):
        tree.file(f"m/{name}")
    assert tree.walk("m") == []
    assert not tree.problems


@pytest.mark.parametrize(
    "hidden", [".cache", "@eaDir", "lost+found", "$RECYCLE.BIN", "__MACOSX", "System Volume Information", ".git/x"]
)
def test_hidden_folders_are_left_out(tree: Tree, hidden: str) -> None:
    tree.file(f"m/{hidden}/a.safetensors")
    tree.file("m/._a.safetensors")
    tree.file("m/a.safetensors")
    tree.link("m/link", tree.top / "m" / hidden)
    # Found under the link's name: nobody would look behind it at its own.
    assert tree.walk("m") == ["m/a.safetensors", "m/link/a.safetensors"]
    assert tree.walk("m/" + hidden) == [f"m/{hidden}/a.safetensors"]


def test_a_link_to_a_folder_elsewhere_is_followed_once(tree: Tree) -> None:
    tree.file("disk/loras/a.safetensors")
    tree.file("disk/loras/sub/b.safetensors")
    tree.link("m/one", tree.top / "disk" / "loras")
    tree.link("m/two", tree.top / "disk" / "loras")
    tree.link("m/three", tree.top / "disk" / "loras" / "sub")
    assert tree.walk("m") == ["m/one/a.safetensors", "m/one/sub/b.safetensors"]


def test_a_link_to_what_is_scanned_is_left_to_its_own_place(tree: Tree) -> None:
    tree.file("m/real/a.safetensors")
    tree.file("other/b.safetensors")
    tree.link("m/a-first", tree.top / "m" / "real")
    tree.link("m/b.safetensors", tree.top / "other" / "b.safetensors")
    tree.link("m/c.safetensors", "real/a.safetensors")
    tree.link("m/other", tree.top / "other")
    assert tree.walk("m", "other") == ["m/real/a.safetensors", "other/b.safetensors"]
    assert tree.walk("m", known=("other",)) == ["m/real/a.safetensors"]
    assert tree.walk("m") == ["m/b.safetensors", "m/real/a.safetensors"]


def test_a_file_that_a_link_has_brought_does_not_come_again_through_a_link_to_its_folder(tree: Tree) -> None:
    tree.file("disk/a.safetensors")
    tree.file("disk/b.safetensors")
    tree.link("m/a.safetensors", tree.top / "disk" / "a.safetensors")
    tree.link("m/disk", tree.top / "disk")
    assert tree.walk("m") == ["m/a.safetensors", "m/disk/b.safetensors"]


def test_of_several_links_to_one_file_the_first_by_name_counts(tree: Tree) -> None:
    target = tree.file("store/file.safetensors")
    for name in "hgfedcbaij":
        tree.link(f"m/{name}.safetensors", target)
    assert tree.walk("m") == ["m/a.safetensors"]


def test_a_cache_of_blobs_is_found_by_the_names_of_its_links(tree: Tree) -> None:
    """As Hugging Face keeps downloads: the real files have no extension, or lie in a hidden folder."""
    tree.file("hub/models--x/blobs/6ad5")
    tree.file("hub/.store/c2d9.safetensors")
    tree.link("hub/models--x/snapshots/1/unet.safetensors", "../../blobs/6ad5")
    tree.link("hub/models--x/snapshots/1/vae.safetensors", "../../../.store/c2d9.safetensors")
    below = "hub/models--x/snapshots/1"
    assert tree.walk("hub") == [f"{below}/unet.safetensors", f"{below}/vae.safetensors"]


def test_loops_end(tree: Tree) -> None:
    tree.file("m/a/x.safetensors")
    tree.link("m/a/up", "..")
    tree.link("m/self", "self")
    tree.link("m/ping", "pong")
    tree.link("m/pong", "ping")
    tree.link("m/a/above", tree.top)
    tree.file("aside/y.safetensors")
    assert tree.walk("m") == ["m/a/x.safetensors", "m/a/above/aside/y.safetensors"]
    assert not tree.problems


def test_a_scanned_folder_may_be_a_link_itself(tree: Tree) -> None:
    tree.file("disk/a.safetensors")
    tree.link("m", "disk")
    tree.link("disk/again", tree.top / "m")
    assert tree.walk("m") == ["m/a.safetensors"]


def test_a_folder_named_twice_is_walked_once(tree: Tree) -> None:
    tree.file("m/a.safetensors")
    tree.link("alias", "m")
    assert tree.walk("m", "m/", "m/../m", "alias") == ["m/a.safetensors"]


def test_a_folder_within_another_comes_with_its_own_kind(tree: Tree) -> None:
    tree.file("m/a.safetensors")
    tree.file("m/in/b.safetensors")
    tree.file("m/in/deep/c.safetensors")
    walk = Walk(lambda path, message: pytest.fail(f"{path} {message}"))
    folders = [Folder(tree.top / "m", "lora"), Folder(tree.top / "m" / "in", "vae")]
    found = {entry.name: listing.root.kind for listing in walk.listings(folders, []) for entry in listing.models}
    assert found == {"a.safetensors": "lora", "b.safetensors": "vae", "c.safetensors": "vae"}


def test_what_is_no_file_of_a_model_though_it_is_called_so_is_told(tree: Tree) -> None:
    tree.file("m/folder.safetensors/inner.gguf")
    os.mkfifo(tree.top / "m" / "pipe.gguf")
    tree.link("m/gone.safetensors", "nowhere")
    tree.link("m/loop.safetensors", "loop.safetensors")
    tree.link("m/linked-pipe.gguf", "pipe.gguf")
    tree.link("m/gone", "nowhere")
    assert tree.walk("m") == ["m/folder.safetensors/inner.gguf"]
    assert tree.problems == {
        "m/folder.safetensors": "is a folder, not a model file",
        "m/pipe.gguf": "is no ordinary file",
        "m/linked-pipe.gguf": "is no ordinary file",
        "m/gone.safetensors": "is a link that leads nowhere",
        "m/loop.safetensors": "is a link that leads nowhere",
    }


def test_folders_that_are_not_there_are_told_unless_they_need_not_be(tree: Tree) -> None:
    tree.file("file")
    assert tree.walk("gone", "file", "file/below", Folder(tree.top / "own", optional=True)) == []
    assert tree.problems == {"gone": "is not there", "file": "is not a folder", "file/below": "is not there"}


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="other systems do not let such names be")
def test_names_that_are_not_utf8_are_told(tree: Tree) -> None:
    raw = os.fsencode(tree.top) + b"/m"
    os.makedirs(raw + b"/f\xff")
    for name in (b"/caf\xe9.safetensors", b"/f\xff/a.safetensors", b"/ok.safetensors", b"/n\xff.json", b"/n\xff.txt"):
        with open(raw + name, "wb"):
            pass
    os.symlink(b"/", raw + b"/l\xff")
    assert tree.walk("m") == ["m/ok.safetensors"]
    wrong = "has a name that is not valid UTF-8: rename it"
    assert {printable(path): message for path, message in tree.problems.items()} == {
        "m/caf\\xe9.safetensors": wrong,
        "m/f\\xff": wrong,
        "m/l\\xff": wrong,
    }
    tree.problems.clear()
    assert tree.walk(Folder(Path(os.fsdecode(raw + b"/f\xff")))) == []
    assert list(tree.problems.values()) == [wrong]


@given(st.binary(min_size=1, max_size=20).filter(lambda raw: b"/" not in raw and b"\0" not in raw))
def test_any_name_can_be_shown(raw: bytes) -> None:
    name = os.fsdecode(raw)
    shown = printable(name)
    assert shown.encode()
    assert (shown == name) == is_text(name)


def test_notes_and_pictures_are_listed_beside_the_files(tree: Tree) -> None:
    for name in ("a.safetensors", "a.JSON", "a.civitai.info", "a.preview.png", "a.txt", "a.yaml", "a.webm"):
        tree.file(f"m/{name}")
    tree.file("m/folder.json/x")
    walk = Walk(lambda path, message: pytest.fail(f"{path} {message}"))
    first, second = walk.listings([Folder(tree.top / "m")], [])
    assert [entry.name for entry in first.notes] == ["a.JSON", "a.civitai.info", "a.preview.png", "a.webm"]
    assert second.notes == []

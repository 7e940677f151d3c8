"""The gallery's commands on two galleries with the same pictures: here, and on a server."""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from commands import Commands, Outcome
from conftest import Server
from PIL import Image as Pillow
from PIL.PngImagePlugin import PngInfo

A1111 = """a cat on a mat <lora:ink:0.8>
Negative prompt: a dog
Steps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234, Size: 64x48, Model hash: abcdef1234, Model: dreamer"""
MOMENT = 1_700_000_000
"""Of the first picture's last change: 2023-11-14T22:13:20Z."""
CAT, PHOTO, SKETCH = (f"20231114-22132{second}-000_{seed}" for second, seed in ((0, 1234), (1, 0), (2, 0)))
"""What the three pictures of a folder are called in a gallery."""
IDS = (CAT, PHOTO, SKETCH)


def picture(form: str = "PNG", colour: str = "orange", text: str | None = None, width: int = 64) -> bytes:
    """A one-coloured file."""
    out, info = io.BytesIO(), PngInfo()
    if text is not None:
        info.add_text("parameters", text)
    extra: dict[str, Any] = {"pnginfo": info} if form == "PNG" else {}
    Pillow.new("RGB", (width, 48), colour).save(out, form, **extra)
    return out.getvalue()


def put(path: Path, data: bytes, second: int = 0) -> Path:
    """A file that was changed so many seconds after `MOMENT`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (MOMENT + second, MOMENT + second))
    return path


def lay_out(folder: Path) -> dict[str, Path]:
    """Three pictures under whatever names, by their ids."""
    return {
        CAT: put(folder / "a.png", picture(text=A1111)),
        PHOTO: put(folder / "sub" / "b.dat", picture("JPEG", "red"), 1),
        SKETCH: put(folder / "sub" / "c", picture("WEBP", "blue", width=80), 2),
    }


@dataclass(frozen=True)
class Galleries:
    """Runs each command twice: on this machine, and on a server."""

    commands: Commands
    server: Server
    pipe: Any

    def same(self, *arguments: str, piped: str = "") -> Outcome:
        """Check that both went the same way and return how; each is given `piped` on standard input."""
        outcomes = []
        for more in ((), ("--remote", self.server.url)):
            self.pipe(piped)
            outcomes.append(self.commands("images", *arguments, *more))
        places = (Path(os.environ["TSR_DATA_DIR"]), self.server.data_dir)
        here, there = (_without_sizes(outcome.comparable(*places)) for outcome in outcomes)
        assert here == there
        return outcomes[0]

    def document(self, *arguments: str, piped: str = "") -> Any:
        """The same as one JSON document, without words of people."""
        done = self.same(*arguments, "--json", piped=piped)
        assert (done.code, done.err) == (0, ""), done
        return json.loads(done.out)

    def fill(self, folder: Path) -> Galleries:
        """Both get the three pictures, through a folder."""
        lay_out(folder)
        assert self.same("import", str(folder), "--tag", "in").code == 0
        return self

    def listed(self, *arguments: str) -> list[str]:
        """Ids of what is listed."""
        return [image["id"] for image in self.document(*(arguments or ("list",)))["items"]]


def _without_sizes(outcome: Outcome) -> Outcome:
    """A record has its own path in it; the trash is gone through by the moments in which things came there."""
    out, err = (
        re.sub(r'[\d.]+ k?B\b|(?<=--cursor )\S+|(?<="bytes":)\d+|(?<="size":)\d+', "N", text)
        for text in (outcome.out, outcome.err)
    )
    return Outcome(outcome.code, out, err)


class Piped(io.TextIOWrapper):
    """Standard input with a text in it."""

    def __init__(self, text: str) -> None:
        super().__init__(io.BytesIO(text.encode()), "utf-8")


def empty_galleries(capsys: pytest.CaptureFixture[str], server: Server, monkeypatch: pytest.MonkeyPatch) -> Galleries:
    """One here and one on the server, both empty."""
    client = server.client()
    for image in client.images.list(limit=500).items:
        client.images.delete(image.id)
    client.close()
    commands = Commands(capsys)
    commands("images", "trash", "--empty", "--yes", "--remote", server.url, check=True)
    return Galleries(commands, server, lambda text: monkeypatch.setattr("sys.stdin", Piped(text)))

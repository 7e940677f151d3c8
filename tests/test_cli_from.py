"""`tsr generate --from`: a picture made again, with what is said instead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from commands import Commands, Outcome
from fake_tensors import FakeTensors

from tensors.errors import (
    ImageNotFound,
)
from tensors.types.files import Hash
from tensors.types.generation import GenerateRequest, Hires, Lora
from tensors.types.remake import Difference, MissingPart, Remake


@pytest.fixture
def tsr(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


AGAIN = GenerateRequest(
    prompt="a red circle",
    model="shapes",
    seed=5,
    steps=9,
    width=64,
    height=64,
    loras=(Lora(name="x", weight=0.5),),
    hires=Hires(scale=2, upscaler="Lanczos", steps=3),
)
DIFFERENCES = (
    Difference(what="engine", says="the engine was another one"),
    Difference(what="tsr", says="tsr was older"),
)
MODEL = MissingPart(
    kind="model", name="old", hash=Hash(kind="autov2", value="ab" * 5), version_id=7, command="tsr dl --version 7"
)
LORA = MissingPart(kind="lora", name="gone")
INPUT = MissingPart(kind="input", name="sha256:1234")


@pytest.fixture
def remake(fake: FakeTensors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTensors:
    """A picture with the id `one` and a file `one.png` that tell how they were made."""
    fake.answers |= {"images.remake": Remake(request=AGAIN, differences=DIFFERENCES)}
    fake.answers |= {"images.remake_file": fake.answers["images.remake"]}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.png").write_bytes(b"the file")
    return fake


def requests(done: Outcome) -> list[GenerateRequest]:
    """What a dry run would have drawn."""
    assert done.code == 0, done.err + done.out
    return msgspec.json.decode(done.out, type=list[GenerateRequest])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), AGAIN),
        (("a star", "--steps", "20", "-s", "-1"), replace(AGAIN, prompt="a star", steps=20, seed=-1)),
        (("-b", "3", "--force"), replace(AGAIN, batch_size=3, force=True)),
        (("--size", "128x256", "-W", "192"), replace(AGAIN, width=192, height=256)),
        (("-l", "y", "-t", "again"), replace(AGAIN, loras=(Lora(name="y"),), tags=("again",))),
        (("--hires-steps", "4"), replace(AGAIN, hires=Hires(scale=2, upscaler="Lanczos", steps=4))),
        (("--hires", "3"), replace(AGAIN, hires=Hires(scale=3, upscaler="Lanczos", steps=3))),
    ],
    ids=lambda part: " ".join(part) or "nothing" if isinstance(part, tuple) else "",
)
def test_a_picture_is_made_again_with_what_is_said_instead(
    remake: FakeTensors, tsr: Commands, options: tuple[str, ...], wanted: GenerateRequest
) -> None:
    done = tsr("generate", "--from", "one", *options, "--dry-run", "--json")
    assert requests(done) == [wanted]
    assert remake.called("images.remake") == ["one"]


def test_a_file_tells_how_it_was_made_and_what_differs_is_said(remake: FakeTensors, tsr: Commands) -> None:
    done = tsr("generate", "--from", "one.png", "--dry-run", check=True)
    assert remake.called("images.remake_file") == [b"the file"]
    assert done.err == "the engine was another one\ntsr was older\n1 picture in 1 job; nothing is drawn\n"
    assert done.out.split("  ")[-1] == "size=64x64 model=shapes steps=9 seed=5 lora=x:0.5 hires=2\n"


def test_a_picture_that_is_made_again_can_be_swept(remake: FakeTensors, tsr: Commands) -> None:
    done = tsr("generate", "--from", "one", "--sweep", "steps=1,2", "--sweep", "lora:x=0.25,1", "--dry-run", "--json")
    assert requests(done) == [
        replace(AGAIN, steps=steps, loras=(Lora(name="x", weight=weight),))
        for weight in (0.25, 1.0)
        for steps in (1, 2)
    ]


@pytest.mark.parametrize(
    ("missing", "code", "said", "instead"),
    [
        (
            (MODEL,),
            "model_not_found",
            "error: not here: model 'old' (autov2 ababababab)\nhint:  tsr dl --version 7\n",
            ("-m", "shapes"),
        ),
        ((MODEL,), "model_not_found", "error: not here: model 'old'", ("--sweep", "model=shapes")),
        (
            (LORA,),
            "lora_not_found",
            "error: not here: LoRA 'gone'\nhint:  --lora NAME takes others\n",
            ("-l", "y"),
        ),
        (
            (MODEL, LORA),
            "model_not_found",
            "error: not here: model 'old' (autov2 ababababab), LoRA 'gone'\n"
            "hint:  tsr dl --version 7\n       --lora NAME takes others\n",
            ("-m", "shapes", "-l", "y"),
        ),
        (
            (INPUT,),
            "invalid_request",
            "error: not here: the picture that it was drawn over, 'sha256:1234'\n"
            "hint:  --init-image FILE takes another one\n",
            ("-i", "one.png"),
        ),
    ],
    ids=["model", "swept", "lora", "both", "input"],
)
def test_what_is_missing_is_told_unless_something_else_is_named(
    remake: FakeTensors, tsr: Commands, missing: tuple[MissingPart, ...], code: str, said: str, instead: tuple[str, ...]
) -> None:
    remake.answers["images.remake"] = Remake(request=AGAIN, missing=missing)
    done = tsr("generate", "--from", "one", "--dry-run")
    assert (done.code, done.out) == (2 if code == "invalid_request" else 3, "")
    assert done.err.startswith(said)
    as_json = tsr("generate", "--from", "one", "--dry-run", "--json")
    assert json.loads(as_json.out)["error"]["code"] == code
    assert tsr("generate", "--from", "one", "--dry-run", *instead).code == 0


def test_a_picture_that_is_not_known_is_told(remake: FakeTensors, tsr: Commands) -> None:
    remake.answers["images.remake"] = ImageNotFound("image 'two' not found")
    assert tsr("generate", "--from", "two").code == 3

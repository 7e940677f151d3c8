"""What the shell completes from the library, the queue and the gallery."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from click.shell_completion import BashComplete
from fake_tensors import FakeTensors
from library_samples import FILES, MODEL, a_job

from tensors.cli.main import cli
from tensors.errors import ServerUnreachable
from tensors.types.base import Page
from tensors.types.gallery import Image
from tensors.types.generation import Settings, UsedModel
from tensors.types.models import LoraEntry, ModelEntry
from tensors.types.server import EngineStatus

SETTINGS = Settings(
    prompt="a red\ncircle",
    negative_prompt="",
    model=UsedModel(name="shapes", family="shapes"),
    width=64,
    height=64,
    steps=4,
    cfg_scale=2.0,
    sampler="euler",
    scheduler="discrete",
    seed=1,
)
IMAGE = Image(
    id="20260101-000000_1",
    created="2026-01-01T00:00:00.000Z",
    job="ab1",
    index=0,
    width=64,
    height=64,
    settings=SETTINGS,
    engine="sd-server 1",
    tsr="1",
    path="/p.png",
)
ANSWERS: dict[str, Any] = {
    "db.files": Page(items=FILES),
    "db.models": Page(items=(MODEL, replace(MODEL, id=4411), replace(MODEL, id=99, name="ev\x1b[31mil"))),
    "jobs.list": Page(items=(replace(a_job("scan"), id="ab1", state="running"), replace(a_job("scan"), id="ab2"))),
    "images.list": Page(items=(IMAGE,)),
    "models.list": Page(
        items=(
            ModelEntry(name="photo", path="/p", kind="checkpoint", family="sdxl", size=1),
            ModelEntry(name="pho\nto", path="/q", kind="checkpoint", family="sdxl", size=1),
            ModelEntry(name="phony", path="/r", kind="unknown", family="unknown", size=1, problem="is cut off"),
        )
    ),
    "models.loras": Page(items=(LoraEntry(name="ink", path="/i", family="pony", size=1),)),
    "backends.list": Page(items=(EngineStatus(state="ready", name="gpu0"), EngineStatus(state="busy", name="studio"))),
}


def offered(line: str) -> list[tuple[str, str | None]]:
    """What the shell would offer for the last word of a line, and what it would say about it."""
    *words, last = line.split(" ")[1:]
    return [
        (item.value, item.help) for item in BashComplete(cli, {}, "tsr", "_TSR_COMPLETE").get_completions(words, last)
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tsr dl 4", [(str(MODEL.id), MODEL.name), ("4411", MODEL.name)]),
        ("tsr dl 4411 99", [("99", r"ev\x1b[31mil")]),
        ("tsr jobs cancel a", [("ab1", "scan, running")]),
        ("tsr jobs pause ab1 b", []),
        ("tsr images delete 2026", [(IMAGE.id, "a red circle")]),
        ("tsr db show st", [("style", None)]),
        ("tsr models switch pho", [("photo", "sdxl")]),
        ("tsr models show pho", [("photo", "sdxl")]),
        ("tsr models loras --fits pho", [("photo", "sdxl")]),
        ("tsr models switch photo --backend s", [("studio", "process, busy")]),
        ("tsr models unload gpu0 s", [("studio", "process, busy")]),
        ("tsr logs g", [("gpu0", "process, ready")]),
        ("tsr generate x --model pho", [("photo", "sdxl")]),
        ("tsr generate x --lora i", [("ink", "pony")]),
    ],
)
def test_what_is_there_is_offered(line: str, expected: list[tuple[str, str | None]], fake: FakeTensors) -> None:
    fake.answers = ANSWERS
    assert offered(line) == expected


def test_settings_are_offered_with_their_meaning() -> None:
    found = dict(offered("tsr config set downloads."))
    assert found == {"downloads.at_once": "Downloads that are done at the same time."}


@pytest.mark.parametrize(
    "line",
    ["tsr dl 4", "tsr jobs cancel a", "tsr images delete 2026", "tsr db show st", "tsr models show p", "tsr logs g"],
)
def test_without_an_answer_nothing_is_offered(line: str, fake: FakeTensors) -> None:
    fake.answers = dict.fromkeys(ANSWERS, ServerUnreachable("gone"))
    assert offered(line) == []

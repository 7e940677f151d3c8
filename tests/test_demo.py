"""`tsr demo`, which is `make demo`: pictures by the real engine, through HTTP, that show what their prompts say."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import Tsr
from palette import colours

from tensors.cli.demo import PROMPTS


@pytest.mark.engine
def test_demo_draws_what_its_prompts_say_and_leaves_nothing_running(tsr: Tsr, real_engine: Path) -> None:
    answer: Any = tsr.json("demo")
    assert len(answer["images"]) == len(PROMPTS) >= 4
    for image, (prompt, seed) in zip(answer["images"], PROMPTS, strict=True):
        file = Path(image["path"])
        assert file.parent == Path(answer["directory"])
        words = prompt.split()
        assert colours(file.read_bytes()) == (words[1], words[5]), prompt
        assert image["settings"]["seed"] == seed
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#/gallery", answer["gallery"])
    data_dir = os.environ["TSR_DATA_DIR"]
    assert [process for process in psutil.process_iter(["cmdline"]) if data_dir in str(process.info["cmdline"])] == []


def test_demo_says_what_it_does(tsr: Tsr, fake_engine: Path) -> None:
    done = tsr("demo", check=True)
    assert len(done.stdout.splitlines()) == len(PROMPTS)
    said = done.stderr
    assert said.count("$ tsr generate") == len(PROMPTS)
    for word in ("The engine", "The server", "The pictures are in", "/#/gallery", "Done in"):
        assert word in said
    assert "--remote http://127.0.0.1:" in said


def test_demo_of_a_broken_engine_fails_and_says_why(tsr: Tsr, fake_engine: Path) -> None:
    done = tsr("demo", FAKE_SD_FAIL="1")
    assert done.returncode == 5
    assert "the engine could not draw it" in done.stderr

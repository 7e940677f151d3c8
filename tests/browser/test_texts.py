"""Texts that would be markup stay texts, and files of other programs give theirs."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator

import pytest
from galleries import A1111, picture
from playwright.sync_api import Locator, expect
from serving import Api, serving

from browser.visit import OpenVisit
from tensors.models import demo_dir

EVIL = """<img src=x onerror="alert(1)">"><script>alert(2)</script>"""
EVIL_NAME = "<img src=x onerror=alert(3)>"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """With a model and a LoRA of that name."""
    root = tmp_path_factory.mktemp("server")
    for kind, source in {"checkpoints": "shapes.safetensors", "loras": "loras/shapes-outline.safetensors"}.items():
        target = root / "data" / "models" / kind / f"{EVIL_NAME}.safetensors"
        target.parent.mkdir(parents=True)
        shutil.copy(demo_dir() / source, target)
    with serving(root) as api:
        yield api


def holds_text(where: Locator, text: str) -> None:
    """It is there as it was written, and no element was made of it."""
    expect(where.first).to_contain_text(text)
    expect(where.page.locator("img[src=x], main script, dialog script")).to_have_count(0)


def test_markup_in_prompts_tags_and_names_stays_text(visit: OpenVisit, api: Api) -> None:
    api.generate(prompt=EVIL, tags=[EVIL[:60]], steps=1, model=EVIL_NAME)
    failed = api.post(prompt=EVIL, model=f"{EVIL_NAME}2")
    assert failed.status_code == 404

    on = visit(api.server)
    on.by("combobox", "Model").select_option(EVIL_NAME)
    on.press("Add LoRA")
    on.by("dialog", "Add a LoRA").get_by_role("button", name=EVIL_NAME).click()
    expect(on.by("button", f"Remove LoRA {EVIL_NAME}")).to_be_visible()
    on.ask(EVIL, Steps=1)
    expect(on.stage.get_by_role("img", name=EVIL).first).to_be_visible()
    holds_text(on.page.get_by_role("banner"), EVIL_NAME)
    on.walk("Gallery").drawn(EVIL).click()
    holds_text(on.box, EVIL)
    holds_text(on.box, EVIL_NAME)
    on.box.get_by_role("textbox", name="Add a tag").fill(EVIL[:40])
    on.box.get_by_role("textbox", name="Add a tag").press("Enter")
    expect(on.box.get_by_role("button", name=f"Remove tag {EVIL[:40]}", exact=True)).to_be_visible()
    on.press("Close", on.box)
    on.walk("Queue")
    holds_text(on.by("region", "Done"), EVIL)
    on.walk("Library")
    on.press("Scan folders")
    holds_text(on.page.get_by_role("article").filter(has_text="LoRA"), EVIL_NAME)


FOREIGN = A1111.replace("64x48", "96x64")
DROP = """
(target, { data, name }) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
  for (const kind of ["dragenter", "dragover", "drop"])
    target.dispatchEvent(new DragEvent(kind, { dataTransfer, bubbles: true, cancelable: true }));
}
"""


def test_a_dropped_picture_of_another_program_fills_the_form(visit: OpenVisit, api: Api) -> None:
    on = visit(api.server)
    expect(on.prompt).to_be_visible()
    data = base64.b64encode(picture(text=FOREIGN)).decode()
    on.page.locator("body").evaluate(DROP, {"data": data, "name": EVIL_NAME})
    on.press("Use its settings")
    expect(on.prompt).to_have_value("a cat on a mat")
    expect(on.by("textbox", "Negative prompt")).to_have_value("a dog")
    for name, value in {"Steps": "20", "CFG scale": "7", "Seed": "1234", "Width": "96", "Height": "64"}.items():
        expect(on.by("spinbutton", name)).to_have_value(value)
    expect(on.by("combobox", "Sampler")).to_have_value("dpm++2m")
    expect(on.by("combobox", "Scheduler")).to_have_value("karras")
    # What is not here is said.
    expect(on.page.get_by_role("main")).to_contain_text("dreamer is not here")
    expect(on.page.get_by_role("main")).to_contain_text("ink is not here")

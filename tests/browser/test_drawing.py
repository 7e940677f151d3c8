"""The whole way with a real engine: a prompt, its picture, what is done with it, another model."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server, running
from observe import last_event, pixels
from palette import colours
from playwright.sync_api import expect
from test_switching import other_model

from browser.visit import RED_ON_BLUE, OpenVisit, Visit
from tensors.client import TsrClient
from tensors.types.gallery import Image

pytestmark = pytest.mark.engine

STEPS = 12
"""Enough to be seen one after the other."""
AS_PNG = """
picture => {
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  return canvas.toDataURL("image/png").split(",")[1];
}
"""


@pytest.fixture(scope="module")
def server(sd_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("server")
    other_model(root / "data" / "models" / "checkpoints" / "other.safetensors")
    with running(root / "data", TSR_ENGINE=str(sd_server), TSR_CONFIG=str(root / "config.toml")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[TsrClient]:
    """With an empty gallery."""
    with contextlib.closing(server.client()) as client:
        for image in client.images.list(limit=500).items:
            client.images.delete(image.id)
        yield client


def draw(on: Visit, client: TsrClient, prompt: str = RED_ON_BLUE, **numbers: int) -> Image:
    """Draw one picture and wait until it is shown."""
    with on.page.expect_response("**/api/generate") as answer:
        on.ask(prompt, **numbers)
    ended = last_event(client, client.jobs.get(answer.value.json()["job"]["id"]))
    (image,) = ended.images
    expect(on.stage.locator(f'a[href$="{image}"]').first).to_be_visible()
    expect(on.bar).to_have_count(0)
    return client.images.get(image)


def test_a_prompt_becomes_its_picture_while_progress_moves(visit: OpenVisit, server: Server, client: TsrClient) -> None:
    on = visit(server)
    expect(on.by("spinbutton", "Width")).to_have_value("64")
    image = draw(on, client, Steps=STEPS)

    steps = [now for now, most in on.progress() if most >= STEPS]
    assert steps == sorted(steps)
    assert len(set(steps)) > 3
    assert (image.settings.prompt, image.settings.steps) == (RED_ON_BLUE, STEPS)
    assert colours(client.images.read(image.id)) == ("red", "blue")
    # Not only kept, but shown.
    shown = on.stage.get_by_role("img", name=RED_ON_BLUE).first
    expect(shown).to_have_js_property("naturalWidth", image.width)
    assert colours(base64.b64decode(shown.evaluate(AS_PNG))) == ("red", "blue")


def test_a_picture_is_opened_tagged_rated_deleted_and_brought_back(
    visit: OpenVisit, server: Server, client: TsrClient
) -> None:
    on = visit(server)
    image = draw(on, client, Steps=2)
    on.walk("Gallery").drawn(RED_ON_BLUE).click()

    on.press("Favourite", on.box)
    expect(on.box.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    on.box.get_by_role("radiogroup", name="Rating").get_by_role("radio", name="4 stars").check(force=True)
    on.box.get_by_role("textbox", name="Add a tag").fill("kept")
    on.box.get_by_role("textbox", name="Add a tag").press("Enter")
    expect(on.box.get_by_role("button", name="Remove tag kept")).to_be_visible()
    on.press("Delete", on.box)
    expect(on.says("moved to the trash")).to_be_visible()
    expect(on.box).to_have_count(0)
    expect(on.drawn(RED_ON_BLUE)).to_have_count(0)
    edited = client.images.list(deleted=True).items[0]
    assert (edited.id, edited.rating, edited.favourite, edited.tags) == (image.id, 4, True, ("kept",))

    on.press("Undo")
    expect(on.drawn(RED_ON_BLUE)).to_be_visible()
    assert [kept.id for kept in client.images.list().items] == [image.id]


def test_a_picture_comes_back_from_the_trash(visit: OpenVisit, server: Server, client: TsrClient) -> None:
    on = visit(server)
    prompt = f"a green circle on a yellow background, on a {on.size}"
    image = draw(on, client, prompt, Steps=2)
    on.walk("Gallery").drawn(prompt).click()
    on.press("Delete", on.box)
    expect(on.box).to_have_count(0)

    on.by("link", "Trash").click()
    expect(on.by("heading", "Trash")).to_have_count(1)
    gone = on.pictures.get_by_role("listitem").filter(has=on.by("img", prompt))
    gone.get_by_role("button", name="Restore").click()
    expect(gone).to_have_count(0)
    on.by("link", "All pictures").click()
    expect(on.drawn(prompt)).to_be_visible()
    assert [kept.id for kept in client.images.list().items] == [image.id]


def test_the_other_model_draws_the_next_picture(visit: OpenVisit, server: Server, client: TsrClient) -> None:
    on = visit(server)
    drawn = {}
    for model in ("shapes", "other"):
        on.by("combobox", "Model").select_option(model)
        image = draw(on, client, Steps=4, Seed=7)
        assert image.settings.model.name == model
        drawn[model] = pixels(client.images.read(image.id))
    assert drawn["shapes"] != drawn["other"]

    on.by("combobox", "Model").select_option("shapes")
    on.press("Load now")
    expect(on.page.get_by_role("banner")).to_contain_text("shapes")
    expect(on.by("button", "Load now")).to_have_count(0)
    active = client.models.active()
    assert active is not None
    assert active.name == "shapes"

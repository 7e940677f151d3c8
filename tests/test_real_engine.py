"""A real sd-server and the model that ships: right pictures, right progress, right records, and nothing left behind."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Server, StartServer, Tsr, running
from fake_sd_server import COLOURS
from observe import drawing, engine_pid, eventually, gallery_images, is_gone, last_event, pixels, wait_for
from palette import colours
from PIL import Image as Pillow

from tensors.client import TsrClient
from tensors.models import demo_dir
from tensors.types.gallery import Image
from tensors.types.generation import GenerateRequest, Hires

pytestmark = pytest.mark.engine

PROMPT = "a red circle on a blue background"
MODEL = demo_dir() / "shapes.safetensors"
LORA = demo_dir() / "loras" / "shapes-outline.safetensors"


@pytest.fixture(scope="module")
def server(sd_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("server")
    with running(root / "data", TSR_ENGINE=str(sd_server), TSR_CONFIG=str(root / "config.toml")) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[TsrClient]:
    with contextlib.closing(server.client()) as client:
        yield client


def request(prompt: str = PROMPT, **changes: object) -> GenerateRequest:
    """64x64 with few steps: enough to tell two pictures apart."""
    return GenerateRequest(**{"prompt": prompt, "width": 64, "height": 64, "steps": 3, "seed": 7, **changes})  # type: ignore[arg-type]


def draw(client: TsrClient, wanted: GenerateRequest) -> list[Image]:
    end = last_event(client, client.generate(wanted))
    assert end.state == "succeeded", end.error
    return [client.images.get(image) for image in end.images]


def drawn(client: TsrClient, wanted: GenerateRequest) -> list[bytes]:
    """The pixels of each picture of a job."""
    return [pixels(client.images.read(image.id)) for image in draw(client, wanted)]


def far(one: bytes, other: bytes) -> float:
    """Mean difference of two pictures' channels, 0 to 255."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


def as_base64(picture: Pillow.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_here_and_there_draw_the_same_picture_and_the_right_one(
    server: Server, real_engine: Path, tsr: Tsr, tmp_path: Path
) -> None:
    made = {}
    for name, where in {"here": [], "there": ["--remote", server.url], "again": ["--remote", server.url]}.items():
        target = tmp_path / f"{name}.png"
        tsr("generate", PROMPT, "--seed", "7", "--size", "64x64", "-o", str(target), *where, check=True)
        made[name] = pixels(target)
        assert colours(target.read_bytes()) == ("red", "blue")
    assert made["here"] == made["there"] == made["again"]
    assert list((tmp_path / "data" / "run").glob("engine-*.json")) == [], "the engine outlived the command"


@pytest.mark.parametrize(
    ("shape", "background"), [("green", "white"), ("yellow", "black"), ("purple", "orange"), ("cyan", "red")]
)
def test_pictures_have_the_colours_of_their_prompt(client: TsrClient, shape: str, background: str) -> None:
    (image,) = draw(client, request(f"a {shape} square on a {background} background", steps=10))
    assert colours(client.images.read(image.id)) == (shape, background)


def test_picture_i_of_a_batch_is_the_one_of_seed_plus_i(client: TsrClient) -> None:
    batch = drawn(client, request(seed=20, batch_size=3))
    assert len(set(batch)) == 3
    assert batch[1:] == [*drawn(client, request(seed=21)), *drawn(client, request(seed=22))]


def test_a_lora_changes_the_picture_and_its_removal_restores_it(client: TsrClient) -> None:
    before = drawn(client, request())
    with_lora = drawn(client, request(f"{PROMPT} <lora:shapes-outline:1>"))
    assert far(before[0], with_lora[0]) > 5
    assert drawn(client, request()) == before


def test_img2img_keeps_as_much_as_its_strength_says(client: TsrClient) -> None:
    first = client.images.read(draw(client, request(steps=10))[0].id)
    other = {"prompt": "a green square on a white background", "init_image": base64.b64encode(first).decode()}
    (little,) = drawn(client, request(steps=10, strength=0.1, **other))
    (all_new,) = draw(client, request(steps=10, strength=1.0, **other))
    assert far(pixels(first), little) < 6
    assert colours(client.images.read(all_new.id)) == ("green", "white")


def test_the_black_part_of_a_mask_is_kept(client: TsrClient) -> None:
    init = Pillow.new("RGB", (64, 64), COLOURS["yellow"])
    mask = Pillow.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    wanted = request(steps=10, init_image=as_base64(init), mask=as_base64(mask), strength=1.0)
    (image,) = draw(client, wanted)
    with Pillow.open(io.BytesIO(client.images.read(image.id))) as picture:
        left, right = (picture.convert("RGB").crop(box).tobytes() for box in ((0, 0, 28, 64), (36, 0, 64, 64)))
    kept = bytes(COLOURS["yellow"]) * (28 * 64)
    assert far(left, kept) < 3
    assert far(right, kept) > 40


def test_the_hires_fix_draws_larger(client: TsrClient) -> None:
    hires = Hires(scale=4.0, upscaler="Lanczos", steps=2, denoising_strength=0.1)
    (image,) = draw(client, request(steps=10, hires=hires))
    assert (image.width, image.height) == (256, 256)
    png = client.images.read(image.id)
    with Pillow.open(io.BytesIO(png)) as picture:
        assert picture.size == (256, 256)
    assert colours(png) == ("red", "blue")


def test_every_step_is_told(client: TsrClient) -> None:
    events = list(client.jobs.events(client.generate(request(steps=8, batch_size=2)).id))
    told = [event.progress for event in events if event.progress and event.progress.phase == "sampling"]
    assert [(now.image, now.step) for now in told] == [(image, step) for image in (1, 2) for step in range(1, 9)]
    assert {now.steps for now in told} == {8}
    assert any(now.seconds_left for now in told)
    assert events[-1].state == "succeeded"


def test_cancelling_a_running_job_frees_the_engine(client: TsrClient) -> None:
    engine = engine_pid(client)
    job = client.generate(request(steps=100, batch_size=2))
    wait_for(client, job, lambda event: drawing(event, step=3))
    began = time.monotonic()
    assert client.jobs.cancel(job.id).state == "cancelled"
    assert time.monotonic() - began < 3
    assert is_gone(engine)
    assert len(drawn(client, request())) == 1


def test_a_killed_engine_costs_one_more_try(client: TsrClient) -> None:
    undisturbed = drawn(client, request(steps=10))
    engine, attempts = engine_pid(client), set()
    job = client.generate(request(steps=10))
    for event in client.jobs.events(job.id):
        if drawing(event, step=3) and not attempts:
            os.kill(engine, signal.SIGKILL)
        if drawing(event, step=3) and event.progress:
            attempts.add(event.progress.attempt)
    assert (event.state, attempts) == ("succeeded", {1, 2})
    assert [pixels(client.images.read(image)) for image in event.images] == undisturbed


def test_a_killed_server_draws_the_same_picture_when_it_is_back(
    start_server: StartServer, real_engine: Path, client: TsrClient
) -> None:
    first = start_server()
    with contextlib.closing(first.client()) as own:
        engine = engine_pid(own)
        job = own.generate(request(steps=10))
        wait_for(own, job, lambda event: drawing(event, step=3))
        first.kill()
    assert eventually(lambda: is_gone(engine)) < 2
    second = start_server()
    with contextlib.closing(second.client()) as own:
        assert last_event(own, job).state == "succeeded"
        engine = engine_pid(own)
    (image,) = gallery_images(second.data_dir)
    assert pixels(Path(image.path)) == drawn(client, request(steps=10))[0]
    assert second.stop() == 0
    assert eventually(lambda: is_gone(engine)) < 2


def test_a_picture_records_what_made_it(client: TsrClient, server: Server) -> None:
    (image,) = draw(client, request(f"{PROMPT} <lora:shapes-outline:0.5>", cfg_scale=2.5, tags=("test",)))
    with Pillow.open(image.path) as picture:
        texts = picture.text  # type: ignore[attr-defined]
    assert json.loads(texts["tsr"]) == json.loads(Path(image.path).with_suffix(".json").read_text("utf-8"))
    prompt, line = texts["parameters"].split("\n")
    assert prompt == f"{PROMPT} <lora:shapes-outline:0.5>"
    # As A1111 splits it: `name: value`, a value with commas in quotes.
    fields = {
        name: value.strip('"') for name, value in re.findall(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)', line)
    }
    model_hash = hashlib.sha256(MODEL.read_bytes()).hexdigest()
    weights = LORA.read_bytes()
    autov3 = hashlib.sha256(weights[8 + int.from_bytes(weights[:8], "little") :]).hexdigest()
    assert fields["Model hash"] == model_hash[:10]
    assert fields["Lora hashes"] == f"shapes-outline: {autov3[:12]}"
    expected = {"Steps": "3", "Seed": "7", "CFG scale": "2.5", "Size": "64x64", "Model": "shapes", "Sampler": "Euler"}
    assert expected.items() <= fields.items()
    assert image.settings.model.sha256 == model_hash
    assert image.settings.loras[0].autov3 == autov3

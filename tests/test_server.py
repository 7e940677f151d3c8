"""The HTTP API of a real server with the fake engine: what it answers to requests that are right."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from observe import pixels
from palette import colours
from PIL import Image
from serving import RED_ON_BLUE, SMALL, Api, picture_base64, serving

from tensors import __version__
from tensors.families import defaults_for
from tensors.types.generation import MAX_SEED


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with serving(tmp_path_factory.mktemp("server")) as api:
        yield api


def test_health_says_ok(api: Api) -> None:
    assert api.get("/api/health") == {"status": "ok"}


def test_version_names_tsr_engine_and_python(api: Api) -> None:
    version = api.get("/api/version")
    assert version == {
        "tsr": __version__,
        "engine": version["engine"],
        "python": sys.version.partition(" ")[0],
        "api": 1,
    }
    assert version["engine"].startswith("sd-server ")


def test_status_tells_what_runs_and_counts_pictures(api: Api) -> None:
    before = api.get("/api/status")["images"]
    api.generate(batch_size=2)
    status = api.get("/api/status")
    assert status["images"] == before + 2
    assert (status["mode"], status["url"], status["version"]) == ("server", api.server.url, __version__)
    assert status["data_dir"] == str(api.server.data_dir)
    assert (status["queued"], status["running"]) == (0, 0)
    assert status["engine"]["state"] == "ready"
    assert (status["engine"]["model"], status["engine"]["family"]) == ("shapes", "shapes")
    assert status["engine"]["pid"] > 0
    assert status["uptime_seconds"] > 0


@pytest.mark.parametrize(("disc", "ground"), [("red", "blue"), ("yellow", "black")])
def test_generate_answers_with_a_picture_of_what_the_prompt_says(api: Api, disc: str, ground: str) -> None:
    answer = api.generate(prompt=f"a {disc} circle on a {ground} background")
    (image,) = answer["images"]
    assert answer["job"]["state"] == "succeeded"
    assert answer["job"]["images"] == [image["id"]]
    assert (image["job"], image["index"], image["base64"]) == (answer["job"]["id"], 0, None)
    assert colours(api.file(image["id"])) == (disc, ground)


def test_return_base64_carries_the_file_itself(api: Api) -> None:
    (image,) = api.generate(return_base64=True)["images"]
    png = base64.b64decode(image["base64"], validate=True)
    assert png == api.file(image["id"])
    with Image.open(io.BytesIO(png)) as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 64))


def test_without_waiting_the_job_is_answered_and_can_be_followed(api: Api) -> None:
    response = api.post(wait=False, batch_size=2)
    assert response.status_code == 202
    job = response.json()["job"]
    assert response.json()["images"] == []
    assert (job["kind"], job["state"], job["images"]) == ("generate", "queued", [])
    events = api.events(job["id"])
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert {event["job"] for event in events} == {job["id"]}
    assert all(event["state"] in ("queued", "running") for event in events[:-1])
    assert events[-1]["state"] == "succeeded"
    now = api.get(f"/api/jobs/{job['id']}")
    assert (now["state"], now["images"]) == ("succeeded", events[-1]["images"])
    assert len(now["images"]) == 2
    assert now["settings"] == job["settings"]
    assert now["finished"] >= now["created"] == job["created"]


def test_pictures_of_a_batch_have_the_seeds_from_the_given_one_on(api: Api) -> None:
    images = api.generate(seed=41, batch_size=3)["images"]
    assert [image["settings"]["seed"] for image in images] == [41, 42, 43]
    assert [image["index"] for image in images] == [0, 1, 2]
    assert {image["settings"]["batch_size"] for image in images} == {1}
    assert images[1]["id"].endswith("_42")
    (alone,) = api.generate(seed=42)["images"]
    drawn = [pixels(api.file(image["id"])) for image in images]
    assert pixels(api.file(alone["id"])) == drawn[1]
    assert len(set(drawn)) == 3


def test_a_batch_of_twenty_is_split_over_calls_of_at_most_eight(api: Api) -> None:
    before = len(api.sent())
    answer = api.generate(seed=100, batch_size=20, steps=1)
    assert [image["settings"]["seed"] for image in answer["images"]] == list(range(100, 120))
    assert answer["job"]["images"] == [image["id"] for image in answer["images"]]
    calls = [(body["seed"], body["batch_count"]) for body in api.sent()[before:]]
    assert calls == [(100, 8), (108, 8), (116, 4)]


def test_a_seed_left_open_is_drawn_here_and_told(api: Api) -> None:
    before = len(api.sent())
    seeds = [api.generate(**given)["images"][0]["settings"]["seed"] for given in ({}, {"seed": -1})]
    assert seeds[0] != seeds[1]
    assert all(0 <= seed <= MAX_SEED for seed in seeds)
    assert [body["seed"] for body in api.sent()[before:]] == seeds


def test_what_is_left_open_is_filled_in_with_the_familys_defaults(api: Api) -> None:
    response = api.http.post("/api/generate", json={"prompt": RED_ON_BLUE})
    (image,) = response.json()["images"]
    used, sent, defaults = image["settings"], api.sent()[-1], defaults_for("shapes")
    assert defaults.hires
    assert {name: used[name] for name in asdict(defaults)} == asdict(defaults)
    assert used["model"]["name"] == used["model"]["family"] == "shapes"
    assert (image["width"], image["height"]) == (256, 256)
    assert (sent["width"], sent["height"], sent["negative_prompt"]) == (64, 64, "")
    assert sent["sample_params"] == {
        "sample_steps": defaults.steps,
        "sample_method": defaults.sampler,
        "scheduler": defaults.scheduler,
        "guidance": {"txt_cfg": defaults.cfg_scale},
    }
    assert sent["hires"] == {"enabled": True, **asdict(defaults.hires)}


SAID: dict[str, Any] = {
    "negative_prompt": "fog",
    "width": 128,
    "height": 192,
    "steps": 3,
    "cfg_scale": 4.5,
    "guidance": 2.5,
    "sampler": "heun",
    "scheduler": "exponential",
    "seed": 5,
    "clip_skip": 2,
    "tags": ["one", "two"],
    "model": "shapes",
}


def test_what_was_said_wins_over_the_defaults(api: Api) -> None:
    (image,) = api.generate(**SAID)["images"]
    used, sent = image["settings"], api.sent()[-1]
    assert {name: used[name] for name in SAID if name != "model"} == {n: v for n, v in SAID.items() if n != "model"}
    # A size of one's own is the size of the picture: the family's hires fix is not forced on it.
    assert used["hires"] is None
    assert "hires" not in sent
    assert (image["width"], image["height"]) == (128, 192)
    assert (sent["prompt"], sent["negative_prompt"]) == (RED_ON_BLUE, "fog")
    assert (sent["width"], sent["height"], sent["seed"], sent["clip_skip"]) == (128, 192, 5, 2)
    assert sent["sample_params"] == {
        "sample_steps": 3,
        "sample_method": "heun",
        "scheduler": "exponential",
        "guidance": {"txt_cfg": 4.5, "distilled_guidance": 2.5},
    }


def test_zero_and_nothing_are_values_too(api: Api) -> None:
    """What counts as false in Python must not be taken for 'left open'."""
    (image,) = api.generate(negative_prompt="", cfg_scale=0, guidance=0, seed=0)["images"]
    used = image["settings"]
    assert (used["negative_prompt"], used["cfg_scale"], used["guidance"], used["seed"]) == ("", 0, 0, 0)
    assert api.sent()[-1]["sample_params"]["guidance"] == {"txt_cfg": 0, "distilled_guidance": 0}


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({"sampler": "DPM++ 2M Karras"}, ("dpm++2m", "karras")),
        ({"sampler": "DPM++ 2M Karras", "scheduler": "simple"}, ("dpm++2m", "simple")),
        ({"sampler": "Euler a"}, ("euler_a", "discrete")),
        ({"scheduler": "SGM Uniform"}, ("euler", "sgm_uniform")),
    ],
)
def test_names_that_a1111_has_for_samplers_are_understood(api: Api, given: Any, used: tuple[str, str]) -> None:
    (image,) = api.generate(**given)["images"]
    assert (image["settings"]["sampler"], image["settings"]["scheduler"]) == used
    sent = api.sent()[-1]["sample_params"]
    assert (sent["sample_method"], sent["scheduler"]) == used


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "a red circle <lora:shapes-outline:0.8> on a blue background"},
        {"prompt": RED_ON_BLUE, "loras": [{"name": "shapes-outline", "weight": 0.8}]},
        {"prompt": RED_ON_BLUE, "loras": [{"name": "Shapes-Outline.safetensors", "weight": 0.8}]},
    ],
    ids=["prompt", "field", "file-name"],
)
def test_a_lora_is_sent_apart_from_the_prompt(api: Api, given: dict[str, Any]) -> None:
    (image,) = api.generate(**given)["images"]
    sent = api.sent()[-1]
    assert sent["lora"] == [{"path": "shapes-outline.safetensors", "multiplier": 0.8}]
    assert sent["prompt"] == image["settings"]["prompt"] == RED_ON_BLUE
    (lora,) = image["settings"]["loras"]
    assert (lora["name"], lora["weight"], len(lora["autov3"])) == ("shapes-outline", 0.8, 64)


def test_a_lora_changes_the_picture(api: Api) -> None:
    drawn = {
        pixels(api.file(api.generate(seed=3, loras=loras)["images"][0]["id"]))
        for loras in ([], [{"name": "shapes-outline"}], [{"name": "shapes-outline", "weight": 0.5}])
    }
    assert len(drawn) == 3


def test_hires_is_sent_and_makes_a_larger_picture(api: Api) -> None:
    hires = {"scale": 1.5, "upscaler": "Nearest", "steps": 2, "denoising_strength": 0.4}
    (image,) = api.generate(hires=hires)["images"]
    assert api.sent()[-1]["hires"] == {"enabled": True, **hires}
    assert image["settings"]["hires"] == hires
    assert (image["settings"]["width"], image["width"], image["height"]) == (64, 96, 96)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_input_pictures_are_sent_as_png_in_the_size_asked_for(api: Api, form: str) -> None:
    picture = picture_base64((200, 100), "orange", form=form)
    (image,) = api.generate(init_image=picture, mask=picture_base64((64, 64), "white", "L"))["images"]
    sent, used = api.sent()[-1], image["settings"]
    for name, mode, colour in (("init_image", "RGB", (255, 165, 0)), ("mask_image", "L", 255)):
        with Image.open(io.BytesIO(base64.b64decode(sent[name]))) as received:
            assert (received.format, received.size, received.mode) == ("PNG", (64, 64), mode)
            middle = received.getpixel((32, 32))
        assert middle == pytest.approx(colour, abs=6), name
    assert sent["strength"] == used["strength"] == 0.75
    assert used["init_image"].startswith("sha256:")
    assert used["mask"].startswith("sha256:")
    assert used["init_image"] != used["mask"]


def test_a_data_url_is_an_input_picture_too(api: Api) -> None:
    picture = picture_base64()
    plain = api.generate(init_image=picture, strength=0.3, seed=1)["images"][0]
    as_url = api.generate(init_image=f"data:image/png;base64,{picture}", strength=0.3, seed=1)["images"][0]
    assert plain["settings"]["init_image"] == as_url["settings"]["init_image"]
    assert pixels(api.file(plain["id"])) == pixels(api.file(as_url["id"]))


def test_a_stored_input_picture_can_be_named_by_its_hash(api: Api) -> None:
    """So that the settings of a picture are a request that draws it again."""
    first = api.generate(init_image=picture_base64(colour="green"), strength=0.5, seed=2)["images"][0]
    again = api.generate(init_image=first["settings"]["init_image"], strength=0.5, seed=2)["images"][0]
    assert pixels(api.file(first["id"])) == pixels(api.file(again["id"]))


def test_the_same_idempotency_key_is_the_same_job_also_at_once(api: Api) -> None:
    before = len(api.sent())

    def ask(_: int) -> tuple[str, list[str]]:
        body = {"prompt": RED_ON_BLUE, **SMALL}
        response = api.http.post("/api/generate", json=body, headers={"Idempotency-Key": "twenty at once"})
        assert response.status_code == 200, response.text
        return response.json()["job"]["id"], [image["id"] for image in response.json()["images"]]

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert len({job for job, _ in answers}) == 1
    assert all(images == answers[0][1] and len(images) == 1 for _, images in answers)
    assert len(api.sent()) == before + 1
    assert ask(21) == answers[0]


def test_an_idempotency_key_of_another_request_is_a_conflict(api: Api) -> None:
    def ask(**body: Any) -> Any:
        body = {"prompt": RED_ON_BLUE, **SMALL, "wait": False, **body}
        return api.http.post("/api/generate", json=body, headers={"Idempotency-Key": "two bodies"})

    first = ask()
    jobs = len(api.get("/api/jobs", limit=500)["items"])
    second = ask(steps=5)
    assert second.status_code == 409
    assert second.json()["error"]["code"] == "idempotency_conflict"
    assert len(api.get("/api/jobs", limit=500)["items"]) == jobs
    # How the answer is given is no part of what is asked for.
    assert ask(wait=True, return_base64=True).json()["job"]["id"] == first.json()["job"]["id"]


def test_a_failed_job_answers_with_the_engines_reason(tmp_path: Path) -> None:
    with serving(tmp_path, FAKE_SD_FAIL="1") as api:
        response = api.post()
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (502, "engine_error")
        assert "the engine could not draw it" in error["message"]
        job = api.get(f"/api/jobs/{error['details']['job']}")
    assert (job["state"], job["images"]) == ("failed", [])
    assert job["error"] == {"code": "engine_error", "message": error["message"], "hint": None}

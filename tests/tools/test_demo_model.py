"""The program that makes the demo model: it computes what the engine does, learns, and writes what the engine reads.

No training worth the name happens here: a handful of steps show that the loss falls.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import itertools
import json
import os
import random
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the training program needs torch; see tools/demo_model/requirements.txt")
pytest.importorskip("safetensors", reason="the training program needs safetensors")
pytest.importorskip("PIL", reason="reading the engine's pictures needs Pillow")

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from tools.demo_model import export, lora, sampling, words
from tools.demo_model.__main__ import main
from tools.demo_model.autoencoder import LATENT_LIMIT, Projection, build_encoder
from tools.demo_model.batches import Batch, Recipe, Size, batches, text_of
from tools.demo_model.captions import caption, plain_caption
from tools.demo_model.decoder_training import RATE_ONWARD, DecoderTrainer, edges, sample_blocks
from tools.demo_model.evaluate import Summary, score
from tools.demo_model.model import Model
from tools.demo_model.pictures import HELD_OUT, draw, draw_all, plain_scene, random_scene
from tools.demo_model.shapes import PALETTE, SHAPES
from tools.demo_model.tokens import UnknownWordError, encode, pad
from tools.demo_model.training import EARLY, PHASES, Trainer

pytestmark = pytest.mark.tools

Pixels = npt.NDArray[np.float64]

TINY = Recipe((Size(64, 64, 1),), EARLY, tokens=300)
MEAN_LIMIT, MAX_LIMIT = 0.5, 3.0
"""Largest differences to the engine, in 255ths; rounding to bytes alone makes a mean of about 0.25."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def model() -> Model:
    return export.load()


# The real engine


class Engine:
    """A running sd-server and the one request these tests make of it."""

    def __init__(self, port: int, log: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._log = log
        # Straight to this machine, whatever proxy the environment names.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ready(self) -> bool:
        try:
            self._call("/sdcpp/v1/capabilities")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def draw(
        self,
        prompt: str,
        seed: int,
        width: int = 64,
        height: int = 64,
        steps: int = 4,
        cfg_scale: float = 1.0,
        lora_file: str | None = None,
    ) -> Pixels:
        """RGB, 0..255, `[height, width, 3]`."""
        job = self._call(
            "/sdcpp/v1/img_gen",
            {
                "prompt": prompt,
                "seed": seed,
                "width": width,
                "height": height,
                "lora": [{"path": lora_file, "multiplier": 1.0}] if lora_file else [],
                "sample_params": {
                    "sample_steps": steps,
                    "sample_method": "euler",
                    "guidance": {"txt_cfg": cfg_scale},
                },
            },
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            state = self._call(job["poll_url"])
            if state["status"] == "completed":
                data = base64.b64decode(state["result"]["images"][0]["b64_json"])
                with Image.open(io.BytesIO(data)) as picture:
                    return np.asarray(picture.convert("RGB"), dtype=np.float64)
            assert state["status"] in ("queued", "generating"), state
            time.sleep(0.05)
        pytest.fail(f"the engine did not finish a picture; its log ends: {self.log()[-2000:]}")

    def _call(self, path: str, body: object = None) -> dict:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"})
        with self._opener.open(request, timeout=30) as answer:
            return json.load(answer)


@contextmanager
def running(binary: Path, model_file: Path, folder: Path) -> Iterator[Engine]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / f"engine-{port}.log"
    command = [binary, "-m", model_file, "--taesd", model_file, "-l", "127.0.0.1", "--listen-port", str(port)]
    command += ["--lora-model-dir", lora.SHIPPED.parent, "--lora-apply-mode", "at_runtime"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_WAIT_POLICY": "passive"}
        )
    engine = Engine(port, log)
    try:
        deadline = time.monotonic() + 30
        while not engine.ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the engine does not start; its log ends: {engine.log()[-2000:]}")
            time.sleep(0.05)
        yield engine
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def engine(sd_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with running(sd_server, export.SHIPPED, tmp_path_factory.mktemp("engine")) as engine:
        yield engine


def pixels(pictures: torch.Tensor) -> Pixels:
    """The one picture of a batch, 0..255 and not rounded."""
    (picture,) = pictures
    return picture.permute(1, 2, 0).double().numpy() * 255


def assert_same(ours: Pixels, theirs: Pixels) -> None:
    difference = np.abs(ours - theirs)
    assert difference.mean() < MEAN_LIMIT
    assert difference.max() < MAX_LIMIT


@pytest.mark.engine
@pytest.mark.parametrize(
    ("prompt", "seed", "width", "height", "steps", "cfg_scale"),
    [
        pytest.param("a red circle on a blue background", 5, 64, 64, 4, 1.0, id="64-4steps-cfg1"),
        pytest.param("a yellow star on a purple background", 100, 64, 64, 10, 2.0, id="64-10steps-cfg2"),
        pytest.param("Two Tiny hearts, dark backdrop.", 2**31 - 1, 96, 64, 4, 1.0, id="synonyms-96x64"),
    ],
)
def test_a_picture_is_the_engines(
    engine: Engine, model: Model, prompt: str, seed: int, width: int, height: int, steps: int, cfg_scale: float
) -> None:
    ours = pixels(sampling.sample(model, [prompt], [seed], width, height, steps, cfg_scale))
    assert_same(ours, engine.draw(prompt, seed, width, height, steps, cfg_scale))


@pytest.mark.engine
def test_a_picture_with_the_lora_is_the_engines(engine: Engine, model: Model) -> None:
    prompt, seed = "a red circle on a blue background, outline", 5
    plain = pixels(sampling.sample(model, [prompt], [seed], steps=4, cfg_scale=1.0))
    with lora.load(lora.SHIPPED, model.transformer).applied(model.transformer):
        outlined = pixels(sampling.sample(model, [prompt], [seed], steps=4, cfg_scale=1.0))
    assert_same(outlined, engine.draw(prompt, seed, lora_file=lora.SHIPPED.name))
    assert_same(plain, engine.draw(prompt, seed))
    assert np.abs(outlined - plain).mean() > 5
    assert "(48 / 48) LoRA tensors have been applied" in engine.log()


# Training


def states(*modules: torch.nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for module in modules for tensor in module.state_dict().values()]


def changed(before: list[torch.Tensor], *modules: torch.nn.Module) -> float:
    """Share of tensors that are not what they were."""
    after = states(*modules)
    return sum(not torch.equal(old, new) for old, new in zip(before, after, strict=True)) / len(before)


def tiny_batch(recipe: Recipe = TINY) -> Batch:
    return next(batches(recipe, random.Random(3)))


@pytest.mark.parametrize(("start", "share_left"), [("shipped", 0.5), ("scratch", 0.95)])
def test_repeating_a_batch_brings_its_loss_down(model: Model, start: str, share_left: float) -> None:
    if start == "scratch":
        model = Model.untrained(model.projection, seed=1)
    trainer = Trainer(model, PHASES["base"], seed=1)
    batch = tiny_batch()
    before = states(model.words, model.transformer)
    losses = []
    for _ in range(9):
        # The same moments and noise each time, or chance would decide which loss is smaller.
        trainer.generator.manual_seed(7)
        losses.append(trainer.step(batch))
    assert np.isfinite(losses).all()
    assert losses[-1] < share_left * losses[0]
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))
    assert changed(before, model.words, model.transformer) == 1
    assert changed(before, trainer.result.words, trainer.result.transformer) == 1


def test_training_in_bfloat16_computes_almost_the_same_loss(model: Model) -> None:
    batch = tiny_batch()
    exact, short = (
        Trainer(model, PHASES["base"], seed=1, precision=precision).loss(batch).item()
        for precision in (torch.float32, torch.bfloat16)
    )
    assert short != exact
    assert short == pytest.approx(exact, rel=0.05)


def test_a_few_weighted_pads_stand_for_all(model: Model) -> None:
    captions = [encode("a red circle on a blue background"), encode("small star"), encode("")]
    latents = model.projection(draw_all([plain_scene(triple) for triple in HELD_OUT[:3]], 64, 64))
    noisy = torch.lerp(latents, torch.randn(latents.shape, generator=torch.Generator().manual_seed(1)), 0.6)
    t = torch.full((3,), 0.6)
    text = text_of(captions, random.Random(1))
    with torch.no_grad():
        full = model.transformer(noisy, t, model.words(torch.tensor([pad(ids) for ids in captions])))
        cheap = model.transformer(noisy, t, model.words(text.ids), text.places, text.key_bias)
        unweighted = model.transformer(noisy, t, model.words(text.ids), text.places)
    assert text.ids.shape[1] < 30
    assert (cheap - full).abs().mean() < 0.01 * full.abs().mean()
    assert (unweighted - full).abs().mean() > 0.01 * full.abs().mean()


def test_the_decoder_learns(model: Model) -> None:
    trainer = DecoderTrainer(model.decoder, model.projection, RATE_ONWARD, seed=1)
    pictures = edges(random.Random(1))[:2]
    before = states(model.decoder)
    losses = []
    for _ in range(6):
        trainer.generator.manual_seed(7)
        losses.append(trainer.step(pictures))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert changed(before, model.decoder) == 1
    assert changed(before, trainer.average.module) == 1


def test_a_lora_learns_and_leaves_the_model_alone(model: Model, tmp_path: Path) -> None:
    trainer = lora.LoraTrainer(model, seed=1)
    batch = tiny_batch(dataclasses.replace(lora.OUTLINES, tokens=300))
    before = states(model.words, model.transformer)
    losses = []
    for _ in range(8):
        trainer.generator.manual_seed(7)
        losses.append(trainer.step(batch))
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert changed(before, model.words, model.transformer) == 0
    path = tmp_path / "outline.safetensors"
    lora.save(trainer.lora, path, trainer.metadata)
    entries, metadata = export.read_header(path)
    assert entries == export.read_header(lora.SHIPPED)[0]
    assert metadata["ss_steps"] == "8"
    assert metadata["modelspec.trigger_phrase"] == "outline"
    with pytest.raises(export.NotThisModelError):
        lora.load(export.SHIPPED, model.transformer)


# Files


def test_the_shipped_file_comes_back_unchanged(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "shapes.safetensors"
    export.save(model, path)
    entries, metadata = export.read_header(path)
    shipped, shipped_metadata = export.read_header(export.SHIPPED)
    assert entries == shipped
    length = max(entry.offsets[1] for entry in shipped.values())
    assert path.read_bytes()[-length:] == export.SHIPPED.read_bytes()[-length:]
    assert metadata["modelspec.license"] == "CC0-1.0"
    assert metadata.keys() == shipped_metadata.keys() - {"modelspec.date"}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.engine
def test_the_engine_draws_with_a_trained_export(sd_server: Path, model: Model, tmp_path: Path) -> None:
    prompt, seed = "a green heart on a white background", 11
    shipped = pixels(sampling.sample(model, [prompt], [seed], steps=4, cfg_scale=1.0))
    trainer = Trainer(model, PHASES["base"], seed=1)
    for _ in range(4):
        trainer.step(tiny_batch())
    path = tmp_path / "shapes.safetensors"
    export.save(model, path)
    assert export.read_header(path)[0] == export.read_header(export.SHIPPED)[0]
    trained = pixels(sampling.sample(export.load(path), [prompt], [seed], steps=4, cfg_scale=1.0))
    assert np.abs(trained - shipped).mean() > MEAN_LIMIT
    with running(sd_server, path, tmp_path) as engine:
        assert_same(trained, engine.draw(prompt, seed))


def test_other_files_are_refused(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.safetensors"
    rubbish.write_bytes(b"rubbish")
    for path in (rubbish, lora.SHIPPED):
        with pytest.raises(export.NotThisModelError, match="is not a 'tsr shapes' model"):
            export.load(path)


# Autoencoder


def test_the_encoder_is_the_projection(model: Model) -> None:
    rng = random.Random(5)
    pictures = draw_all([random_scene(rng, EARLY) for _ in range(8)], 64, 96)
    with torch.no_grad():
        latents = model.encoder(pictures)
        decoded = model.decoder(latents).clamp(0, 1)
    assert latents.shape == (8, 16, 12, 8)
    torch.testing.assert_close(model.projection(pictures), latents, atol=1e-5, rtol=0)
    assert (decoded - pictures).abs().mean() < 0.015
    assert (decoded - pictures).abs().mean() < 0.1 * (pictures - pictures.mean(dim=(2, 3), keepdim=True)).abs().mean()


def test_a_new_encoder_is_fitted_and_built() -> None:
    blocks = sample_blocks(random.Random(5), 600)
    projection = Projection.fit(blocks)
    encoder = build_encoder(projection)
    with torch.no_grad():
        latents = encoder(blocks)[:, :, 0, 0]
    torch.testing.assert_close(latents, projection(blocks)[:, :, 0, 0], atol=1e-5, rtol=0)
    # Little less than the limit is allowed to become a little more by the rounding of the weights.
    assert 1 < latents.abs().max() < LATENT_LIMIT * 1.05
    assert latents.mean(dim=0).abs().max() < 0.01
    again = Projection.of(encoder)
    assert torch.equal(again.weight, projection.weight)
    assert torch.equal(again.bias, projection.bias)
    centred = blocks.flatten(1) - blocks.flatten(1).mean(dim=0)
    lost = centred - latents @ torch.linalg.lstsq(latents, centred).solution
    assert lost.square().sum() < 0.06 * centred.square().sum()


# Pictures, captions, tokens, scores


def test_the_scorer_recognises_ideal_pictures() -> None:
    scores = [score(draw(plain_scene(triple), 64, 64), triple) for triple in HELD_OUT]
    summary = Summary.of(scores)
    assert (summary.count, summary.background, summary.colour, summary.shape) == (40, 1.0, 1.0, 1.0)
    assert summary.mean_iou > 0.97


@pytest.mark.parametrize("shape", SHAPES)
def test_the_scorer_sees_what_is_wrong(shape: str) -> None:
    seen = score(draw(plain_scene(("red", shape, "white")), 128, 128), ("blue", "circle", "black"))
    assert (seen.colour, seen.shape, seen.background) == ("red", shape, "white")
    assert not seen.colour_right
    assert not seen.background_right
    assert seen.shape_right == (shape == "circle")


def test_batches_repeat_for_a_seed() -> None:
    first, same, other = (next(batches(TINY, random.Random(seed))) for seed in (1, 1, 2))
    assert torch.equal(first.pictures, same.pictures)
    assert torch.equal(first.text.ids, same.text.ids)
    assert torch.equal(first.text.places, same.text.places)
    assert not torch.equal(first.pictures, other.pictures)
    assert 0 <= first.pictures.min() < first.pictures.max() <= 1


def test_held_out_triples_are_never_drawn_nor_named() -> None:
    assert len(set(HELD_OUT)) == 40
    assert HELD_OUT[0] == ("white", "triangle", "yellow")
    rng = random.Random(9)
    scenes = [random_scene(rng, EARLY, outlined=0.2) for _ in range(8000)]
    drawn = {triple for scene in scenes for triple in scene.triples}
    everything = {triple for triple in itertools.product(PALETTE, SHAPES, PALETTE) if triple[0] != triple[2]}
    assert drawn == everything - set(HELD_OUT)
    sentences = {caption(scene, rng, outline_named=0.65) for scene in scenes}
    assert "" in sentences
    assert sentences.isdisjoint({plain_caption(*triple) for triple in HELD_OUT})
    used = {number for sentence in sentences for number in encode(sentence)}
    assert used == {*words.TRAINED, words.UNTRAINED[" outline"]} - {words.PAD}


def test_token_ids_are_the_engines() -> None:
    suffix = [151645, 198, 151644, 77091, 198, 151667, 271, 151668, 271]
    example = [25, 264, 2518, 12671, 389, 264, 6303, 4004, *suffix]
    assert encode("a red circle on a blue background") == example
    assert pad(encode("a red circle on a blue background")) == example + [151643] * 239
    assert encode("") == [25, 220, *suffix]
    assert encode("Red disc, red.") == [25, 3731, 2560, 11, 2518, 13, *suffix]
    assert len(words.TRAINED) == 70
    assert len(words.COPIES) == 275
    with pytest.raises(UnknownWordError, match="fuzzy"):
        encode("a fuzzy circle")


# The command line


def test_sample_writes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str], model: Model) -> None:
    path = tmp_path / "new" / "picture.png"
    assert main(["sample", "a red circle on a blue background", "--steps", "2", "--seed", "4", "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
    (ours,) = sampling.sample(model, ["a red circle on a blue background"], [4], steps=2)
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), sampling.as_bytes(ours).numpy())
    assert main(["sample", "a fuzzy circle", "--out", str(path)]) == 1
    assert capsys.readouterr().err.startswith("error: the word 'fuzzy' is not in the table")


@pytest.mark.parametrize(
    ("command", "file"),
    [("train", "shapes.safetensors"), ("autoencoder", "shapes.safetensors"), ("lora", "shapes-outline.safetensors")],
)
def test_training_commands_write_a_file(
    command: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--steps", "1", "--precision", "float32", "--out", str(tmp_path)]) == 0
    answer = capsys.readouterr()
    assert answer.out == f"{tmp_path / file}\n"
    assert "step      1  loss 0." in answer.err
    shipped = lora.SHIPPED if command == "lora" else export.SHIPPED
    entries, metadata = export.read_header(tmp_path / file)
    assert entries == export.read_header(shipped)[0]
    assert metadata.keys() == export.read_header(shipped)[1].keys()


@pytest.mark.parametrize("command", ["train", "autoencoder", "lora", "evaluate", "sample"])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert "--threads" in capsys.readouterr().out

"""The command line: `python -m tools.demo_model --help`. Words go to standard error, results to standard output."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import torch

from tools.demo_model import export, lora, sampling
from tools.demo_model.autoencoder import Decoder, Projection
from tools.demo_model.decoder_training import RATE_FROM_SCRATCH, RATE_ONWARD, DecoderTrainer, sample_blocks
from tools.demo_model.evaluate import Summary, evaluate
from tools.demo_model.lora import LoraTrainer
from tools.demo_model.model import Model
from tools.demo_model.schedule import Budget, Progress
from tools.demo_model.training import PHASES, Trainer

REPORT_EVERY = 10.0
"""Seconds between two lines of progress."""

SAVE_EVERY = 300.0
"""Seconds between two saves of a training in progress."""

MODEL_FILE = "shapes.safetensors"
LORA_FILE = "shapes-outline.safetensors"


def say(words: str) -> None:
    """A line for people."""
    print(words, file=sys.stderr, flush=True)


def follow(training: Iterator[Progress], save: Callable[[], None]) -> None:
    """Runs a training to its end or to Ctrl-C, reports and saves now and then, and saves what it came to."""
    mean, reported, saved = math.nan, -math.inf, 0.0
    try:
        for now in training:
            mean = now.loss if math.isnan(mean) else mean + 0.05 * (now.loss - mean)
            if now.seconds - reported >= REPORT_EVERY or now.used >= 1:
                left = now.seconds / now.used - now.seconds
                rate = now.step / now.seconds
                say(f"step {now.step:6d}  loss {mean:.4f}  {rate:5.2f} steps/s  {left / 60:6.1f} min left")
                reported = now.seconds
            if now.seconds - saved >= SAVE_EVERY:
                save()
                saved = now.seconds
    except KeyboardInterrupt:
        say("stopped; the learning rate had not come down, so expect less than a full run gives")
    save()


def precision_of(name: str) -> torch.dtype:
    """The number type to train in; `auto` is bfloat16 where this CPU multiplies it faster than float32."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    seconds = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return min(seconds, key=seconds.__getitem__)


def _seconds(dtype: torch.dtype) -> float:
    a, b = torch.ones(2048, 128, dtype=dtype), torch.ones(128, 1408, dtype=dtype)
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        _ = a @ b
        best = min(best, time.perf_counter() - start)
    return best


def dated() -> dict[str, str]:
    """The metadata that says when a file was made."""
    return {"modelspec.date": datetime.now(UTC).date().isoformat()}


def train_command(args: argparse.Namespace) -> None:
    """`train`: words and transformer."""
    model = export.load(args.start)
    if args.scratch:
        fresh = Model.untrained(model.projection, args.seed)
        model = dataclasses.replace(model, words=fresh.words, transformer=fresh.transformer)
    name = args.phase or ("base" if args.scratch else "finish")
    phase = PHASES[name].gentler(args.rate)
    precision = precision_of(args.precision)
    trainer = Trainer(model, phase, args.seed, precision)
    path: Path = args.out / MODEL_FILE
    say(f"phase {name}, {'from scratch' if args.scratch else f'from {args.start}'}, {precision}, writes {path}")
    training = trainer.train(phase.recipe, Budget(args.minutes, args.steps), args.seed)
    follow(training, lambda: export.save(trainer.result, path, dated()))
    print(path)


def autoencoder_command(args: argparse.Namespace) -> None:
    """`autoencoder`: the decoder, and with --scratch the encoder too."""
    model, rate = export.load(args.start), RATE_ONWARD
    if args.scratch:
        say("fitting the projection; words and transformer of the result must be trained anew, their latents are gone")
        model = Model.untrained(Projection.fit(sample_blocks(random.Random(args.seed))), args.seed)
        rate = RATE_FROM_SCRATCH
    decoder: Decoder = model.decoder
    trainer = DecoderTrainer(decoder, model.projection, rate, args.seed, precision_of(args.precision))
    path: Path = args.out / MODEL_FILE
    training = trainer.train(Budget(args.minutes, args.steps), args.seed)
    result = dataclasses.replace(model, decoder=trainer.average.module)
    follow(training, lambda: export.save(result, path, dated()))
    print(path)


def lora_command(args: argparse.Namespace) -> None:
    """`lora`: the outline style."""
    trainer = LoraTrainer(export.load(args.start), args.seed, precision_of(args.precision))
    path: Path = args.out / LORA_FILE
    training = trainer.train(Budget(args.minutes, args.steps), args.seed)
    follow(training, lambda: lora.save(trainer.lora, path, {**trainer.metadata, **dated()}))
    print(path)


def evaluate_command(args: argparse.Namespace) -> None:
    """`evaluate`: the held-out prompts, as JSON."""
    model = export.load(args.model)
    results = {}
    for side in args.sizes:
        scores = []
        for number, (score, picture) in enumerate(evaluate(model, side, args.steps, args.cfg_scale)):
            colour, shape, background = score.asked
            seen = f"{score.colour} {score.shape} on {score.background}, IoU {score.iou:.3f}"
            say(f"{side}: {colour} {shape} on {background}: {seen}")
            scores.append(score)
            if args.pictures:
                sampling.write_png(args.pictures / f"{side}-{number:02d}-{colour}-{shape}-{background}.png", picture)
        results[side] = dataclasses.asdict(Summary.of(scores))
    print(json.dumps(results, indent=2))


def sample_command(args: argparse.Namespace) -> None:
    """`sample`: one picture."""
    model = export.load(args.model)
    with ExitStack() as stack:
        if args.lora:
            change = lora.load(args.lora, model.transformer)
            stack.enter_context(change.applied(model.transformer, args.lora_weight))
        (picture,) = sampling.sample(
            model, [args.prompt], [args.seed], args.width, args.height, args.steps, args.cfg_scale
        )
    sampling.write_png(args.out, picture)
    print(args.out)


class Defaults(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, math.inf) else super()._get_help_string(action)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="python -m tools.demo_model", description="Make, score and try 'tsr shapes'.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], words: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=words, description=words, formatter_class=Defaults)
        sub.set_defaults(run=run)
        sub.add_argument("--threads", type=int, default=1, help="CPU threads; on a busy machine 1 is fastest")
        return sub

    def training(sub: argparse.ArgumentParser, minutes: float) -> None:
        sub.add_argument("--minutes", type=float, default=minutes, help="stop after this time")
        sub.add_argument("--steps", type=float, default=math.inf, help="stop after this many steps")
        sub.add_argument("--from", dest="start", type=Path, default=export.SHIPPED, help="model to go on from")
        sub.add_argument("--out", type=Path, required=True, help="folder for the result")
        sub.add_argument("--seed", type=int, default=0, help="decides weights, pictures, captions and noise")
        sub.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="number type")

    sub = command("train", train_command, "train words and transformer")
    sub.add_argument("--phase", choices=tuple(PHASES), help="finish, or base from scratch, when left out")
    sub.add_argument("--scratch", action="store_true", help="random weights; the autoencoder is still that of --from")
    sub.add_argument("--rate", type=float, default=1.0, help="share of the phase's learning rates; 0.1 for a short run")
    training(sub, 20)

    sub = command("autoencoder", autoencoder_command, "train the decoder")
    sub.add_argument("--scratch", action="store_true", help="new encoder and random weights everywhere")
    training(sub, 12)

    sub = command("lora", lora_command, "train the outline LoRA")
    training(sub, 5)

    def drawing(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--model", type=Path, default=export.SHIPPED, help="model to draw with")
        sub.add_argument("--steps", type=int, default=sampling.STEPS, help="sampling steps")
        sub.add_argument("--cfg-scale", type=float, default=sampling.CFG_SCALE, help="classifier-free guidance scale")

    sub = command("evaluate", evaluate_command, "draw the held-out prompts and score them")
    sub.add_argument("--sizes", type=int, nargs="+", default=[sampling.SIDE], choices=(64, 128, 256), help="sides")
    sub.add_argument("--pictures", type=Path, help="folder to keep the pictures in")
    drawing(sub)

    sub = command("sample", sample_command, "draw one picture as the engine would")
    sub.add_argument("prompt", help="for example 'a red circle on a blue background'")
    sub.add_argument("--out", type=Path, default=Path("picture.png"), help="PNG file to write")
    sub.add_argument("--width", type=int, default=sampling.SIDE, help="multiple of 16 pixels")
    sub.add_argument("--height", type=int, default=sampling.SIDE, help="multiple of 16 pixels")
    sub.add_argument("--seed", type=int, default=0, help="0 to 2147483647")
    sub.add_argument("--lora", type=Path, help="LoRA file to apply")
    sub.add_argument("--lora-weight", type=float, default=1.0, help="how strongly it is applied")
    drawing(sub)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    args = parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    try:
        args.run(args)
    except (OSError, ValueError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

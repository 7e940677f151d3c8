"""From a request to settings: what was said wins, the family's defaults fill the rest."""

from __future__ import annotations

import base64
import io
import re
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tensors import generation
from tensors.config import load_config
from tensors.errors import InvalidRequest, LoraNotFound
from tensors.families import UNKNOWN, Defaults, defaults_for, load_families
from tensors.generation import DEFAULT_STRENGTH, resolve, split_loras
from tensors.inputs import Inputs
from tensors.library import Library
from tensors.models import demo_dir
from tensors.shelf import Shelf
from tensors.types.generation import MAX_SEED, GenerateRequest, Hires, Lora, Settings, UsedLora, UsedModel
from tensors.types.models import ModelEntry

DEMO_LORA = "shapes-outline"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """LoRAs called `one` and `two`, for the model that ships."""
    loras = tmp_path / "data" / "models" / "loras"
    loras.mkdir(parents=True)
    for name in ("one", "two"):
        shutil.copy(demo_dir() / "loras" / f"{DEMO_LORA}.safetensors", loras / f"{name}.safetensors")
    config = load_config()
    return Shelf(Library(config), config)


@pytest.fixture
def resolved(shelf: Shelf, tmp_path: Path) -> Any:
    """Resolves a request for a model of some family."""

    def run(family: str = "sd15", **values: Any) -> Settings:
        request = GenerateRequest(**{"prompt": "a cat", "seed": 1, **values})
        model = ModelEntry(name="thing", path="/thing.safetensors", kind="checkpoint", family=family, size=1)
        return resolve(request, model, shelf=shelf, inputs=Inputs(tmp_path / "inputs"))

    return run


def picture() -> str:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


def expected(defaults: Defaults, family: str, **said: Any) -> Settings:
    values: dict[str, Any] = {field.name: getattr(defaults, field.name) for field in fields(Defaults)}
    model = UsedModel(name="thing", family=family)
    return Settings(**{**values, "prompt": "a cat", "seed": 1, "model": model, **said})


@pytest.mark.parametrize("family", load_families())
def test_defaults_of_the_family_fill_what_is_open(family: str, resolved: Any) -> None:
    assert resolved(family) == expected(defaults_for(family), family)


def test_a_family_without_a_section_gets_defaults_that_presume_nothing(resolved: Any) -> None:
    assert resolved("new-thing") == expected(UNKNOWN, "new-thing")


SAID = {
    "width": 72,
    "height": 80,
    "steps": 3,
    "cfg_scale": 0.0,
    "guidance": 0.0,
    "negative_prompt": "",
    "clip_skip": 3,
    "batch_size": 4,
    "tags": ("a", "b"),
    "hires": Hires(scale=3, steps=1),
}


@pytest.mark.parametrize("family", load_families())
def test_what_was_said_wins_also_when_it_is_zero_or_empty(family: str, resolved: Any) -> None:
    settings = resolved(family, **SAID, sampler="Heun", scheduler="simple")
    assert settings == expected(defaults_for(family), family, **SAID, sampler="heun", scheduler="simple")


def test_a_scheduler_in_the_samplers_name_is_understood(resolved: Any) -> None:
    settings = resolved("flux", sampler="DPM++ 2M Karras")
    assert (settings.sampler, settings.scheduler) == ("dpm++2m", "karras")
    with pytest.raises(InvalidRequest, match="unknown sampler 'zzz'"):
        resolved(sampler="zzz")


@pytest.mark.parametrize(
    ("values", "has_hires"),
    [({}, True), ({"width": 64}, False), ({"height": 64}, False), ({"width": 64, "height": 64}, False)],
)
def test_the_familys_hires_is_only_for_an_open_size(values: dict[str, int], has_hires: bool, resolved: Any) -> None:
    hires = defaults_for("shapes").hires
    assert hires is not None
    assert resolved("shapes", **values).hires == (hires if has_hires else None)
    own = Hires(scale=2)
    assert resolved("shapes", **values, hires=own).hires == own


def test_img2img_has_a_strength_and_no_hires_of_its_own(resolved: Any) -> None:
    settings = resolved("shapes", init_image=picture(), mask=picture())
    assert settings.strength == DEFAULT_STRENGTH
    assert settings.hires is None
    assert settings.init_image.startswith("sha256:")
    assert settings.mask.startswith("sha256:")
    assert settings.mask != settings.init_image
    assert resolved("shapes", init_image=picture(), strength=0.0).strength == 0.0
    assert resolved("shapes").strength is None
    with pytest.raises(InvalidRequest, match="mask is not base64"):
        resolved(init_image=picture(), mask="?")


@given(batch_size=st.integers(1, 256), drawn=st.floats(0, 1, exclude_max=True))
def test_a_random_seed_leaves_room_for_its_batch(batch_size: int, drawn: float) -> None:
    request = GenerateRequest(prompt="x", batch_size=batch_size)
    bounds: list[int] = []

    def randbelow(bound: int) -> int:
        bounds.append(bound)
        return int(drawn * bound)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation.secrets, "randbelow", randbelow)
        seed = generation._seed(request)
    assert bounds == [MAX_SEED - batch_size + 2]
    assert 0 <= seed <= seed + batch_size - 1 <= MAX_SEED


def test_random_seeds_differ(resolved: Any) -> None:
    assert len({resolved(seed=-1).seed for _ in range(8)}) > 1


def test_a_batch_never_passes_the_largest_seed(resolved: Any) -> None:
    assert resolved(seed=MAX_SEED).seed == MAX_SEED
    assert resolved(seed=MAX_SEED - 7, batch_size=8).seed == MAX_SEED - 7
    assert resolved(seed=0).seed == 0
    with pytest.raises(InvalidRequest) as caught:
        resolved(seed=MAX_SEED - 6, batch_size=8)
    assert caught.value.message == f"seed must be at most {MAX_SEED - 7} for a batch of 8, not {MAX_SEED - 6}"


@pytest.mark.parametrize(
    ("prompt", "rest", "loras"),
    [
        ("a cat", "a cat", ()),
        ("  a  cat ", "a  cat", ()),
        ("a <lora:one:0.5> cat", "a cat", (Lora(name="one", weight=0.5),)),
        ("a cat<lora:one>, red", "a cat, red", (Lora(name="one"),)),
        ("a cat <lora:one> <lora:two:2> , red", "a cat, red", (Lora(name="one"), Lora(name="two", weight=2))),
        ("<LoRA: one : -1 >x<lora:t w.o:2>", "x", (Lora(name="one", weight=-1), Lora(name="t w.o", weight=2))),
        ("<lora:one:>", "", (Lora(name="one"),)),
        ("one line\n<lora:one> two", "one line\n two", (Lora(name="one"),)),
        ("a < b > c, <b>, lora:x", "a < b > c, <b>, lora:x", ()),
    ],
)
def test_loras_are_taken_out_of_the_prompt(prompt: str, rest: str, loras: tuple[Lora, ...]) -> None:
    assert split_loras(prompt) == (rest, loras)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("<lora:one:much>", "prompt has <lora:one:much>; it is written <lora:name:0.8>"),
        ("<lora:one:0.5:0.7>", "prompt has <lora:one:0.5:0.7>; it is written <lora:name:0.8>"),
        ("<lora:>", "prompt has <lora:>; it needs a name and a weight between -10 and 10"),
        ("<lora: :1>", "prompt has <lora: :1>; it needs a name and a weight between -10 and 10"),
        ("<lora:one:10.5>", "prompt has <lora:one:10.5>; it needs a name and a weight between -10 and 10"),
        ("<lora:one:nan>", "prompt has <lora:one:nan>; it needs a name and a weight between -10 and 10"),
        ("a cat <lora:one:0.5", "prompt has a <lora: that does not end; it is written <lora:name:0.8>"),
        ("<LORA:on<lora:one>", "prompt has a <lora: that does not end; it is written <lora:name:0.8>"),
        ("<lo<lora:one>ra:two>", "prompt has a <lora: that does not end; it is written <lora:name:0.8>"),
        ("<sd_cpp_<lora:one>extra_args>", "prompt must not contain sd_cpp_extra_args: it would override"),
    ],
)
def test_a_malformed_lora_is_refused(prompt: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        split_loras(prompt)
    assert caught.value.message.startswith(said)
    assert [row["field"] for row in caught.value.details["fields"]] == ["prompt"]


WORDS = st.text("abc ,()", min_size=1, max_size=9)
TAGS = st.tuples(
    st.text("abc -_.", min_size=1, max_size=9).filter(str.strip), st.integers(-100, 100).map(lambda n: n / 10)
)


@given(st.lists(st.tuples(WORDS, TAGS), min_size=1, max_size=5))
def test_every_lora_is_found_in_order_and_every_word_stays(parts: list[tuple[str, tuple[str, float]]]) -> None:
    prompt = "".join(f"{word}<lora:{name}:{weight}>" for word, (name, weight) in parts)
    rest, loras = split_loras(prompt)
    assert loras == tuple(Lora(name=name.strip(), weight=weight) for _, (name, weight) in parts)
    # Where a tag stood before a comma, no space is left there.
    without_tags = "".join(word for word, _ in parts)
    assert re.sub(r"\s+,", ",", rest).split() == re.sub(r"\s+,", ",", without_tags).split()


def test_loras_of_the_prompt_come_before_the_listed_ones(resolved: Any) -> None:
    settings = resolved("shapes", prompt="<lora:ONE:0.5> a cat", loras=(Lora(name="two.safetensors", weight=-1),))
    assert settings.prompt == "a cat"
    assert settings.loras == (UsedLora(name="one", weight=0.5), UsedLora(name="two", weight=-1))


def test_a_lora_is_named_once_and_must_be_there(resolved: Any) -> None:
    with pytest.raises(InvalidRequest, match="loras name 'one' twice"):
        resolved("shapes", prompt="<lora:one> a cat", loras=(Lora(name="One"),))
    with pytest.raises(LoraNotFound, match=r"LoRA 'onne' not found; did you mean 'one'\?"):
        resolved(prompt="<lora:onne> a cat")


def test_a_refused_request_leaves_no_picture_behind(resolved: Any, tmp_path: Path) -> None:
    slips = ({"sampler": "z"}, {"loras": (Lora(name="z"),)}, {"seed": MAX_SEED, "batch_size": 2}, {"mask": "?"})
    for slip in slips:
        with pytest.raises((InvalidRequest, LoraNotFound)):
            resolved(init_image=picture(), **slip)
    assert not (tmp_path / "inputs").exists()


def test_a_hires_fix_beyond_what_an_engine_survives_is_refused(resolved: Any) -> None:
    assert resolved(width=1024, height=4096, hires=Hires(scale=2), force=True).hires == Hires(scale=2)
    with pytest.raises(InvalidRequest, match="makes the picture 16384x8192; a side may have 8192 at most"):
        resolved(width=2048, height=1024, hires=Hires(scale=8), force=True)


def test_automatic_is_a1111s_word_for_the_familys_own_scheduler(resolved: Any) -> None:
    assert resolved(scheduler="Automatic").scheduler == resolved().scheduler


def test_a_lora_of_another_family_is_refused_unless_forced(resolved: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolved("sdxl", prompt="a cat <lora:one>")
    assert caught.value.message == "LoRA 'one' is for shapes and 'thing' is sdxl: it would do nothing"
    assert "--force" in (caught.value.hint or "")
    assert resolved("sdxl", prompt="a cat <lora:one>", force=True).loras == (UsedLora(name="one", weight=1),)
    assert resolved("unknown", prompt="a cat <lora:one>").loras, "nobody knows whether it fits"


@pytest.mark.parametrize(
    ("family", "width", "height", "taken"),
    [
        ("sd15", 1024, 1024, True),
        ("sd15", 1536, 1024, False),
        ("sdxl", 2048, 2048, True),
        ("sdxl", 4096, 2048, False),
        ("unknown", 4096, 4096, True),
        ("shapes", 1024, 1024, True),
    ],
)
def test_a_size_far_beyond_a_familys_is_refused_unless_forced(
    family: str, width: int, height: int, taken: bool, resolved: Any
) -> None:
    if not taken:
        with pytest.raises(InvalidRequest, match=rf"width and height make {width}x{height}, \d+ times what {family}"):
            resolved(family, width=width, height=height)
    assert resolved(family, width=width, height=height, force=not taken).width == width

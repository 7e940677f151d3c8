"""Which files a model needs, and which of the library's it gets."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from headers import header, write_safetensors
from hypothesis import given
from hypothesis import strategies as st
from library_data import add_file
from signs import INSIDE, TAE, prefixed
from test_part_signs import CLIP_L, vae

from tensors import companions
from tensors.base_models import FAMILIES
from tensors.companions import Need, companions_of, fit, needs, unusable
from tensors.db.database import Database
from tensors.db.parts import Part, candidates
from tensors.downloads.targets import read_target
from tensors.errors import MissingCompanions

EMPTY = header({})
COUNT = itertools.count()


def part(
    stem: str,
    variant: str,
    *,
    family: str = "unknown",
    precision: str = "fp16",
    size: int = 10,
    day: int = 1,
    folder: str = "/parts",
) -> Part:
    kind = "vae" if "channels" in variant else "text_encoder"
    return Part(
        path=Path(folder, f"{stem}.safetensors"),
        kind=kind,
        family=family,
        variant=variant,
        precision=precision,
        size=size,
        added_at=f"2026-01-{day:02}T00:00:00.000Z",
    )


AE, CLIP, T5 = part("ae", "16 channels"), part("clip_l", "clip_l"), part("t5xxl_fp16", "t5xxl")


def need_of(family: str, option: str, variant: str | None = None) -> Need:
    return next(need for need in needs(EMPTY, "diffusion_model", family, variant) if need.option == option)


@pytest.mark.parametrize(
    ("family", "variant", "options"),
    [
        ("flux", "dev", ["vae", "clip_l", "t5xxl"]),
        ("flux", "dev, fill", ["vae", "clip_l", "t5xxl"]),
        ("sd3", "3.5, large", ["vae", "clip_l", "clip_g", "t5xxl"]),
        ("chroma", None, ["vae", "t5xxl"]),
        ("chroma", "radiance", ["t5xxl"]),
        ("z-image", None, ["vae", "llm"]),
        ("qwen-image", "layered", ["vae", "llm"]),
        ("sdxl", None, ["vae"]),
        ("illustrious", "v-prediction", ["vae"]),
        ("shapes", None, []),
        ("unknown", None, []),
        ("hidream", None, []),
    ],
)
def test_a_bare_diffusion_model_needs_its_familys_parts(family: str, variant: str | None, options: list[str]) -> None:
    assert [need.option for need in needs(EMPTY, "diffusion_model", family, variant)] == options


@pytest.mark.parametrize(
    ("family", "variant", "sign"),
    [
        ("flux2", "dev", "mistral-small-24b"),
        ("flux2", None, "mistral-small-24b"),
        ("flux2", "klein-4b", "qwen3-4b"),
        ("flux2", "klein-9b", "qwen3-8b"),
        ("anima", None, "qwen3-0.6b"),
        ("ovis-image", None, "qwen3-1.7b"),
        ("ernie-image", None, "ministral-3b"),
    ],
)
def test_each_language_model_has_its_size(family: str, variant: str | None, sign: str) -> None:
    assert need_of(family, "llm", variant).signs == (sign,)


def test_wan_has_another_vae_in_its_middle_size() -> None:
    assert need_of("wan", "vae", "5b, ti2v").signs == ("48 channels, video",)
    assert need_of("wan", "vae", "14b, t2v").signs == ("16 channels, video",)
    assert need_of("wan", "t5xxl", "14b").signs == ("umt5xxl",)


def test_what_a_checkpoint_has_it_does_not_need() -> None:
    encoders = {"conditioner.embedders.0.x": (1,), "conditioner.embedders.1.x": (1,)}
    whole = header({**INSIDE, **encoders, **prefixed(vae(4), "first_stage_model.")})
    assert needs(whole, "checkpoint", "sdxl") == ()
    assert [need.option for need in needs(header({**INSIDE, **encoders}), "checkpoint", "sdxl")] == ["vae"]
    assert needs(header({**INSIDE, **encoders, **TAE}), "checkpoint", "sdxl") == ()
    without_t5 = header({"text_encoders.clip_l.x": (1,), "vae.x": (1,)})
    assert [need.option for need in needs(without_t5, "checkpoint", "flux")] == ["t5xxl"]


def test_other_kinds_need_nothing() -> None:
    for kind in ("lora", "vae", "controlnet", "unknown"):
        assert needs(EMPTY, kind, "flux", "dev") == ()


def test_a_unet_without_encoders_is_of_no_use() -> None:
    """The real engine: 'get sd version from file failed', whatever --clip_l and --clip_g say."""
    for family in ("sd15", "sd2", "sdxl", "pony"):
        assert "no text encoders" in (unusable(header(INSIDE), family) or "")
    assert unusable(header({**INSIDE, "cond_stage_model.transformer.x": (1,)}), "sd15") is None
    assert unusable(EMPTY, "flux") is None


@pytest.mark.parametrize(
    ("variant", "family", "fits"),
    [
        ("t5xxl", "unknown", True),
        ("t5xxl", "sd3", True),
        ("umt5xxl", "unknown", False),
        ("t5xxl, scaled", "flux", False),
    ],
)
def test_an_encoder_is_told_by_its_tensors_alone(variant: str, family: str, fits: bool) -> None:
    assert (fit(need_of("flux", "t5xxl"), [part("x", variant, family=family)]) is not None) is fits


@pytest.mark.parametrize(
    ("candidate", "fits"),
    [
        (part("x", "16 channels", family="flux"), True),
        (part("AE", "16 channels"), True),
        (part("x", "16 channels"), False),
        (part("ae", "16 channels", family="sd3"), False),
        (part("ae", "4 channels", family="flux"), False),
        (part("x", "16 channels", folder="/flux"), True),
        (part("x", "16 channels", family="sd3", folder="/flux"), False),
    ],
    ids=str,
)
def test_a_vae_of_sixteen_channels_must_be_of_the_family(candidate: Part, fits: bool) -> None:
    assert (fit(need_of("flux", "vae"), [candidate], folder=Path("/flux")) is not None) is fits


def test_a_vae_that_only_one_family_has_needs_no_name() -> None:
    assert fit(need_of("flux2", "vae", "dev"), [part("x", "32 channels")]) is not None
    assert fit(need_of("ernie-image", "vae"), [part("x", "32 channels", family="flux2")]) is not None


def test_ponys_vae_is_sdxls() -> None:
    for family in ("sdxl", "pony"):
        assert fit(need_of("illustrious", "vae"), [part("x", "4 channels", family=family)]) is not None
    assert fit(need_of("sdxl", "vae"), [part("x", "4 channels", family="sd15")]) is None


def test_the_best_is_the_named_then_the_near_then_the_usual_then_the_last() -> None:
    best_first = [
        part("named", "anything", family="sd15", precision="q2_k"),
        part("near", "t5xxl", precision="q3_k", folder="/flux"),
        part("later", "t5xxl", day=3),
        part("earlier", "t5xxl", day=2),
        part("b", "t5xxl", precision="bf16", day=9),
        part("c", "t5xxl", precision="q8_0", day=9),
        part("d", "t5xxl", precision="fp8", day=9),
        part("e", "t5xxl", precision="fp32", day=9),
        part("large", "t5xxl", precision="q6_k", size=9),
        part("small", "t5xxl", precision="q2_k", size=5, day=9),
    ]
    need, folder, named = need_of("flux", "t5xxl"), Path("/flux"), {best_first[0].path}
    left = list(best_first)
    order = []
    while left:
        best = fit(need, reversed(left), folder=folder, named=named)
        assert best is not None
        order.append(best.path.stem)
        left.remove(best)
    assert order == [one.path.stem for one in best_first]


def test_a_file_of_another_kind_is_not_taken_though_it_is_named() -> None:
    assert fit(need_of("flux", "t5xxl"), [AE], named={AE.path}) is None


PARTS = st.builds(
    lambda stem, variant, family, precision, size, day: part(
        f"{stem}{next(COUNT)}", variant, family=family, precision=precision, size=size, day=day
    ),
    st.sampled_from(["ae", "x"]),
    st.sampled_from(["16 channels", "4 channels", "t5xxl", "clip_l"]),
    st.sampled_from(["unknown", "flux", "sd15"]),
    st.sampled_from(["fp16", "fp32", "q4_k", "unknown"]),
    st.integers(1, 3),
    st.integers(1, 3),
)


@given(st.lists(PARTS, max_size=6), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order(parts: list[Part], random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    for need in needs(EMPTY, "diffusion_model", "flux", "dev"):
        assert fit(need, parts) == fit(need, shuffled)


def test_a_split_model_gets_its_files() -> None:
    wanted = needs(EMPTY, "diffusion_model", "flux", "dev")
    assert companions_of("flux1-dev-Q4", wanted, [T5, CLIP, AE]) == (
        ("vae", AE.path),
        ("clip_l", CLIP.path),
        ("t5xxl", T5.path),
    )


def test_what_is_missing_is_said_with_how_to_get_it() -> None:
    with pytest.raises(MissingCompanions) as caught:
        companions_of("flux1-dev-Q4", needs(EMPTY, "diffusion_model", "flux", "dev"), [CLIP])
    assert caught.value.message == "'flux1-dev-Q4' needs a VAE (ae) and a text encoder (t5xxl): not in the library"
    assert caught.value.hint == (
        "tsr dl hf:Comfy-Org/Lumina_Image_2.0_Repackaged/split_files/vae/ae.safetensors\n"
        "tsr dl hf:comfyanonymous/flux_text_encoders/t5xxl_fp16.safetensors"
    )
    assert [one["option"] for one in caught.value.details["missing"]] == ["vae", "t5xxl"]
    assert (caught.value.status, caught.value.exit_code) == (422, 2)


def test_sd3_is_drawn_with_without_its_largest_encoder() -> None:
    clip_g, vae_file = part("clip_g", "clip_g"), part("sd3_vae", "16 channels")
    wanted = needs(EMPTY, "diffusion_model", "sd3", "medium")
    assert [option for option, _ in companions_of("x", wanted, [CLIP, clip_g, vae_file])] == ["vae", "clip_l", "clip_g"]
    assert ("t5xxl", T5.path) in companions_of("x", wanted, [CLIP, clip_g, vae_file, T5])


def test_every_source_can_be_asked_for_and_every_family_is_one() -> None:
    for key, wanted in companions._NEEDS.items():
        assert key.partition(" ")[0] in FAMILIES
        for need in wanted:
            assert re.fullmatch(r"hf:[\w.-]+/[\w.-]+/[\w./-]+\.(safetensors|gguf)", need.source)
            target = read_target(need.source, civitai_url="https://c.example", huggingface_url="https://h.example")
            assert str(target) == need.source
            assert set(need.families) <= set(FAMILIES)
            # A file that is downloaded as the error says is then found.
            stem = Path(need.source).stem
            assert fit(need, [part(stem, need.signs[0], family=need.families[0] if need.families else "unknown")])


def test_candidates_are_the_librarys_parts_that_are_there(tmp_path: Path) -> None:
    old = write_safetensors(tmp_path / "old.safetensors", CLIP_L)
    with Database(tmp_path / "models.db") as database:
        columns = {"variant": "16 channels", "precision": "bf16"}
        add_file(database, "/m/ae.safetensors", kind="vae", family="flux", size=335, **columns)
        add_file(database, "/m/t5.gguf", kind="text_encoder", variant="t5xxl", precision="q8_0")
        add_file(database, "/m/tae.safetensors", kind="tae")
        add_file(database, str(old), kind="text_encoder")
        add_file(database, "/m/gone.safetensors", kind="vae", missing=True)
        add_file(database, "/m/broken.safetensors", kind="vae", problem="is cut off")
        add_file(database, "/m/lora.safetensors", kind="lora")
        add_file(database, "/m/unlisted.safetensors", kind="vae")
        found = {one.path.name: one for one in candidates(database)}
    assert found["ae.safetensors"] == Part(
        path=Path("/m/ae.safetensors"),
        kind="vae",
        family="flux",
        variant="16 channels",
        precision="bf16",
        size=335,
        added_at="2026-01-02T03:04:05.000Z",
    )
    # Listed before variants were told: its header says it now. Where the file cannot be read, nothing does.
    assert {name: one.variant for name, one in found.items()} == {
        "ae.safetensors": "16 channels",
        "t5.gguf": "t5xxl",
        "tae.safetensors": None,
        "old.safetensors": "clip_l",
        "unlisted.safetensors": None,
    }

"""What files are, from headers with the names and shapes that real ones have."""

from __future__ import annotations

from pathlib import Path

import pytest
from headers import Shapes, header, write_gguf, write_safetensors
from hypothesis import given
from hypothesis import strategies as st
from signs import (
    CAPTION,
    FLUX,
    FLUX_KEY,
    KIND_SIGNS,
    LORA_UNET,
    LORAS,
    PREFIXES,
    REFINER,
    SD15,
    SDXL,
    SIGNS,
    TAE,
    TO_K,
    UNET_2,
    UNET_4,
    peft,
    prefixed,
)

from tensors.header import Header, Tensor, read_header
from tensors.identify import FAMILIES, KINDS, Identity, has_tae, identify, training_tags
from tensors.models import demo_dir


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("shapes", "family", "variant"), SIGNS.values(), ids=SIGNS)
def test_a_diffusion_models_family_is_told_by_its_tensors(
    shapes: Shapes, family: str, variant: str | None, prefix: str
) -> None:
    assert identify(header(prefixed(shapes, prefix))) == Identity(
        kind="diffusion_model", kind_from="tensors", family=family, family_from="tensors", variant=variant
    )


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F8_E4M3", "gguf F16", "gguf BF16"])
@pytest.mark.parametrize(("shapes", "family", "variant"), SIGNS.values(), ids=SIGNS)
def test_the_same_in_files_of_every_sort(
    shapes: Shapes, family: str, variant: str | None, dtype: str, tmp_path: Path
) -> None:
    if dtype.startswith("gguf"):
        path = write_gguf(tmp_path / "x.gguf", shapes, dtype=dtype.removeprefix("gguf "))
    else:
        path = write_safetensors(tmp_path / "x.safetensors", shapes, dtype=dtype)
    found = identify(read_header(path))
    assert (found.kind, found.family, found.variant) == ("diffusion_model", family, variant)


@pytest.mark.parametrize(
    "shapes",
    [
        {UNET_2: (320, 4096)},
        {UNET_2: ()},
        {UNET_4: (640, 768)},
        {FLUX_KEY: (128,)},
        {FLUX_KEY: (128,), "img_in.weight": (3072, 65)},
        {**FLUX, "txt_in.weight": (3072, 3584)},
        {"transformer_blocks.0.img_mod.1.weight": (1, 1), "txt_norm.weight": (2560,)},
        {"txt_norm.weight": (3584,)},
        {CAPTION: (1000, 1000), REFINER: (3000, 1000)},
        {"head.modulation": (1, 2, 5120)},
        {},
    ],
    ids=str,
)
def test_what_is_not_certain_stays_unknown(shapes: Shapes) -> None:
    found = identify(header(shapes))
    assert (found.family, found.family_from) == ("unknown", None)
    inside = identify(header(prefixed(shapes, "model.diffusion_model.")))
    assert (inside.kind, inside.family) == ("diffusion_model" if shapes else "unknown", "unknown")


def test_a_prefix_nobody_uses_hides_the_sign() -> None:
    assert identify(header(prefixed(SD15, "model_ema."))).family == "unknown"


def test_of_two_layers_of_one_name_the_one_with_the_prefix_counts() -> None:
    inside = prefixed(SDXL, "model.diffusion_model.")
    for shapes in ({**inside, UNET_4: (768, 1280)}, {UNET_4: (768, 1280), **inside}):
        assert identify(header(shapes)).variant is None


def test_flux_in_four_bits_is_flux() -> None:
    """bitsandbytes packs two numbers into a byte, and the shapes are gone."""
    shapes = {"img_in.weight": (98304, 1), "img_in.bias": (3072,), FLUX_KEY: (128,)}
    tensors = {name: Tensor("U8" if name == "img_in.weight" else "F16", shape) for name, shape in shapes.items()}
    assert identify(Header("safetensors", tensors, {}, 8)).family == "flux"


@pytest.mark.parametrize(("shapes", "kind"), KIND_SIGNS.values(), ids=KIND_SIGNS)
def test_a_kind_is_told_by_the_tensors(shapes: Shapes, kind: str) -> None:
    found = identify(header(shapes))
    assert (found.kind, found.kind_from) == (kind, None if kind == "unknown" else "tensors")


@pytest.mark.parametrize(("shapes", "family", "variant"), LORAS.values(), ids=LORAS)
def test_a_lora_and_its_family_are_told_by_its_tensors(shapes: Shapes, family: str, variant: str | None) -> None:
    assert identify(header(shapes)) == Identity(
        kind="lora",
        kind_from="tensors",
        family=family,
        family_from=None if family == "unknown" else "tensors",
        variant=variant,
        adapter="lora",
    )


def test_a_block_of_any_number_is_no_trouble() -> None:
    shapes = peft(f"transformer.single_transformer_blocks.{'9' * 5_000}.attn.to_k", 3072)
    assert identify(header(shapes)).family == "flux"


@pytest.mark.parametrize(
    ("adapter", "ends"),
    [
        ("loha", {"hada_w1_a": (640, 4), "hada_w1_b": (4, 2048), "hada_w2_a": (640, 4), "hada_w2_b": (4, 2048)}),
        ("lokr", {"lokr_w1": (8, 16), "lokr_w2_a": (80, 4), "lokr_w2_b": (4, 128)}),
        ("lokr", {"lokr_w1": (8, 16), "lokr_w2": (80, 128), "dora_scale": (1, 2048)}),
        ("lokr", {"lokr_w1_a": (8, 4), "lokr_w1_b": (4, 16), "lokr_w2": (80, 128)}),
        ("dora", {"dora_scale": (1, 2048), "lora_down.weight": (4, 2048), "lora_up.weight": (640, 4)}),
        ("full", {"diff": (640, 2048)}),
    ],
)
def test_every_adapter_has_its_names_and_widths(adapter: str, ends: Shapes) -> None:
    found = identify(header({f"{LORA_UNET}.alpha": (), **prefixed(ends, f"{LORA_UNET}.")}))
    assert (found.kind, found.adapter, found.family) == ("lora", adapter, "sdxl")


def test_orthogonal_finetuning_is_a_lora_too() -> None:
    found = identify(header({"lora_te2_text_model_x.oft_blocks": (4, 8, 8), f"{LORA_UNET}.oft_blocks": (4, 8, 8)}))
    assert (found.kind, found.adapter, found.family) == ("lora", "oft", "sdxl")


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        ({"emb_params": (4, 768)}, "sd15"),
        ({"emb_params": (4, 1024)}, "sd2"),
        ({"emb_params": (4, 1280)}, "unknown"),
        ({"emb_params": ()}, "unknown"),
        ({"clip_l": (4, 768), "clip_g": (4, 1280)}, "sdxl"),
        ({"clip_l": (4, 768), "t5xxl": (4, 4096)}, "flux"),
        (prefixed(SD15, "control_model."), "sd15"),
        ({**SDXL, "input_hint_block.0.weight": (16, 3, 3, 3)}, "sdxl"),
        ({"controlnet_cond_embedding.x": (1,), f"down_blocks.1.attentions.0.{TO_K}": (640, 2048)}, "sdxl"),
        ({**FLUX, "controlnet_blocks.0.weight": (3072, 3072)}, "flux"),
        (KIND_SIGNS["vae"][0], "unknown"),
        (KIND_SIGNS["clip"][0], "unknown"),
    ],
    ids=str,
)
def test_the_family_of_smaller_files(shapes: Shapes, family: str) -> None:
    assert identify(header(shapes)).family == family


def test_the_demo_is_what_ships() -> None:
    model, lora = (
        read_header(demo_dir() / "shapes.safetensors"),
        read_header(demo_dir() / "loras" / "shapes-outline.safetensors"),
    )
    for name in ("shapes", "ponyDiffusion"):
        found = identify(model, name=name)
        assert (found.kind, found.family, found.family_from) == ("checkpoint", "shapes", "metadata")
    found = identify(lora)
    assert (found.kind, found.adapter, found.family) == ("lora", "lora", "shapes")
    assert has_tae(model)
    assert training_tags(lora.metadata) == (("outline", 4813),)


def test_a_tiny_autoencoder_is_both_halves() -> None:
    decoder, encoder = ({name: shape} for name, shape in TAE.items())
    assert has_tae(header({**decoder, **encoder}))
    for shapes in (decoder, encoder, SDXL):
        assert not has_tae(header(shapes))


NAMES = st.sampled_from([name for shapes, *_ in (*SIGNS.values(), *LORAS.values()) for name in shapes]) | st.text()
SHAPES = st.lists(st.integers(0, 2**20) | st.sampled_from([768, 1024, 1280, 2048, 3072]), max_size=5).map(tuple)


@given(
    st.dictionaries(st.builds("{}{}".format, st.sampled_from([*PREFIXES, "a\n"]), NAMES), SHAPES, max_size=6),
    st.dictionaries(
        st.sampled_from(["modelspec.architecture", "ss_sd_model_name", "ss_base_model_version"]), st.text()
    ),
    st.text(),
)
def test_whatever_a_header_says_it_is_some_file(
    shapes: dict[str, tuple[int, ...]], metadata: dict[str, str], name: str
) -> None:
    found = identify(header(shapes, metadata), name=name)
    assert found.kind in (*KINDS, "unknown")
    assert found.family in (*FAMILIES, "unknown")
    assert (found.kind_from is None) == (found.kind == "unknown")
    assert (found.family_from is None) == (found.family == "unknown")
    assert (found.adapter is None) == (found.kind != "lora" or found.kind_from != "tensors")


def test_every_family_of_the_tables_is_listed() -> None:
    told = {family for _, family, _ in (*SIGNS.values(), *LORAS.values())}
    assert told - {"unknown"} <= set(FAMILIES)
    assert {kind for _, kind in KIND_SIGNS.values()} | {"lora"} == {*KINDS, "unknown"}

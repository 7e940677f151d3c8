"""Which LoRAs can be applied to which checkpoints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tensors.base_models import FAMILIES, architecture
from tensors.fitting import fits, misfits


@pytest.mark.parametrize(
    ("lora", "checkpoint", "expected"),
    [
        *((lora, checkpoint, True) for lora in ("sdxl", "pony") for checkpoint in ("sdxl", "illustrious", "noobai")),
        ("illustrious", "pony", True),
        ("sd15", "sd15", True),
        ("shapes", "shapes", True),
        ("flux", "flux", True),
        ("sd15", "sdxl", False),
        ("sdxl", "sd15", False),
        ("pony", "auraflow", False),
        ("sd2", "sd15", False),
        ("shapes", "sd15", False),
        ("flux", "flux2", False),
        ("z-image", "lumina", False),
        ("flux", "chroma", None),
        ("chroma", "flux", None),
        ("noobai", "kolors", None),
        ("unknown", "sdxl", None),
        ("sdxl", "unknown", None),
        ("unknown", "unknown", None),
        # Of several sizes, and which is not said.
        ("sd3", "sd3", None),
        ("wan", "wan", None),
    ],
)
def test_families(lora: str, checkpoint: str, expected: bool | None) -> None:
    assert fits(lora, checkpoint) is expected


@pytest.mark.parametrize(
    ("family", "lora", "checkpoint", "expected"),
    [
        ("flux", "dev", "schnell", True),
        ("sd3", "large", "3.5, large", True),
        ("sd3", "medium", "3.5, large", False),
        ("sd3", "medium", "medium", None),
        ("sd3", "medium", "3.5, medium", None),
        ("sd3", None, "3.5, large", None),
        ("flux2", "klein-4b", "klein-4b", True),
        ("flux2", "klein-4b", "klein-9b", False),
        ("wan", "1.3b", "14b, i2v", False),
        ("wan", "14b", "14b, i2v", True),
        ("sdxl", None, "v-prediction", True),
        ("sdxl", None, "refiner", False),
        ("sdxl", "refiner", None, False),
        ("sdxl", "refiner", "refiner", True),
    ],
)
def test_variants_of_one_family(family: str, lora: str | None, checkpoint: str | None, expected: bool | None) -> None:
    assert fits(family, family, lora_variant=lora, checkpoint_variant=checkpoint) is expected


@given(st.sampled_from(FAMILIES), st.sampled_from(FAMILIES))
def test_it_is_the_architecture_that_counts(lora: str, checkpoint: str) -> None:
    assert fits(lora, checkpoint) is fits(checkpoint, lora) is fits(architecture(lora), checkpoint)
    if architecture(lora) == architecture(checkpoint):
        assert fits(lora, checkpoint) is not False
    assert (lora in misfits(checkpoint)) == (fits(lora, checkpoint) is False)

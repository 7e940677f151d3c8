"""Whether a LoRA can do anything on a checkpoint: whether its layers are there, and as wide.

Nothing is said about how well it looks: a LoRA for Pony on Illustrious is applied in full, and that is all that counts.

What is known, and from where:

- Pony, Illustrious and NoobAI are SDXL trained further, with its very layers (`tensors.base_models.architecture`).
- Flux dev and schnell differ in one layer, the guidance embedding, which LoRAs leave alone.
- Chroma has Flux's blocks without their modulation: most layers of a LoRA for Flux are there, some are not, and results
  differ (croquelois/forgeChroma#4). Many a LoRA for Chroma cannot be told from one for Flux at all.
- Stable Diffusion 3 and 3.5 Medium are as wide, but 3.5 has a second attention in its first blocks; Large is wider.
  Sizes of Flux 2 and Wan differ in width too (InvokeAI#8862; `tensors.diffusion_signs` has the widths).
- Kolors is SDXL's UNet with another text encoder, PixArt Sigma is Alpha without its resolution embedding, Anima is
  Cosmos with an adapter before it, Ovis-Image has Flux's attention: some layers fit, or a LoRA for one looks like one
  for the other.
"""

from __future__ import annotations

from collections.abc import Mapping

from tensors.base_models import FAMILIES, UNKNOWN, architecture

_PERHAPS = frozenset(
    frozenset(pair)
    for pair in (
        ("flux", "chroma"),
        ("flux", "ovis-image"),
        ("sdxl", "kolors"),
        ("pixart-alpha", "pixart-sigma"),
        ("cosmos", "anima"),
    )
)
"""Pairs of architectures of which nobody can say beforehand."""
_SIZES: Mapping[str, frozenset[str]] = {
    "sd3": frozenset({"medium", "large"}),
    "flux2": frozenset({"dev", "klein-9b", "klein-4b"}),
    "wan": frozenset({"1.3b", "5b", "14b"}),
}
"""Variants that differ in the width of their layers."""
_REFINER = "refiner"


def fits(
    lora_family: str,
    checkpoint_family: str,
    *,
    lora_variant: str | None = None,
    checkpoint_variant: str | None = None,
) -> bool | None:
    """Whether a LoRA that was made for one family can be applied to a checkpoint of another; None: not known.

    Variants as a file has them, such as `3.5, large`; only where a family has several sizes do they matter.
    """
    if UNKNOWN in (lora_family, checkpoint_family):
        return None
    ours, theirs = architecture(lora_family), architecture(checkpoint_family)
    if ours != theirs:
        return None if frozenset((ours, theirs)) in _PERHAPS else False
    mine, other = _variants(lora_variant), _variants(checkpoint_variant)
    if (_REFINER in mine) != (_REFINER in other):
        return False
    return _same_size(_SIZES[ours], mine, other) if ours in _SIZES else True


def misfits(checkpoint_family: str) -> tuple[str, ...]:
    """The families whose LoRAs never fit a checkpoint of this one."""
    return tuple(family for family in FAMILIES if fits(family, checkpoint_family) is False)


def _variants(variant: str | None) -> set[str]:
    return set((variant or "").split(", "))


def _same_size(sizes: frozenset[str], mine: set[str], other: set[str]) -> bool | None:
    if not (mine & sizes and other & sizes):
        return None
    if mine & sizes != other & sizes:
        return False
    # Of a LoRA nobody can tell whether it is for 3 or 3.5 Medium.
    return None if "medium" in mine else True

"""The `parameters` text that AUTOMATIC1111 writes into pictures, and that CivitAI and most tools read."""

from __future__ import annotations

import json

from tensors.samplers import SAMPLERS, SCHEDULERS
from tensors.types.gallery import Image


def _quoted(value: object) -> str:
    """A value as A1111 writes it: JSON-quoted where it holds a comma, a colon or a line break."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(char in text for char in ',:\n"') else text


def _number(value: float) -> str:
    return f"{value:g}"


def infotext(image: Image) -> str:
    """Prompt, negative prompt and one line of settings."""
    used = image.settings
    loras = (f"<lora:{lora.name}:{_number(lora.weight)}>" for lora in used.loras)
    lines = [" ".join((used.prompt, *loras)).strip()]
    if used.negative_prompt:
        lines.append(f"Negative prompt: {used.negative_prompt}")
    fields: dict[str, object | None] = {
        "Steps": used.steps,
        "Sampler": SAMPLERS.get(used.sampler, used.sampler),
        "Schedule type": SCHEDULERS.get(used.scheduler, used.scheduler),
        "CFG scale": _number(used.cfg_scale),
        "Distilled CFG Scale": None if used.guidance is None else _number(used.guidance),
        "Seed": used.seed,
        "Size": f"{used.width}x{used.height}",
        "Model hash": used.model.sha256[:10] if used.model.sha256 else None,
        "Model": used.model.name,
        "Clip skip": used.clip_skip,
    }
    if used.strength is not None:
        fields["Denoising strength"] = _number(used.strength)
    if used.hires:
        fields["Denoising strength"] = _number(used.hires.denoising_strength)
        fields["Hires upscale"] = _number(used.hires.scale)
        fields["Hires steps"] = used.hires.steps or None
        fields["Hires upscaler"] = used.hires.upscaler
    hashes = ", ".join(f"{lora.name}: {lora.autov3[:12]}" for lora in used.loras if lora.autov3)
    fields["Lora hashes"] = hashes or None
    fields["Version"] = f"tsr {image.tsr} ({image.engine})"
    lines.append(", ".join(f"{key}: {_quoted(value)}" for key, value in fields.items() if value is not None))
    return "\n".join(lines)

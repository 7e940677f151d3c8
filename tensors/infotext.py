"""The `parameters` text that AUTOMATIC1111 writes into pictures, and that CivitAI and most tools read.

What readers do with it decides how it is written: A1111's `modules/infotext_utils.py` (1.10) and CivitAI's
`automatic.metadata.ts`. `tensors.recipes.a1111` reads it back.
"""

from __future__ import annotations

import json
from decimal import Decimal

from tensors.samplers import SAMPLERS, SCHEDULERS
from tensors.types.gallery import Image
from tensors.types.generation import Settings

_KEYS = ("Negative prompt:", "Steps: ", "Template: ", "Negative Template: ")
"""What readers look for at the beginning of a line."""
_IN_HASHES = str.maketrans({char: f"\\u{ord(char):04x}" for char in ",:{}"})
_NOT_IN_LORA_HASHES = str.maketrans("", "", ",:")


def _quoted(value: object) -> str:
    """A value as A1111 writes it: JSON-quoted where it holds a comma, a colon or a line break."""
    text = str(value)
    plain = text.isprintable() and text == text.strip() and not any(char in text for char in ',:"')
    return text if plain else json.dumps(text, ensure_ascii=False)


def _number(value: float) -> str:
    """All its digits and no exponent: CivitAI reads digits and a point only."""
    text = f"{Decimal(str(value)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _on_one_line(text: str) -> str:
    """With lines that begin like a part of the format joined to the line before."""
    kept: list[str] = []
    for line in text.split("\n"):
        if not kept or not line.lstrip().startswith(_KEYS):
            kept.append(line)
            continue
        while len(kept) > 1 and not kept[-1].strip():
            kept.pop()
        kept[-1] = f"{kept[-1]} {line.lstrip()}"
    return "\n".join(kept)


def _hashes(used: Settings) -> dict[str, str | None]:
    """AutoV2 of the model, 10 digits, and AutoV3 of each LoRA, 12, as A1111 and as CivitAI's extension write them."""
    model = used.model.sha256[:10] if used.model.sha256 else None
    loras = [(lora.name, lora.autov3[:12]) for lora in used.loras if lora.autov3]
    # CivitAI takes all from `{` to the next `}`, A1111 ends a value at a comma and takes `word:` for a key.
    entries = [f'"model": "{model}"'] if model else []
    for name, digits in loras:
        entries.append(f'"lora:{json.dumps(name, ensure_ascii=False)[1:-1].translate(_IN_HASHES)}": "{digits}"')
    return {
        "Lora hashes": ", ".join(f"{name.translate(_NOT_IN_LORA_HASHES)}: {digits}" for name, digits in loras) or None,
        "Hashes": f"{{{', '.join(entries)}}}" if entries else None,
    }


def _strengths(used: Settings) -> dict[str, object]:
    """A1111 has one key for both passes; where there are two, it is the second one's."""
    if used.hires is None:
        return {} if used.strength is None else {"Denoising strength": _number(used.strength)}
    return {
        "Denoising strength": _number(used.hires.denoising_strength),
        "First pass denoising strength": None if used.strength is None else _number(used.strength),
        "Hires upscale": _number(used.hires.scale),
        "Hires steps": used.hires.steps or None,
        "Hires upscaler": used.hires.upscaler,
    }


def infotext(image: Image) -> str:
    """Prompt, negative prompt and one line of settings.

    A prompt that itself begins with `Negative prompt:` or `Steps: ` is misread by every reader of this format; tsr's
    own record beside it is not.
    """
    used = image.settings
    loras = (f"<lora:{lora.name}:{_number(lora.weight)}>" for lora in used.loras)
    lines = [" ".join((_on_one_line(used.prompt), *loras)).strip()]
    if used.negative_prompt:
        lines.append(f"Negative prompt: {_on_one_line(used.negative_prompt)}")
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
        **_strengths(used),
    }
    hashes = _hashes(used)
    fields["Lora hashes"] = hashes["Lora hashes"]
    pairs = [f"{key}: {_quoted(value)}" for key, value in fields.items() if value is not None]
    if hashes["Hashes"]:
        # Unquoted: that is what CivitAI looks for.
        pairs.append(f"Hashes: {hashes['Hashes']}")
    pairs.append(f"Version: {_quoted(f'tsr {image.tsr} ({image.engine})')}")
    lines.append(", ".join(pairs))
    return "\n".join(lines)

"""What others call the families and kinds of models, in our words.

CivitAI's base models and types of models (its `/enums`, and its open source), the architectures of ModelSpec and of
kohya's trainers, `general.architecture` of GGUF files, and the names people give to files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

UNKNOWN = "unknown"

KINDS = (
    *("checkpoint", "diffusion_model", "lora", "vae", "tae", "embedding", "text_encoder", "controlnet"),
    "upscaler",
)
"""Every kind of file that can be told."""

FAMILIES = (
    *("sd15", "sd2", "sdxl", "pony", "illustrious", "noobai", "sd3", "flux", "flux2", "chroma", "qwen-image"),
    *("z-image", "lumina", "wan", "anima", "auraflow", "cascade", "cogvideox", "cosmos", "ernie-image", "hidream"),
    *("hunyuan-dit", "hunyuan-image", "hunyuan-video", "kolors", "krea2", "ltxv", "ltxv2", "mochi", "omnigen2"),
    *("ovis-image", "pixart-alpha", "pixart-sigma", "svd", "shapes"),
)
"""Every family that can be told, the common ones first."""

_BUILT_ON = {"pony": "sdxl", "illustrious": "sdxl", "noobai": "sdxl"}

# As words: `_words` splits what people write, and Stable Diffusion is SD. The longest beginning counts, so that what a
# site adds tomorrow (`SDXL 1.0 Hyper`) is known by how it begins. None: another architecture than the shorter name's.
_BASE_MODELS = {
    "sd 1": "sd15",
    "sd 14": "sd15",
    "sd 15": "sd15",
    "sd 2": "sd2",
    "sd 20": "sd2",
    "sd 21": "sd2",
    "sd 3": "sd3",
    "sd 35": "sd3",
    "sd xl": "sdxl",
    "sdxl": "sdxl",
    "pony": "pony",
    "pony diffusion": "pony",
    "pony 7": "auraflow",
    "pony diffusion 7": "auraflow",
    "illustrious": "illustrious",
    "noobai": "noobai",
    "noob ai": "noobai",
    "flux": "flux",
    "flux 2": "flux2",
    "chroma": "chroma",
    "qwen": "qwen-image",
    "qwen image": "qwen-image",
    "qwen image 2": None,
    "qwen image 21": None,
    "z image": "z-image",
    "zimage": "z-image",
    "zimageturbo": "z-image",
    "zimagebase": "z-image",
    "lumina": "lumina",
    "wan": "wan",
    "wan image": None,
    "wanvideo": "wan",
    "anima": "anima",
    "aura": "auraflow",
    "auraflow": "auraflow",
    "aura flow": "auraflow",
    "stable cascade": "cascade",
    "cogvideox": "cogvideox",
    "cog video x": "cogvideox",
    "cosmos": "cosmos",
    "ernie": "ernie-image",
    "hidream": "hidream",
    "hidream o": None,
    "hi dream": "hidream",
    "hi dream o": None,
    "hunyuan": None,
    "hunyuan 1": "hunyuan-dit",
    "hunyuan dit": "hunyuan-dit",
    "hunyuan image": "hunyuan-image",
    "hunyuan video": "hunyuan-video",
    "hyvid": "hunyuan-video",
    "kolors": "kolors",
    "krea 2": "krea2",
    "ltxv": "ltxv",
    "ltxv 2": "ltxv2",
    "ltx video": "ltxv",
    "ltx video 2": "ltxv2",
    "mochi": "mochi",
    "omnigen 2": "omnigen2",
    "ovis image": "ovis-image",
    "pixart a": "pixart-alpha",
    "pixart alpha": "pixart-alpha",
    "pix art a": "pixart-alpha",
    "pix art alpha": "pixart-alpha",
    "pixart e": "pixart-sigma",
    "pixart sigma": "pixart-sigma",
    "pix art e": "pixart-sigma",
    "pix art sigma": "pixart-sigma",
    "svd": "svd",
}

# Anywhere in a file's name: only what cannot well mean something else. `wan`, `pony` in `ponytail` and the `v1-5` of
# somebody's own version are no signs.
_IN_NAMES = {
    **{name: family for name, family in _BASE_MODELS.items() if " " in name},
    **dict.fromkeys(("sdxl", "taesdxl"), "sdxl"),
    **dict.fromkeys(("1 5 pruned", "taesd"), "sd15"),
    **dict.fromkeys(("pony", "pdxl", "ponyxl", "ponydiffusion"), "pony"),
    **dict.fromkeys(("noob", "noobai", "noobxl", "noobaixl"), "noobai"),
    **dict.fromkeys(("illustrious", "illustriousxl", "illustrij", "ilxl"), "illustrious"),
    **dict.fromkeys(("flux", "flux 1", "taef 1"), "flux"),
    **dict.fromkeys(("wan 1", "wan 2", "wan 21", "wan 22", "wan video", "wanvideo", "taew 2"), "wan"),
    **dict.fromkeys(("lumina 2", "lumina image"), "lumina"),
    **{name: name for name in ("chroma", "kolors", "hidream", "auraflow", "ltxv", "cogvideox")},
    "taesd 3": "sd3",
    "taef 2": "flux2",
    "zimage": "z-image",
    # Hair, and a television series.
    "pony tail": None,
    "pony tails": None,
    "little pony": None,
}
_ALONE = ("qwen",)
"""Without more words: `qwen3` is a language model."""
_LONGEST_NAME = 255
"""Characters. What somebody put into a header may be longer than any name."""
_LONGEST = max(name.count(" ") + 1 for name in (*_BASE_MODELS, *_IN_NAMES))

_KINDS = {
    "checkpoint": "checkpoint",
    "lora": "lora",
    "locon": "lora",
    "dora": "lora",
    "textualinversion": "embedding",
    "vae": "vae",
    "controlnet": "controlnet",
    "upscaler": "upscaler",
    "unet": "diffusion_model",
    "textencoder": "text_encoder",
    "clip": "text_encoder",
}

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


def family_of_base_model(name: str) -> str | None:
    """The family of what CivitAI calls a base model, or a trainer an architecture; None when it is not certain.

    `SDXL 1.0`, `stable-diffusion-xl-v1-base/lora` and `sdxl_base_v1-0` are all `sdxl`. Whatever the case.
    """
    return _family_of(name[:_LONGEST_NAME])


def family_in_name(name: str) -> str | None:
    """The family that a file's name speaks of, on whole words; None when it names none, or several. A guess."""
    words = _words(name[:_LONGEST_NAME])
    found = set(_families_in(words))
    if len(found) > 1:
        # `ponyDiffusionV6XL_sdxl` is no contradiction.
        found -= {_BUILT_ON[family] for family in found & _BUILT_ON.keys()}
    return found.pop() if len(found) == 1 else None


def kind_of_model_type(type: str) -> str | None:
    """The kind of file of one of CivitAI's types of models; None for those that are no model files, and new ones."""
    return _KINDS.get(re.sub(r"[^a-z]", "", type.casefold()))


def architecture(family: str) -> str:
    """The family whose tensors a family has: `sdxl` for `pony`, `illustrious`, `noobai`; any other one itself."""
    return _BUILT_ON.get(family, family)


@lru_cache(maxsize=1024)
def _family_of(name: str) -> str | None:
    # Thousands of files say the same.
    return _longest(_words(name), _BASE_MODELS)[0]


def _words(text: str) -> list[str]:
    """Its words and numbers in lower case, `ponyDiffusionV6XL` as pony, diffusion, 6, xl: a `v` only says 'version'."""
    words = [word.lower() for word in _WORD.findall(text)]
    found: list[str] = []
    for word in words:
        if word == "diffusion" and found[-1:] == ["stable"]:
            found[-1] = "sd"
        elif word != "v":
            found.append(word)
    return found


def _longest(words: list[str], table: dict[str, str | None]) -> tuple[str | None, int]:
    """What the longest known beginning of these words means, and how many words it is."""
    for count in range(min(len(words), _LONGEST), 0, -1):
        name = " ".join(words[:count])
        if name in table and (count == len(words) or name not in _ALONE):
            return table[name], count
    return None, 0


def _families_in(words: list[str]) -> Iterator[str]:
    position = 0
    while position < len(words):
        family, count = _longest(words[position:], _IN_NAMES)
        if family:
            yield family
        position += max(count, 1)

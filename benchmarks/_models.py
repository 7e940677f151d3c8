"""Synthetic models in the shape and size of CivitAI's, the same ones each time."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import Any

import msgspec

# fmt: off
COMMON_NAMES = (
    "style", "anime", "realistic", "character", "mix", "girl", "lora", "pony", "xl", "art", "woman", "concept",
    "photo", "dark", "portrait", "flux", "cute", "fantasy", "realism", "detail", "illustrious", "sexy", "cyberpunk",
    "dress", "slider", "merge", "vision", "diffusion", "dream", "light", "beauty", "asian", "retro", "pixel",
    "comic", "outfit", "face", "hair", "eyes", "real", "manga", "painting", "turbo", "lightning", "vintage", "ink",
    "horror", "armor", "soft", "neon", "cinematic",
)
COMMON_TAGS = (
    "character", "anime", "woman", "style", "base model", "celebrity", "girls", "clothing", "concept", "realistic",
    "photorealistic", "sexy", "video game", "art style", "female", "poses", "background", "portraits", "cartoon",
    "fantasy", "illustration", "game character", "vehicle", "buildings", "objects", "animal", "3d", "sci-fi",
    "comics", "costume", "landscapes", "cute", "hentai", "man", "tool", "architecture", "food", "assets",
)
COMMON_TEXT = (
    "the", "a", "to", "and", "of", "with", "in", "is", "for", "you", "this", "model", "it", "use", "i", "on", "be",
    "but", "can", "my", "on", "are", "that", "or", "if", "not", "your", "images", "prompt", "version", "lora",
    "more", "good", "better", "like", "from", "recommended", "weight", "cfg", "steps", "sampler", "resolution",
    "use", "at", "negative", "style", "trained", "results", "make", "new", "merge", "works", "well", "please",
    "base", "also", "vae", "settings", "example", "image", "quality", "upscaler", "support", "hires", "hair",
    "eyes", "dress", "white", "black", "long", "red", "blue", "face", "body", "clothes", "anime", "realistic",
    "photo", "details", "lighting",
)
ONSETS = (
    "b", "br", "c", "ch", "d", "dr", "f", "g", "gr", "h", "j", "k", "kr", "l", "m", "n", "p", "ph", "qu", "r", "s",
    "sh", "st", "t", "th", "tr", "v", "w", "y", "z",
)
CODAS = (
    "", "", "", "l", "m", "n", "r", "s", "t", "x", "ck", "nd",
)
# fmt: on
CJK = (
    "麦橘写实真人模型国风女孩古典画风机甲幻想少女水墨光影赛博城市夜景梦境花猫龙山海星月東京桜雪さくらアニメミクとのはい"
)
BASE_MODELS = (
    *["SD 1.5"] * 8, *["SDXL 1.0"] * 4, *["Pony"] * 5, *["Illustrious"] * 5, *["Flux.1 D"] * 4,
    "SD 2.1", "NoobAI", "SD 3.5", "Wan Video 14B t2v", "Qwen", "Hunyuan Video", "Kolors",
)  # fmt: skip
TYPES = (*["LORA"] * 14, *["Checkpoint"] * 3, "TextualInversion", "LoCon", "Workflows", "DoRA")


class Models:
    """Makes models' records as JSON."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)
        self._rare = list(dict.fromkeys(self._invented() for _ in range(40_000)))
        self._rare_weights = list(itertools.accumulate(1 / (rank + 20) for rank in range(len(self._rare))))
        self._tags = [*COMMON_TAGS, *self._rare[:6000]]
        self._tag_weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(self._tags))))
        self._text = [*COMMON_TEXT, *self._rare[:20_000]]
        self._text_weights = list(itertools.accumulate(1 / (rank + 5) for rank in range(len(self._text))))
        self._creators = [self._invented().title() + self._random.choice(("", "_AI", "99", "")) for _ in range(12_000)]
        self._creator_weights = list(itertools.accumulate(1 / (rank + 50) for rank in range(len(self._creators))))
        self._numbers = itertools.count(1001, 7)

    def documents(self, count: int) -> Iterator[bytes]:
        """So many records."""
        for _ in range(count):
            yield msgspec.json.encode(self._model(next(self._numbers)))

    def _invented(self) -> str:
        pick = self._random.choice
        return "".join(pick(ONSETS) + pick("aeiou") + pick(CODAS) for _ in range(pick((2, 2, 3, 3, 4))))

    def _words(self, count: int) -> list[str]:
        return self._random.choices(self._text, cum_weights=self._text_weights, k=count)

    def _name(self) -> str:
        chance = self._random
        words = chance.choices(COMMON_NAMES, k=chance.choice((0, 1, 1, 2)))
        words += chance.choices(self._rare, cum_weights=self._rare_weights, k=chance.choice((1, 1, 2, 3)))
        words = [word if chance.random() < 0.2 else word.title() for word in words]
        if chance.random() < 0.06:
            words.append("".join(chance.choices(CJK, k=chance.randint(2, 8))))
        if chance.random() < 0.15:
            words = ["".join(words)]
        if chance.random() < 0.3:
            words.append(chance.choice(("XL", "v1", "v2.0", "V3", "[Pony]", "(Illustrious)", "- Flux", "SDXL", "1.5")))
        return " ".join(words)

    def _paragraphs(self) -> str:
        size, text = self._random.randint(200, 2000), ""
        while len(text) < size:
            text += f"<p>{' '.join(self._words(self._random.randint(8, 40))).capitalize()}.</p>"
        return text

    def _hash(self, digits: int) -> str:
        return f"{self._random.getrandbits(4 * digits):0{digits}X}"

    def _file(self, number: int, name: str) -> dict[str, Any]:
        sha256 = self._hash(64)
        return {
            "id": number,
            "sizeKB": self._random.randint(10_000, 7_000_000) + 0.5,
            "name": f"{name}.safetensors",
            "type": "Model",
            "pickleScanResult": "Success",
            "pickleScanMessage": "No Pickle imports",
            "virusScanResult": "Success",
            "scannedAt": "2024-10-05T12:16:37.487Z",
            "metadata": {"format": "SafeTensor", "size": "pruned", "fp": "fp16"},
            "hashes": {
                "AutoV1": self._hash(8),
                "AutoV2": sha256[:10],
                "SHA256": sha256,
                "CRC32": self._hash(8),
                "BLAKE3": self._hash(64),
                "AutoV3": self._hash(12),
            },
            "downloadUrl": f"https://civitai.com/api/download/models/{number}",
            "primary": True,
        }

    def _image(self, number: int) -> dict[str, Any]:
        return {
            "id": number,
            "url": f"https://image.civitai.com/xG1nkqKTMzGDvpLrqFT7WA/{self._hash(32)}/width=450/{number}.jpeg",
            "nsfwLevel": 1,
            "width": 1024,
            "height": 1536,
            "hash": f"U{self._hash(34)}",
            "type": "image",
            "meta": None,
        }

    def _version(self, number: int, model: int, index: int) -> dict[str, Any]:
        chance = self._random
        return {
            "id": number,
            "name": f"v{index + 1}.0",
            "index": index,
            "modelId": model,
            "baseModel": chance.choice(BASE_MODELS),
            "nsfwLevel": 15,
            "description": " ".join(self._words(12)) if chance.random() < 0.3 else None,
            "publishedAt": f"2024-{chance.randint(1, 12):02}-05T13:31:16.745Z",
            "availability": "Public",
            "trainedWords": [" ".join(self._words(2)) for _ in range(chance.choice((0, 0, 1, 1, 2, 4)))],
            "baseModelType": "Standard",
            "stats": {"downloadCount": chance.randint(10, 3000), "thumbsUpCount": 66, "thumbsDownCount": 3},
            "files": [
                self._file(number * 10 + place, self._invented()) for place in range(chance.choice((1, 1, 1, 2)))
            ],
            "images": [self._image(number * 20 + place) for place in range(2)],
            "downloadUrl": f"https://civitai.com/api/download/models/{number}",
        }

    def _model(self, number: int) -> dict[str, Any]:
        chance = self._random
        creator = chance.choices(self._creators, cum_weights=self._creator_weights)[0]
        tags = dict.fromkeys(chance.choices(self._tags, cum_weights=self._tag_weights, k=chance.randint(2, 12)))
        return {
            "id": number,
            "name": self._name(),
            "description": self._paragraphs(),
            "poi": False,
            "allowNoCredit": True,
            "allowCommercialUse": ["Image", "Rent"],
            "allowDerivatives": True,
            "allowDifferentLicense": True,
            "type": chance.choice(TYPES),
            "nsfw": chance.random() < 0.3,
            "nsfwLevel": 31,
            "cosmetic": None,
            "stats": {
                "downloadCount": int(chance.paretovariate(0.7) * 60),
                "thumbsUpCount": 524,
                "thumbsDownCount": 17,
            },
            "creator": {
                "username": creator,
                "image": f"https://image.civitai.com/{self._hash(32)}/width=96/{creator}.jpeg",
            },
            "tags": list(tags),
            "modelVersions": [
                self._version(number * 5 + index, number, index) for index in range(chance.choice((2, 2, 3, 4)))
            ],
        }

#!/usr/bin/env python3
"""A stand-in for stable-diffusion.cpp's `sd-server`, for tests: its command line, output, API, bad manners.

Put it where the path of an `sd-server` is expected. 'a red circle on a blue background' is a red disc on blue, anything
else has colours of its own; two different requests always differ, the same one never does. Log lines go to standard
output, `[ERROR]` lines to standard error, as the real one's do. Environment variables:

    FAKE_SD_STEP_SECONDS=s   how long a step takes (0.002)
    FAKE_SD_LOAD_SECONDS=s   how long the model loads (0)
    FAKE_SD_DIE_AT_STEP=n    abort (SIGABRT) at the n-th step of a generation, all its images and passes counted
    FAKE_SD_DIE_FILE=path    abort only if this file exists, and delete it first: once for each time it is made; at
                             step 1 unless FAKE_SD_DIE_AT_STEP says where
    FAKE_SD_HANG_AT_STEP=n   the n-th step of a generation never comes; HTTP still answers
    FAKE_SD_HANG_LOAD=1      the model never finishes loading
    FAKE_SD_BAD_MODEL=1      no model file is one
    FAKE_SD_BIND_FIRST=1     bind before loading, as older builds do: a request waits until the model is there
    FAKE_SD_FAIL=1           every generation fails
    FAKE_SD_OOM=1            every generation fails for want of memory; `tiling`, `offload`: as long as the request does
                             not ask for VAE tiling, or the engine was started without --offload-to-cpu
    FAKE_SD_JOB_TTL=s        how long a finished job is kept (600), after that 410
    FAKE_SD_PNG=path         the bytes of this file are every picture, for benchmarks: nothing is drawn
    FAKE_SD_NOISE=1          odd output before each bar: invalid UTF-8, a very long line, bars without a number, torn
    FAKE_SD_REQUEST_LOG=path JSON lines: {"event": "img_gen", "pid", "status", "body"} for each such request whose body
                             is an object, {"event": "start", "pid", "argv"} and {"event": "end", "pid", "reason"} for
                             the process (SIGKILL leaves no end)

Simpler than the real one, on purpose: hires and input images only change the seed of the drawing; jpeg and webp are PNG
bytes; any whole safetensors or GGUF file is a model, or a LoRA that fits; any option is known; a refused request leaves
no line in the log; the SDCPP part of the PNG's text is short; of the other APIs only txt2img and the lists exist.
"""

from __future__ import annotations

import array
import base64
import hashlib
import json
import os
import queue
import re
import resource
import signal
import socketserver
import struct
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

Json = dict[str, Any]
Size = tuple[int, int]

SD = "stable-diffusion.cpp"
VERSION = f"{SD} version unknown, commit unknown"
SAMPLERS = ["euler", "euler_a", "heun", "dpm2", "dpm++2s_a", "dpm++2m", "dpm++2mv2", "ipndm", "ipndm_v", "lcm",
            "ddim_trailing", "tcd", "res_multistep", "res_2s", "er_sde"]  # fmt: skip
SCHEDULERS = ["discrete", "karras", "exponential", "ays", "gits", "sgm_uniform", "simple", "smoothstep", "kl_optimal",
              "lcm", "bong_tangent"]  # fmt: skip
UPSCALERS = ["None", "Lanczos", "Nearest", "Latent", "Latent (nearest)", "Latent (nearest-exact)",
             "Latent (antialiased)", "Latent (bicubic)", "Latent (bicubic antialiased)"]  # fmt: skip
FORMATS = ["png", "jpeg", "webp"]
IMAGES = ("init_image", "mask_image", "control_image", "ref_images")
FEATURES = (*IMAGES, "cache", "cancel_queued", "hires", "lora", "vae_tiling")
COLOURS = {
    "red": (220, 38, 38), "green": (34, 160, 66), "blue": (37, 80, 220), "yellow": (247, 211, 40),
    "orange": (245, 130, 25), "purple": (130, 50, 170), "pink": (244, 130, 180), "cyan": (40, 200, 220),
    "white": (250, 250, 250), "black": (16, 16, 16),
}  # fmt: skip
SCENE = re.compile(r"\ban? ({0})\b.*\bon an? ({0}) background\b".format("|".join(COLOURS)), re.IGNORECASE | re.DOTALL)
SHADES = [bytes(v + shift if v < 128 else v - shift for v in range(256)) for shift in range(8)]
KINDS = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null", list: "array",
         dict: "object"}  # fmt: skip
TOO_LARGE = 2**26  # pixels; the real one's limit is the memory it has, and its process does not survive it either
OUT_OF_MEMORY = """\
[ERROR] ggml_extend.hpp:69   - ggml_aligned_malloc: insufficient memory (attempted to allocate 17106.91 MB)
[ERROR] ggml_extend.hpp:69   - ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer of size 17937894496
[ERROR] ggml_extend.hpp:69   - ggml_gallocr_reserve_n_impl: failed to allocate CPU buffer of size 17937894496
[ERROR] ggml_extend.hpp:1914 - flux: failed to allocate the compute buffer
[ERROR] ggml_extend.hpp:2698 - flux alloc compute buffer failed
"""
LAST_WORDS = """\
[ERROR] ggml_extend.hpp:69   - ROCm error: unspecified launch failure
ggml-cuda.cu:98: ROCm error
sd-server(ggml_abort+0x152) [0x55d0c0de]
"""
UNCAUGHT = """\
terminate called after throwing an instance of 'std::bad_alloc'
  what():  std::bad_alloc
"""


def f32(value: float) -> float:
    """The nearest number a C `float` can hold: step counts depend on it, and the capabilities show it."""
    return float(array.array("f", [value])[0])


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class Refused(Exception):
    """An answer that is not what was asked for; without an error its body is empty."""

    def __init__(self, status: int, error: str = "", message: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error} | ({"message": message} if message else {}) if error else None


class GenerationFailed(Exception):
    """generate_image returned no results"""


class Faults:
    """The environment variables, read once."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.step_seconds = float(env.get("FAKE_SD_STEP_SECONDS", "0.002"))
        self.load_seconds = float(env.get("FAKE_SD_LOAD_SECONDS", "0"))
        self.die_file = env.get("FAKE_SD_DIE_FILE")
        self.die_at = int(env.get("FAKE_SD_DIE_AT_STEP", "1" if self.die_file else "0"))
        self.hang_at = int(env.get("FAKE_SD_HANG_AT_STEP", "0"))
        self.job_ttl = int(env.get("FAKE_SD_JOB_TTL", "600"))
        self.png = Path(env["FAKE_SD_PNG"]).read_bytes() if "FAKE_SD_PNG" in env else None
        self.request_log = env.get("FAKE_SD_REQUEST_LOG")
        self.oom = env.get("FAKE_SD_OOM", "")
        flags = (f"FAKE_SD_{name}" for name in ("HANG_LOAD", "BIND_FIRST", "FAIL", "NOISE", "BAD_MODEL"))
        values = (env.get(flag) == "1" for flag in flags)
        self.hang_load, self.bind_first, self.fail, self.noise, self.bad_model = values

    def dies_at(self, step: int) -> bool:
        if step != self.die_at or self.die_file is None:
            return step == self.die_at
        with suppress(FileNotFoundError):
            os.unlink(self.die_file)
            return True
        return False


class Console:
    """Standard output and error, nothing held back; nobody reading them any more stops nothing."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._lock = threading.Lock()

    def write(self, data: bytes, descriptor: int = 1) -> None:
        with self._lock, suppress(BrokenPipeError):
            while data:
                data = data[os.write(descriptor, data) :]

    def log(self, line: int, text: str, file: str = SD, level: str = "INFO") -> None:
        self.write(f"[{level:5}] {file}:{line:<4d} - {text}\n".encode(errors="replace"), 2 if level == "ERROR" else 1)

    def bar(self, done: int, total: int, speed: str) -> None:
        if self._faults.noise:
            self.write(b"\r  |==>   | \x1b[K\r  |===| 0/0 - nan\x1b[K\n[INFO ] [INFO ] \xff\xfe\xc3( torn\n - seed\n")
            self.write(b"[WARN ] " + b"x" * 200_000 + b"\n")
        full = int(f32(done * 50) / total)
        drawn = ("=" * full + (">" if full < 49 else "=")).ljust(50)[:50]
        self.write(f"\r  |{drawn}| {done}/{total} - {speed}\x1b[K{chr(10) if done == total else ''}".encode())

    def record(self, event: str, **what: object) -> None:
        """Append to the request log, in one write: several processes can share it."""
        if self._faults.request_log:
            with open(self._faults.request_log, "ab", buffering=0) as file:
                file.write(json.dumps({"event": event, "pid": os.getpid(), **what}).encode() + b"\n")

    def abort(self, last_words: str) -> NoReturn:
        self.write(last_words.encode(), 2)
        self.record("end", reason="SIGABRT")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file for each test would fill the disk
        os.abort()


def draw(width: int, height: int, prompt: str, key: bytes) -> Iterator[bytes]:
    """Rows of a disc on a ground; the key shades each row a little, which tells any two requests apart."""
    digest = hashlib.sha256(key).digest()
    scene = SCENE.search(prompt)
    disc, ground = (bytes(COLOURS[name.lower()]) for name in scene.groups()) if scene else (digest[:3], digest[3:6])
    radius = min(width, height) * 0.35
    for y in range(height):
        square = radius**2 - (y + 0.5 - height / 2) ** 2
        half = round(square**0.5) if square > 0 else 0
        side = ground * (width // 2 - half)
        yield (side + disc * (2 * half) + side).translate(SHADES[digest[y % 32] % 8])


def png(width: int, height: int, rows: Iterator[bytes], parameters: str | None) -> bytes:
    """A PNG with its parts in the order of the real one's, packed row by row to hold little."""
    packer = zlib.compressobj(1)
    data = b"".join([*(packer.compress(b"\0" + row) for row in rows), packer.flush()])
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    if parameters is not None:
        text = parameters.split("\0")[0].encode()  # UTF-8 where tEXt means Latin-1, cut at a NUL: so does the real one
        chunks.insert(1, (b"tEXt", b"parameters\0" + text))
    ends = [struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks]
    framed = [struct.pack(">I", len(body)) + name + body + end for (name, body), end in zip(chunks, ends, strict=True)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def tensor_count(path: str) -> int:
    """How many tensors a model file has. ValueError: it is no model file, or the end of it is missing."""
    try:
        with open(path, "rb") as file:
            head, size = file.read(16), os.path.getsize(path)
            if head[:4] == b"GGUF":
                return int(struct.unpack("<Q", head[8:])[0])
            file.seek(8)
            start = 8 + int(struct.unpack("<Q", head[:8])[0])
            header = json.loads(file.read(start - 8) if start <= size else b"")
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    except (OSError, struct.error, LookupError, TypeError, AttributeError) as problem:
        raise ValueError(path) from problem
    if max(ends, default=0) + start > size:
        raise ValueError(path)
    return len(ends)


def image_defaults() -> Json:
    """What a request is made of and its values where the body has none; the capabilities show it."""
    slg = {"layers": [7, 8, 9], "layer_start": f32(0.01), "layer_end": f32(0.2), "scale": 0.0}
    guidance = {"txt_cfg": 7.0, "img_cfg": None, "distilled_guidance": 3.5, "slg": slg}
    return {
        "prompt": "", "negative_prompt": "", "clip_skip": -1, "width": 512, "height": 512, "strength": 0.75, "seed": 42,
        "batch_count": 1, "auto_resize_ref_image": True, "increase_ref_index": False, "control_strength": f32(0.9),
        "sample_params": {"scheduler": "default", "sample_method": "default", "sample_steps": 20, "eta": None,
                          "shifted_timestep": 0, "flow_shift": None, "guidance": guidance},
        "hires": {"enabled": False, "upscaler": "Latent", "scale": 2.0, "target_width": 0, "target_height": 0,
                  "steps": 0, "denoising_strength": f32(0.7), "upscale_tile_size": 128},
        "vae_tiling_params": {"enabled": False, "tile_size_x": 0, "tile_size_y": 0, "target_overlap": 0.5,
                              "rel_size_x": 0.0, "rel_size_y": 0.0},
        "cache_mode": "", "cache_option": "", "scm_mask": "", "scm_policy_dynamic": True,
        "output_format": "png", "output_compression": 100,
    }  # fmt: skip


def merged(defaults: Json, body: Json) -> Json:
    """`defaults` with what `body` says; a value of another type than the default's is passed over in silence."""
    result = dict(defaults)
    for name, default in defaults.items():
        value: Any = body.get(name)
        if isinstance(default, dict):
            result[name] = merged(default, value if isinstance(value, dict) else {})
        elif isinstance(default, bool | str | list):
            result[name] = value if type(value) is type(default) else default
        elif isinstance(default, int) and type(value) is int:
            half = 2 ** (63 if name == "seed" else 31)
            result[name] = (value + half) % (2 * half) - half
        elif not isinstance(default, int) and type(value) in (int, float):
            result[name] = f32(value)
    return result


def typed(body: Json, name: str, default: Any) -> Any:
    """A value of the default's type; where the real one is strict, it answers 500."""
    value = body.get(name, default)
    wanted, got = KINDS[type(default)], KINDS[type(value)]
    if wanted != got:
        raise Refused(500, "server_error", f"[json.exception.type_error.302] type must be {wanted}, but is {got}")
    return int(value) if type(default) is int else value


def parse_body(data: bytes, status: int, error: str) -> Json:
    """The JSON object in a request; `status` and `error` answer text that is no JSON."""
    if not data:
        raise Refused(400, "empty body")
    try:  # NaN and its like are no JSON, which int() says; a number of 20 digits has a fraction's type
        whole = data.decode()
        body = json.loads(whole, parse_int=lambda n: int(n) if len(n) < 20 else float(n), parse_constant=int)
    except UnicodeDecodeError:
        raise Refused(500) from None
    except ValueError as problem:
        where = re.sub(r".*line (\d+) column (\d+).*", r"line \1, column \2", str(problem))
        text = f"[json.exception.parse_error.101] parse error at {where}: syntax error while parsing value"
        raise Refused(status, error, text) from None
    if not isinstance(body, dict):
        text = f"[json.exception.type_error.306] cannot use value() with {KINDS[type(body)]}"
        raise Refused(500, "server_error", text)
    return body


def from_sdapi(body: Json, defaults: Json, loras: Mapping[str, str]) -> Json:
    """The native form of a txt2img request. `loras` is what was there when somebody last asked for the list."""
    prompt, width, height = typed(body, "prompt", ""), typed(body, "width", 512), typed(body, "height", 512)
    cfg = typed(body, "cfg_scale", defaults["sample_params"]["guidance"]["txt_cfg"])
    if min(width, height) <= 0 or not prompt:
        raise Refused(400, "width and height must be positive" if min(width, height) <= 0 else "prompt required")
    items = [item for item in body["lora"] if isinstance(item, dict)] if isinstance(body.get("lora"), list) else []
    for path in (typed(item, "path", "") for item in items):
        if path not in loras:
            raise Refused(400, f"invalid lora path: {path}" if path else "lora.path required")
    steps = typed(body, "steps", defaults["sample_params"]["sample_steps"])
    sample = {"sample_steps": steps, "sample_method": body.get("sampler_name")}
    sample |= {"scheduler": body.get("scheduler"), "guidance": {"txt_cfg": cfg}}
    seed = (typed(body, "seed", -1) + 2**31) % 2**32 - 2**31  # only this API cuts it to 32 bits
    result = {"prompt": prompt, "width": width, "height": height, "seed": seed, "lora": items, "sample_params": sample}
    return result | {"negative_prompt": body.get("negative_prompt"), "batch_count": body.get("batch_size")}


class Request:
    """One request for pictures, checked as little as the real one checks it."""

    def __init__(self, body: Json, defaults: Json, loras: Mapping[str, str]) -> None:
        self.embed = body.get("embed_image_metadata") is not False
        self.settings = s = merged(defaults, body)
        self.hires, self.sample, self.count = s["hires"], s["sample_params"], min(8, max(1, s["batch_count"]))
        for name, known in (("sample_method", SAMPLERS), ("scheduler", SCHEDULERS)):
            if self.sample[name] not in known:
                self.sample[name] = defaults["sample_params"][name]
        self.sample["sample_steps"] = min(100, max(1, self.sample["sample_steps"]))
        self.size = s["width"] if s["width"] > 0 else 512, s["height"] if s["height"] > 0 else 512
        self.seed = s["seed"]
        if self.seed < 0:  # from the clock, in whole seconds: two such requests within one make the same picture
            self.seed = zlib.crc32(str(int(time.time())).encode()) >> 1
        self.loras = self._loras(body.get("lora", []), loras)
        given = {name: compact(body[name]).encode() for name in IMAGES if body.get(name)}
        self.images = {name: hashlib.sha256(data).hexdigest() for name, data in given.items()}
        self.format = typed(body, "output_format", "png").lower()
        typed(body, "output_compression", 100)
        if self.format not in FORMATS:
            raise Refused(400, f"invalid output_format, must be one of [{', '.join(FORMATS)}]")
        self._check(body.get("init_image"))

    def _loras(self, items: Any, known: Mapping[str, str]) -> dict[str, float]:
        result: dict[str, float] = {}
        for item in items if isinstance(items, list) else [None]:
            path = known.get(typed(item, "path", "")) if isinstance(item, dict) else None
            if item is None or path is None:
                raise Refused(400, "invalid generation parameters")
            result[path] = result.get(path, 0.0) + f32(typed(item, "multiplier", 1.0))
        return result

    def _check(self, image: object) -> None:
        hires = self.hires
        hires["enabled"] = hires["enabled"] and hires["upscaler"] != "None"
        data = b""
        with suppress(ValueError):
            data = base64.b64decode(image.rpartition(",")[2] + "==") if isinstance(image, str) else b""
        good = image is None or data.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff"))
        good = good and 0 <= self.settings["strength"] <= 1 and self.sample["guidance"]["txt_cfg"] >= 0
        if hires["enabled"]:
            good = good and 0 < hires["denoising_strength"] <= 1 and hires["upscaler"] in UPSCALERS
        if not good:
            raise Refused(400, "invalid generation parameters")

    def steps(self) -> int:
        """Steps of the first pass: with an init image the last part of them, and one."""
        steps: int = self.sample["sample_steps"]
        if "init_image" in self.images and self.settings["strength"] < 1:
            return min(int(f32(steps * self.settings["strength"])), steps - 1) + 1
        return steps

    def hires_steps(self) -> tuple[int, int]:
        """Steps that the second pass divides its noise into, and how many of them it takes."""
        strength = self.hires["denoising_strength"]
        total = int(f32((self.hires["steps"] if self.hires["steps"] > 0 else self.sample["sample_steps"]) / strength))
        return total, min(int(f32(total * strength)), total - 1) + 1

    def hires_size(self, size: Size) -> Size:
        wide, high = self.hires["target_width"], self.hires["target_height"]
        if wide > 0 or high > 0:
            return wide if wide > 0 else high, high if high > 0 else wide
        return round(size[0] * self.hires["scale"]), round(size[1] * self.hires["scale"])

    def key(self, seed: int, loras: Mapping[str, float]) -> bytes:
        """All that decides the pixels of one picture."""
        apart = ("batch_count", "seed", "output_format", "output_compression")
        kept = {name: value for name, value in self.settings.items() if name not in apart}
        return json.dumps([kept, seed, self.images, sorted(loras.items())], sort_keys=True).encode()

    def parameters(self, seed: int, model: str) -> str:
        """The text that goes into a PNG."""
        s, sample, hires = self.settings, self.sample, self.hires
        sampler = "" if sample["scheduler"] == "default" else f" {sample['scheduler']}"
        sampler = sample["sample_method"].replace("default", "NONE") + sampler
        text = f"{s['prompt']}\n" + (f"Negative prompt: {s['negative_prompt']}\n" if s["negative_prompt"] else "")
        text += f"Steps: {sample['sample_steps']}, CFG scale: {sample['guidance']['txt_cfg']:.6f}, "
        text += f"Guidance: {sample['guidance']['distilled_guidance']:.6f}, Eta: {sample['eta'] or float('inf'):.6f}, "
        text += f"Seed: {seed}, Size: {self.size[0]}x{self.size[1]}, Model: {model}, RNG: cuda, Sampler: {sampler}, "
        text += f"Clip skip: {s['clip_skip']}, " if s["clip_skip"] != -1 else ""
        if hires["enabled"]:
            text += f"Hires upscale: {hires['upscaler']}, Hires scale: {hires['scale']:.6f}, "
            text += f"Hires resize: {hires['target_width']}x{hires['target_height']}, Hires steps: {hires['steps']}, "
            text += f"Denoising strength: {hires['denoising_strength']:.6f}, "
        tail = {"schema": "sdcpp.image.params/v1", "mode": "img_gen", "seed": seed}
        return text + f"Version: {SD}, SDCPP: {compact(tail | {'width': self.size[0], 'height': self.size[1]})}"


class Engine:
    """The loaded model: makes one batch of pictures at a time and says on standard output how far it is."""

    def __init__(self, options: Mapping[str, str], faults: Faults, console: Console) -> None:
        self.faults, self.console, self._options = faults, console, options
        self.path = Path(options.get("model") or options.get("diffusion-model", ""))
        self.loras: dict[str, str] = {}
        self._serial = threading.Lock()
        self._step = 0
        sample: Json = {"sample_steps": int(options["steps"])} if "steps" in options else {}
        sample |= {"guidance": {"txt_cfg": float(options["cfg-scale"])}} if "cfg-scale" in options else {}
        self.defaults = merged(image_defaults(), {"sample_params": sample})

    def load(self) -> bool:
        """Look whether the model files are some; as with the real one, only the model itself has to be."""
        total = 1
        for option in ("model", "diffusion-model", "vae", "taesd"):
            if path := self._options.get(option):
                self.console.log(212, f"loading {option.replace('-', ' ').replace('taesd', 'tae')} from '{path}'")
                count = self._tensors(path)
                total += count or 0
                if count is None and option in ("model", "diffusion-model"):
                    self.console.log(214, f"init model loader from file failed: '{path}'", level="ERROR")
                    self.console.log(299, f"get sd version from file failed: '{path}'", level="ERROR")
                    return False
        self.console.log(305, "Version: Ovis Image ")
        if self.faults.hang_load:
            threading.Event().wait()
        parts = max(1, round(self.faults.load_seconds / 0.2))
        for part in range(1, parts + 1):
            time.sleep(self.faults.load_seconds / parts)
            self.console.bar(-(-total * part // parts), total, "27.54MB/s")
        times = ", ".join(f"{name}: 0.00s" for name in ("process", "read", "memcpy", "convert", "copy_to_backend"))
        took = f"{self.faults.load_seconds:.2f}s"
        self.console.log(993, f"loading tensors completed, taking {took} ({times})", "model.cpp")
        self.console.log(947, "running in Flux FLOW mode")
        return True

    def _tensors(self, path: str) -> int | None:
        try:
            count = tensor_count(path)
            if self.faults.bad_model:
                raise ValueError(path)
        except ValueError:
            problem = f"unknown format {path}" if os.path.exists(path) else f"file {path} not found"
            self.console.log(229, problem, "model.cpp", "WARN")
            return None
        self.console.log(219, f"load {path} using safetensors format", "model.cpp")
        return count

    def list_loras(self) -> list[Json]:
        """What is in the folder now; sdapi believes it to be there until the next call."""
        folder = Path(self._options.get("lora-model-dir") or os.devnull)
        files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".safetensors", ".gguf", ".pt", ".pth"))
        self.loras = {p.relative_to(folder).as_posix(): str(p) for p in files if p.is_file()}
        return [{"name": Path(path).stem, "path": path} for path in sorted(self.loras)]

    def capabilities(self) -> Json:
        features = dict.fromkeys(FEATURES, True) | {"cancel_generating": False}
        result = {"defaults": self.defaults, "features": features, "output_formats": FORMATS}
        result |= {f"{name}_by_mode": {"img_gen": value} for name, value in result.items()}
        limits = {f"{end}_{side}": size for side in ("width", "height") for end, size in (("min", 64), ("max", 4096))}
        return result | {
            "model": {"name": self.path.name, "stem": self.path.stem, "path": str(self.path)},
            "current_mode": "img_gen", "supported_modes": ["img_gen"], "loras": self.list_loras(),
            "samplers": SAMPLERS, "schedulers": SCHEDULERS, "upscalers": [{"name": name} for name in UPSCALERS],
            "limits": limits | {"max_batch_count": 8, "max_queue_size": 64},
        }  # fmt: skip

    def request(self, body: Json) -> Request:
        return Request(body, self.defaults, self.loras)

    def generate(self, request: Request) -> list[str]:
        """Pictures in base64. MemoryError: there are too many pixels in one."""
        with self._serial:
            began, self._step = time.monotonic(), 0
            size = self._align("generation request", *request.size)
            target = self._align("hires target", *request.hires_size(size)) if request.hires["enabled"] else size
            self.console.log(3367, f"generate_image {size[0]}x{size[1]}")
            loras = self._apply(request.loras)
            self._prepare(request)
            if max(size[0] * size[1], target[0] * target[1]) > TOO_LARGE:
                raise MemoryError
            self._first_pass(request)
            if request.hires["enabled"]:
                self._second_pass(request, size, target)
            self._decode(request)
            self.console.log(3591, f"generate_image completed in {time.monotonic() - began:.2f}s")
        return [self._picture(request, target, request.seed + i, loras) for i in range(request.count)]

    def _align(self, what: str, width: int, height: int) -> Size:
        size = -(-width // 8) * 8, -(-height // 8) * 8
        if size != (width, height):
            text = f"align {what} up {width}x{height} to {size[0]}x{size[1]} (multiple=8)"
            self.console.log(2623, text, level="WARN")
        return size

    def _apply(self, loras: Mapping[str, float]) -> dict[str, float]:
        """Those that change anything: a file that is no LoRA is left out with a word in the log."""
        applied: dict[str, float] = {}
        if loras:
            self.console.log(1090, "apply lora at runtime")
        for path, weight in sorted(loras.items()):
            count = self._tensors(path)
            self.console.log(40, f"loading LoRA from '{path}'", "lora.hpp")
            if count is None:
                self.console.log(43, f"init lora model loader from file failed: '{path}'", "lora.hpp", "ERROR")
                self.console.log(1019, f"load lora tensors from {path} failed", level="WARN")
                continue
            self.console.bar(max(count, 1), max(count, 1), "1.17MB/s")
            applied |= {path: weight} if weight else {}
        return applied

    def _prepare(self, request: Request) -> None:
        scheduler, method = request.sample["scheduler"], request.sample["sample_method"]
        self.console.log(499, f"get_sigmas with {scheduler.replace('default', 'discrete')} scheduler", "denoiser.hpp")
        self.console.log(2814, f"sampling using {method.replace('default', 'Euler')} method")
        if "init_image" in request.images:
            self.console.log(2932, "IMG2IMG")
            if request.settings["strength"] < 1:
                self.console.log(2939, f"target t_enc is {request.steps() - 1} steps")
            self.console.log(3106, "encode_first_stage completed, taking 0.00s")
        self.console.log(3168, "get_learned_condition completed, taking 0.00s")

    def _sample(self, steps: int) -> str:
        """One run of the sampler, a bar for each step; how long it took."""
        began = time.monotonic()
        for done in range(1, steps + 1):
            self._step += 1
            if self._step == self.faults.hang_at:
                threading.Event().wait()
            if self.faults.dies_at(self._step):
                self.console.abort(LAST_WORDS)
            time.sleep(self.faults.step_seconds)
            pace = (time.monotonic() - began) / done
            self.console.bar(done, steps, f"{1 / pace:.2f}it/s" if 0 < pace < 1 else f"{pace:.2f}s/it")
        return f"{time.monotonic() - began:.2f}s"

    def _first_pass(self, request: Request) -> None:
        count, began = request.count, time.monotonic()
        for i in range(count):
            self.console.log(3401, f"generating image: {i + 1}/{count} - seed {request.seed + i}")
            short = self.faults.oom == "1" or (self.faults.oom == "offload" and "offload-to-cpu" not in self._options)
            if self.faults.fail or short:
                self.console.write(OUT_OF_MEMORY.encode() if short else b"", 2)
                self.console.log(1786, "Diffusion model sampling failed", level="ERROR")
                self.console.log(3437, f"sampling for image {i + 1}/{count} failed after 0.00s", level="ERROR")
                raise GenerationFailed(GenerationFailed.__doc__)
            self.console.log(3432, f"sampling completed, taking {self._sample(request.steps())}")
        took = time.monotonic() - began
        self.console.log(3450, f"generating {count} latent images completed, taking {took:.2f}s")

    def _second_pass(self, request: Request, size: Size, target: Size) -> None:
        began, upscaler, scheduler = time.monotonic(), request.hires["upscaler"], request.sample["scheduler"]
        total, steps = request.hires_steps()
        noise = f"denoising_strength={request.hires['denoising_strength']:.2f}, sigma_sched_size={steps + 1}"
        sigmas = "discrete scheduler (default)" if scheduler == "default" else f"{scheduler} scheduler"
        self.console.log(3455, f"hires fix: upscaling to {target[0]}x{target[1]}")
        self.console.log(543, f"get_sigmas with {sigmas}", "denoiser.hpp")
        self.console.log(3496, f"hires fix: {total} steps, {noise}")
        scale, line, what = (8, 3284, "") if upscaler.startswith("Latent") else (1, 3332, "image ")
        sizes = " -> ".join(f"{width // scale}x{height // scale}" for width, height in (size, target))
        for i in range(request.count):
            self.console.log(line, f"hires {upscaler} {what}upscale {sizes}")
            self.console.log(3557, f"hires sampling {i + 1}/{request.count} completed, taking {self._sample(steps)}")
        self.console.log(3578, f"hires fix completed, taking {time.monotonic() - began:.2f}s")

    def _decode(self, request: Request) -> None:
        self.console.log(3192, f"decoding {request.count} latents")
        for i in range(request.count):
            tiles = 3 if request.settings["vae_tiling_params"]["enabled"] else 0
            if self.faults.oom == "tiling" and not tiles:
                self.console.write(OUT_OF_MEMORY.encode().replace(b"flux", b"vae"), 2)
                self.console.log(200, "vae decode compute failed", "vae.hpp", level="ERROR")
                raise GenerationFailed(GenerationFailed.__doc__)
            for tile in range(tiles):  # bars that are no steps
                self.console.bar(tile + 1, tiles, "12.35it/s")
            self.console.log(3208, f"latent {i + 1} decoded, taking 0.00s")
        self.console.log(3212, "decode_first_stage completed, taking 0.00s")

    def _picture(self, request: Request, size: Size, seed: int, loras: Mapping[str, float]) -> str:
        data = self.faults.png
        if data is None:
            rows = draw(*size, request.settings["prompt"], request.key(seed, loras))
            model = os.path.basename(self._options.get("model", ""))
            data = png(*size, rows, request.parameters(seed, model) if request.embed else None)
        return base64.b64encode(data).decode()


class Jobs:
    """The queue in front of the engine; a job is kept as it is answered."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._jobs: dict[str, Json] = {}
        self._gone: set[str] = set()
        self._waiting: dict[str, Request] = {}
        self._changed = threading.Condition()
        self._made = 0
        threading.Thread(target=self._work, daemon=True).start()

    def add(self, request: Request) -> Json:
        with self._changed:
            self._purge()
            if sum(job["completed"] is None for job in self._jobs.values()) >= 64:
                raise Refused(429, "job queue is full")
            now, name = int(time.time()), f"job_{int(time.time()):x}_{self._made:08x}"
            job: Json = {"id": name, "kind": "img_gen", "status": "queued", "created": now}
            self._jobs[name] = job | {"started": None, "completed": None, "result": None, "error": None}
            self._made += 1
            self._waiting[name] = request
        return job | {"poll_url": f"/sdcpp/v1/jobs/{name}"}

    def wake(self) -> None:
        """Let the engine begin. Called when the answer is out: dying at once must not swallow that."""
        with self._changed:
            self._changed.notify()

    def get(self, name: str) -> Json:
        with self._changed:
            self._purge()
            if name not in self._jobs:
                raise Refused(410, "job expired") if name in self._gone else Refused(404, "job not found")
            position = list(self._waiting).index(name) + 1 if name in self._waiting else 0
            return self._jobs[name] | {"queue_position": position}

    def cancel(self, name: str) -> Json:
        with self._changed:
            if self.get(name)["status"] == "generating":
                raise Refused(409, "job is currently generating and cannot be interrupted yet")
            if self._waiting.pop(name, None):
                error = {"code": "cancelled", "message": "job cancelled by client"}
                self._jobs[name] |= {"status": "cancelled", "completed": int(time.time()), "error": error}
            return self.get(name)

    def _purge(self) -> None:
        old = int(time.time()) - self._engine.faults.job_ttl
        gone = {name for name, job in self._jobs.items() if job["completed"] is not None and job["completed"] <= old}
        self._jobs = {name: job for name, job in self._jobs.items() if name not in gone}
        self._gone |= gone

    def _work(self) -> NoReturn:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                name = next(iter(self._waiting))
                request, job = self._waiting.pop(name), self._jobs[name]
                job |= {"status": "generating", "started": int(time.time())}
            try:
                images = [{"index": i, "b64_json": image} for i, image in enumerate(self._engine.generate(request))]
                end: Json = {"status": "completed", "result": {"output_format": request.format, "images": images}}
            except GenerationFailed as failed:
                end = {"status": "failed", "error": {"code": "generation_failed", "message": str(failed)}}
            except MemoryError:  # in the real one's thread nobody catches it
                self._engine.console.abort(UNCAUGHT)
            with self._changed:
                job |= end | {"completed": int(time.time())}


class Api:
    """What each address answers: a status, and a text, something to be sent as JSON, or None for an empty body."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.jobs = engine, Jobs(engine)
        stem = engine.path.stem
        nothing = {"model_name": None, "model_path": None, "model_url": None, "scale": 4}
        model = {"title": stem, "model_name": stem, "filename": engine.path.name, "config": None}
        self._pages: Json = {
            "/": "Stable Diffusion Server is running",
            "/v1/models": {"data": [{"id": "sd-cpp-local", "object": "model", "owned_by": "local"}]},
            "/sdapi/v1/options": {"samples_format": "png", "sd_model_checkpoint": stem},
            "/sdapi/v1/sd-models": [model | {"hash": "8" * 10, "sha256": "8" * 64}],
            "/sdapi/v1/samplers": [{"name": n, "aliases": [n], "options": {}} for n in ("default", *SAMPLERS)],
            "/sdapi/v1/schedulers": [{"name": n, "label": n} for n in ("default", *SCHEDULERS)],
            "/sdapi/v1/upscalers": [nothing | {"name": n} for n in UPSCALERS[:3]],
            "/sdapi/v1/latent-upscale-modes": [{"name": n} for n in UPSCALERS[3:]],
        }

    def get(self, path: str) -> tuple[int, object]:
        if job := re.fullmatch(r"/sdcpp/v1/jobs/([\w-]+)", path, re.ASCII):
            return 200, self.jobs.get(job[1])
        if path == "/sdcpp/v1/capabilities":
            return 200, self._engine.capabilities()
        if path == "/sdapi/v1/loras":
            return 200, self._engine.list_loras()
        return (200, self._pages[path]) if path in self._pages else (404, None)

    def post(self, path: str, data: bytes) -> tuple[int, object]:
        if job := re.fullmatch(r"/sdcpp/v1/jobs/([\w-]+)/cancel", path, re.ASCII):
            return 200, self.jobs.cancel(job[1])
        if path == "/sdcpp/v1/img_gen":
            return 202, self._img_gen(parse_body(data, 400, "invalid json"))
        if path == "/sdcpp/v1/vid_gen":
            raise Refused(400, "loaded model does not support vid_gen" if data else "empty body")
        if path == "/sdapi/v1/txt2img":
            return 200, self._txt2img(parse_body(data, 500, "server_error"))
        return 404, None

    def _img_gen(self, body: Json) -> Json:
        status = 202
        try:
            self._engine.list_loras()
            return self.jobs.add(self._engine.request(body))
        except Refused as refused:
            status = refused.status
            raise
        finally:
            self._engine.console.record("img_gen", status=status, body=body)

    def _txt2img(self, body: Json) -> Json:
        native = from_sdapi(body, self._engine.defaults, self._engine.loras)
        try:
            images = self._engine.generate(self._engine.request(native))
        except Refused as refused:
            raise Refused(400, "invalid params") from refused
        except GenerationFailed as failed:
            raise Refused(500, str(failed)) from failed
        except MemoryError:
            raise Refused(500, "server_error", "std::bad_alloc") from None
        return {"images": images, "parameters": body, "info": ""}


class Handler(BaseHTTPRequestHandler):
    """HTTP as the real one speaks it: a connection ends with an error, after 5 idle seconds, with the 100th answer."""

    protocol_version = "HTTP/1.1"
    timeout = 5
    wbufsize = -1  # head and body in one packet: two would wait for each other
    server: Server
    answers = 0

    def do_GET(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        form = self.headers.get_content_type() == "application/x-www-form-urlencoded"
        path = self.path.partition("?")[0]
        try:
            if form and len(data) > 8192:
                raise Refused(413)
            if self.command in ("GET", "HEAD"):
                self._send(*self.server.api.get(path))
            elif self.command == "POST":
                self._send(*self.server.api.post(path, data))
            else:
                self._send(204 if self.command == "OPTIONS" else 404, None)
        except Refused as refused:
            self._send(refused.status, refused.body)
        finally:
            self.server.api.jobs.wake()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

    def _send(self, status: int, body: object) -> None:
        text = body if isinstance(body, str) else "" if body is None else compact(body)
        data = text.encode(errors="replace")
        self.answers += 1
        self.send_response_only(status)
        if body is not None:
            self.send_header("Content-Type", "text/html" if isinstance(body, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Access-Control-Allow-Origin", self.headers.get("Origin", "*"))
        self.send_header("Access-Control-Allow-Credentials", "true")
        ends = status >= 400 or self.answers == 100 or self.close_connection
        self.send_header(*("Connection", "close") if ends else ("Keep-Alive", "timeout=5, max=100"))
        self.end_headers()
        self.wfile.write(data if self.command != "HEAD" else b"")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        """The real one keeps no access log."""


class Server(socketserver.TCPServer):
    """A few threads, each with one connection until that ends, idle or not: the ninth client waits."""

    allow_reuse_port = True

    def __init__(self, address: tuple[str, int]) -> None:
        self._connections: queue.SimpleQueue[tuple[Any, Any]] = queue.SimpleQueue()
        super().__init__(address, Handler)

    def serve(self, api: Api) -> None:
        self.api = api
        for _ in range(max(8, (os.cpu_count() or 1) - 1)):
            threading.Thread(target=self._work, daemon=True).start()
        self.serve_forever()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.put((request, client_address))

    def _work(self) -> NoReturn:
        while True:
            request, client_address = self._connections.get()
            try:
                with suppress(OSError):  # the client went away
                    self.finish_request(request, client_address)
            finally:
                self.shutdown_request(request)


def parse_options(arguments: list[str]) -> dict[str, str]:
    """Options by their long names, without a value where none follows."""
    options, name = {"listen-ip": "127.0.0.1", "listen-port": "1234"}, ""
    for argument in arguments:
        if re.match(r"--?[A-Za-z]", argument):
            name = {"-l": "--listen-ip", "-m": "--model", "-h": "--help"}.get(argument, argument).lstrip("-")
        options[name] = "" if argument.lstrip("-") == name else argument
    return options


def serve(options: Mapping[str, str], faults: Faults, console: Console) -> int:
    address = options["listen-ip"], int(options["listen-port"])
    early = Server(address) if faults.bind_first else None
    engine = Engine(options, faults, console)
    if not engine.load():
        console.log(92, "new_sd_ctx_t failed", "main.cpp", "ERROR")
        return 1
    console.log(148, f"listening on: {address[0]}:{address[1]}", "main.cpp")  # which it is not yet
    with suppress(OSError):  # a port that cannot be had is no error to the real one: it ends, without a word
        (early or Server(address)).serve(Api(engine))
    return 0


def main(argv: list[str]) -> int:
    console = Console(faults := Faults(os.environ))
    options = parse_options(argv[1:])
    if not (options.get("model") or options.get("diffusion-model")):
        console.write(f"{VERSION}\nUsage: {argv[0]} [options]\n".encode())
        return 0 if "help" in options or "version" in options else 1

    def stop(number: int, _: FrameType | None) -> None:
        console.record("end", reason=signal.Signals(number).name)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    console.record("start", argv=argv)
    code = serve(options, faults, console)
    console.record("end", reason=f"exit {code}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))

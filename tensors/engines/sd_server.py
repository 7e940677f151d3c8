"""Client of sd-server's native API, `/sdcpp/v1` (stable-diffusion.cpp, May 2026)."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

import aiohttp
import pybase64

from tensors.errors import EngineDied, EngineError
from tensors.inputs import Inputs
from tensors.types.generation import Settings

MAX_BATCH = 8
"""sd-server clamps larger batches silently."""
_READ_BUFFER = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a running engine can do."""

    model_path: str
    samplers: tuple[str, ...]
    schedulers: tuple[str, ...]
    upscalers: tuple[str, ...] = ()


def img_gen_body(
    settings: Settings, *, seed: int, count: int, inputs: Inputs, loras: Mapping[str, str]
) -> dict[str, Any]:
    """Settings as the body of `POST /sdcpp/v1/img_gen`, for `count` pictures from `seed` on.

    `loras`: what the engine calls each LoRA of the settings, by name.
    """
    guidance: dict[str, Any] = {"txt_cfg": settings.cfg_scale}
    if settings.guidance is not None:
        guidance["distilled_guidance"] = settings.guidance
    body: dict[str, Any] = {
        "prompt": settings.prompt,
        "negative_prompt": settings.negative_prompt,
        "width": settings.width,
        "height": settings.height,
        "seed": seed,
        "batch_count": count,
        "embed_image_metadata": False,
        "output_format": "png",
        "sample_params": {
            "sample_steps": settings.steps,
            "sample_method": settings.sampler,
            "scheduler": settings.scheduler,
            "guidance": guidance,
        },
        "lora": [{"path": loras[lora.name], "multiplier": lora.weight} for lora in settings.loras],
    }
    if settings.clip_skip is not None:
        body["clip_skip"] = settings.clip_skip
    if settings.init_image is not None:
        body["init_image"] = inputs.base64(settings.init_image, settings.width, settings.height)
        body["strength"] = settings.strength
    if settings.mask is not None:
        body["mask_image"] = inputs.base64(settings.mask, settings.width, settings.height)
    if settings.hires:
        body["hires"] = {
            "enabled": True,
            "scale": settings.hires.scale,
            "upscaler": settings.hires.upscaler,
            "steps": settings.hires.steps,
            "denoising_strength": settings.hires.denoising_strength,
        }
    return body


class SdServerClient:
    """One running sd-server, at a URL that may have a path.

    One session for its whole life: a new one for each call costs 30 ms a picture. But a connection for each call:
    sd-server sends an answer in two parts, and on a connection that stays open the second waits for the first's
    delayed acknowledgement (Nagle). Measured: 44 ms a call against 0.4.
    """

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True), timeout=timeout, read_bufsize=_READ_BUFFER
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def capabilities(self) -> Capabilities:
        """What it can do; also the check that it answers. Raises `EngineError`."""
        document = await self._call("GET", "/sdcpp/v1/capabilities")
        model = document.get("model")
        return Capabilities(
            model_path=str(model.get("path") or "") if isinstance(model, dict) else "",
            samplers=_names(document.get("samplers")),
            schedulers=_names(document.get("schedulers")),
            upscalers=_names(document.get("upscalers")),
        )

    async def submit(self, body: Mapping[str, Any]) -> str:
        """Queue a generation and return its id. Raises `EngineError`."""
        answer = await self._call("POST", "/sdcpp/v1/img_gen", body)
        if "id" not in answer:
            raise EngineError("the engine took the request and gave it no id")
        return str(answer["id"])

    async def result(self, job_id: str) -> list[bytes] | None:
        """The PNG files of a generation, None while it goes on. Raises `EngineError` when it failed."""
        answer = await self._call("GET", f"/sdcpp/v1/jobs/{job_id}")
        match answer.get("status"):
            case "queued" | "generating":
                return None
            case "completed":
                return _pictures(answer)
            case other:
                error = answer.get("error") or {}
                raise EngineError(f"the engine could not draw it: {error.get('message') or other}")

    async def cancel(self, job_id: str) -> bool:
        """Take a generation out of the engine's queue; False when it is being drawn already, which nothing stops.

        Raises `EngineError`.
        """
        status, answer = await self._ask("POST", f"/sdcpp/v1/jobs/{job_id}/cancel", {})
        if status == HTTPStatus.CONFLICT:
            return False
        _check(status, answer)
        return True

    async def loras(self) -> dict[str, str]:
        """The LoRAs it has: path by name, which is the file's stem. Raises `EngineError`."""
        status, answer = await self._ask("GET", "/sdapi/v1/loras")
        if status >= HTTPStatus.BAD_REQUEST or not isinstance(answer, list):
            raise _refused(status, answer)
        found: dict[str, str] = {}
        for one in answer:
            if isinstance(one, dict) and one.get("path"):
                found.setdefault(str(one.get("name") or PurePosixPath(one["path"]).stem), str(one["path"]))
        return found

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return _check(*await self._ask(method, path, body))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and document of an answer."""
        try:
            async with self._session.request(method, self._base_url + path, json=body) as response:
                answer = await response.json(content_type=None)
        except (TimeoutError, aiohttp.ClientError, ConnectionError) as error:
            raise EngineDied(f"the engine does not answer: {error or type(error).__name__}") from error
        except ValueError as error:
            raise EngineError(f"the engine answered {path} with something that is not JSON") from error
        return response.status, answer


def _check(status: int, answer: Any) -> dict[str, Any]:
    if status >= HTTPStatus.BAD_REQUEST or not isinstance(answer, dict):
        raise _refused(status, answer)
    return answer


def _refused(status: int, answer: Any) -> EngineError:
    said = answer.get("message") or answer.get("error") if isinstance(answer, dict) else answer
    return EngineError(f"the engine refused the request: {said or status}")


def _names(items: Any) -> tuple[str, ...]:
    """What a list names, by texts or by objects with a name; nothing where it is no list."""
    if not isinstance(items, list):
        return ()
    found = (item.get("name") if isinstance(item, dict) else item for item in items)
    return tuple(name for name in found if isinstance(name, str))


def _pictures(answer: Mapping[str, Any]) -> list[bytes]:
    try:
        return [pybase64.b64decode(image["b64_json"], validate=True) for image in answer["result"]["images"]]
    except (KeyError, TypeError, binascii.Error) as error:
        raise EngineError("the engine answered with a picture that cannot be read") from error

"""What tests of the HTTP API share: one-line requests, what the engine was sent, input pictures."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from conftest import FAKE_ENGINE, Server, running
from observe import EngineLog
from PIL import Image

Json = dict[str, Any]

RED_ON_BLUE = "a red circle on a blue background"
SMALL = {"width": 64, "height": 64}


@dataclass
class Api:
    """A running server as an HTTP client sees it, and what its engine was sent."""

    server: Server
    http: httpx.Client
    engine: EngineLog

    def post(self, **body: Any) -> httpx.Response:
        """Ask for a picture."""
        return self.http.post("/api/generate", json={"prompt": RED_ON_BLUE, **SMALL, **body})

    def generate(self, **body: Any) -> Json:
        """Ask for a picture, wait for it, and return the answer."""
        response = self.post(**body)
        assert response.status_code == 200, response.text
        return response.json()

    def start(self, **body: Any) -> str:
        """Ask for a picture without waiting and return the job's id."""
        response = self.post(wait=False, **body)
        assert response.status_code == 202, response.text
        return response.json()["job"]["id"]

    def get(self, path: str, **parameters: Any) -> Json:
        """An answer of 200 as JSON."""
        response = self.http.get(path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def pages(self, path: str, **parameters: Any) -> Iterator[list[Json]]:
        """Every page of a list."""
        cursor: Json = {}
        while True:
            page = self.get(path, **parameters, **cursor)
            yield page["items"]
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}

    def events(self, job: str) -> list[Json]:
        """Everything that is told about a job, to its end."""
        with self.http.stream("GET", f"/api/jobs/{job}/events") as response:
            return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]

    def until(self, job: str, state: str, phase: str | None = None) -> None:
        """Wait for a job to say that it is in a state, and in a phase of it."""
        with self.http.stream("GET", f"/api/jobs/{job}/events") as response:
            for line in response.iter_lines():
                event = json.loads(line[6:]) if line.startswith("data: ") else {"state": None}
                if event["state"] == state and phase in (None, event["progress"]["phase"]):
                    return
        raise AssertionError(f"job {job} was never {state}")

    def cancel(self, job: str) -> httpx.Response:
        return self.http.post(f"/api/jobs/{job}/cancel")

    def file(self, image: str) -> bytes:
        """A picture's PNG."""
        response = self.http.get(f"/api/images/{image}")
        assert response.status_code == 200, response.text
        return response.content

    def sent(self) -> list[Json]:
        """The bodies of every generation the engine was asked for, oldest first."""
        return [entry["body"] for entry in self.engine.entries("img_gen")]


@contextmanager
def serving(root: Path, *arguments: str, **environment: str) -> Iterator[Api]:
    """A server with the fake engine that keeps everything below `root`."""
    engine = EngineLog(root / "engine.jsonl")
    settings = {
        "TSR_ENGINE": str(FAKE_ENGINE),
        "TSR_CONFIG": str(root / "config.toml"),
        **engine.environment,
        **environment,
    }
    with (
        running(root / "data", *arguments, **settings) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http,
    ):
        yield Api(server, http, engine)


def picture_base64(
    size: tuple[int, int] = (64, 64), colour: str = "orange", mode: str = "RGB", form: str = "PNG"
) -> str:
    """A one-coloured picture file as base64."""
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, form)
    return base64.b64encode(out.getvalue()).decode()

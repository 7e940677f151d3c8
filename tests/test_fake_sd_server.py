"""The fake sd-server: against recorded answers of a real one, its output line by line, and beside a real one itself."""

from __future__ import annotations

import base64
import hashlib
import http.client
import importlib.resources
import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from PIL import Image

HERE = Path(__file__).parent
FAKE = HERE / "fake_sd_server.py"
Json = dict[str, Any]
Colour = tuple[int, int, int]
Start = Callable[..., "Sd"]
RECORDED: dict[str, Json] = {
    line["case"]: line["record"]
    for line in map(json.loads, (HERE / "data/sd-server/responses.jsonl").read_text(encoding="utf-8").splitlines())
}
SMALL: Json = {"prompt": "a red circle", "width": 16, "height": 16, "seed": 7, "sample_params": {"sample_steps": 2}}
DEADLINE = 60.0
JSON = {"Content-Type": "application/json"}


class Sd:
    """A running sd-server, real or fake, with what it has said so far."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        # Bound for as long as the server runs, with SO_REUSEPORT as the server's own socket: nobody else gets the port.
        self._port = socket.socket()
        self._port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._port.bind(("127.0.0.1", 0))
        self.port = int(self._port.getsockname()[1])
        clean = {name: value for name, value in os.environ.items() if not name.startswith("FAKE_SD_")}
        self.process = subprocess.Popen(
            [*command, *([] if "--listen-port" in command else ["--listen-port", str(self.port)])],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean | {"OMP_WAIT_POLICY": "passive"} | env,
        )
        self._said = {1: b"", 2: b""}
        self._heard = threading.Condition()
        self._deaf = False
        self._asked = 0
        pipes = enumerate((self.process.stdout, self.process.stderr), start=1)
        self._readers = [threading.Thread(target=self._read, args=pipe) for pipe in pipes]
        for reader in self._readers:
            reader.start()

    def _read(self, descriptor: int, pipe: IO[bytes]) -> None:
        with pipe:
            while (data := os.read(pipe.fileno(), 65536)) and not self._deaf:
                with self._heard:
                    self._said[descriptor] += data
                    self._heard.notify_all()

    @property
    def output(self) -> bytes:
        return self._said[1]

    @property
    def errors(self) -> str:
        return self._said[2].decode()

    def until(self, text: bytes, after: int = 0, descriptor: int = 1) -> int:
        """Wait until it has said this behind position `after`; where that ends."""
        with self._heard:
            found = self._heard.wait_for(lambda: text in self._said[descriptor][after:], DEADLINE)
            assert found, f"no {text!r}, but {self._said[descriptor][after:][-2000:]!r} and {self.errors[-2000:]}"
            return self._said[descriptor].index(text, after) + len(text)

    def said(self, text: bytes, after: int = 0) -> bytes:
        """What it said from `after` to the end of the line with this text, waiting for it."""
        end = self.until(b"\n", self.until(text, after))
        return self.output[after:end]

    def ready(self) -> Sd:
        self.until(b"listening on")
        deadline = time.monotonic() + DEADLINE
        while True:  # it says so a moment before it is true
            try:
                socket.create_connection(("127.0.0.1", self.port), DEADLINE).close()
                return self
            except ConnectionRefusedError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] = JSON) -> tuple[int, Any]:
        """Status and body of one request; a body that is no text is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        data = body if isinstance(body, str | bytes) or body is None else json.dumps(body)
        try:
            connection.request(method, path, data, headers if data is not None else {})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(raw) if is_json else raw.decode()

    def queue(self, **changes: object) -> str:
        """Ask for a small picture; the address of its job."""
        status, job = self.call("POST", "/sdcpp/v1/img_gen", SMALL | changes)
        assert status == 202
        return str(job["poll_url"])

    def finish(self, job: str) -> Json:
        """The job when it has ended."""
        deadline = time.monotonic() + DEADLINE
        while (answer := self.call("GET", job)[1])["status"] in ("queued", "generating"):
            assert time.monotonic() < deadline
        return dict(answer)

    def make(self, **changes: object) -> list[bytes]:
        """The files of the pictures that a request makes."""
        before = len(self.output)
        job = self.queue(**changes)
        self.until(b"generate_image completed", before)
        return [base64.b64decode(image["b64_json"]) for image in self.finish(job)["result"]["images"]]

    def deafen(self) -> None:
        """Close the pipes at the next word."""
        self._deaf = True

    def quiet(self) -> int:
        """Where its output ends when all has been said that earlier requests made it say."""
        self._asked += 1
        self.queue(width=8, height=8, sample_params={"sample_steps": 1}, seed=1_000_000 + self._asked)
        begun = self.until(f"seed {1_000_000 + self._asked}\n".encode())
        return self.until(b"\n", self.until(b"generate_image completed", begun))

    def end(self) -> int:
        """Its exit code, when it has ended by itself and all it said is here."""
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def close(self) -> None:
        self.process.kill()
        self.end()
        self._port.close()


def tensors_file(path: Path, *, cut: int = 0) -> Path:
    """A small safetensors file, with `cut` bytes missing at its end."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(16)
    path.write_bytes(data[: len(data) - cut])
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and a folder of LoRAs, one of them no LoRA."""
    root = tmp_path_factory.mktemp("models")
    (root / "loras").mkdir()
    (root / "junk" / "deeper").mkdir(parents=True)
    tensors_file(root / "tiny.safetensors")
    tensors_file(root / "loras" / "tiny_lora.safetensors")
    tensors_file(root / "junk" / "deeper" / "good.safetensors")
    (root / "junk" / "bad.safetensors").write_text("no tensors")
    (root / "junk" / "readme.txt").write_text("no LoRA")
    return root


@contextmanager
def starter(folder: Path) -> Iterator[Start]:
    """Give a function that starts servers: `start("--option", ..., fault=value)`; they end with the block."""
    with ExitStack() as stack:

        def start(*arguments: str, binary: Path | None = None, **env: object) -> Sd:
            program = [str(binary)] if binary else [sys.executable, str(FAKE)]
            model = [] if {"-m", "--model"} & set(arguments) else ["-m", str(folder / "tiny.safetensors")]
            faults = {f"FAKE_SD_{name.upper()}": str(value) for name, value in {"step_seconds": 0, **env}.items()}
            sd = Sd([*program, *model, *arguments], faults)
            stack.callback(sd.close)
            return sd

        yield start


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    with starter(folder) as start:
        yield start


@pytest.fixture(scope="module")
def fake(folder: Path) -> Iterator[Sd]:
    """One that was started as the recorded one was, for all tests that leave no trace in it."""
    loras = ("--lora-model-dir", str(folder / "loras"), "--lora-apply-mode", "at_runtime")
    options = ("--taesd", str(folder / "tiny.safetensors"), *loras, "--steps", "4", "--cfg-scale", "1", "-t", "2")
    with starter(folder) as start:
        yield start(*options).ready()


# What it answers, beside the recording


def same(recorded: Any, actual: Any, where: str = "") -> None:
    """Compare an answer with the recorded one, but for what is different each time."""
    if isinstance(recorded, dict):
        assert set(recorded) == set(actual), where
        for name in recorded:
            if name not in ("id", "poll_url", "created", "started", "completed"):
                same(recorded[name], actual[name], f"{where}/{name}")
            assert (recorded[name] is None) == (actual[name] is None), f"{where}/{name}"
    elif isinstance(recorded, list):
        assert len(recorded) == len(actual), where
        for number, (one, other) in enumerate(zip(recorded, actual, strict=True)):
            same(one, other, f"{where}/{number}")
    elif where.endswith("status") and recorded in ("queued", "generating"):
        assert actual in ("queued", "generating")
    elif isinstance(recorded, str) and "...<" in recorded:  # a picture: its signature and size
        assert actual[:32] == recorded[:32], where
    elif isinstance(recorded, str) and "parse_error.101" in recorded:
        assert actual.startswith("[json.exception.parse_error.101] parse error at line 1, column "), where
    else:
        assert actual == recorded, where


def replayable(prefix: str) -> list[str]:
    """Recorded cases that say what was sent and mean no job of that session."""
    return [
        name
        for name, record in RECORDED.items()
        if name.startswith(prefix) and isinstance(record, dict) and "path" in record.get("request", {})
        if "/jobs/job_" not in record["request"]["path"] and "method" in record["request"]
    ]  # fmt: skip


@pytest.mark.parametrize("case", [*replayable("get_"), *replayable("sdcpp_"), "unknown_route", "options_cors"])
def test_answers_as_recorded(fake: Sd, case: str) -> None:
    record = RECORDED[case]
    request = record["request"]
    status, body = fake.call(request["method"], request["path"], request["body"])
    assert status == record["status"]
    if case == "get_capabilities":
        assert body["model"].pop("path").endswith("/tiny.safetensors")
        record["response"]["model"].pop("path", None)
    same(record["response"], body)
    if status == 202:
        fake.finish(body["poll_url"])


@pytest.mark.parametrize("case", replayable("txt2img_"))
def test_txt2img_answers_as_recorded(fake: Sd, case: str) -> None:
    record = RECORDED[case]
    status, body = fake.call("POST", record["request"]["path"], record["request"]["body"])
    assert status == record["status"]
    same(record["response"], body)


def test_recording_has_the_cases_that_are_replayed() -> None:
    assert len(replayable("get_")) == 14
    assert len(replayable("sdcpp_")) >= 20
    assert len(replayable("txt2img_")) >= 30


BAD_INPUT: dict[str, Json] = {
    "ok": {},
    "missing_prompt": {"prompt": None},
    "empty_prompt": {"prompt": ""},
    "prompt_num": {"prompt": 7},
    "bad_sampler": {"sample_params": {"sample_steps": 2, "sample_method": "nope"}},
    "bad_sched": {"sample_params": {"sample_steps": 2, "scheduler": "nope"}},
    "zero": {"width": 0, "height": 0},
    "neg": {"width": -8, "height": -8},
    "batch100": {"batch_count": 100},
    "batch0": {"batch_count": 0},
    "steps0": {"sample_params": {"sample_steps": 0}},
    "steps_neg": {"sample_params": {"sample_steps": -3}},
    "w8": {"width": 8, "height": 3},
    "tall": {"height": 512},
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_as_recorded(fake: Sd, case: str) -> None:
    status, state, sizes, text, _ = RECORDED["sdcpp_bad_input_outcomes"][case]
    body = {"prompt": "a red circle", "width": 64, "height": 64, "sample_params": {"sample_steps": 2}} | BAD_INPUT[case]
    answer, job = fake.call("POST", "/sdcpp/v1/img_gen", body)
    assert answer == status
    ended = fake.finish(job["poll_url"])
    assert ended["status"] == state
    images = [Image.open(io.BytesIO(base64.b64decode(image["b64_json"]))) for image in ended["result"]["images"]]
    assert [list(image.size) for image in images] == sizes
    assert images[0].info["parameters"].replace("\n", "|").startswith(text)


def test_png_has_the_recorded_parts(fake: Sd) -> None:
    body = {"width": 64, "height": 64, "seed": 42, "sample_params": {"sample_steps": 4}}
    chunks = png_chunks(fake.make(**body)[0])
    recorded: Any = RECORDED["png_chunks"]
    assert [name for name, _ in chunks] == [name for name, _ in recorded]
    facts, _, tail = chunks[1][1].decode().partition(", SDCPP: ")
    assert facts == recorded[1][1].partition(", SDCPP: ")[0]
    recorded_tail = json.loads(recorded[1][1].partition(", SDCPP: ")[2])
    assert json.loads(tail) == {name: recorded_tail[name] for name in json.loads(tail)}


def png_chunks(data: bytes) -> list[tuple[str, bytes]]:
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8].decode(), data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def test_loras_of_sdapi_are_those_of_the_last_listing(start: Start, folder: Path) -> None:
    sd = start("--lora-model-dir", str(folder / "loras")).ready()
    for case in ("lora_before_list", "get_loras", "lora_sdapi", "lora_bad_path", "lora_traversal", "lora_A1111_dict"):
        record = RECORDED[case]
        get = record["request"].get("method") == "GET"
        sent = ("GET", "/sdapi/v1/loras") if get else ("POST", "/sdapi/v1/txt2img", record["request"])
        status, body = sd.call(*sent)
        assert status == record["status"], case
        same(record["response"], body, case)


def test_native_api_lists_loras_by_itself(start: Start, folder: Path) -> None:
    sd = start("--lora-model-dir", str(folder / "junk")).ready()
    [plain] = sd.make()
    [changed] = sd.make(lora=[{"path": "deeper/good.safetensors", "multiplier": 0.5}])
    [without_weight] = sd.make(lora=[{"path": "deeper/good.safetensors", "multiplier": 0}])
    [not_one] = sd.make(lora=[{"path": "bad.safetensors"}])
    assert pixels(changed) != pixels(plain)
    assert pixels(without_weight) == pixels(not_one) == pixels(plain)
    sd.until(b"init lora model loader from file failed", descriptor=2)
    assert sd.call("GET", "/sdapi/v1/loras")[1] == [
        {"name": "bad", "path": "bad.safetensors"},
        {"name": "good", "path": "deeper/good.safetensors"},
    ]


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"strength": 2}, 400, "invalid generation parameters"),
        ({"init_image": "notbase64"}, 400, "invalid generation parameters"),
        ({"init_image": 5}, 400, "invalid generation parameters"),
        ({"sample_params": {"guidance": {"txt_cfg": -1}}}, 400, "invalid generation parameters"),
        ({"hires": {"enabled": True, "upscaler": "NoSuch"}}, 400, "invalid generation parameters"),
        ({"hires": {"enabled": True, "denoising_strength": 0}}, 400, "invalid generation parameters"),
        ({"lora": {"a": 1}}, 400, "invalid generation parameters"),
        ({"lora": [{"path": 5}]}, 500, "server_error"),
        ({"output_format": 3}, 500, "server_error"),
        ({"seed": float("nan")}, 400, "invalid json"),
    ],
)
def test_refuses(fake: Sd, changes: Json, status: int, error: str) -> None:
    answer, body = fake.call("POST", "/sdcpp/v1/img_gen", SMALL | changes)
    assert (answer, body["error"]) == (status, error)


def test_text_that_is_not_utf8_gets_an_empty_500(fake: Sd) -> None:
    assert fake.call("POST", "/sdcpp/v1/img_gen", b'{"prompt": "\xff"}') == (500, "")


# Jobs


def test_jobs_wait_their_turn_and_can_be_cancelled_only_then(start: Start) -> None:
    sd = start(hang_at_step=1).ready()
    jobs = [sd.queue() for _ in range(3)]
    sd.until(b"generating image")
    for job, case in zip(jobs, ("sdcpp_job_generating", "sdcpp_job_queued2", "sdcpp_job_queued3"), strict=True):
        same(RECORDED[case]["response"], sd.call("GET", job)[1], case)
    for job, case in (
        (jobs[0], "sdcpp_cancel_generating"),
        (jobs[1], "sdcpp_cancel_queued"),
        (jobs[1], "sdcpp_cancel_queued_again"),
    ):
        status, body = sd.call("POST", f"{job}/cancel", {})
        assert status == RECORDED[case]["status"]
        same(RECORDED[case]["response"], body, case)
    same(RECORDED["sdcpp_job_cancelled_poll"]["response"], sd.call("GET", jobs[1])[1])
    assert sd.call("GET", jobs[2])[1]["queue_position"] == 1


def test_completed_job_is_kept_and_cancelling_it_changes_nothing(fake: Sd) -> None:
    job = fake.queue(width=64, height=64)
    ended = fake.finish(job)
    same(RECORDED["sdcpp_job_completed"]["response"], ended)
    assert fake.call("POST", f"{job}/cancel", {}) == (200, ended)
    assert fake.call("GET", job) == (200, ended)
    assert re.fullmatch(r"job_[0-9a-f]{8}_[0-9a-f]{8}", ended["id"])
    assert ended["created"] <= ended["started"] <= ended["completed"]


def test_queue_is_full_at_64(start: Start) -> None:
    sd = start(hang_at_step=1).ready()
    for _ in range(64):
        sd.queue()
    status, body = sd.call("POST", "/sdcpp/v1/img_gen", SMALL)
    assert (status, body) == (RECORDED["sdcpp_queue_full"]["status"], RECORDED["sdcpp_queue_full"]["response"])


def test_old_jobs_are_gone(start: Start) -> None:
    sd = start(job_ttl=0).ready()
    job = sd.queue()
    deadline = time.monotonic() + DEADLINE
    while (answer := sd.call("GET", job))[0] == 200:
        assert time.monotonic() < deadline
    assert answer == (410, {"error": "job expired"})
    assert sd.call("POST", f"{job}/cancel", {}) == (410, {"error": "job expired"})


def test_one_generation_at_a_time_for_both_apis(start: Start) -> None:
    sd = start(step_seconds=0.005).ready()
    jobs = [sd.queue(sample_params={"sample_steps": 10}) for _ in range(2)]
    assert sd.call("POST", "/sdapi/v1/txt2img", SMALL | {"steps": 10})[0] == 200
    assert [sd.finish(job)["status"] for job in jobs] == ["completed"] * 2
    end = 0
    for _ in range(3):
        end = sd.until(b"generate_image completed", end)
    assert re.findall(rb"generate_image (\d|completed)", sd.output) == [b"1", b"completed"] * 3


# HTTP


def test_connection_ends_with_an_error(fake: Sd) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=DEADLINE)
    connection.request("GET", "/sdapi/v1/options", headers={"Origin": "http://elsewhere.example"})
    answer = connection.getresponse()
    answer.read()
    assert answer.getheader("Keep-Alive") == "timeout=5, max=100"
    assert answer.getheader("Access-Control-Allow-Origin") == "http://elsewhere.example"
    used = connection.sock
    connection.request("GET", "/sdcpp/v1/jobs/nope")
    answer = connection.getresponse()
    answer.read()
    assert answer.getheader("Connection") == "close"
    assert used is not None
    assert connection.sock is None
    connection.close()


def test_connection_ends_with_the_hundredth_answer(fake: Sd) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake.port, timeout=DEADLINE)
    ends = []
    for _ in range(100):
        connection.request("GET", "/sdapi/v1/options")
        answer = connection.getresponse()
        answer.read()
        ends.append(answer.getheader("Connection"))
    assert ends == [None] * 99 + ["close"]
    connection.close()


def test_large_body_without_a_json_content_type_is_refused(fake: Sd) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    large = SMALL | {"prompt": "x" * 9000}
    assert fake.call("POST", "/sdcpp/v1/img_gen", large, form) == (413, "")
    assert fake.call("POST", "/sdcpp/v1/img_gen", SMALL, form)[0] == 202
    assert fake.call("POST", "/sdcpp/v1/img_gen", large)[0] == 202


def test_answers_while_it_generates(start: Start) -> None:
    sd = start(hang_at_step=1).ready()
    sd.queue()
    sd.until(b"generating image")
    assert sd.call("GET", "/sdcpp/v1/capabilities")[0] == 200


# What it says


STEP = r"\r  \|[=> ]{50}\| (\d+)/(\d+) - [0-9.]+(?:it/s|s/it)\x1b\[K"
LINE = r"\[INFO \] [a-z-]+\.[ch]pp:\d+ {0,3} - "
PICTURE = [
    r"generate_image 16x16",
    r"get_sigmas with discrete scheduler",
    r"sampling using Euler method",
    r"get_learned_condition completed, taking \d\.\d\ds",
    r"generating image: 1/1 - seed 7",
    STEP * 2,
    r"sampling completed, taking \d\.\d\ds",
    r"generating 1 latent images completed, taking \d\.\d\ds",
    r"decoding 1 latents",
    r"latent 1 decoded, taking \d\.\d\ds",
    r"decode_first_stage completed, taking \d\.\d\ds",
    r"generate_image completed in \d\.\d\ds",
]


def assert_lines(said: bytes, patterns: list[str]) -> None:
    lines = said.decode().removesuffix("\n").split("\n")
    for line, pattern in zip(lines, patterns, strict=True):
        assert re.fullmatch(pattern if pattern.startswith(r"\r") else LINE + pattern, line), (line, pattern)


def said_during(sd: Sd, **changes: object) -> bytes:
    before = sd.quiet()
    sd.make(**changes)
    return sd.said(b"generate_image completed", before)


def test_output_of_one_picture(fake: Sd) -> None:
    assert_lines(said_during(fake), PICTURE)


def test_output_of_loading(start: Start, folder: Path) -> None:
    model = str(folder / "tiny.safetensors")
    sd = start("--taesd", model, load_seconds=0.2).ready()
    assert_lines(
        sd.said(b"listening on"),
        [
            rf"loading model from '{model}'",
            rf"load {model} using safetensors format",
            rf"loading tae from '{model}'",
            rf"load {model} using safetensors format",
            r"Version: Ovis Image ",
            r"\r  \|={50}\| 3/3 - \d+\.\d\dMB/s\x1b\[K",
            r"loading tensors completed, taking 0\.20s \(process: 0\.00s, .*\)",
            r"running in Flux FLOW mode",
            rf"listening on: 127\.0\.0\.1:{sd.port}",
        ],
    )


# As the real one drew them.
BARS = {
    10: {1: "=====>" + 44 * " ", 2: "==========>" + 39 * " ", 9: 45 * "=" + ">    ", 10: 50 * "="},
    9: {1: "=====>" + 44 * " ", 2: "===========>" + 38 * " ", 8: 44 * "=" + ">     "},
    100: {1: ">" + 49 * " ", 2: "=>" + 48 * " ", 3: "=>" + 48 * " ", 97: 48 * "=" + "> ", 98: 50 * "=", 99: 50 * "="},
}


@pytest.mark.parametrize("steps", BARS)
def test_bars_are_drawn_as_the_real_ones(fake: Sd, steps: int) -> None:
    said = said_during(fake, sample_params={"sample_steps": steps}).decode()
    drawn = re.findall(r"\r  \|(.{50})\| (\d+)/(\d+) - ", said)
    assert [(int(done), int(total)) for _, done, total in drawn] == [(done, steps) for done in range(1, steps + 1)]
    assert {done: drawn[done - 1][0] for done in BARS[steps]} == BARS[steps]


def test_slow_steps_are_counted_in_seconds(start: Start) -> None:
    sd = start(step_seconds=1.001).ready()
    sd.queue(sample_params={"sample_steps": 1})
    assert re.search(rb"\| 1/1 - [1-9]\d*\.\d\ds/it\x1b\[K\n$", sd.said(b"| 1/1 - "))


def test_each_step_is_said_at_once(start: Start) -> None:
    sd = start(hang_at_step=3).ready()
    sd.queue(sample_params={"sample_steps": 5})
    sd.until(b"| 2/5 - ")
    sd.until(b"\x1b[K", sd.until(b"| 2/5 - "))
    assert b"| 3/5" not in sd.output


def test_output_of_a_batch_with_hires(fake: Sd) -> None:
    hires = {"enabled": True, "scale": 2.0, "denoising_strength": 0.5, "steps": 3}
    said = said_during(fake, batch_count=2, hires=hires)
    step = PICTURE[5:7]
    assert_lines(
        said,
        [
            *PICTURE[:4],
            r"generating image: 1/2 - seed 7",
            *step,
            r"generating image: 2/2 - seed 8",
            *step,
            r"generating 2 latent images completed, taking \d\.\d\ds",
            r"hires fix: upscaling to 32x32",
            r"get_sigmas with discrete scheduler \(default\)",
            r"hires fix: 6 steps, denoising_strength=0\.50, sigma_sched_size=5",
            r"hires Latent upscale 2x2 -> 4x4",
            STEP * 4,
            r"hires sampling 1/2 completed, taking \d\.\d\ds",
            r"hires Latent upscale 2x2 -> 4x4",
            STEP * 4,
            r"hires sampling 2/2 completed, taking \d\.\d\ds",
            r"hires fix completed, taking \d\.\d\ds",
            r"decoding 2 latents",
            r"latent 1 decoded, taking \d\.\d\ds",
            r"latent 2 decoded, taking \d\.\d\ds",
            *PICTURE[-2:],
        ],
    )


# What the real one made of them, the last two.
@pytest.mark.parametrize(
    ("steps", "hires_steps", "strength", "total", "taken"),
    [
        (10, 8, 0.1, 80, 9),
        (2, 3, 0.5, 6, 4),
        (2, 0, 0.5, 4, 3),
        (2, 0, 1.0, 2, 2),
        (4, 0, 0.7, 5, 4),
        (1, 0, 0.7, 1, 1),
        (7, 0, 0.7, 10, 8),
        (9, 9, 0.9, 10, 10),
        (3, 0, 0.3, 10, 4),
    ],
)
def test_steps_of_the_second_pass(
    fake: Sd, steps: int, hires_steps: int, strength: float, total: int, taken: int
) -> None:
    hires = {"enabled": True, "upscaler": "Lanczos", "denoising_strength": strength, "steps": hires_steps}
    said = said_during(fake, sample_params={"sample_steps": steps}, hires=hires).decode()
    assert f"hires fix: {total} steps, denoising_strength={strength:.2f}, sigma_sched_size={taken + 1}\n" in said
    assert "hires Lanczos image upscale 16x16 -> 32x32\n" in said
    assert said.count(f"/{taken} - ", said.index("hires fix")) == taken


@pytest.mark.parametrize(("strength", "taken"), [(0.5, 6), (0.75, 8), (0.0, 1), (1.0, 10), (0.99, 10)])
def test_init_image_takes_the_last_steps(fake: Sd, strength: float, taken: int) -> None:
    image = base64.b64encode(fake.make()[0]).decode()
    said = said_during(fake, init_image=image, strength=strength, sample_params={"sample_steps": 10}).decode()
    assert f"| {taken}/{taken} - " in said
    assert "IMG2IMG\n" in said
    assert ("target t_enc is" in said) == (strength < 1)


def test_sizes_are_rounded_up_with_a_warning(fake: Sd) -> None:
    said = said_during(fake, width=65, height=70).decode()
    assert said.startswith(
        "[WARN ] stable-diffusion.cpp:2623 - align generation request up 65x70 to 72x72 (multiple=8)\n"
        "[INFO ] stable-diffusion.cpp:3367 - generate_image 72x72\n"
    )


def test_tiled_decoding_draws_bars_that_are_no_steps(fake: Sd) -> None:
    said = said_during(fake, vae_tiling_params={"enabled": True})
    assert len(re.findall(rb"\| \d/3 - ", said.partition(b"decoding 1 latents")[2])) == 3


# Its pictures


def pixels(data: bytes) -> str:
    return hashlib.sha256(Image.open(io.BytesIO(data)).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("prompt", "disc", "ground"),
    [
        ("a red circle on a blue background", (220, 38, 38), (37, 80, 220)),
        ("An Orange cat\nsits ON A white background, sharp", (245, 130, 25), (250, 250, 250)),
        ("a black hole on an orange background", (16, 16, 16), (245, 130, 25)),
    ],
)
def test_scene_has_the_colours_of_the_prompt(fake: Sd, prompt: str, disc: Colour, ground: Colour) -> None:
    image = Image.open(io.BytesIO(fake.make(prompt=prompt, width=64, height=96)[0]))
    image.load()
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", (64, 96))
    inside, outside = ((32, 48), (32, 28), (13, 48), (50, 48)), ((2, 2), (61, 93), (32, 20), (7, 48), (56, 48))
    for at, wanted in [(at, disc) for at in inside] + [(at, ground) for at in outside]:
        got = image.getpixel(at)
        assert isinstance(got, tuple)
        assert max(abs(a - b) for a, b in zip(got, wanted, strict=True)) < 8, (at, got)


DIFFERENT: list[Json] = [
    {},
    {"prompt": "a red disc"},
    {"negative_prompt": "blur"},
    {"seed": 8},
    {"seed": 2**32 + 7},
    {"width": 24},
    {"clip_skip": 2},
    {"sample_params": {"sample_steps": 3}},
    {"sample_params": {"sample_steps": 2, "guidance": {"txt_cfg": 2.5}}},
    {"sample_params": {"sample_steps": 2, "sample_method": "heun"}},
    {"sample_params": {"sample_steps": 2, "scheduler": "karras"}},
    {"hires": {"enabled": True, "scale": 1.0}},
    {"hires": {"enabled": True, "scale": 1.0, "steps": 3}},
]


def test_same_request_same_picture_and_other_request_other_picture(fake: Sd, start: Start) -> None:
    made = [pixels(fake.make(**changes)[0]) for changes in DIFFERENT]
    assert len(set(made)) == len(DIFFERENT)
    other = start("--steps", "4", "--cfg-scale", "1").ready()
    assert [pixels(other.make(**changes)[0]) for changes in DIFFERENT] == made


def test_init_image_and_strength_change_the_picture(fake: Sd) -> None:
    [image] = fake.make()
    [another] = fake.make(seed=8)
    first, second = (base64.b64encode(data).decode() for data in (image, another))
    made = [
        fake.make(init_image=first)[0],
        fake.make(init_image=second)[0],
        fake.make(init_image=first, strength=0.5)[0],
        fake.make(init_image=first, mask_image=second)[0],
    ]
    assert len({pixels(data) for data in [image, *made]}) == 5
    assert pixels(fake.make(init_image=f"data:image/png;base64,{first}", strength=1)[0]) != pixels(image)


def test_batch_is_the_pictures_of_the_seeds_that_follow(fake: Sd) -> None:
    batch = fake.make(batch_count=3)
    assert [pixels(data) for data in batch] == [pixels(fake.make(seed=seed)[0]) for seed in (7, 8, 9)]
    assert [re.findall(r"Seed: (\d+)", Image.open(io.BytesIO(data)).info["parameters"]) for data in batch] == [
        ["7"], ["8"], ["9"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("hires", "size"),
    [
        ({"scale": 2.0}, (32, 32)),
        ({"scale": 1.3}, (24, 24)),
        ({"target_width": 100}, (104, 104)),
        ({"target_width": 64, "target_height": 40}, (64, 40)),
        ({"upscaler": "None"}, (16, 16)),
    ],
)
def test_hires_decides_the_size(fake: Sd, hires: Json, size: tuple[int, int]) -> None:
    assert Image.open(io.BytesIO(fake.make(hires={"enabled": True, **hires})[0])).size == size


def test_metadata_can_be_left_out(fake: Sd) -> None:
    with_it, without = fake.make()[0], fake.make(embed_image_metadata=False)[0]
    assert "parameters" not in Image.open(io.BytesIO(without)).info
    assert pixels(with_it) == pixels(without)


def test_metadata_ends_at_a_nul(fake: Sd) -> None:
    [data] = fake.make(prompt="красный \0 круг")
    assert dict(png_chunks(data))["tEXt"] == b"parameters\0" + "красный ".encode()


def test_seed_below_zero_is_a_random_one_that_is_told(fake: Sd) -> None:
    text = Image.open(io.BytesIO(fake.make(seed=-1)[0])).info["parameters"]
    assert 0 <= int(re.findall(r"Seed: (\d+)", text)[0]) < 2**31


def test_txt2img_makes_the_native_picture(fake: Sd) -> None:
    same = {"prompt": "a red circle", "width": 16, "height": 16, "seed": 7, "negative_prompt": "blur"}
    body = same | {"steps": 2, "cfg_scale": 2, "sampler_name": "heun", "scheduler": "karras", "batch_size": 2}
    status, answer = fake.call("POST", "/sdapi/v1/txt2img", body)
    assert status == 200
    sample = {"sample_steps": 2, "guidance": {"txt_cfg": 2}, "sample_method": "heun", "scheduler": "karras"}
    native = fake.make(**same, sample_params=sample, batch_count=2)
    assert [base64.b64decode(image) for image in answer["images"]] == native


def test_any_file_can_be_the_picture(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(b"not even a PNG")
    sd = start(png=file).ready()
    assert sd.make(batch_count=2) == [b"not even a PNG"] * 2


# How it starts, fails and ends


def events(path: Path) -> list[Json]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("what", "option"),
    [("missing", "-m"), ("empty", "--model"), ("garbage", "-m"), ("cut", "-m"), ("cut", "--diffusion-model")],
)
def test_file_that_is_no_model(start: Start, tmp_path: Path, what: str, option: str) -> None:
    path = tmp_path / "model.safetensors"
    if what == "cut":
        tensors_file(path, cut=1)
    elif what != "missing":
        path.write_bytes(b"hello" * 100 * (what == "garbage"))
    sd = start(option, str(path), *(["-m", ""] if option == "--diffusion-model" else []))
    assert sd.end() == 1
    assert sd.output.decode().startswith("[INFO ] stable-diffusion.cpp:")
    assert "[WARN ] model.cpp:" in sd.output.decode()
    assert sd.errors.endswith(
        f"[ERROR] stable-diffusion.cpp:299  - get sd version from file failed: '{path}'\n"
        "[ERROR] main.cpp:92   - new_sd_ctx_t failed\n"
    )
    assert b"listening on" not in sd.output


def test_gguf_is_a_model_and_a_missing_vae_is_none_of_its_business(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 5, 0) + bytes(100))
    more = ("--vae", "missing", "--diffusion-fa", "--max-vram", "-1")
    sd = start("-m", "", "--diffusion-model", str(path), *more).ready()
    assert sd.call("GET", "/sdcpp/v1/capabilities")[1]["model"] == {
        "name": "model.gguf", "stem": "model", "path": str(path),
    }  # fmt: skip
    assert Image.open(io.BytesIO(sd.make()[0])).size == (16, 16)


@pytest.mark.parametrize(("option", "code"), [("--help", 0), ("--version", 0), ("--listen-ip", 1)])
def test_can_be_run_by_its_path(option: str, code: int) -> None:
    done = subprocess.run([FAKE, option], capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == code
    assert done.stdout.startswith("stable-diffusion.cpp version unknown, commit unknown\n")


def test_port_that_is_taken_ends_it_without_an_error(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        sd = start("--listen-port", str(taken.getsockname()[1]))
        assert sd.end() == 0
    assert b"listening on" in sd.output
    assert sd.errors == ""


def test_two_share_a_port(start: Start) -> None:
    first = start().ready()
    second = start("--listen-port", str(first.port))
    second.said(b"listening on")
    first.process.kill()
    first.end()
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            assert first.call("GET", "/")[0] == 200
            break
        except (ConnectionRefusedError, ConnectionResetError, http.client.RemoteDisconnected):
            assert time.monotonic() < deadline
    assert second.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_kills_at_once_in_the_middle_of_a_picture(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    sd = start(hang_at_step=2, request_log=tmp_path / "log").ready()
    sd.queue()
    sd.until(b"| 1/2 - ")
    sd.process.send_signal(number)
    assert sd.end() == -number
    assert [event["event"] for event in events(tmp_path / "log")] == ["start", "img_gen", "end"]
    assert events(tmp_path / "log")[-1] == {"event": "end", "pid": sd.process.pid, "reason": number.name}


def test_synchronous_client_sees_the_connection_drop(start: Start) -> None:
    sd = start(hang_at_step=2).ready()
    connection = http.client.HTTPConnection("127.0.0.1", sd.port, timeout=DEADLINE)
    connection.request("POST", "/sdapi/v1/txt2img", json.dumps(SMALL))
    sd.until(b"| 1/20 - ")
    sd.process.terminate()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        connection.getresponse()
    connection.close()


@pytest.mark.parametrize("step", [1, 3, 5])
def test_dies_at_a_step(start: Start, tmp_path: Path, step: int) -> None:
    sd = start(die_at_step=step, request_log=tmp_path / "log").ready()
    sd.queue(batch_count=2, hires={"enabled": True, "denoising_strength": 1.0})
    assert sd.end() == -signal.SIGABRT
    assert sd.errors.startswith("[ERROR] ggml_extend.hpp:69   - ")
    assert "ggml_abort" in sd.errors
    assert len(re.findall(STEP.encode(), sd.output)) == step - 1
    assert events(tmp_path / "log")[-1]["reason"] == "SIGABRT"


def test_dies_once_for_each_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "die"
    file.touch()
    first = start(die_file=file).ready()
    first.queue()
    assert first.end() == -signal.SIGABRT
    assert not file.exists()
    second = start(die_file=file, die_at_step=2).ready()
    assert len(second.make()) == 1
    file.touch()
    second.queue()
    assert second.end() == -signal.SIGABRT


def test_picture_that_is_far_too_large_kills_it(start: Start) -> None:
    sd = start().ready()
    large = {"prompt": "a", "width": 100_000, "height": 100_000}
    assert sd.call("POST", "/sdapi/v1/txt2img", large) == (
        RECORDED["huge_1000000_aslimit_None"]["status"], RECORDED["huge_1000000_aslimit_None"]["response"],
    )  # fmt: skip
    sd.queue(**large)
    assert sd.end() == -signal.SIGABRT
    assert sd.errors == "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n"


def test_hangs_while_loading(start: Start) -> None:
    sd = start(hang_load=1)
    sd.until(b"Version: ")
    with pytest.raises(ConnectionRefusedError):
        sd.call("GET", "/")
    sd.process.terminate()
    assert sd.end() == -signal.SIGTERM


def test_binds_first_if_asked(start: Start) -> None:
    sd = start(bind_first=1, hang_load=1)
    sd.until(b"Version: ")
    with socket.create_connection(("127.0.0.1", sd.port), 0.05) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_request_made_while_it_loads_is_answered_after(start: Start) -> None:
    sd = start(bind_first=1, load_seconds=0.3)
    sd.until(b"Version: ")
    assert sd.call("GET", "/") == (200, "Stable Diffusion Server is running")
    sd.until(b"listening on")


@pytest.mark.parametrize("fault", ["fail", "oom"])
def test_generation_fails(start: Start, fault: str) -> None:
    sd = start(**{fault: 1}).ready()
    error = {"code": "generation_failed", "message": "generate_image returned no results"}
    ended = sd.finish(sd.queue())
    assert (ended["status"], ended["error"], ended["result"]) == ("failed", error, None)
    recorded = RECORDED["huge_4096_aslimit_3000000000"]
    assert sd.call("POST", "/sdapi/v1/txt2img", SMALL) == (recorded["status"], recorded["response"])
    sd.until(b"s\n", sd.until(b"failed after", descriptor=2), descriptor=2)
    lines = sd.errors.splitlines()
    assert re.sub(r"\d\.\d\ds", "", lines[-1]) == re.sub(r"\d\.\d\ds", "", recorded["log_tail"].splitlines()[-1])
    wanted = [line for line in recorded["log_tail"].splitlines() if line.startswith("[ERROR] ggml_extend")]
    assert [line for line in wanted if line in lines] == (wanted if fault == "oom" else [])
    assert sd.process.poll() is None


def test_noise_is_noise_and_the_rest_is_still_there(start: Start) -> None:
    sd = start(noise=1).ready()
    said = said_during(sd)
    with pytest.raises(UnicodeDecodeError):
        said.decode()
    assert max(map(len, said.split(b"\n"))) > 100_000
    assert b"0/0 - nan" in said
    assert len(re.findall(STEP.encode(), said)) == 2
    assert b"generating image: 1/1 - seed 7\n" in said


def test_request_log(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    sd = start(request_log=log).ready()
    bad = SMALL | {"strength": 7}
    sd.make(seed=1)
    sd.call("POST", "/sdcpp/v1/img_gen", bad)
    pid = sd.process.pid
    first, *rest = events(log)
    assert (first["event"], first["pid"], first["argv"][1]) == ("start", pid, "-m")
    assert rest == [
        {"event": "img_gen", "pid": pid, "status": 202, "body": SMALL | {"seed": 1}},
        {"event": "img_gen", "pid": pid, "status": 400, "body": bad},
    ]
    failed = start("-m", "missing", request_log=log)
    assert failed.end() == 1
    assert events(log)[-1] == {"event": "end", "pid": failed.process.pid, "reason": "exit 1"}


def test_lives_on_when_nobody_reads_what_it_says(start: Start) -> None:
    sd = start().ready()
    sd.deafen()
    assert sd.call("POST", "/sdapi/v1/txt2img", SMALL)[0] == 200
    assert sd.call("POST", "/sdapi/v1/txt2img", SMALL)[0] == 200
    assert b"generate_image completed" not in sd.output


# Beside a real one


QUESTIONS: dict[str, tuple[Any, ...]] = {
    "index": ("GET", "/"),
    "health": ("GET", "/health"),
    "capabilities": ("GET", "/sdcpp/v1/capabilities"),
    "samplers": ("GET", "/sdapi/v1/samplers"),
    "schedulers": ("GET", "/sdapi/v1/schedulers"),
    "loras": ("GET", "/sdapi/v1/loras"),
    "models": ("GET", "/sdapi/v1/sd-models"),
    "unknown job": ("GET", "/sdcpp/v1/jobs/nope"),
    "cancel unknown": ("POST", "/sdcpp/v1/jobs/nope/cancel", {}),
    "no JSON": ("POST", "/sdcpp/v1/img_gen", "{"),
    "array": ("POST", "/sdcpp/v1/img_gen", "[1]"),
    "empty": ("POST", "/sdcpp/v1/img_gen", ""),
    "form": ("POST", "/sdcpp/v1/img_gen", "x" * 9000, {"Content-Type": "application/x-www-form-urlencoded"}),
    "bad lora": ("POST", "/sdcpp/v1/img_gen", SMALL | {"lora": [{"path": "../a"}]}),
    "bad strength": ("POST", "/sdcpp/v1/img_gen", SMALL | {"strength": 2}),
    "bad image": ("POST", "/sdcpp/v1/img_gen", SMALL | {"init_image": "notbase64"}),
    "bad upscaler": ("POST", "/sdcpp/v1/img_gen", SMALL | {"hires": {"enabled": True, "upscaler": "x"}}),
    "bad type": ("POST", "/sdcpp/v1/img_gen", SMALL | {"output_format": 1}),
    "video": ("POST", "/sdcpp/v1/vid_gen", SMALL),
    "txt2img without prompt": ("POST", "/sdapi/v1/txt2img", {"prompt": ""}),
    "txt2img": ("POST", "/sdapi/v1/txt2img", {"prompt": "a", "width": 8, "height": 8, "steps": 1}),
}
PICTURES: dict[str, Json] = {
    "plain": {},
    "batch with hires": {"batch_count": 2, "hires": {"enabled": True, "denoising_strength": 0.5, "steps": 3}},
    "image upscaler, odd target": {"hires": {"enabled": True, "upscaler": "Lanczos", "target_width": 20}},
    "odd size": {"width": 9, "height": 17},
    "many steps asked": {"width": 8, "height": 8, "sample_params": {"sample_steps": 9, "scheduler": "discrete"}},
    "seed beyond 32 bits": {"seed": 2**32 + 5, "width": 0, "height": 8},
}


def shape(value: Any) -> Any:
    """A JSON value with types in place of values, and one element for all the same ones of a list."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(one)) for one in value})
    return type(value).__name__


def line_shapes(said: bytes) -> list[str]:
    """Lines without numbers that depend on build, time or machine, one bar for all of a kind in a row."""
    text = re.sub(rb"\r  \|[=> ]{50}\| (\d+)/(\d+) - [0-9.]+(it/s|s/it|[MG]B/s)\x1b\[K", rb"<bar /\2>", said).decode()
    text = re.sub(r"(<bar /\d+>)\1*", r"\1", text)
    text = re.sub(r"(\.[ch]pp):\d+ *", r"\1", text)
    return re.sub(r"\d+\.\d\ds", "T", text).splitlines()


def answers(sd: Sd) -> dict[str, Any]:
    """All that the two should agree in."""
    found: dict[str, Any] = {}
    for name, question in QUESTIONS.items():
        status, body = sd.call(*question)
        found[name] = (status, shape(body) if name != "bad type" else body)
    image = base64.b64encode(sd.make()[0]).decode()
    requests = PICTURES | {"init image": {"init_image": image, "strength": 0.5}}
    for name, changes in requests.items():
        before = sd.quiet()
        made = [Image.open(io.BytesIO(data)) for data in sd.make(**changes)]
        text = [one.info["parameters"].partition(", SDCPP: ")[0] for one in made]
        said = sd.said(b"generate_image completed", before)
        found[f"picture: {name}"] = [one.size for one in made], text, line_shapes(said)
    found["job"] = shape(sd.finish(sd.queue()))
    return found


@pytest.mark.engine
def test_the_real_one_does_the_same(start: Start, sd_server: Path) -> None:
    demo = importlib.resources.files("tensors") / "demo"
    with importlib.resources.as_file(demo) as files:
        model = str(files / "shapes.safetensors")
        options = ["-m", model, "--taesd", model, "--lora-model-dir", str(files / "loras"), "--lora-apply-mode"]
        both = [start(*options, "at_runtime", "-l", "127.0.0.1", binary=binary) for binary in (sd_server, None)]
        real, fake = (sd.ready() for sd in both)
        loading = [line_shapes(sd.said(b"listening on").rpartition(b": ")[0]) for sd in both]
        assert {re.sub("/[0-9]+>", ">", line) for line in loading[1]} <= {
            re.sub("/[0-9]+>", ">", line) for line in loading[0]
        }
        expected, actual = answers(real), answers(fake)
        for found in (expected, actual):  # a build may do without webp
            for name in ("output_formats", "output_formats_by_mode"):
                found["capabilities"][1].pop(name)
        for name, answer in expected.items():
            assert actual[name] == answer, name
        assert_lora_is_loaded_as_by(real, fake)


@pytest.mark.engine
def test_the_real_one_fails_the_same(start: Start, sd_server: Path, tmp_path: Path) -> None:
    junk = tmp_path / "junk.safetensors"
    junk.write_text("no tensors")
    for path in ("missing", str(junk)):
        real, fake = (start("-m", path, binary=binary) for binary in (sd_server, None))
        assert real.end() == fake.end() == 1
        assert line_shapes(real.output) == line_shapes(fake.output)
        assert real.errors == fake.errors
    for arguments in ([], ["--help"]):
        usage = [start("-m", "", *arguments, binary=binary) for binary in (sd_server, None)]
        assert usage[0].end() == usage[1].end()
        assert {sd.output.splitlines()[0] for sd in usage} == {b"stable-diffusion.cpp version unknown, commit unknown"}


def assert_lora_is_loaded_as_by(real: Sd, fake: Sd) -> None:
    [lora] = real.call("GET", "/sdapi/v1/loras")[1]
    said = [set(line_shapes(said_during(sd, lora=[{"path": lora["path"]}]))) for sd in (real, fake)]
    assert said[1] <= said[0]
    assert any("apply lora at runtime" in line for line in said[1])
    assert all(pixels(sd.make(lora=[{"path": lora["path"]}])[0]) != pixels(sd.make()[0]) for sd in (real, fake))

"""From a model's number to a file that is checked, identified, linked, and ready for a prompt."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hostile_server as hostile
import pytest
from fake_civitai import FakeCivitai, answering, fine, moved
from hostile_server import HostileServer, serving

from tensors.config import load_config
from tensors.downloads import fetch
from tensors.downloads.downloader import Downloader
from tensors.errors import (
    CatalogError,
    Conflict,
    DownloadError,
    DownloadRefused,
    InvalidRequest,
    JobCancelled,
    NotInCatalog,
)
from tensors.library import Library
from tensors.types.download import DownloadReport, DownloadRequest
from tensors.types.jobs import Progress

KEY = "civitai-key-1234"
MODEL, VERSION, OLDER, FILE = 7001, 8002, 8001, 9001


def lora(size: int = 200_000, fill: int = 0, pad: int = 0) -> bytes:
    """A LoRA as its tensors tell it: SD 1.5's."""
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
    shapes = {f"{name}.lora_down.weight": [4, 768], f"{name}.lora_up.weight": [320, 4], "pad": [size]}
    header, place = {}, 0
    for tensor, shape in shapes.items():
        length = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[tensor] = {"dtype": "F16", "shape": shape, "data_offsets": [place, place + length]}
        place += length
    text = json.dumps(header).encode() + b" " * pad
    return len(text).to_bytes(8, "little") + text + bytes([fill]) * place


CONTENT = lora()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_of(number: int, content: bytes, name: str = "Wanderer v2.safetensors", **fields: Any) -> dict[str, Any]:
    """As CivitAI tells it."""
    return {
        "id": number,
        "name": name,
        "type": "Model",
        "sizeKB": len(content) / 1024,
        "primary": True,
        "metadata": {"format": "SafeTensor", "fp": "fp16"},
        "hashes": {"SHA256": sha256(content).upper()},
        "downloadUrl": f"https://civitai.com/api/download/models/{VERSION}",
        **fields,
    }


def version_of(number: int, *files: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": "v2",
        "baseModel": "SD 1.5",
        "trainedWords": ["wanderer", "red cloak"],
        "status": "Published",
        "files": list(files),
        **fields,
    }


@dataclass
class Shop:
    """CivitAI, its storage, and a library."""

    civitai: FakeCivitai
    storage: HostileServer
    library: Library
    downloader: Downloader
    folder: Path
    heard: list[Progress]

    def offer(self, *versions: dict[str, Any], **fields: Any) -> None:
        self.civitai.add({"id": MODEL, "name": "Wanderer", "type": "LORA", "modelVersions": list(versions), **fields})

    def fetch(self, **request: Any) -> DownloadReport:
        return self.downloader.run(DownloadRequest(**request), self.heard.append, lambda: False)


def shop_in(folder: Path, civitai: FakeCivitai, storage: HostileServer, **settings: Any) -> Shop:
    given = {
        "data_dir": folder / "data",
        "api__civitai_url": civitai.url,
        "api__civitai_key": KEY,
        "api__allowed_download_hosts": ("127.0.0.2",),
        **settings,
    }
    config = load_config(folder / "none.toml").with_values(**given)
    library = Library(config)
    return Shop(civitai, storage, library, Downloader(config, library), folder, [])


@pytest.fixture
def storage() -> Iterator[HostileServer]:
    with serving(CONTENT, host="127.0.0.2") as server:
        yield server


@pytest.fixture
def shop(tmp_path: Path, civitai: FakeCivitai, storage: HostileServer) -> Shop:
    shop = shop_in(tmp_path, civitai, storage)
    civitai.downloads.update({VERSION: f"{storage.url}/signed?x=1", OLDER: f"{storage.url}/signed?x=2"})
    return shop


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures are not waited after."""
    monkeypatch.setattr(fetch, "back_off", lambda _failures: 0.0)


def test_a_number_becomes_a_file_that_is_known(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)), version_of(OLDER, file_of(9000, b"old")))
    (done,) = shop.fetch(target=str(MODEL)).files
    path = shop.folder / "data" / "models" / "loras" / "Wanderer v2.safetensors"
    assert path.read_bytes() == CONTENT
    assert (done.path, done.fetched, done.sha256, done.size) == (str(path), True, sha256(CONTENT), len(CONTENT))
    assert (done.kind, done.family) == ("lora", "sd15")
    assert (done.model_id, done.version_id) == (MODEL, VERSION)
    assert (done.lora, done.words) == ("<lora:Wanderer v2:1>", ("wanderer", "red cloak"))
    details = shop.library.file("Wanderer v2")
    assert {told.kind for told in details.hashes} >= {"sha256", "autov3", "blake3", "crc32"}
    assert details.link is not None
    assert details.link.matched_by == "sha256"
    assert shop.library.model(MODEL).name == "Wanderer"
    told = [progress for progress in shop.heard if progress.phase == "downloading"]
    assert (told[-1].done, told[-1].total, told[-1].unit) == (len(CONTENT), len(CONTENT), "bytes")
    assert all(KEY not in str(asked) for asked in shop.storage.requests)


def test_what_is_here_is_not_fetched_again(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    (first,) = shop.fetch(model_id=MODEL).files
    (again,) = shop.fetch(version_id=VERSION).files
    assert (again.path, again.fetched) == (first.path, False)
    assert len(shop.storage.requests) == 1


def test_here_under_another_name_it_is_not_fetched_and_becomes_known(shop: Shop) -> None:
    elsewhere = shop.folder / "data" / "models" / "mine" / "renamed.safetensors"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_bytes(CONTENT)
    from tensors.types.library import ScanRequest

    shop.library.run_scan(ScanRequest(), lambda _: None, lambda: False)
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    (done,) = shop.fetch(model_id=MODEL).files
    assert (done.path, done.fetched, done.words) == (str(elsewhere), False, ("wanderer", "red cloak"))
    assert shop.storage.requests == []


@pytest.mark.parametrize(
    "request_",
    [
        {"model_id": MODEL},
        {"version_id": VERSION},
        {"hash": sha256(CONTENT)},
        {"hash": sha256(CONTENT).upper()},
        {"target": f"{MODEL}@{VERSION}"},
        {"target": f"urn:air:sd1:lora:civitai:{MODEL}@{VERSION}+{FILE}"},
        {"target": f"https://civitai.com/models/{MODEL}/wanderer?modelVersionId={VERSION}"},
        {"target": f"https://civitai.com/api/download/models/{VERSION}?type=Model&format=SafeTensor"},
    ],
)
def test_whatever_names_it_leads_to_the_same_file(request_: dict[str, Any], shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)), version_of(OLDER, file_of(9000, b"old")))
    (planned,) = shop.downloader.plan(DownloadRequest(**request_)).files
    assert (planned.name, planned.state, planned.sha256) == ("Wanderer v2.safetensors", "new", sha256(CONTENT))
    assert (planned.model, planned.model_id, planned.version_id) == ("Wanderer v2", MODEL, VERSION)
    assert planned.path == str(shop.folder / "data" / "models" / "loras" / "Wanderer v2.safetensors")
    assert not (shop.folder / "data" / "models").exists(), "a plan changes nothing"


def test_another_file_of_the_same_name_is_not_overwritten(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    taken = shop.folder / "data" / "models" / "loras" / "Wanderer v2.safetensors"
    taken.parent.mkdir(parents=True)
    taken.write_bytes(b"mine")
    (done,) = shop.fetch(model_id=MODEL).files
    assert done.path == str(taken.with_name(f"Wanderer v2.V{VERSION}.safetensors"))
    assert taken.read_bytes() == b"mine"
    assert Path(done.path).read_bytes() == CONTENT


def test_when_both_names_are_taken_it_says_so(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    folder = shop.folder / "data" / "models" / "loras"
    folder.mkdir(parents=True)
    for name in ("Wanderer v2.safetensors", f"Wanderer v2.V{VERSION}.safetensors"):
        (folder / name).write_bytes(b"mine")
    with pytest.raises(Conflict, match="has other files with the names"):
        shop.fetch(model_id=MODEL)


def test_a_part_is_seen_in_the_plan_and_used(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))

    def stop() -> bool:
        return any(progress.done for progress in shop.heard)

    shop.storage.acts.append(hostile.stalls(100_000))
    with pytest.raises(JobCancelled):
        shop.downloader.run(DownloadRequest(model_id=MODEL), shop.heard.append, stop)
    (planned,) = shop.downloader.plan(DownloadRequest(model_id=MODEL)).files
    assert planned.state == "partial"
    assert 0 < planned.done <= 100_000
    shop.fetch(model_id=MODEL)
    assert shop.storage.requests[-1].headers["range"] == f"bytes={planned.done}-"


def test_all_files_of_a_version(shop: Shop) -> None:
    other = lora(fill=1)
    files = [file_of(FILE, CONTENT), file_of(9002, other, "small.safetensors", primary=False)]
    shop.offer(version_of(VERSION, *files))
    plan = shop.downloader.plan(DownloadRequest(model_id=MODEL, everything=True))
    assert [file.name for file in plan.files] == ["Wanderer v2.safetensors", "small.safetensors"]
    (chosen,) = shop.downloader.plan(DownloadRequest(model_id=MODEL, file="small*")).files
    assert chosen.sha256 == sha256(other)
    with pytest.raises(InvalidRequest, match=r"small\.safetensors"):
        shop.downloader.plan(DownloadRequest(model_id=MODEL, file="nothing-like-it"))


@pytest.mark.parametrize(
    ("version", "model", "message"),
    [
        ({"availability": "EarlyAccess", "earlyAccessEndsAt": "2999-01-01T00:00:00Z"}, {}, "until 2999-01-01"),
        ({"usageControl": "Generation"}, {}, "generator"),
        ({}, {"mode": "Archived"}, "archived"),
        ({"status": "Draft"}, {}, "draft"),
    ],
)
def test_what_is_not_to_be_had_is_told_before_a_byte_is_fetched(
    version: dict[str, Any], model: dict[str, Any], message: str, shop: Shop
) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT), **version), **model)
    with pytest.raises(DownloadRefused, match=message):
        shop.fetch(model_id=MODEL)
    assert shop.storage.requests == []
    (done,) = shop.fetch(model_id=MODEL, force=True).files
    assert done.fetched


def test_early_access_that_only_the_small_record_knows(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    said = {"checkPermission": True, "availability": "EarlyAccess", "earlyAccessEndsAt": "2999-01-01T00:00:00Z"}
    shop.civitai.order(fine, fine, answering(200, json.dumps(said).encode()))
    with pytest.raises(DownloadRefused, match="until 2999-01-01"):
        shop.fetch(model_id=MODEL)


def test_without_a_key_it_says_where_to_get_one(tmp_path: Path, civitai: FakeCivitai, storage: HostileServer) -> None:
    shop = shop_in(tmp_path, civitai, storage, api__civitai_key=None)
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    with pytest.raises(DownloadRefused, match="only with a key") as caught:
        shop.fetch(model_id=MODEL)
    assert "tsr config set api.civitai_key" in str(caught.value.hint)


def test_wrong_bytes_do_not_come_into_the_library(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    shop.storage.acts.extend([hostile.spoiled] * 4)
    with pytest.raises(DownloadError, match="thrown away"):
        shop.fetch(model_id=MODEL)
    assert shop.library.files().items == ()
    assert list((shop.folder / "data" / "models").rglob("*.safetensors*")) == []


def test_without_a_hash_it_is_linked_by_where_it_came_from(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT, hashes={})))
    (done,) = shop.fetch(model_id=MODEL).files
    assert (done.model_id, done.version_id, done.words) == (MODEL, VERSION, ("wanderer", "red cloak"))


def test_folders_are_those_of_the_settings(tmp_path: Path, civitai: FakeCivitai, storage: HostileServer) -> None:
    webui = tmp_path / "webui" / "models"
    (webui / "Lora").mkdir(parents=True)
    shop = shop_in(tmp_path, civitai, storage, paths__models=(webui,))
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    (planned,) = shop.downloader.plan(DownloadRequest(model_id=MODEL)).files
    assert planned.path == str(webui / "Lora" / "Wanderer v2.safetensors")
    own = shop_in(tmp_path, civitai, storage, paths__models=(webui,), paths__loras=(tmp_path / "loras",))
    (planned,) = own.downloader.plan(DownloadRequest(model_id=MODEL)).files
    assert planned.path == str(tmp_path / "loras" / "Wanderer v2.safetensors")
    (planned,) = own.downloader.plan(DownloadRequest(model_id=MODEL, directory=str(tmp_path / "here"))).files
    assert planned.path == str(tmp_path / "here" / "Wanderer v2.safetensors")


@pytest.mark.parametrize("request_", [{"model_id": 1}, {"version_id": 1}, {"hash": "0" * 64}])
def test_what_civitai_does_not_have(request_: dict[str, Any], shop: Shop) -> None:
    with pytest.raises(NotInCatalog):
        shop.fetch(**request_)


def test_the_key_is_nowhere(shop: Shop) -> None:
    shop.offer(version_of(VERSION, file_of(FILE, CONTENT)))
    shop.storage.acts.extend([hostile.says(500)] * 20)
    with pytest.raises((DownloadError, CatalogError)) as caught:
        shop.downloader.run(DownloadRequest(model_id=MODEL), shop.heard.append, lambda: False)
    written = b"".join(path.read_bytes() for path in shop.folder.rglob("*") if path.is_file())
    told = f"{caught.value} {caught.value.hint} {shop.heard}"
    assert KEY not in told
    assert KEY.encode() not in written


# --- Hugging Face -----------------------------------------------------------------------------------------------------


@pytest.fixture
def hub() -> Iterator[FakeCivitai]:
    """A host that answers with what it is told to."""
    site = FakeCivitai()
    yield site
    site.close()


def listed(*paths: str, gated: bool = False, content: bytes = CONTENT) -> list[Any]:
    """What a hub answers when it is asked for a repository and its files."""
    about = {"id": "org/repo", "gated": "manual" if gated else False}
    large = {"oid": sha256(content), "size": len(content)}
    files = [{"type": "file", "path": path, "size": len(content), "lfs": large} for path in paths]
    return [answering(200, json.dumps(answer).encode()) for answer in (about, files)]


@pytest.mark.parametrize(
    ("target", "paths", "place"),
    [
        ("hf:org/repo", ["README.md", "wanderer.safetensors"], "loras/wanderer.safetensors"),
        ("hf:org/repo/loras/x.safetensors", ["loras/x.safetensors", "loras/y.safetensors"], "loras/x.safetensors"),
        ("https://huggingface.co/org/repo/blob/main/vae/a.safetensors", ["vae/a.safetensors"], "vae/a.safetensors"),
    ],
)
def test_from_hugging_face(
    target: str,
    paths: list[str],
    place: str,
    tmp_path: Path,
    hub: FakeCivitai,
    civitai: FakeCivitai,
    storage: HostileServer,
) -> None:
    shop = shop_in(tmp_path, civitai, storage, api__huggingface_url=hub.url, api__huggingface_key="hf-key-99")
    # Twice where the folder's name tells nothing: then its header is looked at first.
    hub.order(*listed(*paths), *[moved(f"{storage.url}/cdn?sig=1")] * (2 if "README.md" in paths else 1))
    (done,) = shop.fetch(target=target).files
    assert done.path == str(tmp_path / "data" / "models" / place)
    assert Path(done.path).read_bytes() == CONTENT
    assert (done.kind, done.family, done.version_id) == ("lora", "sd15", None), "its tensors tell, not its folder"
    (path,) = [path for path in paths if path.endswith(Path(done.path).name)]
    assert hub.requests[-1].path == f"/org/repo/resolve/main/{path}"
    assert hub.requests[-1].headers["authorization"] == "Bearer hf-key-99"
    assert all("hf-key-99" not in str(asked) for asked in storage.requests)


@pytest.mark.parametrize(
    ("content", "place", "asked"),
    [
        (CONTENT, "loras", [262_144]),
        (lora(pad=1_000_000), "loras", [262_144, 2_097_152]),
        (b"GGUF" + b"\0" * 5000, "other", [5004]),
        (b"<html>" + b" " * 5000, "other", [5006]),
    ],
    ids=["short header", "long header", "broken", "page"],
)
def test_a_file_whose_folder_tells_nothing_is_looked_into(
    content: bytes, place: str, asked: list[int], tmp_path: Path, hub: FakeCivitai, civitai: FakeCivitai
) -> None:
    with serving(content, host="127.0.0.2") as storage:
        shop = shop_in(tmp_path, civitai, storage, api__huggingface_url=hub.url)
        hub.order(*listed("a.safetensors", content=content), *[moved(f"{storage.url}/cdn")] * len(asked))
        (planned,) = shop.downloader.plan(DownloadRequest(target="hf:org/repo")).files
        assert planned.path == str(tmp_path / "data" / "models" / place / "a.safetensors")
        ends = [int(request.headers["range"].removeprefix("bytes=0-")) + 1 for request in storage.requests]
        assert ends == [min(end, len(content)) for end in asked]
    assert not list(tmp_path.rglob("*.part"))


def test_a_gated_repository_without_a_token(
    tmp_path: Path, hub: FakeCivitai, civitai: FakeCivitai, storage: HostileServer
) -> None:
    shop = shop_in(tmp_path, civitai, storage, api__huggingface_url=hub.url)
    hub.order(*listed("a.safetensors", gated=True))
    with pytest.raises(DownloadRefused, match="gated"):
        shop.fetch(target="hf:org/repo")


def test_several_files_of_a_repository_are_named(
    tmp_path: Path, hub: FakeCivitai, civitai: FakeCivitai, storage: HostileServer
) -> None:
    shop = shop_in(tmp_path, civitai, storage, api__huggingface_url=hub.url)
    hub.order(*listed("a-q4.safetensors", "a-q8.safetensors"))
    with pytest.raises(InvalidRequest, match="which of these"):
        shop.fetch(target="hf:org/repo")
    hub.order(*listed("a-q4.safetensors", "a-q8.safetensors"), moved(f"{storage.url}/cdn"))
    (planned,) = shop.downloader.plan(DownloadRequest(target="hf:org/repo", file="*q8*")).files
    assert (planned.name, planned.source) == ("a-q8.safetensors", "huggingface")


@pytest.mark.parametrize("request_", [{}, {"model_id": 1, "target": "1"}, {"model_id": 1, "version_id": 2}])
def test_one_name_is_wanted(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="only one of them"):
        DownloadRequest(**request_)

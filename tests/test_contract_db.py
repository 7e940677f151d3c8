"""The contract of `tensors.service.Db` and `Catalog`: the same values and errors here and over a real socket."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import FAKE_ENGINE, Server, running
from fake_civitai import FakeCivitai, fake_civitai
from headers import write_gguf, write_safetensors

from tensors.client import TsrClient
from tensors.config import load_config
from tensors.errors import TsrError
from tensors.local import LocalTensors
from tensors.service import Tensors
from tensors.types.jobs import Job
from tensors.types.library import CacheRequest, FileEdit, LinkRequest, ScanRequest

OWN = {"id", "created", "finished", "fetched", "asked", "folders", "database", "database_size"}
"""Fields whose values differ from one run to the next."""
SDXL_LORA = {
    f"lora_unet_{block}_attn2_to_k.lora_{side}.weight": shape
    for block in ("input_blocks_4_1_transformer_blocks_0", "input_blocks_5_1_transformer_blocks_0")
    for side, shape in (("down", (8, 2048)), ("up", (640, 8)))
}
SD15 = {
    "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
    "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
    "first_stage_model.decoder.conv_in.weight": (64, 4, 3, 3),
    "first_stage_model.encoder.conv_in.weight": (64, 3, 3, 3),
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (64, 768),
}


def lay_out(folder: Path) -> None:
    """Model files of several kinds, a copy, a broken one, and another tool's note."""
    metadata = {"ss_tag_frequency": '{"10_style": {"ink sketch": 90, "city": 40}}', "ss_network_dim": "8"}
    write_safetensors(folder / "Lora" / "ink.safetensors", SDXL_LORA, metadata)
    write_safetensors(folder / "Stable-diffusion" / "dream.safetensors", SD15)
    shutil.copy(folder / "Stable-diffusion" / "dream.safetensors", folder / "dream copy.safetensors")
    flux = {"double_blocks.0.img_attn.norm.key_norm.scale": (128,), "img_in.weight": (3072, 64)}
    write_gguf(folder / "unet" / "q.gguf", flux, {})
    (folder / "Lora" / "cut.safetensors").write_bytes((folder / "Lora" / "ink.safetensors").read_bytes()[:-4])


def known_to_civitai(fake: FakeCivitai, file: Path) -> None:
    """Let the stand-in know a file as a version of a model that has a newer one."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest().upper()
    versions = [
        {"id": 9002, "name": "v2", "baseModel": "Pony", "publishedAt": "2025-02-01T00:00:00.000Z"},
        {"id": 9001, "name": "v1", "baseModel": "Pony", "publishedAt": "2025-01-01T00:00:00.000Z"},
    ]
    for position, version in enumerate(versions):
        hashes = {"SHA256": sha256} if version["id"] == 9001 else {"SHA256": f"{position:064X}"}
        record = {"id": 9100 + position, "name": "ink.safetensors", "type": "Model", "primary": True, "sizeKB": 10.5}
        version |= {"files": [{**record, "hashes": hashes}], "trainedWords": ["inkstyle", "sketch, bold lines"]}
    model = {"id": 900, "name": "Ink Style", "type": "LORA", "creator": {"username": "someone"}, "tags": ["style"]}
    fake.add({**model, "description": "<p>Lines &amp; more</p>", "modelVersions": versions})


@dataclass
class Sides:
    """The two implementations, each with a library of its own over one folder."""

    local: LocalTensors
    remote: TsrClient
    folder: Path
    civitai: FakeCivitai

    def both(self, operation: Callable[[Tensors], Any]) -> Any:
        """What an operation gives on either side, which must be the same."""
        here, there = comparable(operation(self.local)), comparable(operation(self.remote))
        assert here == there
        return here

    def both_refuse(self, operation: Callable[[Tensors], Any]) -> TsrError:
        here, there = (error_of(operation, tensors) for tensors in (self.local, self.remote))
        assert (type(here), here.to_wire()) == (type(there), there.to_wire())
        return here

    def done(self, start: Callable[[Tensors], Job]) -> Any:
        """A job, followed to its end on either side."""
        return self.both(lambda tensors: followed(tensors, start(tensors)))


def followed(tensors: Tensors, job: Job) -> Job:
    *_, last = tensors.jobs.events(job.id)
    assert last.last
    return tensors.jobs.get(job.id)


def comparable(value: Any) -> Any:
    """A value without what is its own run's: numbers and times."""
    return _without_own(msgspec.to_builtins(value))


def _without_own(node: Any) -> Any:
    if isinstance(node, dict):
        rest = {name: _without_own(child) for name, child in node.items() if name not in OWN}
        return {**rest, **{name: node[name] is None for name in OWN & node.keys()}}
    return [_without_own(child) for child in node] if isinstance(node, list | tuple) else node


def error_of(operation: Callable[[Tensors], Any], tensors: Tensors) -> TsrError:
    with pytest.raises(TsrError) as raised:
        operation(tensors)
    return raised.value


@pytest.fixture(scope="module")
def civitai() -> Iterator[FakeCivitai]:
    with fake_civitai() as fake:
        yield fake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, civitai: FakeCivitai) -> Path:
    folder = tmp_path_factory.mktemp("models")
    lay_out(folder)
    known_to_civitai(civitai, folder / "Lora" / "ink.safetensors")
    return folder


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, folder: Path, civitai: FakeCivitai) -> Path:
    file = tmp_path_factory.mktemp("config") / "config.toml"
    file.write_text(f'[paths]\nmodels = ["{folder}"]\n[api]\ncivitai_url = "{civitai.url}"\n')
    return file


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, config: Path) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("data"), TSR_CONFIG=str(config), TSR_ENGINE=str(FAKE_ENGINE)) as started:
        yield started


@pytest.fixture(scope="module")
def sides(
    tmp_path_factory: pytest.TempPathFactory, config: Path, server: Server, folder: Path, civitai: FakeCivitai
) -> Iterator[Sides]:
    """Both have scanned and linked: each test looks at that, and changes nothing or puts it back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSR_CONFIG", str(config))
        patch.setenv("TSR_DATA_DIR", str(tmp_path_factory.mktemp("here")))
        local, remote = LocalTensors(load_config()), server.client()
    made = Sides(local, remote, folder, civitai)
    for tensors in (local, remote):
        assert followed(tensors, tensors.db.scan(ScanRequest())).state == "succeeded"
        assert followed(tensors, tensors.db.link(LinkRequest())).state == "succeeded"
    yield made
    local.close()
    remote.close()


def test_a_scan_reports_the_same(sides: Sides) -> None:
    job = sides.done(lambda tensors: tensors.db.scan(ScanRequest(full=True)))
    assert (job["kind"], job["state"]) == ("scan", "succeeded")
    report = job["scan"]
    assert (report["files"], report["hashed"], len(report["problems"])) == (5, 4, 1)
    assert report["problems"][0]["path"] == str(sides.folder / "Lora" / "cut.safetensors")


def test_a_link_reports_the_same_and_asks_only_once(sides: Sides) -> None:
    asked = sides.civitai.asked()
    job = sides.done(lambda tensors: tensors.db.link(LinkRequest()))
    assert (job["kind"], job["state"], job["link"]["fetched"]) == ("link", "succeeded", 0)
    assert sides.civitai.asked() == asked


def test_models_are_cached_the_same(sides: Sides) -> None:
    report = sides.done(lambda tensors: tensors.db.cache(CacheRequest(models=(1102, 999_999))))["cache"]
    assert report == {"models": [1102], "not_found": [999_999]}
    found = sides.both(lambda tensors: tensors.db.models(query="synthwave"))
    assert [model["name"] for model in found["items"]] == ["SynthwavePunk"]
    assert sides.both(lambda tensors: tensors.db.model(1102))["creator"] == "justmaier"
    forgotten = sides.both(lambda tensors: tensors.db.forget_model(1102))
    assert forgotten["name"] == "SynthwavePunk"
    sides.both_refuse(lambda tensors: tensors.db.model(1102))


def test_files_are_listed_the_same(sides: Sides) -> None:
    page = sides.both(lambda tensors: tensors.db.files())
    assert [file["name"] for file in page["items"]] == ["cut", "dream", "dream copy", "ink", "q"]
    kinds = [file["kind"] for file in page["items"]]
    assert kinds == ["unknown", "checkpoint", "checkpoint", "lora", "diffusion_model"]
    assert page["items"][3]["link"]["version"] == "v1"
    for wanted in ({"query": "ink"}, {"kind": "lora"}, {"family": "pony"}, {"state": "broken"}, {"state": "linked"}):
        assert len(sides.both(lambda tensors, wanted=wanted: tensors.db.files(**wanted))["items"]) == 1  # type: ignore[misc]


def test_pages_of_files_go_on_the_same(sides: Sides) -> None:
    def names(tensors: Tensors) -> list[str]:
        found, cursor = [], None
        while True:
            page = tensors.db.files(limit=2, cursor=cursor)
            found += [file.name for file in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found

    assert sides.both(names) == ["cut", "dream", "dream copy", "ink", "q"]


def test_a_file_is_shown_the_same_whatever_it_is_called(sides: Sides) -> None:
    sha256 = hashlib.sha256((sides.folder / "Lora" / "ink.safetensors").read_bytes()).hexdigest()
    names = ("ink", "INK", "ink.safetensors", "Lora/ink.safetensors", sha256, sha256[:10])
    for name in (*names, str(sides.folder / "Lora" / "ink.safetensors")):
        file = sides.both(lambda tensors, name=name: tensors.db.file(name))  # type: ignore[misc]
        assert (file["family"], file["family_from"], file["sha256"]) == ("pony", "civitai", sha256)
        assert file["metadata"]["ss_network_dim"] == "8"


def test_a_file_says_the_same_about_itself(sides: Sides) -> None:
    path = str(sides.folder / "Stable-diffusion" / "dream.safetensors")
    assert sides.both(lambda tensors: tensors.db.info(path))["family"] == "sd15"
    sides.both_refuse(lambda tensors: tensors.db.info(str(sides.folder / "Lora" / "cut.safetensors")))
    sides.both_refuse(lambda tensors: tensors.db.info(str(sides.folder / "nothing.safetensors")))


def test_trigger_words_are_the_same(sides: Sides) -> None:
    found = sides.both(lambda tensors: tensors.db.triggers("ink"))
    assert found == {
        "file": "ink",
        "lora": "<lora:ink:1>",
        "words": ["inkstyle", "sketch", "bold lines"],
        "source": "civitai",
    }
    assert sides.both(lambda tensors: tensors.db.triggers("dream.safetensors"))["words"] == []


def test_what_the_owner_says_is_the_same(sides: Sides) -> None:
    edited = sides.both(lambda tensors: tensors.db.edit("q", FileEdit(family="chroma", model="900@9002")))
    assert (edited["family"], edited["family_from"], edited["link"]["version"]) == ("chroma", "user", "v2")
    assert edited["link"]["matched_by"] == "user"
    edited = sides.both(lambda tensors: tensors.db.edit("q", FileEdit(family="auto", model="none")))
    assert (edited["family_from"], edited["link"]) != ("user", None)
    assert edited["link"] is None


def test_lists_about_the_whole_library_are_the_same(sides: Sides) -> None:
    (copies,) = sides.both(lambda tensors: tensors.db.duplicates())["items"]
    assert len(copies["files"]) == 2
    (update,) = sides.both(lambda tensors: tensors.db.updates())["items"]
    assert (update["version"], update["newest"]) == ("v1", "v2")
    stats = sides.both(lambda tensors: tensors.db.stats())
    assert (stats["files"], stats["broken"], stats["linked"], stats["duplicates"]) == (5, 1, 1, 1)
    assert sides.both(lambda tensors: tensors.db.check()) == {"sound": True, "problems": [], "mended": []}


def test_the_catalog_answers_the_same(sides: Sides) -> None:
    found = sides.both(lambda tensors: tensors.catalog.search("ink style"))
    assert [(model["name"], model["here"]) for model in found["items"]] == [("Ink Style", 1)]
    model = sides.both(lambda tensors: tensors.catalog.model(900))
    assert [version["here"] for version in model["all_versions"]] == [[], ["ink"]]
    sides.both_refuse(lambda tensors: tensors.catalog.model(123_456_789))


def test_a_file_is_forgotten_and_found_again_the_same(sides: Sides) -> None:
    assert sides.both(lambda tensors: tensors.db.forget("dream copy"))["name"] == "dream copy"
    sides.both_refuse(lambda tensors: tensors.db.file("dream copy"))
    assert sides.done(lambda tensors: tensors.db.scan(ScanRequest()))["scan"]["added"] == 1


REFUSED: dict[str, Callable[[Tensors], Any]] = {
    "unknown file": lambda tensors: tensors.db.file("inkk"),
    "unknown file's words": lambda tensors: tensors.db.triggers("nothing like it"),
    "several files": lambda tensors: tensors.db.file("DREAM*"),
    "unknown kind": lambda tensors: tensors.db.files(kind="loras"),
    "unknown state": lambda tensors: tensors.db.files(state="gone"),
    "no limit": lambda tensors: tensors.db.files(limit=0),
    "foreign cursor": lambda tensors: tensors.db.files(cursor="what?"),
    "foreign cursor of models": lambda tensors: tensors.db.models(cursor="what?"),
    "unknown model": lambda tensors: tensors.db.model(77),
    "unknown kind to set": lambda tensors: tensors.db.edit("ink", FileEdit(kind="loras")),
    "unknown family to set": lambda tensors: tensors.db.edit("ink", FileEdit(family="sd99")),
    "no version": lambda tensors: tensors.db.edit("ink", FileEdit(model="900@900@900")),
    "version of another model": lambda tensors: tensors.db.edit("ink", FileEdit(model="901@9001")),
    "unknown provider": lambda tensors: tensors.catalog.search("x", provider="nobody"),
    "too many": lambda tensors: tensors.catalog.search("x", limit=101),
}


@pytest.mark.parametrize("operation", REFUSED.values(), ids=REFUSED)
def test_both_refuse_in_the_same_words(sides: Sides, operation: Callable[[Tensors], Any]) -> None:
    assert sides.both_refuse(operation).message


def test_a_folder_that_is_not_there_is_refused_before_the_job_is(sides: Sides) -> None:
    nowhere = str(sides.folder / "nowhere")
    sides.both_refuse(lambda tensors: tensors.db.scan(ScanRequest(directories=(nowhere,))))


@pytest.mark.parametrize("path", ["/etc", "{folder}/../..", "loras", "{folder}/link", "/nowhere at all"])
def test_a_server_looks_into_its_own_folders_only(sides: Sides, path: str, tmp_path: Path) -> None:
    link = sides.folder / "link"
    os.symlink(tmp_path, link)
    try:
        wanted = path.format(folder=sides.folder)
        assert error_of(lambda tensors: tensors.db.scan(ScanRequest(directories=(wanted,))), sides.remote).code == (
            "outside_folders"
        )
        assert error_of(lambda tensors: tensors.db.info(f"{wanted}/x.safetensors"), sides.remote).code == (
            "outside_folders"
        )
    finally:
        link.unlink()

"""Files, models and reports for tests of what is shown of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tensors.types.catalog import Found, Model, ModelDetails, ModelVersion, VersionFile
from tensors.types.files import File, FileDetails, Hash, Link, Sidecar, Tag
from tensors.types.jobs import Job
from tensors.types.library import CacheReport, FileProblem, LinkReport, ScanReport

NASTY = "ev\x1b[31mil\x07\r\nname\u202e\x9b"
"""What a file's name, or a text of CivitAI, may hold to play with a terminal."""
NASTY_SHOWN = r"ev\x1b[31mil\x07  name\u202e\x9b"

SHA256 = "9aba26abdfcd46073e0a1d42027a3a3bcc969f562d58a03637bf0a0ded6586c9"
MODIFIED = "2026-11-22T18:49:01.123Z"

LINK = Link(
    model_id=4384,
    version_id=128713,
    model="DreamShaper",
    version="8",
    type="Checkpoint",
    base_model="SD 1.5",
    creator="Lykon",
    url="https://civitai.com/models/4384?modelVersionId=128713",
)


def a_file(**changes: Any) -> File:
    """A checkpoint that is there, not linked."""
    usual = File(
        id=1,
        path="/models/dreamshaper_8.safetensors",
        name="dreamshaper_8",
        size=2_132_625_894,
        modified=MODIFIED,
        state="present",
        kind="checkpoint",
        family="sd15",
        kind_from="tensors",
        family_from="tensors",
        format="safetensors",
    )
    return replace(usual, **changes)


FILES = (
    a_file(link=LINK, sha256=SHA256),
    a_file(id=2, name="style", kind="lora", kind_from="folder", family="pony", family_from="name", size=144_000_000),
    a_file(id=3, name="gone", state="missing", kind="vae", family="unknown", family_from=None, size=334_641_164),
    a_file(id=4, name=NASTY, state="broken", problem="is cut off:\n10 bytes", kind="unknown", kind_from=None, size=12),
)
"""One of each: linked, guessed, missing, broken."""


def details(**changes: Any) -> FileDetails:
    """A linked LoRA of which everything is known."""
    usual = FileDetails(
        id=2,
        path="/models/loras/style.safetensors",
        name="style",
        size=144_000_001,
        modified=MODIFIED,
        state="present",
        kind="lora",
        kind_from="tensors",
        family="pony",
        family_from="name",
        variant="v-prediction",
        adapter="dora",
        format="safetensors",
        precision="bf16",
        parameters=2_570_000_000,
        sha256=SHA256,
        link=LINK,
        words=("in my style", "by me"),
        hashes=(Hash(kind="sha256", value=SHA256), Hash(kind="crc32", value="deadbeef")),
        metadata={"modelspec.title": "My\nStyle", "ss_tag_frequency": "{" + "x" * 500 + "}"},
        training_tags=tuple(Tag(tag=f"tag{number}", count=2000 - number) for number in range(14)),
        sidecars=(
            Sidecar(name="style.civitai.info", tool="civitai-helper", model_id=4384, notes="nice\nwith rain"),
            Sidecar(name="style.json", tool="a1111", problem="is no JSON"),
        ),
        description="Draws\nin my style.",
    )
    return replace(usual, **changes)


def bare(**changes: Any) -> FileDetails:
    """A file of which nothing is known but that it is there."""
    usual = FileDetails(
        id=None,
        path="/x.gguf",
        name="x",
        size=999,
        modified=MODIFIED,
        state="present",
        kind="unknown",
        family="unknown",
    )
    return replace(usual, **changes)


NEW_VERSION = ModelVersion(
    id=9, name="9 early", availability="EarlyAccess", early_access_until="2999-01-31T00:00:00.000Z"
)
OLD_VERSION = ModelVersion(
    id=128713,
    name="8",
    base_model="SD 1.5",
    published="2023-07-29T01:02:03.000Z",
    availability="Public",
    early_access_until="2023-08-01T00:00:00.000Z",
    words=("dreamshaper", "ds style"),
    description="Better at\nhands.",
    files=(
        VersionFile(
            id=1,
            name="dreamshaper_8.safetensors",
            type="Model",
            size=2_132_625_894,
            format="SafeTensor",
            size_kind="pruned",
            precision="fp16",
            primary=True,
        ),
        VersionFile(id=2, name="dreamshaper_8.yaml", type="Config"),
    ),
    here=("dreamshaper_8",),
)
MODEL = ModelDetails(
    id=4384,
    name="DreamShaper",
    type="Checkpoint",
    creator="Lykon",
    tags=("anime", "photorealistic"),
    base_models=("SD 1.5",),
    versions=2,
    downloads=1_234_567,
    url="https://civitai.com/models/4384",
    here=1,
    description="Draws\neverything.",
    fetched="2026-11-22T18:49:01.123Z",
    all_versions=(NEW_VERSION, OLD_VERSION),
)
MODELS = (
    Model(
        id=4384,
        name="DreamShaper",
        type="Checkpoint",
        creator="Lykon",
        base_models=("SD 1.5", "SDXL 1.0", "SD 2.1", "Pony"),
        downloads=1_234_567,
        here=1,
    ),
    Model(id=7, name=NASTY),
)
FOUND = (
    Found(provider="civitai", id="4384", name="DreamShaper", type="Checkpoint", creator="Lykon", downloads=12, here=2),
    Found(provider="huggingface", id="hf:someone/some-model", name="someone/some-model"),
)

SCANNED = ScanReport(
    folders=("/models", "/mnt/more"),
    files=1234,
    added=12,
    changed=1,
    moved=2,
    returned=3,
    missing=4,
    hashed=1233,
    unhashed=5,
)
LINKED = LinkReport(
    files=120,
    linked=100,
    by_sha256=80,
    by_autov3=10,
    by_blake3=6,
    by_sidecar=4,
    not_found=15,
    unhashed=5,
    fetched=77,
)
CACHED = CacheReport(models=(1102, 4384, 9), not_found=(5,))
PROBLEMS = (
    FileProblem(path="/models/bad.safetensors", message="is cut off: 10 bytes of 20"),
    FileProblem(path=f"/models/{NASTY}.gguf", message="cannot be read: Permission denied"),
)


def a_job(kind: str, state: str = "succeeded", **changes: Any) -> Job:
    """A job that has ended."""
    usual = Job(id="1f2e3d4c5b6a7980", kind=kind, state=state, created=MODIFIED, finished=MODIFIED)
    return replace(usual, **changes)

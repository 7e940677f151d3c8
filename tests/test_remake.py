"""A picture made again: the same request out of our own pictures, and what can be had out of everybody else's."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from headers import write_safetensors
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from library_data import VersionData, add_model, link, sha256_of
from pictures_with_texts import JPEG, PNG, chunk, png_with
from PIL import Image as Pillow
from signs import SD15
from test_shelf import FLUX_UNET, SDXL, SDXL_LORA

from tensors import __version__, hash_cache
from tensors.checkpoints import Checkpoints
from tensors.config import load_config
from tensors.db import scan as scan_module
from tensors.errors import ImageNotFound, InvalidRequest, LoraNotFound, ModelNotFound
from tensors.generation import resolve
from tensors.hash_cache import HashCache
from tensors.inputs import Inputs
from tensors.library import Library
from tensors.models import demo_dir
from tensors.remaking import remaker as remaker_module
from tensors.remaking.comparison import compare
from tensors.remaking.parts import AT_ONCE
from tensors.remaking.remaker import Remaker
from tensors.samplers import SAMPLERS, SCHEDULERS, UPSCALERS
from tensors.shelf import Shelf
from tensors.types.files import Hash
from tensors.types.gallery import Image
from tensors.types.generation import MAX_SEED, GenerateRequest, Hires, Lora, Settings, UsedLora, UsedModel
from tensors.types.library import ScanRequest
from tensors.types.recipe import Named, Recipe, RecipeHires, RecipeLora
from tensors.types.remake import Comparison, Difference, MissingPart, Remake

RECORDED = Path(__file__).parent / "data" / "recipes"
ENGINE = "sd-server master-1"


class World:
    """A machine with a library that has been scanned."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data" / "models"
        config = load_config()
        self.library = Library(config)
        self.shelf = Shelf(self.library, config)
        self.hashes = HashCache(config.data_dir / "cache" / "hashes.json", self.library.known_hash)
        self.inputs = Inputs(config.data_dir / "inputs")
        self.checkpoints = Checkpoints(config, self.library, self.shelf)
        self.remaker = Remaker(self.library, self.shelf, self.hashes, self.inputs)

    def add(self, path: str, shapes: Any, content: str = "") -> Path:
        return write_safetensors(self.folder / path, shapes, {"content": content or path})

    def scan(self) -> None:
        self.library.run_scan(ScanRequest(), lambda progress: None, lambda: False)

    def resolved(self, request: GenerateRequest) -> Settings:
        model = self.checkpoints.named(request.model) if request.model else self.checkpoints.active()
        return resolve(request, model, shelf=self.shelf, inputs=self.inputs)

    def drawn(self, request: GenerateRequest, *, index: int = 0, **changes: Any) -> Image:
        """The record of one of its pictures, as the worker writes it."""
        used = self.resolved(request)
        loras = tuple(
            replace(lora, autov3=self.hashes.autov3(Path(self.shelf.lora(lora.name).path))) for lora in used.loras
        )
        path = Path(self.checkpoints.named(used.model.name).path)
        model = replace(used.model, sha256=self.hashes.sha256(path))
        settings = replace(used, model=model, loras=loras, seed=used.seed + index, batch_size=1)
        return replace(an_image(settings), index=index, **changes)

    def again(self, image: Image) -> Remake:
        return self.remaker.of_image(image, engine=ENGINE)


def an_image(settings: Settings) -> Image:
    return Image(
        id="20261122-184901-123_7",
        created="2026-11-22T18:49:01.123Z",
        job="job",
        index=0,
        width=settings.width,
        height=settings.height,
        settings=settings,
        engine=ENGINE,
        tsr=__version__,
        path="/gallery/x.png",
    )


def fill(world: World) -> World:
    world.add("checkpoints/base.safetensors", SDXL)
    world.add("checkpoints/a/twin.safetensors", SDXL)
    world.add("checkpoints/b/twin.safetensors", SDXL)
    world.add("diffusion_models/flux1-dev.safetensors", FLUX_UNET)
    for number, name in enumerate(("detail", "ink, wash", "x"), 1):
        world.add(f"loras/{name}.safetensors", {**SDXL_LORA, "other": (number,)})
    world.scan()
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return fill(World(tmp_path))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """For properties: none of them changes a file."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSR_CONFIG", str(folder / "config.toml"))
        patch.setenv("TSR_DATA_DIR", str(folder / "data"))
        yield fill(World(folder))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time the folders are looked through."""
    found: list[int] = []
    scan = scan_module.scan

    def counted(*arguments: Any, **options: Any) -> Any:
        found.append(1)
        return scan(*arguments, **options)

    monkeypatch.setattr(scan_module, "scan", counted)
    return found


def bare(settings: Settings) -> Settings:
    """As a request resolves: the hashes come when it is drawn."""
    loras = tuple(replace(lora, autov3=None) for lora in settings.loras)
    return replace(settings, model=replace(settings.model, sha256=None), loras=loras)


def whats(remake: Remake) -> list[str]:
    return [difference.what for difference in remake.differences]


def said(remake: Remake, what: str) -> Difference:
    (found,) = (difference for difference in remake.differences if difference.what == what)
    return found


def picture(color: Any = "red", size: tuple[int, int] = (8, 8), mode: str = "RGB", kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Pillow.new(mode, size, color).save(out, kind)
    return out.getvalue()


def text_png(text: str, key: str = "parameters") -> bytes:
    return png_with(chunk(b"iTXt", key.encode() + b"\0\0\0\0\0" + text.encode()))


A_PICTURE = base64.b64encode(picture()).decode()
A_MASK = base64.b64encode(picture("white", mode="L")).decode()

# Our own

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=30)
PROMPTS = TEXT.filter(lambda text: "<lora:" not in text.lower())
NUMBERS = st.floats(0, 50, allow_nan=False)
LORAS = st.permutations(["detail", "ink, wash", "x"]).flatmap(
    lambda names: st.lists(st.floats(-10, 10), max_size=3).map(
        lambda weights: tuple(Lora(name=name, weight=weight) for name, weight in zip(names, weights, strict=False))
    )
)
HIRES = st.builds(
    Hires,
    scale=st.floats(1, 8),
    upscaler=st.sampled_from(UPSCALERS),
    steps=st.integers(0, 100),
    denoising_strength=st.floats(0, 1),
)


@st.composite
def requests(draw: st.DrawFn) -> GenerateRequest:
    """All that a request can say, and any of it left open."""
    over = draw(st.sampled_from(["", "", "init_image", "mask"]))
    sides = st.integers(8, 128).map(lambda eighths: eighths * 8)
    optional = {
        "negative_prompt": TEXT,
        "width": sides,
        "height": sides,
        "steps": st.integers(1, 100),
        "cfg_scale": NUMBERS,
        "guidance": NUMBERS,
        "sampler": st.sampled_from([*SAMPLERS, *SAMPLERS.values(), "DPM++ 2M Karras"]),
        "scheduler": st.sampled_from([*SCHEDULERS, *SCHEDULERS.values(), "Automatic"]),
        "clip_skip": st.integers(1, 12),
        "hires": HIRES,
    }
    values = {name: draw(values) for name, values in optional.items() if draw(st.booleans())}
    values["loras"] = loras = draw(LORAS)
    values["prompt"] = prompt = draw(PROMPTS)
    if draw(st.booleans()) or not prompt.strip():
        tags = "".join(f"<lora:{lora.name}:{lora.weight}>" for lora in loras[:2])
        values |= {"prompt": f"{prompt} {tags}" if tags else f"a{prompt}", "loras": loras[2:] if tags else loras}
    if over:
        values |= {"init_image": A_PICTURE, "strength": draw(st.none() | st.floats(0, 1))}
    if over == "mask":
        values["mask"] = A_MASK
    return GenerateRequest(
        model=draw(st.sampled_from(["base", "a/twin", "flux1-dev", "shapes"])),
        seed=draw(st.integers(-1, MAX_SEED - 4)),
        batch_size=draw(st.integers(1, 4)),
        tags=tuple(draw(st.lists(TEXT.filter(bool), max_size=3))),
        force=True,
        **values,
    )


@given(request=requests(), last=st.booleans())
@example(request=GenerateRequest(prompt="<lora:x:0.30000000000000004> <lora:detail>", model="base"), last=True)
@example(request=GenerateRequest(prompt="a", negative_prompt="", model="flux1-dev", guidance=0.0), last=False)
@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_picture_of_ours_gives_the_same_settings_again(shared: World, request: GenerateRequest, last: bool) -> None:
    image = shared.drawn(request, index=request.batch_size - 1 if last else 0)
    remake = shared.again(image)
    assert (remake.differences, remake.missing, remake.image, remake.recipe) == ((), (), image.id, None)
    assert shared.resolved(remake.request) == bare(image.settings)
    assert msgspec.json.decode(msgspec.json.encode(remake), type=Remake) == remake


def test_its_file_gives_the_same_request(world: World) -> None:
    image = world.drawn(GenerateRequest(prompt="a cat", model="base", seed=7, loras=(Lora(name="x", weight=0.5),)))
    data = text_png(msgspec.json.encode(image).decode(), "tsr")
    remake = world.remaker.of_file(data, engine=ENGINE)
    assert remake.request == world.again(image).request
    assert (remake.differences, remake.image, remake.recipe and remake.recipe.program) == ((), None, "tsr")


def test_force_is_asked_for_only_where_a_picture_needs_it(world: World) -> None:
    for values, force in (
        ({"loras": (Lora(name="x"),)}, False),
        ({"loras": (Lora(name="shapes-outline"),)}, True),
        ({"width": 1024, "height": 5120 // 2}, False),
        ({"width": 4096, "height": 2048}, True),
    ):
        request = GenerateRequest(**{"prompt": "a", "model": "base", "seed": 1, "force": True, **values})
        remake = world.again(world.drawn(request))
        assert remake.request.force is force
        assert world.resolved(remake.request) == world.resolved(request)
    assert not world.again(world.drawn(GenerateRequest(prompt="a", width=4096, height=4096))).request.force


def test_an_input_that_has_gone_is_missing_and_stays_named(world: World) -> None:
    image = world.drawn(GenerateRequest(prompt="a", model="base", init_image=A_PICTURE, mask=A_MASK, strength=0.5))
    mask = image.settings.mask
    assert mask
    world.inputs._path(mask).unlink()
    remake = world.again(image)
    assert remake.missing == (
        MissingPart(kind="input", name=mask, hash=Hash(kind="sha256", value=mask.removeprefix("sha256:"))),
    )
    with pytest.raises(InvalidRequest, match="mask names a stored picture that is not here"):
        world.resolved(remake.request)


def test_other_versions_of_engine_and_tsr_differ(world: World) -> None:
    image = world.drawn(GenerateRequest(prompt="a", model="base"), tsr="0.0.9", engine="sd-server master-0")
    remake = world.again(image)
    assert [(one.what, one.then, one.now) for one in remake.differences] == [
        ("engine", "sd-server master-0", ENGINE),
        ("tsr", "0.0.9", __version__),
    ]
    assert whats(world.remaker.of_image(image, tsr="0.0.9")) == [], "nobody knows which engine would run"


def test_what_only_the_family_could_leave_out_is_said(world: World) -> None:
    settings = replace(world.drawn(GenerateRequest(prompt="a", model="flux1-dev")).settings, guidance=None)
    remake = world.again(an_image(settings))
    assert (remake.request.guidance, said(remake, "guidance").now) == (None, "3.5")
    settings = replace(settings, guidance=3.0, model=replace(settings.model, family="chroma"))
    remake = world.again(an_image(settings))
    assert (said(remake, "family").then, said(remake, "family").now) == ("chroma", "flux")


def test_no_clip_skip_is_what_others_mean_by_one(world: World) -> None:
    world.add("checkpoints/small.safetensors", SD15)
    image = world.drawn(GenerateRequest(prompt="a", model="small", clip_skip=2))
    assert said(world.again(an_image(replace(image.settings, clip_skip=None))), "clip_skip").now == "1"
    remake = world.remaker.of_file(text_png(f"a\n{A_LINE.replace('base', 'small')}"))
    assert (remake.request.clip_skip, whats(remake)) == (None, ["model", "program"])


# Its files


def drawn_with_both(world: World) -> Image:
    return world.drawn(GenerateRequest(prompt="a", model="base", seed=1, loras=(Lora(name="x", weight=0.5),)))


def test_files_that_were_renamed_are_found_by_their_hashes(world: World, looks: list[int]) -> None:
    image = drawn_with_both(world)
    (world.folder / "checkpoints/base.safetensors").rename(world.folder / "checkpoints/new.safetensors")
    (world.folder / "loras/x.safetensors").rename(world.folder / "loras/y.safetensors")
    world.scan()
    looks.clear()
    remake = world.again(image)
    assert (remake.request.model, remake.request.loras) == ("new", (Lora(name="y", weight=0.5),))
    assert [(one.what, one.now) for one in remake.differences] == [("model", "new"), ("lora x", "y")]
    assert said(remake, "model").says == "base is called new here: it has the same SHA256."
    assert (remake.missing, looks) == ((), [])


def test_the_file_of_that_name_is_taken_before_its_copies(world: World) -> None:
    image = drawn_with_both(world)
    for path in ("checkpoints/a-copy.safetensors", "checkpoints/z/base.safetensors"):
        (world.folder / path).parent.mkdir(exist_ok=True)
        shutil.copy(world.folder / "checkpoints/base.safetensors", world.folder / path)
    shutil.copy(demo_dir() / "shapes.safetensors", world.folder / "checkpoints" / "another.safetensors")
    world.scan()
    remake = world.again(image)
    assert (remake.request.model, remake.differences) == ("checkpoints/base", ())
    shipped = world.again(world.drawn(GenerateRequest(prompt="a", model="shapes")))
    assert (shipped.request.model, shipped.differences) == ("shapes", ())


def test_a_file_of_the_same_name_with_other_bytes_differs(world: World) -> None:
    image = drawn_with_both(world)
    world.add("checkpoints/base.safetensors", SDXL, "other")
    world.add("loras/x.safetensors", {**SDXL_LORA, "other": (99,)})
    world.scan()
    remake = world.again(image)
    sha256 = image.settings.model.sha256
    assert (remake.request.model, remake.missing, whats(remake)) == ("base", (), ["model", "lora x"])
    assert said(remake, "model").then == f"base ({sha256 and sha256[:12]})"
    assert said(remake, "model").says == (
        f"base is another file now: its SHA256 differs; tsr dl -H {sha256} fetches the one of then."
    )
    autov3 = image.settings.loras[0].autov3
    assert f"its AutoV3 differs; tsr dl -H {autov3 and autov3[:12]} fetches" in said(remake, "lora x").says


def test_a_large_file_is_not_hashed_for_this(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(path: Path, *rest: object) -> str:
        raise AssertionError(f"{path} was read")

    path = world.add("checkpoints/large.safetensors", {**SDXL, "pad": (AT_ONCE,)})
    image = an_image(
        replace(drawn_with_both(world).settings, model=UsedModel(name="large", family="sdxl", sha256="a" * 64))
    )
    monkeypatch.setattr(hash_cache, "sha256_of", read)
    remake = world.again(image)
    assert (remake.request.model, whats(remake)) == ("large", ["model"])
    assert said(remake, "model").says.endswith("so nobody knows whether it is the same file: tsr db scan.")
    monkeypatch.undo()
    sha256 = world.hashes.sha256(path)
    known = an_image(replace(image.settings, model=replace(image.settings.model, sha256=sha256)))
    monkeypatch.setattr(hash_cache, "sha256_of", read)
    assert world.again(known).differences == (), "it was hashed for a picture"


def test_files_that_are_missing_are_named_with_what_fetches_them(world: World, looks: list[int]) -> None:
    image = drawn_with_both(world)
    for path in ("checkpoints/base.safetensors", "loras/x.safetensors"):
        (world.folder / path).unlink()
    remake = world.again(image)
    sha256, autov3 = image.settings.model.sha256 or "", image.settings.loras[0].autov3 or ""
    assert remake.missing == (
        MissingPart(kind="model", name="base", hash=Hash(kind="sha256", value=sha256), command=f"tsr dl -H {sha256}"),
        MissingPart(kind="lora", name="x", hash=Hash(kind="autov3", value=autov3), command=f"tsr dl -H {autov3[:12]}"),
    )
    with pytest.raises(ModelNotFound, match="model 'base' "):
        world.resolved(remake.request)
    with pytest.raises(LoraNotFound, match="LoRA 'x' "):
        world.resolved(replace(remake.request, model="a/twin"))
    looks.clear()
    world.again(image)
    assert looks == [1], "for both together"


@pytest.mark.parametrize(("primary", "more"), [(1, ""), (0, " --file 3400")])
def test_the_catalogue_tells_the_version_of_what_is_missing(world: World, primary: int, more: str) -> None:
    image = drawn_with_both(world)
    with world.library.open() as database:
        add_model(database, 12, VersionData(id=34, published_at="2024-01-01"), VersionData(id=33), type="Checkpoint")
        database.connection.execute("UPDATE version_files SET sha256 = ?", (image.settings.model.sha256,))
        database.connection.execute("UPDATE version_files SET is_primary = ?", (primary,))
    (world.folder / "checkpoints/base.safetensors").unlink()
    (missing,) = world.again(image).missing
    assert (missing.version_id, missing.command) == (34, f"tsr dl -v 34{more}")


def test_a_new_file_needs_no_scan_to_be_found(world: World) -> None:
    image = drawn_with_both(world)
    gone = world.folder / "checkpoints/base.safetensors"
    gone.unlink()
    assert world.again(image).missing
    world.add("checkpoints/base.safetensors", SDXL)
    assert world.again(image) == replace(world.again(image), missing=(), differences=())


def test_a_broken_file_is_missing(world: World) -> None:
    image = drawn_with_both(world)
    with open(world.folder / "checkpoints/base.safetensors", "r+b") as file:
        file.truncate(100)
    assert [part.name for part in world.again(image).missing] == ["base"]


# Everybody else's


def foreign(world: World, name: str) -> Remake:
    key = "invokeai_metadata" if name.startswith("invokeai") else "parameters"
    remake = world.remaker.of_file(text_png((RECORDED / name).read_text(), key))
    assert msgspec.json.decode(msgspec.json.encode(remake), type=Remake) == remake
    return remake


def hash_as(world: World, name: str, **hashes: str) -> int:
    """Give a file of the library hashes that recorded texts have."""
    with world.library.open() as database:
        (number,) = database.connection.execute("SELECT id FROM files WHERE stem = ?", (name,)).fetchone()
        for kind, value in hashes.items():
            database.connection.execute("REPLACE INTO file_hashes VALUES (?, ?, ?)", (number, kind, value))
    return int(number)


def test_a_picture_of_a1111(world: World) -> None:
    hash_as(world, "base", sha256="6ce0161689" + "0" * 54)
    hash_as(world, "detail", autov3="0a1b2c3d4e5f" + "0" * 52)
    remake = foreign(world, "a1111.txt")
    assert remake.request == GenerateRequest(
        prompt="lighthouse on a cliff, (stormy sea:1.2), gulls,\nwide shot",
        negative_prompt="lowres, text, Steps: none\nwatermark",
        model="base",
        width=512,
        height=768,
        steps=28,
        cfg_scale=6.5,
        sampler="dpm++2m",
        scheduler="karras",
        seed=3141592653 - 2**31,
        clip_skip=2,
        loras=(Lora(name="detail", weight=0.8), Lora(name="filmgrain", weight=0.35)),
        hires=Hires(scale=1.5, upscaler="Latent", steps=14, denoising_strength=0.45),
    )
    assert [(one.what, one.then, one.now) for one in remake.differences] == [
        ("model", "v1-5-pruned-emaonly (6ce0161689)", "base"),
        ("lora inkwash_v2", "inkwash_v2 (0a1b2c3d4e5f)", "detail"),
        ("seed", "3141592653", str(3141592653 - 2**31)),
        ("hires upscaler", "4x-UltraSharp", "Latent"),
        ("vae", "vae-ft-mse-840000-ema-pruned", None),
        ("extras", "ADetailer model, ADetailer prompt, TI hashes", None),
        ("program", "a1111 v1.10.1", f"tsr {__version__}"),
    ]
    assert [(part.kind, part.name, part.command) for part in remake.missing] == [
        ("lora", "filmgrain", "tsr dl -H 112233445566")
    ]
    assert remake.recipe
    assert remake.recipe.program == "a1111"
    known = world.remaker.of_file(text_png((RECORDED / "a1111.txt").read_text()), upscalers=["4x-UltraSharp"])
    assert known.request.hires
    assert known.request.hires.upscaler == "4x-UltraSharp"


def test_versions_of_civitai_find_what_they_are_linked_with(world: World) -> None:
    with world.library.open() as database:
        add_model(database, 1, VersionData(id=290640, name="V6"), type="Checkpoint")
        link(database, hash_as(world, "base"), 290640)
    remake = foreign(world, "civitai.txt")
    assert (remake.request.model, remake.request.clip_skip) == ("base", 2)
    assert said(remake, "model").says == (
        "Pony Diffusion V6 XL is called base here: it is the same version on CivitAI, 290640."
    )
    assert said(remake, "lora Ink, Wash").says == "The picture has no hash of Ink, Wash: ink, wash has that name."
    assert remake.request.loras == (Lora(name="ink, wash", weight=0.7),)
    (world.folder / "loras/ink, wash.safetensors").unlink()
    remake = foreign(world, "civitai.txt")
    (missing,) = remake.missing
    assert (missing.name, missing.version_id, missing.command) == ("Ink, Wash", 555000, "tsr dl -v 555000")
    assert remake.request.loras == (Lora(name="Ink, Wash", weight=0.7),)


def test_blake3_and_the_size_of_the_picture_itself(world: World) -> None:
    hash_as(world, "base", blake3="12" * 32)
    remake = foreign(world, "invokeai-5.json")
    assert remake.request.model == "base"
    assert [part.command for part in remake.missing] == [f"tsr dl -H {'34' * 32}"]
    assert said(remake, "init image").says.startswith("It was drawn over another picture (strength 0.6)")
    assert (remake.request.init_image, remake.request.strength) == (None, None)
    assert {"hires scale", "hires upscaler"} <= set(whats(remake))


def test_autov1_is_known_to_civitai_alone(world: World) -> None:
    remake = foreign(world, "a1111-2022.txt")
    (missing,) = remake.missing
    assert (missing.name, missing.command) == ("45dee52b", "tsr dl -H 45dee52b")
    with pytest.raises(ModelNotFound, match="'45dee52b' not found"):
        world.resolved(remake.request)
    with world.library.open() as database:
        add_model(database, 1, VersionData(id=5), type="Checkpoint")
        database.connection.execute("""UPDATE version_files SET other_hashes = '{"autov1": "45dee52b"}'""")
        link(database, hash_as(world, "base"), 5, version_file_id=500)
    remake = foreign(world, "a1111-2022.txt")
    assert (remake.request.model, remake.missing) == ("base", ())
    assert said(remake, "scheduler").now is None
    assert remake.request.scheduler is None


def test_another_file_of_the_same_version_is_taken_and_said(world: World) -> None:
    with world.library.open() as database:
        add_model(database, 1, VersionData(id=5, file_types=("Model", "Pruned Model")), type="Checkpoint")
        database.connection.execute("UPDATE version_files SET sha256 = ? WHERE id = 500", ("6ce0161689" + "0" * 54,))
        link(database, hash_as(world, "base"), 5, version_file_id=501)
    remake = foreign(world, "a1111.txt")
    assert remake.request.model == "base"
    assert said(remake, "model").says == (
        "base is of the same version on CivitAI, but another file: its AutoV2 differs."
    )


def test_a_name_alone_is_believed_and_said(world: World) -> None:
    world.add("checkpoints/sd_xl_base_1.0.safetensors", SDXL)
    world.add("loras/filmgrain.safetensors", SDXL_LORA)
    remake = foreign(world, "swarmui.json")
    assert (remake.request.model, remake.request.loras[1]) == ("sd_xl_base_1.0", Lora(name="filmgrain", weight=-0.25))
    assert said(remake, "lora filmgrain").says == "The picture has no hash of filmgrain: filmgrain has that name."
    assert "another file now: its AutoV3 differs" in said(remake, "model").says
    assert [part.name for part in remake.missing] == ["inkwash_v2"]


def test_a_hash_of_nothing_tells_nothing(world: World) -> None:
    hash_as(world, "base", autov2="e3b0c44298")
    hash_as(world, "detail", autov3="e3b0c44298fc1c14" + "0" * 48)
    text = f"a <lora:gone:1>\n{A_LINE}".replace("base", "other") + ', Lora hashes: "gone: e3b0c44298fc"'
    assert [(part.name, part.command) for part in world.remaker.of_file(text_png(text)).missing] == [
        ("other", None),
        ("gone", None),
    ]


def test_several_of_one_name(world: World) -> None:
    text = "a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512, Model: twin"
    remake = world.remaker.of_file(text_png(text))
    assert remake.request.model == "a/twin"
    assert said(remake, "model").now == "a/twin"


@pytest.mark.parametrize("name", [path.name for path in sorted(RECORDED.iterdir()) if path.suffix in (".txt", ".json")])
def test_every_recorded_text_gives_a_request(shared: World, name: str) -> None:
    if name.startswith("comfyui"):
        key = "workflow" if "workflow" in name else "prompt"
    elif name == "invokeai-2.json":
        key = "sd-metadata"
    else:
        key = {"invokeai-1.txt": "Dream"}.get(name, "invokeai_metadata" if "invokeai" in name else "parameters")
    remake = shared.remaker.of_file(text_png((RECORDED / name).read_text(), key))
    assert remake.recipe
    assert remake.request.prompt not in ("", ",")
    assert whats(remake)[-1] == "program"
    assert remake.request.seed == (remake.recipe.seed or 0) % 2**31


def test_a_picture_of_sd_server_itself(shared: World) -> None:
    remake = shared.remaker.of_file((RECORDED / "sd-server.png").read_bytes())
    assert (remake.request.model, remake.missing) == ("shapes", ())


A_LINE = "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x512, Model: base"


def test_what_is_beyond_what_is_drawn_here_is_brought_near_and_said(world: World) -> None:
    line = A_LINE.replace("20", "150").replace("scale: 7", "scale: 60").replace("512x512", "1001x8000")
    line += ", Clip skip: 13, Denoising strength: 0.5, Hires upscale: 8, Hires steps: 101, Hires upscaler: latent"
    remake = world.remaker.of_file(text_png(f"a <lora:b c and sd_cpp_extra_args\n{line}"))
    assert remake.request == GenerateRequest(
        prompt="a < lora:b c and sd cpp extra args",
        negative_prompt="",
        model="base",
        width=1000,
        height=4096,
        steps=100,
        cfg_scale=50,
        sampler="euler_a",
        scheduler="karras",
        seed=1,
        clip_skip=12,
        hires=Hires(scale=2.0, upscaler="Latent", steps=100, denoising_strength=0.5),
    )
    beyond = ["prompt", "prompt", "size", "steps", "cfg_scale", "clip_skip", "hires scale", "hires steps"]
    assert whats(remake) == ["model", *beyond, "program"]
    assert (said(remake, "size").then, said(remake, "size").now) == ("1001x8000", "1000x4096")
    world.resolved(replace(remake.request, force=True))


def test_a_lora_is_taken_once_and_no_more_than_a_request_has(world: World) -> None:
    tags = "".join(f"<lora:gone {number}:1>" for number in range(40))
    remake = world.remaker.of_file(text_png(f"a <lora:x:0.5><lora:X:1><lora:detail:11>{tags}\n{A_LINE}"))
    assert remake.request.loras[:2] == (Lora(name="x", weight=0.5), Lora(name="detail", weight=10))
    assert len(remake.request.loras) == 32
    assert any("which is taken already" in one.says for one in remake.differences)
    assert said(remake, "lora detail weight").then == "11"
    assert whats(remake).count("lora gone 30") == whats(remake).count("lora gone 39") == 1
    assert "lora gone 29" not in whats(remake)


def test_an_input_that_is_no_reference_is_missing_and_not_stored(world: World) -> None:
    settings = replace(drawn_with_both(world).settings, init_image=A_PICTURE, strength=0.5)
    assert [part.name for part in world.again(an_image(settings)).missing] == [A_PICTURE]
    assert not world.inputs._directory.exists()


# What cannot be made again


def test_what_is_no_picture_or_tells_nothing_is_refused(world: World, tmp_path: Path) -> None:
    for data, message in ((b"hello", "the file is no picture"), (PNG, "tells nothing"), (JPEG, "tells nothing")):
        with pytest.raises(InvalidRequest, match=message) as caught:
            world.remaker.of_file(data)
        assert "A1111" in (caught.value.hint or "")


def test_an_imported_picture_is_read_again_from_its_file(world: World, tmp_path: Path) -> None:
    file = tmp_path / "imported.png"
    file.write_bytes(text_png((RECORDED / "a1111.txt").read_text()))
    image = replace(an_image(Settings(**{**SETTINGS, "sampler": "unknown"})), job="", path=str(file))
    remake = world.again(image)
    assert remake == replace(world.remaker.of_file(file.read_bytes()), image=image.id)
    file.unlink()
    with pytest.raises(ImageNotFound, match=r"cannot be read: No such file"):
        world.again(image)


SETTINGS: dict[str, Any] = {
    "prompt": "a",
    "negative_prompt": "",
    "model": UsedModel(name="shapes", family="shapes"),
    "width": 64,
    "height": 64,
    "steps": 1,
    "cfg_scale": 2.0,
    "sampler": "euler",
    "scheduler": "discrete",
    "seed": 0,
}

WILD_TEXT = st.sampled_from(
    [
        "",
        " ",
        "\0",
        "a",
        "<lora:",
        "<LORA:x",
        "<<lora:x:1>lora:",
        "sd_cpp_extra_args",
        "x" * 20_001,
        "shapes",
        "../x",
        "x",
        "X",
        "/",
    ]
) | st.text(max_size=8)
WILD_NUMBER = st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 7, 63, 64, 65, 4096, 4097, 2**31, 2**31 - 1])
WILD_FLOAT = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 1.0, 8192 / 72, 10.1])
WILD_HASH = st.builds(
    Hash,
    kind=st.sampled_from(["sha256", "autov1", "autov2", "autov3", "blake3", "unknown"]),
    value=st.sampled_from(["e3b0c44298fc", "45dee52b", "0123456789", "a" * 64, "ab", sha256_of("x")]),
)


def named(known: Iterable[str]) -> st.SearchStrategy[Named | None]:
    return st.none() | st.builds(Named, written=WILD_TEXT, name=st.none() | st.sampled_from([*known]))


RECIPES = st.builds(
    Recipe,
    program=st.sampled_from(["a1111", "tsr", "comfyui"]),
    prompt=st.none() | WILD_TEXT,
    negative_prompt=st.none() | WILD_TEXT,
    model=st.none() | WILD_TEXT,
    model_hash=st.none() | WILD_HASH,
    model_version_id=st.none() | st.integers(1, 2**63 - 1),
    width=st.none() | WILD_NUMBER.filter(bool),
    height=st.none() | WILD_NUMBER.filter(bool),
    steps=st.none() | WILD_NUMBER.filter(bool),
    cfg_scale=st.none() | WILD_FLOAT,
    guidance=st.none() | WILD_FLOAT,
    sampler=named(SAMPLERS),
    scheduler=named(SCHEDULERS),
    seed=st.none() | WILD_NUMBER,
    clip_skip=st.none() | WILD_NUMBER.filter(bool),
    loras=st.lists(
        st.builds(RecipeLora, name=WILD_TEXT.filter(bool), weight=st.none() | WILD_FLOAT, hash=st.none() | WILD_HASH)
        | st.integers(0, 50).map(lambda number: RecipeLora(name=f"lora {number}")),
        max_size=40,
    ).map(tuple),
    strength=st.none() | WILD_FLOAT,
    hires=st.none()
    | st.builds(
        RecipeHires,
        scale=st.none() | WILD_FLOAT,
        upscaler=st.none() | WILD_TEXT,
        steps=st.none() | WILD_NUMBER.filter(bool),
        denoising_strength=st.none() | WILD_FLOAT,
    ),
)


def obeyed(world: World, remake: Remake) -> None:
    """It is a request that crosses the wire, and that is drawn but for what is missing."""
    assert msgspec.json.decode(msgspec.json.encode(remake), type=Remake) == remake
    gone = {remaker_module._called(part.name) for part in remake.missing if part.kind == "lora"}
    request = replace(
        remake.request,
        model="shapes",
        force=True,
        loras=tuple(lora for lora in remake.request.loras if lora.name not in gone),
    )
    if any(part.kind == "input" for part in remake.missing):
        request = replace(request, init_image=None, mask=None, strength=None)
    if not any(f"<lora:{name}:" in request.prompt for name in gone):
        world.resolved(request)


@given(recipe=RECIPES)
@hypothesis_settings(
    max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_whatever_a_recipe_says_the_request_is_valid(shared: World, recipe: Recipe) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remaker_module, "recipe_of", lambda data: recipe)
        remake = shared.remaker.of_file(PNG)
    obeyed(shared, remake)
    if recipe.seed is not None and recipe.seed > MAX_SEED:
        assert said(remake, "seed").now == str(remake.request.seed) == str(recipe.seed % 2**31)
    if recipe.sampler is None or not recipe.sampler.name:
        assert said(remake, "sampler").then == (recipe.sampler and recipe.sampler.written)
        assert remake.request.sampler is None


@given(
    prompt=WILD_TEXT,
    name=WILD_TEXT,
    number=WILD_NUMBER,
    value=WILD_FLOAT,
    text=WILD_TEXT,
    reference=WILD_TEXT | st.sampled_from(["sha256:" + "a" * 64, "sha256:..", A_PICTURE]),
)
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_record_of_ours_that_others_had_a_hand_in(
    shared: World, prompt: str, name: str, number: int, value: float, text: str, reference: str
) -> None:
    image = an_image(
        Settings(
            prompt=prompt,
            negative_prompt=text,
            model=UsedModel(name=name, family=text, sha256=text),
            width=number,
            height=64,
            steps=number,
            cfg_scale=value,
            sampler="euler",
            scheduler="discrete",
            seed=number,
            loras=(UsedLora(name=name, weight=value, autov3=text), UsedLora(name=text, weight=1)),
            init_image=reference,
            mask=reference,
            strength=value,
            tags=(text, name),
        )
    )
    obeyed(shared, shared.again(image))


def test_it_may_be_asked_from_many_threads(world: World) -> None:
    images = [drawn_with_both(world), world.drawn(GenerateRequest(prompt="b", model="a/twin"))]
    expected = [world.again(image) for image in images]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(world.again, images * 20))
    assert found == expected * 20


# Comparing


def spotted(change: Callable[[Any], None], kind: str = "PNG") -> bytes:
    with Pillow.open(io.BytesIO(picture(size=(10, 10)))) as opened:
        change(opened)
        out = io.BytesIO()
        opened.save(out, kind, lossless=True)
    return out.getvalue()


def test_pictures_are_compared_by_what_they_show() -> None:
    red = picture(size=(10, 10))
    assert compare(red, red) == Comparison(same_file=True, same_pixels=True, differing=0.0)
    other_file = spotted(lambda opened: None, "WEBP")
    assert compare(red, other_file) == Comparison(same_file=False, same_pixels=True, differing=0.0)
    two = spotted(lambda opened: (opened.putpixel((0, 0), (254, 0, 0)), opened.putpixel((9, 9), (255, 0, 1))))
    assert compare(red, two) == Comparison(same_file=False, same_pixels=False, differing=0.02)
    assert compare(red, picture(size=(10, 11))).differing == 1.0
    clear = picture((255, 0, 0, 0), (10, 10), "RGBA")
    assert compare(red, clear).differing == 1.0
    deep = picture(32768, (10, 10), "I;16")
    assert compare(deep, picture("white", (10, 10), "L")).differing == 1.0
    for broken in (b"hello", red[:50]):
        with pytest.raises(InvalidRequest, match="no whole PNG"):
            compare(red, broken)

"""Which of a version's or a repository's files are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from fake_civitai import recorded
from hypothesis import given
from hypothesis import strategies as st

from tensors.civitai.records import FileRecord, ModelRecord, VersionRecord, model_of, version_of
from tensors.downloads.choice import ANY, MOST_SHOWN, Choice, choose, choose_paths, file_with
from tensors.downloads.names import is_model_name
from tensors.downloads.targets import VersionTarget, read_target
from tensors.errors import DownloadRefused, InvalidRequest

MODELS: dict[int, ModelRecord] = {
    model["id"]: model_of(model) for model in (*recorded("models-page.json")["items"], recorded("model-1102.json"))
}
VERSIONS = [version for model in MODELS.values() for version in model.versions]
BY_ID = {version.id: version for version in VERSIONS}
SEVERAL = BY_ID[130072]
"""Four files of one stem: pruned and full, as safetensors and as pickles."""
PRUNED, PRUNED_PICKLE, FULL, FULL_PICKLE = 94298, 94297, 94301, 94300


def file(number: int, name: str | None = None, **fields: object) -> FileRecord:
    made = FileRecord(id=number, name=f"f{number}.safetensors" if name is None else name, type="Model", size=2_000_000)
    return replace(made, **fields)  # type: ignore[arg-type]


def ids(files: Sequence[FileRecord]) -> list[int]:
    return [one.id for one in files]


# --- CivitAI ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: str(version.id))
def test_of_every_recorded_version_the_best_model_is_taken_or_the_pickles_are_named(version: VersionRecord) -> None:
    usable = [one for one in version.files if one.format == "SafeTensor"]
    if usable:
        (chosen,) = choose(version.files)
        # People look at the primary one first, and in these it can always be used.
        assert chosen.primary
        assert chosen in usable
        assert set(choose(version.files, Choice(everything=True))) == set(usable)
        return
    with pytest.raises(DownloadRefused, match="nothing that can be used:\n") as refused:
        choose(version.files)
    assert all(one.name in refused.value.message for one in version.files)
    assert "a pickle (.ckpt, .pt, .bin) can run any code" in (refused.value.hint or "")


def test_pickles_are_refused_with_the_versions_that_have_another_file() -> None:
    newest, *others = MODELS[1102].versions
    with pytest.raises(DownloadRefused) as refused:
        choose(newest.files, others=others)
    assert refused.value.message == (
        "nothing that can be used:\n  196  synthwavepunk_v2.ckpt  (Model, PickleTensor, pruned, fp16, 2.13 GB)"
    )
    assert (refused.value.hint or "").endswith("; these versions have one: 1102@1292 (V3 Alpha)")
    assert refused.value.details["files"][0]["id"] == 196
    with pytest.raises(DownloadRefused) as refused:
        choose(version_of(recorded("model-version-1318.json")).files)
    assert (refused.value.hint or "").endswith("; another version may have one: tsr get MODEL")
    assert ids(choose(BY_ID[1292].files)) == [194]


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (Choice(), [PRUNED]),
        (Choice(size_kind="full"), [FULL]),
        (Choice(format="safetensors"), [PRUNED]),
        (Choice(format="SafeTensor", size_kind="FULL", precision="FP16", type="model"), [FULL]),
        (Choice(file=str(FULL)), [FULL]),
        (Choice(file="realisticVisionV60B1_v51VAE.safetensors"), [PRUNED]),
        (Choice(file="REALISTICvision*.SAFE*"), [PRUNED]),
        (Choice(file="*"), [PRUNED]),
        (Choice(file="*", size_kind="full"), [FULL]),
        (Choice(everything=True), [PRUNED, FULL]),
        (Choice(everything=True, size_kind="full"), [FULL]),
        (Choice(everything=True, file="*.safetensors"), [PRUNED, FULL]),
    ],
)
def test_what_is_said_narrows_the_choice(choice: Choice, chosen: list[int]) -> None:
    assert ids(choose(SEVERAL.files, choice)) == chosen


@pytest.mark.parametrize(
    "choice", [Choice(file=str(FULL_PICKLE)), Choice(file="*.ckpt"), Choice(format="PickleTensor")]
)
def test_a_pickle_is_refused_also_when_it_is_asked_for(choice: Choice) -> None:
    for wanted in (choice, replace(choice, everything=True)):
        with pytest.raises(DownloadRefused, match=r"realisticVisionV60B1_v51VAE\.ckpt  \(Model, PickleTensor"):
            choose(SEVERAL.files, wanted)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (Choice(precision="fp8"), "fp8"),
        (Choice(format="gguf", size_kind="full"), "gguf, full"),
        (Choice(file="other.safetensors"), "called 'other.safetensors'"),
        (Choice(file="5", everything=True), "called '5'"),
        (Choice(type="VAE"), "VAE"),
    ],
)
def test_where_nothing_fits_all_files_are_listed(choice: Choice, said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        choose(SEVERAL.files, choice)
    first, *lines = refused.value.message.splitlines()
    assert first == f"the version has no file {said}; it has"
    assert f"  {PRUNED}  realisticVisionV60B1_v51VAE.safetensors  (Model, SafeTensor, pruned, fp16, 2.13 GB)" in lines
    assert f"  {FULL_PICKLE}  realisticVisionV60B1_v51VAE.ckpt  (Model, PickleTensor, full, fp16, 4.27 GB)" in lines
    assert len(lines) == len(refused.value.details["files"]) == 4
    assert refused.value.hint == "name one with --file, by its number or its name"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: str(version.id))
def test_the_address_of_a_file_chooses_this_file(version: VersionRecord) -> None:
    for one in version.files:
        if one.format != "SafeTensor" or one.download_url is None:
            continue
        target = read_target(one.download_url, civitai_url="https://civitai.com", huggingface_url="https://hf.co")
        assert isinstance(target, VersionTarget)
        assert target.version == version.id
        assert choose(version.files, target.choice) == (one,)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (file(9), file(1, type="VAE", primary=True)),
        (file(9, type="Pruned Model"), file(1, type="Training Data")),
        (file(9), file(1, type=None)),
        (file(9, primary=True, size_kind="full", precision="fp32"), file(1, size_kind="pruned", precision="fp16")),
        (file(9, size_kind="pruned", precision="fp32"), file(1, size_kind="full", precision="fp16")),
        (file(9, precision="fp16"), file(1, precision="bf16")),
        (file(9, precision="bf16"), file(1, precision="fp32")),
        (file(9, precision="FP32"), file(1, precision="fp8")),
        (file(9, precision="fp8"), file(1, precision="nf4")),
        (file(9), file(1, "f1.gguf")),
        (file(1), file(9)),
    ],
)
@pytest.mark.parametrize("family", ["sdxl", None])
def test_of_two_files_the_better_one_is_taken(better: FileRecord, worse: FileRecord, family: str | None) -> None:
    assert choose([worse, better], family=family) == choose([better, worse], family=family) == (better,)


def test_families_that_were_trained_in_bf16_are_taken_in_it() -> None:
    files = [file(number, precision=name) for number, name in enumerate(("fp32", "fp8", "fp16", "bf16"), 1)]
    everything = Choice(everything=True)
    assert ids(choose(files, everything, family="flux")) == [4, 3, 2, 1]
    assert ids(choose(files, everything, family="sdxl")) == [3, 4, 1, 2]


def test_a_vae_is_no_stand_in_for_a_model_that_is_a_pickle() -> None:
    files = [file(1, "m.ckpt", format="PickleTensor"), file(2, "v.safetensors", type="VAE", format="SafeTensor")]
    with pytest.raises(DownloadRefused, match=r"^nothing that can be used:\n  1  m\.ckpt"):
        choose(files)
    with pytest.raises(InvalidRequest, match="no file safetensors; it has"):
        choose(files, Choice(format="safetensors"))
    assert ids(choose(files, Choice(type="vae"))) == ids(choose(files, Choice(file="v.*"))) == [2]
    assert ids(choose(files, Choice(everything=True))) == [2]
    assert ids(choose(files[1:])) == [2]
    assert ids(choose([file(1, type="VAE", primary=True), file(2)], Choice(everything=True))) == [2, 1]


def test_a_pattern_takes_the_best_of_each_name() -> None:
    files = [
        file(1, "a.gguf"),
        file(2, "b.gguf"),
        file(3, "A.gguf", primary=True),
        file(4, "c.zip"),
        file(5, "x[1].gguf"),
    ]
    assert ids(choose(files, Choice(file="[ab].*"))) == [3, 2]
    assert ids(choose(files, Choice(file="[ab].*", everything=True))) == [3, 1, 2]
    # A name with the signs of a pattern is a name first.
    assert ids(choose(files, Choice(file="x[1].gguf"))) == [5]


def test_a_file_is_known_by_its_name_rather_than_what_is_said_of_its_format() -> None:
    assert ids(choose([file(1, "m.gguf", format="Other")], Choice(format="gguf"))) == [1]
    assert ids(choose([file(1, "", format="SafeTensor")])) == [1]
    for odd in (file(1, "m.zip", format="SafeTensor"), file(1, "", format="PickleTensor"), file(1, "", format=None)):
        with pytest.raises(DownloadRefused):
            choose([odd])


def test_a_version_without_files_is_refused() -> None:
    with pytest.raises(DownloadRefused, match="CivitAI lists no files of this version"):
        choose([])


def test_names_of_others_stay_on_their_line_and_long_lists_are_cut() -> None:
    files = [file(number, f"{number}\n\x1b[2J\u202e.ckpt") for number in range(1, 31)]
    with pytest.raises(DownloadRefused) as refused:
        choose(files)
    lines = refused.value.message.splitlines()
    assert len(lines) == 1 + MOST_SHOWN + 1
    assert lines[1] == "  1  1??[2J?.ckpt  (Model, 2 MB)"
    assert lines[-1] == "  and 10 more"


def test_the_file_with_a_hash_is_found_whatever_its_kind() -> None:
    for kind, digest in SEVERAL.files[0].hashes:
        assert file_with(SEVERAL.files, digest) is SEVERAL.files[0], kind
    assert file_with(SEVERAL.files, "0" * 64) is None


WORDS = st.none() | st.sampled_from(
    ["fp16", "bf16", "fp8", "fp32", "pruned", "full", "VAE", "Model", "GGUF", "SafeTensor", ""]
)
FILES = st.lists(
    st.builds(
        FileRecord,
        id=st.integers(1, 99),
        name=st.text("ab*[].-", max_size=4).flatmap(
            lambda stem: st.sampled_from([f"{stem}.gguf", f"{stem}.ckpt", stem])
        ),
        type=WORDS,
        format=WORDS,
        size_kind=WORDS,
        precision=WORDS,
        primary=st.booleans(),
        size=st.none() | st.integers(0, 10**13),
    ),
    max_size=6,
    unique_by=lambda one: one.id,
)
CHOICES = st.builds(
    Choice,
    file=st.none() | st.text("ab*?[]!-z.guf1", max_size=6),
    precision=WORDS,
    format=WORDS,
    size_kind=WORDS,
    type=WORDS,
    everything=st.booleans(),
)


@given(FILES, CHOICES, st.sampled_from(["sdxl", "flux", None]))
def test_whatever_there_is_the_choice_can_be_used_and_does_not_hang_on_the_order(
    files: list[FileRecord], choice: Choice, family: str | None
) -> None:
    shuffled = sorted(files, key=lambda one: -one.id)
    try:
        chosen = choose(files, choice, family=family)
    except (InvalidRequest, DownloadRefused) as error:
        with pytest.raises(type(error)):
            choose(shuffled, choice, family=family)
        return
    assert chosen == choose(shuffled, choice, family=family)
    assert chosen
    assert all(is_model_name(one.name) or not one.name for one in chosen)
    assert len(chosen) == 1 or choice.everything or choice.file


# --- Hugging Face -----------------------------------------------------------------------------------------------------

README = {"README.md": 900, ".gitattributes": 5}
PIPELINE = {
    **README,
    "model_index.json": 500,
    "unet/diffusion_pytorch_model.safetensors": 5_000_000_000,
    "unet/diffusion_pytorch_model.fp16.safetensors": 2_500_000_000,
    "vae/diffusion_pytorch_model.safetensors": 300_000_000,
    "text_encoder/model.safetensors": 500_000_000,
    "text_encoder/pytorch_model.bin": 500_000_000,
}
SHARDS = {f"transformer/model-{number:05}-of-00003.safetensors": 4_000_000_000 for number in (1, 2, 3)}


@pytest.mark.parametrize(
    ("sizes", "choice", "below", "paths"),
    [
        ({**README, "x.safetensors": 5}, Choice(), None, ["x.safetensors"]),
        ({**README, "x.safetensors": None, "x.ckpt": 5}, Choice(), None, ["x.safetensors"]),
        ({"x-fp16.gguf": 5, "x-fp32.gguf": 9, "fp16/y-q8_0.gguf": 3}, Choice(precision="FP32"), None, ["x-fp32.gguf"]),
        ({"x-bf16.gguf": 5, "x_F16.gguf": 9}, Choice(precision="f16"), None, ["x_F16.gguf"]),
        ({"x-Q4_K_S.gguf": 5, "x-Q8_0.gguf": 9}, Choice(precision="q8_0"), None, ["x-Q8_0.gguf"]),
        ({"x_fp16_pruned.gguf": 5, "x_fp16.gguf": 9}, Choice(size_kind="pruned"), None, ["x_fp16_pruned.gguf"]),
        ({"x.gguf": 5, "x.safetensors": 9}, Choice(format="gguf"), None, ["x.gguf"]),
        ({"x.gguf": 5, "y/x.gguf": 9}, Choice(), "y/x.gguf", ["y/x.gguf"]),
        ({"x.gguf": 5, "y/z.gguf": 9, "yy.gguf": 1}, Choice(), "y", ["y/z.gguf"]),
        ({"x.gguf": 5, "y.gguf": 9, "z/y.gguf": 9}, Choice(file="X.gguf"), None, ["x.gguf"]),
        ({"x.gguf": 5, "y.gguf": 9, "z/y.gguf": 9}, Choice(file="z/Y.gguf"), None, ["z/y.gguf"]),
        ({"x.gguf": 5, "y.gguf": 9, "y.bin": 9}, Choice(file="y*"), None, ["y.gguf"]),
        ({"x.gguf": 5, "y.gguf": 9, "z/y.gguf": 9}, Choice(file="*y.gguf"), None, ["y.gguf", "z/y.gguf"]),
        ({"x.gguf": 5, "a.gguf": 9, "y.bin": 9}, Choice(everything=True), None, ["a.gguf", "x.gguf"]),
        ({**PIPELINE, "whole.safetensors": 7}, Choice(), None, ["whole.safetensors"]),
        (PIPELINE, Choice(), "vae", ["vae/diffusion_pytorch_model.safetensors"]),
        (PIPELINE, Choice(precision="fp16"), "unet", ["unet/diffusion_pytorch_model.fp16.safetensors"]),
        ({"model_index.json": 1, "vae/x.gguf": 5}, Choice(), None, ["vae/x.gguf"]),
        (PIPELINE, Choice(file="text_encoder/*"), None, ["text_encoder/model.safetensors"]),
        ({**SHARDS, "x.gguf": 5}, Choice(), None, ["x.gguf"]),
        ({**SHARDS, "x.gguf": 5}, Choice(file="*-of-*"), None, sorted(SHARDS)),
        (SHARDS, Choice(), min(SHARDS), [min(SHARDS)]),
        (SHARDS, Choice(file="model-00002-of-00003.safetensors"), None, [sorted(SHARDS)[1]]),
    ],
)  # fmt: skip
def test_the_files_of_a_repository(
    sizes: dict[str, int | None], choice: Choice, below: str | None, paths: list[str]
) -> None:
    assert list(choose_paths(sizes, choice, below=below)) == paths


def asked(sizes: dict[str, int | None] | dict[str, int], choice: Choice = ANY, below: str | None = None) -> str:
    with pytest.raises(InvalidRequest) as refused:
        choose_paths(sizes, choice, below=below)
    return refused.value.message


def test_of_several_files_a_person_chooses() -> None:
    sizes = {**README, "b.safetensors": 6_940_000_000, "a.gguf": None}
    with pytest.raises(InvalidRequest) as refused:
        choose_paths(sizes)
    assert refused.value.message == "which of these?\n  a.gguf\n  b.safetensors, 6.94 GB"
    assert refused.value.hint == "--file NAME chooses, also with a pattern such as 'vae/*'; --all takes all of them"
    assert refused.value.details == {
        "files": [{"path": "a.gguf", "size": None}, {"path": "b.safetensors", "size": 6_940_000_000}]
    }
    assert asked({"y.gguf": 9, "z/y.gguf": 9}, Choice(file="Y.gguf")).startswith("which of these?")


def test_the_folders_of_a_pipeline_and_parts_are_explained() -> None:
    message = asked({**PIPELINE, **SHARDS})
    assert "\n  transformer/model-*-of-00003.safetensors, 3 parts, 12 GB\n" in message
    assert "\n  vae/diffusion_pytorch_model.safetensors, 300 MB\n" in message
    assert "\nFiles in folders are the components of a diffusers pipeline, each a model of its own kind." in message
    assert message.endswith("\nWhat is in parts (-*-of-) is one model cut up; tsr works with models of one file.")
    # One component of many is no model, also when it is the only one in fp16.
    assert asked(PIPELINE, Choice(precision="fp16")).startswith("there are only parts of models:\n  unet/diffusion_")
    assert "pipeline" not in asked({"a/x.gguf": 1, "b/x.gguf": 1})
    assert asked(SHARDS).startswith(
        "there are only parts of models:\n  transformer/model-*-of-00003.safetensors, 3 parts"
    )
    assert asked({"x/model_index.json": 1, **{f"x/{path}": size for path, size in PIPELINE.items()}}, below="x")


@pytest.mark.parametrize(
    ("choice", "below", "message"),
    [
        (Choice(file="z.gguf"), None, "the repository has no file called 'z.gguf'; it has\n  x.gguf, 5 B"),
        (Choice(format="safetensors"), None, "the repository has no file safetensors; it has\n  x.gguf, 5 B"),
        (Choice(), "sub", "the repository has nothing called 'sub'; it has\n  x.gguf, 5 B"),
    ],
)
def test_what_a_repository_has_instead_is_listed(choice: Choice, below: str | None, message: str) -> None:
    assert asked({**README, "x.gguf": 5}, choice, below) == message


@pytest.mark.parametrize(
    ("sizes", "choice", "below", "listed"),
    [
        (README, Choice(), None, ""),
        ({}, Choice(), None, ""),
        (README, Choice(file="x.gguf"), None, ""),
        ({**README, "x.bin": 5, "y/z.ckpt": 6}, Choice(), None, "\n  x.bin\n  y/z.ckpt"),
        ({"x.bin": 5, "y.gguf": 6}, Choice(file="x.*"), None, "\n  x.bin"),
        ({"x.bin": 5, "y.gguf": 6}, Choice(), "x.bin", "\n  x.bin"),
        ({"../x.gguf": 5, "a/../../x.gguf": 6, "/x.gguf": 7, "x\n.gguf": 8}, Choice(everything=True), None, ""),
    ],
)
def test_a_repository_without_a_model_that_can_be_used_is_refused(
    sizes: dict[str, int | None], choice: Choice, below: str | None, listed: str
) -> None:
    with pytest.raises(DownloadRefused) as refused:
        choose_paths(sizes, choice, below=below)
    assert refused.value.message == f"there is no model file that can be used{listed}"
    assert "can run any code" in (refused.value.hint or "")

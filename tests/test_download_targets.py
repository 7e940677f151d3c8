"""What can be downloaded, as people write it and paste it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tensors.downloads.choice import Choice
from tensors.downloads.targets import (
    FORMS,
    HashTarget,
    ModelTarget,
    RepoTarget,
    Target,
    VersionTarget,
    read_hash,
    read_target,
)
from tensors.errors import InvalidRequest
from tensors.references import read_reference

CIVITAI = "https://civitai.com"
HUGGING_FACE = "https://huggingface.co"
SHA256 = "7c819b6d13663ed720c2254f4fe18373107dfef2448d337913c8fc545640881e"
COMMIT = "462165984030d82259a11f4367a4eed129e94a7b"


def read(text: str) -> Target:
    return read_target(text, civitai_url=CIVITAI, huggingface_url=HUGGING_FACE)


def refusal(text: str) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        read(text)
    return caught.value


# --- CivitAI ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("1102", ModelTarget(1102)),
        (" 1102@1318\n", ModelTarget(1102, 1318)),
        ("civitai:1102", ModelTarget(1102)),
        ("civitai:1102@1318", ModelTarget(1102, 1318)),
        ("urn:air:sdxl:lora:civitai:1102@1318", ModelTarget(1102, 1318)),
        ("URN:AIR:sdxl:lora:CivitAI:1102@1318+55", ModelTarget(1102, 1318, 55)),
        ("civitai:1102+55", ModelTarget(1102, None, 55)),
        ("urn:air:a+7:lora:civitai:1102", ModelTarget(1102)),
        ("https://civitai.com/models/1102", ModelTarget(1102)),
        ("civitai.com/models/1102/some-name/", ModelTarget(1102)),
        ("http://www.civitai.red/models/1102/n?modelVersionId=1318#comments", ModelTarget(1102, 1318)),
        ("HTTPS://CivitAI.green:443/models/1102?dialog=x&modelVersionId=1318", ModelTarget(1102, 1318)),
        ("https://civitai.com/models/1102?modelVersionId=5&modelVersionId=5", ModelTarget(1102, 5)),
        ("https://civitai.com/models/1102?modelVersionId=1318&token=SECRET", ModelTarget(1102, 1318)),
        ("https://civitai.com/api/v1/models/1102", ModelTarget(1102)),
        ("https://civitai.com/model-versions/1318", VersionTarget(1318)),
        ("https://civitai.com/api/v1/model-versions/1318/", VersionTarget(1318)),
        ("https://civitai.com/api/v1/model-versions/mini/1318", VersionTarget(1318)),
        ("https://civitai.com/api/download/models/1318", VersionTarget(1318)),
        ("https://civitai.com/api/download/models/1318?token=SECRET", VersionTarget(1318)),
        (
            "https://api.civitai.com/api/download/models/6987?type=Pruned%20Model&format=PickleTensor&size=pruned&fp=fp16",
            VersionTarget(
                6987, Choice(type="Pruned Model", format="PickleTensor", size_kind="pruned", precision="fp16")
            ),
        ),
        (
            "https://civitai.com/api/download/models/1318?fileId=55&token=SECRET&fp=bf16",
            VersionTarget(1318, Choice(file="55", precision="bf16")),
        ),
        (f"https://civitai.com/api/v1/model-versions/by-hash/{SHA256.upper()}", HashTarget(SHA256)),
    ],
)
def test_what_names_something_on_civitai(text: str, target: Target) -> None:
    assert read(text) == target
    assert "SECRET" not in repr(target) + str(target)


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "0", "-1", "1102@", "@1318", "1102@0", "1102@x", "1.5", "11 02", "1" * 16, "\u0661", "1102+0"),
        *(
            "urn:air:sdxl:lora:1102",
            "urn:air:sdxl:lora:other:1102@1318",
            "civitai:",
            "civitai:x",
            "1102@1318+" + "9" * 16,
        ),
        *("https://civitai.com", "https://civitai.com/models/", "https://civitai.com/models/1102abc"),
        *("https://civitai.com/images/1102", "https://civitai.com//models/1102", "https://civitai.com/models/%31102"),
        "https://civitai.com/models/1102?modelVersionId=x",
        "https://civitai.com/models/1102?modelVersionId=5&modelVersionId=6",
        "https://civitai.com/models/1102?" + "x=1&" * 200,
        "https://civitai.com/api/download/models/x",
        "https://civitai.com/api/download/models/1318/x",
        "https://civitai.com/api/download/models/1318?fp=fp16%0d%0ax",
        "https://civitai.com/api/download/models/1318?type=" + "x" * 40,
        "https://civitai.com/api/v1/model-versions/by-hash/xyz",
        *(
            "https://civitai.com.example.com/models/1102",
            "https://example.com/models/1102",
            "https://civitai.xyz/models/1",
        ),
        *("https://civitai.com@example.com/models/1102", "https://me:SECRET@civitai.com/models/1102"),
        *("https://civitai.com:8080/models/1102", "https://civitai.com:x/models/1102", "https://[::1/models/1102"),
        *("ftp://civitai.com/models/1102", "file:///models/1102", "//civitai.com/models/1102", "https:///models/1102"),
        *(
            "https://civitai.com/models/1102 x",
            "https://civitai.com/mod\nels/1102",
            "https://civitai.com/models/1102\0",
        ),
        "https://civitai.com/models/1102?" + "x" * 5000,
    ],
)
def test_what_names_nothing_is_refused_with_all_the_forms(text: str) -> None:
    error = refusal(text)
    assert error.message.endswith(" is nothing that can be downloaded")
    assert error.hint == f"what is understood: {FORMS}; a version's number goes with -v, a hash with -H"
    assert len(error.message) < 800


# --- Hugging Face -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("hf:org/repo", RepoTarget("org/repo")),
        ("HF:org/repo/", RepoTarget("org/repo")),
        ("huggingface:org/re.po_-1", RepoTarget("org/re.po_-1")),
        ("hf:org/repo/file.safetensors", RepoTarget("org/repo", path="file.safetensors")),
        ("hf:org/repo/path/to/my file@2x.gguf", RepoTarget("org/repo", path="path/to/my file@2x.gguf")),
        ("hf:org/repo@v1.0/vae", RepoTarget("org/repo", "v1.0", "vae")),
        (f"hf:org/repo@{COMMIT}", RepoTarget("org/repo", COMMIT)),
        ("hf:org/repo@refs/pr/12/x.gguf", RepoTarget("org/repo", "refs/pr/12", "x.gguf")),
        ("hf:org/repo@feature%2Fx/x.gguf", RepoTarget("org/repo", "feature/x", "x.gguf")),
        ("hf:gpt2", RepoTarget("gpt2")),
        ("hf:gpt2@main/x.gguf", RepoTarget("gpt2", path="x.gguf")),
        ("hf:org/repo/x.gguf?download=true&token=SECRET", RepoTarget("org/repo", path="x.gguf")),
        ("urn:air:flux1:checkpoint:huggingface:org/repo", RepoTarget("org/repo")),
        ("urn:air:model:huggingface:org/repo@v1", RepoTarget("org/repo", "v1")),
        ("https://huggingface.co/org/repo", RepoTarget("org/repo")),
        ("hf.co/org/repo/", RepoTarget("org/repo")),
        ("https://huggingface.co/gpt2", RepoTarget("gpt2")),
        ("https://huggingface.co/gpt2/blob/main/x.gguf", RepoTarget("gpt2", path="x.gguf")),
        ("https://huggingface.co/org/repo/tree/main", RepoTarget("org/repo")),
        ("https://huggingface.co/org/repo/tree/v1/sub/folder", RepoTarget("org/repo", "v1", "sub/folder")),
        ("https://huggingface.co/org/repo/blob/main/a%20b.gguf#x", RepoTarget("org/repo", path="a b.gguf")),
        (
            f"https://huggingface.co/org/repo/resolve/{COMMIT}/vae/x.gguf?download=true&token=SECRET",
            RepoTarget("org/repo", COMMIT, "vae/x.gguf"),
        ),
        ("https://huggingface.co/org/repo/blob/refs%2Fpr%2F1/x.gguf", RepoTarget("org/repo", "refs/pr/1", "x.gguf")),
        ("https://huggingface.co/org/repo/tree/refs/pr/1", RepoTarget("org/repo", "refs/pr/1")),
        ("https://huggingface.co/api/models/org/repo", RepoTarget("org/repo")),
        ("https://huggingface.co/api/models/org/repo/revision/v1", RepoTarget("org/repo", "v1")),
    ],
)
def test_what_names_something_on_hugging_face(text: str, target: Target) -> None:
    assert read(text) == target
    assert "SECRET" not in repr(target) + str(target)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "hf:",
            "hf:/",
            "hf:org/-x",
            "hf:/org/repo",
            "hf://org/repo",
            "hf:-org/repo",
            "hf:org/..",
            "hf:org/repo@",
            "hf:org/repo@/x",
        ),
        *("hf:org/repo/..", "hf:org/repo/../x.gguf", "hf:org/repo/a/../../x", "hf:org/repo/a//b", "hf:org/repo/./x"),
        *("hf:org/repo/a\\b.gguf", "hf:org/repo/a\nb.gguf", "hf:org/repo/a\u202eb", "hf:org/repo//etc/passwd"),
        *(
            "hf:org/repo@../x",
            "hf:org/repo@a%2F..%2F..%2Fb/x",
            "hf:org/repo@-x",
            "hf:org/repo@a%00",
            "hf:org/repo@%2Fa/x",
        ),
        *("hf:datasets/org/x", "https://huggingface.co/datasets/org/name", "https://huggingface.co/spaces/org/name"),
        *("https://huggingface.co", "https://huggingface.co/models", "https://huggingface.co/org/repo/discussions/5"),
        "https://huggingface.co/org/repo/resolve/main/..%2f..%2fx.gguf",
        "https://huggingface.co/org/repo/resolve/main/a%0ab.gguf",
        "https://huggingface.co/org/repo/resolve/main/a%5cb.gguf",
        "https://huggingface.co/org/repo/resolve/main/a%3Ftoken=SECRET",
        "https://huggingface.co/org/repo/resolve/main/a%ff.gguf",
        "https://huggingface.co/org/repo/resolve/../../x",
        "https://user:SECRET@huggingface.co/org/repo",
        "https://huggingface.co.example.com/org/repo",
        "https://cdn-lfs.huggingface.co/org/repo",
    ],
)
def test_paths_that_leave_a_repository_and_other_pages_are_refused(text: str) -> None:
    error = refusal(text)
    assert error.hint is not None
    assert FORMS in error.hint
    assert "SECRET" not in error.message + error.hint


# --- both -------------------------------------------------------------------------------------------------------------


def test_the_addresses_of_configured_mirrors_are_understood_beside_the_usual_ones() -> None:
    def at(text: str) -> Target:
        return read_target(
            text, civitai_url="http://127.0.0.1:8123/civitai/", huggingface_url="http://127.0.0.1:8123/hf"
        )

    assert at("http://127.0.0.1:8123/civitai/models/1102") == ModelTarget(1102)
    assert at("127.0.0.1:8123/civitai/api/download/models/5?fp=fp16") == VersionTarget(5, Choice(precision="fp16"))
    assert at("http://127.0.0.1:8123/hf/org/repo/blob/main/x.gguf") == RepoTarget("org/repo", path="x.gguf")
    assert at("https://civitai.com/models/1102") == ModelTarget(1102)
    assert at("https://huggingface.co/org/repo") == RepoTarget("org/repo")
    for other in ("http://127.0.0.1:8124/civitai/models/1102", "http://127.0.0.1/civitai/models/1102"):
        with pytest.raises(InvalidRequest):
            at(other)
    for other in ("http://127.0.0.1:8123/models/1102", "http://127.0.0.1:8123/civitais/models/1102"):
        with pytest.raises(InvalidRequest):
            at(other)


@pytest.mark.parametrize("digits", [8, 10, 12, 64])
def test_a_hash_is_read_in_any_case(digits: int) -> None:
    digest = SHA256[:digits]
    assert read_hash(f" {digest.upper()}\n") == digest
    assert refusal(digest).hint == f"a hash is given with -H: tsr dl -H {digest}"


@pytest.mark.parametrize(
    "text", ["", "abc", "g" * 64, SHA256[:9], SHA256 + "0", "0x" + SHA256[:8], SHA256[:40], "\u0661" * 8]
)
def test_what_is_no_hash_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="is no hash of a file") as refused:
        read_hash(text)
    assert refused.value.hint == (
        "a hash has 8 (AutoV1, CRC32), 10 (AutoV2), 12 (AutoV3) or 64 (SHA256, BLAKE3) hexadecimal digits"
    )


def test_a_repository_without_its_site_is_told_how_to_write_it() -> None:
    assert (refusal("org/repo").hint or "").startswith("of Hugging Face it is hf:org/repo; ")


numbers = st.integers(1, 10**15 - 1)
words = st.none() | st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,20}", fullmatch=True)
part = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\?#\ufffd"), min_size=1, max_size=12)
paths = st.lists(part.filter(lambda text: text not in (".", "..")), min_size=1, max_size=4).map("/".join)
plain = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
repos = (plain | st.tuples(plain, plain).map("/".join)).filter(lambda repo: read_or_none(f"hf:{repo}") is not None)
revisions = st.just("main") | st.lists(plain.filter(lambda text: ".." not in text), min_size=1, max_size=3).map(
    "/".join
)
targets = st.one_of(
    st.builds(ModelTarget, numbers, st.none() | numbers, st.none() | numbers),
    st.builds(
        VersionTarget,
        numbers,
        st.builds(Choice, file=words, precision=words, format=words, size_kind=words, type=words),
    ),
    st.builds(RepoTarget, repos, revisions, st.none() | paths),
)


def read_or_none(text: str) -> Target | None:
    try:
        return read(text)
    except InvalidRequest:
        return None


@given(targets)
@example(RepoTarget("org/repo", "refs/pr/1", "a@b/c"))
@example(RepoTarget("gpt2", "main", "org/x"))
def test_a_target_is_read_as_it_is_written(target: Target) -> None:
    assert read(str(target)) == target


@given(repos.filter(lambda repo: "/" in repo), revisions, paths)
def test_a_page_of_a_file_is_read_whatever_its_name(repo: str, revision: str, path: str) -> None:
    address = f"https://huggingface.co/{repo}/resolve/{quote(revision, safe='')}/{quote(path)}?download=true"
    assert read(address) == RepoTarget(repo, revision, path)


def said_of(text: str) -> str:
    """All that is said of what was typed, one way or the other."""
    try:
        target = read(text)
    except InvalidRequest as error:
        return f"{error.message} {error.hint} {error.details}"
    return f"{target} {target!r}"


pieces = st.sampled_from(
    [
        *("https://", "http://", "//", "civitai.com", "huggingface.co", "/models/", "/api/download/models/", "1102"),
        *(
            "@",
            ":",
            "/",
            "?",
            "#",
            "&",
            ";",
            "%3F",
            "%26",
            "hf:",
            "org/repo",
            "/blob/main/",
            "urn:air:a:b:",
            "..",
            "%2e%2e",
        ),
        *("modelVersionId=", "type=", "fp=", "x", " ", "\n", "user:pw", "civitai:", "by-hash/", "\\"),
    ]
)


@given(st.lists(pieces | st.text(max_size=4), max_size=8).map("".join), st.text(max_size=6))
@example("https://civitai.com/models/1102&", "")
@example("https://civitai.com/api/download/models/1?fp=fp16;", "")
def test_no_key_of_a_pasted_address_is_ever_repeated(before: str, after: str) -> None:
    assert "S3CR3T" not in said_of(f"{before}?token=S3CR3T{after}")


@pytest.mark.parametrize("joint", ["&", ";", "#", "%3F", "%26", "/", ""])
def test_a_key_behind_a_wrong_sign_is_not_repeated_in_a_message(joint: str) -> None:
    for page in ("https://civitai.com/models/x", "https://huggingface.co/org/repo/blob/main/x", "hf:org/repo/x"):
        assert "S3CR3T" not in said_of(f"{page}{joint}token=S3CR3T")
    if joint not in ("/", ""):
        assert refusal(f"https://civitai.com/x{joint}key=S3CR3T").message.startswith("'https://civitai.com/x' is")
    assert "S3CR3T" not in refusal("https://user:S3CR3T@civitai.com/models/1").message
    assert "S3CR3T" not in refusal("https://user:a?b#S3CR3T@civitai.com/models/1").message


@given(st.text(max_size=30) | st.lists(pieces | st.text(max_size=4), max_size=10).map("".join))
def test_whatever_is_typed_is_a_target_or_refused(text: str) -> None:
    target = read_or_none(text)
    if isinstance(target, RepoTarget):
        assert ".." not in f"{target.path}/{target.revision}".split("/")
    if isinstance(target, ModelTarget):
        assert target.model > 0
        if reference := read_reference(text):
            assert (target.model, target.version) == reference

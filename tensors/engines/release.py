"""sd-server as upstream publishes it: the latest release, and a file of it, checked and unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from tensors.decoding import NOT_THAT_JSON
from tensors.engines.archive import unpack_zip
from tensors.engines.binary import PROGRAM, EngineBinary
from tensors.engines.progress import InstallProgress, Report
from tensors.errors import ConfigError, EngineInstallFailed

if TYPE_CHECKING:
    import httpx

MAX_ASSET_BYTES = 4 * 1024**3
_MAX_LISTING_BYTES = 4 * 1024**2
_MAX_REDIRECTS = 5
_CHUNK = 1024 * 1024
_OTHERWISE = "tsr engine install --source build makes one from source"

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class Asset(msgspec.Struct, frozen=True):
    """One file of a release."""

    name: str
    browser_download_url: str
    size: int
    digest: str | None = None


class Release(msgspec.Struct, frozen=True):
    """A release, in the form of GitHub's API."""

    tag_name: str
    assets: list[Asset]

    def asset(self, name: str) -> Asset:
        """The file of that name."""
        return next(asset for asset in self.assets if asset.name == name)


class ReleaseHost:
    """Where releases are listed and downloaded. Every method raises `EngineInstallFailed` when it does not succeed.

    Raises `ConfigError` for a URL that is not safe to load programs from.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        scheme, self._host = _scheme_and_host(url)
        self._plain = scheme == "http"
        if not self._host or scheme not in ("http", "https") or (self._plain and not _is_near(self._host)):
            raise ConfigError(
                f"api.engine_release_url is {url!r}, which is neither https nor http in the own network",
                hint="tsr config unset api.engine_release_url",
            )

    def latest(self) -> Release:
        """The latest release."""
        with self._get(self._url, "application/json") as response:
            body = b"".join(_at_most(response, _MAX_LISTING_BYTES))
        try:
            release = msgspec.json.decode(body, type=Release)
        except NOT_THAT_JSON as error:
            raise EngineInstallFailed(
                f"{self._url} answered with no list of releases: {error}", hint=_OTHERWISE
            ) from error
        if not _TAG.fullmatch(release.tag_name):
            raise EngineInstallFailed(f"{self._url} names its release {release.tag_name!r}: refused", hint=_OTHERWISE)
        return release

    def download(self, asset: Asset, target: Path, report: Report) -> None:
        """Write a file to `target`; when this returns, its size and SHA256 are what the release says."""
        digest = _DIGEST.fullmatch(asset.digest or "")
        if digest is None:
            raise EngineInstallFailed(f"{asset.name} has no SHA256 in the release: refused", hint=_OTHERWISE)
        if not 0 < asset.size <= MAX_ASSET_BYTES:
            raise EngineInstallFailed(f"{asset.name} has {asset.size:,} bytes: refused", hint=_OTHERWISE)
        free = shutil.disk_usage(target.parent).free
        if asset.size > free:
            raise EngineInstallFailed(f"{asset.name} has {asset.size:,} bytes and the disk has {free:,} free")
        found = self._stream(asset, target, report)
        if found != digest[1]:
            raise EngineInstallFailed(
                f"{asset.name} has the SHA256 {found} and not the {digest[1]} of the release: thrown away",
                hint=_OTHERWISE,
            )

    def _stream(self, asset: Asset, target: Path, report: Report) -> str:
        """Write a file and return its SHA256."""
        summed = hashlib.sha256()
        done, told = 0, -1
        with self._get(asset.browser_download_url, "application/octet-stream") as response, target.open("xb") as file:
            for chunk in _at_most(response, asset.size):
                summed.update(chunk)
                file.write(chunk)
                done += len(chunk)
                if (percent := done * 100 // asset.size) > told:
                    told = percent
                    report(
                        InstallProgress("downloading", done / asset.size, f"{asset.name}, {asset.size / 1e6:.1f} MB")
                    )
        if done != asset.size:
            raise EngineInstallFailed(f"{asset.name} ended after {done:,} of {asset.size:,} bytes", hint=_OTHERWISE)
        return summed.hexdigest()

    @contextlib.contextmanager
    def _get(self, url: str, kind: str) -> Iterator[httpx.Response]:
        """A successful answer, after redirects that lead nowhere less safe."""
        import httpx

        headers = {"Accept": kind, "Accept-Encoding": "identity", "User-Agent": "tsr"}
        try:
            # A proxy is for the world outside.
            client = httpx.Client(headers=headers, timeout=httpx.Timeout(60, connect=15), trust_env=not self._plain)
        except (OSError, ValueError, ImportError) as error:
            raise EngineInstallFailed(f"the proxy or certificate settings cannot be used: {error}") from error
        try:
            with client:
                for _ in range(_MAX_REDIRECTS + 1):
                    self._check(url)
                    with client.stream("GET", url) as response:
                        if response.is_redirect:
                            url = str(response.url.join(response.headers["location"]))
                            continue
                        if not response.is_success:
                            raise _refused(url, response)
                        yield response
                        return
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise EngineInstallFailed(f"{url} cannot be reached: {reason}", hint=_OTHERWISE) from error
        raise EngineInstallFailed(f"{self._url} leads from one redirect to the next", hint=_OTHERWISE)

    def _check(self, url: str) -> None:
        """https goes anywhere. Plain http only if we began with it, and then to the same host or this machine."""
        scheme, host = _scheme_and_host(url)
        if scheme == "https" and host:
            return
        if scheme == "http" and self._plain and (host == self._host or _is_loopback(host)):
            return
        raise EngineInstallFailed(f"the release leads to {url}, which is not https: refused", hint=_OTHERWISE)


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname or ""
    except ValueError:
        return "", ""


def _refused(url: str, response: httpx.Response) -> EngineInstallFailed:
    said = f"{url} answered {response.status_code} {response.reason_phrase}".rstrip()
    if response.status_code in (403, 429):
        said += "; GitHub does so after 60 requests an hour from one address"
        return EngineInstallFailed(said, hint=f"try again in an hour; or {_OTHERWISE}")
    return EngineInstallFailed(said, hint=_OTHERWISE)


def _at_most(response: httpx.Response, limit: int) -> Iterator[bytes]:
    """The body in pieces. Raises `EngineInstallFailed` as soon as it is longer than `limit` bytes."""
    total = 0
    for chunk in response.iter_raw(_CHUNK):
        total += len(chunk)
        if total > limit:
            raise EngineInstallFailed(f"{response.url} sends more than the {limit:,} bytes it may", hint=_OTHERWISE)
        yield chunk


def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise EngineInstallFailed(f"the host {host!r} is not known: {error}", hint=_OTHERWISE) from error
    return [ipaddress.ip_address(address.partition("%")[0]) for address in found]


def _is_near(host: str) -> bool:
    return all(address.is_private for address in _addresses(host))


def _is_loopback(host: str) -> bool:
    return all(address.is_loopback for address in _addresses(host))


def fetch_engine(
    host: ReleaseHost, release: Release, name: str, accelerator: str, workspace: Path, report: Report
) -> EngineBinary:
    """Download and unpack one file of a release into `workspace`, where the engine then lies in a folder of its own.

    Raises `EngineInstallFailed`, with `workspace` as it was.
    """
    archive, folder = workspace / "release.zip", workspace / "unpacked"
    try:
        host.download(release.asset(name), archive, report)
        report(InstallProgress("unpacking", None, name))
        folder.mkdir()
        unpack_zip(archive, folder)
        binary = _server_in(folder, name)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        archive.unlink(missing_ok=True)
    return EngineBinary(
        name=f"{release.tag_name}-release-{accelerator}",
        version=release.tag_name,
        source="release",
        path=binary,
        accelerator=accelerator,
    )


def _server_in(folder: Path, name: str) -> Path:
    """The server in an unpacked release, wherever it lies in it."""
    found = sorted((path for path in folder.rglob(PROGRAM) if path.is_file()), key=lambda path: len(path.parts))
    if not found:
        raise EngineInstallFailed(f"{name} has no {PROGRAM} in it", hint=_OTHERWISE)
    found[0].chmod(0o755)
    return found[0]

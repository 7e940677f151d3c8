"""Where bytes may come from: hosts that are known, and no address inside somebody's network.

A redirect is somebody else's word. It may lead to hosts of CivitAI, of Hugging Face and of the storage they use, or to
those the owner listed, over https. A host is resolved once, and what was checked is what is connected to: a name that
changes its address between the two (DNS rebinding) gains nothing. Through a proxy it is the proxy that resolves names:
there, one that is known to lead inside is refused, and one that this machine cannot resolve is not.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from tensors.downloads.tunnel import proxy_for_file
from tensors.errors import DownloadRefused
from tensors.proxies import Proxy

KNOWN_HOSTS = (
    *("civitai.com", "*.civitai.com", "civitai.red", "*.civitai.red", "civitai.green", "*.civitai.green"),
    *("*.r2.cloudflarestorage.com", "*.backblazeb2.com"),
    *("huggingface.co", "*.huggingface.co", "hf.co", "*.hf.co"),
)
"""CivitAI, Hugging Face, and where they keep files. `*.hf.co` does not mean `hf.co`."""

SETTING = "api.allowed_download_hosts"
_TRANSLATED = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))
"""NAT64 (RFC 6052) and what went before it (RFC 4291, 2.5.5.1): the last 32 bits are an IPv4 address."""
PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9_-]{1,63}"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*|[0-9a-f.]*:[0-9a-f:.]*(%[\w.-]+)?")
"""A name, an IPv4 or an IPv6 address: no word of it can end a line or a name when it is told to a proxy."""

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a host. Raises `OSError`."""


@dataclass(frozen=True, slots=True)
class Route:
    """A checked way to a file."""

    scheme: str
    host: str
    port: int
    target: str
    """Path and query."""
    addresses: tuple[str, ...]
    """IP addresses of the host, at least one; none through a proxy, which resolves names itself."""
    own: bool
    """Whether this is the site that was configured: only it may see the key."""
    proxy: Proxy | None = None


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, by the system; at least one. Raises `OSError`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"{host} is no name of a host") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Knows which URLs may be asked for a file of one site."""

    def __init__(self, base_url: str, allowed_hosts: Sequence[str] = (), *, resolve: Resolve = resolve) -> None:
        """`base_url`: the site as configured; it is allowed whatever its address, but no other port of its host.
        `allowed_hosts`: more host names or patterns such as `*.example.org`, on any address, with http too."""
        self._own = _parts(base_url)
        self._allowed = tuple(pattern.lower().rstrip(".") for pattern in allowed_hosts)
        self._resolve = resolve
        self._unknown: set[str] = set()

    def route(self, url: str) -> Route:
        """The way to a URL. Raises `DownloadRefused` where it must not lead, `OSError` when a host is not found."""
        scheme, host, port = _parts(url)
        own = (scheme, host, port) == self._own
        trusted = own or _listed(host, self._allowed)
        if scheme not in PORTS or not host:
            raise DownloadRefused(f"the download leads to {shown(url)}, which is not https: refused")
        if not trusted and not _listed(host, KNOWN_HOSTS):
            raise DownloadRefused(
                f"the download leads to {host}, which is no known host of models: refused",
                hint=f"if that is right: tsr config set {SETTING} {host}",
            )
        if scheme == "http" and not trusted:
            raise DownloadRefused(f"the download leads to {shown(url)}, which is not https: refused")
        proxy = proxy_for_file(scheme, host, port)
        addresses = tuple(self._resolve(host, port)) if proxy is None else ()
        inside = [address for address in addresses if not _is_public(address)]
        if proxy is not None and not trusted:
            inside = self._known_inside(host, port)
        if inside and not trusted:
            raise DownloadRefused(
                f"the download leads to {host}, whose address {inside[0]} is inside a private network: refused",
                hint=f"if that is right: tsr config set {SETTING} {host}",
            )
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Route(scheme, host, port, target, addresses, own, proxy)

    def _known_inside(self, host: str, port: int) -> list[str]:
        """The addresses of a host, when all that this machine knows of are private ones."""
        # Behind a proxy there may be no DNS for the world outside, and waiting for it is not done twice.
        if host in self._unknown:
            return []
        try:
            addresses = self._resolve(host, port)
        except OSError:
            self._unknown.add(host)
            return []
        return [] if any(map(_is_public, addresses)) else list(addresses)


def shown(url: str) -> str:
    """A URL for messages and logs: without its query, where signatures are, and without a password."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    text = f"{parts.scheme}://{host}{port}{parts.path}"
    return "".join(character if character.isprintable() else "?" for character in text[:200])


def _parts(url: str) -> tuple[str, str, int]:
    """Scheme, host and port; nothing where it cannot be read, which no rule lets through."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".").lower()
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError:
        return "", "", 0
    if parts.username is not None or parts.password is not None or not url.isascii() or not url.isprintable():
        return "", "", 0
    if not _HOST.fullmatch(host):
        return "", "", 0
    return parts.scheme, host, port


def _listed(host: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(host, pattern) for pattern in patterns)


def _is_public(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    # `is_global` leaves out private, loopback, link-local, shared and reserved ones; multicast it does not.
    if not found.is_global or found.is_multicast:
        return False
    return isinstance(found, ipaddress.IPv4Address) or all(map(_is_public, _inside(found)))


def _inside(address: ipaddress.IPv6Address) -> Iterator[str]:
    """IPv4 addresses that an IPv6 address leads to, by translation or in a tunnel."""
    if address.ipv4_mapped:
        yield str(address.ipv4_mapped)
    if address.sixtofour:
        yield str(address.sixtofour)
    if any(address in network for network in _TRANSLATED):
        yield str(ipaddress.IPv4Address(address.packed[-4:]))

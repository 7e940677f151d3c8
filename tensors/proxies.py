"""Proxies that the environment names, for lookups and for files alike.

`HTTP_PROXY` and `HTTPS_PROXY` are for the scheme of what is asked, `ALL_PROXY` for either, `NO_PROXY` for what is asked
directly; small letters win. The rules of `NO_PROXY` are curl's, with httpx's ports and schemes added. httpx itself
knows no networks there (10.0.0.0/8), so it is told the way and does not look for one.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_NAME_AND_PORT = re.compile(r"\[(?P<inner>[^\]]*)\](:(?P<its>\d+))?|(?P<name>[^:]*):(?P<port>\d+)")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. As a text it is fit for messages."""

    scheme: str
    """`http`, `https`, `socks5` or `socks5h`."""
    host: str
    port: int
    user: str | None = field(default=None, repr=False)
    password: str = field(default="", repr=False)

    @property
    def url(self) -> str:
        """Without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return self.url

    def headers(self) -> dict[str, str]:
        """What it wants to know of whoever asks. RFC 7617."""
        if self.user is None:
            return {}
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return {"Proxy-Authorization": f"Basic {token}"}


def proxy_for(scheme: str, host: str, port: int | None = None) -> Proxy | None:
    """The proxy for a host; None when it is asked directly. `host` is in small letters and without brackets.

    Raises `ValueError` for one that cannot be read. The message does not repeat it: it may hold a password.
    """
    named = getproxies()
    variable = scheme if named.get(scheme) else "all"
    if not named.get(variable) or _is_excepted(named.get("no", ""), scheme, host.rstrip("."), port or _PORTS[scheme]):
        return None
    return _read(f"{variable.upper()}_PROXY", named[variable])


def _read(variable: str, address: str) -> Proxy:
    wrong = f"{variable} is not like http://HOST:PORT or http://USER:PASSWORD@HOST:PORT (special characters as %40)"
    try:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        raise ValueError(wrong) from None
    # Whatever follows the port is the rest of a password with a `/`, `?` or `#` in it.
    if not host or parts.scheme not in _PORTS or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(wrong)
    if parts.username is None:
        return Proxy(parts.scheme, host, port)
    return Proxy(parts.scheme, host, port, unquote(parts.username), unquote(parts.password or ""))


def _is_excepted(exceptions: str, scheme: str, host: str, port: int) -> bool:
    """Whether the list in `NO_PROXY` has the host."""
    entries = re.split(r"[,\s]+", exceptions.lower())
    return any(_fits(entry, scheme, host, port) for entry in entries if entry)


def _fits(entry: str, scheme: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    its_scheme, _, rest = entry.rpartition("://")
    name, its_port = _split(rest)
    if its_scheme not in ("", "all", scheme) or its_port not in (None, port):
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = name.removeprefix("*").strip(".")
        return host == name or host.endswith(f".{name}")
    try:
        return address in ipaddress.ip_network(name, strict=False)
    except ValueError:
        return False


def _split(entry: str) -> tuple[str, int | None]:
    """Name or network, and port."""
    found = _NAME_AND_PORT.fullmatch(entry)
    if found is None:
        return entry, None
    port = found["its"] or found["port"]
    return found["inner"] or found["name"] or "", int(port[:6]) if port else None

"""Ports: the server's, and that engines get one."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from tensors.doctoring.finding import error, ok, shell, skipped
from tensors.engines.process import hold_port
from tensors.loopback import is_loopback
from tensors.types.doctor import Finding

_OTHERS = 20
"""So many ports after a taken one are tried."""


def look_at_server(host: str, port: int, served: str | None) -> Finding:
    """Whether `tsr serve` could listen there. `served`: the URL of the server that has this data directory now."""
    if served:
        return ok("ports", f"the server answers at {served}")
    if port == 0:
        return skipped("ports", "the server takes a free port")
    try:
        _listen(host, port)
    except OSError as failure:
        return _not_free(host, port, failure)
    return ok("ports", f"{host}:{port} is free for the server")


def _not_free(host: str, port: int, failure: OSError) -> Finding:
    said = f"the server cannot listen on {host}:{port}: {failure.strerror or failure}"
    if failure.errno == errno.EADDRINUSE:
        other = next(filter(lambda number: _is_free(host, number), range(port + 1, port + _OTHERS)), 0)
        return error("ports", f"{said}, by another program", shell("tsr", "config", "set", "server.port", str(other)))
    if failure.errno == errno.EACCES:
        return error("ports", said, "tsr config unset server.port")
    return error("ports", said, "tsr config unset server.host")


def _is_free(host: str, port: int) -> bool:
    try:
        _listen(host, port)
    except (OSError, OverflowError):
        return False
    return True


def _listen(host: str, port: int) -> None:
    """As `tensors.server.run` does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host, port), family=family).close()


def look_at_bind(host: str, has_keys: bool) -> Iterator[Finding]:
    """Whether `tsr serve` would refuse to serve other machines, for want of a key."""
    if not has_keys and not is_loopback(host):
        said = f"server.host is {host}, and there is no key: `tsr serve` refuses to serve everybody"
        yield error("ports", said, 'tsr config set server.api_keys "$(openssl rand -base64 24)"')


def look_at_published(owner: str, host: str, port: str) -> Iterator[Finding]:
    """Whether a port of a container that is stopped is free, so that it can be started."""
    try:
        _listen(host or "0.0.0.0", int(port))
    except ValueError:
        # Docker takes one that is free, or it is a range.
        return
    except OSError as failure:
        said = f"{owner} cannot be started: port {port} is taken ({failure.strerror or failure})"
        yield error("ports", said, f"sudo ss -ltnp 'sport = :{port}'")


def look_at_loopback() -> Iterator[Finding]:
    """Whether engines get a port on loopback."""
    try:
        hold_port().close()
    except OSError as failure:
        yield error(
            "ports", f"no port on 127.0.0.1 for engines: {failure.strerror or failure}", "sudo ip link set lo up"
        )

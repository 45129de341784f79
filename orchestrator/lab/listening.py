"""Whether something listens: asked of a port, by a connection."""

from __future__ import annotations

import socket


def listens(address: str) -> bool:
    """Whether something takes connections at host:port."""
    host, _, port = address.partition(":")
    with socket.socket() as call:
        call.settimeout(0.5)
        return call.connect_ex((host, int(port))) == 0

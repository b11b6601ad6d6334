"""Ports for servers that tests, benchmarks and `scripts/run` start."""

from __future__ import annotations

import functools
import itertools
import os
import random
import socket
from collections.abc import Iterator

PORTS = range(20_000, 32_768)
"""Below the range that systems use for outgoing connections: a port there could be taken before we listen on it."""
FREE_PORTS = "FREE_PORTS"
"""The variable with the part of PORTS that this process and its children use, such as `20000-24255`: those that run
beside it have other parts. A port that is free now may be another's until a server listens on it."""


class PortNotFreeError(Exception):
    """A port that we need can't be listened on. The message names the variable that changes it."""


def free_port() -> int:
    """A port that is free for TCP and UDP now, and that none of thousands of earlier calls returned. Raises
    PortNotFreeError."""
    for port in itertools.islice(_candidates(), len(PORTS)):
        if _can_bind(port, socket.SOCK_STREAM) and _can_bind(port, socket.SOCK_DGRAM):
            return port
    raise PortNotFreeError("no port is free")


@functools.cache
def _candidates() -> Iterator[int]:
    """The ports in random order, again and again: other processes do the same."""
    first, _, last = os.environ.get(FREE_PORTS, f"{PORTS.start}-{PORTS.stop - 1}").partition("-")
    ports = range(int(first), int(last) + 1)
    return itertools.cycle(random.sample(ports, k=len(ports)))


def _can_bind(port: int, kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_INET, kind) as candidate:
        try:
            candidate.bind(("", port))
        except OSError:
            return False
    return True


def require_free(port: int, variable: str) -> None:
    """Raise PortNotFreeError, naming `variable`, unless a server can listen on this port of 127.0.0.1."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise PortNotFreeError(
            f"port {port} can't be used ({reason}): free it, or set {variable} to another one"
        ) from error

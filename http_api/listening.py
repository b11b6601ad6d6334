"""The socket on which the API listens."""

from __future__ import annotations

import errno
import socket


class CannotListen(Exception):
    """The address can't be listened on. The message says why, and which variables change it."""


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises CannotListen."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(f"port {port} is in use; set SERVER_PORT to another one") from None
        why = (error.strerror or type(error).__name__).partition(" (while")[0]
        raise CannotListen(f"can't listen on {host} port {port} (SERVER_HOST, SERVER_PORT): {why}") from None

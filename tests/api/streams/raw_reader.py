"""A reader of a stream as a bare connection, which reads when the test says so."""

from __future__ import annotations

import asyncio
import socket


async def raw_reader(port: int, path: str, read_buffer: int | None = None) -> socket.socket:
    """A connection that has requested this path and has read nothing. `read_buffer`: bytes; None: the system's size."""
    connection = socket.socket()
    connection.setblocking(False)
    if read_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read_buffer)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(connection, ("127.0.0.1", port))
    await loop.sock_sendall(connection, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    return connection


async def all_of(connection: socket.socket) -> bytes:
    """Everything that can be read until the connection ends."""
    loop, received = asyncio.get_running_loop(), bytearray()
    with connection:
        try:
            while chunk := await loop.sock_recv(connection, 65_536):
                received += chunk
        except ConnectionResetError:
            pass
    return bytes(received)

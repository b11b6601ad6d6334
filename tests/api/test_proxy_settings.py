"""The variables of proxies, for a server and the conformance check: one that is invalid, and one with a password."""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64encode

import pytest

from scripts.free_ports import free_port
from scripts.repository import ROOT
from tests.raw_server import raw_server
from tests.waiting import waiting_for

pytestmark = pytest.mark.api

SERVER = ("-m", "http_api")
ACTS_WITHOUT_LIVEKIT = """
import functools, sys
from http_api import server
from http_api.__main__ import main
from http_api.bootstrap import ComponentTypes
from tests.always_acting import AlwaysActing

server.compose = functools.partial(server.compose, types=ComponentTypes(acting=AlwaysActing))
sys.exit(main())
"""
"""A server whose agent tries LiveKit although LiveKit never said that this process may act."""
CHECK = ("-m", "service_kit.check", "http://127.0.0.1:1/", "--livekit", "wss://livekit.example.com")
REFUSING = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"


async def server(*program: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, *program, "--dev"), cwd=ROOT,
        env=os.environ | {"SERVER_PORT": str(free_port())} | environment,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


async def test_a_proxy_in_quotes_stops_the_start_and_names_the_variable() -> None:
    process = await server(*SERVER, HTTPS_PROXY='"http://user:s3cret@proxy:3128"')
    written, _ = await process.communicate()
    assert process.returncode == 2
    assert b"HTTPS_PROXY: is in quotes" in written
    assert b"s3cret" not in written


@pytest.mark.parametrize(
    ("program", "failure"), [(SERVER, b"not_acting"), (("-c", ACTS_WITHOUT_LIVEKIT), b"agent_not_connected")]
)
async def test_the_password_of_a_proxy_that_refuses_is_not_logged(program: tuple[str, ...], failure: bytes) -> None:
    written = bytearray()
    async with raw_server(REFUSING) as port:
        livekit, proxy = "wss://livekit.example.com", f"http://user:s3cret@127.0.0.1:{port}"
        process = await server(*program, LIVEKIT_SERVER_URL=livekit, HTTPS_PROXY=proxy)
        assert process.stdout is not None
        try:
            async with waiting_for("the failure to be logged", lambda: bytes(written[-2_000:])):
                while failure not in written:
                    line = await process.stdout.readline()
                    assert line, f"the process has ended: {written.decode()}"
                    written += line
        finally:
            if process.returncode is None:
                process.terminate()
            written += (await process.communicate())[0]
    assert b"the proxy answered 407" in written
    assert b"s3cret" not in written
    assert b64encode(b"user:s3cret") not in written


async def check(**environment: str) -> tuple[int | None, bytes]:
    """The exit code of the conformance check, and what it wrote."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *CHECK), cwd=ROOT, env=os.environ | environment, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    written, _ = await process.communicate()
    return process.returncode, written


async def test_conformance_check_calls_livekit_through_the_proxy_that_its_rooms_use() -> None:
    async with raw_server(REFUSING) as port:
        code, written = await check(HTTPS_PROXY=f"http://user:s3cret@127.0.0.1:{port}")
    assert (code, b"can't be used: the proxy answered 407" in written) == (2, True)
    assert b"s3cret" not in written
    assert b64encode(b"user:s3cret") not in written


async def test_conformance_check_names_the_variable_of_a_proxy_in_quotes() -> None:
    code, written = await check(HTTPS_PROXY='"http://user:s3cret@proxy:3128"')
    assert (code, b"HTTPS_PROXY: is in quotes" in written, b"s3cret" in written) == (2, True, False)

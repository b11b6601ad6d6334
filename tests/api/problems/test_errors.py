"""Every error of every layer is a problem document."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from structlog.testing import capture_logs

from http_api.listening import CannotListen, listen
from http_api.problems.problems import CONTENT_TYPE
from tests.api.stand_ins import Api

pytestmark = pytest.mark.api


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/nowhere", {}, b"", 404),
        ("GET", "/api/v1/sessions/%00", {}, b"", 404),
        ("GET", "/nowhere", {"Expect": "tea"}, b"", 417),
        ("PATCH", "/api/v1/sessions", {}, b"", 405),
        ("BREW", "/livez", {}, b"", 400),
        ("POST", "/docs", {}, b"", 405),
        ("GET", "/docs/../app.py", {}, b"", 404),
        ("POST", "/api/v1/sessions", JSON, b"{", 400),
        ("POST", "/api/v1/sessions", JSON, b"[" * 60_000, 422),
        ("POST", "/api/v1/sessions", JSON | {"Content-Encoding": "gzip"}, b"no gzip", 415),
        ("POST", "/api/v1/sessions", JSON | {"Content-Encoding": "gzip"}, gzip.compress(b" " * 9_000_000), 415),
        ("POST", "/api/v1/sessions", JSON, b"x" * 70_000, 413),
        ("POST", "/api/v1/sessions", {"Content-Type": "text/plain"}, b"{}", 415),
        ("POST", "/api/v1/sessions", {"Content-Type": "application/json; charset=latin1"}, b"{}", 415),
        ("POST", "/api/v1/sessions", {}, b"{}", 415),
        ("POST", "/api/v1/sessions", JSON, b"{}", 422),
        ("GET", "/api/v1/sessions?limit=x&limit=y", {}, b"", 422),
        ("POST", "/api/v1/microservices/register", JSON, b"[]", 422),
        ("GET", "/api/v1/sessions", {"X-Long": "x" * 40_000}, b"", 431),
        ("GET", "/api/v1/sessions", {"X-Request-Id": "their-own"}, b"", 200),
    ],
)
async def test_every_error_is_a_problem_document(
    api: Api, method: str, path: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    raw = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{head}Content-Length: {len(body)}\r\n\r\n"
    )
    got, fields, answer = await send(api, raw.encode() + body)
    assert got == status
    if status >= 400:
        assert fields["content-type"].startswith(CONTENT_TYPE)
        problem = json.loads(answer)
        assert problem["status"] == status
        assert problem["request_id"] == fields["x-request-id"]
        assert "Traceback" not in answer.decode()
    else:
        assert fields["x-request-id"] == "their-own"


@pytest.mark.parametrize("raw", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"])
async def test_malformed_http_is_answered_with_a_problem_document(api: Api, raw: bytes) -> None:
    with capture_logs() as logs:
        status, fields, answer = await send(api, raw)
    assert (status, fields["content-type"]) == (400, CONTENT_TYPE)
    assert json.loads(answer)["request_id"] == fields["x-request-id"]
    logged = [entry["request_id"] for entry in logs if entry["event"] == "malformed_request"]
    assert logged == [fields["x-request-id"]]
    assert json.loads(answer)["type"].endswith("malformed_request")


async def test_internal_error_is_500_without_details(api: Api) -> None:
    api.livekit.broken = True
    status, _, problem = await api.open(prefer="")
    assert (status, problem["title"]) == (500, "Internal server error")
    assert "1234" not in str(problem)


async def test_head_and_options_requests_are_answered(api: Api) -> None:
    assert (await api.ask("HEAD", "//health"))[0] == 200
    async with api.http.head("/api/v1/sessions/nope") as answer:
        assert (answer.status, await answer.read()) == (404, b"")
    async with api.http.options("/api/v1/sessions") as answer:
        assert (answer.status, answer.headers["Allow"]) == (204, "GET,HEAD,POST")
    async with api.http.put("/api/v1/sessions") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD,POST")


async def test_port_in_use_is_reported_with_its_setting(api: Api) -> None:
    with pytest.raises(CannotListen, match=rf"port {api.port} is in use.*SERVER_PORT"):
        listen("127.0.0.1", api.port)


async def send(api: Api, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (in lower case) and body of the answer to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        writer.write(raw)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    finally:
        writer.close()
    status, *fields = head.decode().split("\r\n")
    return int(status.split()[1]), {k.lower(): v for k, v in (field.split(": ", 1) for field in fields)}, body

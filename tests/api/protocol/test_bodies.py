"""Bodies that are refused before they are read: too large, or encoded."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.api.raw_requests import head, read_response, send
from tests.api.stand_ins import Api

pytestmark = pytest.mark.api

JSON = "Content-Type: application/json"
WANTED = json.dumps({"user_identity": "alice", "required_services": []}).encode()


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/token", "/api/v1/microservices/register"])
async def test_body_that_is_too_large_is_refused_before_it_is_sent(api: Api, path: str) -> None:
    response = await send(api.port, head("POST", path, JSON, "Content-Length: 70000", "Expect: 100-continue"))
    assert (response.status, response.problem) == (413, "body_too_large")


async def test_body_of_unknown_length_is_refused_once_it_is_too_large(api: Api) -> None:
    chunk = b"%x\r\n%s\r\n" % (70_000, b" " * 70_000)
    response = await send(api.port, head("POST", "/api/v1/sessions", JSON, "Transfer-Encoding: chunked") + chunk)
    assert (response.status, response.problem) == (413, "body_too_large")
    assert response.json["detail"] == "the body may have at most 65536 bytes"


async def test_body_is_asked_for_when_it_is_to_be_read(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    length = f"Content-Length: {len(WANTED)}"
    writer.write(head("POST", "/api/v1/sessions", JSON, length, "Expect: 100-continue", "Prefer: respond-async"))
    assert (await read_response(reader)).status == 100
    writer.write(WANTED)
    assert (await read_response(reader)).status in (201, 202)
    writer.close()


async def test_invalid_body_is_a_problem_after_it_was_asked_for(api: Api) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head("POST", "/api/v1/sessions", JSON, "Content-Length: 2", "Expect: 100-continue"))
    assert (await read_response(reader)).status == 100
    writer.write(b"{}")
    assert (await read_response(reader)).problem == "invalid"
    writer.close()


@pytest.mark.parametrize("coding", ["br", "gzip", "GZIP", "deflate", "zstd", "gzip, br", "nonsense"])
@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/token"])
async def test_encoded_body_is_415(api: Api, coding: str, path: str) -> None:
    bomb = gzip.compress(b" " * 1_000_000)
    request = head("POST", path, JSON, f"Content-Encoding: {coding}", f"Content-Length: {len(bomb)}") + bomb
    response = await send(api.port, request)
    assert (response.status, response.problem) == (415, "unsupported_media_type")
    assert response.headers["accept-encoding"] == "identity"
    assert "Content-Encoding" in response.json["detail"]


async def test_identity_is_no_coding(api: Api) -> None:
    lines = JSON, "Content-Encoding: identity", f"Content-Length: {len(WANTED)}", "Prefer: respond-async"
    assert (await send(api.port, head("POST", "/api/v1/sessions", *lines) + WANTED)).status in (201, 202)


@pytest.mark.parametrize(
    "body",
    [
        {f"unknown{number}": 1 for number in range(3_500)},
        {"user_identity": "alice", "required_services": [], "user_grants": {f"g{n}": True for n in range(5_000)}},
        {"user_identity": "alice", "required_services": [], "user_attributes": {f"a{n}": 1 for n in range(5_000)}},
        {"user_identity": "alice", "required_services": [{f"f{n}": 1 for n in range(180)} for _ in range(25)]},
        {"user_identity": "alice", "required_services": [{"labels": {f"l{n} ": 1 for n in range(5_000)}}]},
        {"user_identity": "alice", "required_services": [1] * 20_000},
        {"user_identity": "alice", "required_services": [], "metadata": {"a": [{}] * 20_000}},
        {"user_identity": "alice", "required_services": ["\x01"] * 6_000},
    ],
)  # fmt: skip
async def test_few_of_thousands_of_errors_are_listed(api: Api, body: object) -> None:
    raw = json.dumps(body, separators=(",", ":")).encode()
    assert len(raw) <= 64 * 1024
    response = await send(api.port, head("POST", "/api/v1/sessions", JSON, f"Content-Length: {len(raw)}") + raw)
    assert (response.status, response.problem) == (422, "invalid")
    assert 1 <= len(response.json["errors"]) <= 20
    assert len(response.body) < 8_000


async def test_errors_that_are_not_listed_are_counted(api: Api) -> None:
    body = {"user_identity": "alice", "required_services": [], **{f"unknown{number}": 1 for number in range(50)}}
    status, _, problem = await api.ask("POST", "/sessions", body)
    assert (status, len(problem["errors"]), problem["more_errors"]) == (422, 20, 30)
    assert problem["detail"] == "50 fields are invalid"

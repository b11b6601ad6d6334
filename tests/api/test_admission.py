"""Who is admitted: behind one proxy's address, and on a developer's machine."""

from __future__ import annotations

import asyncio

import jwt
import pytest

from http_api.access.api_keys import digest_of
from http_api.settings.settings import Settings
from tests.api.raw_requests import head, send
from tests.api.stand_ins import Api, StartApi

pytestmark = pytest.mark.api

KEY = "sm_" + "k" * 43
GOOD = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture
async def shared(start_api: StartApi) -> Api:
    """An API with keys, whose callers all have one address."""
    return await start_api(
        Settings,
        livekit_api_key="devkey",
        livekit_api_secret="s" * 32,
        server_host="127.0.0.1",
        invite_networks="127.0.0.0/8",
        api_keys=f"shop:{digest_of(KEY)}",
        trusted_proxies="127.0.0.1",
        rate_limit=1,
        rate_limit_burst=5,
    )


async def statuses(api: Api, count: int, path: str, **headers: str) -> set[int]:
    asked = [api.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()}) for _ in range(count)]
    return {status for status, _, _ in await asyncio.gather(*asked)}


async def test_wrong_keys_keep_out_nobody_else_at_the_address(shared: Api) -> None:
    assert await statuses(shared, 60, "/sessions", Authorization="Bearer wrong") == {401, 429}
    assert await statuses(shared, 5, "/sessions", **GOOD) == {200}


async def test_good_keys_are_limited_by_caller(shared: Api) -> None:
    assert await statuses(shared, 20, "/sessions", **GOOD) == {200, 429}


async def test_unknown_paths_keep_no_service_from_saying_ready(shared: Api) -> None:
    assert await statuses(shared, 60, "/nowhere") == {404, 429}
    assert await statuses(shared, 60, "//openapi.json") == {200, 429}
    assert await statuses(shared, 60, "/sessions") == {401, 429}
    await shared.ask(
        "POST", "/microservices/register",
        {"service_id": "asr", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}, GOOD,
    )  # fmt: skip
    body = {"user_identity": "alice", "required_services": ["asr"]}
    _, _, session = await shared.ask("POST", "/sessions", body, GOOD | {"Prefer": "respond-async"})
    for _ in range(60):
        await shared.say_ready(session["session_id"], "asr", token="wrong")
    assert (await shared.say_ready(session["session_id"], "asr"))[0] == 200


async def test_failures_are_counted_by_the_address_that_the_proxy_tells(shared: Api) -> None:
    assert await statuses(shared, 20, "/sessions", X_Forwarded_For="203.0.113.7") == {401, 429}
    assert await statuses(shared, 1, "/sessions", X_Forwarded_For="203.0.113.8") == {401}
    assert await statuses(shared, 1, "/sessions", Forwarded="for=203.0.113.7") == {429}
    assert await statuses(shared, 1, "/sessions", X_Forwarded_For="203.0.113.9, 203.0.113.7") == {429}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.nip.io", "192.168.1.5"])
@pytest.mark.parametrize("request_line", ["GET /", "GET /api/v1/sessions", "POST /api/v1/token", "GET /x"])
async def test_rebound_host_name_is_not_served_in_dev_mode(api: Api, host: str, request_line: str) -> None:
    response = await send(api.port, head(*request_line.split(), "Content-Length: 0", host=host))
    assert (response.status, response.problem) == (421, "misdirected")


@pytest.mark.parametrize(
    "request_line",
    ["POST /api/v1/token", "POST /api/v1/sessions", "DELETE /api/v1/sessions/x", "GET /api/v1/events",
     "GET /api/v1/sessions/x/events", "POST /api/v1/microservices/asr/heartbeat", "GET /health?deep=true", "GET /x"],
)  # fmt: skip
@pytest.mark.parametrize(
    "page",
    [["Sec-Fetch-Site: cross-site"], ["Sec-Fetch-Site: same-site"], ["Origin: http://evil.example"], ["Origin: null"],
     ["Origin: http://localhost.evil.example", "Content-Type: text/plain"], ["Origin: ftp://localhost"],
     ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]],
)  # fmt: skip
async def test_page_of_another_origin_is_not_served_in_dev_mode(api: Api, request_line: str, page: list[str]) -> None:
    method, path = request_line.split()
    response = await send(api.port, head(method, path, *page, "Content-Length: 0"))
    assert (response.status, response.problem) == (403, "cross_site")
    assert "CORS_ORIGINS" in response.json["detail"]


async def test_own_page_and_programs_are_served_in_dev_mode(api: Api) -> None:
    host = f"localhost:{api.port}"
    for lines in ([], ["Sec-Fetch-Site: none"], ["Sec-Fetch-Site: same-origin", f"Origin: http://{host}"]):
        request = head("POST", "/api/v1/token", *lines, "Content-Length: 0", host=host)
        assert (await send(api.port, request)).status == 422


async def test_link_to_a_page_may_be_followed_in_dev_mode(api: Api) -> None:
    link = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"]
    assert (await send(api.port, head("GET", "/docs", *link, "Sec-Fetch-Dest: document"))).status == 200
    assert (await send(api.port, head("GET", "/docs", *link, "Sec-Fetch-Dest: iframe"))).status == 403


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:3000", "https://[::1]:8443"])
async def test_page_of_this_machine_is_served_in_dev_mode(api: Api, origin: str) -> None:
    """As of a front end's own development server."""
    lines = [f"Origin: {origin}", "Sec-Fetch-Site: same-site", "Content-Length: 0"]
    response = await send(api.port, head("POST", "/api/v1/token", *lines))
    assert (response.status, response.headers["access-control-allow-origin"]) == (422, origin)
    asked = [f"Origin: {origin}", "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type"]
    preflight = await send(api.port, head("OPTIONS", "/api/v1/token", *asked))
    assert (preflight.status, preflight.headers["access-control-allow-headers"]) == (204, "content-type")


async def test_configured_origin_is_served_in_dev_mode(start_api: StartApi) -> None:
    api = await start_api(cors_origins="https://app.example.com,capacitor://localhost")
    for origin in ("https://app.example.com", "capacitor://localhost"):
        lines = [f"Origin: {origin}", "Sec-Fetch-Site: same-site", "Content-Length: 0"]
        response = await send(api.port, head("POST", "/api/v1/token", *lines))
        assert (response.status, response.headers["access-control-allow-origin"]) == (422, origin)


@pytest.mark.parametrize("path", ["/livekit/webhook", "/api/v1/sessions/x/ready"])
async def test_page_that_knows_the_key_of_dev_mode_is_not_served(api: Api, path: str) -> None:
    """Under a name of its own (DNS rebinding) a page may set Authorization, and dev mode's secret is public."""
    signed = jwt.encode({"iss": "devkey", "exp": 9_999_999_999, "sha256": "x"}, "secret", "HS256")
    lines = [f"Authorization: {signed}", "Content-Length: 0"]
    rebound = head("POST", path, *lines, "Origin: http://evil.example", host="evil.example")
    assert (await send(api.port, rebound)).status == 421
    assert (await send(api.port, head("POST", path, *lines, "Origin: http://evil.example"))).status == 403
    assert (await send(api.port, head("POST", path, *lines, host="host.docker.internal"))).status == 401


@pytest.mark.parametrize(
    ("request_line", "hosts"),
    [
        ("GET /livez HTTP/1.0", []),
        ("GET /livez HTTP/1.1", [""]),
        ("GET http://evil.example/livez HTTP/1.1", ["localhost"]),
        ("GET http://localhost/livez HTTP/1.1", ["evil.example"]),
        ("GET /livez HTTP/1.1", ["2130706433"]),
        ("GET /livez HTTP/1.1", ["127.1"]),
        ("GET /livez HTTP/1.1", ["0x7f.0.0.1"]),
        ("GET /livez HTTP/1.1", ["localhost.evil.example"]),
        ("GET /livez HTTP/1.1", ["localhost@evil.example"]),
    ],
)
async def test_host_that_is_not_one_loopback_name_is_not_served(api: Api, request_line: str, hosts: list[str]) -> None:
    request = "\r\n".join([request_line, *(f"Host: {host}" for host in hosts), "", ""]).encode()
    assert (await send(api.port, request)).status == 421


@pytest.mark.parametrize("host", ["LOCALHOST:8080", "localhost.", "[::1]:8080", "127.0.0.2", "[0:0:0:0:0:0:0:1]"])
async def test_loopback_host_in_any_spelling_of_browsers_is_served(api: Api, host: str) -> None:
    assert (await send(api.port, head("GET", "/livez", host=host))).status == 200

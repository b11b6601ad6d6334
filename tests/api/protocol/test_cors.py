"""CORS: pages of other origins that call the API."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from http_api.settings.settings import Settings
from tests.api.stand_ins import Api, StartApi
from tests.tenants import ACME, production

pytestmark = pytest.mark.api

APP, OTHER, ELSEWHERE = "https://app.example.com", "http://localhost:3000", "https://evil.example.com"
ALLOW, EXPOSE = "Access-Control-Allow-Origin", "Access-Control-Expose-Headers"


@pytest.fixture
async def api(start_api: StartApi) -> Api:
    return await start_api(Settings, **production(cors_origins=(APP, OTHER)))


def preflight(origin: str, method: str = "POST") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method}


def granted(headers: Mapping[str, str]) -> set[str]:
    return {name for name in headers if name.lower().startswith("access-control-")}


@pytest.mark.parametrize("origin", [APP, OTHER])
async def test_preflight_needs_no_key_and_lists_methods(api: Api, origin: str) -> None:
    status, headers, _ = await api.ask("OPTIONS", "/sessions", headers=preflight(origin))
    assert (status, headers[ALLOW]) == (204, origin)
    assert headers.getall("Vary") == ["Access-Control-Request-Headers", "Origin"]
    assert headers["Access-Control-Allow-Methods"] == "GET, HEAD, POST"
    assert int(headers["Access-Control-Max-Age"]) > 0
    assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    "asked",
    ["authorization,content-type", "baggage, sentry-trace", "x-datadog-trace-id,x-datadog-origin,traceparent", "a"],
)
async def test_page_of_an_allowed_origin_may_send_any_header(api: Api, asked: str) -> None:
    headers = {**preflight(APP), "Access-Control-Request-Headers": asked}
    _, answered, _ = await api.ask("OPTIONS", "/sessions", headers=headers)
    assert answered["Access-Control-Allow-Headers"] == asked
    _, refused, _ = await api.ask("OPTIONS", "/sessions", headers=headers | {"Origin": ELSEWHERE})
    assert granted(refused) == set()


async def test_malformed_list_of_headers_is_not_repeated(api: Api) -> None:
    headers = {**preflight(APP), "Access-Control-Request-Headers": "a b; c"}
    assert "Access-Control-Allow-Headers" not in (await api.ask("OPTIONS", "/sessions", headers=headers))[1]


async def test_preflight_lists_the_methods_of_the_path(api: Api) -> None:
    _, headers, _ = await api.ask("OPTIONS", "/sessions/ses_1", headers=preflight(APP, "DELETE"))
    assert headers["Access-Control-Allow-Methods"] == "DELETE, GET, HEAD"
    assert (await api.ask("OPTIONS", "/nowhere", headers=preflight(APP)))[0] == 404


@pytest.mark.parametrize(
    "origin", [ELSEWHERE, "null", "*", "", APP + "/", APP.upper(), APP + ".evil.example.com", "http://app.example.com"]
)
async def test_other_origins_get_no_cors_headers(api: Api, origin: str) -> None:
    """Not even a preflight answer; Vary tells caches that the answer depends on the origin."""
    for method, headers in (("OPTIONS", preflight(origin)), ("GET", {"Origin": origin, **ACME.proof})):
        _, answered, _ = await api.ask(method, "/sessions", headers=headers)
        assert granted(answered) == set()
        assert answered["Vary"] == "Origin"


@pytest.mark.parametrize(
    ("method", "path", "proof", "expected"),
    [("GET", "/sessions", ACME.proof, 200), ("GET", "/sessions", {}, 401), ("GET", "/sessions/x", ACME.proof, 404),
     ("GET", "/nowhere", {}, 404), ("PUT", "/sessions", ACME.proof, 405), ("POST", "/sessions", ACME.proof, 415),
     ("GET", "//livez", {}, 200)],
)  # fmt: skip
async def test_allowed_origin_may_read_every_answer_and_problem(
    api: Api, method: str, path: str, proof: dict[str, str], expected: int
) -> None:
    status, headers, _ = await api.ask(method, path, headers={"Origin": APP, **proof})
    assert (status, headers[ALLOW], headers.getall("Vary")) == (expected, APP, ["Origin"])
    exposed = headers[EXPOSE].split(", ")
    assert {"ETag", "Location", "Retry-After", "RateLimit", "X-Request-Id", "Preference-Applied"} < {*exposed}
    assert granted(headers) == {ALLOW, EXPOSE}


async def test_allowed_origin_may_follow_a_session_stream(api: Api) -> None:
    """The headers are sent at the beginning of the stream."""
    body = {"user_identity": "alice", "required_services": []}
    _, _, session = await api.ask("POST", "/sessions", body, ACME.proof)
    path = f"/api/v1/sessions/{session['session_id']}/events"
    async with api.http.get(path, headers={"Origin": APP, **ACME.proof}) as stream:
        assert (stream.status, stream.content_type) == (200, "text/event-stream")
        assert stream.headers[ALLOW] == APP


async def test_replayed_answer_has_the_cors_headers_of_the_current_origin(api: Api) -> None:
    asked = {"Idempotency-Key": "one", "Prefer": "respond-async", **ACME.proof}
    body = {"user_identity": "alice", "required_services": []}
    origins = [(await api.ask("POST", "/sessions", body, {"Origin": o, **asked}))[1].get(ALLOW) for o in (APP, OTHER)]
    assert origins == [APP, OTHER]
    assert granted((await api.ask("POST", "/sessions", body, {"Origin": ELSEWHERE, **asked}))[1]) == set()


async def test_cors_is_off_without_cors_origins(start_api: StartApi) -> None:
    api = await start_api(Settings, **production())
    for method, headers in (("OPTIONS", preflight(APP)), ("GET", {"Origin": APP, **ACME.proof})):
        _, answered, _ = await api.ask(method, "/sessions", headers=headers)
        assert granted(answered) == set()
        assert "Vary" not in answered


async def test_options_without_a_preflight_lists_the_allowed_methods(api: Api) -> None:
    status, headers, _ = await api.ask("OPTIONS", "/sessions", headers={"Origin": APP})
    assert (status, headers["Allow"]) == (204, "GET,HEAD,POST")
    assert "Access-Control-Allow-Methods" not in headers

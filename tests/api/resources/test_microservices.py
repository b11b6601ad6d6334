"""Services over HTTP: registered, replaced, shown, removed."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from http_api.settings.settings import Settings
from manager_agent.json_object import JsonObject
from manager_agent.outbound.address_policy import PRIVATE
from scripts.repository import ROOT
from tests.api.stand_ins import Api, StartApi
from tests.tenants import ACME, RIVAL, production

pytestmark = pytest.mark.api


async def test_service_is_registered_replaced_shown_listed_and_removed(api: Api) -> None:
    body = {"service_id": "asr-service", "endpoint": "http://a/", "metadata": {"type": "ASR", "version": "1.0.0"}}
    status, headers, made = await api.ask("POST", "/microservices/register", body)
    assert (status, made["metadata"], made["ready_on"]) == (201, body["metadata"], "join")
    assert headers["Location"] == "/api/v1/microservices/asr-service"
    status, _, replaced = await api.ask("POST", "/microservices/register", body | {"endpoint": "http://b/"})
    assert (status, replaced["endpoint"], replaced.pop("warning")) == (200, "http://b/", None)
    assert (await api.ask("GET", "/microservices/asr-service"))[2] == replaced
    assert (await api.ask("GET", "/microservices"))[2] == {"services": [replaced]}
    assert (await api.ask("DELETE", "/microservices/asr-service"))[::2] == (200, replaced)
    assert (await api.ask("DELETE", "/microservices/asr-service"))[0] == 404
    assert (await api.ask("GET", "/microservices/asr-service"))[0] == 404


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        (
            "http://169.254.169.254/latest/",
            "169.254.169.254 is never called, whatever INVITE_NETWORKS allows",
        ),
        ("http://10.0.0.1/", "10.0.0.1 is not in an allowed network (INVITE_NETWORKS)"),
        ("http://127.0.0.1:{port}/livekit/webhook", "is the session manager itself"),
        ("http://0x7f.1/", "should have an IPv4 address of four decimal numbers"),
    ],
)
async def test_forbidden_service_endpoint_is_422(api: Api, endpoint: str, why: str) -> None:
    body = {"service_id": "x", "endpoint": endpoint.format(port=api.port), "metadata": {"type": "ASR"}}
    status, _, problem = await api.ask("POST", "/microservices/register", body)
    assert status == 422
    [bad] = problem["errors"]
    assert bad["field"] == "endpoint"
    assert why in bad["detail"]
    assert (await api.ask("GET", "/microservices/x"))[0] == 404


async def test_registration_at_localhost_warns_where_loopback_is_not_allowed(start_api: StartApi) -> None:
    """It is accepted, because a host name is checked at each call."""
    local = {"service_id": "x", "endpoint": "http://localhost:9000/", "metadata": {"type": "ASR"}}
    agent = {"service_id": "y", "agent_name": "y", "metadata": {"type": "ASR"}}
    strict = await start_api(invite_networks=PRIVATE)
    status, _, made = await strict.ask("POST", "/microservices/register", local)
    assert (status, made["state"]) == (201, "healthy")
    assert made["warning"].startswith("localhost can't be called, so every invite will be `unreachable`")
    assert "INVITE_NETWORKS" in made["warning"]
    named = local | {"endpoint": "http://a.example/"}
    assert (await strict.ask("POST", "/microservices/register", named))[2]["warning"] is None
    assert (await strict.ask("POST", "/microservices/register", agent))[2]["warning"] is None
    dev = await start_api()
    assert (await dev.ask("POST", "/microservices/register", local))[2]["warning"] is None


def a_service(service_id: str = "asr-service", **more: Any) -> dict[str, Any]:
    return {"service_id": service_id, "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}, **more}


async def register(api: Api, service_id: str = "asr-service", **more: Any) -> None:
    assert (await api.ask("POST", "/microservices/register", a_service(service_id, **more)))[0] in (200, 201)


async def shown(api: Api, service_id: str = "asr-service") -> dict[str, Any]:
    view: dict[str, Any] = (await api.ask("GET", f"/microservices/{service_id}"))[2]
    return view


# --- leases and heartbeats --------------------------------------------------------------------------


async def test_heartbeat_renews_the_lease_and_reports_load_and_draining(api: Api) -> None:
    await register(api, capacity=40, lease_seconds=30)
    before = await shown(api)
    assert (before["state"], before["load"], before["capacity"], before["in_flight"]) == ("healthy", None, 40, 0)
    status, _, after = await api.ask("POST", "/microservices/asr-service/heartbeat", {"load": 0.25, "draining": True})
    assert (status, after["state"], after["load"], after["lease_seconds"]) == (200, "draining", 0.25, 30)
    assert after["lease_expires_at"] > before["lease_expires_at"]
    assert await shown(api) == after


async def test_heartbeat_needs_no_body(api: Api) -> None:
    await register(api)
    status, _, service = await api.ask("POST", "/microservices/asr-service/heartbeat")
    assert (status, service["state"], service["lease_expires_at"]) == (200, "healthy", None)


async def test_heartbeat_of_an_unknown_service_is_404(api: Api) -> None:
    status, _, problem = await api.ask("POST", "/microservices/asr-service/heartbeat")
    assert (status, problem["type"].rpartition(":")[2]) == (404, "unknown_service")


async def test_invalid_heartbeat_names_each_bad_field(api: Api) -> None:
    await register(api)
    status, _, problem = await api.ask("POST", "/microservices/asr-service/heartbeat", {"load": 2, "laod": 1})
    assert (status, {error["field"] for error in problem["errors"]}) == (422, {"load", "laod"})


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/heartbeat")])
async def test_old_instance_can_not_change_the_new_instance(api: Api, method: str, path: str) -> None:
    """In a rolling restart the old instance is the last to call."""
    await register(api, endpoint="http://127.0.0.1:1/?a=1&b=2")
    await register(api, endpoint="http://127.0.0.1:2/")
    old, new = "http%3A%2F%2F127.0.0.1%3A1%2F%3Fa%3D1%26b%3D2", "http://127.0.0.1:2/"
    status, _, problem = await api.ask(method, f"/microservices/asr-service{path}?endpoint={old}")
    assert (status, problem["type"].rpartition(":")[2]) == (409, "other_instance")
    assert (await shown(api))["state"] == "healthy"
    assert (await api.ask(method, f"/microservices/asr-service{path}?endpoint={new}"))[0] == 200
    assert (await api.ask(method, f"/microservices/asr-service{path}?endpiont={new}"))[0] == 422


# --- who is chosen ----------------------------------------------------------------------------------


async def test_service_capacity_is_reserved_until_the_session_is_over(api: Api) -> None:
    """At capacity and while draining, a session is refused before its room is created."""
    await register(api, capacity=1)
    _, _, session = await api.open("asr-service")
    assert (await shown(api))["in_flight"] == 1
    for required in ("asr-service", {"type": "ASR"}):
        status, _, problem = await api.open(required, prefer="")
        assert (status, problem["services"][0]["reason"]) == (424, "no_capacity")
    assert len(api.livekit.rooms) == 1
    await api.ask("DELETE", f"/sessions/{session['session_id']}")
    assert (await shown(api))["in_flight"] == 0
    await api.ask("POST", "/microservices/asr-service/heartbeat", {"draining": True})
    assert (await api.open("asr-service"))[0] == 424
    await api.ask("POST", "/microservices/asr-service/heartbeat", {"draining": False})
    assert (await api.open("asr-service"))[0] == 202


async def test_concurrent_sessions_are_spread_within_capacity(api: Api) -> None:
    """30 asked for at the same moment, room for 24."""
    for n in range(3):
        await register(api, f"asr-{n}", capacity=8)
    answers = await asyncio.gather(*(api.open({"type": "ASR"}) for _ in range(30)))
    assert sorted(status for status, _, _ in answers) == [202] * 24 + [424] * 6
    services = (await api.ask("GET", "/microservices"))[2]["services"]
    assert [service["in_flight"] for service in services] == [8, 8, 8]


# --- SERVICES_FILE and STATE_DIR --------------------------------------------------------------------

FILE = """
services:
  - {service_id: asr-service, endpoint: "http://127.0.0.1:1/", metadata: {type: ASR}, capacity: 3}
profiles:
  voice-bot: [asr-service, {type: TTS, optional: true}]
"""


@pytest.fixture
def services_file(tmp_path: Path) -> Path:
    path = tmp_path / "services.yaml"
    path.write_text(FILE)
    return path


async def test_static_service_changes_only_by_its_file(start_api: StartApi, services_file: Path) -> None:
    api = await start_api(services_file=services_file)
    assert (await shown(api)).items() >= {"static": True, "capacity": 3, "state": "healthy"}.items()
    for answered in (
        await api.ask("POST", "/microservices/register", a_service()),
        await api.ask("DELETE", "/microservices/asr-service"),
    ):
        assert (answered[0], answered[2]["type"].rpartition(":")[2]) == (409, "static_service")
    status, _, service = await api.ask("POST", "/microservices/asr-service/heartbeat", {"load": 0.5})
    assert (status, service["load"]) == (200, 0.5)


async def test_session_may_require_a_profile(start_api: StartApi, services_file: Path) -> None:
    """And for more services; an unknown profile is 422 and names the field."""
    api = await start_api(services_file=services_file)
    await register(api, "llm-service", metadata={"type": "LLM"})
    respond = {"Prefer": "respond-async"}
    for more, services in (
        ({}, ["asr-service"]),
        ({"required_services": ["llm-service"]}, ["asr-service", "llm-service"]),
    ):
        body = {"user_identity": "alice", "profile": "voice-bot", **more}
        status, _, session = await api.ask("POST", "/sessions", body, respond)
        assert (status, [service["service_id"] for service in session["services"]]) == (202, services)
    status, _, problem = await api.ask("POST", "/sessions", {"user_identity": "alice", "profile": "chat"}, respond)
    assert (status, [error["field"] for error in problem["errors"]]) == (422, ["profile"])


async def test_registered_services_are_known_after_the_server_restarts(start_api: StartApi, tmp_path: Path) -> None:
    """With a renewed lease. Without STATE_DIR they do not."""
    first = await start_api(state_dir=tmp_path / "state")
    await register(first, lease_seconds=30, labels={"language": "de"})
    second, third = await start_api(state_dir=tmp_path / "state"), await start_api()
    before, after = await shown(first), await shown(second)
    assert before.pop("lease_expires_at") < after.pop("lease_expires_at")
    assert before == after
    assert (await third.ask("GET", "/microservices/asr-service"))[0] == 404


async def test_invalid_services_file_stops_the_start_with_one_message(tmp_path: Path) -> None:
    path = tmp_path / "services.yaml"
    path.write_text("services:\n  - service_id: a b\n    endpoint: asr\n    metadata: {type: ASR}\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "http_api", "--dev"),
        cwd=ROOT,
        env=os.environ | {"SERVICES_FILE": str(path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 30)
    lines = said.decode().splitlines()
    assert (process.returncode, lines[0], len(lines)) == (2, "SERVICES_FILE can't be used:", 3)
    assert lines[1].startswith(f"  {path}:2: services[0].service_id: ")
    assert lines[2].startswith(f"  {path}:3: services[0].endpoint: ")


async def test_registrations_of_one_caller_are_limited(start_api: StartApi) -> None:
    """Replacing a service is always possible."""
    api = await start_api(Settings, **production(services_per_caller=2, services_max=3))
    for service_id, tenant, expected in (
        ("a", ACME, 201), ("b", ACME, 201), ("c", ACME, 429), ("b", ACME, 200), ("d", RIVAL, 201), ("e", RIVAL, 503),
    ):  # fmt: skip
        body = {"service_id": service_id, "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
        status, _, problem = await api.ask("POST", "/microservices/register", body, tenant.proof)
        assert status == expected
        if expected == 429:
            assert problem["type"].endswith(":too_many_services")


async def test_lists_parse_no_metadata(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """One caller's hundreds of services or sessions with 16 KiB each would keep the others waiting."""
    metadata = {"type": "ASR", "list": [{}] * 100}
    body = {"service_id": "asr", "endpoint": "http://127.0.0.1:1/", "metadata": metadata}
    await api.ask("POST", "/microservices/register", body)
    await api.open("asr", metadata=metadata)
    monkeypatch.setattr(JsonObject, "parsed", lambda metadata: {} if not metadata else pytest.fail("it is parsed"))
    status, headers, listed = await api.ask("GET", "/microservices")
    assert (status, listed["services"][0]["metadata"]) == (200, metadata)
    assert headers["Cache-Control"] == "no-store"
    status, _, listed = await api.ask("GET", "/sessions")
    assert (status, listed["sessions"][0]["metadata"], listed["next_cursor"]) == (200, metadata, None)

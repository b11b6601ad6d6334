"""GET /metrics of a running application."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from livekit import api as lk
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from http_api import VERSION
from http_api.settings.settings import Settings
from manager_agent.session import events as ev
from manager_agent.session.events import Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.session import EndReason, Session, SessionState, User
from tests.api.resources.test_webhooks import post, webhook
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import still_session
from tests.callback_receiver import CallbackReceiver
from tests.scraped_metrics import ScrapedMetrics, scrape
from tests.tenants import ACME, OPERATOR, WATCHER, production
from tests.unit import sessions as given
from tests.unit.sessions import ASR, JOINS, managed, with_instance
from tests.waiting import described, eventually

pytestmark = pytest.mark.api

SESSIONS = "session_manager_sessions"
REQUESTS = "session_manager_http_requests_total"
FILE = """
services:
  - {service_id: asr-1, endpoint: "http://127.0.0.1:1/", metadata: {type: ASR}}
profiles:
  voice: [asr-1]
  empty: []
"""


async def exposed(api: Api) -> ScrapedMetrics:
    return await scrape(api.http)


async def until_exposed(api: Api, metric: str, wanted: Callable[[float], bool] = bool, **labels: str) -> ScrapedMetrics:
    """What is exposed once the total of this metric is as wanted."""
    return await eventually(
        f"{metric} {labels}: {described(wanted)}",
        lambda: exposed(api),
        lambda shown: wanted(shown.total(metric, **labels)),
    )


# --- who may see it, and in which form --------------------------------------------------------------


async def test_metrics_need_the_metrics_scope(start_api: StartApi) -> None:
    api = await start_api(Settings, **production())
    for headers, status in (({}, 401), (ACME.proof, 403), (WATCHER.proof, 200), (OPERATOR.proof, 200)):
        async with api.http.get("/metrics", headers=headers) as answer:
            assert answer.status == status
    assert "session_manager_sessions" in {family.name for family in (await scrape(api.http, WATCHER.proof)).families}


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0;q=0.6", "application/openmetrics-text; version=1.0.0; charset"),
        ("application/openmetrics-text;version=2.\xff", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_metrics_come_in_the_accepted_format(api: Api, accept: str, content_type: str) -> None:
    async with api.http.get("/metrics", headers={"Accept": accept}) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        assert answer.headers["Content-Type"].startswith(content_type)
        text = await answer.text()
    if "openmetrics" in content_type:
        assert SESSIONS in {family.name for family in text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]
    async with api.http.head("/metrics") as answer:
        assert (answer.status, await answer.read()) == (200, b"")


class Touched(list[Any]):
    """Records which thread iterates over it."""

    def __init__(self, by: set[str]) -> None:
        self._by = by

    def __iter__(self) -> Iterator[Any]:
        self._by.add(threading.current_thread().name)
        return super().__iter__()


async def test_metrics_are_collected_on_the_event_loop_and_encoded_off_it(api: Api) -> None:
    read: set[str] = set()
    written: set[str] = set()

    class Fake(Collector):
        def collect(self) -> Iterable[Metric]:
            read.add(threading.current_thread().name)
            family = Metric("told", "By a test.", "gauge")
            family.samples = Touched(written)
            yield family

    api.parts.metrics.registry.register(Fake())
    assert "told" in {family.name for family in (await exposed(api)).families}
    here = threading.current_thread().name
    assert read == {here}
    assert written
    assert here not in written


async def test_metrics_contain_no_names_chosen_by_callers(api: Api) -> None:
    """Of the names that callers choose, only service types are shown."""
    await api.register("acme-service", type="ACME")
    _, _, session = await api.open("acme-service", room_name="acme-room", metadata={"acme": "data"})
    await api.livekit.invited.wait()
    async with api.http.get("/metrics") as answer:
        text = await answer.text()
    assert 'type="ACME"' in text
    assert "acme" not in text
    assert session["session_id"] not in text


async def test_metrics_escape_any_service_type(api: Api) -> None:
    names = ['"quoted"', "back\\slash", "brace}{,=", "größe", "\ue000", "ASR" * 20]
    for n, name in enumerate(names):
        await api.register(f"s{n}", type=name)
    shown = await exposed(api)
    assert set(shown.by("type", "session_manager_registered_services")) == set(names)


# --- sessions and services --------------------------------------------------------------------------


async def test_sessions_metric_counts_each_state_until_forgotten(api: Api) -> None:
    async def states() -> dict[str, float]:
        return {state: count for state, count in (await exposed(api)).by("state", SESSIONS).items() if count}

    assert set((await exposed(api)).by("state", SESSIONS)) == set(SessionState)
    async with still_session(api) as session:
        assert await states() == {"waiting": 1}
        await session.becomes_ready()
        assert await states() == {"ready": 1}
        await session.user_comes()
        assert await states() == {"active": 1}
        await session.happens(ev.ParticipantLeft(api.parts.clock(), "sm-asr-1", "PA_1"))
        assert await states() == {"degraded": 1}
        await session.ends()
        assert await states() == {"ended": 1}
    assert await states() == {}
    ended = (await exposed(api)).by("reason", "session_manager_sessions_ended_total")
    assert {reason for reason, count in ended.items() if count} == {EndReason.CLOSED}
    assert set(ended) == set(EndReason)


async def test_session_metrics_count_by_profile(start_api: StartApi, tmp_path: Path) -> None:
    """However the session was created."""
    (tmp_path / "services.yaml").write_text(FILE)
    api = await start_api(services_file=tmp_path / "services.yaml")
    created, ready = "session_manager_sessions_created_total", "session_manager_session_time_to_ready_seconds_count"
    assert (await exposed(api)).by("profile", ready) == {"voice": 0, "empty": 0, "none": 0}
    asked: list[dict[str, Any]] = [{"profile": "empty"}, {"profile": "empty", "required_services": []}]
    for body in (*asked, {"required_services": []}):
        assert (await api.ask("POST", "/sessions", {"user_identity": "alice", **body}))[0] == 201
    agents = {"room_config": {"agents": [{"agent_name": "empty"}]}}
    assert (await api.ask("POST", "/token", agents))[0] == 201
    await api.open(profile="voice", required_services=None)
    shown = await exposed(api)
    assert shown.by("profile", created) == {"voice": 1, "empty": 3, "none": 1}
    assert shown.by("profile", ready) == {"voice": 0, "empty": 3, "none": 1}


async def test_session_refused_for_its_room_name_is_not_counted(api: Api) -> None:
    api.livekit.foreign_rooms.add("theirs")
    assert (await api.open(room_name="theirs"))[0] == 409
    shown = await exposed(api)
    for counter in ("created", "ended"):
        assert shown.total(f"session_manager_sessions_{counter}_total") == 0


async def test_service_metrics_follow_an_attempt_from_invite_to_replacement(api: Api) -> None:
    async with still_session(api) as session:
        now = api.parts.clock()
        await session.happens(ev.InviteAccepted(now + 0.5, ASR, 1, 1))
        await session.becomes_ready()
        await session.happens(
            ev.ServiceSignalled(now, "sm-asr-1", Signal.FAILED, Evidence.MESSAGE),
            ev.InviteStarted(now, ASR, 2, 1, "sm-asr-2", "inv_2"),
            ev.InviteRefused(now, ASR, 2, 1, Refusal.DECLINED),
        )
        shown = await exposed(api)
    for step in ("accept", "join", "ready"):
        assert shown.total(f"session_manager_service_time_to_{step}_seconds_count", type="ASR") == 1
    assert shown.total("session_manager_service_time_to_accept_seconds_sum") > 0.5
    assert shown.total("session_manager_services_ready_total", type="ASR", evidence="join") == 1
    assert shown.total("session_manager_service_replacements_total", type="ASR") == 1
    assert shown.total("session_manager_service_failures_total", type="ASR", reason="reported_failure") == 1
    assert shown.by("outcome", "session_manager_invites_total") == {
        "accepted": 1,
        "declined": 1,
        "no_worker": 0,
        "unreachable": 0,
    }


async def test_registered_services_metric_counts_by_type_and_state(api: Api) -> None:
    await api.register("asr-1", "asr-2")
    await api.register("llm-1", type="LLM")
    await api.ask("POST", "/microservices/asr-2/heartbeat", {"draining": True})
    services = "session_manager_registered_services"
    shown = await exposed(api)
    assert shown.by("state", services) == {"healthy": 2, "draining": 1, "suspended": 0, "no_worker": 0, "expired": 0}
    assert shown.by("type", services) == {"ASR": 2, "LLM": 1}


async def test_service_type_without_services_is_shown_as_zero(api: Api) -> None:
    await api.register("asr-1")
    services = "session_manager_registered_services"
    assert (await exposed(api)).total(services, type="ASR", state="healthy") == 1
    await api.ask("DELETE", "/microservices/asr-1")
    shown = await exposed(api)
    assert shown.by("state", services) == {"healthy": 0, "draining": 0, "suspended": 0, "no_worker": 0, "expired": 0}
    assert shown.by("type", services) == {"ASR": 0}


async def test_services_refused_metric_counts_by_type_and_reason(api: Api) -> None:
    refused = "session_manager_services_refused_total"
    await api.register("asr-1")
    await api.ask("POST", "/microservices/asr-1/heartbeat", {"draining": True})
    await exposed(api)  # a type gets its series at the first scrape
    before = (await exposed(api)).series
    assert before[refused, frozenset({("type", "ASR"), ("reason", "no_capacity")})] == 0
    assert (await api.open("asr-1"))[0] == 424
    assert (await api.open({"type": "ASR"}, {"type": "LLM"}, "nobody"))[0] == 424
    shown = await exposed(api)
    assert shown.by("type", refused) == {"ASR": 2, "LLM": 1, "other": 1}
    assert shown.by("reason", refused) == {"no_capacity": 2, "not_registered": 2}


async def test_service_types_beyond_fifty_are_counted_as_other(api: Api) -> None:
    for n in range(60):
        await api.register(f"s{n}", type=f"type {n:02}")
    shown = (await exposed(api)).by("type", "session_manager_registered_services")
    assert len(shown) == 51
    assert shown["other"] == 10


async def test_deep_health_sessions_are_in_no_metric(api: Api) -> None:
    before = (await exposed(api)).series
    async with still_session(api, owner="", webhooks_arrive=True) as session:
        now = api.parts.clock()
        await session.happens(ev.ManagerFailed(now, "sm-manager-1"), ev.ManagerDispatched(now + 60, 2, "sm-manager-2"))
        await session.becomes_ready()
        during = (await exposed(api)).series
        await session.happens(ev.RoomClosed(now, "RM_1"))
        assert session.now.manager.attempt == 2
    after = (await exposed(api)).series
    ours = {name for name, _ in before if re.match(r"session_manager_(session|service|invite|manager|webhook)", name)}
    for shown in (during, after):
        assert {series for series in shown if series[0] in ours and shown[series] != before.get(series)} == set()


# --- LiveKit ----------------------------------------------------------------------------------------


async def test_webhook_metrics_include_rooms_of_others(api: Api) -> None:
    now = time.time()
    body = json.dumps(
        {
            "event": "participant_joined",
            "createdAt": str(int(now)),
            "room": {"name": "elsewhere"},
            "participant": {"identity": "bob", "joinedAtMs": str(int(now * 1000) - 700)},
        }
    ).encode()
    token = lk.AccessToken("devkey", "secret").with_sha256(base64.b64encode(hashlib.sha256(body).digest()).decode())
    for authorization, status in ((token.to_jwt(), 200), ("nonsense", 401)):
        async with api.http.post("/livekit/webhook", data=body, headers={"Authorization": authorization}) as answer:
            assert answer.status == status
    shown = await exposed(api)
    assert shown.total("session_manager_webhooks_received_total") == 1
    assert shown.total("session_manager_webhooks_received_total", event="participant_joined") == 1
    assert shown.total("session_manager_webhook_lag_seconds_count", event="participant_joined") == 1
    assert 0 <= shown.total("session_manager_webhook_lag_seconds_sum") < 30


async def test_missed_webhook_is_counted_only_where_webhooks_arrive(api: Api) -> None:
    """A leave or a closed room may be found just before its webhook arrives. Here one of two arrives."""
    async with still_session(api, "ses_silent") as session:
        await session.happens(ev.RoomClosed(api.parts.clock(), "RM_1"))
    async with still_session(api, "ses_told", webhooks_arrive=True) as session:
        await session.becomes_ready()
        await session.user_comes()
        now = api.parts.clock()
        alice = ParticipantInfo("alice", "PA_alice_1")
        await session.happens(*given.unlisted(now + 2, alice), *given.room_missed(now + 4))
        assert session.now.over
        assert await post(api, webhook("room-ses_told", "participant_left", identity="sm-asr-1", sid="PA_1")) == 200
    missed = "session_manager_webhooks_missed_total"
    shown = await until_exposed(api, missed)
    assert shown.by("event", missed) == {"participant_joined": 0, "participant_left": 0, "room_finished": 1}


async def test_manager_metrics_show_registration_and_held_rooms(api: Api) -> None:
    for registered, rooms in ((True, 0), (False, 3)):
        api.agent.is_registered, api.agent.rooms_held = registered, rooms
        shown = await exposed(api)
        assert shown.total("session_manager_manager_registered") == registered
        assert shown.total("session_manager_rooms_held") == rooms


# --- HTTP -------------------------------------------------------------------------------------------


async def test_http_metrics_count_by_operation_status_and_problem(start_api: StartApi) -> None:
    api = await start_api(sessions_max=1)
    await api.open()
    for path in ("//wp-login.php", "//.env", "/sessions/nope", "/sessions"):
        await api.ask("GET", path)
    await api.ask("PUT", "/sessions")
    await api.ask("HEAD", "/sessions")
    assert (await api.open())[0] == 503
    shown = await exposed(api)
    assert shown.by("status", REQUESTS) == {"201": 1, "200": 2, "404": 3, "405": 1, "503": 1}
    assert shown.total(REQUESTS, operation="unknown") == 3
    assert shown.total(REQUESTS, operation="sessions_show", status="404") == 1
    assert shown.total(REQUESTS, operation="sessions_list_all", status="200") == 2
    assert shown.total("session_manager_http_request_duration_seconds_count", operation="sessions_create") == 2
    problems = {slug: n for slug, n in shown.by("problem", "session_manager_http_problems_total").items() if n}
    assert problems == {"not_found": 2, "unknown_session": 1, "method_not_allowed": 1, "overloaded": 1}


async def test_http_metrics_count_rate_limited_requests(start_api: StartApi) -> None:
    api = await start_api(Settings, **production(rate_limit=0.01, rate_limit_burst=3))
    for _ in range(5):
        await api.ask("GET", "/sessions", headers=ACME.proof)
    shown = await scrape(api.http, WATCHER.proof)
    assert shown.total("session_manager_http_problems_total", problem="rate_limited") == 2
    assert shown.total(REQUESTS, operation="sessions_list_all", status="429") == 2


async def test_waiters_metric_counts_waiting_requests_and_aborted_ones(api: Api) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer=""))
    await api.has_waiting(1)
    assert (await exposed(api)).total("session_manager_waiters") == 1
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    await api.has_waiting(0)
    shown = await until_exposed(api, REQUESTS, operation="sessions_create")
    assert shown.total("session_manager_waiters") == 0
    assert shown.total(REQUESTS, operation="sessions_create", status="aborted") == 1
    await until_exposed(api, "session_manager_sessions_ended_total", reason="client_gone")


async def test_callback_metrics_count_by_outcome(api: Api) -> None:
    hangs = asyncio.Event()

    async def answer(signal: dict[str, Any]) -> int:
        if signal["event"] == "session_ended":
            await hangs.wait()
            return 410
        return 200

    async with CallbackReceiver(answer=answer) as receiver:
        _, _, session = await api.open(prefer="", callback_url=receiver.url)
        await receiver.tries(1)
        await api.ask("DELETE", f"/sessions/{session['session_id']}")
        await receiver.tries(2)
        shown = await exposed(api)
        assert shown.total("session_manager_callbacks_pending") == 1
        assert shown.by("outcome", "session_manager_callbacks_total") == {"delivered": 1, "given_up": 0}
        hangs.set()
        shown = await until_exposed(api, "session_manager_callbacks_pending", lambda pending: pending == 0)
    assert shown.by("outcome", "session_manager_callbacks_total") == {"delivered": 1, "given_up": 1}


# --- the process ------------------------------------------------------------------------------------


async def test_process_metrics_show_version_loop_lag_and_memory(api: Api) -> None:
    await api.open(prefer="")
    shown = await until_exposed(api, "session_manager_event_loop_lag_seconds_count")
    assert shown.total("session_manager_build_info", version=VERSION) == 1
    assert shown.total("session_manager_store_update_duration_seconds_count") >= 3
    assert shown.total("process_resident_memory_bytes") > 10_000_000
    assert {"python_info", "python_gc_collections_total"} <= {name for name, _ in shown.series}


async def test_thousand_sessions_add_no_metric_series(api: Api) -> None:
    services = tuple(with_instance(JOINS, service_id=f"s{n}", type=f"type {n}") for n in range(5))
    sessions = [
        Session(f"ses_{n}", f"room-{n}", User("alice"), api.parts.clock(), services, owner="acme") for n in range(1_000)
    ]
    await exposed(api)  # which is measured itself
    seen: list[set[Any]] = []
    for some in (sessions[:1], sessions[1:]):
        for session in some:
            await api.parts.store.add(session)
            for event in managed():
                await api.parts.store.update(session.session_id, event)
        seen.append(set((await exposed(api)).series))
    assert seen[1] == seen[0]
    shown = await exposed(api)
    assert shown.total(SESSIONS, state="waiting") == shown.total("session_manager_sessions_created_total") == 1_000
    for session in sessions:
        await api.parts.store.remove(session.session_id)

"""Responses: the one shape of a session, and lists in pages."""

from __future__ import annotations

import json

import pytest

from http_api.models.paging import page, read_cursor, write_cursor
from http_api.models.responses import ServiceView, SessionView, SessionWithToken
from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.livekit.tokens import AccessToken
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.leases import Lease
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.session import Session, User
from manager_agent.store.memory import MemoryStore
from manager_agent.store.store import Store
from manager_agent.ulids import new_ulid
from tests.unit import sessions as given

pytestmark = pytest.mark.unit


def test_a_waiting_session_has_exactly_the_shape_of_the_contract() -> None:
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS),
        *given.created(1_000),
        *given.invited(given.ASR, given.LLM, at=1_000.1),
        *given.accepted(given.ASR, at=1_000.2),
        given.seen("sm-asr-1", "PA_1", 1_000.3456),
    )
    shown = json.loads(SessionView.of(session).model_dump_json())
    revision = shown.pop("revision")
    assert revision == session.revision
    assert shown == {
        "session_id": "s1",
        "room_name": "demo",
        "state": "waiting",
        "user_identity": "alice",
        "user_name": "",
        "metadata": {},
        "services": [
            {
                "service_id": "asr-service",
                "type": "ASR",
                "state": "ready",
                "optional": False,
                "reason": None,
                "detail": None,
                "ready_by": "join",
                "attempt": 1,
                "timeline": {
                    "invited": "1970-01-01T00:16:40.100Z",
                    "accepted": "1970-01-01T00:16:40.200Z",
                    "joined": "1970-01-01T00:16:40.345Z",
                    "ready": "1970-01-01T00:16:40.345Z",
                },
            },
            {
                "service_id": "llm-service",
                "type": "LLM",
                "state": "invited",
                "optional": False,
                "reason": None,
                "detail": None,
                "ready_by": None,
                "attempt": 1,
                "timeline": {"invited": "1970-01-01T00:16:40.100Z"},
            },
        ],
        "created_at": "1970-01-01T00:16:40.000Z",
        "ready_at": None,
        "ready_deadline": "1970-01-01T00:17:10.000Z",
        "ended_at": None,
        "reason": None,
    }


def test_a_session_that_is_over_shows_its_end_reason() -> None:
    session = given.after(given.a_session(given.JOINS), *given.created(), ev.DeadlinePassed(given.START + 31))
    shown = SessionView.of(session)
    assert (shown.state, shown.reason, shown.ended_at) == ("failed", "ready_timeout", "1970-01-01T00:17:11.000Z")
    assert shown.services[0].reason == "never_joined"


def test_the_owner_gets_three_more_fields_and_the_token_is_not_in_the_repr() -> None:
    view = SessionView.of(given.a_session())
    text = SessionWithToken.json_for_owner(view.model_dump_json(), AccessToken("eyJ.secret.x", 1_000.0), "wss://lk")
    shown = SessionWithToken.model_validate_json(text)
    more = {"server_url": "wss://lk", "access_token": "eyJ.secret.x", "token_expires_at": "1970-01-01T00:16:40.000Z"}
    assert json.loads(text) == shown.model_dump(mode="json") == view.model_dump(mode="json") | more
    assert "eyJ" not in repr(shown)


def test_a_service_is_shown_as_registered() -> None:
    service = RegisteredService(
        "asr", "ASR", "http://asr/", labels={"lang": "zh"}, metadata=JsonObject.of({"type": "ASR"}), registered_at=1.5
    )
    status = InstanceStatus(Instance(service), InstanceState.HEALTHY, in_flight=2)
    assert json.loads(ServiceView.of(status).model_dump_json()) == {
        "service_id": "asr",
        "type": "ASR",
        "state": "healthy",
        "endpoint": "http://asr/",
        "agent_name": None,
        "ready_on": "join",
        "labels": {"lang": "zh"},
        "metadata": {"type": "ASR"},
        "registered_at": "1970-01-01T00:00:01.500Z",
        "static": False,
        "shared": False,
        "in_flight": 2,
        "capacity": None,
        "load": None,
        "lease_seconds": None,
        "lease_expires_at": None,
    }


def test_a_lease_is_shown_with_its_earliest_end() -> None:
    service = RegisteredService("asr", "ASR", "http://asr/", capacity=40, lease_seconds=15)
    shown = ServiceView.of(
        InstanceStatus(Instance(service, Lease(15, 2.0), load=0.5), InstanceState.EXPIRED, in_flight=0)
    )
    assert (shown.state, shown.capacity, shown.load, shown.lease_seconds) == ("expired", 40, 0.5, 15)
    assert shown.lease_expires_at == "1970-01-01T00:00:17.000Z"


def some_sessions(count: int) -> list[Session]:
    ids = [f"ses_{new_ulid(1_000.0 + n)}" for n in range(count)]
    return [Session(session_id, session_id, User("alice"), 0.0) for session_id in ids]


async def stored(*sessions: Session) -> Store:
    store = MemoryStore(lambda: 0.0)
    for session in sessions:
        await store.add(session)
    return store


async def test_pages_show_every_session_once_and_newest_first() -> None:
    sessions = some_sessions(7)
    store = await stored(*reversed(sessions))
    seen: list[Session] = []
    after = None
    for expected in (3, 3, 1):
        shown, cursor = page(store.newest(after), 3)
        assert len(shown) == expected
        seen += shown
        after = cursor and read_cursor(cursor)
    assert after is None
    assert seen == sessions[::-1]


async def test_paging_is_stable_while_sessions_come_and_go() -> None:
    sessions = some_sessions(6)
    store = await stored(*sessions[:5])
    _, cursor = page(store.newest(), 2)
    assert cursor is not None
    await store.remove(sessions[3].session_id)  # the last one shown
    await store.add(sessions[5])
    shown, _ = page(store.newest(read_cursor(cursor)), 2)
    assert shown == [sessions[2], sessions[1]]


def test_a_full_last_page_has_no_cursor() -> None:
    assert page(some_sessions(2), 2)[1] is None


def test_a_page_looks_at_one_session_more_than_it_shows() -> None:
    sessions = iter(some_sessions(10))
    page(sessions, 3)
    assert len(list(sessions)) == 6


def test_a_cursor_contains_only_what_it_needs() -> None:
    session_id = some_sessions(1)[0].session_id
    assert session_id not in write_cursor(session_id)
    assert read_cursor(write_cursor(session_id)) == session_id


def test_responses_do_not_change_with_the_session() -> None:
    session = given.a_session(given.JOINS)
    shown = SessionView.of(session)
    assert SessionView.of(replace(session, revision=9)) != shown


def test_refusal_of_an_address_is_told_to_the_sessions_owner() -> None:
    """Until the invite is accepted: a later one may reach it."""
    why = "the address is not in an allowed network (INVITE_NETWORKS)"
    refused = ev.InviteRefused(1_000.2, given.ASR, 1, 1, ev.Refusal.UNREACHABLE, detail=why)
    session = given.after(
        given.a_session(given.JOINS), *given.created(1_000), *given.invited(given.ASR, at=1_000.1), refused
    )
    [service] = SessionView.of(session).services
    assert (service.reason, service.detail) == ("unreachable", why)
    [service] = SessionView.of(given.after(session, given.seen("sm-asr-1", "PA_1", 1_000.3))).services
    assert (service.reason, service.detail) == (None, None)


TRICKY = '"metadata":{}'


def test_json_is_that_of_the_view_and_metadata_is_not_parsed_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed, 200 sessions with 16 KiB of `[{},{},...]` would keep everyone else waiting for a tenth of a second."""
    metadata = JsonObject.of({"text": TRICKY, "list": [{}, 1.5, None], "metadata": {}})
    session = replace(given.a_session(given.JOINS), metadata=metadata, user=User(TRICKY, TRICKY), room_name=TRICKY)
    service = RegisteredService(
        "asr", "ASR", "http://asr.example/", owner="shop", metadata=metadata, labels={"metadata": "{}", "x": TRICKY}
    )
    status = InstanceStatus(Instance(service), InstanceState.HEALTHY, 3)
    views = SessionView.of(session).model_dump(mode="json"), ServiceView.of(status).model_dump(mode="json")
    monkeypatch.setattr(JsonObject, "parsed", lambda metadata: {} if not metadata else pytest.fail("it is parsed"))
    assert json.loads(SessionView.json_of(session)) == views[0]
    assert json.loads(ServiceView.json_of(status, shows_endpoint=True)) == views[1]
    assert json.loads(ServiceView.json_of(status, shows_endpoint=False)) == views[1] | {"endpoint": None}

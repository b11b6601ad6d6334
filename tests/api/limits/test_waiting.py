"""Waiting over HTTP: entity tags, conditional requests, long polls, and their limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from manager_agent.session import events as ev
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import StillSession, still_session, time_passes

pytestmark = pytest.mark.api


@pytest.fixture
async def still(api: Api) -> AsyncIterator[StillSession]:
    async with still_session(api) as session:
        yield session


async def waiting(still: StillSession, **headers: str) -> asyncio.Task[tuple[int, Any, Any]]:
    """A request for the session that is being kept waiting."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asking = asyncio.create_task(still.api.ask("GET", still.path, headers=named))
    await still.has_waiters(1)
    return asking


# --- entity tags ------------------------------------------------------------------------------------


async def test_session_answers_have_the_revision_as_weak_etag(api: Api) -> None:
    """Weak, as two answers to the owner have different tokens."""
    _, headers, session = await api.open(prefer="")
    path = f"/sessions/{session['session_id']}"
    for method, below in [("GET", ""), ("POST", "/token"), ("DELETE", ""), ("GET", "")]:
        assert headers["ETag"] == f'W/"{session["revision"]}"'
        _, headers, session = await api.ask(method, path + below)
    assert headers["ETag"] == f'W/"{session["revision"]}"'
    assert session["state"] == "ended"


async def test_waiting_session_has_an_etag(api: Api) -> None:
    await api.register("asr-service")
    status, headers, session = await api.open("asr-service")
    assert (status, headers["ETag"]) == (202, f'W/"{session["revision"]}"')


@pytest.mark.parametrize("known", ['W/"{0}"', '"{0}"', '"x", W/"{0}"', "*"])
async def test_matching_if_none_match_is_304(still: StillSession, known: str) -> None:
    asked = {"If-None-Match": known.format(still.now.revision)}
    status, headers, body = await still.api.ask("GET", still.path, headers=asked)
    assert (status, body, headers["ETag"]) == (304, None, still.tag)
    assert (headers["Cache-Control"], headers["Vary"]) == ("no-store", "Prefer")
    assert not {"Content-Type", "Content-Length", "Preference-Applied"} & headers.keys()


@pytest.mark.parametrize("known", ['W/"0"', "", "{0}", '"{0}', 'w/"{0}"', '*, "{0}"'])
async def test_other_or_unreadable_if_none_match_is_ignored(still: StillSession, known: str) -> None:
    asked = {"If-None-Match": known.format(still.now.revision)}
    status, headers, body = await still.api.ask("GET", still.path, headers=asked)
    assert (status, body["revision"], headers["Vary"]) == (200, still.now.revision, "Prefer")


async def test_several_if_none_match_headers_are_one_list(still: StillSession) -> None:
    asked = [("If-None-Match", '"x"'), ("If-None-Match", still.tag)]
    async with still.api.http.get("/api/v1" + still.path, headers=asked) as answer:
        assert answer.status == 304


async def test_head_of_a_session_is_answered_as_get(still: StillSession) -> None:
    for known, status in [(still.tag, 304), ('"x"', 200)]:
        async with still.api.http.head("/api/v1" + still.path, headers={"If-None-Match": known}) as answer:
            assert (answer.status, answer.headers["ETag"], await answer.read()) == (status, still.tag, b"")


# --- the next change --------------------------------------------------------------------------------


async def test_long_poll_waits_for_the_next_change(still: StillSession) -> None:
    tag = still.tag
    asking = await waiting(still, If_None_Match=tag, Prefer="wait=50")
    await still.becomes_ready()
    status, headers, session = await asking
    assert (status, session["state"], "access_token" in session) == (200, "ready", True)
    assert headers["ETag"] == f'W/"{session["revision"]}"' != tag
    assert (headers["Preference-Applied"], headers["Vary"]) == ("wait=50", "Prefer")


async def test_long_poll_ignores_internal_changes(still: StillSession) -> None:
    """It wakes the waiting request, which goes on waiting."""
    asking = await waiting(still, If_None_Match=still.tag, Prefer="wait=50")
    before = still.now
    after = await still.happens(ev.WebhookArrived(still.api.parts.clock()))
    assert (after is before, after.revision) == (False, before.revision)
    await still.has_waiters(1)
    assert not asking.done()
    await still.ends()
    assert (await asking)[2]["state"] == "ended"


async def test_long_poll_without_a_change_is_304(still: StillSession, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = await waiting(still, If_None_Match=still.tag, Prefer="wait=40")
    time_passes(monkeypatch, 40)
    status, headers, body = await asking
    assert (status, body, headers["ETag"], headers["Preference-Applied"]) == (304, None, still.tag, "wait=40")


async def test_long_poll_waits_at_most_a_minute(still: StillSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preference-Applied names the limit."""
    asking = await waiting(still, If_None_Match=still.tag, Prefer="wait=86400")
    time_passes(monkeypatch, 60)
    status, headers, _ = await asking
    assert (status, headers["Preference-Applied"]) == (304, "wait=60")


async def test_long_poll_with_another_revision_is_answered_at_once(still: StillSession) -> None:
    asked = {"If-None-Match": '"x"', "Prefer": "wait=50"}
    status, headers, session = await still.api.ask("GET", still.path, headers=asked)
    assert (status, session["state"], headers["Preference-Applied"]) == (200, "waiting", "wait=50")


async def test_long_poll_of_an_ended_session_is_answered_at_once(still: StillSession) -> None:
    await still.ends()
    asked = {"If-None-Match": still.tag, "Prefer": "wait=50"}
    status, headers, _ = await still.api.ask("GET", still.path, headers=asked)
    assert (status, headers["ETag"], headers["Preference-Applied"]) == (304, still.tag, "wait=50")


async def test_consecutive_long_polls_miss_no_change(still: StillSession) -> None:
    """Each request has the tag of the answer before, so a change between the two is answered at once."""
    states, tag = [], still.tag
    for happens in (still.becomes_ready, still.user_comes, still.user_goes, still.ends):
        await happens()
        asked = {"If-None-Match": tag, "Prefer": "wait=50"}
        _, headers, session = await still.api.ask("GET", still.path, headers=asked)
        states.append(session["state"])
        tag = headers["ETag"]
    assert states == ["ready", "active", "ready", "ended"]


# --- until it is decided ----------------------------------------------------------------------------


async def test_get_with_wait_returns_when_the_session_is_ready(still: StillSession) -> None:
    asking = await waiting(still, Prefer="wait=50")
    await still.becomes_ready()
    status, headers, session = await asking
    assert (status, session["state"], headers["Preference-Applied"]) == (200, "ready", "wait=50")


async def test_get_with_wait_returns_when_the_session_is_over(still: StillSession) -> None:
    """Even with an unreadable `If-None-Match`."""
    asking = await waiting(still, Prefer="wait=50", If_None_Match="unreadable")
    await still.ends()
    status, _, session = await asking
    assert (status, session["state"]) == (200, "ended")


async def test_get_with_wait_shows_an_undecided_session_after_the_time(
    still: StillSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = await waiting(still, Prefer="wait=40")
    time_passes(monkeypatch, 40)
    status, headers, session = await asking
    assert (status, session["state"], headers["ETag"]) == (200, "waiting", still.tag)


@pytest.mark.parametrize("prefer", ["respond-async", "wait=0", "wait=soon", "return=minimal"])
async def test_get_without_wait_is_answered_at_once(still: StillSession, prefer: str) -> None:
    """Preference-Applied names only preferences that apply."""
    status, headers, session = await still.api.ask("GET", still.path, headers={"Prefer": prefer})
    assert (status, session["state"]) == (200, "waiting")
    assert headers.get("Preference-Applied") == ("wait=0" if prefer == "wait=0" else None)


# --- asking for a session ---------------------------------------------------------------------------


async def test_preference_applied_names_the_preferences_used(api: Api) -> None:
    """An answer with a token does not count as respond-async."""
    await api.register("asr-service")
    for prefer, required, expected in [
        ("respond-async", [], (201, None)),
        ("respond-async, wait=5", [], (201, "wait=5")),
        ("respond-async", ["asr-service"], (202, "respond-async")),
        ("respond-async, wait=0", ["asr-service"], (202, "respond-async, wait=0")),
        ("wait=3600", [], (201, "wait=60")),
        ("return=minimal", [], (201, None)),
    ]:
        status, headers, _ = await api.open(*required, prefer=prefer)
        assert (status, headers.get("Preference-Applied")) == expected


async def test_create_waits_at_most_a_minute(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.register("asr-service")
    asking = asyncio.create_task(api.open("asr-service", prefer="wait=86400", ready_timeout=600))
    await api.livekit.invited.wait()
    time_passes(monkeypatch, 60)
    status, headers, _ = await asking
    assert (status, headers["Preference-Applied"]) == (202, "wait=60")


# --- when it is not waited any more -----------------------------------------------------------------


async def test_session_forgotten_during_a_long_poll_is_404(still: StillSession) -> None:
    asking = await waiting(still, If_None_Match=still.tag, Prefer="wait=50")
    await still.api.parts.store.remove(still.session_id)
    status, _, problem = await asking
    assert (status, problem["type"].rpartition(":")[2]) == (404, "unknown_session")


async def test_waiting_requests_are_limited_to_waiters_max(start_api: StartApi) -> None:
    """Requests and streams together; requests that need no waiting are still served."""
    api = await start_api(waiters_max=2)
    async with still_session(api) as still:
        polling = await waiting(still, If_None_Match=still.tag, Prefer="wait=50")
        async with api.http.get(f"/api/v1{still.path}/events"):
            await still.has_waiters(2)
            for method, path, headers, body in [
                ("GET", still.path, {"Prefer": "wait=50"}, None),
                ("GET", still.path + "/events", {}, None),
                ("POST", "/sessions", {}, {"user_identity": "bob", "required_services": []}),
            ]:
                status, answered, problem = await api.ask(method, path, body, headers)
                assert (status, problem["type"].rpartition(":")[2]) == (503, "overloaded")
                assert answered["Retry-After"] == "1"
            assert [session.session_id for session in api.parts.store.list()] == [still.session_id]
            assert (await api.ask("GET", still.path))[0] == 200
            assert (await api.ask("GET", still.path, headers={"If-None-Match": still.tag}))[0] == 304
        await still.has_waiters(1)
        assert (await api.open())[0] == 201
        await still.ends()
        assert (await polling)[0] == 200

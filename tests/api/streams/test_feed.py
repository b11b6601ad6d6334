"""The feed of everything: snapshot, changes, and what each caller sees."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from http_api.access.api_keys import KeyEntry, digest_of, new_key
from http_api.access.principals import Scope
from http_api.observability.upstreams import Upstreams
from http_api.settings.settings import Settings
from http_api.streams.feed import SNAPSHOT_CHARACTERS, SNAPSHOT_SESSIONS
from manager_agent.json_object import JsonObject
from manager_agent.session import events as ev
from tests.api.stand_ins import Api, StartApi
from tests.api.still_sessions import StillSession, still_session
from tests.api.streams.feed_reader import PATH, MakeSessions, Readers, by_id
from tests.tenants import ACME, OPERATOR, RIVAL, production

pytestmark = pytest.mark.api


@pytest.fixture
async def still(api: Api) -> AsyncIterator[StillSession]:
    async with still_session(api) as session:
        yield session


# --- the snapshot -----------------------------------------------------------------------------------


async def test_feed_begins_with_a_snapshot_of_everything(api: Api, readers: Readers, still: StillSession) -> None:
    await api.register("asr-service", "tts-service")
    feed = await readers.reader()
    name, told = await feed.next()
    assert (name, told["sessions"]) == ("snapshot", (await api.ask("GET", "/sessions"))[2]["sessions"])
    assert told["services"] == (await api.ask("GET", "/microservices"))[2]["services"]
    assert told["caller"] == {"name": "dev", "scopes": sorted(Scope)}
    assert told["profiles"] == []
    [livekit] = told["health"]["dependencies"]
    assert (livekit["name"], livekit["state"], livekit["detail"]) == ("livekit", "up", None)
    assert livekit["since"] <= told["health"]["time"]
    assert feed.answer.headers["X-Accel-Buffering"] == "no"


async def test_feed_of_an_empty_server_begins_with_a_snapshot(readers: Readers) -> None:
    _, told = await (await readers.reader()).next()
    assert (told["sessions"], told["services"]) == ([], [])


async def test_feed_snapshot_names_the_profiles(start_api: StartApi, tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text("profiles:\n  voice: []\n  default: []\n")
    readers = Readers(await start_api(services_file=file))
    assert (await (await readers.reader()).next())[1]["profiles"] == ["default", "voice"]
    readers.close()


async def test_feed_snapshot_lists_live_sessions_first_up_to_a_bound(
    api: Api, readers: Readers, some_sessions: MakeSessions
) -> None:
    made = await some_sessions(SNAPSHOT_SESSIONS + 20)
    over = made[5::10]
    for session_id in over:
        await api.parts.store.update(session_id, ev.SessionClosed(api.parts.clock()))
    _, told = await (await readers.reader()).next()
    live = [session_id for session_id in reversed(made) if session_id not in over]
    expected = [*live, *reversed(over)][:SNAPSHOT_SESSIONS]
    assert [session["session_id"] for session in told["sessions"]] == expected


async def test_feed_snapshot_has_fewer_sessions_with_large_metadata(
    api: Api, readers: Readers, some_sessions: MakeSessions
) -> None:
    """The others are reported when they change."""
    size = 12_000
    made = await some_sessions(500, metadata=JsonObject.of({"text": "x" * size}))
    feed = await readers.reader()
    _, told = await feed.next()
    assert len(told["sessions"]) * size < SNAPSHOT_CHARACTERS + size
    assert [session["session_id"] for session in told["sessions"]] == made[::-1][: len(told["sessions"])]
    await api.parts.store.update(made[0], ev.SessionClosed(api.parts.clock()))
    assert (await feed.until("session"))["session_id"] == made[0]


async def test_head_of_the_feed_opens_no_stream(api: Api) -> None:
    async with api.http.head(PATH) as answer:
        assert (answer.status, answer.content_type, await answer.read()) == (200, "text/event-stream", b"")


# --- what changes -----------------------------------------------------------------------------------


async def test_feed_reports_each_session_change_until_forgotten(
    api: Api, readers: Readers, still: StillSession
) -> None:
    feed = await readers.reader()
    await feed.next()
    for happens, state in ((still.becomes_ready, "ready"), (still.user_comes, "active"), (still.ends, "ended")):
        await happens()
        name, told = await feed.next()
        assert (name, told["state"]) == ("session", state)
        assert told == (await api.ask("GET", "/sessions"))[2]["sessions"][0]
    await api.parts.store.remove(still.session_id)
    assert await feed.next() == ("forgotten", {"session_id": still.session_id})


async def test_feed_reports_a_new_session(api: Api, readers: Readers) -> None:
    feed = await readers.reader()
    await feed.next()
    opened = (await api.open())[2]
    told = await feed.until("session", lambda session: bool(session["state"] == "ready"))
    assert (told["session_id"], "access_token" in told) == (opened["session_id"], False)


async def test_feed_leaves_out_internal_changes(api: Api, readers: Readers, still: StillSession) -> None:
    feed = await readers.reader()
    await feed.next()
    await still.happens(ev.WebhookArrived(api.parts.clock()))
    await still.happens(ev.ListingStarted(api.parts.clock()))
    await still.becomes_ready()
    assert (await feed.next())[1]["state"] == "ready"


async def test_feed_reports_a_thousand_changed_sessions_once_each(
    api: Api, readers: Readers, some_sessions: MakeSessions
) -> None:
    """In their final state."""
    made = await some_sessions(1_000)
    feed = await readers.reader()
    await feed.next()
    for time in range(3):
        for number, session_id in enumerate(made):
            at, sid = api.parts.clock(), f"PA_{time}"
            await api.parts.store.update(session_id, ev.RoomRequested(at))
            await api.parts.store.update(session_id, ev.RoomCreated(at, "RM"))
            await api.parts.store.update(session_id, ev.ParticipantSeen(at, ev.ParticipantInfo("alice", sid)))
            if number % 2:
                await api.parts.store.update(session_id, ev.ParticipantLeft(at, "alice", sid))
    states = Counter[str]()
    for _ in made:
        name, session = await feed.next()
        assert name == "session"
        states[session["state"]] += 1
    assert len(by_id(feed.told)) == 1_000
    assert states == {"active": 500, "ready": 500}


async def test_feed_misses_no_change_during_the_snapshot(
    api: Api, readers: Readers, some_sessions: MakeSessions
) -> None:
    """A change during the snapshot is in the snapshot or follows it."""
    made = await some_sessions(300)
    reading = asyncio.create_task(readers.reader())
    for number, session_id in enumerate(made):
        await api.parts.store.update(session_id, ev.SessionClosed(api.parts.clock()))
        if number % 10 == 0:
            await asyncio.sleep(0)
    await api.parts.store.remove(made[0])
    await api.open()
    feed = await reading
    known = {session["session_id"]: session for session in (await feed.next())[1]["sessions"]}
    last = (await api.open())[2]["session_id"]
    while last not in known or known[last]["state"] != "ready":
        name, data = await feed.next()
        if name == "session":
            known[data["session_id"]] = data
        elif name == "forgotten":
            known.pop(data["session_id"], None)
    listed = {session.session_id: str(session.state) for session in api.parts.store.list()}
    assert {session_id: session["state"] for session_id, session in known.items()} == listed


# --- services and dependencies ----------------------------------------------------------------------


async def test_feed_reports_each_service_change(api: Api, readers: Readers) -> None:
    """To every reader, and only the changed service; at most once a second, as services are polled."""
    feeds = [await readers.reader(), await readers.reader()]
    for feed in feeds:
        assert (await feed.next())[1]["services"] == []
    await api.register("asr-service", "tts-service")
    for feed in feeds:
        told = [await feed.next() for _ in range(2)]
        assert [(name, data["service_id"], data["load"]) for name, data in told] == [
            ("service", "asr-service", None), ("service", "tts-service", None)
        ]  # fmt: skip
    await api.ask("POST", "/microservices/asr-service/heartbeat", {"load": 0.5})
    for feed in feeds:
        name, service = await feed.next()
        assert (name, service["service_id"], service["load"]) == ("service", "asr-service", 0.5)
        assert service == (await api.ask("GET", "/microservices/asr-service"))[2]
    await api.ask("DELETE", "/microservices/asr-service")
    for feed in feeds:
        assert await feed.next() == ("service_gone", {"service_id": "asr-service"})
    assert [one["service_id"] for one in (await (await readers.reader()).next())[1]["services"]] == ["tts-service"]


async def test_feed_polls_services_only_while_it_has_readers(api: Api, readers: Readers) -> None:
    def looking() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "feed services"]

    assert looking() == []
    feeds = [await readers.reader() for _ in range(3)]
    for feed in feeds:
        await feed.next()
    [task] = looking()
    readers.close()
    await asyncio.wait([task])
    assert task.exception() is None


async def test_feed_reports_a_livekit_outage_with_its_cause(api: Api, readers: Readers) -> None:
    feed = await readers.reader()
    await feed.next()
    api.agent.is_registered = False
    [away] = (await feed.until("health"))["dependencies"]
    assert (away["state"], away["detail"]) == ("away", "the manager agent is not registered with LiveKit")
    api.agent.is_registered = True
    back = await feed.until("health")
    [livekit] = back["dependencies"]
    assert (livekit["state"], livekit["detail"]) == ("up", None)
    assert away["since"] < livekit["since"] <= back["time"]


async def test_feed_reports_an_unreachable_livekit_without_its_address(api: Api, readers: Readers) -> None:
    api.livekit.down = True
    await api.reconcile()
    feed = await readers.reader()
    [livekit] = (await feed.until("snapshot"))["health"]["dependencies"]
    if livekit["state"] == "up":  # the outage is not noticed yet
        [livekit] = (await feed.until("health"))["dependencies"]
    assert (livekit["state"], "10.0.0.7" in livekit["detail"]) == ("away", False)
    api.livekit.down = False
    await api.reconcile()
    assert (await feed.until("health"))["dependencies"][0]["state"] == "up"


async def test_health_without_upstreams_reports_nothing(api: Api) -> None:
    """A look that finds no change notifies no listener."""
    upstreams = Upstreams((), api.parts.clock)
    upstreams.listen(lambda: pytest.fail("nothing has changed"))
    upstreams.check()
    assert upstreams.statuses == ()


# --- who may see what -------------------------------------------------------------------------------


async def test_feed_shows_other_callers_sessions_to_admins_only(start_api: StartApi) -> None:
    """Neither when they are new, nor when they change or are forgotten."""
    api = await start_api(Settings, **production())
    readers = Readers(api)
    acme, rival, operator = [await readers.reader(tenant.proof) for tenant in (ACME, RIVAL, OPERATOR)]
    for feed in (acme, rival, operator):
        await feed.next()
    body = {"user_identity": "alice", "required_services": []}
    theirs, ours = [
        (await api.ask("POST", "/sessions", body, tenant.proof))[2]["session_id"] for tenant in (RIVAL, ACME)
    ]
    for tenant, session_id in ((RIVAL, theirs), (ACME, ours)):
        await api.ask("DELETE", f"/sessions/{session_id}", headers=tenant.proof)
        await api.parts.store.remove(session_id)
    for feed, seen in ((acme, {ours}), (rival, {theirs}), (operator, {ours, theirs})):
        for _ in seen:
            await feed.until("forgotten")
        assert {data["session_id"] for name, data in feed.told if name in ("session", "forgotten")} == seen
    for tenant, feed in ((ACME, acme), (RIVAL, rival), (OPERATOR, operator)):
        assert feed.told[0][1]["caller"] == {"name": tenant.name, "scopes": sorted(tenant.scopes)}
    readers.close()


async def test_feed_shows_services_only_with_the_services_scope(start_api: StartApi) -> None:
    key = new_key()
    entry = KeyEntry("phone", digest_of(key), frozenset({Scope.SESSIONS}))
    api = await start_api(Settings, **production(api_keys=(entry, ACME.entry)))
    readers = Readers(api)
    phone, acme = await readers.reader({"Authorization": f"Bearer {key}"}), await readers.reader(ACME.proof)
    assert (await phone.next())[1]["services"] is None
    await acme.next()
    service = {"service_id": "asr-service", "endpoint": "http://127.0.0.1:1/", "metadata": {"type": "ASR"}}
    await api.ask("POST", "/microservices/register", service, ACME.proof)
    await acme.until("service")
    await api.ask("DELETE", "/microservices/asr-service", headers=ACME.proof)
    await acme.until("service_gone")
    api.agent.is_registered = False
    await phone.until("health")
    assert {name for name, _ in phone.told} == {"snapshot", "health"}
    readers.close()

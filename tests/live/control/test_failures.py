"""Services that are killed, frozen, silent or come back late, and are replaced, on a real livekit-server. How long it
takes is printed (pytest -s), and measured by benchmarks/replacement.py."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import product

import pytest

from manager_agent.session.attempt import ServiceState, Timeline
from manager_agent.session.session import Session, SessionState
from manager_agent.store.recording import Recording
from tests.live.bots import Bot
from tests.live.conftest import Site, Stack, StartStack
from tests.live.humans import Human, ready_session
from tests.live.puppets import Puppet
from tests.waiting import eventually, waiting_for

pytestmark = pytest.mark.live

ANY_BOT = {"type": "BOT"}
JOIN_TIMEOUT = 6.0
"""Seconds: what a test waits until a service is replaced, and what its successor has on a busy machine."""
LOSS_TIMEOUT = 60
"""Seconds that LiveKit may take to notice that a participant's process is gone."""


async def pair(stack: Stack, exits: AsyncExitStack, type: str = "BOT", **options: str) -> dict[str, Puppet]:
    """Two instances of a type."""
    names = (f"{type.lower()}-1", f"{type.lower()}-2")
    puppets = [await exits.enter_async_context(Puppet(stack.url, name, type=type, **options)) for name in names]
    return dict(zip(names, puppets, strict=True))


def on_second_attempt(session: Session) -> bool:
    return session.state is SessionState.READY and session.services[0].attempt == 2


async def test_service_that_accepts_and_never_joins_is_replaced(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, service_join_timeout=JOIN_TIMEOUT)
    async with AsyncExitStack() as exits:
        idle = await exits.enter_async_context(Puppet(stack.url, "bot-1", behavior="stay-away"))
        session = await stack.request(ANY_BOT)
        await idle.is_invited()
        await exits.enter_async_context(Puppet(stack.url, "bot-2"))
        ready = await stack.until(session["session_id"], on_second_attempt)
        assert ready.services[0].service_id == "bot-2"
        assert len(set(idle.invites)) == 1


async def test_service_killed_before_it_joins_is_replaced(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, service_join_timeout=JOIN_TIMEOUT)
    async with AsyncExitStack() as exits:
        doomed = await exits.enter_async_context(Puppet(stack.url, "bot-1", behavior="stay-away"))
        session = await stack.request(ANY_BOT)
        await doomed.is_invited()
        await exits.enter_async_context(Puppet(stack.url, "bot-2"))
        doomed.kill()
        ready = await stack.until(session["session_id"], on_second_attempt)
        assert ready.services[0].service_id == "bot-2"


async def test_unreachable_service_is_replaced_at_once(stack: Stack) -> None:
    async with AsyncExitStack() as exits:
        dead, _ = (await pair(stack, exits)).values()
        dead.kill()
        sessions = [await stack.request(ANY_BOT, prefer="wait=20", user_identity=f"u{n}") for n in range(4)]
        assert [session["state"] for session in sessions] == ["ready"] * 4
        assert {session["services"][0]["service_id"] for session in sessions} == {"bot-2"}


async def test_killed_and_frozen_services_are_replaced(start_stack: StartStack, site: Site) -> None:
    """Before and after they are ready, each in a session of its own. LiveKit notices the loss after a while."""
    stack = await start_stack(site, ready_timeout=LOSS_TIMEOUT, replacement_timeout=20.0)
    async with AsyncExitStack() as exits:
        cases = product((Puppet.kill, Puppet.freeze), ("join", "signal"))
        await asyncio.gather(*(is_replaced(stack, exits, lose, ready_on) for lose, ready_on in cases))


async def is_replaced(stack: Stack, exits: AsyncExitStack, lose: Callable[[Puppet], None], ready_on: str) -> None:
    """Lose a service that is ready once it has joined, or one that will never signal it."""
    kind = f"{lose.__name__}-{ready_on}"
    before, after = (
        (SessionState.WAITING, SessionState.WAITING)
        if ready_on == "signal"
        else (SessionState.DEGRADED, SessionState.READY)
    )
    puppets = await pair(stack, exits, kind, ready_on=ready_on)
    session = await stack.request({"type": kind}, user_identity=kind)
    joined = await stack.until(session["session_id"], lambda s: s.services[0].presence.here)
    service = joined.services[0]
    lose(puppets[service.service_id])
    began = stack.clock()
    lost = await stack.until(session["session_id"], lambda s: s.services[0].current.lost or s.services[0].attempt == 2)
    noticed = stack.clock()
    assert lost.state is before, kind
    there = await stack.until(
        session["session_id"], lambda s: s.services[0].attempt == 2 and s.services[0].presence.here
    )
    assert there.services[0].service_id != service.service_id
    assert there.state is after, kind
    print(f"{kind}: noticed after {noticed - began:.2f} s, replaced {stack.clock() - noticed:.2f} s later")


async def test_two_services_failing_together_are_replaced_and_the_user_sees_it(stack: Stack) -> None:
    bots = {f"{kind}-{n}": await stack.bot(f"{kind}-{n}", type=kind) for kind in ("asr", "llm", "tts") for n in (1, 2)}
    session = await stack.request({"type": "asr"}, {"type": "llm"}, {"type": "tts"})
    first = (await stack.until(session["session_id"], lambda s: all(e.attempt for e in s.services))).services
    await asyncio.gather(*(come(bots[entry.service_id]) for entry in first))
    ready = await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    human = Human()
    await human.join(await stack.view(session["session_id"]))
    await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE)
    await asyncio.gather(bots[first[0].service_id].leave(), bots[first[1].service_id].leave())
    second = await stack.until(session["session_id"], lambda s: [e.attempt for e in s.services] == [2, 2, 1])
    assert timelines(second)[2] == timelines(ready)[2]
    await human.sees("degraded")
    await asyncio.gather(*(come(bots[entry.service_id]) for entry in second.services[:2]))
    await stack.until(session["session_id"], lambda s: s.state is SessionState.ACTIVE)
    assert (await bots[first[0].service_id].told_goodbye()).reason == "replaced"
    await human.leave()


def timelines(session: Session) -> list[tuple[int, Timeline]]:
    """The attempt of each service and what has happened in it."""
    return [(service.attempt, service.timeline) for service in session.services]


async def come(bot: Bot) -> None:
    await bot.invited()
    await bot.join()


async def test_late_join_of_an_older_attempt_is_removed(stack: Stack) -> None:
    first, second = await stack.bot("bot-1", ready_on="signal"), await stack.bot("bot-2", ready_on="signal")
    session = await stack.request(ANY_BOT)
    chosen = (await stack.until(session["session_id"], lambda s: s.services[0].timeline.accepted is not None)).services[
        0
    ]
    old, new = (first, second) if chosen.service_id == "bot-1" else (second, first)
    await old.join()
    await old.say_failed("out of memory")
    await come(new)
    await new.say_by_attribute()
    ready = await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    await old.join()  # with the token of its old invite, which is still good
    await stack.logged("participant_removed", times=1)
    removed = stack.logged_of(session["session_id"], "participant_removed")  # again, until LiveKit lists it no more
    assert {(each["service_id"], each["attempt"]) for each in removed} == {(chosen.service_id, 1)}
    again = await stack.until(session["session_id"], lambda s: not any(o.presence.here for o in s.stale_participants))
    assert timelines(again) == timelines(ready)
    await eventually(
        "the manager and the new service alone",
        lambda: stack.participants(session["room_name"]),
        lambda here: {one.identity for one in here} == {ready.manager.identity, new.invites[0].identity},
    )


async def test_service_that_never_signals_ready_is_named_in_the_problem(start_stack: StartStack, site: Site) -> None:
    stack = await start_stack(site, ready_timeout=10)
    bot = await stack.bot("asr", ready_on="signal")
    body = {"user_identity": "alice", "required_services": ["asr"]}
    asking = asyncio.create_task(stack.http.post("/api/v1/sessions", json=body))
    await come(bot)
    async with await asking as answer:
        problem = await answer.json()
    assert (answer.status, problem["services"][0]["reason"]) == (504, "joined_not_ready")


async def test_service_required_by_id_is_invited_again(stack: Stack) -> None:
    bot = await stack.bot("asr")
    await stack.bot("asr-2")
    session = await stack.request("asr")
    await come(bot)
    await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    await bot.leave()
    invite = await bot.invited(times=2)
    assert (invite.service_id, invite.attempt) == ("asr", 2)
    await bot.join(invite)
    await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)


async def test_restarted_services_are_invited_on_their_new_ports(start_stack: StartStack, site: Site) -> None:
    """After ready, required by id and by type; their old ports no longer answer when they are invited again."""
    stack = await start_stack(site, replacement_timeout=LOSS_TIMEOUT)
    async with AsyncExitStack() as exits:
        required = {"asr": "asr", "llm": {"type": "LLM"}}
        await asyncio.gather(*(is_invited_anew(stack, exits, name, each) for name, each in required.items()))


async def is_invited_anew(stack: Stack, exits: AsyncExitStack, name: str, required: object) -> None:
    """Kill the service of this id once it is ready, and start it again once that is noticed."""
    killed = await exits.enter_async_context(Puppet(stack.url, name, type=name.upper()))
    session = await stack.request(required, user_identity=name)
    ready = await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    killed.kill()
    await stack.until(session["session_id"], lambda s: s.services[0].attempt == 2 and s.services[0].current.refused)
    started = await exits.enter_async_context(Puppet(stack.url, name, type=name.upper()))
    await started.is_invited()
    again = await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
    assert (again.services[0].service_id, again.services[0].attempt) == (name, 3)
    assert again.services[0].current.instance.endpoint != ready.services[0].current.instance.endpoint


@pytest.mark.parametrize("required", ["bot-1", ANY_BOT], ids=["by id", "by type"])
async def test_service_restarted_before_it_joined_is_invited_again(
    start_stack: StartStack, site: Site, required: object
) -> None:
    """Before the session was ever ready."""
    stack = await start_stack(site, service_join_timeout=JOIN_TIMEOUT)
    async with AsyncExitStack() as exits:
        killed = await exits.enter_async_context(Puppet(stack.url, "bot-1", behavior="stay-away"))
        session = await stack.request(required)
        await killed.is_invited()
        killed.kill()
        await exits.enter_async_context(Puppet(stack.url, "bot-1"))
        again = await stack.until(session["session_id"], lambda s: s.state is SessionState.READY)
        assert (again.services[0].service_id, again.services[0].attempt) == ("bot-1", 2)


async def test_draining_instance_keeps_its_sessions_and_gets_no_new_ones(stack: Stack) -> None:
    """Twenty sessions are created while one of two instances begins to drain."""
    async with AsyncExitStack() as exits:
        await pair(stack, exits)
        before = [await stack.request(ANY_BOT, prefer="wait=20", user_identity=f"a{n}") for n in range(4)]
        async with stack.http.post("/api/v1/microservices/bot-1/heartbeat", json={"draining": True}) as answer:
            assert answer.status == 200, await answer.text()
        after = await asyncio.gather(
            *(stack.request(ANY_BOT, prefer="wait=40", user_identity=f"b{n}") for n in range(16))
        )
        assert {session["state"] for session in after} == {"ready"}
        assert {session["services"][0]["service_id"] for session in after} == {"bot-2"}
        for session in before:
            assert (await stack.view(session["session_id"]))["state"] == "ready"


@pytest.mark.timeout(600)
async def test_hundred_sessions_spread_evenly_within_capacity(
    start_stack: StartStack, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three instances with a capacity of 40 each."""
    # A busy machine takes longer than the default to record a hundred sessions.
    monkeypatch.setattr(Recording.until_recorded, "__defaults__", (300.0,))
    stack = await start_stack(site, log_level="info", ready_timeout=600, service_join_timeout=500)
    bots = [await stack.bot(f"bot-{n}", ready_on="signal", capacity=40) for n in range(3)]
    asked = asyncio.gather(*(stack.request(ANY_BOT, prefer="respond-async", user_identity=f"u{n}") for n in range(100)))
    sessions = await asked
    taken = Counter(session.services[0].service_id for session in stack.store.list())
    assert sum(taken.values()) == 100
    assert max(taken.values()) <= 40
    # On a slow machine an invite may time out, and the next attempt is another instance's.
    attempts = [(*session.services[0].past, session.services[0].current) for session in stack.store.list()]
    spread = Counter(first.instance.service_id for first, *_ in attempts)
    assert all(abs(count - 100 / 3) <= 100 / 3 * 0.1 for count in spread.values()), spread
    more = [await stack.request(ANY_BOT, user_identity=f"more{n}") for n in range(20)]
    async with stack.http.post(
        "/api/v1/sessions", json={"user_identity": "x", "required_services": [ANY_BOT]}
    ) as answer:
        problem = await answer.json()
    assert (answer.status, problem["services"][0]["reason"]) == (424, "no_capacity")
    for session in [*sessions, *more]:
        async with stack.http.delete(f"/api/v1/sessions/{session['session_id']}") as answer:
            assert answer.status == 200, await answer.text()
    await eventually("all rooms to be deleted", stack.rooms, lambda rooms: not rooms)
    assert all(bot.invites for bot in bots)


async def test_lost_optional_service_is_replaced_in_a_ready_session(stack: Stack) -> None:
    first, second = await stack.bot("tts-1", type="TTS"), await stack.bot("tts-2", type="TTS")
    session = await stack.request({"type": "TTS", "optional": True})
    chosen = (await stack.until(session["session_id"], lambda s: s.services[0].attempt == 1)).services[0]
    one, other = (first, second) if chosen.service_id == "tts-1" else (second, first)
    await come(one)
    await stack.until(session["session_id"], lambda s: s.services[0].state is ServiceState.READY)
    await one.leave()
    await come(other)
    again = await stack.until(session["session_id"], lambda s: s.services[0].state is ServiceState.READY)
    assert (again.state, again.services[0].attempt) == (SessionState.READY, 2)


@pytest.mark.parametrize("reports", ["webhooks", "room events"])
async def test_service_that_joins_twice_with_one_invite_is_not_lost(
    start_stack: StartStack, site: Site, silent_site: Site, reports: str
) -> None:
    """LiveKit puts the first connection out, and the second may take long to be reported."""
    stack = await start_stack(site if reports == "webhooks" else silent_site)
    bot = await stack.bot("bot-1")
    session = await ready_session(stack, bot)
    await stack.until(session["session_id"], lambda s: s.manager.is_connected)
    first = bot.room
    put_out = asyncio.Event()
    first.on("disconnected", lambda _reason: put_out.set())
    await bot.join()
    async with waiting_for("the first connection to be closed", lambda: first.connection_state):
        await put_out.wait()
    second = bot.room.local_participant.sid
    moved = await stack.until(session["session_id"], lambda s: s.services[0].presence.sid == second)
    assert (moved.state, moved.services[0].attempt) == (SessionState.READY, 1)
    assert first.local_participant.sid in moved.services[0].presence.gone
    assert stack.logged_of(session["session_id"], "service_left") == []

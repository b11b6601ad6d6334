"""The trace context of invites: in the headers of a POST, and in the dispatch metadata of an agent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from manager_agent.frozen import replace
from manager_agent.json_object import JsonObject
from manager_agent.livekit.calls import LiveKitUnavailable
from manager_agent.livekit.server_api import Rooms
from manager_agent.messages import Invite
from manager_agent.outbound import invites
from manager_agent.outbound.address_policy import LOOPBACK, AddressPolicy
from manager_agent.outbound.fair_slots import TooManyWaiting
from manager_agent.outbound.http_client import is_this_machine
from manager_agent.outbound.invites import BOUNDS, NOT_DISPATCHED, InviteError, Inviter, TraceOf, trace_passed_on
from manager_agent.session.identities import Identities
from manager_agent.session.session import Session
from manager_agent.traceparent import read_trace
from tests.live.bots import Bot
from tests.raw_server import serving
from tests.unit.sessions import AGENT, START, a_service, a_session, after, invited
from tests.waiting import waiting_for

pytestmark = pytest.mark.unit

TRACEPARENT, STATE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-a1", "congo=t61rcWkgMzE"
OWN = "00-4bf92f3577b34da6a3ce929d0e0e4736-bbbbbbbbbbbbbbbb-01"


class DispatchingRooms(Rooms):
    """Records the metadata that agents are dispatched with."""

    notes: list[str]

    async def dispatch_agent(self, session: Session, agent_name: str, metadata: str) -> str:
        self.notes.append(metadata)
        return "AD_1"


SERVICES_URL = "ws://livekit:7880"


@asynccontextmanager
async def an_inviter(trace_of: TraceOf = trace_passed_on) -> AsyncIterator[tuple[Inviter, list[str]]]:
    """A started inviter, and the metadata of the agents that it dispatches."""
    url, key, secret = "ws://localhost:7880", "devkey", "secret"
    rooms = DispatchingRooms(
        url=url, services_url=SERVICES_URL, agent_name="m", deployment="d", api_key=key, api_secret=secret
    )
    rooms.notes = []
    inviter = Inviter(
        rooms=rooms,
        identities=Identities(secret),
        clock=lambda: START,
        address_policy=AddressPolicy(networks=LOOPBACK, own_port=1, is_own=is_this_machine),
        api_key=key,
        api_secret=secret,
        trace_of=trace_of,
    )
    await inviter.start()
    try:
        yield inviter, rooms.notes
    finally:
        await inviter.aclose()


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take connections, and never answer."""
    with suppress(ConnectionError):
        await reader.read()


def of_trace(session: Session, traceparent: str = TRACEPARENT, tracestate: str = STATE) -> Session:
    return replace(session, traceparent=traceparent, tracestate=tracestate)


def told(bot: Bot) -> list[tuple[str | None, str | None]]:
    return [(headers.get("traceparent"), headers.get("tracestate")) for headers in bot.headers]


async def test_invite_and_session_ended_pass_the_trace_on_unchanged() -> None:
    """Unknown flags too: they are the client's."""
    async with an_inviter() as (inviter, _), Bot("x") as bot:
        session = of_trace(after(a_session(a_service("x", "ASR", endpoint=bot.endpoint)), *invited(0)))
        await inviter.invite(session, 0)
        await inviter.send_session_ended(session, session.services[0], "closed")
    assert told(bot) == [(TRACEPARENT, STATE)] * 2
    assert (bot.invites[0].traceparent, bot.invites[0].tracestate) == (TRACEPARENT, STATE)


async def test_an_invite_names_the_livekit_url_of_services() -> None:
    async with an_inviter() as (inviter, _), Bot("x") as bot:
        session = after(a_session(a_service("x", "ASR", endpoint=bot.endpoint)), *invited(0))
        await inviter.invite(session, 0)
    assert bot.invites[0].server_url == SERVICES_URL


async def test_with_tracing_an_invite_carries_the_span_of_its_attempt() -> None:
    own = read_trace(OWN)
    async with an_inviter(lambda session, service: own) as (inviter, _), Bot("x") as bot:
        session = of_trace(after(a_session(a_service("x", "ASR", endpoint=bot.endpoint)), *invited(0)))
        await inviter.invite(session, 0)
    assert told(bot) == [(OWN, None)]
    assert (bot.invites[0].traceparent, bot.invites[0].tracestate) == (OWN, None)


async def test_without_a_trace_an_invite_has_no_trace_headers() -> None:
    async with an_inviter() as (inviter, notes), Bot("x") as bot:
        session = after(a_session(a_service("x", "ASR", endpoint=bot.endpoint), AGENT), *invited(0, 1))
        await inviter.invite(session, 0)
        await inviter.invite(session, 1)
    assert told(bot) == [(None, None)]
    assert bot.invites[0].traceparent is None
    assert Invite.model_validate_json(notes[0]).traceparent is None


async def test_an_agent_gets_the_trace_in_its_dispatch_metadata() -> None:
    async with an_inviter() as (inviter, notes):
        await inviter.invite(of_trace(after(a_session(AGENT), *invited(0))), 0)
    invite = Invite.model_validate_json(notes[0])
    assert (invite.traceparent, invite.tracestate) == (TRACEPARENT, STATE)


async def test_agents_of_two_profiles_get_the_metadata_of_their_own_profile() -> None:
    metadata = JsonObject.of({"agents": {"voice": '{"lang": "de"}', "video": '{"size": 7}'}})
    services = [
        replace(AGENT, requirement=replace(AGENT.requirement, asked_as=name)) for name in ("voice", "video", "captions")
    ]
    session = replace(a_session(*services), metadata=metadata)
    async with an_inviter() as (inviter, notes):
        for entry in range(3):
            await inviter.invite(after(session, *invited(entry)), entry)
    assert [{"lang", "size", "agents"} & json.loads(note).keys() for note in notes] == [{"lang"}, {"size"}, set()]


async def test_dispatch_that_livekit_does_not_take_is_no_failure_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> str:
        raise LiveKitUnavailable("away")

    monkeypatch.setattr(DispatchingRooms, "dispatch_agent", away)
    async with an_inviter() as (inviter, _):
        with pytest.raises(InviteError) as caught:
            await inviter.invite(after(a_session(AGENT), *invited(0)), 0)
    assert (caught.value.is_livekits, caught.value.public_detail) == (True, NOT_DISPATCHED)


async def test_invites_to_a_black_hole_are_bounded_and_delay_no_other_owner() -> None:
    """Without an answer an invite occupies its connection until the timeout; those that wait have none."""
    running = most = 0

    async with an_inviter() as (inviter, _), Bot("x") as bot, serving(swallow) as hole:
        url = f"http://127.0.0.1:{hole}/"

        async def invite(owner: str, endpoint: str) -> None:
            nonlocal running, most
            session = after(a_session(a_service("x", "ASR", endpoint=endpoint)), *invited(0))
            session = replace(session, owner=owner)
            async with inviter.slot(session, session.services[0]):
                running += owner == "rival"
                most = max(most, running)
                try:
                    await inviter.invite(session, 0)
                finally:
                    running -= owner == "rival"

        rivals = [asyncio.create_task(invite("rival", f"{url}{nth % 20}")) for nth in range(3 * BOUNDS.in_all)]
        async with waiting_for("the rival's invites", lambda: most):
            while most < BOUNDS.per_owner:
                await asyncio.sleep(0.01)
        await invite("acme", bot.endpoint)
        assert [i.service_id for i in bot.invites] == ["x"]
        assert most == BOUNDS.per_owner
        for task in rivals:
            task.cancel()
        await asyncio.wait(rivals)


async def test_messages_about_ended_sessions_pile_up_no_further_than_their_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A service that takes invites and then hangs: its owner may open and close sessions forever."""
    monkeypatch.setattr(invites, "ENDS_WAITING_MAX", 100)

    async with an_inviter() as (inviter, _), Bot("x") as bot, serving(swallow) as hole:

        def a_session_of(owner: str, endpoint: str) -> Session:
            session = after(a_session(a_service("x", "ASR", endpoint=endpoint)), *invited(0))
            return replace(session, owner=owner)

        rival = a_session_of("rival", f"http://127.0.0.1:{hole}/")

        async def end() -> None:
            await inviter.send_session_ended(rival, rival.services[0], "closed")

        ending = [asyncio.create_task(end()) for _ in range(BOUNDS.per_target + 100 + 50)]
        async with waiting_for("the messages that are dropped", lambda: len(ending)):
            while sum(task.done() for task in ending) < 50:
                await asyncio.sleep(0.01)
        assert all(isinstance(task.exception(), TooManyWaiting) for task in ending if task.done())
        acme = a_session_of("acme", bot.endpoint)
        await inviter.send_session_ended(acme, acme.services[0], "closed")
        assert len(bot.session_ended_messages) == 1
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

"""Sessions for tests, brought to where they are by the events that lead there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt
from manager_agent.session.events import Chosen, Event, Evidence, ParticipantInfo, ReadyOn, Signal
from manager_agent.session.participant import MISSED_FOR
from manager_agent.session.required_service import RequiredService, Requirement
from manager_agent.session.room import ROOM_MISSED_FOR
from manager_agent.session.session import Session, User
from manager_agent.session.transitions import apply

START = 1_000.0
"""When every session here was asked for."""
ASR, LLM, BOT = 0, 1, 2
"""The entries of the services below, in a session that needs them in this order."""


def a_service(
    service_id: str,
    type: str,
    endpoint: str | None = None,
    *,
    agent_name: str | None = None,
    ready_on: ReadyOn = ReadyOn.JOIN,
    by_id: bool = True,
) -> RequiredService:
    """An entry that got this instance, required by its id or by its type."""
    requirement = Requirement(service_id=service_id) if by_id else Requirement(type=type)
    return RequiredService(requirement, Attempt(Chosen(service_id, type, endpoint, agent_name, ready_on)))


def made_optional(service: RequiredService) -> RequiredService:
    return replace(service, requirement=replace(service.requirement, optional=True))


def with_instance(service: RequiredService, **fields: Any) -> RequiredService:
    """The entry with these fields of its instance changed."""
    instance = replace(service.current.instance, **fields)
    return replace(service, current=replace(service.current, instance=instance))


JOINS = a_service("asr-service", "ASR", "http://asr.example/invite")
SIGNALS = a_service("llm-service", "LLM", "http://llm.example/invite", ready_on=ReadyOn.SIGNAL)
AGENT = a_service("bot-service", "BOT", agent_name="bot")
IDENTITIES: dict[int, str | None] = {ASR: "sm-asr-1", LLM: "sm-llm-1", BOT: None}
"""The identities under which the first attempt of each entry is invited."""
MANAGER = "sm-manager-1"


def a_session(*services: RequiredService) -> Session:
    """One that was just asked for."""
    return Session("s1", "demo", User("alice"), START, services)


def after(session: Session, *events: Event) -> Session:
    return reduce(apply, events, session)


def requested(at: float = START) -> list[Event]:
    """The room is being made, and its manager dispatched with it."""
    return [ev.RoomRequested(at), ev.ManagerDispatched(at, 1, MANAGER)]


def created(at: float = START) -> list[Event]:
    return [*requested(at), ev.RoomCreated(at, "RM_1")]


def managed(at: float = START) -> list[Event]:
    """The room is made and its manager is in it."""
    return [*created(at), *in_charge(at)]


def in_charge(at: float) -> list[Event]:
    """The manager takes the room, according to a webhook."""
    return [ev.JobAccepted(at, MANAGER), seen(MANAGER, "PA_manager", at)]


def watched(at: float = START) -> list[Event]:
    """The room is made and its manager reports from it what it sees there."""
    return [*created(at), ev.JobAccepted(at, MANAGER), shown(MANAGER, "PA_manager", at)]


def invited(*entries: int, at: float = START) -> list[Event]:
    return [ev.InviteStarted(at, entry, 1, 1, IDENTITIES[entry], f"inv_{entry}") for entry in entries]


def accepted(*entries: int, at: float = START) -> list[Event]:
    return [ev.InviteAccepted(at, entry, 1, 1) for entry in entries]


def seen(
    identity: str,
    sid: str,
    at: float,
    *,
    joined_ms: int = 0,
    is_agent: bool = False,
    attributes: Mapping[str, str] | None = None,
) -> ev.ParticipantSeen:
    return ev.ParticipantSeen(at, ParticipantInfo(identity, sid, joined_ms, is_agent, attributes or {}))


def shown(identity: str, sid: str, at: float, by: str = MANAGER) -> ev.ParticipantSeen:
    """The manager sees the participant in the room."""
    return ev.ParticipantSeen(at, ParticipantInfo(identity, sid), seen_by=by)


def left(identity: str, sid: str, at: float) -> ev.ParticipantLeft:
    return ev.ParticipantLeft(at, identity, sid)


def signal(identity: str, what: Signal, at: float, evidence: Evidence = Evidence.MESSAGE) -> ev.ServiceSignalled:
    return ev.ServiceSignalled(at, identity, what, evidence)


def listed(
    at: float, *here: ParticipantInfo, asked_at: float | None = None, joining: tuple[str, ...] = ()
) -> ev.RoomListed:
    return ev.RoomListed(at, at if asked_at is None else asked_at, here, joining)


def unlisted(at: float, *here: ParticipantInfo) -> list[Event]:
    """As many listings, up to one at `at`, as it takes to believe that all others have left."""
    return [listed(when, *here) for when in (at - MISSED_FOR - 0.001, at - MISSED_FOR / 2, at)]


def room_requested_again(at: float) -> list[Event]:
    """A webhook says that the room is closed, and LiveKit is asked to make it again."""
    return [ev.RoomClosed(at, "RM_1"), ev.RoomRequested(at)]


def room_remade(at: float) -> list[Event]:
    """The same, and LiveKit has made another one."""
    return [*room_requested_again(at), ev.RoomCreated(at, "RM_2", "sm-manager-2")]


def room_missed(at: float) -> list[Event]:
    """As many answers that there is no such room, up to one at `at`, as it takes to believe it."""
    earlier: list[Event] = [
        ev.RoomMissed(when, when) for when in (at - ROOM_MISSED_FOR - 0.001, at - ROOM_MISSED_FOR / 2)
    ]
    return [*earlier, ev.RoomMissed(at, at, is_confirmed=True)]

"""Sessions for tests, brought to where they are by the events that lead there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Signal
from manager_agent.session.session import ReadyOn, RequiredService, Session, User
from manager_agent.session.transitions import apply

START = 1_000.0
"""When every session here was asked for."""
ASR, LLM, BOT = 0, 1, 2
"""The entries of the services below, in a session that needs them in this order."""
JOINS = RequiredService("asr-service", "ASR", endpoint="http://asr.example/invite", by_id=True)
SIGNALS = RequiredService(
    "llm-service", "LLM", endpoint="http://llm.example/invite", ready_on=ReadyOn.SIGNAL, by_id=True
)
AGENT = RequiredService("bot-service", "BOT", agent_name="bot", by_id=True)
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
    return [*created(at), ev.JobAccepted(at, MANAGER), seen(MANAGER, "PA_manager", at)]


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


def left(identity: str, sid: str, at: float) -> ev.ParticipantLeft:
    return ev.ParticipantLeft(at, identity, sid)


def signal(identity: str, what: Signal, at: float, evidence: Evidence = Evidence.MESSAGE) -> ev.ServiceSignalled:
    return ev.ServiceSignalled(at, identity, what, evidence)


def listed(
    at: float, *here: ParticipantInfo, asked_at: float | None = None, joining: tuple[str, ...] = ()
) -> ev.RoomListed:
    return ev.RoomListed(at, at if asked_at is None else asked_at, here, joining)

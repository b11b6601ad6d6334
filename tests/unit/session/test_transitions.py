"""What each event does to a session: every state x every event; then invites, managers and ends. Services becoming
ready, and not, are in test_readiness.py."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.deadlines import deadline
from manager_agent.session.dispatch import JOIN_TIMEOUT, RETURN_TIMEOUT, STAY
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.participant import StaleParticipant
from manager_agent.session.plan import Remove, Replace, SendInvite, plan
from manager_agent.session.service_transitions import LAST_ANSWER_GRACE, make_stale
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, BOT, LLM, START

pytestmark = pytest.mark.unit

NOW = START + 10
LATER = START + 100_000
ASR_HERE, LLM_HERE = ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm")
MANAGER_HERE, USER_HERE = ParticipantInfo(given.MANAGER, "PA_manager"), ParticipantInfo("alice", "PA_user")

# --- every state x every event ----------------------------------------------------------------------
#
# A cell says what comes of it:  =  nothing: the very same session comes back
#                                .  a fact is noted, the state stays
#                                a state, or the reason of an end: that is what the session becomes

OF_A_SESSION = """
                               | new       making    waiting   ready     active    away      degraded  ended     failed    orphan    lost      broken
RoomRequested                  | .         =         =         =         =         =         =         =         =         =         =         =
RoomCreated                    | =         .         =         =         =         =         =         =         =         .         .         .
RoomCreated, another one       | =         .         =         =         =         =         =         =         =         .         waiting   waiting
RoomRefused                    | =         room_unavailable =         =         =         =         =         =         =         .         .         .
RoomRefused, taken             | =         room_unavailable =         =         =         =         =         =         =         .         room_closed room_closed
RoomClosed                     | =         =         .         .         room_closed room_closed .         =         =         =         =         =
RoomClosed, any of that name   | =         =         .         .         room_closed room_closed .         =         =         =         =         =
RoomClosed, another one        | =         =         =         =         =         =         =         =         =         =         =         =
RoomMissed                     | =         =         .         .         .         .         .         =         =         =         .         .
RoomListed, services           | .         .         ready     .         .         .         ready     =         =         =         =         =
RoomListed, services and user  | .         .         active    active    .         active    active    =         =         =         =         =
RoomListed, empty              | .         .         .         .         .         .         .         =         =         =         =         =
RoomListed, all on their way   | .         .         .         .         .         .         .         =         =         =         =         =
RoomListed, empty, before      | .         .         .         .         .         .         .         =         =         =         =         =
ParticipantSeen, asr           | =         =         ready     =         =         =         =         =         =         =         =         =
ParticipantSeen, asr anew      | =         =         ready     .         .         .         ready     =         =         =         .         ready
ParticipantSeen, llm anew      | =         =         .         degraded  degraded  degraded  .         =         =         =         degraded  .
ParticipantSeen, the user      | .         .         .         active    =         =         .         =         =         =         active    .
ParticipantSeen, the user anew | .         .         .         active    .         active    .         =         =         =         active    .
ParticipantSeen, a stranger    | =         =         =         =         =         =         =         =         =         =         =         =
ParticipantSeen, the manager   | =         =         =         =         =         =         =         =         =         =         =         =
ParticipantLeft, asr           | =         =         .         degraded  degraded  degraded  =         =         =         =         degraded  =
ParticipantLeft, an older asr  | =         =         .         .         .         .         .         =         =         =         .         .
ParticipantLeft, llm           | =         =         .         degraded  degraded  degraded  .         =         =         =         degraded  .
ParticipantLeft, the user      | .         .         .         .         ready     =         .         =         =         =         .         .
ParticipantLeft, an older user | .         .         .         .         .         .         .         =         =         =         .         .
ParticipantLeft, a stranger    | =         =         =         =         =         =         =         =         =         =         =         =
ParticipantLeft, the manager   | =         =         .         .         .         .         .         =         =         =         .         .
WebhookArrived                 | .         .         .         .         .         .         .         =         =         =         .         .
ServiceSignalled, asr is ready | =         =         ready     =         =         =         =         =         =         =         =         =
ServiceSignalled, asr has failed| =         =         .         degraded  degraded  degraded  =         =         =         =         degraded  =
ServiceSignalled, asr is on it | =         =         =         =         =         =         =         =         =         =         =         =
ServiceSignalled, asr is draining| =         =         =         =         =         =         =         =         =         =         =         =
ServiceSignalled, a stranger   | =         =         =         =         =         =         =         =         =         =         =         =
JobAccepted                    | =         .         =         =         =         =         =         =         =         =         =         =
JobAccepted, another one       | =         .         =         =         =         =         =         =         =         =         =         =
ManagerWaited                  | =         =         =         =         =         =         =         =         =         =         =         =
ManagerDue                     | =         =         =         =         =         =         =         =         =         =         =         =
ManagerFailed                  | =         =         .         .         .         .         .         =         =         =         .         .
ManagerFailed, another one     | =         =         =         =         =         =         =         =         =         =         =         =
DeadlinePassed, too early      | =         =         =         =         =         =         =         =         =         =         =         =
DeadlinePassed                 | ready_timeout ready_timeout ready_timeout user_never_joined expired   user_left service_lost =         =         =         user_never_joined service_lost
ManagerDispatched, first       | .         =         =         =         =         =         =         =         =         =         =         =
ManagerDispatched, second      | =         .         =         =         =         =         =         =         =         =         =         =
Interrupted                    | =         .         .         =         =         =         =         =         =         .         .         .
Interrupted, another's manager | =         .         .         .         .         .         .         =         =         .         .         .
InviteStarted, first           | .         .         =         =         =         =         =         =         =         =         =         =
InviteStarted, again           | =         =         =         =         =         =         =         =         =         =         =         =
InviteStarted, next attempt    | =         =         =         degraded  degraded  degraded  .         =         =         =         degraded  .
InviteAccepted                 | =         =         .         =         =         =         =         =         =         =         =         =
InviteAccepted, an older try   | =         =         =         =         =         =         =         =         =         =         =         =
InviteRefused                  | =         =         .         =         =         =         =         =         =         =         =         =
InviteRefused, for good        | =         =         .         =         =         =         =         =         =         =         =         =
InviteRefused, an older try    | =         =         =         =         =         =         =         =         =         =         =         =
ListingStarted                 | .         .         .         .         .         .         .         =         =         =         .         .
ListingFailed                  | =         =         =         =         =         =         =         =         =         =         =         =
RemovalStarted                 | =         =         =         =         =         =         =         =         =         =         =         =
RemovalEnded                   | =         =         =         =         =         =         =         =         =         =         =         =
ReplacementHeld                | =         =         .         .         .         .         .         =         =         =         .         .
SessionClosed                  | closed    closed    closed    closed    closed    closed    closed    =         =         =         closed    closed
SessionClosed, client gone     | client_gone client_gone client_gone client_gone client_gone client_gone client_gone =         =         =         client_gone client_gone
TokenGiven                     | .         .         .         .         .         .         .         =         =         =         .         .
CleanUpStarted                 | =         =         =         =         =         =         =         .         .         .         =         =
CleanedUp                      | =         =         =         =         =         =         =         .         .         .         =         =
CleanUpFailed                  | =         =         =         =         =         =         =         =         =         =         =         =
"""  # noqa: E501 - a table

_waiting = given.after(
    given.a_session(given.JOINS, given.SIGNALS),
    *(*given.managed(), *given.invited(ASR, LLM), *given.accepted(LLM)),
    *(given.seen("sm-llm-1", "PA_llm", START + 1), given.signal("sm-llm-1", Signal.READY, START + 1)),
)
_ready = given.after(_waiting, ev.InviteAccepted(START + 2, ASR, 1, 1), given.seen("sm-asr-1", "PA_asr", START + 2))
_active = given.after(_ready, given.seen("alice", "PA_user", START + 3))
_degraded = given.after(_ready, given.left("sm-asr-1", "PA_asr", START + 3))
_making = given.after(given.a_session(given.JOINS, given.SIGNALS), *given.requested())
SESSIONS = {
    "new": given.a_session(given.JOINS, given.SIGNALS),
    "making": _making,
    "waiting": _waiting,
    "ready": _ready,
    "active": _active,
    "away": given.after(_active, given.left("alice", "PA_user", START + 4)),
    "degraded": _degraded,
    "ended": given.after(_active, ev.SessionClosed(START + 4)),
    "failed": given.after(_waiting, ev.DeadlinePassed(START + 30)),
    "orphan": given.after(_making, ev.SessionClosed(START + 4)),
    "lost": given.after(_ready, *given.room_requested_again(START + 5)),
    "broken": given.after(_degraded, *given.room_requested_again(START + 5)),
}
"""The session of each column: "away" is ready again as the user has left, "orphan" is over while its room is created,
"lost" is ready and "broken" degraded while its room is made again."""

# What becomes of the one service that a session needs; it has to say that it is ready.

OF_A_SERVICE = """
                               | pending  invited  refused  accepted joined   ready    lost     failed   dismissed
RoomRequested                  | =        =        =        =        =        =        =        =        =
RoomCreated                    | =        =        =        =        =        =        =        =        =
RoomCreated, another one       | =        =        =        =        =        =        =        =        =
RoomRefused                    | =        =        =        =        =        =        =        =        =
RoomRefused, taken             | =        =        =        =        =        =        =        =        =
RoomClosed                     | .        .        .        .        .        .        .        .        .
RoomClosed, any of that name   | .        .        .        .        .        .        .        .        .
RoomClosed, another one        | =        =        =        =        =        =        =        =        =
RoomMissed                     | .        .        .        .        .        .        .        .        .
RoomListed, services           | .        joined   joined   joined   .        .        ready    .        joined
RoomListed, services and user  | .        joined   joined   joined   .        .        ready    .        joined
RoomListed, empty              | .        .        .        .        .        .        .        .        .
RoomListed, all on their way   | .        .        .        .        .        .        .        .        .
RoomListed, empty, before      | .        .        .        .        .        .        .        .        .
ParticipantSeen, asr           | =        joined   joined   joined   =        =        =        =        joined
ParticipantSeen, asr anew      | =        joined   joined   joined   .        joined   joined   .        joined
ParticipantSeen, llm anew      | =        =        =        =        =        =        =        =        =
ParticipantSeen, the user      | .        .        .        .        .        .        .        .        .
ParticipantSeen, the user anew | .        .        .        .        .        .        .        .        .
ParticipantSeen, a stranger    | =        =        =        =        =        =        =        =        =
ParticipantSeen, the manager   | =        =        =        =        =        =        =        =        =
ParticipantLeft, asr           | =        .        .        .        lost     lost     =        .        .
ParticipantLeft, an older asr  | =        .        .        .        .        .        .        .        .
ParticipantLeft, llm           | =        =        =        =        =        =        =        =        =
ParticipantLeft, the user      | .        .        .        .        .        .        .        .        .
ParticipantLeft, an older user | .        .        .        .        .        .        .        .        .
ParticipantLeft, a stranger    | =        =        =        =        =        =        =        =        =
ParticipantLeft, the manager   | .        .        .        .        .        .        .        .        .
WebhookArrived                 | .        .        .        .        .        .        .        .        .
ServiceSignalled, asr is ready | =        ready    ready    ready    ready    =        =        =        ready
ServiceSignalled, asr has failed| =        failed   failed   failed   failed   failed   =        =        .
ServiceSignalled, asr is on it | =        =        =        =        =        =        =        =        =
ServiceSignalled, asr is draining| =        =        =        =        =        =        =        =        =
ServiceSignalled, a stranger   | =        =        =        =        =        =        =        =        =
JobAccepted                    | =        =        =        =        =        =        =        =        =
JobAccepted, another one       | =        =        =        =        =        =        =        =        =
ManagerWaited                  | =        =        =        =        =        =        =        =        =
ManagerDue                     | =        =        =        =        =        =        =        =        =
ManagerFailed                  | .        .        .        .        .        .        .        .        .
ManagerFailed, another one     | =        =        =        =        =        =        =        =        =
DeadlinePassed, too early      | =        =        =        =        =        =        =        =        =
DeadlinePassed                 | .        .        .        .        .        .        .        .        .
ManagerDispatched, first       | =        =        =        =        =        =        =        =        =
ManagerDispatched, second      | =        =        =        =        =        =        =        =        =
Interrupted                    | =        .        =        =        =        =        =        =        =
Interrupted, another's manager | .        .        .        .        .        .        .        .        .
InviteStarted, first           | invited  =        =        =        =        =        =        =        =
InviteStarted, again           | =        =        .        .        =        =        =        =        =
InviteStarted, next attempt    | =        =        .        invited  invited  invited  invited  invited  invited
InviteAccepted                 | =        accepted =        =        =        =        =        =        =
InviteAccepted, an older try   | =        =        =        =        =        =        =        =        =
InviteRefused                  | =        .        =        =        =        =        =        =        =
InviteRefused, for good        | =        failed   =        =        =        =        =        =        =
InviteRefused, an older try    | =        =        =        =        =        =        =        =        =
ListingStarted                 | .        .        .        .        .        .        .        .        .
ListingFailed                  | =        =        =        =        =        =        =        =        =
RemovalStarted                 | =        =        =        =        =        =        =        =        =
RemovalEnded                   | =        =        =        =        =        =        =        =        =
ReplacementHeld                | =        .        .        .        .        .        .        .        .
SessionClosed                  | .        .        .        .        .        .        .        .        .
SessionClosed, client gone     | .        .        .        .        .        .        .        .        .
TokenGiven                     | .        .        .        .        .        .        .        .        .
CleanUpStarted                 | =        =        =        =        =        =        =        =        =
CleanedUp                      | =        =        =        =        =        =        =        =        =
CleanUpFailed                  | =        =        =        =        =        =        =        =        =
"""

_pending = given.after(given.a_session(given.with_instance(given.SIGNALS, service_id="asr-service")), *given.managed())
_invited = given.after(_pending, *given.invited(ASR))
_accepted = given.after(_invited, *given.accepted(ASR))
_joined = given.after(_accepted, given.seen("sm-asr-1", "PA_asr", START + 1))
_said_ready = given.after(_joined, given.signal("sm-asr-1", Signal.READY, START + 2))
SERVICES = {
    "pending": _pending,
    "invited": _invited,
    "refused": given.after(_invited, ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.UNREACHABLE)),
    "accepted": _accepted,
    "joined": _joined,
    "ready": _said_ready,
    "lost": given.after(_said_ready, given.left("sm-asr-1", "PA_asr", START + 3)),
    "failed": given.after(_said_ready, given.signal("sm-asr-1", Signal.FAILED, START + 3)),
    "dismissed": given.after(_invited, ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.DECLINED, final=True)),
}
"""The service of each column: "refused" will be invited again; "dismissed" has failed and will not."""

EVENTS: dict[str, Event] = {
    "RoomRequested": ev.RoomRequested(NOW),
    "RoomCreated": ev.RoomCreated(NOW, "RM_1"),
    "RoomCreated, another one": ev.RoomCreated(NOW, "RM_2", "sm-manager-2"),
    "RoomRefused": ev.RoomRefused(NOW),
    "RoomRefused, taken": ev.RoomRefused(NOW, taken=True),
    "RoomClosed": ev.RoomClosed(NOW, "RM_1"),
    "RoomClosed, any of that name": ev.RoomClosed(NOW),
    "RoomClosed, another one": ev.RoomClosed(NOW, "RM_0"),
    "RoomMissed": ev.RoomMissed(NOW, NOW),
    "RoomListed, services": given.listed(NOW, MANAGER_HERE, ASR_HERE, LLM_HERE),
    "RoomListed, services and user": given.listed(NOW, MANAGER_HERE, ASR_HERE, LLM_HERE, USER_HERE),
    "RoomListed, empty": given.listed(NOW, asked_at=NOW - 0.01),
    "RoomListed, all on their way": given.listed(NOW, joining=(given.MANAGER, "sm-asr-1", "sm-llm-1", "alice")),
    "RoomListed, empty, before": given.listed(NOW, asked_at=START - 0.01),
    "ParticipantSeen, asr": given.seen("sm-asr-1", "PA_asr", NOW),
    "ParticipantSeen, asr anew": given.seen("sm-asr-1", "PA_asr2", NOW),
    "ParticipantSeen, llm anew": given.seen("sm-llm-1", "PA_llm2", NOW),
    "ParticipantSeen, the user": given.seen("alice", "PA_user", NOW),
    "ParticipantSeen, the user anew": given.seen("alice", "PA_user2", NOW),
    "ParticipantSeen, a stranger": given.seen("mallory", "PA_m", NOW, attributes={"session.state": "ready"}),
    "ParticipantSeen, the manager": given.seen(given.MANAGER, "PA_manager", NOW),
    "ParticipantLeft, asr": given.left("sm-asr-1", "PA_asr", NOW),
    "ParticipantLeft, an older asr": given.left("sm-asr-1", "PA_asr0", NOW),
    "ParticipantLeft, llm": given.left("sm-llm-1", "PA_llm", NOW),
    "ParticipantLeft, the user": given.left("alice", "PA_user", NOW),
    "ParticipantLeft, an older user": given.left("alice", "PA_user0", NOW),
    "ParticipantLeft, a stranger": given.left("mallory", "PA_asr", NOW),
    "ParticipantLeft, the manager": given.left(given.MANAGER, "PA_manager", NOW),
    "WebhookArrived": ev.WebhookArrived(NOW),
    "ServiceSignalled, asr is ready": given.signal("sm-asr-1", Signal.READY, NOW),
    "ServiceSignalled, asr has failed": given.signal("sm-asr-1", Signal.FAILED, NOW),
    "ServiceSignalled, asr is on it": given.signal("sm-asr-1", Signal.PROGRESS, NOW),
    "ServiceSignalled, asr is draining": given.signal("sm-asr-1", Signal.DRAINING, NOW),
    "ServiceSignalled, a stranger": given.signal("asr-service", Signal.READY, NOW),
    "JobAccepted": ev.JobAccepted(NOW, given.MANAGER),
    "JobAccepted, another one": ev.JobAccepted(NOW, "sm-manager-9"),
    "ManagerWaited": ev.ManagerWaited(NOW, given.MANAGER),
    "ManagerDue": ev.ManagerDue(NOW),
    "ManagerFailed": ev.ManagerFailed(NOW, given.MANAGER),
    "ManagerFailed, another one": ev.ManagerFailed(NOW, "sm-manager-9"),
    "DeadlinePassed, too early": ev.DeadlinePassed(NOW),
    "DeadlinePassed": ev.DeadlinePassed(LATER),
    "ManagerDispatched, first": ev.ManagerDispatched(NOW, 1, given.MANAGER),
    "ManagerDispatched, second": ev.ManagerDispatched(NOW, 2, "sm-manager-2"),
    "Interrupted": ev.Interrupted(NOW),
    "Interrupted, another's manager": ev.Interrupted(NOW, manager_at=NOW + 1),
    "InviteStarted, first": ev.InviteStarted(NOW, ASR, 1, 1, "sm-asr-1", "inv_0"),
    "InviteStarted, again": ev.InviteStarted(NOW, ASR, 1, 2, "sm-asr-1", "inv_0"),
    "InviteStarted, next attempt": ev.InviteStarted(NOW, ASR, 2, 1, "sm-asr-2", "inv_0b"),
    "InviteAccepted": ev.InviteAccepted(NOW, ASR, 1, 1),
    "InviteAccepted, an older try": ev.InviteAccepted(NOW, ASR, 1, 0),
    "InviteRefused": ev.InviteRefused(NOW, ASR, 1, 1, Refusal.UNREACHABLE),
    "InviteRefused, for good": ev.InviteRefused(NOW, ASR, 1, 1, Refusal.DECLINED, final=True),
    "InviteRefused, an older try": ev.InviteRefused(NOW, ASR, 1, 0, Refusal.UNREACHABLE),
    "ListingStarted": ev.ListingStarted(NOW),
    "RemovalStarted": ev.RemovalStarted(NOW, "sm-asr-0"),
    "RemovalEnded": ev.RemovalEnded(NOW, "sm-asr-0", removed=True),
    "ReplacementHeld": ev.ReplacementHeld(NOW, ASR, 1, until=NOW + 1),
    "ListingFailed": ev.ListingFailed(NOW, asked_at=NOW - 1),
    "SessionClosed": ev.SessionClosed(NOW),
    "SessionClosed, client gone": ev.SessionClosed(NOW, by_client_gone=True),
    "TokenGiven": ev.TokenGiven(NOW, "alice"),
    "CleanUpStarted": ev.CleanUpStarted(NOW),
    "CleanedUp": ev.CleanedUp(NOW),
    "CleanUpFailed": ev.CleanUpFailed(NOW),
}
STILL_COUNT_AFTER_THE_END = (
    ev.RoomCreated,
    ev.RoomRefused,
    ev.Interrupted,
    ev.CleanUpStarted,
    ev.CleanedUp,
    ev.CleanUpFailed,
)
OVER = {SessionState.ENDED, SessionState.FAILED}


def cells(table: str) -> list[tuple[str, str, str]]:
    """Each cell of a table as (column, row, content)."""
    head, *rows = (line.split("|") for line in table.strip("\n").splitlines())
    columns = head[1].split()
    return [
        (column, row.strip(), cell) for row, found in rows for column, cell in zip(columns, found.split(), strict=True)
    ]


def columns_and_rows(table: str) -> tuple[set[str], set[str]]:
    found = cells(table)
    assert len(found) == len({(column, row) for column, row, _ in found}), "a row stands in the table twice"
    return {column for column, _, _ in found}, {row for _, row, _ in found}


def became(before: Session, now: Session) -> str:
    """The cell for the effect of an event on a session."""
    if now is before:
        return "="
    if now.state is before.state:
        return "."
    return now.end.reason if now.end else now.state


def became_service(before: Session, now: Session) -> str:
    if now is before:
        return "="
    was, is_now = before.services[0].state, now.services[0].state
    return "." if was is is_now else is_now


def visible(session: Session) -> object:
    """What is visible of a session, apart from its revision."""
    services = [
        (s.service_id, s.type, s.state, s.ready_by, s.attempt, s.timeline, session.reason_of(s))
        for s in session.services
    ]
    ended = (session.end.at, session.end.reason) if session.end else None
    return session.state, services, session.ready_at, ended, session.manager.identity


@pytest.mark.parametrize(("column", "row", "expected"), cells(OF_A_SESSION))
def test_every_session_state_reacts_to_every_event_as_in_the_table(column: str, row: str, expected: str) -> None:
    """Cell by cell."""
    assert became(SESSIONS[column], apply(SESSIONS[column], EVENTS[row])) == expected


@pytest.mark.parametrize(("column", "row", "expected"), cells(OF_A_SERVICE))
def test_every_service_state_reacts_to_every_event_as_in_the_table(column: str, row: str, expected: str) -> None:
    """Cell by cell."""
    assert became_service(SERVICES[column], apply(SERVICES[column], EVENTS[row])) == expected


def test_the_transition_tables_have_every_state_and_every_event() -> None:
    """A new state or a new type of event fails here until both tables have it."""
    assert {type(event) for event in EVENTS.values()} == set(get_args(Event))
    assert {session.state for session in SESSIONS.values()} == set(SessionState)
    assert {session.services[0].state for session in SERVICES.values()} == set(ServiceState)
    assert columns_and_rows(OF_A_SESSION) == (set(SESSIONS), set(EVENTS))
    assert columns_and_rows(OF_A_SERVICE) == (set(SERVICES), set(EVENTS))


def test_every_column_of_the_tables_is_in_the_state_of_its_name() -> None:
    """The sessions of the tables are where their names say they are."""
    others = {
        "new": "waiting",
        "making": "waiting",
        "away": "ready",
        "orphan": "ended",
        "lost": "ready",
        "broken": "degraded",
    }
    assert {name: session.state for name, session in SESSIONS.items()} == {n: others.get(n, n) for n in SESSIONS}
    others = {"refused": "invited", "dismissed": "failed"}
    assert {n: s.services[0].state for n, s in SERVICES.items()} == {n: others.get(n, n) for n in SERVICES}


def test_the_transition_table_has_exactly_the_arrows_of_the_diagram() -> None:
    """From waiting to ready and back only with another room, round and round between ready, active and degraded, and
    out."""
    arrows = set()
    for column, row, _ in cells(OF_A_SESSION):
        was, is_now = SESSIONS[column].state, apply(SESSIONS[column], EVENTS[row]).state
        arrows |= {f"{was} -> {is_now}"} if was is not is_now else set()
    alive = ("waiting", "ready", "active", "degraded")
    assert arrows - {f"{state} -> {end}" for state in alive for end in ("ended", "failed")} == {
        "waiting -> ready",
        "waiting -> active",  # all services are in the end ready, and the user was there first
        "ready -> active",
        "active -> ready",
        "ready -> degraded",
        "active -> degraded",
        "degraded -> ready",
        "degraded -> active",  # a service that was lost is back, and the user is there
        "ready -> waiting",  # the room was lost and made again
        "degraded -> waiting",
    }
    assert {f"{state} -> ended" for state in alive} | {"waiting -> failed", "degraded -> failed"} <= arrows


EVERY_SESSION = {**SESSIONS, **SERVICES}
every_event = pytest.mark.parametrize("event", list(EVENTS.values()), ids=list(EVENTS))


@every_event
def test_an_event_applied_twice_changes_nothing_the_second_time(event: Event) -> None:
    """In every state the same object comes back, and so the revision stays."""
    for column, session in EVERY_SESSION.items():
        once = apply(session, event)
        assert apply(once, event) is once, column


@every_event
def test_the_revision_counts_visible_changes(event: Event) -> None:
    """It goes up by one when something visible changed, and otherwise not at all."""
    for column, session in EVERY_SESSION.items():
        once = apply(session, event)
        assert once.revision - session.revision == (visible(once) != visible(session)), column
        assert (once is session) == (once == session), column


@every_event
def test_state_since_is_the_time_of_the_event_that_changed_the_state(event: Event) -> None:
    """It moves with the state and not otherwise; the deadlines count from it."""
    for column, session in EVERY_SESSION.items():
        once = apply(session, event)
        is_same = once.state is session.state
        assert once.state_since == (session.state_since if is_same else event.at), column
        assert once.state_revision == (session.state_revision if is_same else once.revision), column


@every_event
@pytest.mark.parametrize("column", ["ended", "failed", "orphan"])
def test_the_end_of_a_session_is_final(column: str, event: Event) -> None:
    """Only its clean-up goes on, and the outcome of a room that was being created."""
    session = SESSIONS[column]
    once = apply(session, event)
    assert visible(once) == visible(session)
    if not isinstance(event, STILL_COUNT_AFTER_THE_END):
        assert once is session


# --- invites ----------------------------------------------------------------------------------------


def test_the_retry_of_an_invite_keeps_its_attempt_identity_and_id() -> None:
    """The reason of the last refusal stays visible until one try is accepted."""
    refused = given.after(
        given.a_session(given.JOINS),
        *given.managed(),
        *given.invited(ASR),
        ev.InviteRefused(NOW, ASR, 1, 1, Refusal.UNREACHABLE),
    )
    again = apply(refused, ev.InviteStarted(NOW + 1, ASR, 1, 2, "sm-asr-1", "inv_0"))
    done = apply(again, ev.InviteAccepted(NOW + 2, ASR, 1, 2))
    assert [s.reason_of(s.services[ASR]) for s in (refused, again, done)] == ["unreachable", "unreachable", None]
    service = done.services[ASR]
    assert (service.attempt, service.current.tries, service.identity, service.invite_id) == (1, 2, "sm-asr-1", "inv_0")
    assert (service.timeline.invited, service.timeline.accepted) == (START, NOW + 2)


def test_an_attempt_keeps_what_its_last_try_was_answered() -> None:
    sent = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR))
    refused = apply(sent, ev.InviteRefused(NOW, ASR, 1, 1, Refusal.UNREACHABLE, detail="no answer"))
    attempt = refused.services[ASR].current
    assert (attempt.refusal, attempt.refusal_detail, attempt.refused_at) == (Refusal.UNREACHABLE, "no answer", NOW)
    assert attempt.retry_at > NOW
    again = apply(refused, ev.InviteStarted(NOW + 1, ASR, 1, 2, "sm-asr-1", "inv_0"))
    assert again.services[ASR].current.resent_at == NOW + 1
    done = apply(again, ev.InviteAccepted(NOW + 2, ASR, 1, 2)).services[ASR].current
    assert (done.refusal, done.refusal_detail) == (None, None)


def test_an_attempt_that_refuses_remembers_whether_it_had_accepted() -> None:
    sent = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR))
    refused = ev.InviteRefused(NOW, ASR, 1, 1, Refusal.DECLINED)
    assert not apply(sent, refused).services[ASR].current.was_accepted
    again = given.after(
        apply(sent, ev.InviteAccepted(START, ASR, 1, 1)),
        ev.Interrupted(START + 1),
        ev.InviteStarted(START + 2, ASR, 1, 2, "sm-asr-1", "inv_0"),
    )
    assert apply(again, replace(refused, tries=2)).services[ASR].current.was_accepted


def test_an_invite_that_is_sent_again_is_no_longer_interrupted() -> None:
    sent = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), ev.Interrupted(NOW))
    assert sent.services[ASR].current.is_interrupted
    again = apply(sent, ev.InviteStarted(NOW + 1, ASR, 1, 2, "sm-asr-1", "inv_0"))
    assert not again.services[ASR].current.is_interrupted


@pytest.mark.parametrize(
    "late", [ev.InviteAccepted(NOW, ASR, 1, 1), ev.InviteRefused(NOW, ASR, 1, 1, Refusal.DECLINED)]
)
def test_the_answer_to_an_earlier_try_changes_nothing(late: Event) -> None:
    """Only the current try has an outcome."""
    session = given.after(
        given.a_session(given.JOINS),
        *(*given.managed(), *given.invited(ASR), ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.UNREACHABLE)),
        ev.InviteStarted(START + 2, ASR, 1, 2, "sm-asr-1", "inv_0"),
    )
    assert apply(session, late) is session


def test_a_service_that_joins_although_it_refused_is_ready() -> None:
    """A timeout on our side does not mean that the invite did not arrive."""
    refused = ev.InviteRefused(NOW, ASR, 1, 1, Refusal.UNREACHABLE, final=True)
    session = given.after(
        given.a_session(given.JOINS),
        *given.managed(),
        *given.invited(ASR),
        refused,
        given.seen("sm-asr-1", "PA_1", NOW + 1),
    )
    assert (session.state, session.reason_of(session.services[ASR])) == (SessionState.READY, None)


def test_a_service_that_refuses_an_accepted_invite_is_no_longer_late() -> None:
    """It was killed, say. When it accepts again it has all its time again."""
    asked = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), *given.accepted(ASR))
    again = given.after(asked, ev.InviteStarted(NOW, ASR, 1, 2, "sm-asr-1", "inv_0"))
    refused = given.after(again, ev.InviteRefused(NOW, ASR, 1, 2, Refusal.UNREACHABLE)).services[ASR]
    assert (refused.state, refused.current.overdue_since, refused.current.refused) == (ServiceState.INVITED, None, True)
    back = given.after(again, ev.InviteRefused(NOW, ASR, 1, 2, Refusal.UNREACHABLE))
    back = given.after(
        back, ev.InviteStarted(NOW + 1, ASR, 1, 3, "sm-asr-1", "inv_0"), ev.InviteAccepted(NOW + 2, ASR, 1, 3)
    )
    assert back.services[ASR].current.overdue_since == NOW + 2


def test_a_service_that_signals_ready_although_it_refused_has_not_failed() -> None:
    """Our call timed out, and it called us."""
    refused = ev.InviteRefused(NOW, ASR, 1, 1, Refusal.UNREACHABLE)
    session = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), refused)
    ready = apply(session, given.signal("sm-asr-1", Signal.READY, NOW + 0.1, Evidence.HTTP))
    assert ready.services[ASR].state is ServiceState.READY
    assert [a for a in plan(ready, NOW + 1).actions if isinstance(a, Replace | SendInvite)] == []


@pytest.mark.parametrize(
    ("events", "while_alive", "in_the_end"),
    [
        ([], None, "never_joined"),
        ([*given.invited(ASR)], None, "never_joined"),
        ([*given.invited(ASR), *given.accepted(ASR)], None, "never_joined"),
        ([*given.invited(ASR), ev.InviteRefused(NOW, ASR, 1, 1, Refusal.DECLINED)], "declined", "declined"),
        ([*given.invited(ASR), ev.InviteRefused(NOW, ASR, 1, 1, Refusal.UNREACHABLE)], "unreachable", "unreachable"),
        ([*given.invited(ASR), ev.InviteRefused(NOW, ASR, 1, 1, Refusal.NO_WORKER)], "no_worker", "no_worker"),
        ([*given.invited(ASR), given.seen("sm-asr-1", "PA_1", NOW)], None, "joined_not_ready"),
        (
            [*given.invited(ASR), given.seen("sm-asr-1", "PA_1", NOW), given.left("sm-asr-1", "PA_1", NOW)],
            "left",
            "left",
        ),
        ([*given.invited(ASR), given.signal("sm-asr-1", Signal.FAILED, NOW)], "reported_failure", "reported_failure"),
    ],
)
def test_a_service_that_is_not_ready_has_a_reason(
    events: list[Event], while_alive: str | None, in_the_end: str
) -> None:
    """While it may still come, only what is known to be wrong; when time is up, the whole truth."""
    session = given.after(given.a_session(given.SIGNALS), *given.managed(), *events)
    assert session.reason_of(session.services[ASR]) == while_alive
    over = apply(session, ev.DeadlinePassed(START + 30))
    assert (over.end and over.end.reason, over.reason_of(over.services[ASR])) == ("ready_timeout", in_the_end)


# --- the user ---------------------------------------------------------------------------------------


def test_a_phone_is_in_the_room_once_its_call_is_established() -> None:
    """LiveKit SIP joins the room before the phone is picked up. What its status is later does not end its stay."""
    session = given.after(given.a_session(), *given.managed())
    ringing, talking = (ParticipantInfo("alice", "PA_a", is_ringing=ringing) for ringing in (True, False))
    seen_ringing = (ev.ParticipantSeen(NOW, ringing), given.listed(NOW + 1, ringing))
    assert given.after(session, *seen_ringing).state == "ready"
    active = given.after(session, *seen_ringing, ev.ParticipantSeen(NOW + 2, talking))
    assert (active.state, active.user_joined_at) == ("active", NOW + 2)
    assert given.after(active, ev.ParticipantSeen(NOW + 3, ringing), given.listed(NOW + 4, ringing)).state == "active"
    gone = given.after(session, *seen_ringing, given.left("alice", "PA_a", NOW + 2))
    assert (gone.state, gone.user_joined_at) == ("ready", None)


# --- dispatched agents ------------------------------------------------------------------------------

BOT_NAME = {"lk.agent.name": "bot"}


def test_a_dispatched_agent_is_not_dispatched_again_for_the_same_attempt() -> None:
    """That would be a second job. A dispatch that failed is repeated."""
    session = given.after(
        given.a_session(given.AGENT), *given.managed(), ev.InviteStarted(START, ASR, 1, 1, None, "inv_0")
    )
    again = ev.InviteStarted(NOW + 5, ASR, 1, 2, None, "inv_0")
    accepted_it = apply(session, ev.InviteAccepted(START, ASR, 1, 1))
    assert apply(accepted_it, again) is accepted_it
    refused_it = apply(session, ev.InviteRefused(START, ASR, 1, 1, Refusal.UNREACHABLE))
    assert apply(refused_it, again).services[ASR].current.in_flight


def test_an_agent_has_the_identity_that_livekit_gave_it_unless_it_had_one() -> None:
    session = given.after(
        given.a_session(given.AGENT), *given.managed(), ev.InviteStarted(START, ASR, 1, 1, None, "inv_0")
    )
    accepted = apply(session, ev.InviteAccepted(NOW, ASR, 1, 1, "agent-AJ_1"))
    assert accepted.services[ASR].identity == "agent-AJ_1"
    joined = apply(session, given.seen("agent-AJ_2", "PA_2", NOW, is_agent=True, attributes=BOT_NAME))
    assert apply(joined, ev.InviteAccepted(NOW + 1, ASR, 1, 1, "agent-AJ_1")).services[ASR].identity == "agent-AJ_2"
    stale = make_stale(session, StaleParticipant("agent-AJ_1"))
    assert apply(stale, ev.InviteAccepted(NOW, ASR, 1, 1, "agent-AJ_1")).services[ASR].identity is None


def test_a_second_agent_of_the_same_name_is_removed() -> None:
    """It was dispatched twice. The first to join is the service; one that joins once the service has left takes
    over."""
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS, given.AGENT), *given.managed(), *given.invited(ASR, LLM, BOT)
    )
    first, second, third = (
        given.seen(f"agent-AJ_{n}", f"PA_{n}", NOW + n, is_agent=True, attributes=BOT_NAME) for n in (1, 2, 3)
    )
    both = given.after(session, first, second)
    assert both.services[BOT].identity == "agent-AJ_1"
    assert [a for a in plan(both, NOW + 2).actions if isinstance(a, Remove)] == [Remove("agent-AJ_2")]
    alone = given.after(session, first, given.left("agent-AJ_1", "PA_1", NOW + 2), third)
    assert (alone.services[BOT].identity, alone.stale_participants) == ("agent-AJ_3", ())
    assert apply(alone, first) is alone, "told once more, though it has left"


def test_a_stale_participant_is_known_by_its_service_and_attempt() -> None:
    """So that the log can name it when it is removed. A manager has neither."""
    failed = given.signal("sm-asr-1", Signal.FAILED, NOW)
    session = given.after(
        given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), *given.accepted(ASR), failed
    )
    again = apply(session, ev.InviteStarted(NOW + 1, ASR, 2, 1, "sm-asr-2", "inv_2"))
    removed = again.stale_participant("sm-asr-1")
    assert removed is not None
    assert removed.log_fields == {"identity": "sm-asr-1", "service_id": "asr-service", "attempt": 1}
    assert removed.not_before == NOW + 1 + LAST_ANSWER_GRACE
    alone = apply(session, ev.ManagerFailed(NOW, given.MANAGER)).stale_participant(given.MANAGER)
    assert alone is not None
    assert alone.log_fields == {"identity": given.MANAGER}


def test_a_stale_participant_is_here_until_its_removal_succeeded() -> None:
    session = given.after(given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), *given.accepted(ASR))
    session = given.after(session, given.seen("sm-asr-1", "PA_1", NOW), given.signal("sm-asr-1", Signal.FAILED, NOW))
    session = given.after(
        session,
        ev.InviteStarted(NOW + 1, ASR, 2, 1, "sm-asr-2", "inv_2"),
        ev.RemovalStarted(NOW + 2, "sm-asr-1"),
    )
    assert session.stale_participants[0].removing == "PA_1"
    for is_removed in (False, True):
        [stale] = apply(session, ev.RemovalEnded(NOW + 3, "sm-asr-1", removed=is_removed)).stale_participants
        assert (stale.removing, stale.presence.here) == (None, not is_removed)


def test_agents_that_we_did_not_dispatch_are_left_alone() -> None:
    """They have another name, or none, or no agent was dispatched under theirs."""
    session = given.after(given.a_session(given.AGENT), *given.managed())
    assert apply(session, given.seen("agent-AJ_1", "PA_1", NOW, is_agent=True, attributes=BOT_NAME)) is session
    ready = given.after(session, ev.InviteStarted(START, ASR, 1, 1, None, "inv_0"))
    ready = apply(ready, given.seen("agent-AJ_1", "PA_1", NOW, is_agent=True, attributes=BOT_NAME))
    for attributes in ({}, {"lk.agent.name": "another"}):
        assert apply(ready, given.seen("agent-AJ_2", "PA_2", NOW, is_agent=True, attributes=attributes)) is ready
    assert apply(ready, given.seen("bob", "PA_3", NOW, attributes=BOT_NAME)) is ready


# --- the manager ------------------------------------------------------------------------------------


def test_the_first_manager_to_accept_is_in_charge() -> None:
    """Also one that was dispatched earlier and is slow; the other finds that it is not, and declines."""
    session = given.after(
        given.a_session(given.JOINS), *given.created(), ev.ManagerDispatched(START + 2, 2, "sm-manager-2")
    )
    slow = apply(session, ev.JobAccepted(START + 3, given.MANAGER))
    assert (slow.manager.identity, slow.manager.accepted_at) == (given.MANAGER, START + 3)
    assert apply(slow, ev.JobAccepted(START + 3.1, "sm-manager-2")) is slow


def test_a_job_is_not_accepted_for_a_session_that_dispatched_none() -> None:
    """A job of another session, or of an earlier session of the room."""
    session = given.a_session(given.JOINS)
    assert apply(session, ev.JobAccepted(NOW, given.MANAGER)) is session


def test_a_manager_is_not_replaced_before_its_time_to_join_is_over() -> None:
    """Never two managers at once because one was slow. A dispatch that was decided on before does not count."""
    session = given.after(given.a_session(given.JOINS), *given.created(), ev.JobAccepted(START + 1.9, given.MANAGER))
    over = START + 1.9 + JOIN_TIMEOUT
    assert apply(session, ev.ManagerDispatched(START + 2, 2, "sm-manager-2")) is session
    assert apply(session, ev.ManagerDispatched(over - 0.1, 2, "sm-manager-2")) is session
    assert apply(session, ev.ManagerDispatched(over, 2, "sm-manager-2")).manager.attempt == 2


def test_the_time_to_join_counts_from_when_a_manager_last_waited_for_its_turn() -> None:
    """After a burst of new sessions its process lets hundreds join before it. What another one says does not count."""
    accepted = given.after(given.a_session(given.JOINS), *given.created(), ev.JobAccepted(START + 1, given.MANAGER))
    waiting = given.after(
        accepted, ev.ManagerWaited(START + 8, given.MANAGER), ev.ManagerWaited(START + 16, given.MANAGER)
    )
    assert waiting.manager.next_dispatch_at == START + 16 + JOIN_TIMEOUT
    assert waiting.manager.accepted_at == START + 1
    assert apply(waiting, ev.ManagerWaited(START + 17, "sm-manager-9")) is waiting
    later = given.after(waiting, ev.ManagerDispatched(START + 16 + JOIN_TIMEOUT, 2, "sm-manager-2"))
    assert later.manager.waited_at is None


def test_a_manager_that_is_gone_can_not_come_back() -> None:
    """Another one is due at once, as it had stayed a while, under a new identity."""
    session = given.after(given.a_session(given.JOINS), *given.managed(), ev.ManagerFailed(NOW + STAY, given.MANAGER))
    assert (session.manager.in_charge, session.manager.next_dispatch_at) == (False, NOW + STAY)
    assert apply(session, ev.JobAccepted(NOW + STAY, given.MANAGER)) is session
    at = NOW + STAY + 1
    replaced = given.after(
        session,
        ev.ManagerDispatched(at, 2, "sm-manager-2"),
        ev.JobAccepted(at, "sm-manager-2"),
        given.seen("sm-manager-2", "PA_m2", at),
    )
    assert (replaced.manager.identity, replaced.manager.presence.here) == ("sm-manager-2", True)
    assert apply(replaced, given.left(given.MANAGER, "PA_manager", at)).manager is replaced.manager
    assert apply(replaced, ev.ManagerFailed(at, given.MANAGER)) is replaced


def test_a_manager_that_joins_too_late_is_removed() -> None:
    """Its connect was given up, but gets through: the room must not have two managers."""
    session = given.after(
        given.a_session(given.JOINS),
        *given.managed(),
        given.left(given.MANAGER, "PA_manager", NOW),
        ev.ManagerFailed(NOW, given.MANAGER),
    )
    assert Remove(given.MANAGER) not in plan(session, NOW).actions
    late = apply(session, given.seen(given.MANAGER, "PA_late", NOW + 1))
    assert Remove(given.MANAGER) in plan(late, NOW + 1).actions
    assert late.manager == session.manager


@pytest.mark.parametrize(
    "end",
    [[given.left(given.MANAGER, "PA_manager", NOW)], given.unlisted(NOW)],
    ids=["left", "not listed"],
)
def test_a_manager_that_left_may_reconnect_before_it_is_replaced(end: list[Event]) -> None:
    """The SDK reconnects under the same identity; no other manager is dispatched meanwhile, but soon after."""
    session = given.after(given.a_session(given.JOINS), *given.managed(), *end)
    assert (session.manager.in_charge, session.manager.next_dispatch_at) == (True, NOW + RETURN_TIMEOUT)
    back = apply(session, given.seen(given.MANAGER, "PA_manager_again", NOW + 1))
    assert (back.manager.presence.here, back.manager.attempt) == (True, 1)
    replaced = apply(session, ev.ManagerDispatched(NOW + RETURN_TIMEOUT, 2, "sm-manager-2"))
    assert (replaced.manager.identity, replaced.manager.in_charge) == ("sm-manager-2", False)


def test_managers_that_do_not_stay_are_dispatched_with_growing_pauses() -> None:
    """A manager that does not stay counts as a failure."""
    session, now, pauses = given.after(given.a_session(), *given.managed()), NOW, []
    for attempt in range(1, 6):
        session = given.after(session, ev.ManagerFailed(now, session.manager.identity or ""))
        pauses.append(session.manager.next_dispatch_at - now)
        now, identity = session.manager.next_dispatch_at, f"sm-manager-{attempt + 1}"
        came = (ev.JobAccepted(now, identity), given.seen(identity, f"PA_m{attempt + 1}", now))
        session = given.after(session, ev.ManagerDispatched(now, attempt + 1, identity), *came)
    assert pauses[0] < 0.5
    assert pauses[-1] > 1.5


def test_every_second_job_of_managers_that_do_not_come_is_left_to_livekit() -> None:
    session, taken = given.after(given.a_session(), *given.created()), []
    for attempt in range(2, 7):
        taken.append(session.manager.is_taken_at_once)
        at = session.manager.next_dispatch_at
        session = given.after(session, ev.ManagerDispatched(at, attempt, f"sm-manager-{attempt}"))
    assert taken == [True, False, True, False, True]


def test_job_is_taken_only_while_its_manager_is_awaited() -> None:
    assert not given.a_session().manager.is_taken_at_once
    accepted = given.after(given.a_session(), *given.created(), ev.JobAccepted(START + 1, given.MANAGER))
    assert not accepted.manager.is_taken_at_once
    failed = given.after(accepted, ev.ManagerFailed(START + 2, given.MANAGER))
    assert not failed.manager.is_taken_at_once
    again = ev.ManagerDispatched(failed.manager.next_dispatch_at, 2, "sm-manager-2")
    assert not apply(failed, again).manager.is_taken_at_once


def test_session_is_being_set_up_until_its_services_have_answered_their_invites() -> None:
    session = given.a_session(given.JOINS, given.SIGNALS)
    steps = (given.created(), given.invited(ASR), given.accepted(ASR), given.invited(LLM), given.accepted(LLM))
    being_set_up = [session.is_being_set_up]
    for events in steps:
        session = given.after(session, *events)
        being_set_up.append(session.is_being_set_up)
    assert being_set_up == [True, True, True, True, True, False]


def test_session_without_services_is_being_set_up_until_its_room_is_there() -> None:
    session = given.a_session()
    assert session.is_being_set_up
    assert not given.after(session, *given.created()).is_being_set_up
    assert not given.after(session, ev.SessionClosed(START)).is_being_set_up


def test_an_aborted_connection_of_the_user_is_not_a_leave() -> None:
    """The user was not there: the time to come back goes on."""
    session = apply(_ready, ev.ParticipantLeft(NOW, "alice", "PA_first", aborted=True))
    assert session.state is SessionState.READY
    assert deadline(session) == deadline(_ready)
    assert apply(session, given.seen("alice", "PA_first", NOW)).state is SessionState.READY


def test_a_listing_is_over_when_it_was_answered_or_failed() -> None:
    """Only one is under way at a time; an answer to an older one ends nothing."""
    asked = given.after(_waiting, ev.ListingStarted(NOW))
    assert apply(asked, ev.ListingStarted(NOW + 1)) is asked
    listed = apply(asked, given.listed(NOW + 1, asked_at=NOW))
    assert apply(listed, ev.ListingStarted(NOW + 1)) is listed, "no two at one instant"
    assert apply(asked, ev.ListingFailed(NOW + 1, asked_at=NOW - 5)) is asked
    failed = apply(asked, ev.ListingFailed(NOW + 1, asked_at=NOW))
    assert (failed.listing_since, failed.listing_failures, failed.listed_at) == (None, 1, NOW + 1)
    again = given.after(failed, ev.ListingStarted(NOW + 2), given.listed(NOW + 3, asked_at=NOW + 2))
    assert (again.listing_since, again.listing_failures, again.listed_at) == (None, 0, NOW + 3)


def test_a_failed_clean_up_is_repeated() -> None:
    """The room may still exist, with the user in it."""
    over = given.after(_active, ev.SessionClosed(NOW), ev.CleanUpStarted(NOW), ev.CleanUpFailed(NOW + 5))
    assert over.end is not None
    assert apply(over, ev.CleanUpStarted(over.end.retry_at - 1)) is over
    again = given.after(over, ev.CleanUpStarted(over.end.retry_at), ev.CleanedUp(over.end.retry_at + 1))
    assert again.end is not None
    assert (again.end.clean_ups, again.end.cleaned_at) == (2, over.end.retry_at + 1)


def test_the_fate_of_the_manager_does_not_affect_readiness() -> None:
    """The evidence is in already."""
    session = given.after(
        given.a_session(given.JOINS), *given.managed(), *given.invited(ASR), given.seen("sm-asr-1", "PA_1", NOW)
    )
    assert apply(session, given.left(given.MANAGER, "PA_manager", NOW + 1)).state is SessionState.READY


def test_a_manager_whose_job_was_not_accepted_is_not_in_charge() -> None:
    """An identity alone proves no job."""
    session = given.after(given.a_session(given.JOINS), *given.created())
    assert apply(session, given.seen(given.MANAGER, "PA_manager", NOW)) is session


def test_a_manager_that_never_took_charge_is_not_stale() -> None:
    """It has no job, so it does not join."""
    session = given.after(given.a_session(), *given.created())
    again = apply(session, ev.ManagerDispatched(session.manager.next_dispatch_at, 2, "sm-manager-2"))
    assert not again.stale_participants


def test_what_a_manager_did_not_see_is_doubted_no_more_once_it_is_replaced() -> None:
    """The next one starts anew. One that was never in charge saw nothing."""
    missed = ev.RoomMissed(NOW, NOW - 0.1)
    idle = given.after(given.a_session(given.JOINS), *given.created(), missed)
    assert apply(idle, ev.ManagerDispatched(NOW, 2, "sm-manager-2")).room.misses == 1
    accepted = given.after(given.a_session(given.JOINS), *given.created(), ev.JobAccepted(START, given.MANAGER), missed)
    assert accepted.room.misses == 1
    late = ev.ManagerDispatched(START + JOIN_TIMEOUT, 2, "sm-manager-2")
    assert apply(accepted, late).room.misses == 0
    assert apply(accepted, ev.ManagerFailed(NOW, given.MANAGER)).room.misses == 0


def test_a_room_that_is_reported_closed_ends_the_session_when_its_manager_fails() -> None:
    session = given.after(
        given.a_session(), *given.watched(), given.seen("alice", "PA_1", START + 1), ev.RoomClosed(NOW, "RM_1")
    )
    assert session.state is SessionState.ACTIVE
    ended = apply(session, ev.ManagerFailed(NOW + 1, given.MANAGER))
    assert ended.end is not None
    assert (ended.end.reason, ended.end.at) == (EndReason.ROOM_CLOSED, NOW + 1)


# --- the end ----------------------------------------------------------------------------------------


def test_the_first_end_reason_stays() -> None:
    """An ended session is never revived, renamed or ended again."""
    session = given.after(SESSIONS["active"], ev.SessionClosed(NOW))
    assert session.end is not None
    for event in EVENTS.values():
        end = apply(session, event).end
        assert end is not None
        assert (end.reason, end.at) == (EndReason.CLOSED, NOW)


def test_a_room_that_turns_out_to_be_taken_stays_marked_as_taken() -> None:
    """Even when the session was over before LiveKit answered: the room of another session must not be deleted."""
    session = apply(SESSIONS["orphan"], ev.RoomRefused(NOW, taken=True))
    assert (session.room.taken, session.end and session.end.reason) == (True, EndReason.CLOSED)


def test_the_instants_of_end_and_clean_up_are_kept() -> None:
    """When it was over, when the clean-up began, when it was done; each only once."""
    session = given.after(
        SESSIONS["active"],
        *(ev.SessionClosed(NOW), ev.CleanUpStarted(NOW + 1), ev.CleanedUp(NOW + 2, deleting_since=NOW + 1.5)),
        *(ev.CleanUpStarted(NOW + 3), ev.CleanedUp(NOW + 4, deleting_since=NOW + 3)),
    )
    end: Any = session.end
    assert (end.at, end.cleaning_since, end.deleting_since, end.cleaned_at) == (NOW, NOW + 1, NOW + 1.5, NOW + 2)


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("waiting", "<Session demo [waiting 1/2 ready] rev 7>"),
        ("ready", "<Session demo [ready 2/2 ready] rev 9>"),
        ("failed", "<Session demo [failed ready_timeout 1/2 ready] rev 8>"),
    ],
)
def test_the_repr_of_a_session_says_what_it_is(column: str, shown: str) -> None:
    """In logs and in failing tests."""
    assert repr(SESSIONS[column]) == shown

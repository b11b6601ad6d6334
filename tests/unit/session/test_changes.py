"""What happened to a session in each change: all of it, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar, get_args

import hypothesis
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceReason
from manager_agent.session.change_values import (
    AttemptEnded,
    AttemptStarted,
    AttemptStep,
    CleanUpEnded,
    InviteAbandoned,
    InviteAnswered,
    InviteOutcome,
    ManagerDispatchedAgain,
    ManagerDispatchEnded,
    Missable,
    Revised,
    RoomAnswered,
    RoomLost,
    SessionChange,
    SessionCreated,
    SessionEnded,
    SessionForgotten,
    SessionOpened,
    SessionReady,
    SessionRestored,
    StateChanged,
    StepTaken,
    UserJoined,
    UserLeft,
    WebhookAwaited,
)
from manager_agent.session.changes import changes
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import EndReason, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.session.test_histories import SERVICES, STEPS, a_history, by_chance
from tests.unit.session_model import SessionModel
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

NOW = START + 3.0
ASR_SEEN, LLM_SEEN = given.seen("sm-asr-1", "PA_asr", START + 1), given.seen("sm-llm-1", "PA_llm", START + 1)


def asked(*services: RequiredService) -> Session:
    return replace(given.a_session(*services), owner="acme", profile="voice", state_since=START)


WAITING = given.after(
    asked(given.JOINS, given.SIGNALS), *given.managed(), *given.invited(ASR, LLM), ev.WebhookArrived(START)
)
JOINED = given.after(WAITING, *given.accepted(ASR, LLM), ASR_SEEN, LLM_SEEN)
READY = given.after(JOINED, given.signal("sm-llm-1", Signal.READY, START + 2))
WITHOUT_ASR = given.unlisted(NOW, ParticipantInfo(given.MANAGER, "PA_manager"), ParticipantInfo("sm-llm-1", "PA_llm"))
ACTIVE = given.after(READY, given.seen("alice", "PA_u", START + 2))
ASR_LOST = given.after(READY, given.left("sm-asr-1", "PA_asr", START + 2.5))
LLM_LOST = given.after(READY, given.left("sm-llm-1", "PA_llm", START + 2.5))
DECLINED = given.after(WAITING, ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.DECLINED, final=True))
SENT_AGAIN = (
    ev.InviteStarted(START + 1, ASR, 1, 2, "sm-asr-1", "inv_0"),
    ev.InviteRefused(START + 1, ASR, 1, 2, Refusal.UNREACHABLE),
)
ASR_AGAIN = ev.InviteStarted(NOW, ASR, 2, 1, "sm-asr-2", "inv_0b")
LLM_AGAIN = ev.InviteStarted(NOW, LLM, 2, 1, "sm-llm-2", "inv_1b")
CLEANING = given.after(READY, ev.SessionClosed(START + 2), ev.CleanUpStarted(START + 2))


class Ended(NamedTuple):
    """An AttemptEnded of the current attempt of the session before."""

    entry: int
    end: EndReason | None
    reason: ServiceReason | None
    failure: ServiceReason | None


def happened(before: Session, event: Event) -> list[SessionChange | Ended]:
    now = apply(before, event)
    assert now is not before, "nothing has happened"
    return [_shown(before, one) for one in changes(before, now, event)]


def _shown(before: Session, one: SessionChange) -> SessionChange | Ended:
    if not isinstance(one, AttemptEnded):
        return one
    assert one.attempt is before.services[one.entry].current
    return Ended(one.entry, one.end, one.reason, one.failure)


CASES: dict[str, tuple[Session, Event, list[SessionChange | Ended]]] = {
    "a service is invited": (
        given.after(asked(given.JOINS), *given.managed()),
        given.invited(ASR)[0],
        [AttemptStarted(ASR), Revised()],
    ),
    "an invite is accepted": (
        WAITING,
        ev.InviteAccepted(NOW, ASR, 1, 1),
        [
            InviteAnswered(ASR, InviteOutcome.ACCEPTED),
            StepTaken(ASR, AttemptStep.ACCEPTED, NOW, START, is_first=True), Revised(),
        ],
    ),
    "an accepted invite is accepted again": (
        given.after(
            WAITING, *given.accepted(ASR), *SENT_AGAIN, ev.InviteStarted(START + 2, ASR, 1, 3, "sm-asr-1", "inv_0")
        ),
        ev.InviteAccepted(NOW, ASR, 1, 3),
        [
            InviteAnswered(ASR, InviteOutcome.ACCEPTED),
            StepTaken(ASR, AttemptStep.ACCEPTED, NOW, START, is_first=False), Revised(),
        ],
    ),
    "an invite is declined": (
        WAITING,
        ev.InviteRefused(NOW, LLM, 1, 1, Refusal.DECLINED),
        [InviteAnswered(LLM, InviteOutcome.DECLINED), Revised()],
    ),
    "an invite can't be delivered": (
        WAITING,
        ev.InviteRefused(NOW, LLM, 1, 1, Refusal.UNREACHABLE),
        [InviteAnswered(LLM, InviteOutcome.UNREACHABLE), Revised()],
    ),
    "a service with ready_on join joins": (
        WAITING,
        given.seen("sm-asr-1", "PA_asr", NOW),
        [
            StepTaken(ASR, AttemptStep.JOINED, NOW, START, is_first=True),
            StepTaken(ASR, AttemptStep.READY, NOW, NOW, is_first=True), Revised(),
        ],
    ),
    "a service with ready_on signal joins": (
        WAITING,
        given.seen("sm-llm-1", "PA_llm", NOW),
        [StepTaken(LLM, AttemptStep.JOINED, NOW, START, is_first=True), Revised()],
    ),
    "the last service signals ready by message": (
        JOINED,
        given.signal("sm-llm-1", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 1, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 3), SessionReady(3), Revised(),
        ],
    ),
    "a service signals ready by HTTP before its join": (
        WAITING,
        given.signal("sm-llm-1", Signal.READY, NOW, Evidence.HTTP),
        [StepTaken(LLM, AttemptStep.READY, NOW, START, is_first=True), Revised()],
    ),
    "a service that is ready by HTTP joins": (
        given.after(WAITING, given.signal("sm-llm-1", Signal.READY, START + 1, Evidence.HTTP)),
        given.seen("sm-llm-1", "PA_llm", NOW),
        [StepTaken(LLM, AttemptStep.JOINED, NOW, START, is_first=True), Revised()],
    ),
    "the last service signals ready by attribute": (
        JOINED,
        given.seen("sm-llm-1", "PA_llm", NOW, attributes={"session.state": "ready"}),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 1, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 3), SessionReady(3), Revised(),
        ],
    ),
    "a ready service is lost": (
        READY,
        given.left("sm-asr-1", "PA_asr", NOW),
        [
            StepTaken(ASR, AttemptStep.LEFT, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1), Revised(),
        ],
    ),
    "a service signals that it failed": (
        READY,
        given.signal("sm-llm-1", Signal.FAILED, NOW),
        [
            StepTaken(LLM, AttemptStep.FAILED, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1), Revised(),
        ],
    ),
    "the room is created": (
        given.after(asked(given.JOINS, given.SIGNALS), *given.requested()),
        ev.RoomCreated(NOW, "RM_1"),
        [RoomAnswered(START, again=False), SessionCreated()],
    ),
    "the room of a session without services is created": (
        given.after(asked(), *given.requested()),
        ev.RoomCreated(NOW, "RM_1"),
        [
            RoomAnswered(START, again=False), SessionCreated(),
            StateChanged(SessionState.WAITING, SessionState.READY, 3),
            SessionReady(3), Revised(),
        ],
    ),
    "a session is closed before its room is created": (
        given.after(asked(given.JOINS), *given.requested()),
        ev.SessionClosed(NOW),
        [
            SessionCreated(), ManagerDispatchEnded(1, "sm-manager-1", START, failed=False),
            StateChanged(SessionState.WAITING, SessionState.ENDED, 3), SessionEnded(EndReason.CLOSED), Revised(),
        ],
    ),
    "the room of a closed session is created": (
        given.after(asked(given.JOINS), *given.requested(), ev.SessionClosed(NOW)),
        ev.RoomCreated(NOW, "RM_1"),
        [RoomAnswered(START, again=False)],
    ),
    "a lost service comes back": (
        ASR_LOST,
        given.seen("sm-asr-1", "PA_asr2", NOW, joined_ms=1),
        [
            StepTaken(ASR, AttemptStep.JOINED, NOW, START + 2.5, is_first=False),
            StepTaken(ASR, AttemptStep.READY, NOW, NOW, is_first=False),
            StateChanged(SessionState.DEGRADED, SessionState.READY, 0.5), Revised(),
        ],
    ),
    "a lost service comes back and signals ready again": (
        given.after(LLM_LOST, given.seen("sm-llm-1", "PA_llm2", NOW - 0.1)),
        given.signal("sm-llm-1", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 2.9, is_first=False),
            StateChanged(SessionState.DEGRADED, SessionState.READY, 0.5), Revised(),
        ],
    ),
    "a service that was never ready comes back": (
        given.after(
            JOINED, given.left("sm-llm-1", "PA_llm", START + 2), given.seen("sm-llm-1", "PA_llm2", START + 2.5)
        ),
        given.signal("sm-llm-1", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 2.5, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 3), SessionReady(3), Revised(),
        ],
    ),
    "a lost service is replaced": (
        ASR_LOST,
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.LEFT, ServiceReason.LEFT), AttemptStarted(ASR), Revised()],
    ),
    "a service that declined is replaced": (
        DECLINED,
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.DECLINED, ServiceReason.DECLINED), AttemptStarted(ASR), Revised()],
    ),
    "a service that did not join is replaced": (
        given.after(WAITING, *given.accepted(ASR)),
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.NEVER_JOINED, ServiceReason.NEVER_JOINED), AttemptStarted(ASR), Revised()],
    ),
    "a service that signalled its failure is replaced": (
        given.after(READY, given.signal("sm-asr-1", Signal.FAILED, START + 2.5)),
        ASR_AGAIN,
        [
            Ended(ASR, None, ServiceReason.REPORTED_FAILURE, ServiceReason.REPORTED_FAILURE), AttemptStarted(ASR),
            Revised(),
        ],
    ),
    "the next attempt joins and is ready": (
        given.after(ASR_LOST, ASR_AGAIN),
        given.seen("sm-asr-2", "PA_asr2", NOW + 0.5),
        [
            StepTaken(ASR, AttemptStep.JOINED, START + 3.5, NOW, is_first=True),
            StepTaken(ASR, AttemptStep.READY, START + 3.5, START + 3.5, is_first=True),
            StateChanged(SessionState.DEGRADED, SessionState.READY, 1), Revised(),
        ],
    ),
    "the manager is dispatched with the room": (
        asked(given.JOINS),
        given.requested()[1],
        [Revised()],
    ),
    "the manager is dispatched again": (
        given.after(asked(given.JOINS), *given.created()),
        ev.ManagerDispatched(NOW, 2, "sm-manager-2"),
        [ManagerDispatchedAgain(), ManagerDispatchEnded(1, "sm-manager-1", START, failed=True), Revised()],
    ),
    "the ready deadline passes": (
        given.after(WAITING, *given.accepted(ASR, LLM), LLM_SEEN),
        ev.DeadlinePassed(START + 30),
        [
            StateChanged(SessionState.WAITING, SessionState.FAILED, 30),
            Ended(ASR, EndReason.READY_TIMEOUT, ServiceReason.NEVER_JOINED, ServiceReason.NEVER_JOINED),
            Ended(LLM, EndReason.READY_TIMEOUT, ServiceReason.JOINED_NOT_READY, ServiceReason.JOINED_NOT_READY),
            SessionEnded(EndReason.READY_TIMEOUT), Revised(),
        ],
    ),
    "the replacement deadline passes": (
        ASR_LOST,
        ev.DeadlinePassed(START + 22.5),
        [
            StateChanged(SessionState.DEGRADED, SessionState.FAILED, 20),
            Ended(ASR, EndReason.SERVICE_LOST, ServiceReason.LEFT, ServiceReason.LEFT),
            Ended(LLM, EndReason.SERVICE_LOST, None, None), SessionEnded(EndReason.SERVICE_LOST), Revised(),
        ],
    ),
    "a ready session is closed": (
        READY,
        ev.SessionClosed(NOW),
        [
            StateChanged(SessionState.READY, SessionState.ENDED, 1), Ended(ASR, EndReason.CLOSED, None, None),
            Ended(LLM, EndReason.CLOSED, None, None), SessionEnded(EndReason.CLOSED), Revised(),
        ],
    ),
    "a waiting session is closed by a client that is gone": (
        WAITING,
        ev.SessionClosed(NOW, by_client_gone=True),
        [
            StateChanged(SessionState.WAITING, SessionState.ENDED, 3), Ended(ASR, EndReason.CLIENT_GONE, None, None),
            Ended(LLM, EndReason.CLIENT_GONE, None, None), SessionEnded(EndReason.CLIENT_GONE), Revised(),
        ],
    ),
    "a session with a declined service is closed": (
        DECLINED,
        ev.SessionClosed(NOW),
        [
            StateChanged(SessionState.WAITING, SessionState.ENDED, 3),
            Ended(ASR, EndReason.CLOSED, ServiceReason.DECLINED, ServiceReason.DECLINED),
            Ended(LLM, EndReason.CLOSED, None, None), SessionEnded(EndReason.CLOSED), Revised(),
        ],
    ),
    "the room of a session is made again": (
        given.after(READY, *given.room_requested_again(NOW)),
        ev.RoomCreated(NOW, "RM_2", "sm-manager-2"),
        [
            RoomAnswered(NOW, again=True), RoomLost("RM_1", 1), ManagerDispatchedAgain(),
            StateChanged(SessionState.READY, SessionState.WAITING, 1), Revised(),
        ],
    ),
    "the room of a session is made again while a service is being invited": (
        given.after(WAITING, *given.room_requested_again(NOW)),
        ev.RoomCreated(NOW, "RM_2", "sm-manager-2"),
        [
            RoomAnswered(NOW, again=True), RoomLost("RM_1", 1), ManagerDispatchedAgain(), InviteAbandoned(ASR),
            InviteAbandoned(LLM),
            Revised(),
        ],
    ),
    "a service is invited into a room that was made again": (
        given.after(READY, *given.room_remade(NOW)),
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.ROOM_LOST, None), AttemptStarted(ASR), Revised()],
    ),
    "a session is ready again in a room that was made again": (
        given.after(READY, *given.room_remade(NOW), ASR_AGAIN, LLM_AGAIN, given.seen("sm-asr-2", "PA_asr2", NOW)),
        given.signal("sm-llm-2", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.JOINED, NOW, NOW, is_first=True),
            StepTaken(LLM, AttemptStep.READY, NOW, NOW, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 0), Revised(),
        ],
    ),
    "a webhook reports that the room is closed": (
        given.after(ACTIVE, given.left("sm-asr-1", "PA_asr", START + 2.5)),
        ev.RoomClosed(NOW, "RM_1"),
        [
            StateChanged(SessionState.DEGRADED, SessionState.ENDED, 0.5),
            Ended(ASR, EndReason.ROOM_CLOSED, ServiceReason.LEFT, None),
            Ended(LLM, EndReason.ROOM_CLOSED, None, None), SessionEnded(EndReason.ROOM_CLOSED), Revised(),
        ],
    ),
    "a closed room is found before its webhook": (
        given.after(ACTIVE, *given.room_missed(NOW)[:-1]),
        given.room_missed(NOW)[-1],
        [
            StateChanged(SessionState.ACTIVE, SessionState.ENDED, 1), Ended(ASR, EndReason.ROOM_CLOSED, None, None),
            Ended(LLM, EndReason.ROOM_CLOSED, None, None), SessionEnded(EndReason.ROOM_CLOSED),
            WebhookAwaited(Missable.ROOM_FINISHED, "RM_1"), Revised(),
        ],
    ),
    "a closed room is found without webhooks": (
        given.after(replace(ACTIVE, webhooks_arrive=False), *given.room_missed(NOW)[:-1]),
        given.room_missed(NOW)[-1],
        [
            StateChanged(SessionState.ACTIVE, SessionState.ENDED, 1), Ended(ASR, EndReason.ROOM_CLOSED, None, None),
            Ended(LLM, EndReason.ROOM_CLOSED, None, None), SessionEnded(EndReason.ROOM_CLOSED), Revised(),
        ],
    ),
    "the room can't be created": (
        given.after(asked(given.JOINS), *given.requested()),
        ev.RoomRefused(NOW),
        [
            RoomAnswered(START, again=False), SessionCreated(),
            ManagerDispatchEnded(1, "sm-manager-1", START, failed=True),
            StateChanged(SessionState.WAITING, SessionState.FAILED, 3), SessionEnded(EndReason.ROOM_UNAVAILABLE),
            Revised(),
        ],
    ),
    "the room name is taken and the session refused": (
        given.after(asked(given.JOINS), *given.requested()),
        ev.RoomRefused(NOW, taken=True),
        [
            RoomAnswered(START, again=False), ManagerDispatchEnded(1, "sm-manager-1", START, failed=True),
            StateChanged(SessionState.WAITING, SessionState.FAILED, 3), SessionEnded(EndReason.ROOM_UNAVAILABLE),
            Revised(),
        ],
    ),
    "the room name turns out to be taken after the end": (
        given.after(asked(given.JOINS), *given.requested(), ev.SessionClosed(NOW)),
        ev.RoomRefused(NOW, taken=True),
        [RoomAnswered(START, again=False)],
    ),
    "listings show that a service has left": (
        given.after(READY, *WITHOUT_ASR[:-1]),
        WITHOUT_ASR[-1],
        [
            StepTaken(ASR, AttemptStep.LEFT, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1),
            WebhookAwaited(Missable.PARTICIPANT_LEFT, "PA_asr"), Revised(),
        ],
    ),
    "a listing shows that a service has joined": (
        READY,
        given.listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm"),
            ParticipantInfo("alice", "PA_u", 1_000_900)),
        [
            UserJoined(), StateChanged(SessionState.READY, SessionState.ACTIVE, 1),
            WebhookAwaited(Missable.PARTICIPANT_JOINED, "PA_u"), Revised(),
        ],
    ),
    "a listing shows another participant of an identity": (
        READY,
        given.listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr2", 1), ParticipantInfo("sm-llm-1", "PA_llm")),
        [
            StepTaken(ASR, AttemptStep.JOINED, NOW, NOW, is_first=False),
            StepTaken(ASR, AttemptStep.READY, NOW, NOW, is_first=False),
            WebhookAwaited(Missable.PARTICIPANT_JOINED, "PA_asr2"),
            WebhookAwaited(Missable.PARTICIPANT_LEFT, "PA_asr"), Revised(),
        ],
    ),
    "a listing shows that the manager is gone": (
        READY,
        given.listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm")),
        [],
    ),
    "listings show a change without webhooks": (
        given.after(replace(READY, webhooks_arrive=False), *WITHOUT_ASR[:-1]),
        WITHOUT_ASR[-1],
        [
            StepTaken(ASR, AttemptStep.LEFT, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1), Revised(),
        ],
    ),
    "the user leaves": (
        given.after(READY, given.seen("alice", "PA_u", START + 2.5)),
        given.left("alice", "PA_u", NOW),
        [UserLeft(), StateChanged(SessionState.ACTIVE, SessionState.READY, 0.5), Revised()],
    ),
    "the manager joins": (
        given.after(asked(given.JOINS), *given.created(), ev.JobAccepted(START + 1, given.MANAGER)),
        given.seen(given.MANAGER, "PA_m", NOW),
        [ManagerDispatchEnded(1, given.MANAGER, START, failed=False)],
    ),
    "the room is deleted": (CLEANING, ev.CleanedUp(NOW), [CleanUpEnded(START + 2, 1, failed=False)]),
    "the room can't be deleted": (CLEANING, ev.CleanUpFailed(NOW), [CleanUpEnded(START + 2, 1, failed=True)]),
}  # fmt: skip
"""What happens, to which session, and the changes in it."""
SILENT = (
    ev.RoomRequested, ev.ListingStarted, ev.ListingFailed, ev.WebhookArrived, ev.ReplacementHeld, ev.RemovalStarted,
    ev.RemovalEnded, ev.CleanUpStarted, ev.TokenGiven, ev.ManagerDue, ev.ManagerWaited,
)  # fmt: skip
"""Events that matter to the session alone."""
NOT_IN_CASES = (ev.JobAccepted, ev.ManagerFailed, ev.Interrupted)


@pytest.mark.parametrize("case", CASES)
def test_the_changes_of_each_event_are_derived(case: str) -> None:
    before, event, expected = CASES[case]
    assert happened(before, event) == expected


def test_the_examples_have_every_kind_of_event_and_of_change() -> None:
    events = {type(event) for _, event, _ in CASES.values()}
    assert events | {*SILENT, *NOT_IN_CASES} == set(get_args(Event))
    found = {type(one) for _, _, expected in CASES.values() for one in expected} - {Ended}
    assert found | {AttemptEnded, SessionOpened, SessionForgotten, SessionRestored} == set(get_args(SessionChange))


def test_opening_and_removing_a_session_are_changes() -> None:
    assert list(changes(None, asked(given.JOINS, given.SIGNALS), None)) == [SessionOpened()]
    assert list(changes(READY, None, None)) == [SessionForgotten()]


def test_the_time_until_a_session_is_ready_is_that_since_its_request() -> None:
    for seconds, expected in ((0.5, 0.5), (-1, 0)):  # the clock was set back
        session = replace(READY, created_at=READY.ready_at - seconds) if READY.ready_at else READY
        waiting = replace(session, ready_at=None)
        assert SessionReady(expected) in changes(waiting, session, None)


def test_no_service_is_responsible_for_a_room_that_cannot_be_made() -> None:
    joined, refused = JOINED.services[LLM].current, DECLINED.services[ASR].current
    ended = AttemptEnded(LLM, joined, EndReason.ROOM_UNAVAILABLE)
    assert (ended.reason, ended.failure) == (ServiceReason.JOINED_NOT_READY, None)
    assert AttemptEnded(ASR, refused, EndReason.ROOM_UNAVAILABLE).failure is ServiceReason.DECLINED
    assert AttemptEnded(LLM, joined, EndReason.READY_TIMEOUT).failure is ServiceReason.JOINED_NOT_READY
    assert AttemptEnded(LLM, joined, EndReason.ROOM_CLOSED).failure is None


def test_an_agent_has_the_changes_of_any_other_service() -> None:
    before = given.after(asked(given.AGENT), *given.managed(), ev.InviteStarted(START, 0, 1, 1, None, "inv_bot"))
    comes = given.seen(
        "agent-1", "PA_bot", NOW, is_agent=True, attributes={"lk.agent.name": "bot", "lk.agent.state": "idle"}
    )
    assert [one for one in happened(before, comes) if isinstance(one, StepTaken | SessionReady)] == [
        StepTaken(0, AttemptStep.JOINED, NOW, START, is_first=True),
        StepTaken(0, AttemptStep.READY, NOW, NOW, is_first=True),
        SessionReady(3.0),
    ]


# --- in all histories -------------------------------------------------------------------------------


def all_changes(model: SessionModel) -> list[SessionChange]:
    """Of the whole history."""
    found = list(changes(None, model.past[0], None))
    for (before, now), report in zip(pairwise(model.past), model.applied, strict=True):
        found += (new := list(changes(before, now, report.event)))
        assert not (new and isinstance(report.event, SILENT))
    return found


Kind = TypeVar("Kind", bound=SessionChange)


def of_kind(found: Sequence[SessionChange], kind: type[Kind]) -> list[Kind]:
    return [one for one in found if isinstance(one, kind)]


def check_changes(model: SessionModel) -> None:
    """What happened on the way is what the session in the end shows to have happened."""
    session, found = model.session, all_changes(model)
    assert len(of_kind(found, SessionCreated)) == (session.room.created_at is not None or session.over)
    assert len(of_kind(found, SessionEnded)) == session.over
    was_ready = session.ready_at is not None or session.waiting_again_since is not None
    assert len(of_kind(found, SessionReady)) == was_ready
    assert len(of_kind(found, RoomLost)) == session.room.remakes
    assert len(of_kind(found, Revised)) == session.revision - 1
    started, ended = of_kind(found, AttemptStarted), of_kind(found, AttemptEnded)
    replaced = [one for one in ended if one.end is None]
    assert len(replaced) == sum(max(0, service.attempt - 1) for service in session.services)
    assert len(started) == sum(service.attempt for service in session.services)
    assert len(ended) == (len(started) if session.over else len(replaced))
    assert len(of_kind(found, ManagerDispatchedAgain)) == max(0, session.manager.attempt - 1)
    taken = of_kind(found, StepTaken)
    first = Counter((one.entry, one.step) for one in taken if one.is_first)
    ready = Counter(one.entry for one in taken if one.step is AttemptStep.READY)
    for entry, service in enumerate(session.services):
        assert all(first[entry, step] <= service.attempt for step in (AttemptStep.ACCEPTED, AttemptStep.JOINED))
        assert first[entry, AttemptStep.READY] <= min(service.attempt, ready[entry])
        assert ready[entry] > 0 or service.ready_by is None
    assert all(one.seconds >= 0 for one in of_kind(found, SessionReady))
    assert not {one.failure for one in ended} & {ServiceReason.NOT_REGISTERED, ServiceReason.NO_CAPACITY}


@settings(max_examples=100, derandomize=True)
@hypothesis.given(services=st.sampled_from(SERVICES), steps=STEPS)
def test_counts_of_changes_agree_with_the_final_session(
    services: tuple[RequiredService, ...], steps: list[tuple[str, int]]
) -> None:
    check_changes(a_history(services, steps))


def test_counts_of_changes_agree_with_the_final_session_in_long_histories() -> None:
    met: set[type[SessionChange]] = set()
    for seed in range(300):
        model = a_history(*by_chance(seed))
        check_changes(model)
        met |= {type(one) for one in all_changes(model)}
    assert met == set(get_args(SessionChange)) - {SessionForgotten, SessionRestored}

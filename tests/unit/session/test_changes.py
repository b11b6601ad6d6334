"""What happened to a session in each change: all of it, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, TypeVar, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manager_agent.session import events as ev
from manager_agent.session.changes import (
    AttemptEnded,
    AttemptStarted,
    AttemptStep,
    CleanUpEnded,
    InviteAnswered,
    InviteOutcome,
    ManagerDispatchedAgain,
    ManagerDispatchEnded,
    Missable,
    Revised,
    RoomAnswered,
    SessionChange,
    SessionCreated,
    SessionEnded,
    SessionForgotten,
    SessionOpened,
    SessionReady,
    StateChanged,
    StepTaken,
    UserJoined,
    UserLeft,
    WebhookAwaited,
    changes,
)
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.session import EndReason, RequiredService, ServiceReason, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit.session.test_histories import SERVICES, STEPS, a_history, by_chance
from tests.unit.sessions import (
    AGENT,
    ASR,
    JOINS,
    LLM,
    MANAGER,
    SIGNALS,
    START,
    a_session,
    accepted,
    after,
    created,
    invited,
    left,
    listed,
    managed,
    requested,
    seen,
    signal,
)
from tests.unit.world import World

pytestmark = pytest.mark.unit

NOW = START + 3.0
ASR_SEEN, LLM_SEEN = seen("sm-asr-1", "PA_asr", START + 1), seen("sm-llm-1", "PA_llm", START + 1)


def asked(*services: RequiredService) -> Session:
    return replace(a_session(*services), owner="acme", profile="voice", state_since=START)


WAITING = after(asked(JOINS, SIGNALS), *managed(), *invited(ASR, LLM), ev.WebhookArrived(START))
JOINED = after(WAITING, *accepted(ASR, LLM), ASR_SEEN, LLM_SEEN)
READY = after(JOINED, signal("sm-llm-1", Signal.READY, START + 2))
ASR_LOST = after(READY, left("sm-asr-1", "PA_asr", START + 2.5))
LLM_LOST = after(READY, left("sm-llm-1", "PA_llm", START + 2.5))
DECLINED = after(WAITING, ev.InviteRefused(START + 1, ASR, 1, 1, Refusal.DECLINED, final=True))
SENT_AGAIN = (
    ev.InviteStarted(START + 1, ASR, 1, 2, "sm-asr-1", "inv_0"),
    ev.InviteRefused(START + 1, ASR, 1, 2, Refusal.UNREACHABLE),
)
ASR_AGAIN = ev.InviteStarted(NOW, ASR, 2, 1, "sm-asr-2", "inv_0b")
CLEANING = after(READY, ev.SessionClosed(START + 2), ev.CleanUpStarted(START + 2))


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
        after(asked(JOINS), *managed()),
        invited(ASR)[0],
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
    "accepted again by who had lost it": (
        after(WAITING, *accepted(ASR), *SENT_AGAIN, ev.InviteStarted(START + 2, ASR, 1, 3, "sm-asr-1", "inv_0")),
        ev.InviteAccepted(NOW, ASR, 1, 3),
        [
            InviteAnswered(ASR, InviteOutcome.ACCEPTED),
            StepTaken(ASR, AttemptStep.ACCEPTED, NOW, START, is_first=False), Revised(),
        ],
    ),
    "and declined": (
        WAITING,
        ev.InviteRefused(NOW, LLM, 1, 1, Refusal.DECLINED),
        [InviteAnswered(LLM, InviteOutcome.DECLINED), Revised()],
    ),
    "and can't be delivered": (
        WAITING,
        ev.InviteRefused(NOW, LLM, 1, 1, Refusal.UNREACHABLE),
        [InviteAnswered(LLM, InviteOutcome.UNREACHABLE), Revised()],
    ),
    "a service joins, and is ready by that": (
        WAITING,
        seen("sm-asr-1", "PA_asr", NOW),
        [
            StepTaken(ASR, AttemptStep.JOINED, NOW, START, is_first=True),
            StepTaken(ASR, AttemptStep.READY, NOW, NOW, is_first=True), Revised(),
        ],
    ),
    "one joins that has to say it": (
        WAITING,
        seen("sm-llm-1", "PA_llm", NOW),
        [StepTaken(LLM, AttemptStep.JOINED, NOW, START, is_first=True), Revised()],
    ),
    "it says so, and the session is ready": (
        JOINED,
        signal("sm-llm-1", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 1, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 3), SessionReady(3), Revised(),
        ],
    ),
    "it says so by HTTP before it is seen": (
        WAITING,
        signal("sm-llm-1", Signal.READY, NOW, Evidence.HTTP),
        [StepTaken(LLM, AttemptStep.READY, NOW, START, is_first=True), Revised()],
    ),
    "and is seen then": (
        after(WAITING, signal("sm-llm-1", Signal.READY, START + 1, Evidence.HTTP)),
        seen("sm-llm-1", "PA_llm", NOW),
        [StepTaken(LLM, AttemptStep.JOINED, NOW, START, is_first=True), Revised()],
    ),
    "by an attribute": (
        JOINED,
        seen("sm-llm-1", "PA_llm", NOW, attributes={"session.state": "ready"}),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 1, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 3), SessionReady(3), Revised(),
        ],
    ),
    "one is lost, or fails: that it came to nothing shows later": (
        READY,
        left("sm-asr-1", "PA_asr", NOW),
        [
            StepTaken(ASR, AttemptStep.LEFT, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1), Revised(),
        ],
    ),
    "so it is with one that says it has failed": (
        READY,
        signal("sm-llm-1", Signal.FAILED, NOW),
        [
            StepTaken(LLM, AttemptStep.FAILED, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1), Revised(),
        ],
    ),
    "it has its room": (
        after(asked(JOINS, SIGNALS), *requested()),
        ev.RoomCreated(NOW, "RM_1"),
        [RoomAnswered(), SessionCreated()],
    ),
    "without services it is ready by that": (
        after(asked(), *requested()),
        ev.RoomCreated(NOW, "RM_1"),
        [
            RoomAnswered(), SessionCreated(), StateChanged(SessionState.WAITING, SessionState.READY, 3),
            SessionReady(3), Revised(),
        ],
    ),
    "it is closed before it has one": (
        after(asked(JOINS), *requested()),
        ev.SessionClosed(NOW),
        [
            SessionCreated(), ManagerDispatchEnded(1, "sm-manager-1", START, failed=False),
            StateChanged(SessionState.WAITING, SessionState.ENDED, 3), SessionEnded(EndReason.CLOSED), Revised(),
        ],
    ),
    "and then has it": (
        after(asked(JOINS), *requested(), ev.SessionClosed(NOW)),
        ev.RoomCreated(NOW, "RM_1"),
        [RoomAnswered()],
    ),
    "one that was lost comes back, and took no time for it": (
        ASR_LOST,
        seen("sm-asr-1", "PA_asr2", NOW, joined_ms=1),
        [
            StepTaken(ASR, AttemptStep.JOINED, NOW, START + 2.5, is_first=False),
            StepTaken(ASR, AttemptStep.READY, NOW, NOW, is_first=False),
            StateChanged(SessionState.DEGRADED, SessionState.READY, 0.5), Revised(),
        ],
    ),
    "so does one that says it again": (
        after(LLM_LOST, seen("sm-llm-1", "PA_llm2", NOW - 0.1)),
        signal("sm-llm-1", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 2.9, is_first=False),
            StateChanged(SessionState.DEGRADED, SessionState.READY, 0.5), Revised(),
        ],
    ),
    "one comes back that was never ready": (
        after(JOINED, left("sm-llm-1", "PA_llm", START + 2), seen("sm-llm-1", "PA_llm2", START + 2.5)),
        signal("sm-llm-1", Signal.READY, NOW),
        [
            StepTaken(LLM, AttemptStep.READY, NOW, START + 2.5, is_first=True),
            StateChanged(SessionState.WAITING, SessionState.READY, 3), SessionReady(3), Revised(),
        ],
    ),
    "one that was lost is replaced": (
        ASR_LOST,
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.LEFT, ServiceReason.LEFT), AttemptStarted(ASR), Revised()],
    ),
    "one that declined": (
        DECLINED,
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.DECLINED, ServiceReason.DECLINED), AttemptStarted(ASR), Revised()],
    ),
    "one that did not come": (
        after(WAITING, *accepted(ASR)),
        ASR_AGAIN,
        [Ended(ASR, None, ServiceReason.NEVER_JOINED, ServiceReason.NEVER_JOINED), AttemptStarted(ASR), Revised()],
    ),
    "one that said it has failed": (
        after(READY, signal("sm-asr-1", Signal.FAILED, START + 2.5)),
        ASR_AGAIN,
        [
            Ended(ASR, None, ServiceReason.REPORTED_FAILURE, ServiceReason.REPORTED_FAILURE), AttemptStarted(ASR),
            Revised(),
        ],
    ),
    "the next attempt begins its own time": (
        after(ASR_LOST, ASR_AGAIN),
        seen("sm-asr-2", "PA_asr2", NOW + 0.5),
        [
            StepTaken(ASR, AttemptStep.JOINED, START + 3.5, NOW, is_first=True),
            StepTaken(ASR, AttemptStep.READY, START + 3.5, START + 3.5, is_first=True),
            StateChanged(SessionState.DEGRADED, SessionState.READY, 1), Revised(),
        ],
    ),
    "the manager is dispatched with the room": (
        asked(JOINS),
        requested()[1],
        [Revised()],
    ),
    "and again": (
        after(asked(JOINS), *created()),
        ev.ManagerDispatched(NOW, 2, "sm-manager-2"),
        [ManagerDispatchedAgain(), ManagerDispatchEnded(1, "sm-manager-1", START, failed=True), Revised()],
    ),
    "time is up": (
        after(WAITING, *accepted(ASR, LLM), LLM_SEEN),
        ev.DeadlinePassed(START + 30),
        [
            StateChanged(SessionState.WAITING, SessionState.FAILED, 30),
            Ended(ASR, EndReason.READY_TIMEOUT, ServiceReason.NEVER_JOINED, ServiceReason.NEVER_JOINED),
            Ended(LLM, EndReason.READY_TIMEOUT, ServiceReason.JOINED_NOT_READY, ServiceReason.JOINED_NOT_READY),
            SessionEnded(EndReason.READY_TIMEOUT), Revised(),
        ],
    ),
    "what was lost is not replaced in time": (
        ASR_LOST,
        ev.DeadlinePassed(START + 22.5),
        [
            StateChanged(SessionState.DEGRADED, SessionState.FAILED, 20),
            Ended(ASR, EndReason.SERVICE_LOST, ServiceReason.LEFT, ServiceReason.LEFT),
            Ended(LLM, EndReason.SERVICE_LOST, None, None), SessionEnded(EndReason.SERVICE_LOST), Revised(),
        ],
    ),
    "it is closed while all is well": (
        READY,
        ev.SessionClosed(NOW),
        [
            StateChanged(SessionState.READY, SessionState.ENDED, 1), Ended(ASR, EndReason.CLOSED, None, None),
            Ended(LLM, EndReason.CLOSED, None, None), SessionEnded(EndReason.CLOSED), Revised(),
        ],
    ),
    "while services had more time": (
        WAITING,
        ev.SessionClosed(NOW, by_client_gone=True),
        [
            StateChanged(SessionState.WAITING, SessionState.ENDED, 3), Ended(ASR, EndReason.CLIENT_GONE, None, None),
            Ended(LLM, EndReason.CLIENT_GONE, None, None), SessionEnded(EndReason.CLIENT_GONE), Revised(),
        ],
    ),
    "while one had failed": (
        DECLINED,
        ev.SessionClosed(NOW),
        [
            StateChanged(SessionState.WAITING, SessionState.ENDED, 3),
            Ended(ASR, EndReason.CLOSED, ServiceReason.DECLINED, ServiceReason.DECLINED),
            Ended(LLM, EndReason.CLOSED, None, None), SessionEnded(EndReason.CLOSED), Revised(),
        ],
    ),
    "the room is closed, as a webhook tells, and all have left": (
        ASR_LOST,
        ev.RoomClosed(NOW, "RM_1", told=True),
        [
            StateChanged(SessionState.DEGRADED, SessionState.ENDED, 0.5),
            Ended(ASR, EndReason.ROOM_CLOSED, ServiceReason.LEFT, None),
            Ended(LLM, EndReason.ROOM_CLOSED, None, None), SessionEnded(EndReason.ROOM_CLOSED), Revised(),
        ],
    ),
    "as a webhook is to tell yet": (
        READY,
        ev.RoomClosed(NOW, "RM_1"),
        [
            StateChanged(SessionState.READY, SessionState.ENDED, 1), Ended(ASR, EndReason.ROOM_CLOSED, None, None),
            Ended(LLM, EndReason.ROOM_CLOSED, None, None), SessionEnded(EndReason.ROOM_CLOSED),
            WebhookAwaited(Missable.ROOM_FINISHED, "RM_1"), Revised(),
        ],
    ),
    "where none arrive": (
        replace(READY, webhooks_arrive=False),
        ev.RoomClosed(NOW, "RM_1"),
        [
            StateChanged(SessionState.READY, SessionState.ENDED, 1), Ended(ASR, EndReason.ROOM_CLOSED, None, None),
            Ended(LLM, EndReason.ROOM_CLOSED, None, None), SessionEnded(EndReason.ROOM_CLOSED), Revised(),
        ],
    ),
    "the room can't be made": (
        after(asked(JOINS), *requested()),
        ev.RoomRefused(NOW),
        [
            RoomAnswered(), SessionCreated(), ManagerDispatchEnded(1, "sm-manager-1", START, failed=True),
            StateChanged(SessionState.WAITING, SessionState.FAILED, 3), SessionEnded(EndReason.ROOM_UNAVAILABLE),
            Revised(),
        ],
    ),
    "its name is another's, and the session refused": (
        after(asked(JOINS), *requested()),
        ev.RoomRefused(NOW, taken=True),
        [
            RoomAnswered(), ManagerDispatchEnded(1, "sm-manager-1", START, failed=True),
            StateChanged(SessionState.WAITING, SessionState.FAILED, 3), SessionEnded(EndReason.ROOM_UNAVAILABLE),
            Revised(),
        ],
    ),
    "its name is another's, as is known when it is over": (
        after(asked(JOINS), *requested(), ev.SessionClosed(NOW)),
        ev.RoomRefused(NOW, taken=True),
        [RoomAnswered()],
    ),
    "a listing shows who left": (
        READY,
        listed(NOW, ParticipantInfo(MANAGER, "PA_manager"), ParticipantInfo("sm-llm-1", "PA_llm")),
        [
            StepTaken(ASR, AttemptStep.LEFT, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1),
            WebhookAwaited(Missable.PARTICIPANT_LEFT, "PA_asr"), Revised(),
        ],
    ),
    "and who came": (
        READY,
        listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm"),
            ParticipantInfo("alice", "PA_u", 1_000_900)),
        [
            UserJoined(), StateChanged(SessionState.READY, SessionState.ACTIVE, 1),
            WebhookAwaited(Missable.PARTICIPANT_JOINED, "PA_u"), Revised(),
        ],
    ),
    "or somebody in the place of another": (
        READY,
        listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr2", 1), ParticipantInfo("sm-llm-1", "PA_llm")),
        [
            StepTaken(ASR, AttemptStep.JOINED, NOW, NOW, is_first=False),
            StepTaken(ASR, AttemptStep.READY, NOW, NOW, is_first=False),
            WebhookAwaited(Missable.PARTICIPANT_JOINED, "PA_asr2"),
            WebhookAwaited(Missable.PARTICIPANT_LEFT, "PA_asr"), Revised(),
        ],
    ),
    "that the manager is gone, who tells it himself": (
        READY,
        listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm")),
        [],
    ),
    "where no webhooks arrive": (
        replace(READY, webhooks_arrive=False),
        listed(NOW, ParticipantInfo("sm-llm-1", "PA_llm")),
        [
            StepTaken(ASR, AttemptStep.LEFT, NOW, NOW, is_first=True),
            StateChanged(SessionState.READY, SessionState.DEGRADED, 1), Revised(),
        ],
    ),
    "the user leaves": (
        after(READY, seen("alice", "PA_u", START + 2.5)),
        left("alice", "PA_u", NOW),
        [UserLeft(), StateChanged(SessionState.ACTIVE, SessionState.READY, 0.5), Revised()],
    ),
    "the manager joins": (
        after(asked(JOINS), *created(), ev.JobAccepted(START + 1, MANAGER)),
        seen(MANAGER, "PA_m", NOW),
        [ManagerDispatchEnded(1, MANAGER, START, failed=False)],
    ),
    "the room is deleted": (CLEANING, ev.CleanedUp(NOW), [CleanUpEnded(START + 2, 1, failed=False)]),
    "it can't be deleted": (CLEANING, ev.CleanUpFailed(NOW), [CleanUpEnded(START + 2, 1, failed=True)]),
}  # fmt: skip
"""What happens, to which session, and the changes in it."""
SILENT = (
    ev.RoomRequested, ev.ListingStarted, ev.ListingFailed, ev.WebhookArrived, ev.ReplacementHeld, ev.RemovalStarted,
    ev.RemovalEnded, ev.CleanUpStarted,
)  # fmt: skip
"""Events that matter to the session alone."""
NOT_IN_CASES = (ev.JobAccepted, ev.ManagerFailed)


@pytest.mark.parametrize("case", CASES)
def test_what_happened(case: str) -> None:
    before, event, expected = CASES[case]
    assert happened(before, event) == expected


def test_every_kind_of_event_and_of_change_is_met() -> None:
    events = {type(event) for _, event, _ in CASES.values()}
    assert events | {*SILENT, *NOT_IN_CASES} == set(get_args(Event))
    found = {type(one) for _, _, expected in CASES.values() for one in expected} - {Ended}
    assert found | {AttemptEnded, SessionOpened, SessionForgotten} == set(get_args(SessionChange))


def test_a_session_is_opened_and_forgotten() -> None:
    assert list(changes(None, asked(JOINS, SIGNALS), None)) == [SessionOpened()]
    assert list(changes(READY, None, None)) == [SessionForgotten()]


def test_an_agent_takes_its_steps_like_any_other_service() -> None:
    before = after(asked(AGENT), *managed(), ev.InviteStarted(START, 0, 1, 1, None, "inv_bot"))
    comes = seen("agent-1", "PA_bot", NOW, is_agent=True, attributes={"lk.agent.name": "bot", "lk.agent.state": "idle"})
    assert [one for one in happened(before, comes) if isinstance(one, StepTaken | SessionReady)] == [
        StepTaken(0, AttemptStep.JOINED, NOW, START, is_first=True),
        StepTaken(0, AttemptStep.READY, NOW, NOW, is_first=True),
        SessionReady(3.0),
    ]


# --- in all histories -------------------------------------------------------------------------------


def all_changes(world: World) -> list[SessionChange]:
    """Of the whole history."""
    found = list(changes(None, world.past[0], None))
    for (before, now), tale in zip(pairwise(world.past), world.taken_in, strict=True):
        found += (new := list(changes(before, now, tale.event)))
        assert not (new and isinstance(tale.event, SILENT))
    return found


Kind = TypeVar("Kind", bound=SessionChange)


def of_kind(found: Sequence[SessionChange], kind: type[Kind]) -> list[Kind]:
    return [one for one in found if isinstance(one, kind)]


def check_changes(world: World) -> None:
    """What happened on the way is what the session in the end shows to have happened."""
    session, found = world.session, all_changes(world)
    assert len(of_kind(found, SessionCreated)) == (session.room.created_at is not None or session.over)
    assert len(of_kind(found, SessionEnded)) == session.over
    assert len(of_kind(found, SessionReady)) == (session.ready_at is not None)
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


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(services=st.sampled_from(SERVICES), steps=STEPS)
def test_the_counts_of_a_history_are_those_of_the_session_in_the_end(
    services: tuple[RequiredService, ...], steps: list[tuple[str, int]]
) -> None:
    check_changes(a_history(services, steps))


def test_nor_do_they_differ_in_longer_ones() -> None:
    met: set[type[SessionChange]] = set()
    for seed in range(300):
        world = a_history(*by_chance(seed))
        check_changes(world)
        met |= {type(one) for one in all_changes(world)}
    assert met == set(get_args(SessionChange)) - {SessionForgotten}

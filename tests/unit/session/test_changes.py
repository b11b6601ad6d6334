"""What there is to count in a change of a session: all of it, and nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manager_agent.session import events as ev
from manager_agent.session.changes import (
    ATTEMPT_REASONS,
    AttemptBegan,
    AttemptStep,
    InviteAnswered,
    InviteOutcome,
    ManagerDispatchedAgain,
    Missable,
    Observation,
    ServiceFailed,
    ServiceReady,
    ServiceReplaced,
    SessionCreated,
    SessionEnded,
    SessionReady,
    StepTaken,
    WebhookAwaited,
    observations,
)
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.session import EndReason, RequiredService, ServiceReason, Session
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
    return replace(a_session(*services), owner="acme", profile="voice")


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


def observed(before: Session | None, event: Event) -> list[Observation]:
    assert before is not None
    now = apply(before, event)
    assert now is not before, "nothing has happened"
    return list(observations(before, now, event))


CASES: dict[str, tuple[Session, Event, list[Observation]]] = {
    "a service is invited": (after(asked(JOINS), *managed()), invited(ASR)[0], [AttemptBegan("ASR")]),
    "an invite is accepted": (
        WAITING, ev.InviteAccepted(NOW, ASR, 1, 1),
        [StepTaken("ASR", AttemptStep.ACCEPT, 3.0), InviteAnswered("ASR", InviteOutcome.ACCEPTED)],
    ),
    "accepted again by who had lost it": (
        after(WAITING, *accepted(ASR), *SENT_AGAIN, ev.InviteStarted(START + 2, ASR, 1, 3, "sm-asr-1", "inv_0")),
        ev.InviteAccepted(NOW, ASR, 1, 3), [InviteAnswered("ASR", InviteOutcome.ACCEPTED)],
    ),
    "and declined": (
        WAITING, ev.InviteRefused(NOW, LLM, 1, 1, Refusal.DECLINED), [InviteAnswered("LLM", InviteOutcome.DECLINED)],
    ),
    "and can't be delivered": (
        WAITING, ev.InviteRefused(NOW, LLM, 1, 1, Refusal.UNREACHABLE), [InviteAnswered("LLM",
            InviteOutcome.UNREACHABLE)],
    ),
    "a service joins, and is ready by that": (
        WAITING, seen("sm-asr-1", "PA_asr", NOW),
        [StepTaken("ASR", AttemptStep.JOIN, 3.0), ServiceReady("ASR", Evidence.JOIN), StepTaken("ASR",
         AttemptStep.READY, 3.0)],
    ),
    "one joins that has to say it": (
        WAITING, seen("sm-llm-1", "PA_llm", NOW), [StepTaken("LLM", AttemptStep.JOIN, 3.0)]
    ),
    "it says so, and the session is ready": (
        JOINED, signal("sm-llm-1", Signal.READY, NOW),
        [ServiceReady("LLM", Evidence.MESSAGE), StepTaken("LLM", AttemptStep.READY, 3.0), SessionReady("voice", 3.0)],
    ),
    "it says so by HTTP before it is seen": (
        WAITING, signal("sm-llm-1", Signal.READY, NOW, Evidence.HTTP),
        [ServiceReady("LLM", Evidence.HTTP), StepTaken("LLM", AttemptStep.READY, 3.0)],
    ),
    "and is seen then": (
        after(WAITING, signal("sm-llm-1", Signal.READY, START + 1, Evidence.HTTP)), seen("sm-llm-1", "PA_llm", NOW),
        [StepTaken("LLM", AttemptStep.JOIN, 3.0)],
    ),
    "by an attribute": (
        JOINED, seen("sm-llm-1", "PA_llm", NOW, attributes={"session.state": "ready"}),
        [ServiceReady("LLM", Evidence.ATTRIBUTE), StepTaken("LLM", AttemptStep.READY, 3.0), SessionReady("voice", 3.0)],
    ),
    "one is lost, or fails: that it came to nothing shows later": (READY, left("sm-asr-1", "PA_asr", NOW), []),
    "so it is with one that says it has failed": (READY, signal("sm-llm-1", Signal.FAILED, NOW), []),
    "it has its room": (
        after(asked(JOINS, SIGNALS), *requested()), ev.RoomCreated(NOW, "RM_1"),
        [SessionCreated("voice", ("ASR", "LLM"))],
    ),
    "without services it is ready by that": (
        after(asked(), *requested()), ev.RoomCreated(NOW, "RM_1"),
        [SessionCreated("voice", ()), SessionReady("voice", 3.0)],
    ),
    "it is closed before it has one": (
        after(asked(JOINS), *requested()), ev.SessionClosed(NOW),
        [SessionCreated("voice", ("ASR",)), SessionEnded(EndReason.CLOSED)],
    ),
    "and then has it": (after(asked(JOINS), *requested(), ev.SessionClosed(NOW)), ev.RoomCreated(NOW, "RM_1"), []),
    "one that was lost comes back, and took no time for it": (
        ASR_LOST, seen("sm-asr-1", "PA_asr2", NOW, joined_ms=1), [ServiceReady("ASR", Evidence.JOIN)],
    ),
    "so does one that says it again": (
        after(LLM_LOST, seen("sm-llm-1", "PA_llm2", NOW - 0.1)), signal("sm-llm-1", Signal.READY, NOW),
        [ServiceReady("LLM", Evidence.MESSAGE)],
    ),
    "one comes back that was never ready": (
        after(JOINED, left("sm-llm-1", "PA_llm", START + 2), seen("sm-llm-1", "PA_llm2", START + 2.5)),
        signal("sm-llm-1", Signal.READY, NOW),
        [ServiceReady("LLM", Evidence.MESSAGE), StepTaken("LLM", AttemptStep.READY, 3.0), SessionReady("voice", 3.0)],
    ),
    "one that was lost is replaced": (
        ASR_LOST, ASR_AGAIN, [ServiceReplaced("ASR"), ServiceFailed("ASR", ServiceReason.LEFT), AttemptBegan("ASR")],
    ),
    "one that declined": (
        DECLINED, ASR_AGAIN,
        [ServiceReplaced("ASR"), ServiceFailed("ASR", ServiceReason.DECLINED), AttemptBegan("ASR")],
    ),
    "one that did not come": (
        after(WAITING, *accepted(ASR)), ASR_AGAIN,
        [ServiceReplaced("ASR"), ServiceFailed("ASR", ServiceReason.NEVER_JOINED), AttemptBegan("ASR")],
    ),
    "one that said it has failed": (
        after(READY, signal("sm-asr-1", Signal.FAILED, START + 2.5)), ASR_AGAIN,
        [ServiceReplaced("ASR"), ServiceFailed("ASR", ServiceReason.REPORTED_FAILURE), AttemptBegan("ASR")],
    ),
    "the next attempt begins its own time": (
        after(ASR_LOST, ASR_AGAIN), seen("sm-asr-2", "PA_asr2", NOW + 0.5),
        [StepTaken("ASR", AttemptStep.JOIN, 0.5), ServiceReady("ASR", Evidence.JOIN), StepTaken("ASR",
         AttemptStep.READY, 0.5)],
    ),
    "the manager is dispatched with the room": (asked(JOINS), requested()[1], []),
    "and again": (
        after(asked(JOINS), *created()), ev.ManagerDispatched(NOW, 2, "sm-manager-2"), [ManagerDispatchedAgain()],
    ),
    "time is up": (
        after(WAITING, *accepted(ASR, LLM), LLM_SEEN), ev.DeadlinePassed(START + 30),
        [
            ServiceFailed("ASR", ServiceReason.NEVER_JOINED), ServiceFailed("LLM", ServiceReason.JOINED_NOT_READY),
            SessionEnded(EndReason.READY_TIMEOUT),
        ],
    ),
    "what was lost is not replaced in time": (
        ASR_LOST, ev.DeadlinePassed(START + 22.5),
        [ServiceFailed("ASR", ServiceReason.LEFT), SessionEnded(EndReason.SERVICE_LOST)],
    ),
    "it is closed while all is well": (READY, ev.SessionClosed(NOW), [SessionEnded(EndReason.CLOSED)]),
    "while services had more time": (
        WAITING, ev.SessionClosed(NOW, by_client_gone=True), [SessionEnded(EndReason.CLIENT_GONE)],
    ),
    "while one had failed": (
        DECLINED, ev.SessionClosed(NOW),
        [ServiceFailed("ASR", ServiceReason.DECLINED), SessionEnded(EndReason.CLOSED)],
    ),
    "the room is closed, as a webhook tells, and all have left": (
        ASR_LOST, ev.RoomClosed(NOW, "RM_1", told=True), [SessionEnded(EndReason.ROOM_CLOSED)],
    ),
    "as a webhook is to tell yet": (
        READY, ev.RoomClosed(NOW, "RM_1"),
        [WebhookAwaited(Missable.ROOM_FINISHED, "RM_1"), SessionEnded(EndReason.ROOM_CLOSED)],
    ),
    "where none arrive": (
        replace(READY, webhooks_arrive=False), ev.RoomClosed(NOW, "RM_1"), [SessionEnded(EndReason.ROOM_CLOSED)],
    ),
    "the room can't be made": (
        after(asked(JOINS), *requested()), ev.RoomRefused(NOW),
        [SessionCreated("voice", ("ASR",)), SessionEnded(EndReason.ROOM_UNAVAILABLE)],
    ),
    "its name is another's, and the session refused": (
        after(asked(JOINS), *requested()), ev.RoomRefused(NOW, taken=True), [],
    ),
    "its name is another's, as is known when it is over": (
        after(asked(JOINS), *requested(), ev.SessionClosed(NOW)), ev.RoomRefused(NOW, taken=True), [],
    ),
    "the end of one of our own": (replace(READY, owner=""), ev.SessionClosed(NOW), []),
    "its manager that comes late": (
        replace(after(asked(), *created()), owner=""), ev.ManagerDispatched(NOW, 2, "sm-manager-2"), [],
    ),
    "its room that is gone": (replace(READY, owner=""), ev.RoomClosed(NOW, "RM_1"), []),
    "a listing shows who left": (
        READY, listed(NOW, ParticipantInfo(MANAGER, "PA_manager"), ParticipantInfo("sm-llm-1", "PA_llm")),
        [WebhookAwaited(Missable.PARTICIPANT_LEFT, "PA_asr")],
    ),
    "and who came": (
        READY,
        listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm"),
            ParticipantInfo("alice", "PA_u", 1_000_900)),
        [WebhookAwaited(Missable.PARTICIPANT_JOINED, "PA_u")],
    ),
    "or somebody in the place of another": (
        READY, listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr2", 1), ParticipantInfo("sm-llm-1", "PA_llm")),
        [
            ServiceReady("ASR", Evidence.JOIN),
            WebhookAwaited(Missable.PARTICIPANT_JOINED, "PA_asr2"), WebhookAwaited(Missable.PARTICIPANT_LEFT, "PA_asr"),
        ],
    ),
    "that the manager is gone, who tells it himself": (
        READY, listed(NOW, ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("sm-llm-1", "PA_llm")), [],
    ),
    "where no webhooks arrive": (
        replace(READY, webhooks_arrive=False), listed(NOW, ParticipantInfo("sm-llm-1", "PA_llm")), [],
    ),
}  # fmt: skip
"""What happens, to which session, and what there is to count in it."""
NOTHING_TO_COUNT = (
    ev.RoomRequested, ev.ListingStarted, ev.ListingFailed, ev.JobAccepted, ev.ManagerFailed,
    ev.WebhookArrived, ev.ReplacementHeld, ev.RemovalStarted, ev.RemovalEnded,
    ev.CleanUpStarted, ev.CleanedUp, ev.CleanUpFailed,
)  # fmt: skip
"""Events that are of interest to the session alone."""


@pytest.mark.parametrize("case", CASES)
def test_what_there_is_to_count(case: str) -> None:
    before, event, expected = CASES[case]
    assert observed(before, event) == expected


def test_every_kind_of_event_and_of_observation_is_met() -> None:
    events = {type(event) for _, event, _ in CASES.values()}
    assert events | set(NOTHING_TO_COUNT) == set(get_args(Event))
    found = {type(observation) for _, _, observed in CASES.values() for observation in observed}
    assert found == set(get_args(Observation))


def test_a_session_is_asked_for_and_forgotten_in_silence() -> None:
    assert list(observations(None, asked(JOINS, SIGNALS), None)) == []
    assert list(observations(READY, None, None)) == []


def test_time_never_runs_backwards() -> None:
    early = seen("sm-asr-1", "PA_asr", START - 5)
    assert [seen.seconds for seen in observed(WAITING, early) if isinstance(seen, StepTaken)] == [0.0, 0.0]


def test_an_agent_is_counted_like_any_other() -> None:
    before = after(asked(AGENT), *managed(), ev.InviteStarted(START, 0, 1, 1, None, "inv_bot"))
    comes = seen("agent-1", "PA_bot", NOW, is_agent=True, attributes={"lk.agent.name": "bot", "lk.agent.state": "idle"})
    assert {type(observation) for observation in observed(before, comes)} == {StepTaken, ServiceReady, SessionReady}


# --- in all histories -------------------------------------------------------------------------------


def all_observed(world: World) -> list[Observation]:
    """Of the whole history, for a session that somebody asked for."""
    past = [replace(session, owner="acme") for session in world.past]
    found = list(observations(None, past[0], None))
    for (before, now), tale in zip(pairwise(past), world.taken_in, strict=True):
        seen_now = list(observations(before, now, tale.event))
        assert not (seen_now and isinstance(tale.event, NOTHING_TO_COUNT))
        found += seen_now
    return found


def of_kind(found: Sequence[Observation], kind: type[Observation]) -> int:
    return sum(isinstance(observation, kind) for observation in found)


def check_counts(world: World) -> None:
    """What was counted on the way is what the session in the end shows to have happened."""
    session, found = world.session, all_observed(world)
    assert of_kind(found, SessionCreated) == (session.room.created_at is not None or session.over)
    assert of_kind(found, SessionEnded) == session.over
    assert of_kind(found, SessionReady) == (session.ready_at is not None)
    assert of_kind(found, ServiceReplaced) == sum(max(0, service.attempt - 1) for service in session.services)
    assert of_kind(found, AttemptBegan) == sum(service.attempt for service in session.services)
    assert of_kind(found, ServiceFailed) <= of_kind(found, AttemptBegan)
    assert of_kind(found, ManagerDispatchedAgain) == max(0, session.manager.attempt - 1)
    steps = Counter((seen.type, seen.step) for seen in found if isinstance(seen, StepTaken))
    ready = Counter(seen.type for seen in found if isinstance(seen, ServiceReady))
    for service in session.services:
        assert all(steps[service.type, step] <= service.attempt for step in AttemptStep)
        assert ready[service.type] >= steps[service.type, AttemptStep.READY]
        assert ready[service.type] > 0 or service.ready_by is None
    assert all(seen.seconds >= 0 for seen in found if isinstance(seen, StepTaken | SessionReady))
    assert all(seen.reason in ATTEMPT_REASONS for seen in found if isinstance(seen, ServiceFailed))


@settings(max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(services=st.sampled_from(SERVICES), steps=STEPS)
def test_the_counts_of_a_history_are_those_of_the_session_in_the_end(
    services: tuple[RequiredService, ...], steps: list[tuple[str, int]]
) -> None:
    check_counts(a_history(services, steps))


def test_nor_do_they_differ_in_longer_ones() -> None:
    met: set[type[Observation]] = set()
    for seed in range(300):
        world = a_history(*by_chance(seed))
        check_counts(world)
        met |= {type(observation) for observation in all_observed(world)}
    assert met == set(get_args(Observation))

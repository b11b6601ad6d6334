"""When a service is ready and when it is ready no more: evidence, identities, joins and leaves, listings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from manager_agent.session import events as ev
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Refusal, Signal
from manager_agent.session.session import RequiredService, ServiceReason, ServiceState, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit.sessions import (
    AGENT,
    ASR,
    JOINS,
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
    made_optional,
    managed,
    requested,
    seen,
    signal,
    with_instance,
)

pytestmark = pytest.mark.unit

NOW = START + 10


# --- evidence of readiness --------------------------------------------------------------------------


def asked_for(*services: RequiredService) -> Session:
    """A session whose room and manager are there and whose services have accepted their invites."""
    entries = range(len(services))
    return after(a_session(*services), *managed(), *invited(*entries), *accepted(*entries))


AGENT_UP = {"lk.agent.name": "bot", "lk.agent.state": "listening"}
AGENT_STARTING = {"lk.agent.name": "bot", "lk.agent.state": "initializing"}


@pytest.mark.parametrize(
    ("service", "event", "evidence"),
    [
        (JOINS, seen("sm-asr-1", "PA_1", NOW), Evidence.JOIN),
        (JOINS, listed(NOW, ParticipantInfo("sm-asr-1", "PA_1")), Evidence.JOIN),
        (JOINS, signal("sm-asr-1", Signal.READY, NOW), Evidence.MESSAGE),
        (JOINS, signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP), Evidence.HTTP),
        (SIGNALS, signal("sm-asr-1", Signal.READY, NOW), Evidence.MESSAGE),
        (SIGNALS, signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP), Evidence.HTTP),
        (SIGNALS, seen("sm-asr-1", "PA_1", NOW, attributes={"session.state": "ready"}), Evidence.ATTRIBUTE),
        (
            SIGNALS,
            listed(NOW, ParticipantInfo("sm-asr-1", "PA_1", attributes={"session.state": "ready"})),
            Evidence.ATTRIBUTE,
        ),
    ],
)
def test_each_kind_of_evidence_alone_makes_a_service_ready(
    service: RequiredService, event: Event, evidence: Evidence
) -> None:
    """One event is enough, and what it was is recorded with its time."""
    session = apply(asked_for(service), event)
    assert session.state is SessionState.READY
    assert (session.services[ASR].ready_by, session.services[ASR].timeline.ready) == (evidence, NOW)
    assert session.ready_at == NOW


def test_the_first_evidence_counts() -> None:
    """What comes after it changes neither the kind nor the time."""
    session = after(
        asked_for(SIGNALS),
        signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP),
        seen("sm-asr-1", "PA_1", NOW + 1, attributes={"session.state": "ready"}),
        signal("sm-asr-1", Signal.READY, NOW + 2),
    )
    service = session.services[ASR]
    assert (service.ready_by, service.timeline.ready, service.timeline.joined) == (Evidence.HTTP, NOW, NOW + 1)


def test_a_service_that_has_to_say_so_is_not_ready_by_joining() -> None:
    """`ready_on: signal`: joined is not ready."""
    session = after(asked_for(SIGNALS), seen("sm-asr-1", "PA_1", NOW))
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.JOINED)


def test_speaking_in_the_room_is_proof_of_having_joined_and_http_is_not() -> None:
    """A message may overtake the news of the join; a POST comes from anywhere."""
    spoke = apply(asked_for(SIGNALS), signal("sm-asr-1", Signal.READY, NOW))
    posted = apply(asked_for(SIGNALS), signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP))
    assert spoke.services[ASR].timeline.joined == NOW
    assert posted.services[ASR].timeline.joined is None


@pytest.mark.parametrize("state", ["", "failing", "READY", "draining", "ready "])
def test_any_other_value_of_the_attribute_says_nothing(state: str) -> None:
    """Only `ready` and `failed`, spelt so, count."""
    session = apply(asked_for(SIGNALS), seen("sm-asr-1", "PA_1", NOW, attributes={"session.state": state}))
    assert session.services[ASR].state is ServiceState.JOINED


def test_an_attribute_set_after_the_join_counts_too() -> None:
    """The same participant is seen again, with another attribute."""
    session = after(
        asked_for(SIGNALS),
        seen("sm-asr-1", "PA_1", NOW),
        seen("sm-asr-1", "PA_1", NOW + 1, attributes={"session.state": "ready"}),
    )
    assert (session.services[ASR].ready_by, session.ready_at) == (Evidence.ATTRIBUTE, NOW + 1)


@pytest.mark.parametrize(
    "event",
    [
        signal("sm-asr-1", Signal.FAILED, NOW),
        signal("sm-asr-1", Signal.FAILED, NOW, Evidence.HTTP),
        seen("sm-asr-1", "PA_1", NOW, attributes={"session.state": "failed"}),
    ],
)
def test_a_failure_that_is_reported_is_not_taken_back(event: Event) -> None:
    """Whatever the service says or does afterwards under this identity, it has failed."""
    session = after(
        asked_for(JOINS),
        *(event, signal("sm-asr-1", Signal.READY, NOW + 1), seen("sm-asr-1", "PA_1", NOW + 2)),
        *(left("sm-asr-1", "PA_1", NOW + 3), seen("sm-asr-1", "PA_2", NOW + 4)),
        seen("sm-asr-1", "PA_2", NOW + 4, attributes={"session.state": "ready"}),
    )
    service = session.services[ASR]
    assert (service.state, session.reason_of(service)) == (ServiceState.FAILED, ServiceReason.REPORTED_FAILURE)
    assert service.ready_by is None
    assert session.state is SessionState.WAITING


def test_all_required_services_have_to_be_ready_and_an_optional_one_need_not() -> None:
    """An optional service holds nothing back, ready or not; the others all do."""
    session = asked_for(JOINS, SIGNALS, made_optional(AGENT))
    one = apply(session, seen("sm-asr-1", "PA_1", NOW))
    both = apply(one, signal("sm-llm-1", Signal.READY, NOW + 1))
    without_the_bot = apply(both, signal("bot-service", Signal.FAILED, NOW + 2))
    assert [s.state for s in (one, both, without_the_bot)] == ["waiting", "ready", "ready"]


def test_a_room_without_services_is_ready_as_soon_as_it_exists() -> None:
    """`required_services: []` is a plain room, and no token is given for a room that is not there."""
    session = a_session()
    assert after(session, *requested()).state is SessionState.WAITING
    assert after(session, *created()).state is SessionState.READY


def test_readiness_does_not_wait_for_the_manager() -> None:
    """A webhook is enough, though no manager has come yet."""
    session = after(a_session(JOINS), *created(), *invited(ASR), seen("sm-asr-1", "PA_1", NOW))
    assert session.state is SessionState.READY


# --- who may speak for a service --------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["asr-service", "inv_0", "sm-asr-2", "", "alice", MANAGER])
def test_nobody_speaks_for_a_service_but_the_identity_that_was_invited(identity: str) -> None:
    """Not its name, not its invite, not the user, not an attempt that is still to come."""
    session = asked_for(SIGNALS)
    assert apply(session, signal(identity, Signal.READY, NOW)) is session
    assert apply(session, signal(identity, Signal.FAILED, NOW)) is session


def test_what_an_older_attempt_says_or_does_changes_nothing() -> None:
    """Once the next attempt is invited, the identity of the one before is a stranger's."""
    session = after(
        asked_for(JOINS),
        seen("sm-asr-1", "PA_1", NOW),
        ev.InviteStarted(NOW + 1, ASR, 2, 1, "sm-asr-2", "inv_0b"),
    )
    assert session.state is SessionState.DEGRADED
    late: list[Event] = [
        seen("sm-asr-1", "PA_1", NOW + 2),
        seen("sm-asr-1", "PA_2", NOW + 2, attributes={"session.state": "ready"}),
        left("sm-asr-1", "PA_1", NOW + 2),
        signal("sm-asr-1", Signal.READY, NOW + 2),
        signal("sm-asr-1", Signal.FAILED, NOW + 2, Evidence.HTTP),
        ev.InviteAccepted(NOW + 2, ASR, 1, 1),
        ev.InviteRefused(NOW + 2, ASR, 1, 1, Refusal.DECLINED, final=True),
        ev.InviteStarted(NOW + 2, ASR, 1, 1, "sm-asr-1", "inv_0"),
    ]
    for event in late:  # that it is here is noted, so that it can be removed from the room
        assert replace(apply(session, event), stale_participants=session.stale_participants) == session
    assert apply(session, seen("sm-asr-2", "PA_3", NOW + 3)).state is SessionState.READY


def test_a_new_attempt_starts_from_nothing() -> None:
    """Neither the evidence nor the failure nor the timeline of the last one is left."""
    session = after(
        asked_for(SIGNALS),
        *(seen("sm-asr-1", "PA_1", NOW), signal("sm-asr-1", Signal.FAILED, NOW)),
        ev.InviteStarted(NOW + 1, ASR, 2, 1, "sm-asr-2", "inv_0b"),
    )
    service = session.services[ASR]
    assert (service.state, service.attempt, session.reason_of(service)) == (ServiceState.INVITED, 2, None)
    assert (service.timeline.invited, service.timeline.joined, service.timeline.failed) == (NOW + 1, None, None)


# --- joins and leaves -------------------------------------------------------------------------------


def test_a_leave_counts_only_for_the_very_participant_that_is_here() -> None:
    """The leave of an earlier join, told late, does not take away the service that has come back since."""
    session = after(
        asked_for(JOINS),
        *(seen("sm-asr-1", "PA_1", NOW), seen("sm-asr-1", "PA_2", NOW + 1)),
        left("sm-asr-1", "PA_1", NOW + 2),
    )
    assert session.state is SessionState.READY
    assert apply(session, left("sm-asr-1", "PA_2", NOW + 3)).state is SessionState.DEGRADED


def test_a_service_whose_leave_is_told_before_its_join_has_come_and_gone() -> None:
    """Webhooks overtake each other."""
    session = after(asked_for(JOINS), left("sm-asr-1", "PA_1", NOW), seen("sm-asr-1", "PA_1", NOW + 1))
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.LOST)
    assert session.services[ASR].timeline.joined == NOW + 1
    assert apply(session, seen("sm-asr-1", "PA_2", NOW + 2)).state is SessionState.READY


@pytest.mark.parametrize("how", [Evidence.HTTP, Evidence.MESSAGE])
def test_who_said_that_it_is_ready_and_has_left_is_lost_in_whatever_order_that_is_told(how: Evidence) -> None:
    """The leave of somebody unknown changes nothing; the news that he had joined makes it that of the service."""
    said_so = after(asked_for(SIGNALS), signal("sm-asr-1", Signal.READY, NOW, how), left("sm-asr-1", "PA_1", NOW + 1))
    assert said_so.state is SessionState.READY
    assert apply(said_so, seen("sm-asr-1", "PA_1", NOW + 2)).state is SessionState.DEGRADED


def test_a_newer_participant_that_came_and_left_takes_the_older_one_with_it() -> None:
    """LiveKit has one participant of an identity: that a later one was here means that this one is not."""
    session = after(
        asked_for(JOINS),
        seen("sm-asr-1", "PA_1", NOW, joined_ms=1_000),
        left("sm-asr-1", "PA_2", NOW + 1),
    )
    assert session.state is SessionState.READY
    assert apply(session, seen("sm-asr-1", "PA_2", NOW + 2, joined_ms=2_000)).state is SessionState.DEGRADED


def test_an_older_join_told_late_does_not_undo_a_newer_leave() -> None:
    """LiveKit's instant of a join says which is older, also when nobody is here any more."""
    session = after(
        asked_for(JOINS),
        seen("sm-asr-1", "PA_2", NOW, joined_ms=2_000),
        left("sm-asr-1", "PA_2", NOW + 1),
    )
    assert apply(session, seen("sm-asr-1", "PA_1", NOW + 2, joined_ms=1_000)) is session


def test_a_service_that_came_back_has_to_say_again_that_it_is_ready() -> None:
    """What the participant before it said does not count for the new one."""
    session = after(
        asked_for(SIGNALS),
        *(seen("sm-asr-1", "PA_1", NOW), signal("sm-asr-1", Signal.READY, NOW)),
        *(left("sm-asr-1", "PA_1", NOW + 1), seen("sm-asr-1", "PA_2", NOW + 2)),
    )
    assert (session.state, session.services[ASR].state) == (SessionState.DEGRADED, ServiceState.JOINED)
    assert apply(session, signal("sm-asr-1", Signal.READY, NOW + 3)).state is SessionState.READY


def test_a_service_that_has_left_can_not_say_that_it_is_ready() -> None:
    """A message on its way when it left is void: it has to join first. Nor may it be acknowledged."""
    session = after(asked_for(JOINS), seen("sm-asr-1", "PA_1", NOW), left("sm-asr-1", "PA_1", NOW + 1))
    assert apply(session, signal("sm-asr-1", Signal.READY, NOW + 2)) is session
    assert not session.has_taken_in("sm-asr-1", Signal.READY)


def test_before_the_first_time_a_lost_service_makes_it_waiting_again() -> None:
    """Degraded is only what had been ready."""
    session = after(asked_for(JOINS, SIGNALS), seen("sm-asr-1", "PA_1", NOW), left("sm-asr-1", "PA_1", NOW + 1))
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.LOST)
    assert session.reason_of(session.services[ASR]) is ServiceReason.LEFT


def test_a_lost_service_that_comes_back_heals_the_session() -> None:
    """The user is still there, so it is active at once; when it was first ready does not change."""
    session = after(
        asked_for(JOINS),
        *(seen("sm-asr-1", "PA_1", NOW), seen("alice", "PA_a", NOW + 1)),
        *(left("sm-asr-1", "PA_1", NOW + 2), seen("sm-asr-1", "PA_2", NOW + 3)),
    )
    assert (session.state, session.ready_at) == (SessionState.ACTIVE, NOW)


# --- listings ---------------------------------------------------------------------------------------


def test_a_listing_asked_for_before_a_join_was_learnt_does_not_undo_it() -> None:
    """What was learnt later wins, also when the answer comes last."""
    session = after(asked_for(JOINS), seen("sm-asr-1", "PA_1", NOW))
    assert after(session, listed(NOW + 2, asked_at=NOW - 1)).state is SessionState.READY
    assert after(session, listed(NOW + 2, asked_at=NOW)).state is SessionState.READY
    assert after(session, listed(NOW + 2, asked_at=NOW + 1)).state is SessionState.DEGRADED


def test_a_listing_that_comes_after_a_newer_one_is_old_news() -> None:
    """Whoever it shows may have left before the newer one was asked for."""
    session = after(asked_for(JOINS), listed(NOW + 2, asked_at=NOW + 1))
    assert apply(session, listed(NOW + 3, ParticipantInfo("sm-asr-1", "PA_1"), asked_at=NOW)) is session


def test_a_listing_takes_back_what_was_said_in_the_room_by_one_who_is_not_there() -> None:
    """A service that spoke, and whose join was never told, is lost when a later listing does not show it."""
    session = after(asked_for(SIGNALS), signal("sm-asr-1", Signal.READY, NOW))
    assert apply(session, listed(NOW + 1, asked_at=NOW)).state is SessionState.READY
    assert apply(session, listed(NOW + 1, asked_at=NOW + 0.1)).state is SessionState.DEGRADED


def test_a_listing_does_not_take_back_what_was_said_by_http_before_joining() -> None:
    """It counts even before the service has joined."""
    session = after(asked_for(SIGNALS), signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP))
    assert apply(session, listed(NOW + 2, asked_at=NOW + 1)).state is SessionState.READY


def test_who_is_still_on_the_way_in_has_neither_joined_nor_left() -> None:
    """A listing shows participants that are connecting; they are no evidence of anything."""
    session = apply(asked_for(JOINS), listed(NOW, joining=("sm-asr-1",)))
    assert session.services[ASR].state is ServiceState.ACCEPTED
    ready = after(session, seen("sm-asr-1", "PA_1", NOW + 1))
    assert apply(ready, listed(NOW + 3, asked_at=NOW + 2, joining=("sm-asr-1",))).state is SessionState.READY


def test_nobody_comes_back_by_an_old_listing() -> None:
    """It shows a participant that is known to have left."""
    session = after(asked_for(JOINS), seen("sm-asr-1", "PA_1", NOW), left("sm-asr-1", "PA_1", NOW + 1))
    again = apply(session, listed(NOW + 2, ParticipantInfo("sm-asr-1", "PA_1"), asked_at=NOW + 0.5))
    assert again.state is SessionState.DEGRADED


# --- services that LiveKit dispatches ---------------------------------------------------------------


def the_bot(sid: str, attributes: dict[str, str], at: float = NOW, identity: str = "agent-AJ_1") -> Event:
    return seen(identity, sid, at, is_agent=True, attributes=attributes)


BOT_ALONE = 0
"""Its entry where it is the only service."""


def awaiting_the_bot() -> Session:
    started = ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")
    return after(a_session(AGENT), *managed(), started, *accepted(BOT_ALONE))


def test_a_dispatched_agent_is_known_by_its_name() -> None:
    """It comes under an identity of LiveKit's, which from then on is the service's."""
    session = apply(awaiting_the_bot(), the_bot("PA_1", AGENT_STARTING))
    assert (session.state, session.services[BOT_ALONE].identity) == (SessionState.READY, "agent-AJ_1")


@pytest.mark.parametrize(("state", "expected"), [("initializing", "joined"), ("", "joined"), ("idle", "ready")])
def test_an_agent_is_up_once_its_state_says_so(state: str, expected: str) -> None:
    """For one that has to signal, `lk.agent.state` past `initializing` is the signal."""
    session = after(
        a_session(with_instance(AGENT, ready_on=SIGNALS.current.instance.ready_on)),
        *(*managed(), ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")),
        the_bot("PA_1", {"lk.agent.name": "bot", "lk.agent.state": state}),
    )
    assert session.services[BOT_ALONE].state == expected


@pytest.mark.parametrize(
    "somebody",
    [
        seen("agent-AJ_1", "PA_1", NOW, attributes=AGENT_UP),
        seen("agent-AJ_1", "PA_1", NOW, is_agent=True, attributes={"lk.agent.name": "other"}),
        seen("agent-AJ_1", "PA_1", NOW, is_agent=True),
        seen("sm-manager-9", "PA_1", NOW, is_agent=True, attributes=AGENT_UP),
        seen("alice", "PA_1", NOW, is_agent=True, attributes=AGENT_UP),
    ],
    ids=["no agent", "another name", "no name", "one of ours", "the user"],
)
def test_nobody_passes_for_a_dispatched_agent(somebody: Event) -> None:
    """Anybody may set attributes; the kind AGENT takes the API secret. Our own identities are not LiveKit's."""
    assert apply(awaiting_the_bot(), somebody).services[BOT_ALONE].identity is None


def test_an_agent_that_was_not_dispatched_yet_is_not_ours() -> None:
    """Its name alone is not enough before our dispatch."""
    session = after(a_session(AGENT), *managed())
    assert apply(session, the_bot("PA_1", AGENT_UP)) is session


def test_a_second_agent_of_the_name_is_a_stranger_while_the_first_is_here() -> None:
    """And when the first has left, the next one is the service."""
    session = after(awaiting_the_bot(), the_bot("PA_1", AGENT_UP))
    second = the_bot("PA_2", AGENT_UP, NOW + 1, identity="agent-AJ_2")
    assert apply(session, second).services == session.services
    replaced = after(session, left("agent-AJ_1", "PA_1", NOW + 2), second)
    assert (replaced.state, replaced.services[BOT_ALONE].identity) == (SessionState.READY, "agent-AJ_2")
    assert apply(replaced, the_bot("PA_1", AGENT_UP, NOW + 3)) is replaced
    assert apply(replaced, signal("agent-AJ_1", Signal.FAILED, NOW + 3)) is replaced


def test_an_agent_whose_leave_was_told_before_its_join_is_not_here() -> None:
    """Its identity was nobody's when it left; it is remembered all the same."""
    session = after(awaiting_the_bot(), left("agent-AJ_1", "PA_1", NOW), the_bot("PA_1", AGENT_UP, NOW + 1))
    assert session.state is SessionState.WAITING


def test_an_agent_of_an_older_attempt_changes_nothing() -> None:
    """It has the same name as the one that is awaited, but has had its turn."""
    again = ev.InviteStarted(NOW + 1, BOT_ALONE, 2, 1, None, "inv_2b")
    session = after(awaiting_the_bot(), the_bot("PA_1", AGENT_STARTING), again)
    assert apply(session, the_bot("PA_1", AGENT_UP, NOW + 2)) is session
    assert apply(session, the_bot("PA_2", AGENT_UP, NOW + 2, identity="agent-AJ_2")).state is SessionState.READY


def test_a_listing_that_shows_another_agent_in_place_of_the_first_is_all_it_takes() -> None:
    """The first has left, and the second is here."""
    session = apply(awaiting_the_bot(), the_bot("PA_1", AGENT_UP))
    second = ParticipantInfo("agent-AJ_2", "PA_2", is_agent=True, attributes=AGENT_UP)
    replaced = apply(session, listed(NOW + 1, second))
    assert (replaced.state, replaced.services[BOT_ALONE].identity) == (SessionState.READY, "agent-AJ_2")


def test_an_agent_that_joined_first_may_still_take_over_from_one_that_came_later() -> None:
    """Instants tell the joins of one identity apart, not those of two."""
    session = after(
        awaiting_the_bot(),
        seen("agent-AJ_2", "PA_2", NOW, joined_ms=2_000, is_agent=True, attributes=AGENT_UP),
        left("agent-AJ_2", "PA_2", NOW + 1),
        seen("agent-AJ_1", "PA_1", NOW + 2, joined_ms=1_000, is_agent=True, attributes=AGENT_UP),
    )
    assert session.state is SessionState.READY


def test_two_services_of_one_agent_name_take_an_agent_each() -> None:
    """Each agent fills one entry."""
    started = [ev.InviteStarted(START, entry, 1, 1, None, f"inv_{entry}") for entry in (0, 1)]
    session = after(a_session(AGENT, with_instance(AGENT, service_id="bot-2")), *managed(), *started)
    one = apply(session, the_bot("PA_1", AGENT_UP))
    two = apply(one, the_bot("PA_2", AGENT_UP, identity="agent-AJ_2"))
    assert [s.state for s in (one, two)] == ["waiting", "ready"]

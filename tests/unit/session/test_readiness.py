"""When a service is ready and when it no longer is: evidence, identities, joins and leaves, listings."""

from __future__ import annotations

import pytest

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.events import Event, Evidence, ParticipantInfo, ReadyOn, Refusal, Signal
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, START

pytestmark = pytest.mark.unit

NOW = START + 10


# --- evidence of readiness --------------------------------------------------------------------------


def asked_for(*services: RequiredService) -> Session:
    """A session whose room and manager are there and whose services have accepted their invites."""
    entries = range(len(services))
    return given.after(
        given.a_session(*services), *given.managed(), *given.invited(*entries), *given.accepted(*entries)
    )


AGENT_UP = {"lk.agent.name": "bot", "lk.agent.state": "listening"}
AGENT_STARTING = {"lk.agent.name": "bot", "lk.agent.state": "initializing"}


@pytest.mark.parametrize(
    ("service", "event", "evidence"),
    [
        (given.JOINS, given.seen("sm-asr-1", "PA_1", NOW), Evidence.JOIN),
        (given.JOINS, given.listed(NOW, ParticipantInfo("sm-asr-1", "PA_1")), Evidence.JOIN),
        (given.JOINS, given.signal("sm-asr-1", Signal.READY, NOW), Evidence.MESSAGE),
        (given.JOINS, given.signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP), Evidence.HTTP),
        (given.SIGNALS, given.signal("sm-asr-1", Signal.READY, NOW), Evidence.MESSAGE),
        (given.SIGNALS, given.signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP), Evidence.HTTP),
        (given.SIGNALS, given.seen("sm-asr-1", "PA_1", NOW, attributes={"session.state": "ready"}), Evidence.ATTRIBUTE),
        (
            given.SIGNALS,
            given.listed(NOW, ParticipantInfo("sm-asr-1", "PA_1", attributes={"session.state": "ready"})),
            Evidence.ATTRIBUTE,
        ),
    ],
)
def test_each_kind_of_evidence_alone_makes_a_service_ready(
    service: RequiredService, event: Event, evidence: Evidence
) -> None:
    """One event is enough. Its kind and time are recorded."""
    session = apply(asked_for(service), event)
    assert session.state is SessionState.READY
    assert (session.services[ASR].ready_by, session.services[ASR].timeline.ready) == (evidence, NOW)
    assert session.ready_at == NOW


def test_the_first_evidence_of_readiness_counts() -> None:
    """Later evidence changes neither the kind nor the time."""
    session = given.after(
        asked_for(given.SIGNALS),
        given.signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP),
        given.seen("sm-asr-1", "PA_1", NOW + 1, attributes={"session.state": "ready"}),
        given.signal("sm-asr-1", Signal.READY, NOW + 2),
    )
    service = session.services[ASR]
    assert (service.ready_by, service.timeline.ready, service.timeline.joined) == (Evidence.HTTP, NOW, NOW + 1)


def test_a_service_with_ready_on_signal_is_not_ready_by_joining() -> None:
    session = given.after(asked_for(given.SIGNALS), given.seen("sm-asr-1", "PA_1", NOW))
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.JOINED)


def test_a_message_in_the_room_proves_a_join_and_a_signal_by_http_does_not() -> None:
    """A message may overtake the report of the join. A POST comes from anywhere."""
    spoke = apply(asked_for(given.SIGNALS), given.signal("sm-asr-1", Signal.READY, NOW))
    posted = apply(asked_for(given.SIGNALS), given.signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP))
    assert spoke.services[ASR].timeline.joined == NOW
    assert posted.services[ASR].timeline.joined is None


@pytest.mark.parametrize("state", ["", "failing", "READY", "draining", "ready "])
def test_other_values_of_the_state_attribute_are_ignored(state: str) -> None:
    """Only `ready` and `failed`, in this spelling, count."""
    session = apply(asked_for(given.SIGNALS), given.seen("sm-asr-1", "PA_1", NOW, attributes={"session.state": state}))
    assert session.services[ASR].state is ServiceState.JOINED


def test_an_attribute_set_after_the_join_counts() -> None:
    """The same participant is seen again, with another attribute."""
    session = given.after(
        asked_for(given.SIGNALS),
        given.seen("sm-asr-1", "PA_1", NOW),
        given.seen("sm-asr-1", "PA_1", NOW + 1, attributes={"session.state": "ready"}),
    )
    assert (session.services[ASR].ready_by, session.ready_at) == (Evidence.ATTRIBUTE, NOW + 1)


@pytest.mark.parametrize(
    "event",
    [
        given.signal("sm-asr-1", Signal.FAILED, NOW),
        given.signal("sm-asr-1", Signal.FAILED, NOW, Evidence.HTTP),
        given.seen("sm-asr-1", "PA_1", NOW, attributes={"session.state": "failed"}),
    ],
)
def test_a_reported_failure_is_not_taken_back(event: Event) -> None:
    """Whatever the service reports or does afterwards under this identity."""
    session = given.after(
        asked_for(given.JOINS),
        *(event, given.signal("sm-asr-1", Signal.READY, NOW + 1), given.seen("sm-asr-1", "PA_1", NOW + 2)),
        *(given.left("sm-asr-1", "PA_1", NOW + 3), given.seen("sm-asr-1", "PA_2", NOW + 4)),
        given.seen("sm-asr-1", "PA_2", NOW + 4, attributes={"session.state": "ready"}),
    )
    service = session.services[ASR]
    assert (service.state, session.reason_of(service)) == (ServiceState.FAILED, ServiceReason.REPORTED_FAILURE)
    assert service.ready_by is None
    assert session.state is SessionState.WAITING


def test_a_failure_that_is_reported_has_a_detail_and_an_instant_and_ends_readiness() -> None:
    ready = apply(asked_for(given.JOINS), given.seen("sm-asr-1", "PA_1", NOW))
    said = ev.ServiceSignalled(NOW + 1, "sm-asr-1", Signal.FAILED, Evidence.MESSAGE, "out of memory")
    by_attribute = given.seen("sm-asr-1", "PA_1", NOW + 1, attributes={"session.state": "failed"})
    for event, detail in ((said, "out of memory"), (by_attribute, None)):
        attempt = apply(ready, event).services[ASR].current
        assert (attempt.reported_failure, attempt.failure_detail, attempt.ready_by) == (True, detail, None)
        assert attempt.timeline.failed == NOW + 1


def test_a_failure_that_is_reported_before_the_join_stays_in_the_timeline() -> None:
    failed = apply(asked_for(given.JOINS), given.signal("sm-asr-1", Signal.FAILED, NOW, Evidence.HTTP))
    timeline = apply(failed, given.seen("sm-asr-1", "PA_1", NOW + 1)).services[ASR].timeline
    assert (timeline.failed, timeline.joined) == (NOW, NOW + 1)


def test_a_service_that_has_left_is_ready_by_nothing() -> None:
    came = given.after(asked_for(given.JOINS), given.seen("sm-asr-1", "PA_1", NOW))
    attempt = apply(came, given.left("sm-asr-1", "PA_1", NOW + 1)).services[ASR].current
    assert (attempt.ready_by, attempt.ready_before_loss) == (None, Evidence.JOIN)


def test_an_agent_without_a_state_has_signaled_nothing() -> None:
    """The attribute comes with its first state, after the join."""
    agent = given.a_service("bot-service", "BOT", agent_name="bot", ready_on=ReadyOn.SIGNAL)
    session = given.after(
        asked_for(agent), given.seen("agent-1", "PA_1", NOW, is_agent=True, attributes={"lk.agent.name": "bot"})
    )
    assert session.services[ASR].state is ServiceState.JOINED
    states = {"lk.agent.name": "bot", "lk.agent.state": "listening"}
    up = apply(session, given.seen("agent-1", "PA_1", NOW, is_agent=True, attributes=states))
    assert up.services[ASR].ready_by is Evidence.ATTRIBUTE


def test_a_session_is_ready_with_all_required_services_and_no_optional_one() -> None:
    """Optional services hold nothing back; required ones all do."""
    session = asked_for(given.JOINS, given.SIGNALS, given.made_optional(given.AGENT))
    one = apply(session, given.seen("sm-asr-1", "PA_1", NOW))
    both = apply(one, given.signal("sm-llm-1", Signal.READY, NOW + 1))
    without_the_bot = apply(both, given.signal("bot-service", Signal.FAILED, NOW + 2))
    assert [s.state for s in (one, both, without_the_bot)] == ["waiting", "ready", "ready"]


def test_a_room_without_services_is_ready_as_soon_as_it_exists() -> None:
    """`required_services: []` is a plain room. No token is given for a room that does not exist."""
    session = given.a_session()
    assert given.after(session, *given.requested()).state is SessionState.WAITING
    assert given.after(session, *given.created()).state is SessionState.READY


def test_readiness_does_not_wait_for_the_manager() -> None:
    """A webhook is enough, even before a manager has joined."""
    session = given.after(
        given.a_session(given.JOINS), *given.created(), *given.invited(ASR), given.seen("sm-asr-1", "PA_1", NOW)
    )
    assert session.state is SessionState.READY


# --- who may speak for a service --------------------------------------------------------------------


@pytest.mark.parametrize("identity", ["asr-service", "inv_0", "sm-asr-2", "", "alice", given.MANAGER])
def test_only_the_invited_identity_makes_a_service_ready(identity: str) -> None:
    """Not its name, its invite id, the user, or an attempt that is still to come."""
    session = asked_for(given.SIGNALS)
    assert apply(session, given.signal(identity, Signal.READY, NOW)) is session
    assert apply(session, given.signal(identity, Signal.FAILED, NOW)) is session


def test_events_of_an_earlier_attempt_change_nothing() -> None:
    """Once the next attempt is invited, the identity of the previous one is a stranger's."""
    session = given.after(
        asked_for(given.JOINS),
        given.seen("sm-asr-1", "PA_1", NOW),
        ev.InviteStarted(NOW + 1, ASR, 2, 1, "sm-asr-2", "inv_0b"),
    )
    assert session.state is SessionState.DEGRADED
    late: list[Event] = [
        given.seen("sm-asr-1", "PA_1", NOW + 2),
        given.seen("sm-asr-1", "PA_2", NOW + 2, attributes={"session.state": "ready"}),
        given.left("sm-asr-1", "PA_1", NOW + 2),
        given.signal("sm-asr-1", Signal.READY, NOW + 2),
        given.signal("sm-asr-1", Signal.FAILED, NOW + 2, Evidence.HTTP),
        ev.InviteAccepted(NOW + 2, ASR, 1, 1),
        ev.InviteRefused(NOW + 2, ASR, 1, 1, Refusal.DECLINED, final=True),
        ev.InviteStarted(NOW + 2, ASR, 1, 1, "sm-asr-1", "inv_0"),
    ]
    for event in late:  # that it is here is noted, so that it can be removed from the room
        assert replace(apply(session, event), stale_participants=session.stale_participants) == session
    assert apply(session, given.seen("sm-asr-2", "PA_3", NOW + 3)).state is SessionState.READY


def test_a_new_attempt_has_no_state_of_the_previous_one() -> None:
    """Neither evidence nor failure nor timeline."""
    session = given.after(
        asked_for(given.SIGNALS),
        *(given.seen("sm-asr-1", "PA_1", NOW), given.signal("sm-asr-1", Signal.FAILED, NOW)),
        ev.InviteStarted(NOW + 1, ASR, 2, 1, "sm-asr-2", "inv_0b"),
    )
    service = session.services[ASR]
    assert (service.state, service.attempt, session.reason_of(service)) == (ServiceState.INVITED, 2, None)
    assert (service.timeline.invited, service.timeline.joined, service.timeline.failed) == (NOW + 1, None, None)


# --- joins and leaves -------------------------------------------------------------------------------


def test_a_leave_counts_only_for_the_very_participant_that_is_here() -> None:
    """The leave of an earlier join, reported late, does not affect the service that has come back since."""
    session = given.after(
        asked_for(given.JOINS),
        *(given.seen("sm-asr-1", "PA_1", NOW), given.seen("sm-asr-1", "PA_2", NOW + 1)),
        given.left("sm-asr-1", "PA_1", NOW + 2),
    )
    assert session.state is SessionState.READY
    assert apply(session, given.left("sm-asr-1", "PA_2", NOW + 3)).state is SessionState.DEGRADED


def test_a_service_whose_leave_is_reported_before_its_join_is_absent() -> None:
    """Webhooks overtake each other."""
    session = given.after(
        asked_for(given.JOINS), given.left("sm-asr-1", "PA_1", NOW), given.seen("sm-asr-1", "PA_1", NOW + 1)
    )
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.LOST)
    assert session.services[ASR].timeline.joined == NOW + 1
    assert apply(session, given.seen("sm-asr-1", "PA_2", NOW + 2)).state is SessionState.READY


@pytest.mark.parametrize("how", [Evidence.HTTP, Evidence.MESSAGE])
def test_a_ready_service_that_has_left_is_lost_in_any_order_of_reports(how: Evidence) -> None:
    """The leave of an unknown participant changes nothing; the report of its join makes it the leave of the service."""
    said_so = given.after(
        asked_for(given.SIGNALS),
        given.signal("sm-asr-1", Signal.READY, NOW, how),
        given.left("sm-asr-1", "PA_1", NOW + 1),
    )
    assert said_so.state is SessionState.READY
    assert apply(said_so, given.seen("sm-asr-1", "PA_1", NOW + 2)).state is SessionState.DEGRADED


def test_a_newer_participant_that_joined_and_left_ends_the_older_one() -> None:
    """LiveKit has one participant of an identity: if a later one was here, this one is not."""
    session = given.after(
        asked_for(given.JOINS),
        given.seen("sm-asr-1", "PA_1", NOW, joined_ms=1_000),
        given.left("sm-asr-1", "PA_2", NOW + 1),
    )
    assert session.state is SessionState.READY
    assert apply(session, given.seen("sm-asr-1", "PA_2", NOW + 2, joined_ms=2_000)).state is SessionState.DEGRADED


def test_a_service_that_rejoins_has_to_say_again_that_it_is_ready() -> None:
    ready = given.after(
        asked_for(given.SIGNALS), given.seen("sm-asr-1", "PA_1", NOW), given.signal("sm-asr-1", Signal.READY, NOW + 1)
    )
    rejoined = apply(ready, given.seen("sm-asr-1", "PA_2", NOW + 2, joined_ms=1))
    [service] = rejoined.services
    assert (service.state, service.timeline.joined, service.timeline.ready) == (ServiceState.JOINED, NOW + 2, None)
    [again] = apply(rejoined, given.signal("sm-asr-1", Signal.READY, NOW + 3)).services
    assert (again.state, again.timeline.ready) == (ServiceState.READY, NOW + 3)


def test_a_late_report_of_an_older_join_does_not_undo_a_newer_leave() -> None:
    """LiveKit's instant of a join says which is older, even when neither is here."""
    session = given.after(
        asked_for(given.JOINS),
        given.seen("sm-asr-1", "PA_2", NOW, joined_ms=2_000),
        given.left("sm-asr-1", "PA_2", NOW + 1),
    )
    assert apply(session, given.seen("sm-asr-1", "PA_1", NOW + 2, joined_ms=1_000)) is session


def test_a_service_that_came_back_must_signal_ready_again() -> None:
    """The signal of the participant before it does not count."""
    session = given.after(
        asked_for(given.SIGNALS),
        *(given.seen("sm-asr-1", "PA_1", NOW), given.signal("sm-asr-1", Signal.READY, NOW)),
        *(given.left("sm-asr-1", "PA_1", NOW + 1), given.seen("sm-asr-1", "PA_2", NOW + 2)),
    )
    assert (session.state, session.services[ASR].state) == (SessionState.DEGRADED, ServiceState.JOINED)
    assert apply(session, given.signal("sm-asr-1", Signal.READY, NOW + 3)).state is SessionState.READY


def test_a_service_that_has_left_can_not_signal_ready() -> None:
    """A message in flight when it left is void: it has to join first. It is not acknowledged either."""
    session = given.after(
        asked_for(given.JOINS), given.seen("sm-asr-1", "PA_1", NOW), given.left("sm-asr-1", "PA_1", NOW + 1)
    )
    assert apply(session, given.signal("sm-asr-1", Signal.READY, NOW + 2)) is session
    assert not session.has_applied("sm-asr-1", Signal.READY)


def test_a_service_lost_before_the_session_was_ready_makes_it_wait_again() -> None:
    """Degraded is only a session that was ready."""
    session = given.after(
        asked_for(given.JOINS, given.SIGNALS),
        given.seen("sm-asr-1", "PA_1", NOW),
        given.left("sm-asr-1", "PA_1", NOW + 1),
    )
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.LOST)
    assert session.reason_of(session.services[ASR]) is ServiceReason.LEFT


def test_a_lost_service_that_comes_back_restores_the_session() -> None:
    """The user is still there, so the session is active at once. When it was first ready does not change."""
    session = given.after(
        asked_for(given.JOINS),
        *(given.seen("sm-asr-1", "PA_1", NOW), given.seen("alice", "PA_a", NOW + 1)),
        *(given.left("sm-asr-1", "PA_1", NOW + 2), given.seen("sm-asr-1", "PA_2", NOW + 3)),
    )
    assert (session.state, session.ready_at) == (SessionState.ACTIVE, NOW)


# --- listings ---------------------------------------------------------------------------------------


def test_a_listing_requested_before_a_join_was_known_does_not_undo_it() -> None:
    """What was learned later wins, even if the answer comes last."""
    session = given.after(asked_for(given.JOINS), given.seen("sm-asr-1", "PA_1", NOW))
    for asked_at in (NOW - 1, NOW):
        assert given.after(session, given.listed(NOW + 2, asked_at=asked_at)).services == session.services
    assert given.after(session, *given.unlisted(NOW + 2)).state is SessionState.DEGRADED


def test_a_listing_that_arrives_after_a_newer_one_is_ignored() -> None:
    """Participants in it may have left before the newer one was requested."""
    session = given.after(asked_for(given.JOINS), given.listed(NOW + 2, asked_at=NOW + 1))
    assert apply(session, given.listed(NOW + 3, ParticipantInfo("sm-asr-1", "PA_1"), asked_at=NOW)) is session


def test_a_listing_without_a_service_takes_back_its_signal_in_the_room() -> None:
    """A service that sent a message, and whose join was never reported, is lost when later listings do not show
    it."""
    session = given.after(asked_for(given.SIGNALS), given.signal("sm-asr-1", Signal.READY, NOW))
    assert apply(session, given.listed(NOW + 1, asked_at=NOW)).state is SessionState.READY
    assert apply(session, given.listed(NOW + 1, asked_at=NOW + 0.1)).state is SessionState.READY
    assert given.after(session, *given.unlisted(NOW + 2)).state is SessionState.DEGRADED


def test_a_listing_does_not_take_back_a_signal_by_http_before_the_join() -> None:
    """It counts even before the service has joined."""
    session = given.after(asked_for(given.SIGNALS), given.signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP))
    assert apply(session, given.listed(NOW + 2, asked_at=NOW + 1)).state is SessionState.READY


def test_a_connecting_participant_has_neither_joined_nor_left() -> None:
    """A listing shows connecting participants; they are no evidence of anything."""
    session = apply(asked_for(given.JOINS), given.listed(NOW, joining=("sm-asr-1",)))
    assert session.services[ASR].state is ServiceState.ACCEPTED
    ready = given.after(session, given.seen("sm-asr-1", "PA_1", NOW + 1))
    assert apply(ready, given.listed(NOW + 3, asked_at=NOW + 2, joining=("sm-asr-1",))).state is SessionState.READY


def test_an_old_listing_does_not_bring_a_participant_back() -> None:
    """It shows a participant that is known to have left."""
    session = given.after(
        asked_for(given.JOINS), given.seen("sm-asr-1", "PA_1", NOW), given.left("sm-asr-1", "PA_1", NOW + 1)
    )
    again = apply(session, given.listed(NOW + 2, ParticipantInfo("sm-asr-1", "PA_1"), asked_at=NOW + 0.5))
    assert again.state is SessionState.DEGRADED


# --- services that LiveKit dispatches ---------------------------------------------------------------


def the_bot(sid: str, attributes: dict[str, str], at: float = NOW, identity: str = "agent-AJ_1") -> Event:
    return given.seen(identity, sid, at, is_agent=True, attributes=attributes)


BOT_ALONE = 0
"""Its index where it is the only service."""


def awaiting_the_bot() -> Session:
    started = ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")
    return given.after(given.a_session(given.AGENT), *given.managed(), started, *given.accepted(BOT_ALONE))


@pytest.mark.parametrize(
    "names",
    [{"lk.agent.name": "bot"}, {"lk.agent_name": "bot"}, {"lk.agent.name": "", "lk.agent_name": "bot"}],
)
def test_a_dispatched_agent_is_recognized_by_its_name(names: dict[str, str]) -> None:
    """It joins under an identity of LiveKit's, which from then on is the service's. The server's attribute counts, and
    the Python SDK's own."""
    session = apply(awaiting_the_bot(), the_bot("PA_1", names))
    assert (session.state, session.services[BOT_ALONE].identity) == (SessionState.READY, "agent-AJ_1")


def dispatched_again(identity: str | None) -> Session:
    """The agent's first job was known, but it did not join in time."""
    started = ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")
    first = ev.InviteAccepted(START, BOT_ALONE, 1, 1, identity=identity)
    again = ev.InviteStarted(START + 15, BOT_ALONE, 2, 1, None, "inv_3")
    return given.after(given.a_session(given.AGENT), *given.managed(), started, first, again)


def test_an_agent_without_a_name_is_recognized_by_the_identity_of_its_job() -> None:
    started = ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")
    took_job = ev.InviteAccepted(START, BOT_ALONE, 1, 1, identity="agent-AJ_1")
    session = given.after(given.a_session(given.AGENT), *given.managed(), started, took_job)
    assert session.services[BOT_ALONE].state is ServiceState.ACCEPTED
    assert apply(session, the_bot("PA_2", {}, identity="agent-AJ_2")).state is SessionState.WAITING
    assert apply(session, the_bot("PA_1", {})).state is SessionState.READY


def test_a_nameless_agent_that_came_before_its_job_is_recognized_by_a_listing() -> None:
    started = ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")
    session = given.after(given.a_session(given.AGENT), *given.managed(), started, the_bot("PA_1", {}))
    took_job = ev.InviteAccepted(START, BOT_ALONE, 1, 1, identity="agent-AJ_1")
    listed = given.listed(NOW + 2, ParticipantInfo("agent-AJ_1", "PA_1", is_agent=True))
    assert given.after(session, took_job, listed).state is SessionState.READY


@pytest.mark.parametrize(("names", "identity"), [({}, "agent-AJ_1"), ({"lk.agent_name": "bot"}, None)])
def test_a_late_agent_does_for_the_next_attempt(names: dict[str, str], identity: str | None) -> None:
    session = apply(dispatched_again(identity), the_bot("PA_1", names, START + 16))
    assert (session.state, session.stale_participants) == (SessionState.READY, ())
    assert (session.services[BOT_ALONE].identity, session.services[BOT_ALONE].attempt) == ("agent-AJ_1", 2)


@pytest.mark.parametrize(("state", "expected"), [("initializing", "joined"), ("", "joined"), ("idle", "ready")])
def test_an_agent_is_ready_once_its_state_says_so(state: str, expected: str) -> None:
    """If it has to signal, `lk.agent.state` past `initializing` is the signal."""
    session = given.after(
        given.a_session(given.with_instance(given.AGENT, ready_on=given.SIGNALS.current.instance.ready_on)),
        *(*given.managed(), ev.InviteStarted(START, BOT_ALONE, 1, 1, None, "inv_2")),
        the_bot("PA_1", {"lk.agent.name": "bot", "lk.agent.state": state}),
    )
    assert session.services[BOT_ALONE].state == expected


@pytest.mark.parametrize(
    "event",
    [
        given.seen("agent-AJ_1", "PA_1", NOW, attributes=AGENT_UP),
        given.seen("agent-AJ_1", "PA_1", NOW, is_agent=True, attributes={"lk.agent.name": "other"}),
        given.seen("agent-AJ_1", "PA_1", NOW, is_agent=True),
        given.seen("sm-manager-9", "PA_1", NOW, is_agent=True, attributes=AGENT_UP),
        given.seen("alice", "PA_1", NOW, is_agent=True, attributes=AGENT_UP),
    ],
    ids=["no agent", "another name", "no name", "one of ours", "the user"],
)
def test_other_participants_can_not_pass_for_a_dispatched_agent(event: Event) -> None:
    """Anybody may set attributes; the kind AGENT takes the API secret. Our own identities are not LiveKit's."""
    assert apply(awaiting_the_bot(), event).services[BOT_ALONE].identity is None


def test_an_agent_that_joined_before_its_dispatch_is_not_ours() -> None:
    """Its name alone is not enough."""
    session = given.after(given.a_session(given.AGENT), *given.managed())
    assert apply(session, the_bot("PA_1", AGENT_UP)) is session


def test_a_second_agent_of_the_name_is_a_stranger_while_the_first_is_here() -> None:
    """When the first has left, the next one is the service."""
    session = given.after(awaiting_the_bot(), the_bot("PA_1", AGENT_UP))
    second = the_bot("PA_2", AGENT_UP, NOW + 1, identity="agent-AJ_2")
    assert apply(session, second).services == session.services
    replaced = given.after(session, given.left("agent-AJ_1", "PA_1", NOW + 2), second)
    assert (replaced.state, replaced.services[BOT_ALONE].identity) == (SessionState.READY, "agent-AJ_2")
    assert apply(replaced, the_bot("PA_1", AGENT_UP, NOW + 3)) is replaced
    assert apply(replaced, given.signal("agent-AJ_1", Signal.FAILED, NOW + 3)) is replaced


def test_an_agent_whose_leave_is_reported_before_its_join_is_not_here() -> None:
    """Its identity was unknown when it left; the leave is remembered all the same."""
    session = given.after(awaiting_the_bot(), given.left("agent-AJ_1", "PA_1", NOW), the_bot("PA_1", AGENT_UP, NOW + 1))
    assert session.state is SessionState.WAITING


def test_an_agent_of_an_earlier_attempt_changes_nothing() -> None:
    """It has the name of the one that is awaited, but it belongs to the attempt before."""
    again = ev.InviteStarted(NOW + 1, BOT_ALONE, 2, 1, None, "inv_2b")
    session = given.after(awaiting_the_bot(), the_bot("PA_1", AGENT_STARTING), again)
    assert apply(session, the_bot("PA_1", AGENT_UP, NOW + 2)) is session
    assert apply(session, the_bot("PA_2", AGENT_UP, NOW + 2, identity="agent-AJ_2")).state is SessionState.READY


def test_listings_with_another_agent_replace_the_first_one() -> None:
    """The first has left, and the second is here."""
    session = apply(awaiting_the_bot(), the_bot("PA_1", AGENT_UP))
    second = ParticipantInfo("agent-AJ_2", "PA_2", is_agent=True, attributes=AGENT_UP)
    doubted = apply(session, given.listed(NOW + 1, second))
    assert (doubted.services[BOT_ALONE].identity, doubted.stale_participants) == ("agent-AJ_1", ())
    replaced = given.after(session, *given.unlisted(NOW + 2, second))
    assert (replaced.state, replaced.services[BOT_ALONE].identity) == (SessionState.READY, "agent-AJ_2")


def test_an_agent_that_joined_earlier_can_replace_a_later_one() -> None:
    """Instants order the joins of one identity, not those of two."""
    session = given.after(
        awaiting_the_bot(),
        given.seen("agent-AJ_2", "PA_2", NOW, joined_ms=2_000, is_agent=True, attributes=AGENT_UP),
        given.left("agent-AJ_2", "PA_2", NOW + 1),
        given.seen("agent-AJ_1", "PA_1", NOW + 2, joined_ms=1_000, is_agent=True, attributes=AGENT_UP),
    )
    assert session.state is SessionState.READY


def test_two_services_of_one_agent_name_take_an_agent_each() -> None:
    """Each agent fills one entry."""
    started = [ev.InviteStarted(START, entry, 1, 1, None, f"inv_{entry}") for entry in (0, 1)]
    session = given.after(
        given.a_session(given.AGENT, given.with_instance(given.AGENT, service_id="bot-2")), *given.managed(), *started
    )
    one = apply(session, the_bot("PA_1", AGENT_UP))
    two = apply(one, the_bot("PA_2", AGENT_UP, identity="agent-AJ_2"))
    assert [s.state for s in (one, two)] == ["waiting", "ready"]

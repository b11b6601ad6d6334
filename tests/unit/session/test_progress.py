"""A session is recorded in its specification and in its room's metadata, and another process continues it from these
two alone."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest

from manager_agent.clock_origin import ClockOrigin
from manager_agent.frozen import replace
from manager_agent.messages import RoomStatus
from manager_agent.session import events as ev
from manager_agent.session.attempt import Attempt, ServiceState, Timeline
from manager_agent.session.dispatch import ManagerDispatch
from manager_agent.session.identities import Identities
from manager_agent.session.participant import Guest, Presence
from manager_agent.session.plan import Remove, Replace, SendInvite, plan
from manager_agent.session.progress import ServiceProgress, SessionProgress, recorded_facts
from manager_agent.session.required_service import RequiredService
from manager_agent.session.resumption import resumed, revision_after
from manager_agent.session.room import Room
from manager_agent.session.session import End, EndReason, Session
from manager_agent.session.specification import Specification
from tests.unit import sessions as given
from tests.unit.session.test_histories import by_chance, take_step
from tests.unit.session_model import SessionModel
from tests.unit.sessions import AGENT, JOINS, SIGNALS, START, a_session, accepted, after, created, invited

pytestmark = pytest.mark.unit

IDENTITIES = Identities("secret")


def recorded_and_resumed(
    session: Session, now: float, *, clock_ahead: float = 0.0, dispatched_invites: Sequence[str] = ()
) -> Session:
    """The session as a second process finds it, after both parts of the record went through LiveKit as text.

    `clock_ahead`: seconds by which its clock is ahead of the first one's."""
    metadata = RoomStatus.read(RoomStatus.of(session, "d").model_dump_json())
    assert metadata is not None
    assert metadata.progress is not None
    return resumed(
        Specification.read(Specification.of(session).text()).session(),
        metadata.progress.shifted(clock_ahead),
        revision=metadata.revision,
        room_sid=session.room.sid,
        manager_attempts=session.manager.attempt,
        identities=IDENTITIES,
        now=now,
        dispatch_at=now,
        dispatched_invites=dispatched_invites,
    )


def test_the_instants_of_another_clock_are_shifted_and_nothing_else() -> None:
    session = after(a_session(JOINS), *created(), *invited(0))
    progress = SessionProgress.of(session)
    clock = ClockOrigin("machine", 5.0)
    assert SessionProgress.of(session, clock).shifted(3600).clock == clock
    shifted = progress.shifted(3600)
    assert shifted.created == session.created_at + 3600
    assert shifted.state_since == session.state_since + 3600
    assert shifted.ready_at is None
    assert shifted.services[0].invited == (session.services[0].timeline.invited or 0) + 3600
    assert shifted.services[0].attempt == progress.services[0].attempt
    assert shifted.shifted(-3600) == progress


def test_every_fact_of_a_session_is_recorded_and_found_again() -> None:
    specified = replace(a_session(JOINS), has_guests=True, guests=(Guest("bob"), Guest("carol")))
    invite = ev.InviteStarted(START, 0, 1, 1, IDENTITIES.service("s1", 0, "asr-service", 1), "inv")
    session = replace(
        after(specified, *created(), invite),
        created_at=START - 1,
        room=Room(START - 1, "RM_3", created_at=START + 1, remakes=2, previous_lost_at=START + 0.5),
        user_presence=Presence("PA_alice"),
        guests=(Guest("bob", Presence("PA_bob")), Guest("carol")),
        user_joined_at=START + 4,
        user_left_at=START + 5,
        token_given_at=START + 6,
        webhooks_arrive=True,
        end=End(EndReason.EXPIRED, START + 7),
        state_since=START + 8,
        state_revision=9,
        ready_at=START + 3,
        waiting_again_since=START + 2,
    )
    again = recorded_and_resumed(session, START + 10)
    own = {name: getattr(again, name) for name in ("services", "manager", "stale_participants", "revision")}
    assert again == replace(session, **own)
    progress = SessionProgress.of(session, ClockOrigin("machine", 5.0))
    assert progress.clock == ClockOrigin("machine", 5.0)
    assert SessionProgress.model_validate_json(progress.model_dump_json()) == progress


def test_the_managers_of_the_process_before_are_neither_awaited_nor_taken_again() -> None:
    first = after(a_session(JOINS), *created())
    session = replace(first, manager=first.manager.dispatched(2, "sm-manager-2", START + 1))
    again = recorded_and_resumed(session, START + 2)
    managers = tuple(IDENTITIES.manager("s1", number) for number in (1, 2))
    assert (again.manager.attempt, again.manager.identity, again.manager.spent) == (2, managers[-1], managers)
    assert (again.manager.in_charge, again.manager.next_dispatch_at) == (False, START + 2)
    assert [stale.identity for stale in again.stale_participants] == [*managers]
    undispatched = replace(session, manager=ManagerDispatch())
    assert recorded_and_resumed(undispatched, START + 2).manager.identity is None


@pytest.mark.parametrize("facts", range(3))
def test_every_fact_of_an_attempt_is_recorded_and_found_again(facts: int) -> None:
    """All but what belongs to the process: the invite under way, and when the refused one is sent again."""
    timeline = Timeline(1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    attempt = (
        Attempt(AGENT.current.instance, 3, "agent-AJ_1", "inv", tries=2, presence=Presence("PA_1"), timeline=timeline),
        Attempt(AGENT.current.instance, 1, "agent-AJ_1", "inv", refusal=ev.Refusal.NO_WORKER, refused_at=7.0),
        Attempt(
            *(AGENT.current.instance, 1, "agent-AJ_1", "inv"),
            ready_by=ev.Evidence.ATTRIBUTE,
            was_ready=True,
            was_accepted=True,
            reported_failure=True,
            never_joined=True,
            lost_with_room=True,
        ),
    )[facts]
    recorded = ServiceProgress.model_validate_json(ServiceProgress.of(attempt).model_dump_json())
    empty = Attempt(AGENT.current.instance, attempt.number)
    assert recorded.attempt == attempt.number
    assert recorded.applied(empty, "another", "inv", now=9.0) == attempt


def test_an_invited_identity_is_not_recorded_because_it_is_computed() -> None:
    attempt = Attempt(JOINS.current.instance, 1, "sm-asr-1", "inv", in_flight=True, timeline=Timeline(1.0))
    recorded = ServiceProgress.model_validate_json(ServiceProgress.of(attempt).model_dump_json())
    assert (recorded.identity, recorded.in_flight) == (None, True)
    found = recorded.applied(Attempt(JOINS.current.instance, 1), "sm-asr-1", "inv", now=9.0)
    assert found == replace(attempt, in_flight=False, is_interrupted=True)


def test_an_invite_that_may_be_sent_again_is_due_when_it_is_found() -> None:
    refused = Attempt(JOINS.current.instance, 1, "sm-asr-1", "inv", refusal=ev.Refusal.UNREACHABLE, retry_at=8.0)
    found = ServiceProgress.of(refused).applied(Attempt(JOINS.current.instance, 1), "sm-asr-1", "inv", now=9.0)
    assert found == replace(refused, retry_at=9.0)


def test_the_recorded_facts_differ_with_each_that_clients_do_not_see() -> None:
    """So a change that they see has another revision, and any other is written to the room as well."""
    session = replace(after(a_session(JOINS), *created(), *invited(0)), guests=(Guest("bob"),))
    current = session.services[0].current
    attempts = [
        replace(current, **change)
        for change in (
            *({"number": 2}, {"tries": 2}, {"identity": "another"}, {"instance": SIGNALS.current.instance}),
            *({"in_flight": False}, {"refusal": ev.Refusal.DECLINED}, {"presence": Presence("PA_1")}),
            *({"ready_by": ev.Evidence.JOIN}, {"was_ready": True}, {"was_accepted": True}, {"reported_failure": True}),
            *({"never_joined": True}, {"lost_with_room": True}, {"refused_at": 1.0}, {"timeline": Timeline(1.0)}),
        )
    ]
    others = [
        *(replace(session, services=(replace(session.services[0], current=one),)) for one in attempts),
        replace(session, user_presence=Presence("PA_alice")),
        replace(session, user_joined_at=START),
        replace(session, user_left_at=START),
        replace(session, token_given_at=START),
        replace(session, guests=()),
        replace(session, guests=(Guest("bob", Presence("PA_bob")),)),
        replace(session, end=End(EndReason.CLOSED, START)),
        replace(session, end=End(EndReason.CLOSED, START + 1)),
        replace(session, end=End(EndReason.EXPIRED, START)),
    ]
    facts = [recorded_facts(one) for one in (session, *others)]
    assert len(set(facts)) == len(facts)
    unseen = replace(session, listed_at=START, listing_failures=1, services=(replace(session.services[0], past=()),))
    assert recorded_facts(unseen) == facts[0]


def what_clients_see(session: Session) -> dict[str, object]:
    services = [(s.service_id, s.state, s.ready_by, s.current.timeline, session.reason_of(s)) for s in session.services]
    return {
        "state": session.state,
        "reason": session.end and session.end.reason,
        "times": (session.created_at, session.ready_at, session.state_since, session.user_joined_at),
        "services": services,
        "past": [[(past.ref, past.number, past.state, past.timeline) for past in s.past] for s in session.services],
        "revisions": (session.revision, session.state_revision),
        "user": session.user_presence.sid,
    }


@pytest.mark.parametrize("block", range(4))
def test_a_session_resumed_at_any_moment_is_what_clients_saw_before(block: int) -> None:
    for seed in range(block * 50, block * 50 + 50):
        services, steps = by_chance(seed)
        model = SessionModel(services)
        for what in ("due actions are done", "all reports arrive", "due actions are done"):
            take_step(model, what, random.Random(0))
        for what, number in steps:
            take_step(model, what, random.Random(number))
            session = model.session
            if session.room.created_at is None or any(s.attempt == 0 for s in session.services):
                continue
            again = recorded_and_resumed(session, model.now)
            assert what_clients_see(again) == what_clients_see(session), f"history {seed}"


def test_an_invite_that_was_under_way_is_sent_again_under_the_same_id() -> None:
    session = after(a_session(JOINS), *created(), *invited(0))
    again = recorded_and_resumed(session, START + 1)
    assert again.services[0].invite_id == IDENTITIES.invite("s1", 0, 1)
    assert SendInvite(0, attempt=1, tries=2) in plan(again, START + 1).actions


def test_a_retry_that_was_under_way_is_repeated_before_another_instance_is_chosen() -> None:
    refused = ev.InviteRefused(START, 0, 1, 1, ev.Refusal.UNREACHABLE)
    retried = ev.InviteStarted(START + 1, 0, 1, 2, IDENTITIES.service("s1", 0, "asr-service", 1), "inv_0")
    session = after(a_session(JOINS), *created(), *invited(0), refused, retried)
    again = recorded_and_resumed(session, START + 2)
    assert what_clients_see(again) == what_clients_see(session)
    due = plan(again, START + 2).actions
    assert SendInvite(0, attempt=1, tries=3) in due
    assert not [action for action in due if isinstance(action, Replace)]


def test_a_service_whose_invite_was_not_recorded_yet_is_invited_as_the_first_attempt() -> None:
    again = recorded_and_resumed(after(a_session(JOINS), *created()), START + 1)
    assert (again.services[0].attempt, again.services[0].state) == (1, ServiceState.INVITED)
    assert again.services[0].timeline == Timeline(invited=START + 1)
    assert again.services[0].current.is_interrupted
    assert again.services[0].identity == IDENTITIES.service("s1", 0, "asr-service", 1)
    assert SendInvite(0, attempt=1, tries=2) in plan(again, START + 1).actions


def test_a_service_that_was_replaced_is_known_to_the_next_process() -> None:
    """Its token is still valid. An agent that never came may still come, for the later attempt."""

    def past(service: RequiredService, identity: str | None, *, joined: float | None = None) -> RequiredService:
        before = replace(service.current, number=1, identity=identity, timeline=Timeline(1.0, 2.0, joined))
        return replace(service, current=replace(service.current, number=2, identity="sm-2"), past=(before,))

    session = after(a_session(JOINS, AGENT, AGENT), *created())
    replaced = past(JOINS, "sm-asr-1"), past(AGENT, "agent-1", joined=3.0), past(AGENT, "agent-2")
    again = recorded_and_resumed(replace(session, services=replaced), START + 1)
    stale = [(one.identity, one.service_id, one.attempt) for one in again.stale_participants if one.service_id]
    assert stale == [("sm-asr-1", "asr-service", 1), ("agent-1", "bot-service", 1)]


def test_a_service_that_accepted_is_not_invited_again() -> None:
    again = recorded_and_resumed(after(a_session(JOINS), *created(), *invited(0), *accepted(0)), START + 1)
    assert not [action for action in plan(again, START + 1).actions if isinstance(action, SendInvite)]


def test_the_record_that_participants_read_has_no_addresses_and_no_invite_ids() -> None:
    session = after(a_session(JOINS, SIGNALS), *created(), *invited(0), *invited(1))
    text = json.dumps(SessionProgress.of(session).model_dump(mode="json"))
    assert "example" not in text
    for service in session.services:
        assert service.invite_id
        assert service.invite_id not in text


def test_revisions_go_on_with_the_age_of_the_session() -> None:
    assert revision_after(7, age=1.5) == 1_500
    assert revision_after(7, age=-60.0) == 8


def test_a_service_that_was_replaced_is_removed_by_the_next_process_too() -> None:
    lost = given.left("sm-asr-1", "PA_1", START + 1)
    replaced = ev.InviteStarted(START + 2, 0, 2, 1, "sm-asr-2", "inv_2", instead=JOINS.current.instance)
    session = after(
        a_session(JOINS), *created(), *invited(0), *accepted(0), given.seen("sm-asr-1", "PA_1", START), lost, replaced
    )
    again = recorded_and_resumed(session, START + 3)
    assert again.stale_participant("sm-asr-1") is not None
    back = after(again, given.seen("sm-asr-1", "PA_2", START + 4))
    assert Remove("sm-asr-1") in plan(back, START + 4).actions


def test_an_earlier_attempt_moves_with_the_clock_of_the_next_process() -> None:
    replaced = ev.InviteStarted(START + 2, 0, 2, 1, "sm-asr-2", "inv_2", instead=JOINS.current.instance)
    refused = ev.InviteRefused(START + 1, 0, 1, 1, ev.Refusal.UNREACHABLE, final=True)
    session = after(a_session(JOINS), *created(), *invited(0), refused, replaced)
    [[before]], [[past]] = (
        [service.past for service in one.services]
        for one in (session, recorded_and_resumed(session, START + 3603, clock_ahead=3600))
    )
    assert before.timeline.invited is not None
    assert past.timeline.invited == before.timeline.invited + 3600


def test_a_guest_in_the_room_is_known_to_the_next_process() -> None:
    session = after(
        replace(a_session(JOINS), has_guests=True), *created(),
        *(ev.TokenGiven(START, guest) for guest in ("bob", "carol")), given.seen("bob", "PA_bob", START + 1),
    )  # fmt: skip
    again = recorded_and_resumed(session, START + 2)
    assert {guest.identity: guest.presence.sid for guest in again.guests} == {"bob": "PA_bob", "carol": None}


def test_a_room_that_is_made_again_has_to_be_written_anew() -> None:
    """What was written while LiveKit was asked for it may not be in the room that it has now."""
    session = after(a_session(JOINS), *given.watched(), *invited(0))
    asked = after(session, *given.room_requested_again(START + 5))
    remade = after(asked, ev.RoomCreated(START + 6, "RM_2", "sm-manager-2"))
    assert len({recorded_facts(one) for one in (session, asked, remade)}) == 3
    assert recorded_facts(replace(asked, revision=session.revision)) != recorded_facts(session)


def test_whether_webhooks_arrive_is_known_to_the_next_process() -> None:
    session = after(a_session(JOINS), *created(), ev.WebhookArrived(START))
    assert recorded_and_resumed(session, START + 1).webhooks_arrive


@pytest.mark.parametrize("is_dispatched", [True, False])
def test_a_dispatch_that_livekit_has_was_accepted_and_another_is_sent_again(is_dispatched: bool) -> None:
    """The process that sent it ended before it got the answer."""
    invite_id = IDENTITIES.invite("s1", 0, 1)
    session = after(a_session(AGENT), *created(), ev.InviteStarted(START, 0, 1, 1, None, invite_id))
    again = recorded_and_resumed(session, START + 3, dispatched_invites=(invite_id,) if is_dispatched else ())
    attempt = again.services[0].current
    assert (attempt.is_interrupted, attempt.identity, attempt.invite_id) == (not is_dispatched, None, invite_id)
    assert attempt.timeline.accepted == (START + 3 if is_dispatched else None)
    assert attempt.timeline.invited == START


def test_an_attempt_that_was_not_recorded_may_have_been_invited() -> None:
    session = after(a_session(JOINS), *created())
    attempt = recorded_and_resumed(session, START + 3).services[0].current
    assert (attempt.number, attempt.is_interrupted, attempt.timeline.invited) == (1, True, START + 3)

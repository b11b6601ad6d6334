"""Services that fail and are replaced: when, by which instance, and what becomes of the replaced participants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest

from manager_agent.backoff import backoff
from manager_agent.control.late_join_policy import LATE_BURST, LATE_REPORT_MAX
from manager_agent.control.replacement import HOLD, IDLE_HOLD, LATE_AT_MOST, Replacer
from manager_agent.frozen import replace
from manager_agent.registry.instances import InstanceState
from manager_agent.registry.registry import Registry
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.attempt import InstanceRef, ServiceReason, ServiceState
from manager_agent.session.counts import SessionCounts
from manager_agent.session.events import Chosen, Event, ParticipantInfo, ReadyOn, Refusal, Signal
from manager_agent.session.identities import Identities
from manager_agent.session.participant import REMOVAL_PAUSE, REMOVAL_PAUSE_MAX
from manager_agent.session.plan import Action, Remove, Replace, SendInvite, plan
from manager_agent.session.required_service import PAST_KEPT
from manager_agent.session.retries import REJOIN_GRACE
from manager_agent.session.service_transitions import LAST_ANSWER_GRACE
from manager_agent.session.session import Limits, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.registries import RegistryScenario, asrs
from tests.unit.sessions import START

pytestmark = pytest.mark.unit

ANY_ASR = given.a_service("asr-1", "ASR", "http://asr-1.example/", by_id=False)
BY_ID = given.a_service("asr-1", "ASR", "http://asr-1.example/")
FIRST, SECOND = "sm-asr-1-1", "sm-asr-2-2"
JOIN_TIMEOUT = 10.0


def asked(at: float = START) -> Session:
    """A session that needs any ASR; asr-1 was chosen and has its invite."""
    invite = (ev.InviteStarted(at, 0, 1, 1, FIRST, "inv_1"), ev.InviteAccepted(at, 0, 1, 1))
    return given.after(given.a_session(ANY_ASR), *given.managed(at), *invite)


def replaced(session: Session, at: float) -> Session:
    instead = Chosen("asr-2", "ASR", "http://asr-2.example/", None, ReadyOn.JOIN)
    return apply(session, ev.InviteStarted(at, 0, 2, 1, SECOND, "inv_2", instead))


def actions(session: Session, now: float, *kinds: type[Action]) -> list[Action]:
    return [action for action in plan(session, now).actions if isinstance(action, kinds)]


@pytest.mark.parametrize(
    ("events", "after_seconds"),
    [
        ([], JOIN_TIMEOUT),
        ([given.signal(FIRST, Signal.FAILED, START + 3)], 3),
        ([given.seen(FIRST, "PA_1", START + 1), given.left(FIRST, "PA_1", START + 5)], 5 + REJOIN_GRACE),
    ],
    ids=["never joined", "reported failure", "left"],
)
def test_a_failed_service_is_replaced_in_time(events: list[Event], after_seconds: float) -> None:
    session = given.after(asked(), *events)
    assert actions(session, START + after_seconds - 0.01, Replace) == []
    assert actions(session, START + after_seconds, Replace) == [Replace(0, 1)]


def test_a_refusing_instance_is_replaced_at_once_if_there_is_another() -> None:
    session = given.after(given.a_session(ANY_ASR), *given.managed(), ev.InviteStarted(START, 0, 1, 1, FIRST, "inv_1"))
    refused = apply(session, ev.InviteRefused(START + 1, 0, 1, 1, Refusal.DECLINED))
    assert actions(refused, START + 1, Replace, SendInvite) == [Replace(0, 1)]
    held = apply(refused, ev.ReplacementHeld(START + 1, 0, 1, START + 3))
    assert actions(held, START + 2, Replace, SendInvite) == [SendInvite(0, 1, 2)]


def test_a_service_required_by_id_that_refuses_is_not_replaced() -> None:
    session = refused(by_id=True)
    decision = replacer("asr-1", "asr-2").decide(session, 0, START + 1)
    assert isinstance(decision, ev.ReplacementHeld)
    due = session.services[0].current.retry_at
    assert actions(apply(session, decision), due, SendInvite) == [SendInvite(0, 1, 2)]


def test_an_instance_that_keeps_refusing_does_not_block_a_later_one() -> None:
    """An instance that registers later is found at the next look."""
    session = refused()
    held = apply(session, replacer("asr-1").decide(session, 0, START + 1))
    at = session.services[0].current.retry_at
    again = given.after(
        held, ev.InviteStarted(at, 0, 1, 2, FIRST, "inv_1"), ev.InviteRefused(at, 0, 1, 2, Refusal.DECLINED)
    )
    assert actions(again, at + HOLD, Replace) == [Replace(0, 1)]
    assert invited_now(replacer("asr-1", "asr-2").decide(again, 0, at + HOLD)) == ("asr-2", 2, 1)


def test_no_service_is_replaced_when_no_time_is_left() -> None:
    """After the ready deadline the wait is over; a session that was ready has its budget."""
    session = given.after(asked(), given.seen(FIRST, "PA_1", START + 29.9), given.left(FIRST, "PA_1", START + 29.95))
    waiting = given.after(asked(), given.signal(FIRST, Signal.FAILED, START + 29))
    assert actions(waiting, START + 29.5, Replace) == [Replace(0, 1)]
    assert session.state is SessionState.DEGRADED
    assert actions(session, START + 29.95 + REJOIN_GRACE, Replace) == [Replace(0, 1)]


def test_signals_of_a_replaced_attempt_are_ignored_and_it_is_removed() -> None:
    session = replaced(
        given.after(asked(), given.seen(FIRST, "PA_1", START + 1), given.left(FIRST, "PA_1", START + 2)), START + 3
    )
    assert session.services[0].service_id == "asr-2"
    assert session.services[0].attempt == 2
    assert apply(session, given.signal(FIRST, Signal.READY, START + 4)) is session
    assert actions(session, START + 4, Remove) == []
    back = apply(session, given.seen(FIRST, "PA_1b", START + 5, attributes={"session.state": "ready"}))
    assert back.services == session.services
    assert actions(back, START + 5, Remove) == [Remove(FIRST)]
    removing = apply(back, ev.RemovalStarted(START + 5, FIRST))
    assert actions(removing, START + 6, Remove) == []
    failed = apply(removing, ev.RemovalEnded(START + 6, FIRST, removed=False))
    assert actions(failed, START + 6 + REMOVAL_PAUSE, Remove)
    removed = apply(removing, ev.RemovalEnded(START + 6, FIRST, removed=True))
    assert actions(removed, START + 6, Remove) == []
    assert actions(apply(removed, given.seen(FIRST, "PA_1c", START + 7)), START + 7, Remove) == [Remove(FIRST)]


def test_a_stale_participant_that_rejoins_during_its_removal_is_removed_again() -> None:
    """LiveKit removed the participant it was asked to; the next one is reported before its answer."""
    session = replaced(
        given.after(asked(), given.seen(FIRST, "PA_1", START + 1), given.signal(FIRST, Signal.FAILED, START + 2)),
        START + 3,
    )
    session = given.after(
        session, ev.RemovalStarted(START + 5, FIRST), given.seen(FIRST, "PA_2", START + 5.2, joined_ms=5)
    )
    assert actions(session, START + 5.2, Remove) == []
    session = apply(session, ev.RemovalEnded(START + 5.3, FIRST, removed=True))
    assert actions(session, START + 5.3, Remove) == [Remove(FIRST)]
    gone = given.after(
        session, ev.RemovalStarted(START + 6, FIRST), given.listed(START + 7), ev.RemovalEnded(START + 8, FIRST, True)
    )
    assert actions(gone, START + 8, Remove) == []


@pytest.mark.parametrize("removed", [True, False])
def test_the_pauses_grow_while_a_participant_that_was_removed_stays_listed(removed: bool) -> None:
    """Whether LiveKit says that it removed it or not. Another participant of this identity is removed at once."""
    session = replaced(
        given.after(asked(), given.seen(FIRST, "PA_1", START + 1), given.signal(FIRST, Signal.FAILED, START + 2)),
        START + 3,
    )
    session, now, tries = replace(session, limits=Limits(replacement_timeout=7_200)), START + 10, []
    while now < START + 3_600:
        if actions(session, now, Remove):
            tries.append(now)
            session = given.after(session, ev.RemovalStarted(now, FIRST), ev.RemovalEnded(now, FIRST, removed))
        now += 1
        session = apply(session, given.listed(now, ParticipantInfo(FIRST, "PA_1")))
    pauses = [later - earlier for earlier, later in pairwise(tries)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (REMOVAL_PAUSE, REMOVAL_PAUSE_MAX)
    again = given.after(session, given.seen(FIRST, "PA_2", now, joined_ms=1))
    assert actions(again, now, Remove) == [Remove(FIRST)]


def test_a_replaced_participant_is_removed_once_it_has_its_last_answer() -> None:
    """It may have reported its failure by RPC; removed at once, it would get an error instead of our answer."""
    session = replaced(
        given.after(asked(), given.seen(FIRST, "PA_1", START + 1), given.signal(FIRST, Signal.FAILED, START + 2)),
        START + 3,
    )
    due = START + 3 + LAST_ANSWER_GRACE
    assert plan(session, START + 3).wake_at <= due
    assert actions(session, due - 0.01, Remove) == []
    assert actions(session, due, Remove) == [Remove(FIRST)]


def test_the_outcome_of_each_attempt_is_remembered() -> None:
    """The state of the last one when the next one began."""
    session = asked()
    for _ in range(PAST_KEPT + 2):
        attempt, identity = session.services[0].attempt, session.services[0].identity or ""
        again = ev.InviteStarted(START + 2, 0, attempt + 1, 1, f"sm-{attempt + 1}", f"inv_{attempt + 1}")
        accepted = ev.InviteAccepted(START + 2, 0, attempt + 1, 1)
        session = given.after(session, given.signal(identity, Signal.FAILED, START + 1), again, accepted)
    numbers = [attempt.number for attempt in session.services[0].past]
    assert numbers == list(range(3, PAST_KEPT + 3))
    last = session.services[0].past[-1]
    assert (last.state, last.shortfall) == (ServiceState.FAILED, ServiceReason.REPORTED_FAILURE)
    assert (last.timeline.failed, session.services[0].timeline.invited) == (START + 1, START + 2)
    assert last.ref == session.services[0].current.ref


def test_a_session_is_ready_again_when_its_replacement_service_is() -> None:
    lost = given.after(asked(), given.seen(FIRST, "PA_1", START + 1), given.left(FIRST, "PA_1", START + 5))
    assert lost.state is SessionState.DEGRADED
    ready = given.after(
        replaced(lost, START + 6), ev.InviteAccepted(START + 6, 0, 2, 1), given.seen(SECOND, "PA_2", START + 7)
    )
    assert (ready.state, ready.services[0].state) == (SessionState.READY, ServiceState.READY)


# --- who is chosen ----------------------------------------------------------------------------------


def replacer(*service_ids: str, **moved: str) -> Replacer:
    """A replacer with these services registered; `moved` ones at another endpoint than their entry says."""
    registry = Registry(lambda: START, SessionCounts())
    for service_id in service_ids:
        registry.register(RegisteredService(service_id, "ASR", f"http://{service_id}.example/"))
    for name, endpoint in moved.items():
        registry.register(RegisteredService(name.replace("_", "-"), "ASR", endpoint))
    return Replacer(registry, Identities("secret"))


def ref(service_id: str) -> InstanceRef:
    return InstanceRef(service_id, f"http://{service_id}.example/", None)


def refused(
    at: float = START + 1, *, by_id: bool = False, why: Refusal = Refusal.DECLINED, final: bool = False
) -> Session:
    asked = given.after(
        given.a_session(BY_ID if by_id else ANY_ASR), *given.managed(), ev.InviteStarted(START, 0, 1, 1, FIRST, "inv_1")
    )
    return apply(asked, ev.InviteRefused(at, 0, 1, 1, why, final))


def invited_now(decision: Event) -> tuple[str | None, int, int]:
    """The invited service id, with its attempt and try."""
    assert isinstance(decision, ev.InviteStarted)
    return None if decision.instead is None else decision.instead.service_id, decision.attempt, decision.tries


def lost() -> Session:
    return given.after(asked(), given.seen(FIRST, "PA_1", START + 1), given.left(FIRST, "PA_1", START + 5))


def test_a_replacement_is_invited_under_an_identity_of_its_own() -> None:
    decision = replacer("asr-1", "asr-2").decide(lost(), 0, START + 6)
    assert isinstance(decision, ev.InviteStarted)
    assert (decision.attempt, decision.tries) == (2, 1)
    assert decision.instead is not None
    assert decision.instead.service_id == "asr-2"
    assert decision.identity not in (None, FIRST)


def test_the_same_instance_is_invited_anew_when_there_is_no_other() -> None:
    session = lost()
    decision = replacer("asr-1").decide(session, 0, START + 6)
    assert isinstance(decision, ev.InviteStarted)
    again = apply(session, decision)
    assert (again.services[0].service_id, again.services[0].attempt) == ("asr-1", 2)


def test_failed_instances_are_tried_again_only_after_all_others() -> None:
    """And then again from the start, with all of them."""
    session, tried, deciding = lost(), ["asr-1"], replacer("asr-1", "asr-2", "asr-3")
    for attempt in range(2, 6):
        now = START + 10 * attempt
        decision = deciding.decide(session, 0, now)
        assert isinstance(decision, ev.InviteStarted)
        identity = decision.identity or ""
        gone = (given.seen(identity, f"PA_{attempt}", now), given.left(identity, f"PA_{attempt}", now))
        session = given.after(session, decision, ev.InviteAccepted(now, 0, attempt, 1), *gone)
        tried.append(session.services[0].service_id)
    assert sorted(tried[:3]) == ["asr-1", "asr-2", "asr-3"]
    assert all(one != another for one, another in pairwise(tried))


def test_without_any_instance_a_replacement_is_looked_for_again_later() -> None:
    session = lost()
    decision = replacer().decide(session, 0, START + 6)
    assert decision == ev.ReplacementHeld(START + 6, 0, 1, START + 6 + HOLD)
    assert actions(apply(session, decision), START + 6 + HOLD, Replace) == [Replace(0, 1)]


def test_the_only_instance_gets_the_same_invite_again_when_it_does_not_join() -> None:
    """It may be slow, and then knows the invite; or it was restarted, and then takes it for a first one."""
    session = asked()
    decision = replacer("asr-1").decide(session, 0, START + JOIN_TIMEOUT)
    assert decision == ev.InviteStarted(START + JOIN_TIMEOUT, 0, 1, 2, FIRST, decision.invite_id, None)  # type: ignore[union-attr]
    refused_it = given.after(session, decision, ev.InviteRefused(START + JOIN_TIMEOUT, 0, 1, 2, Refusal.UNREACHABLE))
    assert actions(refused_it, START + JOIN_TIMEOUT, Replace) == [Replace(0, 1)], "it may have moved"
    again = given.after(session, decision, ev.InviteAccepted(START + JOIN_TIMEOUT, 0, 1, 2))
    assert actions(again, START + 2 * JOIN_TIMEOUT - 0.1, Replace) == []
    assert actions(again, START + 2 * JOIN_TIMEOUT, Replace) == [Replace(0, 1)]


def is_late(session: Session, deciding: Replacer, seconds: float) -> bool:
    """Whether the wait for the first instance still goes on so long after it accepted, as it joins other rooms."""
    deciding.record_join(ref("asr-1"), START + seconds)
    return isinstance(deciding.decide(session, 0, START + seconds), ev.ReplacementHeld)


def test_a_late_service_whose_instance_joins_other_rooms_is_not_replaced_yet() -> None:
    """It is at work. But half of the time belongs to another instance."""
    deciding, session = replacer("asr-1", "asr-2"), asked()
    half = session.limits.ready_timeout / 2
    assert is_late(session, deciding, JOIN_TIMEOUT)
    assert is_late(session, deciding, half - 0.1)
    assert not is_late(session, deciding, half)


def test_an_instance_at_work_has_three_times_as_long_if_time_allows() -> None:
    deciding, session = replacer("asr-1", "asr-2"), replace(asked(), limits=Limits(ready_timeout=200))
    assert is_late(session, deciding, LATE_AT_MOST * JOIN_TIMEOUT - 0.1)
    assert not is_late(session, deciding, LATE_AT_MOST * JOIN_TIMEOUT)


def test_after_ready_a_late_service_is_replaced_while_time_is_left() -> None:
    session = replaced(lost(), START + 6)
    session = apply(session, ev.InviteAccepted(START + 6, 0, 2, 1))
    deciding = replacer("asr-1", "asr-2", "asr-3")
    deciding.record_join(ref("asr-2"), START + 6 + JOIN_TIMEOUT)
    assert session.limits.replacement_timeout == 2 * JOIN_TIMEOUT
    assert invited_now(deciding.decide(session, 0, START + 6 + JOIN_TIMEOUT)) == ("asr-3", 3, 1)


def late_sessions(deciding: Replacer, now: float, instances: int, count: int = 30) -> list[Event]:
    """The decisions for so many sessions whose services accepted at the start, spread over so many instances."""
    decisions: list[Event] = []
    for n in range(count):
        one, session = f"asr-{n % instances + 1}", asked()
        entry = given.with_instance(session.services[0], service_id=one, endpoint=f"http://{one}.example/")
        entry = replace(entry, current=replace(entry.current, invite_id=f"inv_{n}"))
        decisions.append(deciding.decide(replace(session, services=(entry,)), 0, now))
    return decisions


def through(decisions: Iterable[Event]) -> int:
    return sum(isinstance(decision, ev.InviteStarted) for decision in decisions)


def test_a_silent_instance_beside_a_sound_one_is_replaced_everywhere_at_once() -> None:
    """As soon as the first replacements have joined: then this server is not the cause."""
    deciding, now = replacer("asr-1", "asr-2"), START + JOIN_TIMEOUT
    assert through(late_sessions(deciding, now, instances=1)) == LATE_BURST
    deciding.record_join(ref("asr-2"), now + 0.2)
    assert through(late_sessions(deciding, now + 1, instances=1)) == 30


def test_many_late_services_on_several_instances_are_replaced_slowly() -> None:
    """Even though some join now and then: this server is overloaded, and inviting others would double the load."""
    deciding, now = replacer("asr-1", "asr-2", "asr-3"), START + JOIN_TIMEOUT
    count = through(late_sessions(deciding, now, instances=3))
    for second in range(1, 11):
        count += through(late_sessions(deciding, now + second, instances=3))
        deciding.record_join(ref("asr-2"), now + second + 0.5)
    assert count <= LATE_BURST + 10


def test_an_instance_at_work_is_not_replaced_by_an_overloaded_one() -> None:
    """As long as that one is."""
    deciding, session, half = replacer("asr-1", "asr-2"), replace(asked(), limits=Limits(ready_timeout=40)), 20
    late_sessions(deciding, START + half, instances=2)
    assert is_late(session, deciding, half)
    assert is_late(session, deciding, half + LATE_REPORT_MAX - 0.1)
    assert not is_late(session, deciding, half + LATE_REPORT_MAX)


# --- an instance that has moved ---------------------------------------------------------------------

ACCEPTED = ev.InviteAccepted(START, 0, 1, 1)
GOING: dict[str, Callable[[Session], Session]] = {
    "refused": lambda session: apply(session, ev.InviteRefused(START + 1, 0, 1, 1, Refusal.UNREACHABLE)),
    "refused for good": lambda session: apply(session, ev.InviteRefused(START + 1, 0, 1, 1, Refusal.DECLINED, True)),
    "late": lambda session: apply(session, ACCEPTED),
    "failed": lambda session: given.after(session, ACCEPTED, given.signal(FIRST, Signal.FAILED, START + 9)),
    "lost": lambda session: given.after(
        session, ACCEPTED, given.seen(FIRST, "PA_1", START + 1), given.left(FIRST, "PA_1", START + 9.5)
    ),
}
"""Ways in which a service fails within ten seconds after the start."""


@pytest.mark.parametrize("by_id", [True, False], ids=["by id", "by type"])
@pytest.mark.parametrize("how", GOING)
def test_an_instance_that_moved_is_invited_at_its_new_endpoint_at_once(how: str, by_id: bool) -> None:
    """As another instance would be, however many are late."""
    fresh = given.after(
        given.a_session(BY_ID if by_id else ANY_ASR), *given.managed(), ev.InviteStarted(START, 0, 1, 1, FIRST, "inv_1")
    )
    session, now = GOING[how](fresh), START + JOIN_TIMEOUT
    assert actions(session, now, Replace) == [Replace(0, 1)]
    deciding = replacer(asr_1="http://new.example/")
    late_sessions(deciding, now, instances=1)
    decision = deciding.decide(session, 0, now)
    assert invited_now(decision) == ("asr-1", 2, 1)
    moved = apply(session, decision).services[0]
    assert (moved.current.instance.endpoint, moved.attempt) == ("http://new.example/", 2)


def test_an_instance_that_refused_finally_is_invited_once_it_registers_again() -> None:
    """After a pause: it may refuse again."""
    session, deciding = refused(final=True), replacer("asr-1")
    assert isinstance(deciding.decide(session, 0, START + 1), ev.ReplacementHeld)
    assert invited_now(deciding.decide(session, 0, START + 2)) == ("asr-1", 2, 1)


# --- pauses -----------------------------------------------------------------------------------------


def test_two_refusing_instances_are_invited_in_turn_with_growing_pauses() -> None:
    """The second one at once, as it was not tried yet."""
    deciding, session, now, asked_at = replacer("asr-1", "asr-2"), refused(), START + 1, [START + 1]
    while now < START + 20:
        decision = deciding.decide(session, 0, now)
        session = apply(session, decision)
        if isinstance(decision, ev.InviteStarted):
            asked_at.append(now)
            key = (decision.attempt, decision.tries)
            session = apply(session, ev.InviteRefused(now, 0, *key, Refusal.DECLINED))
        now = plan(session, now).wake_at if not actions(session, now, Replace) else now
    pauses = [later - earlier for earlier, later in pairwise(asked_at)]
    assert pauses[0] == 0
    assert all(pause > 0.5 * min(0.25 * 2**nth, 5) for nth, pause in enumerate(pauses[1:], start=1))
    assert [p.service_id for p in session.services[0].tried] in (["asr-1", "asr-2"], ["asr-2", "asr-1"])
    assert len(asked_at) <= 10


def test_an_optional_service_is_looked_for_less_often() -> None:
    optional = given.made_optional(ANY_ASR)
    session = given.after(given.a_session(optional), *given.managed(), ev.InviteStarted(START, 0, 1, 1, FIRST, "inv_1"))
    session = given.after(session, given.seen(FIRST, "PA_1", START + 1), given.left(FIRST, "PA_1", START + 5))
    decision = replacer().decide(session, 0, START + 6)
    assert decision == ev.ReplacementHeld(START + 6, 0, 1, START + 6 + IDLE_HOLD)


def test_a_suspended_instance_gets_its_trial_from_a_decided_replacement_only() -> None:
    scenario = RegistryScenario(*asrs(2))
    scenario.fail("asr-2")
    scenario.pass_time(30)
    deciding = Replacer(scenario.registry, Identities("secret"))
    late = replace(asked(scenario.now - JOIN_TIMEOUT), limits=Limits(ready_timeout=100))
    deciding.record_join(ref("asr-1"), scenario.now)
    assert isinstance(deciding.decide(late, 0, scenario.now), ev.ReplacementHeld)
    assert scenario.state("asr-2") is InstanceState.HEALTHY
    assert invited_now(deciding.decide(refused(), 0, scenario.now)) == ("asr-2", 2, 1)
    assert scenario.state("asr-2") is InstanceState.SUSPENDED


# --- dispatched agents ------------------------------------------------------------------------------


def test_a_late_agent_is_dispatched_again_when_half_of_the_time_is_over() -> None:
    """It is a second job; the second of the two to join is removed."""
    session = given.after(
        given.a_session(given.AGENT), *given.managed(), ev.InviteStarted(START, 0, 1, 1, None, "inv_1")
    )
    session = apply(session, ev.InviteAccepted(START, 0, 1, 1))
    registry = Registry(lambda: START, SessionCounts())
    registry.register(RegisteredService("bot-service", "BOT", None, agent_name="bot"))
    deciding, half = Replacer(registry, Identities("secret")), session.limits.ready_timeout / 2
    for seconds in (JOIN_TIMEOUT, half - 0.1):
        assert isinstance(deciding.decide(session, 0, START + seconds), ev.ReplacementHeld)
    assert invited_now(deciding.decide(session, 0, START + half)) == ("bot-service", 2, 1)


def test_a_late_service_that_is_held_is_looked_at_again_soon() -> None:
    deciding, session = replacer("asr-1", "asr-2"), asked()
    decisions: Iterable[Event] = [deciding.decide(session, 0, START + JOIN_TIMEOUT) for _ in range(LATE_BURST + 1)]
    held = list(decisions)[-1]
    assert isinstance(held, ev.ReplacementHeld)
    assert held.until == START + JOIN_TIMEOUT + HOLD * backoff("inv_1", 3)

"""Services that fail and are replaced: when, by whom, and what becomes of those who were replaced."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest

from manager_agent import events as ev
from manager_agent.events import Chosen, Event, ReadyOn, Refusal, Said
from manager_agent.manager import backoff
from manager_agent.names import Names
from manager_agent.plan import Action, Invite, Remove, Replace, plan
from manager_agent.registry import Registry
from manager_agent.replacing import HOLD, LATE_AT_MOST, LATE_BURST, LATE_INTERVAL, Patience, Replacer
from manager_agent.required_service import REJOIN_GRACE
from manager_agent.services import Service
from manager_agent.session import RequiredService, ServiceState, Session, SessionState
from manager_agent.transitions import apply
from tests.unit.sessions import START, a_session, after, left, managed, said, seen

pytestmark = pytest.mark.unit

ANY_ASR = RequiredService("asr-1", "ASR", endpoint="http://asr-1.example/")
FIRST, SECOND = "sm-asr-1-1", "sm-asr-2-2"
JOIN_TIMEOUT = 10.0


def asked(at: float = START) -> Session:
    """A session that needs any ASR; asr-1 was chosen and has its invite."""
    invite = (ev.InviteStarted(at, 0, 1, 1, FIRST, "inv_1"), ev.InviteAccepted(at, 0, 1, 1))
    return after(a_session(ANY_ASR), *managed(at), *invite)


def replaced(session: Session, at: float) -> Session:
    instead = Chosen("asr-2", "ASR", "http://asr-2.example/", None, ReadyOn.JOIN)
    return apply(session, ev.InviteStarted(at, 0, 2, 1, SECOND, "inv_2", instead))


def actions(session: Session, now: float, *kinds: type[Action]) -> list[Action]:
    return [action for action in plan(session, now).actions if isinstance(action, kinds)]


@pytest.mark.parametrize(
    ("events", "after_seconds"),
    [
        ([], JOIN_TIMEOUT),
        ([said(FIRST, Said.FAILED, START + 3)], 3),
        ([seen(FIRST, "PA_1", START + 1), left(FIRST, "PA_1", START + 5)], 5 + REJOIN_GRACE),
    ],
    ids=["never joined", "reported failure", "left"],
)
def test_a_service_that_failed_is_replaced_in_time(events: list[Event], after_seconds: float) -> None:
    session = after(asked(), *events)
    assert actions(session, START + after_seconds - 0.01, Replace) == []
    assert actions(session, START + after_seconds, Replace) == [Replace(0, 1)]


def test_one_that_refuses_is_replaced_at_once_and_asked_again_only_if_nobody_else_is_there() -> None:
    session = after(a_session(ANY_ASR), *managed(), ev.InviteStarted(START, 0, 1, 1, FIRST, "inv_1"))
    refused = apply(session, ev.InviteRefused(START + 1, 0, 1, 1, Refusal.DECLINED))
    assert actions(refused, START + 1, Replace, Invite) == [Replace(0, 1)]
    held = apply(refused, ev.ReplacementHeld(START + 1, 0, 1, START + 3))
    assert actions(held, START + 2, Replace, Invite) == [Invite(0, 1, 2)]


def test_a_service_that_is_required_by_its_id_and_refuses_is_not_replaced() -> None:
    by_id = RequiredService("asr-1", "ASR", endpoint="http://asr-1.example/", by_id=True)
    session = after(a_session(by_id), *managed(), ev.InviteStarted(START, 0, 1, 1, FIRST, "inv_1"))
    refused = apply(session, ev.InviteRefused(START + 1, 0, 1, 1, Refusal.DECLINED))
    assert actions(refused, START + 29, Replace) == []
    assert actions(refused, START + 29, Invite) == [Invite(0, 1, 2)]


def test_nobody_is_replaced_when_it_would_come_to_nothing() -> None:
    """After the ready deadline there is no more waiting; a session that was ready has its budget."""
    session = after(asked(), seen(FIRST, "PA_1", START + 29.9), left(FIRST, "PA_1", START + 29.95))
    waiting = after(asked(), said(FIRST, Said.FAILED, START + 29))
    assert actions(waiting, START + 29.5, Replace) == [Replace(0, 1)]
    assert session.state is SessionState.DEGRADED
    assert actions(session, START + 29.95 + REJOIN_GRACE, Replace) == [Replace(0, 1)]


def test_what_the_one_before_says_is_nobodys_and_found_in_the_room_it_is_removed() -> None:
    session = replaced(after(asked(), seen(FIRST, "PA_1", START + 1), left(FIRST, "PA_1", START + 2)), START + 3)
    assert session.services[0].service_id == "asr-2"
    assert session.services[0].attempt == 2
    assert apply(session, said(FIRST, Said.READY, START + 4)) is session
    assert actions(session, START + 4, Remove) == []
    back = apply(session, seen(FIRST, "PA_1b", START + 5, attributes={"session.state": "ready"}))
    assert back.services == session.services
    assert actions(back, START + 5, Remove) == [Remove(FIRST)]
    removing = apply(back, ev.RemovalStarted(START + 5, FIRST))
    assert actions(removing, START + 6, Remove) == []
    assert actions(apply(removing, ev.RemovalEnded(START + 6, FIRST, removed=False)), START + 6, Remove)
    removed = apply(removing, ev.RemovalEnded(START + 6, FIRST, removed=True))
    assert actions(removed, START + 6, Remove) == []
    assert actions(apply(removed, seen(FIRST, "PA_1c", START + 7)), START + 7, Remove) == [Remove(FIRST)]


def test_one_that_is_there_when_it_is_replaced_is_removed() -> None:
    session = replaced(after(asked(), seen(FIRST, "PA_1", START + 1), said(FIRST, Said.FAILED, START + 2)), START + 3)
    assert actions(session, START + 3, Remove) == [Remove(FIRST)]


def test_a_session_is_ready_again_when_the_replacement_is() -> None:
    lost = after(asked(), seen(FIRST, "PA_1", START + 1), left(FIRST, "PA_1", START + 5))
    assert lost.state is SessionState.DEGRADED
    ready = after(replaced(lost, START + 6), ev.InviteAccepted(START + 6, 0, 2, 1), seen(SECOND, "PA_2", START + 7))
    assert (ready.state, ready.services[0].state) == (SessionState.READY, ServiceState.READY)


# --- who is chosen ----------------------------------------------------------------------------------


def replacer(*service_ids: str) -> Replacer:
    registry = Registry(lambda: START, lambda _: 0)
    for service_id in service_ids:
        registry.register(Service(service_id, "ASR", f"http://{service_id}.example/"))
    return Replacer(registry, Names("secret"))


def lost() -> Session:
    return after(asked(), seen(FIRST, "PA_1", START + 1), left(FIRST, "PA_1", START + 5))


def test_another_instance_is_invited_under_an_identity_of_its_own() -> None:
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


def test_instances_that_failed_are_not_tried_again_before_all_others_were() -> None:
    """And then it begins again with all of them."""
    session, tried, deciding = lost(), ["asr-1"], replacer("asr-1", "asr-2", "asr-3")
    for attempt in range(2, 6):
        decision = deciding.decide(session, 0, START + attempt)
        assert isinstance(decision, ev.InviteStarted)
        identity = decision.identity or ""
        gone = (seen(identity, f"PA_{attempt}", START + attempt), left(identity, f"PA_{attempt}", START + attempt))
        session = after(session, decision, ev.InviteAccepted(START + attempt, 0, attempt, 1), *gone)
        tried.append(session.services[0].service_id)
    assert sorted(tried[:3]) == ["asr-1", "asr-2", "asr-3"]
    assert all(one != another for one, another in pairwise(tried))


def test_when_there_is_nobody_at_all_somebody_is_looked_for_again_later() -> None:
    session = lost()
    decision = replacer().decide(session, 0, START + 6)
    assert decision == ev.ReplacementHeld(START + 6, 0, 1, START + 6 + HOLD)
    assert actions(apply(session, decision), START + 6 + HOLD, Replace) == [Replace(0, 1)]


def test_one_that_accepted_and_does_not_come_gets_the_same_invite_again_when_there_is_no_other() -> None:
    """It may be slow, and then knows the invite; or it was started anew, and then takes it for a first one."""
    session = asked()
    decision = replacer("asr-1").decide(session, 0, START + JOIN_TIMEOUT)
    assert decision == ev.InviteStarted(START + JOIN_TIMEOUT, 0, 1, 2, FIRST, decision.invite_id, None)  # type: ignore[union-attr]
    again = after(session, decision, ev.InviteAccepted(START + JOIN_TIMEOUT, 0, 1, 2))
    assert actions(again, START + 2 * JOIN_TIMEOUT - 0.1, Replace) == []
    assert actions(again, START + 2 * JOIN_TIMEOUT, Replace) == [Replace(0, 1)]


def test_when_many_are_late_at_once_replacing_slows_down() -> None:
    """That is our overload, not their failure."""
    patience, now, through = Patience(), START, []
    while now < START + 10:
        through += [now] if patience.is_over(now) else []
        now += 0.1
    assert len(through) == pytest.approx(LATE_BURST + 10 / LATE_INTERVAL, abs=1)
    assert through[LATE_BURST - 1] < START + 0.5


def test_one_that_is_late_while_its_instance_joins_other_rooms_is_not_replaced_yet() -> None:
    """It is at work; but not for ever."""
    deciding, session = replacer("asr-1", "asr-2"), asked()
    deciding.saw_join("asr-1", START + JOIN_TIMEOUT - 1)
    assert isinstance(deciding.decide(session, 0, START + JOIN_TIMEOUT), ev.ReplacementHeld)
    late = START + LATE_AT_MOST * JOIN_TIMEOUT
    deciding.saw_join("asr-1", late)
    assert isinstance(deciding.decide(session, 0, late), ev.InviteStarted)


def test_a_late_service_that_is_not_replaced_yet_is_looked_at_again_soon() -> None:
    deciding, session = replacer("asr-1", "asr-2"), asked()
    decisions: Iterable[Event] = [deciding.decide(session, 0, START + JOIN_TIMEOUT) for _ in range(LATE_BURST + 1)]
    held = list(decisions)[-1]
    assert isinstance(held, ev.ReplacementHeld)
    assert held.until == START + JOIN_TIMEOUT + HOLD * backoff("inv_1", 3)

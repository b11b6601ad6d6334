"""Services that signal ready by HTTP and are not in the room."""

from __future__ import annotations

import pytest

from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceReason, ServiceState
from manager_agent.session.events import Event, Evidence, ParticipantInfo, Signal
from manager_agent.session.plan import LISTING_INTERVAL, WAITING_LISTING_INTERVAL, Remove, Replace, plan
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Limits, Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as given
from tests.unit.sessions import ASR, START

pytestmark = pytest.mark.unit

NOW = START + 10

POSTED = given.signal("sm-asr-1", Signal.READY, NOW, Evidence.HTTP)
DUE = NOW + Limits().service_join_timeout


def asked_for(*services: RequiredService) -> Session:
    """A session whose room and manager are there and whose services have accepted their invites."""
    entries = range(len(services))
    return given.after(
        given.a_session(*services), *given.managed(), *given.invited(*entries), *given.accepted(*entries)
    )


def posted(*services: RequiredService) -> Session:
    return apply(asked_for(*(services or (given.SIGNALS,))), POSTED)


def unseen(session: Session, at: float = DUE) -> Session:
    """The listings after its signal do not have the service: one on the way, and one at this instant."""
    return given.after(session, given.listed(NOW + 5), given.listed(at))


def test_service_that_signals_by_http_and_never_joins_fails() -> None:
    session = unseen(posted())
    service = session.services[ASR]
    assert posted().state is SessionState.READY
    assert (service.state, session.reason_of(service)) == (ServiceState.FAILED, ServiceReason.NEVER_JOINED)
    assert (session.state, service.timeline.failed) == (SessionState.DEGRADED, DUE)
    assert Replace(ASR, 1) in plan(session, DUE).actions


def test_service_that_signals_and_never_joins_fails_while_others_are_awaited() -> None:
    session = unseen(posted(given.SIGNALS, given.JOINS))
    assert (session.state, session.services[ASR].state) == (SessionState.WAITING, ServiceState.FAILED)
    assert Replace(ASR, 1) in plan(session, DUE).actions


@pytest.mark.parametrize(
    "sign",
    [
        given.seen("sm-asr-1", "PA_1", NOW + 1),
        given.listed(NOW + 1, ParticipantInfo("sm-asr-1", "PA_1")),
        given.seen("sm-asr-1", "PA_1", NOW + 1, attributes={"session.state": "ready"}),
    ],
)
@pytest.mark.parametrize("before_its_signal", [True, False])
def test_service_seen_in_the_room_keeps_its_signal_by_http(sign: Event, before_its_signal: bool) -> None:
    order = (sign, POSTED) if before_its_signal else (POSTED, sign)
    session = given.after(asked_for(given.SIGNALS), *order)
    listed = given.listed(DUE, ParticipantInfo("sm-asr-1", "PA_1"))
    assert apply(session, listed).state is SessionState.READY


@pytest.mark.parametrize(
    "listings",
    [
        [],
        [given.listed(DUE)],
        [given.listed(NOW + 5), given.listed(DUE - 0.1)],
        [given.listed(NOW + 5), given.listed(DUE + 1, asked_at=DUE - 0.1)],
        [given.listed(NOW + 5), given.listed(DUE, joining=("sm-asr-1",))],
    ],
)
def test_one_listing_or_an_early_one_or_a_join_under_way_fails_no_service(listings: list[Event]) -> None:
    assert given.after(posted(), *listings).state is SessionState.READY


def test_service_that_joins_late_is_ready_by_its_earlier_signal() -> None:
    """Unless another attempt has begun: then it is removed."""
    late = given.after(unseen(posted()), given.seen("sm-asr-1", "PA_1", DUE + 1))
    service = late.services[ASR]
    assert (late.state, service.ready_by, service.timeline.failed) == (SessionState.READY, Evidence.HTTP, None)
    replaced = given.after(
        unseen(posted()),
        ev.InviteStarted(DUE, ASR, 2, 1, "sm-asr-2", "inv_2"),
        given.seen("sm-asr-1", "PA_1", DUE + 1),
    )
    assert replaced.state is SessionState.DEGRADED
    assert Remove("sm-asr-1") in plan(replaced, DUE + 5).actions


def test_signal_in_the_room_counts_after_the_time_to_join_and_one_by_http_does_not() -> None:
    failed = unseen(posted())
    again = apply(failed, given.signal("sm-asr-1", Signal.READY, DUE + 1, Evidence.HTTP))
    assert again.services[ASR].state is ServiceState.FAILED
    spoke = apply(failed, given.signal("sm-asr-1", Signal.READY, DUE + 1))
    assert spoke.state is SessionState.READY


def looked(at: float) -> list[Event]:
    return [ev.ListingStarted(at), given.listed(at, ParticipantInfo(given.MANAGER, "PA_manager"))]


def test_room_is_listed_as_while_waiting_until_each_service_was_seen() -> None:
    """Joins are reported late. The last listing is when the time to join is over."""
    session = given.after(asked_for(given.SIGNALS), ev.WebhookArrived(NOW), *looked(NOW), POSTED)
    assert plan(session, NOW).wake_at == NOW + WAITING_LISTING_INTERVAL
    near = given.after(session, *looked(DUE - 1))
    assert plan(near, DUE - 1).wake_at == DUE
    there = apply(session, given.seen("sm-asr-1", "PA_1", NOW))
    assert plan(there, NOW).wake_at == NOW + LISTING_INTERVAL

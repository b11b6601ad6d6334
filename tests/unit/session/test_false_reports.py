"""False reports of one source, however many, change nothing about participants whom the manager sees in the room."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.events import Event, ParticipantInfo
from manager_agent.session.participant import ROOM_EVENT_LAG
from manager_agent.session.session import Session, SessionState
from manager_agent.session.transitions import apply
from tests.unit import sessions as scenario
from tests.unit.sessions import ASR, JOINS, MANAGER, START

pytestmark = pytest.mark.unit

PEOPLE = ParticipantInfo(MANAGER, "PA_manager"), ParticipantInfo("sm-asr-1", "PA_asr"), ParticipantInfo("alice", "PA_u")
JOINED = scenario.after(
    scenario.a_session(JOINS),
    *scenario.watched(),
    *scenario.invited(ASR),
    *scenario.accepted(ASR),
    *(scenario.seen(one.identity, one.sid, START + 1) for one in PEOPLE),
)
"""The manager does not see the others yet."""
WATCHED = scenario.after(JOINED, *(scenario.shown(one.identity, one.sid, START + 3) for one in PEOPLE))

PERSON = st.sampled_from(PEOPLE)
LATE_JOIN = PERSON.map(lambda one: ev.ParticipantSeen(0, one))
LISTS: st.SearchStrategy[Event] = st.one_of(
    st.lists(PERSON, max_size=2).map(lambda here: ev.RoomListed(0, 0, tuple(here))),
    st.booleans().map(lambda is_doubted: ev.RoomMissed(0, 0, is_doubted, is_confirmed=True)),
    LATE_JOIN,
)
WEBHOOKS: st.SearchStrategy[Event] = st.one_of(
    PERSON.map(lambda one: ev.ParticipantLeft(0, one.identity, one.sid)),
    st.sampled_from(["RM_1", "RM_0", ""]).map(lambda sid: ev.RoomClosed(0, sid)),
    LATE_JOIN,
    st.just(ev.RoomListed(0, 0, PEOPLE)),
)
PAUSE = st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 5.0])


def at(event: Event, now: float) -> Event:
    """The event at this instant. Listings were requested then."""
    if isinstance(event, ev.RoomListed | ev.RoomMissed):
        return replace(event, at=now, asked_at=now)
    return replace(event, at=now)


def has_everyone(session: Session) -> bool:
    return session.state is SessionState.ACTIVE and session.services[ASR].attempt == 1 and session.manager.presence.here


@pytest.mark.parametrize("source", [LISTS, WEBHOOKS], ids=["lists", "webhooks"])
@settings(max_examples=300, derandomize=True)
@given(st.data())
def test_nobody_whom_the_manager_sees_is_gone(source: st.SearchStrategy[Event], data: st.DataObject) -> None:
    session, now = WATCHED, START + 3
    for pause, event in data.draw(st.lists(st.tuples(PAUSE, source), max_size=40)):
        now += pause
        session = apply(session, at(event, now))
        assert has_everyone(session)
    truth = (at(ev.RoomListed(0, 0, PEOPLE), now + second) for second in (1, 2))
    assert scenario.after(session, *truth).doubts == 0


@pytest.mark.parametrize("source", [LISTS, WEBHOOKS], ids=["lists", "webhooks"])
@settings(max_examples=100, derandomize=True)
@given(st.data())
def test_nobody_whom_the_manager_may_not_see_yet_is_gone(source: st.SearchStrategy[Event], data: st.DataObject) -> None:
    session = JOINED
    for event in data.draw(st.lists(source, max_size=40)):
        session = apply(session, at(event, START + 1 + ROOM_EVENT_LAG / 2))
        assert has_everyone(session)

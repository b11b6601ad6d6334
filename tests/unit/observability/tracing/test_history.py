"""The spans that what happens to a session makes: each step that has begun ends once, below what it is part of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import pytest

from http_api.observability.tracing.history import spans_of
from http_api.observability.tracing.spans import Span, attempt_trace
from manager_agent.frozen import replace
from manager_agent.session import events as ev
from manager_agent.session.attempt import ServiceState
from manager_agent.session.events import Event, Evidence, Refusal, Signal
from manager_agent.session.required_service import RequiredService
from manager_agent.session.session import Session
from manager_agent.session.transitions import apply
from manager_agent.store.store import Change
from manager_agent.traceparent import read_trace
from tests.unit import sessions as given
from tests.unit.session.test_histories import a_history, by_chance
from tests.unit.session_model import SessionModel
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUEST_SPAN = "00f067aa0ba902b7"
AFTER_THE_SESSION = ("clean up", "create room", "make room again")
"""Spans that may be over later than the session is: what LiveKit was asked for is answered all the same."""


def traced(session: Session) -> Session:
    return replace(session, traceparent=TRACEPARENT)


def spans_in(past: Sequence[Session], events: Iterable[Event]) -> list[Span]:
    """Of a session that went through all these states by these events."""
    changes = zip(pairwise(map(traced, past)), events, strict=True)
    return [span for (was, now), event in changes for span in spans_of(Change(now.session_id, was, now, event))]


def story(*services: RequiredService, events: Iterable[Event]) -> list[str]:
    """The spans of a session that needs these services, each as `name from-until !error`, below those it is part of;
    instants since the session was asked for."""
    past, changing = [given.a_session(*services)], []
    for event in events:
        now = apply(past[-1], event)
        if now is not past[-1]:
            past.append(now)
            changing.append(event)
    spans = spans_in(past, changing)
    return list(_tree(spans, REQUEST_SPAN, ""))


def _tree(spans: Sequence[Span], below: str, indent: str) -> Iterable[str]:
    children = [span for span in spans if span.parent is not None and span.parent.span_id == below]
    for span in sorted(children, key=lambda span: (span.start, span.end)):
        error = f" !{span.error}" if span.error else ""
        yield f"{indent}{span.name} {span.start - START:g}-{span.end - START:g}{error}"
        if span.context is not None:
            yield from _tree(spans, span.context.span_id, indent + "  ")


def at_its_end(model: SessionModel) -> SessionModel:
    """The model once the session is over and cleaned up."""
    model.record(ev.SessionClosed(model.now))
    for _ in range(2):
        while model.unreported:
            model.deliver(0)
        model.do_what_is_due()
    model.record(ev.CleanedUp(model.now))  # if it was never reported
    assert model.session.end is not None
    assert model.session.end.cleaned_at is not None
    return model


HISTORIES = range(300)


@pytest.fixture(scope="module")
def models() -> list[tuple[SessionModel, list[Span]]]:
    """Histories by chance, each with its spans."""
    ends = [at_its_end(a_history(*by_chance(seed))) for seed in HISTORIES]
    return [(model, spans_in(model.past, [report.event for report in model.applied])) for model in ends]


def test_every_started_step_has_one_span_when_the_session_is_over(
    models: list[tuple[SessionModel, list[Span]]],
) -> None:
    for model, spans in models:
        names = Counter(span.name.split()[0] for span in spans)
        done = Counter(type(report.event) for report in model.applied)
        first = [
            report for report in model.applied if isinstance(report.event, ev.InviteStarted) and report.event.tries == 1
        ]
        assert names["session"] == 1
        assert names["create"] + names["make"] == done[ev.RoomRequested]
        remade = sum(now.room.remakes > was.room.remakes and not now.over for was, now in pairwise(model.past))
        assert names["dispatch"] == done[ev.ManagerDispatched] + remade  # a room is made together with a dispatch
        assert names["invite"] == done[ev.InviteStarted]
        assert names["attempt"] == len(first)
        assert names["clean"] == done[ev.CleanUpStarted]
        own = [span.context.span_id for span in spans if span.context is not None]
        assert len(own) == len(set(own)) == 1 + len(first)


def test_every_span_has_a_known_parent_and_lies_within_its_time(models: list[tuple[SessionModel, list[Span]]]) -> None:
    for _, spans in models:
        known = {span.context.span_id: span for span in spans if span.context is not None}
        for span in spans:
            assert span.parent is not None
            assert span.start <= span.end
            parent = known.get(span.parent.span_id)
            assert (parent is None) == (span.name == "session"), span
            if parent is None:
                assert span.parent == read_trace(TRACEPARENT)
            else:
                assert parent.start <= span.start
                assert span.end <= parent.end or span.name in AFTER_THE_SESSION


def test_a_ready_service_has_a_span_with_its_evidence(models: list[tuple[SessionModel, list[Span]]]) -> None:
    met: Counter[str] = Counter()
    for model, spans in models:
        evidence = {(s.invite_id, s.ready_by) for past in model.past for s in past.services if s.ready_by is not None}
        shown = Counter(span.attributes.get("evidence") for span in spans if span.name == "ready" and not span.error)
        met.update(str(by) for _, by in evidence)
        for by in Evidence:
            assert shown[by] >= sum(found is by for _, found in evidence)
        assert {span.attributes["session_id"] for span in spans} == {"s1"}
    assert set(met) == set(Evidence)


def test_no_span_is_made_without_a_recorded_trace(models: list[tuple[SessionModel, list[Span]]]) -> None:
    """Neither without a trace nor in one that is not recorded, nor of a session that is removed."""
    model, _ = models[0]
    for (was, now), report in zip(pairwise(model.past), model.applied, strict=True):
        assert list(spans_of(Change("s1", was, now, report.event))) == []
        was, now = (replace(session, traceparent=TRACEPARENT[:-1] + "0") for session in (was, now))
        assert list(spans_of(Change("s1", was, now, report.event))) == []
    over = traced(model.session)
    assert list(spans_of(Change("s1", over, None))) == list(spans_of(Change("s1", None, over))) == []


def test_an_invite_carries_the_span_id_of_its_attempt() -> None:
    """Long before the span exists, and after the next attempt, which has another, has begun."""
    first = traced(given.after(given.a_session(given.JOINS), *given.invited(ASR)))
    events = [*given.accepted(ASR), given.seen("sm-asr-1", "PA", START), given.left("sm-asr-1", "PA", START)]
    replaced = given.after(first, *events, ev.InviteStarted(START + 1, ASR, 2, 1, "sm-asr-2", "inv_2"))
    told = attempt_trace(first, first.services[ASR].current)
    assert told is not None
    assert told.trace_id == TRACEPARENT[3:35]
    assert (
        attempt_trace(replaced, first.services[ASR].current)
        == told
        != attempt_trace(replaced, replaced.services[ASR].current)
    )
    spans = spans_of(
        Change("s1", given.after(first, *events), replaced, ev.InviteStarted(START + 1, ASR, 2, 1, None, ""))
    )
    assert [span.context for span in spans] == [told]


# --- the stories ------------------------------------------------------------------------------------

BEGINNING: list[Event] = [
    ev.RoomRequested(START),
    ev.ManagerDispatched(START, 1, given.MANAGER),
    ev.RoomCreated(START + 0.1, "RM_1"),
]
ENDING: list[Event] = [
    ev.SessionClosed(START + 60),
    ev.CleanUpStarted(START + 60),
    ev.CleanedUp(START + 61),
]
HERE: list[Event] = [ev.JobAccepted(START + 0.3, given.MANAGER), given.seen(given.MANAGER, "PA_m", START + 0.4)]


def test_a_session_that_becomes_ready_and_is_closed_has_a_span_for_each_step() -> None:
    assert story(
        given.JOINS,
        given.SIGNALS,
        events=[
            *BEGINNING,
            *given.invited(ASR, LLM, at=START + 0.1),
            *given.accepted(ASR, LLM, at=START + 0.2),
            *HERE,
            given.seen("sm-asr-1", "PA_1", START + 0.5),
            given.seen("sm-llm-1", "PA_2", START + 0.6),
            given.signal("sm-llm-1", Signal.READY, START + 0.9),
            *ENDING,
        ],
    ) == [
        "session 0-60",
        "  create room 0-0.1",
        "  dispatch manager 0-0.4",
        "  attempt ASR 0.1-60",
        "    invite 0.1-0.2",
        "    join 0.2-0.5",
        "    ready 0.5-0.5",
        "  attempt LLM 0.1-60",
        "    invite 0.1-0.2",
        "    join 0.2-0.6",
        "    ready 0.6-0.9",
        "  clean up 60-61",
    ]


def test_the_span_of_a_replaced_attempt_is_an_error_with_its_reason() -> None:
    events = [
        *BEGINNING,
        *given.invited(ASR, at=START + 0.1),
        *given.accepted(ASR, at=START + 0.2),
        ev.InviteStarted(START + 10.2, ASR, 2, 1, "sm-asr-2", "inv_2"),
        ev.InviteRefused(START + 10.3, ASR, 2, 1, Refusal.DECLINED),
        ev.InviteStarted(START + 10.3, ASR, 3, 1, "sm-asr-3", "inv_3"),
        given.seen("sm-asr-3", "PA_3", START + 10.6),
        ev.InviteAccepted(START + 10.7, ASR, 3, 1),
        *ENDING,
    ]
    assert story(given.JOINS, events=events) == [
        "session 0-60",
        "  create room 0-0.1",
        "  dispatch manager 0-60",
        "  attempt ASR 0.1-10.2 !never_joined",
        "    invite 0.1-0.2",
        "    join 0.2-10.2 !never_joined",
        "  attempt ASR 10.2-10.3 !declined",
        "    invite 10.2-10.3 !declined",
        "  attempt ASR 10.3-60",
        "    join 10.3-10.6",
        "    invite 10.3-10.7",
        "    ready 10.6-10.6",
        "  clean up 60-61",
    ]


def test_every_repeated_invite_has_a_span_of_its_own() -> None:
    events = [
        *BEGINNING,
        *given.invited(ASR, at=START + 0.1),
        ev.InviteRefused(START + 0.2, ASR, 1, 1, Refusal.UNREACHABLE),
        ev.InviteStarted(START + 1, ASR, 1, 2, "sm-asr-1", "inv_0"),
        ev.SessionClosed(START + 2),
    ]
    assert story(given.JOINS, events=events)[3:] == [
        "  attempt ASR 0.1-2 !unreachable",
        "    invite 0.1-0.2 !unreachable",
        "    invite 1-2 !unreachable",
    ]


def test_a_service_ready_by_http_before_its_join_has_no_join_span() -> None:
    events = [
        *BEGINNING,
        *given.invited(ASR, at=START + 0.1),
        *given.accepted(ASR, at=START + 0.2),
        given.signal("sm-asr-1", Signal.READY, START + 0.3, Evidence.HTTP),
        given.seen("sm-asr-1", "PA_1", START + 0.5),
        *ENDING,
    ]
    assert story(given.SIGNALS, events=events)[3:-1] == [
        "  attempt LLM 0.1-60",
        "    invite 0.1-0.2",
        "    ready 0.2-0.3",
        "    join 0.2-0.5",
    ]


def test_a_service_that_leaves_and_comes_back_has_a_second_join_span() -> None:
    """Within one attempt; the session was degraded meanwhile."""
    events = [
        *BEGINNING,
        *given.invited(ASR, at=START + 0.1),
        *given.accepted(ASR, at=START + 0.2),
        given.seen("sm-asr-1", "PA_1", START + 0.5),
        given.left("sm-asr-1", "PA_1", START + 20),
        given.seen("sm-asr-1", "PA_2", START + 20.3),
        *ENDING,
    ]
    assert story(given.JOINS, events=events)[3:-1] == [
        "  attempt ASR 0.1-60",
        "    invite 0.1-0.2",
        "    join 0.2-0.5",
        "    ready 0.5-0.5",
        "    join 20-20.3",
        "    ready 20.3-20.3",
    ]


def test_the_span_of_a_service_lost_at_the_end_is_an_error() -> None:
    events = [
        *BEGINNING,
        *given.invited(ASR, at=START + 0.1),
        given.seen("sm-asr-1", "PA_1", START + 0.5),
        given.left("sm-asr-1", "PA_1", START + 20),
        ev.SessionClosed(START + 20.1),
    ]
    assert "  attempt ASR 0.1-20.1 !left" in story(given.JOINS, events=events)


def test_the_awaited_step_of_a_failed_session_is_an_error_span() -> None:
    events = [
        *BEGINNING,
        *given.invited(ASR, LLM, at=START + 0.1),
        *given.accepted(ASR, LLM, at=START + 0.2),
        given.seen("sm-asr-1", "PA_1", START + 0.5),
        given.seen("sm-llm-1", "PA_2", START + 0.6),
        ev.DeadlinePassed(START + 30),
        ev.CleanUpStarted(START + 30),
        ev.CleanUpFailed(START + 40),
        ev.CleanUpStarted(START + 70),
        ev.CleanedUp(START + 71),
    ]
    assert story(given.JOINS, given.SIGNALS, events=events) == [
        "session 0-30 !ready_timeout",
        "  create room 0-0.1",
        "  dispatch manager 0-30 !manager_did_not_come",
        "  attempt ASR 0.1-30",
        "    invite 0.1-0.2",
        "    join 0.2-0.5",
        "    ready 0.5-0.5",
        "  attempt LLM 0.1-30 !joined_not_ready",
        "    invite 0.1-0.2",
        "    join 0.2-0.6",
        "    ready 0.6-30 !joined_not_ready",
        "  clean up 30-40 !room_not_deleted",
        "  clean up 70-71",
    ]


def test_every_manager_dispatch_has_a_span_until_it_joins_or_is_given_up() -> None:
    events: list[Event] = [
        *BEGINNING,
        ev.ManagerDispatched(START + 2, 2, "sm-manager-2"),
        ev.JobAccepted(START + 2.2, "sm-manager-2"),
        ev.ManagerFailed(START + 3, "sm-manager-2"),
        ev.ManagerDispatched(START + 8, 3, "sm-manager-3"),
        ev.JobAccepted(START + 8.2, "sm-manager-3"),
        given.seen("sm-manager-3", "PA_m", START + 8.3),
        ev.ManagerFailed(START + 30, "sm-manager-3"),
        ev.ManagerDispatched(START + 40, 4, "sm-manager-4"),
        ev.SessionClosed(START + 41),
    ]
    assert story(events=events)[2:] == [
        "  dispatch manager 0-2 !manager_did_not_come",
        "  dispatch manager 2-3 !manager_did_not_come",
        "  dispatch manager 8-8.3",
        "  dispatch manager 40-41",
    ]


@pytest.mark.parametrize(("taken", "why"), [(False, "room_unavailable"), (True, "room_name_taken")])
def test_the_span_of_a_room_that_was_not_created_is_an_error(taken: bool, why: str) -> None:
    assert story(events=[*BEGINNING[:2], ev.RoomRefused(START + 5, taken)]) == [
        "session 0-5 !room_unavailable",
        f"  create room 0-5 !{why}",
        "  dispatch manager 0-5 !manager_did_not_come",
    ]


def test_a_room_that_is_created_too_late_has_a_span() -> None:
    events = [*BEGINNING[:2], ev.SessionClosed(START + 1), ev.RoomCreated(START + 5, "RM_1")]
    assert story(events=events) == ["session 0-1", "  dispatch manager 0-1", "  create room 0-5"]


def test_the_span_of_an_attempt_has_its_outcome() -> None:
    now = given.a_session(given.JOINS)
    past, events = (
        [now],
        [*BEGINNING, *given.invited(ASR), *given.accepted(ASR), given.seen("sm-asr-1", "PA_1", START + 1), *ENDING],
    )
    for event in events:
        past.append(apply(past[-1], event))
    attempt = next(span for span in spans_in(past, events) if span.name == "attempt ASR")
    assert attempt.attributes == {
        "session_id": "s1",
        "service_id": "asr-service",
        "type": "ASR",
        "attempt": 1,
        "tries": 1,
        "optional": False,
        "state": ServiceState.READY,
        "evidence": Evidence.JOIN,
    }

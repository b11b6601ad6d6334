"""Server-Timing: which phases are shown, and how long each took."""

from __future__ import annotations

import re

import pytest

from http_api.protocol.server_timing import server_timing
from manager_agent.session import events as ev
from manager_agent.session.events import Chosen, Evidence, ReadyOn, Refusal, Signal
from manager_agent.session.session import Session
from tests.unit import sessions as given
from tests.unit.session.test_histories import a_history, by_chance
from tests.unit.sessions import ASR, LLM, START

pytestmark = pytest.mark.unit

METRIC = re.compile(r'([a-z]+);dur=(\d+\.\d);desc="[A-Za-z ]+"')


def timing(session: Session, now: float = START + 9) -> dict[str, float]:
    """Milliseconds of each phase, in order; the header must be what W3C Server Timing says."""
    parts = server_timing(session, now).split(", ")
    found = [METRIC.fullmatch(part) for part in parts]
    assert all(found), parts
    return {match[1]: float(match[2]) for match in found if match is not None}


def with_room(*services: ev.Event) -> list[ev.Event]:
    requested, dispatched = given.created()[:2]
    return [requested, dispatched, ev.RoomCreated(START + 0.1, "RM_1"), *services]


def test_server_timing_shows_only_phases_that_are_over() -> None:
    session = given.a_session(given.JOINS)
    assert timing(session, START + 0.5) == {"total": 500}
    session = given.after(session, *with_room(*given.invited(ASR, at=START + 0.1)))
    assert timing(session, START + 0.5) == {"room": 100, "total": 500}
    session = given.after(session, *given.accepted(ASR, at=START + 0.3))
    assert timing(session, START + 0.5) == {"room": 100, "invite": 200, "total": 500}


def test_server_timing_phases_follow_each_other_until_the_session_is_ready() -> None:
    session = given.after(
        given.a_session(given.JOINS, given.SIGNALS),
        *with_room(
            *given.invited(ASR, LLM, at=START + 0.1),
            *given.accepted(ASR, at=START + 0.2),
            *given.accepted(LLM, at=START + 0.3),
        ),
        ev.JobAccepted(START + 0.3, given.MANAGER),
        given.seen(given.MANAGER, "PA_manager", START + 0.35),
        given.seen("sm-asr-1", "PA_1", START + 0.4),
        given.seen("sm-llm-1", "PA_2", START + 0.6),
        given.signal("sm-llm-1", Signal.READY, START + 1.1),
    )
    assert timing(session) == {
        "room": 100, "manager": 250, "invite": 200, "join": 300, "ready": 500, "total": 1100,
    }  # fmt: skip


def test_the_invite_phase_begins_with_the_first_attempt_even_if_it_failed() -> None:
    other = Chosen("asr-2", "ASR", "http://asr-2.example/", None, ReadyOn.JOIN)
    session = given.after(
        given.a_session(given.JOINS),
        *with_room(*given.invited(ASR, at=START + 0.1)),
        ev.InviteRefused(START + 0.2, ASR, 1, 1, Refusal.DECLINED),
        ev.InviteStarted(START + 0.2, ASR, 2, 1, "sm-asr-2", "inv_0_2", instead=other),
        ev.InviteAccepted(START + 0.4, ASR, 2, 1),
        given.seen("sm-asr-2", "PA_1", START + 0.9),
    )
    assert timing(session) == {"room": 100, "invite": 300, "join": 500, "ready": 0, "total": 900}


def test_server_timing_leaves_out_optional_services() -> None:
    session = given.after(
        given.a_session(given.JOINS, given.made_optional(given.SIGNALS)),
        *with_room(*given.invited(ASR, LLM, at=START + 0.1), *given.accepted(ASR, at=START + 0.2)),
        given.seen("sm-asr-1", "PA_1", START + 0.3),
    )
    assert timing(session) == {"room": 100, "invite": 100, "join": 100, "ready": 0, "total": 300}


def test_a_join_known_before_the_acceptance_ends_the_invite_phase() -> None:
    """A service that is ready by HTTP need not have joined. No phase has a negative duration."""
    session = given.after(
        given.a_session(given.SIGNALS),
        *with_room(*given.invited(ASR, at=START + 0.1)),
        given.seen("sm-asr-1", "PA", START + 0.2),
    )
    session = given.after(
        session, *given.accepted(ASR, at=START + 0.4), given.signal("sm-asr-1", Signal.READY, START + 0.5)
    )
    assert timing(session) == {"room": 100, "invite": 300, "join": 0, "ready": 300, "total": 500}
    by_http = given.signal("sm-asr-1", Signal.READY, START + 0.3, Evidence.HTTP)
    session = given.after(given.a_session(given.SIGNALS), *with_room(*given.invited(ASR, at=START + 0.1)), by_http)
    assert timing(session) == {"room": 100, "invite": 200, "join": 0, "ready": 0, "total": 300}


def test_server_timing_of_a_session_without_services_is_its_room() -> None:
    assert timing(given.after(given.a_session(), *with_room())) == {"room": 100, "total": 100}


def test_the_total_of_a_failed_session_runs_until_its_end() -> None:
    session = given.after(
        given.a_session(given.JOINS), *with_room(*given.invited(ASR, at=START + 0.1)), ev.DeadlinePassed(START + 30)
    )
    assert timing(session, START + 33) == {"room": 100, "total": 30_000}


def test_server_timing_can_be_rendered_for_every_session() -> None:
    for seed in range(100):
        for session in a_history(*by_chance(seed)).past[-5:]:
            assert timing(session)["total"] >= 0

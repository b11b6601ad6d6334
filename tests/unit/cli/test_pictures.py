"""What `session-manager watch` and `timeline` draw: bars in proportion to time, and all that the feed has told."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from http_api.cli.overview import SHOWN, Overview
from http_api.cli.timeline_bars import BAR_LEAST, BAR_MAX, BROKEN, Drawing, bar, layout, remark, scale_of, took
from http_api.models.responses import ServiceView, SessionView
from http_api.models.timeline import TimelineView
from http_api.observability.upstreams import DependencyState
from http_api.streams.models import CallerView, DependencyView, Forgotten, HealthView, ServiceGone, Snapshot
from manager_agent.registry.instances import Instance, InstanceState
from manager_agent.registry.selection import InstanceStatus
from manager_agent.registry.services import RegisteredService
from manager_agent.session import events as ev
from manager_agent.session.events import Chosen, Event, ReadyOn, Refusal, Signal
from manager_agent.session.session import Session
from tests.unit.sessions import (
    ASR,
    JOINS,
    LLM,
    SIGNALS,
    START,
    a_session,
    accepted,
    after,
    created,
    invited,
    left,
    made_optional,
    managed,
    seen,
    signal,
)

pytestmark = pytest.mark.unit

OTHER = Chosen("asr-2", "ASR", "http://asr-2.example/", None, ReadyOn.JOIN)
REPLACED: list[Event] = [
    *created(), *invited(ASR, LLM, at=START + 1), *accepted(LLM, at=START + 2),
    ev.InviteRefused(START + 4, ASR, 1, 1, Refusal.UNREACHABLE, final=True),
    ev.InviteStarted(START + 4, ASR, 2, 1, "sm-asr-2", "inv_2", instead=OTHER), ev.InviteAccepted(START + 5, ASR, 2, 1),
    seen("sm-llm-1", "PA_1", START + 5), seen("sm-asr-2", "PA_2", START + 7),
]  # fmt: skip
"""The first instance can't be reached, the second one is ready; of the other service it is awaited that it is ready."""


def told_of(session: Session, at: float) -> TimelineView:
    return TimelineView.of(session, START + at, None)


def now_of(timeline: TimelineView) -> datetime:
    return datetime.fromisoformat(timeline.now)


def bars(timeline: TimelineView, cells: int) -> list[str]:
    """Each bar with a digit for each cell: 0 nothing, 1 to 4 a phase, 5 the end of one that came to nothing."""
    scale = scale_of(timeline, now_of(timeline), cells)
    return ["".join(map(str, bar(attempt, scale))) for attempt in timeline.attempts]


def test_bars_are_in_proportion_to_time_and_the_next_attempt_begins_where_the_last_one_ends() -> None:
    timeline = told_of(after(a_session(JOINS, SIGNALS), *REPLACED), 10)
    assert bars(timeline, 10) == ["1115000000", "0001224444", "1222333333"]
    assert bars(timeline, 5) == ["15000", "01244", "22333"]


def test_while_somebody_is_awaited_the_bars_end_now_and_then_when_all_are_ready() -> None:
    """However long ago that was."""
    session = after(a_session(JOINS, SIGNALS), *REPLACED)
    for at in (10, 20):
        timeline = told_of(session, at)
        assert scale_of(timeline, now_of(timeline), 10).seconds == at
    timeline = told_of(after(session, signal("sm-llm-1", Signal.READY, START + 12)), 3_600)
    assert scale_of(timeline, now_of(timeline), 10).seconds == 12


def test_a_loss_later_on_stretches_the_bars_to_it() -> None:
    session = after(a_session(JOINS), *created(), *invited(ASR), seen("sm-asr-1", "PA", START + 1))
    timeline = told_of(after(session, left("sm-asr-1", "PA", START + 100)), 101)
    assert bars(timeline, 10) == ["444444444" + str(BROKEN)]


@pytest.mark.parametrize("cells", [1, 7, 80])
def test_every_attempt_is_seen_however_short_it_was(cells: int) -> None:
    at_once = ev.InviteStarted(START, ASR, 2, 1, "sm-asr-2", "inv_2", instead=OTHER)
    refused = ev.InviteRefused(START, ASR, 1, 1, Refusal.DECLINED)
    timeline = told_of(after(a_session(JOINS), *created(), *invited(ASR), refused, at_once), 0)
    assert all(shown.strip("0") for shown in bars(timeline, cells))


def test_beside_each_bar_stands_why() -> None:
    timeline = told_of(after(a_session(JOINS, SIGNALS), *REPLACED), 10)
    assert [remark(attempt, now_of(timeline)) for attempt in timeline.attempts] == [
        "unreachable, replaced", "ready by join", "awaited to be ready within 20 s",
    ]  # fmt: skip
    late = remark(timeline.attempts[-1], now_of(timeline) + timedelta(seconds=23))
    assert late == "awaited to be ready, late by 3 s"
    optional = told_of(after(a_session(made_optional(SIGNALS)), *created(), *invited(ASR)), 1)
    assert remark(optional.attempts[0], now_of(optional)) == "awaited to accept"


def test_of_one_that_refused_it_is_told_when_it_is_asked_again() -> None:
    refused = ev.InviteRefused(START + 4, ASR, 1, 1, Refusal.UNREACHABLE)
    session = after(a_session(JOINS), *created(), *invited(ASR), refused)
    timeline = told_of(session, session.services[ASR].current.retry_at - START - 1)
    signal = remark(timeline.attempts[0], now_of(timeline))
    assert signal.startswith("unreachable, awaited to accept within ")
    assert signal.endswith(", asked again in 1 s")


def test_a_timeline_may_change_unannounced_while_the_manager_or_a_service_is_awaited() -> None:
    session = a_session(JOINS)
    may = [told_of(session, 0).may_change_unannounced]
    for events in (
        [*created(), *invited(ASR), *accepted(ASR), seen("sm-asr-1", "PA", START + 1)],
        managed(),
        [left("sm-asr-1", "PA", START + 2), ev.InviteStarted(START + 3, ASR, 2, 1, "sm-asr-2", "inv_2")],
        [ev.SessionClosed(START + 4)],
    ):
        session = after(session, *events)
        may.append(told_of(session, 5).may_change_unannounced)
    assert may == [True, True, False, True, False]


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0 ms"), (0.8041, "804 ms"), (12.34, "12.3 s"), (300, "5 min"), (7_300, "2 h")]
)
def test_how_long_it_took_is_told_in_few_words(seconds: float, words: str) -> None:
    assert took(seconds) == words


@pytest.mark.parametrize(("width", "is_beside"), [(120, True), (80, False), (60, False), (40, False)])
def test_no_bar_is_broken_however_narrow_the_terminal(width: int, is_beside: bool) -> None:
    """What is remarked stands beside it, or below."""
    timeline, out = told_of(after(a_session(JOINS, SIGNALS), *REPLACED), 10), io.StringIO()
    Console(file=out, width=width).print(Drawing(timeline))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) <= width
    bars = [line for line in lines if set(line) & set("░▒▓█")]
    assert len(bars) == len(timeline.attempts)
    for line, attempt in zip(bars, timeline.attempts, strict=True):
        words = remark(attempt, now_of(timeline))
        assert line.endswith(f"  {words}") if is_beside else f"  {words}" in lines


def test_a_bar_has_what_the_other_columns_leave() -> None:
    assert layout(120, [10, 7, 8], 30) == (120 - 25 - 6 - 2 - 30, True)
    assert layout(400, [10, 7, 8], 30) == (BAR_MAX, True)
    assert layout(80, [10, 7, 8], 30) == (80 - 25 - 6, False)
    assert layout(20, [10, 7, 8], 30) == (BAR_LEAST, False)


@pytest.mark.parametrize(("encoding", "mark"), [("utf-8", "█"), ("ascii", "#")])
def test_a_terminal_without_blocks_gets_letters(encoding: str, mark: str) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=out, width=120).print(Drawing(told_of(after(a_session(JOINS, SIGNALS), *REPLACED), 10)))
    out.flush()
    shown = out.buffer.getvalue().decode(encoding)
    assert mark in shown
    assert "room_created 0 ms" in shown


# --- everything -------------------------------------------------------------------------------------


def view(number: int, *events: Event) -> SessionView:
    return SessionView.of(after(replace(a_session(), session_id=f"ses_{number:03}"), *events))


def health(state: DependencyState, detail: str | None) -> HealthView:
    found = DependencyView(name="livekit", state=state, since="2026-01-01T00:00:00.000Z", detail=detail)
    return HealthView(dependencies=[found], time="2026-01-01T00:00:01.000Z", version="1")


def registered(service_id: str, load: float | None = None) -> ServiceView:
    instance = Instance(RegisteredService(service_id, "ASR", f"http://{service_id}.example/"), load=load)
    return ServiceView.of(InstanceStatus(instance, InstanceState.HEALTHY, 0))


def snapshot(*sessions: SessionView) -> Snapshot:
    principal = CallerView(name="dev", scopes=[])
    is_up = health(DependencyState.UP, None)
    return Snapshot(sessions=list(sessions), services=[], health=is_up, profiles=[], caller=principal)


def test_an_overview_takes_in_what_is_told_and_says_which_sessions_are_otherwise_than_before() -> None:
    overview, (one, two, three) = Overview(), (view(n) for n in (1, 2, 3))
    assert overview.take(snapshot(two, one)) == [one, two]
    changed = view(1, ev.SessionClosed(START))
    assert overview.take(changed) == [changed]
    assert overview.take(Forgotten(session_id=two.session_id)) == []
    assert overview.newest() == [changed]
    assert overview.take(snapshot(three, changed)) == [three]


def test_an_overview_keeps_each_service_as_it_was_last_told_until_it_is_gone() -> None:
    overview = Overview()
    overview.take(snapshot().model_copy(update={"services": [registered("tts"), registered("asr")]}))
    assert overview.take(registered("tts", load=0.5)) == []
    overview.take(registered("vad"))
    overview.take(ServiceGone(service_id="asr"))
    overview.take(ServiceGone(service_id="nobody"))
    assert {service_id: service.load for service_id, service in overview.services.items()} == {"tts": 0.5, "vad": None}
    overview.take(snapshot())
    assert overview.services == {}


def test_of_a_snapshot_the_newest_are_shown() -> None:
    overview, sessions = Overview(), [view(number) for number in range(SHOWN + 20)]
    assert overview.take(snapshot(*reversed(sessions))) == sessions[-SHOWN:]
    assert overview.newest() == sessions[: -SHOWN - 1 : -1]


def test_after_a_break_every_session_that_has_changed_meanwhile_is_told_however_old_it_is() -> None:
    overview, sessions = Overview(), [view(number) for number in range(SHOWN + 20)]
    overview.take(snapshot(*reversed(sessions)))
    changed, new = view(0, ev.SessionClosed(START)), [view(1_000 + number) for number in range(2 * SHOWN)]
    assert overview.take(snapshot(*reversed(new), *reversed(sessions[1:]), changed)) == [changed, *new]


@pytest.mark.parametrize("width", [150, 60])
@pytest.mark.parametrize(("sessions", "services"), [(1, 30), (60, 30), (60, 0), (3, 2), (0, 30), (0, 0)])
@pytest.mark.parametrize("height", [8, 24])
def test_an_overview_is_no_higher_than_the_terminal(sessions: int, services: int, height: int, width: int) -> None:
    """What is away is on top, then the newest sessions, then services; of what does not fit it is told how much."""
    overview = Overview()
    told = snapshot(*(view(number) for number in reversed(range(sessions))))
    overview.take(told.model_copy(update={"services": [registered(f"asr-{number:02}") for number in range(services)]}))
    overview.take(health(DependencyState.AWAY, "it does not answer"))
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(overview)
    lines = out.getvalue().splitlines()
    assert len(lines) < height
    assert lines[0].startswith("livekit is away since ")
    assert not sessions or any(f"ses_{sessions - 1:03}" in line for line in lines)
    if height < 24:
        return  # there is no room to tell of the services as well
    left_out = [int(line[1:].removesuffix(" more")) for line in lines if line.startswith("+")]
    shown = [sum(line.startswith(name) for line in lines) for name in ("ses_", "asr-")]
    assert sum(shown) + sum(left_out) == min(sessions, SHOWN) + services


def test_of_few_sessions_and_many_services_those_have_the_rest_of_the_terminal() -> None:
    overview, out = Overview(), io.StringIO()
    many = [registered(f"asr-{number:02}") for number in range(30)]
    overview.take(snapshot(view(1)).model_copy(update={"services": many}))
    Console(file=out, width=150, height=24).print(overview)
    lines = out.getvalue().splitlines()
    assert (len(lines), lines[-1]) == (23, "+12 more")
    assert lines[1].startswith("ses_001")


def test_what_is_away_is_told_until_it_is_back() -> None:
    overview = Overview()
    assert overview.troubles() == []
    overview.take(health(DependencyState.AWAY, "it does not answer"))
    assert overview.troubles() == ["livekit is away since 2026-01-01T00:00:00.000Z: it does not answer"]
    overview.take(snapshot())
    assert overview.troubles() == []
